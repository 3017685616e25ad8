/*
 * scan.h
 *		What the scans of all methods have in common.
 */
#ifndef KNN_AM_SCAN_H
#define KNN_AM_SCAN_H

#include "postgres.h"

#include "access/relscan.h"

#include "store/store.h"

/* Take over the keys of a rescan. */
extern void KnnScanSetKeys(IndexScanDesc scan, ScanKey keys, ScanKey orderbys);

/* ERROR unless a scan orders, and has a snapshot that copied TIDs are safe with. */
extern void KnnScanCheck(IndexScanDesc scan);

/*
 * Elements of the query that a scan orders by.  Every distance to NULL is NULL, and
 * every cosine distance to the zero vector NaN: all rows are peers then, so any order
 * is right, and the search starts from the origin.
 */
extern void *KnnScanQuery(IndexScanDesc scan, const KnnShape *shape);

#endif
