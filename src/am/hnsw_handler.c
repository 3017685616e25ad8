/*
 * hnsw_handler.c
 *		The access method knn_hnsw: what it can do, and its callbacks.
 */
#include "postgres.h"

#include "am/hnsw.h"

#include "access/amapi.h"
#include "am/opclass.h"
#include "am/options.h"
#include "commands/progress.h"
#include "commands/vacuum.h"
#include "fmgr.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_hnsw_handler);

static char *
build_phase_name(int64 phase)
{
	switch (phase)
	{
		case PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE:
			return "initializing";
		case KNN_HNSW_PHASE_READ:
			return "reading vectors";
		case KNN_HNSW_PHASE_GRAPH:
			return "building graph";
		case KNN_HNSW_PHASE_INSERT:
			return "inserting vectors beyond maintenance_work_mem";
		case KNN_HNSW_PHASE_WRITE:
			return "writing pages";
		case KNN_HNSW_PHASE_LOG:
			return "logging pages";
		case KNN_HNSW_PHASE_SPOOL:
			return "handing vectors to knn-builder";
		case KNN_HNSW_PHASE_MERGE:
			return "merging parts of the graph";
		case KNN_HNSW_PHASE_ORDER:
			return "ordering the graph";
		case KNN_HNSW_PHASE_CHECK:
			return "checking the graph";
		default:
			return NULL;
	}
}

static bytea *
hnsw_options(Datum reloptions, bool validate)
{
	return KnnHnswOptionsParse(reloptions, validate);
}

/* Only what the core cannot tell: a distance operator orders the one column. */
static bool
hnsw_property(Oid index_oid, int attno, IndexAMProperty prop, const char *propname,
			  bool *res, bool *isnull)
{
	if (attno != 1 || prop != AMPROP_DISTANCE_ORDERABLE)
		return false;
	*res = true;
	*isnull = false;
	return true;
}

static bool
hnsw_validate(Oid opclassoid)
{
	return KnnValidateOpclass(opclassoid, "knn_hnsw");
}

Datum
knn_hnsw_handler(PG_FUNCTION_ARGS)
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

	routine->ambuild = knn_hnsw_build;
	routine->ambuildempty = knn_hnsw_buildempty;
	routine->aminsert = knn_hnsw_insert;
	routine->ambulkdelete = knn_hnsw_bulkdelete;
	routine->amvacuumcleanup = knn_hnsw_vacuumcleanup;
	routine->amcostestimate = knn_hnsw_costestimate;
	routine->amoptions = hnsw_options;
	routine->amproperty = hnsw_property;
	routine->ambuildphasename = build_phase_name;
	routine->amvalidate = hnsw_validate;
	routine->ambeginscan = knn_hnsw_beginscan;
	routine->amrescan = knn_hnsw_rescan;
	routine->amgettuple = knn_hnsw_gettuple;
	routine->amendscan = knn_hnsw_endscan;

	PG_RETURN_POINTER(routine);
}
