/*
 * distance_neon.c
 *		Distance kernels for 64-bit ARM: the ARMv8.0 baseline, and the same
 *		with the dot product instructions of ARMv8.2 for bytes.
 *
 * NEON and the half precision conversions are part of the baseline, so nothing
 * has to be detected for the first table.  What is left at the end is done one
 * by one.  See distance.h for what each kernel computes.
 */
#include "core/distance_neon.h"

#ifdef KNN_KERNELS_NEON

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

#endif							/* KNN_KERNELS_DOTPROD */

const knn_kernels knn_kernels_neon = {
	.name = "neon",
	KNN_FLOAT_KERNELS,
	.l2_squared_s8 = l2_squared_s8,
	.inner_product_s8 = inner_product_s8,
	.l1_s8 = l1_s8,
	.linf_s8 = linf_s8,
	.hamming = hamming,
	KNN_DOT_KERNELS(neon),
	KNN_CODE_FLOAT_KERNELS(neon),
	.lookups_f32 = knn_lookups_f32_scalar,
	.products_f32 = knn_products_f32_scalar,
};

#ifdef KNN_KERNELS_DOTPROD
const knn_kernels knn_kernels_dotprod = {
	.name = "dotprod",
	KNN_FLOAT_KERNELS,
	.l2_squared_s8 = dotprod_l2_squared_s8,
	.inner_product_s8 = dotprod_inner_product_s8,
	.l1_s8 = dotprod_l1_s8,
	.linf_s8 = linf_s8,
	.hamming = hamming,
	KNN_DOT_KERNELS(dotprod),
	KNN_CODE_FLOAT_KERNELS(neon),
	.lookups_f32 = knn_lookups_f32_scalar,
	.products_f32 = knn_products_f32_scalar,
};
#endif

#else

/* ISO C wants a file to declare something */
typedef int knn_distance_neon_not_built;

#endif							/* KNN_KERNELS_NEON */
