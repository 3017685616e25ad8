/*
 * code_query.c
 *		Queries made ready, and distances of codes from them; see code.h.
 */
#include "core/code.h"

#include <string.h>

#include "core/code_impl.h"
#include "core/rotation.h"

/* Codes whose dot products are kept at a time. */
#define DOTS_AT_ONCE 64

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

/* Undo pack() of code.c. */
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
