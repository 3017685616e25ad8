/*
 * fuzz_remote.c
 *		The parsers of what build services and object stores answer, of remote jobs, and of
 *		endpoints, on any text.
 *
 *	cc -DKNN_FUZZ_MAIN ...		[RUNS] mutations of corpus/fuzz_remote
 *	clang -fsanitize=fuzzer ...	libFuzzer
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/http_text.h"
#include "builder/remote_job.h"
#include "core/endpoint.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz_remote: %s\n", what);
	abort();
}

static bool
is_printable(const char *text)
{
	for (; *text; text++)
	{
		if (*text < 0x20 || *text >= 0x7F)
			return false;
	}
	return true;
}

static void
read_answers(const char *text, size_t size)
{
	builder_remote_status status;
	builder_error error;
	char		id[3 * BUILDER_REMOTE_TEXT];
	char		to[32];

	if (builder_remote_read_id(text, size, id, &error))
		require(id[0] != '\0' && id[0] != '/' && strchr(id, '/') == NULL && is_printable(id), "id");
	else
		require(error.message[0] != '\0' && error.code != NULL, "a refusal without a reason");
	if (builder_remote_read_status(text, size, &status, &error))
	{
		require(is_printable(status.message), "message");
		require((status.state == BUILDER_REMOTE_COMPLETED) == (status.file_name[0] != '\0'), "file");
		require(strchr(status.file_name, '/') == NULL && status.file_name[0] != '.', "path");
	}
	else
		require(error.message[0] != '\0' && error.code != NULL, "a refusal without a reason");
	if (builder_xml_element(text, size, "UploadId", to, sizeof(to)))
		require(strlen(to) < sizeof(to) && strchr(to, '\0') != NULL, "element");
	builder_printable(to, sizeof(to), text, size);
	require(is_printable(to), "printable");
}

/* URLs of any text: those in jobs, from the start, and bare ones. */
static void
read_endpoints(const char *text, size_t size)
{
	static const char beginning[] = "http://";
	char	   *url = malloc(size + sizeof(beginning));

	memcpy(url, beginning, sizeof(beginning) - 1);
	if (size > 0)
		memcpy(url + sizeof(beginning) - 1, text, size);
	for (size_t skip = 0; skip < sizeof(beginning); skip += sizeof(beginning) - 1)
	{
		size_t		n = size + sizeof(beginning) - 1 - skip;
		char	   *exact = malloc(n > 0 ? n : 1);
		knn_endpoint endpoint;

		memcpy(exact, url + skip, n);
		if (knn_endpoint_read(&endpoint, exact, n) == NULL)
			require(endpoint.length > sizeof(beginning) - 1 && endpoint.length <= n && n <= KNN_ENDPOINT_BYTES &&
					exact[endpoint.length - 1] != '/' && !memchr(exact, '@', n) && !memchr(exact, '\0', n), "endpoint");
		(void) knn_region_problem(exact, n);
		free(exact);
	}
	free(url);
}

static void
read_job(const char *text, size_t size)
{
	builder_remote_job job;
	builder_error error;
	char	   *request;

	if (!builder_remote_job_parse(&job, text, size, &error))
	{
		require(error.message[0] != '\0' && error.code != NULL, "a refusal without a reason");
		return;
	}
	require(job.endpoint[0] && job.object[0] && job.repository.container[0], "texts");
	require(job.poll_interval >= 0 && job.timeout >= 0, "times");
	request = builder_remote_request(&job, "v", "i");
	require(request != NULL, "request");
	free(request);
	builder_remote_job_free(&job);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* exactly as long, for the sanitizer to see what is read beyond */
	char	   *text = calloc(size > 0 ? size : 1, 1);

	if (size > 0)
		memcpy(text, data, size);
	read_answers(text, size);
	read_endpoints(text, size);
	read_job(text, size);
	free(text);
	return 0;
}

#include "json_mutations.h"
