/*
 * remote.c
 *		Builds by a service elsewhere; see remote.h.
 *
 * The service is greeted, since what it will not take need not be uploaded.  The job's
 * vectors and ids go to the object store, the service is asked to build and then how far it
 * is, its file is fetched, the objects are removed, and the file is converted.
 * Objects are removed whatever happens, as far as there is time: a signal is only noted
 * until the last one is gone.  A service that may still be at work, or have a file that is
 * not fetched, is told before, since it reads some objects and writes one.
 */
#include "builder/remote.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "builder/import.h"
#include "builder/remote_job.h"
#include "builder/remote_service.h"
#include "builder/repository.h"
#include "builder/secrets.h"
#include "builder/wait.h"

#define END_SECONDS 10			/* to give up the job and remove all objects after a failure */
#define END_SECONDS_CANCELLED 2.5	/* the server kills what does not end within 3 s */
#define GIVE_UP_SECONDS 2		/* of these for a service that does not answer */
#define GIVE_UP_SECONDS_CANCELLED 0.8
#define REMOVE_SECONDS_LEAST 0.2
#define FIRST_INTERVALS 3		/* of polling, before the first question */
#define PATIENCE_INTERVALS 12	/* for a service that cannot be reached: it may be restarting */
#define TELL_SECONDS 1			/* whoever waits for us wants to hear of us that often */

/* in the order of names */
typedef enum Counter
{
	WRITE_SUCCESS, WRITE_FAILURE, WRITE_TIME, READ_SUCCESS, READ_FAILURE, READ_TIME,
	BUILD_REQUEST_SUCCESS, BUILD_REQUEST_FAILURE, STATUS_REQUEST_SUCCESS, STATUS_REQUEST_FAILURE,
	INDEX_BUILD_SUCCESS, INDEX_BUILD_FAILURE, WAITING_TIME, COUNTERS
} Counter;

static const char *const names[COUNTERS] = {
	"write_success_count", "write_failure_count", "successful_write_time_in_millis",
	"read_success_count", "read_failure_count", "successful_read_time_in_millis",
	"build_request_success_count", "build_request_failure_count", "status_request_success_count",
	"status_request_failure_count", "index_build_success_count", "index_build_failure_count",
	"waiting_time_in_ms",
};

typedef struct Remote
{
	builder_remote_job job;
	builder_repository *repository;
	builder_service *service;
	char		id[3 * BUILDER_REMOTE_TEXT];	/* of the service's job; empty: it has none to do */
	uint64_t	counters[COUNTERS];
	/* keys of objects, NULL as long as there is none that is this job's */
	char	   *vectors;
	char	   *ids;
	char	   *graph;			/* what is expected: the service may name another */
	char	   *named;
	char	   *file;			/* the graph's local file */
	uint32_t	nleft;			/* objects that could not be removed */
	builder_error left;			/* about the first of them */
} Remote;

/* ---- numbers ---- */

static void
tell_counters(const Remote *remote)
{
	builder_counter counters[COUNTERS];

	for (int i = 0; i < COUNTERS; i++)
		counters[i] = (builder_counter) {names[i], remote->counters[i]};
	builder_counters(counters, COUNTERS);
}

static uint64_t
milliseconds_since(double start)
{
	return (uint64_t) ((builder_now() - start) * 1000);
}

/*
 * Count how a stage ended; its time is of successes.  It is told at once, since nobody
 * listens any more when the statement is cancelled.
 */
static bool
count(Remote *remote, bool ok, Counter success, Counter failure)
{
	remote->counters[ok ? success : failure]++;
	tell_counters(remote);
	return ok;
}

/* ---- progress and cancelling ---- */

/* What was told last, and when. */
static struct
{
	const char *phase;
	uint64_t	done;
	uint64_t	total;
	double		at;
}			told;

static void
tell(const char *phase, uint64_t done, uint64_t total)
{
	told.phase = phase;
	told.done = done;
	told.total = total;
	told.at = builder_now();
	builder_progress(phase, done, total);
}

/* Of the main thread alone.  A request may take long, and is no silence. */
static bool
goes_on(void *state)
{
	(void) state;
	if (told.phase && builder_now() - told.at >= TELL_SECONDS)
		tell(told.phase, told.done, told.total);
	return !builder_signalled();
}

static const builder_going going = {goes_on, NULL};

typedef struct Phase
{
	const char *name;
	uint64_t	before;			/* bytes of earlier transfers */
	uint64_t	total;			/* 0: of this one */
} Phase;

static bool
tell_transfer(void *state, uint64_t done, uint64_t total)
{
	const Phase *phase = state;

	tell(phase->name, phase->before + done, phase->total ? phase->total : total);
	return goes_on(NULL);
}

/* ---- keys ---- */

static char *
join(const char *first, size_t length, const char *second)
{
	char	   *text = NULL;

	if (asprintf(&text, "%.*s%s", (int) length, first, second) < 0)
		builder_fail_memory();
	return text;
}

static char *
append(const char *text, const char *ending)
{
	return join(text, strlen(text), ending);
}

/* ---- the end of objects ---- */

/* Trouble here does not fail the job, but somebody has to remove the object. */
static void
remove_object(Remote *remote, char **key)
{
	builder_error error;

	if (*key == NULL)
		return;
	if (!builder_repository_remove(remote->repository, *key, &error) && remote->nleft++ == 0)
	{
		snprintf(remote->left.detail, sizeof(remote->left.detail), "The first is \"%.160s\": %.150s%s%.150s",
				 *key, error.message, error.detail[0] ? ": " : "", error.detail);
		snprintf(remote->left.hint, sizeof(remote->left.hint),
				 "Remove them, and let the server's key delete objects, or let the bucket's rules expire them.");
	}
	free(*key);
	*key = NULL;
}

static void
tell_left(Remote *remote)
{
	if (remote->nleft == 0)
		return;
	remote->left.code = BUILDER_REPOSITORY;
	snprintf(remote->left.message, sizeof(remote->left.message),
			 remote->nleft == 1 ? "an object of the build was left in the object store" :
			 "%u objects of the build were left in the object store", remote->nleft);
	builder_warning(&remote->left);
	remote->nleft = 0;
}

/* What there is for the end, if it begins now. */
static double
end_seconds(void)
{
	return builder_signalled() ? END_SECONDS_CANCELLED : END_SECONDS;
}

static void
remove_objects(Remote *remote, double seconds)
{
	if (remote->repository == NULL || remote->job.keep_objects)
		return;
	if (seconds < REMOVE_SECONDS_LEAST)
		seconds = REMOVE_SECONDS_LEAST;
	builder_repository_deadline(remote->repository, seconds);
	remove_object(remote, &remote->vectors);
	remove_object(remote, &remote->ids);
	remove_object(remote, &remote->graph);
	remove_object(remote, &remote->named);
	tell_left(remote);
}

/* Nobody waits for the service any more, or wants its file. */
static void
give_up(Remote *remote)
{
	double		begun = builder_now();

	if (remote->id[0])
		builder_service_cancel(remote->service, remote->id,
							   builder_signalled() ? GIVE_UP_SECONDS_CANCELLED : GIVE_UP_SECONDS);
	remove_objects(remote, end_seconds() - (builder_now() - begun));
}

/* Before the last line, whoever writes it. */
static void
end(void *state, bool failed)
{
	Remote	   *remote = state;

	if (failed)
		give_up(remote);
	if (remote->file)
		(void) unlink(remote->file);
	remote->counters[failed ? INDEX_BUILD_FAILURE : INDEX_BUILD_SUCCESS]++;
	tell_counters(remote);
}

/* ---- stages ---- */

static bool
upload_one(Remote *remote, char **key, const char *ending, const char *path, Phase *phase,
		   builder_error *error)
{
	builder_transfer transfer = {tell_transfer, phase};
	char	   *name = append(remote->job.object, ending);
	bool		ok = builder_repository_put(remote->repository, name, path, &transfer, error);

	/*
	 * Even a put that failed may have happened, its answer lost; but a key that was taken
	 * before is somebody else's object.
	 */
	if (!ok && strcmp(error->code, BUILDER_EXISTS) == 0)
	{
		error->code = BUILDER_REPOSITORY;
		free(name);
	}
	else
		*key = name;
	return ok;
}

static bool
upload(Remote *remote, builder_error *error)
{
	const builder_job *build = &remote->job.build;
	uint64_t	bits = knn_encoding_is_float(build->encoding) ? 32 :
		build->encoding == KNN_ENCODING_BYTE ? 8 : 1;
	uint64_t	bytes = bits * build->dimension / 8 * build->count;
	Phase		phase = {"upload", 0, bytes + 4 * (uint64_t) build->count};
	double		start = builder_now();

	if (!upload_one(remote, &remote->vectors, ".knnvec", build->vectors, &phase, error))
		return false;
	phase.before = bytes;
	if (!upload_one(remote, &remote->ids, ".knndid", build->ids, &phase, error))
		return false;
	remote->counters[WRITE_TIME] = milliseconds_since(start);
	return true;
}

/*
 * Is a service that cannot be reached (the error) to be asked again, if it could not be
 * since then?  False also when it was something else.
 */
static bool
may_return(const Remote *remote, double since, const builder_error *error)
{
	return strcmp(error->code, BUILDER_UNREACHED) == 0 &&
		builder_now() - since < PATIENCE_INTERVALS * remote->job.poll_interval;
}

static bool
submit(Remote *remote, builder_error *error)
{
	char	   *body = builder_remote_request(&remote->job, remote->vectors, remote->ids);
	char		id[3 * BUILDER_REMOTE_TEXT];
	double		start = builder_now();
	bool		ok;

	if (body == NULL)
		builder_fail_memory();
	/* from now on the service may write it */
	remote->graph = append(remote->job.object, ".faiss");
	tell("remote", 0, 0);
	while (!(ok = builder_service_submit(remote->service, body, id, error)) &&
		   may_return(remote, start, error) && builder_wait(remote->job.poll_interval, &going))
		;
	if (builder_signalled() && !ok)
		builder_error_set(error, BUILDER_CANCELLED, "the job was cancelled");
	if (ok)
		strcpy(remote->id, id);
	free(body);
	return ok;
}

/* Sleep an interval of polling, not beyond the end; tells the progress each second. */
static bool
sleep_until_next(const Remote *remote, double intervals, double start, builder_error *error)
{
	double		timeout = remote->job.timeout;
	double		until = builder_now() +
		intervals * remote->job.poll_interval * (0.8 + 0.4 * builder_random());

	if (until > start + timeout)
		until = start + timeout;
	for (;;)
	{
		double		now = builder_now();

		tell("remote", (uint64_t) (now - start), 0);
		if (now >= until)
			return true;
		if (!builder_wait(until - now < 1 ? until - now : 1, &going))
			return builder_error_set(error, BUILDER_CANCELLED, "the job was cancelled");
	}
}

static bool
await(Remote *remote, builder_remote_status *status, builder_error *error)
{
	double		start = builder_now();
	double		intervals = FIRST_INTERVALS;
	double		lost = 0;		/* when it was first not reached; 0: it was */
	double		left;

	/* the last question is at the end of the time, the only one if that is short */
	do
	{
		double		asked;
		bool		ok;

		ok = sleep_until_next(remote, intervals, start, error);
		remote->counters[WAITING_TIME] = milliseconds_since(start);
		if (!ok)
			return false;
		intervals = 1;
		asked = builder_now();
		left = start + remote->job.timeout - asked;
		ok = count(remote, builder_service_ask(remote->service, remote->id, left > 1 ? left : 1,
											   status, error),
				   STATUS_REQUEST_SUCCESS, STATUS_REQUEST_FAILURE);
		remote->counters[WAITING_TIME] = milliseconds_since(start);
		if (!ok)
		{
			if (lost == 0)
				lost = asked;
			if (left <= 0 || !may_return(remote, lost, error))
				return false;
			continue;
		}
		lost = 0;
		if (status->state == BUILDER_REMOTE_COMPLETED)
		{
			/* the file may be kept then, even if it cannot be fetched */
			if (remote->job.keep_objects)
				remote->id[0] = '\0';
			return true;
		}
		if (status->state == BUILDER_REMOTE_FAILED)
		{
			remote->id[0] = '\0';
			builder_error_set(error, BUILDER_REMOTE, "the build service failed to build the index");
			snprintf(error->detail, sizeof(error->detail), "%s",
					 status->message[0] ? status->message : "It does not say why.");
			return false;
		}
	} while (left > 0);
	builder_error_set(error, BUILDER_REMOTE, "the build service did not finish within %.0f s",
					  remote->job.timeout);
	snprintf(error->hint, sizeof(error->hint),
			 "Increase knn.remote_index_build_client_timeout, or see what the service is at.");
	return false;
}

static bool
download(Remote *remote, const char *name, builder_error *error)
{
	const char *slash = strrchr(remote->job.object, '/');
	Phase		phase = {"download", 0, 0};
	builder_transfer transfer = {tell_transfer, &phase};
	double		start = builder_now();
	char	   *path = append(remote->job.build.result, ".faiss");
	char	   *key = join(remote->job.object,
						   slash ? (size_t) (slash + 1 - remote->job.object) : 0, name);
	bool		ok;

	builder_unfinished(path);
	ok = builder_repository_get(remote->repository, key, path,
								builder_remote_result_limit(&remote->job.build), &transfer, error);
	if (ok)
	{
		remote->id[0] = '\0';
		remote->file = path;
		remote->counters[READ_TIME] = milliseconds_since(start);
	}
	/* a build here would need the same room */
	else if (strcmp(error->code, BUILDER_IO) == 0)
		error->terminal = true;
	else if (strcmp(error->code, BUILDER_NOT_FOUND) == 0)
		snprintf(error->hint, sizeof(error->hint),
				 "The service says it has written it: check that both use the same store and bucket.");
	if (ok && strcmp(key, remote->graph) != 0)
		remote->named = key;
	else
		free(key);
	return ok;
}

/* ---- the whole ---- */

static void
run(Remote *remote)
{
	builder_remote_status status;
	builder_error error;

	remote->repository = builder_repository_open(&remote->job.repository, &error);
	if (remote->repository == NULL)
		builder_fail(&error);
	remote->service = builder_service_open(&remote->job, &going);
	if (remote->service == NULL)
		builder_fail_memory();
	if ((!builder_service_greet(remote->service, &error) &&
		 !count(remote, false, BUILD_REQUEST_SUCCESS, BUILD_REQUEST_FAILURE)) ||
		!count(remote, upload(remote, &error), WRITE_SUCCESS, WRITE_FAILURE) ||
		!count(remote, submit(remote, &error), BUILD_REQUEST_SUCCESS, BUILD_REQUEST_FAILURE) ||
		!await(remote, &status, &error) ||
		!count(remote, download(remote, status.file_name, &error), READ_SUCCESS, READ_FAILURE))
	{
		if (strcmp(error.code, BUILDER_CANCELLED) == 0)
			builder_error_set(&error, BUILDER_CANCELLED, "the job was cancelled");
		else if (strcmp(error.code, BUILDER_UNREACHED) == 0)
			error.code = BUILDER_REMOTE;
		builder_fail(&error);
	}
	remove_objects(remote, end_seconds());
	builder_service_close(remote->service);
	builder_repository_close(remote->repository);
	remote->service = NULL;
	remote->repository = NULL;
}

void
builder_remote(const char *text, size_t length)
{
	static Remote remote;		/* for the end, wherever it comes from */
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	builder_error error;

	builder_secrets_hide();
	builder_defer_signals(true);
	/* a broken connection, and a limit of file sizes, are errors and not an end */
	(void) sigaction(SIGPIPE, &ignore, NULL);
	(void) sigaction(SIGXFSZ, &ignore, NULL);
	if (!builder_remote_job_parse(&remote.job, text, length, &error))
		builder_fail(&error);
	builder_before_end(end, &remote);
	run(&remote);
	builder_defer_signals(false);
	tell_counters(&remote);
	builder_import(&remote.job.build, remote.file);
	free(remote.file);
	builder_remote_job_free(&remote.job);
}
