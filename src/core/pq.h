/*
 * pq.h
 *		Product quantization: codebooks, what learns them, and sums over a query's
 *		table.
 *
 * A vector r, what is left of one after its centre is taken off, is cut into m parts
 * of dim / m dimensions.  Each part is replaced by the number of the nearest of its
 * 2^bits codewords, which k-means has learned.  (Jegou, Douze and Schmid, "Product
 * quantization for nearest neighbor search", PAMI 2011.)  rhat, the codewords of a
 * code put together, is what is left of r.
 *
 * Parts are made of dimensions as they come, not rotated, as faiss does: codebooks
 * of its files mean the same here.
 *
 * ESTIMATES.  As with the other codes (core/code.h) a factor
 *
 *		scale = <r,r> / <r,rhat>
 *
 * makes scale * rhat as long as r along r: f = scale * rhat - r is at right angles to
 * r.  Then
 *
 *		|q-c|^2 + |r|^2 - 2 scale <q-c, rhat>  =  |q-x|^2 - 2 <q-c, f>
 *											   =  |q-x|^2 - 2 <q-x, f>
 *
 * as <r,f> = 0, where c is the centre and x = c + r.  (Without the factor the plain
 * distance from c + rhat is off by |r - rhat|^2 for what is near, and not at all for
 * what is far.)  The term with f has mean 0 over directions of q - x.
 *
 * BOUND.  If f and q - x have their lengths in the parts by the shares p and g (each
 * of sum 1), and any direction within a part of n dimensions,
 *
 *		<q-x, f>  has the deviation  |q-x| |f| sqrt(sum of p g / n)
 *
 * Shares of both are estimated by those of the codewords' variance: of equal rates, a
 * part of more variance has more error.  (All parts alike give 1 / sqrt(dim), what a
 * random rotation would; one part that has all of it, 1 / sqrt(dim / m).)  That root
 * times KNN_CODE_EPSILON is the share that a code's factor err has of |f|, so that,
 * with the estimate E for the distance D = |q-x|^2,
 *
 *		|E - D| <= 2 err sqrt(D)	and so	D >= (sqrt(err^2 + E) - err)^2
 *
 * Of the inner product the error is <q, f>, bounded by err |q|.
 *
 * TABLES.  A query's inner products with all codewords are computed once; a code's
 * <q, rhat> is then a sum of m of them.  The table is not about a list's centroid,
 * since <q-c, rhat> = <q-o, rhat> - <c-o, rhat>, and the last term is known when x
 * is encoded: it goes into the factor norm2, and lists cost a query nothing but the
 * distance from their centroid.  o is a point that all lists have, near the data, so
 * that what cancels out is small.
 */
#ifndef KNN_CORE_PQ_H
#define KNN_CORE_PQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/distance.h"
#include "core/memory.h"

#define KNN_PQ_MAX_BITS 8

typedef struct knn_pq
{
	uint32_t	dim;
	uint32_t	m;				/* parts; divides dim */
	uint32_t	bits;			/* of the code of a part, 1 to 8 */
	uint32_t	ncodes;			/* codewords of a part: 2^bits */
	uint32_t	width;			/* dimensions of a part */

	/* dim rows of ncodes: row i has element i of the codewords of its part */
	float	   *codebook;
	float	   *norms;			/* m rows of ncodes: squared lengths */
	float		share;			/* of |f| that err is, see above */
} knn_pq;

/* Can there be such a quantizer? */
static inline bool
knn_pq_possible(uint32_t dim, uint32_t m, uint32_t bits)
{
	return dim >= 1 && dim <= KNN_MAX_DIM && m >= 1 && m <= dim && dim % m == 0 &&
		bits >= 1 && bits <= KNN_PQ_MAX_BITS;
}

/* Bytes of a code. */
static inline uint32_t
knn_pq_code_bytes(uint32_t m, uint32_t bits)
{
	return (m * bits + 7) / 8;
}

/* Floats of the codebooks with their norms, and of a query's table. */
static inline size_t
knn_pq_floats(uint32_t dim, uint32_t m, uint32_t bits)
{
	return ((size_t) dim + m) << bits;
}

static inline size_t
knn_pq_table_floats(const knn_pq *pq)
{
	return (size_t) pq->m * pq->ncodes;
}

/* Set up a possible one in memory of knn_pq_floats; the codebook is left to the caller. */
extern void knn_pq_init(knn_pq *pq, uint32_t dim, uint32_t m, uint32_t bits, float *memory);

/*
 * Codewords number k of all parts, end to end: dim floats.  This is how an index
 * keeps them.
 */
extern void knn_pq_set_codewords(knn_pq *pq, uint32_t k, const float *words);
extern void knn_pq_get_codewords(const knn_pq *pq, uint32_t k, float *words);

/* To be called when all codewords are set: computes norms and share. */
extern void knn_pq_finish(knn_pq *pq);

/*
 * Inner products of v (dim floats) with all codewords, in the order of parts
 * (knn_pq_table_floats).
 */
extern void knn_pq_table(const knn_pq *pq, const knn_kernels *kernels,
						 const float *v, float *table);

/*
 * The first k < n with the least norms[k] - 2 products[k]: the nearest of n codewords,
 * by their squared lengths and their products with what is coded.
 */
extern uint32_t knn_pq_least(const float *norms, const float *products, uint32_t n);

/* The nearest codewords of r: a byte for each part. */
extern void knn_pq_nearest(const knn_pq *pq, const knn_kernels *kernels,
						   const float *r, uint8_t *parts);

/* The codewords put together: dim floats. */
extern void knn_pq_decode(const knn_pq *pq, const uint8_t *parts, float *out);

/*
 * Codes of parts, a byte each, to and from the bits of a code: those of the first
 * part are the lowest of the first byte, as in files of faiss.
 */
extern void knn_pq_pack(const uint8_t *parts, uint32_t m, uint32_t bits, uint8_t *code);
extern void knn_pq_unpack(const uint8_t *code, uint32_t m, uint32_t bits, uint8_t *parts);

/*
 * For each of n codes, the sum over its parts of what the table has for them.  A
 * sum is the same to the last bit whatever the others are.
 */
extern void knn_pq_sums(const knn_kernels *kernels, uint32_t m, uint32_t bits,
						const float *table, const uint8_t *const *codes, uint32_t n,
						float *sums);

/* ---- pq_train.c ---- */

/*
 * Vectors worth training from, and bytes that training takes beside the sample and
 * the codebooks.
 */
#define KNN_PQ_SAMPLE(bits) ((uint32_t) 64 << (bits))

extern size_t knn_pq_train_memory(uint32_t dim, uint32_t m, uint32_t bits, uint32_t n);

/*
 * Learn the codebooks from n vectors of dim floats, at least 2^bits: k-means of each
 * part.  check is called now and then and may not return; may be NULL.  KNN_OK or
 * KNN_ERROR_NO_MEMORY.
 */
extern int	knn_pq_train(knn_pq *pq, const float *sample, uint32_t n, uint64_t seed,
						 const knn_allocator *allocator, void (*check) (void));

#endif
