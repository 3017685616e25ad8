/*
 * check.h
 *		Verification of a knn index, internal interfaces between its files.
 *
 * The check reads an index while others may insert, scan and vacuum, and reports
 * what no order of their steps can have produced.  It relies on this:
 *
 *	- ids are given out before they are used, and never taken back
 *	- a node's tid and links items are written by one record, after its code,
 *	  vector and upper items; a link to it is written after that.  So a link
 *	  that was read leads to a node that is complete when it is read next
 *	- the level of a node and its upper slots never change
 *	- chain items are added at a chain's head only, and stay
 *	- rows are added to a node with its tid page locked exclusively, and it is
 *	  marked as a tombstone with that page locked and no row left
 *
 * What a crash or a cancelled insert may leave behind is no damage: ids never
 * written, nodes with few links or none to them, chain items that no chain
 * leads to, an entry point below the highest level, a node without rows that is
 * not marked.
 */
#ifndef KNN_API_CHECK_H
#define KNN_API_CHECK_H

#include "postgres.h"

#include "compat.h"
#include "store/store.h"
#include "storage/bufmgr.h"
#include "utils/tuplesort.h"

/* What is known of a node. */
typedef struct KnnCheckNode
{
	uint8		level;			/* as its links item says, when that was read */
	uint8		need;			/* highest level it is linked at, + 1; 0: none */
	uint8		flags;
} KnnCheckNode;

#define KNN_CHECK_WRITTEN	1	/* its tid item says so */
#define KNN_CHECK_LINKED	2	/* its links item is not empty */
#define KNN_CHECK_LIVE		4	/* it has rows */

/* A set of numbers below nbits. */
typedef struct KnnCheckSet
{
	uint64		nbits;
	uint8	   *bits;
} KnnCheckSet;

typedef struct KnnCheck
{
	Relation	index;
	Relation	heap;
	KnnStore   *store;
	bool		at_rest;		/* nothing changes meanwhile */
	BufferAccessStrategy strategy;
	BlockNumber nblocks;		/* of the relation, when it was last asked */
	BlockNumber first_nblocks;	/* at the start */
	BlockNumber heap_nblocks;	/* likewise, of the table; Invalid: not a heap */
	BlockNumber block;			/* being looked at, for the error's context */
	KnnCheckSet seen;			/* blocks verified */

	uint32		nnodes;			/* given out at the start: these are checked */
	uint32		nodes_room;		/* later ones may be linked to */
	KnnCheckNode *nodes;
	KnnCheckSet upper;			/* slots that belong to a node */
	KnnCheckSet chain;			/* items that belong to a chain */

	/* of knn_ivf */
	KnnCheckSet blocks;			/* that belong to a list */
	KnnCheckSet vectors;		/* ids that belong to an entry */

	Tuplesortstate *tids;		/* all rows of the index, as int8 */
	uint64		nrows;
} KnnCheck;

/* Reads the items of a column, best in order: keeps a copy of the last page. */
typedef struct KnnCheckCursor
{
	KnnCheck   *check;
	KnnColumn	column;
	BlockNumber block;			/* whose copy it is */
	bool		zero;			/* never written, or beyond the end */
	char	   *item;			/* one that crosses pages, assembled */
	PGAlignedBlock page;
} KnnCheckCursor;

/* ---- check_pages.c ---- */

/* Report damage at a block; does not return. */
pg_noreturn extern void KnnCheckFail(KnnCheck *check, BlockNumber block, const char *format,...)
			pg_attribute_printf(3, 4);

/* Block of an item, for messages. */
extern BlockNumber KnnCheckBlockOf(KnnCheck *check, KnnColumn column, uint32 id);

extern void KnnCheckSetInit(KnnCheckSet *set, uint64 nbits);

/* Add a number, growing the set; false when it was there. */
extern bool KnnCheckSetAdd(KnnCheckSet *set, uint64 number);

/* Is the block there, as of now? */
extern bool KnnCheckBlockExists(KnnCheck *check, BlockNumber block);

/* ERROR unless a copy of a page is a sound page of the column, or all zero. */
extern void KnnCheckPage(KnnCheck *check, BlockNumber block, Page page, KnnColumn column);

/* Does a page that was read cover so many bytes of contents? */
extern bool KnnCheckCovers(Page page, uint32 end);

extern void KnnCheckCursorInit(KnnCheckCursor *cursor, KnnCheck *check, KnnColumn column);

/*
 * An item, valid until the next call, or NULL when no item was written there
 * (in full).  The copy it is taken from may be older than this call: "fresh"
 * reads the page again.
 */
extern const void *KnnCheckItem(KnnCheckCursor *cursor, uint32 id, bool fresh);

/* The metapage, more strictly than opening the index does. */
extern void KnnCheckMeta(KnnCheck *check);

/* The blocks that no other part has seen. */
extern void KnnCheckOtherBlocks(KnnCheck *check);

/* ---- check_nodes.c ---- */

/* Columns links and upper; notes which nodes are linked to. */
extern void KnnCheckLinks(KnnCheck *check);

/* Columns tid and chain; collects the rows. */
extern void KnnCheckTids(KnnCheck *check);

/*
 * Is a TID possible?  Called with its page locked: a row that is in the index has its
 * place in the table.
 */
extern void KnnCheckTid(KnnCheck *check, BlockNumber block, KnnColumn column, uint32 id,
						const ItemPointerData *tid);

/* Nodes that are linked to are there, and reach the level they are linked at. */
extern void KnnCheckReferences(KnnCheck *check);

/* ---- check_vectors.c ---- */

/* Columns centre, code and vector. */
extern void KnnCheckVectors(KnnCheck *check);

/* All items of the column centre, by a cursor of that; codebooks are among them. */
extern void KnnCheckCentre(KnnCheck *check, KnnCheckCursor *cursor);

/* ERROR unless the floats of an item are finite numbers. */
extern void KnnCheckFinite(KnnCheck *check, KnnColumn column, uint32 id, const float *v);

/* Are factors numbers that could be? */
extern bool KnnCheckFactors(const KnnCheck *check, const knn_code_factors *factors);

/*
 * Compare a code and its factors (a) with those that its vector gives (b); r is the
 * vector as it was encoded (centred and rotated).  NULL, or what is wrong: a format
 * for what the code is of, a string and a number.
 */
extern const char *KnnCheckCode(KnnCheck *check, const knn_code_factors *a, const uint8 *stored,
								const knn_code_factors *b, const uint8 *expected,
								const float *r);

/* ---- check_lists.c ---- */

/* All columns of a knn_ivf index; collects the rows. */
extern void KnnCheckLists(KnnCheck *check);

/* ---- check_rows.c ---- */

extern void KnnCheckRowsBegin(KnnCheck *check);
extern void KnnCheckAddRow(KnnCheck *check, const ItemPointerData *tid);

/*
 * No row is in the index twice and, with a snapshot taken before the index was
 * read, all rows of the table that it shows are in the index.
 */
extern void KnnCheckRows(KnnCheck *check, Snapshot snapshot);

/* ---- check_reach.c ---- */

/* WARNING when live nodes cannot be reached from the entry point.  At rest. */
extern void KnnCheckReach(KnnCheck *check);

#endif
