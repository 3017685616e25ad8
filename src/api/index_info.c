/*
 * index_info.c
 *		knn_index_info(index): what an index is, and what state it is in.
 *
 * Of a knn_ivf index reads all blocks of lists (info_lists.c); its places are what
 * nodes are to knn_hnsw, and those emptied its tombstones.
 *
 * Otherwise reads the metapage and the columns tid, links and chain in full, some 160 bytes
 * a node at m = 16, and at most a thousand vectors.  AccessShareLock; works on a
 * standby and while others write, when the numbers are of slightly different
 * moments.
 *
 * Who may read the table, owns it, or is a member of pg_stat_scan_tables (which
 * pg_monitor is) may call this: it tells sizes and counts, no values.
 */
#include "postgres.h"

#include <math.h>

#include "am/value.h"
#include "api/estimate.h"
#include "api/index_open.h"

#include "access/htup_details.h"
#include "am/ivf.h"
#include "am/options.h"
#include "am/shape.h"
#include "api/info_lists.h"
#include "catalog/pg_type_d.h"
#include "core/rotation.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "store/store.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_index_info);

/* Vectors that the drift of the centre is estimated from. */
#define DRIFT_SAMPLE 1000

typedef struct IndexInfoScan
{
	Relation	index;
	KnnStore   *store;
	BufferAccessStrategy strategy;
	BlockNumber nblocks;		/* of the relation */

	/* counts */
	uint64		nodes;			/* written */
	uint64		tombstones;
	uint64		rows;
	uint64		duplicates;
	uint64		levels[KNN_MAX_LEVEL + 1];
	uint64		links;
	uint8	   *flags;			/* by node */
	uint32		nflags;
	uint64		blocks[KNN_NCOLUMNS];	/* that hold items */
	KnnListCounts lists;		/* of knn_ivf */
} IndexInfoScan;

#define NODE_WRITTEN	1
#define NODE_LIVE		2

/* Called with a page's contents and the ids of the items written in it. */
typedef void (*page_function) (IndexInfoScan *info, const char *contents,
							   uint32 first, uint32 nitems);

/*
 * Copy each page that has items of a column whose items do not cross pages, and
 * call the function with it.
 */
static void
each_page(IndexInfoScan *info, KnnColumn column, page_function function)
{
	KnnStore   *store = info->store;
	const KnnColumnShape *shape = &store->columns[column];
	uint32		used = store->used[shape->group];

	for (uint32 e = 0; e < store->nextents[shape->group]; e++)
	{
		KnnExtent	extent = store->extents[shape->group][e];

		for (uint32 at = 0; at < extent.nitems && extent.first + at < used; at += shape->per_page)
		{
			uint32		first = extent.first + at;
			BlockNumber block = KnnStoreLocate(store, info->index, column, first).block;
			uint32		n = Min(Min(shape->per_page, extent.nitems - at), used - first);
			PGAlignedBlock page;
			Buffer		buffer;
			uint32		covered;

			CHECK_FOR_INTERRUPTS();
			if (block >= info->nblocks)
				break;
			buffer = ReadBufferExtended(info->index, MAIN_FORKNUM, block, RBM_NORMAL, info->strategy);
			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			memcpy(page.data, BufferGetPage(buffer), BLCKSZ);
			UnlockReleaseBuffer(buffer);
			if (PageIsNew(page.data))
				continue;		/* given out, not written yet */
			KnnPageCheck(info->index, block, page.data, column);
			covered = ((PageHeader) page.data)->pd_lower - MAXALIGN(SizeOfPageHeaderData);
			function(info, KnnPageContents(page.data), first, Min(n, covered / shape->width));
		}
	}
}

static void
count_tids(IndexInfoScan *info, const char *contents, uint32 first, uint32 nitems)
{
	const KnnTidItem *items = (const KnnTidItem *) contents;

	for (uint32 i = 0; i < nitems && first + i < info->nflags; i++)
	{
		if (!(items[i].flags & KNN_TID_WRITTEN))
			continue;
		info->nodes++;
		info->rows += Min(items[i].ntids, KNN_INLINE_TIDS);
		info->flags[first + i] = NODE_WRITTEN;
		if (items[i].ntids > 0)
			info->flags[first + i] |= NODE_LIVE;
	}
}

/* Chains come after tids: a node may have rows in its chain alone. */
static void
count_chains(IndexInfoScan *info, const char *contents, uint32 first, uint32 nitems)
{
	const KnnChainItem *items = (const KnnChainItem *) contents;

	for (uint32 i = 0; i < nitems; i++)
	{
		uint32		owner = items[i].owner;

		info->rows += Min(items[i].ntids, KNN_CHAIN_TIDS);
		if (items[i].ntids > 0 && owner < info->nflags && (info->flags[owner] & NODE_WRITTEN))
			info->flags[owner] |= NODE_LIVE;
	}
}

static void
count_links(IndexInfoScan *info, const char *contents, uint32 first, uint32 nitems)
{
	uint32		width = info->store->columns[KNN_COLUMN_LINKS].width;

	for (uint32 i = 0; i < nitems && first + i < info->nflags; i++)
	{
		const KnnLinksItem *item = (const KnnLinksItem *) (contents + (Size) width * i);

		if (!(info->flags[first + i] & NODE_WRITTEN))
			continue;
		info->links += item->nlinks;
		info->levels[Min(item->level, KNN_MAX_LEVEL)]++;
	}
}

/* Blocks of a column that hold items in use, as far as the file goes. */
static uint64
count_blocks(IndexInfoScan *info, KnnColumn column)
{
	KnnStore   *store = info->store;
	const KnnColumnShape *shape = &store->columns[column];
	uint32		used = store->used[shape->group];
	uint64		blocks = 0;

	for (uint32 e = 0; e < store->nextents[shape->group]; e++)
	{
		const KnnExtent *extent = &store->extents[shape->group][e];
		BlockNumber start = extent->blocks[column - shape->first_column];
		BlockNumber n;

		if (extent->first >= used)
			break;
		n = KnnColumnBlocks(shape, Min(extent->nitems, used - extent->first));
		if (start < info->nblocks)
			blocks += Min(n, info->nblocks - start);
	}
	return blocks;
}

/*
 * How far the mean of the vectors has moved from the centre that codes are
 * relative to, as a share of the vectors' root mean square distance from that
 * centre: 0 is perfect, and towards 1 the codes spend their bits on an offset that
 * all vectors share.  The mean is estimated from nodes at even steps, and what a
 * sample's mean is expected to miss by chance is taken off.  Negative: unknown.
 */
static double
centre_drift(IndexInfoScan *info)
{
	KnnStore   *store = info->store;
	uint32		dim = store->shape.dim;
	uint64		nlive = info->nodes - info->tombstones;
	uint64		step = nlive / DRIFT_SAMPLE + 1;
	uint64		seen = 0;
	uint32		n = 0;
	double	   *sum;
	float	   *mean;
	float	   *scratch;
	float	   *item;
	double		squares = 0;	/* of all |x| */
	double		mean2 = 0;
	double		centre2 = 0;
	double		product = 0;
	double		from_centre;	/* mean square distance from the centre */
	double		variance;
	double		drift2;

	if (nlive == 0 || !knn_encoding_is_float(store->shape.encoding) ||
		store->shape.vectors == KNN_VECTORS_NONE)
		return -1;
	sum = palloc0(sizeof(double) * dim);
	mean = palloc(sizeof(float) * dim);
	scratch = palloc(sizeof(float) * dim);
	item = palloc(sizeof(float) * dim);
	for (uint32 node = 0; node < info->nflags; node++)
	{
		Buffer		buffer;
		const float *v;
		const void *stored;

		if (!(info->flags[node] & NODE_LIVE) || seen++ % step != 0)
			continue;
		CHECK_FOR_INTERRUPTS();
		stored = KnnStoreReadFixed(store, info->index, KNN_COLUMN_VECTOR, node, item, &buffer);
		v = KnnElementsOfStored(&store->shape, stored, scratch);
		for (uint32 i = 0; i < dim; i++)
		{
			sum[i] += v[i];
			squares += (double) v[i] * v[i];
		}
		if (BufferIsValid(buffer))
			ReleaseBuffer(buffer);
		n++;
	}
	for (uint32 i = 0; i < dim; i++)
		mean[i] = (float) (sum[i] / n);
	if (store->encoder.signs)
		knn_rotation_apply(store->encoder.signs, mean, dim);
	for (uint32 i = 0; i < dim; i++)
	{
		double		c = store->encoder.centre ? store->encoder.centre[i] : 0;

		mean2 += (double) mean[i] * mean[i];
		centre2 += c * c;
		product += mean[i] * c;
	}

	/* the rotation leaves lengths as they are, so only the mean is rotated */
	from_centre = squares / n - 2 * product + centre2;
	drift2 = mean2 - 2 * product + centre2;
	variance = n > 1 ? (squares / n - mean2) * n / (n - 1) : 0;
	if (nlive > n)
		drift2 -= variance / n * (1.0 - (double) n / nlive);
	pfree(sum);
	pfree(mean);
	pfree(scratch);
	if (!isfinite(from_centre) || !isfinite(drift2))
		return -1;
	/* all vectors at the centre, but for rounding */
	if (from_centre <= 1e-12 * (squares / n))
		return 0;
	drift2 /= from_centre;
	/* nothing that rounding of the mean could be is called drift */
	return drift2 > 1e-10 ? Min(sqrt(drift2), 1.0) : 0;
}

static void
scan_index(IndexInfoScan *info)
{
	KnnStore   *store = info->store;

	info->nflags = store->used[KNN_GROUP_NODE];
	info->flags = MemoryContextAllocExtended(CurrentMemoryContext, Max(info->nflags, 1),
											 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	if (store->shape.method == KNN_METHOD_IVF)
	{
		KnnCountLists(info->index, store, info->strategy, &info->lists);
		info->rows = info->lists.rows;
		info->nodes = info->lists.places;
		info->tombstones = info->lists.places - info->lists.rows;
		for (int column = KNN_COLUMN_TID; column < KNN_NCOLUMNS; column++)
			info->blocks[column] = count_blocks(info, (KnnColumn) column);
		return;
	}
	each_page(info, KNN_COLUMN_TID, count_tids);
	each_page(info, KNN_COLUMN_CHAIN, count_chains);
	each_page(info, KNN_COLUMN_LINKS, count_links);
	for (uint32 node = 0; node < info->nflags; node++)
		info->tombstones += info->flags[node] == NODE_WRITTEN;
	for (int column = KNN_COLUMN_TID; column < KNN_HNSW_COLUMNS_END; column++)
		info->blocks[column] = count_blocks(info, (KnnColumn) column);
}

/* Nodes whose highest level is 0, 1, ..., up to the highest there is. */
static Datum
level_counts(IndexInfoScan *info)
{
	Datum		counts[KNN_MAX_LEVEL + 1];
	int			n = 0;

	for (int level = 0; level <= KNN_MAX_LEVEL; level++)
	{
		counts[level] = Int64GetDatum((int64) info->levels[level]);
		if (info->levels[level] > 0)
			n = level + 1;
	}
	return PointerGetDatum(construct_array(counts, n, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* ---- the row that is returned ---- */

enum
{
	METHOD, SPACE, DATA_TYPE, DIMENSION, M, EF_CONSTRUCTION, EF_SEARCH,
	NLIST, NPROBES, LISTS, LONGEST_LIST, ENCODER, PQ_M, CODE_SIZE, MODEL_ID,
	COMPRESSION, MODE, STORE_VECTORS, REMOTE_BUILD, REMOTE_SIZE_MIN,
	VERSION, ROWS, NODES, DUPLICATES, TOMBSTONES, TOMBSTONE_SHARE, UNWRITTEN,
	ENTRY, LEVELS, DEGREE, DRIFT, LIST_DRIFT, INDEX_BYTES, META_BYTES, TID_BYTES, LINKS_BYTES,
	CODE_BYTES, VECTOR_BYTES, UPPER_BYTES, CHAIN_BYTES, CENTRE_BYTES,
	BLOCK_BYTES, LIST_BYTES, UNUSED_BYTES, MEMORY_BYTES,
	ESTIMATED_MEMORY, NCOLUMNS
};

typedef struct InfoRow
{
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS];
} InfoRow;

static void
set_shape(InfoRow *row, const IndexInfoScan *info)
{
	const KnnShape *shape = &info->store->shape;
	bool		ivf = shape->method == KNN_METHOD_IVF;
	const char *model_id;

	row->values[METHOD] = CStringGetTextDatum(ivf ? "ivf" : "hnsw");
	row->values[SPACE] = CStringGetTextDatum(KnnSpaceName(shape->space));
	row->values[DATA_TYPE] = CStringGetTextDatum(KnnDataTypeName(shape->data_type));
	row->values[DIMENSION] = Int32GetDatum((int32) shape->dim);
	row->values[M] = Int32GetDatum((int32) shape->m);
	row->values[EF_CONSTRUCTION] = Int32GetDatum((int32) shape->ef_construction);
	/* this one can be changed: what scans use */
	row->values[EF_SEARCH] = Int32GetDatum(ivf ? 0 : KnnHnswEfSearch(info->index, shape));
	row->nulls[M] = row->nulls[EF_CONSTRUCTION] = row->nulls[EF_SEARCH] = ivf;
	row->values[NLIST] = Int32GetDatum((int32) shape->nlist);
	row->values[NPROBES] = Int32GetDatum(ivf ? KnnIvfNprobes(info->index) : 0);
	row->values[LISTS] = Int32GetDatum((int32) KnnIvfNlists(info->store));
	row->values[LONGEST_LIST] = Int64GetDatum((int64) info->lists.longest);
	row->nulls[NLIST] = row->nulls[NPROBES] = row->nulls[LISTS] = row->nulls[LONGEST_LIST] = !ivf;
	row->values[ENCODER] = CStringGetTextDatum(KnnEncodingName(shape));
	row->values[PQ_M] = Int32GetDatum((int32) shape->pq_m);
	row->values[CODE_SIZE] = Int32GetDatum((int32) shape->pq_bits);
	row->nulls[PQ_M] = row->nulls[CODE_SIZE] = shape->encoding != KNN_ENCODING_PQ;
	model_id = ivf ? KnnIvfOptionsOf(info->index).code.model_id : KnnHnswOptionsOf(info->index).code.model_id;
	row->nulls[MODEL_ID] = model_id == NULL;
	if (model_id)
		row->values[MODEL_ID] = CStringGetTextDatum(model_id);
	row->values[COMPRESSION] = CStringGetTextDatum(psprintf("%dx", shape->compression));
	row->nulls[MODE] = shape->mode == KNN_MODE_UNSET;
	if (!row->nulls[MODE])
		row->values[MODE] = CStringGetTextDatum(shape->mode == KNN_MODE_ON_DISK ? "on_disk" : "in_memory");
	/* bytes and bits are their own codes */
	row->values[STORE_VECTORS] = BoolGetDatum(shape->vectors != KNN_VECTORS_NONE ||
											  !knn_encoding_is_float(shape->encoding));
	/* these can be changed too, and count at the next build */
	row->nulls[REMOTE_BUILD] = row->nulls[REMOTE_SIZE_MIN] = ivf;
	if (!ivf)
	{
		KnnHnswOptions options = KnnHnswOptionsOf(info->index);

		row->values[REMOTE_BUILD] = BoolGetDatum(options.remote_build);
		row->values[REMOTE_SIZE_MIN] = Int64GetDatum((int64) options.remote_size_min);
	}
	row->values[VERSION] = Int32GetDatum(KNN_META_VERSION);
}

/* drift is negative where there is none. */
static void
set_contents(InfoRow *row, IndexInfoScan *info, double drift)
{
	const KnnStore *store = info->store;
	bool		ivf = store->shape.method == KNN_METHOD_IVF;

	row->values[ROWS] = Int64GetDatum((int64) info->rows);
	row->values[NODES] = Int64GetDatum((int64) info->nodes);
	row->values[DUPLICATES] = Int64GetDatum((int64) (info->rows - Min(info->rows, info->nodes - info->tombstones)));
	row->values[TOMBSTONES] = Int64GetDatum((int64) info->tombstones);
	row->values[TOMBSTONE_SHARE] = Float8GetDatum(info->nodes ? (double) info->tombstones / info->nodes : 0);
	row->values[UNWRITTEN] = Int64GetDatum((int64) (info->nflags - info->nodes));
	row->values[ENTRY] = Int64GetDatum((int64) store->entry);
	row->nulls[ENTRY] = store->entry == KNN_INVALID_ID;
	row->values[LEVELS] = level_counts(info);
	row->values[DEGREE] = Float8GetDatum(info->nodes ? (double) info->links / info->nodes : 0);
	row->nulls[DEGREE] = info->nodes == 0;
	row->values[DRIFT] = Float8GetDatum(drift);
	row->nulls[DRIFT] = drift < 0;
	row->values[LIST_DRIFT] = Float8GetDatum(info->lists.drift);
	row->nulls[LIST_DRIFT] = !ivf || info->lists.drift < 0;
	/* lists keep equal vectors as they keep others, and there are no links */
	row->nulls[DUPLICATES] = row->nulls[UNWRITTEN] = row->nulls[LEVELS] = ivf;
	row->nulls[ENTRY] |= ivf;
	row->nulls[DEGREE] |= ivf;
}

static void
set_bytes(InfoRow *row, const IndexInfoScan *info)
{
	const KnnStore *store = info->store;
	const KnnShape *shape = &store->shape;
	bool		ivf = shape->method == KNN_METHOD_IVF;
	uint64		covered = 1;	/* the metapage */

	row->values[INDEX_BYTES] = Int64GetDatum((int64) info->nblocks * BLCKSZ);
	row->values[META_BYTES] = Int64GetDatum(BLCKSZ);
	for (int column = KNN_COLUMN_TID; column < KNN_HNSW_COLUMNS_END; column++)
	{
		row->values[TID_BYTES + column - KNN_COLUMN_TID] =
			Int64GetDatum((int64) info->blocks[column] * BLCKSZ);
		row->nulls[TID_BYTES + column - KNN_COLUMN_TID] = ivf && store->columns[column].width == 0;
	}
	for (int column = KNN_COLUMN_TID; column < KNN_NCOLUMNS; column++)
		covered += info->blocks[column];
	row->values[BLOCK_BYTES] = Int64GetDatum((int64) info->blocks[KNN_COLUMN_BLOCK] * BLCKSZ);
	row->values[LIST_BYTES] = Int64GetDatum((int64) (info->blocks[KNN_COLUMN_HEAD] +
													 info->blocks[KNN_COLUMN_COARSE] +
													 info->blocks[KNN_COLUMN_CENTROID]) * BLCKSZ);
	row->nulls[BLOCK_BYTES] = row->nulls[LIST_BYTES] = !ivf;
	row->values[UNUSED_BYTES] = Int64GetDatum((int64) (info->nblocks - Min(covered, info->nblocks)) * BLCKSZ);

	/* what searches read of each node (or pages of lists), without what is left free in pages */
	row->values[MEMORY_BYTES] = Int64GetDatum(ivf ?
											  (int64) (info->blocks[KNN_COLUMN_BLOCK] +
													   info->blocks[KNN_COLUMN_CODE] +
													   info->blocks[KNN_COLUMN_COARSE] +
													   info->blocks[KNN_COLUMN_CENTROID]) * BLCKSZ :
											  (int64) info->nflags *
											  (store->columns[KNN_COLUMN_TID].width +
											   store->columns[KNN_COLUMN_LINKS].width +
											   store->columns[KNN_COLUMN_CODE].width));
	row->values[ESTIMATED_MEMORY] = Int64GetDatum(KnnEstimateIndexMemory(shape, (int64) info->rows));
}

Datum
knn_index_info(PG_FUNCTION_ARGS)
{
	InfoRow		row = {0};
	IndexInfoScan info = {0};
	Relation	heap;
	MemoryContext context;
	MemoryContext old;
	TupleDesc	tupdesc;
	KnnStore   *store;
	double		drift;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (tupdesc->natts != NCOLUMNS)
		elog(ERROR, "return type has %d columns, expected %d", tupdesc->natts, NCOLUMNS);
	info.index = KnnOpenIndex(PG_GETARG_OID(0), AccessShareLock, KNN_ACCESS_READ, &heap);

	context = AllocSetContextCreate(CurrentMemoryContext, "knn index info", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	store = info.store = KnnStoreOpen(info.index);
	KnnStoreHold(store, context);
	/* the store opens what it can read; the estimate takes levels that exist */
	if (!KnnShapePossible(&store->shape))
		KnnReportDamage(info.index, KNN_META_BLOCK, "The metapage's shape is out of range.");
	info.nblocks = RelationGetNumberOfBlocks(info.index);
	info.strategy = GetAccessStrategy(BAS_BULKREAD);
	scan_index(&info);
	drift = store->shape.method == KNN_METHOD_IVF ? -1 : centre_drift(&info);
	MemoryContextSwitchTo(old);

	set_shape(&row, &info);
	set_contents(&row, &info, drift);
	set_bytes(&row, &info);

	MemoryContextDelete(context);
	KnnCloseIndex(info.index, heap);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), row.values, row.nulls)));
}
