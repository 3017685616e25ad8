/*
 * store_tool.c
 *		The functions of repository.h from a command line, for the tests.
 *
 *	store_tool s3|file CONTAINER put|get|size|remove KEY [PATH [LIMIT]]
 *
 * Of S3, the endpoint and the rest are of the environment: KNN_STORE_ENDPOINT,
 * KNN_STORE_VIRTUAL (bucket in the host name), KNN_STORE_CA, KNN_STORE_CONNECTIONS,
 * KNN_STORE_INSTANCE (the machine's credentials), and those of AWS.  Prints "ok ...", or "CODE: message | detail | hint" with status 1; then the
 * memory it took in kB.  SIGTERM cancels a transfer.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/repository.h"

static volatile sig_atomic_t cancelled;
static uint64_t last_done;
static int	went_back;

static void
cancel(int signal_number)
{
	(void) signal_number;
	cancelled = 1;
}

static bool
progress(void *state, uint64_t done, uint64_t total)
{
	(void) state;
	if (done > total)
		went_back = 1;
	last_done = done;
	return !cancelled;
}

/* The most memory that was in use, in kB.  That of getrusage() is also of whoever ran us. */
static long
memory_used(void)
{
	FILE	   *file = fopen("/proc/self/status", "r");
	char		line[256];
	long		used = -1;

	while (file && fgets(line, sizeof(line), file) && sscanf(line, "VmHWM: %ld", &used) != 1)
		;
	if (file)
		fclose(file);
	return used;
}

int
main(int argc, char **argv)
{
	const char *connections = getenv("KNN_STORE_CONNECTIONS");
	builder_repository_options options = {
		.type = argc > 1 && strcmp(argv[1], "s3") == 0 ? BUILDER_REPOSITORY_S3 : BUILDER_REPOSITORY_FILE,
		.endpoint = getenv("KNN_STORE_ENDPOINT"), .ca_file = getenv("KNN_STORE_CA"),
		.path_style = getenv("KNN_STORE_VIRTUAL") == NULL,
		.instance = getenv("KNN_STORE_INSTANCE") != NULL,
		.connections = connections ? (uint32_t) atoi(connections) : 0,
	};
	builder_transfer transfer = {progress, NULL};
	builder_repository *repository;
	builder_error error = {.code = "usage"};
	uint64_t	size = 0;
	bool		ok = false;

	if (argc < 5)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGTERM, cancel);
	options.container = argv[2];
	repository = builder_repository_open(&options, &error);
	if (repository && strcmp(argv[3], "put") == 0)
		ok = builder_repository_put(repository, argv[4], argv[5], &transfer, &error);
	else if (repository && strcmp(argv[3], "give") == 0)
		ok = builder_repository_give(repository, argv[4], argv[5], &transfer, &error);
	else if (repository && strcmp(argv[3], "get") == 0)
		ok = builder_repository_get(repository, argv[4], argv[5],
									argc > 6 ? strtoull(argv[6], NULL, 10) : INT64_MAX, &transfer,
									&error);
	else if (repository && strcmp(argv[3], "size") == 0)
		ok = builder_repository_size(repository, argv[4], &size, &error);
	else if (repository && strcmp(argv[3], "remove") == 0)
		ok = builder_repository_remove(repository, argv[4], &error);
	builder_repository_close(repository);
	if (ok)
		printf("ok %llu%s\n", (unsigned long long) (size ? size : last_done),
			   went_back ? " with impossible progress" : "");
	else
		printf("%s: %s | %s | %s\n", error.code, error.message, error.detail, error.hint);
	printf("memory %ld\n", memory_used());
	return !ok;
}
