/*
 * hnsw_build.c
 *		CREATE INDEX ... USING knn_hnsw.
 *
 * Three passes, so that what must be known is known before it is needed:
 *
 *	read	the table's vectors go to a temporary file, equal ones once; their
 *			sum gives the centre, their number the exact size of everything
 *			(hnsw_build_read.c)
 *	graph	the program knn-builder makes a graph of the vectors, or has a service
 *			elsewhere make it (hnsw_build_external.c); or, where there are few of
 *			them, or it cannot, each vector is encoded about the centre and added to
 *			the graph in the memory of this process (codes and links only, see
 *			core/graph_build.h)
 *	write	the columns are laid out page after page, the full vectors coming
 *			from the temporary file, and codes of the program where it made them,
 *			else made here; then all pages are logged at once (hnsw_build_write.c)
 *
 * Nodes are numbered in an order that puts neighbours close together
 * (core/graph_order.h), so that a search finds several of the codes it needs in
 * a page.
 *
 * A graph in this process is bounded by maintenance_work_mem (row addresses,
 * fingerprints and the ordering of nodes, some tens of bytes a vector, come on
 * top); vectors beyond it are inserted one by one after the pages are laid out,
 * which is slow, and said so.
 */
#include "postgres.h"

#include "am/hnsw_build.h"

#include "access/tableam.h"
#include "access/xloginsert.h"
#include "am/handler.h"
#include "am/model_source.h"
#include "am/pq_codebooks.h"
#include "am/shape.h"
#include "cache/counters.h"
#include "cache/evict.h"
#include "catalog/index.h"
#include "commands/progress.h"
#include "compat.h"
#include "core/graph_order.h"
#include "core/graph_repair.h"
#include "core/rotation.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/backend_progress.h"
#include "utils/memutils.h"

/*
 * The encoder of the graph: 8 bits whatever the index keeps, so that the graph is
 * as good with codes of fewer bits.
 */
static void
make_centre(HnswBuild *build, knn_encoder *encoder)
{
	uint32		dim = build->shape.dim;

	encoder->dim = dim;
	encoder->space = build->shape.space;
	encoder->encoding = knn_encoding_is_float(build->shape.encoding) ?
		KNN_ENCODING_ROTATED_8 : build->shape.encoding;
	encoder->kernels = knn_kernels_get();
	encoder->signs = NULL;
	encoder->centre = NULL;
	if (!knn_encoding_is_float(build->shape.encoding))
		return;
	if (knn_space_rotates(build->shape.space))
	{
		uint8	   *signs = palloc(KNN_ROTATION_SIGN_BYTES(dim));

		knn_rotation_init(signs, dim, build->shape.seed);
		encoder->signs = signs;
	}
	if (build->n == 0)
		return;
	build->centre = palloc(sizeof(float) * dim);
	for (uint32 i = 0; i < dim; i++)
	{
		double		mean = build->sum[i] / build->n;

		build->centre[i] = isfinite((float) mean) ? (float) mean : 0;
	}
	if (encoder->signs)
		knn_rotation_apply(encoder->signs, build->centre, dim);
	encoder->centre = build->centre;
}

/* How many of n vectors fit into maintenance_work_mem. */
uint32
KnnBuildFitting(const HnswBuild *build)
{
	uint64		limit = (uint64) maintenance_work_mem * 1024;
	uint64		low = 0;
	uint64		high = build->n;

	while (low < high)
	{
		uint64		middle = (low + high + 1) / 2;

		if (knn_graph_memory(middle, build->graph.encoder.encoding, build->shape.dim,
							 build->shape.m) <= limit)
			low = middle;
		else
			high = middle - 1;
	}
	return (uint32) low;
}

void
KnnBuildCheckInterrupts(void)
{
	CHECK_FOR_INTERRUPTS();
}

/* The graph of all vectors, or of as many as fit, in this process. */
static void
build_in_process(HnswBuild *build)
{
	knn_graph  *graph = &build->graph;
	float	   *scratch = palloc(sizeof(float) * build->shape.dim);

	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, KNN_HNSW_PHASE_GRAPH);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, 0);

	build->in_memory = KnnBuildFitting(build);
	if (build->in_memory < build->n)
		ereport(NOTICE,
				(errmsg("the graph of index \"%s\" does not fit into maintenance_work_mem",
						RelationGetRelationName(build->index)),
				 errdetail("%u of %u vectors fit; the others are inserted one by one, which is slower.",
						   build->in_memory, build->n),
				 errhint("The whole graph needs maintenance_work_mem = '%llu MB'.",
						 (unsigned long long)
						 (knn_graph_memory(build->n, graph->encoder.encoding, build->shape.dim,
										   build->shape.m) / (1024 * 1024) + 1))));

	if (knn_graph_init(graph, build->in_memory) != KNN_OK)
		elog(ERROR, "out of memory");
	for (uint32 i = 0; i < build->in_memory; i++)
	{
		const void *kept = KnnBuildVectorsGet(&build->read, i);

		CHECK_FOR_INTERRUPTS();
		if (knn_graph_add(graph, KnnElementsOfStored(&build->shape, kept, scratch)) != KNN_OK)
			elog(ERROR, "out of memory");
		if (i % 64 == 63)
			pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, i + 1);
	}
	pfree(scratch);
	if (knn_graph_connect(graph) != KNN_OK)
		elog(ERROR, "out of memory");

	build->old_of_new = MemoryContextAllocHuge(build->context,
											   mul_size(sizeof(uint32), Max(build->in_memory, 1)));
	build->new_of_old = MemoryContextAllocHuge(build->context,
											   mul_size(sizeof(uint32), Max(build->in_memory, 1)));
	if (knn_graph_order(graph, KNN_PAGE_CAPACITY / build->columns[KNN_COLUMN_CODE].width,
						build->old_of_new, build->new_of_old) != KNN_OK)
		elog(ERROR, "out of memory");
}

/* What is left of a vector about the centre. */
static void
residual(void *state, uint32 number, float *out)
{
	HnswBuild  *build = state;
	uint32		dim = build->shape.dim;

	knn_encoder_rotate(&build->graph.encoder,
					   KnnElementsOfStored(&build->shape, KnnBuildVectorsGet(&build->read, number), out),
					   out);
	for (uint32 i = 0; i < dim; i++)
		out[i] -= build->centre[i];
}

/*
 * The codebooks of encoder pq, and the centre that its codes are about: the vectors'
 * mean, but those of a model of faiss are about zero.
 */
static void
make_codebooks(HnswBuild *build)
{
	make_centre(build, &build->graph.encoder);
	build->code_centre = build->centre;
	if (build->shape.encoding != KNN_ENCODING_PQ)
		return;
	if (build->model)
	{
		build->pq = KnnModelCodebooks(build->model, KnnModelFile(build->model));
		build->code_centre = palloc0(sizeof(float) * build->shape.dim);
	}
	else if (KnnPqEnough(build->index, &build->shape, build->n))
		build->pq = KnnPqTrain(&build->shape, &build->graph.encoder, build->n,
							   (uint64) maintenance_work_mem * 1024, residual, build);
	else
		KnnShapeFallBack(&build->shape);
}

static void
build_graph(HnswBuild *build)
{
	knn_graph  *graph = &build->graph;

	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL, build->n);
	graph->m = build->shape.m;
	graph->ef_construction = build->shape.ef_construction;
	graph->seed = build->shape.seed;
	graph->allocator = KnnContextAllocator(build->context);
	graph->check = KnnBuildCheckInterrupts;

	if (!KnnBuildRemotely(build) &&
		(!KnnBuildWantsExternal(build) || !KnnBuildExternally(build)))
		build_in_process(build);
}

static IndexBuildResult *
build_index(Relation heap, Relation index, IndexInfo *info)
{
	IndexBuildResult *result;
	HnswBuild	build = {0};
	MemoryContext old;
	double		reltuples;
	instr_time	start;
	instr_time	spent;

	INSTR_TIME_SET_CURRENT(start);
	build.index = index;
	build.context = AllocSetContextCreate(CurrentMemoryContext, "knn_hnsw build",
										  ALLOCSET_DEFAULT_SIZES);
	build.row_context = AllocSetContextCreate(build.context, "knn_hnsw build row",
											  ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(build.context);

	/* a copy of what the index held before, if this is a rebuild */
	(void) KnnCacheRemoveIndex(MyDatabaseId, RelationGetRelid(index));

	build.model = KnnModelOfIndex(index, KNN_METHOD_HNSW);
	build.shape = KnnResolveHnswShape(index, build.model);
	KnnBuildReadBegin(&build);

	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, KNN_HNSW_PHASE_READ);
	if (heap)
		reltuples = table_index_build_scan(heap, index, info, true, true,
										   KnnBuildReadRow, &build, NULL);
	else
		reltuples = 0;
	knn_fingerprint_set_free(&build.seen);

	make_codebooks(&build);
	KnnStoreColumns(&build.shape, build.columns);
	build_graph(&build);
	KnnBuildWritePages(&build);
	if (build.external)
		knn_graph_file_free(&build.graph_file);
	else
		knn_graph_free(&build.graph);

	/*
	 * Before what is inserted: the records of inserts tell changes to pages, and
	 * replay must know the pages by then.
	 */
	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, KNN_HNSW_PHASE_LOG);
	if (RelationNeedsWAL(index))
		log_newpage_range(index, MAIN_FORKNUM, 0, RelationGetNumberOfBlocks(index), true);
	if (build.in_memory < build.n)
		KnnBuildInsertRest(&build);

	KnnBuildVectorsEnd(&build.read);
	MemoryContextSwitchTo(old);
	result = palloc(sizeof(IndexBuildResult));
	result->heap_tuples = reltuples;
	result->index_tuples = build.nrows;
	MemoryContextDelete(build.context);

	INSTR_TIME_SET_CURRENT(spent);
	INSTR_TIME_SUBTRACT(spent, start);
	KnnCountBuild(index, KnnNanoseconds(spent), build.nrows,
				  build.nrows * KnnElementsSize(&build.shape));
	return result;
}

IndexBuildResult *
knn_hnsw_build(Relation heap, Relation index, IndexInfo *info)
{
	return KnnBuild(heap, index, info, build_index);
}

/* The initial fork of an unlogged index: an empty metapage, logged. */
void
knn_hnsw_buildempty(Relation index)
{
	KnnShape	shape = KnnResolveHnswShape(index, KnnModelOfIndex(index, KNN_METHOD_HNSW));

	/* an empty index has no codebooks */
	KnnShapeFallBack(&shape);
	KnnWriteInitFork(index, &shape);
}
