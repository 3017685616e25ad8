/*
 * hnsw_scan.c
 *		Ordered scans of a knn_hnsw index.
 *
 * The graph search ranks nodes by estimated distance and finds a beam of them.
 * The nodes of the beam go into a queue keyed by the least their exact distance
 * can be (estimate less bound).  Whenever the queue's first has only an
 * estimate, its exact distance is computed from the full vector and it goes back
 * under that; when the first is exact, nothing behind it can precede it, and its
 * rows are returned.  So rows are ordered by exact distance, and only the few
 * vectors whose bound overlaps are read in full; no k is needed.  (The bound is
 * probable, not certain, where codes are rotated: see core/code.h.)
 *
 * With knn.rescore = on (or knn.oversample_factor set) OpenSearch's two phases are
 * kept instead: row k is returned when the first pass's max(100, k * factor)
 * nearest by estimate have been computed exactly.  With knn.rescore = off rows are
 * ranked by estimates alone.
 *
 * When the queue runs dry and more rows are wanted, the search is widened to
 * twice its width and continues, until the graph is exhausted or
 * knn.max_scan_tuples vectors have been looked at.  A wider search may find a row
 * that is nearer than one returned already, as does a row whose bound failed.
 * Such rows come at the end of the scan, after all others, unless
 * knn.scan_order = relaxed returns them at once.
 *
 * Locks: none is held, and nothing is pinned, between calls.  A node's TIDs are
 * copied when the node is returned.  VACUUM may remove a TID after that and its
 * heap slot may be reused, but then by a row that is too new for the scan's
 * snapshot: only MVCC snapshots are accepted.
 */
#include "postgres.h"

#include "am/hnsw_mirror.h"

#include "access/relscan.h"
#include "am/heap_hint.h"
#include "am/options.h"
#include "am/rerank.h"
#include "am/shape.h"
#include "compat.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/*
 * Share of a distance that its computation in float may be off by.  Bounds that
 * are certain (L1, L-infinity) are so up to rounding only, and a row whose
 * distance turns out to be less than its bound may come too late.
 */
#define ROUNDING 1e-6f

/* Guided search (core/graph_search.h): when, and how much of the width expands. */
#define ROUGH_DIMENSIONS 400
#define GUIDE_SHARE 8

/*
 * Nodes whose vectors are requested from memory together when a search has ended:
 * LIMIT 10 needs about that many.
 */
#define PREFETCHED_NODES 12

/* A node waiting to be returned. */
typedef struct QueueItem
{
	float		key;			/* exact distance, or the least it can be */
	bool		exact;
	uint32		node;
} QueueItem;

typedef struct HnswScan
{
	MemoryContext context;		/* everything below, reset by rescan */
	bool		started;
	bool		has_query;		/* false: ORDER BY NULL */
	KnnStore   *store;
	KnnPageReader reader;
	KnnMirrorReader mirror;		/* in place of the pages, where there is one */
	knn_search *search;
	KnnRerank	rerank;

	/* how exact distances are used */
	bool		exact;			/* not at all: estimates rank, or are exact */
	double		oversample;		/* of the two-phase search, 0: lazily */
	uint32		nreturned;		/* nodes, for the size of the first pass */
	uint32		npopped;		/* nodes, returned or not */
	uint32		ninvisible;		/* of these, without a visible row */
	uint32		beam_queued;	/* places of the beam that have been looked at */
	uint32		live_queued;	/* live nodes in these */

	/* binary heap by key */
	QueueItem  *queue;
	uint32		nqueue;
	uint32		queue_room;

	/* rows of the node being returned */
	ItemPointerData tids[KNN_INLINE_TIDS + KNN_CHAIN_TIDS];
	int			ntids;
	int			next_tid;
	uint32		chain;			/* next chain item + 1 */
	uint32		chain_steps;	/* to tell a cycle in a damaged index */
	uint32		node;

	bool		any_returned;
	float		last_distance;	/* of the node returned last */

	/* nodes found too late for the order, returned at the end of the scan */
	uint32	   *late;
	uint32		nlate;
	uint32		late_room;
	uint32		next_late;

	bool		rows_requested;	/* prefetch_rows has been called */
	bool		swept;			/* nodes out of the search's reach were queued */

	/* queued at the start: nodes newer than a standby's mirror, and its loose ones */
	uint32		tail;
	uint32		tail_end;
	uint32		nloose;
} HnswScan;

/* ---- queue ---- */

static void
queue_push(HnswScan *so, QueueItem item)
{
	QueueItem  *queue;
	uint32		at = so->nqueue;

	if (so->nqueue == so->queue_room)
	{
		uint32		room = so->queue_room ? so->queue_room * 2 : 256;
		Size		size = mul_size(sizeof(QueueItem), room);

		if (so->queue == NULL)
			so->queue = MemoryContextAllocHuge(so->context, size);
		else
			so->queue = repalloc_huge(so->queue, size);
		so->queue_room = room;
	}
	queue = so->queue;
	so->nqueue++;
	while (at > 0 && queue[(at - 1) / 2].key > item.key)
	{
		queue[at] = queue[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	queue[at] = item;
}

/* Put item in the place of the first, and restore the heap. */
static void
queue_replace_first(HnswScan *so, QueueItem item)
{
	QueueItem  *queue = so->queue;
	uint32		n = so->nqueue;
	uint32		at = 0;

	for (;;)
	{
		uint32		child = 2 * at + 1;

		if (child >= n)
			break;
		if (child + 1 < n && queue[child + 1].key < queue[child].key)
			child++;
		if (!(queue[child].key < item.key))
			break;
		queue[at] = queue[child];
		at = child;
	}
	queue[at] = item;
}

static void
queue_pop(HnswScan *so)
{
	if (--so->nqueue > 0)
		queue_replace_first(so, so->queue[so->nqueue]);
}

/* ---- search ---- */

/*
 * Nodes that a two-phase search ranks by exact distance before it returns one
 * more.  When there is no first pass so large, it goes on one by one.
 */
static uint32
first_pass(const HnswScan *so)
{
	return Max(KnnFirstPass(so->nreturned + 1.0, so->oversample) + so->ninvisible,
			   so->npopped + 1);
}

/*
 * Is it one of those that were queued at the start because a standby's mirror does
 * not lead to them?  Others may, and so do pages when the mirror is gone.
 */
static bool
queued_at_start(const HnswScan *so, uint32 id)
{
	const KnnMirrorUseMode *mode = &so->mirror.mode;
	uint32		low = 0;
	uint32		high = so->nloose;

	if (id >= so->tail && id < so->tail_end)
		return true;
	while (low < high)
	{
		uint32		middle = (low + high) / 2;

		if (mode->loose[middle] < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < so->nloose && mode->loose[low] == id;
}

/*
 * Queue the nodes of the beam that were not queued before, nearest first.  In a
 * two-phase search only those of the first pass.
 */
static void
queue_beam(HnswScan *so)
{
	uint32		pass = so->oversample > 0 ? first_pass(so) : UINT32_MAX;

	while (so->beam_queued < so->search->nbeam && so->live_queued < pass)
	{
		knn_candidate *c = &so->search->beam[so->beam_queued++];
		QueueItem	item;

		if (c->flags & KNN_CANDIDATE_DEAD)
			continue;
		so->live_queued++;
		if (c->flags & KNN_CANDIDATE_TAKEN)
			continue;
		c->flags |= KNN_CANDIDATE_TAKEN;
		if (queued_at_start(so, c->id))
			continue;
		item.node = c->id;
		if (c->flags & KNN_CANDIDATE_EXACT)
		{
			item.exact = true;
			item.key = c->error;
			queue_push(so, item);
			continue;
		}
		item.exact = so->exact;
		item.key = so->exact ? c->distance :
			c->distance - c->error - fabsf(c->distance) * ROUNDING;
		if (so->oversample > 0)
			item.key = -get_float4_infinity();	/* exact before any is returned */
		else if (isnan(item.key))
			/* out of the range of float: the exact distance tells */
			item.key = so->exact ? get_float4_infinity() : -get_float4_infinity();
		queue_push(so, item);
	}
}

/*
 * Queue a node that the search has not come upon, if it has rows; read from pages.
 */
static bool
queue_by_number(IndexScanDesc scan, HnswScan *so, uint32 id)
{
	KnnTidItem	tids;
	QueueItem	item = {.node = id};
	float		error;

	if (!KnnStoreCopyIfWritten(so->store, scan->indexRelation, KNN_COLUMN_TID, id, &tids) ||
		!(tids.flags & KNN_TID_WRITTEN) ||
		(tids.ntids == 0 && tids.chain == KNN_NO_CHAIN))
		return false;
	KnnPageReaderScore(&so->reader, &id, 1, &item.key, &error);
	item.exact = so->exact;
	if (!so->exact)
		item.key = -get_float4_infinity();
	queue_push(so, item);
	return true;
}

/*
 * Queue the nodes that the search did not reach although it saw all it could: a
 * later prune may have taken a node's last link.  They are found by their number,
 * so that a scan of the whole index returns every row.
 */
static bool
queue_unreached(IndexScanDesc scan, HnswScan *so)
{
	KnnStore   *store = so->store;
	bool		any = false;

	KnnStoreRefresh(store, scan->indexRelation);
	for (uint32 id = 0; id < store->used[KNN_GROUP_NODE]; id++)
	{
		if (id % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (queued_at_start(so, id) || knn_search_seen(so->search, id))
			continue;
		any |= queue_by_number(scan, so, id);
	}
	return any;
}

/*
 * Queue all nodes that a standby's mirror may not lead to: the loose ones, and those
 * that are newer (cache/mirror.h).  Nodes that come after these belong to rows that
 * the snapshot does not see.
 */
static void
queue_tail(IndexScanDesc scan, HnswScan *so)
{
	so->nloose = so->mirror.mode.nloose;
	for (uint32 i = 0; i < so->nloose; i++)
		(void) queue_by_number(scan, so, so->mirror.mode.loose[i]);
	so->tail = so->mirror.mode.complete;
	so->tail_end = so->store->used[KNN_GROUP_NODE];
	for (uint32 id = so->tail; id < so->tail_end; id++)
		(void) queue_by_number(scan, so, id);
}

/*
 * Request what the first rows will need: full vectors, and where their TIDs are.
 * A heap's front is nearly sorted.
 */
static void
prefetch_first(HnswScan *so)
{
	uint32		n = Min(so->nqueue, PREFETCHED_NODES);

	for (uint32 i = 0; i < n; i++)
	{
		if (!so->exact)
			KnnRerankPrefetch(&so->rerank, so->queue[i].node);
		KnnMirrorReaderPrefetch(&so->mirror, so->queue[i].node);
	}
}

/*
 * Request the pages of the rows that will probably be returned after the first.
 */
static void
prefetch_rows(IndexScanDesc scan, HnswScan *so)
{
	uint32		n = Min(so->nqueue, PREFETCHED_NODES);
	ItemPointerData tid;

	for (uint32 i = 0; i < n; i++)
	{
		if (KnnMirrorReaderTid(&so->mirror, so->queue[i].node, &tid))
			KnnHeapHintPrefetch(scan, &tid);
	}
}

static void
start_search(IndexScanDesc scan, HnswScan *so)
{
	int			width = knn_ef_search > 0 ? knn_ef_search :
		KnnHnswEfSearch(scan->indexRelation, &so->store->shape);
	uint32		entry = so->store->entry;
	uint32		entry_level = so->store->entry_level;

	if (KnnMirrorReaderActive(&so->mirror))
	{
		const KnnMirrorUseMode *mode = &so->mirror.mode;

		if (mode->standby)
			queue_tail(scan, so);
		/* a standby's metapage may be ahead of its mirror */
		if (mode->standby || mode->entry != KNN_INVALID_ID)
		{
			entry = mode->entry;
			entry_level = mode->entry_level;
		}
	}
	if (entry == KNN_INVALID_ID)
		return;
	if (so->oversample > 0)
		width = Max(width, KnnFirstPass(1, so->oversample));
	if (entry_level > 0)
		entry = knn_search_descend(so->search, entry, entry_level, 1);
	if (knn_search_level(so->search, &entry, 1, 0, width) != KNN_OK)
		elog(ERROR, "out of memory");
	KnnMirrorReaderCheck(&so->mirror);
	queue_beam(so);
	prefetch_first(so);
}

/* Look further; false when there is nothing more to find. */
static bool
widen_search(IndexScanDesc scan, HnswScan *so)
{
	uint32		width = so->search->width;

	if (so->search->width == 0)
		return false;			/* there was nowhere to begin */
	if (knn_max_scan_tuples >= 0 && so->search->nscored >= (uint64) knn_max_scan_tuples)
		return false;
	if (knn_search_exhausted(so->search))
	{
		if (so->swept)
			return false;
		so->swept = true;
		return queue_unreached(scan, so);
	}
	width = width > UINT32_MAX / 4 ? width : width * 2;
	if (knn_search_widen(so->search, width) != KNN_OK)
		elog(ERROR, "out of memory");
	KnnMirrorReaderCheck(&so->mirror);
	so->beam_queued = so->live_queued = 0;
	queue_beam(so);
	return true;
}

/*
 * Exact distance of the queue's first node, false when it has no visible row; those
 * behind it are read ahead when they have to come from disk.
 */
static bool
exact_distance(HnswScan *so, float *distance)
{
	uint32		node = so->queue[0].node;

	if (KnnRerankWantsAhead(&so->rerank, node))
	{
		uint32		nodes[KNN_RERANK_AHEAD];
		int			n = 0;

		/* a heap's front is nearly sorted */
		for (uint32 i = 0; i < so->nqueue && n < KNN_RERANK_AHEAD; i++)
		{
			if (!so->queue[i].exact)
				nodes[n++] = so->queue[i].node;
		}
		KnnRerankAhead(&so->rerank, nodes, n);
	}
	return KnnRerankDistance(&so->rerank, node, distance);
}

/*
 * Take over TIDs to be returned.  One that can be none would have the table read
 * a block that cannot be.
 */
static void
take_tids(IndexScanDesc scan, HnswScan *so, const ItemPointerData *tids, int ntids,
		  KnnColumn column, uint32 id)
{
	for (int i = 0; i < ntids; i++)
	{
		if (!ItemPointerIsValid(&tids[i]) ||
			ItemPointerGetBlockNumberNoCheck(&tids[i]) == InvalidBlockNumber)
			KnnReportDamage(scan->indexRelation,
							KnnStoreLocate(so->store, scan->indexRelation, column, id).block,
							psprintf("Item %u of column \"%s\" has an impossible TID.",
									 id, KnnColumnName(column)));
	}
	memcpy(so->tids, tids, sizeof(ItemPointerData) * ntids);
	so->ntids = ntids;
	so->next_tid = 0;
}

/* Take the TIDs of a node; none when it died since the search saw it. */
static void
take_node(IndexScanDesc scan, HnswScan *so, uint32 node)
{
	KnnTidItem	item;

	so->chain = KNN_NO_CHAIN;
	so->node = node;
	if (KnnMirrorReaderTid(&so->mirror, node, &so->tids[0]))
	{
		so->ntids = 1;
		so->next_tid = 0;
		return;
	}
	KnnStoreCopy(so->store, scan->indexRelation, KNN_COLUMN_TID, node, &item);
	if (item.ntids > KNN_INLINE_TIDS)
		KnnReportDamage(scan->indexRelation,
						KnnStoreLocate(so->store, scan->indexRelation, KNN_COLUMN_TID, node).block,
						psprintf("Node %u has an impossible number of TIDs.", node));
	take_tids(scan, so, item.tids, item.ntids, KNN_COLUMN_TID, node);
	so->chain = item.chain;
	so->chain_steps = 0;
}

/* The next TIDs of a node's chain. */
static void
take_chain(IndexScanDesc scan, HnswScan *so)
{
	KnnChainItem item;
	uint32		id = so->chain - 1;

	if (id >= so->store->used[KNN_GROUP_CHAIN])
		KnnStoreRefresh(so->store, scan->indexRelation);
	if (id >= so->store->used[KNN_GROUP_CHAIN] ||
		so->chain_steps++ >= so->store->used[KNN_GROUP_CHAIN])
		KnnReportDamage(scan->indexRelation, KNN_META_BLOCK,
						psprintf("The chain of node %u is damaged at item %u.", so->node, id));
	KnnStoreCopy(so->store, scan->indexRelation, KNN_COLUMN_CHAIN, id, &item);
	if (item.ntids > KNN_CHAIN_TIDS || item.owner != so->node)
		KnnReportDamage(scan->indexRelation,
						KnnStoreLocate(so->store, scan->indexRelation, KNN_COLUMN_CHAIN, id).block,
						psprintf("Item %u is not of the chain of node %u.", id, so->node));
	take_tids(scan, so, item.tids, item.ntids, KNN_COLUMN_CHAIN, id);
	so->chain = item.next;
}

/*
 * Remember a node that should have come before others that were returned.
 */
static void
put_off(HnswScan *so, uint32 node)
{
	if (so->nlate == so->late_room)
	{
		so->late_room = so->late_room ? so->late_room * 2 : 16;
		if (so->late == NULL)
			so->late = palloc(sizeof(uint32) * so->late_room);
		else
			so->late = repalloc_huge(so->late, mul_size(sizeof(uint32), so->late_room));
	}
	so->late[so->nlate++] = node;
}

/* Move on to the next node in order; false at the end. */
static bool
next_node(IndexScanDesc scan, HnswScan *so)
{
	for (;;)
	{
		QueueItem	first;

		CHECK_FOR_INTERRUPTS();
		/* the first pass grows with the rows returned */
		if (so->oversample > 0)
		{
			while (so->search->width < first_pass(so) && widen_search(scan, so))
				;
			queue_beam(so);
		}
		if (so->nqueue == 0)
		{
			if (widen_search(scan, so))
				continue;
			if (so->next_late == so->nlate)
				return false;
			take_node(scan, so, so->late[so->next_late++]);
			return true;
		}
		first = so->queue[0];
		if (!first.exact)
		{
			if (exact_distance(so, &first.key))
			{
				first.exact = true;
				queue_replace_first(so, first);
			}
			else
			{
				/* nothing to return, and no distance to measure others by */
				queue_pop(so);
				so->npopped++;
				so->ninvisible++;
			}
			continue;
		}
		queue_pop(so);
		so->npopped++;

		/* found after farther ones were returned */
		if (so->any_returned && first.key < so->last_distance &&
			knn_scan_order == KNN_SCAN_ORDER_STRICT)
		{
			put_off(so, first.node);
			continue;
		}
		so->any_returned = true;
		so->nreturned++;
		so->last_distance = Max(so->last_distance, first.key);
		take_node(scan, so, first.node);
		return true;
	}
}

/* ---- access method callbacks ---- */

IndexScanDesc
knn_hnsw_beginscan(Relation index, int nkeys, int norderbys)
{
	IndexScanDesc scan = RelationGetIndexScan(index, nkeys, norderbys);
	HnswScan   *so = palloc0(sizeof(HnswScan));

	so->context = AllocSetContextCreate(CurrentMemoryContext, "knn_hnsw scan",
										ALLOCSET_DEFAULT_SIZES);
	scan->opaque = so;
	return scan;
}

void
knn_hnsw_rescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys, int norderbys)
{
	HnswScan   *so = scan->opaque;
	MemoryContext context = so->context;

	if (keys && scan->numberOfKeys > 0)
		memmove(scan->keyData, keys, sizeof(ScanKeyData) * scan->numberOfKeys);
	if (orderbys && scan->numberOfOrderBys > 0)
		memmove(scan->orderByData, orderbys, sizeof(ScanKeyData) * scan->numberOfOrderBys);

	KnnRerankEnd(&so->rerank);
	MemoryContextReset(context);
	memset(so, 0, sizeof(HnswScan));
	so->context = context;
}

/*
 * One bit for each of a few hundred dimensions: most of the beam would have to be
 * computed exactly to rank it, so the search may as well be guided by that.
 */
static bool
estimates_are_rough(const KnnShape *shape)
{
	return shape->encoding == KNN_ENCODING_ROTATED_1 && shape->dim <= ROUGH_DIMENSIONS &&
		shape->vectors != KNN_VECTORS_NONE;
}

/* The reader's exact distance; its state starts the scan's. */
static float
guide_distance(void *state, uint32_t id)
{
	KnnPageReader *reader = state;
	HnswScan   *so = (HnswScan *) ((char *) reader - offsetof(HnswScan, reader));
	float		distance;

	return KnnRerankDistance(&so->rerank, id, &distance) ? distance : get_float4_infinity();
}

static void
start_scan(IndexScanDesc scan, HnswScan *so)
{
	Relation	index = scan->indexRelation;
	MemoryContext old;
	ScanKey		orderby;
	bool		known;
	void	   *query = NULL;

	if (scan->numberOfOrderBys != 1)
		elog(ERROR, "cannot scan knn_hnsw index \"%s\" without an order",
			 RelationGetRelationName(index));
	if (!IsMVCCSnapshot(scan->xs_snapshot))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("knn_hnsw index \"%s\" can be scanned with an MVCC snapshot only",
						RelationGetRelationName(index))));

	old = MemoryContextSwitchTo(so->context);
	so->store = KnnStoreKnown(index);
	known = so->store != NULL && KnnMirrorTells(index, so->store);
	if (!known)
		so->store = KnnStoreOpen(index);
	KnnStoreHold(so->store, so->context);
	so->search = KnnPageReaderInit(&so->reader, index, so->store);

	orderby = &scan->orderByData[0];
	if (!(orderby->sk_flags & SK_ISNULL))
		query = KnnQueryElements(index, &so->store->shape, orderby->sk_argument);

	/*
	 * Every distance to NULL is NULL, and every cosine distance to the zero
	 * vector NaN: all rows are peers, so any order is right.  The search starts
	 * from the origin.
	 */
	if (query == NULL)
		query = palloc0(KnnElementsSize(&so->store->shape));
	KnnPageReaderSetQuery(&so->reader, query);

	so->exact = knn_rescore == KNN_RESCORE_OFF || !KnnRerankPossible(&so->store->shape);
	if (!so->exact)
	{
		KnnRerankInit(&so->rerank, scan, so->store, query);
		if (knn_oversample_factor > 0)
			so->oversample = knn_oversample_factor;
		else if (knn_rescore == KNN_RESCORE_ON)
			so->oversample = Max(KnnDefaultOversample(&so->store->shape), KNN_MIN_OVERSAMPLE);
		else if (estimates_are_rough(&so->store->shape))
		{
			so->search->guide_share = GUIDE_SHARE;
			so->search->reader.exact = guide_distance;
		}
	}
	so->last_distance = -get_float4_infinity();

	KnnCountIndexScan(scan);
	if (!KnnMirrorReaderBegin(&so->mirror, &so->reader, so->search, so->context, true) && known)
		KnnStoreRefresh(so->store, index);	/* the mirror is gone by now */
	start_search(scan, so);
	so->started = true;
	MemoryContextSwitchTo(old);
}

/* Set the TID of the next row; false at the end. */
static bool
next_row(IndexScanDesc scan, HnswScan *so)
{
	MemoryContext old;

	if (so->started)
	{
		KnnHeapHintLearn(scan);
		KnnMirrorReaderResume(&so->mirror);
	}
	else
		start_scan(scan, so);

	old = MemoryContextSwitchTo(so->context);
	while (so->next_tid >= so->ntids)
	{
		if (so->chain != KNN_NO_CHAIN)
			take_chain(scan, so);
		else if (!next_node(scan, so))
		{
			KnnMirrorReaderPause(&so->mirror);
			MemoryContextSwitchTo(old);
			return false;
		}
	}
	if (!so->rows_requested)
	{
		so->rows_requested = true;
		prefetch_rows(scan, so);
	}
	if (so->nqueue > 0)
	{
		ItemPointerData next;

		if (KnnMirrorReaderTid(&so->mirror, so->queue[0].node, &next))
			KnnHeapHintPrefetchTuple(scan, &next);
	}
	KnnMirrorReaderPause(&so->mirror);
	MemoryContextSwitchTo(old);

	scan->xs_heaptid = so->tids[so->next_tid++];
	return true;
}

bool
knn_hnsw_gettuple(IndexScanDesc scan, ScanDirection direction)
{
	volatile bool found = false;

	/* no order by distance runs backwards */
	Assert(ScanDirectionIsForward(direction));

	PG_TRY();
	{
		found = next_row(scan, scan->opaque);
	}
	PG_CATCH();
	{
		KnnCountError(KNN_COUNT_GRAPH_QUERY_ERROR);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (!found)
		return false;

	KnnHeapHintPin(scan, &scan->xs_heaptid);
	scan->xs_recheck = false;
	scan->xs_recheckorderby = false;
	return true;
}

void
knn_hnsw_endscan(IndexScanDesc scan)
{
	HnswScan   *so = scan->opaque;

	KnnRerankEnd(&so->rerank);
	MemoryContextDelete(so->context);
	pfree(so);
	scan->opaque = NULL;
}
