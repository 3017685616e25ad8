/*
 * index_check.c
 *		knn_index_check(index, heapallindexed, reachable): is an index sound?
 *
 * Under AccessShareLock on the table and the index, while others read and write
 * (and on a standby), all that holds at any moment is verified:
 *
 *	metapage	shape, operator class, extents one after the other, ids in use
 *	pages		header, special area and end of contents of every block
 *	links		counts, each link to another node that is written, none twice,
 *				levels, upper items of one node each
 *	tid, chain	counts, possible TIDs, chains without cycles and of their owner,
 *				no rows in tombstones, no row twice
 *	vectors		finite, of length 1 under cosine, codes and factors as encoding
 *				the vector gives them
 *
 *
 * and of knn_ivf
 *
 *	lists		blocks of one list each, counts, an end; centroids and their codes
 *	entries		possible TIDs, no row twice, a vector of their own, codes and
 *				factors as encoding the vector about the centroid gives them
 *
 * heapallindexed also verifies that every row of the table that a snapshot taken
 * at the start shows, and that belongs into the index, is in it.
 *
 * reachable takes ShareLock, so that writes wait, and warns about rows that no
 * search can find (check_reach.c): in knn_ivf there are none.  Not on a standby.
 *
 * Who owns the table, or may maintain it, may call this.
 */
#include "postgres.h"

#include "api/check.h"
#include "api/index_open.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_am_d.h"
#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_index_check);

/* A damaged page may be reported by the server, which does not name the index. */
static void
check_context(void *arg)
{
	KnnCheck   *check = arg;

	if (check->block == InvalidBlockNumber)
		errcontext("while checking the rows of index \"%s\"",
				   RelationGetRelationName(check->index));
	else
		errcontext("while checking block %u of index \"%s\"",
				   check->block, RelationGetRelationName(check->index));
}

static void
check_index(KnnCheck *check, Snapshot snapshot)
{
	KnnStore   *store;

	check->first_nblocks = check->nblocks = RelationGetNumberOfBlocks(check->index);
	KnnCheckSetInit(&check->seen, check->first_nblocks);
	check->heap_nblocks = check->heap->rd_rel->relam == HEAP_TABLE_AM_OID ?
		RelationGetNumberOfBlocks(check->heap) : InvalidBlockNumber;
	check->strategy = GetAccessStrategy(BAS_BULKREAD);

	if (check->nblocks == 0)
		KnnCheckFail(check, KNN_META_BLOCK, "The file is empty.");
	store = check->store = KnnStoreOpen(check->index);
	KnnStoreHold(store, CurrentMemoryContext);
	KnnCheckMeta(check);

	KnnCheckRowsBegin(check);
	if (store->shape.method == KNN_METHOD_IVF)
	{
		KnnCheckLists(check);
		KnnCheckOtherBlocks(check);
		check->block = InvalidBlockNumber;
		KnnCheckRows(check, snapshot);
		return;
	}

	check->nnodes = check->nodes_room = store->used[KNN_GROUP_NODE];
	check->nodes = MemoryContextAllocExtended(CurrentMemoryContext,
											  mul_size(sizeof(KnnCheckNode), Max(check->nnodes, 1)),
											  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	KnnCheckSetInit(&check->upper, store->used[KNN_GROUP_UPPER]);
	KnnCheckSetInit(&check->chain, store->used[KNN_GROUP_CHAIN]);

	KnnCheckLinks(check);
	KnnCheckTids(check);
	KnnCheckReferences(check);
	KnnCheckVectors(check);
	KnnCheckOtherBlocks(check);
	check->block = InvalidBlockNumber;
	KnnCheckRows(check, snapshot);
	if (check->at_rest)
		KnnCheckReach(check);
}

Datum
knn_index_check(PG_FUNCTION_ARGS)
{
	Oid			indexoid = PG_GETARG_OID(0);
	bool		heapallindexed = PG_GETARG_BOOL(1);
	bool		reachable = PG_GETARG_BOOL(2);
	KnnCheck	check = {0};
	ErrorContextCallback callback;
	MemoryContext context;
	MemoryContext old;
	Snapshot	snapshot = NULL;
	Oid			user;
	int			security;
	int			nestlevel;

	if (reachable && RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot check whether all nodes are reachable during recovery"),
				 errhint("Call knn_index_check without \"reachable\".")));

	check.at_rest = reachable;
	check.index = KnnOpenIndex(indexoid, reachable ? ShareLock : AccessShareLock,
							   KNN_ACCESS_MAINTAIN, &check.heap);
	if (!check.index->rd_index->indisvalid)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot check index \"%s\", which is not valid",
						RelationGetRelationName(check.index)),
				 errhint("Its CREATE INDEX CONCURRENTLY is under way or has failed.")));

	/* what expressions of the index do, they do as the table's owner */
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(check.heap->rd_rel->relowner, security | SECURITY_RESTRICTED_OPERATION);
	nestlevel = NewGUCNestLevel();
	KnnRestrictSearchPath();

	context = AllocSetContextCreate(CurrentMemoryContext, "knn index check", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	callback.callback = check_context;
	callback.arg = &check;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	/* before the index is read: what this shows must be found there */
	if (heapallindexed)
	{
		snapshot = RegisterSnapshot(GetTransactionSnapshot());

		/* rows whose older versions the index was allowed to leave out */
		if (IsolationUsesXactSnapshot() && check.index->rd_index->indcheckxmin &&
			!TransactionIdPrecedes(HeapTupleHeaderGetXmin(check.index->rd_indextuple->t_data),
								   snapshot->xmin))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("index \"%s\" cannot be compared with its table using the transaction's snapshot",
							RelationGetRelationName(check.index))));
	}
	check_index(&check, snapshot);
	if (snapshot)
		UnregisterSnapshot(snapshot);

	error_context_stack = callback.previous;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	AtEOXact_GUC(false, nestlevel);
	SetUserIdAndSecContext(user, security);
	KnnCloseIndex(check.index, check.heap);
	PG_RETURN_VOID();
}
