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
 * The graph is bounded by maintenance_work_mem (row addresses, fingerprints and the
 * ordering of nodes, some tens of bytes a vector, come on top); vectors beyond it are inserted
 * one by one after the pages are laid out, which is slow, and said so.
 */
#include "postgres.h"

#include "am/hnsw.h"

#include "access/tableam.h"
#include "access/xloginsert.h"
#include "am/shape.h"
#include "am/spool.h"
#include "cache/counters.h"
#include "cache/evict.h"
#include "catalog/index.h"
#include "commands/progress.h"
#include "compat.h"
#include "core/fingerprint.h"
#include "core/graph_build.h"
#include "core/graph_order.h"
#include "core/rotation.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
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
	KnnSpool	spool;			/* n vectors, stored form or else elements */
	Size		kept_size;		/* bytes of each */
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
	KnnValue	value;
	uint32		node;
	int			found;

	if (isnull[0])
		return;
	old = MemoryContextSwitchTo(build->row_context);
	if (KnnIndexedValue(&build->shape, values[0], &value))
	{
		const void *kept = value.stored ? value.stored : value.elements;

		found = knn_fingerprint_set_add(&build->seen, kept, build->kept_size, &node);
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
			KnnSpoolAppend(&build->spool, kept);
			if (knn_encoding_is_float(build->shape.encoding))
			{
				for (uint32 i = 0; i < build->shape.dim; i++)
					build->sum[i] += ((float *) value.elements)[i];
			}
			build->n++;
		}
		build->nrows++;
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(build->row_context);
}

/* ---- second pass: graph ---- */

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
static uint32
fitting(HnswBuild *build)
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

static void
check_interrupts(void)
{
	CHECK_FOR_INTERRUPTS();
}

static void
build_graph(HnswBuild *build)
{
	knn_graph  *graph = &build->graph;
	float	   *scratch = palloc(sizeof(float) * build->shape.dim);

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
						 (knn_graph_memory(build->n, graph->encoder.encoding, build->shape.dim,
										   build->shape.m) / (1024 * 1024) + 1))));

	if (knn_graph_init(graph, build->in_memory) != KNN_OK)
		elog(ERROR, "out of memory");
	for (uint32 i = 0; i < build->in_memory; i++)
	{
		const void *kept = KnnSpoolGet(&build->spool, i);

		CHECK_FOR_INTERRUPTS();
		if (knn_graph_add(graph, KnnElementsOfStored(&build->shape, kept, scratch)) != KNN_OK)
			elog(ERROR, "out of memory");
		if (i % 64 == 63)
			pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, i + 1);
	}
	pfree(scratch);
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

/*
 * The graph's codes, or, when the index keeps fewer bits, codes made anew from
 * the vectors.
 */
static void
write_codes(HnswBuild *build)
{
	const knn_graph *graph = &build->graph;
	uint32		width = build->columns[KNN_COLUMN_CODE].width;
	uint32		factor_bytes = KnnFactorBytes(&build->shape);
	char	   *item = palloc0(width);
	knn_encoder encoder = graph->encoder;
	bool		again = build->shape.encoding != graph->encoder.encoding;
	float	   *elements = palloc(sizeof(float) * build->shape.dim);
	float	   *scratch = palloc(sizeof(float) * build->shape.dim);
	KnnColumnWriter writer;

	encoder.encoding = build->shape.encoding;
	KnnColumnWriterBegin(&writer, build->index, &build->columns[KNN_COLUMN_CODE], KNN_COLUMN_CODE);
	for (uint32 id = 0; id < build->in_memory; id++)
	{
		uint32		node = build->old_of_new[id];
		knn_code_factors factors = graph->factors[node];

		if (again)
		{
			const void *kept = KnnSpoolGet(&build->spool, node);

			knn_encode(&encoder, KnnElementsOfStored(&build->shape, kept, elements),
					   &factors, (uint8 *) item + factor_bytes, scratch);
		}
		else
			memcpy(item + factor_bytes, knn_graph_code(graph, node),
				   knn_code_bytes(encoder.encoding, build->shape.dim));
		memcpy(item, &factors, factor_bytes);
		KnnColumnWriterAppend(&writer, item);
	}
	KnnColumnWriterEnd(&writer);
	pfree(item);
	pfree(elements);
	pfree(scratch);
}

static void
write_vectors(HnswBuild *build)
{
	uint32		width = build->columns[KNN_COLUMN_VECTOR].width;
	char	   *item = palloc0(Max(width, build->kept_size));
	KnnColumnWriter writer;

	if (width == 0)
		return;
	KnnColumnWriterBegin(&writer, build->index, &build->columns[KNN_COLUMN_VECTOR], KNN_COLUMN_VECTOR);
	for (uint32 id = 0; id < build->in_memory; id++)
	{
		memcpy(item, KnnSpoolGet(&build->spool, build->old_of_new[id]), build->kept_size);
		KnnColumnWriterAppend(&writer, item);
		if (id % 1024 == 1023)
			pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, id + 1);
	}
	KnnColumnWriterEnd(&writer);
	pfree(item);
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

	buffer = KnnMetaPageBegin(build->index, &build->shape);
	meta = (KnnMetaPage *) KnnPageContents(BufferGetPage(buffer));
	if (build->in_memory > 0)
	{
		meta->entry = build->new_of_old[graph->entry];
		meta->entry_level = graph->entry_level;
		if (build->centre)
			KnnMetaAddExtent(meta, build->columns, KNN_GROUP_CENTRE, 1);
		KnnMetaAddExtent(meta, build->columns, KNN_GROUP_NODE, build->in_memory);
		KnnMetaAddExtent(meta, build->columns, KNN_GROUP_UPPER, graph->nupper);
		KnnMetaAddExtent(meta, build->columns, KNN_GROUP_CHAIN, count_chain_items(build, &lists));
	}
	expected = KnnMetaPageEnd(buffer);

	if (build->in_memory > 0)
	{
		if (build->centre)
		{
			KnnColumnWriter writer;

			KnnColumnWriterBegin(&writer, build->index, &build->columns[KNN_COLUMN_CENTRE],
								 KNN_COLUMN_CENTRE);
			KnnColumnWriterAppend(&writer, build->centre);
			KnnColumnWriterEnd(&writer);
		}
		write_tids(build, &lists);
		write_links(build);
		write_codes(build);
		write_vectors(build);
		write_upper(build);
		if (lists.head)
			write_chains(build, &lists);
	}
	KnnCheckBuiltBlocks(build->index, expected);
}

/* Insert the vector at a position of the file, for one row. */
static void
insert_kept(HnswBuild *build, uint32 position, ItemPointer tid, bool unchanged)
{
	MemoryContext old = MemoryContextSwitchTo(build->row_context);
	KnnStore   *store = KnnStoreOpen(build->index);
	void	   *kept = palloc(build->kept_size);
	KnnValue	value;

	KnnStoreHold(store, build->row_context);
	memcpy(kept, KnnSpoolGet(&build->spool, position), build->kept_size);
	value.stored = build->shape.vectors == KNN_VECTORS_NONE ? NULL : kept;
	value.elements = unconstify(void *,
								KnnElementsOfStored(&build->shape, kept,
													palloc(sizeof(float) * build->shape.dim)));
	KnnHnswInsertValue(build->index, store, &value, tid, unchanged);
	MemoryContextSwitchTo(old);
	MemoryContextReset(build->row_context);
}

/* What did not fit into memory goes the way of ordinary inserts. */
static void
insert_rest(HnswBuild *build)
{
	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, KNN_HNSW_PHASE_INSERT);
	for (uint32 i = build->in_memory; i < build->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		insert_kept(build, i, &build->tids[i], false);
		if (i % 64 == 63)
			pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, i + 1);
	}

	/* rows equal to those */
	for (uint32 i = 0; i < build->nduplicates; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (build->duplicates[i].node >= build->in_memory)
			insert_kept(build, build->duplicates[i].node, &build->duplicates[i].tid, true);
	}
}

static IndexBuildResult *
build_index(Relation heap, Relation index, IndexInfo *info)
{
	IndexBuildResult *result;
	HnswBuild	build = {0};
	MemoryContext old;
	knn_allocator allocator;
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

	build.shape = KnnResolveHnswShape(index);
	KnnStoreColumns(&build.shape, build.columns);
	build.kept_size = build.shape.vectors == KNN_VECTORS_NONE ?
		KnnElementsSize(&build.shape) : KnnStoredSize(&build.shape);
	build.sum = palloc0(sizeof(double) * build.shape.dim);
	build.tids_room = 1024;
	build.tids = palloc(sizeof(ItemPointerData) * build.tids_room);
	build.duplicates_room = 64;
	build.duplicates = palloc(sizeof(DuplicateRow) * build.duplicates_room);
	allocator = KnnContextAllocator(build.context);
	if (knn_fingerprint_set_init(&build.seen, &allocator, build.shape.seed) != KNN_OK)
		elog(ERROR, "out of memory");
	/* all in a file: the graph needs the memory */
	KnnSpoolBegin(&build.spool, build.context, build.kept_size, 0);

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
	if (knn_graph_order(&build.graph, KNN_PAGE_CAPACITY / build.columns[KNN_COLUMN_CODE].width,
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

	KnnSpoolEnd(&build.spool);
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
	IndexBuildResult *volatile result = NULL;

	PG_TRY();
	{
		result = build_index(heap, index, info);
	}
	PG_CATCH();
	{
		KnnCountError(KNN_COUNT_BUILD_ERROR);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return result;
}

void
knn_hnsw_buildempty(Relation index)
{
	KnnShape	shape = KnnResolveHnswShape(index);

	KnnWriteInitFork(index, &shape);
}
