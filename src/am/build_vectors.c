/*
 * build_vectors.c
 *		The vectors that a build has read from the table; see build_vectors.h.
 */
#include "postgres.h"

#include "am/build_vectors.h"

#include "storage/shmem.h"
#include "utils/memutils.h"

void
KnnBuildVectorsBegin(KnnBuildVectors *vectors, MemoryContext context, Size item_size, uint64 memory)
{
	memset(vectors, 0, sizeof(*vectors));
	vectors->context = context;
	vectors->item_size = item_size;
	vectors->memory = memory;
	vectors->scratch = MemoryContextAlloc(context, item_size);
}

static void
grow(KnnBuildVectors *vectors)
{
	uint64		room = Max(vectors->room * 2, 1024);

	room = Min(room, vectors->memory / vectors->item_size);
	if (vectors->items == NULL)
		vectors->items = MemoryContextAllocHuge(vectors->context, mul_size(vectors->item_size, room));
	else
		vectors->items = repalloc_huge(vectors->items, mul_size(vectors->item_size, room));
	vectors->room = room;
}

void
KnnBuildVectorsAppend(KnnBuildVectors *vectors, const void *item)
{
	if (vectors->nitems == vectors->in_memory &&
		(vectors->nitems + 1) * vectors->item_size <= vectors->memory)
	{
		if (vectors->nitems == vectors->room)
			grow(vectors);
		memcpy(vectors->items + vectors->item_size * vectors->nitems, item, vectors->item_size);
		vectors->in_memory++;
	}
	else
	{
		MemoryContext old = MemoryContextSwitchTo(vectors->context);

		if (vectors->file == NULL)
			vectors->file = BufFileCreateTemp(false);
		BufFileWrite(vectors->file, (void *) item, vectors->item_size);
		vectors->position = UINT64_MAX;
		MemoryContextSwitchTo(old);
	}
	vectors->nitems++;
}

const void *
KnnBuildVectorsGet(KnnBuildVectors *vectors, uint64 number)
{
	Assert(number < vectors->nitems);
	if (number < vectors->in_memory)
		return vectors->items + vectors->item_size * number;
	if (number != vectors->position &&
		BufFileSeek(vectors->file, 0,
					(off_t) ((number - vectors->in_memory) * vectors->item_size), SEEK_SET) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not seek in temporary file: %m")));
	if (BufFileRead(vectors->file, vectors->scratch, vectors->item_size) != vectors->item_size)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read vectors back from temporary file: %m")));
	vectors->position = number + 1;
	return vectors->scratch;
}

void
KnnBuildVectorsEnd(KnnBuildVectors *vectors)
{
	if (vectors->file)
		BufFileClose(vectors->file);
	if (vectors->items)
		pfree(vectors->items);
	pfree(vectors->scratch);
	memset(vectors, 0, sizeof(*vectors));
}
