/*
 * fuzz_serve_request.c
 *		The parser of the build service's requests on any text.
 *
 *	cc -DKNN_FUZZ_MAIN ...		[RUNS] mutations of corpus/fuzz_serve_request
 *	clang -fsanitize=fuzzer ...	libFuzzer
 */
#include <json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/serve_request.h"
#include "core/distance.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz_serve_request: %s\n", what);
	abort();
}

/* What an object's key must not be: it names files in a directory too. */
static bool
is_safe(const char *key)
{
	size_t		length = strlen(key);

	return length > 0 && length <= SERVE_KEY_BYTES && key[0] != '/' && key[length - 1] != '/' &&
		strstr(key, "//") == NULL && strstr(key, "/../") == NULL && strncmp(key, "../", 3) != 0 &&
		strcmp(key, "..") != 0 && (length < 3 || strcmp(key + length - 3, "/..") != 0);
}

static void
check_request(const serve_request *request)
{
	serve_request again;
	serve_problems problems;
	struct json_object *object;
	char		id[SHA256_HEX + 1];
	char		key[SERVE_KEY_BYTES + 1];

	require(request->dimension >= 1 && request->dimension <= KNN_MAX_DIM, "dimension");
	require(request->doc_count >= 5 && request->doc_count <= INT32_MAX, "count");
	require(request->m >= 2 && request->ef_construction >= 1 && request->ef_search >= 1, "numbers");
	require(is_safe(request->vector_path) && is_safe(request->doc_id_path), "paths");
	require((request->data_type == SERVE_BINARY) == (request->space_type == SERVE_HAMMING), "space");
	require(serve_request_row_bytes(request) > 0, "bytes");
	serve_request_result_key(request, key);
	require(is_safe(key) && serve_request_file_name(key)[0] != '\0', "result");
	require(serve_request_id(request, id) && strlen(id) == SHA256_HEX, "id");

	/* as it is kept in a file, and read again */
	object = serve_request_json(request);
	require(object != NULL && serve_request_read(&again, object, &problems) == SERVE_REQUEST_OK,
			"a request that cannot be read again");
	require(serve_request_equal(request, &again), "a request that became another");
	serve_request_free(&again);
	json_object_put(object);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* exactly as long, for the sanitizer to see what is read beyond */
	char	   *text = malloc(size > 0 ? size : 1);
	serve_request request;
	serve_problems problems;

	if (size > 0)
		memcpy(text, data, size);
	switch (serve_request_parse(&request, text, size, &problems))
	{
		case SERVE_REQUEST_OK:
			check_request(&request);
			serve_request_free(&request);
			break;
		case SERVE_REQUEST_NO_MEMORY:
			break;
		default:
			require(problems.count > 0 && problems.count <= SERVE_PROBLEMS &&
					problems.list[0].message[0] != '\0', "a refusal without a reason");
	}
	free(text);
	return 0;
}

#include "json_mutations.h"
