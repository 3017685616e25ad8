/*
 * random.h
 *		A generator of random numbers that are the same on every platform: xorshift64*
 *		(Marsaglia 2003; Vigna 2016).  Its state is the caller's and must not be 0.
 */
#ifndef KNN_CORE_RANDOM_H
#define KNN_CORE_RANDOM_H

#include <stdint.h>

static inline uint64_t
knn_random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

/* One of 0 .. n - 1. */
static inline uint32_t
knn_random_below(uint64_t *state, uint32_t n)
{
	return (uint32_t) ((knn_random_next(state) >> 32) * n >> 32);
}

#endif
