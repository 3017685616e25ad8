/*
 * scan.c
 *		What the scans of all methods have in common; see scan.h.
 */
#include "postgres.h"

#include "am/scan.h"

#include "am/value.h"
#include "commands/defrem.h"
#include "utils/snapmgr.h"

void
KnnScanSetKeys(IndexScanDesc scan, ScanKey keys, ScanKey orderbys)
{
	if (keys && scan->numberOfKeys > 0)
		memmove(scan->keyData, keys, sizeof(ScanKeyData) * scan->numberOfKeys);
	if (orderbys && scan->numberOfOrderBys > 0)
		memmove(scan->orderByData, orderbys, sizeof(ScanKeyData) * scan->numberOfOrderBys);
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
