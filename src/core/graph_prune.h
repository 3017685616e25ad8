/*
 * graph_prune.h
 *		Choice of a node's neighbours among candidates.
 */
#ifndef KNN_CORE_GRAPH_PRUNE_H
#define KNN_CORE_GRAPH_PRUNE_H

#include "core/graph_search.h"

/*
 * Is the candidate nearer to one of the kept ones than to the node whose
 * neighbours are chosen (candidate->distance away)?
 */
typedef bool (*knn_covered) (void *state, const knn_candidate *candidate,
							 const knn_candidate *kept, uint32_t nkept);

/*
 * Choose at most max of n candidates (ascending by distance) and move them to
 * the front, ascending; returns their number.  A candidate that is nearer to a
 * chosen one than to the node is passed over, since it is reached through that
 * one; if fewer than fill were chosen, the nearest of those passed over make up
 * the number.  spare is room for n candidates.  Source: Malkov and Yashunin,
 * algorithm 4.
 */
extern uint32_t knn_choose_neighbours(knn_candidate *candidates, uint32_t n,
									  uint32_t max, uint32_t fill,
									  knn_covered covered, void *state,
									  knn_candidate *spare);

/* Sort a few candidates ascending by distance. */
extern void knn_sort_few(knn_candidate *candidates, uint32_t n);

/*
 * Level of a new node: geometric with ratio 1/m, from the node's id and the
 * index's seed alone; at most KNN_MAX_LEVEL.
 */
extern uint32_t knn_node_level(uint64_t seed, uint32_t id, uint32_t m);

#endif
