/*
 * warm_pages.c
 *		Reading an index's pages into memory; see warm_pages.h.
 *
 * Nothing is kept of it and nothing held: pages are found in shared buffers by
 * whoever looks for them, and go as any other pages do.
 */
#include "postgres.h"

#include "cache/warm_pages.h"

#include "cache/counters.h"
#include "cache/progress.h"
#include "compat.h"
#include "executor/instrument.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/bufmgr.h"

#define PROGRESS_EVERY 64

BlockNumber
KnnPagesThatFit(void)
{
	return (BlockNumber) NBuffers / 4 * 3;
}

static void
read_pages(Relation index, BlockNumber from, BlockNumber to, BufferAccessStrategy strategy)
{
	for (BlockNumber block = from; block < to; block++)
	{
		CHECK_FOR_INTERRUPTS();
		ReleaseBuffer(ReadBufferExtended(index, MAIN_FORKNUM, block, RBM_NORMAL, strategy));
		if (block % PROGRESS_EVERY == PROGRESS_EVERY - 1)
			KnnProgressUpdate(block + 1);
	}
}

BlockNumber
KnnWarmPages(Relation index, BlockNumber room)
{
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	BlockNumber kept = Min(nblocks, room);
	int64		read_before = pgBufferUsage.shared_blks_read;
	int64		missed;
	instr_time	begun;
	instr_time	time;

	INSTR_TIME_SET_CURRENT(begun);
	KnnProgressPhase("loading", nblocks);
	read_pages(index, 0, kept, NULL);
	missed = pgBufferUsage.shared_blks_read - read_before;
	if (kept < nblocks)
	{
		BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);

		read_pages(index, kept, nblocks, strategy);
		FreeAccessStrategy(strategy);
	}
	INSTR_TIME_SET_CURRENT(time);
	INSTR_TIME_SUBTRACT(time, begun);
	if (missed > 0)
	{
		KnnCount(KNN_COUNT_LOAD_SUCCESS, 1);
		KnnCount(KNN_COUNT_LOAD_TIME, KnnNanoseconds(time));
		KnnCount(KNN_COUNT_LOAD_BYTES, (uint64) missed * BLCKSZ);
	}
	return nblocks;
}
