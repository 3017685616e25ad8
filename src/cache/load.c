/*
 * load.c
 *		Loading mirrors from pages, growing and refreshing them; see mirror.h.
 */
#include "postgres.h"

#include "cache/mirror.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "cache/evict.h"
#include "cache/settings.h"
#include "compat.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/bufmgr.h"
#include "storage/ipc.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/* Pages requested ahead of the one that is copied, when they are on disk. */
#define READ_AHEAD 32

/* ---- geometry ---- */

static uint32
stride_of(const KnnStore *store, KnnMirrorColumnId column)
{
	switch (column)
	{
		case KNN_MIRROR_LINKS:
			return sizeof(uint32) * 2 * store->shape.m;
		case KNN_MIRROR_HEAD:
			return sizeof(knn_flat_head);
		case KNN_MIRROR_CODE:
			return knn_flat_code_stride(KnnCodeSize(&store->shape));
		case KNN_MIRROR_ROW:
			return sizeof(KnnMirrorRow);
		default:
			return sizeof(uint32) * store->shape.m;
	}
}

static inline KnnGroup
group_of(KnnMirrorColumnId column)
{
	return column == KNN_MIRROR_UPPER ? KNN_GROUP_UPPER : KNN_GROUP_NODE;
}

static inline uint32
units_for(uint32 nitems, uint32 per_unit)
{
	return nitems / per_unit + (nitems % per_unit != 0);
}

static uint32
units_needed(const KnnStore *store)
{
	uint64		units = 0;

	for (int c = 0; c < KNN_MIRROR_NCOLUMNS; c++)
		units += units_for(store->used[group_of(c)], KNN_UNIT_BYTES / stride_of(store, c));
	return (uint32) Min(units, KNN_NO_UNIT - 1);
}

uint64
KnnMirrorBytes(const KnnStore *store)
{
	return (uint64) units_needed(store) * KNN_UNIT_BYTES;
}

/* ---- growing ---- */

/* Under the lock: units for ids less than count; false when there is no room. */
static bool
cover(KnnMirror *mirror, KnnGroup group, uint32 count, bool forced)
{
	uint32		wanted[KNN_MIRROR_NCOLUMNS] = {0};
	uint32		sum = 0;

	for (int c = 0; c < KNN_MIRROR_NCOLUMNS; c++)
	{
		uint32		nunits = pg_atomic_read_u32(&mirror->columns[c].nunits);
		uint32		needed = units_for(count, mirror->columns[c].per_unit);

		if (group_of(c) == group && needed > nunits)
			wanted[c] = needed - nunits;
		sum += wanted[c];
	}
	if (sum > 0 && !KnnCacheMakeRoom(sum, mirror, forced))
		return false;
	for (int c = 0; c < KNN_MIRROR_NCOLUMNS; c++)
	{
		if (!KnnMirrorAddUnits(mirror, c, wanted[c]))
			return false;
	}
	pg_write_barrier();
	pg_atomic_write_u32(&mirror->covered[group], count);
	return true;
}

/* Does the view's mirror still exist?  Under the lock. */
static bool
is_current(const KnnMirrorView *view)
{
	uint32		state = pg_atomic_read_u32(&view->mirror->state);

	return pg_atomic_read_u64(&view->mirror->generation) == view->generation &&
		(state == KNN_MIRROR_READY || state == KNN_MIRROR_LOADING);
}

void
KnnMirrorCover(KnnMirrorView *view, KnnGroup group, uint32 count)
{
	KnnMirror  *mirror = view->mirror;

	if (count <= pg_atomic_read_u32(&mirror->covered[group]))
		return;
	LWLockAcquire(KnnCache->lock, LW_EXCLUSIVE);
	if (is_current(view) && count > pg_atomic_read_u32(&mirror->covered[group]) &&
		!cover(mirror, group, count, false))
	{
		KnnBreakerRefused((uint64) (mirror->nunits + 1) * KNN_UNIT_BYTES);
		KnnCacheDiscard(mirror);
		KnnCount(KNN_COUNT_EVICTION, 1);
	}
	LWLockRelease(KnnCache->lock);
}

/* ---- copying pages ---- */

typedef struct Copy
{
	Relation	index;
	KnnStore   *store;
	KnnMirrorView *view;
	BufferAccessStrategy strategy;
	BlockNumber nblocks;		/* of the relation */
	XLogRecPtr	since;			/* only pages with a later LSN */
	uint64		done;			/* pages */
} Copy;

static void
copy_page(Copy *copy, KnnColumn column, BlockNumber block, uint32 first, uint32 nitems)
{
	uint32		width = copy->store->columns[column].width;
	Buffer		buffer;
	Page		page;

	CHECK_FOR_INTERRUPTS();
	KnnProgressUpdate(++copy->done);
	if (block >= copy->nblocks)
		return;					/* given out, but never written */
	buffer = ReadBufferExtended(copy->index, MAIN_FORKNUM, block, RBM_NORMAL, copy->strategy);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	if (!PageIsNew(page) && (copy->since == InvalidXLogRecPtr || PageGetLSN(page) > copy->since))
	{
		KnnPageCheck(copy->index, block, page, column);
		for (uint32 i = 0; i < nitems; i++)
			KnnMirrorStore(copy->view, copy->store, column, first + i,
						   KnnPageContents(page) + (Size) i * width);
	}
	UnlockReleaseBuffer(buffer);
}

/*
 * Codes that cross pages, a run of blocks at a time.  Those that were given out
 * and never written may have no pages, so that each is looked up with care.
 *
 * All pages of an item are locked, upwards as writers do, until it is stored: an
 * insert writes the last of them and then publishes the item, which must not be
 * overwritten by a part of it that was read before.
 */
static void
copy_crossing(Copy *copy, KnnColumn column, const KnnExtent *extent, uint32 nitems)
{
	KnnStore   *store = copy->store;
	uint32		width = store->columns[column].width;
	char	   *item = palloc(width);
	Buffer	   *buffers = palloc(sizeof(Buffer) * (width / KNN_PAGE_CAPACITY + 2));

	for (uint32 i = 0; i < nitems; i++)
	{
		uint32		id = extent->first + i;
		KnnItemAddress address = KnnStoreLocate(store, copy->index, column, id);
		uint32		nbuffers = (address.offset + width - 1) / KNN_PAGE_CAPACITY + 1;
		uint32		done = 0;
		bool		written = true;
		bool		changed = copy->since == InvalidXLogRecPtr;

		CHECK_FOR_INTERRUPTS();
		KnnProgressUpdate(copy->done + (uint64) i * width / KNN_PAGE_CAPACITY);
		if (address.block + nbuffers > copy->nblocks)
			continue;
		/* read before locking: a read may have to evict and do I/O */
		for (uint32 b = 0; b < nbuffers; b++)
			buffers[b] = ReadBufferExtended(copy->index, MAIN_FORKNUM, address.block + b,
											RBM_NORMAL, copy->strategy);
		for (uint32 b = 0; b < nbuffers; b++)
		{
			uint32		part = Min(width - done, KNN_PAGE_CAPACITY - address.offset);
			Page		page = BufferGetPage(buffers[b]);

			LockBuffer(buffers[b], BUFFER_LOCK_SHARE);
			if (PageIsNew(page))
				written = false;
			else
			{
				KnnPageCheck(copy->index, address.block + b, page, column);
				changed = changed || PageGetLSN(page) > copy->since;
				memcpy(item + done, KnnPageContents(page) + address.offset, part);
			}
			done += part;
			address.offset = 0;
		}
		if (written && changed)
			KnnMirrorStore(copy->view, store, column, id, item);
		for (uint32 b = 0; b < nbuffers; b++)
			UnlockReleaseBuffer(buffers[b]);
	}
	copy->done += (uint64) nitems * width / KNN_PAGE_CAPACITY;
	pfree(buffers);
	pfree(item);
}

static void
copy_column(Copy *copy, KnnColumn column)
{
	KnnStore   *store = copy->store;
	const KnnColumnShape *shape = &store->columns[column];
	KnnGroup	group = shape->group;
	uint32		used = store->used[group];
	int			place = group == KNN_GROUP_NODE ? column - KNN_COLUMN_TID : 0;

	for (uint32 e = 0; e < store->nextents[group]; e++)
	{
		KnnExtent	extent = store->extents[group][e];
		BlockNumber block = extent.blocks[place];
		uint32		nitems;

		if (extent.first >= used)
			break;
		nitems = Min(extent.nitems, used - extent.first);
		if (shape->per_page == 0)
		{
			copy_crossing(copy, column, &extent, nitems);
			continue;
		}
		for (uint32 at = 0; at < nitems; at += shape->per_page, block++)
		{
			if (block + READ_AHEAD < copy->nblocks &&
				at / shape->per_page + READ_AHEAD < units_for(nitems, shape->per_page))
				(void) PrefetchBuffer(copy->index, MAIN_FORKNUM, block + READ_AHEAD);
			copy_page(copy, column, block, extent.first + at,
					  Min(shape->per_page, nitems - at));
		}
	}
}

/*
 * Links come first.  On a standby a node counts as linked when a link to it was
 * copied, so that everything else of it, which was replayed before that link, has
 * to be copied after (test/model/standby.pml).  Readers of a mirror that is being
 * refreshed do not follow links to nodes that were not in it before.
 */
static void
copy_all(Copy *copy)
{
	static const KnnColumn columns[] = {
		KNN_COLUMN_LINKS, KNN_COLUMN_UPPER, KNN_COLUMN_CODE, KNN_COLUMN_TID
	};
	uint64		pages = 0;

	copy->nblocks = RelationGetNumberOfBlocks(copy->index);
	for (int i = 0; i < lengthof(columns); i++)
	{
		const KnnColumnShape *shape = &copy->store->columns[columns[i]];

		pages += (uint64) copy->store->used[shape->group] * shape->width / KNN_PAGE_CAPACITY;
	}
	/* what does not fit into shared_buffers should not push everything else out */
	if (pages > (uint64) NBuffers / 4)
		copy->strategy = GetAccessStrategy(BAS_BULKREAD);
	KnnProgressPhase("loading", pages);
	for (int i = 0; i < lengthof(columns); i++)
		copy_column(copy, columns[i]);
	if (copy->strategy)
		FreeAccessStrategy(copy->strategy);
}

/* ---- standby: which nodes are whole ---- */

/* Does any neighbour of a node link to it? */
static bool
is_linked(const knn_flat_graph *graph, uint32 id)
{
	const uint32 *links = (const uint32 *) knn_flat_item(&graph->links, id);

	for (uint32 i = 0; i < 2 * graph->m && links[i] != 0; i++)
	{
		const uint32 *back;

		if (links[i] - 1 >= graph->nnodes)
			continue;
		back = (const uint32 *) knn_flat_item(&graph->links, links[i] - 1);
		for (uint32 j = 0; j < 2 * graph->m && back[j] != 0; j++)
		{
			if (back[j] == id + 1)
				return true;
		}
	}
	return false;
}

/*
 * Around changes of how a standby's mirror is to be used: whoever reads that
 * meanwhile tries again.  Only one process is here.
 */
static void
begin_change(KnnMirror *mirror)
{
	pg_atomic_write_u32(&mirror->version, pg_atomic_read_u32(&mirror->version) + 1);
	pg_memory_barrier();
}

static void
end_change(KnnMirror *mirror)
{
	pg_memory_barrier();
	pg_atomic_write_u32(&mirror->version, pg_atomic_read_u32(&mirror->version) + 1);
}

/*
 * Say how far a standby's mirror goes, and which of its nodes are loose.  A node
 * whose insert was being replayed while its pages were copied is among the last
 * given out, since inserts run side by side.  (Others are loose because pruning
 * took all links to them.)
 */
static void
set_complete(KnnMirrorView *view, const KnnStore *store)
{
	KnnMirror  *mirror = view->mirror;
	uint32		used = store->used[KNN_GROUP_NODE];
	uint32		loose[KNN_LOOSE_NODES];
	uint32		nloose = 0;

	for (uint32 id = used - Min(used, KNN_LOOSE_NODES); id < used; id++)
	{
		if (!is_linked(&view->graph, id))
			loose[nloose++] = id;
	}

	begin_change(mirror);
	mirror->nloose = nloose;
	memcpy(mirror->loose, loose, sizeof(uint32) * nloose);
	pg_atomic_write_u32(&mirror->complete, used);
	pg_atomic_write_u64(&mirror->entry, store->entry == KNN_INVALID_ID ? KNN_INVALID_ID :
						(uint64) store->entry_level << 32 | store->entry);
	end_change(mirror);
}

/* ---- loading ---- */

typedef struct Loading
{
	KnnMirror  *mirror;
	uint64		generation;
	bool		whole;			/* it is complete, keep it */
	uint64		time;			/* ns */
} Loading;

/* End of a load, by success, error or exit. */
static void
end_loading(int code, Datum arg)
{
	Loading    *loading = (Loading *) DatumGetPointer(arg);
	KnnMirror  *mirror = loading->mirror;

	LWLockAcquire(KnnCache->lock, LW_EXCLUSIVE);
	if (pg_atomic_read_u64(&mirror->generation) == loading->generation)
	{
		mirror->loader = 0;
		mirror->load_time = loading->time;
		mirror->loaded_at = GetCurrentTimestamp();
		/* somebody may have found that it cannot be kept up to date */
		if (loading->whole && pg_atomic_read_u32(&mirror->state) == KNN_MIRROR_LOADING)
			pg_atomic_write_u32(&mirror->state, KNN_MIRROR_READY);
		else
			KnnCacheDiscard(mirror);
	}
	LWLockRelease(KnnCache->lock);
	ConditionVariableBroadcast(&KnnCache->loaded);
}

/* Take a descriptor and its units, unless there is a mirror already. */
static KnnLoadResult
prepare(Relation index, KnnStore *store, bool forced, Loading *loading)
{
	KnnMirror  *mirror;
	uint32		units = units_needed(store);

	LWLockAcquire(KnnCache->lock, LW_EXCLUSIVE);
	mirror = KnnMirrorFind(MyDatabaseId, RelationGetRelid(index));
	if (mirror && !KnnMirrorMatches(mirror, index, store))
	{
		KnnCacheDiscard(mirror);	/* of a file that is no longer the index */
		mirror = NULL;
	}
	if (mirror)
	{
		KnnLoadResult result = pg_atomic_read_u32(&mirror->state) == KNN_MIRROR_READY ?
			KNN_LOAD_PRESENT : KNN_LOAD_BUSY;

		LWLockRelease(KnnCache->lock);
		return result;
	}
	if (!KnnCacheMakeRoom(units, NULL, forced) || (mirror = KnnCacheFreeMirror()) == NULL)
	{
		KnnBreakerRefused((uint64) units * KNN_UNIT_BYTES);
		LWLockRelease(KnnCache->lock);
		return KNN_LOAD_NO_ROOM;
	}

	pg_atomic_write_u32(&mirror->state, KNN_MIRROR_PREPARED);
	pg_atomic_write_u64(&mirror->generation, pg_atomic_read_u64(&mirror->generation) + 1);
	mirror->database = MyDatabaseId;
	mirror->index = RelationGetRelid(index);
	mirror->file = KnnRelationFile(index);
	mirror->shape = store->shape;
	mirror->loader = MyProcPid;
	mirror->nunits = 0;
	mirror->load_time = 0;
	mirror->loaded_to = InvalidXLogRecPtr;
	for (int c = 0; c < KNN_MIRROR_NCOLUMNS; c++)
	{
		mirror->columns[c].stride = stride_of(store, c);
		mirror->columns[c].per_unit = KNN_UNIT_BYTES / mirror->columns[c].stride;
		if (!KnnMirrorAddUnits(mirror, c, units_for(store->used[group_of(c)],
													mirror->columns[c].per_unit)))
			elog(PANIC, "the cache of knn has lost count of its units");
	}
	pg_atomic_write_u32(&mirror->covered[KNN_GROUP_NODE], store->used[KNN_GROUP_NODE]);
	pg_atomic_write_u32(&mirror->covered[KNN_GROUP_UPPER], store->used[KNN_GROUP_UPPER]);
	pg_atomic_write_u64(&mirror->searches, 0);
	pg_atomic_write_u64(&mirror->last_use, (uint64) GetCurrentTimestamp());
	loading->mirror = mirror;
	loading->generation = pg_atomic_read_u64(&mirror->generation);
	loading->whole = false;
	loading->time = 0;
	LWLockRelease(KnnCache->lock);
	return KNN_LOAD_DONE;
}

static void
zero_units(KnnMirror *mirror)
{
	for (int c = 0; c < KNN_MIRROR_NCOLUMNS; c++)
	{
		uint32		nunits = pg_atomic_read_u32(&mirror->columns[c].nunits);
		uint32		unit = mirror->columns[c].first;

		for (uint32 i = 0; i < nunits; i++, unit = KnnUnitNext[unit])
			memset(KnnUnitAddress(unit), 0, KNN_UNIT_BYTES);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Cover all ids that are in use by now.  Called when writers know of the mirror:
 * they make room for what they add from then on.
 */
static bool
cover_all(KnnMirrorView *view, Relation index, KnnStore *store, bool forced)
{
	bool		covered = true;

	KnnStoreRefresh(store, index);
	LWLockAcquire(KnnCache->lock, LW_EXCLUSIVE);
	for (int g = KNN_GROUP_NODE; g <= KNN_GROUP_UPPER && covered; g++)
	{
		if (store->used[g] > pg_atomic_read_u32(&view->mirror->covered[g]))
			covered = cover(view->mirror, g, store->used[g], forced);
	}
	LWLockRelease(KnnCache->lock);
	KnnMirrorExtendView(view);
	return covered;
}

static bool
load_pages(Relation index, KnnStore *store, bool forced, Loading *loading)
{
	KnnMirror  *mirror = loading->mirror;
	Copy		copy = {.index = index, .store = store};
	bool		recovery = RecoveryInProgress();

	zero_units(mirror);
	mirror->loaded_to = recovery ? GetXLogReplayRecPtr(NULL) : InvalidXLogRecPtr;
	pg_atomic_write_u32(&mirror->recovery, recovery);
	pg_atomic_write_u32(&mirror->complete, 0);
	pg_atomic_write_u64(&mirror->entry, KNN_INVALID_ID);
	mirror->nloose = 0;

	/* from here on every change of a page is published */
	LWLockAcquire(KnnCache->lock, LW_EXCLUSIVE);
	pg_atomic_write_u32(&mirror->state, KNN_MIRROR_LOADING);
	pg_atomic_fetch_add_u32(&KnnCache->epoch, 1);
	LWLockRelease(KnnCache->lock);

	copy.view = KnnMirrorViewOf(index, store, true);
	if (copy.view == NULL || copy.view->mirror != mirror)
		return false;			/* somebody has removed it already */
	if (!KnnMirrorPinForLoad(copy.view))
		return false;
	copy.view->users++;
	PG_TRY();
	{
		loading->whole = cover_all(copy.view, index, store, forced);
		if (loading->whole)
			copy_all(&copy);
		if (loading->whole && recovery)
			set_complete(copy.view, store);
		else if (loading->whole)
			KnnMirrorRaiseEntry(mirror, store->entry, store->entry_level);
	}
	PG_FINALLY();
	{
		KnnMirrorUnpinLoad();
		KnnMirrorReleaseView(copy.view);
	}
	PG_END_TRY();
	return loading->whole;
}

static void
load_or_count(Relation index, KnnStore *store, bool forced, Loading *loading)
{
	PG_TRY();
	{
		loading->whole = load_pages(index, store, forced, loading);
	}
	PG_CATCH();
	{
		loading->whole = false;
		KnnCount(KNN_COUNT_LOAD_EXCEPTION, 1);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

KnnLoadResult
KnnMirrorLoad(Relation index, KnnStore *store, bool forced)
{
	Loading		loading;
	KnnLoadResult result;
	instr_time	start;
	instr_time	end;
	uint64		bytes;

	if (KnnCacheMine() == NULL || !KnnMirrorCacheable(index))
		return KNN_LOAD_IMPOSSIBLE;
	INSTR_TIME_SET_CURRENT(start);
	result = prepare(index, store, forced, &loading);
	if (result != KNN_LOAD_DONE)
	{
		if (result == KNN_LOAD_NO_ROOM)
			KnnCount(KNN_COUNT_LOAD_EXCEPTION, 1);
		return result;
	}

	bytes = (uint64) loading.mirror->nunits * KNN_UNIT_BYTES;
	PG_ENSURE_ERROR_CLEANUP(end_loading, PointerGetDatum(&loading));
	{
		load_or_count(index, store, forced, &loading);
		INSTR_TIME_SET_CURRENT(end);
		INSTR_TIME_SUBTRACT(end, start);
		loading.time = KnnNanoseconds(end);
	}
	PG_END_ENSURE_ERROR_CLEANUP(end_loading, PointerGetDatum(&loading));
	end_loading(0, PointerGetDatum(&loading));

	if (!loading.whole)
	{
		KnnCount(KNN_COUNT_LOAD_EXCEPTION, 1);
		return KNN_LOAD_NO_ROOM;
	}
	KnnCount(KNN_COUNT_LOAD_SUCCESS, 1);
	KnnCount(KNN_COUNT_LOAD_TIME, KnnNanoseconds(end));
	KnnCount(KNN_COUNT_LOAD_BYTES, bytes);
	return KNN_LOAD_DONE;
}

void
KnnMirrorAwaitLoad(Oid relid)
{
	ConditionVariablePrepareToSleep(&KnnCache->loaded);
	for (;;)
	{
		KnnMirror  *mirror;
		bool		loading;

		LWLockAcquire(KnnCache->lock, LW_SHARED);
		mirror = KnnMirrorFind(MyDatabaseId, relid);
		loading = mirror && pg_atomic_read_u32(&mirror->state) != KNN_MIRROR_READY;
		LWLockRelease(KnnCache->lock);
		if (!loading)
			break;
		ConditionVariableSleep(&KnnCache->loaded, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* ---- refreshing ---- */

static void
end_refresh(int code, Datum arg)
{
	Loading    *loading = (Loading *) DatumGetPointer(arg);

	LWLockAcquire(KnnCache->lock, LW_EXCLUSIVE);
	if (pg_atomic_read_u64(&loading->mirror->generation) == loading->generation)
		loading->mirror->loader = 0;
	LWLockRelease(KnnCache->lock);
}

bool
KnnMirrorRefresh(Relation index, KnnStore *store, KnnMirrorPin *pin)
{
	KnnMirrorView *view = pin->view;
	KnnMirror  *mirror = view->mirror;
	bool		recovery = RecoveryInProgress();
	XLogRecPtr	replayed = recovery ? GetXLogReplayRecPtr(NULL) : InvalidXLogRecPtr;
	Copy		copy = {.index = index,.store = store,.view = view,.since = mirror->loaded_to};
	Loading		refresh = {mirror, view->generation, false, 0};
	bool		mine;

	/* others go on using it as it is, the pin keeps its memory */
	LWLockAcquire(KnnCache->lock, LW_EXCLUSIVE);
	mine = is_current(view) && mirror->loader == 0 && pg_atomic_read_u32(&mirror->recovery);
	if (mine)
		mirror->loader = MyProcPid;
	LWLockRelease(KnnCache->lock);
	if (!mine)
		return false;

	PG_ENSURE_ERROR_CLEANUP(end_refresh, PointerGetDatum(&refresh));
	{
		copy.since = mirror->loaded_to;
		refresh.whole = cover_all(view, index, store, false);
		if (refresh.whole)
		{
			copy_all(&copy);
			if (recovery)
			{
				mirror->loaded_to = replayed;
				set_complete(view, store);
			}
			else
			{
				/* scans that take it for a standby's go by its old entry point */
				begin_change(mirror);
				KnnMirrorRaiseEntry(mirror, store->entry, store->entry_level);
				pg_atomic_write_u32(&mirror->recovery, 0);
				end_change(mirror);
			}
			KnnCount(KNN_COUNT_REFRESH, 1);
		}
	}
	PG_END_ENSURE_ERROR_CLEANUP(end_refresh, PointerGetDatum(&refresh));
	end_refresh(0, PointerGetDatum(&refresh));
	return refresh.whole;
}
