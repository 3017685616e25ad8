/*
 * hnsw_build.c
 *		CREATE INDEX ... USING knn_hnsw, in one process.
 *
 * Three passes, so that what must be known is known before it is needed:
 *
 *	read	the table's vectors go to a temporary file, equal ones once; their
 *			sum gives the centre, their number the exact size of everything
 *	graph	each vector is encoded about the centre and added to the graph in
 *			memory (codes and links only, see core/graph_build.h)
 *	write	the columns are laid out page after page, the full vectors coming
 *			from the temporary file; then all pages are logged at once
 *
 * Nodes are numbered in an order that puts neighbours close together
 * (core/graph_order.h), so that a search finds several of the codes it needs in
 * a page.
 *
 * The graph is bounded by maintenance_work_mem; vectors beyond it are inserted
 * one by one after the pages are laid out, which is slow, and said so.
 */
#include "postgres.h"

#include "am/hnsw.h"

#include "access/tableam.h"
#include "access/xloginsert.h"
#include "am/opclass.h"
#include "am/options.h"
#include "catalog/index.h"
#include "commands/progress.h"
#include "compat.h"
#include "core/fingerprint.h"
#include "core/graph_build.h"
#include "core/graph_order.h"
#include "core/rotation.h"
#include "miscadmin.h"
#include "storage/buffile.h"
#include "utils/backend_progress.h"
#include "utils/memutils.h"

/* A further row of a node. */
typedef struct DuplicateRow
{
	uint32		node;			/* by position in the file */
	ItemPointerData tid;
} DuplicateRow;

typedef struct HnswBuild
{
	Relation	index;
	KnnShape	shape;
	KnnColumnShape columns[KNN_NCOLUMNS];
	MemoryContext context;		/* lives as long as the build */
	MemoryContext row_context;	/* reset for each row */

	/* after the first pass */
	BufFile    *file;			/* n vectors of dim floats */
	uint32		n;
	double	   *sum;
	knn_fingerprint_set seen;
	ItemPointerData *tids;		/* first row of each vector */
	uint32		tids_room;
	DuplicateRow *duplicates;
	uint32		nduplicates;
	uint32		duplicates_room;
	double		nrows;			/* indexed */

	/* second pass */
	float	   *centre;			/* rotated if the space rotates */
	uint32		in_memory;		/* vectors that the graph in memory holds */
	knn_graph	graph;
	uint32	   *old_of_new;		/* position in the file of each node */
	uint32	   *new_of_old;
} HnswBuild;

/* ---- shape ---- */

/* Dimension and data type of the column, which an index needs to know. */
static void
column_shape(Relation index, KnnShape *shape)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(index), 0);

	if (attribute->atttypmod < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" needs a dimension to be indexed",
						NameStr(attribute->attname)),
				 errdetail("Its type is knn_vector without a dimension."),
				 errhint("Declare it as knn_vector(768), say, or index an expression such as ((v::knn_vector(768))).")));
	shape->dim = KnnTypmodDim(attribute->atttypmod);
	shape->data_type = KnnTypmodDataType(attribute->atttypmod);
	if (shape->data_type != KNN_DATA_FLOAT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("access method \"knn_hnsw\" does not support data type \"%s\"",
						KnnDataTypeName(shape->data_type)),
				 errdetail("Only data type \"float\" can be indexed."),
				 errhint("Index an expression that converts the column, such as ((v::knn_vector(%u))).",
						 shape->dim)));
}

static void
resolve_shape(Relation index, KnnShape *shape)
{
	KnnHnswOptions options = KnnHnswOptionsOf(index);

	memset(shape, 0, sizeof(*shape));
	column_shape(index, shape);
	shape->method = KNN_METHOD_HNSW;
	shape->space = KnnIndexSpace(index);
	shape->encoding = KNN_ENCODING_ROTATED_8;
	shape->vectors = KNN_VECTORS_FLOAT;
	shape->compression = 1;
	shape->m = options.m;
	shape->ef_construction = options.ef_construction;
	shape->ef_search = options.ef_search;
	if (!pg_strong_random(&shape->seed, sizeof(shape->seed)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
}

/* ---- first pass: read ---- */

static void
remember_tid(HnswBuild *build, ItemPointer tid)
{
	if (build->n == build->tids_room)
	{
		build->tids_room = build->tids_room > UINT32_MAX / 2 ? UINT32_MAX : build->tids_room * 2;
		build->tids = repalloc_huge(build->tids,
									mul_size(sizeof(ItemPointerData), build->tids_room));
	}
	build->tids[build->n] = *tid;
}

static void
remember_duplicate(HnswBuild *build, uint32 node, ItemPointer tid)
{
	if (build->nduplicates == build->duplicates_room)
	{
		build->duplicates_room = build->duplicates_room > UINT32_MAX / 2 ?
			UINT32_MAX : build->duplicates_room * 2;
		build->duplicates = repalloc_huge(build->duplicates,
										  mul_size(sizeof(DuplicateRow), build->duplicates_room));
	}
	build->duplicates[build->nduplicates].node = node;
	build->duplicates[build->nduplicates].tid = *tid;
	build->nduplicates++;
}

static void
read_row(Relation index, ItemPointer tid, Datum *values, bool *isnull,
		 bool alive, void *state)
{
	HnswBuild  *build = state;
	MemoryContext old;
	float	   *v;
	uint32		node;
	int			found;

	if (isnull[0])
		return;
	old = MemoryContextSwitchTo(build->row_context);
	v = KnnIndexedValue(&build->shape, values[0]);
	if (v != NULL)
	{
		Size		size = sizeof(float) * build->shape.dim;

		found = knn_fingerprint_set_add(&build->seen, v, size, &node);
		if (found < 0)
			elog(ERROR, "out of memory");
		if (found)
			remember_duplicate(build, node, tid);
		else
		{
			if (build->n >= KNN_INVALID_ID - 1)
				ereport(ERROR,
						(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						 errmsg("an index cannot hold more than %u different vectors",
								KNN_INVALID_ID - 1),
						 errhint("Partition the table.")));
			remember_tid(build, tid);
			BufFileWrite(build->file, v, size);
			for (uint32 i = 0; i < build->shape.dim; i++)
				build->sum[i] += v[i];
			build->n++;
		}
		build->nrows++;
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(build->row_context);
}

/* ---- second pass: graph ---- */

static void
read_vector(HnswBuild *build, float *v)
{
	Size		size = sizeof(float) * build->shape.dim;

	if (BufFileRead(build->file, v, size) != size)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read vectors back from temporary file: %m")));
}

static void
seek_vector(HnswBuild *build, uint32 position)
{
	off_t		offset = (off_t) position * sizeof(float) * build->shape.dim;

	if (BufFileSeek(build->file, 0, offset, SEEK_SET) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not seek in temporary file: %m")));
}

static void
make_centre(HnswBuild *build, knn_encoder *encoder)
{
	uint32		dim = build->shape.dim;

	encoder->dim = dim;
	encoder->space = build->shape.space;
	encoder->kernels = knn_kernels_get();
	encoder->signs = NULL;
	encoder->centre = NULL;
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
static uint32
fitting(HnswBuild *build)
{
	uint64		limit = (uint64) maintenance_work_mem * 1024;
	uint64		low = 0;
	uint64		high = build->n;

	while (low < high)
	{
		uint64		middle = (low + high + 1) / 2;

		if (knn_graph_memory(middle, build->shape.dim, build->shape.m) <= limit)
			low = middle;
		else
			high = middle - 1;
	}
	return (uint32) low;
}

static void
check_interrupts(void)
{
	CHECK_FOR_INTERRUPTS();
}

static void
build_graph(HnswBuild *build)
{
	knn_graph  *graph = &build->graph;
	float	   *v = palloc(sizeof(float) * build->shape.dim);

	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, KNN_HNSW_PHASE_GRAPH);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL, build->n);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, 0);

	graph->m = build->shape.m;
	graph->ef_construction = build->shape.ef_construction;
	graph->seed = build->shape.seed;
	graph->allocator = KnnContextAllocator(build->context);
	graph->check = check_interrupts;
	make_centre(build, &graph->encoder);

	build->in_memory = fitting(build);
	if (build->in_memory < build->n)
		ereport(NOTICE,
				(errmsg("the graph of index \"%s\" does not fit into maintenance_work_mem",
						RelationGetRelationName(build->index)),
				 errdetail("%u of %u vectors fit; the others are inserted one by one, which is slower.",
						   build->in_memory, build->n),
				 errhint("The whole graph needs maintenance_work_mem = '%llu MB'.",
						 (unsigned long long)
						 (knn_graph_memory(build->n, build->shape.dim, build->shape.m) / (1024 * 1024) + 1))));

	if (knn_graph_init(graph, build->in_memory) != KNN_OK)
		elog(ERROR, "out of memory");
	seek_vector(build, 0);
	for (uint32 i = 0; i < build->in_memory; i++)
	{
		CHECK_FOR_INTERRUPTS();
		read_vector(build, v);
		if (knn_graph_add(graph, v) != KNN_OK)
			elog(ERROR, "out of memory");
		if (i % 64 == 63)
			pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, i + 1);
	}
	pfree(v);
}

/* ---- third pass: write ---- */

/* Rows of one node beyond the first, in a chain through next[]. */
typedef struct DuplicateLists
{
	uint32	   *head;			/* by node: duplicate + 1, or 0; NULL if none */
	uint32	   *next;			/* by duplicate */
} DuplicateLists;

static void
list_duplicates(HnswBuild *build, DuplicateLists *lists)
{
	lists->head = NULL;
	lists->next = NULL;
	if (build->nduplicates == 0)
		return;
	lists->head = MemoryContextAllocExtended(build->context,
											 mul_size(sizeof(uint32), build->n),
											 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	lists->next = MemoryContextAllocHuge(build->context,
										 mul_size(sizeof(uint32), build->nduplicates));
	for (uint32 i = build->nduplicates; i-- > 0;)
	{
		uint32		node = build->duplicates[i].node;

		lists->next[i] = lists->head[node];
		lists->head[node] = i + 1;
	}
}

/*
 * The tid and chain columns.  Chain items of a node are consecutive, so the
 * chain of a node is known from its number of rows before it is written.
 */
static uint32
count_chain_items(HnswBuild *build, const DuplicateLists *lists)
{
	uint64		items = 0;

	if (lists->head == NULL)
		return 0;
	for (uint32 node = 0; node < build->in_memory; node++)
	{
		uint32		rows = 0;

		for (uint32 d = lists->head[node]; d != 0; d = lists->next[d - 1])
			rows++;
		if (rows > KNN_INLINE_TIDS - 1)
			items += (rows - (KNN_INLINE_TIDS - 1) + KNN_CHAIN_TIDS - 1) / KNN_CHAIN_TIDS;
	}
	Assert(items < KNN_INVALID_ID);
	return (uint32) items;
}

static void
write_tids(HnswBuild *build, const DuplicateLists *lists)
{
	KnnColumnWriter writer;
	uint32		chain = 0;

	KnnColumnWriterBegin(&writer, build->index, &build->columns[KNN_COLUMN_TID], KNN_COLUMN_TID);
	for (uint32 id = 0; id < build->in_memory; id++)
	{
		uint32		node = build->old_of_new[id];
		uint32		duplicate = lists->head ? lists->head[node] : 0;
		KnnTidItem	item = {.ntids = 1, .flags = KNN_TID_WRITTEN, .chain = KNN_NO_CHAIN};
		uint32		left = 0;

		item.tids[0] = build->tids[node];
		for (; duplicate != 0 && item.ntids < KNN_INLINE_TIDS;
			 duplicate = lists->next[duplicate - 1])
			item.tids[item.ntids++] = build->duplicates[duplicate - 1].tid;
		for (; duplicate != 0; duplicate = lists->next[duplicate - 1])
			left++;
		if (left > 0)
		{
			item.chain = chain + 1;
			chain += (left + KNN_CHAIN_TIDS - 1) / KNN_CHAIN_TIDS;
		}
		KnnColumnWriterAppend(&writer, &item);
	}
	KnnColumnWriterEnd(&writer);
}

static void
write_chains(HnswBuild *build, const DuplicateLists *lists)
{
	KnnColumnWriter writer;
	uint32		chain = 0;

	KnnColumnWriterBegin(&writer, build->index, &build->columns[KNN_COLUMN_CHAIN], KNN_COLUMN_CHAIN);
	for (uint32 id = 0; id < build->in_memory; id++)
	{
		uint32		duplicate = lists->head[build->old_of_new[id]];

		for (int skip = 1; skip < KNN_INLINE_TIDS && duplicate != 0; skip++)
			duplicate = lists->next[duplicate - 1];
		while (duplicate != 0)
		{
			KnnChainItem item = {.owner = id};

			for (; duplicate != 0 && item.ntids < KNN_CHAIN_TIDS;
				 duplicate = lists->next[duplicate - 1])
				item.tids[item.ntids++] = build->duplicates[duplicate - 1].tid;
			chain++;
			item.next = duplicate != 0 ? chain + 1 : KNN_NO_CHAIN;
			KnnColumnWriterAppend(&writer, &item);
		}
	}
	KnnColumnWriterEnd(&writer);
}

static int
compare_ids(const void *a, const void *b)
{
	uint32		x = *(const uint32 *) a;
	uint32		y = *(const uint32 *) b;

	return x < y ? -1 : x > y;
}

static void
write_links(HnswBuild *build)
{
	const knn_graph *graph = &build->graph;
	uint32		width = build->columns[KNN_COLUMN_LINKS].width;
	KnnLinksItem *item = palloc(width);
	KnnColumnWriter writer;
	uint32		upper = 0;

	KnnColumnWriterBegin(&writer, build->index, &build->columns[KNN_COLUMN_LINKS], KNN_COLUMN_LINKS);
	for (uint32 id = 0; id < build->in_memory; id++)
	{
		uint32		node = build->old_of_new[id];
		const uint32 *row = knn_graph_links(graph, node);

		memset(item, 0, width);
		item->nlinks = (uint16) row[0];
		item->level = graph->levels[node];
		item->upper = upper;
		upper += item->level;
		for (uint32 i = 0; i < row[0]; i++)
			item->links[i] = build->new_of_old[row[1 + i]] + 1;
		/* ascending, so that a scan finds them sorted by page already */
		pg_qsort(item->links, row[0], sizeof(uint32), compare_ids);
		KnnColumnWriterAppend(&writer, item);
	}
	KnnColumnWriterEnd(&writer);
	pfree(item);
}

static void
write_upper(HnswBuild *build)
{
	const knn_graph *graph = &build->graph;
	uint32		width = build->columns[KNN_COLUMN_UPPER].width;
	KnnUpperItem *item = palloc(width);
	KnnColumnWriter writer;

	KnnColumnWriterBegin(&writer, build->index, &build->columns[KNN_COLUMN_UPPER], KNN_COLUMN_UPPER);
	for (uint32 id = 0; id < build->in_memory; id++)
	{
		uint32		node = build->old_of_new[id];

		for (uint32 level = 1; level <= graph->levels[node]; level++)
		{
			const uint32 *row = knn_graph_upper(graph, node, level);

			memset(item, 0, width);
			item->nlinks = row[0];
			for (uint32 i = 0; i < row[0]; i++)
				item->links[i] = build->new_of_old[row[1 + i]] + 1;
			KnnColumnWriterAppend(&writer, item);
		}
	}
	KnnColumnWriterEnd(&writer);
	pfree(item);
}

static void
write_codes(HnswBuild *build)
{
	const knn_graph *graph = &build->graph;
	uint32		width = build->columns[KNN_COLUMN_CODE].width;
	KnnCodeItem *item = palloc0(width);
	KnnColumnWriter writer;

	KnnColumnWriterBegin(&writer, build->index, &build->columns[KNN_COLUMN_CODE], KNN_COLUMN_CODE);
	for (uint32 id = 0; id < build->in_memory; id++)
	{
		uint32		node = build->old_of_new[id];

		item->factors = graph->factors[node];
		memcpy(item->code, knn_graph_code(graph, node), build->shape.dim);
		KnnColumnWriterAppend(&writer, item);
	}
	KnnColumnWriterEnd(&writer);
	pfree(item);
}

static void
write_vectors(HnswBuild *build)
{
	float	   *v = palloc(sizeof(float) * build->shape.dim);
	KnnColumnWriter writer;

	KnnColumnWriterBegin(&writer, build->index, &build->columns[KNN_COLUMN_VECTOR], KNN_COLUMN_VECTOR);
	for (uint32 id = 0; id < build->in_memory; id++)
	{
		seek_vector(build, build->old_of_new[id]);
		read_vector(build, v);
		KnnColumnWriterAppend(&writer, v);
		if (id % 1024 == 1023)
			pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, id + 1);
	}
	KnnColumnWriterEnd(&writer);
	pfree(v);
}

static void
add_extent(KnnMetaPage *meta, const KnnColumnShape *columns, KnnGroup group, uint32 nitems)
{
	KnnMetaExtent *extent;
	BlockNumber blocks;

	if (nitems == 0)
		return;
	blocks = KnnExtentBlocks(columns, group, nitems);
	if (blocks > MaxBlockNumber - meta->nblocks)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index would have more than %u blocks", MaxBlockNumber),
				 errhint("Partition the table.")));
	extent = &meta->extents[meta->nextents++];
	extent->group = group;
	extent->nitems = nitems;
	extent->first_block = meta->nblocks;
	meta->nblocks += blocks;
	meta->used[group] = nitems;
}

/*
 * The metapage tells the extents, and the columns follow in their order; each
 * column writer must end where the next begins.
 */
static void
write_pages(HnswBuild *build)
{
	const knn_graph *graph = &build->graph;
	DuplicateLists lists;
	KnnMetaPage *meta;
	Buffer		buffer;
	BlockNumber expected;

	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, KNN_HNSW_PHASE_WRITE);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, 0);
	list_duplicates(build, &lists);

	buffer = ReadBufferExtended(build->index, MAIN_FORKNUM, P_NEW, RBM_ZERO_AND_LOCK, NULL);
	if (BufferGetBlockNumber(buffer) != KNN_META_BLOCK)
		elog(ERROR, "index \"%s\" is not empty", RelationGetRelationName(build->index));
	KnnMetaPageInit(BufferGetPage(buffer), &build->shape);
	meta = (KnnMetaPage *) KnnPageContents(BufferGetPage(buffer));
	if (build->in_memory > 0)
	{
		meta->entry = build->new_of_old[graph->entry];
		meta->entry_level = graph->entry_level;
		add_extent(meta, build->columns, KNN_GROUP_CENTRE, 1);
		add_extent(meta, build->columns, KNN_GROUP_NODE, build->in_memory);
		add_extent(meta, build->columns, KNN_GROUP_UPPER, graph->nupper);
		add_extent(meta, build->columns, KNN_GROUP_CHAIN, count_chain_items(build, &lists));
		KnnPageCover(BufferGetPage(buffer), offsetof(KnnMetaPage, extents) +
					 sizeof(KnnMetaExtent) * meta->nextents);
	}
	expected = meta->nblocks;
	MarkBufferDirty(buffer);
	UnlockReleaseBuffer(buffer);

	if (build->in_memory > 0)
	{
		KnnColumnWriter writer;

		KnnColumnWriterBegin(&writer, build->index, &build->columns[KNN_COLUMN_CENTRE],
							 KNN_COLUMN_CENTRE);
		KnnColumnWriterAppend(&writer, build->centre);
		KnnColumnWriterEnd(&writer);
		write_tids(build, &lists);
		write_links(build);
		write_codes(build);
		write_vectors(build);
		write_upper(build);
		if (lists.head)
			write_chains(build, &lists);
	}
	if (RelationGetNumberOfBlocks(build->index) != expected)
		elog(ERROR, "index \"%s\" has %u blocks after its build, expected %u",
			 RelationGetRelationName(build->index),
			 RelationGetNumberOfBlocks(build->index), expected);
}

/* What did not fit into memory goes the way of ordinary inserts. */
static void
insert_rest(HnswBuild *build)
{
	float	   *v = palloc(sizeof(float) * build->shape.dim);
	uint32		next_duplicate = 0;

	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, KNN_HNSW_PHASE_INSERT);
	seek_vector(build, build->in_memory);
	for (uint32 i = build->in_memory; i < build->n; i++)
	{
		MemoryContext old;
		KnnStore   *store;

		CHECK_FOR_INTERRUPTS();
		read_vector(build, v);
		old = MemoryContextSwitchTo(build->row_context);
		store = KnnStoreOpen(build->index);
		KnnStoreHold(store, build->row_context);
		KnnHnswInsertVector(build->index, store, v, &build->tids[i], false);
		MemoryContextSwitchTo(old);
		MemoryContextReset(build->row_context);
		if (i % 64 == 63)
			pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, i + 1);
	}

	/* rows equal to those */
	for (; next_duplicate < build->nduplicates; next_duplicate++)
	{
		DuplicateRow *duplicate = &build->duplicates[next_duplicate];
		MemoryContext old;
		KnnStore   *store;

		if (duplicate->node < build->in_memory)
			continue;
		CHECK_FOR_INTERRUPTS();
		seek_vector(build, duplicate->node);
		read_vector(build, v);
		old = MemoryContextSwitchTo(build->row_context);
		store = KnnStoreOpen(build->index);
		KnnStoreHold(store, build->row_context);
		KnnHnswInsertVector(build->index, store, v, &duplicate->tid, true);
		MemoryContextSwitchTo(old);
		MemoryContextReset(build->row_context);
	}
	pfree(v);
}

IndexBuildResult *
knn_hnsw_build(Relation heap, Relation index, IndexInfo *info)
{
	IndexBuildResult *result;
	HnswBuild	build = {0};
	MemoryContext old;
	knn_allocator allocator;
	double		reltuples;

	build.index = index;
	build.context = AllocSetContextCreate(CurrentMemoryContext, "knn_hnsw build",
										  ALLOCSET_DEFAULT_SIZES);
	build.row_context = AllocSetContextCreate(build.context, "knn_hnsw build row",
											  ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(build.context);

	resolve_shape(index, &build.shape);
	KnnStoreColumns(&build.shape, build.columns);
	build.sum = palloc0(sizeof(double) * build.shape.dim);
	build.tids_room = 1024;
	build.tids = palloc(sizeof(ItemPointerData) * build.tids_room);
	build.duplicates_room = 64;
	build.duplicates = palloc(sizeof(DuplicateRow) * build.duplicates_room);
	allocator = KnnContextAllocator(build.context);
	if (knn_fingerprint_set_init(&build.seen, &allocator, build.shape.seed) != KNN_OK)
		elog(ERROR, "out of memory");
	build.file = BufFileCreateTemp(false);

	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, KNN_HNSW_PHASE_READ);
	if (heap)
		reltuples = table_index_build_scan(heap, index, info, true, true,
										   read_row, &build, NULL);
	else
		reltuples = 0;
	knn_fingerprint_set_free(&build.seen);

	build_graph(&build);
	build.old_of_new = MemoryContextAllocHuge(build.context,
											  mul_size(sizeof(uint32), Max(build.in_memory, 1)));
	build.new_of_old = MemoryContextAllocHuge(build.context,
											  mul_size(sizeof(uint32), Max(build.in_memory, 1)));
	if (knn_graph_order(&build.graph, build.columns[KNN_COLUMN_CODE].per_page,
						build.old_of_new, build.new_of_old) != KNN_OK)
		elog(ERROR, "out of memory");
	write_pages(&build);
	knn_graph_free(&build.graph);

	/*
	 * Before what is inserted: the records of inserts tell changes to pages, and
	 * replay must know the pages by then.
	 */
	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, KNN_HNSW_PHASE_LOG);
	if (RelationNeedsWAL(index))
		log_newpage_range(index, MAIN_FORKNUM, 0, RelationGetNumberOfBlocks(index), true);
	if (build.in_memory < build.n)
		insert_rest(&build);

	BufFileClose(build.file);
	MemoryContextSwitchTo(old);
	result = palloc(sizeof(IndexBuildResult));
	result->heap_tuples = reltuples;
	result->index_tuples = build.nrows;
	MemoryContextDelete(build.context);
	return result;
}

/* The initial fork of an unlogged index: an empty metapage, logged. */
void
knn_hnsw_buildempty(Relation index)
{
	KnnShape	shape;
	Buffer		buffer;

	resolve_shape(index, &shape);
	buffer = ReadBufferExtended(index, INIT_FORKNUM, P_NEW, RBM_ZERO_AND_LOCK, NULL);
	START_CRIT_SECTION();
	KnnMetaPageInit(BufferGetPage(buffer), &shape);
	MarkBufferDirty(buffer);
	log_newpage_buffer(buffer, true);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(buffer);
}
