/*
 * test_pq.c
 *		Product quantization: kernels, packing, coding, learning, estimates.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/code.h"
#include "core/pq.h"
#include "core/rotation.h"
#include "unit.h"

static uint64_t state = 4711;

static uint32_t
any(uint32_t below)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t) ((state >> 33) % below);
}

/* near enough to normal */
static float
noise(void)
{
	float		sum = 0;

	for (int i = 0; i < 6; i++)
		sum += (float) any(1000) / 1000.0f - 0.5f;
	return sum * 1.414f;
}

/* ---- kernels ---- */

static void
test_kernels(const char *name)
{
	const knn_kernels *kernels = knn_kernels_by_name(name);
	const knn_kernels *scalar = knn_kernels_by_name("scalar");

	unit_case("pq: kernels of %s", name);
	if (!kernels)
		return;
	for (uint32_t m = 1; m <= 67; m += m < 20 ? 1 : 9)
	{
		for (uint32_t shift = 1; shift <= 8; shift++)
		{
			float	   *table = malloc(sizeof(float) * ((size_t) m << shift));
			uint8_t    *bytes = malloc((size_t) m * 5);
			const uint8_t *codes[5];
			float		got[5];
			float		expected[5];
			float		alone;

			for (size_t i = 0; i < (size_t) m << shift; i++)
				table[i] = noise();
			for (uint32_t i = 0; i < 5 * m; i++)
				bytes[i] = (uint8_t) any(1u << shift);
			for (uint32_t i = 0; i < 5; i++)
				codes[i] = bytes + (size_t) m * i;
			for (uint32_t n = 0; n <= 5; n++)
			{
				memset(got, 0, sizeof(got));
				kernels->lookups_f32(codes, n, table, m, shift, got);
				scalar->lookups_f32(codes, n, table, m, shift, expected);
				for (uint32_t i = 0; i < n; i++)
				{
					UNIT_CHECK(fabsf(got[i] - expected[i]) <= 1e-5f * (float) (m + 1),
							   "m %u, shift %u, code %u: %g, not %g", m, shift, i, got[i], expected[i]);
					kernels->lookups_f32(codes + i, 1, table, m, shift, &alone);
					UNIT_CHECK(alone == got[i], "m %u, shift %u, code %u: it depends on the others", m, shift, i);
				}
				UNIT_CHECK(n == 5 || got[n] == 0, "m %u: writes beyond", m);
			}
			free(table);
			free(bytes);
		}
	}
	for (uint32_t nv = 1; nv <= 9; nv += 4)
	{
		for (uint32_t width = 1; width <= 300; width += width < 40 ? 1 : 23)
		{
			float	   *v = malloc(sizeof(float) * nv);
			float	   *rows = malloc(sizeof(float) * nv * width);
			float	   *got = malloc(sizeof(float) * width);
			float	   *expected = malloc(sizeof(float) * width);

			for (uint32_t i = 0; i < nv; i++)
				v[i] = noise();
			for (uint32_t i = 0; i < nv * width; i++)
				rows[i] = noise();
			kernels->products_f32(v, nv, rows, width, got);
			scalar->products_f32(v, nv, rows, width, expected);
			for (uint32_t i = 0; i < width; i++)
				UNIT_CHECK(fabsf(got[i] - expected[i]) <= 1e-4f, "%u of %u, %u rows: %g, not %g",
						   i, width, nv, got[i], expected[i]);
			free(v);
			free(rows);
			free(got);
			free(expected);
		}
	}
}

static void
test_packing(void)
{
	unit_case("pq: packing");
	for (uint32_t bits = 1; bits <= 8; bits++)
	{
		for (uint32_t m = 1; m <= 40; m++)
		{
			uint32_t	size = knn_pq_code_bytes(m, bits);
			uint8_t    *code = malloc(size);
			uint8_t		parts[40];
			uint8_t		back[40];

			for (uint32_t i = 0; i < m; i++)
				parts[i] = (uint8_t) any(1u << bits);
			memset(code, 0xA5, size);
			knn_pq_pack(parts, m, bits, code);
			knn_pq_unpack(code, m, bits, back);
			UNIT_CHECK(memcmp(parts, back, m) == 0, "%u parts of %u bits", m, bits);
			/* the bit that faiss has at this place */
			for (uint32_t i = 0; i < m * bits; i++)
				UNIT_CHECK((code[i / 8] >> i % 8 & 1) == (parts[i / bits] >> i % bits & 1),
						   "%u parts of %u bits: bit %u", m, bits, i);
			free(code);
		}
	}
}

static void
test_rotation_back(void)
{
	unit_case("pq: the rotation's way back");
	for (uint32_t dim = 1; dim <= 200; dim++)
	{
		uint8_t		signs[KNN_ROTATION_SIGN_BYTES(200)];
		float		v[200];
		float		w[200];

		knn_rotation_init(signs, dim, dim);
		for (uint32_t i = 0; i < dim; i++)
			w[i] = v[i] = noise();
		knn_rotation_apply(signs, w, dim);
		knn_rotation_invert(signs, w, dim);
		for (uint32_t i = 0; i < dim; i++)
			UNIT_CHECK(fabsf(v[i] - w[i]) < 1e-4f, "dim %u: element %u is %g, not %g", dim, i, w[i], v[i]);
	}
}

static void
test_least(void)
{
	unit_case("pq: the least of many");
	for (uint32_t n = 1; n <= 256; n++)
	{
		float		norms[256];
		float		products[256];
		uint32_t	expected = 0;

		for (uint32_t k = 0; k < n; k++)
		{
			norms[k] = (float) any(20);	/* so that some are equal */
			products[k] = (float) any(20);
			if (norms[k] - 2 * products[k] < norms[expected] - 2 * products[expected])
				expected = k;
		}
		UNIT_CHECK(knn_pq_least(norms, products, n) == expected, "of %u: %u, not %u", n,
				   knn_pq_least(norms, products, n), expected);
	}
}

/* ---- estimates ---- */

#define DIM 32
#define NVECTORS 3000

/*
 * Vectors with a few large dimensions around centres: estimates are unbiased, bounds
 * hold but for a few, and a query that moves is as one that is prepared.
 */
static void
test_estimates(uint32_t bits, knn_space space)
{
	uint32_t	m = 8;
	float	   *vectors = malloc(sizeof(float) * DIM * NVECTORS);
	float	   *memory = malloc(sizeof(float) * knn_pq_floats(DIM, m, bits));
	float		origin[DIM];
	float		centre[DIM];
	float		scratch[DIM];
	uint8_t		signs[KNN_ROTATION_SIGN_BYTES(DIM)];
	uint8_t		code[DIM];
	knn_pq		pq;
	knn_encoder enc = {.dim = DIM,.space = space,.encoding = KNN_ENCODING_PQ};
	float	   *qf;
	int8_t		q8[KNN_QUERY_ROOM(DIM)];
	double		error = 0;
	double		distances = 0;
	double		failed = 0;
	double		tested = 0;

	unit_case("pq: estimates, %u bits, space %d", bits, (int) space);
	knn_rotation_init(signs, DIM, 7);
	for (uint32_t i = 0; i < DIM; i++)
	{
		origin[i] = 3 + noise();
		centre[i] = origin[i] + 0.5f * noise();
	}
	for (uint32_t i = 0; i < DIM * NVECTORS; i++)
		vectors[i] = noise() * (i % DIM < 4 ? 3.0f : 1.0f);
	knn_pq_init(&pq, DIM, m, bits, memory);
	UNIT_CHECK(knn_pq_train(&pq, vectors, NVECTORS, 1, &knn_malloc_allocator, NULL) == KNN_OK, "train");
	/* vectors are about the centre, which is kept rotated */
	for (uint32_t i = 0; i < DIM * NVECTORS; i++)
		vectors[i] += centre[i % DIM];
	knn_rotation_apply(signs, origin, DIM);
	knn_rotation_apply(signs, centre, DIM);
	enc.signs = signs;
	enc.kernels = knn_kernels_get();
	enc.pq = &pq;
	enc.origin = origin;
	qf = malloc(sizeof(float) * knn_query_floats(&enc));
	for (uint32_t j = 0; j < 40; j++)
	{
		const float *q = vectors + DIM * any(NVECTORS);
		knn_query	query;
		float		rotated[DIM];

		/* prepared about another centre first */
		knn_encoder_rotate(&enc, q, rotated);
		enc.centre = origin;
		knn_query_prepare_rotated(&query, &enc, rotated, q8, qf);
		enc.centre = centre;
		knn_query_move_rotated(&query, &enc, rotated, q8, qf);
		for (uint32_t i = 0; i < 200; i++)
		{
			const float *v = vectors + DIM * any(NVECTORS);
			float		exact = knn_exact_distance(enc.kernels, space, q, v, DIM);
			const uint8_t *codes = code;
			const knn_code_factors *places;
			knn_code_factors factors;
			float		estimate;
			float		together;
			float		bound;

			knn_encode(&enc, v, &factors, code, scratch);
			estimate = knn_query_score(&query, &factors, code);
			places = &factors;
			knn_query_scores(&query, &places, &codes, 1, &together);
			UNIT_CHECK(together == estimate, "alone %g, with others %g", estimate, together);
			bound = knn_query_error(&query, &factors, estimate);
			failed += exact < estimate - bound - 1e-3f * fabsf(exact);
			error += estimate - exact;
			distances += fabsf(exact);
			tested++;
		}
	}
	UNIT_CHECK(fabs(error) < 0.05 * distances, "biased by %g of %g", error / tested, distances / tested);
	UNIT_CHECK(failed < 0.02 * tested, "%g of %g bounds fail", failed, tested);
	free(vectors);
	free(memory);
	free(qf);
}

/* Codebooks of clusters are the clusters, and vectors at the centre are harmless. */
static void
test_training(void)
{
	float		sample[4 * 400];
	float		memory[1000];
	float		words[4];
	uint8_t		parts[2];
	knn_pq		pq;
	double		lost = 0;

	unit_case("pq: training");
	for (uint32_t i = 0; i < 400; i++)
	{
		for (uint32_t d = 0; d < 4; d++)
			sample[4 * i + d] = (float) (int) any(2) * 10.0f + 0.01f * noise();
	}
	knn_pq_init(&pq, 4, 2, 3, memory);
	UNIT_CHECK(knn_pq_train(&pq, sample, 400, 3, &knn_malloc_allocator, NULL) == KNN_OK, "train");
	for (uint32_t i = 0; i < 400; i++)
	{
		knn_pq_nearest(&pq, knn_kernels_get(), sample + 4 * i, parts);
		knn_pq_decode(&pq, parts, words);
		for (uint32_t d = 0; d < 4; d++)
			lost += (words[d] - sample[4 * i + d]) * (words[d] - sample[4 * i + d]);
	}
	UNIT_CHECK(lost / 400 < 0.1, "clusters are missed by %g", lost / 400);

	memset(sample, 0, sizeof(sample));
	UNIT_CHECK(knn_pq_train(&pq, sample, 400, 3, &knn_malloc_allocator, NULL) == KNN_OK, "train");
	UNIT_CHECK(pq.share == 1.0f, "equal vectors: share %g", pq.share);
}

int
main(void)
{
	test_kernels("scalar");
	test_kernels("avx2");
	test_kernels("avx512");
	test_kernels("neon");
	test_packing();
	test_rotation_back();
	test_least();
	test_training();
	for (uint32_t bits = 1; bits <= 8; bits++)
	{
		test_estimates(bits, KNN_SPACE_L2);
		test_estimates(bits, KNN_SPACE_INNER_PRODUCT);
	}
	return unit_done("test_pq");
}
