/*
 * ivf_build_external.c
 *		Lists of a build of knn_ivf by the program knn-builder (build_job.h).
 *
 * It learns the centroids and finds the list of each vector, with as many threads as it
 * is given; its file is checked before anything else looks at it (core/cluster_file.h).
 * The codes of the centroids, and those of the vectors, are made here.
 */
#include "postgres.h"

#include "am/ivf_build.h"

#include "am/allocator.h"
#include "am/build_job.h"
#include "core/cluster_file.h"
#include "miscadmin.h"

static const KnnBuildPhase phases[] = {
	{"read", KNN_IVF_PHASE_SPOOL},
	{"train", KNN_IVF_PHASE_TRAIN},
	{"assign", KNN_IVF_PHASE_ASSIGN},
	{"write", KNN_IVF_PHASE_ASSIGN}
};

typedef struct Clustering
{
	const KnnIvfRead *read;
	knn_cluster_file file;
} Clustering;

static void
check_interrupts(void)
{
	CHECK_FOR_INTERRUPTS();
}

static void
describe(void *state, const KnnJob *job, StringInfo json)
{
	const Clustering *clustering = state;

	appendStringInfo(json, ",\"nlist\":%u", clustering->file.nlists);
}

static const char *
take_clusters(void *state, const KnnJob *job, const KnnMessage *result, const knn_graph_source *source)
{
	Clustering *clustering = state;
	knn_cluster_file *file = &clustering->file;

	if (knn_cluster_file_read(file, source) != KNN_OK)
		return pstrdup(file->problem);
	if (result->nodes == file->count)
		return NULL;
	pfree(file->centroids);
	pfree(file->lists);
	return psprintf("%llu vectors were divided, expected %u", (unsigned long long) result->nodes,
					file->count);
}

bool
KnnIvfClusterExternally(const KnnIvfRead *read, uint32 nlists, KnnIvfClusters *clusters)
{
	Clustering	clustering = {
		.read = read,
		.file = {
			.allocator = KnnContextAllocator(read->context),
			.check = check_interrupts,
			.unit = KnnElementsSize(read->shape),
			.floats = knn_encoding_is_float(read->shape->encoding),
			.nlists = nlists,
			.count = read->n
		}
	};
	KnnBuildJob job = {
		.index = read->index,
		.shape = read->shape,
		.read = read->vectors,
		.kept_size = read->kept_size,
		.n = read->n,
		.name = "cluster",
		.command = "cluster",
		.result_file = "result.knnlists",
		.result_kind = "division",
		.phases = phases,
		.nphases = lengthof(phases),
		.spool_phase = KNN_IVF_PHASE_SPOOL,
		.check_phase = KNN_IVF_PHASE_CHECK,
		.state = &clustering,
		.describe = describe,
		.take = take_clusters,
		.result_limit = knn_cluster_file_size(&clustering.file)
	};

	if (!KnnBuildWantsJob(read->shape, read->n) || !KnnBuildRunJob(&job))
		return false;
	clusters->centroids = clustering.file.centroids;
	clusters->lists = clustering.file.lists;
	return true;
}
