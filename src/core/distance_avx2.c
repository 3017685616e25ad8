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
abs_ps(__m256 x)
{
	return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
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

INLINE int32_t
one_product(int32_t a, int32_t b)
{
	return a * b;
}

BYTE_KERNEL(l2_squared_s8, int8_t, widen_s8, int8_t, widen_s8, step_square, one_square)
BYTE_KERNEL(inner_product_s8, int8_t, widen_s8, int8_t, widen_s8, _mm256_madd_epi16, one_product)

/*
 * code * query without widening: with every other code byte cleared, a pair of
 * products that vpmaddubsw adds has one term, at most 255 * 128, and cannot
 * saturate.  Cheaper than two widening loads where only one port shuffles.
 */
INLINE __m256i
products_u8s8(const uint8_t *code, const int8_t *query)
{
	const __m256i even = _mm256_set1_epi16(0x00ff);
	const __m256i one = _mm256_set1_epi16(1);
	__m256i		x = _mm256_loadu_si256((const __m256i *) code);
	__m256i		y = _mm256_loadu_si256((const __m256i *) query);
	__m256i		low = _mm256_maddubs_epi16(_mm256_and_si256(x, even), y);
	__m256i		high = _mm256_maddubs_epi16(_mm256_andnot_si256(even, x), y);

	return _mm256_add_epi32(_mm256_madd_epi16(low, one), _mm256_madd_epi16(high, one));
}

TARGET static int32_t
dot_u8s8(const uint8_t *code, const int8_t *query, uint32_t dim)
{
	__m256i		s0 = _mm256_setzero_si256(),
				s1 = s0;
	int32_t		sum;
	uint32_t	i = 0;

	for (; i + 64 <= dim; i += 64)
	{
		s0 = _mm256_add_epi32(s0, products_u8s8(code + i, query + i));
		s1 = _mm256_add_epi32(s1, products_u8s8(code + i + 32, query + i + 32));
	}
	if (i + 32 <= dim)
	{
		s0 = _mm256_add_epi32(s0, products_u8s8(code + i, query + i));
		i += 32;
	}
	if (i + 16 <= dim)
	{
		s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(widen_u8(code + i), widen_s8(query + i)));
		i += 16;
	}
	sum = reduce_epi32(_mm256_add_epi32(s0, s1));
	for (; i < dim; i++)
		sum += one_product(code[i], query[i]);
	return sum;
}

TARGET static void
dots_u8s8(const uint8_t *const *codes, uint32_t n, const int8_t *query, uint32_t dim,
		  int32_t *out)
{
	uint32_t	whole = dim / 32 * 32;
	uint32_t	at = 0;

	for (; at + 4 <= n; at += 4)
	{
		__m256i		s0 = _mm256_setzero_si256(),
					s1 = s0,
					s2 = s0,
					s3 = s0;
		__m128i		sums;

		for (uint32_t i = 0; i < whole; i += 32)
		{
			s0 = _mm256_add_epi32(s0, products_u8s8(codes[at] + i, query + i));
			s1 = _mm256_add_epi32(s1, products_u8s8(codes[at + 1] + i, query + i));
			s2 = _mm256_add_epi32(s2, products_u8s8(codes[at + 2] + i, query + i));
			s3 = _mm256_add_epi32(s3, products_u8s8(codes[at + 3] + i, query + i));
		}
		s0 = _mm256_hadd_epi32(_mm256_hadd_epi32(s0, s1), _mm256_hadd_epi32(s2, s3));
		sums = _mm_add_epi32(_mm256_castsi256_si128(s0), _mm256_extracti128_si256(s0, 1));
		_mm_storeu_si128((__m128i *) (out + at), sums);
		if (whole < dim)
		{
			for (uint32_t k = at; k < at + 4; k++)
				out[k] += dot_u8s8(codes[k] + whole, query + whole, dim - whole);
		}
	}
	for (; at < n; at++)
		out[at] = dot_u8s8(codes[at], query, dim);
}

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

/*
 * Codes of several fields to a byte, in steps of 32 bytes.  A field need not be
 * moved to the bottom of its byte: the product with a field left at bit b is 2^b
 * times as large, which the sum is divided by in the end.
 *
 * vpmaddubsw adds two products, at most 2 * 15 * 128 = 3840 for fields masked
 * below 16: it cannot saturate.  Its results are added up in 16 bits for a block
 * of steps.  The largest absolute values there, n steps into a block:
 *
 *		4 bits	s0, s1			n * 2 * 15 * 128	15360 after 4 steps
 *				their sum							30720
 *		2 bits	s0, s2			n * 2 *  3 * 128	 7680 after 10 steps
 *				s1, s3			n * 2 * 12 * 128	30720
 *				their sum		n * 8 *  3 * 128	30720, s1 and s3 divided first
 *		1 bit	s3, two fields	n * 4 *  8 * 128	28672 after 7 steps
 *				s2 + s3 / 2		n * 8 *  4 * 128	28672
 *				their sum		n * 16 * 1 * 128	14336
 */
#define BLOCK_U4 4
#define BLOCK_U2 10
#define BLOCK_U1 7

#define DOT(s, field, q) \
	((s) = _mm256_add_epi16((s), _mm256_maddubs_epi16((field), (q))))
#define FIELD(x, mask)	_mm256_and_si256((x), _mm256_set1_epi8(mask))

INLINE __m256i
load_query(const int8_t *p)
{
	return _mm256_loadu_si256((const __m256i *) p);
}

#define STEP_U4(x, p) \
	do { \
		DOT(s0, FIELD(x, 15), load_query(p)); \
		DOT(s1, FIELD(_mm256_srli_epi16(x, 4), 15), load_query((p) + field)); \
	} while (0)

#define STEP_U2(x, p) \
	do { \
		__m256i		x4 = _mm256_srli_epi16(x, 4); \
\
		DOT(s0, FIELD(x, 3), load_query(p)); \
		DOT(s1, FIELD(x, 12), load_query((p) + field)); \
		DOT(s2, FIELD(x4, 3), load_query((p) + 2 * field)); \
		DOT(s3, FIELD(x4, 12), load_query((p) + 3 * field)); \
	} while (0)

#define STEP_U1(x, p) \
	do { \
		__m256i		x4 = _mm256_srli_epi16(x, 4); \
\
		DOT(s0, FIELD(x, 1), load_query(p)); \
		DOT(s1, FIELD(x, 2), load_query((p) + field)); \
		DOT(s2, FIELD(x, 4), load_query((p) + 2 * field)); \
		DOT(s3, FIELD(x, 8), load_query((p) + 3 * field)); \
		DOT(s0, FIELD(x4, 1), load_query((p) + 4 * field)); \
		DOT(s1, FIELD(x4, 2), load_query((p) + 5 * field)); \
		DOT(s2, FIELD(x4, 4), load_query((p) + 6 * field)); \
		DOT(s3, FIELD(x4, 8), load_query((p) + 7 * field)); \
	} while (0)

/*
 * Half steps, of 16 bytes: an even field and the odd one after it side by side,
 * x having been shifted so that the field to use is the even one in both halves.
 */
INLINE __m256i
load_two(const int8_t *p, const int8_t *r)
{
	return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *) p)),
								   _mm_loadu_si128((const __m128i *) r), 1);
}

INLINE __m256i
twice(__m128i x, int bits)
{
	const __m256i shift = _mm256_setr_epi32(0, 0, 0, 0, bits, bits, bits, bits);

	return _mm256_srlv_epi32(_mm256_broadcastsi128_si256(x), shift);
}

#define LOAD_TWO(p, k)	load_two((p) + (k) * field, (p) + ((k) + 1) * field)

#define HALF_U4(x, p) \
	DOT(s0, FIELD(x, 15), LOAD_TWO(p, 0))

#define HALF_U2(x, p) \
	do { \
		DOT(s0, FIELD(x, 3), LOAD_TWO(p, 0)); \
		DOT(s2, FIELD(_mm256_srli_epi16(x, 4), 3), LOAD_TWO(p, 2)); \
	} while (0)

#define HALF_U1(x, p) \
	do { \
		__m256i		x4 = _mm256_srli_epi16(x, 4); \
\
		DOT(s0, FIELD(x, 1), LOAD_TWO(p, 0)); \
		DOT(s2, FIELD(x, 4), LOAD_TWO(p, 2)); \
		DOT(s0, FIELD(x4, 1), LOAD_TWO(p, 4)); \
		DOT(s2, FIELD(x4, 4), LOAD_TWO(p, 6)); \
	} while (0)

/* multiples of the power of two in every lane: the shifts lose nothing */
#define FINISH_U4() \
	_mm256_add_epi16(s0, s1)
#define FINISH_U2() \
	_mm256_add_epi16(_mm256_add_epi16(s0, s2), \
					 _mm256_add_epi16(_mm256_srai_epi16(s1, 2), _mm256_srai_epi16(s3, 2)))
#define FINISH_U1() \
	_mm256_add_epi16(_mm256_add_epi16(s0, _mm256_srai_epi16(s1, 1)), \
					 _mm256_srai_epi16(_mm256_add_epi16(s2, _mm256_srai_epi16(s3, 1)), 2))

/* 32 zeros followed by 32 ones: a window of it keeps the last n bytes. */
static const uint8_t byte_mask[64] = {
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255
};

INLINE __m256i
last_bytes(__m256i x, uint32_t n)
{
	return _mm256_and_si256(x, _mm256_loadu_si256((const __m256i *) (byte_mask + n)));
}

INLINE __m128i
last_bytes_half(__m128i x, uint32_t n)
{
	return _mm_and_si128(x, _mm_loadu_si128((const __m128i *) (byte_mask + 16 + n)));
}

/*
 * What a whole or half step does not cover at the end is read again with as much
 * before it as makes one, the code that was done cleared.  A half step counts as
 * one in its block.
 */
#define PACKED_KERNEL(fname, bits, BLOCK, STEP, HALF, FINISH) \
TARGET static int32_t \
fname(const uint8_t *code, const int8_t *query, uint32_t nbytes) \
{ \
	const __m256i one = _mm256_set1_epi16(1); \
	const size_t field = nbytes; \
	__m256i		sum = _mm256_setzero_si256(); \
	uint32_t	i = 0; \
\
	if (nbytes < 16) \
		return knn_dot_packed_from(code, query, nbytes, 0, 8 / bits); \
\
	while (i < nbytes) \
	{ \
		__m256i		s0 = _mm256_setzero_si256(), \
					s1 = s0, \
					s2 = s0, \
					s3 = s0; \
		int			left = BLOCK; \
\
		for (; left > 0 && i + 32 <= nbytes; left--, i += 32) \
		{ \
			__m256i		x = _mm256_loadu_si256((const __m256i *) (code + i)); \
\
			STEP(x, query + i); \
		} \
		if (left > 1 && i < nbytes) \
		{ \
			uint32_t	rest = nbytes - i; \
\
			if (rest > 16 && nbytes >= 32) \
			{ \
				uint32_t	j = nbytes - 32; \
				__m256i		x = _mm256_loadu_si256((const __m256i *) (code + j)); \
\
				x = last_bytes(x, rest); \
				STEP(x, query + j); \
			} \
			else \
			{ \
				uint32_t	j = nbytes - 16; \
				__m128i		end = _mm_loadu_si128((const __m128i *) (code + j)); \
				__m256i		x; \
\
				if (rest > 16) \
				{ \
					x = twice(_mm_loadu_si128((const __m128i *) (code + i)), bits); \
					HALF(x, query + i); \
					rest -= 16; \
				} \
				x = twice(last_bytes_half(end, rest), bits); \
				HALF(x, query + j); \
			} \
			i = nbytes; \
		} \
		(void) s2;				/* not used by two fields */ \
		(void) s3; \
		sum = _mm256_add_epi32(sum, _mm256_madd_epi16(FINISH(), one)); \
	} \
	return reduce_epi32(sum); \
}

PACKED_KERNEL(dot_u4s8, 4, BLOCK_U4, STEP_U4, HALF_U4, FINISH_U4)
PACKED_KERNEL(dot_u2s8, 2, BLOCK_U2, STEP_U2, HALF_U2, FINISH_U2)
PACKED_KERNEL(dot_u1s8, 1, BLOCK_U1, STEP_U1, HALF_U1, FINISH_U1)

TARGET static int32_t
sum_u8(const uint8_t *code, uint32_t dim)
{
	const __m256i zero = _mm256_setzero_si256();
	__m256i		s0 = zero,
				s1 = zero;
	int32_t		sum;
	uint32_t	i = 0;

	for (; i + 64 <= dim; i += 64)
	{
		__m256i		x = _mm256_loadu_si256((const __m256i *) (code + i));
		__m256i		y = _mm256_loadu_si256((const __m256i *) (code + i + 32));

		s0 = _mm256_add_epi64(s0, _mm256_sad_epu8(x, zero));
		s1 = _mm256_add_epi64(s1, _mm256_sad_epu8(y, zero));
	}
	if (i + 32 <= dim)
	{
		s0 = _mm256_add_epi64(s0, _mm256_sad_epu8(_mm256_loadu_si256((const __m256i *) (code + i)), zero));
		i += 32;
	}
	sum = reduce_epi64(_mm256_add_epi64(s0, s1));
	for (; i < dim; i++)
		sum += code[i];
	return sum;
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

/* |scale * code + offset - query| of eight elements */
INLINE __m256
abs_diff_u8f32(const uint8_t *code, const float *query, __m256 scale, __m256 offset)
{
	__m256		x = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *) code)));

	return abs_ps(_mm256_sub_ps(_mm256_fmadd_ps(scale, x, offset), _mm256_loadu_ps(query)));
}

/* the same for n < 8 elements, zero in the other lanes */
INLINE __m256
abs_diff_u8f32_part(const uint8_t *code, const float *query, __m256 scale, __m256 offset, uint32_t n)
{
	uint64_t	bytes = 0;
	__m256		x;

	for (uint32_t i = n; i > 0; i--)
		bytes = (bytes << 8) | code[i - 1];
	x = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long) bytes)));
	x = abs_ps(_mm256_sub_ps(_mm256_fmadd_ps(scale, x, offset), load_float_part(query, n)));
	return _mm256_and_ps(x, _mm256_castsi256_ps(first_lanes(n)));
}

#define CODE_FLOAT_KERNEL(fname, combine, reduce) \
TARGET static float \
fname(const uint8_t *code, const float *query, \
	  float scale, float offset, uint32_t dim) \
{ \
	const __m256 vscale = _mm256_set1_ps(scale); \
	const __m256 voffset = _mm256_set1_ps(offset); \
	__m256		s0 = _mm256_setzero_ps(), \
				s1 = s0, \
				s2 = s0, \
				s3 = s0; \
	uint32_t	i = 0; \
\
	for (; i + 32 <= dim; i += 32) \
	{ \
		s0 = combine(s0, abs_diff_u8f32(code + i, query + i, vscale, voffset)); \
		s1 = combine(s1, abs_diff_u8f32(code + i + 8, query + i + 8, vscale, voffset)); \
		s2 = combine(s2, abs_diff_u8f32(code + i + 16, query + i + 16, vscale, voffset)); \
		s3 = combine(s3, abs_diff_u8f32(code + i + 24, query + i + 24, vscale, voffset)); \
	} \
	for (; i + 8 <= dim; i += 8) \
		s0 = combine(s0, abs_diff_u8f32(code + i, query + i, vscale, voffset)); \
	if (i < dim) \
		s1 = combine(s1, abs_diff_u8f32_part(code + i, query + i, vscale, voffset, dim - i)); \
\
	return reduce(s0, s1, s2, s3); \
}

CODE_FLOAT_KERNEL(l1_u8f32, _mm256_add_ps, reduce_sum)
CODE_FLOAT_KERNEL(linf_u8f32, _mm256_max_ps, reduce_max)

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
	.l2_squared_f32 = l2_squared_f32,
	.inner_product_f32 = inner_product_f32,
	.l1_f32 = l1_f32,
	.linf_f32 = linf_f32,
	.l2_squared_f16 = l2_squared_f16,
	.inner_product_f16 = inner_product_f16,
	.l1_f16 = l1_f16,
	.linf_f16 = linf_f16,
	.l2_squared_f32f16 = l2_squared_f32f16,
	.inner_product_f32f16 = inner_product_f32f16,
	.l2_squared_s8 = l2_squared_s8,
	.inner_product_s8 = inner_product_s8,
	.l1_s8 = l1_s8,
	.linf_s8 = linf_s8,
	.hamming = hamming,
	.dot_u8s8 = dot_u8s8,
	.dots_u8s8 = dots_u8s8,
	.dot_u4s8 = dot_u4s8,
	.dot_u2s8 = dot_u2s8,
	.dot_u1s8 = dot_u1s8,
	.sum_u8 = sum_u8,
	.l1_u8f32 = l1_u8f32,
	.linf_u8f32 = linf_u8f32,
	.lookups_f32 = knn_lookups_f32_avx2,
	.products_f32 = knn_products_f32_avx2,
	.f16_to_f32 = f16_to_f32,
	.f32_to_f16 = f32_to_f16,
};

#else

/* ISO C wants a file to declare something */
typedef int knn_distance_avx2_not_built;

#endif							/* KNN_KERNELS_X86 */
