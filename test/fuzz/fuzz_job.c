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

#include "json_mutations.h"
