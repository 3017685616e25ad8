/*
 * hnsw_mirror.h
 *		Reading a graph from the index's mirror in the native memory cache.
 */
#ifndef KNN_AM_HNSW_MIRROR_H
#define KNN_AM_HNSW_MIRROR_H

#include "postgres.h"

#include "am/hnsw.h"
#include "cache/search.h"

/*
 * The reader of one search through a mirror.  The page reader that it belongs to has
 * the query and the memory of it, and takes over when the mirror goes.
 */
typedef struct KnnMirrorReader
{
	KnnMirrorPin pin;
	KnnMirrorUseMode mode;
	knn_flat_graph graph;
	knn_flat_reader flat;
	KnnPageReader *pages;
	knn_search *search;
	knn_reader	page_reader;	/* callbacks of the search without mirror */
	knn_reader	flat_reader;	/* and with it */
} KnnMirrorReader;

/*
 * Let a search go through the index's mirror, where there is one (or can be loaded:
 * counted).  False when it goes through pages.  The mirror stays pinned; it is
 * let go of, whatever happens, when the context is reset.
 */
extern bool KnnMirrorReaderBegin(KnnMirrorReader *reader, KnnPageReader *pages,
								 knn_search *search, MemoryContext context, bool counted);

/*
 * See how far the mirror goes by now: when a search is to begin at an id that was
 * read elsewhere.
 */
extern void KnnMirrorReaderExtend(KnnMirrorReader *reader);

/* Let go of the mirror between the calls of a scan, and take it up again. */
extern void KnnMirrorReaderPause(KnnMirrorReader *reader);
extern void KnnMirrorReaderResume(KnnMirrorReader *reader);

/* ERROR when a search has come upon damage. */
extern void KnnMirrorReaderCheck(KnnMirrorReader *reader);

/* Is the search going through a mirror now? */
static inline bool
KnnMirrorReaderActive(const KnnMirrorReader *reader)
{
	return reader->pin.pinned;
}

/* The only row of a node, if the mirror tells. */
static inline bool
KnnMirrorReaderTid(const KnnMirrorReader *reader, uint32 node, ItemPointer tid)
{
	return reader->pin.pinned && !reader->mode.standby &&
		node < reader->graph.nnodes && KnnMirrorTid(reader->pin.view, node, tid);
}

/* Request the cache line of that. */
static inline void
KnnMirrorReaderPrefetch(const KnnMirrorReader *reader, uint32 node)
{
	if (reader->pin.pinned && node < reader->graph.nnodes)
		__builtin_prefetch(knn_flat_item(&reader->pin.view->row, node));
}

#endif
