/*
 * options.h
 *		Index options and query settings.
 */
#ifndef KNN_AM_OPTIONS_H
#define KNN_AM_OPTIONS_H

#include "postgres.h"

#include "utils/rel.h"

/* As parsed from WITH (...). */
typedef struct KnnHnswOptions
{
	int32		vl_len_;
	int			m;
	int			ef_construction;
	int			ef_search;
} KnnHnswOptions;

#define KNN_HNSW_DEFAULT_M					16
#define KNN_HNSW_MIN_M						2
#define KNN_HNSW_MAX_M						100
#define KNN_HNSW_DEFAULT_EF_CONSTRUCTION	100
#define KNN_HNSW_MIN_EF_CONSTRUCTION		4
#define KNN_HNSW_MAX_EF_CONSTRUCTION		10000
#define KNN_DEFAULT_EF_SEARCH				100
#define KNN_MAX_EF_SEARCH					100000

typedef enum KnnScanOrder
{
	KNN_SCAN_ORDER_STRICT,
	KNN_SCAN_ORDER_RELAXED
} KnnScanOrder;

/* Settings; see options.c for what they mean. */
extern int	knn_ef_search;
extern int	knn_max_scan_tuples;
extern int	knn_scan_order;

/* Registers the options and settings; called once at load. */
extern void KnnOptionsInit(void);

extern bytea *KnnHnswOptionsParse(Datum reloptions, bool validate);

/* Options of an index with defaults filled in. */
extern KnnHnswOptions KnnHnswOptionsOf(Relation index);

#endif
