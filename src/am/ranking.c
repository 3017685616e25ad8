/*
 * ranking.c
 *		Candidates of a scan, in the order of their exact distances; see ranking.h.
 */
#include "postgres.h"

#include "am/ranking.h"

#include <math.h>

#include "am/options.h"
#include "am/rerank.h"
#include "am/shape.h"
#include "miscadmin.h"
#include "utils/float.h"
#include "utils/memutils.h"

/*
 * Share of a distance that its computation in float may be off by.  Bounds that
 * are certain (L1, L-infinity) are so up to rounding only, and a row whose
 * distance turns out to be less than its bound may come too late.
 */
#define ROUNDING 1e-6f

void
KnnRankingInit(KnnRanking *ranking, MemoryContext context, void *search, const KnnShape *shape)
{
	memset(ranking, 0, sizeof(*ranking));
	ranking->context = context;
	ranking->search = search;
	KnnQueueInit(&ranking->queue, context);
	ranking->last_distance = -get_float4_infinity();
	ranking->exact = knn_rescore == KNN_RESCORE_OFF || !KnnRerankPossible(shape);
	if (ranking->exact)
		return;
	if (knn_oversample_factor > 0)
		ranking->oversample = knn_oversample_factor;
	else if (knn_rescore == KNN_RESCORE_ON)
		ranking->oversample = Max(KnnDefaultOversample(shape), KNN_MIN_OVERSAMPLE);
}

static inline float
key_of(const KnnRanking *ranking, float distance, float error)
{
	float		key = ranking->exact ? distance : distance - error - fabsf(distance) * ROUNDING;

	if (ranking->oversample > 0)
		return -get_float4_infinity();	/* exact before any is returned */
	if (isnan(key))
		/* out of the range of float: the exact distance tells */
		return ranking->exact ? get_float4_infinity() : -get_float4_infinity();
	return key;
}

void
KnnRankingAdd(KnnRanking *ranking, uint32 candidate, float distance, float error)
{
	KnnQueueItem item = {.id = candidate,.exact = ranking->exact};

	item.key = key_of(ranking, distance, error);
	KnnQueuePush(&ranking->queue, item);
}

void
KnnRankingAddMany(KnnRanking *ranking, uint32 first, uint32 n,
				  float *distances, const float *errors)
{
	if (ranking->exact)
	{
		/* there is nothing to compute for these, and they say so */
		for (uint32 i = 0; i < n; i++)
			KnnRankingAdd(ranking, first + i, distances[i], errors[i]);
		return;
	}
	for (uint32 i = 0; i < n; i++)
		distances[i] = key_of(ranking, distances[i], errors[i]);
	KnnQueuePushMany(&ranking->queue, distances, first, n);
}

void
KnnRankingAddExact(KnnRanking *ranking, uint32 candidate, float distance)
{
	KnnQueueItem item = {.key = distance,.exact = true,.id = candidate};

	KnnQueuePush(&ranking->queue, item);
}

uint32
KnnRankingFirstPass(const KnnRanking *ranking)
{
	return Max(KnnFirstPass(ranking->nreturned + 1.0, ranking->oversample) + ranking->ninvisible,
			   ranking->npopped + 1);
}

/*
 * Remember a candidate that should have come before others that were returned.
 */
static void
put_off(KnnRanking *ranking, uint32 candidate)
{
	if (ranking->nlate == ranking->late_room)
	{
		ranking->late_room = ranking->late_room ? ranking->late_room * 2 : 16;
		if (ranking->late == NULL)
			ranking->late = MemoryContextAlloc(ranking->context, sizeof(uint32) * ranking->late_room);
		else
			ranking->late = repalloc_huge(ranking->late,
										  mul_size(sizeof(uint32), ranking->late_room));
	}
	ranking->late[ranking->nlate++] = candidate;
}

bool
KnnRankingNext(KnnRanking *ranking, uint32 *candidate)
{
	KnnQueue   *queue = &ranking->queue;

	for (;;)
	{
		KnnQueueItem first;

		CHECK_FOR_INTERRUPTS();
		/* the first pass grows with the rows returned */
		if (ranking->oversample > 0)
			ranking->first_pass(ranking->search, KnnRankingFirstPass(ranking));
		if (!KnnQueueHasFirst(queue))
		{
			if (ranking->more(ranking->search))
				continue;
			if (ranking->next_late == ranking->nlate)
				return false;
			*candidate = ranking->late[ranking->next_late++];
			return true;
		}
		first = queue->items[0];
		if (!first.exact)
		{
			if (ranking->distance(ranking->search, first.id, &first.key))
			{
				first.exact = true;
				KnnQueueReplaceFirst(queue, first);
			}
			else
			{
				/* nothing to return, and no distance to measure others by */
				KnnQueuePop(queue);
				ranking->npopped++;
				ranking->ninvisible++;
			}
			continue;
		}
		if (ranking->look_ahead && ranking->look_ahead(ranking->search, first.key))
			continue;
		KnnQueuePop(queue);
		ranking->npopped++;

		/* found after farther ones were returned */
		if (ranking->any_returned && first.key < ranking->last_distance &&
			knn_scan_order == KNN_SCAN_ORDER_STRICT)
		{
			put_off(ranking, first.id);
			continue;
		}
		ranking->any_returned = true;
		ranking->nreturned++;
		ranking->last_distance = Max(ranking->last_distance, first.key);
		*candidate = first.id;
		return true;
	}
}
