/*
 * hnsw_scan.c
 *		Ordered scans of a knn_hnsw index.
 *
 * The graph search ranks nodes by estimated distance and finds a beam of them, which
 * ranking.h returns in the order of their exact distances.  With a first pass of
 * fixed size, nodes of the beam are handed to it as the pass grows.
 *
 * When more rows are wanted than the beam has, the search is widened to twice its
 * width and continues, until the graph is exhausted or knn.max_scan_tuples vectors
 * have been looked at.
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
#include "am/ranking.h"
#include "am/rerank.h"
#include "am/scan.h"
#include "am/shape.h"
#include "compat.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/float.h"
#include "utils/memutils.h"

/* Guided search (core/graph_search.h): when, and how much of the width expands. */
#define ROUGH_DIMENSIONS 400
#define GUIDE_SHARE 8

/*
 * Nodes whose vectors are requested from memory together when a search has ended:
 * LIMIT 10 needs about that many.
 */
#define PREFETCHED_NODES 12

typedef struct HnswScan
{
	KnnScan		base;
	KnnStore   *store;
	KnnPageReader reader;
	KnnMirrorReader mirror;		/* in place of the pages, where there is one */
	knn_search *search;

	KnnRanking	ranking;		/* of nodes */
	uint32		beam_queued;	/* places of the beam that have been looked at */
	uint32		live_queued;	/* live nodes in these */

	/* rows of the node being returned */
	ItemPointerData tids[KNN_INLINE_TIDS + KNN_CHAIN_TIDS];
	int			ntids;
	int			next_tid;
	uint32		chain;			/* next chain item + 1 */
	uint32		chain_steps;	/* to tell a cycle in a damaged index */
	uint32		node;

	bool		rows_requested;	/* prefetch_rows has been called */
	bool		swept;			/* nodes out of the search's reach were queued */

	/* queued at the start: nodes newer than a standby's mirror, and its loose ones */
	uint32		tail;
	uint32		tail_end;
	uint32		nloose;
} HnswScan;

/* ---- search ---- */

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
	uint32		pass = so->ranking.oversample > 0 ?
		KnnRankingFirstPass(&so->ranking) : UINT32_MAX;

	while (so->beam_queued < so->search->nbeam && so->live_queued < pass)
	{
		knn_candidate *c = &so->search->beam[so->beam_queued++];

		if (c->flags & KNN_CANDIDATE_DEAD)
			continue;
		so->live_queued++;
		if (c->flags & KNN_CANDIDATE_TAKEN)
			continue;
		c->flags |= KNN_CANDIDATE_TAKEN;
		if (queued_at_start(so, c->id))
			continue;
		if (c->flags & KNN_CANDIDATE_EXACT)
			KnnRankingAddExact(&so->ranking, c->id, c->error);
		else
			KnnRankingAdd(&so->ranking, c->id, c->distance, c->error);
	}
}

/*
 * Queue a node that the search has not come upon, if it has rows; read from pages.
 */
static bool
queue_by_number(IndexScanDesc scan, HnswScan *so, uint32 id)
{
	KnnTidItem	tids;
	float		distance;
	float		error;

	if (!KnnStoreCopyIfWritten(so->store, scan->indexRelation, KNN_COLUMN_TID, id, &tids) ||
		!(tids.flags & KNN_TID_WRITTEN) ||
		(tids.ntids == 0 && tids.chain == KNN_NO_CHAIN))
		return false;
	KnnPageReaderScore(&so->reader, &id, 1, &distance, &error);
	/* of one that nothing leads to the bound is not to be relied upon */
	KnnRankingAdd(&so->ranking, id, distance, get_float4_infinity());
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
	uint32		n = Min(so->ranking.queue.n, PREFETCHED_NODES);

	for (uint32 i = 0; i < n; i++)
	{
		uint32		node = so->ranking.queue.items[i].id;

		if (!so->ranking.exact)
			KnnRerankPrefetch(&so->base.rerank, node);
		KnnMirrorReaderPrefetch(&so->mirror, node);
	}
}

/*
 * Request the pages of the rows that will probably be returned after the first.
 */
static void
prefetch_rows(IndexScanDesc scan, HnswScan *so)
{
	uint32		n = Min(so->ranking.queue.n, PREFETCHED_NODES);
	ItemPointerData tid;

	for (uint32 i = 0; i < n; i++)
	{
		if (KnnMirrorReaderTid(&so->mirror, so->ranking.queue.items[i].id, &tid))
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
	if (so->ranking.oversample > 0)
		width = Max(width, KnnFirstPass(1, so->ranking.oversample));
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

/* ---- what the ranking asks for ---- */

static bool
more_nodes(void *search)
{
	HnswScan   *so = search;

	return widen_search(so->base.scan, so);
}

static void
first_pass(void *search, uint32 pass)
{
	HnswScan   *so = search;

	while (so->search->width < pass && widen_search(so->base.scan, so))
		;
	queue_beam(so);
}

/*
 * Exact distance of the queue's first node, false when it has no visible row; those
 * behind it are read ahead when they have to come from disk.
 */
static bool
exact_distance(void *search, uint32 node, float *distance)
{
	HnswScan   *so = search;

	if (KnnRerankWantsAhead(&so->base.rerank, node))
	{
		const KnnQueue *queue = &so->ranking.queue;
		uint32		nodes[KNN_RERANK_AHEAD];
		int			n = 0;

		/* a heap's front is nearly sorted */
		for (uint32 i = 0; i < queue->n && n < KNN_RERANK_AHEAD; i++)
		{
			if (!queue->items[i].exact)
				nodes[n++] = queue->items[i].id;
		}
		KnnRerankAhead(&so->base.rerank, nodes, n);
	}
	return KnnRerankDistance(&so->base.rerank, node, distance);
}

/* ---- rows ---- */

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
		if (!KnnTidIsPossible(&tids[i]))
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

/* Move on to the next node in order; false at the end. */
static bool
next_node(IndexScanDesc scan, HnswScan *so)
{
	uint32		node;

	if (!KnnRankingNext(&so->ranking, &node))
		return false;
	take_node(scan, so, node);
	return true;
}

/* ---- the scan ---- */

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

	return KnnRerankDistance(&so->base.rerank, id, &distance) ? distance : get_float4_infinity();
}

static void
start_scan(IndexScanDesc scan, HnswScan *so)
{
	Relation	index = scan->indexRelation;
	MemoryContext old;
	bool		known;
	void	   *query;

	KnnScanCheck(scan);
	old = MemoryContextSwitchTo(so->base.context);
	so->store = KnnStoreKnown(index);
	known = so->store != NULL && KnnMirrorTells(index, so->store);
	if (!known)
		so->store = KnnStoreOpen(index);
	KnnStoreHold(so->store, so->base.context);
	so->search = KnnPageReaderInit(&so->reader, index, so->store);

	query = KnnScanQuery(scan, &so->store->shape);
	KnnPageReaderSetQuery(&so->reader, query);

	KnnRankingInit(&so->ranking, so->base.context, so, &so->store->shape);
	so->ranking.more = more_nodes;
	so->ranking.first_pass = first_pass;
	so->ranking.distance = exact_distance;
	if (!so->ranking.exact)
	{
		KnnRerankInit(&so->base.rerank, scan, so->store, query);
		if (so->ranking.oversample == 0 && estimates_are_rough(&so->store->shape))
		{
			so->search->guide_share = GUIDE_SHARE;
			so->search->reader.exact = guide_distance;
		}
	}

	KnnCountIndexScan(scan);
	if (!KnnMirrorReaderBegin(&so->mirror, &so->reader, so->search, so->base.context, true) && known)
		KnnStoreRefresh(so->store, index);	/* the mirror is gone by now */
	start_search(scan, so);
	so->base.started = true;
	MemoryContextSwitchTo(old);
}

/* Set the TID of the next row; false at the end. */
static bool
next_row(IndexScanDesc scan)
{
	HnswScan   *so = scan->opaque;
	MemoryContext old;

	if (so->base.started)
	{
		KnnHeapHintLearn(scan);
		KnnMirrorReaderResume(&so->mirror);
	}
	else
		start_scan(scan, so);

	old = MemoryContextSwitchTo(so->base.context);
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
	if (so->ranking.queue.n > 0)
	{
		ItemPointerData next;

		if (KnnMirrorReaderTid(&so->mirror, so->ranking.queue.items[0].id, &next))
			KnnHeapHintPrefetchTuple(scan, &next);
	}
	KnnMirrorReaderPause(&so->mirror);
	MemoryContextSwitchTo(old);

	scan->xs_heaptid = so->tids[so->next_tid++];
	return true;
}

IndexScanDesc
knn_hnsw_beginscan(Relation index, int nkeys, int norderbys)
{
	return KnnScanBegin(index, nkeys, norderbys, sizeof(HnswScan), next_row);
}
