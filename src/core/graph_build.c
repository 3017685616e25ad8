/*
 * graph_build.c
 *		Building an HNSW graph in memory; see graph_build.h.
 */
#include "core/graph_build.h"

#include <string.h>

#include "core/graph_prune.h"

#define CACHE_LINE 64

static void *
graph_alloc(knn_graph *graph, size_t size)
{
	return graph->allocator.alloc(graph->allocator.context, size);
}

static void
graph_release(knn_graph *graph, void *pointer)
{
	if (pointer)
		graph->allocator.release(graph->allocator.context, pointer);
}

static size_t
code_stride(knn_encoding encoding, uint32_t dim)
{
	size_t		bytes = knn_code_bytes(encoding, dim);

	/* short codes need not start a line of their own */
	if (bytes <= CACHE_LINE / 2)
		return (bytes + 15) / 16 * 16;
	return (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

uint64_t
knn_graph_memory(uint64_t n, knn_encoding encoding, uint32_t dim, uint32_t m)
{
	uint64_t	node = code_stride(encoding, dim) + sizeof(knn_code_factors) +
		sizeof(uint8_t) + sizeof(uint16_t) + sizeof(uint32_t) * (1 + 2 * (uint64_t) m) +
		sizeof(uint32_t);
	uint64_t	upper = sizeof(uint32_t) * (1 + (uint64_t) m);

	/* one slot per node above level 0, 1/m + 1/m^2 + ... = 1/(m-1) of them */
	return n * node + (n / (m - 1) + 1) * upper;
}

/* ---- the reader over the arrays ---- */

static uint32_t
graph_neighbours(void *state, uint32_t id, uint32_t level, uint32_t *out, bool *dead)
{
	knn_graph  *graph = state;
	const uint32_t *row = level == 0 ? knn_graph_links(graph, id) :
		knn_graph_upper(graph, id, level);

	(void) dead;
	memcpy(out, row + 1, sizeof(uint32_t) * row[0]);
	return row[0];
}

static inline void
prefetch_code(const knn_graph *graph, uint32_t id)
{
	const uint8_t *code = knn_graph_code(graph, id);

	__builtin_prefetch(&graph->factors[id]);
	/* past the first lines the hardware's stream prefetcher keeps up */
	for (uint32_t at = 0; at < graph->code_stride && at < 6 * CACHE_LINE; at += CACHE_LINE)
		__builtin_prefetch(code + at);
}

static void
score_nodes(const knn_graph *graph, const knn_query *query,
			const uint32_t *ids, uint32_t n, float *distance)
{
	for (uint32_t i = 0; i < 2 && i < n; i++)
		prefetch_code(graph, ids[i]);
	for (uint32_t i = 0; i < n; i++)
	{
		if (i + 2 < n)
			prefetch_code(graph, ids[i + 2]);
		distance[i] = knn_query_score(query, &graph->factors[ids[i]],
									  knn_graph_code(graph, ids[i]));
	}
}

static void
graph_score(void *state, const uint32_t *ids, uint32_t n, float *distance, float *error)
{
	knn_graph  *graph = state;

	(void) error;
	score_nodes(graph, &graph->query, ids, n, distance);
}

static void
graph_prefetch(void *state, uint32_t id)
{
	knn_graph  *graph = state;
	const char *row = (const char *) knn_graph_links(graph, id);

	__builtin_prefetch(row);
	__builtin_prefetch(row + CACHE_LINE);
}

/* knn_covered over the arrays */
static bool
graph_covered(void *state, const knn_candidate *candidate,
			  const knn_candidate *kept, uint32_t nkept)
{
	knn_graph  *graph = state;

	if (nkept == 0)
		return false;
	knn_query_from_code(&graph->pair_query, &graph->encoder,
						&graph->factors[candidate->id],
						knn_graph_code(graph, candidate->id),
						graph->pair_q8, graph->pair_qf);
	for (uint32_t i = 0; i < nkept; i++)
	{
		uint32_t	id = kept[i].id;

		if (knn_query_score(&graph->pair_query, &graph->factors[id],
							knn_graph_code(graph, id)) < candidate->distance)
			return true;
	}
	return false;
}

/* ---- life cycle ---- */

int
knn_graph_init(knn_graph *graph, uint32_t capacity)
{
	uint32_t	m = graph->m;
	uint32_t	dim = graph->encoder.dim;
	uint32_t	most = graph->ef_construction > 2 * m + 1 ?
		graph->ef_construction : 2 * m + 1;
	size_t		n = capacity > 0 ? capacity : 1;

	graph->capacity = capacity;
	graph->n = 0;
	graph->entry = KNN_INVALID_ID;
	graph->entry_level = 0;
	graph->code_stride = code_stride(graph->encoder.encoding, dim);
	graph->nupper = 0;
	graph->upper_room = (uint32_t) (n / (m - 1)) + 64;

	graph->codes_allocated = graph_alloc(graph, n * graph->code_stride + CACHE_LINE);
	graph->factors = graph_alloc(graph, n * sizeof(knn_code_factors));
	graph->levels = graph_alloc(graph, n);
	graph->links = graph_alloc(graph, n * sizeof(uint32_t) * (1 + 2 * (size_t) m));
	graph->upper_first = graph_alloc(graph, n * sizeof(uint32_t));
	graph->upper = graph_alloc(graph, sizeof(uint32_t) * (size_t) graph->upper_room * (1 + (size_t) m));
	graph->q8 = graph_alloc(graph, KNN_QUERY_ROOM(dim));
	graph->qf = graph_alloc(graph, sizeof(float) * KNN_QUERY_ROOM(dim));
	graph->pair_q8 = graph_alloc(graph, KNN_QUERY_ROOM(dim));
	graph->pair_qf = graph_alloc(graph, sizeof(float) * KNN_QUERY_ROOM(dim));
	graph->spare = graph_alloc(graph, sizeof(knn_candidate) * most);
	graph->full = graph_alloc(graph, sizeof(knn_candidate) * (2 * (size_t) m + 1));

	memset(&graph->search, 0, sizeof(graph->search));
	graph->search.allocator = graph->allocator;
	graph->search.reader = (knn_reader) {
		.state = graph, .neighbours = graph_neighbours,
		.score = graph_score, .prefetch = graph_prefetch
	};
	graph->search.max_degree = 2 * m;
	graph->search.resumable = false;
	graph->search.tags = graph_alloc(graph, n * sizeof(uint16_t));
	graph->search.tag = 0;

	if (!graph->codes_allocated || !graph->factors || !graph->levels ||
		!graph->links || !graph->upper_first || !graph->upper || !graph->q8 ||
		!graph->qf || !graph->pair_q8 || !graph->pair_qf || !graph->spare ||
		!graph->full || !graph->search.tags)
		return KNN_ERROR_NO_MEMORY;
	memset(graph->search.tags, 0, n * sizeof(uint16_t));
	graph->codes = (uint8_t *)
		(((uintptr_t) graph->codes_allocated + CACHE_LINE - 1) & ~(uintptr_t) (CACHE_LINE - 1));
	return knn_search_init(&graph->search);
}

void
knn_graph_free(knn_graph *graph)
{
	knn_search_free(&graph->search);
	graph_release(graph, graph->search.tags);
	graph_release(graph, graph->codes_allocated);
	graph_release(graph, graph->factors);
	graph_release(graph, graph->levels);
	graph_release(graph, graph->links);
	graph_release(graph, graph->upper_first);
	graph_release(graph, graph->upper);
	graph_release(graph, graph->q8);
	graph_release(graph, graph->qf);
	graph_release(graph, graph->pair_q8);
	graph_release(graph, graph->pair_qf);
	graph_release(graph, graph->spare);
	graph_release(graph, graph->full);
	graph->search.tags = NULL;
	graph->codes_allocated = NULL;
	graph->codes = NULL;
	graph->factors = NULL;
	graph->levels = NULL;
	graph->links = graph->upper_first = graph->upper = NULL;
	graph->q8 = graph->pair_q8 = NULL;
	graph->qf = graph->pair_qf = NULL;
	graph->spare = graph->full = NULL;
}

/* ---- adding ---- */

static int
reserve_upper(knn_graph *graph, uint32_t slots)
{
	size_t		row = sizeof(uint32_t) * (1 + (size_t) graph->m);
	uint32_t   *grown;
	uint32_t	room = graph->upper_room;

	if (graph->nupper + slots <= room)
		return KNN_OK;
	room += room / 2 + slots;
	grown = graph_alloc(graph, row * room);
	if (!grown)
		return KNN_ERROR_NO_MEMORY;
	memcpy(grown, graph->upper, row * graph->nupper);
	graph_release(graph, graph->upper);
	graph->upper = grown;
	graph->upper_room = room;
	return KNN_OK;
}

/* A new epoch of the visited tags. */
static void
next_tag(knn_graph *graph)
{
	if (++graph->search.tag == 0)
	{
		memset(graph->search.tags, 0, sizeof(uint16_t) * graph->capacity);
		graph->search.tag = 1;
	}
}

/*
 * Link from a neighbour back to the new node; false when pruning left it out,
 * which force prevents.  While there is room the link is
 * just added: pruning happens when a list is full, and leaves room for as many
 * again, so that its cost is shared by all the links added in between.
 */
static bool
link_back(knn_graph *graph, uint32_t from, uint32_t to, float distance,
		  uint32_t *row, uint32_t room, bool force)
{
	bool		linked = false;

	knn_candidate *full = graph->full;
	uint32_t	n = row[0];

	if (n < room)
	{
		row[++row[0]] = to;
		return true;
	}

	knn_query_from_code(&graph->pair_query, &graph->encoder,
						&graph->factors[from], knn_graph_code(graph, from),
						graph->pair_q8, graph->pair_qf);
	score_nodes(graph, &graph->pair_query, row + 1, n, graph->search.distances);
	for (uint32_t i = 0; i < n; i++)
		full[i] = (knn_candidate) {graph->search.distances[i], 0, row[1 + i], 0};
	full[n] = (knn_candidate) {distance, 0, to, 0};
	n++;
	knn_sort_few(full, n);
	n = knn_choose_neighbours(full, n, room, room / 2, graph_covered, graph, graph->spare);
	for (uint32_t i = 0; i < n; i++)
	{
		row[1 + i] = full[i].id;
		linked |= full[i].id == to;
	}
	if (!linked && force)
	{
		row[1 + (n < room ? n++ : room - 1)] = to;
		linked = true;
	}
	row[0] = n;
	return linked;
}

int
knn_graph_add(knn_graph *graph, const void *v)
{
	uint32_t	id = graph->n;
	uint32_t	m = graph->m;
	uint32_t	level = knn_node_level(graph->seed, id, m);
	uint32_t	entry = graph->entry;

	if (reserve_upper(graph, level) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	knn_encode(&graph->encoder, v, &graph->factors[id],
			   graph->codes + graph->code_stride * id, graph->qf);
	graph->levels[id] = (uint8_t) level;
	graph->upper_first[id] = graph->nupper;
	graph->nupper += level;
	knn_graph_links(graph, id)[0] = 0;
	for (uint32_t l = 1; l <= level; l++)
		knn_graph_upper(graph, id, l)[0] = 0;
	graph->n++;

	if (entry == KNN_INVALID_ID)
	{
		graph->entry = id;
		graph->entry_level = level;
		return KNN_OK;
	}

	knn_query_prepare(&graph->query, &graph->encoder, v, graph->q8, graph->qf);
	if (graph->entry_level > level)
		entry = knn_search_descend(&graph->search, entry, graph->entry_level, level + 1);
	for (uint32_t l = level < graph->entry_level ? level : graph->entry_level;; l--)
	{
		uint32_t   *row = l == 0 ? knn_graph_links(graph, id) : knn_graph_upper(graph, id, l);
		uint32_t	n;
		bool		linked;

		next_tag(graph);
		if (knn_search_level(&graph->search, &entry, 1, l, graph->ef_construction) != KNN_OK)
			return KNN_ERROR_NO_MEMORY;
		entry = graph->search.beam[0].id;
		n = knn_choose_neighbours(graph->search.beam, graph->search.nbeam,
								  l == 0 ? 2 * m : m, m / 2,
								  graph_covered, graph, graph->spare);
		row[0] = n;
		for (uint32_t i = 0; i < n; i++)
			row[1 + i] = graph->search.beam[i].id;
		/* farthest first: the nearest takes it if no other did */
		linked = false;
		for (uint32_t i = n; i-- > 0;)
		{
			uint32_t	other = row[1 + i];

			linked |= link_back(graph, other, id, graph->search.beam[i].distance,
								l == 0 ? knn_graph_links(graph, other) :
								knn_graph_upper(graph, other, l),
								l == 0 ? 2 * m : m, i == 0 && !linked);
		}
		if (l == 0)
			break;
	}
	if (level > graph->entry_level)
	{
		graph->entry = id;
		graph->entry_level = level;
	}
	return KNN_OK;
}
