/*
 * job.h
 *		The job that knn-builder is given: one JSON object.
 */
#ifndef KNN_BUILDER_JOB_H
#define KNN_BUILDER_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "builder/output.h"
#include "core/code.h"
#include "core/faiss_file.h"

#define BUILDER_JOB_VERSION 1
#define BUILDER_MAX_NLIST 1000000
#define BUILDER_JOB_BYTES (1024 * 1024) /* no job is longer */

typedef enum builder_format
{
	BUILDER_FORMAT_GRAPH,		/* core/graph_file.h */
	BUILDER_FORMAT_FAISS		/* core/faiss_graph.h */
} builder_format;

typedef enum builder_job_kind
{
	BUILDER_BUILD,				/* a graph */
	BUILDER_CLUSTER				/* lists */
} builder_job_kind;

/* The name of a kind, which is a command of the program too. */
extern const char *builder_job_name(builder_job_kind kind);

typedef struct builder_job
{
	builder_job_kind kind;
	char	   *vectors;		/* paths */
	char	   *ids;
	char	   *result;
	char	   *graph;			/* of faiss, to be imported; or NULL */
	char	   *codes;			/* of floats; NULL for none */
	uint32_t	dimension;
	uint32_t	count;
	knn_space	space;
	knn_encoding encoding;		/* of the index (of lists: of centroids); tells the
								 * data type too */
	uint32_t	m;				/* of a graph */
	uint32_t	ef_construction;
	uint32_t	nlist;			/* of lists */
	uint64_t	seed;
	uint32_t	threads;
	uint64_t	memory_limit;	/* bytes, 0 for none */
	uint32_t	codes_per_page; /* 0: codes cross pages */
	builder_format result_format;
	/* of a result of faiss */
	knn_faiss_encoding storage;
	uint32_t	ef_search;
} builder_job;

/*
 * Parse the text of a job, which need not end with a zero.  False when it is no good
 * one: then error tells why, and there is nothing to free.
 */
extern bool builder_job_parse(builder_job *job, const char *text, size_t length,
							  builder_error *error);

/* The same in two steps, for jobs with more keys.  The object is json_object_put's. */
struct json_object;
extern struct json_object *builder_job_object(const char *text, size_t length,
											  builder_error *error);
extern bool builder_job_read(builder_job *job, struct json_object *object, builder_error *error);

extern void builder_job_free(builder_job *job);

#endif
