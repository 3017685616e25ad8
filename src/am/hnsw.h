/*
 * hnsw.h
 *		The access method knn_hnsw, internal interfaces between its files.
 */
#ifndef KNN_AM_HNSW_H
#define KNN_AM_HNSW_H

#include "postgres.h"

#include "access/amapi.h"
#include "nodes/execnodes.h"

#include "am/allocator.h"
#include "am/value.h"
#include "core/graph_search.h"
#include "store/store.h"
#include "type/knn_vector.h"

/* Subphases of a build, beyond PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE (1). */
#define KNN_HNSW_PHASE_READ		2
#define KNN_HNSW_PHASE_GRAPH	3
#define KNN_HNSW_PHASE_INSERT	4
#define KNN_HNSW_PHASE_WRITE	5
#define KNN_HNSW_PHASE_LOG		6
#define KNN_HNSW_PHASE_SPOOL	7
#define KNN_HNSW_PHASE_MERGE	8
#define KNN_HNSW_PHASE_ORDER	9
#define KNN_HNSW_PHASE_CHECK	10
#define KNN_HNSW_PHASE_UPLOAD	11
#define KNN_HNSW_PHASE_REMOTE	12
#define KNN_HNSW_PHASE_DOWNLOAD	13
#define KNN_HNSW_PHASE_IMPORT	14

/*
 * Reads a graph from pages for one query.  neighbours() copies a links item
 * under a share lock; score() reads codes under pins alone (store.h).
 */
typedef struct KnnPageReader
{
	Relation	index;
	KnnStore   *store;
	knn_query	query;
	int8_t	   *q8;				/* memory of the query */
	float	   *qf;
	char	   *code_scratch;	/* a code item that crosses pages */
	KnnLinksItem *links;		/* copy of an item */
	KnnUpperItem *upper;
} KnnPageReader;

/*
 * Allocates in the current memory context; returns a search that reads through it,
 * which lives as long.
 */
extern knn_search *KnnPageReaderInit(KnnPageReader *reader, Relation index, KnnStore *store);

/* Sets the query, by its elements (value.h). */
extern void KnnPageReaderSetQuery(KnnPageReader *reader, const void *elements);

/* Estimated distances of nodes to the query, and their bounds. */
extern void KnnPageReaderScore(KnnPageReader *reader, const uint32 *ids, uint32 n,
							   float *distance, float *error);

/* hnsw_build.c */
extern IndexBuildResult *knn_hnsw_build(Relation heap, Relation index, IndexInfo *info);
extern void knn_hnsw_buildempty(Relation index);

/* hnsw_insert.c */
extern bool knn_hnsw_insert(Relation index, Datum *values, bool *isnull,
							ItemPointer tid, Relation heap,
							IndexUniqueCheck unique, bool unchanged, IndexInfo *info);

/*
 * Insert a value.  unchanged: an equal one is probably there, so a
 * narrow search looks for it first.  Memory is taken from the current context.
 */
extern void KnnHnswInsertValue(Relation index, KnnStore *store, const KnnValue *value,
							   ItemPointer tid, bool unchanged);

/* hnsw_scan.c */
extern IndexScanDesc knn_hnsw_beginscan(Relation index, int nkeys, int norderbys);

/* hnsw_vacuum.c */
extern IndexBulkDeleteResult *knn_hnsw_bulkdelete(IndexVacuumInfo *info,
												  IndexBulkDeleteResult *stats,
												  IndexBulkDeleteCallback callback, void *state);

/* hnsw_cost.c */
extern void knn_hnsw_costestimate(struct PlannerInfo *root, struct IndexPath *path,
								  double loop_count, Cost *startup_cost, Cost *total_cost,
								  Selectivity *selectivity, double *correlation, double *pages);

#endif
