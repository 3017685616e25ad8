/*
 * bench_distance.c
 *		Nanoseconds per call of every kernel and of the rotation.
 *
 * One argument stays the same, as a query does, and the other walks over a few
 * vectors that stay in the first level cache: what is measured is the kernel,
 * not memory.  The best of several runs is printed.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/distance.h"
#include "core/rotation.h"
#include "unit.h"

static const char *const implementations[] = {"scalar", "avx2", "avx512", "neon", "dotprod"};
static const uint32_t dims[] = {128, 384, 768, 1536};

#define NDIMS 4
#define NVECTORS 4
#define NRUNS 7
#define RUN_NS 2e6

static float floats[NVECTORS + 1][1536] __attribute__((aligned(64)));
static knn_half halves[NVECTORS + 1][1536] __attribute__((aligned(64)));
static uint8_t bytes[NVECTORS + 1][1536] __attribute__((aligned(64)));
static uint8_t signs[KNN_ROTATION_SIGN_BYTES(1536)];
static volatile float sink;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec * 1e9 + (double) t.tv_nsec;
}

/* Evaluate expr, which may use i, dim and k, many times; the ns of one. */
#define TIME(expr) \
	({ \
		double		best = 1e30; \
		long		calls = 64; \
\
		for (int run = 0; run < NRUNS; ) \
		{ \
			double		start = now(), \
						took; \
\
			for (long c = 0; c < calls; c++) \
			{ \
				uint32_t	i = (uint32_t) c % NVECTORS; \
\
				sink = (float) (expr); \
			} \
			took = now() - start; \
			if (took < RUN_NS) \
			{ \
				calls *= 2; \
				continue; \
			} \
			if (took / (double) calls < best) \
				best = took / (double) calls; \
			run++; \
		} \
		best; \
	})

#define LINE(label, expr) \
	do { \
		printf("%-8s %-22s", k->name, label); \
		for (int d = 0; d < NDIMS; d++) \
		{ \
			uint32_t	dim = dims[d]; \
\
			printf(" %8.1f", TIME(expr)); \
		} \
		printf("\n"); \
	} while (0)

#define Q NVECTORS
#define S8(i) ((const int8_t *) bytes[i])

static int32_t
dots_of_four(const knn_kernels *k, int first, uint32_t dim)
{
	const uint8_t *codes[4];
	int32_t		dots[4];

	for (int i = 0; i < 4; i++)
		codes[i] = bytes[(first + i) % NVECTORS];
	k->dots_u8s8(codes, 4, S8(Q), dim, dots);
	return dots[0] + dots[1] + dots[2] + dots[3];
}

static void
bench(const knn_kernels *k)
{
	LINE("l2_squared_f32", k->l2_squared_f32(floats[i], floats[Q], dim));
	LINE("inner_product_f32", k->inner_product_f32(floats[i], floats[Q], dim));
	LINE("l1_f32", k->l1_f32(floats[i], floats[Q], dim));
	LINE("linf_f32", k->linf_f32(floats[i], floats[Q], dim));
	LINE("l2_squared_f16", k->l2_squared_f16(halves[i], halves[Q], dim));
	LINE("inner_product_f16", k->inner_product_f16(halves[i], halves[Q], dim));
	LINE("l1_f16", k->l1_f16(halves[i], halves[Q], dim));
	LINE("linf_f16", k->linf_f16(halves[i], halves[Q], dim));
	LINE("l2_squared_f32f16", k->l2_squared_f32f16(floats[i], halves[Q], dim));
	LINE("inner_product_f32f16", k->inner_product_f32f16(floats[i], halves[Q], dim));
	LINE("l2_squared_s8", k->l2_squared_s8(S8(i), S8(Q), dim));
	LINE("inner_product_s8", k->inner_product_s8(S8(i), S8(Q), dim));
	LINE("l1_s8", k->l1_s8(S8(i), S8(Q), dim));
	LINE("linf_s8", k->linf_s8(S8(i), S8(Q), dim));
	LINE("hamming (bits)", k->hamming(bytes[i], bytes[Q], dim / 8));
	LINE("hamming (bytes)", k->hamming(bytes[i], bytes[Q], dim));
	LINE("dot_u8s8", k->dot_u8s8(bytes[i], S8(Q), dim));
	LINE("dots_u8s8 (4)", dots_of_four(k, i, dim));
	LINE("dot_u4s8", k->dot_u4s8(bytes[i], S8(Q), dim / 2));
	LINE("dot_u2s8", k->dot_u2s8(bytes[i], S8(Q), dim / 4));
	LINE("dot_u1s8", k->dot_u1s8(bytes[i], S8(Q), dim / 8));
	LINE("sum_u8", k->sum_u8(bytes[i], dim));
	LINE("l1_u8f32", k->l1_u8f32(bytes[i], floats[Q], 0.5f, -1.0f, dim));
	LINE("linf_u8f32", k->linf_u8f32(bytes[i], floats[Q], 0.5f, -1.0f, dim));
	LINE("f16_to_f32", (k->f16_to_f32(halves[i], floats[i], dim), 0));
	LINE("f32_to_f16", (k->f32_to_f16(floats[i], halves[i], dim), 0));
}

int
main(void)
{
	uint64_t	state = 5;

	for (int v = 0; v <= NVECTORS; v++)
	{
		for (int i = 0; i < 1536; i++)
		{
			floats[v][i] = (float) unit_random_float(&state);
			halves[v][i] = knn_float_to_half(floats[v][i]);
			bytes[v][i] = (uint8_t) unit_random(&state);
		}
	}

	printf("%-8s %-22s", "", "ns per call at dim");
	for (int d = 0; d < NDIMS; d++)
		printf(" %8u", dims[d]);
	printf("\n");

	for (size_t i = 0; i < sizeof(implementations) / sizeof(implementations[0]); i++)
	{
		const knn_kernels *k = knn_kernels_by_name(implementations[i]);

		if (k != NULL)
			bench(k);
	}

	printf("%-8s %-22s", "", "rotation");
	for (int d = 0; d < NDIMS; d++)
	{
		uint32_t	dim = dims[d];

		knn_rotation_init(signs, dim, 1);
		printf(" %8.1f", TIME((knn_rotation_apply(signs, floats[i], dim), 0)));
	}
	printf("\n");
	return 0;
}
