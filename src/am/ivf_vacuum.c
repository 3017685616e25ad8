/*
 * ivf_vacuum.c
 *		VACUUM of a knn_ivf index.
 *
 * List after list, block after block: TIDs of dead rows are made invalid, which empties
 * their places for later inserts.  Then the list's head is set to its first block that
 * has room, so that inserts find the places.  Entries do not move, and blocks stay
 * with their list; REINDEX gives their space back.
 *
 * A block that is added to a list while it is read is read too, or was added after
 * its predecessor was: then its rows are too new to be dead.
 */
#include "postgres.h"

#include "am/ivf.h"

#include "access/generic_xlog.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"

typedef struct IvfVacuum
{
	IndexVacuumInfo *info;
	IndexBulkDeleteResult *stats;
	IndexBulkDeleteCallback callback;
	void	   *callback_state;
	KnnIvfReader reader;
} IvfVacuum;

/* Is any entry's row dead? */
static bool
any_dead(IvfVacuum *vacuum, const KnnIvfBlock *block)
{
	ItemPointerData *tids = KnnIvfTids(block);

	for (uint32 i = 0; i < block->nentries; i++)
	{
		if (ItemPointerIsValid(&tids[i]) && vacuum->callback(&tids[i], vacuum->callback_state))
			return true;
	}
	return false;
}

/* Empty the places of dead rows.  The page is locked exclusively. */
static void
remove_dead(IvfVacuum *vacuum, Buffer buffer)
{
	GenericXLogState *state = GenericXLogStart(vacuum->info->index);
	KnnIvfBlock *block = (KnnIvfBlock *)
		KnnPageContents(GenericXLogRegisterBuffer(state, buffer, 0));
	ItemPointerData *tids = KnnIvfTids(block);

	for (uint32 i = 0; i < block->nentries; i++)
	{
		if (!ItemPointerIsValid(&tids[i]) || !vacuum->callback(&tids[i], vacuum->callback_state))
			continue;
		ItemPointerSetInvalid(&tids[i]);
		block->nfree++;
		vacuum->stats->tuples_removed++;
	}
	GenericXLogFinish(state);
}

/* One block; returns the next, and whether this one has room. */
static uint32
vacuum_block(IvfVacuum *vacuum, uint32 list, uint32 number, bool *has_room)
{
	KnnIvfReader *reader = &vacuum->reader;
	KnnItemAddress address = KnnStoreLocate(reader->store, reader->index, KNN_COLUMN_BLOCK, number);
	const KnnIvfBlock *block;
	Buffer		buffer;
	uint32		next;

	vacuum_delay_point(
#if PG_VERSION_NUM >= 180000
					   vacuum->info->analyze_only
#endif
		);
	buffer = ReadBufferExtended(reader->index, MAIN_FORKNUM, address.block, RBM_NORMAL,
								vacuum->info->strategy);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	KnnPageCheck(reader->index, address.block, BufferGetPage(buffer), KNN_COLUMN_BLOCK);
	block = KnnIvfCheckBlock(reader, BufferGetPage(buffer), address.block, list);
	if (any_dead(vacuum, block))
	{
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		(void) KnnIvfCheckBlock(reader, BufferGetPage(buffer), address.block, list);
		remove_dead(vacuum, buffer);
	}
	vacuum->stats->num_index_tuples += block->nentries - block->nfree;
	*has_room = block->nfree > 0 || block->nentries < reader->layout.per_block;
	next = block->next;
	UnlockReleaseBuffer(buffer);
	return next;
}

/* Let inserts begin at the list's first block that has room. */
static void
set_head(IvfVacuum *vacuum, uint32 list, uint32 block)
{
	KnnIvfReader *reader = &vacuum->reader;
	uint32		offset;
	Buffer		buffer = KnnStoreLockItem(reader->store, reader->index, KNN_COLUMN_HEAD, list, &offset);
	KnnIvfHead *head = (KnnIvfHead *) (KnnPageContents(BufferGetPage(buffer)) + offset);

	if (head->insert != block)
	{
		GenericXLogState *state = GenericXLogStart(reader->index);
		Page		page = GenericXLogRegisterBuffer(state, buffer, 0);

		((KnnIvfHead *) (KnnPageContents(page) + offset))->insert = block;
		GenericXLogFinish(state);
	}
	UnlockReleaseBuffer(buffer);
}

static void
vacuum_list(IvfVacuum *vacuum, uint32 list)
{
	KnnIvfReader *reader = &vacuum->reader;
	uint32		first_room = KNN_IVF_NO_BLOCK;
	uint32		steps = 0;

	for (uint32 next = KnnIvfFirstBlock(reader, list); next != KNN_IVF_NO_BLOCK;)
	{
		uint32		block = next;
		bool		has_room;

		next = vacuum_block(vacuum, list, block - 1, &has_room);
		if (first_room == KNN_IVF_NO_BLOCK && (has_room || next == KNN_IVF_NO_BLOCK))
			first_room = block;
		if (steps++ > reader->store->capacity[KNN_GROUP_BLOCK])
			KnnReportDamage(reader->index, KNN_META_BLOCK,
							psprintf("The blocks of list %u have a cycle.", list));
	}
	if (first_room == KNN_IVF_NO_BLOCK)
		KnnReportDamage(reader->index, KNN_META_BLOCK, psprintf("List %u has no block.", list));
	set_head(vacuum, list, first_room);
}

IndexBulkDeleteResult *
knn_ivf_bulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
				   IndexBulkDeleteCallback callback, void *state)
{
	IvfVacuum	vacuum = {.info = info,.callback = callback,.callback_state = state};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "knn_ivf vacuum",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old;
	KnnStore   *store;

	if (stats == NULL)
		stats = palloc0(sizeof(IndexBulkDeleteResult));
	vacuum.stats = stats;
	stats->num_index_tuples = 0;
	stats->estimated_count = false;

	old = MemoryContextSwitchTo(context);
	store = KnnStoreOpen(info->index);
	KnnStoreHold(store, context);
	KnnIvfReaderInit(&vacuum.reader, info->index, store);
	for (uint32 i = 0; i < KnnIvfNlists(store); i++)
		vacuum_list(&vacuum, KnnIvfFirstList(store) + i);
	MemoryContextSwitchTo(old);

	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	MemoryContextDelete(context);
	return stats;
}
