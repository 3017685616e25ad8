/*
 * vectors.h
 *		Vectors about some centres, and the files of a job with them.
 *
 * They are as in the file: floats, signed bytes or bits, vectors_row_bytes() each.  Of a
 * job only its data type, space, dimension and count matter here.
 */
#ifndef KNN_TEST_VECTORS_H
#define KNN_TEST_VECTORS_H

#include "run_builder.h"

extern size_t vectors_row_bytes(const Job *job);

/*
 * n vectors, to be freed; of length 1 for the space cosinesimil.  Their centres are those
 * of every call, so many times as far apart as the vectors are spread about them.
 */
extern uint8_t *vectors_generate(const Job *job, uint32_t n, uint64_t seed, double apart);

/*
 * Write a job's input, which is returned, to be freed: the vectors, and the ids
 * factor * i + 3, or i with a factor of 0.
 */
extern uint8_t *vectors_write(const Job *job, int32_t factor, double apart);

/* As the space has it: what orders vectors by their distance. */
extern float vectors_distance(const Job *job, const void *a, const void *b);

#endif
