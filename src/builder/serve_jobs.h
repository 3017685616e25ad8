/*
 * serve_jobs.h
 *		The jobs that the service knows, and the queue of those that wait.
 *
 * A job is queued, running, and then completed or failed; it is forgotten some time
 * after that.  One that its client cancels has failed for everybody who asks, but is
 * "cancelled" here until nobody works at it any more and what it put into the store is
 * gone.  Then only may it be run again, which may be asked for before.  Each has a file, which is written before anybody is told of its state,
 * so that a service that starts again knows the same jobs.
 *
 * All functions lock; one lock is for everything, and held while a state file is
 * written, so that the files of a job are written in the order of its states.
 */
#ifndef KNN_BUILDER_SERVE_JOBS_H
#define KNN_BUILDER_SERVE_JOBS_H

#include <sys/queue.h>
#include <time.h>

#include "builder/serve.h"

typedef enum
{
	SERVE_QUEUED, SERVE_RUNNING, SERVE_COMPLETED, SERVE_FAILED, SERVE_CANCELLED
} serve_state;

extern const char *const serve_state_names[];

#define SERVE_ERROR_BYTES 1100

/* While a job is running or cancelled, its request and id stay what they are. */
typedef struct serve_job
{
	TAILQ_ENTRY(serve_job) known;	/* all, the latest last; or those replaced */
	TAILQ_ENTRY(serve_job) waiting; /* the queue, those that run, or those whose results go */
	LIST_ENTRY(serve_job) bucket;
	char		id[SHA256_HEX + 1];
	serve_request request;
	serve_state state;
	uint64_t	number;			/* the order in which jobs came */
	uint32_t	attempts;		/* that ended with the service itself */
	time_t		created;
	time_t		started;		/* 0: not yet */
	time_t		finished;
	uint64_t	memory;			/* bytes it takes when it runs */
	bool		put;			/* its result may be in the store, and is this service's */
	bool		replaced;		/* cancelled and asked for again: known no longer */
	char		error[SERVE_ERROR_BYTES];
	const char *phase;			/* of a running job; a constant */
	uint64_t	done;
	uint64_t	total;
} serve_job;

/* ---- the files, in serve_state.c ---- */

/* Write the state of a job, durably; false and *error upon failure. */
extern bool serve_state_write(const char *folder, const serve_job *job, builder_error *error);
extern void serve_state_remove(const char *folder, const char *id);

/* The job of a file; NULL and *error when it is none.  To be freed. */
extern serve_job *serve_state_read(const char *folder, const char *name, builder_error *error);
extern void serve_job_free(serve_job *job);

/* The text of a file, to be freed, and the job of such a text; NULL when it is none. */
extern char *serve_state_text(const serve_job *job);
extern serve_job *serve_state_parse(const char *text, size_t length);

/* Whether a name is that of a job, in all its 64 digits. */
extern bool serve_is_id(const char *text);

/* ---- jobs ---- */

typedef struct serve_jobs serve_jobs;

/* With the jobs of the state folder; NULL and *error upon failure. */
extern serve_jobs *serve_jobs_open(const serve_config *config, builder_error *error);
extern void serve_jobs_close(serve_jobs *jobs);

typedef enum
{
	SERVE_ACCEPTED,				/* or known already */
	SERVE_CONFLICT,				/* known with another request */
	SERVE_RIVAL,				/* another job is making the same result: *error tells which */
	SERVE_BUSY,					/* no room in the queue */
	SERVE_TOO_LARGE,			/* can never be built here */
	SERVE_BROKEN				/* *error tells why */
} serve_submission;

/* Takes the texts of the request if it needs them, which is when they become NULL. */
extern serve_submission serve_jobs_submit(serve_jobs *jobs, serve_request *request,
										  char id[SHA256_HEX + 1], builder_error *error);

/* What is told of a job; false when there is none. */
typedef struct serve_status
{
	serve_state state;
	char		file_name[SERVE_KEY_BYTES + 1];
	char		error[SERVE_ERROR_BYTES];
} serve_status;

extern bool serve_jobs_status(serve_jobs *jobs, const char *id, serve_status *status);

typedef enum
{
	SERVE_CANCEL_UNKNOWN,		/* no such job */
	SERVE_CANCEL_BEGUN,			/* it ends soon, or its result goes */
	SERVE_CANCEL_OVER,			/* there is nothing, or nothing any more, to end */
	SERVE_CANCEL_BROKEN			/* it goes on; *error tells why */
} serve_cancellation;

/* Its client wants the job no longer, nor its result.  A job that failed stays as it is. */
extern serve_cancellation serve_jobs_cancel(serve_jobs *jobs, const char *id,
											serve_status *status, builder_error *error);

/* All of them, and the service's figures; NULL without memory. */
extern struct json_object *serve_jobs_list(serve_jobs *jobs);

/* Forget what is over since long; now and then. */
extern void serve_jobs_expire(serve_jobs *jobs);

/* ---- for workers ---- */

/* The next job, once there is one and memory for it; NULL when the service ends. */
extern serve_job *serve_jobs_take(serve_jobs *jobs);

/* False when the service ends or the job was cancelled: so must the work.  phase is a constant. */
extern bool serve_jobs_progress(serve_jobs *jobs, serve_job *job, const char *phase,
								uint64_t done, uint64_t total);

/* The same without anything to tell. */
extern bool serve_jobs_goes_on(serve_jobs *jobs, const serve_job *job);

/* The same before the result is put; from then on it is removed when the job is cancelled. */
extern bool serve_jobs_putting(serve_jobs *jobs, serve_job *job);

/*
 * Nobody works at a job any more: an error of NULL for one that is completed.  One that was
 * stopped because the service ends goes back to the queue instead.
 */
extern void serve_jobs_finish(serve_jobs *jobs, serve_job *job, const builder_error *error);

/* The next cancelled job whose result is to be removed, by one thread; NULL when the service ends. */
extern serve_job *serve_jobs_take_cancelled(serve_jobs *jobs);

/* It was, as far as it can be: the job is over, and may be gone. */
extern void serve_jobs_settle(serve_jobs *jobs, serve_job *job);

/* Let workers end. */
extern void serve_jobs_stop(serve_jobs *jobs);

#endif
