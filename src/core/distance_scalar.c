/*
 * distance_scalar.c
 *		Distance kernels in portable C.
 *
 * The fallback on CPUs without a better implementation, and the one that the
 * tests of the others can always be run beside.  See distance.h for what each
 * kernel computes.
 */
#include <math.h>

#include "core/distance_impl.h"

/*
 * A float kernel over dim pairs.  Four accumulators break the chain of
 * dependent additions, which is what limits a scalar loop.
 */
#define FLOAT_KERNEL(fname, ta, get_a, tb, get_b, step, combine) \
static float \
fname(const ta *a, const tb *b, uint32_t dim) \
{ \
	float		s0 = 0, \
				s1 = 0, \
				s2 = 0, \
				s3 = 0; \
	uint32_t	i = 0; \
\
	for (; i + 4 <= dim; i += 4) \
	{ \
		s0 = step(s0, get_a(a[i]), get_b(b[i])); \
		s1 = step(s1, get_a(a[i + 1]), get_b(b[i + 1])); \
		s2 = step(s2, get_a(a[i + 2]), get_b(b[i + 2])); \
		s3 = step(s3, get_a(a[i + 3]), get_b(b[i + 3])); \
	} \
	for (; i < dim; i++) \
		s0 = step(s0, get_a(a[i]), get_b(b[i])); \
\
	return combine(combine(s0, s1), combine(s2, s3)); \
}

static inline float
get_float(float f)
{
	return f;
}

#define get_half knn_half_to_float_inline

static inline float
step_l2(float sum, float a, float b)
{
	return sum + (a - b) * (a - b);
}

static inline float
step_ip(float sum, float a, float b)
{
	return sum + a * b;
}

static inline float
step_l1(float sum, float a, float b)
{
	return sum + fabsf(a - b);
}

static inline float
combine_sum(float a, float b)
{
	return a + b;
}

static inline float
combine_max(float a, float b)
{
	return a > b ? a : b;
}

static inline float
step_linf(float max, float a, float b)
{
	return combine_max(max, fabsf(a - b));
}

FLOAT_KERNEL(l2_squared_f32, float, get_float, float, get_float, step_l2, combine_sum)
FLOAT_KERNEL(inner_product_f32, float, get_float, float, get_float, step_ip, combine_sum)
FLOAT_KERNEL(l1_f32, float, get_float, float, get_float, step_l1, combine_sum)
FLOAT_KERNEL(linf_f32, float, get_float, float, get_float, step_linf, combine_max)

FLOAT_KERNEL(l2_squared_f16, knn_half, get_half, knn_half, get_half, step_l2, combine_sum)
FLOAT_KERNEL(inner_product_f16, knn_half, get_half, knn_half, get_half, step_ip, combine_sum)
FLOAT_KERNEL(l1_f16, knn_half, get_half, knn_half, get_half, step_l1, combine_sum)
FLOAT_KERNEL(linf_f16, knn_half, get_half, knn_half, get_half, step_linf, combine_max)

FLOAT_KERNEL(l2_squared_f32f16, float, get_float, knn_half, get_half, step_l2, combine_sum)
FLOAT_KERNEL(inner_product_f32f16, float, get_float, knn_half, get_half, step_ip, combine_sum)

static int32_t
l2_squared_s8(const int8_t *a, const int8_t *b, uint32_t dim)
{
	int32_t		sum = 0;

	for (uint32_t i = 0; i < dim; i++)
	{
		int32_t		d = (int32_t) a[i] - b[i];

		sum += d * d;
	}
	return sum;
}

static int32_t
inner_product_s8(const int8_t *a, const int8_t *b, uint32_t dim)
{
	int32_t		sum = 0;

	for (uint32_t i = 0; i < dim; i++)
		sum += (int32_t) a[i] * b[i];
	return sum;
}

static int32_t
l1_s8(const int8_t *a, const int8_t *b, uint32_t dim)
{
	int32_t		sum = 0;

	for (uint32_t i = 0; i < dim; i++)
	{
		int32_t		d = (int32_t) a[i] - b[i];

		sum += d < 0 ? -d : d;
	}
	return sum;
}

static int32_t
linf_s8(const int8_t *a, const int8_t *b, uint32_t dim)
{
	int32_t		max = 0;

	for (uint32_t i = 0; i < dim; i++)
	{
		int32_t		d = (int32_t) a[i] - b[i];

		if (d < 0)
			d = -d;
		if (d > max)
			max = d;
	}
	return max;
}

/* Number of set bits; without POPCNT the builtin would be a library call. */
static inline uint32_t
popcount64(uint64_t x)
{
	x -= (x >> 1) & UINT64_C(0x5555555555555555);
	x = (x & UINT64_C(0x3333333333333333)) + ((x >> 2) & UINT64_C(0x3333333333333333));
	x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (uint32_t) ((x * UINT64_C(0x0101010101010101)) >> 56);
}

static uint32_t
hamming(const uint8_t *a, const uint8_t *b, uint32_t nbytes)
{
	uint32_t	count = 0;
	uint32_t	i = 0;

	for (; i + 8 <= nbytes; i += 8)
	{
		uint64_t	x,
					y;

		memcpy(&x, a + i, 8);
		memcpy(&y, b + i, 8);
		count += popcount64(x ^ y);
	}
	for (; i < nbytes; i++)
		count += popcount64((uint64_t) (a[i] ^ b[i]));
	return count;
}

static int32_t
dot_u8s8(const uint8_t *code, const int8_t *query, uint32_t dim)
{
	int32_t		sum = 0;

	for (uint32_t i = 0; i < dim; i++)
		sum += (int32_t) code[i] * query[i];
	return sum;
}

static void
dots_u8s8(const uint8_t *const *codes, uint32_t n, const int8_t *query, uint32_t dim,
		  int32_t *out)
{
	for (uint32_t i = 0; i < n; i++)
		out[i] = dot_u8s8(codes[i], query, dim);
}

static int32_t
dot_u4s8(const uint8_t *code, const int8_t *query, uint32_t nbytes)
{
	return knn_dot_packed_from(code, query, nbytes, 0, 2);
}

static int32_t
dot_u2s8(const uint8_t *code, const int8_t *query, uint32_t nbytes)
{
	return knn_dot_packed_from(code, query, nbytes, 0, 4);
}

static int32_t
dot_u1s8(const uint8_t *code, const int8_t *query, uint32_t nbytes)
{
	return knn_dot_packed_from(code, query, nbytes, 0, 8);
}

static int32_t
sum_u8(const uint8_t *code, uint32_t dim)
{
	int32_t		sum = 0;

	for (uint32_t i = 0; i < dim; i++)
		sum += code[i];
	return sum;
}

static float
l1_u8f32(const uint8_t *code, const float *query,
		 float scale, float offset, uint32_t dim)
{
	float		s0 = 0,
				s1 = 0;
	uint32_t	i = 0;

	for (; i + 2 <= dim; i += 2)
	{
		s0 += fabsf(scale * code[i] + offset - query[i]);
		s1 += fabsf(scale * code[i + 1] + offset - query[i + 1]);
	}
	if (i < dim)
		s0 += fabsf(scale * code[i] + offset - query[i]);
	return s0 + s1;
}

static float
linf_u8f32(const uint8_t *code, const float *query,
		   float scale, float offset, uint32_t dim)
{
	float		max = 0;

	for (uint32_t i = 0; i < dim; i++)
		max = combine_max(max, fabsf(scale * code[i] + offset - query[i]));
	return max;
}

static void
f16_to_f32(const knn_half *in, float *out, uint32_t dim)
{
	for (uint32_t i = 0; i < dim; i++)
		out[i] = knn_half_to_float_inline(in[i]);
}

static void
f32_to_f16(const float *in, knn_half *out, uint32_t dim)
{
	for (uint32_t i = 0; i < dim; i++)
		out[i] = knn_float_to_half_inline(in[i]);
}

const knn_kernels knn_kernels_scalar = {
	.name = "scalar",
	KNN_FLOAT_KERNELS,
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
};
