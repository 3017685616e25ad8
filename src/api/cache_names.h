/*
 * cache_names.h
 *		The indexes that the names given to knn_warmup and knn_clear_cache stand for.
 *
 * A name is written as in SQL: looked up by the search_path unless it has a schema,
 * lower case unless in double quotes.
 *
 *	- of a knn index: that index
 *	- of a table or materialized view: its knn indexes
 *	- of a partitioned table or index: the knn indexes of its partitions
 *	- with * (any characters) or ? (one) outside double quotes: a pattern, which
 *	  stands for all of the above that it matches
 *
 * A name that stands for nothing is an error; a pattern that matches nothing is not.
 */
#ifndef KNN_API_CACHE_NAMES_H
#define KNN_API_CACHE_NAMES_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/array.h"

/*
 * OIDs of the indexes, each once, in the order of the names.  When they are to be
 * searched, those that are not valid are only taken by their own name.
 *
 * ERROR when the user may not maintain something that is named exactly.  What the
 * user may not maintain among partitions and matches is in the list.
 */
extern List *KnnIndexesByName(ArrayType *names, const char *function, bool to_be_searched);

/* Are indexes of its access method in the native memory cache, once they are loaded? */
extern bool KnnIsMirrored(Oid index);

#endif
