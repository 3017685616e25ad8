/*
 * warm_pages.h
 *		Reading an index's pages into memory, of an access method without mirrors.
 */
#ifndef KNN_CACHE_WARM_PAGES_H
#define KNN_CACHE_WARM_PAGES_H

#include "postgres.h"

#include "storage/block.h"
#include "utils/rel.h"

/* Pages of indexes that fit into shared buffers along with what else is there. */
extern BlockNumber KnnPagesThatFit(void);

/*
 * Reads all pages of an index; the first room of them stay in shared buffers, the
 * others pass through a few buffers and are left to the kernel's cache.  Counts as a
 * load if any of the first was not in shared buffers before.  Returns the number of
 * pages.
 */
extern BlockNumber KnnWarmPages(Relation index, BlockNumber room);

#endif
