/*
 * graph_build.h
 *		Building an HNSW graph in memory over codes.
 *
 * Vectors are added one at a time; only their codes are kept (at 8 bits dim bytes
 * and 12 each, beside 8m + 8 bytes of links).  A new vector searches with its full
 * precision; pruning compares codes with codes.  One thread; for several see
 * graph_build_parallel.h.  Source: Malkov and Yashunin, algorithm 1.
 */
#ifndef KNN_CORE_GRAPH_BUILD_H
#define KNN_CORE_GRAPH_BUILD_H

#include "core/code.h"
#include "core/graph_search.h"

struct knn_graph;

/* What adding a vector needs beside the graph. */
typedef struct knn_graph_scratch
{
	struct knn_graph *graph;
	knn_search	search;
	knn_query	query;			/* the vector being added */
	knn_query	pair_query;		/* a node as query, for pruning */
	int8_t	   *q8;
	float	   *qf;
	int8_t	   *pair_q8;
	float	   *pair_qf;
	knn_candidate *spare;
	knn_candidate *full;		/* a full list and one more */
} knn_graph_scratch;

typedef struct knn_graph
{
	/* shape */
	uint32_t	m;				/* most neighbours of a node above level 0; at
								 * level 0 it has room for twice as many */
	uint32_t	ef_construction;
	uint64_t	seed;			/* of the levels */
	knn_encoder encoder;
	knn_allocator allocator;
	void		(*check) (void);	/* called now and then in long loops, may not
								 * return; may be NULL */

	/* nodes */
	uint32_t	capacity;
	uint32_t	n;
	uint32_t	entry;			/* KNN_INVALID_ID while empty */
	uint32_t	entry_level;
	size_t		code_stride;	/* bytes, a multiple of 64 */
	uint8_t    *codes;
	void	   *codes_allocated;	/* codes is this, aligned up */
	knn_code_factors *factors;
	uint8_t    *levels;
	uint32_t   *links;			/* rows of 1 + 2m: count, then ids */
	uint32_t   *upper_first;	/* index of a node's slot of level 1 in upper */
	uint32_t   *upper;			/* rows of 1 + m: count, then ids */
	uint32_t	nupper;
	uint32_t	upper_room;

	knn_graph_scratch scratch;	/* of knn_graph_add */
} knn_graph;

/*
 * Bytes that a graph of n nodes takes at most (but for its few upper slots'
 * chance deviations).  Computed in 64 bits: cannot overflow for any valid input.
 */
extern uint64_t knn_graph_memory(uint64_t n, knn_encoding encoding, uint32_t dim,
								 uint32_t m);

/* Bytes from code to code. */
extern size_t knn_graph_code_stride(knn_encoding encoding, uint32_t dim);

/*
 * Prepare an empty graph for at most capacity nodes.  graph->m,
 * ef_construction, seed, encoder and allocator are set by the caller.
 */
extern int	knn_graph_init(knn_graph *graph, uint32_t capacity);
extern void knn_graph_free(knn_graph *graph);

/*
 * Free what only adding needs, codes too: levels and links stay.
 */
extern void knn_graph_finish(knn_graph *graph);

/*
 * Add a vector (as for knn_encode); its id is the number of vectors added before.
 * KNN_OK or KNN_ERROR_NO_MEMORY; the caller keeps count of the capacity.
 */
extern int	knn_graph_add(knn_graph *graph, const void *v);

static inline uint32_t *
knn_graph_links(const knn_graph *graph, uint32_t id)
{
	return graph->links + (size_t) id * (1 + 2 * (size_t) graph->m);
}

/* Links of a node at a level above 0 that it reaches. */
static inline uint32_t *
knn_graph_upper(const knn_graph *graph, uint32_t id, uint32_t level)
{
	return graph->upper + ((size_t) graph->upper_first[id] + level - 1) *
		(1 + (size_t) graph->m);
}

static inline const uint8_t *
knn_graph_code(const knn_graph *graph, uint32_t id)
{
	return graph->codes + graph->code_stride * id;
}

#endif
