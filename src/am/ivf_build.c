/*
 * ivf_build.c
 *		CREATE INDEX ... USING knn_ivf.
 *
 *	read	the table's vectors go to a spool: memory, as far as it is not
 *			needed for the training, then a temporary file
 *	train	a sample of them, rotated, is clustered (core/kmeans.h); or the centroids
 *			are a model's (am/model_source.h)
 *	assign	each vector is assigned to the list of the nearest centroid; this step and
 *			the one before it are knn-builder's where there is much to do, and it can
 *			(ivf_build_external.c).  Then encoder pq learns from what is left of a
 *			sample (am/pq_codebooks.h), or takes the model's codebooks
 *	write	blocks are laid out list after list, and full vectors in the same
 *			order, so that those of a list are neighbours; then all pages are logged
 *			at once
 *
 * Bounded by maintenance_work_mem; row addresses, list and order of the vectors, 14
 * bytes each, come on top.
 */
#include "postgres.h"

#include "am/ivf_build.h"

#include "access/tableam.h"
#include "access/xloginsert.h"
#include "am/allocator.h"
#include "am/shape.h"
#include "am/build_vectors.h"
#include "am/handler.h"
#include "am/model_source.h"
#include "am/pq_codebooks.h"
#include "cache/counters.h"
#include "catalog/index.h"
#include "commands/progress.h"
#include "compat.h"
#include "core/rotation.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/backend_progress.h"
#include "utils/memutils.h"

typedef struct IvfBuild
{
	Relation	index;
	KnnShape	shape;
	KnnColumnShape columns[KNN_NCOLUMNS];
	KnnIvfLayout layout;
	MemoryContext context;		/* lives as long as the build */
	MemoryContext row_context;	/* reset for each row */
	knn_encoder encoder;		/* with the rotation */
	const KnnModelSource *model;	/* NULL: centroids and codebooks are learned */
	const knn_faiss_file *model_file;
	uint64		pq_memory;		/* for learning codebooks */

	/* after the first pass */
	KnnBuildVectors read;		/* n vectors, stored form or else elements */
	Size		kept_size;		/* bytes of each */
	uint32		n;
	ItemPointerData *tids;
	uint32		tids_room;
	uint32		sample_most;	/* that memory has room for */

	knn_kmeans	kmeans;
	uint32		nlists;
	uint32	   *lists;			/* of each vector */
	uint32	   *starts;			/* in order, of each list; one more */
	uint32	   *order;			/* vectors by list */
	float	   *elements;		/* scratch */
	void	   *rotated;

	BlockNumber next_block;		/* to be written */
} IvfBuild;

/* ---- read ---- */

static void
read_row(Relation index, ItemPointer tid, Datum *values, bool *isnull,
		 bool alive, void *state)
{
	IvfBuild   *build = state;
	MemoryContext old;
	KnnValue	value;

	if (isnull[0])
		return;
	old = MemoryContextSwitchTo(build->row_context);
	if (KnnIndexedValue(&build->shape, values[0], &value))
	{
		if (build->n >= KNN_INVALID_ID - 1)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("an index cannot hold more than %u vectors", KNN_INVALID_ID - 1),
					 errhint("Partition the table.")));
		if (build->n == build->tids_room)
		{
			build->tids_room = build->tids_room > UINT32_MAX / 2 ? UINT32_MAX : build->tids_room * 2;
			build->tids = repalloc_huge(build->tids,
										mul_size(sizeof(ItemPointerData), build->tids_room));
		}
		build->tids[build->n++] = *tid;
		KnnBuildVectorsAppend(&build->read, value.stored ? value.stored : value.elements);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(build->row_context);
}

/* A vector of the spool as the core wants it: rotated. */
static const void *
rotated_vector(IvfBuild *build, uint32 number)
{
	const void *kept = KnnBuildVectorsGet(&build->read, number);

	knn_encoder_rotate(&build->encoder, KnnElementsOfStored(&build->shape, kept, build->elements),
					   build->rotated);
	return build->rotated;
}

/* ---- train ---- */

static void
watch_training(void *context, uint64_t done, uint64_t total)
{
	const int	columns[] = {PROGRESS_CREATEIDX_TUPLES_TOTAL, PROGRESS_CREATEIDX_TUPLES_DONE};
	int64		values[] = {(int64) total, (int64) done};

	CHECK_FOR_INTERRUPTS();
	pgstat_progress_update_multi_param(lengthof(columns), columns, values);
}

static void
prepare_kmeans(IvfBuild *build)
{
	knn_kmeans *km = &build->kmeans;

	km->dim = build->shape.dim;
	km->space = build->shape.space;
	km->encoding = KnnIvfCoarseEncoding(&build->shape);
	km->seed = build->shape.seed;
	km->allocator = KnnContextAllocator(build->context);
	km->check = watch_training;
	if (knn_kmeans_init(km, build->nlists) != KNN_OK)
		elog(ERROR, "out of memory");
}

/*
 * Divide maintenance_work_mem: what training can use goes to it, but for an eighth; the
 * rest to the spool, which a file serves nearly as well.
 */
static void
plan_memory(IvfBuild *build)
{
	uint64		limit = (uint64) maintenance_work_mem * 1024;
	uint64		unit = KnnElementsSize(&build->shape);
	uint64		centroids = knn_kmeans_memory(build->shape.dim, KnnIvfCoarseEncoding(&build->shape),
											  build->shape.nlist, 1);
	uint64		vector = unit +
		knn_kmeans_sample_memory(build->shape.dim, KnnIvfCoarseEncoding(&build->shape));
	uint64		least = centroids + vector * build->shape.nlist;
	uint64		sample = knn_kmeans_sample_size(build->shape.nlist, PG_UINT32_MAX);

	if (least > limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%u lists of %u dimensions do not fit into maintenance_work_mem",
						build->shape.nlist, build->shape.dim),
				 errhint("They need maintenance_work_mem = '%llu MB'.",
						 (unsigned long long) (least / (1024 * 1024) + 1))));
	sample = Min(sample, (Max(limit / 8 * 7, least) - centroids) / vector);
	build->sample_most = (uint32) sample;
	/* the two samples are there one after the other */
	build->pq_memory = build->model ? 0 :
		Min(KnnPqTrainingMemory(&build->shape), Max(limit / 8 * 7, least) - centroids);
	KnnBuildVectorsBegin(&build->read, build->context, build->kept_size,
						 limit - centroids - Max(sample * vector, build->pq_memory));
}

/* The model's centroids, rotated as the index's are. */
static void
take_centroids(IvfBuild *build)
{
	char	   *centroids = KnnModelCentroids(build->model, build->model_file);

	build->nlists = build->shape.nlist;
	prepare_kmeans(build);
	for (uint32 list = 0; list < build->nlists && build->encoder.signs; list++)
		knn_rotation_apply(build->encoder.signs,
						   (float *) (centroids + (Size) build->kmeans.unit * list),
						   build->shape.dim);
	knn_kmeans_set(&build->kmeans, centroids, build->nlists);
	pfree(centroids);
}

/* Learn the centroids from a sample. */
static void
train(IvfBuild *build)
{
	uint32		nsample = Min(build->sample_most, build->n);
	uint64		random = build->shape.seed | 1;
	Size		unit = KnnElementsSize(&build->shape);
	char	   *sample;

	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, KNN_IVF_PHASE_TRAIN);
	if (nsample == 0)
		return;
	sample = MemoryContextAllocHuge(build->context, mul_size(unit, nsample));
	for (uint32 i = 0; i < nsample; i++)
	{
		uint32		picked = knn_kmeans_sample_pick(&random, i, nsample, build->n);

		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		memcpy(sample + unit * i, rotated_vector(build, picked), unit);
	}
	prepare_kmeans(build);
	if (knn_kmeans_train(&build->kmeans, sample, nsample, build->nlists) != KNN_OK)
		elog(ERROR, "out of memory");
	pfree(sample);
}

/* ---- assign ---- */

static void
assign(IvfBuild *build)
{
	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, KNN_IVF_PHASE_ASSIGN);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL, build->n);
	build->lists = MemoryContextAllocHuge(build->context, mul_size(sizeof(uint32), Max(build->n, 1)));
	for (uint32 i = 0; i < build->n; i++)
	{
		if (i % 256 == 0)
		{
			CHECK_FOR_INTERRUPTS();
			pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, i);
		}
		build->lists[i] = knn_kmeans_nearest(&build->kmeans, rotated_vector(build, i), 0);
	}
}

/* Both steps by another program. */
static bool
cluster_externally(IvfBuild *build)
{
	KnnIvfRead	read = {
		.index = build->index,
		.shape = &build->shape,
		.vectors = &build->read,
		.kept_size = build->kept_size,
		.n = build->n,
		.context = build->context
	};
	KnnIvfClusters clusters;

	if (!KnnIvfClusterExternally(&read, build->nlists, &clusters))
		return false;
	prepare_kmeans(build);
	knn_kmeans_set(&build->kmeans, clusters.centroids, build->nlists);
	pfree(clusters.centroids);
	build->lists = clusters.lists;
	return true;
}

/*
 * Equal centroids are one list: of two, one would have the rows that are searched for in
 * the other.  Numbers of lists that vectors have been given already follow.
 */
static void
merge_lists(IvfBuild *build)
{
	uint32	   *numbers;

	if (build->nlists == 0)
		return;
	numbers = MemoryContextAllocHuge(build->context, mul_size(sizeof(uint32), build->nlists));
	if (knn_kmeans_merge_equal(&build->kmeans, numbers) != KNN_OK)
		elog(ERROR, "out of memory");
	if (build->lists && build->kmeans.ncentroids < build->nlists)
	{
		for (uint32 i = 0; i < build->n; i++)
			build->lists[i] = numbers[build->lists[i]];
	}
	build->nlists = build->kmeans.ncentroids;
	pfree(numbers);
}

static void
tell_lists(const IvfBuild *build)
{
	if (build->n < build->shape.nlist)
		ereport(NOTICE,
				(errmsg("index \"%s\" was built on few vectors", RelationGetRelationName(build->index)),
				 errdetail("It has %u of %u lists: they are made of the vectors that the table holds when the index is built.",
						   build->nlists, build->shape.nlist),
				 errhint("REINDEX the index when the table is filled.")));
}

/* The order of the vectors: by list, and within it as in the table. */
static void
sort_by_list(IvfBuild *build)
{
	uint32	   *next;

	build->order = MemoryContextAllocHuge(build->context, mul_size(sizeof(uint32), Max(build->n, 1)));
	build->starts = palloc0(sizeof(uint32) * (build->nlists + 1));
	for (uint32 i = 0; i < build->n; i++)
		build->starts[build->lists[i] + 1]++;
	for (uint32 list = 0; list < build->nlists; list++)
		build->starts[list + 1] += build->starts[list];
	next = palloc(sizeof(uint32) * (build->nlists + 1));
	memcpy(next, build->starts, sizeof(uint32) * (build->nlists + 1));
	for (uint32 i = 0; i < build->n; i++)
		build->order[next[build->lists[i]]++] = i;
	pfree(next);
}

/* ---- codebooks ---- */

/* What is left of a vector about its centroid. */
static void
residual(void *state, uint32 number, float *out)
{
	IvfBuild   *build = state;
	const float *v = rotated_vector(build, number);
	const float *centroid = (const float *) (build->kmeans.centroids +
											 (Size) build->kmeans.unit * build->lists[number]);

	for (uint32 i = 0; i < build->shape.dim; i++)
		out[i] = v[i] - centroid[i];
}

/* After the vectors have been assigned, which is what the codes are about. */
static void
make_codebooks(IvfBuild *build)
{
	if (build->shape.encoding != KNN_ENCODING_PQ)
		return;
	build->encoder.pq = build->model ? KnnModelCodebooks(build->model, build->model_file) :
		KnnPqTrain(&build->shape, &build->encoder, build->n, build->pq_memory, residual, build);
	build->encoder.origin = build->kmeans.mean;
}

/* ---- write ---- */

/* Blocks of a list, at least one. */
static uint32
list_blocks(const IvfBuild *build, uint32 list)
{
	uint32		entries = build->starts[list + 1] - build->starts[list];

	return entries == 0 ? 1 : (entries - 1) / build->layout.per_block + 1;
}

static void
write_heads(IvfBuild *build, KnnColumn column)
{
	KnnColumnWriter writer;
	uint32		width = build->columns[column].width;
	char	   *item = palloc0(width);
	uint32		block = 0;

	if (width == 0)
		return;
	KnnColumnWriterBegin(&writer, build->index, build->columns, column, &build->next_block);
	for (uint32 list = 0; list < build->nlists; list++)
	{
		const knn_kmeans *km = &build->kmeans;
		uint32		nblocks = list_blocks(build, list);

		if (column == KNN_COLUMN_HEAD)
			((KnnIvfHead *) item)->insert = block + nblocks;	/* the last one + 1 */
		else if (column == KNN_COLUMN_COARSE)
		{
			KnnIvfCoarse *coarse = (KnnIvfCoarse *) item;

			coarse->first = block + 1;
			coarse->factors = km->coded.factors[list];
			memcpy(coarse->code, km->coded.codes + (Size) km->code_bytes * list, km->code_bytes);
		}
		else
			memcpy(item, km->centroids + (Size) km->unit * list, km->unit);
		KnnColumnWriterAppend(&writer, item);
		block += nblocks;
	}
	KnnColumnWriterEnd(&writer);
	pfree(item);
}

/* Encode a vector of the spool about its list's centroid. */
static void
encode_vector(IvfBuild *build, uint32 number, knn_code_factors *factors, uint8 *code)
{
	knn_encoder *encoder = &build->encoder;

	if (knn_encoding_is_float(build->shape.encoding))
		encoder->centre = (const float *) (build->kmeans.centroids +
										   (Size) build->kmeans.unit * build->lists[number]);
	knn_encode_rotated(encoder, rotated_vector(build, number), factors, code, build->elements);
}

static void
write_blocks(IvfBuild *build)
{
	const KnnIvfLayout *layout = &build->layout;
	KnnColumnWriter writer;
	PGAlignedBlock page;
	KnnIvfBlock *block = (KnnIvfBlock *) page.data;
	uint8	   *code = palloc(layout->code_bytes);
	uint32		nblocks = 0;

	KnnColumnWriterBegin(&writer, build->index, build->columns, KNN_COLUMN_BLOCK, &build->next_block);
	for (uint32 list = 0; list < build->nlists; list++)
	{
		uint32		at = build->starts[list];
		uint32		left = list_blocks(build, list);

		for (; left > 0; left--)
		{
			uint32		n = Min(build->starts[list + 1] - at, layout->per_block);

			memset(page.data, 0, BLCKSZ);
			nblocks++;
			block->list = list;
			block->next = left > 1 ? nblocks + 1 : KNN_IVF_NO_BLOCK;
			block->nentries = (uint16) n;
			for (uint32 i = 0; i < n; i++, at++)
			{
				uint32		number = build->order[at];
				knn_code_factors factors;

				if (layout->has_codes)
					encode_vector(build, number, &factors, code);
				KnnIvfPutEntry(block, layout, i, &build->tids[number], at, &factors, code);
			}
			KnnColumnWriterAppend(&writer, page.data);
		}
	}
	KnnColumnWriterEnd(&writer);
	pfree(code);
}

/* Codes that are too wide for blocks. */
static void
write_codes(IvfBuild *build)
{
	uint32		width = build->columns[KNN_COLUMN_CODE].width;
	uint32		factor_bytes = KnnFactorBytes(&build->shape);
	char	   *item = palloc0(width);
	KnnColumnWriter writer;

	KnnColumnWriterBegin(&writer, build->index, build->columns, KNN_COLUMN_CODE, &build->next_block);
	for (uint32 id = 0; id < build->n; id++)
	{
		knn_code_factors factors;

		encode_vector(build, build->order[id], &factors, (uint8 *) item + factor_bytes);
		memcpy(item, &factors, factor_bytes);
		KnnColumnWriterAppend(&writer, item);
	}
	KnnColumnWriterEnd(&writer);
	pfree(item);
}

/*
 * The metapage tells the extents, and the columns follow in their order; each
 * column writer must end where the next begins.
 */
static void
write_pages(IvfBuild *build)
{
	KnnMetaPage *meta;
	Buffer		buffer;
	BlockNumber expected;
	uint64		nblocks = 0;

	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, KNN_IVF_PHASE_WRITE);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, 0);
	for (uint32 list = 0; list < build->nlists; list++)
		nblocks += list_blocks(build, list);
	if (nblocks > MaxBlockNumber)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index would have more than %u blocks", MaxBlockNumber),
				 errhint("Partition the table.")));

	buffer = KnnMetaPageBegin(build->index, &build->shape);
	meta = (KnnMetaPage *) KnnPageContents(BufferGetPage(buffer));
	if (build->nlists > 0)
	{
		meta->entry = 0;
		meta->entry_level = build->nlists;
		if (build->kmeans.encoder.centre)
			KnnMetaAddExtent(meta, build->columns, KNN_GROUP_CENTRE, KnnCentreItems(&build->shape));
		KnnMetaAddExtent(meta, build->columns, KNN_GROUP_LIST, build->nlists);
		KnnMetaAddExtent(meta, build->columns, KNN_GROUP_BLOCK, (uint32) nblocks);
		if (build->layout.has_ids)
			KnnMetaAddExtent(meta, build->columns, KNN_GROUP_NODE, build->n);
	}
	expected = KnnMetaPageEnd(buffer);
	build->next_block = KNN_META_BLOCK + 1;
	KnnReserveBlocks(build->index, expected);
	if (build->nlists > 0)
	{
		if (build->kmeans.encoder.centre)
			KnnWriteCentre(build->index, build->columns, build->kmeans.mean,
						   build->encoder.pq, &build->next_block);
		write_heads(build, KNN_COLUMN_HEAD);
		write_heads(build, KNN_COLUMN_COARSE);
		write_heads(build, KNN_COLUMN_CENTROID);
		write_blocks(build);
		if (!build->layout.has_codes)
			write_codes(build);
		if (build->columns[KNN_COLUMN_VECTOR].width > 0)
			KnnBuildVectorsWrite(&build->read, build->order, build->n, build->index,
								 build->columns, &build->next_block);
	}
	if (build->next_block != expected)
		elog(ERROR, "columns of index \"%s\" end at block %u, expected %u",
			 RelationGetRelationName(build->index), build->next_block, expected);
	KnnCheckBuiltBlocks(build->index, expected);
}

static void
make_encoder(IvfBuild *build)
{
	const KnnShape *shape = &build->shape;

	build->encoder.dim = shape->dim;
	build->encoder.space = shape->space;
	build->encoder.encoding = shape->encoding;
	build->encoder.kernels = knn_kernels_get();
	if (knn_space_rotates(shape->space) && knn_encoding_is_float(shape->encoding))
	{
		uint8	   *signs = palloc(KNN_ROTATION_SIGN_BYTES(shape->dim));

		knn_rotation_init(signs, shape->dim, shape->seed);
		build->encoder.signs = signs;
	}
	build->elements = palloc(sizeof(float) * shape->dim);
	build->rotated = palloc(Max(KnnElementsSize(shape), 1));
}

static IndexBuildResult *
build_index(Relation heap, Relation index, IndexInfo *info)
{
	IndexBuildResult *result;
	IvfBuild	build = {0};
	MemoryContext old;
	double		reltuples;
	instr_time	start;
	instr_time	spent;

	INSTR_TIME_SET_CURRENT(start);
	build.index = index;
	build.context = AllocSetContextCreate(CurrentMemoryContext, "knn_ivf build",
										  ALLOCSET_DEFAULT_SIZES);
	build.row_context = AllocSetContextCreate(build.context, "knn_ivf build row",
											  ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(build.context);

	build.model = KnnModelOfIndex(index, KNN_METHOD_IVF);
	build.shape = KnnResolveIvfShape(index, build.model);
	if (build.model)
		build.model_file = KnnModelFile(build.model);
	build.kept_size = build.shape.vectors == KNN_VECTORS_NONE ?
		KnnElementsSize(&build.shape) : KnnStoredSize(&build.shape);
	build.tids_room = 1024;
	build.tids = palloc(sizeof(ItemPointerData) * build.tids_room);
	make_encoder(&build);
	plan_memory(&build);

	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, KNN_IVF_PHASE_READ);
	reltuples = table_index_build_scan(heap, index, info, true, true, read_row, &build, NULL);
	if (build.model)
		take_centroids(&build);
	else
	{
		if (build.shape.encoding == KNN_ENCODING_PQ && !KnnPqEnough(index, &build.shape, build.n))
		{
			KnnShapeFallBack(&build.shape);
			build.encoder.encoding = build.shape.encoding;
		}
		build.nlists = Min(build.shape.nlist, build.n);
	}
	if (!build.model && cluster_externally(&build))
		merge_lists(&build);
	else
	{
		if (!build.model)
			train(&build);
		merge_lists(&build);
		assign(&build);
	}
	if (!build.model)
		tell_lists(&build);
	sort_by_list(&build);
	KnnStoreColumns(&build.shape, build.columns);
	KnnIvfLayoutInit(&build.layout, &build.shape);
	make_codebooks(&build);
	write_pages(&build);
	KnnBuildVectorsEnd(&build.read);

	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, KNN_IVF_PHASE_LOG);
	if (RelationNeedsWAL(index))
		log_newpage_range(index, MAIN_FORKNUM, 0, RelationGetNumberOfBlocks(index), true);

	MemoryContextSwitchTo(old);
	result = palloc(sizeof(IndexBuildResult));
	result->heap_tuples = reltuples;
	result->index_tuples = build.n;
	MemoryContextDelete(build.context);

	INSTR_TIME_SET_CURRENT(spent);
	INSTR_TIME_SUBTRACT(spent, start);
	KnnCountBuild(index, KnnNanoseconds(spent), build.n,
				  (uint64) build.n * KnnElementsSize(&build.shape));
	return result;
}

IndexBuildResult *
knn_ivf_build(Relation heap, Relation index, IndexInfo *info)
{
	return KnnBuild(heap, index, info, build_index);
}

void
knn_ivf_buildempty(Relation index)
{
	KnnShape	shape = KnnResolveIvfShape(index, KnnModelOfIndex(index, KNN_METHOD_IVF));

	/* an empty index has no codebooks */
	KnnShapeFallBack(&shape);
	KnnWriteInitFork(index, &shape);
}
