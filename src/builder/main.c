/*
 * main.c
 *		knn-builder: what knn does outside the server.
 *
 *	knn-builder build		a job on standard input, JSON lines on standard output
 *	knn-builder train		the same, by the program knn-train
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "builder/build.h"
#include "builder/job.h"
#include "builder/output.h"
#include "builder/train_exec.h"

static void
usage(FILE *to)
{
	fputs("knn-builder builds indexes of the PostgreSQL extension knn outside the server.\n"
		  "\n"
		  "Usage:\n"
		  "  knn-builder build      do the job that is read from standard input\n"
		  "  knn-builder train      the same for the training of a model (needs knn-train)\n"
		  "  knn-builder --version\n"
		  "  knn-builder --help\n"
		  "\n"
		  "A job is one JSON object; progress and the result, or an error, are JSON lines\n"
		  "on standard output. The exit status is 0 when there is a result.\n"
		  "The server runs this program; see knn.builder_path.\n", to);
}

/* All of standard input; a job that is too long is told from one that is not. */
static char *
read_job(size_t *length)
{
	char	   *text = malloc(BUILDER_JOB_BYTES + 1);

	if (text == NULL)
		builder_fail_memory();
	for (*length = 0; *length <= BUILDER_JOB_BYTES;)
	{
		ssize_t		n = read(STDIN_FILENO, text + *length, BUILDER_JOB_BYTES + 1 - *length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			builder_fail_with(BUILDER_IO, errno, "could not read the job");
		if (n == 0)
			break;
		*length += (size_t) n;
	}
	return text;
}

static int
build(void)
{
	builder_job job;
	builder_error error;
	size_t		length;
	char	   *text;

	builder_catch_signals();
	text = read_job(&length);
	if (!builder_job_parse(&job, text, length, &error))
		builder_fail(&error);
	free(text);
	builder_build(&job);
	builder_job_free(&job);
	return 0;
}

int
main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "build") == 0)
		return build();
	if (argc == 2 && strcmp(argv[1], "train") == 0)
		builder_train();
	if (argc == 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0))
	{
		puts("knn-builder " KNN_BUILDER_VERSION);
		return 0;
	}
	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0))
	{
		usage(stdout);
		return 0;
	}
	usage(stderr);
	return 2;
}
