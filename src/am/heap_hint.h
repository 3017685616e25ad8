/*
 * heap_hint.h
 *		Finding the table's rows that a scan returns by hints.
 */
#ifndef KNN_AM_HEAP_HINT_H
#define KNN_AM_HEAP_HINT_H

#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"

/* Remember the buffer of the row that was fetched last. */
extern void KnnHeapHintLearn(IndexScanDesc scan);

/* Request the cache lines that fetching a row begins with, if there is a hint. */
extern void KnnHeapHintPrefetch(IndexScanDesc scan, ItemPointer tid);

/*
 * Request the row itself, when its page was requested a while ago.
 */
extern void KnnHeapHintPrefetchTuple(IndexScanDesc scan, ItemPointer tid);

/* Pin the page of the row that is returned next, if there is a hint that holds. */
extern void KnnHeapHintPin(IndexScanDesc scan, ItemPointer tid);

#endif
