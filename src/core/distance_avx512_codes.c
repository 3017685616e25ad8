/*
 * distance_avx512_codes.c
 *		Kernels between codes and a query with AVX-512; see distance_avx512.c.
 */
#include "core/distance_avx512.h"

#ifdef KNN_KERNELS_X86

TARGET int32_t
knn_dot_u8s8_avx512(const uint8_t *code, const int8_t *query, uint32_t dim)
{
	__m512i		s0 = _mm512_setzero_si512(),
				s1 = s0,
				s2 = s0,
				s3 = s0;
	uint32_t	i = 0;

	for (; i + 256 <= dim; i += 256)
	{
		s0 = _mm512_dpbusd_epi32(s0, load_bytes(code + i), load_bytes(query + i));
		s1 = _mm512_dpbusd_epi32(s1, load_bytes(code + i + 64), load_bytes(query + i + 64));
		s2 = _mm512_dpbusd_epi32(s2, load_bytes(code + i + 128), load_bytes(query + i + 128));
		s3 = _mm512_dpbusd_epi32(s3, load_bytes(code + i + 192), load_bytes(query + i + 192));
	}
	if (i + 128 <= dim)
	{
		s0 = _mm512_dpbusd_epi32(s0, load_bytes(code + i), load_bytes(query + i));
		s1 = _mm512_dpbusd_epi32(s1, load_bytes(code + i + 64), load_bytes(query + i + 64));
		i += 128;
	}
	if (i + 64 <= dim)
	{
		s2 = _mm512_dpbusd_epi32(s2, load_bytes(code + i), load_bytes(query + i));
		i += 64;
	}
	if (i < dim)
		s3 = _mm512_dpbusd_epi32(s3, load_bytes_part(code + i, dim - i),
								 load_bytes_part(query + i, dim - i));
	return reduce_epi32(_mm512_add_epi32(_mm512_add_epi32(s0, s1), _mm512_add_epi32(s2, s3)));
}

/* The sums of four registers, in one */
INLINE __m128i
reduce_four_epi32(__m512i s0, __m512i s1, __m512i s2, __m512i s3)
{
	__m512i		s01 = _mm512_add_epi32(_mm512_unpacklo_epi32(s0, s1), _mm512_unpackhi_epi32(s0, s1));
	__m512i		s23 = _mm512_add_epi32(_mm512_unpacklo_epi32(s2, s3), _mm512_unpackhi_epi32(s2, s3));
	__m512i		s = _mm512_add_epi32(_mm512_unpacklo_epi64(s01, s23), _mm512_unpackhi_epi64(s01, s23));
	__m256i		h = _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64(s, 1));

	return _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
}

TARGET void
knn_dots_u8s8_avx512(const uint8_t *const *codes, uint32_t n, const int8_t *query, uint32_t dim,
		  int32_t *out)
{
	for (uint32_t at = 0; at < n; at += 4)
	{
		/* the last one stands in for those that are not there */
		const uint8_t *c0 = codes[at];
		const uint8_t *c1 = codes[at + 1 < n ? at + 1 : n - 1];
		const uint8_t *c2 = codes[at + 2 < n ? at + 2 : n - 1];
		const uint8_t *c3 = codes[at + 3 < n ? at + 3 : n - 1];
		__m512i		s0 = _mm512_setzero_si512(),
					s1 = s0,
					s2 = s0,
					s3 = s0,
					t0 = s0,
					t1 = s0,
					t2 = s0,
					t3 = s0;
		__m128i		sums;
		uint32_t	i = 0;

		/* eight sums underway, as one instruction takes that long */
		for (; i + 128 <= dim; i += 128)
		{
			__m512i		p = load_bytes(query + i);
			__m512i		q = load_bytes(query + i + 64);

			s0 = _mm512_dpbusd_epi32(s0, load_bytes(c0 + i), p);
			s1 = _mm512_dpbusd_epi32(s1, load_bytes(c1 + i), p);
			s2 = _mm512_dpbusd_epi32(s2, load_bytes(c2 + i), p);
			s3 = _mm512_dpbusd_epi32(s3, load_bytes(c3 + i), p);
			t0 = _mm512_dpbusd_epi32(t0, load_bytes(c0 + i + 64), q);
			t1 = _mm512_dpbusd_epi32(t1, load_bytes(c1 + i + 64), q);
			t2 = _mm512_dpbusd_epi32(t2, load_bytes(c2 + i + 64), q);
			t3 = _mm512_dpbusd_epi32(t3, load_bytes(c3 + i + 64), q);
		}
		if (i + 64 <= dim)
		{
			__m512i		q = load_bytes(query + i);

			s0 = _mm512_dpbusd_epi32(s0, load_bytes(c0 + i), q);
			s1 = _mm512_dpbusd_epi32(s1, load_bytes(c1 + i), q);
			s2 = _mm512_dpbusd_epi32(s2, load_bytes(c2 + i), q);
			s3 = _mm512_dpbusd_epi32(s3, load_bytes(c3 + i), q);
			i += 64;
		}
		if (i < dim)
		{
			__m512i		q = load_bytes_part(query + i, dim - i);

			t0 = _mm512_dpbusd_epi32(t0, load_bytes_part(c0 + i, dim - i), q);
			t1 = _mm512_dpbusd_epi32(t1, load_bytes_part(c1 + i, dim - i), q);
			t2 = _mm512_dpbusd_epi32(t2, load_bytes_part(c2 + i, dim - i), q);
			t3 = _mm512_dpbusd_epi32(t3, load_bytes_part(c3 + i, dim - i), q);
		}
		s0 = _mm512_add_epi32(s0, t0);
		s1 = _mm512_add_epi32(s1, t1);
		s2 = _mm512_add_epi32(s2, t2);
		s3 = _mm512_add_epi32(s3, t3);
		sums = reduce_four_epi32(s0, s1, s2, s3);
		if (at + 4 <= n)
			_mm_storeu_si128((__m128i *) (out + at), sums);
		else
			_mm_mask_storeu_epi32(out + at, (__mmask8) ((1u << (n - at)) - 1), sums);
	}
}

/*
 * Codes of several fields to a byte.  What the kernels below have in common:
 *
 * A field need not be moved to the bottom of its byte: the product with a field
 * left at bit b is 2^b times as large, which the sum is divided by in the end.
 * One shift by 4 for each 64 bytes, so that weights stay at most 8 and the
 * accumulators few, came out faster than eight without; turning the bits into
 * masks of the query's bytes was half as fast.
 *
 * A STEP takes the bytes x for the even fields and z for the odd ones, and the
 * query's elements at p, field 0, and r, field 1; the same fields of the next
 * pair follow "pair" elements later.  Sums: s0 to s3, of which FINISH makes one.
 * No lane comes near overflow: 16 of them share the sum that fits int32, with
 * weights of at most 8.
 */
#define DOT(s, field, q)	((s) = _mm512_dpbusd_epi32((s), (field), (q)))
#define FIELD(x, mask)		_mm512_and_si512((x), _mm512_set1_epi8(mask))
#define LOAD_PART(p)		_mm512_maskz_loadu_epi8(part, (p))

#define STEP_U4(x, z, p, r, load) \
	do { \
		DOT(s0, FIELD(x, 15), load(p)); \
		DOT(s1, FIELD(_mm512_srli_epi16(z, 4), 15), load(r)); \
	} while (0)

#define STEP_U2(x, z, p, r, load) \
	do { \
		DOT(s0, FIELD(x, 3), load(p)); \
		DOT(s1, FIELD(z, 12), load(r)); \
		DOT(s2, FIELD(_mm512_srli_epi16(x, 4), 3), load((p) + pair)); \
		DOT(s3, FIELD(_mm512_srli_epi16(z, 4), 12), load((r) + pair)); \
	} while (0)

#define STEP_U1(x, z, p, r, load) \
	do { \
		__m512i		x4 = _mm512_srli_epi16(x, 4); \
		__m512i		z4 = _mm512_srli_epi16(z, 4); \
\
		DOT(s0, FIELD(x, 1), load(p)); \
		DOT(s1, FIELD(z, 2), load(r)); \
		DOT(s2, FIELD(x, 4), load((p) + pair)); \
		DOT(s3, FIELD(z, 8), load((r) + pair)); \
		DOT(s0, FIELD(x4, 1), load((p) + 2 * pair)); \
		DOT(s1, FIELD(z4, 2), load((r) + 2 * pair)); \
		DOT(s2, FIELD(x4, 4), load((p) + 3 * pair)); \
		DOT(s3, FIELD(z4, 8), load((r) + 3 * pair)); \
	} while (0)

/*
 * The query's last 32 elements of an even field and the first 32 of the odd one
 * after it, which are neighbours; x has been shifted so that the field to use
 * is the even one in both halves.
 */
#define SEAM_U4(x, p) \
	DOT(s0, FIELD(x, 15), load_bytes(p))

#define SEAM_U2(x, p) \
	do { \
		DOT(s0, FIELD(x, 3), load_bytes(p)); \
		DOT(s2, FIELD(_mm512_srli_epi16(x, 4), 3), load_bytes((p) + pair)); \
	} while (0)

#define SEAM_U1(x, p) \
	do { \
		__m512i		x4 = _mm512_srli_epi16(x, 4); \
\
		DOT(s0, FIELD(x, 1), load_bytes(p)); \
		DOT(s2, FIELD(x, 4), load_bytes((p) + pair)); \
		DOT(s0, FIELD(x4, 1), load_bytes((p) + 2 * pair)); \
		DOT(s2, FIELD(x4, 4), load_bytes((p) + 3 * pair)); \
	} while (0)

/* multiples of the power of two in every lane: the shifts lose nothing */
#define FINISH_U4() \
	_mm512_add_epi32(s0, s1)
#define FINISH_U2() \
	_mm512_add_epi32(_mm512_add_epi32(s0, s2), _mm512_srai_epi32(_mm512_add_epi32(s1, s3), 2))
#define FINISH_U1() \
	_mm512_add_epi32(_mm512_add_epi32(s0, _mm512_srai_epi32(s1, 1)), \
					 _mm512_srai_epi32(_mm512_add_epi32(s2, _mm512_srai_epi32(s3, 1)), 2))

/* the last 32 bytes of the code, then the first, shifted by 0 and by bits */
INLINE __m512i
load_seam(const uint8_t *last, const uint8_t *first, int bits)
{
	__m512i		shift = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi32(bits), 1);
	__m512i		x = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *) last));

	x = _mm512_inserti64x4(x, _mm256_loadu_si256((const __m256i *) first), 1);
	return _mm512_srlv_epi32(x, shift);
}

/*
 * Where half a step is left at the end, the odd fields take theirs at their
 * start instead: their query begins there, 64 elements contiguous with the end
 * of the even ones, and no load crosses more lines than it must.  What is left
 * otherwise is read again with as much before it as makes a whole step, the
 * code that was done cleared, so that only codes below 64 bytes need masked
 * loads of the query.
 */
#define PACKED_KERNEL(fname, bits, small, STEP, SEAM, FINISH) \
TARGET int32_t \
fname(const uint8_t *code, const int8_t *query, uint32_t nbytes) \
{ \
	const size_t pair = 2 * (size_t) nbytes; \
	const int8_t *odd = query + nbytes; \
	__m512i		s0 = _mm512_setzero_si512(), \
				s1 = s0, \
				s2 = s0, \
				s3 = s0; \
	uint32_t	i = 0; \
\
	(void) pair;				/* two fields use neither it */ \
	(void) s2;					/* nor these */ \
	(void) s3; \
	small \
	if (nbytes % 64 == 32) \
	{ \
		uint32_t	end = nbytes - 32; \
		__m512i		seam = load_seam(code + end, code, bits); \
\
		SEAM(seam, query + end); \
		for (; i < end; i += 64) \
		{ \
			__m512i		x = load_bytes(code + i); \
			__m512i		z = load_bytes(code + i + 32); \
\
			STEP(x, z, query + i, odd + i + 32, load_bytes); \
		} \
	} \
	else \
	{ \
		for (; i + 64 <= nbytes; i += 64) \
		{ \
			__m512i		x = load_bytes(code + i); \
\
			STEP(x, x, query + i, odd + i, load_bytes); \
		} \
		if (i < nbytes && nbytes >= 64) \
		{ \
			__mmask64	undone = ~UINT64_C(0) << (64 - (nbytes - i)); \
			__m512i		x; \
\
			i = nbytes - 64; \
			x = _mm512_maskz_loadu_epi8(undone, code + i); \
			STEP(x, x, query + i, odd + i, load_bytes); \
		} \
		else if (i < nbytes) \
		{ \
			__mmask64	part = first64(nbytes); \
			__m512i		x = LOAD_PART(code); \
\
			STEP(x, x, query, odd, LOAD_PART); \
		} \
	} \
	return reduce_epi32(FINISH()); \
}

/* 16 bytes of 1 bit, 128 dimensions: the query is two loads of four fields */
#define SMALL_U1 \
	if (nbytes == 16) \
	{ \
		const __m512i shift = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3); \
		__m512i		x = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *) code)); \
\
		x = _mm512_srlv_epi32(x, shift); \
		DOT(s0, FIELD(x, 1), load_bytes(query)); \
		DOT(s1, FIELD(_mm512_srli_epi16(x, 4), 1), load_bytes(query + 64)); \
		return reduce_epi32(_mm512_add_epi32(s0, s1)); \
	}

PACKED_KERNEL(knn_dot_u4s8_avx512, 4, , STEP_U4, SEAM_U4, FINISH_U4)
PACKED_KERNEL(knn_dot_u2s8_avx512, 2, , STEP_U2, SEAM_U2, FINISH_U2)
PACKED_KERNEL(knn_dot_u1s8_avx512, 1, SMALL_U1, STEP_U1, SEAM_U1, FINISH_U1)

TARGET int32_t
knn_sum_u8_avx512(const uint8_t *code, uint32_t dim)
{
	const __m512i one = _mm512_set1_epi8(1);
	__m512i		s0 = _mm512_setzero_si512(),
				s1 = s0;
	uint32_t	i = 0;

	for (; i + 128 <= dim; i += 128)
	{
		s0 = _mm512_dpbusd_epi32(s0, load_bytes(code + i), one);
		s1 = _mm512_dpbusd_epi32(s1, load_bytes(code + i + 64), one);
	}
	if (i + 64 <= dim)
	{
		s0 = _mm512_dpbusd_epi32(s0, load_bytes(code + i), one);
		i += 64;
	}
	if (i < dim)
		s1 = _mm512_dpbusd_epi32(s1, load_bytes_part(code + i, dim - i), one);
	return reduce_epi32(_mm512_add_epi32(s0, s1));
}

/* |scale * code + offset - query| of 16 elements */
INLINE __m512
abs_diff_u8f32(__m128i code, __m512 query, __m512 scale, __m512 offset)
{
	__m512		x = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(code));

	return _mm512_abs_ps(_mm512_sub_ps(_mm512_fmadd_ps(scale, x, offset), query));
}

INLINE __m128i
load_code(const uint8_t *p)
{
	return _mm_loadu_si128((const __m128i *) p);
}

#define CODE_FLOAT_KERNEL(fname, combine, mask_combine, reduce) \
TARGET float \
fname(const uint8_t *code, const float *query, \
	  float scale, float offset, uint32_t dim) \
{ \
	const __m512 vscale = _mm512_set1_ps(scale); \
	const __m512 voffset = _mm512_set1_ps(offset); \
	__m512		s0 = _mm512_setzero_ps(), \
				s1 = s0, \
				s2 = s0, \
				s3 = s0; \
	uint32_t	i = 0; \
\
	for (; i + 64 <= dim; i += 64) \
	{ \
		s0 = combine(s0, abs_diff_u8f32(load_code(code + i), load_float(query + i), vscale, voffset)); \
		s1 = combine(s1, abs_diff_u8f32(load_code(code + i + 16), load_float(query + i + 16), vscale, voffset)); \
		s2 = combine(s2, abs_diff_u8f32(load_code(code + i + 32), load_float(query + i + 32), vscale, voffset)); \
		s3 = combine(s3, abs_diff_u8f32(load_code(code + i + 48), load_float(query + i + 48), vscale, voffset)); \
	} \
	for (; i + 16 <= dim; i += 16) \
		s0 = combine(s0, abs_diff_u8f32(load_code(code + i), load_float(query + i), vscale, voffset)); \
	if (i < dim) \
	{ \
		__mmask16	m = first16(dim - i); \
		__m512		d = abs_diff_u8f32(_mm_maskz_loadu_epi8(m, code + i), \
									   _mm512_maskz_loadu_ps(m, query + i), vscale, voffset); \
\
		/* a zero code stands for the offset: leave those lanes out */ \
		s1 = mask_combine(s1, m, s1, d); \
	} \
\
	return reduce(s0, s1, s2, s3); \
}

CODE_FLOAT_KERNEL(knn_l1_u8f32_avx512, _mm512_add_ps, _mm512_mask_add_ps, reduce_sum)
CODE_FLOAT_KERNEL(knn_linf_u8f32_avx512, _mm512_max_ps, _mm512_mask_max_ps, reduce_max)

#else

/* ISO C wants a file to declare something */
typedef int knn_distance_avx512_codes_not_built;

#endif							/* KNN_KERNELS_X86 */
