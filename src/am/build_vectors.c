/*
 * build_vectors.c
 *		The vectors that a build has read from the table; see build_vectors.h.
 */
#include "postgres.h"

#include "am/build_vectors.h"

#include <sys/stat.h>

#include "commands/progress.h"
#include "commands/tablespace.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/backend_progress.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#define BUFFER_SIZE ((Size) 256 * 1024)

void
KnnBuildVectorsBegin(KnnBuildVectors *vectors, MemoryContext context, Size item_size, uint64 memory)
{
	memset(vectors, 0, sizeof(*vectors));
	vectors->context = context;
	vectors->item_size = item_size;
	vectors->memory = memory;
}

/* ---- the file ---- */

static void
open_file(KnnBuildVectors *vectors)
{
	PrepareTempTablespaces();
	vectors->file = OpenTemporaryFile(false);
	vectors->buffer_room = Max(BUFFER_SIZE / vectors->item_size, 1);
	vectors->buffer = MemoryContextAlloc(vectors->context, vectors->buffer_room * vectors->item_size);
}

static void
write_buffer(KnnBuildVectors *vectors)
{
	Size		left = vectors->buffered * vectors->item_size;
	char	   *from = vectors->buffer;
	off_t		offset = vectors->first * vectors->item_size;

	CHECK_FOR_INTERRUPTS();
	while (left > 0)
	{
		int			n;

		errno = 0;
		n = FileWrite(vectors->file, from, left, offset, WAIT_EVENT_BUFFILE_WRITE);
		if (n <= 0)
		{
			if (errno == 0)
				errno = ENOSPC;
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not write to file \"%s\": %m", FilePathName(vectors->file))));
		}
		from += n;
		offset += n;
		left -= n;
	}
	vectors->dirty = false;
}

static void
read_items(KnnBuildVectors *vectors, uint64 first, uint64 count, char *to)
{
	uint64		left = count * vectors->item_size;
	off_t		offset = first * vectors->item_size;

	while (left > 0)
	{
		int			n;

		CHECK_FOR_INTERRUPTS();
		errno = 0;
		n = FileRead(vectors->file, to, Min(left, 4 * BUFFER_SIZE), offset, WAIT_EVENT_BUFFILE_READ);
		if (n < 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read vectors back from file \"%s\": %m",
							FilePathName(vectors->file))));
		if (n == 0)
			ereport(ERROR,
					(errcode(ERRCODE_IO_ERROR),
					 errmsg("could not read vectors back from file \"%s\": it has become shorter",
							FilePathName(vectors->file))));
		to += n;
		offset += n;
		left -= n;
	}
}

/* Items of the file, from this one on, so many as are asked for next, it seems. */
static void
fill_buffer(KnnBuildVectors *vectors, uint64 number)
{
	uint64		count = 1;
	uint64		written = vectors->nitems - vectors->in_memory;

	if (vectors->dirty)
		write_buffer(vectors);
	else if (number == vectors->first + vectors->buffered)
		count = Min(vectors->buffered * 2, vectors->buffer_room);
	vectors->buffered = 0;
	count = Min(count, written - number);
	read_items(vectors, number, count, vectors->buffer);
	vectors->first = number;
	vectors->buffered = count;
}

/* ---- items ---- */

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
		if (vectors->file == 0)
			open_file(vectors);
		else if (!vectors->dirty || vectors->buffered == vectors->buffer_room)
		{
			if (vectors->dirty)
				write_buffer(vectors);
			vectors->first = vectors->nitems - vectors->in_memory;
			vectors->buffered = 0;
		}
		memcpy(vectors->buffer + vectors->item_size * vectors->buffered, item, vectors->item_size);
		vectors->buffered++;
		vectors->dirty = true;
	}
	vectors->nitems++;
}

const void *
KnnBuildVectorsGet(KnnBuildVectors *vectors, uint64 number)
{
	Assert(number < vectors->nitems);
	if (number < vectors->in_memory)
		return vectors->items + vectors->item_size * number;
	number -= vectors->in_memory;
	if (number < vectors->first || number >= vectors->first + vectors->buffered)
		fill_buffer(vectors, number);
	return vectors->buffer + vectors->item_size * (number - vectors->first);
}

static void
set_mode(KnnBuildVectors *vectors, mode_t mode)
{
	const char *path = FilePathName(vectors->file);

	if (chmod(path, mode) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not set permissions of file \"%s\": %m", path)));
}

char *
KnnBuildVectorsLend(KnnBuildVectors *vectors)
{
	const char *path;

	Assert(vectors->in_memory == 0 && vectors->file != 0);
	if (vectors->dirty)
		write_buffer(vectors);
	/* should that program fail, these are still the vectors */
	set_mode(vectors, S_IRUSR);
	path = FilePathName(vectors->file);
	return is_absolute_path(path) ? pstrdup(path) : psprintf("%s/%s", DataDir, path);
}

void
KnnBuildVectorsTakeBack(KnnBuildVectors *vectors)
{
	/* the server may have to open it again, which it does for writing */
	set_mode(vectors, S_IRUSR | S_IWUSR);
}

void
KnnBuildVectorsWrite(KnnBuildVectors *vectors, const uint32 *numbers, uint32 n,
					 Relation index, const KnnColumnShape *columns, BlockNumber *next)
{
	uint32		width = columns[KNN_COLUMN_VECTOR].width;
	char	   *item = palloc0(Max(width, vectors->item_size));
	KnnColumnWriter writer;

	KnnColumnWriterBegin(&writer, index, columns, KNN_COLUMN_VECTOR, next);
	for (uint32 i = 0; i < n; i++)
	{
		const void *kept = KnnBuildVectorsGet(vectors, numbers[i]);

		/* halves take a multiple of 4 bytes */
		if (width > vectors->item_size)
			kept = memcpy(item, kept, vectors->item_size);
		KnnColumnWriterAppend(&writer, kept);
		if (i % 1024 == 1023)
			pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, i + 1);
	}
	KnnColumnWriterEnd(&writer);
	pfree(item);
}

void
KnnBuildVectorsEnd(KnnBuildVectors *vectors)
{
	if (vectors->file != 0)
	{
		FileClose(vectors->file);
		pfree(vectors->buffer);
	}
	if (vectors->items)
		pfree(vectors->items);
	memset(vectors, 0, sizeof(*vectors));
}
