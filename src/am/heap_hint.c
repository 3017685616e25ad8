/*
 * heap_hint.c
 *		Finding the table's rows that a scan returns by hints; see heap_hint.h.
 *
 * The rows of a nearest-neighbour query lie all over the table, so that finding
 * their pages in the buffer mapping table is two or three cache misses each, one
 * after the other: a tenth of a query.  Each backend remembers in which buffers it
 * found some thousand heap pages lately.  For a row on such a page the buffer is
 * pinned right here (if it still holds the page) and handed to the heap's fetch as
 * its current one, which then need not look it up; and since the rows of the next
 * results are known before they are asked for, their cache misses overlap.
 *
 * Only for tables of the heap access method; others are left alone.
 */
#include "postgres.h"

#include "am/heap_hint.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "compat.h"
#include "storage/buf_internals.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* A power of two.  Twelve bytes each, for each backend that searches. */
#define HINTS 8192

typedef struct HeapHint
{
	Oid			file;
	BlockNumber block;
	Buffer		buffer;			/* InvalidBuffer: none */
} HeapHint;

static HeapHint *hints = NULL;

static inline HeapHint *
hint_of(Oid file, BlockNumber block)
{
	uint32		hash = (block ^ (file << 7)) * UINT32_C(0x9E3779B9);

	return &hints[hash >> (32 - 13)];
}

StaticAssertDecl(HINTS == 1 << 13, "hint_of makes numbers of 13 bits");

/* The scan's fetch of heap rows, if it is one. */
static inline IndexFetchHeapData *
fetch_of(IndexScanDesc scan)
{
	if (scan->xs_heapfetch == NULL || scan->heapRelation == NULL ||
		scan->heapRelation->rd_tableam != GetHeapamTableAmRoutine())
		return NULL;
	return (IndexFetchHeapData *) scan->xs_heapfetch;
}

static const HeapHint *
find_hint(IndexScanDesc scan, BlockNumber block)
{
	Oid			file = KnnRelationFile(scan->heapRelation);
	const HeapHint *hint;

	if (hints == NULL)
		return NULL;
	hint = hint_of(file, block);
	/* local buffers are found fast as it is */
	return hint->block == block && hint->file == file && hint->buffer > 0 ? hint : NULL;
}

void
KnnHeapHintLearn(IndexScanDesc scan)
{
	IndexFetchHeapData *fetch = fetch_of(scan);
	BlockNumber block;
	HeapHint   *hint;

	if (fetch == NULL || !BufferIsValid(fetch->xs_cbuf) || BufferIsLocal(fetch->xs_cbuf))
		return;
	if (hints == NULL)
		hints = MemoryContextAllocZero(TopMemoryContext, sizeof(HeapHint) * HINTS);
	block = BufferGetBlockNumber(fetch->xs_cbuf);
	hint = hint_of(KnnRelationFile(scan->heapRelation), block);
	hint->file = KnnRelationFile(scan->heapRelation);
	hint->block = block;
	hint->buffer = fetch->xs_cbuf;
}

void
KnnHeapHintPrefetch(IndexScanDesc scan, ItemPointer tid)
{
	const HeapHint *hint = fetch_of(scan) ? find_hint(scan, ItemPointerGetBlockNumber(tid)) : NULL;
	const char *page;

	if (hint == NULL)
		return;
	page = (const char *) BufferBlocks + (Size) (hint->buffer - 1) * BLCKSZ;
	__builtin_prefetch(GetBufferDescriptor(hint->buffer - 1), 1);
	__builtin_prefetch(page);
	__builtin_prefetch(page + SizeOfPageHeaderData +
					   (ItemPointerGetOffsetNumber(tid) - 1) % MaxHeapTuplesPerPage * sizeof(ItemIdData));
}

/*
 * The page is neither pinned nor locked, and may have become another one: what is
 * read of it is taken for an address in it and for nothing else.
 */
void
KnnHeapHintPrefetchTuple(IndexScanDesc scan, ItemPointer tid)
{
	const HeapHint *hint = fetch_of(scan) ? find_hint(scan, ItemPointerGetBlockNumber(tid)) : NULL;
	const char *page;
	const char *item;
	uint32		word;

	if (hint == NULL)
		return;
	page = (const char *) BufferBlocks + (Size) (hint->buffer - 1) * BLCKSZ;
	item = page + SizeOfPageHeaderData +
		(ItemPointerGetOffsetNumber(tid) - 1) % MaxHeapTuplesPerPage * sizeof(ItemIdData);
	word = *(const volatile uint32 *) item;
	/* ItemIdData's first 15 bits are the offset of the tuple */
	__builtin_prefetch(page + (word & 0x7FFF) % BLCKSZ);
}

void
KnnHeapHintPin(IndexScanDesc scan, ItemPointer tid)
{
	IndexFetchHeapData *fetch = fetch_of(scan);
	BlockNumber block = ItemPointerGetBlockNumber(tid);
	const HeapHint *hint = fetch ? find_hint(scan, block) : NULL;

	if (hint == NULL || hint->buffer == fetch->xs_cbuf ||
		!KnnReadRecentBuffer(scan->heapRelation, block, hint->buffer))
		return;
	if (BufferIsValid(fetch->xs_cbuf))
		ReleaseBuffer(fetch->xs_cbuf);
	fetch->xs_cbuf = hint->buffer;
	/* which the fetch does for a page that it reads itself */
	heap_page_prune_opt(scan->heapRelation, fetch->xs_cbuf);
}
