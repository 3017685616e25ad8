/*
 * test_code.c
 *		Codes: estimates and their bounds against distances in double precision, the
 *		packed layout, and vectors that floating-point numbers can hardly hold.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/code.h"
#include "core/rotation.h"
#include "unit.h"

static const uint32_t dims[] = {32, 100, 128, 768, 1000};
static const knn_encoding rotated[] = {
	KNN_ENCODING_ROTATED_8, KNN_ENCODING_ROTATED_4, KNN_ENCODING_ROTATED_2, KNN_ENCODING_ROTATED_1
};

#define NDIMS (sizeof(dims) / sizeof(dims[0]))

/* Nearly normal, of deviation 1. */
static double
normal(uint64_t *state)
{
	double		sum = 0;

	for (int i = 0; i < 6; i++)
		sum += unit_random_float(state);
	return sum / sqrt(2);
}

/* What an index has of its own, and room for one vector and one query. */
typedef struct Bench
{
	knn_encoder enc;
	uint8_t    *signs;
	float	   *centre;			/* rotated where vectors are */
	float	   *scratch;
	uint8_t    *code;
	int8_t	   *q8;
	float	   *qf;
} Bench;

static Bench
bench_new(uint32_t dim, knn_space space, knn_encoding encoding, uint64_t seed, const float *mean)
{
	Bench		b;

	b.enc = (knn_encoder) {dim, space, encoding, NULL, NULL, knn_kernels_get(), NULL, NULL};
	b.signs = unit_allocate(KNN_ROTATION_SIGN_BYTES(dim));
	b.centre = unit_allocate(sizeof(float) * dim);
	b.scratch = unit_allocate(sizeof(float) * dim);
	b.code = unit_allocate(knn_code_bytes(encoding, dim));
	b.q8 = unit_allocate(KNN_QUERY_ROOM(dim));
	b.qf = unit_allocate(sizeof(float) * KNN_QUERY_ROOM(dim));
	if (knn_encoding_is_float(encoding) && knn_space_rotates(space))
	{
		knn_rotation_init(b.signs, dim, seed);
		b.enc.signs = b.signs;
	}
	if (mean)
	{
		memcpy(b.centre, mean, sizeof(float) * dim);
		if (b.enc.signs)
			knn_rotation_apply(b.signs, b.centre, dim);
		b.enc.centre = b.centre;
	}
	return b;
}

static void
bench_free(Bench *b)
{
	free(b->signs);
	free(b->centre);
	free(b->scratch);
	free(b->code);
	free(b->q8);
	free(b->qf);
}

/* A vector around the mean, with a few large components, as embeddings have. */
static void
draw(float *v, const float *mean, uint32_t dim, knn_space space, uint64_t *state)
{
	for (uint32_t i = 0; i < dim; i++)
		v[i] = (float) (mean[i] + normal(state) * (i % 37 == 5 ? 6 : 1));
	if (knn_space_normalises(space))
		knn_normalise(knn_kernels_get(), v, dim);
}

static double
reference(knn_space space, const float *a, const float *b, uint32_t dim)
{
	double		sum = 0;

	for (uint32_t i = 0; i < dim; i++)
	{
		double		d = (double) a[i] - b[i];

		switch (space)
		{
			case KNN_SPACE_INNER_PRODUCT:
				sum -= (double) a[i] * b[i];
				break;
			case KNN_SPACE_L1:
				sum += fabs(d);
				break;
			case KNN_SPACE_LINF:
				sum = fmax(sum, fabs(d));
				break;
			default:
				sum += d * d;
		}
	}
	return sum;
}

/* ---- estimates and bounds ---- */

typedef struct Tally
{
	long		n;
	long		below;			/* distances less than estimate - bound */
	long		above;
	double		error;			/* in bounds, summed */
	double		bound;
	double		distance;
} Tally;

static void
tally_add(Tally *t, double estimate, double exact, double bound)
{
	/* sums of floats are rounded */
	double		slack = 1e-5 * (fabs(exact) + fabs(estimate)) + 1e-6;

	t->n++;
	t->below += exact < estimate - bound - slack;
	t->above += exact > estimate + bound + slack;
	t->error += estimate - exact;
	t->bound += bound;
	t->distance += fabs(exact);
}

static void
check_tally(const Tally *t, const char *what, uint32_t bits, uint32_t dim, knn_space space)
{
	double		share = (double) (t->below + t->above) / (double) t->n;

	/* 2.5 deviations on both sides are 1.24 % */
	UNIT_CHECK(share < 0.03, "%s, %u bits, dim %u, space %d: %.2f %% of bounds fail",
			   what, bits, dim, space, 100 * share);
	UNIT_CHECK(fabs(t->error) < 0.05 * t->bound, "%s, %u bits, dim %u, space %d: biased by %.3f bounds",
			   what, bits, dim, space, t->error / t->bound);
}

#define NVECTORS 240
#define NQUERIES 12

static void
try_bounds(knn_space space, knn_encoding encoding, uint32_t dim)
{
	uint64_t	state = 77 + dim;
	float	   *mean = unit_allocate(sizeof(float) * dim);
	float	   *centre = unit_allocate(sizeof(float) * dim);
	float	   *vectors = unit_allocate(sizeof(float) * dim * NVECTORS);
	float	   *queries = unit_allocate(sizeof(float) * dim * NQUERIES);
	Tally		direct = {0};
	Tally		pairs = {0};
	uint32_t	bits = knn_encoding_bits(encoding);
	Bench		b = {0};

	for (uint32_t i = 0; i < dim; i++)
		mean[i] = (float) unit_random_float(&state);
	for (uint32_t i = 0; i < NVECTORS; i++)
		draw(vectors + i * dim, mean, dim, space, &state);
	for (uint32_t j = 0; j < dim; j++)
	{
		double		sum = 0;

		for (uint32_t i = 0; i < NVECTORS; i++)
			sum += vectors[i * dim + j];
		centre[j] = (float) (sum / NVECTORS);
	}
	for (uint32_t i = 0; i < NQUERIES; i++)
	{
		draw(queries + i * dim, mean, dim, space, &state);
		/* some near a vector */
		for (uint32_t j = 0; i % 3 == 0 && j < dim; j++)
			queries[i * dim + j] = vectors[i * dim + j] + 0.1f * queries[i * dim + j];
		if (knn_space_normalises(space))
			knn_normalise(knn_kernels_get(), queries + i * dim, dim);
	}

	for (uint32_t i = 0; i < NVECTORS; i++)
	{
		const float *v = vectors + i * dim;
		const float *w = vectors + (i * 7 + 1) % NVECTORS * dim;
		knn_code_factors factors;
		knn_code_factors other;
		uint8_t    *other_code = unit_allocate(knn_code_bytes(encoding, dim));
		knn_query	query;

		/* other rotations for every 30 vectors; the last have no centre */
		if (i % 30 == 0)
		{
			if (i > 0)
				bench_free(&b);
			b = bench_new(dim, space, encoding, 1000 + i, i < NVECTORS / 2 ? centre : NULL);
		}
		knn_encode(&b.enc, v, &factors, b.code, b.scratch);
		for (uint32_t j = 0; j < NQUERIES; j++)
		{
			const float *q = queries + j * dim;

			knn_query_prepare(&query, &b.enc, q, b.q8, b.qf);
			tally_add(&direct, knn_query_score(&query, &factors, b.code),
					  reference(space, q, v, dim), knn_query_error(&query, &factors, 0));
		}
		/* a code as query; without a centre the errors of two codes are alike */
		knn_encode(&b.enc, w, &other, other_code, b.scratch);
		if (v != w && b.enc.centre)
		{
			knn_query_from_code(&query, &b.enc, &other, other_code, b.q8, b.qf);
			tally_add(&pairs, knn_query_score(&query, &factors, b.code),
					  reference(space, w, v, dim), knn_query_error(&query, &factors, 0));
		}
		free(other_code);
	}
	check_tally(&direct, "query", bits, dim, space);
	/* few, and the bound of two errors together is wide */
	UNIT_CHECK((double) (pairs.below + pairs.above) < 0.03 * (double) pairs.n,
			   "pairs, %u bits, dim %u, space %d: %ld of %ld bounds fail", bits, dim, space,
			   pairs.below + pairs.above, pairs.n);
	UNIT_CHECK(fabs(pairs.error) < 0.15 * pairs.bound, "pairs, %u bits, dim %u, space %d: biased by %.3f bounds",
			   bits, dim, space, pairs.error / pairs.bound);
	/* nor is a bound that holds for being wide worth much */
	if (bits == 8 && space == KNN_SPACE_L2)
		UNIT_CHECK(direct.bound < 0.08 * direct.distance, "dim %u, space %d: bounds of %.3f distances",
				   dim, space, direct.bound / direct.distance);
	bench_free(&b);
	free(mean);
	free(centre);
	free(vectors);
	free(queries);
}

static void
test_bounds(void)
{
	static const knn_space spaces[] = {KNN_SPACE_L2, KNN_SPACE_INNER_PRODUCT, KNN_SPACE_COSINE};

	for (int e = 0; e < 4; e++)
	{
		unit_case("code: bounds hold and estimates are unbiased, %u bits", knn_encoding_bits(rotated[e]));
		for (size_t d = 0; d < NDIMS; d++)
		{
			for (int s = 0; s < 3; s++)
				try_bounds(spaces[s], rotated[e], dims[d]);
		}
	}
}

/* L1 and L-infinity: no bound fails. */
static void
test_certain_bounds(void)
{
	static const knn_space spaces[] = {KNN_SPACE_L1, KNN_SPACE_LINF};

	for (int s = 0; s < 2; s++)
	{
		unit_case("code: certain bounds, space %d", spaces[s]);
		for (uint32_t dim = 1; dim <= 1000; dim = dim < 40 ? dim + 1 : dim * 3)
		{
			uint64_t	state = dim;
			float	   *mean = unit_allocate(sizeof(float) * dim);
			float	   *v = unit_allocate(sizeof(float) * dim);
			float	   *q = unit_allocate(sizeof(float) * dim);
			Bench		b;

			for (uint32_t i = 0; i < dim; i++)
				mean[i] = (float) unit_random_float(&state);
			b = bench_new(dim, spaces[s], KNN_ENCODING_ROTATED_8, 1, dim % 2 ? mean : NULL);
			for (int n = 0; n < 50; n++)
			{
				knn_code_factors factors;
				knn_query	query;
				double		exact;
				double		estimate;

				draw(v, mean, dim, spaces[s], &state);
				draw(q, mean, dim, spaces[s], &state);
				knn_encode(&b.enc, v, &factors, b.code, b.scratch);
				knn_query_prepare(&query, &b.enc, q, b.q8, b.qf);
				exact = reference(spaces[s], q, v, dim);
				estimate = knn_query_score(&query, &factors, b.code);
				UNIT_CHECK(fabs(estimate - exact) <= knn_query_error(&query, &factors, 0) + 2e-5 * exact + 1e-6,
						   "dim %u: %g for %g, bound %g", dim, estimate, exact,
						   knn_query_error(&query, &factors, 0));
				UNIT_CHECK(fabs(knn_exact_distance(b.enc.kernels, spaces[s], q, v, dim) - exact) <= 2e-5 * exact,
						   "dim %u: exact distance", dim);
			}
			bench_free(&b);
			free(mean);
			free(v);
			free(q);
		}
	}
}

/* ---- layout ---- */

/* Dimension i of a packed code is in byte i mod n, lowest bits first. */
static int
element(const uint8_t *code, uint32_t i, uint32_t dim, uint32_t bits)
{
	uint32_t	nbytes = (dim * bits + 7) / 8;

	return code[i % nbytes] >> (i / nbytes * bits) & ((1 << bits) - 1);
}

static void
test_layout(void)
{
	for (int e = 0; e < 4; e++)
	{
		uint32_t	bits = knn_encoding_bits(rotated[e]);

		unit_case("code: layout and factors, %u bits", bits);
		for (uint32_t dim = 1; dim <= 1000; dim = dim < 70 ? dim + 1 : dim * 2 + 1)
		{
			uint64_t	state = dim * 3 + 1;
			Bench		b = bench_new(dim, KNN_SPACE_L2, rotated[e], dim, NULL);
			float	   *v = unit_allocate(sizeof(float) * dim);
			float	   *r = unit_allocate(sizeof(float) * dim);
			int		   *xbar = unit_allocate(sizeof(int) * dim);
			knn_code_factors factors;
			knn_code_factors again;
			uint8_t    *code = unit_allocate(knn_code_bytes(rotated[e], dim));
			uint32_t	room = knn_code_bytes(rotated[e], dim) * 8 / bits;
			double		rr = 0;
			double		rx = 0;
			int			wrong = 0;

			UNIT_CHECK(knn_code_bytes(rotated[e], dim) == (dim * bits + 7) / 8, "dim %u", dim);
			for (uint32_t i = 0; i < dim; i++)
				v[i] = (float) normal(&state);
			knn_encode(&b.enc, v, &factors, b.code, b.scratch);
			memcpy(r, v, sizeof(float) * dim);
			knn_rotation_apply(b.signs, r, dim);
			for (uint32_t i = 0; i < dim; i++)
			{
				xbar[i] = bits == 8 ? (int) b.code[i] - 128 :
					2 * element(b.code, i, dim, bits) - ((1 << bits) - 1);
				rr += (double) r[i] * r[i];
				rx += (double) r[i] * xbar[i];
			}
			/* codes are in the order of what they stand for, and of its sign */
			for (uint32_t i = 0; i < dim; i++)
			{
				wrong += (r[i] > 0 && xbar[i] < 0) || (r[i] < 0 && xbar[i] > 0);
				for (uint32_t j = 0; j < i; j++)
					wrong += (r[i] < r[j] && xbar[i] > xbar[j]) || (r[i] > r[j] && xbar[i] < xbar[j]);
			}
			UNIT_CHECK(wrong == 0, "dim %u: %d elements out of order", dim, wrong);
			UNIT_CHECK(fabs(factors.norm2 - rr) <= 1e-5 * rr, "dim %u: norm %g, not %g", dim, factors.norm2, rr);
			UNIT_CHECK(fabs(factors.scale * rx - rr) <= 1e-4 * rr, "dim %u: scale %g", dim, factors.scale);
			for (uint32_t i = dim; bits < 8 && i < room; i++)
				UNIT_CHECK(element(b.code, i, dim, bits) == 0, "dim %u: place %u is not zero", dim, i);

			/* the same vector gives the same code */
			memset(code, 0xA5, knn_code_bytes(rotated[e], dim));
			memset(&again, 0xA5, sizeof(again));
			knn_encode(&b.enc, v, &again, code, b.scratch);
			UNIT_CHECK(memcmp(code, b.code, knn_code_bytes(rotated[e], dim)) == 0 &&
					   memcmp(&again, &factors, sizeof(factors)) == 0, "dim %u: another code", dim);

			/* the estimate is the integer dot product that the layout says */
			{
				knn_query	query;
				double		dot = 0;
				double		expected;
				double		estimate;

				for (uint32_t i = 0; i < dim; i++)
					v[i] = (float) normal(&state);
				knn_query_prepare(&query, &b.enc, v, b.q8, b.qf);
				for (uint32_t i = 0; i < dim; i++)
					dot += (double) xbar[i] * b.q8[i];
				expected = factors.norm2 + query.base + (double) query.slope * factors.scale * dot;
				estimate = knn_query_score(&query, &factors, b.code);
				UNIT_CHECK(fabs(estimate - expected) <= 1e-4 * (factors.norm2 + query.base),
						   "dim %u: %g, not %g", dim, estimate, expected);
			}
			bench_free(&b);
			free(v);
			free(r);
			free(xbar);
			free(code);
		}
	}
}

/* ---- byte and binary ---- */

static void
test_bytes(void)
{
	static const knn_space spaces[] = {
		KNN_SPACE_L2, KNN_SPACE_INNER_PRODUCT, KNN_SPACE_COSINE, KNN_SPACE_L1, KNN_SPACE_LINF
	};

	for (int s = 0; s < 5; s++)
	{
		unit_case("code: byte vectors are exact, space %d", spaces[s]);
		for (uint32_t dim = 1; dim <= KNN_MAX_DIM; dim = dim < 70 ? dim + 1 : dim == 70 ? 1000 : dim * 4)
		{
			uint64_t	state = dim + 5;
			Bench		b = bench_new(dim, spaces[s], KNN_ENCODING_BYTE, 1, NULL);
			int8_t	   *v = unit_allocate(dim);
			int8_t	   *q = unit_allocate(dim);
			float	   *vf = unit_allocate(sizeof(float) * dim);
			float	   *qf = unit_allocate(sizeof(float) * dim);

			UNIT_CHECK(knn_code_bytes(KNN_ENCODING_BYTE, dim) == dim, "dim %u", dim);
			for (int n = 0; n < 6; n++)
			{
				knn_code_factors factors;
				knn_query	query;
				knn_query	pair;
				double		exact;
				double		vv = 0;
				double		qq = 0;
				float		score;

				for (uint32_t i = 0; i < dim; i++)
				{
					/* all lowest, all highest, one of both, any */
					v[i] = (int8_t) (n == 0 ? -128 : n == 1 ? 127 : (int) (unit_random(&state) >> 40) % 128);
					q[i] = (int8_t) (n == 0 || n == 1 ? -128 : (int) (unit_random(&state) >> 40) % 128);
					vf[i] = v[i];
					qf[i] = q[i];
					vv += vf[i] * (double) vf[i];
					qq += qf[i] * (double) qf[i];
				}
				knn_encode(&b.enc, v, &factors, b.code, NULL);
				UNIT_CHECK(memcmp(b.code, v, dim) == 0, "dim %u: a byte vector is not its code", dim);
				knn_query_prepare(&query, &b.enc, q, b.q8, b.qf);
				exact = spaces[s] == KNN_SPACE_COSINE ?
					2 + 2 * reference(KNN_SPACE_INNER_PRODUCT, vf, qf, dim) / sqrt(vv * qq) :
					reference(spaces[s], qf, vf, dim);
				if (spaces[s] == KNN_SPACE_COSINE && !(vv * qq > 0))
					exact = 2;
				score = knn_query_score(&query, knn_code_has_factors(KNN_ENCODING_BYTE, spaces[s]) ? &factors : NULL, b.code);
				UNIT_CHECK(spaces[s] == KNN_SPACE_COSINE ? fabs(score - exact) <= 1e-6 : score == (float) exact,
						   "dim %u: %.9g, not %.9g", dim, score, exact);
				UNIT_CHECK(knn_query_error(&query, NULL, 0) == 0, "dim %u: an exact distance has a bound", dim);
				knn_query_from_code(&pair, &b.enc, NULL, (const uint8_t *) q, b.q8, b.qf);
				UNIT_CHECK(knn_query_score(&pair, &factors, b.code) == score, "dim %u: pair", dim);
			}
			bench_free(&b);
			free(v);
			free(q);
			free(vf);
			free(qf);
		}
	}
}

static void
test_binary(void)
{
	unit_case("code: binary vectors are exact");
	for (uint32_t dim = 8; dim <= KNN_MAX_DIM; dim = dim < 600 ? dim + 8 : dim == 600 ? KNN_MAX_DIM / 2 : dim * 2)
	{
		uint64_t	state = dim;
		uint32_t	nbytes = dim / 8;
		Bench		b = bench_new(dim, KNN_SPACE_HAMMING, KNN_ENCODING_BINARY, 1, NULL);
		uint8_t    *v = unit_allocate(nbytes);
		uint8_t    *q = unit_allocate(nbytes);
		knn_code_factors factors;
		knn_query	query;
		uint32_t	exact = 0;

		UNIT_CHECK(knn_code_bytes(KNN_ENCODING_BINARY, dim) == nbytes, "dim %u", dim);
		UNIT_CHECK(!knn_code_has_factors(KNN_ENCODING_BINARY, KNN_SPACE_HAMMING), "factors");
		for (uint32_t i = 0; i < nbytes; i++)
		{
			v[i] = (uint8_t) (unit_random(&state) >> 32);
			q[i] = (uint8_t) (unit_random(&state) >> 32);
			exact += (uint32_t) __builtin_popcount(v[i] ^ q[i]);
		}
		knn_encode(&b.enc, v, &factors, b.code, NULL);
		knn_query_prepare(&query, &b.enc, q, b.q8, b.qf);
		UNIT_CHECK(knn_query_score(&query, NULL, b.code) == (float) exact, "dim %u: not %u", dim, exact);
		UNIT_CHECK(knn_query_error(&query, NULL, 0) == 0, "dim %u: an exact distance has a bound", dim);
		knn_query_from_code(&query, &b.enc, NULL, q, b.q8, b.qf);
		UNIT_CHECK(knn_query_score(&query, NULL, b.code) == (float) exact, "dim %u: pair, not %u", dim, exact);
		bench_free(&b);
		free(v);
		free(q);
	}
}

/* ---- vectors that numbers can hardly hold ---- */

static void
test_extremes(void)
{
	static const float magnitudes[] = {
		0, 1e-45f, 1e-40f, 1e-38f, 1e-30f, 1e-20f, 1e-15f, 1, 1e10f, 1e18f, 1e19f, 1e25f, 1e36f, 3.4e38f
	};
	static const knn_space spaces[] = {
		KNN_SPACE_L2, KNN_SPACE_INNER_PRODUCT, KNN_SPACE_COSINE, KNN_SPACE_L1, KNN_SPACE_LINF
	};
	static const uint32_t few[] = {1, 2, 3, 8, 100, 768};

	unit_case("code: no vector gives a factor that is no number");
	for (int e = 0; e < 4; e++)
	{
		for (int s = 0; s < (e == 0 ? 5 : 3); s++)
		{
			for (size_t d = 0; d < sizeof(few) / sizeof(few[0]); d++)
			{
				uint32_t	dim = few[d];
				uint64_t	state = 9;
				Bench		b = bench_new(dim, spaces[s], rotated[e], 5, NULL);
				float	   *v = unit_allocate(sizeof(float) * dim);
				float	   *q = unit_allocate(sizeof(float) * dim);

				for (size_t m = 0; m < sizeof(magnitudes) / sizeof(magnitudes[0]); m++)
				{
					for (int shape = 0; shape < 3; shape++)
					{
						knn_code_factors factors;
						knn_query	query;
						bool		small = magnitudes[m] < 1e17f;
						float		score;

						/* one component, all equal, any */
						for (uint32_t i = 0; i < dim; i++)
						{
							v[i] = shape == 0 ? (i == 0 ? magnitudes[m] : 0) :
								magnitudes[m] * (shape == 1 ? 1 : (float) unit_random_float(&state));
							q[i] = (float) unit_random_float(&state);
						}
						if (knn_space_normalises(spaces[s]) && !knn_normalise(b.enc.kernels, v, dim))
							continue;
						knn_encode(&b.enc, v, &factors, b.code, b.scratch);
						UNIT_CHECK(!isnan(factors.norm2) && !isnan(factors.scale) && !isnan(factors.err) &&
								   factors.norm2 >= 0 && factors.err >= 0,
								   "%u bits, dim %u, space %d, magnitude %g, shape %d: factors %g, %g, %g",
								   knn_encoding_bits(rotated[e]), dim, spaces[s], magnitudes[m], shape,
								   factors.norm2, factors.scale, factors.err);
						/* as query and as code */
						knn_query_prepare(&query, &b.enc, q, b.q8, b.qf);
						score = knn_query_score(&query, &factors, b.code);
						UNIT_CHECK(!small || (isfinite(score) && isfinite(knn_query_error(&query, &factors, 0))),
								   "%u bits, dim %u, space %d, magnitude %g, shape %d: %g, bound %g",
								   knn_encoding_bits(rotated[e]), dim, spaces[s], magnitudes[m], shape,
								   score, knn_query_error(&query, &factors, 0));
						knn_query_prepare(&query, &b.enc, v, b.q8, b.qf);
						score = knn_query_score(&query, &factors, b.code);
						UNIT_CHECK(!small || (isfinite(score) && isfinite(knn_query_error(&query, &factors, 0))),
								   "%u bits, dim %u, space %d, magnitude %g, shape %d: itself %g, bound %g",
								   knn_encoding_bits(rotated[e]), dim, spaces[s], magnitudes[m], shape,
								   score, knn_query_error(&query, &factors, 0));
						knn_query_from_code(&query, &b.enc, &factors, b.code, b.q8, b.qf);
						score = knn_query_score(&query, &factors, b.code);
						UNIT_CHECK(!small || isfinite(score), "%u bits, dim %u, space %d, magnitude %g: pair %g",
								   knn_encoding_bits(rotated[e]), dim, spaces[s], magnitudes[m], score);
					}
				}
				/* a vector at the centre */
				bench_free(&b);
				b = bench_new(dim, spaces[s], rotated[e], 5, q);
				{
					knn_code_factors factors;
					knn_query	query;

					knn_encode(&b.enc, q, &factors, b.code, b.scratch);
					knn_query_prepare(&query, &b.enc, v, b.q8, b.qf);
					UNIT_CHECK(!isnan(factors.norm2) && !isnan(factors.scale) && !isnan(factors.err),
							   "dim %u: the centre", dim);
				}
				bench_free(&b);
				free(v);
				free(q);
			}
		}
	}

	unit_case("code: normalising");
	for (size_t m = 0; m < sizeof(magnitudes) / sizeof(magnitudes[0]); m++)
	{
		float		v[3] = {magnitudes[m], -magnitudes[m], 0};
		bool		ok = knn_normalise(knn_kernels_get(), v, 3);

		UNIT_CHECK(ok == (magnitudes[m] > 0), "magnitude %g", magnitudes[m]);
		if (ok)
			UNIT_CHECK(fabs(v[0] - sqrt(0.5)) < 1e-6 && fabs(v[1] + sqrt(0.5)) < 1e-6 && v[2] == 0,
					   "magnitude %g: %g, %g", magnitudes[m], v[0], v[1]);
	}
}

int
main(void)
{
	test_bounds();
	test_certain_bounds();
	test_layout();
	test_bytes();
	test_binary();
	test_extremes();
	return unit_done("test_code");
}
