/*
 * fuzz_vector_text.c
 *		Fuzz target of the parser of the text form.
 *
 * Besides not reading or writing out of bounds (the input and the output are
 * allocated to the byte, for the address sanitizer), what is accepted must be
 * finite, must be what strtof reads, and must survive printing and reading.
 *
 * Built with KNN_FUZZ_MAIN it is a program of its own that mutates a few seeds
 * with a fixed random sequence, for compilers without libFuzzer.
 */
#include "core/vector_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ELEMENTS 64

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

/* Compare the elements with what strtof makes of the same text. */
static void
compare_with_strtof(const char *text, size_t size, const float *x, uint32_t count)
{
	char	   *copy = malloc(size + 1);
	char	   *p;

	memcpy(copy, text, size);
	copy[size] = '\0';
	p = strchr(copy, '[');
	for (uint32_t i = 0; i < count; i++)
	{
		float		f;

		p++;					/* the bracket or comma */
		f = strtof(p, &p);
		REQUIRE(memcmp(&f, &x[i], sizeof(f)) == 0);
		p += strspn(p, " \t\n\v\f\r");
		REQUIRE(*p == (i + 1 < count ? ',' : ']'));
	}
	free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = malloc(size ? size : 1);
	uint32_t	max = size % (MAX_ELEMENTS + 1);
	float	   *x = malloc(max ? max * sizeof(float) : 1);
	knn_text_result result;
	knn_text_status status;

	if (size)
		memcpy(text, data, size);
	status = knn_vector_text_parse(text, size, x, max, &result);
	REQUIRE(result.count <= max);
	REQUIRE(result.offset <= size);
	REQUIRE(result.length <= size - result.offset);

	for (uint32_t i = 0; i < result.count; i++)
		REQUIRE(isfinite(x[i]));

	if (status == KNN_TEXT_OK)
	{
		char	   *printed = malloc(result.count * 20 + 3);
		size_t		n = 0;
		float		y[MAX_ELEMENTS];
		knn_text_result again;

		REQUIRE(result.count > 0);
		compare_with_strtof(text, size, x, result.count);
		for (uint32_t i = 0; i < result.count; i++)
			n += (size_t) sprintf(printed + n, "%c%.9g", i == 0 ? '[' : ',', (double) x[i]);
		printed[n++] = ']';
		REQUIRE(knn_vector_text_parse(printed, n, y, MAX_ELEMENTS, &again) == KNN_TEXT_OK);
		REQUIRE(again.count == result.count);
		REQUIRE(memcmp(x, y, result.count * sizeof(float)) == 0);
		free(printed);
	}
	free(x);
	free(text);
	return 0;
}

#ifdef KNN_FUZZ_MAIN
static const char *const seeds[] = {
	"[1,2,3]", " [ 1 , -2.5e3 , .5 ] ", "[1e-45,3.4028235e38,-0]", "[nan]", "[-inf,1]",
	"[16777217,16777217.0000000000000000000001,0.1000000014901161193847656250]",
	"[123456789012345678901234567890e-20]", "[1e+]", "[1,,2]", "[", "]", "[]",
	"[0.000000000000000000000000000000000000011754943508222875]",
	"[1e99999999999999999999,1e-99999999999999999999]"
};

static uint64_t state = 88172645463325252u;

static uint32_t
next_random(uint32_t limit)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t) ((state >> 33) % limit);
}

int
main(int argc, char **argv)
{
	static const char alphabet[] = "0123456789.,-+eE[] \tnaif\0x";
	long		runs = argc > 1 ? atol(argv[1]) : 2000000;

	for (long run = 0; run < runs; run++)
	{
		char		buf[512];
		size_t		len = 0;

		if (run % 2)
		{
			/* numbers of any length and exponent: for the rounding */
			len += (size_t) sprintf(buf + len, "[");
			for (uint32_t i = 0, n = 1 + next_random(4); i < n; i++)
			{
				if (i > 0)
					buf[len++] = ',';
				if (next_random(2))
					buf[len++] = '-';
				for (uint32_t d = next_random(24); d > 0; d--)
					buf[len++] = (char) ('0' + next_random(10));
				buf[len++] = (char) ('0' + next_random(10));
				if (next_random(2))
					buf[len++] = '.';
				else
					continue;
				for (uint32_t d = next_random(24); d > 0; d--)
					buf[len++] = (char) ('0' + next_random(10));
				if (next_random(2))
					len += (size_t) sprintf(buf + len, "e%d", (int) next_random(100) - 60);
			}
			buf[len++] = ']';
		}
		else
		{
			const char *seed = seeds[next_random(sizeof(seeds) / sizeof(seeds[0]))];

			len = strlen(seed);
			memcpy(buf, seed, len);
		}
		for (uint32_t n = next_random(4); n > 0 && run % 4 != 1; n--)
		{
			uint32_t	at = next_random((uint32_t) len + 1);

			switch (next_random(3))
			{
				case 0:
					if (at < len)
						buf[at] = alphabet[next_random(sizeof(alphabet) - 1)];
					break;
				case 1:
					if (len < sizeof(buf) - 1)
					{
						memmove(buf + at + 1, buf + at, len - at);
						buf[at] = alphabet[next_random(sizeof(alphabet) - 1)];
						len++;
					}
					break;
				case 2:
					if (at < len)
					{
						memmove(buf + at, buf + at + 1, len - at - 1);
						len--;
					}
					break;
			}
		}
		LLVMFuzzerTestOneInput((const uint8_t *) buf, len);
	}
	printf("%ld inputs\n", runs);
	return 0;
}
#endif
