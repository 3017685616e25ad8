/*
 * code.h
 *		8-bit codes: what a graph search looks at instead of full vectors.
 *
 * A vector x is centred (and, where the space allows, rotated first):
 * r = P(x) - c.  Its code is u[i] = 128 + round(r[i] / step), step = max|r|/127,
 * so that r is close to scale * xbar with xbar[i] = u[i] - 128 in -127..127.
 * For spaces that rotate, scale = <r,r> / <r,xbar> makes
 *
 *		<r, q>  ~  scale * <xbar, q>
 *
 * unbiased over the random rotation (RaBitQ: Gao and Long, SIGMOD 2024 and
 * 2025, here at 8 bits where max scaling is near the optimal one), and the
 * error is a random quantity of standard deviation |r| tan(r,xbar) |q| /
 * sqrt(dim - 1), which the stored factor err bounds at KNN_CODE_EPSILON
 * deviations.  The query is itself coded in int8, so that a distance is one
 * integer dot product:
 *
 *	squared L2		|r|^2 + |q-c|^2 - 2 <r, q-c>
 *	inner product	-<c,q> - <r,q>
 *	cosine			squared L2 of the normalised vectors
 *
 * L1 and L-infinity are not rotation invariant: r = x - c unrotated, scale =
 * step, and the distance is computed on the decoded code against the float
 * query; err is the certain bound |r - scale*xbar| in the same norm.
 */
#ifndef KNN_CORE_CODE_H
#define KNN_CORE_CODE_H

#include <math.h>
#include <stdint.h>

#include "core/distance.h"
#include "core/space.h"

/* Encodings; the numbers are stored in index metapages. */
typedef enum knn_encoding
{
	KNN_ENCODING_ROTATED_8 = 1,
	KNN_ENCODING_ROTATED_4 = 2,
	KNN_ENCODING_ROTATED_2 = 3,
	KNN_ENCODING_ROTATED_1 = 4,
	KNN_ENCODING_BYTE = 5,		/* int8 vectors are their own codes */
	KNN_ENCODING_BINARY = 6		/* and so are bits */
} knn_encoding;

/* Deviations that the probabilistic bound covers (as in the paper). */
#define KNN_CODE_EPSILON 1.9f

typedef struct knn_code_factors
{
	float		norm2;			/* |r|^2 */
	float		scale;
	float		err;			/* bound, per unit of query norm if rotated */
} knn_code_factors;

/* What is needed to turn vectors of one index into codes. */
typedef struct knn_encoder
{
	uint32_t	dim;
	knn_space	space;
	const uint8_t *signs;		/* rotation, NULL for spaces that do not rotate */
	const float *centre;		/* dim floats, rotated when signs is set; NULL
								 * is zero */
	const knn_kernels *kernels;
} knn_encoder;

/*
 * A query made ready to be scored against codes.  q8 and qf are the caller's
 * memory, dim elements each, and must live as long as the query.
 */
typedef struct knn_query
{
	uint32_t	dim;
	knn_space	space;
	float		base;			/* the term that depends on the query alone */
	float		slope;			/* multiplies scale * integer dot product */
	float		norm;			/* multiplies the code's err */
	float		err;			/* bound of the query's own coding, per unit of |r| */
	int32_t		bias;			/* 128 * sum of q8, taken off the dot product */
	const int8_t *q8;
	const float *qf;			/* centred query, L1 and L-infinity only */
	int32_t		(*dot_u8s8) (const uint8_t *code, const int8_t *query, uint32_t dim);
	float		(*decoded) (const uint8_t *code, const float *query,
							float scale, float offset, uint32_t dim);
} knn_query;

/* Scale v to length 1; false when its length is zero (or not finite). */
extern bool knn_normalise(const knn_kernels *kernels, float *v, uint32_t dim);

/*
 * Encode v (dim floats, normalised where the space asks for it) into factors and
 * code (dim bytes).  scratch is dim floats.
 */
extern void knn_encode(const knn_encoder *enc, const float *v,
					   knn_code_factors *factors, uint8_t *code, float *scratch);

/*
 * Prepare v (as for knn_encode) as a query.  q8: dim int8, qf: dim floats; both
 * are written and referenced by the query.
 */
extern void knn_query_prepare(knn_query *query, const knn_encoder *enc,
							  const float *v, int8_t *q8, float *qf);

/*
 * Prepare an encoded vector as a query, for distances between codes.  Same
 * memory as above.
 */
extern void knn_query_from_code(knn_query *query, const knn_encoder *enc,
								const knn_code_factors *factors,
								const uint8_t *code, int8_t *q8, float *qf);

/*
 * Estimated distance between the query and a code.
 */
static inline float
knn_query_score(const knn_query *query, const knn_code_factors *factors,
				const uint8_t *code)
{
	switch (query->space)
	{
		case KNN_SPACE_L2:
		case KNN_SPACE_COSINE:
			return factors->norm2 + query->base + query->slope * factors->scale *
				(float) (query->dot_u8s8(code, query->q8, query->dim) - query->bias);
		case KNN_SPACE_INNER_PRODUCT:
			return query->base + query->slope * factors->scale *
				(float) (query->dot_u8s8(code, query->q8, query->dim) - query->bias);
		default:
			return query->decoded(code, query->qf, factors->scale,
								  -128.0f * factors->scale, query->dim);
	}
}

/*
 * Bound of the error of that estimate: probable for spaces that rotate, certain
 * for the others (up to rounding).
 */
static inline float
knn_query_error(const knn_query *query, const knn_code_factors *factors)
{
	if (query->q8 == NULL)
		return factors->err;
	return factors->err * query->norm + sqrtf(factors->norm2) * query->err;
}

/* Exact distance in the core's terms (space.h) between full vectors. */
extern float knn_exact_distance(const knn_kernels *kernels, knn_space space,
								const float *a, const float *b, uint32_t dim);

#endif
