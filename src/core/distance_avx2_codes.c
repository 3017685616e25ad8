/*
 * distance_avx2_codes.c
 *		Kernels between codes and a query with AVX2; see distance_avx2.c.
 */
#include "core/distance_avx2.h"

#ifdef KNN_KERNELS_X86

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

TARGET int32_t
knn_dot_u8s8_avx2(const uint8_t *code, const int8_t *query, uint32_t dim)
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

TARGET void
knn_dots_u8s8_avx2(const uint8_t *const *codes, uint32_t n, const int8_t *query, uint32_t dim,
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
				out[k] += knn_dot_u8s8_avx2(codes[k] + whole, query + whole, dim - whole);
		}
	}
	for (; at < n; at++)
		out[at] = knn_dot_u8s8_avx2(codes[at], query, dim);
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
TARGET int32_t \
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

PACKED_KERNEL(knn_dot_u4s8_avx2, 4, BLOCK_U4, STEP_U4, HALF_U4, FINISH_U4)
PACKED_KERNEL(knn_dot_u2s8_avx2, 2, BLOCK_U2, STEP_U2, HALF_U2, FINISH_U2)
PACKED_KERNEL(knn_dot_u1s8_avx2, 1, BLOCK_U1, STEP_U1, HALF_U1, FINISH_U1)

TARGET int32_t
knn_sum_u8_avx2(const uint8_t *code, uint32_t dim)
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
TARGET float \
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

CODE_FLOAT_KERNEL(knn_l1_u8f32_avx2, _mm256_add_ps, reduce_sum)
CODE_FLOAT_KERNEL(knn_linf_u8f32_avx2, _mm256_max_ps, reduce_max)

#else

/* ISO C wants a file to declare something */
typedef int knn_distance_avx2_codes_not_built;

#endif							/* KNN_KERNELS_X86 */
