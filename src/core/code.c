/*
 * code.c
 *		Encoding of vectors and preparation of queries; see code.h.
 */
#include "core/code.h"

#include <string.h>

#include "core/rotation.h"

/*
 * Deviations of the error of an inner product with a vector of unit length
 * whose direction is random: 1/sqrt(dim-1) of the length each, but never more
 * than the length itself (Cauchy-Schwarz), which is what counts in few
 * dimensions.
 */
static float
error_share(uint32_t dim)
{
	float		share;

	if (dim < 2)
		return 1.0f;
	share = KNN_CODE_EPSILON / sqrtf((float) (dim - 1));
	return share < 1.0f ? share : 1.0f;
}

bool
knn_normalise(const knn_kernels *kernels, float *v, uint32_t dim)
{
	double		norm2 = kernels->inner_product_f32(v, v, dim);
	double		inverse;

	/* squares that under- or overflow float still have a direction */
	if (!(norm2 > 1e-30 && norm2 < 1e30))
	{
		norm2 = 0;
		for (uint32_t i = 0; i < dim; i++)
			norm2 += (double) v[i] * v[i];
	}
	if (!(norm2 > 0) || !isfinite(norm2))
		return false;
	inverse = 1.0 / sqrt(norm2);
	for (uint32_t i = 0; i < dim; i++)
		v[i] = (float) (v[i] * inverse);
	return true;
}

/* out = P(v) - c, or v - c where the space does not rotate. */
static void
centre_and_rotate(const knn_encoder *enc, const float *v, float *out)
{
	memcpy(out, v, sizeof(float) * enc->dim);
	if (enc->signs)
		knn_rotation_apply(enc->signs, out, enc->dim);
	if (enc->centre)
	{
		const float *centre = enc->centre;

		for (uint32_t i = 0; i < enc->dim; i++)
			out[i] -= centre[i];
	}
}

static float
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
	}			bits;

	bits.f = x + 12582912.0f;
	return (int) (bits.i - 0x4B400000);
}

void
knn_encode(const knn_encoder *enc, const float *v,
		   knn_code_factors *factors, uint8_t *code, float *scratch)
{
	uint32_t	dim = enc->dim;
	float	   *r = scratch;
	float		largest;
	float		step;
	float		inverse;
	double		rr = 0;
	double		rx = 0;
	double		xx = 0;

	centre_and_rotate(enc, v, r);
	largest = largest_magnitude(r, dim);
	step = largest / 127.0f;
	inverse = 1.0f / step;

	/* a vector at the centre, or so near that 1/step is no number */
	if (!(largest > 0) || !isfinite(inverse))
	{
		memset(code, 128, dim);
		factors->norm2 = 0;
		factors->scale = 0;
		factors->err = 0;
		return;
	}

	for (uint32_t i = 0; i < dim; i++)
	{
		int			x = round_small(r[i] * inverse);

		x = x > 127 ? 127 : (x < -127 ? -127 : x);
		code[i] = (uint8_t) (x + 128);
	}

	if (enc->signs == NULL)
	{
		double		l1 = 0;
		double		linf = 0;

		for (uint32_t i = 0; i < dim; i++)
		{
			double		e = fabs((double) r[i] - (double) step * ((int) code[i] - 128));

			rr += (double) r[i] * r[i];
			l1 += e;
			linf = e > linf ? e : linf;
		}
		factors->norm2 = (float) rr;
		factors->scale = step;
		factors->err = (float) (enc->space == KNN_SPACE_LINF ? linf : l1);
		return;
	}

	/* partial sums in float over short runs, so that the loop vectorises */
	for (uint32_t start = 0; start < dim; start += 64)
	{
		uint32_t	end = start + 64 < dim ? start + 64 : dim;
		float		srr = 0;
		float		srx = 0;
		int32_t		sxx = 0;

		for (uint32_t i = start; i < end; i++)
		{
			int			x = (int) code[i] - 128;

			srr += r[i] * r[i];
			srx += r[i] * (float) x;
			sxx += x * x;
		}
		rr += srr;
		rx += srx;
		xx += sxx;
	}
	factors->norm2 = (float) rr;
	factors->scale = (float) (rr / rx);

	/*
	 * |r| tan(r, xbar), from the part of r that xbar does not explain.  The
	 * difference of two nearly equal squares would drown in rounding, so it is
	 * summed element by element.
	 */
	{
		float		along = (float) (rx / xx);
		double		across = 0;

		for (uint32_t start = 0; start < dim; start += 64)
		{
			uint32_t	end = start + 64 < dim ? start + 64 : dim;
			float		s = 0;

			for (uint32_t i = start; i < end; i++)
			{
				float		e = r[i] - along * (float) ((int) code[i] - 128);

				s += e * e;
			}
			across += s;
		}
		/* |r| tan = |r| * |across| / |along part| */
		factors->err = (float) (error_share(dim) *
								sqrt(rr) * sqrt(across) / (rx / sqrt(xx)));
	}
}

/* What both ways of preparing a query share once q is known. */
static void
query_common(knn_query *query, const knn_encoder *enc)
{
	query->dim = enc->dim;
	query->space = enc->space;
	query->dot_u8s8 = enc->kernels->dot_u8s8;
	query->decoded = enc->space == KNN_SPACE_LINF ?
		enc->kernels->linf_u8f32 : enc->kernels->l1_u8f32;
	query->q8 = NULL;
	query->qf = NULL;
	query->base = query->slope = query->norm = query->err = 0;
	query->bias = 0;
}

/*
 * Code q (dim floats) in int8 and set everything that scoring needs.  For L2 q
 * is centred, for inner product it is not; offset is the part of the distance
 * that comes from the centre.
 */
static void
query_quantise(knn_query *query, const knn_encoder *enc, const float *q,
			   int8_t *q8, float offset)
{
	uint32_t	dim = enc->dim;
	float		step = largest_magnitude(q, dim) / 127.0f;
	float		inverse = 1.0f / step;
	double		norm2 = 0;
	double		lost2 = 0;
	int32_t		sum = 0;

	if (!(step > 0) || !isfinite(inverse))
		step = inverse = 0;

	for (uint32_t start = 0; start < dim; start += 64)
	{
		uint32_t	end = start + 64 < dim ? start + 64 : dim;
		float		sn = 0;
		float		sl = 0;

		for (uint32_t i = start; i < end; i++)
		{
			int			x = round_small(q[i] * inverse);
			float		lost;

			x = x > 127 ? 127 : (x < -127 ? -127 : x);
			q8[i] = (int8_t) x;
			sum += x;
			lost = q[i] - step * (float) x;
			sn += q[i] * q[i];
			sl += lost * lost;
		}
		norm2 += sn;
		lost2 += sl;
	}

	query->q8 = q8;
	query->bias = 128 * sum;
	if (enc->space == KNN_SPACE_INNER_PRODUCT)
	{
		query->base = offset;
		query->slope = -step;
		query->norm = (float) sqrt(norm2);
		query->err = error_share(dim) * (float) sqrt(lost2);
	}
	else
	{
		query->base = (float) norm2;
		query->slope = -2.0f * step;
		query->norm = 2.0f * (float) sqrt(norm2);
		query->err = 2.0f * error_share(dim) * (float) sqrt(lost2);
	}
}

void
knn_query_prepare(knn_query *query, const knn_encoder *enc, const float *v,
				  int8_t *q8, float *qf)
{
	query_common(query, enc);
	if (enc->signs == NULL)
	{
		centre_and_rotate(enc, v, qf);
		query->qf = qf;
		return;
	}
	if (enc->space == KNN_SPACE_INNER_PRODUCT)
	{
		float		offset = 0;

		memcpy(qf, v, sizeof(float) * enc->dim);
		knn_rotation_apply(enc->signs, qf, enc->dim);
		if (enc->centre)
			offset = -enc->kernels->inner_product_f32(enc->centre, qf, enc->dim);
		query_quantise(query, enc, qf, q8, offset);
		return;
	}
	centre_and_rotate(enc, v, qf);
	query_quantise(query, enc, qf, q8, 0);
}

void
knn_query_from_code(knn_query *query, const knn_encoder *enc,
					const knn_code_factors *factors, const uint8_t *code,
					int8_t *q8, float *qf)
{
	uint32_t	dim = enc->dim;
	float		scale = factors->scale;

	query_common(query, enc);

	if (enc->signs != NULL && enc->space != KNN_SPACE_INNER_PRODUCT)
	{
		int32_t		sum = 0;
		uint32_t	i = 0;

		/* u - 128 in int8 is u with its top bit flipped */
		for (; i + 8 <= dim; i += 8)
		{
			uint64_t	word;

			memcpy(&word, code + i, 8);
			word ^= UINT64_C(0x8080808080808080);
			memcpy(q8 + i, &word, 8);
		}
		for (; i < dim; i++)
			q8[i] = (int8_t) (code[i] ^ 0x80);
		sum = enc->kernels->sum_u8(code, dim) - 128 * (int32_t) dim;

		query->q8 = q8;
		query->bias = 128 * sum;
		query->base = factors->norm2;
		query->slope = -2.0f * scale;
		query->norm = 2.0f * sqrtf(factors->norm2);
		/* its own coding error, in the form the other codes use */
		query->err = 2.0f * factors->err;
		return;
	}

	for (uint32_t i = 0; i < dim; i++)
		qf[i] = scale * (float) ((int) code[i] - 128);
	if (enc->signs == NULL)
	{
		query->qf = qf;
		return;
	}
	{
		float		offset = 0;

		if (enc->centre)
		{
			for (uint32_t i = 0; i < dim; i++)
				qf[i] += enc->centre[i];
			offset = -enc->kernels->inner_product_f32(enc->centre, qf, dim);
		}
		query_quantise(query, enc, qf, q8, offset);
	}
}

float
knn_exact_distance(const knn_kernels *kernels, knn_space space,
				   const float *a, const float *b, uint32_t dim)
{
	switch (space)
	{
		case KNN_SPACE_INNER_PRODUCT:
			return -kernels->inner_product_f32(a, b, dim);
		case KNN_SPACE_L1:
			return kernels->l1_f32(a, b, dim);
		case KNN_SPACE_LINF:
			return kernels->linf_f32(a, b, dim);
		default:
			return kernels->l2_squared_f32(a, b, dim);
	}
}
