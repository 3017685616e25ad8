/*
 * graph_merge.h
 *		Making one list of links out of several.
 *
 * Where a graph is built in overlapping parts, a node has a list in each part it
 * belongs to.  Their union is pruned by the rule of the build.  As the union of
 * graphs in DiskANN (Subramanya and others, NeurIPS 2019), but for that rule.
 */
#ifndef KNN_CORE_GRAPH_MERGE_H
#define KNN_CORE_GRAPH_MERGE_H

#include "core/graph_build.h"

/* The scratch of one thread. */
typedef struct knn_merger
{
	knn_graph_scratch scratch;
	uint32_t	room;			/* candidates */
} knn_merger;

/*
 * Prepare for lists of nodes of a graph, of which only encoder, allocator, codes,
 * code_stride and factors are looked at; up to room ids together.  KNN_OK or
 * KNN_ERROR_NO_MEMORY; knn_merger_free is due in any case.
 */
extern int	knn_merger_init(knn_merger *merger, knn_graph *graph, uint32_t room);
extern void knn_merger_free(knn_merger *merger);

/*
 * Choose at most "most" links of a node from its lists (count, then ids) into row,
 * which may be one of them.  They are pruned only if there are more; "fill" as for
 * knn_choose_neighbours.
 */
extern void knn_merge_lists(knn_merger *merger, uint32_t id, const uint32_t *const *lists,
							uint32_t nlists, uint32_t most, uint32_t fill, uint32_t *row);

#endif
