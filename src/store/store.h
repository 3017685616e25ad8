/*
 * store.h
 *		Columns of fixed-width items kept in the pages of an index.
 *
 * LAYOUT.  Block 0 is the metapage.  Items live in groups, each with an id
 * space of its own that only grows:
 *
 *	node	columns tid, links, code, vector
 *	upper	column upper
 *	chain	column chain
 *	centre	column centre: none, or the centre; of encoder pq the codebooks follow,
 *			item 1 + k having codewords number k of all parts, end to end
 *
 * A group grows by extents: runs of consecutive ids that own a run of blocks.
 * An index of knn_ivf has, in place of upper and chain,
 *
 *	block	column block: a page of a list each
 *	list	columns head, coarse, centroid
 *
 * and of its nodes only what does not fit into blocks: vectors, and codes that are
 * too wide (am/ivf.h).
 *
 * In an extent each column has its blocks together, in the order above, so that
 * id -> (block, offset) is arithmetic once the extent is known.  The extents are
 * listed in the metapage.  A build makes one extent of exactly the right size;
 * inserts add extents in proportion to what there is, so that there are few and
 * little is allocated ahead.  (Stripes of fixed sizes would need no list, but waste up
 * to half in a fresh index, and could not hold groups that grow at their own pace.)
 *
 * Items do not cross a page's end unless keeping them whole would waste more than
 * a tenth of the page; then they are laid end to end across pages.  Items that
 * change (tid, links, upper, chain) are narrow and never cross.
 *
 * LOCKS.  Page locks are taken in ascending block number (of one node: tid before
 * links before code before vector), at most four at once, and released with the
 * record they are for.  Exceptions: the lock of a tid page is held while pages of
 * its chain, or the marks in its links, are read or changed, one at a time after
 * it.  Nobody waits for a tid page while holding a chain page.  The metapage is
 * changed with no other page locked, and may be read while others are.
 *
 * code, vector and centre are written once, before anything refers to their id,
 * and never change (but in knn_ivf, see am/ivf.h): they are read under a pin without
 * a content lock, as heap tuples are once they have been looked at.
 * GenericXLogFinish and redo copy whole page images over a page, but the bytes of items written before are the same in
 * the new image.  A standby replays the image of a page that is not in memory into
 * a zeroed buffer, so there a reader waits for the lock once (buffer.c).
 *
 * PUBLISH ORDER.  allocate ids (metapage), write code, vector and upper, write
 * tid and links, link from neighbours, make it the entry point.  A crash in
 * between leaves an id that nothing refers to, or a node with fewer links.
 */
#ifndef KNN_STORE_STORE_H
#define KNN_STORE_STORE_H

#include "postgres.h"

#include "access/genam.h"
#include "storage/buf_internals.h"
#include "storage/itemptr.h"

#include "core/code.h"
#include "store/ivf_page.h"
#include "store/page.h"

#define KNN_META_BLOCK		0
#define KNN_META_MAGIC		0x4B4E4E31	/* "KNN1" */
#define KNN_META_VERSION	1

typedef enum KnnGroup
{
	KNN_GROUP_NODE = 0,
	KNN_GROUP_UPPER = 1,
	KNN_GROUP_CHAIN = 2,
	KNN_GROUP_CENTRE = 3,
	/* of knn_ivf */
	KNN_GROUP_BLOCK = KNN_GROUP_UPPER,
	KNN_GROUP_LIST = KNN_GROUP_CHAIN
} KnnGroup;

#define KNN_NGROUPS 4

/* An extent as the metapage lists it, in the order of creation. */
typedef struct KnnMetaExtent
{
	uint32		group;			/* KnnGroup */
	uint32		nitems;
	BlockNumber first_block;
} KnnMetaExtent;

/* Access methods; stored on disk. */
typedef enum KnnMethod
{
	KNN_METHOD_HNSW = 1,
	KNN_METHOD_IVF = 2
} KnnMethod;

/* How the column "vector" keeps full vectors; stored on disk. */
typedef enum KnnVectorStorage
{
	KNN_VECTORS_FLOAT = 0,
	KNN_VECTORS_HALF = 1,		/* rounded to half precision */
	KNN_VECTORS_NONE = 2		/* there is no such column */
} KnnVectorStorage;

/* What the option "mode" said; stored on disk. */
typedef enum KnnMode
{
	KNN_MODE_UNSET = 0,
	KNN_MODE_IN_MEMORY = 1,
	KNN_MODE_ON_DISK = 2
} KnnMode;

/* What the options resolved to at creation: frozen. */
typedef struct KnnShape
{
	uint8		method;			/* KnnMethod */
	uint8		space;			/* knn_space */
	uint8		data_type;		/* KnnDataType of the column */
	uint8		encoding;		/* knn_encoding of the code column */
	uint32		dim;
	union
	{
		uint32		m;
		uint32		nlist;		/* of knn_ivf */
	};
	uint32		ef_construction;	/* 0 in knn_ivf */
	union
	{
		/* of scans, unless an option or setting tells */
		uint32		ef_search;
		uint32		nprobes;	/* of knn_ivf */
	};
	uint8		vectors;		/* KnnVectorStorage */
	uint8		mode;			/* KnnMode */
	uint8		compression;	/* level: 1, 2, 4, 8, 16, 32, or of pq 64 */
	uint8		clip;			/* out of half's range: clip instead of error */
	uint64		seed;			/* of the rotation, and of a build's levels */
	/* of KNN_ENCODING_PQ, else 0 */
	uint16		pq_m;			/* parts */
	uint8		pq_bits;		/* of the code of a part */
	uint8		unused[5];
} KnnShape;

typedef struct KnnMetaPage
{
	uint32		magic;
	uint32		version;
	KnnShape	shape;
	uint32		entry;			/* node, or KNN_INVALID_ID; knn_ivf: first list */
	uint32		entry_level;	/* knn_ivf: number of lists */
	uint32		used[KNN_NGROUPS];	/* ids given out */
	BlockNumber nblocks;		/* blocks given to extents, this one included */
	uint32		nextents;
	KnnMetaExtent extents[FLEXIBLE_ARRAY_MEMBER];
} KnnMetaPage;

#define KNN_MAX_EXTENTS \
	((KNN_PAGE_CAPACITY - offsetof(KnnMetaPage, extents)) / sizeof(KnnMetaExtent))

/* ---- items ---- */

/* Heap TIDs that fit into a node's tid item; more go to its chain. */
#define KNN_INLINE_TIDS 3
#define KNN_CHAIN_TIDS 4
#define KNN_NO_CHAIN 0			/* chain references are id + 1 */

#define KNN_TID_WRITTEN 1		/* flags: the node exists */

typedef struct KnnTidItem
{
	ItemPointerData tids[KNN_INLINE_TIDS];
	uint8		ntids;			/* the first ntids are set */
	uint8		flags;
	uint32		chain;			/* chain item + 1, or KNN_NO_CHAIN */
} KnnTidItem;

typedef struct KnnChainItem
{
	ItemPointerData tids[KNN_CHAIN_TIDS];
	uint8		ntids;
	uint8		unused[3];
	uint32		next;			/* chain item + 1, or KNN_NO_CHAIN */
	uint32		owner;			/* node id */
} KnnChainItem;

#define KNN_LINKS_DEAD 1		/* flags: tombstone, routes but is not returned */

/*
 * Level-0 neighbours.  Links are stored as id + 1, so that the unused ones of a
 * fresh page are zero already and cost no WAL.
 */
typedef struct KnnLinksItem
{
	uint16		nlinks;
	uint8		level;			/* highest level of the node */
	uint8		flags;
	uint32		upper;			/* its slot of level 1 in group upper; the
								 * slot of level l follows l - 1 later */
	uint32		links[FLEXIBLE_ARRAY_MEMBER];	/* room for 2m */
} KnnLinksItem;

typedef struct KnnUpperItem
{
	uint32		nlinks;
	uint32		links[FLEXIBLE_ARRAY_MEMBER];	/* room for m */
} KnnUpperItem;

/*
 * An item of column code: knn_code_factors, where the encoding has them, and the
 * code.
 */
typedef void KnnCodeItem;

/* ---- an index's store as a backend sees it ---- */

typedef struct KnnColumnShape
{
	KnnGroup	group;
	uint32		width;			/* bytes of an item; 0: no such column */
	uint32		per_page;		/* items a page, or 0 when items cross pages */
	uint32		first_column;	/* of the group */
} KnnColumnShape;

/* An extent with the first block of each column of its group. */
typedef struct KnnExtent
{
	uint32		first;			/* id of its first item */
	uint32		nitems;
	BlockNumber blocks[4];		/* by column - first column of the group */
} KnnExtent;

/*
 * Cached per backend and index (store.c).  A store that is held is not freed by
 * invalidations or by a newer build of the index.
 */
typedef struct KnnStore
{
	Oid			relid;
	Oid			file;			/* relfilenode it was read from */
	MemoryContext context;
	int			users;			/* scans and inserts that hold it */
	bool		orphaned;		/* replaced: freed by its last user */

	KnnShape	shape;
	KnnColumnShape columns[KNN_NCOLUMNS];
	uint32		factor_bytes;	/* before the code in an item of column code */

	/* as of the last KnnStoreRefresh */
	uint32		entry;
	uint32		entry_level;
	uint32		used[KNN_NGROUPS];
	BlockNumber nblocks;		/* the metapage and all extents */
	uint32		nextents_total;
	uint32		nextents[KNN_NGROUPS];
	uint32		capacity[KNN_NGROUPS];	/* ids covered by the extents */
	KnnExtent  *extents[KNN_NGROUPS];

	knn_encoder encoder;		/* with rotation and centre, ready to use */
	knn_pq		pq;				/* the encoder's */
	bool		has_centre;

	/* buffer that held a block when it was last read, see buffer.c */
	Buffer	   *hints;
	BlockNumber nhints;
	uint32		hint_uses;
} KnnStore;

/* ---- geometry.c ---- */

/* Bytes of the factors in an item of column code. */
extern uint32 KnnFactorBytes(const KnnShape *shape);

/* Bytes of a code without factors. */
extern uint32 KnnCodeSize(const KnnShape *shape);

/* Items of the group centre of an index that is not empty. */
extern uint32 KnnCentreItems(const KnnShape *shape);

/* Fill the columns' widths for a shape; a column that is not kept has width 0. */
extern void KnnStoreColumns(const KnnShape *shape, KnnColumnShape *columns);

/* The columns of a group, which are numbered consecutively. */
extern void KnnGroupColumns(const KnnColumnShape *columns, KnnGroup group,
							int *first, int *last);

/* Blocks that nitems items of a column take. */
extern BlockNumber KnnColumnBlocks(const KnnColumnShape *column, uint32 nitems);

/* Blocks of an extent of a group. */
extern BlockNumber KnnExtentBlocks(const KnnColumnShape *columns, KnnGroup group, uint32 nitems);

/* ---- store.c: metapage, views, ids ---- */

/* Set up an empty metapage (contents and header). */
extern void KnnMetaPageInit(Page page, const KnnShape *shape);

/*
 * The index's store, its metapage read afresh.  ERROR when the metapage is
 * damaged or of a later version.
 */
extern KnnStore *KnnStoreOpen(Relation index);

/*
 * The same as this backend knows it from before, its metapage not read; NULL when
 * it knows none.  The index may have grown since.
 */
extern KnnStore *KnnStoreKnown(Relation index);

/* Read entry point, counters and new extents from the metapage. */
extern void KnnStoreRefresh(KnnStore *store, Relation index);

/*
 * Hold a store until a memory context is reset or deleted (which an error does
 * too).
 */
extern void KnnStoreHold(KnnStore *store, MemoryContext context);

/*
 * Give out count consecutive ids of a group, adding an extent when needed.  One
 * record on the metapage.
 */
extern uint32 KnnStoreAllocate(KnnStore *store, Relation index, KnnGroup group, uint32 count);

/*
 * Make a node the entry point of an index that has none; false when it has one by
 * now.  In knn_ivf the node is the first list, and the level the number of lists.
 */
extern bool KnnStoreSetFirstEntry(Relation index, uint32 node, uint32 level);

/* Make a node the entry point if it is on a higher level than the present one. */
extern void KnnStoreRaiseEntry(Relation index, uint32 node, uint32 level);

/* ---- item addresses (inline, on the scan path) ---- */

typedef struct KnnItemAddress
{
	BlockNumber block;
	uint32		offset;			/* in the page's contents */
} KnnItemAddress;

extern const KnnExtent *KnnStoreFindExtent(KnnStore *store, Relation index,
										   KnnGroup group, uint32 id);

static inline KnnItemAddress
KnnStoreLocate(KnnStore *store, Relation index, KnnColumn column, uint32 id)
{
	const KnnColumnShape *shape = &store->columns[column];
	const KnnExtent *extent = store->extents[shape->group];
	KnnItemAddress address;
	uint32		local;
	int			column_of_group = column - shape->first_column;

	/* nearly all ids of a built index are in its first extent */
	if (unlikely(store->nextents[shape->group] == 0 || id >= extent->nitems))
		extent = KnnStoreFindExtent(store, index, shape->group, id);
	local = id - extent->first;
	if (shape->per_page != 0)
	{
		address.block = extent->blocks[column_of_group] + local / shape->per_page;
		address.offset = local % shape->per_page * shape->width;
	}
	else
	{
		uint64		byte = (uint64) local * shape->width;

		address.block = extent->blocks[column_of_group] +
			(BlockNumber) (byte / KNN_PAGE_CAPACITY);
		address.offset = (uint32) (byte % KNN_PAGE_CAPACITY);
	}
	return address;
}

/* The parts of an item of column code; factors are NULL where there are none. */
static inline const knn_code_factors *
KnnCodeFactors(const KnnStore *store, const KnnCodeItem *item)
{
	return store->factor_bytes ? (const knn_code_factors *) item : NULL;
}

static inline const uint8 *
KnnCodeBytes(const KnnStore *store, const KnnCodeItem *item)
{
	return (const uint8 *) item + store->factor_bytes;
}

/* ---- buffer.c: reading ---- */

/*
 * Pin a block and check that it is a page of the column.  Not locked.
 */
extern Buffer KnnStorePin(KnnStore *store, Relation index, BlockNumber block, KnnColumn column);

/*
 * Request the cache lines of an item and of its buffer's descriptor, when there
 * is a hint where they are.  Nothing is pinned and nothing read: a wrong hint
 * costs a useless prefetch.
 */
static inline void
KnnStorePrefetch(const KnnStore *store, KnnItemAddress address, uint32 width)
{
	Buffer		hint = address.block < store->nhints ? store->hints[address.block] : InvalidBuffer;
	const char *item;

	if (hint <= 0)
		return;					/* unknown, or a local buffer */
	__builtin_prefetch(GetBufferDescriptor(hint - 1), 1);
	item = (const char *) BufferBlocks + (Size) (hint - 1) * BLCKSZ +
		MAXALIGN(SizeOfPageHeaderData) + address.offset;
	/* of an item that crosses pages, the part in the first */
	width = Min(width, KNN_PAGE_CAPACITY - address.offset);
	for (uint32 at = 0; at < width; at += 64)
		__builtin_prefetch(item + at);
}

/*
 * An item of a column that never changes (code, vector, centre): a pointer into
 * the page, with *buffer pinned for the caller to release, or to a copy in
 * scratch (room for the item's width) with *buffer invalid when the item
 * crosses pages.
 */
extern const void *KnnStoreReadFixed(KnnStore *store, Relation index, KnnColumn column,
									 uint32 id, void *scratch, Buffer *buffer);

/* Copy of an item of a column that changes, taken under a share lock. */
extern void KnnStoreCopy(KnnStore *store, Relation index, KnnColumn column,
						 uint32 id, void *out);

/*
 * The same for an id that may have been given out and never been written: false
 * when its page was not.  (The item may still be all zeroes.)
 */
extern bool KnnStoreCopyIfWritten(KnnStore *store, Relation index, KnnColumn column,
								  uint32 id, void *out);

/* ---- write.c: changing ---- */

/* One item to be written as a whole. */
typedef struct KnnItemWrite
{
	KnnColumn	column;
	uint32		id;
	const void *data;
} KnnItemWrite;

/*
 * Write whole items of freshly allocated ids, in the order given, in records of
 * at most four pages.  Extends the relation as needed.
 */
extern void KnnStoreWrite(KnnStore *store, Relation index,
						  const KnnItemWrite *writes, int nwrites);

/* Read a block for writing, extending the relation when it is not there yet. */
extern Buffer KnnStoreReadForWrite(Relation index, BlockNumber block);

/*
 * Lock the page of an item for change (exclusive); *item is its offset in the
 * contents.  The item does not cross pages.
 */
extern Buffer KnnStoreLockItem(KnnStore *store, Relation index, KnnColumn column,
							   uint32 id, uint32 *offset);

/* ---- build.c: bulk writing ---- */

/*
 * The metapage of a new index, locked; its extents are added in the order in which
 * their columns follow.
 */
extern Buffer KnnMetaPageBegin(Relation index, const KnnShape *shape);
extern void KnnMetaAddExtent(KnnMetaPage *meta, const KnnColumnShape *columns,
							 KnnGroup group, uint32 nitems);

/* Release it; the number of blocks that the index must come to. */
extern BlockNumber KnnMetaPageEnd(Buffer buffer);
extern void KnnCheckBuiltBlocks(Relation index, BlockNumber expected);

/* The initial fork of an unlogged index: an empty metapage, logged. */
extern void KnnWriteInitFork(Relation index, const KnnShape *shape);

typedef struct KnnColumnWriter
{
	Relation	index;
	const KnnColumnShape *shape;
	KnnColumn	column;
	BlockNumber *next;			/* to be filled */
	Buffer		buffer;			/* page being filled, locked; or invalid */
	uint32		used;			/* bytes of its contents */
	uint32		items;			/* items in it */
} KnnColumnWriter;

/*
 * Make the relation so many blocks long, of zeros, with room on disk for them.  ERROR
 * where there is none.
 */
extern void KnnReserveBlocks(Relation index, BlockNumber nblocks);

/*
 * Write the items of one column into blocks that were reserved, from *next on, which
 * becomes the block that follows.
 */
extern void KnnColumnWriterBegin(KnnColumnWriter *writer, Relation index,
								 const KnnColumnShape *columns, KnnColumn column,
								 BlockNumber *next);
extern void KnnColumnWriterAppend(KnnColumnWriter *writer, const void *item);
extern void KnnColumnWriterEnd(KnnColumnWriter *writer);

#endif
