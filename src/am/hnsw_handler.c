/*
 * hnsw_handler.c
 *		The access method knn_hnsw: its callbacks.
 */
#include "postgres.h"

#include "am/hnsw.h"

#include "am/handler.h"
#include "am/opclass.h"
#include "am/options.h"
#include "commands/progress.h"
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
		case KNN_HNSW_PHASE_UPLOAD:
			return "uploading vectors";
		case KNN_HNSW_PHASE_REMOTE:
			return "waiting for the remote build";
		case KNN_HNSW_PHASE_DOWNLOAD:
			return "downloading the graph";
		case KNN_HNSW_PHASE_IMPORT:
			return "importing the graph";
		default:
			return NULL;
	}
}

static bool
hnsw_validate(Oid opclassoid)
{
	return KnnValidateOpclass(opclassoid, "knn_hnsw");
}

Datum
knn_hnsw_handler(PG_FUNCTION_ARGS)
{
	IndexAmRoutine *routine = KnnMakeAmRoutine();

	routine->ambuild = knn_hnsw_build;
	routine->ambuildempty = knn_hnsw_buildempty;
	routine->aminsert = knn_hnsw_insert;
	routine->ambulkdelete = knn_hnsw_bulkdelete;
	routine->amcostestimate = knn_hnsw_costestimate;
	routine->amoptions = KnnHnswOptionsParse;
	routine->ambuildphasename = build_phase_name;
	routine->amvalidate = hnsw_validate;
	routine->ambeginscan = knn_hnsw_beginscan;

	PG_RETURN_POINTER(routine);
}
