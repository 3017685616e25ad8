/*
 * value.h
 *		Vectors on their way into an index: what is coded, what is kept.
 *
 * A value has two forms:
 *
 *	elements	what codes are made of and distances computed from: dim floats
 *				(normalised under cosine, -0 made 0) for float and half columns,
 *				the int8 elements or packed bits of byte and binary columns
 *	stored		the item of the column "vector": the elements again, or halves
 *				(as they came, not normalised), or nothing
 */
#ifndef KNN_AM_VALUE_H
#define KNN_AM_VALUE_H

#include "postgres.h"

#include "utils/rel.h"

#include "store/store.h"
#include "type/knn_vector.h"

typedef struct KnnValue
{
	void	   *elements;
	void	   *stored;			/* may be the same memory; NULL if none is kept */
} KnnValue;

/* Bytes of the two forms; the latter 0 when nothing is kept. */
extern Size KnnElementsSize(const KnnShape *shape);
extern Size KnnStoredSize(const KnnShape *shape);

/*
 * Both forms of a datum in the current memory context (never the datum's own
 * memory).  False when it is not to be indexed: a zero vector under cosine.
 * ERROR when it has not the index's dimension, or does not fit into a half.
 */
extern bool KnnIndexedValue(const KnnShape *shape, Datum datum, KnnValue *value);

/*
 * The elements of a query, as KnnIndexedValue's; NULL for a zero vector under
 * cosine.  A query of another data type is converted to the column's, as the
 * operator does.
 */
extern void *KnnQueryElements(Relation index, const KnnShape *shape, Datum datum);

/*
 * The elements of a stored item: the item itself, or in scratch (dim floats).
 */
extern const void *KnnElementsOfStored(const KnnShape *shape, const void *stored, float *scratch);

/*
 * Exact distance, in the core's terms, between a query's elements and a stored
 * item.  scratch is dim floats.
 */
extern float KnnStoredDistance(const KnnShape *shape, const knn_kernels *kernels,
							   const float *query, const void *stored, float *scratch);

#endif
