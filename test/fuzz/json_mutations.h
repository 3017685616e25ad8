/*
 * json_mutations.h
 *		What targets that read JSON are without libFuzzer: a program that gives them
 *		mutations of their corpus, whose files are named 0, 1, and so on.
 *
 * Included at the end of a target; KNN_FUZZ_MAIN tells whether it is that program, and
 * KNN_FUZZ_CORPUS where the files are.
 */
#ifdef KNN_FUZZ_MAIN

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEDS 8					/* at most */
#define MOST 2048				/* bytes of one */

static uint64_t state = 42;

static uint32_t
next_random(uint32_t limit)
{
	state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t) ((state >> 33) % limit);
}

/* Bytes taken away, or others in their place; returns how many are left. */
static size_t
mutate(uint8_t *text, size_t size)
{
	static const char alphabet[] = "{}[]\":,0123456789.-+eEtfn\\u \n\0x<>&;/";

	for (uint32_t n = 1 + next_random(3); n > 0; n--)
	{
		uint32_t	at = next_random((uint32_t) size);

		if (next_random(4) == 0)
		{
			memmove(text + at, text + at + 1, size - at - 1);
			size--;
		}
		else
			text[at] = (uint8_t) (next_random(8) ? alphabet[next_random(sizeof(alphabet) - 1)] :
								  (char) next_random(256));
	}
	return next_random(10) == 0 ? next_random((uint32_t) size) : size;
}

int
main(int argc, char **argv)
{
	static uint8_t seeds[SEEDS][MOST];
	size_t		sizes[SEEDS];
	uint32_t	nseeds = 0;
	long		runs = argc > 1 ? atol(argv[1]) : 200000;

	for (; nseeds < SEEDS; nseeds++)
	{
		char		path[256];
		FILE	   *file;

		snprintf(path, sizeof(path), "%s/%u", KNN_FUZZ_CORPUS, nseeds);
		file = fopen(path, "rb");
		if (file == NULL)
			break;
		sizes[nseeds] = fread(seeds[nseeds], 1, MOST, file);
		fclose(file);
		LLVMFuzzerTestOneInput(seeds[nseeds], sizes[nseeds]);
	}
	require(nseeds > 0, "no corpus in " KNN_FUZZ_CORPUS);
	for (long run = 0; run < runs; run++)
	{
		uint8_t		text[MOST];
		uint32_t	seed = next_random(nseeds);

		memcpy(text, seeds[seed], sizes[seed]);
		LLVMFuzzerTestOneInput(text, mutate(text, sizes[seed]));
	}
	printf("%ld inputs\n", runs);
	return 0;
}

#endif
