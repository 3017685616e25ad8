/*
 * hnsw_join.c
 *		Rows with equal vectors share a node.
 *
 * When the search for a new row's neighbours meets an equal vector, the row joins
 * that node: into its tid item or, when that is full, into its chain of further
 * items (10,000 equal rows then cost no graph at all).  A node that VACUUM has
 * made a tombstone comes back to life that way.
 *
 * LOCKS: the tid page, then a page of chain or links.
 */
#include "postgres.h"

#include "am/hnsw_insert.h"

#include "access/generic_xlog.h"

/* Items of a chain that are looked at for a free place. */
#define CHAIN_ITEMS_TRIED 64

/*
 * Does a node hold exactly this vector?  An index without full vectors takes the
 * code with its factors for it, which are three floats of the vector's own.
 */
static bool
node_equals(HnswInsert *insert, uint32 node)
{
	const KnnShape *shape = &insert->store->shape;
	Buffer		buffer;
	const void *item;
	bool		equal;

	/* the code tells nearly all apart, and is likely in cache */
	item = KnnStoreReadFixed(insert->store, insert->index, KNN_COLUMN_CODE, node,
							 insert->scratch, &buffer);
	equal = memcmp(item, insert->code, insert->code_width) == 0;
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
	if (!equal || shape->vectors == KNN_VECTORS_NONE)
		return equal;

	item = KnnStoreReadFixed(insert->store, insert->index, KNN_COLUMN_VECTOR, node,
							 insert->scratch, &buffer);
	equal = memcmp(item, insert->value->stored, KnnStoredSize(shape)) == 0;
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
	return equal;
}

/*
 * An equal vector in the beam, or KNN_INVALID_ID.  Equal vectors have equal codes,
 * whose estimated distances are equal to the last bit.
 */
uint32
KnnHnswFindEqual(HnswInsert *insert)
{
	const knn_search *search = insert->search;
	float		self = knn_query_score(&insert->reader.query,
									   KnnCodeFactors(insert->store, insert->code),
									   KnnCodeBytes(insert->store, insert->code));

	for (uint32 i = 0; i < search->nbeam; i++)
	{
		if (search->beam[i].distance == self && node_equals(insert, search->beam[i].id))
			return search->beam[i].id;
	}
	return KNN_INVALID_ID;
}

/*
 * Put a TID into a free place of a chain item; false when it is full.  *next is
 * the item after it.
 */
static bool
join_chain_item(HnswInsert *insert, uint32 chain, uint32 node, ItemPointer tid, uint32 *next)
{
	uint32		offset;
	Buffer		buffer = KnnStoreLockItem(insert->store, insert->index, KNN_COLUMN_CHAIN,
										  chain, &offset);
	KnnChainItem *item = (KnnChainItem *) (KnnPageContents(BufferGetPage(buffer)) + offset);
	bool		joined = false;

	if (item->owner != node || item->ntids > KNN_CHAIN_TIDS)
	{
		BlockNumber block = BufferGetBlockNumber(buffer);

		UnlockReleaseBuffer(buffer);
		KnnReportDamage(insert->index, block,
						psprintf("Item %u is not of the chain of node %u.", chain, node));
	}
	*next = item->next;
	if (item->ntids < KNN_CHAIN_TIDS)
	{
		GenericXLogState *state = GenericXLogStart(insert->index);
		Page		page = GenericXLogRegisterBuffer(state, buffer, 0);

		item = (KnnChainItem *) (KnnPageContents(page) + offset);
		item->tids[item->ntids++] = *tid;
		GenericXLogFinish(state);
		joined = true;
	}
	UnlockReleaseBuffer(buffer);
	return joined;
}

/*
 * Give a node, which has room for it, another TID.  Its item of the column tid is locked:
 * in this buffer, at this offset.
 */
static void
join_inline(HnswInsert *insert, uint32 node, ItemPointer tid, Buffer buffer, uint32 offset)
{
	KnnStore   *store = insert->store;
	Relation	index = insert->index;
	const KnnTidItem *there = (KnnTidItem *) (KnnPageContents(BufferGetPage(buffer)) + offset);
	Buffer		links_buffer = InvalidBuffer;
	uint32		links_offset = 0;
	KnnTidItem *item;
	GenericXLogState *state;
	KnnMirrorView *mirror;

	/*
	 * A node without inline TIDs may be a tombstone (also with a chain that has become
	 * empty).
	 */
	if (there->ntids == 0)
		links_buffer = KnnStoreLockItem(store, index, KNN_COLUMN_LINKS, node, &links_offset);
	state = GenericXLogStart(index);
	item = (KnnTidItem *) (KnnPageContents(GenericXLogRegisterBuffer(state, buffer, 0)) + offset);
	item->tids[item->ntids++] = *tid;
	if (BufferIsValid(links_buffer))
	{
		KnnLinksItem *links = (KnnLinksItem *)
		(KnnPageContents(GenericXLogRegisterBuffer(state, links_buffer, 0)) + links_offset);

		links->flags &= ~KNN_LINKS_DEAD;
	}
	mirror = KnnPublishBegin(index, store);
	GenericXLogFinish(state);
	KnnPublish(mirror, store, KNN_COLUMN_TID, node,
			   KnnPageContents(BufferGetPage(buffer)) + offset);
	if (BufferIsValid(links_buffer))
		KnnPublish(mirror, store, KNN_COLUMN_LINKS, node,
				   KnnPageContents(BufferGetPage(links_buffer)) + links_offset);
	KnnPublishEnd(mirror);
	if (BufferIsValid(links_buffer))
		UnlockReleaseBuffer(links_buffer);
}

/* Put a TID into a chain item that is new, before the others of the node; as above. */
static void
join_new_item(HnswInsert *insert, uint32 node, ItemPointer tid, uint32 new_chain,
			  Buffer buffer, uint32 offset)
{
	KnnStore   *store = insert->store;
	Relation	index = insert->index;
	KnnTidItem *item = (KnnTidItem *) (KnnPageContents(BufferGetPage(buffer)) + offset);
	KnnChainItem first = {.ntids = 1, .next = item->chain, .owner = node};
	KnnItemWrite write = {KNN_COLUMN_CHAIN, new_chain, &first};
	GenericXLogState *state;
	KnnMirrorView *mirror;

	first.tids[0] = *tid;
	KnnStoreWrite(store, index, &write, 1);
	state = GenericXLogStart(index);
	item = (KnnTidItem *) (KnnPageContents(GenericXLogRegisterBuffer(state, buffer, 0)) + offset);
	item->chain = new_chain + 1;
	mirror = KnnPublishBegin(index, store);
	GenericXLogFinish(state);
	KnnPublish(mirror, store, KNN_COLUMN_TID, node,
			   KnnPageContents(BufferGetPage(buffer)) + offset);
	KnnPublishEnd(mirror);
}

/*
 * Add a row to a node.  The node's tid page is locked throughout, which keeps
 * VACUUM from making it a tombstone meanwhile.
 */
void
KnnHnswJoinNode(HnswInsert *insert, uint32 node, ItemPointer tid)
{
	KnnStore   *store = insert->store;
	Relation	index = insert->index;
	uint32		new_chain = KNN_INVALID_ID;

	for (;;)
	{
		uint32		offset;
		Buffer		buffer = KnnStoreLockItem(store, index, KNN_COLUMN_TID, node, &offset);
		const KnnTidItem *item = (KnnTidItem *) (KnnPageContents(BufferGetPage(buffer)) + offset);
		uint32		chain = item->chain;
		bool		joined = false;

		if (item->ntids > KNN_INLINE_TIDS)
			KnnReportDamage(index, BufferGetBlockNumber(buffer),
							psprintf("Node %u has an impossible number of TIDs.", node));
		if (item->ntids < KNN_INLINE_TIDS)
		{
			join_inline(insert, node, tid, buffer, offset);
			joined = true;
		}

		/*
		 * VACUUM leaves free places anywhere in a chain.  Looking at some items is
		 * enough for rows that are updated again and again, and bounds the work
		 * for vectors that very many rows share.
		 */
		for (int i = 0; i < CHAIN_ITEMS_TRIED && chain != KNN_NO_CHAIN && !joined; i++)
			joined = join_chain_item(insert, chain - 1, node, tid, &chain);

		if (!joined && new_chain != KNN_INVALID_ID)
		{
			join_new_item(insert, node, tid, new_chain, buffer, offset);
			joined = true;
		}
		UnlockReleaseBuffer(buffer);
		if (joined)
			return;
		/* the metapage is not locked together with others: start over */
		new_chain = KnnStoreAllocate(store, index, KNN_GROUP_CHAIN, 1);
	}
}
