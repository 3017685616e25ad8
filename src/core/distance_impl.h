/*
 * distance_impl.h
 *		What the implementations of the distance kernels share among themselves.
 *
 * An implementation is distance_NAME.c, which has the kernels between vectors and the
 * table, and distance_NAME_codes.c with those between codes and a query; the scalar one
 * is a single file.  They export the table and what it is made of.
 *
 * All files are compiled with the same flags on every architecture: a file for another
 * architecture compiles to nothing, and code for CPU features above the baseline
 * carries its own target attribute, so that one binary runs everywhere.
 *
 * Only distance*.c, pq_kernels.c and their tests include this.
 */
#ifndef KNN_CORE_DISTANCE_IMPL_H
#define KNN_CORE_DISTANCE_IMPL_H

#include <string.h>

#include "core/distance.h"

#if defined(__x86_64__)
#define KNN_KERNELS_X86 1
#elif defined(__aarch64__) && !defined(__AARCH64EB__)
#define KNN_KERNELS_NEON 1
/* clang before 16 has these intrinsics only where the baseline includes them */
#if defined(__ARM_FEATURE_DOTPROD) || (!defined(__clang__) && __GNUC__ >= 8)
#define KNN_KERNELS_DOTPROD 1
#endif
#endif

extern const knn_kernels knn_kernels_scalar;
#ifdef KNN_KERNELS_X86
/* needs AVX2, FMA, F16C, POPCNT */
extern const knn_kernels knn_kernels_avx2;
/* needs AVX-512 F, BW, VL, DQ, VNNI, VPOPCNTDQ */
extern const knn_kernels knn_kernels_avx512;
#endif
#ifdef KNN_KERNELS_NEON
extern const knn_kernels knn_kernels_neon;
#ifdef KNN_KERNELS_DOTPROD
/* needs ARMv8.2 dot product */
extern const knn_kernels knn_kernels_dotprod;
#endif
#endif

/* The integer kernels of distance_NAME_codes.c, and their places in a table. */
#define KNN_DECLARE_DOT_KERNELS(name) \
extern int32_t knn_dot_u8s8_##name(const uint8_t *code, const int8_t *query, uint32_t dim); \
extern void knn_dots_u8s8_##name(const uint8_t *const *codes, uint32_t n, const int8_t *query, \
								 uint32_t dim, int32_t *out); \
extern int32_t knn_dot_u4s8_##name(const uint8_t *code, const int8_t *query, uint32_t nbytes); \
extern int32_t knn_dot_u2s8_##name(const uint8_t *code, const int8_t *query, uint32_t nbytes); \
extern int32_t knn_dot_u1s8_##name(const uint8_t *code, const int8_t *query, uint32_t nbytes); \
extern int32_t knn_sum_u8_##name(const uint8_t *code, uint32_t dim)

#define KNN_DOT_KERNELS(name) \
	.dot_u8s8 = knn_dot_u8s8_##name, \
	.dots_u8s8 = knn_dots_u8s8_##name, \
	.dot_u4s8 = knn_dot_u4s8_##name, \
	.dot_u2s8 = knn_dot_u2s8_##name, \
	.dot_u1s8 = knn_dot_u1s8_##name, \
	.sum_u8 = knn_sum_u8_##name

/* Likewise its float kernels. */
#define KNN_DECLARE_CODE_FLOAT_KERNELS(name) \
extern float knn_l1_u8f32_##name(const uint8_t *code, const float *query, \
								 float scale, float offset, uint32_t dim); \
extern float knn_linf_u8f32_##name(const uint8_t *code, const float *query, \
								   float scale, float offset, uint32_t dim)

#define KNN_CODE_FLOAT_KERNELS(name) \
	.l1_u8f32 = knn_l1_u8f32_##name, \
	.linf_u8f32 = knn_linf_u8f32_##name

/* The kernels of floats and halves, which are static where their table is. */
#define KNN_FLOAT_KERNELS \
	.l2_squared_f32 = l2_squared_f32, \
	.inner_product_f32 = inner_product_f32, \
	.l1_f32 = l1_f32, \
	.linf_f32 = linf_f32, \
	.l2_squared_f16 = l2_squared_f16, \
	.inner_product_f16 = inner_product_f16, \
	.l1_f16 = l1_f16, \
	.linf_f16 = linf_f16, \
	.l2_squared_f32f16 = l2_squared_f32f16, \
	.inner_product_f32f16 = inner_product_f32f16, \
	.f16_to_f32 = f16_to_f32, \
	.f32_to_f16 = f32_to_f16

#ifdef KNN_KERNELS_X86
KNN_DECLARE_DOT_KERNELS(avx2);
KNN_DECLARE_CODE_FLOAT_KERNELS(avx2);
KNN_DECLARE_DOT_KERNELS(avx512);
KNN_DECLARE_CODE_FLOAT_KERNELS(avx512);
#endif
#ifdef KNN_KERNELS_NEON
KNN_DECLARE_DOT_KERNELS(neon);
KNN_DECLARE_CODE_FLOAT_KERNELS(neon);
#ifdef KNN_KERNELS_DOTPROD
KNN_DECLARE_DOT_KERNELS(dotprod);
#endif
#endif

/* pq_kernels.c */
extern void knn_lookups_f32_scalar(const uint8_t *const *codes, uint32_t n, const float *table,
								   uint32_t m, uint32_t shift, float *out);
extern void knn_products_f32_scalar(const float *v, uint32_t nv, const float *rows,
									uint32_t width, float *out);
#ifdef KNN_KERNELS_X86
extern void knn_lookups_f32_avx2(const uint8_t *const *codes, uint32_t n, const float *table,
								 uint32_t m, uint32_t shift, float *out);
extern void knn_products_f32_avx2(const float *v, uint32_t nv, const float *rows,
								  uint32_t width, float *out);
#endif

/*
 * Sum of field * query over bytes from..nbytes - 1 of a code with per fields to a
 * byte (see distance.h): the scalar kernels, and the ends of the others.
 */
static inline int32_t
knn_dot_packed_from(const uint8_t *code, const int8_t *query, uint32_t nbytes,
					uint32_t from, int per)
{
	const int	bits = 8 / per;
	const int	mask = (1 << bits) - 1;
	int32_t		sum = 0;

	for (int k = 0; k < per; k++)
	{
		const int8_t *q = query + (size_t) k * nbytes;

		for (uint32_t j = from; j < nbytes; j++)
			sum += ((code[j] >> (k * bits)) & mask) * q[j];
	}
	return sum;
}

/*
 * Inline forms of the single-element conversions, for the scalar kernels and
 * the tails of the others.  They agree bit for bit with what the conversion
 * instructions of x86 and ARM give, NaN payloads included (a signalling NaN
 * becomes quiet).
 */
static inline float
knn_half_to_float_inline(knn_half h)
{
	uint32_t	sign = (uint32_t) (h & 0x8000) << 16;
	uint32_t	exponent = (h >> 10) & 0x1f;
	uint32_t	mantissa = h & 0x3ff;
	uint32_t	bits;
	float		f;

	if (exponent == 0)
	{
		/* zero or subnormal: a small integer times 2^-24, exact in float */
		f = (float) mantissa * 0x1p-24f;
		memcpy(&bits, &f, sizeof(bits));
		bits |= sign;
	}
	else if (exponent == 0x1f)
		bits = sign | 0x7f800000 | (mantissa != 0 ? 0x400000 | (mantissa << 13) : 0);
	else
		bits = sign | ((exponent + 112) << 23) | (mantissa << 13);

	memcpy(&f, &bits, sizeof(f));
	return f;
}

static inline knn_half
knn_float_to_half_inline(float f)
{
	uint32_t	bits;
	uint32_t	sign;
	uint32_t	h;

	memcpy(&bits, &f, sizeof(bits));
	sign = (bits >> 16) & 0x8000;
	bits &= 0x7fffffff;

	if (bits > 0x7f800000)
		h = 0x7e00 | ((bits >> 13) & 0x3ff);	/* NaN */
	else if (bits >= 0x47800000)
		h = 0x7c00;				/* 65536 and above, infinity */
	else if (bits >= 0x38800000)
	{
		/*
		 * Normal: round the 13 bits that go to nearest even.  A carry moves
		 * into the exponent, and from 65520 on into infinity, as it should.
		 */
		bits += 0xfff + ((bits >> 13) & 1);
		h = (bits - 0x38000000) >> 13;
	}
	else if (bits < 0x33000000)
		h = 0;					/* below 2^-25, half of the smallest subnormal */
	else
	{
		uint32_t	mantissa = (bits & 0x7fffff) | 0x800000;
		uint32_t	shift = 126 - (bits >> 23);
		uint32_t	rest = mantissa & ((1u << shift) - 1);
		uint32_t	tie = 1u << (shift - 1);

		h = mantissa >> shift;
		if (rest > tie || (rest == tie && (h & 1)))
			h++;
	}

	return (knn_half) (sign | h);
}

#endif
