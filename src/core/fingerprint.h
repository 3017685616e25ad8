/*
 * fingerprint.h
 *		A set of vectors known by 128-bit fingerprints of their bytes.
 *
 * A build joins equal vectors into one node.  It does not keep the vectors, so
 * equality is decided by fingerprints: two 64-bit multiplicative hashes with a
 * seed drawn per build.  The chance that any two of n different vectors agree is
 * about n^2 / 2^129.
 */
#ifndef KNN_CORE_FINGERPRINT_H
#define KNN_CORE_FINGERPRINT_H

#include <stddef.h>
#include <stdint.h>

#include "core/memory.h"

typedef struct knn_fingerprint
{
	uint64_t	a;
	uint64_t	b;
} knn_fingerprint;

typedef struct knn_fingerprint_set
{
	knn_allocator allocator;
	uint64_t	seed;
	knn_fingerprint *prints;	/* by position of insertion */
	uint32_t	n;
	uint32_t	room;
	uint32_t   *slots;			/* position + 1, or 0 */
	uint64_t	mask;
} knn_fingerprint_set;

extern knn_fingerprint knn_fingerprint_of(const void *data, size_t size, uint64_t seed);

extern int	knn_fingerprint_set_init(knn_fingerprint_set *set,
									 const knn_allocator *allocator, uint64_t seed);
extern void knn_fingerprint_set_free(knn_fingerprint_set *set);

/*
 * Position of the first insertion of the same bytes in *position, and 1; or, when
 * they are new, their own new position (the number of those before) and 0; or
 * KNN_ERROR_NO_MEMORY.
 */
extern int	knn_fingerprint_set_add(knn_fingerprint_set *set, const void *data,
									size_t size, uint32_t *position);

#endif
