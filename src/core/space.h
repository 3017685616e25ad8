/*
 * space.h
 *		Vector spaces: which distance an index or a query ranks by.
 *
 * The numbers are stored in index metapages and must not change.
 *
 * Inside the core a distance is whatever ranks the same way and is cheapest:
 * L2 is squared, inner product is negated, and cosine is squared L2 between
 * normalised vectors (twice the cosine distance).
 */
#ifndef KNN_CORE_SPACE_H
#define KNN_CORE_SPACE_H

#include <stdbool.h>

typedef enum knn_space
{
	KNN_SPACE_L2 = 1,
	KNN_SPACE_INNER_PRODUCT = 2,
	KNN_SPACE_COSINE = 3,
	KNN_SPACE_L1 = 4,
	KNN_SPACE_LINF = 5,
	KNN_SPACE_HAMMING = 6
} knn_space;

/* Does a rotation of both vectors leave the distance as it was? */
static inline bool
knn_space_rotates(knn_space space)
{
	return space == KNN_SPACE_L2 || space == KNN_SPACE_INNER_PRODUCT ||
		space == KNN_SPACE_COSINE;
}

/* Are vectors and queries normalised before anything else? */
static inline bool
knn_space_normalises(knn_space space)
{
	return space == KNN_SPACE_COSINE;
}

#endif
