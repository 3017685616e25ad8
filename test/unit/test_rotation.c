/*
 * test_rotation.c
 *		The rotation against its definition, and its results for all time.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/distance.h"
#include "core/rotation.h"
#include "unit.h"

static const uint32_t big_dims[] = {96, 100, 127, 128, 129, 255, 257, 384, 768, 1000, 1024, 1536, 4097, 16000};

#define NBIG (sizeof(big_dims) / sizeof(big_dims[0]))

/* dims 1..70, then the big ones, then 0 */
static uint32_t
nth_dim(uint32_t n)
{
	return n < 70 ? n + 1 : n - 70 < NBIG ? big_dims[n - 70] : 0;
}

static double
dot(const float *a, const float *b, uint32_t dim)
{
	double		sum = 0;

	for (uint32_t i = 0; i < dim; i++)
		sum += (double) a[i] * b[i];
	return sum;
}

static void
test_preserves(void)
{
	uint64_t	state = 1;

	unit_case("rotation: keeps norms and inner products");
	for (uint32_t n = 0, dim; (dim = nth_dim(n)) != 0; n++)
	{
		uint8_t    *signs = unit_allocate(KNN_ROTATION_SIGN_BYTES(dim));
		float	   *a = unit_allocate(sizeof(float) * dim);
		float	   *b = unit_allocate(sizeof(float) * dim);
		double		aa,
					bb,
					ab,
					limit;

		for (uint32_t i = 0; i < dim; i++)
		{
			a[i] = (float) unit_random_float(&state);
			b[i] = (float) unit_random_float(&state) * (i % 7 == 0 ? 30 : 1);
		}
		aa = dot(a, a, dim);
		bb = dot(b, b, dim);
		ab = dot(a, b, dim);
		limit = 1e-5 * sqrt(aa * bb);

		knn_rotation_init(signs, dim, dim * 31);
		knn_rotation_apply(signs, a, dim);
		knn_rotation_apply(signs, b, dim);

		UNIT_CHECK(fabs(dot(a, a, dim) - aa) <= 1e-5 * aa, "dim %u: %.9g became %.9g", dim, aa, dot(a, a, dim));
		UNIT_CHECK(fabs(dot(b, b, dim) - bb) <= 1e-5 * bb, "dim %u: %.9g became %.9g", dim, bb, dot(b, b, dim));
		UNIT_CHECK(fabs(dot(a, b, dim) - ab) <= limit, "dim %u: %.9g became %.9g", dim, ab, dot(a, b, dim));

		free(signs);
		free(a);
		free(b);
	}
}

/* The same rotation in double precision, straight from rotation.h. */
static void
reference(const uint8_t *signs, double *v, uint32_t dim)
{
	double	   *t = unit_allocate(sizeof(double) * dim);
	uint32_t	n = 1;

	while (n * 2 <= dim)
		n *= 2;

	for (int round = 0; round < KNN_ROTATION_ROUNDS; round++)
	{
		double	   *w = round % 2 == 0 ? v : v + (dim - n);
		uint32_t	half = dim / 2;

		for (uint32_t i = 0; i < dim; i++)
		{
			if ((signs[round * ((dim + 7) / 8) + i / 8] >> (i % 8)) & 1)
				v[i] = -v[i];
		}
		for (uint32_t i = 0; i < n; i++)
		{
			t[i] = 0;
			for (uint32_t j = 0; j < n; j++)
				t[i] += __builtin_parity(i & j) ? -w[j] : w[j];
		}
		for (uint32_t i = 0; i < n; i++)
			w[i] = t[i] / sqrt(n);
		if (n == dim || round % 2 == 0)
			continue;
		for (uint32_t i = 0; i < half; i++)
		{
			double		a = v[i],
						b = v[i + dim - half];

			v[i] = (a + b) / sqrt(2);
			v[i + dim - half] = (a - b) / sqrt(2);
		}
	}
	free(t);
}

static void
test_reference(void)
{
	uint64_t	state = 2;

	unit_case("rotation: agrees with its definition");
	for (uint32_t n = 0, dim; (dim = nth_dim(n)) != 0; n++)
	{
		uint8_t    *signs = unit_allocate(KNN_ROTATION_SIGN_BYTES(dim));
		float	   *v = unit_allocate(sizeof(float) * dim);
		double	   *r = unit_allocate(sizeof(double) * dim);
		double		error = 0;

		/* the definition costs dim^2 */
		if (dim > 2000)
		{
			free(signs);
			free(v);
			free(r);
			continue;
		}
		for (uint32_t i = 0; i < dim; i++)
			r[i] = v[i] = (float) unit_random_float(&state);
		knn_rotation_init(signs, dim, dim + 5);
		knn_rotation_apply(signs, v, dim);
		reference(signs, r, dim);
		for (uint32_t i = 0; i < dim; i++)
			error = fmax(error, fabs(v[i] - r[i]));
		UNIT_CHECK(error <= 3e-6, "dim %u: off by %g", dim, error);

		free(signs);
		free(v);
		free(r);
	}
}

static uint64_t
fnv1a(uint64_t hash, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/*
 * The results bit for bit.  These values must never change: indexes on disk
 * hold vectors rotated by the code that gave them.
 */
static void
test_golden(void)
{
	static const struct
	{
		uint32_t	dim;
		uint64_t	signs;
		uint64_t	result;
	}			golden[] = {
		{1, UINT64_C(0xee65f237e38264ed), UINT64_C(0xe389df2612128d52)},
		{7, UINT64_C(0xee65f237e38264ed), UINT64_C(0x53015610371b8a75)},
		{64, UINT64_C(0x0f87a67d5ca307b2), UINT64_C(0x384c7b0518e8c084)},
		{100, UINT64_C(0x35e2d2d47b451c5d), UINT64_C(0x7d2c66265c33088b)},
		{768, UINT64_C(0xf9f5087c7d70ac8f), UINT64_C(0xb1003f62525c8a4a)}
	};
	uint8_t		first[KNN_ROTATION_SIGN_BYTES(16)];

	unit_case("rotation: signs are splitmix64 of the seed");
	knn_rotation_init(first, 16, 0);
	/* e220a8397b1dcdaf is the first output of splitmix64 for the seed 0 */
	UNIT_CHECK(memcmp(first, "\xaf\xcd\x1d\x7b\x39\xa8\x20\xe2", 8) == 0, "other first word");

	unit_case("rotation: results are the same for all time");
	for (size_t g = 0; g < sizeof(golden) / sizeof(golden[0]); g++)
	{
		uint32_t	dim = golden[g].dim;
		uint8_t    *signs = unit_allocate(KNN_ROTATION_SIGN_BYTES(dim));
		float	   *v = unit_allocate(sizeof(float) * dim);
		uint64_t	state = 3;
		uint64_t	hash = UINT64_C(0xcbf29ce484222325);
		uint64_t	signs_hash;

		/* the same floats everywhere: 24-bit integers, scaled exactly */
		for (uint32_t i = 0; i < dim; i++)
			v[i] = (float) ((int32_t) (unit_random(&state) >> 40) - 0x800000) * 0x1p-20f;
		knn_rotation_init(signs, dim, UINT64_C(0x6b6e6e));
		knn_rotation_apply(signs, v, dim);

		signs_hash = fnv1a(hash, signs, KNN_ROTATION_SIGN_BYTES(dim));
		for (uint32_t i = 0; i < dim; i++)
		{
			uint32_t	bits;
			uint8_t		bytes[4];

			memcpy(&bits, &v[i], 4);
			for (int b = 0; b < 4; b++)
				bytes[b] = (uint8_t) (bits >> (8 * b));
			hash = fnv1a(hash, bytes, 4);
		}
		UNIT_CHECK(signs_hash == golden[g].signs && hash == golden[g].result,
				   "{%u, UINT64_C(0x%016llx), UINT64_C(0x%016llx)},", dim,
				   (unsigned long long) signs_hash, (unsigned long long) hash);
		free(signs);
		free(v);
	}
}

/*
 * The image of a unit vector must look like noise: components near
 * 1 / sqrt(dim), none much above.  Over all unit vectors and components the
 * largest of so many normal deviates is expected around 5 / sqrt(dim).
 */
static void
test_spreads(void)
{
	unit_case("rotation: spreads energy");
	for (uint32_t n = 0, dim; (dim = nth_dim(n)) != 0; n++)
	{
		uint8_t    *signs = unit_allocate(KNN_ROTATION_SIGN_BYTES(dim));
		float	   *v = unit_allocate(sizeof(float) * dim);
		float		max = 0;
		uint32_t	step = dim > 2000 ? 97 : 1;

		knn_rotation_init(signs, dim, 42);
		for (uint32_t hot = 0; dim >= 64 && hot < dim; hot += step)
		{
			memset(v, 0, sizeof(float) * dim);
			v[hot] = 1;
			knn_rotation_apply(signs, v, dim);
			for (uint32_t i = 0; i < dim; i++)
				max = fmaxf(max, fabsf(v[i]));
		}
		UNIT_CHECK(max <= 6.5 / sqrt(dim), "dim %u: a component of %g, %.2f / sqrt(dim)",
				   dim, max, max * sqrt(dim));
		free(signs);
		free(v);
	}
}

/* Different seeds give different rotations, equal ones equal rotations. */
static void
test_seeds(void)
{
	uint8_t		a[KNN_ROTATION_SIGN_BYTES(768)],
				b[KNN_ROTATION_SIGN_BYTES(768)];

	unit_case("rotation: seeds");
	knn_rotation_init(a, 768, 7);
	knn_rotation_init(b, 768, 7);
	UNIT_CHECK(memcmp(a, b, sizeof(a)) == 0, "the same seed gave other signs");
	knn_rotation_init(b, 768, 8);
	UNIT_CHECK(memcmp(a, b, sizeof(a)) != 0, "another seed gave the same signs");
}

int
main(void)
{
	test_preserves();
	test_reference();
	test_golden();
	test_spreads();
	test_seeds();
	return unit_done("test_rotation");
}
