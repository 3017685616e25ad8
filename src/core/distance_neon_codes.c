/*
 * distance_neon_codes.c
 *		Kernels between codes and a query on 64-bit ARM; see distance_neon.c.
 */
#include "core/distance_neon.h"

#ifdef KNN_KERNELS_NEON

int32_t
knn_dot_u8s8_neon(const uint8_t *code, const int8_t *query, uint32_t dim)
{
	int32x4_t	s0 = vdupq_n_s32(0),
				s1 = s0,
				s2 = s0,
				s3 = s0;
	int32_t		sum;
	uint32_t	i = 0;

	for (; i + 16 <= dim; i += 16)
	{
		uint8x16_t	x = vld1q_u8(code + i);
		int8x16_t	y = vld1q_s8(query + i);
		int16x8_t	xl = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(x)));
		int16x8_t	xh = vreinterpretq_s16_u16(vmovl_high_u8(x));
		int16x8_t	yl = vmovl_s8(vget_low_s8(y));
		int16x8_t	yh = vmovl_high_s8(y);

		s0 = vmlal_s16(s0, vget_low_s16(xl), vget_low_s16(yl));
		s1 = vmlal_high_s16(s1, xl, yl);
		s2 = vmlal_s16(s2, vget_low_s16(xh), vget_low_s16(yh));
		s3 = vmlal_high_s16(s3, xh, yh);
	}
	sum = vaddvq_s32(vaddq_s32(vaddq_s32(s0, s1), vaddq_s32(s2, s3)));
	for (; i < dim; i++)
		sum += (int32_t) code[i] * query[i];
	return sum;
}

/* Widening the query is most of the work that several codes could share: not done. */
void
knn_dots_u8s8_neon(const uint8_t *const *codes, uint32_t n, const int8_t *query, uint32_t dim,
		  int32_t *out)
{
	for (uint32_t i = 0; i < n; i++)
		out[i] = knn_dot_u8s8_neon(codes[i], query, dim);
}

/* 16 zeros followed by 16 ones: a window of it keeps the last n bytes. */
static const uint8_t byte_mask[32] = {
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255
};

INLINE uint8x16_t
load_last(const uint8_t *p, uint32_t n)
{
	return vandq_u8(vld1q_u8(p), vld1q_u8(byte_mask + n));
}

/*
 * Codes of several fields to a byte, in steps of 16 bytes; a step takes code
 * bytes x and the query's elements of field 0 at p, those of the next fields
 * following every "field" elements.  Sums are kept in 16 bits for a block of
 * steps.  The largest absolute values there, n steps into a block:
 *
 *		4 bits	n * 2 * 15 * 128, a product of each of two fields: 30720 after 8
 *		2 bits	n * 4 * 3 * 128, one of each of four: 30720 after 20
 *		1 bit	n * 4 * 2 * 128, a pair of each of four: 30720 after 30
 */
#define BLOCK_U4 8
#define BLOCK_U2 20
#define BLOCK_U1 30

#define FIELD(x, mask)	vandq_u8((x), vdupq_n_u8(mask))
#define PRODUCTS(c, q) \
	do { \
		int8x16_t	a = vreinterpretq_s8_u8(c); \
		int8x16_t	b = vld1q_s8(q); \
\
		s0 = vmlal_s8(s0, vget_low_s8(a), vget_low_s8(b)); \
		s1 = vmlal_high_s8(s1, a, b); \
	} while (0)

#define STEP_U4(x, p) \
	do { \
		PRODUCTS(FIELD(x, 15), p); \
		PRODUCTS(vshrq_n_u8(x, 4), (p) + field); \
	} while (0)

#define STEP_U2(x, p) \
	do { \
		PRODUCTS(FIELD(x, 3), p); \
		PRODUCTS(FIELD(vshrq_n_u8(x, 2), 3), (p) + field); \
		PRODUCTS(FIELD(vshrq_n_u8(x, 4), 3), (p) + 2 * field); \
		PRODUCTS(vshrq_n_u8(x, 6), (p) + 3 * field); \
	} while (0)

/* a single bit chooses the elements that are added */
#define CHOSEN(s, x, k, p) \
	((s) = vpadalq_s8((s), vandq_s8(vld1q_s8((p) + (k) * field), \
									vreinterpretq_s8_u8(vtstq_u8((x), vdupq_n_u8(1 << (k)))))))
#define STEP_U1(x, p) \
	do { \
		CHOSEN(s0, x, 0, p); \
		CHOSEN(s1, x, 1, p); \
		CHOSEN(s0, x, 2, p); \
		CHOSEN(s1, x, 3, p); \
		CHOSEN(s0, x, 4, p); \
		CHOSEN(s1, x, 5, p); \
		CHOSEN(s0, x, 6, p); \
		CHOSEN(s1, x, 7, p); \
	} while (0)

/*
 * What is left at the end is read again with as much before it as makes a whole
 * step, the code that was done cleared.
 */
#define PACKED_KERNEL(fname, per, BLOCK, STEP) \
int32_t \
fname(const uint8_t *code, const int8_t *query, uint32_t nbytes) \
{ \
	const size_t field = nbytes; \
	int32x4_t	sum = vdupq_n_s32(0); \
	uint32_t	i = 0; \
\
	if (nbytes < 16) \
		return knn_dot_packed_from(code, query, nbytes, 0, per); \
\
	while (i < nbytes) \
	{ \
		int16x8_t	s0 = vdupq_n_s16(0), \
					s1 = s0; \
		int			left = BLOCK; \
\
		for (; left > 0 && i + 16 <= nbytes; left--, i += 16) \
		{ \
			uint8x16_t	x = vld1q_u8(code + i); \
\
			STEP(x, query + i); \
		} \
		if (left > 0 && i < nbytes) \
		{ \
			uint8x16_t	x = load_last(code + nbytes - 16, nbytes - i); \
\
			STEP(x, query + nbytes - 16); \
			i = nbytes; \
		} \
		sum = vpadalq_s16(vpadalq_s16(sum, s0), s1); \
	} \
	return vaddvq_s32(sum); \
}

PACKED_KERNEL(knn_dot_u4s8_neon, 2, BLOCK_U4, STEP_U4)
PACKED_KERNEL(knn_dot_u2s8_neon, 4, BLOCK_U2, STEP_U2)
PACKED_KERNEL(knn_dot_u1s8_neon, 8, BLOCK_U1, STEP_U1)

int32_t
knn_sum_u8_neon(const uint8_t *code, uint32_t dim)
{
	uint32x4_t	s = vdupq_n_u32(0);
	int32_t		sum;
	uint32_t	i = 0;

	for (; i + 16 <= dim; i += 16)
		s = vpadalq_u16(s, vpaddlq_u8(vld1q_u8(code + i)));
	sum = (int32_t) vaddvq_u32(s);
	for (; i < dim; i++)
		sum += code[i];
	return sum;
}

/*
 * Kernels between a code and a float query: load eight codes, widen them, and
 * combine |scale * code + offset - query|.
 */
#define CODE_FLOAT_KERNEL(fname, step, one, reduce) \
float \
fname(const uint8_t *code, const float *query, \
	  float scale, float offset, uint32_t dim) \
{ \
	const float32x4_t voffset = vdupq_n_f32(offset); \
	float32x4_t s0 = vdupq_n_f32(0), \
				s1 = s0; \
	float		result; \
	uint32_t	i = 0; \
\
	for (; i + 8 <= dim; i += 8) \
	{ \
		uint16x8_t	c = vmovl_u8(vld1_u8(code + i)); \
		float32x4_t x = vcvtq_f32_u32(vmovl_u16(vget_low_u16(c))); \
		float32x4_t y = vcvtq_f32_u32(vmovl_high_u16(c)); \
\
		s0 = step(s0, vfmaq_n_f32(voffset, x, scale), vld1q_f32(query + i)); \
		s1 = step(s1, vfmaq_n_f32(voffset, y, scale), vld1q_f32(query + i + 4)); \
	} \
	result = reduce(s0, s1, vdupq_n_f32(0), vdupq_n_f32(0)); \
	for (; i < dim; i++) \
		result = one(result, scale * code[i] + offset, query[i]); \
	return result; \
}

CODE_FLOAT_KERNEL(knn_l1_u8f32_neon, step_l1, one_l1, reduce_sum)
CODE_FLOAT_KERNEL(knn_linf_u8f32_neon, step_linf, one_linf, reduce_max)

#ifdef KNN_KERNELS_DOTPROD

/*
 * There is no product of unsigned by signed bytes before ARMv8.6.  The code is
 * shifted by 128 into the signed range, and what that takes away is added again:
 *		code * query = (code - 128) * query + 128 * query
 */
DOTPROD int32_t
knn_dot_u8s8_dotprod(const uint8_t *code, const int8_t *query, uint32_t dim)
{
	const uint8x16_t top = vdupq_n_u8(0x80);
	const int8x16_t one = vdupq_n_s8(1);
	int32x4_t	s0 = vdupq_n_s32(0),
				s1 = s0,
				t0 = s0,
				t1 = s0;
	uint32_t	i = 0;

	for (; i + 32 <= dim; i += 32)
	{
		int8x16_t	x = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(code + i), top));
		int8x16_t	y = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(code + i + 16), top));
		int8x16_t	p = vld1q_s8(query + i);
		int8x16_t	q = vld1q_s8(query + i + 16);

		s0 = vdotq_s32(s0, x, p);
		t0 = vdotq_s32(t0, one, p);
		s1 = vdotq_s32(s1, y, q);
		t1 = vdotq_s32(t1, one, q);
	}
	s0 = vaddq_s32(s0, s1);
	t0 = vshlq_n_s32(vaddq_s32(t0, t1), 7);
	return vaddvq_s32(vaddq_s32(s0, t0)) + knn_dot_u8s8_neon(code + i, query + i, dim - i);
}

/* The query is loaded, and the 128 times its sum found, once for four codes. */
DOTPROD void
knn_dots_u8s8_dotprod(const uint8_t *const *codes, uint32_t n, const int8_t *query, uint32_t dim,
				  int32_t *out)
{
	const uint8x16_t top = vdupq_n_u8(0x80);
	const int8x16_t one = vdupq_n_s8(1);
	uint32_t	whole = dim / 16 * 16;
	uint32_t	at = 0;

	for (; at + 4 <= n; at += 4)
	{
		int32x4_t	s0 = vdupq_n_s32(0),
					s1 = s0,
					s2 = s0,
					s3 = s0,
					t = s0;

		for (uint32_t i = 0; i < whole; i += 16)
		{
			int8x16_t	q = vld1q_s8(query + i);

			s0 = vdotq_s32(s0, vreinterpretq_s8_u8(veorq_u8(vld1q_u8(codes[at] + i), top)), q);
			s1 = vdotq_s32(s1, vreinterpretq_s8_u8(veorq_u8(vld1q_u8(codes[at + 1] + i), top)), q);
			s2 = vdotq_s32(s2, vreinterpretq_s8_u8(veorq_u8(vld1q_u8(codes[at + 2] + i), top)), q);
			s3 = vdotq_s32(s3, vreinterpretq_s8_u8(veorq_u8(vld1q_u8(codes[at + 3] + i), top)), q);
			t = vdotq_s32(t, one, q);
		}
		s0 = vpaddq_s32(vpaddq_s32(s0, s1), vpaddq_s32(s2, s3));
		vst1q_s32(out + at, vaddq_s32(s0, vdupq_n_s32(vaddvq_s32(t) * 128)));
		if (whole < dim)
		{
			for (uint32_t k = at; k < at + 4; k++)
				out[k] += knn_dot_u8s8_neon(codes[k] + whole, query + whole, dim - whole);
		}
	}
	for (; at < n; at++)
		out[at] = knn_dot_u8s8_dotprod(codes[at], query, dim);
}

/*
 * Codes of several fields to a byte: the fields fit signed bytes.  One left at
 * bit b of its byte gives 2^b times the product, which the sum is divided by in
 * the end.
 */
#define DOT(s, c, p) \
	((s) = vdotq_s32((s), vreinterpretq_s8_u8(c), vld1q_s8(p)))

#define DOT_STEP_U4(x, p) \
	do { \
		int32x4_t	sum0 = s0, \
					sum1 = s1; \
\
		DOT(sum0, FIELD(x, 15), p); \
		DOT(sum1, vshrq_n_u8(x, 4), (p) + field); \
		/* take turns with the other two accumulators */ \
		s0 = s2; \
		s1 = s3; \
		s2 = sum0; \
		s3 = sum1; \
	} while (0)

#define DOT_STEP_U2(x, p) \
	do { \
		DOT(s0, FIELD(x, 3), p); \
		DOT(s1, FIELD(x, 12), (p) + field); \
		DOT(s2, FIELD(x, 48), (p) + 2 * field); \
		DOT(s3, vshrq_n_u8(x, 6), (p) + 3 * field); \
	} while (0)

#define DOT_STEP_U1(x, p) \
	do { \
		uint8x16_t	x4 = vshrq_n_u8(x, 4); \
\
		DOT(s0, FIELD(x, 1), p); \
		DOT(s1, FIELD(x, 2), (p) + field); \
		DOT(s2, FIELD(x, 4), (p) + 2 * field); \
		DOT(s3, FIELD(x, 8), (p) + 3 * field); \
		DOT(s0, FIELD(x4, 1), (p) + 4 * field); \
		DOT(s1, FIELD(x4, 2), (p) + 5 * field); \
		DOT(s2, FIELD(x4, 4), (p) + 6 * field); \
		DOT(s3, FIELD(x4, 8), (p) + 7 * field); \
	} while (0)

/* multiples of the power of two in every lane: the shifts lose nothing */
#define DOT_FINISH_U4() \
	vaddq_s32(vaddq_s32(s0, s1), vaddq_s32(s2, s3))
#define DOT_FINISH_U2() \
	vaddq_s32(vsraq_n_s32(s0, s1, 2), vsraq_n_s32(s3, s2, 4))
#define DOT_FINISH_U1() \
	vsraq_n_s32(vsraq_n_s32(s0, s1, 1), vsraq_n_s32(s2, s3, 1), 2)

#define DOT_PACKED_KERNEL(fname, per, STEP, FINISH) \
DOTPROD int32_t \
fname(const uint8_t *code, const int8_t *query, uint32_t nbytes) \
{ \
	const size_t field = nbytes; \
	int32x4_t	s0 = vdupq_n_s32(0), \
				s1 = s0, \
				s2 = s0, \
				s3 = s0; \
	uint32_t	i = 0; \
\
	if (nbytes < 16) \
		return knn_dot_packed_from(code, query, nbytes, 0, per); \
\
	for (; i + 16 <= nbytes; i += 16) \
	{ \
		uint8x16_t	x = vld1q_u8(code + i); \
\
		STEP(x, query + i); \
	} \
	if (i < nbytes) \
	{ \
		uint8x16_t	x = load_last(code + nbytes - 16, nbytes - i); \
\
		STEP(x, query + nbytes - 16); \
	} \
	return vaddvq_s32(FINISH()); \
}

DOT_PACKED_KERNEL(knn_dot_u4s8_dotprod, 2, DOT_STEP_U4, DOT_FINISH_U4)
DOT_PACKED_KERNEL(knn_dot_u2s8_dotprod, 4, DOT_STEP_U2, DOT_FINISH_U2)
DOT_PACKED_KERNEL(knn_dot_u1s8_dotprod, 8, DOT_STEP_U1, DOT_FINISH_U1)

DOTPROD int32_t
knn_sum_u8_dotprod(const uint8_t *code, uint32_t dim)
{
	const uint8x16_t one = vdupq_n_u8(1);
	uint32x4_t	s0 = vdupq_n_u32(0),
				s1 = s0;
	uint32_t	i = 0;

	for (; i + 32 <= dim; i += 32)
	{
		s0 = vdotq_u32(s0, vld1q_u8(code + i), one);
		s1 = vdotq_u32(s1, vld1q_u8(code + i + 16), one);
	}
	return (int32_t) vaddvq_u32(vaddq_u32(s0, s1)) + knn_sum_u8_neon(code + i, dim - i);
}

#endif							/* KNN_KERNELS_DOTPROD */

#else

/* ISO C wants a file to declare something */
typedef int knn_distance_neon_codes_not_built;

#endif							/* KNN_KERNELS_NEON */
