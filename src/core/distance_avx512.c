/*
 * distance_avx512.c
 *		Distance kernels for x86-64 with AVX-512 F, BW, VL, DQ, VNNI and
 *		VPOPCNTDQ (Ice Lake and Zen 4 on).
 *
 * What is left at the end is read with masked loads, which give zero in the
 * masked lanes and do not touch their memory.  See distance.h for what each
 * kernel computes.
 */
#include "core/distance_avx512.h"

#ifdef KNN_KERNELS_X86

INLINE __m512
load_half(const knn_half *p)
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p));
}

INLINE __m512
load_half_part(const knn_half *p, uint32_t n)
{
	return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first16(n), p));
}

INLINE __m512
step_l2(__m512 sum, __m512 a, __m512 b)
{
	__m512		d = _mm512_sub_ps(a, b);

	return _mm512_fmadd_ps(d, d, sum);
}

INLINE __m512
step_ip(__m512 sum, __m512 a, __m512 b)
{
	return _mm512_fmadd_ps(a, b, sum);
}

INLINE __m512
step_l1(__m512 sum, __m512 a, __m512 b)
{
	return _mm512_add_ps(sum, _mm512_abs_ps(_mm512_sub_ps(a, b)));
}

INLINE __m512
step_linf(__m512 max, __m512 a, __m512 b)
{
	return _mm512_max_ps(max, _mm512_abs_ps(_mm512_sub_ps(a, b)));
}

/*
 * A float kernel: four accumulators hide the latency of the addition that each
 * step depends on.  Zero lanes of a partial step add nothing.
 */
#define FLOAT_KERNEL(fname, ta, load_a, tb, load_b, step, reduce) \
TARGET static float \
fname(const ta *a, const tb *b, uint32_t dim) \
{ \
	__m512		s0 = _mm512_setzero_ps(), \
				s1 = s0, \
				s2 = s0, \
				s3 = s0; \
	uint32_t	i = 0; \
\
	for (; i + 64 <= dim; i += 64) \
	{ \
		s0 = step(s0, load_a(a + i), load_b(b + i)); \
		s1 = step(s1, load_a(a + i + 16), load_b(b + i + 16)); \
		s2 = step(s2, load_a(a + i + 32), load_b(b + i + 32)); \
		s3 = step(s3, load_a(a + i + 48), load_b(b + i + 48)); \
	} \
	for (; i + 16 <= dim; i += 16) \
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
 * Integer kernels over pairs of bytes.  Each is a step on two accumulators of
 * 32-bit lanes; the result is what remains of them: first - second.  The step
 * must not change them for zero bytes.
 */
#define BYTE_KERNEL(fname, ta, tb, tresult, step) \
TARGET static tresult \
fname(const ta *a, const tb *b, uint32_t dim) \
{ \
	__m512i		s0 = _mm512_setzero_si512(), \
				s1 = s0, \
				t0 = s0, \
				t1 = s0; \
	uint32_t	i = 0; \
\
	for (; i + 128 <= dim; i += 128) \
	{ \
		step(s0, t0, load_bytes(a + i), load_bytes(b + i)); \
		step(s1, t1, load_bytes(a + i + 64), load_bytes(b + i + 64)); \
	} \
	if (i + 64 <= dim) \
	{ \
		step(s0, t0, load_bytes(a + i), load_bytes(b + i)); \
		i += 64; \
	} \
	if (i < dim) \
		step(s1, t1, load_bytes_part(a + i, dim - i), load_bytes_part(b + i, dim - i)); \
\
	s0 = _mm512_add_epi32(s0, s1); \
	t0 = _mm512_add_epi32(t0, t1); \
	return (tresult) reduce_epi32(_mm512_sub_epi32(s0, t0)); \
}

/*
 * vpdpbusd multiplies unsigned by signed bytes and adds four products to each
 * 32-bit lane, exactly.  Where both sides are signed, one is shifted by 128
 * into the unsigned range (x ^ 0x80 is x + 128), and what that adds, 128 times
 * the other side, is subtracted again:
 *		a * b = (a + 128) * b - 128 * b
 */
#define STEP_PRODUCT_S8(s, t, a, b) \
	do { \
		const __m512i top = _mm512_set1_epi8((char) 0x80); \
		__m512i		y = (b); \
\
		(s) = _mm512_dpbusd_epi32((s), _mm512_xor_si512((a), top), y); \
		(t) = _mm512_dpbusd_epi32((t), top, y); \
	} while (0)

/*
 * d = |a - b| fits an unsigned byte, and d * d = d * (d - 128) - d * -128,
 * where d - 128 as a signed byte is d ^ 0x80.
 */
#define STEP_SQUARE_S8(s, t, a, b) \
	do { \
		const __m512i top = _mm512_set1_epi8((char) 0x80); \
		__m512i		d = abs_diff_s8((a), (b)); \
\
		(s) = _mm512_dpbusd_epi32((s), d, _mm512_xor_si512(d, top)); \
		(t) = _mm512_dpbusd_epi32((t), d, top); \
	} while (0)

#define STEP_L1_S8(s, t, a, b) \
	((s) = _mm512_dpbusd_epi32((s), abs_diff_s8((a), (b)), _mm512_set1_epi8(1)))

/* |a - b| of signed bytes, as unsigned bytes */
INLINE __m512i
abs_diff_s8(__m512i a, __m512i b)
{
	return _mm512_sub_epi8(_mm512_max_epi8(a, b), _mm512_min_epi8(a, b));
}

BYTE_KERNEL(l2_squared_s8, int8_t, int8_t, int32_t, STEP_SQUARE_S8)
BYTE_KERNEL(inner_product_s8, int8_t, int8_t, int32_t, STEP_PRODUCT_S8)
BYTE_KERNEL(l1_s8, int8_t, int8_t, int32_t, STEP_L1_S8)

TARGET static int32_t
linf_s8(const int8_t *a, const int8_t *b, uint32_t dim)
{
	__m512i		s = _mm512_setzero_si512();
	__m256i		h;
	__m128i		t;
	uint32_t	i = 0;

	for (; i + 64 <= dim; i += 64)
		s = _mm512_max_epu8(s, abs_diff_s8(load_bytes(a + i), load_bytes(b + i)));
	if (i < dim)
		s = _mm512_max_epu8(s, abs_diff_s8(load_bytes_part(a + i, dim - i),
										   load_bytes_part(b + i, dim - i)));
	h = _mm256_max_epu8(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64(s, 1));
	t = _mm_max_epu8(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
	t = _mm_max_epu8(t, _mm_srli_si128(t, 8));
	t = _mm_max_epu8(t, _mm_srli_si128(t, 4));
	t = _mm_max_epu8(t, _mm_srli_si128(t, 2));
	t = _mm_max_epu8(t, _mm_srli_si128(t, 1));
	return _mm_cvtsi128_si32(t) & 0xff;
}

TARGET static uint32_t
hamming(const uint8_t *a, const uint8_t *b, uint32_t nbytes)
{
	__m512i		s0 = _mm512_setzero_si512(),
				s1 = s0;
	uint32_t	i = 0;

	for (; i + 128 <= nbytes; i += 128)
	{
		__m512i		x = _mm512_xor_si512(load_bytes(a + i), load_bytes(b + i));
		__m512i		y = _mm512_xor_si512(load_bytes(a + i + 64), load_bytes(b + i + 64));

		s0 = _mm512_add_epi32(s0, _mm512_popcnt_epi32(x));
		s1 = _mm512_add_epi32(s1, _mm512_popcnt_epi32(y));
	}
	if (i + 64 <= nbytes)
	{
		__m512i		x = _mm512_xor_si512(load_bytes(a + i), load_bytes(b + i));

		s0 = _mm512_add_epi32(s0, _mm512_popcnt_epi32(x));
		i += 64;
	}
	if (i < nbytes)
	{
		__m512i		x = _mm512_xor_si512(load_bytes_part(a + i, nbytes - i),
										 load_bytes_part(b + i, nbytes - i));

		s1 = _mm512_add_epi32(s1, _mm512_popcnt_epi32(x));
	}
	return (uint32_t) reduce_epi32(_mm512_add_epi32(s0, s1));
}

TARGET static void
f16_to_f32(const knn_half *in, float *out, uint32_t dim)
{
	uint32_t	i = 0;

	for (; i + 16 <= dim; i += 16)
		_mm512_storeu_ps(out + i, load_half(in + i));
	if (i < dim)
		_mm512_mask_storeu_ps(out + i, first16(dim - i), load_half_part(in + i, dim - i));
}

TARGET static void
f32_to_f16(const float *in, knn_half *out, uint32_t dim)
{
	uint32_t	i = 0;

	for (; i + 16 <= dim; i += 16)
		_mm256_storeu_si256((__m256i *) (out + i),
							_mm512_cvtps_ph(load_float(in + i), _MM_FROUND_TO_NEAREST_INT));
	if (i < dim)
		_mm256_mask_storeu_epi16(out + i, first16(dim - i),
								 _mm512_cvtps_ph(load_float_part(in + i, dim - i), _MM_FROUND_TO_NEAREST_INT));
}

const knn_kernels knn_kernels_avx512 = {
	.name = "avx512",
	KNN_FLOAT_KERNELS,
	.l2_squared_s8 = l2_squared_s8,
	.inner_product_s8 = inner_product_s8,
	.l1_s8 = l1_s8,
	.linf_s8 = linf_s8,
	.hamming = hamming,
	KNN_DOT_KERNELS(avx512),
	KNN_CODE_FLOAT_KERNELS(avx512),
	.lookups_f32 = knn_lookups_f32_avx2,
	.products_f32 = knn_products_f32_avx2,
};

#else

/* ISO C wants a file to declare something */
typedef int knn_distance_avx512_not_built;

#endif							/* KNN_KERNELS_X86 */
