/*
 * fuzz_serve_state.c
 *		The parser of the build service's files of jobs on any text.
 *
 *	cc -DKNN_FUZZ_MAIN ...		[RUNS] mutations of corpus/fuzz_serve_state
 *	clang -fsanitize=fuzzer ...	libFuzzer
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/serve_jobs.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz_serve_state: %s\n", what);
	abort();
}

/* Errors are of reading and writing files, which is not done here. */
bool
serve_fail(builder_error *error, const char *code, int why, const char *format,...)
{
	(void) error;
	(void) code;
	(void) why;
	(void) format;
	return false;
}

static void
check_job(const serve_job *job)
{
	require(job->state <= SERVE_CANCELLED && serve_state_names[job->state], "state");
	require(serve_is_id(job->id), "id");
	require(memchr(job->error, '\0', sizeof(job->error)) != NULL, "a message without an end");
	require(job->number < UINT64_C(1) << 62 && job->attempts < UINT32_MAX, "numbers to count on from");
	require(job->created >= 0 && job->started >= 0 && job->finished >= 0, "times");
	require((job->state >= SERVE_COMPLETED) == (job->finished > 0), "a job over without an end, or the reverse");
	require(!job->replaced && job->memory == 0 && job->phase == NULL, "what no file tells");
}

/* As it is written, and read again. */
static void
check_again(const serve_job *job)
{
	char	   *text = serve_state_text(job);
	serve_job  *again = text ? serve_state_parse(text, strlen(text)) : NULL;
	char	   *text_again = again ? serve_state_text(again) : NULL;

	require(again != NULL && text_again != NULL, "a job that cannot be read again");
	require(strcmp(text, text_again) == 0, "a file that became another");
	require(serve_request_equal(&job->request, &again->request) && strcmp(job->id, again->id) == 0 &&
			job->state == again->state && job->number == again->number && job->put == again->put &&
			job->attempts == again->attempts && job->created == again->created &&
			job->started == again->started && job->finished == again->finished &&
			strcmp(job->error, again->error) == 0, "a job that became another");
	free(text_again);
	serve_job_free(again);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* exactly as long, for the sanitizer to see what is read beyond */
	char	   *text = malloc(size > 0 ? size : 1);
	serve_job  *job;

	if (size > 0)
		memcpy(text, data, size);
	job = serve_state_parse(text, size);
	free(text);
	if (job)
	{
		check_job(job);
		check_again(job);
		serve_job_free(job);
	}
	return 0;
}

#include "json_mutations.h"
