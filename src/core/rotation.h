/*
 * rotation.h
 *		Pseudo-random orthonormal rotation of a vector of any dimension.
 *
 * Four rounds of { random signs, fast Hadamard transform } in O(dim log dim).
 * When dim is a power of two each round transforms the whole vector; otherwise
 * the rounds alternate between the first and the last 2^floor(log2(dim))
 * coordinates, and every second round is followed by a pairing step (Kac walk)
 * that mixes the two halves, so that every coordinate reaches every other.  The
 * result keeps norms and inner products (up to rounding), and spreads the energy
 * of a few large components over all of them, which is what makes scalar codes of
 * the result accurate.
 *
 * Source: the rotator of RaBitQ (Gao and Long, SIGMOD 2024/2025), which pairs
 * after every round.  That leaves a share of 1/4 in place of a coordinate that
 * the first transform misses, since half of it returns each time to where the
 * next transform does not reach: over all unit vectors of 1536 dimensions the
 * largest component was 11.9 / sqrt(dim) and the kurtosis up to 20.  Pairing after
 * every second round gives 5.4 and 3.9, what noise would give.
 *
 * Signs come from the seed alone: the same (dim, seed) gives the same rotation
 * on every platform and version, since indexes on disk depend on it.
 */
#ifndef KNN_CORE_ROTATION_H
#define KNN_CORE_ROTATION_H

#include <stdint.h>

#define KNN_ROTATION_ROUNDS 4

/* Bytes of sign bits that a rotation of dim coordinates needs. */
#define KNN_ROTATION_SIGN_BYTES(dim) (KNN_ROTATION_ROUNDS * (((dim) + 7) / 8))

/*
 * Fill signs (KNN_ROTATION_SIGN_BYTES(dim) bytes, caller's memory) for the
 * rotation (dim, seed).  dim is at least 1.
 */
extern void knn_rotation_init(uint8_t *signs, uint32_t dim, uint64_t seed);

/*
 * Rotate v (dim floats, aligned as floats are) in place; signs is what
 * knn_rotation_init filled for the same dim.
 */
extern void knn_rotation_apply(const uint8_t *signs, float *v, uint32_t dim);

/* The way back: what knn_rotation_apply made of v. */
extern void knn_rotation_invert(const uint8_t *signs, float *v, uint32_t dim);

#endif
