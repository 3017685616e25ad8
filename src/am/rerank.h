/*
 * rerank.h
 *		Exact distances between a query and the nodes of an index.
 */
#ifndef KNN_AM_RERANK_H
#define KNN_AM_RERANK_H

#include "postgres.h"

#include "access/relscan.h"
#include "access/tableam.h"
#include "nodes/execnodes.h"

#include "am/value.h"

/*
 * Where the exact distances of one scan come from: the column "vector", or,
 * when the index keeps no vectors, the table's rows.
 */
typedef struct KnnRerank
{
	IndexScanDesc scan;
	KnnStore   *store;
	const float *query;			/* its elements */
	float	   *vector;			/* scratch: an item that crosses pages */
	float	   *scratch;

	/* reading ahead */
	int			ahead;			/* reads until more is requested */

	/* reading rows, set up by the first */
	struct IndexFetchTableData *fetch;
	TupleTableSlot *slot;
	EState	   *estate;
	IndexInfo  *index_info;
} KnnRerank;

/* Allocates in the current memory context. */
extern void KnnRerankInit(KnnRerank *rerank, IndexScanDesc scan, KnnStore *store,
						  const float *query);

/* Can distances be had that are more exact than those of the codes? */
static inline bool
KnnRerankPossible(const KnnShape *shape)
{
	return knn_encoding_is_float(shape->encoding);
}

/*
 * Exact distance of a node, infinity when it is not a number.  False when no row of
 * it is visible, which is only found out when rows are read.
 */
extern bool KnnRerankDistance(KnnRerank *rerank, uint32 node, float *distance);

/*
 * The same of a row, from the vector of this id where the index keeps vectors, else
 * from the table.  The TID is a possible one.
 */
extern bool KnnRerankRow(KnnRerank *rerank, uint32 id, const ItemPointerData *tid,
						 float *distance);

/*
 * Nodes whose distances will be asked for soon, nearest first.  When their pages
 * are not in memory, reading them is begun, so that a device with a queue works
 * on many at once.
 */
extern void KnnRerankAhead(KnnRerank *rerank, const uint32 *nodes, int nnodes);

/* Most nodes worth passing to KnnRerankAhead. */
#define KNN_RERANK_AHEAD 32

/* Is it time to call KnnRerankAhead, before the distance of this node? */
extern bool KnnRerankWantsAhead(KnnRerank *rerank, uint32 node);

/*
 * Request the cache lines of vectors that are in memory and will be looked at soon.
 */
extern void KnnRerankPrefetch(const KnnRerank *rerank, uint32 node);

/* Could there be a row at this TID? */
static inline bool
KnnTidIsPossible(const ItemPointerData *tid)
{
	return ItemPointerIsValid(tid) &&
		ItemPointerGetBlockNumberNoCheck(tid) != InvalidBlockNumber;
}

/* Releases what memory contexts do not. */
extern void KnnRerankEnd(KnnRerank *rerank);

#endif
