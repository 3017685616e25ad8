/*
 * check_pages.c
 *		Verification of pages and of the metapage; see check.h.
 *
 * Pages are copied under a share lock and looked at in the copy.  Nothing of a
 * page is used before its header, special area, and the end of what was written
 * have been verified.
 */
#include "postgres.h"

#include "api/check.h"

#include "am/opclass.h"
#include "am/shape.h"
#include "core/graph_search.h"
#include "miscadmin.h"
#include "type/knn_vector.h"
#include "utils/memutils.h"

void
KnnCheckFail(KnnCheck *check, BlockNumber block, const char *format,...)
{
	StringInfoData detail;

	initStringInfo(&detail);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&detail, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&detail, needed);
	}
	KnnReportDamage(check->index, block, detail.data);
}

BlockNumber
KnnCheckBlockOf(KnnCheck *check, KnnColumn column, uint32 id)
{
	return KnnStoreLocate(check->store, check->index, column, id).block;
}

/* ---- sets ---- */

void
KnnCheckSetInit(KnnCheckSet *set, uint64 nbits)
{
	set->nbits = nbits;
	set->bits = MemoryContextAllocExtended(CurrentMemoryContext, nbits / 8 + 1,
										   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

bool
KnnCheckSetAdd(KnnCheckSet *set, uint64 number)
{
	uint8		bit = (uint8) (1 << (number % 8));

	if (number >= set->nbits)
	{
		uint64		nbits = Max(number + 1, set->nbits + set->nbits / 8);

		set->bits = repalloc_huge(set->bits, nbits / 8 + 1);
		memset(set->bits + set->nbits / 8 + 1, 0, nbits / 8 - set->nbits / 8);
		set->nbits = nbits;
	}
	if (set->bits[number / 8] & bit)
		return false;
	set->bits[number / 8] |= bit;
	return true;
}

/* ---- pages ---- */

static bool
all_zero(const char *bytes, Size n)
{
	for (Size i = 0; i < n; i++)
	{
		if (bytes[i] != 0)
			return false;
	}
	return true;
}

bool
KnnCheckBlockExists(KnnCheck *check, BlockNumber block)
{
	if (block >= check->nblocks)
		check->nblocks = RelationGetNumberOfBlocks(check->index);
	return block < check->nblocks;
}

void
KnnCheckPage(KnnCheck *check, BlockNumber block, Page page, KnnColumn column)
{
	PageHeader	header = (PageHeader) page;
	const KnnColumnShape *shape = &check->store->columns[column];
	KnnPageSpecial *special;

	if (PageIsNew(page))
	{
		if (!all_zero(page, BLCKSZ))
			KnnCheckFail(check, block, "The page has no header but is not empty.");
		return;
	}
	KnnPageCheck(check->index, block, page, column);
	if (header->pd_flags != 0)
		KnnCheckFail(check, block, "The page header has unknown flags 0x%04X.", header->pd_flags);
	if (header->pd_prune_xid != 0)
		KnnCheckFail(check, block, "The page header has a transaction id.");
	special = KnnPageGetSpecial(page);
	if (special->unused1 != 0 || special->unused2 != 0)
		KnnCheckFail(check, block, "Unused bytes of the page's special area are not zero.");

	if (shape->per_page != 0 &&
		(header->pd_lower - MAXALIGN(SizeOfPageHeaderData)) % shape->width != 0)
		KnnCheckFail(check, block, "The page's contents end within an item.");

	/* this is left out of full-page images, so it would not survive either */
	if (!all_zero(page + header->pd_lower, header->pd_upper - header->pd_lower))
		KnnCheckFail(check, block, "There are data after the page's last item.");
}

bool
KnnCheckCovers(Page page, uint32 end)
{
	return !PageIsNew(page) &&
		((PageHeader) page)->pd_lower >= MAXALIGN(SizeOfPageHeaderData) + end;
}

/* Copy a page; false (and an empty page) when it is beyond the end. */
static bool
copy_page(KnnCheck *check, BlockNumber block, char *copy)
{
	Buffer		buffer;

	CHECK_FOR_INTERRUPTS();
	check->block = block;
	if (!KnnCheckBlockExists(check, block))
	{
		memset(copy, 0, BLCKSZ);
		return false;
	}
	buffer = ReadBufferExtended(check->index, MAIN_FORKNUM, block, RBM_NORMAL, check->strategy);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(copy, BufferGetPage(buffer), BLCKSZ);
	UnlockReleaseBuffer(buffer);
	return true;
}

/* ---- cursors ---- */

void
KnnCheckCursorInit(KnnCheckCursor *cursor, KnnCheck *check, KnnColumn column)
{
	cursor->check = check;
	cursor->column = column;
	cursor->block = InvalidBlockNumber;
	cursor->item = palloc(Max(check->store->columns[column].width, 1));
}

static void
cursor_load(KnnCheckCursor *cursor, BlockNumber block, bool fresh)
{
	KnnCheck   *check = cursor->check;

	if (block == cursor->block && !fresh)
		return;
	cursor->block = InvalidBlockNumber;
	if (copy_page(check, block, cursor->page.data))
	{
		KnnCheckPage(check, block, cursor->page.data, cursor->column);
		if (block < check->first_nblocks)
			KnnCheckSetAdd(&check->seen, block);
	}
	cursor->block = block;
}

const void *
KnnCheckItem(KnnCheckCursor *cursor, uint32 id, bool fresh)
{
	KnnCheck   *check = cursor->check;
	KnnItemAddress address = KnnStoreLocate(check->store, check->index, cursor->column, id);
	uint32		width = check->store->columns[cursor->column].width;
	uint32		done = 0;

	if (address.offset + width <= KNN_PAGE_CAPACITY)
	{
		cursor_load(cursor, address.block, fresh);
		if (!KnnCheckCovers(cursor->page.data, address.offset + width))
			return NULL;
		return KnnPageContents(cursor->page.data) + address.offset;
	}
	while (done < width)
	{
		uint32		part = Min(width - done, KNN_PAGE_CAPACITY - address.offset);

		cursor_load(cursor, address.block, fresh);
		if (!KnnCheckCovers(cursor->page.data, address.offset + part))
			return NULL;
		memcpy(cursor->item + done, KnnPageContents(cursor->page.data) + address.offset, part);
		done += part;
		address.block++;
		address.offset = 0;
	}
	return cursor->item;
}

/* ---- metapage ---- */

/*
 * KnnStoreOpen has verified what everything else rests on: magic, version,
 * shape, extents that follow each other up to nblocks, used ids within them, an
 * entry point that was given out.  This adds what the server can do without.
 */
void
KnnCheckMeta(KnnCheck *check)
{
	PGAlignedBlock page;
	const KnnMetaPage *meta = (const KnnMetaPage *) KnnPageContents(page.data);
	const KnnShape *shape = &meta->shape;
	int32		typmod = TupleDescAttr(RelationGetDescr(check->index), 0)->atttypmod;
	uint32		ncentres = 0;

	copy_page(check, KNN_META_BLOCK, page.data);
	KnnCheckPage(check, KNN_META_BLOCK, page.data, KNN_COLUMN_META);
	KnnCheckSetAdd(&check->seen, KNN_META_BLOCK);
	if (!KnnCheckCovers(page.data, offsetof(KnnMetaPage, extents)) ||
		meta->nextents > KNN_MAX_EXTENTS ||
		((PageHeader) page.data)->pd_lower != MAXALIGN(SizeOfPageHeaderData) +
		offsetof(KnnMetaPage, extents) + meta->nextents * sizeof(KnnMetaExtent))
		KnnCheckFail(check, KNN_META_BLOCK, "The page does not end with its list of extents.");

	if (shape->space != KnnIndexSpace(check->index))
		KnnCheckFail(check, KNN_META_BLOCK, "The index is of space %u, its operator class of space %d.",
					 shape->space, (int) KnnIndexSpace(check->index));
	if (typmod >= 0 && shape->data_type != KnnTypmodDataType(typmod))
		KnnCheckFail(check, KNN_META_BLOCK, "The index is of data type %u, its column of data type %d.",
					 shape->data_type, (int) KnnTypmodDataType(typmod));
	if (!KnnShapePossible(shape))
		KnnCheckFail(check, KNN_META_BLOCK,
					 "No index of data type %u has space %u, mode %u, compression level %u, encoding %u, vectors of kind %u and clip %u.",
					 shape->data_type, shape->space, shape->mode, shape->compression,
					 shape->encoding, shape->vectors, shape->clip);
	if (meta->entry == KNN_INVALID_ID ? meta->entry_level != 0 :
		shape->method == KNN_METHOD_HNSW && meta->entry_level > KNN_MAX_LEVEL)
		KnnCheckFail(check, KNN_META_BLOCK, "The entry point's level is %u.", meta->entry_level);

	for (uint32 i = 0; i < meta->nextents; i++)
	{
		if (meta->extents[i].group == KNN_GROUP_CENTRE)
			ncentres += meta->extents[i].nitems;
	}
	if ((ncentres > 0 && ncentres != KnnCentreItems(shape)) || meta->used[KNN_GROUP_CENTRE] != ncentres)
		KnnCheckFail(check, KNN_META_BLOCK, "%u of %u centres are in use.",
					 meta->used[KNN_GROUP_CENTRE], ncentres);
}

/* ---- what is left ---- */

/* Blocks of extents with no id in use: being filled, or left by a crash. */
static void
check_extent(KnnCheck *check, KnnGroup group, const KnnExtent *extent)
{
	int			first;
	int			last;
	PGAlignedBlock page;

	KnnGroupColumns(check->store->columns, group, &first, &last);
	for (int column = first; column <= last; column++)
	{
		BlockNumber start = extent->blocks[column - first];
		BlockNumber n = KnnColumnBlocks(&check->store->columns[column], extent->nitems);

		for (BlockNumber block = start; block < start + n && block < check->first_nblocks; block++)
		{
			if (!KnnCheckSetAdd(&check->seen, block))
				continue;
			copy_page(check, block, page.data);
			KnnCheckPage(check, block, page.data, (KnnColumn) column);
		}
	}
}

void
KnnCheckOtherBlocks(KnnCheck *check)
{
	KnnStore   *store = check->store;
	PGAlignedBlock page;

	for (int group = 0; group < KNN_NGROUPS; group++)
	{
		for (uint32 e = 0; e < store->nextents[group]; e++)
			check_extent(check, (KnnGroup) group, &store->extents[group][e]);
	}

	/* a crash may leave a longer file than the metapage knows: zeroes */
	for (BlockNumber block = store->nblocks; block < check->first_nblocks; block++)
	{
		copy_page(check, block, page.data);
		if (all_zero(page.data, BLCKSZ))
			continue;
		KnnStoreRefresh(store, check->index);
		if (block >= store->nblocks)
			KnnCheckFail(check, block, "The page belongs to no extent.");
	}
}
