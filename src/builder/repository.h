/*
 * repository.h
 *		Object stores: where vectors go for a remote build, and where its graph comes from.
 *
 * A repository is a bucket of a store that speaks S3, or a directory that both sides see.
 * A key is relative, its parts divided by '/': none of them is empty, "." or "..".
 *
 * Errors are values here: nothing ends the program, nothing is printed.  Their codes are
 *
 *		BUILDER_BAD_JOB			options or a key that can be of no use
 *		BUILDER_IO				the local file (path) could not be read or written
 *		BUILDER_REPOSITORY		the store: not reached, refused, damaged
 *		BUILDER_EXISTS			the store has such an object already
 *		BUILDER_NOT_FOUND		the store has no such object
 *		BUILDER_CANCELLED		the caller's progress function said so
 *		BUILDER_OUT_OF_MEMORY
 *
 * and no message ever contains a secret.  Failures of the store that may pass (connections
 * that break, 408, 429, 500, 502, 503, 504, 509) are tried again some times, with pauses.
 *
 * Each repository is for one thread at a time; different ones are independent.  Transfers
 * stream: memory is some MB, whatever the size.  The process must ignore SIGPIPE, and
 * SIGXFSZ where files have a limit.
 */
#ifndef KNN_BUILDER_REPOSITORY_H
#define KNN_BUILDER_REPOSITORY_H

#include <stdbool.h>
#include <stdint.h>

#include "builder/output.h"
#include "builder/wait.h"

typedef struct builder_repository builder_repository;

typedef enum builder_repository_type
{
	BUILDER_REPOSITORY_S3,
	BUILDER_REPOSITORY_FILE
} builder_repository_type;

#define BUILDER_CONNECTIONS_MAX 64

/* Strings stay the caller's, and are copied; NULL, or empty: not given. */
typedef struct builder_repository_options
{
	builder_repository_type type;
	const char *container;		/* s3: bucket; file: absolute directory, which is there */
	/* the others are of s3 */
	const char *region;			/* default: AWS_REGION, AWS_DEFAULT_REGION, us-east-1 */
	const char *endpoint;		/* URL; default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, Amazon's */
	bool		path_style;		/* bucket in the path and not in the host name */
	bool		instance;		/* the credentials are the machine's (instance.h), not these */
	/* default: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN */
	const char *access_key;
	const char *secret_key;
	const char *session_token;
	const char *ca_file;		/* PEM; default: the system's */
	uint32_t	connections;	/* parallel parts; 0: 4 */
} builder_repository_options;

/*
 * What a transfer tells, ten times a second or so, also while nothing moves, on the
 * calling thread: bytes done now of all.  Returning false ends it (BUILDER_CANCELLED).
 */
typedef struct builder_transfer
{
	bool		(*progress) (void *state, uint64_t done, uint64_t total);
	void	   *state;
} builder_transfer;

/* NULL and *error when options are no good; nothing is connected yet. */
extern builder_repository *builder_repository_open(const builder_repository_options *options,
												   builder_error *error);
extern void builder_repository_close(builder_repository *repository);

/*
 * All requests from now on, their retries included, end within so many seconds from now
 * together; 0: as long as it takes.  For cleaning up before an end.
 */
extern void builder_repository_deadline(builder_repository *repository, double seconds);

/*
 * What size and remove ask from now on, which tell nobody how far they are; false from it
 * ends them (BUILDER_CANCELLED).
 */
extern void builder_repository_going(builder_repository *repository, const builder_going *going);

/*
 * Those below are false with *error set upon failure; transfer may be NULL.
 *
 * put: the file at path as a new object.  An object is never overwritten (an existing key
 * is an error) and appears whole or not at all.
 */
extern bool builder_repository_put(builder_repository *repository, const char *key,
								   const char *path, const builder_transfer *transfer,
								   builder_error *error);

/*
 * give: the same of a file that nobody will write to any more: it may become the object
 * instead of being copied.  Its name at path stays, for the caller to remove.
 */
extern bool builder_repository_give(builder_repository *repository, const char *key,
									const char *path, const builder_transfer *transfer,
									builder_error *error);

/*
 * get: the object as a new file at path, which must not be there; it is removed again
 * upon failure.  An object of more than limit bytes is an error, and so is one that
 * changes meanwhile or whose checksum, where the store tells one, is another.
 */
extern bool builder_repository_get(builder_repository *repository, const char *key,
								   const char *path, uint64_t limit,
								   const builder_transfer *transfer, builder_error *error);

extern bool builder_repository_size(builder_repository *repository, const char *key,
									uint64_t *size, builder_error *error);

/* Nothing there is no error. */
extern bool builder_repository_remove(builder_repository *repository, const char *key,
									  builder_error *error);

#endif
