/*
 * buffer.c
 *		Reading items of a store through the buffer manager.
 *
 * A graph search visits some thousand pages, nearly always pages that it visited
 * before, and most of what a visit costs is finding the buffer: hashing the tag
 * and locking a partition of the mapping table.  So each backend remembers which
 * buffer held a block when it last read it.  ReadRecentBuffer pins that buffer
 * if it still holds the block, and tells when it does not; the hint is nothing
 * but a hint.  Four bytes per block of the index.
 *
 * A page is checked when its hint is made, so that the scan path need not read
 * a page's header and tail each time.
 */
#include "postgres.h"

#include "store/store.h"

#include "access/xlog.h"
#include "compat.h"
#include "utils/memutils.h"

/*
 * Every so often a block is read in the ordinary way although its hint is good:
 * ReadRecentBuffer does not count as a use in the buffer replacement of older
 * servers, so that pages in constant use could be evicted.
 */
#define HINT_USES 32

static void
grow_hints(KnnStore *store, BlockNumber block)
{
	uint64		size = Max((uint64) store->nhints * 2, 64);
	Buffer	   *hints;

	while (size <= block)
		size *= 2;
	size = Min(size, MaxBlockNumber + UINT64CONST(1));
	hints = MemoryContextAllocExtended(store->context, mul_size(sizeof(Buffer), size),
									   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	if (store->hints)
	{
		memcpy(hints, store->hints, sizeof(Buffer) * store->nhints);
		pfree(store->hints);
	}
	store->hints = hints;
	store->nhints = (BlockNumber) size;
}

/*
 * Redo restores the image of a page that was evicted into a buffer that it holds
 * locked, zeroed and valid meanwhile.  Once the lock has been had the page is
 * whole, and later images do not change what was there.
 */
static void
wait_for_redo(Buffer buffer)
{
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
}

static Buffer
pin_and_check(KnnStore *store, Relation index, BlockNumber block, KnnColumn column)
{
	Buffer		buffer = ReadBuffer(index, block);

	if (RecoveryInProgress())
		wait_for_redo(buffer);
	if (unlikely(!KnnPageIsValid(BufferGetPage(buffer), column)))
	{
		/*
		 * Not necessarily damage: the page may be being initialised right now by
		 * an insert that was given its first item.  Items are published after
		 * they are written, so whoever comes here looks for one that is there,
		 * and the lock makes the writer's page visible as a whole.
		 */
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		KnnPageCheck(index, block, BufferGetPage(buffer), column);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	if (unlikely(block >= store->nhints))
		grow_hints(store, block);
	store->hints[block] = buffer;
	return buffer;
}

Buffer
KnnStorePin(KnnStore *store, Relation index, BlockNumber block, KnnColumn column)
{
	if (likely(block < store->nhints))
	{
		Buffer		hint = store->hints[block];

		if (likely(hint != InvalidBuffer) &&
			likely(++store->hint_uses % HINT_USES != 0) &&
			likely(KnnReadRecentBuffer(index, block, hint)))
		{
			if (unlikely(RecoveryInProgress()))
				wait_for_redo(hint);
			return hint;
		}
	}
	return pin_and_check(store, index, block, column);
}

const void *
KnnStoreReadFixed(KnnStore *store, Relation index, KnnColumn column,
				  uint32 id, void *scratch, Buffer *buffer)
{
	KnnItemAddress address = KnnStoreLocate(store, index, column, id);
	uint32		width = store->columns[column].width;
	uint32		done;

	*buffer = KnnStorePin(store, index, address.block, column);
	if (likely(address.offset + width <= KNN_PAGE_CAPACITY))
		return KnnPageContents(BufferGetPage(*buffer)) + address.offset;

	done = KNN_PAGE_CAPACITY - address.offset;
	memcpy(scratch, KnnPageContents(BufferGetPage(*buffer)) + address.offset, done);
	ReleaseBuffer(*buffer);
	while (done < width)
	{
		uint32		part = Min(width - done, KNN_PAGE_CAPACITY);

		*buffer = KnnStorePin(store, index, ++address.block, column);
		memcpy((char *) scratch + done, KnnPageContents(BufferGetPage(*buffer)), part);
		ReleaseBuffer(*buffer);
		done += part;
	}
	*buffer = InvalidBuffer;
	return scratch;
}

void
KnnStoreCopy(KnnStore *store, Relation index, KnnColumn column, uint32 id, void *out)
{
	KnnItemAddress address = KnnStoreLocate(store, index, column, id);
	uint32		width = store->columns[column].width;
	Buffer		buffer = KnnStorePin(store, index, address.block, column);

	Assert(address.offset + width <= KNN_PAGE_CAPACITY);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(out, KnnPageContents(BufferGetPage(buffer)) + address.offset, width);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	ReleaseBuffer(buffer);
}

bool
KnnStoreCopyIfWritten(KnnStore *store, Relation index, KnnColumn column, uint32 id, void *out)
{
	KnnItemAddress address = KnnStoreLocate(store, index, column, id);
	Buffer		buffer;
	bool		is_new;

	if (address.block >= RelationGetNumberOfBlocks(index))
		return false;
	buffer = ReadBuffer(index, address.block);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	is_new = PageIsNew(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	if (is_new)
		return false;
	KnnStoreCopy(store, index, column, id, out);
	return true;
}
