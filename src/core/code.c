/*
 * code.c
 *		Encoding of vectors and preparation of queries; see code.h.
 */
#include "core/code.h"

#include <string.h>

#include "core/rotation.h"

/* Codes whose dot products are kept at a time. */
#define DOTS_AT_ONCE 64

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

/* out -= c */
static void
subtract_centre(const knn_encoder *enc, float *out)
{
	const float *centre = enc->centre;

	if (centre == NULL)
		return;
	for (uint32_t i = 0; i < enc->dim; i++)
		out[i] -= centre[i];
}

/* out = P(v), or v where the space does not rotate. */
static void
rotate(const knn_encoder *enc, const float *v, float *out)
{
	memcpy(out, v, sizeof(float) * enc->dim);
	if (enc->signs)
		knn_rotation_apply(enc->signs, out, enc->dim);
}

void
knn_encoder_rotate(const knn_encoder *enc, const void *v, void *out)
{
	if (knn_encoding_is_float(enc->encoding))
		rotate(enc, v, out);
	else
		memcpy(out, v, knn_code_bytes(enc->encoding, enc->dim));
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

static void
unpack(const uint8_t *code, uint32_t dim, uint32_t bits, float scale, float *out)
{
	uint32_t	nbytes = (dim * bits + 7) / 8;
	int			mask = (1 << bits) - 1;

	for (uint32_t i = 0; i < dim; i++)
	{
		int			u = code[i % nbytes] >> (i / nbytes * bits) & mask;

		out[i] = scale * (float) (2 * u - mask);
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

/* ---- queries ---- */

/* What does not depend on the query's elements. */
static void
query_common(knn_query *query, const knn_encoder *enc)
{
	const knn_kernels *kernels = enc->kernels;
	uint32_t	bits = knn_encoding_bits(enc->encoding);

	memset(query, 0, sizeof(*query));
	query->dim = enc->dim;
	query->length = bits == 8 ? enc->dim : knn_code_bytes(enc->encoding, enc->dim);
	query->times = bits == 8 ? 1 : 2;
	switch (enc->encoding)
	{
		case KNN_ENCODING_ROTATED_4:
			query->dot = kernels->dot_u4s8;
			break;
		case KNN_ENCODING_ROTATED_2:
			query->dot = kernels->dot_u2s8;
			break;
		case KNN_ENCODING_ROTATED_1:
			query->dot = kernels->dot_u1s8;
			break;
		default:
			query->dot = kernels->dot_u8s8;
			query->dots = kernels->dots_u8s8;
			break;
	}
	query->decoded = enc->space == KNN_SPACE_LINF ? kernels->linf_u8f32 : kernels->l1_u8f32;
	query->hamming = kernels->hamming;
	if (enc->encoding == KNN_ENCODING_BINARY)
		query->form = KNN_FORM_BINARY;
	else if (enc->encoding == KNN_ENCODING_BYTE)
	{
		query->form = enc->space == KNN_SPACE_INNER_PRODUCT ? KNN_FORM_BYTE_INNER_PRODUCT :
			enc->space == KNN_SPACE_COSINE ? KNN_FORM_BYTE_COSINE : KNN_FORM_BYTE;
		query->byte = enc->space == KNN_SPACE_L2 ? kernels->l2_squared_s8 :
			enc->space == KNN_SPACE_L1 ? kernels->l1_s8 :
			enc->space == KNN_SPACE_LINF ? kernels->linf_s8 : kernels->inner_product_s8;
	}
	else if (enc->encoding == KNN_ENCODING_PQ)
	{
		query->form = enc->space == KNN_SPACE_INNER_PRODUCT ? KNN_FORM_PQ_INNER_PRODUCT : KNN_FORM_PQ;
		query->pq = enc->pq;
		query->kernels = kernels;
	}
	else
		query->form = enc->signs == NULL ? KNN_FORM_DECODED :
			enc->space == KNN_SPACE_INNER_PRODUCT ? KNN_FORM_INNER_PRODUCT : KNN_FORM_L2;
}

void
knn_query_scores(const knn_query *query, const knn_code_factors *const *factors,
				 const uint8_t *const *codes, uint32_t n, float *distance)
{
	int32_t		dots[DOTS_AT_ONCE];

	if (query->pq)
	{
		knn_pq_sums(query->kernels, query->pq->m, query->pq->bits, query->table,
					codes, n, distance);
		for (uint32_t i = 0; i < n; i++)
			distance[i] = knn_query_pq_distance(query, factors[i], distance[i]);
		return;
	}
	if (!query->dots || (query->form != KNN_FORM_L2 && query->form != KNN_FORM_INNER_PRODUCT))
	{
		for (uint32_t i = 0; i < n; i++)
			distance[i] = knn_query_score(query, factors[i], codes[i]);
		return;
	}
	for (uint32_t start = 0; start < n; start += DOTS_AT_ONCE)
	{
		uint32_t	end = start + DOTS_AT_ONCE < n ? start + DOTS_AT_ONCE : n;

		query->dots(codes + start, end - start, query->q8, query->length, dots);
		for (uint32_t i = start; i < end; i++)
			distance[i] = knn_query_distance(query, factors[i], dots[i - start]);
	}
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
	memset(q8 + dim, 0, KNN_QUERY_ROOM(dim) - dim);

	query->q8 = q8;
	query->bias = sum * (query->times == 1 ? 128 : (1 << knn_encoding_bits(enc->encoding)) - 1);
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

/* A byte or binary vector is used as it is. */
static void
query_raw(knn_query *query, const knn_encoder *enc, const void *v)
{
	query->q8 = v;
	if (query->form == KNN_FORM_BYTE_COSINE)
		query->base = (float) enc->kernels->inner_product_s8(v, v, enc->dim);
}

/* What of a pq query depends on the centre; q is rotated. */
static void
query_pq_centre(knn_query *query, const knn_encoder *enc, const float *q)
{
	const knn_kernels *kernels = enc->kernels;
	uint32_t	dim = enc->dim;

	if (enc->space == KNN_SPACE_INNER_PRODUCT)
		query->base = enc->centre ? -kernels->inner_product_f32(enc->centre, q, dim) : 0;
	else
		query->base = enc->centre ? kernels->l2_squared_f32(enc->centre, q, dim) :
			kernels->inner_product_f32(q, q, dim);
}

/* Prepare qf, which is a rotated query; the table follows it. */
static void
query_pq(knn_query *query, const knn_encoder *enc, float *qf)
{
	uint32_t	dim = enc->dim;
	float	   *table = qf + KNN_QUERY_ROOM(dim);

	query_pq_centre(query, enc, qf);
	if (enc->space == KNN_SPACE_INNER_PRODUCT)
	{
		query->slope = -1;
		query->norm = sqrtf(enc->kernels->inner_product_f32(qf, qf, dim));
	}
	else
	{
		query->slope = -2;
		for (uint32_t i = 0; i < dim && enc->origin; i++)
			qf[i] -= enc->origin[i];
	}
	knn_rotation_invert(enc->signs, qf, dim);
	knn_pq_table(enc->pq, enc->kernels, qf, table);
	query->table = table;
}

void
knn_query_move_rotated(knn_query *query, const knn_encoder *enc, const void *v,
					   int8_t *q8, float *qf)
{
	if (query->pq)
		query_pq_centre(query, enc, v);
	else
		knn_query_prepare_rotated(query, enc, v, q8, qf);
}

/* Prepare qf, which is a rotated float query. */
static void
query_float(knn_query *query, const knn_encoder *enc, int8_t *q8, float *qf)
{
	if (query->pq)
	{
		query_pq(query, enc, qf);
		return;
	}
	if (enc->signs == NULL)
	{
		subtract_centre(enc, qf);
		query->qf = qf;
		return;
	}
	if (enc->space == KNN_SPACE_INNER_PRODUCT)
	{
		float		offset = 0;

		if (enc->centre)
			offset = -enc->kernels->inner_product_f32(enc->centre, qf, enc->dim);
		query_quantise(query, enc, qf, q8, offset);
		return;
	}
	subtract_centre(enc, qf);
	query_quantise(query, enc, qf, q8, 0);
}

void
knn_query_prepare(knn_query *query, const knn_encoder *enc, const void *v,
				  int8_t *q8, float *qf)
{
	query_common(query, enc);
	if (!knn_encoding_is_float(enc->encoding))
	{
		memcpy(q8, v, knn_code_bytes(enc->encoding, enc->dim));
		query_raw(query, enc, q8);
		return;
	}
	rotate(enc, v, qf);
	query_float(query, enc, q8, qf);
}

void
knn_query_prepare_rotated(knn_query *query, const knn_encoder *enc, const void *v,
						  int8_t *q8, float *qf)
{
	if (!knn_encoding_is_float(enc->encoding))
	{
		knn_query_prepare(query, enc, v, q8, qf);
		return;
	}
	query_common(query, enc);
	memcpy(qf, v, sizeof(float) * enc->dim);
	query_float(query, enc, q8, qf);
}

/*
 * The vector that a code of pq stands for as a query, but for its distance from the
 * centre, which is known better.  (Of a centre that is the origin, as that of a
 * graph.)
 */
static void
query_from_pq(knn_query *query, const knn_encoder *enc, const knn_code_factors *factors,
			  const uint8_t *code, float *qf)
{
	uint8_t		parts[KNN_MAX_DIM];

	knn_pq_unpack(code, enc->pq->m, enc->pq->bits, parts);
	knn_pq_decode(enc->pq, parts, qf);
	for (uint32_t i = 0; i < enc->dim; i++)
		qf[i] *= factors->scale;
	knn_rotation_apply(enc->signs, qf, enc->dim);
	for (uint32_t i = 0; i < enc->dim && enc->centre; i++)
		qf[i] += enc->centre[i];
	query_pq(query, enc, qf);
	if (query->form == KNN_FORM_PQ)
		query->base = factors->norm2;
}

void
knn_query_from_code(knn_query *query, const knn_encoder *enc,
					const knn_code_factors *factors, const uint8_t *code,
					int8_t *q8, float *qf)
{
	uint32_t	dim = enc->dim;
	uint32_t	bits = knn_encoding_bits(enc->encoding);
	float		scale = factors ? factors->scale : 0;
	float		offset = 0;

	query_common(query, enc);
	if (!knn_encoding_is_float(enc->encoding))
	{
		query_raw(query, enc, code);
		return;
	}
	if (query->pq)
	{
		query_from_pq(query, enc, factors, code, qf);
		return;
	}

	if (bits == 8 && query->form == KNN_FORM_L2)
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

	if (bits == 8)
	{
		for (uint32_t i = 0; i < dim; i++)
			qf[i] = scale * (float) ((int) code[i] - 128);
	}
	else
		unpack(code, dim, bits, scale, qf);
	if (query->form == KNN_FORM_DECODED)
	{
		query->qf = qf;
		return;
	}
	if (query->form == KNN_FORM_INNER_PRODUCT && enc->centre)
	{
		for (uint32_t i = 0; i < dim; i++)
			qf[i] += enc->centre[i];
		offset = -enc->kernels->inner_product_f32(enc->centre, qf, dim);
	}
	query_quantise(query, enc, qf, q8, offset);
	/* xbar is scaled for inner products, which makes it longer than r */
	if (query->form == KNN_FORM_L2)
		query->base = factors->norm2;
	/* of low bits the own coding error is the larger one by far */
	query->err += (query->form == KNN_FORM_INNER_PRODUCT ? 1.0f : 2.0f) * factors->err;
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
