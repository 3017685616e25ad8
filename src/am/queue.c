/*
 * queue.c
 *		A queue of numbers with float keys; see queue.h.
 */
#include "postgres.h"

#include "am/queue.h"

#include "utils/memutils.h"

void
KnnQueueInit(KnnQueue *queue, MemoryContext context)
{
	memset(queue, 0, sizeof(*queue));
	queue->context = context;
}

void
KnnQueueReserve(KnnQueue *queue, uint32 n)
{
	uint64		room = Max(queue->room, 256);
	Size		size;

	if (queue->room - queue->n >= n)
		return;
	while (room - queue->n < n)
		room *= 2;
	room = Min(room, UINT32_MAX);
	size = mul_size(sizeof(KnnQueueItem), room);
	if (queue->items == NULL)
		queue->items = MemoryContextAllocHuge(queue->context, size);
	else
		queue->items = repalloc_huge(queue->items, size);
	queue->room = (uint32) room;
}

void
KnnQueuePush(KnnQueue *queue, KnnQueueItem item)
{
	KnnQueueItem *items;
	uint32		at = queue->n;

	if (queue->n == queue->room)
		KnnQueueReserve(queue, 1);
	items = queue->items;
	queue->n++;
	while (at > 0 && items[(at - 1) / 2].key > item.key)
	{
		items[at] = items[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	items[at] = item;
}

void
KnnQueueReplaceFirst(KnnQueue *queue, KnnQueueItem item)
{
	KnnQueueItem *items = queue->items;
	uint32		n = queue->n;
	uint32		at = 0;

	for (;;)
	{
		uint32		child = 2 * at + 1;

		if (child >= n)
			break;
		if (child + 1 < n && items[child + 1].key < items[child].key)
			child++;
		if (!(items[child].key < item.key))
			break;
		items[at] = items[child];
		at = child;
	}
	items[at] = item;
}

void
KnnQueuePop(KnnQueue *queue)
{
	if (--queue->n > 0)
		KnnQueueReplaceFirst(queue, queue->items[queue->n]);
}
