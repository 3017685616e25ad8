/*
 * queue.h
 *		A queue of numbers with float keys, least key first: a binary heap.
 */
#ifndef KNN_AM_QUEUE_H
#define KNN_AM_QUEUE_H

#include "postgres.h"

typedef struct KnnQueueItem
{
	float		key;
	bool		exact;			/* of a ranking: the key is an exact distance */
	uint32		id;
} KnnQueueItem;

typedef struct KnnQueue
{
	MemoryContext context;
	KnnQueueItem *items;
	uint32		n;
	uint32		room;
} KnnQueue;

extern void KnnQueueInit(KnnQueue *queue, MemoryContext context);

/* Make room for n more. */
extern void KnnQueueReserve(KnnQueue *queue, uint32 n);

extern void KnnQueuePush(KnnQueue *queue, KnnQueueItem item);

/* Put item in the place of the first. */
extern void KnnQueueReplaceFirst(KnnQueue *queue, KnnQueueItem item);

/* Remove the first. */
extern void KnnQueuePop(KnnQueue *queue);

#endif
