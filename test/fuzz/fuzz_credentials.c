/*
 * fuzz_credentials.c
 *		The parsers of what metadata services answer, and of where they may be asked, on any
 *		text.
 *
 *	cc -DKNN_FUZZ_MAIN ...		[RUNS] mutations of corpus/fuzz_credentials
 *	clang -fsanitize=fuzzer ...	libFuzzer
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "builder/instance_text.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz_credentials: %s\n", what);
	abort();
}

/* Whether text can be the value of a header. */
static bool
is_plain(const char *text)
{
	for (; *text; text++)
	{
		if (*text <= 0x20 || *text >= 0x7F)
			return false;
	}
	return true;
}

static void
read_answer(const char *text, size_t size)
{
	builder_lease lease;
	builder_error error;

	if (builder_lease_read(&lease, text, size, &error))
	{
		require(lease.access_key[0] && lease.secret_key[0], "keys");
		require(is_plain(lease.access_key) && is_plain(lease.secret_key) &&
				(lease.token == NULL || is_plain(lease.token)), "characters");
	}
	else
	{
		require(error.message[0] != '\0' && error.code != NULL, "a refusal without a reason");
		require(lease.access_key == NULL && lease.secret_key == NULL && lease.token == NULL, "left");
	}
	builder_lease_free(&lease);
}

static void
read_texts(const char *text, size_t size)
{
	char		name[BUILDER_ROLE_NAME];
	char	   *ended = malloc(size + 1);
	int64_t		seconds;

	if (builder_role_read(text, size, name))
		require(name[0] != '\0' && is_plain(name) && strpbrk(name, "/?#%") == NULL, "role");
	memcpy(ended, text, size);
	ended[size] = '\0';
	/* the years 0 to 9999, with an offset of up to 99 hours and 99 minutes */
	if (builder_time_read(ended, &seconds))
		require(seconds > INT64_C(-62170000000) && seconds < INT64_C(253403000000), "time");
	if (builder_container_url_is_good(ended))
		require(is_plain(ended) && strncasecmp(ended, "http", 4) == 0 && strchr(ended, '@') == NULL, "URL");
	free(ended);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* exactly as long, for the sanitizer to see what is read beyond */
	char	   *text = malloc(size > 0 ? size : 1);

	if (size > 0)
		memcpy(text, data, size);
	read_answer(text, size);
	read_texts(text, size);
	free(text);
	return 0;
}

#include "json_mutations.h"
