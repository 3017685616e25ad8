/*
 * fuzz_job.c
 *		The parser of knn-builder's jobs on any text.
 *
 *	cc -DKNN_FUZZ_MAIN ...		[RUNS] mutations of corpus/fuzz_job
 *	clang -fsanitize=fuzzer ...	libFuzzer
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/job.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz_job: %s\n", what);
	abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* exactly as long, for the sanitizer to see what is read beyond */
	char	   *text = malloc(size > 0 ? size : 1);
	builder_job job;
	builder_error error;

	if (size > 0)
		memcpy(text, data, size);
	if (builder_job_parse(&job, text, size, &error))
	{
		require(job.dimension >= 1 && job.dimension <= KNN_MAX_DIM, "dimension");
		require(job.threads >= 1, "threads");
		require(job.kind == BUILDER_CLUSTER || (job.m >= 2 && job.ef_construction >= 1), "a graph");
		require(job.kind == BUILDER_BUILD || (job.nlist >= 1 && job.nlist <= job.count), "lists");
		require(job.vectors[0] && job.ids[0] && job.result[0], "paths");
		require(job.space >= KNN_SPACE_L2 && job.space <= KNN_SPACE_HAMMING, "space");
		require(job.encoding >= KNN_ENCODING_ROTATED_8 && job.encoding <= KNN_ENCODING_BINARY, "encoding");
		require(job.encoding != KNN_ENCODING_BINARY || job.dimension % 8 == 0, "bits");
		builder_job_free(&job);
	}
	else
		require(error.message[0] != '\0' && error.code != NULL, "a refusal without a reason");
	free(text);
	return 0;
}

#ifdef KNN_FUZZ_MAIN

static uint64_t state = 42;

static uint32_t
next_random(uint32_t limit)
{
	state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t) ((state >> 33) % limit);
}

#define SEEDS 4
#define MOST 2048

int
main(int argc, char **argv)
{
	static const char alphabet[] = "{}[]\":,0123456789.-+eEtfn\\u \n\0x";
	static uint8_t seeds[SEEDS][MOST];
	size_t		sizes[SEEDS];
	long		runs = argc > 1 ? atol(argv[1]) : 200000;

	for (int i = 0; i < SEEDS; i++)
	{
		char		path[64];
		FILE	   *file;

		snprintf(path, sizeof(path), "corpus/fuzz_job/%d", i);
		file = fopen(path, "rb");
		require(file != NULL, path);
		sizes[i] = fread(seeds[i], 1, MOST, file);
		fclose(file);
		LLVMFuzzerTestOneInput(seeds[i], sizes[i]);
	}
	for (long run = 0; run < runs; run++)
	{
		uint8_t		text[MOST];
		uint32_t	seed = next_random(SEEDS);
		size_t		size = sizes[seed];

		memcpy(text, seeds[seed], size);
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
		if (next_random(10) == 0)
			size = next_random((uint32_t) size);
		LLVMFuzzerTestOneInput(text, size);
	}
	printf("%ld inputs\n", runs);
	return 0;
}
#endif
