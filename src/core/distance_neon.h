/*
 * distance_neon.h
 *		What the distance kernels of 64-bit ARM share among themselves.
 */
#ifndef KNN_CORE_DISTANCE_NEON_H
#define KNN_CORE_DISTANCE_NEON_H

#include "core/distance_impl.h"

#ifdef KNN_KERNELS_NEON

#include <arm_neon.h>
#include <math.h>

#define INLINE static inline __attribute__((always_inline))

#ifdef KNN_KERNELS_DOTPROD
#define DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

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

#endif							/* KNN_KERNELS_NEON */
#endif
