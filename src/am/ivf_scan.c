/*
 * ivf_scan.c
 *		Ordered scans of a knn_ivf index.
 *
 * The lists are queued by the distance of their centroids from the query.  Those of
 * the nprobes nearest are read in full: every row of them becomes a candidate with
 * its estimated distance, and ranking.h returns the candidates in the order of their
 * exact distances.  When more rows are wanted, as many lists as have been read are
 * read next, until none is left or knn.max_scan_tuples rows have been looked at.
 *
 * A scan that is asked for many rows, because a filter rejects most, would return the
 * farthest rows of the lists it has read before the nearest of others, which then come
 * too late.  So beyond the first rows one is returned only when all lists whose
 * centroid is nearer than it have been read: rows of a list are hardly ever nearer
 * than its centroid, which they lie around at right angles to the query.
 *
 * A candidate is its place in an array of rows: TID and vector id, copied with the
 * page locked.  No lock is held, and nothing pinned, between calls; ivf.h tells why
 * that is safe when VACUUM removes the row meanwhile.
 */
#include "postgres.h"

#include "am/ivf.h"

#include "am/heap_hint.h"
#include "am/options.h"
#include "am/queue.h"
#include "am/ranking.h"
#include "am/rerank.h"
#include "am/scan.h"
#include "cache/counters.h"
#include "compat.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/float.h"
#include "utils/memutils.h"

/* Codes that are scored together. */
#define SCORED_TOGETHER 64

/* Rows that are returned from the first nprobes lists alone, if these have enough. */
#define FIRST_ROWS 64

/* Candidates of the nearest list that are put in order. */
#define SELECTED_ROWS 64

/* Vectors and rows requested from memory together: LIMIT 10 needs about that many. */
#define PREFETCHED_ROWS 12

typedef struct IvfRow
{
	ItemPointerData tid;
	uint32		id;				/* of its vector */
} IvfRow;

typedef struct IvfScan
{
	KnnScan		base;
	KnnStore   *store;
	KnnIvfReader reader;
	void	   *rotated;		/* the query */
	knn_query	query;			/* about the centroid of a list */

	KnnQueue	lists;			/* not probed yet */
	uint32		nprobed;
	uint32		first_rows;		/* returned before other lists are looked at */

	IvfRow	   *rows;			/* candidates */
	uint32		nrows;
	uint32		rows_room;

	KnnRanking	ranking;
	bool		selected;		/* the nearest candidates are in order */
	KnnQueue	estimates;		/* of a two-phase search: not in the first pass yet */
	uint32		nqueued;		/* candidates that have left it */
	bool		rows_requested;	/* prefetch_rows has been called */
} IvfScan;

/* ---- reading lists ---- */

static void
reserve_rows(IvfScan *so, uint32 n)
{
	uint64		room = Max(so->rows_room, 1024);

	if (so->rows_room - so->nrows >= n)
		return;
	while (room - so->nrows < n)
		room *= 2;
	if (room > UINT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a scan cannot look at more than %u rows", UINT32_MAX)));
	if (so->rows == NULL)
		so->rows = MemoryContextAllocHuge(so->base.context, mul_size(sizeof(IvfRow), room));
	else
		so->rows = repalloc_huge(so->rows, mul_size(sizeof(IvfRow), room));
	so->rows_room = (uint32) room;
}

/* The last n rows are candidates with these distances and bounds. */
static void
add_candidates(IvfScan *so, uint32 n, float *distances, const float *errors)
{
	uint32		first = so->nrows - n;

	if (so->ranking.oversample == 0)
	{
		KnnRankingAddMany(&so->ranking, first, n, distances, errors);
		return;
	}
	for (uint32 i = 0; i < n; i++)
	{
		if (isnan(distances[i]))
			distances[i] = get_float4_infinity();
	}
	KnnQueuePushMany(&so->estimates, distances, first, n);
}

/* The entries of a block that has codes.  The page is locked. */
static void
score_block(IvfScan *so, const KnnIvfBlock *block)
{
	const KnnIvfLayout *layout = &so->reader.layout;
	const ItemPointerData *tids = KnnIvfTids(block);
	const knn_code_factors *factors[SCORED_TOGETHER];
	const uint8 *codes[SCORED_TOGETHER];
	float		distances[SCORED_TOGETHER];
	float		errors[SCORED_TOGETHER];

	for (uint32 start = 0; start < block->nentries; start += SCORED_TOGETHER)
	{
		uint32		n = Min(block->nentries - start, SCORED_TOGETHER);
		uint32		live = 0;
		IvfRow	   *rows = so->rows + so->nrows;

		for (uint32 i = 0; i < n; i++)
		{
			factors[i] = layout->factors ? &KnnIvfFactors(block, layout)[start + i] : NULL;
			codes[i] = KnnIvfCode(block, layout, start + i);
		}
		knn_query_scores(&so->query, factors, codes, n, distances);
		for (uint32 i = 0; i < n; i++)
		{
			if (unlikely(!ItemPointerIsValid(&tids[start + i])))
				continue;		/* removed */
			rows[live].tid = tids[start + i];
			rows[live].id = layout->has_ids ? KnnIvfIds(block, layout)[start + i] : 0;
			distances[live] = distances[i];
			errors[live++] = knn_query_error(&so->query, factors[i], distances[i]);
		}
		so->nrows += live;
		add_candidates(so, live, distances, errors);
	}
}

/* The entries of a block whose codes are elsewhere: a copy of it. */
static void
score_wide(IvfScan *so, const KnnIvfBlock *block)
{
	KnnStore   *store = so->store;
	const ItemPointerData *tids = KnnIvfTids(block);
	const uint32 *ids = KnnIvfIds(block, &so->reader.layout);

	for (uint32 i = 0; i < block->nentries; i++)
	{
		const KnnCodeItem *item;
		const knn_code_factors *factors;
		float		distance;
		float		error;
		Buffer		buffer;

		if (!ItemPointerIsValid(&tids[i]))
			continue;
		CHECK_FOR_INTERRUPTS();
		item = KnnStoreReadFixed(store, so->base.scan->indexRelation, KNN_COLUMN_CODE, ids[i],
								 so->reader.scratch, &buffer);
		factors = KnnCodeFactors(store, item);
		distance = knn_query_score(&so->query, factors, KnnCodeBytes(store, item));
		error = knn_query_error(&so->query, factors, distance);
		if (BufferIsValid(buffer))
			ReleaseBuffer(buffer);
		so->rows[so->nrows].tid = tids[i];
		so->rows[so->nrows++].id = ids[i];
		add_candidates(so, 1, &distance, &error);
	}
}

static void
read_list(IvfScan *so, uint32 list)
{
	KnnIvfReader *reader = &so->reader;
	uint32		next;
	uint32		steps = 0;

	KnnIvfSelect(reader, list);
	if (so->nprobed == 0)
		knn_query_prepare_rotated(&so->query, &reader->encoder, so->rotated,
								  reader->q8, reader->qf);
	else
		knn_query_move_rotated(&so->query, &reader->encoder, so->rotated,
							   reader->q8, reader->qf);
	for (next = KnnIvfFirstBlock(reader, list); next != KNN_IVF_NO_BLOCK;)
	{
		Buffer		buffer = KnnIvfPinBlock(reader, next - 1);
		PGAlignedBlock copy;
		const KnnIvfBlock *block;

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		block = KnnIvfCheckBlock(reader, BufferGetPage(buffer), BufferGetBlockNumber(buffer), list);
		next = block->next;
		reserve_rows(so, block->nentries);
		if (reader->layout.has_codes)
			score_block(so, block);
		else
			memcpy(copy.data, block, reader->layout.end);
		UnlockReleaseBuffer(buffer);
		if (!reader->layout.has_codes)
			score_wide(so, (const KnnIvfBlock *) copy.data);
		if (steps++ > so->store->capacity[KNN_GROUP_BLOCK])
			KnnReportDamage(reader->index, KNN_META_BLOCK,
							psprintf("The blocks of list %u have a cycle.", list));
	}
}

/* Where candidates go. */
static KnnQueue *
candidates(IvfScan *so)
{
	return so->ranking.oversample > 0 ? &so->estimates : &so->ranking.queue;
}

/* Read the nearest n lists that have not been read; false when there are none. */
static bool
probe(IvfScan *so, uint32 n)
{
	uint32		done = 0;

	while (done < n && KnnQueueHasFirst(&so->lists))
	{
		uint32		list = so->lists.items[0].id;

		KnnQueuePop(&so->lists);
		read_list(so, list);
		so->nprobed++;
		done++;
		/* what is nearest of the nearest list tells what is worth ordering */
		if (!so->selected && so->nrows > 0)
		{
			KnnQueueSelect(candidates(so), SELECTED_ROWS);
			so->selected = true;
		}
	}
	return done > 0;
}

static void
queue_lists(IvfScan *so, uint32 nprobes)
{
	uint32		nlists = KnnIvfNlists(so->store);
	float	   *distances = MemoryContextAllocHuge(so->base.context, mul_size(sizeof(float), Max(nlists, 1)));

	KnnIvfScoreLists(&so->reader, so->rotated, false, distances);
	KnnQueueInit(&so->lists, so->base.context);
	KnnQueueCollect(&so->lists);
	for (uint32 i = 0; i < nlists; i++)
	{
		KnnQueueItem item = {
			.key = isnan(distances[i]) ? get_float4_infinity() : distances[i],
			.id = KnnIvfFirstList(so->store) + i
		};

		KnnQueuePush(&so->lists, item);
	}
	KnnQueueSelect(&so->lists, nprobes);
	pfree(distances);
}

/* ---- what the ranking asks for ---- */

static bool
may_read_more(const IvfScan *so)
{
	return knn_max_scan_tuples < 0 || so->nrows < (uint32) knn_max_scan_tuples;
}

static bool
more_rows(void *search)
{
	IvfScan    *so = search;

	return may_read_more(so) && probe(so, Max(so->nprobed, 1));
}

static bool
nearer_list(void *search, float distance)
{
	IvfScan    *so = search;

	return so->ranking.nreturned >= so->first_rows && KnnQueueHasFirst(&so->lists) &&
		so->lists.items[0].key < distance && may_read_more(so) && probe(so, 1);
}

static void
first_pass(void *search, uint32 pass)
{
	IvfScan    *so = search;

	while (so->nqueued < pass)
	{
		if (!KnnQueueHasFirst(&so->estimates))
		{
			if (more_rows(so))
				continue;
			return;
		}
		KnnRankingAdd(&so->ranking, so->estimates.items[0].id, so->estimates.items[0].key, 0);
		KnnQueuePop(&so->estimates);
		so->nqueued++;
	}
}

/*
 * Exact distance of the queue's first row, false when it is not visible; those behind
 * it are read ahead when they have to come from disk.
 */
static bool
exact_distance(void *search, uint32 number, float *distance)
{
	IvfScan    *so = search;
	const IvfRow *row = &so->rows[number];

	if (KnnRerankWantsAhead(&so->base.rerank, row->id))
	{
		const KnnQueue *queue = &so->ranking.queue;
		uint32		ids[KNN_RERANK_AHEAD];
		int			n = 0;

		/* a heap's front is nearly sorted */
		for (uint32 i = 0; i < queue->n && n < KNN_RERANK_AHEAD; i++)
		{
			if (!queue->items[i].exact)
				ids[n++] = so->rows[queue->items[i].id].id;
		}
		KnnRerankAhead(&so->base.rerank, ids, n);
	}
	if (!KnnTidIsPossible(&row->tid))
		KnnReportDamage(so->base.scan->indexRelation, KNN_META_BLOCK, "An entry has an impossible TID.");
	return KnnRerankRow(&so->base.rerank, row->id, &row->tid, distance);
}

/*
 * Request what the first rows will need: full vectors.  A heap's front is nearly
 * sorted.
 */
static void
prefetch_first(IvfScan *so)
{
	uint32		n = Min(so->ranking.queue.n, PREFETCHED_ROWS);

	if (so->ranking.exact)
		return;
	for (uint32 i = 0; i < n; i++)
		KnnRerankPrefetch(&so->base.rerank, so->rows[so->ranking.queue.items[i].id].id);
}

/* Request the pages of the rows that will probably be returned after the first. */
static void
prefetch_rows(IvfScan *so)
{
	uint32		n = Min(so->ranking.queue.n, PREFETCHED_ROWS);

	for (uint32 i = 0; i < n; i++)
		KnnHeapHintPrefetch(so->base.scan, &so->rows[so->ranking.queue.items[i].id].tid);
}

/* ---- the scan ---- */

static void
start_scan(IndexScanDesc scan, IvfScan *so)
{
	Relation	index = scan->indexRelation;
	void	   *query;
	uint32		nprobes;

	KnnScanCheck(scan);
	so->store = KnnStoreOpen(index);
	KnnStoreHold(so->store, so->base.context);
	KnnIvfReaderInit(&so->reader, index, so->store);
	query = KnnScanQuery(scan, &so->store->shape);
	so->rotated = palloc(KnnElementsSize(&so->store->shape));
	knn_encoder_rotate(&so->store->encoder, query, so->rotated);

	KnnRankingInit(&so->ranking, so->base.context, so, &so->store->shape);
	so->ranking.more = more_rows;
	so->ranking.look_ahead = nearer_list;
	so->ranking.first_pass = first_pass;
	so->ranking.distance = exact_distance;
	KnnQueueInit(&so->estimates, so->base.context);
	if (!so->ranking.exact)
		KnnRerankInit(&so->base.rerank, scan, so->store, query);

	KnnCountIndexScan(scan);
	KnnCountSearch();
	nprobes = knn_nprobes > 0 ? knn_nprobes : KnnIvfNprobes(index);
	KnnQueueCollect(candidates(so));
	queue_lists(so, nprobes);
	(void) probe(so, nprobes);
	so->first_rows = Min(FIRST_ROWS, so->nrows / 4);
	prefetch_first(so);
	so->base.started = true;
}

/* Set the TID of the next row; false at the end. */
static bool
next_row(IndexScanDesc scan)
{
	IvfScan    *so = scan->opaque;
	MemoryContext old = MemoryContextSwitchTo(so->base.context);
	uint32		number;
	bool		found;

	if (so->base.started)
		KnnHeapHintLearn(scan);
	else
		start_scan(scan, so);
	found = KnnRankingNext(&so->ranking, &number);
	if (found)
	{
		if (!KnnTidIsPossible(&so->rows[number].tid))
			KnnReportDamage(scan->indexRelation, KNN_META_BLOCK, "An entry has an impossible TID.");
		scan->xs_heaptid = so->rows[number].tid;
		if (!so->rows_requested)
		{
			so->rows_requested = true;
			prefetch_rows(so);
		}
	}
	MemoryContextSwitchTo(old);
	return found;
}

IndexScanDesc
knn_ivf_beginscan(Relation index, int nkeys, int norderbys)
{
	return KnnScanBegin(index, nkeys, norderbys, sizeof(IvfScan), next_row);
}
