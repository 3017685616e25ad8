/*
 * estimate.h
 *		Memory that an index would take.
 */
#ifndef KNN_API_ESTIMATE_H
#define KNN_API_ESTIMATE_H

#include "postgres.h"

#include "store/store.h"

/* What knn_estimate_memory says for an index of this shape. */
extern int64 KnnEstimateIndexMemory(const KnnShape *shape, int64 count);

#endif
