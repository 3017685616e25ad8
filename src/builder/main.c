/*
 * main.c
 *		knn-builder: what knn does outside the server.
 *
 *	knn-builder build		a job on standard input, JSON lines on standard output:
 *							the graph of an index
 *	knn-builder cluster		the same: the lists of one
 *	knn-builder import		the same: a graph that is there already, as a file of faiss
 *	knn-builder remote		the same: a graph by a build service and an object store
 *	knn-builder train		the same: a model, by the program knn-train
 *	knn-builder serve		the remote build service
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "builder/build.h"
#include "builder/import.h"
#include "builder/job.h"
#include "builder/lists.h"
#include "builder/output.h"
#include "builder/train_exec.h"
#ifdef KNN_HAVE_CURL
#include "builder/remote.h"
#endif
#ifdef KNN_HAVE_MHD
#include "builder/serve.h"
#endif

static void
usage(FILE *to)
{
	fputs("knn-builder builds indexes of the PostgreSQL extension knn outside the server.\n"
		  "\n"
		  "Usage:\n"
		  "  knn-builder build      build a graph: a job that is read from standard input\n"
		  "  knn-builder cluster    divide vectors into lists: a job of this kind\n"
		  "  knn-builder import     make a graph of the job's \"graph\", a file of faiss\n"
		  "  knn-builder remote     have a graph built by a build service\n"
		  "  knn-builder train      train a model: a job of this kind (needs knn-train)\n"
		  "  knn-builder serve      answer requests to build (knn-builder serve --help)\n"
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
do_job(builder_job_kind kind, bool import)
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
	if (job.kind != kind)
		builder_fail_with(BUILDER_BAD_JOB, 0, "command \"%s\" was given a job \"%s\"",
						  builder_job_name(kind), builder_job_name(job.kind));
	if (import != (job.graph != NULL))
		builder_fail_with(BUILDER_BAD_JOB, 0, import ? "the job has no \"graph\" to import" :
						  "the job has a \"graph\", which is for import");
	if (import)
		builder_import(&job, job.graph);
	else if (kind == BUILDER_CLUSTER)
		builder_cluster(&job);
	else
		builder_build(&job);
	builder_job_free(&job);
	return 0;
}

static int
remote(void)
{
#ifdef KNN_HAVE_CURL
	size_t		length;
	char	   *text;

	builder_catch_signals();
	text = read_job(&length);
	builder_remote(text, length);
	explicit_bzero(text, length);
	free(text);
	return 0;
#else
	builder_fail_with(BUILDER_BAD_JOB, 0,
					  "knn-builder was built without libcurl, which remote builds need");
#endif
}

static int
serve(int argc, char **argv)
{
#ifdef KNN_HAVE_MHD
	return serve_main(argc, argv);
#else
	(void) argc;
	(void) argv;
	fputs("knn-builder was built without \"serve\": libmicrohttpd or libcurl was not there "
		  "(Debian: libmicrohttpd-dev, libcurl4-openssl-dev)\n", stderr);
	return 2;
#endif
}

int
main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "build") == 0)
		return do_job(BUILDER_BUILD, false);
	if (argc == 2 && strcmp(argv[1], "cluster") == 0)
		return do_job(BUILDER_CLUSTER, false);
	if (argc == 2 && strcmp(argv[1], "import") == 0)
		return do_job(BUILDER_BUILD, true);
	if (argc == 2 && strcmp(argv[1], "remote") == 0)
		return remote();
	if (argc == 2 && strcmp(argv[1], "train") == 0)
		builder_train();
	if (argc >= 2 && strcmp(argv[1], "serve") == 0)
		return serve(argc - 2, argv + 2);
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
