/*
 * secrets.c
 *		Passwords and keys; see secrets.h.
 */
#include "builder/secrets.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

void
builder_secret_free(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

void
builder_secrets_hide(void)
{
	struct rlimit none = {0, 0};

	(void) setrlimit(RLIMIT_CORE, &none);
	/* a pattern that is a pipe does not ask for the limit */
	(void) prctl(PR_SET_DUMPABLE, 0);
}
