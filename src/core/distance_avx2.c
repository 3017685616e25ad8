/*
 * distance_avx2.c
 *		Distance kernels for x86-64 with AVX2, FMA, F16C and POPCNT.
 *
 * Every CPU that has AVX2 in practice has the other three (Haswell and Zen 1
 * on); the dispatcher checks all four.  See distance.h for what each kernel
 * computes.
 *
 * Floats left over at the end are read with masked loads, which do not touch
 * the masked lanes.  AVX2 has no such loads for bytes and halves: what is left
 * of those is done one by one, at most a few elements.
 */
#include "core/distance_avx2.h"

#ifdef KNN_KERNELS_X86

INLINE __m256
load_half(const knn_half *p)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) p));
}

INLINE __m128i
load_half_bits_part(const knn_half *p, uint32_t n)
{
	uint64_t	low = 0,
				high = 0;

	if (n >= 4)
	{
		memcpy(&low, p, 8);
		for (uint32_t i = n; i > 4; i--)
			high = (high << 16) | p[i - 1];
	}
	else
	{
		for (uint32_t i = n; i > 0; i--)
			low = (low << 16) | p[i - 1];
	}
	return _mm_set_epi64x((long long) high, (long long) low);
}

INLINE __m256
load_half_part(const knn_half *p, uint32_t n)
{
	return _mm256_cvtph_ps(load_half_bits_part(p, n));
}

INLINE __m256
step_l2(__m256 sum, __m256 a, __m256 b)
{
	__m256		d = _mm256_sub_ps(a, b);

	return _mm256_fmadd_ps(d, d, sum);
}

INLINE __m256
step_ip(__m256 sum, __m256 a, __m256 b)
{
	return _mm256_fmadd_ps(a, b, sum);
}

INLINE __m256
step_l1(__m256 sum, __m256 a, __m256 b)
{
	return _mm256_add_ps(sum, abs_ps(_mm256_sub_ps(a, b)));
}

INLINE __m256
step_linf(__m256 max, __m256 a, __m256 b)
{
	return _mm256_max_ps(max, abs_ps(_mm256_sub_ps(a, b)));
}

/*
 * A float kernel: four accumulators hide the latency of the addition that each
 * step depends on.  Zero lanes of a partial step add nothing.
 */
#define FLOAT_KERNEL(fname, ta, load_a, tb, load_b, step, reduce) \
TARGET static float \
fname(const ta *a, const tb *b, uint32_t dim) \
{ \
	__m256		s0 = _mm256_setzero_ps(), \
				s1 = s0, \
				s2 = s0, \
				s3 = s0; \
	uint32_t	i = 0; \
\
	for (; i + 32 <= dim; i += 32) \
	{ \
		s0 = step(s0, load_a(a + i), load_b(b + i)); \
		s1 = step(s1, load_a(a + i + 8), load_b(b + i + 8)); \
		s2 = step(s2, load_a(a + i + 16), load_b(b + i + 16)); \
		s3 = step(s3, load_a(a + i + 24), load_b(b + i + 24)); \
	} \
	for (; i + 8 <= dim; i += 8) \
		s0 = step(s0, load_a(a + i), load_b(b + i)); \
	if (i < dim) \
		s1 = step(s1, load_a##_part(a + i, dim - i), load_b##_part(b + i, dim - i)); \
\
	return reduce(s0, s1, s2, s3); \
}

FLOAT_KERNEL(l2_squared_f32, float, load_float, float, load_float, step_l2, reduce_sum)
FLOAT_KERNEL(inner_product_f32, float, load_float, float, load_float, step_ip, reduce_sum)
FLOAT_KERNEL(l1_f32, float, load_float, float, load_float, step_l1, reduce_sum)
FLOAT_KERNEL(linf_f32, float, load_float, float, load_float, step_linf, reduce_max)

FLOAT_KERNEL(l2_squared_f16, knn_half, load_half, knn_half, load_half, step_l2, reduce_sum)
FLOAT_KERNEL(inner_product_f16, knn_half, load_half, knn_half, load_half, step_ip, reduce_sum)
FLOAT_KERNEL(l1_f16, knn_half, load_half, knn_half, load_half, step_l1, reduce_sum)
FLOAT_KERNEL(linf_f16, knn_half, load_half, knn_half, load_half, step_linf, reduce_max)

FLOAT_KERNEL(l2_squared_f32f16, float, load_float, knn_half, load_half, step_l2, reduce_sum)
FLOAT_KERNEL(inner_product_f32f16, float, load_float, knn_half, load_half, step_ip, reduce_sum)

/*
 * Products of bytes are formed from 16-bit values with vpmaddwd, which is
 * exact; vpmaddubsw would need no widening but saturates at 16 bits.
 */
#define BYTE_KERNEL(fname, ta, widen_a, tb, widen_b, step, step_one) \
TARGET static int32_t \
fname(const ta *a, const tb *b, uint32_t dim) \
{ \
	__m256i		s0 = _mm256_setzero_si256(), \
				s1 = s0; \
	int32_t		sum; \
	uint32_t	i = 0; \
\
	for (; i + 32 <= dim; i += 32) \
	{ \
		s0 = _mm256_add_epi32(s0, step(widen_a(a + i), widen_b(b + i))); \
		s1 = _mm256_add_epi32(s1, step(widen_a(a + i + 16), widen_b(b + i + 16))); \
	} \
	if (i + 16 <= dim) \
	{ \
		s0 = _mm256_add_epi32(s0, step(widen_a(a + i), widen_b(b + i))); \
		i += 16; \
	} \
	sum = reduce_epi32(_mm256_add_epi32(s0, s1)); \
	for (; i < dim; i++) \
		sum += step_one(a[i], b[i]); \
	return sum; \
}

INLINE __m256i
step_square(__m256i a, __m256i b)
{
	__m256i		d = _mm256_sub_epi16(a, b);

	return _mm256_madd_epi16(d, d);
}

INLINE int32_t
one_square(int32_t a, int32_t b)
{
	return (a - b) * (a - b);
}

BYTE_KERNEL(l2_squared_s8, int8_t, widen_s8, int8_t, widen_s8, step_square, one_square)
BYTE_KERNEL(inner_product_s8, int8_t, widen_s8, int8_t, widen_s8, _mm256_madd_epi16, one_product)

/* |a - b| of 32 signed bytes, as unsigned bytes */
INLINE __m256i
abs_diff_s8(const int8_t *a, const int8_t *b)
{
	__m256i		x = _mm256_loadu_si256((const __m256i *) a);
	__m256i		y = _mm256_loadu_si256((const __m256i *) b);

	return _mm256_sub_epi8(_mm256_max_epi8(x, y), _mm256_min_epi8(x, y));
}

INLINE int32_t
one_abs_diff(int32_t a, int32_t b)
{
	return a > b ? a - b : b - a;
}

TARGET static int32_t
l1_s8(const int8_t *a, const int8_t *b, uint32_t dim)
{
	const __m256i zero = _mm256_setzero_si256();
	__m256i		s = zero;
	int32_t		sum;
	uint32_t	i = 0;

	for (; i + 32 <= dim; i += 32)
		s = _mm256_add_epi64(s, _mm256_sad_epu8(abs_diff_s8(a + i, b + i), zero));
	sum = reduce_epi64(s);
	for (; i < dim; i++)
		sum += one_abs_diff(a[i], b[i]);
	return sum;
}

TARGET static int32_t
linf_s8(const int8_t *a, const int8_t *b, uint32_t dim)
{
	__m256i		s = _mm256_setzero_si256();
	__m128i		t;
	int32_t		max;
	uint32_t	i = 0;

	for (; i + 32 <= dim; i += 32)
		s = _mm256_max_epu8(s, abs_diff_s8(a + i, b + i));
	t = _mm_max_epu8(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
	t = _mm_max_epu8(t, _mm_srli_si128(t, 8));
	t = _mm_max_epu8(t, _mm_srli_si128(t, 4));
	t = _mm_max_epu8(t, _mm_srli_si128(t, 2));
	t = _mm_max_epu8(t, _mm_srli_si128(t, 1));
	max = _mm_cvtsi128_si32(t) & 0xff;
	for (; i < dim; i++)
	{
		int32_t		d = one_abs_diff(a[i], b[i]);

		if (d > max)
			max = d;
	}
	return max;
}

/* set bits of each 64-bit lane, by two table look-ups per byte */
INLINE __m256i
popcount_epi64(__m256i x)
{
	const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
										   0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
	const __m256i nibble = _mm256_set1_epi8(0x0f);
	__m256i		low = _mm256_shuffle_epi8(table, _mm256_and_si256(x, nibble));
	__m256i		high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));

	return _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256());
}

INLINE __m256i
load_xor(const uint8_t *a, const uint8_t *b)
{
	return _mm256_xor_si256(_mm256_loadu_si256((const __m256i *) a),
							_mm256_loadu_si256((const __m256i *) b));
}

INLINE uint64_t
load_xor64(const uint8_t *a, const uint8_t *b)
{
	uint64_t	x,
				y;

	memcpy(&x, a, 8);
	memcpy(&y, b, 8);
	return x ^ y;
}

TARGET static uint32_t
hamming(const uint8_t *a, const uint8_t *b, uint32_t nbytes)
{
	uint64_t	c0 = 0,
				c1 = 0;
	uint32_t	i = 0;

	/* below this size the vector set-up costs more than it saves */
	if (nbytes >= 256)
	{
		__m256i		s0 = _mm256_setzero_si256(),
					s1 = s0;

		for (; i + 64 <= nbytes; i += 64)
		{
			s0 = _mm256_add_epi64(s0, popcount_epi64(load_xor(a + i, b + i)));
			s1 = _mm256_add_epi64(s1, popcount_epi64(load_xor(a + i + 32, b + i + 32)));
		}
		c0 = (uint64_t) reduce_epi64(_mm256_add_epi64(s0, s1));
	}
	for (; i + 16 <= nbytes; i += 16)
	{
		c0 += (uint64_t) _mm_popcnt_u64(load_xor64(a + i, b + i));
		c1 += (uint64_t) _mm_popcnt_u64(load_xor64(a + i + 8, b + i + 8));
	}
	if (i + 8 <= nbytes)
	{
		c0 += (uint64_t) _mm_popcnt_u64(load_xor64(a + i, b + i));
		i += 8;
	}
	for (; i < nbytes; i++)
		c1 += (uint64_t) _mm_popcnt_u32((uint32_t) (a[i] ^ b[i]));
	return (uint32_t) (c0 + c1);
}

TARGET static void
f16_to_f32(const knn_half *in, float *out, uint32_t dim)
{
	uint32_t	i = 0;

	for (; i + 8 <= dim; i += 8)
		_mm256_storeu_ps(out + i, load_half(in + i));
	if (i < dim)
		_mm256_maskstore_ps(out + i, first_lanes(dim - i), load_half_part(in + i, dim - i));
}

TARGET static void
f32_to_f16(const float *in, knn_half *out, uint32_t dim)
{
	uint32_t	i = 0;

	for (; i + 8 <= dim; i += 8)
		_mm_storeu_si128((__m128i *) (out + i),
						 _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT));
	for (; i < dim; i++)
		out[i] = _cvtss_sh(in[i], _MM_FROUND_TO_NEAREST_INT);
}

const knn_kernels knn_kernels_avx2 = {
	.name = "avx2",
	KNN_FLOAT_KERNELS,
	.l2_squared_s8 = l2_squared_s8,
	.inner_product_s8 = inner_product_s8,
	.l1_s8 = l1_s8,
	.linf_s8 = linf_s8,
	.hamming = hamming,
	KNN_DOT_KERNELS(avx2),
	KNN_CODE_FLOAT_KERNELS(avx2),
	.lookups_f32 = knn_lookups_f32_avx2,
	.products_f32 = knn_products_f32_avx2,
};

#else

/* ISO C wants a file to declare something */
typedef int knn_distance_avx2_not_built;

#endif							/* KNN_KERNELS_X86 */
