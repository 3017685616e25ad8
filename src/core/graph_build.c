/*
 * graph_build.c
 *		Building an HNSW graph in memory; see graph_build.h.
 */
#include "core/graph_build.h"

#include <string.h>

#include "core/graph_build_impl.h"

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

size_t
knn_graph_code_stride(knn_encoding encoding, uint32_t dim)
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
	uint64_t	node = knn_graph_code_stride(encoding, dim) + sizeof(knn_code_factors) +
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
	const knn_graph *graph = ((knn_graph_scratch *) state)->graph;
	const uint32_t *row = graph_row(graph, id, level);

	(void) dead;
	memcpy(out, row + 1, sizeof(uint32_t) * row[0]);
	return row[0];
}

static void
graph_score(void *state, const uint32_t *ids, uint32_t n, float *distance, float *error)
{
	knn_graph_scratch *scratch = state;

	(void) error;
	score_nodes(scratch->graph, &scratch->query, ids, n, distance);
}

static void
graph_prefetch(void *state, uint32_t id)
{
	prefetch_links(((knn_graph_scratch *) state)->graph, id);
}

/* ---- life cycle ---- */

int
knn_graph_scratch_init(knn_graph_scratch *scratch, knn_graph *graph)
{
	uint32_t	m = graph->m;
	uint32_t	dim = graph->encoder.dim;
	uint32_t	most = graph->ef_construction > 2 * m + 1 ?
		graph->ef_construction : 2 * m + 1;
	size_t		n = graph->capacity > 0 ? graph->capacity : 1;

	memset(scratch, 0, sizeof(*scratch));
	scratch->graph = graph;
	scratch->q8 = graph_alloc(graph, KNN_QUERY_ROOM(dim));
	scratch->qf = graph_alloc(graph, sizeof(float) * KNN_QUERY_ROOM(dim));
	scratch->pair_q8 = graph_alloc(graph, KNN_QUERY_ROOM(dim));
	scratch->pair_qf = graph_alloc(graph, sizeof(float) * KNN_QUERY_ROOM(dim));
	scratch->spare = graph_alloc(graph, sizeof(knn_candidate) * most);
	scratch->full = graph_alloc(graph, sizeof(knn_candidate) * (2 * (size_t) m + 1));

	scratch->search.allocator = graph->allocator;
	scratch->search.reader = (knn_reader) {
		.state = scratch, .neighbours = graph_neighbours,
		.score = graph_score, .prefetch = graph_prefetch
	};
	scratch->search.max_degree = 2 * m;
	scratch->search.resumable = false;
	scratch->search.tags = graph_alloc(graph, n * sizeof(uint16_t));
	scratch->search.tag = 0;

	if (!scratch->q8 || !scratch->qf || !scratch->pair_q8 || !scratch->pair_qf ||
		!scratch->spare || !scratch->full || !scratch->search.tags)
		return KNN_ERROR_NO_MEMORY;
	memset(scratch->search.tags, 0, n * sizeof(uint16_t));
	return knn_search_init(&scratch->search);
}

void
knn_graph_scratch_free(knn_graph_scratch *scratch)
{
	knn_graph  *graph = scratch->graph;

	if (!graph)
		return;
	knn_search_free(&scratch->search);
	graph_release(graph, scratch->search.tags);
	graph_release(graph, scratch->q8);
	graph_release(graph, scratch->qf);
	graph_release(graph, scratch->pair_q8);
	graph_release(graph, scratch->pair_qf);
	graph_release(graph, scratch->spare);
	graph_release(graph, scratch->full);
	memset(scratch, 0, sizeof(*scratch));
}

int
knn_graph_init(knn_graph *graph, uint32_t capacity)
{
	uint32_t	m = graph->m;
	uint32_t	dim = graph->encoder.dim;
	size_t		n = capacity > 0 ? capacity : 1;

	graph->capacity = capacity;
	graph->n = 0;
	graph->entry = KNN_INVALID_ID;
	graph->entry_level = 0;
	graph->code_stride = knn_graph_code_stride(graph->encoder.encoding, dim);
	graph->nupper = 0;
	graph->upper_room = (uint32_t) (n / (m - 1)) + 64;

	graph->codes_allocated = graph_alloc(graph, n * graph->code_stride + CACHE_LINE);
	graph->factors = graph_alloc(graph, n * sizeof(knn_code_factors));
	graph->levels = graph_alloc(graph, n);
	graph->links = graph_alloc(graph, n * sizeof(uint32_t) * (1 + 2 * (size_t) m));
	graph->upper_first = graph_alloc(graph, n * sizeof(uint32_t));
	graph->upper = graph_alloc(graph, sizeof(uint32_t) * (size_t) graph->upper_room * (1 + (size_t) m));
	memset(&graph->scratch, 0, sizeof(graph->scratch));
	if (!graph->codes_allocated || !graph->factors || !graph->levels ||
		!graph->links || !graph->upper_first || !graph->upper)
		return KNN_ERROR_NO_MEMORY;
	graph->codes = (uint8_t *)
		(((uintptr_t) graph->codes_allocated + CACHE_LINE - 1) & ~(uintptr_t) (CACHE_LINE - 1));
	return knn_graph_scratch_init(&graph->scratch, graph);
}

void
knn_graph_finish(knn_graph *graph)
{
	knn_graph_scratch_free(&graph->scratch);
	graph_release(graph, graph->codes_allocated);
	graph_release(graph, graph->factors);
	graph->codes_allocated = NULL;
	graph->codes = NULL;
	graph->factors = NULL;
}

void
knn_graph_free(knn_graph *graph)
{
	knn_graph_finish(graph);
	graph_release(graph, graph->levels);
	graph_release(graph, graph->links);
	graph_release(graph, graph->upper_first);
	graph_release(graph, graph->upper);
	graph->levels = NULL;
	graph->links = graph->upper_first = graph->upper = NULL;
}

/* ---- adding ---- */

int
knn_graph_reserve_upper(knn_graph *graph, uint32_t slots)
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

int
knn_graph_add(knn_graph *graph, const void *v)
{
	uint32_t	id = graph->n;
	uint32_t	m = graph->m;
	uint32_t	level = knn_node_level(graph->seed, id, m);
	uint32_t	entry = graph->entry;
	knn_graph_scratch *scratch = &graph->scratch;
	knn_search *search = &scratch->search;

	if (knn_graph_reserve_upper(graph, level) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	knn_encode(&graph->encoder, v, &graph->factors[id],
			   graph->codes + graph->code_stride * id, scratch->qf);
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

	knn_query_prepare(&scratch->query, &graph->encoder, v, scratch->q8, scratch->qf);
	if (graph->entry_level > level)
		entry = knn_search_descend(search, entry, graph->entry_level, level + 1);
	for (uint32_t l = level < graph->entry_level ? level : graph->entry_level;; l--)
	{
		uint32_t   *row = graph_row(graph, id, l);
		uint32_t	n;
		bool		linked;

		next_tag(scratch);
		if (knn_search_level(search, &entry, 1, l, graph->ef_construction) != KNN_OK)
			return KNN_ERROR_NO_MEMORY;
		entry = search->beam[0].id;
		n = knn_choose_neighbours(search->beam, search->nbeam,
								  l == 0 ? 2 * m : m, m / 2,
								  covered, scratch, scratch->spare);
		row[0] = n;
		for (uint32_t i = 0; i < n; i++)
			row[1 + i] = search->beam[i].id;
		/* farthest first: the nearest takes it if no other did */
		linked = false;
		for (uint32_t i = n; i-- > 0;)
		{
			uint32_t	other = row[1 + i];

			linked |= link_back(scratch, other, id, search->beam[i].distance,
								graph_row(graph, other, l), l == 0 ? 2 * m : m,
								i == 0 && !linked, false);
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
