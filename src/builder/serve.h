/*
 * serve.h
 *		knn-builder serve: the remote build service.
 *
 *	serve.c				the program's main loop: start, signals, end
 *	serve_options.c		the command line
 *	serve_listen.c		the socket
 *	serve_http.c		connections and TLS				(libmicrohttpd's threads)
 *	serve_routes.c		what can be asked, and answers
 *	serve_auth.c		who may ask
 *	serve_origin.c		what browsers ask for others' pages
 *	serve_request.c		what is asked
 *	serve_jobs.c		jobs: ids, queue, memory		(under one lock)
 *	serve_state.c		the file of each job
 *	serve_worker.c		one job: download, build, upload	(a thread for each worker),
 *						and what cancelled ones leave		(another thread)
 *	serve_room.c		room in the work folder
 *	serve_vectors.c		checks of downloaded vectors
 *	serve_child.c		the child process that builds
 *	serve_plan.c		what a request is to that child
 *	serve_repository.c	which object stores there are
 *	serve_log.c			the log
 */
#ifndef KNN_BUILDER_SERVE_H
#define KNN_BUILDER_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "builder/output.h"
#include "builder/repository.h"
#include "builder/serve_request.h"

#define SERVE_TEXTS 32			/* of an option that may be repeated */
#define SERVE_INSTANCE "instance"	/* --s3-credentials: those of the machine */

typedef struct serve_texts
{
	uint32_t	count;
	const char *list[SERVE_TEXTS];
} serve_texts;

/* The command line.  Times are seconds, sizes bytes; texts are those of argv. */
typedef struct serve_config
{
	const char *listen;			/* ADDRESS:PORT */
	const char *state_dir;
	const char *work_dir;
	serve_texts repository_dirs;
	serve_texts containers;
	const char *s3_endpoint;
	const char *s3_region;
	const char *s3_credentials; /* file, or SERVE_INSTANCE; NULL: of the environment */
	const char *s3_ca_file;
	bool		s3_path_style;
	uint64_t	memory_limit;
	uint64_t	threads;		/* of a job */
	uint64_t	workers;
	uint64_t	queue;			/* jobs that may wait */
	uint64_t	jobs;			/* that may be known */
	uint64_t	job_ttl;
	uint64_t	job_timeout;
	const char *auth_file;
	const char *tls_cert;
	const char *tls_key;
	int			tls_min;		/* 12 or 13 */
	bool		insecure;
	uint64_t	connections;
	uint64_t	request_timeout;
	bool		log_json;
	const char *builder;		/* program of the children */
	bool		core_dumps;		/* and debuggers */
	bool		help;
} serve_config;

/* `knn-builder serve`, with the arguments after that; its exit status. */
extern int	serve_main(int argc, char **argv);

/* False with a message when arguments are no good. */
extern bool serve_options_parse(serve_config *config, int argc, char **argv, builder_error *error);
extern const char *const serve_options_usage;

/*
 * The text of a file that holds secrets; it must be nobody else's to read.  NULL and
 * *error when it is not; to be freed.
 */
extern char *serve_secret_read(const char *path, size_t limit, builder_error *error);

/*
 * Set an error; its detail is of errno when that is not 0.  Always false, for functions
 * that return it at once.
 */
extern bool serve_fail(builder_error *error, const char *code, int why, const char *format,...)
			__attribute__((format(printf, 4, 5)));

/* ---- listening ---- */

/*
 * A socket that listens at "ADDRESS:PORT" or "[ADDRESS]:PORT"; -1 and *error upon
 * failure.  Tells whether other machines can reach it, and the address it got.
 */
extern int	serve_listen(const char *where, bool *public, char address[128], builder_error *error);

/* ---- who may ask ---- */

typedef struct serve_auth serve_auth;

/* Of a file with lines "user:password"; NULL and *error when it is no good. */
extern serve_auth *serve_auth_load(const char *path, builder_error *error);
extern void serve_auth_free(serve_auth *auth);

/* The user of an Authorization header (which may be NULL); NULL for nobody. */
extern const char *serve_auth_user(const serve_auth *auth, const char *header);

/* ---- browsers ---- */

/*
 * Whether a page of another site asks, by the headers Origin, Sec-Fetch-Site and Host; each
 * may be NULL.
 */
extern bool serve_origin_is_foreign(const char *origin, const char *site, const char *host);

/* Whether a Host header has one of this machine's own names: localhost, 127.0.0.0/8, [::1]. */
extern bool serve_origin_host_is_local(const char *host);

/* ---- object stores ---- */

/* Adds to the problems when the service has no such store. */
extern void serve_repository_check(const serve_config *config, const serve_request *request,
								   serve_problems *problems);

/* Whether two requests have the same object as their result. */
extern bool serve_repository_same_result(const serve_request *a, const serve_request *b);

/* The store of a request; NULL and *error upon failure. */
extern builder_repository *serve_repository_open(const serve_config *config,
												 const serve_request *request,
												 builder_error *error);

/* ---- what a request is to knn-builder build ---- */

/* The bytes of memory that a build gets; 0 when the limit is too small for it. */
extern uint64_t serve_plan_memory(const serve_config *config, const serve_request *request);

/* The files of a job, in a folder of its own. */
typedef struct serve_files
{
	char		folder[1024];
	char		vectors[1100];
	char		ids[1100];
	char		result[1100];
} serve_files;

/* False when a name is too long. */
extern bool serve_plan_files(const serve_config *config, const char *id, serve_files *files);

/*
 * The job as text, to be freed; NULL without memory.  normalised: all vectors have
 * length 1.
 */
extern char *serve_plan_job(const serve_config *config, const serve_request *request,
							const serve_files *files, uint64_t memory, bool normalised);

/* ---- vectors ---- */

/*
 * Check the vectors of a file of the right size: no NaN, no infinity.  Tells whether
 * all have length 1, after having given them that where the space is cosinesimil.
 */
extern bool serve_vectors_check(const char *path, const serve_request *request,
								const builder_transfer *transfer, bool *normalised,
								builder_error *error);

/* ---- the child ---- */

typedef struct serve_child
{
	const char *program;
	const char *job;			/* its standard input */
	double		deadline;		/* of builder_now() */

	/* each phase, now and then; false ends the child */
	bool		(*progress) (void *state, const char *phase, uint64_t done, uint64_t total);
	void	   *state;
} serve_child;

/* True when it ended with a result. */
extern bool serve_child_run(const serve_child *child, builder_error *error);

#endif
