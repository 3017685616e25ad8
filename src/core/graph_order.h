/*
 * graph_order.h
 *		Numbering of a graph's nodes for locality.
 */
#ifndef KNN_CORE_GRAPH_ORDER_H
#define KNN_CORE_GRAPH_ORDER_H

#include "core/graph_build.h"

/*
 * Choose an order of the nodes in which neighbours tend to fall into the same
 * run of "page" consecutive numbers.  old_of_new and new_of_old are graph->n
 * each.  Greedy: a page is filled with the node that has most links with those
 * already in it.  O(links).  KNN_OK or KNN_ERROR_NO_MEMORY.
 */
extern int	knn_graph_order(const knn_graph *graph, uint32_t page,
							uint32_t *old_of_new, uint32_t *new_of_old);

#endif
