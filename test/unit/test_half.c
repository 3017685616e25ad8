/*
 * test_half.c
 *		Conversions between float and half: all halves, and every rounding case.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/distance.h"
#include "unit.h"

#define NHALVES 65536

static const char *const implementations[] = {"scalar", "avx2", "avx512", "neon", "dotprod"};

static uint32_t
float_bits(float f)
{
	uint32_t	bits;

	memcpy(&bits, &f, sizeof(bits));
	return bits;
}

static float
bits_float(uint32_t bits)
{
	float		f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

/* The float a half stands for, from the definition of the format. */
static float
reference(uint32_t h)
{
	int			exponent = (h >> 10) & 0x1f;
	uint32_t	mantissa = h & 0x3ff;
	double		value;

	if (exponent == 0x1f && mantissa != 0)
		return bits_float(((h & 0x8000) << 16) | 0x7fc00000 | (mantissa << 13));
	if (exponent == 0x1f)
		value = INFINITY;
	else if (exponent == 0)
		value = ldexp(mantissa, -24);
	else
		value = ldexp(mantissa + 1024, exponent - 25);
	return (float) ((h & 0x8000) ? -value : value);
}

/* One float and the half it must become. */
typedef struct
{
	float		in;
	knn_half	out;
} rounding;

static rounding *cases;
static uint32_t ncases;

static void
add_case(float in, uint32_t out)
{
	cases[ncases].in = in;
	cases[ncases++].out = (knn_half) out;
	cases[ncases].in = -in;
	cases[ncases++].out = (knn_half) (out | 0x8000);
}

static void
make_cases(void)
{
	cases = malloc(sizeof(rounding) * (NHALVES * 8 + 64));
	if (cases == NULL)
		abort();

	/* between each finite half and the next one up; after 65504 comes infinity */
	for (uint32_t h = 0; h < 0x7c00; h++)
	{
		double		here = reference(h);
		double		next = h + 1 == 0x7c00 ? 65536.0 : reference(h + 1);
		float		middle = (float) ((here + next) / 2);	/* exact */

		add_case((float) here, h);
		add_case(nextafterf(middle, 0), h);
		add_case(middle, h % 2 == 0 ? h : h + 1);
		add_case(nextafterf(middle, INFINITY), h + 1);
	}

	add_case(FLT_MAX, 0x7c00);
	add_case(INFINITY, 0x7c00);
	add_case(65536.0f, 0x7c00);
	add_case(FLT_TRUE_MIN, 0);
	add_case(FLT_MIN, 0);
	add_case(bits_float(0x7fc00000), 0x7e00);
	add_case(bits_float(0x7fc02000), 0x7e01);
	add_case(bits_float(0x7fffffff), 0x7fff);
	add_case(bits_float(0x7fc01fff), 0x7e00);
}

static void
test_single(void)
{
	unit_case("half: every half to float");
	for (uint32_t h = 0; h < NHALVES; h++)
	{
		float		got = knn_half_to_float((knn_half) h);

		UNIT_CHECK(float_bits(got) == float_bits(reference(h)), "%04x: got %08x, expected %08x",
				   h, float_bits(got), float_bits(reference(h)));
	}

	unit_case("half: every half to float and back");
	for (uint32_t h = 0; h < NHALVES; h++)
	{
		bool		nan = (h & 0x7fff) > 0x7c00;
		knn_half	got = knn_float_to_half(knn_half_to_float((knn_half) h));

		UNIT_CHECK(got == (nan ? h | 0x200 : h), "%04x: got %04x", h, got);
	}

	unit_case("half: rounding of float");
	for (uint32_t i = 0; i < ncases; i++)
	{
		knn_half	got = knn_float_to_half(cases[i].in);

		UNIT_CHECK(got == cases[i].out, "%a: got %04x, expected %04x", cases[i].in, got, cases[i].out);
	}
}

static void
test_arrays(const char *name)
{
	const knn_kernels *k = knn_kernels_by_name(name);
	knn_half   *halves = malloc(sizeof(knn_half) * (ncases > NHALVES ? ncases : NHALVES));
	float	   *floats = malloc(sizeof(float) * (ncases > NHALVES ? ncases : NHALVES));

	if (halves == NULL || floats == NULL)
		abort();

	unit_case("%s: arrays of every half to float", name);
	if (k == NULL)
		unit_skip("not on this CPU");
	else
	{
		for (uint32_t h = 0; h < NHALVES; h++)
			halves[h] = (knn_half) h;
		/* an odd length leaves a tail in most calls */
		for (uint32_t h = 0; h < NHALVES; h += 999)
			k->f16_to_f32(halves + h, floats + h, NHALVES - h < 999 ? NHALVES - h : 999);
		for (uint32_t h = 0; h < NHALVES; h++)
			UNIT_CHECK(float_bits(floats[h]) == float_bits(reference(h)), "%04x: got %08x, expected %08x",
					   h, float_bits(floats[h]), float_bits(reference(h)));
	}

	unit_case("%s: rounding of arrays of float", name);
	if (k == NULL)
		unit_skip("not on this CPU");
	else
	{
		for (uint32_t i = 0; i < ncases; i++)
			floats[i] = cases[i].in;
		for (uint32_t i = 0; i < ncases; i += 999)
			k->f32_to_f16(floats + i, halves + i, ncases - i < 999 ? ncases - i : 999);
		for (uint32_t i = 0; i < ncases; i++)
			UNIT_CHECK(halves[i] == cases[i].out, "%a: got %04x, expected %04x",
					   cases[i].in, halves[i], cases[i].out);
	}

	free(halves);
	free(floats);
}

int
main(void)
{
	make_cases();
	test_single();
	for (size_t i = 0; i < sizeof(implementations) / sizeof(implementations[0]); i++)
		test_arrays(implementations[i]);
	free(cases);
	return unit_done("test_half");
}
