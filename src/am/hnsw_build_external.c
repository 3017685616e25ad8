/*
 * hnsw_build_external.c
 *		Second pass of a build of knn_hnsw by the program knn-builder.
 *
 * The vectors are written to a spool directory, as float32, int8 or packed bits
 * (.knnvec, .knndid); the program makes a graph of them with as many threads as
 * it is given, and its file is checked before anything else looks at it
 * (core/graph_file.h).  Codes are made here: the program decides who is linked
 * with whom, and in which order nodes are numbered, nothing else.
 *
 * The program can also have the graph made by a service elsewhere (remote_build.h);
 * that is another job, in a spool of its own, so that nothing of a failed one is
 * used.
 *
 * Whatever is wrong with the program is a warning, after which the graph is built
 * in this process.
 */
#include "postgres.h"

#include "am/hnsw_build.h"

#include <unistd.h>

#include "am/remote_build.h"
#include "commands/progress.h"
#include "job/job.h"
#include "job/settings.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/backend_progress.h"
#include "utils/guc.h"
#include "utils/json.h"

#define VECTORS_FILE "vectors.knnvec"
#define IDS_FILE "vectors.knndid"
#define RESULT_FILE "result.knngraph"
#define PROGRESS_EVERY 1024

/*
 * More nodes than these that nothing leads to are no graph of a build.  With few
 * links there are more of them in a sound one.
 */
#define MAX_UNREACHABLE(n, m) ((n) / ((m) < 8 ? 2 : 10) + 8)

/* ---- the job ---- */

static const char *
space_name(knn_space space)
{
	switch (space)
	{
		case KNN_SPACE_L2:
			return "l2";
		case KNN_SPACE_INNER_PRODUCT:
			return "innerproduct";
		case KNN_SPACE_COSINE:
			return "cosine";
		case KNN_SPACE_L1:
			return "l1";
		case KNN_SPACE_LINF:
			return "linf";
		case KNN_SPACE_HAMMING:
			return "hamming";
	}
	elog(ERROR, "unknown space %d", (int) space);
	return NULL;				/* not reached */
}

static void
append_path(StringInfo json, const KnnJob *job, const char *key, const char *name)
{
	char		path[MAXPGPATH];

	KnnSpoolPath(&job->spool, name, path);
	appendStringInfo(json, ",\"%s\":", key);
	escape_json(json, path);
}

static char *
describe(const HnswBuild *build, const KnnJob *job, const KnnRemoteBuild *remote)
{
	const KnnShape *shape = &build->shape;
	const char *data_type = "float";
	const char *encoding = "rotated_8";
	StringInfoData json;

	/* of what the graph is made, not of what the index keeps */
	if (build->graph.encoder.encoding == KNN_ENCODING_BYTE)
		data_type = encoding = "byte";
	else if (build->graph.encoder.encoding == KNN_ENCODING_BINARY)
		data_type = encoding = "binary";

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"job\":\"build\",\"version\":1,\"method\":\"hnsw\",\"engine\":\"cpu\"");
	append_path(&json, job, "vectors", VECTORS_FILE);
	append_path(&json, job, "ids", IDS_FILE);
	append_path(&json, job, "result", RESULT_FILE);
	appendStringInfo(&json, ",\"dimension\":%u,\"count\":%u,\"data_type\":\"%s\",\"space\":\"%s\","
					 "\"encoding\":\"%s\",\"m\":%u,\"ef_construction\":%u,\"seed\":\"" UINT64_FORMAT "\","
					 "\"threads\":%d,\"memory_limit\":" UINT64_FORMAT ",\"codes_per_page\":%u",
					 shape->dim, build->n, data_type, space_name(shape->space), encoding,
					 shape->m, shape->ef_construction, shape->seed, knn_index_threads,
					 (uint64) maintenance_work_mem * 1024,
					 (uint32) (KNN_PAGE_CAPACITY / build->columns[KNN_COLUMN_CODE].width));
	if (remote)
		KnnRemoteBuildDescribe(remote, &json);
	appendStringInfoChar(&json, '}');
	return json.data;
}

/*
 * The vectors and their ids.  The files are open until the job is done, since
 * they count against temp_file_limit that long.
 */
static bool
write_vectors(HnswBuild *build, KnnJob *job, KnnSpoolFile *vectors, KnnSpoolFile *ids,
			  KnnJobFailure *failure)
{
	Size		size = KnnElementsSize(&build->shape);
	const void *kept;
	float	   *scratch = palloc(sizeof(float) * build->shape.dim);
	bool		written;
	int			error;

	KnnSpoolFileBegin(vectors, &job->spool, VECTORS_FILE);
	KnnSpoolFileBegin(ids, &job->spool, IDS_FILE);
	for (uint32 i = 0; i < build->n && vectors->error == 0 && ids->error == 0; i++)
	{
		int32		id = (int32) i;

		CHECK_FOR_INTERRUPTS();
		kept = KnnBuildVectorsGet(&build->read, i);
		KnnSpoolFileWrite(vectors, KnnElementsOfStored(&build->shape, kept, scratch), size);
		KnnSpoolFileWrite(ids, &id, sizeof(id));
		if (i % PROGRESS_EVERY == PROGRESS_EVERY - 1)
			pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, i + 1);
	}
	written = KnnSpoolFileEnd(vectors);
	error = errno;
	if (!KnnSpoolFileEnd(ids) && written)
	{
		written = false;
		error = errno;
	}
	if (!written)
	{
		failure->detail = psprintf("Its vectors could not be written to \"%s\": %s.",
								   job->spool.path, strerror(error));
		failure->hint = error == ENOSPC ?
			pstrdup("It needs room for another copy of the vectors there.") : NULL;
	}
	pfree(scratch);
	return written;
}

/* ---- progress ---- */

typedef struct Phase
{
	const char *name;
	int			subphase;
} Phase;

static const Phase phases[] = {
	{"read", KNN_HNSW_PHASE_SPOOL},
	{"graph", KNN_HNSW_PHASE_GRAPH},
	{"merge", KNN_HNSW_PHASE_MERGE},
	{"order", KNN_HNSW_PHASE_ORDER},
	{"write", KNN_HNSW_PHASE_ORDER},
	{"upload", KNN_HNSW_PHASE_UPLOAD},
	{"remote", KNN_HNSW_PHASE_REMOTE},
	{"download", KNN_HNSW_PHASE_DOWNLOAD},
	{"import", KNN_HNSW_PHASE_IMPORT}
};

static void
show_progress(void *state, const char *name, uint64 done, uint64 total)
{
	const int	columns[] = {
		PROGRESS_CREATEIDX_SUBPHASE,
		PROGRESS_CREATEIDX_TUPLES_TOTAL,
		PROGRESS_CREATEIDX_TUPLES_DONE
	};

	for (int i = 0; i < lengthof(phases); i++)
	{
		if (strcmp(phases[i].name, name) == 0)
		{
			int64		values[] = {phases[i].subphase, (int64) total, (int64) Min(done, total)};

			pgstat_progress_update_multi_param(lengthof(columns), columns, values);
			return;
		}
	}
	/* a phase of a newer program: nobody misses it */
}

static void
set_phase(const HnswBuild *build, int phase)
{
	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, phase);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL, build->n);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, 0);
}

/* ---- the result ---- */

static bool
read_piece(void *state, uint64_t offset, void *bytes, size_t n)
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
refuse(const KnnJob *job, KnnJobFailure *failure, const char *problem)
{
	failure->detail = psprintf("The result of program \"%s\" is no graph of these vectors: %s.",
							   job->program, problem);
	return false;
}

/* Reads the graph's file and checks all of it. */
static bool
read_graph(HnswBuild *build, const KnnJob *job, const KnnMessage *result, KnnJobFailure *failure)
{
	knn_graph_file *file = &build->graph_file;
	knn_graph  *graph = &build->graph;
	knn_graph_source source;
	char	   *problem;
	int			fd;
	int			status;

	fd = KnnSpoolOpen(&job->spool, RESULT_FILE,
					  knn_graph_file_size(build->n, (uint64) build->n * KNN_MAX_LEVEL, build->shape.m),
					  &source.size, &problem);
	if (fd < 0)
		return refuse(job, failure, problem);
	memset(file, 0, sizeof(*file));
	file->allocator = KnnContextAllocator(build->context);
	file->check = KnnBuildCheckInterrupts;
	source.state = &fd;
	source.read = read_piece;
	status = knn_graph_file_read(file, &source);
	CloseTransientFile(fd);

	problem = file->problem;
	if (status == KNN_OK)
	{
		if (file->nodes != build->n || result->nodes != build->n)
			problem = psprintf("it has %u nodes of %u vectors", file->nodes, build->n);
		else if (file->m != build->shape.m)
			problem = psprintf("its m is %u, not %u", file->m, build->shape.m);
		else if (file->unreachable > MAX_UNREACHABLE(file->nodes, file->m))
			problem = psprintf("no link leads to %u of its %u nodes", file->unreachable, file->nodes);
		else
			problem = NULL;
	}
	else if (problem[0] == '\0')
		problem = psprintf("file \"%s\" could not be read", RESULT_FILE);
	if (problem)
	{
		refuse(job, failure, problem);
		knn_graph_file_free(file);
		return false;
	}

	if (file->unreachable > 0)
		ereport(DEBUG1,
				(errmsg_internal("no link leads to %u of its nodes", file->unreachable)));

	/* as a view: whoever looks at this graph looks at links alone */
	build->external = true;
	build->in_memory = file->nodes;
	build->old_of_new = unconstify(uint32 *, file->old_of_new);
	graph->capacity = graph->n = file->nodes;
	graph->entry = file->entry;
	graph->entry_level = file->entry_level;
	graph->levels = unconstify(uint8 *, file->levels);
	graph->links = unconstify(uint32 *, file->links);
	graph->upper_first = unconstify(uint32 *, file->upper_first);
	graph->upper = unconstify(uint32 *, file->upper);
	graph->nupper = graph->upper_room = file->upper_items;
	return true;
}

/* ---- the build ---- */

bool
KnnBuildWantsExternal(const HnswBuild *build)
{
	uint64		size = (uint64) build->n * KnnElementsSize(&build->shape);

	/* the ids of the files are int32 */
	if (knn_build_external_min < 0 || build->n == 0 || build->n > PG_INT32_MAX)
		return false;
	return size >= (uint64) knn_build_external_min * 1024 || KnnBuildFitting(build) < build->n;
}

/*
 * temp_file_limit would be an error, where the server alone can do without a
 * second copy of the vectors.  What else the session has of temporary files is
 * not known; it may still be that error.
 */
static bool
fits_temp_file_limit(const HnswBuild *build, KnnJobFailure *failure)
{
	uint64		needed = (uint64) build->n *
		(build->kept_size + KnnElementsSize(&build->shape) + sizeof(int32));

	if (temp_file_limit < 0 || needed <= (uint64) temp_file_limit * 1024)
		return true;
	failure->detail = psprintf("Its vectors, twice, need %llu kB of temporary files, more than temp_file_limit.",
							   (unsigned long long) (needed / 1024 + 1));
	failure->hint = NULL;
	return false;
}

static bool
run_job(HnswBuild *build, KnnJob *job, const KnnRemoteBuild *remote, KnnJobFailure *failure)
{
	KnnSpoolFile vectors;
	KnnSpoolFile ids;
	KnnMessage *result = palloc(sizeof(KnnMessage));
	bool		done;

	set_phase(build, KNN_HNSW_PHASE_SPOOL);
	KnnJobBegin(job);
	done = write_vectors(build, job, &vectors, &ids, failure) &&
		KnnJobRun(job, remote ? "remote" : "build", describe(build, job, remote),
				  show_progress, NULL, result, failure);
	if (done)
	{
		ereport(DEBUG1,
				(errmsg_internal("knn-builder built a graph of %llu nodes in %.3f s: %llu threads, %llu bytes, %llu partitions",
								 (unsigned long long) result->nodes, result->seconds,
								 (unsigned long long) result->threads,
								 (unsigned long long) result->memory,
								 (unsigned long long) result->partitions)));
		set_phase(build, KNN_HNSW_PHASE_CHECK);
		done = read_graph(build, job, result, failure);
	}
	KnnSpoolFileClose(&vectors);
	KnnSpoolFileClose(&ids);
	return done;
}

/* The job from its spool to the end of it. */
static bool
build_by_job(HnswBuild *build, KnnJob *job, const KnnRemoteBuild *remote, KnnJobFailure *failure)
{
	volatile bool done = false;

	if (!fits_temp_file_limit(build, failure))
		return false;
	PG_ENSURE_ERROR_CLEANUP(KnnJobCleanup, PointerGetDatum(job));
	{
		done = run_job(build, job, remote, failure);
	}
	PG_END_ENSURE_ERROR_CLEANUP(KnnJobCleanup, PointerGetDatum(job));
	KnnJobCleanup(0, PointerGetDatum(job));
	return done;
}

bool
KnnBuildExternally(HnswBuild *build)
{
	KnnJob	   *job = KnnJobCreate();
	KnnJobFailure failure = {NULL, NULL};
	bool		done = build_by_job(build, job, NULL, &failure);

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

bool
KnnBuildRemotely(HnswBuild *build)
{
	KnnJobFailure failure = {NULL, NULL};
	volatile bool done = false;
	KnnRemoteBuild *remote;

	if (!KnnRemoteBuildWanted(build->index, &build->shape, build->n))
		return false;
	remote = KnnRemoteBuildBegin(build->index, &build->shape, build->n);
	PG_ENSURE_ERROR_CLEANUP(KnnRemoteBuildEnd, PointerGetDatum(remote));
	{
		done = KnnRemoteBuildPrepare(remote, &failure) &&
			build_by_job(build, remote->job, remote, &failure);
		KnnRemoteBuildDone(remote, done, &failure);
	}
	PG_END_ENSURE_ERROR_CLEANUP(KnnRemoteBuildEnd, PointerGetDatum(remote));
	KnnRemoteBuildEnd(0, PointerGetDatum(remote));
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL, build->n);
	return done;
}
