/*
 * distance_neon.c
 *		Distance kernels for 64-bit ARM: the ARMv8.0 baseline, and the same
 *		with the dot product instructions of ARMv8.2 for bytes.
 *
 * NEON and the half precision conversions are part of the baseline, so nothing
 * has to be detected for the first table.  What is left at the end is done one
 * by one.  See distance.h for what each kernel computes.
 */
#include "core/distance_impl.h"

#ifdef KNN_KERNELS_NEON

#include <arm_neon.h>
#include <math.h>

#define INLINE static inline __attribute__((always_inline))

INLINE float32x4_t
load_float(const float *p)
{
	return vld1q_f32(p);
}

INLINE float32x4_t
load_half(const knn_half *p)
{
	return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

INLINE float
one_float(float f)
{
	return f;
}

#define one_half knn_half_to_float_inline

INLINE float32x4_t
step_l2(float32x4_t sum, float32x4_t a, float32x4_t b)
{
	float32x4_t d = vsubq_f32(a, b);

	return vfmaq_f32(sum, d, d);
}

INLINE float32x4_t
step_l1(float32x4_t sum, float32x4_t a, float32x4_t b)
{
	return vaddq_f32(sum, vabdq_f32(a, b));
}

INLINE float32x4_t
step_linf(float32x4_t max, float32x4_t a, float32x4_t b)
{
	return vmaxq_f32(max, vabdq_f32(a, b));
}

INLINE float
one_l2(float sum, float a, float b)
{
	return sum + (a - b) * (a - b);
}

INLINE float
one_ip(float sum, float a, float b)
{
	return sum + a * b;
}

INLINE float
one_l1(float sum, float a, float b)
{
	return sum + fabsf(a - b);
}

INLINE float
one_linf(float max, float a, float b)
{
	float		d = fabsf(a - b);

	return d > max ? d : max;
}

INLINE float
reduce_sum(float32x4_t s0, float32x4_t s1, float32x4_t s2, float32x4_t s3)
{
	return vaddvq_f32(vaddq_f32(vaddq_f32(s0, s1), vaddq_f32(s2, s3)));
}

INLINE float
reduce_max(float32x4_t s0, float32x4_t s1, float32x4_t s2, float32x4_t s3)
{
	return vmaxvq_f32(vmaxq_f32(vmaxq_f32(s0, s1), vmaxq_f32(s2, s3)));
}

/*
 * A float kernel: four accumulators hide the latency of the addition that each
 * step depends on.
 */
#define FLOAT_KERNEL(fname, ta, kind_a, tb, kind_b, step, one, reduce) \
static float \
fname(const ta *a, const tb *b, uint32_t dim) \
{ \
	float32x4_t s0 = vdupq_n_f32(0), \
				s1 = s0, \
				s2 = s0, \
				s3 = s0; \
	float		result; \
	uint32_t	i = 0; \
\
	for (; i + 16 <= dim; i += 16) \
	{ \
		s0 = step(s0, load_##kind_a(a + i), load_##kind_b(b + i)); \
		s1 = step(s1, load_##kind_a(a + i + 4), load_##kind_b(b + i + 4)); \
		s2 = step(s2, load_##kind_a(a + i + 8), load_##kind_b(b + i + 8)); \
		s3 = step(s3, load_##kind_a(a + i + 12), load_##kind_b(b + i + 12)); \
	} \
	for (; i + 4 <= dim; i += 4) \
		s0 = step(s0, load_##kind_a(a + i), load_##kind_b(b + i)); \
	result = reduce(s0, s1, s2, s3); \
	for (; i < dim; i++) \
		result = one(result, one_##kind_a(a[i]), one_##kind_b(b[i])); \
	return result; \
}

FLOAT_KERNEL(l2_squared_f32, float, float, float, float, step_l2, one_l2, reduce_sum)
FLOAT_KERNEL(inner_product_f32, float, float, float, float, vfmaq_f32, one_ip, reduce_sum)
FLOAT_KERNEL(l1_f32, float, float, float, float, step_l1, one_l1, reduce_sum)
FLOAT_KERNEL(linf_f32, float, float, float, float, step_linf, one_linf, reduce_max)

FLOAT_KERNEL(l2_squared_f16, knn_half, half, knn_half, half, step_l2, one_l2, reduce_sum)
FLOAT_KERNEL(inner_product_f16, knn_half, half, knn_half, half, vfmaq_f32, one_ip, reduce_sum)
FLOAT_KERNEL(l1_f16, knn_half, half, knn_half, half, step_l1, one_l1, reduce_sum)
FLOAT_KERNEL(linf_f16, knn_half, half, knn_half, half, step_linf, one_linf, reduce_max)

FLOAT_KERNEL(l2_squared_f32f16, float, float, knn_half, half, step_l2, one_l2, reduce_sum)
FLOAT_KERNEL(inner_product_f32f16, float, float, knn_half, half, vfmaq_f32, one_ip, reduce_sum)

static int32_t
l2_squared_s8(const int8_t *a, const int8_t *b, uint32_t dim)
{
	uint32x4_t	s0 = vdupq_n_u32(0),
				s1 = s0;
	int32_t		sum;
	uint32_t	i = 0;

	for (; i + 16 <= dim; i += 16)
	{
		/* |a - b| fits an unsigned byte, and its square 16 bits */
		uint8x16_t	d = vreinterpretq_u8_s8(vabdq_s8(vld1q_s8(a + i), vld1q_s8(b + i)));

		s0 = vpadalq_u16(s0, vmull_u8(vget_low_u8(d), vget_low_u8(d)));
		s1 = vpadalq_u16(s1, vmull_high_u8(d, d));
	}
	sum = (int32_t) vaddvq_u32(vaddq_u32(s0, s1));
	for (; i < dim; i++)
	{
		int32_t		d = (int32_t) a[i] - b[i];

		sum += d * d;
	}
	return sum;
}

static int32_t
inner_product_s8(const int8_t *a, const int8_t *b, uint32_t dim)
{
	int32x4_t	s0 = vdupq_n_s32(0),
				s1 = s0;
	int32_t		sum;
	uint32_t	i = 0;

	for (; i + 16 <= dim; i += 16)
	{
		/* a product of two signed bytes fits 16 bits, -128 * -128 included */
		int8x16_t	x = vld1q_s8(a + i);
		int8x16_t	y = vld1q_s8(b + i);

		s0 = vpadalq_s16(s0, vmull_s8(vget_low_s8(x), vget_low_s8(y)));
		s1 = vpadalq_s16(s1, vmull_high_s8(x, y));
	}
	sum = vaddvq_s32(vaddq_s32(s0, s1));
	for (; i < dim; i++)
		sum += (int32_t) a[i] * b[i];
	return sum;
}

static int32_t
l1_s8(const int8_t *a, const int8_t *b, uint32_t dim)
{
	uint32x4_t	s = vdupq_n_u32(0);
	int32_t		sum;
	uint32_t	i = 0;

	for (; i + 16 <= dim; i += 16)
	{
		uint8x16_t	d = vreinterpretq_u8_s8(vabdq_s8(vld1q_s8(a + i), vld1q_s8(b + i)));

		s = vpadalq_u16(s, vpaddlq_u8(d));
	}
	sum = (int32_t) vaddvq_u32(s);
	for (; i < dim; i++)
	{
		int32_t		d = (int32_t) a[i] - b[i];

		sum += d < 0 ? -d : d;
	}
	return sum;
}

static int32_t
linf_s8(const int8_t *a, const int8_t *b, uint32_t dim)
{
	uint8x16_t	s = vdupq_n_u8(0);
	int32_t		max;
	uint32_t	i = 0;

	for (; i + 16 <= dim; i += 16)
		s = vmaxq_u8(s, vreinterpretq_u8_s8(vabdq_s8(vld1q_s8(a + i), vld1q_s8(b + i))));
	max = vmaxvq_u8(s);
	for (; i < dim; i++)
	{
		int32_t		d = (int32_t) a[i] - b[i];

		if (d < 0)
			d = -d;
		if (d > max)
			max = d;
	}
	return max;
}

static uint32_t
hamming(const uint8_t *a, const uint8_t *b, uint32_t nbytes)
{
	uint32x4_t	s = vdupq_n_u32(0);
	uint32_t	count;
	uint32_t	i = 0;

	while (i + 16 <= nbytes)
	{
		uint16x8_t	t = vdupq_n_u16(0);
		uint32_t	end = nbytes - i;

		/* 16-bit sums grow by at most 16 a step: widen them well before 65535 */
		end = i + (end > 1024 ? 1024 : end);
		for (; i + 16 <= end; i += 16)
			t = vpadalq_u8(t, vcntq_u8(veorq_u8(vld1q_u8(a + i), vld1q_u8(b + i))));
		s = vpadalq_u16(s, t);
	}
	count = vaddvq_u32(s);
	for (; i < nbytes; i++)
		count += (uint32_t) __builtin_popcount((unsigned) (a[i] ^ b[i]));
	return count;
}

static int32_t
dot_u8s8(const uint8_t *code, const int8_t *query, uint32_t dim)
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
static void
dots_u8s8(const uint8_t *const *codes, uint32_t n, const int8_t *query, uint32_t dim,
		  int32_t *out)
{
	for (uint32_t i = 0; i < n; i++)
		out[i] = dot_u8s8(codes[i], query, dim);
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
static int32_t \
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

PACKED_KERNEL(dot_u4s8, 2, BLOCK_U4, STEP_U4)
PACKED_KERNEL(dot_u2s8, 4, BLOCK_U2, STEP_U2)
PACKED_KERNEL(dot_u1s8, 8, BLOCK_U1, STEP_U1)

static int32_t
sum_u8(const uint8_t *code, uint32_t dim)
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
static float \
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

CODE_FLOAT_KERNEL(l1_u8f32, step_l1, one_l1, reduce_sum)
CODE_FLOAT_KERNEL(linf_u8f32, step_linf, one_linf, reduce_max)

static void
f16_to_f32(const knn_half *in, float *out, uint32_t dim)
{
	uint32_t	i = 0;

	for (; i + 4 <= dim; i += 4)
		vst1q_f32(out + i, load_half(in + i));
	for (; i < dim; i++)
		out[i] = knn_half_to_float_inline(in[i]);
}

static void
f32_to_f16(const float *in, knn_half *out, uint32_t dim)
{
	uint32_t	i = 0;

	for (; i + 4 <= dim; i += 4)
		vst1_u16(out + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(in + i))));
	for (; i < dim; i++)
		out[i] = knn_float_to_half_inline(in[i]);
}

#ifdef KNN_KERNELS_DOTPROD

#define DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))

/* |a - b| of signed bytes, as unsigned bytes */
INLINE uint8x16_t
abs_diff_s8(const int8_t *a, const int8_t *b)
{
	return vreinterpretq_u8_s8(vabdq_s8(vld1q_s8(a), vld1q_s8(b)));
}

DOTPROD static int32_t
dotprod_l2_squared_s8(const int8_t *a, const int8_t *b, uint32_t dim)
{
	uint32x4_t	s0 = vdupq_n_u32(0),
				s1 = s0;
	uint32_t	i = 0;

	for (; i + 32 <= dim; i += 32)
	{
		uint8x16_t	d = abs_diff_s8(a + i, b + i);
		uint8x16_t	e = abs_diff_s8(a + i + 16, b + i + 16);

		s0 = vdotq_u32(s0, d, d);
		s1 = vdotq_u32(s1, e, e);
	}
	return (int32_t) vaddvq_u32(vaddq_u32(s0, s1)) + l2_squared_s8(a + i, b + i, dim - i);
}

DOTPROD static int32_t
dotprod_inner_product_s8(const int8_t *a, const int8_t *b, uint32_t dim)
{
	int32x4_t	s0 = vdupq_n_s32(0),
				s1 = s0;
	uint32_t	i = 0;

	for (; i + 32 <= dim; i += 32)
	{
		s0 = vdotq_s32(s0, vld1q_s8(a + i), vld1q_s8(b + i));
		s1 = vdotq_s32(s1, vld1q_s8(a + i + 16), vld1q_s8(b + i + 16));
	}
	return vaddvq_s32(vaddq_s32(s0, s1)) + inner_product_s8(a + i, b + i, dim - i);
}

DOTPROD static int32_t
dotprod_l1_s8(const int8_t *a, const int8_t *b, uint32_t dim)
{
	const uint8x16_t one = vdupq_n_u8(1);
	uint32x4_t	s0 = vdupq_n_u32(0),
				s1 = s0;
	uint32_t	i = 0;

	for (; i + 32 <= dim; i += 32)
	{
		s0 = vdotq_u32(s0, abs_diff_s8(a + i, b + i), one);
		s1 = vdotq_u32(s1, abs_diff_s8(a + i + 16, b + i + 16), one);
	}
	return (int32_t) vaddvq_u32(vaddq_u32(s0, s1)) + l1_s8(a + i, b + i, dim - i);
}

/*
 * There is no product of unsigned by signed bytes before ARMv8.6.  The code is
 * shifted by 128 into the signed range, and what that takes away is added again:
 *		code * query = (code - 128) * query + 128 * query
 */
DOTPROD static int32_t
dotprod_dot_u8s8(const uint8_t *code, const int8_t *query, uint32_t dim)
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
	return vaddvq_s32(vaddq_s32(s0, t0)) + dot_u8s8(code + i, query + i, dim - i);
}

/* The query is loaded, and the 128 times its sum found, once for four codes. */
DOTPROD static void
dotprod_dots_u8s8(const uint8_t *const *codes, uint32_t n, const int8_t *query, uint32_t dim,
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
				out[k] += dot_u8s8(codes[k] + whole, query + whole, dim - whole);
		}
	}
	for (; at < n; at++)
		out[at] = dotprod_dot_u8s8(codes[at], query, dim);
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
DOTPROD static int32_t \
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

DOT_PACKED_KERNEL(dotprod_dot_u4s8, 2, DOT_STEP_U4, DOT_FINISH_U4)
DOT_PACKED_KERNEL(dotprod_dot_u2s8, 4, DOT_STEP_U2, DOT_FINISH_U2)
DOT_PACKED_KERNEL(dotprod_dot_u1s8, 8, DOT_STEP_U1, DOT_FINISH_U1)

DOTPROD static int32_t
dotprod_sum_u8(const uint8_t *code, uint32_t dim)
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
	return (int32_t) vaddvq_u32(vaddq_u32(s0, s1)) + sum_u8(code + i, dim - i);
}

#endif							/* KNN_KERNELS_DOTPROD */

const knn_kernels knn_kernels_neon = {
	.name = "neon",
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
	.lookups_f32 = knn_lookups_f32_scalar,
	.products_f32 = knn_products_f32_scalar,
	.f16_to_f32 = f16_to_f32,
	.f32_to_f16 = f32_to_f16,
};

#ifdef KNN_KERNELS_DOTPROD
const knn_kernels knn_kernels_dotprod = {
	.name = "dotprod",
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
	.l2_squared_s8 = dotprod_l2_squared_s8,
	.inner_product_s8 = dotprod_inner_product_s8,
	.l1_s8 = dotprod_l1_s8,
	.linf_s8 = linf_s8,
	.hamming = hamming,
	.dot_u8s8 = dotprod_dot_u8s8,
	.dots_u8s8 = dotprod_dots_u8s8,
	.dot_u4s8 = dotprod_dot_u4s8,
	.dot_u2s8 = dotprod_dot_u2s8,
	.dot_u1s8 = dotprod_dot_u1s8,
	.sum_u8 = dotprod_sum_u8,
	.l1_u8f32 = l1_u8f32,
	.linf_u8f32 = linf_u8f32,
	.lookups_f32 = knn_lookups_f32_scalar,
	.products_f32 = knn_products_f32_scalar,
	.f16_to_f32 = f16_to_f32,
	.f32_to_f16 = f32_to_f16,
};
#endif

#else

/* ISO C wants a file to declare something */
typedef int knn_distance_neon_not_built;

#endif							/* KNN_KERNELS_NEON */
