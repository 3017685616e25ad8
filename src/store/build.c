/*
 * build.c
 *		Bulk writing of the metapage and of columns during an index build.
 *
 * Pages fill blocks that were reserved (reserve.c), in their order, and are not logged
 * one by one: the build logs all of them when it is complete.
 */
#include "postgres.h"

#include "store/store.h"

#include "access/xloginsert.h"
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
	writer->buffer = ReadBufferExtended(writer->index, MAIN_FORKNUM, *writer->next,
										RBM_ZERO_AND_LOCK, NULL);
	(*writer->next)++;
	KnnPageInit(BufferGetPage(writer->buffer), writer->column);
	writer->used = 0;
	writer->items = 0;
}

void
KnnColumnWriterBegin(KnnColumnWriter *writer, Relation index, const KnnColumnShape *columns,
					 KnnColumn column, BlockNumber *next)
{
	writer->index = index;
	writer->shape = &columns[column];
	writer->column = column;
	writer->next = next;
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

/* ---- metapage ---- */

Buffer
KnnMetaPageBegin(Relation index, const KnnShape *shape)
{
	Buffer		buffer = ReadBufferExtended(index, MAIN_FORKNUM, P_NEW, RBM_ZERO_AND_LOCK, NULL);

	if (BufferGetBlockNumber(buffer) != KNN_META_BLOCK)
		elog(ERROR, "index \"%s\" is not empty", RelationGetRelationName(index));
	KnnMetaPageInit(BufferGetPage(buffer), shape);
	return buffer;
}

void
KnnMetaAddExtent(KnnMetaPage *meta, const KnnColumnShape *columns, KnnGroup group, uint32 nitems)
{
	KnnMetaExtent *extent;
	BlockNumber blocks;

	if (nitems == 0)
		return;
	blocks = KnnExtentBlocks(columns, group, nitems);
	if (blocks > MaxBlockNumber - meta->nblocks)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index would have more than %u blocks", MaxBlockNumber),
				 errhint("Partition the table.")));
	extent = &meta->extents[meta->nextents++];
	extent->group = group;
	extent->nitems = nitems;
	extent->first_block = meta->nblocks;
	meta->nblocks += blocks;
	meta->used[group] = nitems;
}

BlockNumber
KnnMetaPageEnd(Buffer buffer)
{
	KnnMetaPage *meta = (KnnMetaPage *) KnnPageContents(BufferGetPage(buffer));
	BlockNumber expected = meta->nblocks;

	KnnPageCover(BufferGetPage(buffer), offsetof(KnnMetaPage, extents) +
				 sizeof(KnnMetaExtent) * meta->nextents);
	MarkBufferDirty(buffer);
	UnlockReleaseBuffer(buffer);
	return expected;
}

void
KnnCheckBuiltBlocks(Relation index, BlockNumber expected)
{
	if (RelationGetNumberOfBlocks(index) != expected)
		elog(ERROR, "index \"%s\" has %u blocks after its build, expected %u",
			 RelationGetRelationName(index), RelationGetNumberOfBlocks(index), expected);
}

void
KnnWriteInitFork(Relation index, const KnnShape *shape)
{
	Buffer		buffer = ReadBufferExtended(index, INIT_FORKNUM, P_NEW, RBM_ZERO_AND_LOCK, NULL);

	START_CRIT_SECTION();
	KnnMetaPageInit(BufferGetPage(buffer), shape);
	MarkBufferDirty(buffer);
	log_newpage_buffer(buffer, true);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(buffer);
}
