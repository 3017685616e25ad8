/*
 * http.h
 *		Requests over HTTP, by libcurl.
 *
 * TLS is always verified, redirects are never followed, answers are limited, and what
 * stalls ends.  Proxies are those of the environment, as curl has them.  A client keeps
 * its connections from one request to the next; it is of one thread at a time.
 */
#ifndef KNN_BUILDER_HTTP_H
#define KNN_BUILDER_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "builder/wait.h"

/* Seconds; the tests build with shorter ones. */
#ifndef BUILDER_HTTP_CONNECT_SECONDS
#define BUILDER_HTTP_CONNECT_SECONDS 10
#endif
#ifndef BUILDER_HTTP_STALL_SECONDS
#define BUILDER_HTTP_STALL_SECONDS 60	/* of a stream below that speed */
#endif
#ifndef BUILDER_HTTP_SECONDS
#define BUILDER_HTTP_SECONDS 60	/* a request with a small body and a small answer */
#endif

#define BUILDER_HTTP_STALL_BYTES 1024	/* a second */
#define BUILDER_HTTP_ANSWER_BYTES (64 * 1024)	/* no answer kept in memory is longer */

typedef struct builder_http builder_http;

/* Strings stay the caller's and must live as long as the client. */
typedef struct builder_http_options
{
	const char *ca_file;		/* PEM; NULL: the system's */
	const char *username;		/* NULL: no authentication */
	const char *password;
	const char *sigv4;			/* "aws:amz:REGION:SERVICE"; NULL: Basic */
	bool		direct;			/* never by a proxy */
} builder_http_options;

typedef enum builder_http_method
{
	BUILDER_HTTP_GET, BUILDER_HTTP_HEAD, BUILDER_HTTP_PUT, BUILDER_HTTP_POST, BUILDER_HTTP_DELETE
} builder_http_method;

#define BUILDER_HTTP_HEADERS 8

typedef struct builder_http_request
{
	builder_http_method method;
	const char *url;
	const char *headers[BUILDER_HTTP_HEADERS];	/* "name: value", then NULL */
	const char *range;			/* "FIRST-LAST", or NULL */
	const char *username;		/* instead of those of the client; or NULL */
	const char *password;

	/*
	 * libcurl itself repeats a request whose kept connection turns out to be closed, though
	 * it may have been acted on.  Once: it goes over a new connection, and is not repeated.
	 */
	bool		once;

	/* POST: bytes in memory */
	const char *body;
	size_t		body_length;

	/* PUT: bytes of the stream, asked for by their offset; false ends the request */
	uint64_t	length;
	bool		(*read) (void *state, uint64_t offset, void *bytes, size_t n);

	/* where an answer of write_status goes instead of into memory */
	long		write_status;
	bool		(*write) (void *state, const void *bytes, size_t n);
	void	   *state;			/* of read and write */

	double		seconds;		/* for all of it; 0: as long as something moves */
	double		deadline;		/* of builder_now(); 0: none */
	builder_going going;
} builder_http_request;

typedef enum builder_http_result
{
	BUILDER_HTTP_ANSWERED,		/* whole, with any status */
	BUILDER_HTTP_UNREACHED,		/* no connection came about */
	BUILDER_HTTP_UNTRUSTED,		/* the other side's certificate is no good */
	BUILDER_HTTP_NO_CA,			/* the file of those to trust is no good */
	BUILDER_HTTP_BROKEN,		/* the connection broke, or stalled */
	BUILDER_HTTP_UNUSABLE,		/* the answer is too long, or no HTTP */
	BUILDER_HTTP_STOPPED,		/* read or write returned false */
	BUILDER_HTTP_CANCELLED,
	BUILDER_HTTP_NO_MEMORY
} builder_http_result;

/* NULL: out of memory. */
extern builder_http *builder_http_open(const builder_http_options *options);
extern void builder_http_close(builder_http *http);

/* Do a request.  What follows is of the last one, and valid until the next. */
extern builder_http_result builder_http_do(builder_http *http, const builder_http_request *request);

extern long builder_http_status(const builder_http *http);

/* The answer's body, which is ended by a zero byte that the length does not count. */
extern const char *builder_http_body(const builder_http *http, size_t *length);

/* The value of a header of the answer; NULL when there is none. */
extern const char *builder_http_header(builder_http *http, const char *name);

/* Why there is no answer: one line, without secrets. */
extern const char *builder_http_trouble(const builder_http *http);

/* Statuses after which the same request may be answered otherwise. */
extern bool builder_http_may_pass(long status);

/* Seconds the answer's Retry-After asks for, at most so many; without one, otherwise. */
extern double builder_http_retry_after(builder_http *http, double most, double otherwise);

#endif
