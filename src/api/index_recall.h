/*
 * index_recall.h
 *		Recall of an index against exact search, internal interfaces between its
 *		files.
 */
#ifndef KNN_API_INDEX_RECALL_H
#define KNN_API_INDEX_RECALL_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "storage/itemptr.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

#include "core/distance.h"
#include "store/store.h"

/*
 * The rows of a table that belong into an index and that a snapshot shows, with
 * the distances the operator ranks by: of the vectors as the table has them,
 * whatever the index keeps of them.
 */
typedef struct KnnRecallRows
{
	Relation	heap;
	Relation	index;
	Snapshot	snapshot;
	MemoryContext context;		/* of what lives longer than a row */
	KnnShape	shape;			/* as the index's, but vectors are kept in full */
	const knn_kernels *kernels;
	EState	   *estate;
	IndexInfo  *info;
	ExprState  *predicate;
} KnnRecallRows;

/* A vector on its way through a comparison: elements as in am/value.h. */
typedef struct KnnRecallVector
{
	void	   *elements;
	double		norm2;			/* of byte vectors under cosine */
} KnnRecallVector;

/* A row whose neighbours are asked for. */
typedef struct KnnRecallQuery
{
	ItemPointerData tid;
	struct KnnVector *value;
	KnnRecallVector vector;

	/* distances of the nearest other rows, a heap with the farthest first */
	double	   *nearest;
	int			nnearest;
} KnnRecallQuery;

extern void KnnRecallRowsBegin(KnnRecallRows *rows, Relation heap, Relation index,
							   const KnnShape *shape, Snapshot snapshot);
extern void KnnRecallRowsEnd(KnnRecallRows *rows);

/*
 * The vector of a row, in memory that the next row takes; false when it does not
 * belong into the index.
 */
extern bool KnnRecallRowVector(KnnRecallRows *rows, TupleTableSlot *slot, KnnRecallVector *vector);

/* Distance in the core's terms (core/space.h); infinity for what is none. */
extern double KnnRecallDistance(const KnnRecallRows *rows, const KnnRecallVector *a,
								const KnnRecallVector *b);

/*
 * Draw up to n rows, each as likely as any other; returns how many there are: all
 * of them when the table has no more.
 */
extern int	KnnRecallSample(KnnRecallRows *rows, KnnRecallQuery *queries, int n);

/*
 * Find the k nearest rows of each query, itself not counted, by comparing it with
 * all rows; returns the number of these.
 */
extern uint64 KnnRecallExact(KnnRecallRows *rows, KnnRecallQuery *queries, int nqueries, int k);

#endif
