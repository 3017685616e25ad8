/*
 * graph_repair.h
 *		Making a graph that somebody else has built fit for searches like our own;
 *		and what our own builds need of it when they are done, which is connection.
 *
 * A search descends through the levels, then walks along level 0.  What a graph that
 * was imported may lack is
 *
 *	links back		GPU builds choose each node's links alone.  Adding them back, where
 *					the other node has room or they are better than what it has, is what
 *					inserting a node does too
 *	long links		lists of nearest neighbours alone do not lead from one cluster to
 *					another.  Those of a build do, since they were begun when few nodes
 *					were there; so do those of the levels above, some of which are added
 *	connection		nodes and clusters that no link leads to; one walk from the entry
 *					point finds them, and they are linked from neighbours of their own,
 *					or their first node is as if it were inserted
 *	sense			a graph of other vectors, or of nothing: then a search for its own
 *					vectors does not find them
 */
#ifndef KNN_CORE_GRAPH_REPAIR_H
#define KNN_CORE_GRAPH_REPAIR_H

#include "core/graph_build.h"
#include "core/graph_merge.h"

/*
 * Add links at level 0 from the neighbours of a node back to it.  Any number of threads,
 * each with its merger (of at least 2m + 1 ids); locks are graph->n bytes, zero at first.
 * list is room for 1 + 2m words.
 */
extern void knn_repair_link_back(knn_merger *merger, uint8_t *locks, uint32_t id, uint32_t *list);

/* Long links of a node, at most; and no more than a quarter of its list. */
#define KNN_REPAIR_LONG_LINKS 3

/*
 * Add links at level 0 to neighbours, on level 1, of the node or of one that it is linked
 * to; they take the place of the farthest ones where there is no room.  Any number of
 * threads, each with its merger (of at least 2m ids).  Changes the node's list alone.
 */
extern void knn_repair_link_far(knn_merger *merger, uint32_t id);

/*
 * Prepare graph->scratch for the functions below.  KNN_OK or KNN_ERROR_NO_MEMORY;
 * knn_repair_end is due in any case.
 */
extern int	knn_repair_begin(knn_graph *graph);
extern void knn_repair_end(knn_graph *graph);

/*
 * Connect what no walk from the entry point leads to.  A node whose own links lead to
 * what was reached is linked from there, where there is room: builds of our own leave
 * such nodes, by inner product a quarter of all where no vector is opposite to another.
 * What is left are pieces of which no link leads out; *pieces is how many there were.
 * One thread, which takes knn_repair_memory(n) beside the graph.  KNN_OK,
 * KNN_ERROR_NO_MEMORY, or KNN_ERROR_FORMAT when there are more pieces than "most".
 * Few nodes may still be unreachable: a full list takes a link only for another one.
 */
extern int	knn_repair_connect(knn_graph *graph, uint32_t most, uint32_t *pieces);

/* Tags, a bit and a place in the queue. */
static inline uint64_t
knn_repair_memory(uint64_t n)
{
	return n * 2 + n / 8 + 1 + n * 4;
}

/*
 * The same of a build of our own that is complete and still has its codes, whatever it
 * takes.  KNN_OK or KNN_ERROR_NO_MEMORY.
 */
extern int	knn_graph_connect(knn_graph *graph);

/* More pieces than these are not a graph. */
#define KNN_REPAIR_MOST_PIECES(n) ((n) / 4 + 16)

/* Nodes that those that are looked for are compared with. */
#define KNN_REPAIR_COMPARED 1000

/*
 * Search for a sample of the graph's own codes.  One is found when a search with a beam
 * of "width" comes to a node at least as near as the node itself and as all of another
 * sample: by inner product a vector need not be its own nearest one.  *sought is how
 * many to look for, and is set to how many there were.  KNN_OK or KNN_ERROR_NO_MEMORY.
 */
extern int	knn_repair_sense(knn_graph *graph, uint32_t width, uint32_t *sought, uint32_t *found);

#endif
