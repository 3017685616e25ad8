/*
 * candidate_sort.h
 *		Orders many candidates of a search by their distances, in place and without
 *		memory of its own.  (Of a few: knn_sort_few of graph_prune.h.)
 */
#ifndef KNN_CORE_CANDIDATE_SORT_H
#define KNN_CORE_CANDIDATE_SORT_H

#include "core/graph_search.h"

/* Reorder n candidates so that the first k are the k nearest. */
extern void knn_select_nearest(knn_candidate *a, uint32_t n, uint32_t k);

/* Nearest first, in n log n steps at worst. */
extern void knn_sort_candidates(knn_candidate *a, uint32_t n);

#endif
