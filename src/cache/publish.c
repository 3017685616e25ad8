/*
 * publish.c
 *		Changes of an index's items carried over to its mirror; see mirror.h.
 *
 * A change is published between the end of its record (GenericXLogFinish) and the
 * release of the page's lock, by stores into memory alone: nothing can fail or be
 * interrupted there, so that page and mirror change both or, when the server
 * crashes, the mirror is gone anyway.
 */
#include "postgres.h"

#include "cache/mirror.h"

#include "cache/evict.h"
#include "utils/rel.h"

/* ---- storing items ---- */

static inline char *
item_address(const knn_flat_column *column, uint32 id)
{
	return (char *) knn_flat_item(column, id);
}

static inline void
store_word(uint32 *to, uint32 value)
{
	__atomic_store_n(to, value, __ATOMIC_RELAXED);
}

/* Links, as many as the list has, and zeroes in the other places. */
static void
store_links(uint32 *to, const uint32 *links, uint32 nlinks, uint32 room)
{
	uint32		i;

	nlinks = Min(nlinks, room);
	for (i = 0; i < nlinks; i++)
		store_word(&to[i], links[i]);
	for (; i < room; i++)
		store_word(&to[i], 0);
}

static void
store_tid(KnnMirrorView *view, uint32 id, const KnnTidItem *item)
{
	KnnMirrorRow *row = (KnnMirrorRow *) item_address(&view->row, id);
	uint64		word = 0;

	if (item->ntids == 1 && item->chain == KNN_NO_CHAIN &&
		ItemPointerIsValid(&item->tids[0]) &&
		ItemPointerGetBlockNumberNoCheck(&item->tids[0]) != InvalidBlockNumber)
		word = (uint64) ItemPointerGetBlockNumber(&item->tids[0]) << 32 |
			(uint64) ItemPointerGetOffsetNumber(&item->tids[0]) << 16 | 1;
	__atomic_store_n(&row->tid, word, __ATOMIC_RELAXED);
}

static void
store_links_item(KnnMirrorView *view, uint32 id, const KnnLinksItem *item)
{
	const knn_flat_graph *graph = &view->graph;
	KnnMirrorRow *row = (KnnMirrorRow *) item_address(&view->row, id);
	knn_flat_head *head = (knn_flat_head *) item_address(&graph->head, id);

	store_word(&row->upper, item->upper);
	store_word(&head->flags,
			   Min(item->upper, KNN_HEAD_UPPER_ELSEWHERE) << KNN_HEAD_UPPER_SHIFT |
			   (item->flags & KNN_LINKS_DEAD ? KNN_FLAT_DEAD : 0));
	store_links((uint32 *) item_address(&graph->links, id),
				item->links, item->nlinks, 2 * graph->m);
}

static void
store_code(KnnMirrorView *view, const KnnStore *store, uint32 id, const KnnCodeItem *item)
{
	knn_flat_head *head = (knn_flat_head *) item_address(&view->graph.head, id);

	/* written once: nobody reads it yet, or what is there is the same */
	if (store->factor_bytes)
		memcpy(&head->factors, item, sizeof(knn_code_factors));
	memcpy(item_address(&view->graph.code, id), KnnCodeBytes(store, item),
		   KnnCodeSize(&store->shape));
}

void
KnnMirrorStore(KnnMirrorView *view, const KnnStore *store, KnnColumn column,
			   uint32 id, const void *item)
{
	knn_flat_graph *graph = &view->graph;

	/*
	 * Beyond the units.  Either a load (or the refresh after a promotion) has made
	 * the mirror known and not covered the item yet: then it copies the page later.
	 * Or the item was given out and not written yet, and VACUUM publishes all of its
	 * page: whoever writes it covers it before (test/model/growth.pml).
	 */
	if (unlikely(id >= (column == KNN_COLUMN_UPPER ? graph->nupper : graph->nnodes)))
		return;
	switch (column)
	{
		case KNN_COLUMN_TID:
			store_tid(view, id, item);
			break;
		case KNN_COLUMN_LINKS:
			store_links_item(view, id, item);
			break;
		case KNN_COLUMN_CODE:
			store_code(view, store, id, item);
			break;
		case KNN_COLUMN_UPPER:
			store_links((uint32 *) item_address(&graph->upper, id),
						((const KnnUpperItem *) item)->links,
						((const KnnUpperItem *) item)->nlinks, graph->m);
			break;
		default:
			break;				/* not mirrored */
	}
}

/* ---- changes ---- */

KnnMirrorView *
KnnPublishBegin(Relation index, KnnStore *store)
{
	KnnMirrorView *view;

	if (KnnCacheMine() == NULL || !KnnMirrorCacheable(index))
		return NULL;
	view = KnnMirrorViewOf(index, store, true);
	if (view == NULL || !KnnMirrorPinForChange(view))
		return NULL;
	KnnMirrorExtendView(view);
	return view;
}

void
KnnPublish(KnnMirrorView *view, KnnStore *store, KnnColumn column, uint32 id, const void *item)
{
	if (view)
		KnnMirrorStore(view, store, column, id, item);
}

void
KnnPublishEnd(KnnMirrorView *view)
{
	if (view)
		KnnMirrorUnpinChange();
}

/*
 * Whoever loads the mirror raises its entry point to the one in the metapage, and so
 * does whoever changes that: neither puts an older one in the place of a newer.
 */
void
KnnMirrorRaiseEntry(KnnMirror *mirror, uint32 node, uint32 level)
{
	uint64		entry = (uint64) level << 32 | node;
	uint64		before = pg_atomic_read_u64(&mirror->entry);

	if (node == KNN_INVALID_ID)
		return;
	while (((uint32) before == KNN_INVALID_ID || before >> 32 < level) &&
		   !pg_atomic_compare_exchange_u64(&mirror->entry, &before, entry))
		;
}

void
KnnPublishEntry(Relation index, KnnStore *store, uint32 node, uint32 level)
{
	KnnMirrorView *view = KnnPublishBegin(index, store);

	if (view)
		KnnMirrorRaiseEntry(view->mirror, node, level);
	KnnPublishEnd(view);
}

void
KnnCacheWrite(KnnStore *store, Relation index, const KnnItemWrite *writes, int nwrites)
{
	KnnMirrorView *view;

	KnnStoreWrite(store, index, writes, nwrites);

	/*
	 * The items are new and nothing refers to them yet, so it does not matter that
	 * their pages are unlocked.
	 */
	view = KnnPublishBegin(index, store);
	for (int i = 0; i < nwrites; i++)
		KnnPublish(view, store, writes[i].column, writes[i].id, writes[i].data);
	KnnPublishEnd(view);
}

uint32
KnnCacheAllocate(KnnStore *store, Relation index, KnnGroup group, uint32 count)
{
	uint32		id = KnnStoreAllocate(store, index, group, count);

	if ((group == KNN_GROUP_NODE || group == KNN_GROUP_UPPER) &&
		KnnCacheMine() != NULL && KnnMirrorCacheable(index))
	{
		KnnMirrorView *view = KnnMirrorViewOf(index, store, true);

		if (view)
			KnnMirrorCover(view, group, id + count);
	}
	return id;
}
