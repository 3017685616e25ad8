/*
 * s3.h
 *		Requests to a store that speaks S3; for repository_s3*.c alone.
 */
#ifndef KNN_BUILDER_S3_H
#define KNN_BUILDER_S3_H

#include "builder/credentials.h"
#include "builder/http.h"
#include "builder/repository_class.h"

#define S3_TEXT 1024			/* of upload ids, tags and checksums, with a zero */
#define S3_QUERY (3 * S3_TEXT + 64)

/*
 * Larger objects are written and read in parts of so many bytes, which several connections
 * share: so many that objects of some ten MB have work for all, and few enough requests.
 */
#ifndef S3_PART_BYTES
#define S3_PART_BYTES (16 * 1024 * 1024)
#endif

typedef struct s3_repository
{
	builder_repository base;
	char	   *bucket;
	char	   *url;			/* of the bucket, without a slash at the end */
	char	   *region;
	char	   *scope;			/* of signatures, as libcurl takes it */
	builder_credentials *credentials;
	char	   *ca_file;
	uint32_t	connections;
	builder_http *http;			/* of the calling thread */
} s3_repository;

extern builder_http *s3_open_http(const s3_repository *s3);

/*
 * A request, which is done again where that may help.  Set are of http: the method, body,
 * streams, limits and going; address and authentication are added to it.
 */
typedef struct s3_request
{
	builder_http_request http;
	const char *key;
	const char *query;			/* canonical: sorted, encoded, "name=" without a value */
	const char *headers[4];		/* more ones, NULL at the end */

	/*
	 * Called before each attempt with the state of http, may change http: streams begin
	 * again.  False: it has set the error.
	 */
	bool		(*begin) (void *state, builder_http_request *http);

	int			attempts;		/* out: that were made, but for one that the store refused
								 * for its credentials; begin may set it to 0 */
} s3_request;

/*
 * The status of the answer, 0 when there is none and *error is set.  When read or write of
 * the request returned false, they have set *error.  Statuses that may pass are returned
 * after some attempts only.
 */
extern long s3_do(s3_repository *s3, builder_http *http, s3_request *request,
				  builder_error *error);

/* Make an error of the last answer: what is "write", "read" ... Always false. */
extern bool s3_refused(const s3_repository *s3, builder_http *http, const char *what,
					   const char *key, builder_error *error);

/* What the store says of an object. */
typedef struct s3_head
{
	uint64_t	size;
	char		etag[S3_TEXT];	/* with its quotes */
	char		crc32[64];		/* "" when it does not tell; of parts: TEXT-COUNT */
	char		crc32c[64];
	bool		of_parts;		/* the checksum may be that of the parts' ones */
	bool		only_of_parts;	/* it is */
} s3_head;

/*
 * Ask for that, of a part (1 ...) where part is not 0: the status, as s3_do.  Of 200 and
 * 206 the head is set.
 */
extern long s3_ask(s3_repository *s3, const char *key, uint32_t part, const builder_going *going,
				   s3_head *head, builder_error *error);

/* ---- parts in parallel ---- */

/*
 * Do n parts on as many threads as the repository has connections, while the calling
 * thread tells the progress.  one does a part by its own client, adds to *moved what it
 * moved (and takes it away again where it begins anew), and is false with *error set.
 */
typedef struct s3_parallel
{
	uint32_t	n;
	bool		(*one) (void *state, uint32_t part, builder_http *http, const builder_going *going,
						builder_error *error);
	void	   *state;
	uint64_t	total;			/* bytes */
	uint64_t	moved;			/* atomic */
	const builder_transfer *transfer;
} s3_parallel;

extern bool s3_do_parts(s3_repository *s3, s3_parallel *parallel, builder_error *error);

/*
 * For the calling thread's own requests before and after: tells the progress, and whether
 * to go on.  The state is the s3_parallel.
 */
extern bool s3_goes_on(void *state);

/* ---- the class ---- */

extern bool s3_put(builder_repository *base, const char *key, const builder_local *file,
				   const builder_transfer *transfer, builder_error *error);
extern bool s3_get(builder_repository *base, const char *key, const builder_local *file,
				   uint64_t limit, const builder_transfer *transfer, builder_error *error);
extern bool s3_remove(builder_repository *base, const char *key, builder_error *error);

#endif
