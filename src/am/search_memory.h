/*
 * search_memory.h
 *		Memory of graph searches, kept from one search to the next.
 */
#ifndef KNN_AM_SEARCH_MEMORY_H
#define KNN_AM_SEARCH_MEMORY_H

#include "postgres.h"

#include "core/graph_search.h"

/*
 * A search, initialised for neighbour lists of at most max_degree; its reader is
 * to be set.  It is taken back when the owner context is reset or deleted.
 */
extern knn_search *KnnSearchTake(uint32 max_degree, MemoryContext owner);

#endif
