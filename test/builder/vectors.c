/*
 * vectors.c
 *		Vectors about some centres; see vectors.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/code.h"
#include "folder.h"
#include "unit.h"
#include "vectors.h"

#define CENTRES 40
#define SEED 5

size_t
vectors_row_bytes(const Job *job)
{
	return strcmp(job->data_type, "float") == 0 ? 4 * job->dim :
		strcmp(job->data_type, "byte") == 0 ? job->dim : job->dim / 8;
}

uint8_t *
vectors_generate(const Job *job, uint32_t n, uint64_t seed, double apart)
{
	size_t		bytes = vectors_row_bytes(job);
	uint8_t    *rows = calloc((size_t) n + 1, bytes);
	uint64_t	state = seed;

	if (rows == NULL)
		abort();
	for (uint32_t i = 0; i < n; i++)
	{
		uint64_t	centre = 1 + unit_random(&state) % CENTRES;
		uint8_t    *row = rows + bytes * i;
		double		norm = 0;

		for (uint32_t j = 0; j < job->dim; j++)
		{
			double		x = apart * unit_random_float(&centre) + unit_random_float(&state);

			if (strcmp(job->data_type, "float") == 0)
			{
				((float *) row)[j] = (float) x;
				norm += x * x;
			}
			else if (strcmp(job->data_type, "byte") == 0)
				((int8_t *) row)[j] = (int8_t) (60 * x);
			else if (x > 0)
				row[j / 8] |= (uint8_t) (1 << (j % 8));
		}
		for (uint32_t j = 0; j < job->dim && strcmp(job->space, "cosinesimil") == 0; j++)
			((float *) row)[j] /= (float) sqrt(norm);
	}
	return rows;
}

uint8_t *
vectors_write(const Job *job, int32_t factor, double apart)
{
	uint8_t    *rows = vectors_generate(job, job->count, SEED, apart);
	int32_t    *ids = malloc(sizeof(int32_t) * ((size_t) job->count + 1));

	if (ids == NULL)
		abort();
	for (uint32_t i = 0; i < job->count; i++)
		ids[i] = factor ? factor * (int32_t) i + 3 : (int32_t) i;
	folder_write("v", rows, vectors_row_bytes(job) * job->count);
	folder_write("i", ids, sizeof(int32_t) * job->count);
	free(ids);
	return rows;
}

float
vectors_distance(const Job *job, const void *a, const void *b)
{
	const knn_kernels *k = knn_kernels_get();

	if (strcmp(job->data_type, "binary") == 0)
		return (float) k->hamming(a, b, job->dim / 8);
	if (strcmp(job->data_type, "byte") == 0)
		return strcmp(job->space, "innerproduct") == 0 ? (float) -k->inner_product_s8(a, b, job->dim) :
			(float) k->l2_squared_s8(a, b, job->dim);
	return knn_exact_distance(k, strcmp(job->space, "l1") == 0 ? KNN_SPACE_L1 :
							  strcmp(job->space, "innerproduct") == 0 ? KNN_SPACE_INNER_PRODUCT :
							  KNN_SPACE_L2, a, b, job->dim);
}
