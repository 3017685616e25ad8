/*
 * remote_job.h
 *		The job of `knn-builder remote`, and what a build service is told and answers.
 *
 * The job is a build job with one key more, "remote".
 */
#ifndef KNN_BUILDER_REMOTE_JOB_H
#define KNN_BUILDER_REMOTE_JOB_H

#include "builder/job.h"
#include "builder/repository.h"

typedef struct builder_remote_job
{
	builder_job build;
	char	   *endpoint;		/* URL of the service, without a slash at its end */
	char	   *username;		/* or NULL, as password */
	char	   *password;
	char	   *ca_file;		/* or NULL */
	double		poll_interval;	/* seconds */
	double		timeout;		/* seconds, from the request on */
	char	   *tenant_id;		/* or NULL */
	char	   *object;			/* key that the objects' keys begin with */
	bool		keep_objects;
	bool		fp16_storage;
	bool		skip_stored_vectors;
	builder_repository_options repository;	/* its strings are the job's */
} builder_remote_job;

/* As builder_job_parse. */
extern bool builder_remote_job_parse(builder_remote_job *job, const char *text, size_t length,
									 builder_error *error);
extern void builder_remote_job_free(builder_remote_job *job);

/* The body of POST /_build; NULL: out of memory.  free() frees it. */
extern char *builder_remote_request(const builder_remote_job *job, const char *vectors,
									const char *ids);

/*
 * Bytes that a file of such an index may have at most, whatever it keeps of the vectors:
 * with room for the graphs that other builders make, of twice the links.
 */
extern uint64_t builder_remote_result_limit(const builder_job *job);

/* ---- answers ---- */

typedef enum builder_remote_state
{
	BUILDER_REMOTE_RUNNING, BUILDER_REMOTE_FAILED, BUILDER_REMOTE_COMPLETED
} builder_remote_state;

#define BUILDER_REMOTE_TEXT 256

/* Of POST /_build: the job's id, encoded for a URL.  Errors are BUILDER_REMOTE. */
extern bool builder_remote_read_id(const char *text, size_t length,
								   char id[3 * BUILDER_REMOTE_TEXT], builder_error *error);

/* Of GET /_status. */
typedef struct builder_remote_status
{
	builder_remote_state state;
	char		file_name[BUILDER_REMOTE_TEXT]; /* completed: a plain name that ends in .faiss */
	char		message[400];	/* failed: one line, perhaps empty */
} builder_remote_status;

extern bool builder_remote_read_status(const char *text, size_t length,
									   builder_remote_status *status, builder_error *error);

#endif
