/*
 * scan.h
 *		What the scans of all methods have in common.
 */
#ifndef KNN_AM_SCAN_H
#define KNN_AM_SCAN_H

#include "postgres.h"

#include "access/relscan.h"

#include "am/rerank.h"

/* The beginning of a method's state of a scan, which is the scan's opaque. */
typedef struct KnnScan
{
	/* kept by a rescan */
	IndexScanDesc scan;
	MemoryContext context;		/* what the scan allocates; reset by a rescan */
	Size		size;			/* of the method's state */
	bool		(*next_row) (IndexScanDesc scan);	/* sets xs_heaptid; false at the end */

	/* zero at first, and all of the method's state that follows */
	bool		started;
	KnnRerank	rerank;
} KnnScan;

/* For ambeginscan: a state of this size, in the current memory context. */
extern IndexScanDesc KnnScanBegin(Relation index, int nkeys, int norderbys, Size size,
								  bool (*next_row) (IndexScanDesc scan));

/* The other callbacks of a scan. */
extern void KnnScanRescan(IndexScanDesc scan, ScanKey keys, int nkeys,
						  ScanKey orderbys, int norderbys);
extern bool KnnScanGetTuple(IndexScanDesc scan, ScanDirection direction);
extern void KnnScanEnd(IndexScanDesc scan);

/* ERROR unless a scan orders, and has a snapshot that copied TIDs are safe with. */
extern void KnnScanCheck(IndexScanDesc scan);

/*
 * Elements of the query that a scan orders by.  Every distance to NULL is NULL, and
 * every cosine distance to the zero vector NaN: all rows are peers then, so any order
 * is right, and the search starts from the origin.
 */
extern void *KnnScanQuery(IndexScanDesc scan, const KnnShape *shape);

#endif
