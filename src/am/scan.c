/*
 * scan.c
 *		What the scans of all methods have in common; see scan.h.
 */
#include "postgres.h"

#include "am/scan.h"

#include "am/heap_hint.h"
#include "am/value.h"
#include "cache/counters.h"
#include "commands/defrem.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

IndexScanDesc
KnnScanBegin(Relation index, int nkeys, int norderbys, Size size,
			 bool (*next_row) (IndexScanDesc scan))
{
	IndexScanDesc scan = RelationGetIndexScan(index, nkeys, norderbys);
	KnnScan    *so = palloc0(size);

	so->scan = scan;
	so->context = AllocSetContextCreate(CurrentMemoryContext, "knn scan",
										ALLOCSET_DEFAULT_SIZES);
	so->size = size;
	so->next_row = next_row;
	scan->opaque = so;
	return scan;
}

void
KnnScanRescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys, int norderbys)
{
	KnnScan    *so = scan->opaque;
	Size		kept = offsetof(KnnScan, started);

	if (keys && scan->numberOfKeys > 0)
		memmove(scan->keyData, keys, sizeof(ScanKeyData) * scan->numberOfKeys);
	if (orderbys && scan->numberOfOrderBys > 0)
		memmove(scan->orderByData, orderbys, sizeof(ScanKeyData) * scan->numberOfOrderBys);
	KnnRerankEnd(&so->rerank);
	MemoryContextReset(so->context);
	memset((char *) so + kept, 0, so->size - kept);
}

bool
KnnScanGetTuple(IndexScanDesc scan, ScanDirection direction)
{
	KnnScan    *so = scan->opaque;
	volatile bool found = false;

	/* no order by distance runs backwards */
	Assert(ScanDirectionIsForward(direction));

	PG_TRY();
	{
		found = so->next_row(scan);
	}
	PG_CATCH();
	{
		KnnCountError(KNN_COUNT_GRAPH_QUERY_ERROR);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (!found)
		return false;

	KnnHeapHintPin(scan, &scan->xs_heaptid);
	scan->xs_recheck = false;
	scan->xs_recheckorderby = false;
	return true;
}

void
KnnScanEnd(IndexScanDesc scan)
{
	KnnScan    *so = scan->opaque;

	KnnRerankEnd(&so->rerank);
	MemoryContextDelete(so->context);
	pfree(so);
	scan->opaque = NULL;
}

void
KnnScanCheck(IndexScanDesc scan)
{
	Relation	index = scan->indexRelation;

	if (scan->numberOfOrderBys != 1)
		elog(ERROR, "cannot scan %s index \"%s\" without an order",
			 get_am_name(index->rd_rel->relam), RelationGetRelationName(index));
	if (!IsMVCCSnapshot(scan->xs_snapshot))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s index \"%s\" can be scanned with an MVCC snapshot only",
						get_am_name(index->rd_rel->relam), RelationGetRelationName(index))));
}

void *
KnnScanQuery(IndexScanDesc scan, const KnnShape *shape)
{
	ScanKey		orderby = &scan->orderByData[0];
	void	   *query = NULL;

	if (!(orderby->sk_flags & SK_ISNULL))
		query = KnnQueryElements(scan->indexRelation, shape, orderby->sk_argument);
	return query ? query : palloc0(KnnElementsSize(shape));
}
