/*
 * code.c
 *		Encoding of vectors; see code.h.
 */
#include "core/code.h"

#include <string.h>

#include "core/code_impl.h"

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

void
knn_encoder_rotate(const knn_encoder *enc, const void *v, void *out)
{
	if (knn_encoding_is_float(enc->encoding))
		rotate(enc, v, out);
	else
		memcpy(out, v, knn_code_bytes(enc->encoding, enc->dim));
}

/* ---- sizes ---- */

uint32_t
knn_encoding_bits(knn_encoding encoding)
{
	switch (encoding)
	{
		case KNN_ENCODING_ROTATED_4:
			return 4;
		case KNN_ENCODING_ROTATED_2:
			return 2;
		case KNN_ENCODING_ROTATED_1:
		case KNN_ENCODING_BINARY:
			return 1;
		default:
			return 8;
	}
}

uint32_t
knn_code_bytes(knn_encoding encoding, uint32_t dim)
{
	uint32_t	per_byte = 8 / knn_encoding_bits(encoding);

	return (dim + per_byte - 1) / per_byte;
}

/* ---- encoding ---- */

/*
 * The factors of a code, from r and the integers that stand for it.  Sums run in
 * float over short runs, so that the loops vectorise, and in double over those;
 * "unit" makes squares of large components fit.
 */
static void
rotated_factors(const float *r, const int8_t *xbar, uint32_t dim, float largest,
				knn_code_factors *factors)
{
	float		unit = largest > 1e16f ? 0x1p-100f : 1.0f;
	double		rr = 0;
	double		rx = 0;
	double		xx = 0;
	double		across = 0;
	float		along;

	for (uint32_t start = 0; start < dim; start += 64)
	{
		uint32_t	end = start + 64 < dim ? start + 64 : dim;
		float		srr = 0;
		float		srx = 0;
		int32_t		sxx = 0;

		for (uint32_t i = start; i < end; i++)
		{
			float		x = r[i] * unit;

			srr += x * x;
			srx += x * (float) xbar[i];
			sxx += xbar[i] * xbar[i];
		}
		rr += srr;
		rx += srx;
		xx += sxx;
	}
	factors->norm2 = (float) (rr / unit / unit);
	factors->scale = (float) (rr / rx / unit);

	/*
	 * |r| tan(r, xbar), from the part of r that xbar does not explain.  The
	 * difference of two nearly equal squares would drown in rounding, so it is
	 * summed element by element.
	 */
	along = (float) (rx / xx);
	for (uint32_t start = 0; start < dim; start += 64)
	{
		uint32_t	end = start + 64 < dim ? start + 64 : dim;
		float		s = 0;

		for (uint32_t i = start; i < end; i++)
		{
			float		e = r[i] * unit - along * (float) xbar[i];

			s += e * e;
		}
		across += s;
	}
	/* |r| tan = |r| * |across| / |along part| */
	factors->err = (float) (error_share(dim) *
							sqrt(rr) * sqrt(across) / (rx / sqrt(xx)) / unit);
}

/* The factors of a code that is not rotated: errors in the space's own norm. */
static void
plain_factors(const float *r, const int8_t *xbar, uint32_t dim, float step,
			  knn_space space, knn_code_factors *factors)
{
	double		rr = 0;
	double		l1 = 0;
	double		linf = 0;

	for (uint32_t i = 0; i < dim; i++)
	{
		double		e = fabs((double) r[i] - (double) step * xbar[i]);

		rr += (double) r[i] * r[i];
		l1 += e;
		linf = e > linf ? e : linf;
	}
	factors->norm2 = (float) rr;
	factors->scale = step;
	factors->err = (float) (space == KNN_SPACE_LINF ? linf : l1);
}

/*
 * Integers 2u - (2^B - 1) for u = floor(r / step) + 2^(B-1), clamped; returns the
 * cosine between them and r, but for the factor 1/|r|.
 */
static double
lattice(const float *r, uint32_t dim, float step, int levels, int8_t *xbar)
{
	float		inverse = 1.0f / step;
	int			highest = levels / 2 - 1;
	int			lowest = -levels / 2;
	double		rx = 0;
	double		xx = 0;

	for (uint32_t start = 0; start < dim; start += 64)
	{
		uint32_t	end = start + 64 < dim ? start + 64 : dim;
		float		srx = 0;
		int32_t		sxx = 0;

		for (uint32_t i = start; i < end; i++)
		{
			float		scaled = r[i] * inverse - 0.5f;
			int			u;

			/* far outside the lattice rounding would not hold */
			scaled = scaled > (float) highest ? (float) highest : scaled;
			scaled = scaled < (float) lowest ? (float) lowest : scaled;
			u = round_small(scaled);
			xbar[i] = (int8_t) (2 * u + 1);
			srx += r[i] * (float) xbar[i];
			sxx += xbar[i] * xbar[i];
		}
		rx += srx;
		xx += sxx;
	}
	return rx / sqrt(xx);
}

/* Put lattice integers into the packed layout (distance.h). */
static void
pack(const int8_t *xbar, uint32_t dim, uint32_t bits, uint8_t *code)
{
	uint32_t	nbytes = (dim * bits + 7) / 8;
	uint32_t	per_byte = 8 / bits;
	int			offset = (1 << bits) - 1;

	memset(code, 0, nbytes);
	for (uint32_t k = 0; k < per_byte; k++)
	{
		uint32_t	first = k * nbytes;

		for (uint32_t j = 0; j < nbytes && first + j < dim; j++)
			code[j] |= (uint8_t) (((xbar[first + j] + offset) / 2) << (k * bits));
	}
}

/*
 * Steps to try, as shares of the standard deviation of r's components: around
 * the best uniform quantizer of a normal distribution, which is what a rotation
 * makes of them (Max 1960: 0.9957 for 4 levels, 0.3352 for 16).
 */
static const float steps_2[] = {0.80f, 0.90f, 0.9957f, 1.10f, 1.22f};
static const float steps_4[] = {0.28f, 0.31f, 0.3352f, 0.36f, 0.40f};

#define NSTEPS 5

static void
encode_low(const float *r, uint32_t dim, uint32_t bits, int8_t *xbar)
{
	int			levels = 1 << bits;
	const float *steps = bits == 2 ? steps_2 : steps_4;
	double		norm2 = 0;
	float		deviation;
	double		best = -1;
	float		best_step;

	for (uint32_t i = 0; i < dim; i++)
		norm2 += (double) r[i] * r[i];
	deviation = (float) sqrt(norm2 / dim);
	if (bits == 1)
	{
		/* only the sign counts; any step larger than all components */
		lattice(r, dim, deviation, levels, xbar);
		return;
	}
	best_step = steps[NSTEPS / 2] * deviation;
	for (int s = 0; s < NSTEPS; s++)
	{
		double		cosine = lattice(r, dim, steps[s] * deviation, levels, xbar);

		if (cosine > best)
		{
			best = cosine;
			best_step = steps[s] * deviation;
		}
	}
	lattice(r, dim, best_step, levels, xbar);
}

/* A byte or binary vector is its own code. */
static void
encode_raw(const knn_encoder *enc, const void *v, knn_code_factors *factors, uint8_t *code)
{
	memcpy(code, v, knn_code_bytes(enc->encoding, enc->dim));
	factors->norm2 = enc->encoding == KNN_ENCODING_BYTE ?
		(float) enc->kernels->inner_product_s8(v, v, enc->dim) : 0;
	factors->scale = factors->err = 0;
}

/* Encode r, which is rotated and centred. */
static void
encode_residual(const knn_encoder *enc, const float *r, knn_code_factors *factors, uint8_t *code)
{
	uint32_t	dim = enc->dim;
	uint32_t	bits = knn_encoding_bits(enc->encoding);
	int8_t		xbar[KNN_MAX_DIM];
	float		largest;
	float		step;
	float		inverse;

	largest = largest_magnitude(r, dim);
	step = largest / 127.0f;
	inverse = 1.0f / step;

	/* a vector at the centre, or so near that 1/step is no number, or out of all reach */
	if (!(largest > 0) || !isfinite(inverse) || !isfinite(largest))
	{
		memset(code, bits == 8 ? 128 : 0, knn_code_bytes(enc->encoding, dim));
		factors->norm2 = isfinite(largest) ? 0 : INFINITY;
		factors->scale = 0;
		factors->err = 0;
		return;
	}

	if (bits == 8)
	{
		for (uint32_t i = 0; i < dim; i++)
		{
			int			x = round_small(r[i] * inverse);

			x = x > 127 ? 127 : (x < -127 ? -127 : x);
			xbar[i] = (int8_t) x;
			code[i] = (uint8_t) (x + 128);
		}
	}
	else
	{
		encode_low(r, dim, bits, xbar);
		pack(xbar, dim, bits, code);
	}
	if (enc->signs == NULL)
		plain_factors(r, xbar, dim, step, enc->space, factors);
	else
		rotated_factors(r, xbar, dim, largest, factors);
}

/* Least <r,rhat> as a share of |r|^2 that a scale can be made of. */
#define LEAST_EXPLAINED 0.01

/*
 * Encode r, which is rotated and centred, and is changed.  rhat is rotated back to
 * where r is for the term <c-o, rhat> of core/pq.h.
 */
static void
encode_pq(const knn_encoder *enc, float *r, knn_code_factors *factors, uint8_t *code)
{
	const knn_pq *pq = enc->pq;
	uint32_t	dim = enc->dim;
	uint8_t		parts[KNN_MAX_DIM];
	float		rhat[KNN_MAX_DIM];
	double		rr = 0;
	double		rx = 0;
	double		across = 0;
	double		shift = 0;
	float		scale;

	knn_rotation_invert(enc->signs, r, dim);
	knn_pq_nearest(pq, enc->kernels, r, parts);
	knn_pq_pack(parts, pq->m, pq->bits, code);
	knn_pq_decode(pq, parts, rhat);
	for (uint32_t i = 0; i < dim; i++)
	{
		rr += (double) r[i] * r[i];
		rx += (double) r[i] * rhat[i];
	}
	factors->norm2 = (float) rr;
	if (!(rx > LEAST_EXPLAINED * rr) || !isfinite((float) rr))
	{
		/* at the centre; or where no codeword is near: the exact distance tells */
		factors->scale = 0;
		factors->err = rr > 0 ? INFINITY : 0;
		return;
	}
	scale = (float) (rr / rx);
	for (uint32_t i = 0; i < dim; i++)
	{
		float		f = scale * rhat[i] - r[i];

		across += (double) f * f;
	}
	factors->scale = scale;
	factors->err = pq->share * (float) sqrt(across);
	if (enc->space == KNN_SPACE_INNER_PRODUCT || enc->centre == enc->origin)
		return;
	knn_rotation_apply(enc->signs, rhat, dim);
	for (uint32_t i = 0; i < dim; i++)
		shift += (double) rhat[i] * ((enc->centre ? enc->centre[i] : 0) -
									 (enc->origin ? enc->origin[i] : 0));
	factors->norm2 += 2.0f * scale * (float) shift;
}

/* Encode scratch, which is rotated. */
static void
encode_rotated(const knn_encoder *enc, knn_code_factors *factors, uint8_t *code, float *scratch)
{
	subtract_centre(enc, scratch);
	if (enc->encoding == KNN_ENCODING_PQ)
		encode_pq(enc, scratch, factors, code);
	else
		encode_residual(enc, scratch, factors, code);
}

void
knn_encode(const knn_encoder *enc, const void *v,
		   knn_code_factors *factors, uint8_t *code, float *scratch)
{
	if (!knn_encoding_is_float(enc->encoding))
	{
		encode_raw(enc, v, factors, code);
		return;
	}
	rotate(enc, v, scratch);
	encode_rotated(enc, factors, code, scratch);
}

void
knn_encode_rotated(const knn_encoder *enc, const void *v,
				   knn_code_factors *factors, uint8_t *code, float *scratch)
{
	if (!knn_encoding_is_float(enc->encoding))
	{
		encode_raw(enc, v, factors, code);
		return;
	}
	memcpy(scratch, v, sizeof(float) * enc->dim);
	encode_rotated(enc, factors, code, scratch);
}
