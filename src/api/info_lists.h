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
} KnnListCounts;

/* Reads all blocks of lists. */
extern void KnnCountLists(Relation index, KnnStore *store, BufferAccessStrategy strategy,
						  KnnListCounts *counts);

#endif
