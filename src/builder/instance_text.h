/*
 * instance_text.h
 *		What is said about the credentials of a machine: answers of its metadata service,
 *		and where one may be asked.
 */
#ifndef KNN_BUILDER_INSTANCE_TEXT_H
#define KNN_BUILDER_INSTANCE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "builder/output.h"

#define BUILDER_CREDENTIAL_BYTES 8192	/* no key or token is longer */
#define BUILDER_ROLE_NAME 65	/* bytes of a role's name, with the zero */

/* Short-lived keys. */
typedef struct builder_lease
{
	char	   *access_key;
	char	   *secret_key;
	char	   *token;			/* or NULL */
	int64_t		expires;		/* seconds since 1970 */
} builder_lease;

/*
 * Read them from an answer, which need not end with a zero.  False and *error
 * (BUILDER_REPOSITORY, which tells nothing of the values) when it is none, or says that
 * there are no keys.
 */
extern bool builder_lease_read(builder_lease *lease, const char *text, size_t length,
							   builder_error *error);
extern void builder_lease_free(builder_lease *lease);

/*
 * A time as "2026-01-31T23:59:59Z", with a fraction (which is cut off) or an offset as
 * "+01:00" where there is one.
 */
extern bool builder_time_read(const char *text, int64_t *seconds);

/* The first line of the list of roles; false when it is no name of one. */
extern bool builder_role_read(const char *text, size_t length, char name[BUILDER_ROLE_NAME]);

/*
 * Whether credentials may be asked for at a URL: by https anywhere, by http where the way
 * does not leave the machine, which is at loopback addresses and at those that Amazon's
 * containers have for it.
 */
extern bool builder_container_url_is_good(const char *url);

#endif
