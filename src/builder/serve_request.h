/*
 * serve_request.h
 *		A request to build: the JSON object of POST /_build.
 */
#ifndef KNN_BUILDER_SERVE_REQUEST_H
#define KNN_BUILDER_SERVE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "builder/sha256.h"

struct json_object;

#define SERVE_REQUEST_BYTES (64 * 1024) /* no request is longer */
#define SERVE_KEY_BYTES 1024	/* of an object's key, as in S3 */
#define SERVE_VECTORS_SUFFIX ".knnvec"
#define SERVE_RESULT_SUFFIX ".faiss"

/* In the order of their names in serve_request.c. */
typedef enum
{
	SERVE_FLOAT, SERVE_HALF, SERVE_BYTE, SERVE_BINARY
} serve_data_type;

typedef enum
{
	SERVE_L2, SERVE_INNERPRODUCT, SERVE_HAMMING, SERVE_COSINESIMIL
} serve_space;

/* The texts are allocated, and belong to the request. */
typedef struct serve_request
{
	int			repository_type;	/* builder_repository_type */
	char	   *container_name;
	char	   *vector_path;
	char	   *doc_id_path;
	char	   *tenant_id;
	uint32_t	dimension;
	uint32_t	doc_count;
	int			data_type;
	int			space_type;
	uint32_t	m;
	uint32_t	ef_construction;
	uint32_t	ef_search;
	bool		skip_stored_vectors;
} serve_request;

/* What is wrong with a request, in the form of the answer. */
typedef struct serve_problem
{
	char		field[80];
	char		message[256];
	const char *type;
} serve_problem;

#define SERVE_PROBLEMS 16		/* more are not told */

typedef struct serve_problems
{
	uint32_t	count;
	serve_problem list[SERVE_PROBLEMS];
} serve_problems;

typedef enum
{
	SERVE_REQUEST_OK,
	SERVE_REQUEST_NOT_JSON,		/* the first problem's message tells why */
	SERVE_REQUEST_INVALID,		/* the problems are of its values */
	SERVE_REQUEST_NO_MEMORY
} serve_request_result;

/*
 * Parse the text of a request, which need not end with a zero.  Unless the result is
 * SERVE_REQUEST_OK there is nothing to free.
 */
extern serve_request_result serve_request_parse(serve_request *request, const char *text,
												size_t length, serve_problems *problems);

/* The same of an object that is parsed already. */
extern serve_request_result serve_request_read(serve_request *request, struct json_object *object,
											   serve_problems *problems);

/* The request as an object that serve_request_read takes; NULL without memory. */
extern struct json_object *serve_request_json(const serve_request *request);

extern bool serve_request_equal(const serve_request *a, const serve_request *b);
extern void serve_request_free(serve_request *request);

extern void serve_problem_add(serve_problems *problems, const char *field, const char *type,
							  const char *format,...) __attribute__((format(printf, 4, 5)));

/* The job's id: SHA-256 of "{vector_path}-{tenant_id}".  False without memory. */
extern bool serve_request_id(const serve_request *request, char id[SHA256_HEX + 1]);

/* Bytes of a vector in the vectors' file. */
extern uint64_t serve_request_row_bytes(const serve_request *request);

/* Key of the result, and its part after the last '/': what the client is told. */
extern void serve_request_result_key(const serve_request *request, char key[SERVE_KEY_BYTES + 1]);
extern const char *serve_request_file_name(const char *key);

#endif
