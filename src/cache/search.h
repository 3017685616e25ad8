/*
 * search.h
 *		What a search does with the cache before it begins.
 */
#ifndef KNN_CACHE_SEARCH_H
#define KNN_CACHE_SEARCH_H

#include "postgres.h"

#include "cache/mirror.h"

/* How a search is to use the mirror it got. */
typedef struct KnnMirrorUseMode
{
	bool		standby;		/* it is the state of some moment: see mirror.h */
	uint32		entry;			/* where searches begin */
	uint32		entry_level;
	/* of a standby's: nodes below are in it, but for some */
	uint32		complete;
	uint32		nloose;
	uint32	   *loose;			/* ascending, in the current memory context */
} KnnMirrorUseMode;

/*
 * Is there a mirror that tells all that a search needs to begin?  Then the metapage
 * need not be read.
 */
extern bool KnnMirrorTells(Relation index, KnnStore *store);

/*
 * Count a search of an index and get its mirror: loads it, or refreshes that of a
 * standby, when it is time to.  False when the search has to go through buffers.
 */
extern bool KnnMirrorBeginSearch(KnnMirrorPin *pin, Relation index, KnnStore *store,
								 KnnMirrorUseMode *mode);

#endif
