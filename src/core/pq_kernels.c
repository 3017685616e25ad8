/*
 * pq_kernels.c
 *		Kernels of product quantization, for the tables of distance_*.c; see
 *		distance.h for what each computes.
 *
 * A look-up is a load whose address is known late.  Gathers of AVX2 make eight of
 * them at once; two codes are worked on together, since each waits for its own sum.
 */
#include "core/distance_avx2.h"

/* Four sums, so that additions need not wait for each other. */
static float
lookup_one(const uint8_t *code, const float *table, uint32_t m, uint32_t shift)
{
	float		sum[4] = {0, 0, 0, 0};
	uint32_t	j = 0;

	for (; j + 4 <= m; j += 4)
	{
		const float *part = table + ((size_t) j << shift);

		sum[0] += part[code[j]];
		sum[1] += part[((size_t) 1 << shift) + code[j + 1]];
		sum[2] += part[((size_t) 2 << shift) + code[j + 2]];
		sum[3] += part[((size_t) 3 << shift) + code[j + 3]];
	}
	for (; j < m; j++)
		sum[j % 4] += table[((size_t) j << shift) + code[j]];
	return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

void
knn_lookups_f32_scalar(const uint8_t *const *codes, uint32_t n, const float *table,
					   uint32_t m, uint32_t shift, float *out)
{
	for (uint32_t i = 0; i < n; i++)
		out[i] = lookup_one(codes[i], table, m, shift);
}

void
knn_products_f32_scalar(const float *v, uint32_t nv, const float *rows, uint32_t width,
						float *out)
{
	memset(out, 0, sizeof(float) * width);
	for (uint32_t i = 0; i < nv; i++)
	{
		const float *row = rows + (size_t) i * width;

		for (uint32_t k = 0; k < width; k++)
			out[k] += v[i] * row[k];
	}
}

#ifdef KNN_KERNELS_X86

/* The table's floats for eight parts of a code. */
INLINE __m256
gather(const uint8_t *code, const float *part, __m256i places)
{
	__m256i		bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *) code));

	return _mm256_i32gather_ps(part, _mm256_add_epi32(bytes, places), 4);
}

INLINE float
sum_lanes(__m256 v)
{
	__m128		half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

	half = _mm_add_ps(half, _mm_movehl_ps(half, half));
	return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

TARGET void
knn_lookups_f32_avx2(const uint8_t *const *codes, uint32_t n, const float *table,
					 uint32_t m, uint32_t shift, float *out)
{
	const __m256i places = _mm256_slli_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), (int) shift);
	uint32_t	whole = m / 8 * 8;
	uint32_t	i = 0;

	for (; i < n; i += 2)
	{
		/* an odd one is worked on twice */
		const uint8_t *a = codes[i];
		const uint8_t *b = codes[i + 1 < n ? i + 1 : i];
		__m256		sum_a = _mm256_setzero_ps();
		__m256		sum_b = _mm256_setzero_ps();
		float		rest_a = 0;
		float		rest_b = 0;

		for (uint32_t j = 0; j < whole; j += 8)
		{
			const float *part = table + ((size_t) j << shift);

			sum_a = _mm256_add_ps(sum_a, gather(a + j, part, places));
			sum_b = _mm256_add_ps(sum_b, gather(b + j, part, places));
		}
		for (uint32_t j = whole; j < m; j++)
		{
			const float *part = table + ((size_t) j << shift);

			rest_a += part[a[j]];
			rest_b += part[b[j]];
		}
		out[i] = sum_lanes(sum_a) + rest_a;
		if (i + 1 < n)
			out[i + 1] = sum_lanes(sum_b) + rest_b;
	}
}

TARGET void
knn_products_f32_avx2(const float *v, uint32_t nv, const float *rows, uint32_t width,
					  float *out)
{
	uint32_t	k = 0;

	for (; k + 32 <= width; k += 32)
	{
		__m256		a = _mm256_setzero_ps();
		__m256		b = a;
		__m256		c = a;
		__m256		d = a;

		for (uint32_t i = 0; i < nv; i++)
		{
			const float *row = rows + (size_t) i * width + k;
			__m256		x = _mm256_set1_ps(v[i]);

			a = _mm256_fmadd_ps(x, _mm256_loadu_ps(row), a);
			b = _mm256_fmadd_ps(x, _mm256_loadu_ps(row + 8), b);
			c = _mm256_fmadd_ps(x, _mm256_loadu_ps(row + 16), c);
			d = _mm256_fmadd_ps(x, _mm256_loadu_ps(row + 24), d);
		}
		_mm256_storeu_ps(out + k, a);
		_mm256_storeu_ps(out + k + 8, b);
		_mm256_storeu_ps(out + k + 16, c);
		_mm256_storeu_ps(out + k + 24, d);
	}
	for (; k < width; k++)
	{
		float		sum = 0;

		for (uint32_t i = 0; i < nv; i++)
			sum += v[i] * rows[(size_t) i * width + k];
		out[k] = sum;
	}
}

#endif							/* KNN_KERNELS_X86 */
