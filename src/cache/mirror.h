/*
 * mirror.h
 *		Copies of indexes in the native memory cache.
 *
 * The mirror of an index holds what a search looks at, by node id, in the columns of
 * core/flat_graph.h: links, head (the code's factors and the tombstone flag), code
 * and upper links; and one more, row: the heap TID of a node that has just one, and
 * where its upper links are.  Full vectors, further TIDs and the metapage stay in
 * pages.  Pages are the truth; a mirror may go at any time.
 *
 * COHERENCE.  Who changes an item in a page changes it in the mirror before
 * releasing the page's lock (code and upper items of a node that nothing refers to
 * yet: after), in words that are stored whole.  Whether there is a mirror is looked
 * up under that lock as well.  A load makes its mirror known first, and copies
 * each page under a share lock then: either the change came before the copy, or
 * whoever makes it finds the mirror.  A node's code and head are written before the
 * first link to it, here as in pages.  A reader may see some links of a list that is
 * being changed before the change and some after it; each of them was right.
 *
 * STANDBY.  Redo changes pages and knows no mirrors.  So a mirror that was loaded
 * during recovery is taken for what it is, the state of some moment: TIDs and
 * tombstones are looked up in pages, and nodes that are newer than the mirror are
 * compared with the query one by one (am/hnsw_scan.c).  So are loose nodes, which
 * have no links to them in the mirror: it may be that their insert was being replayed
 * while pages were copied.  When there are many new ones, pages that have changed
 * since (by their LSN) are copied again: a refresh.
 * The first use after promotion refreshes and makes an ordinary mirror of it.
 *
 * An index is in the cache whole or not at all.  When an insert needs room for a
 * node and there is none, the mirror goes.
 */
#ifndef KNN_CACHE_MIRROR_H
#define KNN_CACHE_MIRROR_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

#include "cache/area.h"
#include "core/flat_graph.h"
#include "store/store.h"

typedef enum KnnMirrorColumnId
{
	KNN_MIRROR_LINKS,
	KNN_MIRROR_HEAD,
	KNN_MIRROR_CODE,
	KNN_MIRROR_ROW,
	KNN_MIRROR_UPPER,			/* the only one numbered by upper item */
	KNN_MIRROR_NCOLUMNS
} KnnMirrorColumnId;

/*
 * What is known of a node's rows.  A word is read and written whole.
 */
typedef struct KnnMirrorRow
{
	uint64		tid;			/* block << 32 | offset << 16 | 1, or 0: look in the page */
	uint32		upper;			/* as in KnnLinksItem */
	uint32		unused;
} KnnMirrorRow;

/* A column: a chain of units by KnnUnitNext, in the order of ids. */
typedef struct KnnMirrorColumn
{
	uint32		stride;
	uint32		per_unit;
	uint32		first;			/* unit */
	uint32		last;
	pg_atomic_uint32 nunits;	/* raised after the chain was extended */
} KnnMirrorColumn;

typedef enum KnnMirrorState
{
	KNN_MIRROR_FREE,			/* descriptor not in use */
	KNN_MIRROR_PREPARED,		/* being zeroed; nobody else's business */
	KNN_MIRROR_LOADING,			/* kept up to date, but not complete yet */
	KNN_MIRROR_READY,
	KNN_MIRROR_GOING			/* no longer used; freed when no pin is left */
} KnnMirrorState;

/* Loose nodes of a standby's mirror, see above: not more than are checked for it. */
#define KNN_LOOSE_NODES 1024

typedef struct KnnMirror
{
	/* under the lock unless it says otherwise */
	pg_atomic_uint32 state;		/* KnnMirrorState; read without it */
	pg_atomic_uint64 generation;	/* of the descriptor's use; read without it */
	Oid			database;
	Oid			index;
	Oid			file;			/* relfilenode */
	KnnShape	shape;			/* with the seed of its build: what it is a copy of */
	int32		loader;			/* pid, while loading or being refreshed; else 0 */

	KnnMirrorColumn columns[KNN_MIRROR_NCOLUMNS];
	uint32		nunits;

	/* ids that there are units for; raised after the units are there */
	pg_atomic_uint32 covered[2];	/* by group: node, upper */

	pg_atomic_uint64 entry;		/* level << 32 | node, or KNN_INVALID_ID */

	/* of a mirror that was loaded during recovery */
	pg_atomic_uint32 recovery;	/* it was, and is not an ordinary one yet */
	pg_atomic_uint32 version;	/* of what follows; odd while it is changed */
	pg_atomic_uint32 complete;	/* nodes below are all in it */
	uint32		nloose;
	uint32		loose[KNN_LOOSE_NODES]; /* below complete, ascending */
	XLogRecPtr	loaded_to;		/* pages with a later LSN have changed since */

	TimestampTz loaded_at;
	uint64		load_time;		/* ns, of the load and the last refresh */

	/*
	 * Its use, but for what the backends that use it keep in their own lines
	 * (KnnCacheBackend): see KnnMirrorUseOf.
	 */
	pg_atomic_uint64 searches;
	pg_atomic_uint64 last_use;	/* TimestampTz */
} KnnMirror;

/* Initialises the descriptors; at server start. */
extern void KnnMirrorsInit(void);

/* ---- a backend's view of a mirror (mirror.c) ---- */

/*
 * Addresses of a mirror's units as this backend knows them.  Views are kept by
 * index, as stores are; a view in use outlives its mirror.
 */
typedef struct KnnMirrorView
{
	Oid			relid;
	MemoryContext context;
	KnnMirror  *mirror;
	uint64		generation;
	int			users;			/* pins of this backend */
	bool		orphaned;		/* freed by the last of them */
	knn_flat_graph graph;		/* without owner and callbacks */
	knn_flat_column row;
	const char **units[KNN_MIRROR_NCOLUMNS];
	uint32		nunits[KNN_MIRROR_NCOLUMNS];
	uint32		room[KNN_MIRROR_NCOLUMNS];
	uint32		last[KNN_MIRROR_NCOLUMNS];	/* the last unit's number */
} KnnMirrorView;

/* A scan's hold on a view and its mirror. */
typedef struct KnnMirrorPin
{
	KnnMirrorView *view;		/* NULL: none */
	int			place;			/* in the backend's line of pins */
	bool		pinned;
} KnnMirrorPin;

/*
 * Attach a pin to the index's mirror and pin it.  False when there is none that is
 * ready, the cache is off, or it is the kind of index that is never cached.  The
 * attachment lasts until KnnMirrorDetach, but the mirror is only kept while it
 * is pinned.
 */
extern bool KnnMirrorAttach(KnnMirrorPin *pin, Relation index, KnnStore *store);

/* Let go of the mirror's memory; the view stays. */
extern void KnnMirrorUnpin(KnnMirrorPin *pin);

/* Pin again; false when the mirror is gone, for good. */
extern bool KnnMirrorRepin(KnnMirrorPin *pin);

/* End the attachment, pinned or not. */
extern void KnnMirrorDetach(KnnMirrorPin *pin);

/* Find units that were added to a pinned mirror since. */
extern void KnnMirrorExtendView(KnnMirrorView *view);

/*
 * The only TID of a node; false when the page must be asked.  Pinned; not of a
 * standby's mirror.
 */
static inline bool
KnnMirrorTid(const KnnMirrorView *view, uint32 node, ItemPointer tid)
{
	const KnnMirrorRow *row = (const KnnMirrorRow *) knn_flat_item(&view->row, node);
	uint64		word = *(const volatile uint64 *) &row->tid;

	if (word == 0)
		return false;
	ItemPointerSet(tid, (BlockNumber) (word >> 32), (OffsetNumber) (word >> 16));
	return true;
}

/*
 * Where the upper links of a node begin is kept in its head, beside the tombstone
 * flag, since the head is at hand when a search steps to the node.  Numbers that
 * do not fit there are looked up in its row.
 */
#define KNN_HEAD_UPPER_SHIFT	1
#define KNN_HEAD_UPPER_ELSEWHERE	(UINT32_MAX >> KNN_HEAD_UPPER_SHIFT)

/* The item of a node's links at a level above 0; false when it does not reach it. */
static inline bool
KnnMirrorUpper(const KnnMirrorView *view, uint32 node, uint32 level, uint32 *item)
{
	const knn_flat_head *head = (const knn_flat_head *) knn_flat_item(&view->graph.head, node);
	uint32		upper = __atomic_load_n(&head->flags, __ATOMIC_RELAXED) >> KNN_HEAD_UPPER_SHIFT;

	if (unlikely(upper == KNN_HEAD_UPPER_ELSEWHERE))
	{
		const KnnMirrorRow *row = (const KnnMirrorRow *) knn_flat_item(&view->row, node);

		upper = __atomic_load_n(&row->upper, __ATOMIC_RELAXED);
	}
	*item = upper + level - 1;
	return *item < view->graph.nupper;
}

/* ---- changing (publish.c) ---- */

/*
 * Called with the page of a change locked, before the change is made final: finds
 * the mirror that has to follow, if any, and pins it.  May allocate; the calls that
 * follow cannot fail.
 */
extern KnnMirrorView *KnnPublishBegin(Relation index, KnnStore *store);

/*
 * Copy an item, of the column as the store has it, to the mirror.  Columns that are
 * not mirrored are ignored, as is all for view NULL.
 */
extern void KnnPublish(KnnMirrorView *view, KnnStore *store, KnnColumn column,
					   uint32 id, const void *item);

extern void KnnPublishEnd(KnnMirrorView *view);

/* A node has become the index's entry point. */
extern void KnnPublishEntry(Relation index, KnnStore *store, uint32 node, uint32 level);

/* The same for a mirror: keep the one on the higher level. */
extern void KnnMirrorRaiseEntry(KnnMirror *mirror, uint32 node, uint32 level);

/*
 * KnnStoreWrite, and KnnStoreAllocate, of an index that may have a mirror.
 */
extern void KnnCacheWrite(KnnStore *store, Relation index,
						  const KnnItemWrite *writes, int nwrites);
extern uint32 KnnCacheAllocate(KnnStore *store, Relation index, KnnGroup group, uint32 count);

/*
 * Make room in a mirror for ids less than count; when there is none left in the
 * cache, the mirror goes.
 */
extern void KnnMirrorCover(KnnMirrorView *view, KnnGroup group, uint32 count);

/* Store an item into a view's mirror, as KnnPublish does. */
extern void KnnMirrorStore(KnnMirrorView *view, const KnnStore *store, KnnColumn column,
						   uint32 id, const void *item);

/* ---- use (use.c) ---- */

/* Note that this backend searches a mirror, now. */
extern void KnnMirrorNoteUse(const KnnMirrorView *view);

/* Let an index count as used now although nobody searches it.  Under the lock. */
extern void KnnMirrorTouch(KnnMirror *mirror);

/* When a mirror was searched last, and how many times since its load (may be NULL). */
extern TimestampTz KnnMirrorUseOf(KnnMirror *mirror, uint64 *searches);

/* ---- loading (load.c) ---- */

typedef enum KnnLoadResult
{
	KNN_LOAD_DONE,				/* it is in the cache now */
	KNN_LOAD_PRESENT,			/* it was there already */
	KNN_LOAD_BUSY,				/* another backend is loading it */
	KNN_LOAD_NO_ROOM,			/* it does not fit, or nothing may be evicted for it */
	KNN_LOAD_IMPOSSIBLE			/* no cache, or an index that is never cached */
} KnnLoadResult;

/*
 * Load an index that the caller has locked.  forced: by request, so that others
 * may be evicted that were used just now.  An error leaves nothing behind.
 */
extern KnnLoadResult KnnMirrorLoad(Relation index, KnnStore *store, bool forced);

/* Wait until a load by another backend has ended. */
extern void KnnMirrorAwaitLoad(Oid relid);

/*
 * Bring a mirror of a standby up to date, or turn it into an ordinary one after
 * promotion.  False when another backend is at it.
 */
extern bool KnnMirrorRefresh(Relation index, KnnStore *store, KnnMirrorPin *pin);

/* Bytes that the mirror of an index takes. */
extern uint64 KnnMirrorBytes(const KnnStore *store);

/* ---- inside the cache: descriptors, under the lock ---- */

extern KnnMirror *KnnMirrorFind(Oid database, Oid relid);
extern bool KnnMirrorMatches(const KnnMirror *mirror, Relation index, const KnnStore *store);
extern bool KnnMirrorCacheable(Relation index);
extern KnnMirrorView *KnnMirrorViewOf(Relation index, const KnnStore *store, bool loading);
extern bool KnnMirrorPinForChange(KnnMirrorView *view);
extern void KnnMirrorUnpinChange(void);
extern bool KnnMirrorPinForLoad(KnnMirrorView *view);
extern void KnnMirrorUnpinLoad(void);
extern void KnnMirrorReleaseView(KnnMirrorView *view);
extern bool KnnMirrorAddUnits(KnnMirror *mirror, KnnMirrorColumnId column, uint32 count);

#endif
