/*
 * ranking.h
 *		Candidates of a scan, in the order of their exact distances.
 *
 * A search ranks candidates by estimated distances.  They go into a queue keyed by
 * the least their exact distance can be (estimate less bound).  Whenever the
 * queue's first has only an estimate, its exact distance is computed from the full
 * vector and it goes back under that; when the first is exact, nothing behind it
 * can precede it, and it is returned.  So rows are ordered by exact distance, and
 * only the few vectors whose bound overlaps are read in full; no k is needed.
 * (The bound is probable, not certain, where codes are rotated: see core/code.h.)
 *
 * With knn.rescore = on (or knn.oversample_factor set) OpenSearch's two phases are
 * kept instead: row k is returned when the first pass's max(100, k * factor)
 * nearest by estimate have been computed exactly.  With knn.rescore = off rows are
 * ranked by estimates alone.
 *
 * When the queue runs dry and more rows are wanted, the search is asked for more.
 * It may find a row that is nearer than one returned already, as does a row whose
 * bound failed.  Such rows come at the end of the scan, after all others, unless
 * knn.scan_order = relaxed returns them at once.
 *
 * What a candidate is, a node or a row, is up to the access method.
 */
#ifndef KNN_AM_RANKING_H
#define KNN_AM_RANKING_H

#include "postgres.h"

#include "am/queue.h"
#include "store/store.h"

typedef struct KnnRanking
{
	/* set by KnnRankingInit */
	MemoryContext context;
	void	   *search;			/* argument of the callbacks */

	/* Find more candidates and queue them; false when there are none. */
	bool		(*more) (void *search);

	/*
	 * Of a two-phase search: have the nearest "pass" candidates by estimate, not
	 * counting those queued before, in the queue, as far as there are so many.
	 */
	void		(*first_pass) (void *search, uint32 pass);

	/*
	 * Called before a candidate of this distance is returned: true when more
	 * candidates have been queued, of which one may be nearer.  NULL: never.
	 */
	bool		(*look_ahead) (void *search, float distance);

	/* Exact distance of a candidate, false when it has no visible row. */
	bool		(*distance) (void *search, uint32 candidate, float *distance);

	/* how exact distances are used */
	bool		exact;			/* not at all: estimates rank, or are exact */
	double		oversample;		/* of the two-phase search, 0: lazily */

	KnnQueue	queue;
	uint32		nreturned;		/* candidates, for the size of the first pass */
	uint32		npopped;		/* candidates, returned or not */
	uint32		ninvisible;		/* of these, without a visible row */

	bool		any_returned;
	float		last_distance;	/* of the candidate returned last */

	/* found too late for the order, returned at the end of the scan */
	uint32	   *late;
	uint32		nlate;
	uint32		late_room;
	uint32		next_late;
} KnnRanking;

/*
 * Memory is taken from the context.  exact and oversample are set as the settings
 * and the index's shape have it; the callbacks are left to the caller.
 */
extern void KnnRankingInit(KnnRanking *ranking, MemoryContext context, void *search,
						   const KnnShape *shape);

/* Queue a candidate with its estimated distance and the bound of that. */
extern void KnnRankingAdd(KnnRanking *ranking, uint32 candidate, float distance, float error);

/* The same of n consecutive candidates; the distances are overwritten. */
extern void KnnRankingAddMany(KnnRanking *ranking, uint32 first, uint32 n,
							  float *distances, const float *errors);

/* Queue a candidate whose exact distance is known. */
extern void KnnRankingAddExact(KnnRanking *ranking, uint32 candidate, float distance);

/*
 * Candidates that a two-phase search ranks by exact distance before it returns one
 * more.  When there is no first pass so large, it goes on one by one.
 */
extern uint32 KnnRankingFirstPass(const KnnRanking *ranking);

/* The next candidate in order; false at the end. */
extern bool KnnRankingNext(KnnRanking *ranking, uint32 *candidate);

#endif
