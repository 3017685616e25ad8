/*
 * build.c
 *		Bulk writing of a column during an index build.
 *
 * Pages are appended to the relation in block order and are not logged one by
 * one: the build logs all of them when it is complete.
 */
#include "postgres.h"

#include "store/store.h"

#include "miscadmin.h"

static void
finish_page(KnnColumnWriter *writer)
{
	KnnPageCover(BufferGetPage(writer->buffer), writer->used);
	MarkBufferDirty(writer->buffer);
	UnlockReleaseBuffer(writer->buffer);
	writer->buffer = InvalidBuffer;
}

static void
next_page(KnnColumnWriter *writer)
{
	CHECK_FOR_INTERRUPTS();
	writer->buffer = ReadBufferExtended(writer->index, MAIN_FORKNUM, P_NEW,
										RBM_ZERO_AND_LOCK, NULL);
	KnnPageInit(BufferGetPage(writer->buffer), writer->column);
	writer->used = 0;
	writer->items = 0;
}

void
KnnColumnWriterBegin(KnnColumnWriter *writer, Relation index,
					 const KnnColumnShape *shape, KnnColumn column)
{
	writer->index = index;
	writer->shape = shape;
	writer->column = column;
	writer->buffer = InvalidBuffer;
	writer->used = 0;
	writer->items = 0;
}

void
KnnColumnWriterAppend(KnnColumnWriter *writer, const void *item)
{
	uint32		width = writer->shape->width;
	uint32		done = 0;

	if (BufferIsValid(writer->buffer) && writer->shape->per_page != 0 &&
		writer->items == writer->shape->per_page)
		finish_page(writer);
	while (done < width)
	{
		uint32		part;

		if (!BufferIsValid(writer->buffer))
			next_page(writer);
		part = Min(width - done, KNN_PAGE_CAPACITY - writer->used);
		memcpy(KnnPageContents(BufferGetPage(writer->buffer)) + writer->used,
			   (const char *) item + done, part);
		writer->used += part;
		done += part;
		if (writer->used == KNN_PAGE_CAPACITY)
			finish_page(writer);
	}
	writer->items++;
}

void
KnnColumnWriterEnd(KnnColumnWriter *writer)
{
	if (BufferIsValid(writer->buffer))
		finish_page(writer);
}
