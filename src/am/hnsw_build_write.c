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

	KnnColumnWriterBegin(&writer, build->index, &build->columns[KNN_COLUMN_UPPER], KNN_COLUMN_UPPER);
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

/*
 * The graph's codes, or, when the index keeps fewer bits or the graph came
 * without them, codes made anew from the vectors.
 */
static void
write_codes(HnswBuild *build)
{
	const knn_graph *graph = &build->graph;
	uint32		width = build->columns[KNN_COLUMN_CODE].width;
	uint32		factor_bytes = KnnFactorBytes(&build->shape);
	char	   *item = palloc0(width);
	knn_encoder encoder = graph->encoder;
	bool		again = build->external || build->shape.encoding != graph->encoder.encoding;
	float	   *elements = palloc(sizeof(float) * build->shape.dim);
	float	   *scratch = palloc(sizeof(float) * build->shape.dim);
	KnnColumnWriter writer;

	encoder.encoding = build->shape.encoding;
	encoder.centre = build->code_centre;
	encoder.origin = build->code_centre;
	encoder.pq = build->pq;
	KnnColumnWriterBegin(&writer, build->index, &build->columns[KNN_COLUMN_CODE], KNN_COLUMN_CODE);
	for (uint32 id = 0; id < build->in_memory; id++)
	{
		uint32		node = build->old_of_new[id];
		knn_code_factors factors;

		if (again)
		{
			const void *kept = KnnBuildVectorsGet(&build->read, node);

			knn_encode(&encoder, KnnElementsOfStored(&build->shape, kept, elements),
					   &factors, (uint8 *) item + factor_bytes, scratch);
		}
		else
		{
			factors = graph->factors[node];
			memcpy(item + factor_bytes, knn_graph_code(graph, node),
				   KnnCodeSize(&build->shape));
		}
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
		memcpy(item, KnnBuildVectorsGet(&build->read, build->old_of_new[id]), build->kept_size);
		KnnColumnWriterAppend(&writer, item);
		if (id % 1024 == 1023)
			pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, id + 1);
	}
	KnnColumnWriterEnd(&writer);
	pfree(item);
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
void
KnnBuildWritePages(HnswBuild *build)
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
	/* codebooks of a model are there before any vector is */
	if (build->code_centre)
		add_extent(meta, build->columns, KNN_GROUP_CENTRE, KnnCentreItems(&build->shape));
	if (build->in_memory > 0)
	{
		meta->entry = KnnBuildId(build, graph->entry);
		meta->entry_level = graph->entry_level;
		add_extent(meta, build->columns, KNN_GROUP_NODE, build->in_memory);
		add_extent(meta, build->columns, KNN_GROUP_UPPER, graph->nupper);
		add_extent(meta, build->columns, KNN_GROUP_CHAIN, count_chain_items(build, &lists));
	}
	KnnPageCover(BufferGetPage(buffer), offsetof(KnnMetaPage, extents) +
				 sizeof(KnnMetaExtent) * meta->nextents);
	expected = meta->nblocks;
	MarkBufferDirty(buffer);
	UnlockReleaseBuffer(buffer);

	if (build->code_centre)
		KnnWriteCentre(build->index, build->columns, build->code_centre, build->pq);
	if (build->in_memory > 0)
	{
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
