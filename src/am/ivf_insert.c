/*
 * ivf_insert.c
 *		Inserting a row into a knn_ivf index.
 *
 * The list of the nearest centroid takes the row, at the first place that is free in
 * the blocks from the one its head names on: a place that VACUUM has emptied, or one
 * never used.  When there is none a block is added at the end.
 *
 * An emptied place has a vector id, whose vector is written over with the block
 * locked, so that nobody else takes the place.  For a place never used an id is
 * given out and the vector written before the block is locked again: pages of
 * vectors may have to be added to the file, and meanwhile scans want the block.  If
 * another insert has been there the search for a place goes on, without looking at
 * emptied ones.  See ivf.h for locks and the order of writing.
 */
#include "postgres.h"

#include "am/ivf.h"

#include "access/generic_xlog.h"
#include "am/handler.h"
#include "cache/counters.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"

typedef struct IvfInsert
{
	Relation	index;
	KnnStore   *store;
	KnnIvfReader reader;
	const KnnValue *value;
	ItemPointerData tid;
	uint32		list;			/* id */
	void	   *rotated;
	knn_code_factors factors;
	uint8	   *code;
	bool		has_id;			/* a vector has been written for this row */
	uint32		id;
} IvfInsert;

/* ---- vectors and wide codes ---- */

/* Write what the row has outside of blocks under a vector id. */
static void
write_vector(IvfInsert *insert, uint32 id)
{
	KnnStore   *store = insert->store;
	KnnItemWrite writes[2];
	int			nwrites = 0;

	if (!insert->reader.layout.has_codes)
	{
		char	   *item = palloc0(store->columns[KNN_COLUMN_CODE].width);

		memcpy(item, &insert->factors, store->factor_bytes);
		memcpy(item + store->factor_bytes, insert->code, insert->reader.layout.code_bytes);
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_CODE, id, item};
	}
	if (insert->value->stored)
	{
		/* items are a multiple of four bytes wide */
		char	   *item = palloc0(store->columns[KNN_COLUMN_VECTOR].width);

		memcpy(item, insert->value->stored, KnnStoredSize(&store->shape));
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_VECTOR, id, item};
	}
	KnnStoreWrite(store, insert->index, writes, nwrites);
}

/* ---- the first list ---- */

/*
 * A list around the row's vector, for an index that has none.  When another backend
 * has made one meanwhile, that one counts and this is never found.
 */
static void
make_first_list(IvfInsert *insert)
{
	KnnStore   *store = insert->store;
	Relation	index = insert->index;
	uint32		block = KnnStoreAllocate(store, index, KNN_GROUP_BLOCK, 1);
	uint32		list = KnnStoreAllocate(store, index, KNN_GROUP_LIST, 1);
	uint32		dim = store->shape.dim;
	PGAlignedBlock page;
	KnnIvfHead	head = {.insert = block + 1};
	KnnIvfCoarse *coarse = palloc0(store->columns[KNN_COLUMN_COARSE].width);
	KnnItemWrite writes[4];
	int			nwrites = 0;

	coarse->first = block + 1;
	knn_encode_rotated(&insert->reader.coarse, insert->rotated, &coarse->factors, coarse->code,
					   palloc(sizeof(float) * dim));
	memset(page.data, 0, BLCKSZ);
	((KnnIvfBlock *) page.data)->list = list;
	writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_BLOCK, block, page.data};
	writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_HEAD, list, &head};
	writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_COARSE, list, coarse};
	if (store->columns[KNN_COLUMN_CENTROID].width > 0)
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_CENTROID, list, insert->rotated};
	KnnStoreWrite(store, index, writes, nwrites);
	(void) KnnStoreSetFirstEntry(index, list, 1);
	KnnStoreRefresh(store, index);
}

/* ---- entries ---- */

/* A place of a block that VACUUM has emptied; the caller knows that there is one. */
static uint32
find_emptied(IvfInsert *insert, const KnnIvfBlock *block, BlockNumber number)
{
	for (uint32 i = 0; i < block->nentries; i++)
	{
		if (!ItemPointerIsValid(&KnnIvfTids(block)[i]))
			return i;
	}
	KnnReportDamage(insert->index, number, "The block has fewer empty places than it says.");
}

/* Put the entry at a place of a locked block. */
static void
put_entry(IvfInsert *insert, Buffer buffer, uint32 at, uint32 id)
{
	const KnnIvfLayout *layout = &insert->reader.layout;
	GenericXLogState *state = GenericXLogStart(insert->index);
	KnnIvfBlock *block = (KnnIvfBlock *)
		KnnPageContents(GenericXLogRegisterBuffer(state, buffer, 0));

	if (at == block->nentries)
		block->nentries++;
	else
		block->nfree--;
	KnnIvfPutEntry(block, layout, at, &insert->tid, id, &insert->factors, insert->code);
	GenericXLogFinish(state);
}

/*
 * Take a place in a locked block; false when it has none, or (with *wants_id) when
 * the row needs a vector id first.
 */
static bool
take_place(IvfInsert *insert, Buffer buffer, const KnnIvfBlock *block, bool *wants_id)
{
	const KnnIvfLayout *layout = &insert->reader.layout;

	*wants_id = false;
	if (block->nfree > 0 && !insert->has_id)
	{
		uint32		at = find_emptied(insert, block, BufferGetBlockNumber(buffer));
		uint32		id = 0;

		if (layout->has_ids)
		{
			id = KnnIvfIds(block, layout)[at];
			if (id >= insert->store->used[KNN_GROUP_NODE])
				KnnStoreRefresh(insert->store, insert->index);
			if (id >= insert->store->used[KNN_GROUP_NODE])
				KnnReportDamage(insert->index, BufferGetBlockNumber(buffer),
								"An entry has an impossible vector id.");
			write_vector(insert, id);
		}
		put_entry(insert, buffer, at, id);
		return true;
	}
	if (block->nentries == layout->per_block)
		return false;
	if (layout->has_ids && !insert->has_id)
	{
		*wants_id = true;
		return false;
	}
	put_entry(insert, buffer, block->nentries, insert->id);
	return true;
}

/* Add a block after a list's last one, which is locked; its number + 1. */
static uint32
add_block(IvfInsert *insert, Buffer last, uint32 block)
{
	KnnStore   *store = insert->store;
	KnnItemAddress address = KnnStoreLocate(store, insert->index, KNN_COLUMN_BLOCK, block);
	Buffer		buffer = KnnStoreReadForWrite(insert->index, address.block);
	GenericXLogState *state;
	Page		page;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	state = GenericXLogStart(insert->index);
	page = GenericXLogRegisterBuffer(state, last, 0);
	((KnnIvfBlock *) KnnPageContents(page))->next = block + 1;
	page = GenericXLogRegisterBuffer(state, buffer, GENERIC_XLOG_FULL_IMAGE);
	KnnPageInit(page, KNN_COLUMN_BLOCK);
	(void) KnnIvfBlockInit(page, &insert->reader.layout, insert->list);
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buffer);
	return block + 1;
}

/* Let inserts begin at this block. */
static void
move_head(IvfInsert *insert, uint32 block)
{
	uint32		offset;
	Buffer		buffer = KnnStoreLockItem(insert->store, insert->index, KNN_COLUMN_HEAD,
										  insert->list, &offset);
	GenericXLogState *state = GenericXLogStart(insert->index);
	Page		page = GenericXLogRegisterBuffer(state, buffer, 0);

	((KnnIvfHead *) (KnnPageContents(page) + offset))->insert = block;
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buffer);
}

static void
insert_entry(IvfInsert *insert)
{
	KnnStore   *store = insert->store;
	KnnIvfReader *reader = &insert->reader;
	KnnIvfHead	head;
	uint32		at;
	uint32		spare = KNN_IVF_NO_BLOCK;	/* given out to be added */
	uint32		steps = 0;

	KnnStoreCopy(store, insert->index, KNN_COLUMN_HEAD, insert->list, &head);
	if (head.insert == KNN_IVF_NO_BLOCK)
		KnnReportDamage(insert->index, KNN_META_BLOCK,
						psprintf("The head of list %u is damaged.", insert->list));
	for (at = head.insert;;)
	{
		Buffer		buffer = KnnIvfPinBlock(reader, at - 1);
		const KnnIvfBlock *block;
		bool		wants_id;
		bool		done;
		uint32		next;

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		block = KnnIvfCheckBlock(reader, BufferGetPage(buffer), BufferGetBlockNumber(buffer),
								 insert->list);
		done = take_place(insert, buffer, block, &wants_id);
		next = block->next;
		if (!done && !wants_id && next == KNN_IVF_NO_BLOCK && spare != KNN_IVF_NO_BLOCK)
		{
			next = add_block(insert, buffer, spare - 1);
			spare = KNN_IVF_NO_BLOCK;
		}
		UnlockReleaseBuffer(buffer);
		if (done)
			break;
		if (wants_id)
		{
			/* then look at this block again */
			insert->id = KnnStoreAllocate(store, insert->index, KNN_GROUP_NODE, 1);
			insert->has_id = true;
			write_vector(insert, insert->id);
			continue;
		}
		if (next == KNN_IVF_NO_BLOCK)
		{
			/* full: come back with a new block */
			spare = KnnStoreAllocate(store, insert->index, KNN_GROUP_BLOCK, 1) + 1;
			continue;
		}
		at = next;
		if (steps++ > store->capacity[KNN_GROUP_BLOCK])
			KnnReportDamage(insert->index, KNN_META_BLOCK,
							psprintf("The blocks of list %u have a cycle.", insert->list));
	}

	/*
	 * The row took no emptied place behind the head, if it had an id by then; they
	 * stay behind until the next VACUUM.
	 */
	if (at != head.insert)
		move_head(insert, at);
}

static void
insert_value(Relation index, KnnStore *store, const KnnValue *value, ItemPointer tid,
			 bool unchanged)
{
	IvfInsert	insert = {.index = index,.store = store,.value = value,.tid = *tid};
	float	   *distances;
	uint32		nearest = 0;

	KnnIvfReaderInit(&insert.reader, index, store);
	insert.rotated = palloc(KnnElementsSize(&store->shape));
	knn_encoder_rotate(&store->encoder, value->elements, insert.rotated);
	if (store->entry == KNN_INVALID_ID)
		make_first_list(&insert);

	distances = palloc(sizeof(float) * KnnIvfNlists(store));
	KnnIvfScoreLists(&insert.reader, insert.rotated, true, distances);
	for (uint32 i = 1; i < KnnIvfNlists(store); i++)
	{
		if (distances[i] < distances[nearest])
			nearest = i;
	}
	insert.list = KnnIvfFirstList(store) + nearest;

	insert.code = palloc0(insert.reader.layout.code_bytes);
	KnnIvfSelect(&insert.reader, insert.list);
	knn_encode_rotated(&insert.reader.encoder, insert.rotated, &insert.factors, insert.code,
					   palloc(sizeof(float) * store->shape.dim));
	insert_entry(&insert);
}

bool
knn_ivf_insert(Relation index, Datum *values, bool *isnull, ItemPointer tid,
			   Relation heap, IndexUniqueCheck unique, bool unchanged, struct IndexInfo *info)
{
	return KnnInsert(index, values, isnull, tid, unchanged, insert_value);
}
