/*
 * page.h
 *		What all pages of a knn index have in common.
 *
 * Every block is a standard page: page header, contents, and a special area of
 * 8 bytes that tells which column the page belongs to, the format's version and
 * a page id for tools that look at raw files.  The contents start right after
 * the header; pd_lower is the end of what has been written, so that a full-page
 * image leaves out the rest, and pd_upper is the start of the special area.
 * There are no line pointers.
 *
 * A block that was never written is all zeroes ("new"): relation extension is
 * not logged, so after a crash any block of an extent may be in that state until
 * an item in it is written.
 */
#ifndef KNN_STORE_PAGE_H
#define KNN_STORE_PAGE_H

#include "postgres.h"

#include "compat.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#define KNN_PAGE_ID			0xFFA1
#define KNN_PAGE_VERSION	1

/* What a page holds.  Stored on disk: never renumber. */
typedef enum KnnColumn
{
	KNN_COLUMN_META = 0,
	KNN_COLUMN_TID = 1,			/* heap TIDs of a node */
	KNN_COLUMN_LINKS = 2,		/* level-0 neighbours of a node */
	KNN_COLUMN_CODE = 3,		/* code of a node's vector */
	KNN_COLUMN_VECTOR = 4,		/* full vector of a node */
	KNN_COLUMN_UPPER = 5,		/* neighbours at one level above 0 */
	KNN_COLUMN_CHAIN = 6,		/* more heap TIDs of a node */
	KNN_COLUMN_CENTRE = 7,		/* the point that codes are relative to */

	/* of knn_ivf */
	KNN_COLUMN_BLOCK = 8,		/* blocks of lists: a page each */
	KNN_COLUMN_HEAD = 9,		/* what changes of a list */
	KNN_COLUMN_COARSE = 10,		/* where a list begins, and its centroid's code */
	KNN_COLUMN_CENTROID = 11	/* centroid of a list */
} KnnColumn;

#define KNN_NCOLUMNS 12

/* Columns of a knn_hnsw index come before this one. */
#define KNN_HNSW_COLUMNS_END KNN_COLUMN_BLOCK

typedef struct KnnPageSpecial
{
	uint8		column;			/* KnnColumn */
	uint8		version;		/* KNN_PAGE_VERSION of the writer */
	uint16		unused1;
	uint16		unused2;
	uint16		page_id;		/* KNN_PAGE_ID, last two bytes of the page */
} KnnPageSpecial;

/* Bytes of contents per page. */
#define KNN_PAGE_CAPACITY \
	(BLCKSZ - MAXALIGN(SizeOfPageHeaderData) - MAXALIGN(sizeof(KnnPageSpecial)))

#define KnnPageContents(page) ((char *) (page) + MAXALIGN(SizeOfPageHeaderData))
#define KnnPageGetSpecial(page) ((KnnPageSpecial *) PageGetSpecialPointer(page))

extern const char *KnnColumnName(KnnColumn column);

/* Make an empty page of a column. */
extern void KnnPageInit(Page page, KnnColumn column);

/* Let pd_lower cover the first "used" bytes of the contents. */
extern void KnnPageCover(Page page, Size used);

/*
 * ERROR (index corrupted, with the block's number) unless the page is a written
 * page of the column.  The caller holds a pin; the header and special area of an
 * initialised page never change, so no lock is needed.
 */
extern void KnnPageCheck(Relation index, BlockNumber block, Page page, KnnColumn column);

/* Is the page a well-formed page of the column? */
extern bool KnnPageIsValid(Page page, KnnColumn column);

/* Report damage found at a block; does not return. */
pg_noreturn extern void KnnReportDamage(Relation index, BlockNumber block, const char *detail);

#endif
