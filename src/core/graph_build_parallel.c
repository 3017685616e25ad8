/*
 * graph_build_parallel.c
 *		Several threads build one graph; see graph_build_parallel.h.
 */
#include "core/graph_build_parallel.h"

#include <string.h>

#include "core/graph_build_impl.h"

/*
 * The entry point and its level change together: a search that begins at a node
 * on a level that it does not reach would read another node's lists.
 */
#define NO_ENTRY ((uint64_t) KNN_INVALID_ID)

static inline uint64_t
make_entry(uint32_t id, uint32_t level)
{
	return (uint64_t) level << 32 | id;
}

/* ---- the reader over lists that change ---- */

static uint32_t
shared_neighbours(void *state, uint32_t id, uint32_t level, uint32_t *out, bool *dead)
{
	const knn_graph *graph = ((knn_graph_scratch *) state)->graph;
	const uint32_t *row = graph_row(graph, id, level);
	uint32_t	n = __atomic_load_n(&row[0], __ATOMIC_ACQUIRE);

	(void) dead;
	for (uint32_t i = 0; i < n; i++)
		out[i] = __atomic_load_n(&row[1 + i], __ATOMIC_ACQUIRE);
	return n;
}

static void
shared_score(void *state, const uint32_t *ids, uint32_t n, float *distance, float *error)
{
	knn_graph_scratch *scratch = state;

	(void) error;
	score_nodes(scratch->graph, &scratch->query, ids, n, distance);
}

static void
shared_prefetch(void *state, uint32_t id)
{
	prefetch_links(((knn_graph_scratch *) state)->graph, id);
}

/* Codes, then factors. */
static void
shared_fetch(void *state, const uint32_t *ids, uint32_t n, const void **places)
{
	const knn_graph *graph = ((knn_graph_scratch *) state)->graph;

	for (uint32_t i = 0; i < n; i++)
	{
		prefetch_code(graph, ids[i]);
		places[i] = knn_graph_code(graph, ids[i]);
		places[n + i] = &graph->factors[ids[i]];
	}
}

static void
shared_score_fetched(void *state, const void *const *places, uint32_t n, float *distance)
{
	knn_query_scores(&((knn_graph_scratch *) state)->query,
					 (const knn_code_factors *const *) (places + n),
					 (const uint8_t *const *) places, n, distance);
}

/* ---- life cycle ---- */

uint64_t
knn_parallel_memory(uint64_t n, uint32_t threads)
{
	/* locks; a further array of visited tags for each thread but one */
	return n + n * sizeof(uint16_t) * (threads > 0 ? threads - 1 : 0);
}

static int
start(knn_parallel_build *build, knn_graph *graph, uint64_t entry)
{
	uint32_t	n = graph->capacity;

	build->graph = graph;
	build->entry = entry;
	build->locks = graph->allocator.alloc(graph->allocator.context, n > 0 ? n : 1);
	if (!build->locks)
		return KNN_ERROR_NO_MEMORY;
	memset(build->locks, 0, n);
	/* the workers have scratch of their own */
	knn_graph_scratch_free(&graph->scratch);
	return KNN_OK;
}

int
knn_parallel_resume(knn_parallel_build *build, knn_graph *graph)
{
	return start(build, graph, graph->n > 0 ? make_entry(graph->entry, graph->entry_level) : NO_ENTRY);
}

int
knn_parallel_begin(knn_parallel_build *build, knn_graph *graph)
{
	uint32_t	n = graph->capacity;
	uint32_t	nupper = 0;

	if (start(build, graph, NO_ENTRY) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	for (uint32_t id = 0; id < n; id++)
	{
		uint32_t	level = knn_node_level(graph->seed, id, graph->m);

		graph->levels[id] = (uint8_t) level;
		graph->upper_first[id] = nupper;
		nupper += level;
	}
	if (knn_graph_reserve_upper(graph, nupper) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	graph->nupper = nupper;
	return KNN_OK;
}

void
knn_parallel_end(knn_parallel_build *build)
{
	knn_graph  *graph = build->graph;

	if (build->locks)
		graph->allocator.release(graph->allocator.context, build->locks);
	build->locks = NULL;
	graph->n = build->entry == NO_ENTRY ? 0 : graph->capacity;
	graph->entry = (uint32_t) build->entry;
	graph->entry_level = (uint32_t) (build->entry >> 32);
}

int
knn_parallel_worker_init(knn_parallel_worker *worker, knn_parallel_build *build)
{
	knn_graph  *graph = build->graph;
	knn_reader *reader = &worker->scratch.search.reader;
	int			result;

	worker->build = build;
	worker->chosen = NULL;
	result = knn_graph_scratch_init(&worker->scratch, graph);
	if (result != KNN_OK)
		return result;
	reader->neighbours = shared_neighbours;
	reader->score = shared_score;
	reader->prefetch = shared_prefetch;
	reader->fetch = shared_fetch;
	reader->score_fetched = shared_score_fetched;
	worker->chosen = graph->allocator.alloc(graph->allocator.context, sizeof(knn_candidate) *
											(KNN_MAX_LEVEL + 1) * 2 * (size_t) graph->m);
	return worker->chosen ? KNN_OK : KNN_ERROR_NO_MEMORY;
}

void
knn_parallel_worker_free(knn_parallel_worker *worker)
{
	const knn_allocator *allocator = &worker->build->graph->allocator;

	knn_graph_scratch_free(&worker->scratch);
	if (worker->chosen)
		allocator->release(allocator->context, worker->chosen);
	worker->chosen = NULL;
}

/* ---- adding ---- */

/* Search a level and write the node's list there, which nobody else reads yet. */
static int
choose_level(knn_parallel_worker *worker, uint32_t id, uint32_t level, uint32_t *entry)
{
	knn_graph_scratch *scratch = &worker->scratch;
	knn_search *search = &scratch->search;
	uint32_t	m = scratch->graph->m;
	uint32_t   *row = graph_row(scratch->graph, id, level);
	knn_candidate *chosen = worker->chosen + (size_t) level * 2 * m;
	uint32_t	n;

	next_tag(scratch);
	if (knn_search_level(search, entry, 1, level, scratch->graph->ef_construction) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	*entry = search->beam[0].id;
	n = knn_choose_neighbours(search->beam, search->nbeam, level == 0 ? 2 * m : m, m / 2,
							  covered, scratch, scratch->spare);
	memcpy(chosen, search->beam, sizeof(knn_candidate) * n);
	for (uint32_t i = 0; i < n; i++)
		row[1 + i] = chosen[i].id;
	row[0] = n;
	return KNN_OK;
}

/* Let the neighbours of a level know the node; n of them were chosen. */
static void
publish_level(knn_parallel_worker *worker, uint32_t id, uint32_t level, uint32_t n)
{
	knn_graph_scratch *scratch = &worker->scratch;
	uint32_t	m = scratch->graph->m;
	const knn_candidate *chosen = worker->chosen + (size_t) level * 2 * m;
	bool		linked = false;

	/* farthest first: the nearest takes it if no other did */
	for (uint32_t i = n; i-- > 0;)
	{
		uint32_t	other = chosen[i].id;

		lock_node(&worker->build->locks[other]);
		linked |= link_back(scratch, other, id, chosen[i].distance,
							graph_row(scratch->graph, other, level),
							level == 0 ? 2 * m : m, i == 0 && !linked, true);
		unlock_node(&worker->build->locks[other]);
	}
}

int
knn_parallel_add(knn_parallel_worker *worker, uint32_t id, const void *v)
{
	knn_parallel_build *build = worker->build;
	knn_graph_scratch *scratch = &worker->scratch;
	knn_graph  *graph = build->graph;
	uint32_t	level = graph->levels[id];
	uint64_t	mine = make_entry(id, level);
	uint64_t	top = NO_ENTRY;
	uint32_t	chosen[KNN_MAX_LEVEL + 1];
	uint32_t	entry;
	uint32_t	entry_level;
	uint32_t	highest;

	knn_encode(&graph->encoder, v, &graph->factors[id],
			   graph->codes + graph->code_stride * id, scratch->qf);
	for (uint32_t l = 0; l <= level; l++)
		graph_row(graph, id, l)[0] = 0;

	/* the first node has nothing to search */
	if (__atomic_compare_exchange_n(&build->entry, &top, mine, false,
									__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return KNN_OK;
	entry = (uint32_t) top;
	entry_level = (uint32_t) (top >> 32);
	highest = level < entry_level ? level : entry_level;

	knn_query_prepare(&scratch->query, &graph->encoder, v, scratch->q8, scratch->qf);
	if (entry_level > level)
		entry = knn_search_descend(&scratch->search, entry, entry_level, level + 1);
	for (uint32_t l = highest + 1; l-- > 0;)
	{
		if (choose_level(worker, id, l, &entry) != KNN_OK)
			return KNN_ERROR_NO_MEMORY;
		chosen[l] = graph_row(graph, id, l)[0];
	}
	for (uint32_t l = highest + 1; l-- > 0;)
		publish_level(worker, id, l, chosen[l]);

	/* two nodes of a new highest level may not know each other there; both are
	 * found below */
	while (level > (uint32_t) (top >> 32) &&
		   !__atomic_compare_exchange_n(&build->entry, &top, mine, false,
										__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		;
	return KNN_OK;
}

/* ---- mending ---- */

/* To the list of a node that others may change meanwhile, as far as there is room. */
static void
append_chosen(knn_parallel_worker *worker, uint32_t id, uint32_t n)
{
	const knn_graph *graph = worker->scratch.graph;
	uint32_t   *row = knn_graph_links(graph, id);

	lock_node(&worker->build->locks[id]);
	for (uint32_t i = 0; i < n && row[0] < 2 * graph->m; i++)
	{
		uint32_t	other = worker->chosen[i].id;

		if (other == id || has_link(row, other))
			continue;
		set_word(&row[1 + row[0]], other, true);
		set_word(&row[0], row[0] + 1, true);
	}
	unlock_node(&worker->build->locks[id]);
}

int
knn_parallel_mend(knn_parallel_worker *worker, uint32_t id, uint32_t width)
{
	knn_graph_scratch *scratch = &worker->scratch;
	knn_search *search = &scratch->search;
	knn_graph  *graph = scratch->graph;
	uint32_t	entry = graph->entry;
	uint32_t	n;
	float		own;

	knn_query_from_code(&scratch->query, &graph->encoder, &graph->factors[id],
						knn_graph_code(graph, id), scratch->q8, scratch->qf);
	if (graph->entry_level > 0)
		entry = knn_search_descend(search, entry, graph->entry_level, 1);
	next_tag(scratch);
	if (knn_search_level(search, &entry, 1, 0, width) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	score_nodes(graph, &scratch->query, &id, 1, &own);
	if (search->beam[0].distance <= own)
		return KNN_OK;
	n = knn_choose_neighbours(search->beam, search->nbeam, 2 * graph->m, graph->m / 2, covered,
							  scratch, scratch->spare);
	memcpy(worker->chosen, search->beam, sizeof(knn_candidate) * n);
	append_chosen(worker, id, n);
	publish_level(worker, id, 0, n);
	return KNN_OK;
}
