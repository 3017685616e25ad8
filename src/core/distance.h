/*
 * distance.h
 *		Distance kernels over arrays of elements, chosen at run time by CPU.
 *
 * Every kernel takes explicit lengths in elements (bytes for hamming), reads
 * exactly that many, needs no alignment beyond the element type's and never
 * reads past the end.  Sums of float kernels are in float; their order of
 * summation, and so their last bits, differ between implementations.  Integer
 * kernels are exact and equal everywhere: with at most KNN_MAX_DIM elements no
 * sum below can overflow int32.
 *
 * Plain C11, no PostgreSQL headers.
 */
#ifndef KNN_CORE_DISTANCE_H
#define KNN_CORE_DISTANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KNN_MAX_DIM 16000

/* IEEE binary16 kept as its bits; no compiler support for _Float16 needed. */
typedef uint16_t knn_half;

typedef struct knn_kernels
{
	const char *name;			/* "scalar", "avx2", "avx512", "neon", "dotprod" */

	/* float x float */
	float		(*l2_squared_f32) (const float *a, const float *b, uint32_t dim);
	float		(*inner_product_f32) (const float *a, const float *b, uint32_t dim);
	float		(*l1_f32) (const float *a, const float *b, uint32_t dim);
	float		(*linf_f32) (const float *a, const float *b, uint32_t dim);

	/* half x half, accumulated in float */
	float		(*l2_squared_f16) (const knn_half *a, const knn_half *b, uint32_t dim);
	float		(*inner_product_f16) (const knn_half *a, const knn_half *b, uint32_t dim);
	float		(*l1_f16) (const knn_half *a, const knn_half *b, uint32_t dim);
	float		(*linf_f16) (const knn_half *a, const knn_half *b, uint32_t dim);

	/* float x half: a float query against stored halves */
	float		(*l2_squared_f32f16) (const float *a, const knn_half *b, uint32_t dim);
	float		(*inner_product_f32f16) (const float *a, const knn_half *b, uint32_t dim);

	/* int8 x int8, exact */
	int32_t		(*l2_squared_s8) (const int8_t *a, const int8_t *b, uint32_t dim);
	int32_t		(*inner_product_s8) (const int8_t *a, const int8_t *b, uint32_t dim);
	int32_t		(*l1_s8) (const int8_t *a, const int8_t *b, uint32_t dim);
	int32_t		(*linf_s8) (const int8_t *a, const int8_t *b, uint32_t dim);

	/* packed bits: number of differing bits in nbytes bytes */
	uint32_t	(*hamming) (const uint8_t *a, const uint8_t *b, uint32_t nbytes);

	/* 8-bit codes: sum of code[i] * query[i], exact */
	int32_t		(*dot_u8s8) (const uint8_t *code, const int8_t *query, uint32_t dim);

	/*
	 * The same of n codes.  Loads of the query and the summing up across a
	 * register are shared by four: a search takes 5 % less time.
	 */
	void		(*dots_u8s8) (const uint8_t *const *codes, uint32_t n,
							  const int8_t *query, uint32_t dim, int32_t *out);

	/*
	 * Codes of 4, 2 and 1 bits a dimension, "per" = 2, 4 or 8 of them to a byte:
	 * byte j of nbytes holds in its field k (bits k * 8/per and up) dimension
	 * k * nbytes + j, so that one shift and mask of consecutive bytes gives
	 * consecutive dimensions.  The query has per * nbytes elements, zero where
	 * there is no dimension.  Sum of field * query, exact.
	 */
	int32_t		(*dot_u4s8) (const uint8_t *code, const int8_t *query, uint32_t nbytes);
	int32_t		(*dot_u2s8) (const uint8_t *code, const int8_t *query, uint32_t nbytes);
	int32_t		(*dot_u1s8) (const uint8_t *code, const int8_t *query, uint32_t nbytes);

	/* sum of code[i] */
	int32_t		(*sum_u8) (const uint8_t *code, uint32_t dim);

	/*
	 * Distance between a float query and the vector an 8-bit code stands for,
	 * element i being scale * code[i] + offset.
	 */
	float		(*l1_u8f32) (const uint8_t *code, const float *query,
							 float scale, float offset, uint32_t dim);
	float		(*linf_u8f32) (const uint8_t *code, const float *query,
							   float scale, float offset, uint32_t dim);

	/*
	 * Product quantization (pq.h).  For each of n codes of m bytes, the sum over j of
	 * table[(j << shift) + code[j]]: code[j] is below 1 << shift, and the order of
	 * summation does not depend on n.
	 */
	void		(*lookups_f32) (const uint8_t *const *codes, uint32_t n, const float *table,
								uint32_t m, uint32_t shift, float *out);

	/* out[k] = sum over i < nv of v[i] * rows[i * width + k], k < width */
	void		(*products_f32) (const float *v, uint32_t nv, const float *rows,
								 uint32_t width, float *out);

	/* conversions; f32_to_f16 rounds to nearest even, overflow gives infinity */
	void		(*f16_to_f32) (const knn_half *in, float *out, uint32_t dim);
	void		(*f32_to_f16) (const float *in, knn_half *out, uint32_t dim);
} knn_kernels;

/*
 * The kernels for this CPU.  The choice is made on the first call and costs a
 * load afterwards; calling from several threads at once is safe (all reach the
 * same answer).  The result is static and never freed.
 */
extern const knn_kernels *knn_kernels_get(void);

/*
 * A named implementation, or NULL when this CPU (or this build) lacks it; for
 * tests and benchmarks.  knn_kernels_by_name("scalar") always succeeds.
 */
extern const knn_kernels *knn_kernels_by_name(const char *name);

/* Single-element conversions, scalar. */
extern float knn_half_to_float(knn_half h);
extern knn_half knn_float_to_half(float f);

#endif
