/*
 * code.h
 *		Codes: what a graph search looks at instead of full vectors.
 *
 * A float vector x is centred and (where the space allows) rotated first:
 * r = P(x) - c.  With B bits a dimension its code is a vector u of integers that
 * stand for xbar, close to r but for a factor:
 *
 *		8 bits		u[i] in 1..255			xbar[i] = u[i] - 128
 *		1, 2, 4		u[i] in 0..2^B - 1		xbar[i] = 2 u[i] - (2^B - 1)
 *
 * For spaces that rotate, scale = <r,r> / <r,xbar> makes
 *
 *		<r, q>  ~  scale * <xbar, q>
 *
 * unbiased over the random rotation (RaBitQ: Gao and Long, SIGMOD 2024 and
 * 2025), and the error is a random quantity of standard deviation
 * |r| tan(r,xbar) |q| / sqrt(dim - 1), which the stored factor err bounds at
 * KNN_CODE_EPSILON deviations.  The query is itself coded in int8, so that a
 * distance is one integer dot product:
 *
 *	squared L2		|r|^2 + |q-c|^2 - 2 <r, q-c>
 *	inner product	-<c,q> - <r,q>
 *	cosine			squared L2 of the normalised vectors
 *
 * L1 and L-infinity are not rotation invariant: 8 bits only, r = x - c unrotated,
 * and the distance is computed on the decoded code against the float query; err
 * is the certain bound |r - scale*xbar| in the same norm.
 *
 * byte and binary vectors are their own codes; their distances are exact.
 *
 * Codes of product quantization (core/pq.h) have the same scale and a query of
 * floats.  Their factor norm2 also has what depends on the centre alone, so that
 * one table of a query serves all lists; under inner product it is |r|^2.
 *
 * Another kind of code is a further knn_encoding with its cases here, in code.c
 * (encoding) and code_query.c (queries): nothing else looks into a code.
 */
#ifndef KNN_CORE_CODE_H
#define KNN_CORE_CODE_H

#include <math.h>
#include <stdint.h>

#include "core/distance.h"
#include "core/pq.h"
#include "core/space.h"

/* Encodings; the numbers are stored in index metapages. */
typedef enum knn_encoding
{
	KNN_ENCODING_ROTATED_8 = 1,
	KNN_ENCODING_ROTATED_4 = 2,
	KNN_ENCODING_ROTATED_2 = 3,
	KNN_ENCODING_ROTATED_1 = 4,
	KNN_ENCODING_BYTE = 5,		/* int8 vectors are their own codes */
	KNN_ENCODING_BINARY = 6,	/* and so are bits */
	KNN_ENCODING_PQ = 7
} knn_encoding;

/*
 * Deviations that the probabilistic bound covers: it fails for one estimate in
 * 160 on the side that matters.  (The paper's 1.9 fails for one in 35, which is
 * felt in recall at one bit.)
 */
#define KNN_CODE_EPSILON 2.5f

typedef struct knn_code_factors
{
	float		norm2;			/* |r|^2; of a byte vector |x|^2; of pq see above */
	float		scale;
	float		err;			/* bound, per unit of query norm if rotated */
} knn_code_factors;

/* What is needed to turn vectors of one index into codes. */
typedef struct knn_encoder
{
	uint32_t	dim;			/* elements, bits for binary */
	knn_space	space;
	knn_encoding encoding;
	const uint8_t *signs;		/* rotation, NULL for spaces that do not rotate */
	const float *centre;		/* dim floats, rotated when signs is set; NULL
								 * is zero */
	const knn_kernels *kernels;
	/* of KNN_ENCODING_PQ */
	const knn_pq *pq;
	const float *origin;		/* what tables are about, rotated; NULL is zero */
} knn_encoder;

/* How a query's distance is computed from a code. */
typedef enum knn_query_form
{
	KNN_FORM_L2,
	KNN_FORM_INNER_PRODUCT,
	KNN_FORM_DECODED,
	KNN_FORM_BYTE,
	KNN_FORM_BYTE_INNER_PRODUCT,
	KNN_FORM_BYTE_COSINE,
	KNN_FORM_BINARY,
	KNN_FORM_PQ,
	KNN_FORM_PQ_INNER_PRODUCT
} knn_query_form;

/*
 * A query made ready to be scored against codes.  q8 and qf are the caller's
 * memory, KNN_QUERY_ROOM(dim) and knn_query_floats() elements, and must live as long
 * as the query.
 */
typedef struct knn_query
{
	knn_query_form form;
	uint32_t	length;			/* argument of the kernel: elements or bytes */
	uint32_t	dim;
	float		base;			/* the term that depends on the query alone */
	float		slope;			/* multiplies scale * integer dot product */
	float		norm;			/* multiplies the code's err */
	float		err;			/* bound of the query's own coding, per unit of |r| */
	int32_t		times;			/* xbar is times * u - bias per element */
	int32_t		bias;			/* times sum of q8, taken off the dot product */
	const int8_t *q8;			/* coded query, or a byte or binary one */
	const float *qf;			/* centred query, KNN_FORM_DECODED only */
	const float *table;			/* of pq */
	const knn_pq *pq;
	const knn_kernels *kernels;
	int32_t		(*dot) (const uint8_t *code, const int8_t *query, uint32_t length);
	void		(*dots) (const uint8_t *const *codes, uint32_t n, const int8_t *query,
						 uint32_t length, int32_t *out);	/* NULL: dot one by one */
	float		(*decoded) (const uint8_t *code, const float *query,
							float scale, float offset, uint32_t dim);
	int32_t		(*byte) (const int8_t *a, const int8_t *b, uint32_t dim);
	uint32_t	(*hamming) (const uint8_t *a, const uint8_t *b, uint32_t nbytes);
} knn_query;

/* Packed codes pad the query to a multiple of 8 dimensions. */
#define KNN_QUERY_ROOM(dim) (((dim) + 7) / 8 * 8)

/* Floats of a query's memory qf. */
static inline size_t
knn_query_floats(const knn_encoder *enc)
{
	return KNN_QUERY_ROOM(enc->dim) +
		(enc->encoding == KNN_ENCODING_PQ ? knn_pq_table_floats(enc->pq) : 0);
}

/* Are vectors of the encoding floats (not bytes or bits)? */
static inline bool
knn_encoding_is_float(knn_encoding encoding)
{
	return encoding != KNN_ENCODING_BYTE && encoding != KNN_ENCODING_BINARY;
}

/* Bits a dimension: 8, 4, 2 or 1.  Not of pq. */
extern uint32_t knn_encoding_bits(knn_encoding encoding);

/*
 * Do codes keep next to all of a vector?  Where not, distances between two codes
 * are no good to build a graph by.
 */
static inline bool
knn_encoding_is_fine(knn_encoding encoding)
{
	return encoding == KNN_ENCODING_BINARY ||
		(encoding != KNN_ENCODING_PQ && knn_encoding_bits(encoding) == 8);
}

/* Bytes of a code, without factors.  Of pq see knn_pq_code_bytes. */
extern uint32_t knn_code_bytes(knn_encoding encoding, uint32_t dim);

/* Does a distance need the factors?  Where not, they need not be kept. */
static inline bool
knn_code_has_factors(knn_encoding encoding, knn_space space)
{
	return knn_encoding_is_float(encoding) ||
		(encoding == KNN_ENCODING_BYTE && space == KNN_SPACE_COSINE);
}

/* Scale v to length 1; false when its length is zero (or not finite). */
extern bool knn_normalise(const knn_kernels *kernels, float *v, uint32_t dim);

/*
 * Encode v into factors and code (knn_code_bytes).  v is dim floats, normalised
 * where the space asks for it, or the elements of a byte or binary vector.
 * scratch is dim floats.
 */
extern void knn_encode(const knn_encoder *enc, const void *v,
					   knn_code_factors *factors, uint8_t *code, float *scratch);

/*
 * P(v) for float vectors of spaces that rotate, else v itself: what the functions
 * named "_rotated" take in place of v, so that a vector that is compared with, or
 * coded about, several centres is rotated once.  out has room for v.
 */
extern void knn_encoder_rotate(const knn_encoder *enc, const void *v, void *out);

extern void knn_encode_rotated(const knn_encoder *enc, const void *v,
							   knn_code_factors *factors, uint8_t *code, float *scratch);

extern void knn_query_prepare_rotated(knn_query *query, const knn_encoder *enc,
									  const void *v, int8_t *q8, float *qf);

/*
 * Prepare a query anew that was prepared with the same v, q8 and qf, after the
 * encoder's centre has changed: of pq less is to be done.
 */
extern void knn_query_move_rotated(knn_query *query, const knn_encoder *enc,
								   const void *v, int8_t *q8, float *qf);

/*
 * Prepare v (as for knn_encode) as a query.  q8, qf: see knn_query.
 */
extern void knn_query_prepare(knn_query *query, const knn_encoder *enc,
							  const void *v, int8_t *q8, float *qf);

/*
 * Prepare an encoded vector as a query, for distances between codes.  Same
 * memory; a byte or binary code must itself live as long as the query.
 */
extern void knn_query_from_code(knn_query *query, const knn_encoder *enc,
								const knn_code_factors *factors,
								const uint8_t *code, int8_t *q8, float *qf);

/* Cosine distance as squared L2 of the normalised vectors; 2 for zero vectors. */
static inline float
knn_cosine_form(double product, double norm2_a, double norm2_b)
{
	double		norms = sqrt(norm2_a * norm2_b);

	return norms > 0 ? (float) (2.0 - 2.0 * product / norms) : 2.0f;
}

/* The distance that follows from an integer dot product, in the two forms that have one. */
static inline float
knn_query_distance(const knn_query *query, const knn_code_factors *factors, int32_t dot)
{
	float		product = query->slope * factors->scale *
		(float) (query->times * dot - query->bias);

	return query->form == KNN_FORM_L2 ? factors->norm2 + query->base + product :
		query->base + product;
}

/* The same from the sum of a table. */
static inline float
knn_query_pq_distance(const knn_query *query, const knn_code_factors *factors, float sum)
{
	float		product = query->slope * factors->scale * sum;

	return query->form == KNN_FORM_PQ ? factors->norm2 + query->base + product :
		query->base + product;
}

/*
 * Estimated distance between the query and a code.  factors may be NULL where
 * knn_code_has_factors says so.
 */
static inline float
knn_query_score(const knn_query *query, const knn_code_factors *factors,
				const uint8_t *code)
{
	switch (query->form)
	{
		case KNN_FORM_L2:
		case KNN_FORM_INNER_PRODUCT:
			return knn_query_distance(query, factors, query->dot(code, query->q8, query->length));
		case KNN_FORM_DECODED:
			return query->decoded(code, query->qf, factors->scale,
								  -128.0f * factors->scale, query->dim);
		case KNN_FORM_BYTE:
			return (float) query->byte((const int8_t *) code, query->q8, query->length);
		case KNN_FORM_BYTE_INNER_PRODUCT:
			return -(float) query->byte((const int8_t *) code, query->q8, query->length);
		case KNN_FORM_BYTE_COSINE:
			return knn_cosine_form(query->byte((const int8_t *) code, query->q8, query->length),
								   query->base, factors->norm2);
		case KNN_FORM_BINARY:
			return (float) query->hamming(code, (const uint8_t *) query->q8, query->length);
		case KNN_FORM_PQ:
		case KNN_FORM_PQ_INNER_PRODUCT:
			{
				float		sum;

				knn_pq_sums(query->kernels, query->pq->m, query->pq->bits, query->table,
							&code, 1, &sum);
				return knn_query_pq_distance(query, factors, sum);
			}
	}
	return 0;
}

/* The same of n codes; factors are not NULL. */
extern void knn_query_scores(const knn_query *query, const knn_code_factors *const *factors,
							 const uint8_t *const *codes, uint32_t n, float *distance);

/*
 * What to take off an estimate of pq for the least that the distance can be: the
 * bound of core/pq.h, as a quotient of sums, which err = infinity makes 0.
 */
static inline float
knn_query_pq_error(const knn_code_factors *factors, float distance)
{
	float		root;

	if (!(distance > 0))
		return 0;
	root = sqrtf(factors->err * factors->err + distance) + factors->err;
	return distance - (distance / root) * (distance / root);
}

/*
 * Bound of the error of that estimate, by which the distance may be less: probable
 * for spaces that rotate, certain for L1 and L-infinity (up to rounding), zero for
 * byte and binary vectors.
 */
static inline float
knn_query_error(const knn_query *query, const knn_code_factors *factors, float distance)
{
	switch (query->form)
	{
		case KNN_FORM_L2:
		case KNN_FORM_INNER_PRODUCT:
			return factors->err * query->norm + sqrtf(factors->norm2) * query->err;
		case KNN_FORM_DECODED:
			return factors->err;
		case KNN_FORM_PQ:
			return knn_query_pq_error(factors, distance);
		case KNN_FORM_PQ_INNER_PRODUCT:
			return factors->err * query->norm;
		default:
			return 0;
	}
}

/* Exact distance in the core's terms (space.h) between full vectors. */
extern float knn_exact_distance(const knn_kernels *kernels, knn_space space,
								const float *a, const float *b, uint32_t dim);

#endif
