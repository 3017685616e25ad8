/*
 * spool.c
 *		The vectors that a build has read from the table; see spool.h.
 */
#include "postgres.h"

#include "am/spool.h"

#include "utils/memutils.h"

void
KnnSpoolBegin(KnnSpool *spool, MemoryContext context, Size item_size, uint64 memory)
{
	memset(spool, 0, sizeof(*spool));
	spool->context = context;
	spool->item_size = item_size;
	spool->memory = memory;
	spool->scratch = MemoryContextAlloc(context, item_size);
}

static void
grow(KnnSpool *spool)
{
	uint64		room = Max(spool->room * 2, 1024);

	room = Min(room, spool->memory / spool->item_size);
	if (spool->items == NULL)
		spool->items = MemoryContextAllocHuge(spool->context, mul_size(spool->item_size, room));
	else
		spool->items = repalloc_huge(spool->items, mul_size(spool->item_size, room));
	spool->room = room;
}

void
KnnSpoolAppend(KnnSpool *spool, const void *item)
{
	if (spool->nitems == spool->in_memory &&
		(spool->nitems + 1) * spool->item_size <= spool->memory)
	{
		if (spool->nitems == spool->room)
			grow(spool);
		memcpy(spool->items + spool->item_size * spool->nitems, item, spool->item_size);
		spool->in_memory++;
	}
	else
	{
		MemoryContext old = MemoryContextSwitchTo(spool->context);

		if (spool->file == NULL)
			spool->file = BufFileCreateTemp(false);
		BufFileWrite(spool->file, (void *) item, spool->item_size);
		spool->position = UINT64_MAX;
		MemoryContextSwitchTo(old);
	}
	spool->nitems++;
}

const void *
KnnSpoolGet(KnnSpool *spool, uint64 number)
{
	Assert(number < spool->nitems);
	if (number < spool->in_memory)
		return spool->items + spool->item_size * number;
	if (number != spool->position &&
		BufFileSeek(spool->file, 0,
					(off_t) ((number - spool->in_memory) * spool->item_size), SEEK_SET) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not seek in temporary file: %m")));
	if (BufFileRead(spool->file, spool->scratch, spool->item_size) != spool->item_size)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read vectors back from temporary file: %m")));
	spool->position = number + 1;
	return spool->scratch;
}

void
KnnSpoolEnd(KnnSpool *spool)
{
	if (spool->file)
		BufFileClose(spool->file);
	if (spool->items)
		pfree(spool->items);
	pfree(spool->scratch);
	memset(spool, 0, sizeof(*spool));
}
