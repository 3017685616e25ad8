/*
 * code_impl.h
 *		What code.c and code_query.c share.
 */
#ifndef KNN_CORE_CODE_IMPL_H
#define KNN_CORE_CODE_IMPL_H

#include <math.h>
#include <string.h>

#include "core/code.h"
#include "core/rotation.h"

/*
 * Deviations of the error of an inner product with a vector of unit length
 * whose direction is random: 1/sqrt(dim-1) of the length each, but never more
 * than the length itself (Cauchy-Schwarz), which is what counts in few
 * dimensions.
 */
static inline float
error_share(uint32_t dim)
{
	float		share;

	if (dim < 2)
		return 1.0f;
	share = KNN_CODE_EPSILON / sqrtf((float) (dim - 1));
	return share < 1.0f ? share : 1.0f;
}

/* out -= c */
static inline void
subtract_centre(const knn_encoder *enc, float *out)
{
	const float *centre = enc->centre;

	if (centre == NULL)
		return;
	for (uint32_t i = 0; i < enc->dim; i++)
		out[i] -= centre[i];
}

/* out = P(v), or v where the space does not rotate. */
static inline void
rotate(const knn_encoder *enc, const float *v, float *out)
{
	memcpy(out, v, sizeof(float) * enc->dim);
	if (enc->signs)
		knn_rotation_apply(enc->signs, out, enc->dim);
}

/* Of the components. */
static inline float
largest_magnitude(const float *v, uint32_t dim)
{
	float		largest = 0;

	for (uint32_t i = 0; i < dim; i++)
	{
		float		a = fabsf(v[i]);

		largest = a > largest ? a : largest;
	}
	return largest;
}

/* Nearest integer of a value known to lie in -127.5 .. 127.5. */
static inline int
round_small(float x)
{
	/* adding 1.5 * 2^23 leaves the rounded integer in the mantissa */
	union
	{
		float		f;
		int32_t		i;
	}			word;

	word.f = x + 12582912.0f;
	return (int) (word.i - 0x4B400000);
}

#endif
