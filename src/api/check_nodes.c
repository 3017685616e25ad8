/*
 * check_nodes.c
 *		Verification of nodes: links, upper, tid and chain; see check.h.
 *
 * Links are read before TIDs, so that whatever a link leads to is written by the
 * time its tid item is looked at.  Where a copy may be older than what it is
 * compared with, the item is read again before it is called damaged.
 */
#include "postgres.h"

#include "api/check.h"

#include "core/graph_search.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#define TIDS_PER_PAGE (KNN_PAGE_CAPACITY / sizeof(KnnTidItem))

/* ---- links ---- */

/* A link at a level leads to a node. */
static void
note_reference(KnnCheck *check, KnnColumn column, uint32 id, uint32 node, uint32 level)
{
	KnnStore   *store = check->store;

	if (node >= check->nodes_room)
	{
		if (node >= store->used[KNN_GROUP_NODE])
			KnnStoreRefresh(store, check->index);
		if (node >= store->used[KNN_GROUP_NODE])
			KnnCheckFail(check, KnnCheckBlockOf(check, column, id),
						 "Item %u of column \"%s\" links to node %u, of %u.",
						 id, KnnColumnName(column), node, store->used[KNN_GROUP_NODE]);
		check->nodes = repalloc_huge(check->nodes, mul_size(sizeof(KnnCheckNode),
															store->used[KNN_GROUP_NODE]));
		memset(check->nodes + check->nodes_room, 0,
			   sizeof(KnnCheckNode) * (Size) (store->used[KNN_GROUP_NODE] - check->nodes_room));
		check->nodes_room = store->used[KNN_GROUP_NODE];
	}
	if (check->nodes[node].need < level + 1)
		check->nodes[node].need = (uint8) (level + 1);
}

static void
check_list(KnnCheck *check, KnnColumn column, uint32 id, uint32 node, uint32 level,
		   uint32 nlinks, const uint32 *links, uint32 room)
{
	if (nlinks > room)
		KnnCheckFail(check, KnnCheckBlockOf(check, column, id),
					 "Item %u of column \"%s\" has %u links, more than %u.",
					 id, KnnColumnName(column), nlinks, room);
	/* what lies beyond them is of no account: a pruned list leaves it there */
	for (uint32 i = 0; i < nlinks; i++)
	{
		if (links[i] == 0)
			KnnCheckFail(check, KnnCheckBlockOf(check, column, id),
						 "Link %u of item %u of column \"%s\" is missing.",
						 i, id, KnnColumnName(column));
		if (links[i] - 1 == node)
			KnnCheckFail(check, KnnCheckBlockOf(check, column, id),
						 "Item %u of column \"%s\" links its node %u to itself.",
						 id, KnnColumnName(column), node);
		for (uint32 j = 0; j < i; j++)
		{
			if (links[j] == links[i])
				KnnCheckFail(check, KnnCheckBlockOf(check, column, id),
							 "Item %u of column \"%s\" links to node %u twice.",
							 id, KnnColumnName(column), links[i] - 1);
		}
		note_reference(check, column, id, links[i] - 1, level);
	}
}

static void
check_upper(KnnCheck *check, KnnCheckCursor *cursor, uint32 node, const KnnLinksItem *links)
{
	KnnStore   *store = check->store;

	for (uint32 level = 1; level <= links->level; level++)
	{
		uint64		slot = (uint64) links->upper + level - 1;
		const KnnUpperItem *item;

		if (slot >= store->used[KNN_GROUP_UPPER])
			KnnStoreRefresh(store, check->index);
		if (slot >= store->used[KNN_GROUP_UPPER])
			KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_LINKS, node),
						 "Node %u of level %u refers to upper item %u, of %u.",
						 node, links->level, links->upper, store->used[KNN_GROUP_UPPER]);
		if (!KnnCheckSetAdd(&check->upper, slot))
			KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_LINKS, node),
						 "Upper item %u of node %u belongs to another node as well.",
						 (uint32) slot, node);
		item = KnnCheckItem(cursor, (uint32) slot, false);
		if (item == NULL)
			item = KnnCheckItem(cursor, (uint32) slot, true);
		if (item == NULL)
			KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_UPPER, (uint32) slot),
						 "Upper item %u of node %u was never written.", (uint32) slot, node);
		check_list(check, KNN_COLUMN_UPPER, (uint32) slot, node, level,
				   item->nlinks, item->links, store->shape.m);
	}
}

void
KnnCheckLinks(KnnCheck *check)
{
	KnnStore   *store = check->store;
	KnnCheckCursor *links = palloc(sizeof(KnnCheckCursor));
	KnnCheckCursor *upper = palloc(sizeof(KnnCheckCursor));
	uint32		fixed = offsetof(KnnLinksItem, links);

	KnnCheckCursorInit(links, check, KNN_COLUMN_LINKS);
	KnnCheckCursorInit(upper, check, KNN_COLUMN_UPPER);
	if (store->entry != KNN_INVALID_ID)
		note_reference(check, KNN_COLUMN_META, 0, store->entry, store->entry_level);

	for (uint32 node = 0; node < check->nnodes; node++)
	{
		const KnnLinksItem *item = KnnCheckItem(links, node, false);
		KnnCheckNode *known = &check->nodes[node];
		static const KnnLinksItem empty;

		if (item == NULL)
			continue;
		if (item->level > KNN_MAX_LEVEL || (item->flags & ~KNN_LINKS_DEAD) != 0)
			KnnCheckFail(check, links->block, "The links of node %u have level %u and flags 0x%02X.",
						 node, item->level, item->flags);
		known->level = item->level;
		if (memcmp(item, &empty, fixed) != 0)
			known->flags |= KNN_CHECK_LINKED;
		/* may move check->nodes */
		check_list(check, KNN_COLUMN_LINKS, node, node, 0,
				   item->nlinks, item->links, 2 * store->shape.m);
		check_upper(check, upper, node, item);
	}
	pfree(links);
	pfree(upper);
}

/* ---- rows ---- */

void
KnnCheckTid(KnnCheck *check, BlockNumber block, KnnColumn column, uint32 id,
			const ItemPointerData *tid)
{
	BlockNumber heap_block = ItemPointerGetBlockNumberNoCheck(tid);
	unsigned	offset = ItemPointerGetOffsetNumberNoCheck(tid);

	if (!ItemPointerIsValid(tid) || heap_block == InvalidBlockNumber)
		KnnCheckFail(check, block, "Item %u of column \"%s\" has the impossible TID (%u,%u).",
					 id, KnnColumnName(column), heap_block, offset);
	if (check->heap_nblocks == InvalidBlockNumber || heap_block < check->heap_nblocks)
		return;
	check->heap_nblocks = RelationGetNumberOfBlocks(check->heap);
	if (heap_block >= check->heap_nblocks)
		KnnCheckFail(check, block,
					 "Item %u of column \"%s\" has the TID (%u,%u), beyond the table's end.",
					 id, KnnColumnName(column), heap_block, offset);
}

/* Are these TIDs possible?  Called with their page locked. */
static void
check_tids(KnnCheck *check, BlockNumber block, KnnColumn column, uint32 id,
		   const ItemPointerData *tids, int ntids, int room)
{
	static const ItemPointerData zero;

	if (ntids > room)
		KnnCheckFail(check, block, "Item %u of column \"%s\" has %d TIDs.",
					 id, KnnColumnName(column), ntids);
	for (int i = 0; i < room; i++)
	{
		if (i >= ntids)
		{
			if (memcmp(&tids[i], &zero, sizeof(zero)) != 0)
				KnnCheckFail(check, block, "Item %u of column \"%s\" has a TID after its last one.",
							 id, KnnColumnName(column));
			continue;
		}
		KnnCheckTid(check, block, column, id, &tids[i]);
	}
}

/*
 * Copy a chain item, verified but for what chain it is of.  NULL when it was never
 * written.
 */
static const KnnChainItem *
read_chain_item(KnnCheck *check, KnnChainItem *item, uint32 id)
{
	KnnItemAddress address = KnnStoreLocate(check->store, check->index, KNN_COLUMN_CHAIN, id);
	Buffer		buffer;
	Page		page;
	bool		written;

	check->block = address.block;
	if (!KnnCheckBlockExists(check, address.block))
		return NULL;
	buffer = ReadBufferExtended(check->index, MAIN_FORKNUM, address.block, RBM_NORMAL, NULL);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	if (!PageIsNew(page))
		KnnPageCheck(check->index, address.block, page, KNN_COLUMN_CHAIN);
	written = KnnCheckCovers(page, address.offset + sizeof(KnnChainItem));
	if (written)
	{
		memcpy(item, KnnPageContents(page) + address.offset, sizeof(KnnChainItem));
		check_tids(check, address.block, KNN_COLUMN_CHAIN, id,
				   item->tids, item->ntids, KNN_CHAIN_TIDS);
	}
	UnlockReleaseBuffer(buffer);
	if (!written)
		return NULL;
	if (item->unused[0] != 0 || item->unused[1] != 0 || item->unused[2] != 0)
		KnnCheckFail(check, address.block, "Unused bytes of chain item %u are not zero.", id);
	return item;
}

/* The item that a chain goes on with. */
static void
next_chain_item(KnnCheck *check, KnnChainItem *item, uint32 node, uint32 chain)
{
	KnnStore   *store = check->store;
	uint32		id = chain - 1;

	if (id >= store->used[KNN_GROUP_CHAIN])
		KnnStoreRefresh(store, check->index);
	if (id >= store->used[KNN_GROUP_CHAIN])
		KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_TID, node),
					 "The chain of node %u leads to chain item %u, of %u.",
					 node, id, store->used[KNN_GROUP_CHAIN]);
	if (read_chain_item(check, item, id) == NULL)
		KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_CHAIN, id),
					 "Chain item %u of node %u was never written.", id, node);
	if (item->owner != node)
		KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_CHAIN, id),
					 "Chain item %u is of node %u, but is in the chain of node %u.",
					 id, item->owner, node);
}

/* Every item of a node's chain, which must be in no other place. */
static void
check_chain(KnnCheck *check, uint32 node, uint32 chain)
{
	KnnChainItem item;

	for (; chain != KNN_NO_CHAIN; chain = item.next)
	{
		CHECK_FOR_INTERRUPTS();
		next_chain_item(check, &item, node, chain);
		if (!KnnCheckSetAdd(&check->chain, chain - 1))
			KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_CHAIN, chain - 1),
						 "The chain of node %u comes to chain item %u twice.", node, chain - 1);
		for (int i = 0; i < item.ntids; i++)
			KnnCheckAddRow(check, &item.tids[i]);
		if (item.ntids > 0)
			check->nodes[node].flags |= KNN_CHECK_LIVE;
	}
}

/*
 * A tombstone has no rows.  The tid page is share-locked, so that none is added
 * and no node becomes a tombstone; a chain may only lose rows.
 */
static void
check_tombstones(KnnCheck *check, uint32 first, uint32 nitems, const KnnTidItem *items)
{
	KnnStore   *store = check->store;
	bool		dead[TIDS_PER_PAGE] = {0};

	for (uint32 i = 0; i < nitems;)
	{
		BlockNumber block = KnnCheckBlockOf(check, KNN_COLUMN_LINKS, first + i);
		Buffer		buffer = InvalidBuffer;
		Page		page = NULL;

		check->block = block;
		if (KnnCheckBlockExists(check, block))
		{
			buffer = ReadBufferExtended(check->index, MAIN_FORKNUM, block, RBM_NORMAL, NULL);
			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			page = BufferGetPage(buffer);
			if (!PageIsNew(page))
				KnnPageCheck(check->index, block, page, KNN_COLUMN_LINKS);
		}
		for (; i < nitems; i++)
		{
			KnnItemAddress address = KnnStoreLocate(store, check->index, KNN_COLUMN_LINKS, first + i);

			if (address.block != block)
				break;
			if (!(items[i].flags & KNN_TID_WRITTEN))
				continue;
			if (page == NULL ||
				!KnnCheckCovers(page, address.offset + store->columns[KNN_COLUMN_LINKS].width))
				KnnCheckFail(check, block, "The links of node %u were never written.", first + i);
			dead[i] = (((KnnLinksItem *) (KnnPageContents(page) + address.offset))->flags &
					   KNN_LINKS_DEAD) != 0;
		}
		if (BufferIsValid(buffer))
			UnlockReleaseBuffer(buffer);
	}

	for (uint32 i = 0; i < nitems; i++)
	{
		uint32		steps = 0;
		KnnChainItem item = {.ntids = items[i].ntids};

		if (!dead[i])
			continue;
		for (uint32 chain = items[i].chain; chain != KNN_NO_CHAIN && item.ntids == 0; chain = item.next)
		{
			next_chain_item(check, &item, first + i, chain);
			if (steps++ > store->used[KNN_GROUP_CHAIN])
				KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_TID, first + i),
							 "The chain of node %u has a cycle.", first + i);
		}
		if (item.ntids > 0)
			KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_LINKS, first + i),
						 "Node %u has rows, but its links are marked as a tombstone's.", first + i);
	}
}

/* One page of tid items, of which nitems are in use. */
static void
check_tid_page(KnnCheck *check, BlockNumber block, uint32 first, uint32 nitems)
{
	PGAlignedBlock copy;
	KnnTidItem *items = (KnnTidItem *) KnnPageContents(copy.data);
	static const KnnTidItem zero;
	Buffer		buffer;

	CHECK_FOR_INTERRUPTS();
	check->block = block;
	if (!KnnCheckBlockExists(check, block))
		memset(copy.data, 0, BLCKSZ);
	else
	{
		buffer = ReadBufferExtended(check->index, MAIN_FORKNUM, block, RBM_NORMAL, check->strategy);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		memcpy(copy.data, BufferGetPage(buffer), BLCKSZ);
		KnnCheckPage(check, block, copy.data, KNN_COLUMN_TID);
		for (uint32 i = 0; i < nitems; i++)
			check_tids(check, block, KNN_COLUMN_TID, first + i,
					   items[i].tids, items[i].ntids, KNN_INLINE_TIDS);
		check_tombstones(check, first, nitems, items);
		UnlockReleaseBuffer(buffer);
		if (block < check->first_nblocks)
			KnnCheckSetAdd(&check->seen, block);
	}

	for (uint32 i = 0; i < nitems; i++)
	{
		uint32		node = first + i;
		const KnnTidItem *item = &items[i];
		KnnCheckNode *known = &check->nodes[node];

		if (item->flags == KNN_TID_WRITTEN && KnnCheckCovers(copy.data, (i + 1) * sizeof(KnnTidItem)))
		{
			known->flags |= KNN_CHECK_WRITTEN;
			if (item->ntids > 0)
				known->flags |= KNN_CHECK_LIVE;
			for (int t = 0; t < item->ntids; t++)
				KnnCheckAddRow(check, &item->tids[t]);
			check_chain(check, node, item->chain);
		}
		else if (memcmp(item, &zero, sizeof(zero)) != 0)
			KnnCheckFail(check, block, "The TIDs of node %u have flags 0x%02X.", node, item->flags);
		else if (known->flags & KNN_CHECK_LINKED)
			KnnCheckFail(check, block, "Node %u has links, but its TIDs were never written.", node);
	}
}

void
KnnCheckTids(KnnCheck *check)
{
	KnnStore   *store = check->store;
	uint32		nchain = store->used[KNN_GROUP_CHAIN];
	uint32		per_page = store->columns[KNN_COLUMN_TID].per_page;
	KnnCheckCursor *chain = palloc(sizeof(KnnCheckCursor));

	for (uint32 e = 0; e < store->nextents[KNN_GROUP_NODE]; e++)
	{
		KnnExtent	extent = store->extents[KNN_GROUP_NODE][e];

		for (uint32 at = 0; at < extent.nitems && extent.first + at < check->nnodes; at += per_page)
		{
			uint32		n = Min(per_page, extent.nitems - at);

			n = Min(n, check->nnodes - (extent.first + at));
			check_tid_page(check, extent.blocks[0] + at / per_page, extent.first + at, n);
		}
	}

	/* chain items that no chain leads to: VACUUM reads them all the same */
	KnnCheckCursorInit(chain, check, KNN_COLUMN_CHAIN);
	for (uint32 id = 0; id < nchain; id++)
	{
		KnnChainItem item;

		if (KnnCheckItem(chain, id, false) == NULL || !KnnCheckSetAdd(&check->chain, id))
			continue;
		read_chain_item(check, &item, id);
		if (item.owner >= check->nodes_room)
			KnnStoreRefresh(store, check->index);
		if (item.owner >= store->used[KNN_GROUP_NODE])
			KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_CHAIN, id),
						 "Chain item %u is of node %u, of %u.",
						 id, item.owner, store->used[KNN_GROUP_NODE]);
	}
	pfree(chain);
}

/* ---- references ---- */

void
KnnCheckReferences(KnnCheck *check)
{
	KnnStore   *store = check->store;
	KnnLinksItem *links = palloc(store->columns[KNN_COLUMN_LINKS].width);
	KnnTidItem	tid;

	for (uint32 node = 0; node < check->nodes_room; node++)
	{
		KnnCheckNode *known = &check->nodes[node];

		if (known->need == 0)
			continue;
		if (!(known->flags & KNN_CHECK_WRITTEN))
		{
			BlockNumber block = KnnCheckBlockOf(check, KNN_COLUMN_TID, node);

			CHECK_FOR_INTERRUPTS();
			tid.flags = 0;
			if (KnnCheckBlockExists(check, block))
				KnnStoreCopy(store, check->index, KNN_COLUMN_TID, node, &tid);
			if (!(tid.flags & KNN_TID_WRITTEN))
				KnnCheckFail(check, block, "Node %u is linked to, but was never written.", node);
			known->flags |= KNN_CHECK_WRITTEN;
		}
		if (known->level + 1 >= known->need && node != store->entry)
			continue;
		CHECK_FOR_INTERRUPTS();
		KnnStoreCopy(store, check->index, KNN_COLUMN_LINKS, node, links);
		if (links->level + 1 < known->need)
			KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_LINKS, node),
						 "Node %u is linked at level %u but ends at level %u.",
						 node, known->need - 1, links->level);
		known->level = links->level;
		/* entry and entry_level are of one reading of the metapage */
		if (node == store->entry && links->level != store->entry_level)
			KnnCheckFail(check, KNN_META_BLOCK,
						 "The entry point, node %u, is of level %u, the metapage says %u.",
						 node, links->level, store->entry_level);
	}
	pfree(links);
}
