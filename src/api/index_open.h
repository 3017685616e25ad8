/*
 * index_open.h
 *		Opening an index by name for the functions that look into it.
 */
#ifndef KNN_API_INDEX_OPEN_H
#define KNN_API_INDEX_OPEN_H

#include "postgres.h"

#include "compat.h"
#include "storage/lockdefs.h"
#include "utils/rel.h"

/* Who may look. */
typedef enum KnnIndexAccess
{
	KNN_ACCESS_READ,			/* who may read the table, or all statistics */
	KNN_ACCESS_MAINTAIN			/* who may maintain the table */
} KnnIndexAccess;

/* May the user do that to the indexes of a table? */
extern bool KnnMayAccess(Oid heapoid, KnnIndexAccess access);

/* ERROR unless the user may. */
extern void KnnCheckAccess(Oid heapoid, KnnIndexAccess access);

/* ERROR that a relation is not a knn index. */
pg_noreturn extern void KnnNotAKnnIndex(const char *name);

/*
 * Lock and open a knn index and its table, the table first; ERROR when it is
 * anything else, cannot be read here and now, or the user may not.
 */
extern Relation KnnOpenIndex(Oid indexoid, LOCKMODE lockmode, KnnIndexAccess access,
							 Relation *heap);

/* Close both, keeping the locks until the end of the transaction. */
extern void KnnCloseIndex(Relation index, Relation heap);

#endif
