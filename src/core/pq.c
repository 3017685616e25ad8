/*
 * pq.c
 *		Product quantization: coding, and sums over tables; see pq.h.
 */
#include "core/pq.h"

#include <math.h>
#include <string.h>

#include "core/code.h"

/* Codes that are unpacked at a time; of the most parts one is. */
#define UNPACKED_BYTES KNN_MAX_DIM
#define UNPACKED_CODES 64

void
knn_pq_init(knn_pq *pq, uint32_t dim, uint32_t m, uint32_t bits, float *memory)
{
	pq->dim = dim;
	pq->m = m;
	pq->bits = bits;
	pq->ncodes = 1u << bits;
	pq->width = dim / m;
	pq->codebook = memory;
	pq->norms = memory + (size_t) dim * pq->ncodes;
	pq->share = 0;
}

void
knn_pq_set_codewords(knn_pq *pq, uint32_t k, const float *words)
{
	for (uint32_t i = 0; i < pq->dim; i++)
		pq->codebook[(size_t) i * pq->ncodes + k] = words[i];
}

void
knn_pq_get_codewords(const knn_pq *pq, uint32_t k, float *words)
{
	for (uint32_t i = 0; i < pq->dim; i++)
		words[i] = pq->codebook[(size_t) i * pq->ncodes + k];
}

/* The codewords' variance in one dimension. */
static double
row_variance(const float *row, uint32_t n)
{
	double		sum = 0;
	double		squares = 0;

	for (uint32_t k = 0; k < n; k++)
		sum += row[k];
	sum /= n;
	for (uint32_t k = 0; k < n; k++)
		squares += (row[k] - sum) * (row[k] - sum);
	return squares / n;
}

void
knn_pq_finish(knn_pq *pq)
{
	double		all = 0;
	double		squares = 0;

	for (uint32_t part = 0; part < pq->m; part++)
	{
		float	   *norms = pq->norms + (size_t) part * pq->ncodes;
		double		variance = 0;

		memset(norms, 0, sizeof(float) * pq->ncodes);
		for (uint32_t i = part * pq->width; i < (part + 1) * pq->width; i++)
		{
			const float *row = pq->codebook + (size_t) i * pq->ncodes;

			for (uint32_t k = 0; k < pq->ncodes; k++)
				norms[k] += row[k] * row[k];
			variance += row_variance(row, pq->ncodes);
		}
		all += variance;
		squares += variance * variance;
	}
	/* codewords that are all equal: nothing is known of the error's shares */
	pq->share = all > 0 && isfinite(squares) ?
		(float) (KNN_CODE_EPSILON * sqrt(squares / pq->width) / all) : 1.0f;
	/* Cauchy and Schwarz: no more than all of it */
	pq->share = pq->share < 1.0f ? pq->share : 1.0f;
}

void
knn_pq_table(const knn_pq *pq, const knn_kernels *kernels, const float *v, float *table)
{
	for (uint32_t part = 0; part < pq->m; part++)
		kernels->products_f32(v + part * pq->width, pq->width,
							  pq->codebook + (size_t) part * pq->width * pq->ncodes,
							  pq->ncodes, table + (size_t) part * pq->ncodes);
}

/* Four at a time, without branches: one comparison in a few could not be foreseen. */
typedef float v4f __attribute__((vector_size(16)));
typedef int32_t v4i __attribute__((vector_size(16)));

uint32_t
knn_pq_least(const float *norms, const float *products, uint32_t n)
{
	float		least = INFINITY;
	uint32_t	best = 0;
	uint32_t	k = 0;
	v4f			lows = {INFINITY, INFINITY, INFINITY, INFINITY};
	v4i			places = {0, 0, 0, 0};

	for (; k + 4 <= n; k += 4)
	{
		v4i			here = {(int32_t) k, (int32_t) k, (int32_t) k, (int32_t) k};
		v4f			norm;
		v4f			product;
		v4f			distance;
		v4i			less;

		memcpy(&norm, norms + k, sizeof(norm));
		memcpy(&product, products + k, sizeof(product));
		distance = norm - (product + product);
		less = (v4i) (distance < lows);
		lows = (v4f) ((less & (v4i) distance) | (~less & (v4i) lows));
		places = (less & here) | (~less & places);
	}
	for (uint32_t lane = 0; lane < 4; lane++)
	{
		uint32_t	place = (uint32_t) places[lane] + lane;

		if (lows[lane] < least || (lows[lane] == least && place < best))
		{
			least = lows[lane];
			best = place;
		}
	}
	for (; k < n; k++)
	{
		float		distance = norms[k] - (products[k] + products[k]);

		if (distance < least)
		{
			least = distance;
			best = k;
		}
	}
	/* nothing that can be compared */
	return best < n ? best : 0;
}

void
knn_pq_nearest(const knn_pq *pq, const knn_kernels *kernels, const float *r, uint8_t *parts)
{
	float		products[1 << KNN_PQ_MAX_BITS];

	for (uint32_t part = 0; part < pq->m; part++)
	{
		kernels->products_f32(r + part * pq->width, pq->width,
							  pq->codebook + (size_t) part * pq->width * pq->ncodes,
							  pq->ncodes, products);
		parts[part] = (uint8_t) knn_pq_least(pq->norms + (size_t) part * pq->ncodes,
											 products, pq->ncodes);
	}
}

void
knn_pq_decode(const knn_pq *pq, const uint8_t *parts, float *out)
{
	for (uint32_t part = 0; part < pq->m; part++)
	{
		for (uint32_t i = part * pq->width; i < (part + 1) * pq->width; i++)
			out[i] = pq->codebook[(size_t) i * pq->ncodes + parts[part]];
	}
}

void
knn_pq_pack(const uint8_t *parts, uint32_t m, uint32_t bits, uint8_t *code)
{
	if (bits == 8)
	{
		memcpy(code, parts, m);
		return;
	}
	memset(code, 0, knn_pq_code_bytes(m, bits));
	for (uint32_t i = 0; i < m; i++)
	{
		uint32_t	bit = i * bits;
		uint32_t	word = (uint32_t) parts[i] << bit % 8;

		code[bit / 8] |= (uint8_t) word;
		if (word >> 8)
			code[bit / 8 + 1] |= (uint8_t) (word >> 8);
	}
}

void
knn_pq_unpack(const uint8_t *code, uint32_t m, uint32_t bits, uint8_t *parts)
{
	uint32_t	mask = (1u << bits) - 1;
	uint32_t	held = 0;		/* bits of word */
	uint32_t	word = 0;

	if (bits == 8)
	{
		memcpy(parts, code, m);
		return;
	}
	for (uint32_t i = 0; i < m; i++)
	{
		if (held < bits)
		{
			word |= (uint32_t) *code++ << held;
			held += 8;
		}
		parts[i] = (uint8_t) (word & mask);
		word >>= bits;
		held -= bits;
	}
}

void
knn_pq_sums(const knn_kernels *kernels, uint32_t m, uint32_t bits, const float *table,
			const uint8_t *const *codes, uint32_t n, float *sums)
{
	uint8_t		parts[UNPACKED_BYTES];
	const uint8_t *unpacked[UNPACKED_CODES];
	uint32_t	step = UNPACKED_BYTES / m < UNPACKED_CODES ? UNPACKED_BYTES / m : UNPACKED_CODES;

	if (bits == 8)
	{
		kernels->lookups_f32(codes, n, table, m, bits, sums);
		return;
	}
	for (uint32_t start = 0; start < n; start += step)
	{
		uint32_t	some = n - start < step ? n - start : step;

		for (uint32_t i = 0; i < some; i++)
		{
			unpacked[i] = parts + (size_t) m * i;
			knn_pq_unpack(codes[start + i], m, bits, parts + (size_t) m * i);
		}
		kernels->lookups_f32(unpacked, some, table, m, bits, sums + start);
	}
}
