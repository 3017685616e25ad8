/*
 * handler.c
 *		What the access methods of the extension have in common; see handler.h.
 */
#include "postgres.h"

#include "am/handler.h"

#include "am/opclass.h"
#include "am/scan.h"
#include "cache/counters.h"
#include "commands/vacuum.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "storage/bufmgr.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/spccache.h"

/* Components of a code that cost one cpu_operator_cost to compare. */
#define DIMENSIONS_PER_OPERATOR 256.0

/* Only what the core cannot tell: a distance operator orders the one column. */
static bool
distance_property(Oid index_oid, int attno, IndexAMProperty prop, const char *propname,
				  bool *res, bool *isnull)
{
	if (attno != 1 || prop != AMPROP_DISTANCE_ORDERABLE)
		return false;
	*res = true;
	*isnull = false;
	return true;
}

static IndexBulkDeleteResult *
vacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	/* ANALYZE reads nothing and changes nothing here */
	if (info->analyze_only)
		return stats;
	if (stats == NULL)
	{
		stats = palloc0(sizeof(IndexBulkDeleteResult));
		stats->num_index_tuples = info->num_heap_tuples;
		stats->estimated_count = true;
	}
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	return stats;
}

IndexAmRoutine *
KnnMakeAmRoutine(void)
{
	IndexAmRoutine *routine = makeNode(IndexAmRoutine);

	routine->amstrategies = KNN_NSTRATEGIES;
	routine->amsupport = KNN_NPROCS;
	routine->amoptsprocnum = 0;
	routine->amcanorder = false;
	routine->amcanorderbyop = true;
	routine->amcanbackward = false;
	routine->amcanunique = false;
	routine->amcanmulticol = false;
	routine->amoptionalkey = true;
	routine->amsearcharray = false;
	routine->amsearchnulls = false;
	routine->amstorage = false;
	routine->amclusterable = false;
	routine->ampredlocks = false;
	routine->amcanparallel = false;
	routine->amcaninclude = false;
	routine->amusemaintenanceworkmem = false;
	routine->amparallelvacuumoptions = VACUUM_OPTION_PARALLEL_BULKDEL;
	routine->amkeytype = InvalidOid;

	routine->amproperty = distance_property;
	routine->amvacuumcleanup = vacuumcleanup;
	routine->amrescan = KnnScanRescan;
	routine->amgettuple = KnnScanGetTuple;
	routine->amendscan = KnnScanEnd;
	return routine;
}

IndexBuildResult *
KnnBuild(Relation heap, Relation index, IndexInfo *info, KnnBuildIndex build)
{
	IndexBuildResult *volatile result = NULL;

	PG_TRY();
	{
		result = build(heap, index, info);
	}
	PG_CATCH();
	{
		KnnCountError(KNN_COUNT_BUILD_ERROR);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return result;
}

static void
insert_datum(Relation index, Datum datum, ItemPointer tid, bool unchanged, KnnInsertValue insert)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "knn insert",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	KnnStore   *store = KnnStoreOpen(index);
	KnnValue	value;

	KnnStoreHold(store, context);
	if (KnnIndexedValue(&store->shape, datum, &value))
		insert(index, store, &value, tid, unchanged);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

bool
KnnInsert(Relation index, const Datum *values, const bool *isnull, ItemPointer tid,
		  bool unchanged, KnnInsertValue insert)
{
	if (isnull[0])
		return false;

	KnnCount(KNN_COUNT_GRAPH_INDEX, 1);
	PG_TRY();
	{
		insert_datum(index, values[0], tid, unchanged, insert);
	}
	PG_CATCH();
	{
		KnnCountError(KNN_COUNT_GRAPH_INDEX_ERROR);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return false;
}

bool
KnnIsAmRoutine(const IndexAmRoutine *routine)
{
	return routine->amproperty == distance_property;
}

bool
KnnCostIsOrdered(IndexPath *path, Cost *startup_cost, Cost *total_cost,
				 Selectivity *selectivity, double *correlation, double *pages)
{
	if (path->indexorderbys != NIL)
		return true;

	/* the index can do nothing but order */
	*startup_cost = get_float8_infinity();
	*total_cost = get_float8_infinity();
	*selectivity = 0;
	*correlation = 0;
	*pages = 0;
#if PG_VERSION_NUM >= 180000
	path->path.disabled_nodes = 2;
#endif
	return false;
}

double
KnnCostPage(const IndexOptInfo *info)
{
	double		random_page_cost;
	double		cached = Min(1.0, (double) effective_cache_size / Max(info->pages, 1));

	get_tablespace_page_costs(info->reltablespace, &random_page_cost, NULL);
	return cached * cpu_index_tuple_cost + (1.0 - cached) * random_page_cost;
}

double
KnnCostScore(double dim)
{
	return cpu_operator_cost * (1 + dim / DIMENSIONS_PER_OPERATOR);
}
