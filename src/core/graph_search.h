/*
 * graph_search.h
 *		Best-first (beam) search of a layered proximity graph through a reader.
 *
 * The search knows nothing of where the graph lives: a reader gives the
 * neighbours of a node and the estimated distances of nodes to the query.  The
 * same code searches the arrays of a build, the pages of an index and a mirror
 * of them in memory.  Source: Malkov and Yashunin, "Efficient and robust
 * approximate nearest neighbor search using HNSW graphs", algorithms 2 and 5,
 * with the two heaps replaced by one sorted beam (as NSG and DiskANN do).
 *
 * The beam holds the best nodes seen.  A search is resumable: nodes that fall
 * off the beam are kept aside, so that a wider beam continues where the narrow
 * one stopped and reaches what it would have reached from the start.  Dead nodes
 * (tombstones) route, but take no place from live ones: when a search ends with
 * dead nodes in its beam, the beam is widened by their number.
 *
 * Estimates with large errors need a wide beam, so that no good node is lost, but
 * most nodes in it are far and need no expansion.  A guided search asks for a
 * node's exact distance before expanding it, and skips it when width /
 * guide_share nearer ones have been found.  (On 128 dimensions of 1 bit a third of
 * the estimates give the same recall; the exact distances would mostly have been
 * computed anyway, to rank the results.)
 */
#ifndef KNN_CORE_GRAPH_SEARCH_H
#define KNN_CORE_GRAPH_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/memory.h"

/* No node has this id. */
#define KNN_INVALID_ID UINT32_MAX

/* More layers than 2^32 nodes need at the smallest m. */
#define KNN_MAX_LEVEL 24

typedef struct knn_reader
{
	void	   *state;

	/*
	 * Copy the neighbours of a node at a level to out (room for max_degree) and
	 * return their number; sets *dead for a tombstone.
	 */
	uint32_t	(*neighbours) (void *state, uint32_t id, uint32_t level,
							   uint32_t *out, bool *dead);

	/* Estimated distances of n nodes to the query, and their error bounds. */
	void		(*score) (void *state, const uint32_t *ids, uint32_t n,
						  float *distance, float *error);

	/* Called with a node that may be expanded next; may be NULL. */
	void		(*prefetch) (void *state, uint32_t id);

	/*
	 * The two halves of score, for memory that is ready but not near; both may be
	 * NULL.  fetch requests the codes of n nodes, and leaves in places, which
	 * has room for 2n, where they are.  score_fetched then scores them.
	 *
	 * With these a search keeps two expansions in flight: it takes the next node,
	 * and fetches its neighbours, before those of the last one are scored (and so
	 * expands a few more).  prefetch, which must be there, is called for each
	 * node that enters the beam, and bound for each that ends in it: score_fetched
	 * gives no error bounds.
	 */
	void		(*fetch) (void *state, const uint32_t *ids, uint32_t n,
						  const void **places);
	void		(*score_fetched) (void *state, const void *const *places, uint32_t n,
								  float *distance);

	/* The error bound of one node, by its estimated distance. */
	float		(*bound) (void *state, uint32_t id, float distance);

	/* Exact distance of a node to the query; NULL unless a search is guided. */
	float		(*exact) (void *state, uint32_t id);
} knn_reader;

/* Nodes that are scored together. */
typedef struct knn_batch
{
	uint32_t	n;
	uint32_t   *ids;			/* max_degree */
	const void **places;		/* twice that; of a reader with fetch */
} knn_batch;

typedef struct knn_candidate
{
	float		distance;		/* estimate */
	float		error;			/* its bound */
	uint32_t	id;
	uint32_t	flags;
} knn_candidate;

#define KNN_CANDIDATE_EXPANDED	1	/* its neighbours have been looked at */
#define KNN_CANDIDATE_DEAD		2	/* a tombstone (known once expanded) */
#define KNN_CANDIDATE_TAKEN		4	/* for the caller: already handed out */
#define KNN_CANDIDATE_EXACT		8	/* error holds the exact distance instead */
#define KNN_CANDIDATE_SKIPPED	16	/* expanded in name only, being too far */

typedef struct knn_search
{
	/* set by the caller before knn_search_init */
	knn_allocator allocator;
	knn_reader	reader;
	uint32_t	max_degree;		/* most neighbours the reader returns */
	bool		resumable;		/* keep what falls off the beam */
	uint32_t	guide_share;	/* guided search, see above: 0 for none */
	uint16_t   *tags;			/* visited tags, one per node, all below tag;
								 * NULL to use a hash set instead */
	uint16_t	tag;			/* the caller's epoch in tags */

	/* the beam, nearest first */
	knn_candidate *beam;
	uint32_t	nbeam;
	uint32_t	beam_size;		/* places in the beam, dead ones included */
	uint32_t	beam_room;		/* allocated */
	uint32_t	width;			/* live nodes wanted (ef) */
	uint32_t	cursor;			/* nothing before it is unexpanded */

	/* the least exact distances of a guided search, a heap with the largest first */
	float	   *guide;
	uint32_t	nguide;
	uint32_t	guide_size;		/* 0: not guided */
	uint32_t	guide_room;
	uint32_t	nskipped;		/* nodes marked so in the beam */

	/* nodes seen that are not in the beam, in no order */
	knn_candidate *spill;
	uint32_t	nspill;
	uint32_t	spill_room;

	/*
	 * Hash set of visited ids: buckets of two slots, the empty ones of which
	 * hold KNN_INVALID_ID.  At most a quarter of the slots are used.
	 */
	uint32_t   *visited;
	uint32_t	visited_shift;	/* 32 - log2 of the buckets */
	uint32_t	nvisited;

	/* scratch of max_degree each */
	knn_batch	batches[2];		/* of the last expansion, and of the next */
	float	   *distances;
	float	   *errors;
	knn_candidate *near;		/* those that may enter the beam */

	/* work done since init */
	uint64_t	nscored;
	uint64_t	nexpanded;
} knn_search;

/* Allocate scratch; KNN_OK or KNN_ERROR_NO_MEMORY. */
extern int	knn_search_init(knn_search *s);

/* Free everything that init and searching allocated. */
extern void knn_search_free(knn_search *s);

/*
 * Search one level from the given entry points with a beam of width live nodes.
 * Forgets any earlier search.  The result is s->beam[0 .. nbeam), ascending.
 */
extern int	knn_search_level(knn_search *s, const uint32_t *entries,
							 uint32_t nentries, uint32_t level, uint32_t width);

/*
 * Greedy descent (width 1) from entry at level "from" down to level "to",
 * inclusive; returns the nearest node found.  Touches neither beam nor visited
 * set.
 */
extern uint32_t knn_search_descend(knn_search *s, uint32_t entry,
								   uint32_t from, uint32_t to);

/*
 * Continue a resumable level-0 search with a wider beam.  When the whole graph
 * has been seen the beam just stops growing.
 */
extern int	knn_search_widen(knn_search *s, uint32_t width);

/* Has everything that was seen been expanded (no wider beam finds more)? */
static inline bool
knn_search_exhausted(const knn_search *s)
{
	return s->nspill == 0 && s->nskipped == 0 && s->cursor >= s->nbeam;
}

/* Has the last search of level 0 seen a node? */
extern bool knn_search_seen(const knn_search *s, uint32_t id);

#endif
