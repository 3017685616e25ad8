/*
 * ivf_handler.c
 *		The access method knn_ivf: its callbacks.
 */
#include "postgres.h"

#include "am/ivf.h"

#include "am/handler.h"
#include "am/opclass.h"
#include "am/options.h"
#include "commands/progress.h"
#include "fmgr.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_ivf_handler);

static char *
build_phase_name(int64 phase)
{
	switch (phase)
	{
		case PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE:
			return "initializing";
		case KNN_IVF_PHASE_READ:
			return "reading vectors";
		case KNN_IVF_PHASE_SPOOL:
			return "handing vectors to knn-builder";
		case KNN_IVF_PHASE_TRAIN:
			return "training";
		case KNN_IVF_PHASE_ASSIGN:
			return "assigning vectors to lists";
		case KNN_IVF_PHASE_CHECK:
			return "checking the lists";
		case KNN_IVF_PHASE_WRITE:
			return "writing pages";
		case KNN_IVF_PHASE_LOG:
			return "logging pages";
		default:
			return NULL;
	}
}

static bool
ivf_validate(Oid opclassoid)
{
	return KnnValidateOpclass(opclassoid, "knn_ivf");
}

Datum
knn_ivf_handler(PG_FUNCTION_ARGS)
{
	IndexAmRoutine *routine = KnnMakeAmRoutine();

	routine->ambuild = knn_ivf_build;
	routine->ambuildempty = knn_ivf_buildempty;
	routine->aminsert = knn_ivf_insert;
	routine->ambulkdelete = knn_ivf_bulkdelete;
	routine->amcostestimate = knn_ivf_costestimate;
	routine->amoptions = KnnIvfOptionsParse;
	routine->ambuildphasename = build_phase_name;
	routine->amvalidate = ivf_validate;
	routine->ambeginscan = knn_ivf_beginscan;

	PG_RETURN_POINTER(routine);
}
