/*
 * info_lists.h
 *		What knn_index_info tells of a knn_ivf index.
 */
#ifndef KNN_API_INFO_LISTS_H
#define KNN_API_INFO_LISTS_H

#include "postgres.h"

#include "storage/bufmgr.h"
#include "store/store.h"

typedef struct KnnListCounts
{
	uint64		rows;
	uint64		places;			/* that have been used: rows, or emptied */
	uint64		longest;		/* rows of the longest list */

	/*
	 * How much farther rows inserted since the build are from the centroids of their
	 * lists than those of the build are, as a share of the mean distance of these; 0
	 * when they are nearer, negative: unknown.
	 */
	double		drift;
} KnnListCounts;

/* Reads all blocks of lists. */
extern void KnnCountLists(Relation index, KnnStore *store, BufferAccessStrategy strategy,
						  KnnListCounts *counts);

#endif
