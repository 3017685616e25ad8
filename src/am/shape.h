/*
 * shape.h
 *		What the options of an index come to: its shape.
 */
#ifndef KNN_AM_SHAPE_H
#define KNN_AM_SHAPE_H

#include "postgres.h"

#include "store/store.h"
#include "utils/rel.h"

struct KnnModelSource;

/*
 * The shape of a knn_hnsw index that is about to be built, with a fresh seed;
 * ERROR when the column, the operator class or the options do not go together.
 * It is kept in the metapage: options that are changed later, ef_search aside,
 * count when the index is rebuilt.
 */
extern KnnShape KnnResolveHnswShape(Relation index, const struct KnnModelSource *model);

/*
 * The same of a knn_ivf index, nprobes aside.  Both take the model that the index is
 * made from, or NULL.
 */
extern KnnShape KnnResolveIvfShape(Relation index, const struct KnnModelSource *model);

/*
 * Codes for an index whose encoder has nothing to learn from, until it is rebuilt: 8
 * bits a dimension in place of pq.
 */
extern void KnnShapeFallBack(KnnShape *shape);

/*
 * Width of a scan where knn.ef_search does not tell: the option ef_search, else
 * the default in the shape.  shape may be NULL, where the metapage is not worth
 * reading: the default is then what the options now resolve to.
 */
extern int	KnnHnswEfSearch(Relation index, const KnnShape *shape);

/*
 * What the metapage says of an index that was made from a model, of which the options
 * tell nothing but its name.
 */
extern const KnnShape *KnnFrozenShape(Relation index);

/*
 * Could options come to this combination of data type, space, mode, level,
 * encoding and vectors?  For what is read from a metapage.
 */
extern bool KnnShapePossible(const KnnShape *shape);

/* What codes are, for people. */
extern const char *KnnEncodingName(const KnnShape *shape);

/*
 * Candidates for each row wanted in the first pass of a search with rescoring,
 * as far as the index decides; 0: no rescoring by default.  See shape.c for the
 * rules.
 */
extern double KnnDefaultOversample(const KnnShape *shape);

/*
 * Candidates in the first pass for k rows: k * factor rounded up, but between 100
 * and 10,000.  A factor below 1 counts as 1.
 */
extern uint32 KnnFirstPass(double k, double factor);

#endif
