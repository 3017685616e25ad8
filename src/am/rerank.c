/*
 * rerank.c
 *		Exact distances between a query and the nodes of an index; see rerank.h.
 */
#include "postgres.h"

#include "am/rerank.h"

#include "access/genam.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "utils/float.h"

void
KnnRerankInit(KnnRerank *rerank, IndexScanDesc scan, KnnStore *store, const float *query)
{
	memset(rerank, 0, sizeof(*rerank));
	rerank->scan = scan;
	rerank->store = store;
	rerank->query = query;
	rerank->vector = palloc(sizeof(float) * store->shape.dim);
	rerank->scratch = palloc(sizeof(float) * store->shape.dim);
}

/* ---- from the column "vector" ---- */

static float
stored_distance(KnnRerank *rerank, uint32 node)
{
	Buffer		buffer;
	const void *stored = KnnStoreReadFixed(rerank->store, rerank->scan->indexRelation,
										   KNN_COLUMN_VECTOR, node, rerank->vector, &buffer);
	float		distance = KnnStoredDistance(&rerank->store->shape, rerank->store->encoder.kernels,
											 rerank->query, stored, rerank->scratch);

	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
	return distance;
}

/* ---- from the table ---- */

static void
begin_fetch(KnnRerank *rerank)
{
	Relation	heap = rerank->scan->heapRelation;

	if (heap == NULL)
		elog(ERROR, "scan of index \"%s\" does not know its table",
			 RelationGetRelationName(rerank->scan->indexRelation));
	rerank->estate = CreateExecutorState();
	rerank->index_info = BuildIndexInfo(rerank->scan->indexRelation);
	rerank->slot = table_slot_create(heap, NULL);
	rerank->fetch = table_index_fetch_begin(heap);
	GetPerTupleExprContext(rerank->estate)->ecxt_scantuple = rerank->slot;
}

/* Distance of the row that a possible TID leads to; false when none is visible. */
static bool
row_distance(KnnRerank *rerank, ItemPointerData tid, float *distance)
{
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];
	bool		again = false;
	bool		all_dead = false;
	bool		found = false;

	if (rerank->fetch == NULL)
		begin_fetch(rerank);
	ResetPerTupleExprContext(rerank->estate);
	if (table_index_fetch_tuple(rerank->fetch, &tid, rerank->scan->xs_snapshot,
								rerank->slot, &again, &all_dead))
	{
		MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(rerank->estate));
		KnnValue	value;

		FormIndexDatum(rerank->index_info, rerank->slot, rerank->estate, values, isnull);
		if (!isnull[0] && KnnIndexedValue(&rerank->store->shape, values[0], &value))
		{
			*distance = knn_exact_distance(rerank->store->encoder.kernels,
										   rerank->store->shape.space,
										   rerank->query, value.elements,
										   rerank->store->shape.dim);
			found = true;
		}
		MemoryContextSwitchTo(old);
		ExecClearTuple(rerank->slot);
	}
	return found;
}

/*
 * The same of a node's TID.  One that can be none would have the table read a block
 * that cannot be.
 */
static bool
node_row_distance(KnnRerank *rerank, uint32 node, const ItemPointerData *tid, float *distance)
{
	if (!KnnTidIsPossible(tid))
		KnnReportDamage(rerank->scan->indexRelation,
						KnnStoreLocate(rerank->store, rerank->scan->indexRelation,
									   KNN_COLUMN_TID, node).block,
						psprintf("Node %u has an impossible TID.", node));
	return row_distance(rerank, *tid, distance);
}

static bool
table_distance(KnnRerank *rerank, uint32 node, float *distance)
{
	KnnStore   *store = rerank->store;
	Relation	index = rerank->scan->indexRelation;
	KnnTidItem	item;
	uint32		chain;
	uint32		steps = 0;

	KnnStoreCopy(store, index, KNN_COLUMN_TID, node, &item);
	for (int i = 0; i < Min(item.ntids, KNN_INLINE_TIDS); i++)
	{
		if (node_row_distance(rerank, node, &item.tids[i], distance))
			return true;
	}
	for (chain = item.chain; chain != KNN_NO_CHAIN;)
	{
		KnnChainItem next;

		if (steps++ > store->capacity[KNN_GROUP_CHAIN])
			KnnReportDamage(index, KNN_META_BLOCK,
							psprintf("The chain of node %u has a cycle.", node));
		KnnStoreCopy(store, index, KNN_COLUMN_CHAIN, chain - 1, &next);
		for (int i = 0; i < Min(next.ntids, KNN_CHAIN_TIDS); i++)
		{
			if (node_row_distance(rerank, node, &next.tids[i], distance))
				return true;
		}
		chain = next.next;
	}
	return false;
}

bool
KnnRerankDistance(KnnRerank *rerank, uint32 node, float *distance)
{
	if (rerank->ahead > 0)
		rerank->ahead--;
	if (rerank->store->shape.vectors != KNN_VECTORS_NONE)
		*distance = stored_distance(rerank, node);
	else if (!table_distance(rerank, node, distance))
		return false;
	if (isnan(*distance))
		*distance = get_float4_infinity();
	return true;
}

bool
KnnRerankRow(KnnRerank *rerank, uint32 id, const ItemPointerData *tid, float *distance)
{
	if (rerank->ahead > 0)
		rerank->ahead--;
	if (rerank->store->shape.vectors != KNN_VECTORS_NONE)
		*distance = stored_distance(rerank, id);
	else if (!row_distance(rerank, *tid, distance))
		return false;
	if (isnan(*distance))
		*distance = get_float4_infinity();
	return true;
}

/* ---- reading ahead ---- */

/*
 * Asked before each exact distance, so the answer must be cheap when all is in
 * memory: a look at the tag of the buffer that held the block last, without pin
 * or lock.  A wrong answer costs a useless prefetch, or one that is missed.
 */
bool
KnnRerankWantsAhead(KnnRerank *rerank, uint32 node)
{
	KnnStore   *store = rerank->store;
	Relation	index = rerank->scan->indexRelation;
	KnnItemAddress address;
	Buffer		hint;

	if (rerank->ahead > 0 || store->shape.vectors == KNN_VECTORS_NONE)
		return false;
	address = KnnStoreLocate(store, index, KNN_COLUMN_VECTOR, node);
	hint = address.block < store->nhints ? store->hints[address.block] : InvalidBuffer;
	if (hint == InvalidBuffer)
		return true;
	if (hint < 0)
		return false;			/* temporary tables are in local memory */
	return GetBufferDescriptor(hint - 1)->tag.blockNum != address.block;
}

void
KnnRerankAhead(KnnRerank *rerank, const uint32 *nodes, int nnodes)
{
	KnnStore   *store = rerank->store;
	Relation	index = rerank->scan->indexRelation;
	uint32		width = store->columns[KNN_COLUMN_VECTOR].width;

	for (int i = 0; i < nnodes; i++)
	{
		KnnItemAddress address = KnnStoreLocate(store, index, KNN_COLUMN_VECTOR, nodes[i]);
		uint32		npages = (address.offset + width - 1) / KNN_PAGE_CAPACITY + 1;

		for (uint32 page = 0; page < npages; page++)
			(void) PrefetchBuffer(index, MAIN_FORKNUM, address.block + page);
	}
	rerank->ahead = Max(nnodes / 2, 1);
}

void
KnnRerankPrefetch(const KnnRerank *rerank, uint32 node)
{
	KnnStore   *store = rerank->store;

	if (store->shape.vectors != KNN_VECTORS_NONE)
		KnnStorePrefetch(store,
						 KnnStoreLocate(store, rerank->scan->indexRelation,
										KNN_COLUMN_VECTOR, node),
						 store->columns[KNN_COLUMN_VECTOR].width);
}

void
KnnRerankEnd(KnnRerank *rerank)
{
	if (rerank->fetch)
		table_index_fetch_end(rerank->fetch);
	if (rerank->slot)
		ExecDropSingleTupleTableSlot(rerank->slot);
	if (rerank->estate)
		FreeExecutorState(rerank->estate);
	rerank->fetch = NULL;
	rerank->slot = NULL;
	rerank->estate = NULL;
}
