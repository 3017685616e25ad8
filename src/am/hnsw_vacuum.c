/*
 * hnsw_vacuum.c
 *		VACUUM of a knn_hnsw index.
 *
 * Only the columns tid and chain hold heap TIDs, so that one sequential pass
 * over them, a small part of the index, finds all dead rows.  A node that has
 * lost its last row becomes a tombstone: it keeps its links and code and goes on
 * routing searches, is never returned, and is marked in its links item so that
 * a search does not count it among its results.  Nothing is unlinked or
 * repaired: the graph stays as navigable as it was.  An equal vector that is
 * inserted later brings the node back to life.  The space of tombstones is
 * recovered by REINDEX (CONCURRENTLY).
 *
 * LOCKS.  A tid page is locked exclusively while its dead TIDs are removed and
 * while the links items of its new tombstones are marked, so that an insert
 * cannot join a node in between (hnsw_insert.c takes the same order).  Chains
 * are cleaned before, under their own page locks; whether a chain is empty is
 * looked up with the tid page locked, and cannot change then.
 */
#include "postgres.h"

#include "am/hnsw.h"

#include "access/generic_xlog.h"
#include "cache/mirror.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"

#define TIDS_PER_PAGE (KNN_PAGE_CAPACITY / sizeof(KnnTidItem))

typedef struct HnswVacuum
{
	IndexVacuumInfo *info;
	IndexBulkDeleteResult *stats;
	IndexBulkDeleteCallback callback;
	void	   *callback_state;
	Relation	index;
	KnnStore   *store;
	BlockNumber nblocks;		/* of the relation, at the start */
} HnswVacuum;

/* Is any of these TIDs dead? */
static bool
any_dead(HnswVacuum *vacuum, ItemPointerData *tids, int ntids)
{
	for (int i = 0; i < ntids; i++)
	{
		if (vacuum->callback(&tids[i], vacuum->callback_state))
			return true;
	}
	return false;
}

/* Remove the dead ones, keeping order; returns the number left. */
static int
remove_dead(HnswVacuum *vacuum, ItemPointerData *tids, int ntids)
{
	int			left = 0;

	for (int i = 0; i < ntids; i++)
	{
		if (vacuum->callback(&tids[i], vacuum->callback_state))
			vacuum->stats->tuples_removed++;
		else
			tids[left++] = tids[i];
	}
	memset(&tids[left], 0, sizeof(ItemPointerData) * (ntids - left));
	return left;
}

/*
 * Read a page of a column, locked for reading; returns an invalid buffer for a
 * page that was given out but never written.
 */
static Buffer
read_page(HnswVacuum *vacuum, BlockNumber block, KnnColumn column)
{
	Buffer		buffer;

	vacuum_delay_point(
#if PG_VERSION_NUM >= 180000
					   vacuum->info->analyze_only
#endif
		);
	if (block >= vacuum->nblocks)
		return InvalidBuffer;
	buffer = ReadBufferExtended(vacuum->index, MAIN_FORKNUM, block, RBM_NORMAL,
								vacuum->info->strategy);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	if (PageIsNew(BufferGetPage(buffer)))
	{
		UnlockReleaseBuffer(buffer);
		return InvalidBuffer;
	}
	KnnPageCheck(vacuum->index, block, BufferGetPage(buffer), column);
	return buffer;
}

/* ---- chains ---- */

static void
check_chain_item(HnswVacuum *vacuum, BlockNumber block, const KnnChainItem *item)
{
	if (item->ntids > KNN_CHAIN_TIDS)
		KnnReportDamage(vacuum->index, block, "A chain item has an impossible number of TIDs.");
}

static void
vacuum_chain_page(HnswVacuum *vacuum, BlockNumber block, uint32 nitems)
{
	Buffer		buffer = read_page(vacuum, block, KNN_COLUMN_CHAIN);
	KnnChainItem *items;
	bool		dead = false;

	if (!BufferIsValid(buffer))
		return;
	items = (KnnChainItem *) KnnPageContents(BufferGetPage(buffer));
	for (uint32 i = 0; i < nitems && !dead; i++)
	{
		check_chain_item(vacuum, block, &items[i]);
		dead = any_dead(vacuum, items[i].tids, items[i].ntids);
	}
	if (dead)
	{
		GenericXLogState *state;

		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		state = GenericXLogStart(vacuum->index);
		items = (KnnChainItem *) KnnPageContents(GenericXLogRegisterBuffer(state, buffer, 0));
		for (uint32 i = 0; i < nitems; i++)
		{
			check_chain_item(vacuum, block, &items[i]);
			items[i].ntids = (uint8) remove_dead(vacuum, items[i].tids, items[i].ntids);
		}
		GenericXLogFinish(state);
		items = (KnnChainItem *) KnnPageContents(BufferGetPage(buffer));
	}
	for (uint32 i = 0; i < nitems; i++)
		vacuum->stats->num_index_tuples += items[i].ntids;
	UnlockReleaseBuffer(buffer);
}

/* Has a node's chain any row left?  The node's tid page is locked. */
static bool
chain_has_rows(HnswVacuum *vacuum, uint32 node, uint32 chain)
{
	uint32		steps = 0;

	while (chain != KNN_NO_CHAIN)
	{
		KnnChainItem item;

		if (steps++ > vacuum->store->capacity[KNN_GROUP_CHAIN])
			KnnReportDamage(vacuum->index, KNN_META_BLOCK,
							psprintf("The chain of node %u has a cycle.", node));
		KnnStoreCopy(vacuum->store, vacuum->index, KNN_COLUMN_CHAIN, chain - 1, &item);
		if (item.owner != node)
			KnnReportDamage(vacuum->index, KNN_META_BLOCK,
							psprintf("Item %u is not of the chain of node %u.", chain - 1, node));
		if (item.ntids > 0)
			return true;
		chain = item.next;
	}
	return false;
}

/* ---- nodes ---- */

/*
 * Mark tombstones in their links items.  nodes ascend, so that each page of
 * links is locked and logged once.  The tid page is locked.
 */
static void
mark_tombstones(HnswVacuum *vacuum, const uint32 *nodes, int nnodes)
{
	KnnStore   *store = vacuum->store;

	for (int i = 0; i < nnodes;)
	{
		uint32		offset;
		Buffer		buffer = KnnStoreLockItem(store, vacuum->index, KNN_COLUMN_LINKS,
											  nodes[i], &offset);
		BlockNumber block = BufferGetBlockNumber(buffer);
		GenericXLogState *state = NULL;
		char	   *contents = KnnPageContents(BufferGetPage(buffer));
		int			first = i;

		for (; i < nnodes; i++)
		{
			KnnItemAddress address = KnnStoreLocate(store, vacuum->index, KNN_COLUMN_LINKS, nodes[i]);

			if (address.block != block)
				break;
			if (((KnnLinksItem *) (contents + address.offset))->flags & KNN_LINKS_DEAD)
				continue;
			if (state == NULL)
			{
				state = GenericXLogStart(vacuum->index);
				contents = KnnPageContents(GenericXLogRegisterBuffer(state, buffer, 0));
			}
			((KnnLinksItem *) (contents + address.offset))->flags |= KNN_LINKS_DEAD;
		}
		if (state != NULL)
		{
			KnnMirrorView *mirror = KnnPublishBegin(vacuum->index, store);

			GenericXLogFinish(state);
			contents = KnnPageContents(BufferGetPage(buffer));
			for (int j = first; j < i; j++)
				KnnPublish(mirror, store, KNN_COLUMN_LINKS, nodes[j],
						   contents + offset + (nodes[j] - nodes[first]) *
						   store->columns[KNN_COLUMN_LINKS].width);
			KnnPublishEnd(mirror);
		}
		UnlockReleaseBuffer(buffer);
	}
}

static void
check_tid_item(HnswVacuum *vacuum, BlockNumber block, const KnnTidItem *item)
{
	if (item->ntids > KNN_INLINE_TIDS)
		KnnReportDamage(vacuum->index, block, "A node has an impossible number of TIDs.");
}

static void
vacuum_tid_page(HnswVacuum *vacuum, BlockNumber block, uint32 first, uint32 nitems)
{
	Buffer		buffer = read_page(vacuum, block, KNN_COLUMN_TID);
	KnnTidItem *items;
	uint32		tombstones[TIDS_PER_PAGE];
	int			ntombstones = 0;
	bool		dead = false;
	bool		empty = false;

	if (!BufferIsValid(buffer))
		return;
	items = (KnnTidItem *) KnnPageContents(BufferGetPage(buffer));
	for (uint32 i = 0; i < nitems; i++)
	{
		check_tid_item(vacuum, block, &items[i]);
		if (!dead)
			dead = any_dead(vacuum, items[i].tids, items[i].ntids);
		if (items[i].ntids == 0 && (items[i].flags & KNN_TID_WRITTEN))
			empty = true;
	}

	/* a node without rows may be one whose mark a crash prevented */
	if (dead || empty)
	{
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		if (dead)
		{
			GenericXLogState *state = GenericXLogStart(vacuum->index);
			KnnMirrorView *mirror;

			items = (KnnTidItem *) KnnPageContents(GenericXLogRegisterBuffer(state, buffer, 0));
			for (uint32 i = 0; i < nitems; i++)
			{
				check_tid_item(vacuum, block, &items[i]);
				items[i].ntids = (uint8) remove_dead(vacuum, items[i].tids, items[i].ntids);
			}
			mirror = KnnPublishBegin(vacuum->index, vacuum->store);
			GenericXLogFinish(state);
			items = (KnnTidItem *) KnnPageContents(BufferGetPage(buffer));
			for (uint32 i = 0; i < nitems; i++)
				KnnPublish(mirror, vacuum->store, KNN_COLUMN_TID, first + i, &items[i]);
			KnnPublishEnd(mirror);
		}
		for (uint32 i = 0; i < nitems; i++)
		{
			if (items[i].ntids == 0 && (items[i].flags & KNN_TID_WRITTEN) &&
				!chain_has_rows(vacuum, first + i, items[i].chain))
				tombstones[ntombstones++] = first + i;
		}
		mark_tombstones(vacuum, tombstones, ntombstones);
	}
	for (uint32 i = 0; i < nitems; i++)
		vacuum->stats->num_index_tuples += items[i].ntids;
	UnlockReleaseBuffer(buffer);
}

typedef void (*vacuum_page) (HnswVacuum *vacuum, BlockNumber block, uint32 first, uint32 nitems);

static void
vacuum_chain_page_callback(HnswVacuum *vacuum, BlockNumber block, uint32 first, uint32 nitems)
{
	vacuum_chain_page(vacuum, block, nitems);
}

/* Call a function with each page of a group's first column. */
static void
each_page(HnswVacuum *vacuum, KnnGroup group, KnnColumn column, vacuum_page function)
{
	KnnStore   *store = vacuum->store;
	uint32		used = store->used[group];
	uint32		per_page = store->columns[column].per_page;

	for (uint32 e = 0; e < store->nextents[group]; e++)
	{
		KnnExtent	extent = store->extents[group][e];

		for (uint32 at = 0; at < extent.nitems && extent.first + at < used; at += per_page)
		{
			uint32		n = Min(per_page, extent.nitems - at);

			n = Min(n, used - (extent.first + at));
			function(vacuum, extent.blocks[0] + at / per_page, extent.first + at, n);
		}
	}
}

IndexBulkDeleteResult *
knn_hnsw_bulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
					IndexBulkDeleteCallback callback, void *state)
{
	HnswVacuum	vacuum = {
		.info = info,
		.callback = callback,
		.callback_state = state,
		.index = info->index
	};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "knn_hnsw vacuum",
												  ALLOCSET_DEFAULT_SIZES);

	if (stats == NULL)
		stats = palloc0(sizeof(IndexBulkDeleteResult));
	vacuum.stats = stats;
	stats->num_index_tuples = 0;
	stats->estimated_count = false;

	vacuum.store = KnnStoreOpen(info->index);
	KnnStoreHold(vacuum.store, context);
	vacuum.nblocks = RelationGetNumberOfBlocks(info->index);

	each_page(&vacuum, KNN_GROUP_CHAIN, KNN_COLUMN_CHAIN, vacuum_chain_page_callback);
	each_page(&vacuum, KNN_GROUP_NODE, KNN_COLUMN_TID, vacuum_tid_page);

	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	MemoryContextDelete(context);
	return stats;
}
