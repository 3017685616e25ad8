/*
 * build_job.c
 *		A build that has knn-builder do the larger part of its work; see build_job.h.
 */
#include "postgres.h"

#include "am/build_job.h"

#include <unistd.h>

#include "am/shape.h"
#include "commands/progress.h"
#include "job/settings.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/backend_progress.h"
#include "utils/guc.h"
#include "utils/json.h"

#define VECTORS_FILE "vectors.knnvec"
#define IDS_FILE "vectors.knndid"
#define PROGRESS_EVERY 1024

/* ---- the job ---- */

/* Has the first pass's file the vectors as the program wants them? */
static bool
has_file(const KnnBuildJob *build)
{
	return build->shape->vectors != KNN_VECTORS_HALF && build->read->in_memory == 0;
}

static void
append_text(StringInfo json, const char *key, const char *text)
{
	appendStringInfo(json, ",\"%s\":", key);
	escape_json(json, text);
}

static char *
describe(KnnBuildJob *build, const KnnJob *job)
{
	const KnnShape *shape = build->shape;
	const char *data_type = shape->encoding == KNN_ENCODING_BYTE ? "byte" :
		shape->encoding == KNN_ENCODING_BINARY ? "binary" : "float";
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"job\":\"%s\",\"version\":1", build->name);
	if (build->has_vectors)
		KnnJobAppendPath(&json, job, "vectors", VECTORS_FILE);
	else
		append_text(&json, "vectors", KnnBuildVectorsLend(build->read));
	KnnJobAppendPath(&json, job, "ids", IDS_FILE);
	KnnJobAppendPath(&json, job, "result", build->result_file);
	appendStringInfo(&json, ",\"dimension\":%u,\"count\":%u,\"data_type\":\"%s\",\"space\":\"%s\","
					 "\"seed\":\"" UINT64_FORMAT "\",\"threads\":%d,\"memory_limit\":" UINT64_FORMAT,
					 shape->dim, build->n, data_type, KnnSpaceName(shape->space), shape->seed,
					 knn_index_threads, (uint64) maintenance_work_mem * 1024);
	build->describe(build->state, job, &json);
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* ---- the files ---- */

static void
write_vectors(KnnBuildJob *build)
{
	Size		size = KnnElementsSize(build->shape);
	float	   *scratch = palloc(sizeof(float) * build->shape->dim);

	for (uint32 i = 0; i < build->n && build->vectors.error == 0; i++)
	{
		const void *kept = KnnBuildVectorsGet(build->read, i);

		CHECK_FOR_INTERRUPTS();
		KnnSpoolFileWrite(&build->vectors, KnnElementsOfStored(build->shape, kept, scratch), size);
		if (i % PROGRESS_EVERY == PROGRESS_EVERY - 1)
			pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, i + 1);
	}
	pfree(scratch);
}

static void
write_ids(KnnBuildJob *build)
{
	for (uint32 i = 0; i < build->n && build->ids.error == 0; i++)
	{
		int32		id = (int32) i;

		KnnSpoolFileWrite(&build->ids, &id, sizeof(id));
	}
}

/*
 * What the first pass did not write already.  The files are open until the job is
 * done, since they count against temp_file_limit that long.
 */
static bool
write_files(KnnBuildJob *build, KnnJob *job, KnnJobFailure *failure)
{
	int			error = 0;

	build->has_vectors = !has_file(build);
	if (build->has_vectors)
	{
		KnnSpoolFileBegin(&build->vectors, &job->spool, VECTORS_FILE);
		write_vectors(build);
		if (!KnnSpoolFileEnd(&build->vectors))
			error = errno;
	}
	KnnSpoolFileBegin(&build->ids, &job->spool, IDS_FILE);
	if (error == 0)
		write_ids(build);
	if (!KnnSpoolFileEnd(&build->ids) && error == 0)
		error = errno;
	if (error == 0)
		return true;
	failure->detail = psprintf("Its vectors could not be written to \"%s\": %s.",
							   job->spool.path, strerror(error));
	failure->hint = error == ENOSPC ?
		pstrdup("It needs room for another copy of the vectors there.") : NULL;
	return false;
}

static void
close_files(KnnBuildJob *build)
{
	if (build->has_vectors)
		KnnSpoolFileClose(&build->vectors);
	KnnSpoolFileClose(&build->ids);
}

/*
 * temp_file_limit would be an error, where the server alone can do without what is
 * written for the program.  What else the session has of temporary files is
 * not known; it may still be that error.
 */
static bool
fits_temp_file_limit(const KnnBuildJob *build, KnnJobFailure *failure)
{
	uint64		copy = has_file(build) ? 0 : KnnElementsSize(build->shape);
	uint64		needed = (build->n - build->read->in_memory) * build->kept_size +
		(uint64) build->n * (copy + sizeof(int32));

	if (temp_file_limit < 0 || needed <= (uint64) temp_file_limit * 1024)
		return true;
	failure->detail = psprintf("Its files need %llu kB of temporary files, more than temp_file_limit.",
							   (unsigned long long) (needed / 1024 + 1));
	failure->hint = NULL;
	return false;
}

/* ---- progress ---- */

static void
show_progress(void *state, const char *name, uint64 done, uint64 total)
{
	const KnnBuildJob *build = state;
	const int	columns[] = {
		PROGRESS_CREATEIDX_SUBPHASE,
		PROGRESS_CREATEIDX_TUPLES_TOTAL,
		PROGRESS_CREATEIDX_TUPLES_DONE
	};

	for (int i = 0; i < build->nphases; i++)
	{
		if (strcmp(build->phases[i].name, name) == 0)
		{
			/* a total of 0: nobody knows it */
			int64		values[] = {build->phases[i].subphase, (int64) total,
			(int64) (total > 0 ? Min(done, total) : done)};

			pgstat_progress_update_multi_param(lengthof(columns), columns, values);
			return;
		}
	}
	/* a phase of a newer program: nobody misses it */
}

static void
set_phase(const KnnBuildJob *build, int phase)
{
	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, phase);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL, build->n);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, 0);
}

/* ---- the result ---- */

bool
KnnBuildReadPiece(void *state, uint64_t offset, void *bytes, size_t n)
{
	int			fd = *(int *) state;
	char	   *to = bytes;

	while (n > 0)
	{
		ssize_t		got;

		CHECK_FOR_INTERRUPTS();
		got = pg_pread(fd, to, Min(n, 8 * 1024 * 1024), (off_t) offset);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		to += got;
		offset += got;
		n -= got;
	}
	return true;
}

static bool
take_result(KnnBuildJob *build, const KnnJob *job, const KnnMessage *result, KnnJobFailure *failure)
{
	knn_graph_source source;
	char	   *unopened;
	const char *problem;
	int			fd = KnnSpoolOpen(&job->spool, build->result_file, build->result_limit,
								  &source.size, &unopened);

	problem = unopened;
	if (fd >= 0)
	{
		source.state = &fd;
		source.read = KnnBuildReadPiece;
		problem = build->take(build->state, job, result, &source);
		CloseTransientFile(fd);
	}
	if (problem == NULL)
		return true;
	if (problem[0] == '\0')
		problem = psprintf("file \"%s\" could not be read", build->result_file);
	failure->detail = psprintf("The result of program \"%s\" is no %s of these vectors: %s.",
							   job->program, build->result_kind, problem);
	return false;
}

/* ---- the build ---- */

bool
KnnBuildMayAsk(uint32 n)
{
	/* the ids of the files are int32 */
	return knn_build_external_min >= 0 && n > 0 && n <= PG_INT32_MAX;
}

bool
KnnBuildWantsJob(const KnnShape *shape, uint32 n)
{
	return KnnBuildMayAsk(n) &&
		(uint64) n * KnnElementsSize(shape) >= (uint64) knn_build_external_min * 1024;
}

static bool
run_job(KnnBuildJob *build, KnnJob *job, KnnJobFailure *failure)
{
	KnnMessage *result = palloc(sizeof(KnnMessage));
	bool		done;

	set_phase(build, build->spool_phase);
	KnnJobBegin(job);
	done = write_files(build, job, failure) &&
		KnnJobRun(job, build->command, describe(build, job), show_progress, build, result, failure);
	if (has_file(build))
		KnnBuildVectorsTakeBack(build->read);
	if (done)
	{
		ereport(DEBUG1,
				(errmsg_internal("knn-builder built a %s of %llu nodes in %.3f s: %llu threads, %llu bytes, %llu partitions",
								 build->result_kind,
								 (unsigned long long) result->nodes, result->seconds,
								 (unsigned long long) result->threads,
								 (unsigned long long) result->memory,
								 (unsigned long long) result->partitions)));
		set_phase(build, build->check_phase);
		done = take_result(build, job, result, failure);
	}
	close_files(build);
	return done;
}

bool
KnnBuildTryJob(KnnBuildJob *build, KnnJob *job, KnnJobFailure *failure)
{
	volatile bool done = false;

	if (!fits_temp_file_limit(build, failure))
		return false;
	PG_ENSURE_ERROR_CLEANUP(KnnJobCleanup, PointerGetDatum(job));
	{
		done = run_job(build, job, failure);
	}
	PG_END_ENSURE_ERROR_CLEANUP(KnnJobCleanup, PointerGetDatum(job));
	KnnJobCleanup(0, PointerGetDatum(job));
	return done;
}

bool
KnnBuildRunJob(KnnBuildJob *build)
{
	KnnJob	   *job = KnnJobCreate();
	KnnJobFailure failure = {NULL, NULL};
	bool		done = KnnBuildTryJob(build, job, &failure);

	pfree(job);
	if (!done)
	{
		ereport(WARNING,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("index \"%s\" is built by the server, since knn-builder did not build it",
						RelationGetRelationName(build->index)),
				 errdetail_internal("%s", failure.detail),
				 failure.hint ? errhint("%s", failure.hint) : 0));
		pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL, build->n);
	}
	return done;
}
