/*
 * hnsw_build_external.c
 *		Second pass of a build of knn_hnsw by the program knn-builder (build_job.h).
 *
 * It makes a graph of the vectors with as many threads as it is given, and its file is
 * checked before anything else looks at it (core/graph_file.h).  So are the codes it
 * makes in the order of the nodes, where it knows how (hnsw_build_codes.c).
 *
 * The program can also have the graph made by a service elsewhere (remote_build.h);
 * that is another job, in a spool of its own, so that nothing of a failed one is used.
 */
#include "postgres.h"

#include "am/hnsw_build.h"

#include "am/build_job.h"
#include "am/remote_build.h"
#include "commands/progress.h"
#include "storage/ipc.h"
#include "utils/backend_progress.h"

/*
 * More nodes than these that nothing leads to are no graph of a build.  With few
 * links there are more of them in a sound one.
 */
#define MAX_UNREACHABLE(n, m) ((n) / ((m) < 8 ? 2 : 10) + 8)

static const KnnBuildPhase phases[] = {
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

/* What the callbacks of a job get. */
typedef struct GraphJob
{
	HnswBuild  *build;
	const KnnRemoteBuild *remote;	/* NULL: built here */
} GraphJob;

/* ---- the job ---- */

static const char *
encoding_name(knn_encoding encoding)
{
	switch (encoding)
	{
		case KNN_ENCODING_ROTATED_8:
			return "rotated_8";
		case KNN_ENCODING_ROTATED_4:
			return "rotated_4";
		case KNN_ENCODING_ROTATED_2:
			return "rotated_2";
		case KNN_ENCODING_ROTATED_1:
			return "rotated_1";
		case KNN_ENCODING_BYTE:
			return "byte";
		case KNN_ENCODING_BINARY:
			return "binary";
		case KNN_ENCODING_PQ:
			break;				/* the server's alone */
	}
	elog(ERROR, "unknown encoding %d", (int) encoding);
	return NULL;				/* not reached */
}

static void
describe(void *state, const KnnJob *job, StringInfo json)
{
	const GraphJob *graph_job = state;
	const HnswBuild *build = graph_job->build;
	const KnnShape *shape = &build->shape;
	const char *codes_file = KnnBuildCodesFile(build);

	/* without codes that of which the graph is made, not that which the index keeps */
	appendStringInfo(json, ",\"method\":\"hnsw\",\"engine\":\"cpu\",\"encoding\":\"%s\",\"m\":%u,"
					 "\"ef_construction\":%u,\"codes_per_page\":%u",
					 encoding_name(codes_file ? shape->encoding : build->graph.encoder.encoding),
					 shape->m, shape->ef_construction,
					 (uint32) (KNN_PAGE_CAPACITY / build->columns[KNN_COLUMN_CODE].width));
	if (codes_file)
		KnnJobAppendPath(json, job, "codes", codes_file);
	if (graph_job->remote)
		KnnRemoteBuildDescribe(graph_job->remote, json);
}

/* ---- the result ---- */

/* What is wrong with a graph whose file is whole, or NULL. */
static const char *
check_graph(const HnswBuild *build, const KnnMessage *result)
{
	const knn_graph_file *file = &build->graph_file;

	if (file->nodes != build->n || result->nodes != build->n)
		return psprintf("it has %u nodes of %u vectors", file->nodes, build->n);
	if (file->m != build->shape.m)
		return psprintf("its m is %u, not %u", file->m, build->shape.m);
	if (file->unreachable > MAX_UNREACHABLE(file->nodes, file->m))
		return psprintf("no link leads to %u of its %u nodes", file->unreachable, file->nodes);
	return NULL;
}

/* The arrays of the graph are those of the file: whoever looks at it looks at links alone. */
static void
use_graph(HnswBuild *build)
{
	const knn_graph_file *file = &build->graph_file;
	knn_graph  *graph = &build->graph;

	build->external = true;
	graph->capacity = graph->n = file->nodes;
	graph->entry = file->entry;
	graph->entry_level = file->entry_level;
	graph->levels = unconstify(uint8 *, file->levels);
	graph->links = unconstify(uint32 *, file->links);
	graph->upper_first = unconstify(uint32 *, file->upper_first);
	graph->upper = unconstify(uint32 *, file->upper);
	graph->nupper = graph->upper_room = file->upper_items;
}

static const char *
take_graph(void *state, const KnnJob *job, const KnnMessage *result, const knn_graph_source *source)
{
	HnswBuild  *build = ((GraphJob *) state)->build;
	knn_graph_file *file = &build->graph_file;
	const char *problem;
	char	   *of_codes = NULL;

	memset(file, 0, sizeof(*file));
	file->allocator = KnnContextAllocator(build->context);
	file->check = KnnBuildCheckInterrupts;
	problem = knn_graph_file_read(file, source) == KNN_OK ? check_graph(build, result) :
		pstrdup(file->problem);
	if (problem == NULL)
	{
		build->in_memory = file->nodes;
		build->old_of_new = unconstify(uint32 *, file->old_of_new);
		if (!KnnBuildTakeCodes(build, &job->spool, &of_codes))
			problem = of_codes;
	}
	if (problem)
	{
		knn_graph_file_free(file);
		return problem;
	}
	if (file->unreachable > 0)
		ereport(DEBUG1,
				(errmsg_internal("no link leads to %u of its nodes", file->unreachable)));
	use_graph(build);
	return NULL;
}

/* ---- the build ---- */

bool
KnnBuildWantsExternal(const HnswBuild *build)
{
	return KnnBuildWantsJob(&build->shape, build->n) ||
		(KnnBuildMayAsk(build->n) && KnnBuildFitting(build) < build->n);
}

static KnnBuildJob
make_job(GraphJob *graph_job, const char *command)
{
	HnswBuild  *build = graph_job->build;

	return (KnnBuildJob) {
		.index = build->index,
		.shape = &build->shape,
		.read = &build->read,
		.kept_size = build->kept_size,
		.n = build->n,
		.name = "build",
		.command = command,
		.result_file = "result.knngraph",
		.result_kind = "graph",
		.phases = phases,
		.nphases = lengthof(phases),
		.spool_phase = KNN_HNSW_PHASE_SPOOL,
		.check_phase = KNN_HNSW_PHASE_CHECK,
		.state = graph_job,
		.describe = describe,
		.take = take_graph,
		.result_limit = knn_graph_file_size(build->n, (uint64) build->n * KNN_MAX_LEVEL, build->shape.m)
	};
}

bool
KnnBuildExternally(HnswBuild *build)
{
	GraphJob	graph_job = {build, NULL};
	KnnBuildJob job = make_job(&graph_job, "build");

	return KnnBuildRunJob(&job);
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
		GraphJob	graph_job = {build, remote};
		KnnBuildJob job = make_job(&graph_job, "remote");

		done = KnnRemoteBuildPrepare(remote, &failure) &&
			KnnBuildTryJob(&job, remote->job, &failure);
		KnnRemoteBuildDone(remote, done, &failure);
	}
	PG_END_ENSURE_ERROR_CLEANUP(KnnRemoteBuildEnd, PointerGetDatum(remote));
	KnnRemoteBuildEnd(0, PointerGetDatum(remote));
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL, build->n);
	return done;
}
