/*
 * credentials.h
 *		What requests to an object store are signed with: keys that are given, or those of
 *		the machine, which are renewed before they end.
 */
#ifndef KNN_BUILDER_CREDENTIALS_H
#define KNN_BUILDER_CREDENTIALS_H

#include <stdbool.h>
#include <stdint.h>

#include "builder/output.h"
#include "builder/wait.h"

typedef struct builder_credentials builder_credentials;

/* Keys that belong together; they do not change while somebody has them. */
typedef struct builder_keys
{
	char	   *access_key;
	char	   *secret_key;
	char	   *token;			/* a header, "x-amz-security-token: ..."; or NULL */
	uint32_t	users;			/* under the lock of the credentials */
} builder_keys;

/*
 * Keys that are given: access_key and secret_key, or when both are NULL or empty those of
 * the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN).  They are
 * copied.  NULL and *error when they are no good.
 */
extern builder_credentials *builder_credentials_given(const char *access_key,
													  const char *secret_key, const char *token,
													  builder_error *error);

/* Those of the machine (instance.h), which are asked for when they are needed. */
extern builder_credentials *builder_credentials_instance(builder_error *error);

/* Nobody has keys of it any more. */
extern void builder_credentials_close(builder_credentials *credentials);

/*
 * The functions below may be called by several threads at once; one of them asks, and
 * within the limits of its caller: going, and a deadline of builder_now() (0: none).
 *
 * take: the keys of now; NULL and *error when there are none.  They are given back by
 * builder_credentials_release().
 */
extern builder_keys *builder_credentials_take(builder_credentials *credentials,
											  const builder_going *going, double deadline,
											  builder_error *error);
extern void builder_credentials_release(builder_credentials *credentials, builder_keys *keys);

/*
 * The store has refused these: look whether there are others by now.  They are still the
 * caller's to release.
 */
extern bool builder_credentials_renew(builder_credentials *credentials, const builder_keys *keys,
									  const builder_going *going, double deadline);

/* Whether they are the machine's. */
extern bool builder_credentials_of_instance(const builder_credentials *credentials);

#endif
