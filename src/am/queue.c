/*
 * queue.c
 *		A queue of numbers with float keys; see queue.h.
 */
#include "postgres.h"

#include "am/queue.h"

#include "storage/shmem.h"
#include "utils/float.h"
#include "utils/memutils.h"

/* Items of the pool that are moved to the heap one by one, as selecting would not pay. */
#define FEW 32

void
KnnQueueInit(KnnQueue *queue, MemoryContext context)
{
	memset(queue, 0, sizeof(*queue));
	queue->context = context;
	queue->least = get_float4_infinity();
}

static void
grow(KnnQueue *queue, KnnQueueItem **items, uint32 *room)
{
	uint32		more = *room > UINT32_MAX / 2 ? UINT32_MAX : Max(*room * 2, 256);
	Size		size = mul_size(sizeof(KnnQueueItem), more);

	if (*items == NULL)
		*items = MemoryContextAllocHuge(queue->context, size);
	else
		*items = repalloc_huge(*items, size);
	*room = more;
}

static void
push_heap(KnnQueue *queue, KnnQueueItem item)
{
	KnnQueueItem *items;
	uint32		at = queue->n;

	if (unlikely(queue->n == queue->room))
		grow(queue, &queue->items, &queue->room);
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
KnnQueuePush(KnnQueue *queue, KnnQueueItem item)
{
	if (item.key < queue->least || queue->least == get_float4_infinity())
	{
		push_heap(queue, item);
		return;
	}
	if (unlikely(queue->npool == queue->pool_room))
		grow(queue, &queue->pool, &queue->pool_room);
	queue->pool[queue->npool++] = item;
}

void
KnnQueuePushMany(KnnQueue *queue, const float *keys, uint32 first_id, uint32 n)
{
	float		least = queue->least;
	bool		all = least == get_float4_infinity();
	KnnQueueItem *to;

	while (queue->pool_room - queue->npool < n)
		grow(queue, &queue->pool, &queue->pool_room);
	to = queue->pool + queue->npool;
	for (uint32 i = 0; i < n; i++)
	{
		KnnQueueItem item = {.key = keys[i],.id = first_id + i};

		if (unlikely(item.key < least) || unlikely(all))
			push_heap(queue, item);
		else
			*to++ = item;
	}
	queue->npool = (uint32) (to - queue->pool);
}

void
KnnQueueCollect(KnnQueue *queue)
{
	Assert(KnnQueueCount(queue) == 0);
	queue->least = -get_float4_infinity();
}

/*
 * Put about the least n items of the pool in front (Hoare's quickselect: the median of
 * three divides, and the side that holds the n-th is divided again); returns their
 * number, at least one.
 */
static uint32
select_least(KnnQueueItem *pool, uint32 npool, uint32 n)
{
	uint32		low = 0;
	uint32		high = npool;

	while (high - low > FEW)
	{
		float		a = pool[low].key;
		float		b = pool[low + (high - low) / 2].key;
		float		c = pool[high - 1].key;
		float		pivot = Max(Min(a, b), Min(Max(a, b), c));
		uint32		less = low;
		uint32		equal;

		/* those below the pivot in front, then those equal to it */
		for (uint32 i = low; i < high; i++)
		{
			KnnQueueItem item = pool[i];

			pool[i] = pool[less];
			pool[less] = item;
			less += item.key < pivot;
		}
		equal = less;
		for (uint32 i = less; i < high; i++)
		{
			KnnQueueItem item = pool[i];

			pool[i] = pool[equal];
			pool[equal] = item;
			equal += item.key == pivot;
		}
		if (n < less)
			high = less;
		else if (n <= equal)
			return equal;
		else
			low = equal;
	}
	return high;
}

void
KnnQueueSelect(KnnQueue *queue, uint32 n)
{
	uint32		taken = queue->npool;
	float		least = get_float4_infinity();

	n = Max(n, FEW);
	if (n < queue->npool)
		taken = select_least(queue->pool, queue->npool, n);
	for (uint32 i = 0; i < taken; i++)
		push_heap(queue, queue->pool[i]);
	queue->npool -= taken;
	for (uint32 i = 0; i < queue->npool; i++)
	{
		queue->pool[i] = queue->pool[taken + i];
		least = Min(least, queue->pool[i].key);
	}
	queue->least = least;
	queue->selected = Min(n, UINT32_MAX / 4);
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
