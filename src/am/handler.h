/*
 * handler.h
 *		What the access methods of the extension have in common.
 */
#ifndef KNN_AM_HANDLER_H
#define KNN_AM_HANDLER_H

#include "postgres.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "nodes/pathnodes.h"

#include "am/value.h"

/* What the methods can do and the callbacks they share; the others are NULL. */
extern IndexAmRoutine *KnnMakeAmRoutine(void);

/* For ambuild: build an index; an error is counted. */
typedef IndexBuildResult *(*KnnBuildIndex) (Relation heap, Relation index, struct IndexInfo *info);
extern IndexBuildResult *KnnBuild(Relation heap, Relation index, struct IndexInfo *info,
								  KnnBuildIndex build);

/*
 * For aminsert, as which it returns: insert a value, if there is one to be indexed, in a
 * memory context of its own; the attempt and an error are counted.
 */
typedef void (*KnnInsertValue) (Relation index, KnnStore *store, const KnnValue *value,
								ItemPointer tid, bool unchanged);
extern bool KnnInsert(Relation index, const Datum *values, const bool *isnull, ItemPointer tid,
					  bool unchanged, KnnInsertValue insert);

/* Is an access method one of the extension's? */
extern bool KnnIsAmRoutine(const IndexAmRoutine *routine);

/*
 * Of a path: false, with a price that no plan pays, when there is no order to scan by.
 */
extern bool KnnCostIsOrdered(IndexPath *path, Cost *startup_cost, Cost *total_cost,
							 Selectivity *selectivity, double *correlation, double *pages);

/*
 * Price of reading one of the index's pages.  Those of searches are in use all the
 * time; what does not fit into the cache is read.  A cached page costs about what
 * the processor does to find it.
 */
extern double KnnCostPage(const IndexOptInfo *info);

/* Price of scoring a code of this dimension. */
extern double KnnCostScore(double dim);

#endif
