/*
 * fuzz_serve_origin.c
 *		The build service's look at Host, Origin and Sec-Fetch-Site, which are the three
 *		lines of an input.
 *
 *	cc -DKNN_FUZZ_MAIN ...		[RUNS] mutations of corpus/fuzz_serve_origin
 *	clang -fsanitize=fuzzer ...	libFuzzer
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/serve.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz_serve_origin: %s\n", what);
	abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = malloc(size + 1);
	char	   *rest = text;
	const char *host;
	const char *origin;
	const char *site;

	memcpy(text, data, size);
	text[size] = '\0';
	host = strsep(&rest, "\n");
	origin = strsep(&rest, "\n");
	site = strsep(&rest, "\n");
	if (serve_origin_host_is_local(host))
		require(host[strspn(host, "localhstOCALHST0123456789abcdefABCDEF:[].")] == '\0' &&
				(strcasestr(host, "localhost") || strstr(host, "127.") == host || host[0] == '['), "local");
	if (origin && !serve_origin_is_foreign(origin, site, host))
		require(strstr(origin, "://") && strlen(strstr(origin, "://")) == strlen(host) + 3, "origin");
	require(!serve_origin_is_foreign(NULL, NULL, host), "no browser");
	free(text);
	return 0;
}

#include "json_mutations.h"
