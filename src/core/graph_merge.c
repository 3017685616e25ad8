/*
 * graph_merge.c
 *		Making one list of links out of several; see graph_merge.h.
 */
#include "core/graph_merge.h"

#include <string.h>

#include "core/graph_build_impl.h"

int
knn_merger_init(knn_merger *merger, knn_graph *graph, uint32_t room)
{
	const knn_allocator *a = &graph->allocator;
	knn_graph_scratch *scratch = &merger->scratch;
	uint32_t	dim = graph->encoder.dim;

	memset(merger, 0, sizeof(*merger));
	merger->room = room;
	scratch->graph = graph;
	scratch->q8 = a->alloc(a->context, KNN_QUERY_ROOM(dim));
	scratch->qf = a->alloc(a->context, sizeof(float) * KNN_QUERY_ROOM(dim));
	scratch->pair_q8 = a->alloc(a->context, KNN_QUERY_ROOM(dim));
	scratch->pair_qf = a->alloc(a->context, sizeof(float) * KNN_QUERY_ROOM(dim));
	scratch->spare = a->alloc(a->context, sizeof(knn_candidate) * (size_t) room);
	scratch->full = a->alloc(a->context, sizeof(knn_candidate) * (size_t) room);
	return scratch->q8 && scratch->qf && scratch->pair_q8 && scratch->pair_qf &&
		scratch->spare && scratch->full ? KNN_OK : KNN_ERROR_NO_MEMORY;
}

void
knn_merger_free(knn_merger *merger)
{
	knn_graph_scratch *scratch = &merger->scratch;
	void	   *owned[] = {scratch->q8, scratch->qf, scratch->pair_q8, scratch->pair_qf,
		scratch->spare, scratch->full};

	for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
	{
		if (owned[i])
			scratch->graph->allocator.release(scratch->graph->allocator.context, owned[i]);
	}
	memset(merger, 0, sizeof(*merger));
}

void
knn_merge_lists(knn_merger *merger, uint32_t id, const uint32_t *const *lists,
				uint32_t nlists, uint32_t most, uint32_t fill, uint32_t *row)
{
	knn_graph_scratch *scratch = &merger->scratch;
	const knn_graph *graph = scratch->graph;
	knn_candidate *full = scratch->full;
	uint32_t	n = 0;

	for (uint32_t l = 0; l < nlists; l++)
	{
		uint32_t	before = n;

		for (uint32_t i = 1; i <= lists[l][0] && n < merger->room; i++)
		{
			uint32_t	at = 0;

			/* no id is twice in one list */
			while (at < before && full[at].id != lists[l][i])
				at++;
			if (at == before)
				full[n++].id = lists[l][i];
		}
	}
	for (uint32_t i = 0; i < n; i++)
		prefetch_code(graph, full[i].id);
	knn_query_from_code(&scratch->query, &graph->encoder, &graph->factors[id],
						knn_graph_code(graph, id), scratch->q8, scratch->qf);
	for (uint32_t i = 0; i < n; i++)
		full[i] = (knn_candidate) {
			knn_query_score(&scratch->query, &graph->factors[full[i].id],
							knn_graph_code(graph, full[i].id)), 0, full[i].id, 0
		};
	knn_sort_few(full, n);
	if (n > most)
		n = knn_choose_neighbours(full, n, most, fill, covered, scratch, scratch->spare);
	for (uint32_t i = 0; i < n; i++)
		row[1 + i] = full[i].id;
	row[0] = n;
}
