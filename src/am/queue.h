/*
 * queue.h
 *		A queue of numbers with float keys, least key first.
 *
 * A binary heap, and behind it, where there are many items of which few will be
 * taken, a pool in no order: a scan of lists puts thousands into the queue and takes
 * some hundred, and ordering all of them would take longer than scoring them.
 * Items in the pool have keys of at least "least"; those that come with such a key
 * go there too.  When all below have been taken, the next least ones are selected.
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
	KnnQueueItem *items;		/* the heap */
	uint32		n;
	uint32		room;

	KnnQueueItem *pool;
	uint32		npool;
	uint32		pool_room;
	float		least;			/* infinity: no pool */
	uint32		selected;		/* items that were taken from it together */
} KnnQueue;

extern void KnnQueueInit(KnnQueue *queue, MemoryContext context);

extern void KnnQueuePush(KnnQueue *queue, KnnQueueItem item);

/* The same of n items with these keys and consecutive ids, none of them exact. */
extern void KnnQueuePushMany(KnnQueue *queue, const float *keys, uint32 first_id, uint32 n);

/* Let all items that come go to the pool, until KnnQueueSelect.  The queue is empty. */
extern void KnnQueueCollect(KnnQueue *queue);

/* Have about the least n items in the heap. */
extern void KnnQueueSelect(KnnQueue *queue, uint32 n);

/* All items, wherever they are. */
#define KnnQueueCount(queue) ((queue)->n + (queue)->npool)

/* Have the first item of all in the front of the heap, if there is any. */
static inline bool
KnnQueueHasFirst(KnnQueue *queue)
{
	if (queue->npool > 0 && (queue->n == 0 || queue->items[0].key > queue->least))
		KnnQueueSelect(queue, queue->selected * 4);
	return queue->n > 0;
}

/* Put item in the place of the heap's first. */
extern void KnnQueueReplaceFirst(KnnQueue *queue, KnnQueueItem item);

/* Remove the heap's first. */
extern void KnnQueuePop(KnnQueue *queue);

#endif
