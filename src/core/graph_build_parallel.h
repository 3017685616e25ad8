/*
 * graph_build_parallel.h
 *		Building an HNSW graph in memory by several threads at once.
 *
 * For programs, not for server processes; no thread is started here.  The caller
 * prepares the graph with knn_graph_init, starts a build for all its nodes, and
 * lets each thread add vectors with a worker of its own; which vectors, in which
 * order, is the caller's choice, but each id is added once.
 *
 * A node is made in two steps: first the searches on all its levels, which write
 * lists that nobody else knows of yet, then the links back from its neighbours.
 * So whoever comes to a node finds its lists in place.  A list is changed under
 * its node's lock, and read without: a reader may see some links of before and
 * some of after a change, all of which lead to nodes that are in place.  Vectors that
 * are added at the same time do not see each other; with a few threads and some
 * thousand nodes that costs no recall.
 */
#ifndef KNN_CORE_GRAPH_BUILD_PARALLEL_H
#define KNN_CORE_GRAPH_BUILD_PARALLEL_H

#include "core/graph_build.h"

typedef struct knn_parallel_build
{
	knn_graph  *graph;
	uint8_t    *locks;			/* one for each node */
	uint64_t	entry;			/* level and id, see the source */
} knn_parallel_build;

typedef struct knn_parallel_worker
{
	knn_parallel_build *build;
	knn_graph_scratch scratch;
	knn_candidate *chosen;		/* neighbours at each level, 2m each */
} knn_parallel_worker;

/* Bytes that a build of n nodes takes beyond knn_graph_memory. */
extern uint64_t knn_parallel_memory(uint64_t n, uint32_t threads);

/*
 * Start a build of all graph->capacity nodes.  KNN_OK or KNN_ERROR_NO_MEMORY;
 * knn_parallel_end is due in any case.
 */
extern int	knn_parallel_begin(knn_parallel_build *build, knn_graph *graph);

/*
 * The same for a graph all of whose nodes are there: for knn_parallel_mend.
 */
extern int	knn_parallel_resume(knn_parallel_build *build, knn_graph *graph);

/* Once all nodes are added and the workers are freed: the graph is complete. */
extern void knn_parallel_end(knn_parallel_build *build);

/* As knn_parallel_begin; the allocator of the graph need not be safe for threads
 * if these calls do not overlap with others. */
extern int	knn_parallel_worker_init(knn_parallel_worker *worker, knn_parallel_build *build);
extern void knn_parallel_worker_free(knn_parallel_worker *worker);

/*
 * Add the vector of a node (as for knn_encode).  Any number of threads at once,
 * each with its worker; the allocator must be safe for threads.  KNN_OK or
 * KNN_ERROR_NO_MEMORY.
 */
extern int	knn_parallel_add(knn_parallel_worker *worker, uint32_t id, const void *v);

/*
 * Look for a node's code with a beam of "width"; when that comes to no node as near as
 * it, link the node at level 0 with those it came to, so that the next search goes on
 * to it.  Threads and result as for knn_parallel_add.
 */
extern int	knn_parallel_mend(knn_parallel_worker *worker, uint32_t id, uint32_t width);

#endif
