/*
 * distance_avx512.h
 *		What the distance kernels of AVX-512 share among themselves.
 */
#ifndef KNN_CORE_DISTANCE_AVX512_H
#define KNN_CORE_DISTANCE_AVX512_H

#include "core/distance_impl.h"

#ifdef KNN_KERNELS_X86

#include <immintrin.h>

#define FEATURES "avx2,fma,f16c,popcnt,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq"
#define TARGET __attribute__((target(FEATURES)))
#define INLINE static inline __attribute__((always_inline, target(FEATURES)))

/* a mask of the first n lanes, n below the width */
INLINE __mmask16
first16(uint32_t n)
{
	return (__mmask16) ((1u << n) - 1);
}

INLINE __mmask64
first64(uint32_t n)
{
	return (UINT64_C(1) << n) - 1;
}

INLINE __m512
load_float(const float *p)
{
	return _mm512_loadu_ps(p);
}

INLINE __m512
load_float_part(const float *p, uint32_t n)
{
	return _mm512_maskz_loadu_ps(first16(n), p);
}

INLINE __m512i
load_bytes(const void *p)
{
	return _mm512_loadu_si512(p);
}

INLINE __m512i
load_bytes_part(const void *p, uint32_t n)
{
	return _mm512_maskz_loadu_epi8(first64(n), p);
}

INLINE float
reduce_sum(__m512 s0, __m512 s1, __m512 s2, __m512 s3)
{
	__m512		s = _mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3));
	__m256		h = _mm256_add_ps(_mm512_castps512_ps256(s), _mm512_extractf32x8_ps(s, 1));
	__m128		t = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));

	t = _mm_add_ps(t, _mm_movehl_ps(t, t));
	t = _mm_add_ss(t, _mm_movehdup_ps(t));
	return _mm_cvtss_f32(t);
}

INLINE float
reduce_max(__m512 s0, __m512 s1, __m512 s2, __m512 s3)
{
	__m512		s = _mm512_max_ps(_mm512_max_ps(s0, s1), _mm512_max_ps(s2, s3));
	__m256		h = _mm256_max_ps(_mm512_castps512_ps256(s), _mm512_extractf32x8_ps(s, 1));
	__m128		t = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));

	t = _mm_max_ps(t, _mm_movehl_ps(t, t));
	t = _mm_max_ss(t, _mm_movehdup_ps(t));
	return _mm_cvtss_f32(t);
}

INLINE int32_t
reduce_epi32(__m512i s)
{
	__m256i		h = _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64(s, 1));
	__m128i		t = _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));

	t = _mm_add_epi32(t, _mm_unpackhi_epi64(t, t));
	t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 1));
	return _mm_cvtsi128_si32(t);
}

#endif							/* KNN_KERNELS_X86 */
#endif
