/*
 * hnsw_build_write.c
 *		Third pass of a build of knn_hnsw: its graph is laid into pages, column after
 *		column, and what the graph did not hold is inserted.
 */
#include "postgres.h"

#include "am/hnsw_build.h"

#include "am/pq_codebooks.h"
#include "commands/progress.h"
#include "miscadmin.h"
#include "utils/backend_progress.h"
#include "utils/memutils.h"

/* ---- columns ---- */

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

	KnnColumnWriterBegin(&writer, build->index, build->columns, KNN_COLUMN_TID, &build->next_block);
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

	KnnColumnWriterBegin(&writer, build->index, build->columns, KNN_COLUMN_CHAIN, &build->next_block);
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

	KnnColumnWriterBegin(&writer, build->index, build->columns, KNN_COLUMN_LINKS, &build->next_block);
	for (uint32 id = 0; id < build->in_memory; id++)
	{
		uint32		node = KnnBuildNode(build, id);
		const uint32 *row = knn_graph_links(graph, node);

		memset(item, 0, width);
		item->nlinks = (uint16) row[0];
		item->level = graph->levels[node];
		item->upper = upper;
		upper += item->level;
		for (uint32 i = 0; i < row[0]; i++)
			item->links[i] = KnnBuildId(build, row[1 + i]) + 1;
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

	KnnColumnWriterBegin(&writer, build->index, build->columns, KNN_COLUMN_UPPER, &build->next_block);
	for (uint32 id = 0; id < build->in_memory; id++)
	{
		uint32		node = KnnBuildNode(build, id);

		for (uint32 level = 1; level <= graph->levels[node]; level++)
		{
			const uint32 *row = knn_graph_upper(graph, node, level);

			memset(item, 0, width);
			item->nlinks = row[0];
			for (uint32 i = 0; i < row[0]; i++)
				item->links[i] = KnnBuildId(build, row[1 + i]) + 1;
			KnnColumnWriterAppend(&writer, item);
		}
	}
	KnnColumnWriterEnd(&writer);
	pfree(item);
}

/* Codes made from the vectors. */
static void
make_codes(HnswBuild *build, KnnColumnWriter *writer)
{
	uint32		factor_bytes = KnnFactorBytes(&build->shape);
	char	   *item = palloc0(build->columns[KNN_COLUMN_CODE].width);
	knn_encoder encoder = build->graph.encoder;
	float	   *elements = palloc(sizeof(float) * build->shape.dim);
	float	   *scratch = palloc(sizeof(float) * build->shape.dim);

	encoder.encoding = build->shape.encoding;
	encoder.centre = build->code_centre;
	encoder.origin = build->code_centre;
	encoder.pq = build->pq;
	for (uint32 id = 0; id < build->in_memory; id++)
	{
		const void *kept = KnnBuildVectorsGet(&build->read, build->old_of_new[id]);
		knn_code_factors factors;

		knn_encode(&encoder, KnnElementsOfStored(&build->shape, kept, elements),
				   &factors, (uint8 *) item + factor_bytes, scratch);
		memcpy(item, &factors, factor_bytes);
		KnnColumnWriterAppend(writer, item);
	}
	pfree(item);
	pfree(elements);
	pfree(scratch);
}

/* The codes that the graph was built on. */
static void
copy_codes(HnswBuild *build, KnnColumnWriter *writer)
{
	const knn_graph *graph = &build->graph;
	uint32		factor_bytes = KnnFactorBytes(&build->shape);
	uint32		code_bytes = KnnCodeSize(&build->shape);
	char	   *item = palloc0(build->columns[KNN_COLUMN_CODE].width);

	for (uint32 id = 0; id < build->in_memory; id++)
	{
		uint32		node = build->old_of_new[id];

		memcpy(item, &graph->factors[node], factor_bytes);
		memcpy(item + factor_bytes, knn_graph_code(graph, node), code_bytes);
		KnnColumnWriterAppend(writer, item);
	}
	pfree(item);
}

static void
write_codes(HnswBuild *build)
{
	KnnColumnWriter writer;

	KnnColumnWriterBegin(&writer, build->index, build->columns, KNN_COLUMN_CODE, &build->next_block);
	if (build->has_codes)
		KnnBuildWriteTakenCodes(build, &writer);
	else if (build->external || build->shape.encoding != build->graph.encoder.encoding)
		make_codes(build, &writer);
	else
		copy_codes(build, &writer);
	KnnColumnWriterEnd(&writer);
}

/* The metapage tells the extents. */
static void
write_meta(HnswBuild *build, const DuplicateLists *lists)
{
	const knn_graph *graph = &build->graph;
	Buffer		buffer = KnnMetaPageBegin(build->index, &build->shape);
	KnnMetaPage *meta = (KnnMetaPage *) KnnPageContents(BufferGetPage(buffer));

	/* codebooks of a model are there before any vector is */
	if (build->code_centre)
		KnnMetaAddExtent(meta, build->columns, KNN_GROUP_CENTRE, KnnCentreItems(&build->shape));
	if (build->in_memory > 0)
	{
		meta->entry = KnnBuildId(build, graph->entry);
		meta->entry_level = graph->entry_level;
		KnnMetaAddExtent(meta, build->columns, KNN_GROUP_NODE, build->in_memory);
		KnnMetaAddExtent(meta, build->columns, KNN_GROUP_UPPER, graph->nupper);
		KnnMetaAddExtent(meta, build->columns, KNN_GROUP_CHAIN, count_chain_items(build, lists));
	}
	build->blocks = KnnMetaPageEnd(buffer);
}

/*
 * The columns follow the metapage in the order of its extents; each column must end
 * where the next begins.
 */
void
KnnBuildWritePages(HnswBuild *build)
{
	DuplicateLists lists;

	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, KNN_HNSW_PHASE_WRITE);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, 0);
	list_duplicates(build, &lists);
	write_meta(build, &lists);
	build->next_block = KNN_META_BLOCK + 1;
	KnnReserveBlocks(build->index, build->blocks);
	if (build->code_centre)
		KnnWriteCentre(build->index, build->columns, build->code_centre, build->pq,
					   &build->next_block);
	if (build->in_memory > 0)
	{
		write_tids(build, &lists);
		write_links(build);
		write_codes(build);
		if (build->columns[KNN_COLUMN_VECTOR].width > 0)
			KnnBuildVectorsWrite(&build->read, build->old_of_new, build->in_memory, build->index,
								 build->columns, &build->next_block);
		write_upper(build);
		if (lists.head)
			write_chains(build, &lists);
	}
	if (build->next_block != build->blocks)
		elog(ERROR, "columns of index \"%s\" end at block %u, expected %u",
			 RelationGetRelationName(build->index), build->next_block, build->blocks);
	KnnCheckBuiltBlocks(build->index, build->blocks);
}

/* Insert the vector at a position of the file, for one row. */
static void
insert_kept(HnswBuild *build, uint32 position, ItemPointer tid, bool unchanged)
{
	MemoryContext old = MemoryContextSwitchTo(build->row_context);
	KnnStore   *store = KnnStoreOpen(build->index);
	const void *kept;
	KnnValue	value;

	KnnStoreHold(store, build->row_context);
	kept = KnnBuildVectorsGet(&build->read, position);
	value.stored = build->shape.vectors == KNN_VECTORS_NONE ? NULL : unconstify(void *, kept);
	value.elements = unconstify(void *,
								KnnElementsOfStored(&build->shape, kept,
													palloc(sizeof(float) * build->shape.dim)));
	KnnHnswInsertValue(build->index, store, &value, tid, unchanged);
	MemoryContextSwitchTo(old);
	MemoryContextReset(build->row_context);
}

/* What did not fit into memory goes the way of ordinary inserts. */
void
KnnBuildInsertRest(HnswBuild *build)
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
