/*
 * pq_train.c
 *		Learning the codebooks of a product quantizer; see pq.h.
 *
 * Lloyd's algorithm for each part by itself.  The first codewords are vectors of the
 * sample drawn without repetition; one that no vector is nearest to takes half of
 * the vectors of the largest one, by becoming it but for a little.
 */
#include "core/pq.h"

#include <string.h>

#include "core/random.h"

#define ROUNDS 10

/* Vectors between two calls of check. */
#define CHECK_EVERY 4096

/* By how much the two halves of a codeword that is split differ from it. */
#define SPLIT 1e-3f

typedef struct training
{
	knn_pq	   *pq;
	const knn_kernels *kernels;
	const float *sample;
	uint32_t	n;
	void		(*check) (void);
	uint32_t	part;
	uint32_t   *order;			/* of the sample, shuffled as far as codewords go */
	uint32_t   *counts;			/* vectors of each codeword */
	double	   *sums;			/* of their elements, as the codebook's rows */
	uint64_t	random;
} training;

static const float *
vector_part(const training *t, uint32_t i)
{
	return t->sample + (size_t) i * t->pq->dim + (size_t) t->part * t->pq->width;
}

static float *
codebook_part(const training *t)
{
	return t->pq->codebook + (size_t) t->part * t->pq->width * t->pq->ncodes;
}

static void
draw_codewords(training *t)
{
	knn_pq	   *pq = t->pq;
	float	   *rows = codebook_part(t);

	for (uint32_t i = 0; i < t->n; i++)
		t->order[i] = i;
	for (uint32_t k = 0; k < pq->ncodes; k++)
	{
		uint32_t	j = k + knn_random_below(&t->random, t->n - k);
		uint32_t	drawn = t->order[j];
		const float *v = vector_part(t, drawn);

		t->order[j] = t->order[k];
		t->order[k] = drawn;
		for (uint32_t i = 0; i < pq->width; i++)
			rows[(size_t) i * pq->ncodes + k] = v[i];
	}
}

/* Add each vector to the sums of the codeword that is nearest to it. */
static void
assign(training *t)
{
	knn_pq	   *pq = t->pq;
	float	   *rows = codebook_part(t);
	uint32_t	ncodes = pq->ncodes;
	float		norms[1 << KNN_PQ_MAX_BITS] = {0};
	float		products[1 << KNN_PQ_MAX_BITS];

	for (uint32_t i = 0; i < pq->width; i++)
	{
		for (uint32_t k = 0; k < ncodes; k++)
			norms[k] += rows[(size_t) i * ncodes + k] * rows[(size_t) i * ncodes + k];
	}
	memset(t->counts, 0, sizeof(uint32_t) * ncodes);
	memset(t->sums, 0, sizeof(double) * ncodes * pq->width);
	for (uint32_t at = 0; at < t->n; at++)
	{
		const float *v = vector_part(t, at);
		uint32_t	best;

		if (t->check && at % CHECK_EVERY == 0)
			t->check();
		t->kernels->products_f32(v, pq->width, rows, ncodes, products);
		best = knn_pq_least(norms, products, ncodes);
		t->counts[best]++;
		for (uint32_t i = 0; i < pq->width; i++)
			t->sums[(size_t) i * ncodes + best] += v[i];
	}
}

/* Let a codeword without vectors share those of the largest one. */
static void
split_largest(training *t, uint32_t empty)
{
	knn_pq	   *pq = t->pq;
	float	   *rows = codebook_part(t);
	uint32_t	largest = 0;

	for (uint32_t k = 1; k < pq->ncodes; k++)
	{
		if (t->counts[k] > t->counts[largest])
			largest = k;
	}
	for (uint32_t i = 0; i < pq->width; i++)
	{
		float	   *row = rows + (size_t) i * pq->ncodes;
		float		half = i % 2 == 0 ? SPLIT : -SPLIT;

		row[empty] = row[largest] * (1.0f + half);
		row[largest] *= 1.0f - half;
	}
	t->counts[empty] = t->counts[largest] / 2;
	t->counts[largest] -= t->counts[empty];
}

/* Codewords become the means of their vectors. */
static void
move_codewords(training *t)
{
	knn_pq	   *pq = t->pq;
	float	   *rows = codebook_part(t);

	for (uint32_t k = 0; k < pq->ncodes; k++)
	{
		for (uint32_t i = 0; i < pq->width && t->counts[k] > 0; i++)
			rows[(size_t) i * pq->ncodes + k] =
				(float) (t->sums[(size_t) i * pq->ncodes + k] / t->counts[k]);
	}
	for (uint32_t k = 0; k < pq->ncodes; k++)
	{
		if (t->counts[k] == 0)
			split_largest(t, k);
	}
}

size_t
knn_pq_train_memory(uint32_t dim, uint32_t m, uint32_t bits, uint32_t n)
{
	return sizeof(uint32_t) * ((size_t) n + ((size_t) 1 << bits)) +
		sizeof(double) * ((size_t) (dim / m) << bits);
}

int
knn_pq_train(knn_pq *pq, const float *sample, uint32_t n, uint64_t seed,
			 const knn_allocator *allocator, void (*check) (void))
{
	training	t = {.pq = pq,.sample = sample,.n = n,.check = check};
	int			status = KNN_ERROR_NO_MEMORY;

	t.kernels = knn_kernels_get();
	t.random = seed | 1;
	t.order = allocator->alloc(allocator->context, sizeof(uint32_t) * (size_t) n);
	t.counts = allocator->alloc(allocator->context, sizeof(uint32_t) * pq->ncodes);
	t.sums = allocator->alloc(allocator->context, sizeof(double) * (size_t) pq->ncodes * pq->width);
	if (t.order && t.counts && t.sums)
	{
		for (t.part = 0; t.part < pq->m; t.part++)
		{
			draw_codewords(&t);
			for (int round = 0; round < ROUNDS; round++)
			{
				assign(&t);
				move_codewords(&t);
			}
		}
		knn_pq_finish(pq);
		status = KNN_OK;
	}
	if (t.order)
		allocator->release(allocator->context, t.order);
	if (t.counts)
		allocator->release(allocator->context, t.counts);
	if (t.sums)
		allocator->release(allocator->context, t.sums);
	return status;
}
