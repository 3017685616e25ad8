/*
 * distance_avx2.h
 *		What the kernels of AVX2 share among themselves; their features are those that
 *		distance_impl.h names.
 */
#ifndef KNN_CORE_DISTANCE_AVX2_H
#define KNN_CORE_DISTANCE_AVX2_H

#include "core/distance_impl.h"

#ifdef KNN_KERNELS_X86

#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma,f16c,popcnt")))
#define INLINE static inline __attribute__((always_inline, target("avx2,fma,f16c,popcnt")))

/* Eight ones followed by eight zeros: a window of it masks the first n lanes. */
static const int32_t lane_mask[16] = {
	-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0
};

INLINE __m256i
first_lanes(uint32_t n)
{
	return _mm256_loadu_si256((const __m256i *) (lane_mask + 8 - n));
}

INLINE __m256
load_float(const float *p)
{
	return _mm256_loadu_ps(p);
}

/* the first n < 8 elements, and zeros */
INLINE __m256
load_float_part(const float *p, uint32_t n)
{
	return _mm256_maskload_ps(p, first_lanes(n));
}

INLINE __m256
abs_ps(__m256 x)
{
	return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

INLINE float
reduce_sum(__m256 s0, __m256 s1, __m256 s2, __m256 s3)
{
	__m256		s = _mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3));
	__m128		t = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));

	t = _mm_add_ps(t, _mm_movehl_ps(t, t));
	t = _mm_add_ss(t, _mm_movehdup_ps(t));
	return _mm_cvtss_f32(t);
}

INLINE float
reduce_max(__m256 s0, __m256 s1, __m256 s2, __m256 s3)
{
	__m256		s = _mm256_max_ps(_mm256_max_ps(s0, s1), _mm256_max_ps(s2, s3));
	__m128		t = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));

	t = _mm_max_ps(t, _mm_movehl_ps(t, t));
	t = _mm_max_ss(t, _mm_movehdup_ps(t));
	return _mm_cvtss_f32(t);
}

INLINE int32_t
reduce_epi32(__m256i s)
{
	__m128i		t = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));

	t = _mm_add_epi32(t, _mm_unpackhi_epi64(t, t));
	t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 1));
	return _mm_cvtsi128_si32(t);
}

/* the sum of four 64-bit lanes whose total fits 32 bits */
INLINE int32_t
reduce_epi64(__m256i s)
{
	__m128i		t = _mm_add_epi64(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));

	t = _mm_add_epi64(t, _mm_unpackhi_epi64(t, t));
	return _mm_cvtsi128_si32(t);
}

/* 16 bytes widened to 16 bits, signed and unsigned */
INLINE __m256i
widen_s8(const int8_t *p)
{
	return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *) p));
}

INLINE __m256i
widen_u8(const uint8_t *p)
{
	return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *) p));
}

INLINE int32_t
one_product(int32_t a, int32_t b)
{
	return a * b;
}

#endif							/* KNN_KERNELS_X86 */
#endif
