/*
 * credentials.c
 *		What requests to an object store are signed with; see credentials.h.
 *
 * Keys of the machine are asked for by the first request, again five minutes before their
 * end, and when the store refuses them.  Who finds them due asks, without the lock; others
 * go on with those that are there, but wait when these were refused.  A service that does
 * not answer then is no failure, and neither are keys that have ended: the store is the
 * judge of them.
 *
 * The lock is of all that changes: keys, their users, and all below them.  The client of
 * the metadata service is of the thread that has set asking.
 */
#include "builder/credentials.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "builder/instance.h"
#include "builder/secrets.h"

#define RENEW_BEFORE 300		/* seconds before the end */
#define RENEW_AGAIN 30			/* seconds, after an answer without newer keys, or none */

struct builder_credentials
{
	builder_instance *instance; /* NULL: the keys are given */
	pthread_mutex_t lock;
	builder_keys *keys;			/* one user of them is this; NULL: not asked for yet */
	int64_t		renew_at;		/* of time() */
	bool		asking;			/* a thread is */
	bool		refused;		/* the keys were, and it is not known whether there are others */
	uint64_t	answers;		/* to questions, failures included */
};

/* ---- keys ---- */

static bool
given(const char *value)
{
	return value != NULL && value[0] != '\0';
}

static void
free_keys(builder_keys *keys)
{
	if (keys == NULL)
		return;
	free(keys->access_key);
	builder_secret_free(keys->secret_key);
	builder_secret_free(keys->token);
	free(keys);
}

/* Copies; token may be NULL or empty. */
static builder_keys *
make_keys(const char *access_key, const char *secret_key, const char *token, builder_error *error)
{
	const char *texts[] = {access_key, secret_key, given(token) ? token : "-"};
	builder_keys *keys;

	/* they become parts of headers */
	for (int i = 0; i < 3; i++)
	{
		if (strlen(texts[i]) > BUILDER_CREDENTIAL_BYTES || texts[i][strcspn(texts[i], "\r\n")] != '\0')
		{
			builder_error_set(error, BUILDER_BAD_JOB,
							  "a credential of the repository is too long or has several lines");
			return NULL;
		}
	}
	keys = calloc(1, sizeof(*keys));
	if (keys)
	{
		keys->users = 1;
		keys->access_key = strdup(access_key);
		keys->secret_key = strdup(secret_key);
		if (given(token) && asprintf(&keys->token, "x-amz-security-token: %s", token) < 0)
			keys->token = NULL;
	}
	if (keys == NULL || keys->access_key == NULL || keys->secret_key == NULL ||
		(given(token) && keys->token == NULL))
	{
		free_keys(keys);
		builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
		return NULL;
	}
	return keys;
}

static bool
same_keys(const builder_keys *one, const builder_keys *other)
{
	return strcmp(one->access_key, other->access_key) == 0 &&
		strcmp(one->secret_key, other->secret_key) == 0 &&
		(one->token == NULL) == (other->token == NULL) &&
		(one->token == NULL || strcmp(one->token, other->token) == 0);
}

/* The lock is held. */
static void
drop_user(builder_keys *keys)
{
	if (keys && --keys->users == 0)
		free_keys(keys);
}

/* ---- opening ---- */

static builder_credentials *
open_credentials(builder_keys *keys, builder_instance *instance, builder_error *error)
{
	builder_credentials *credentials = calloc(1, sizeof(*credentials));

	if (credentials == NULL)
	{
		free_keys(keys);
		builder_instance_close(instance);
		builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
		return NULL;
	}
	credentials->keys = keys;
	credentials->instance = instance;
	pthread_mutex_init(&credentials->lock, NULL);
	return credentials;
}

builder_credentials *
builder_credentials_given(const char *access_key, const char *secret_key, const char *token,
						  builder_error *error)
{
	builder_keys *keys;

	/* of one origin, all of them */
	if (!given(access_key) && !given(secret_key))
	{
		access_key = getenv("AWS_ACCESS_KEY_ID");
		secret_key = getenv("AWS_SECRET_ACCESS_KEY");
		token = getenv("AWS_SESSION_TOKEN");
	}
	if (!given(access_key) || !given(secret_key))
	{
		builder_error_set(error, BUILDER_BAD_JOB, "the repository has no %s",
						  given(access_key) ? "secret key" : "access key");
		snprintf(error->hint, sizeof(error->hint),
				 "Give both in its settings, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment.");
		return NULL;
	}
	keys = make_keys(access_key, secret_key, token, error);
	return keys ? open_credentials(keys, NULL, error) : NULL;
}

builder_credentials *
builder_credentials_instance(builder_error *error)
{
	builder_instance *instance = builder_instance_open(error);

	return instance ? open_credentials(NULL, instance, error) : NULL;
}

void
builder_credentials_close(builder_credentials *credentials)
{
	if (credentials == NULL)
		return;
	drop_user(credentials->keys);
	builder_instance_close(credentials->instance);
	pthread_mutex_destroy(&credentials->lock);
	free(credentials);
}

bool
builder_credentials_of_instance(const builder_credentials *credentials)
{
	return credentials->instance != NULL;
}

/* ---- the machine's ---- */

/* The lock is not held, but asking is set. */
static builder_keys *
fetch(builder_credentials *credentials, const builder_going *going, double deadline,
	  int64_t *expires, builder_error *error)
{
	builder_lease lease;
	builder_keys *keys;

	if (!builder_instance_ask(credentials->instance, going, deadline, &lease, error))
		return NULL;
	keys = make_keys(lease.access_key, lease.secret_key, lease.token, error);
	*expires = lease.expires;
	builder_lease_free(&lease);
	return keys;
}

/* Until no thread asks.  The lock is held before and after, not between. */
static bool
wait_for_answer(builder_credentials *credentials, const builder_going *going,
				builder_error *error)
{
	bool		goes_on = true;

	while (goes_on && credentials->asking)
	{
		pthread_mutex_unlock(&credentials->lock);
		goes_on = builder_wait(BUILDER_ASK_SECONDS, going);
		pthread_mutex_lock(&credentials->lock);
	}
	return goes_on || builder_error_set(error, BUILDER_CANCELLED, "the transfer was cancelled");
}

/* Ask, or wait for the answer to another thread; the lock as above. */
static bool
ask(builder_credentials *credentials, const builder_going *going, double deadline,
	builder_error *error)
{
	uint64_t	answers = credentials->answers;
	builder_keys *keys;
	int64_t		expires = 0;
	int64_t		now;

	if (!wait_for_answer(credentials, going, error))
		return false;
	if (credentials->answers != answers && credentials->keys)
		return true;
	credentials->asking = true;
	pthread_mutex_unlock(&credentials->lock);
	keys = fetch(credentials, going, deadline, &expires, error);
	pthread_mutex_lock(&credentials->lock);
	credentials->asking = credentials->refused = false;
	credentials->answers++;
	now = (int64_t) time(NULL);
	credentials->renew_at = keys && expires - RENEW_BEFORE > now ? expires - RENEW_BEFORE :
		now + RENEW_AGAIN;
	if (keys == NULL)
		return false;
	/* the same ones stay the same, for builder_credentials_renew() to see */
	if (credentials->keys && same_keys(credentials->keys, keys))
		free_keys(keys);
	else
	{
		drop_user(credentials->keys);
		credentials->keys = keys;
	}
	return true;
}

/* ---- using them ---- */

builder_keys *
builder_credentials_take(builder_credentials *credentials, const builder_going *going,
						 double deadline, builder_error *error)
{
	builder_keys *keys = NULL;
	builder_error ignored;
	bool		ok = true;

	pthread_mutex_lock(&credentials->lock);
	if (credentials->keys == NULL)
		ok = ask(credentials, going, deadline, error);
	else if (credentials->asking && credentials->refused)
		ok = wait_for_answer(credentials, going, error);
	/* what has a deadline has no time for that */
	else if (credentials->instance && !credentials->asking && deadline == 0 &&
			 (int64_t) time(NULL) >= credentials->renew_at)
		(void) ask(credentials, going, deadline, &ignored);
	if (ok)
	{
		keys = credentials->keys;
		keys->users++;
	}
	pthread_mutex_unlock(&credentials->lock);
	return keys;
}

void
builder_credentials_release(builder_credentials *credentials, builder_keys *keys)
{
	pthread_mutex_lock(&credentials->lock);
	drop_user(keys);
	pthread_mutex_unlock(&credentials->lock);
}

bool
builder_credentials_renew(builder_credentials *credentials, const builder_keys *keys,
						  const builder_going *going, double deadline)
{
	builder_error ignored;
	bool		others;

	if (credentials->instance == NULL)
		return false;
	pthread_mutex_lock(&credentials->lock);
	if (credentials->keys == keys)
	{
		credentials->refused = true;
		(void) ask(credentials, going, deadline, &ignored);
	}
	others = credentials->keys != keys;
	pthread_mutex_unlock(&credentials->lock);
	return others;
}
