/*
 * serve_worker.c
 *		One job, from the download to the upload; see serve_worker.h.
 *
 * A job's files are in a folder of its own in the work folder, WORK_DIR/<id>, which is
 * removed when the job is over, whatever its end, and when the service starts.
 *
 * One thread more removes the results of jobs that were cancelled: a store that does not
 * answer keeps neither the workers waiting nor whoever cancelled.
 */
#include "builder/serve_worker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builder/serve_log.h"
#include "builder/serve_room.h"
#include "builder/wait.h"

/* Between two times, as text. */
#define SERVE_MILLIS(from, to) SERVE_NUMBER((uint64_t) (((to) - (from)) * 1000))

#define REMOVE_SECONDS 10		/* for the result of a cancelled job */
#define ROOM_SECONDS 0.2		/* between two questions for room */

struct serve_workers
{
	const serve_config *config;
	serve_jobs *jobs;
	serve_room	room;
	uint64_t	count;
	pthread_t	threads[];		/* the last removes results */
};

/* A job that runs. */
typedef struct Run
{
	const serve_config *config;
	serve_jobs *jobs;
	serve_job  *job;
	serve_room *room;
	serve_share share;
	serve_files files;
	builder_repository *repository;
	double		deadline;
	const char *phase;			/* of what is told next */
	bool		late;
} Run;

/* ---- files ---- */

/* Remove a job's folder, in which are files only. */
static void
remove_folder(const char *path)
{
	DIR		   *folder = opendir(path);
	struct dirent *entry;

	while (folder && (entry = readdir(folder)) != NULL)
		(void) unlinkat(dirfd(folder), entry->d_name, 0);
	if (folder)
		closedir(folder);
	if (rmdir(path) != 0 && errno != ENOENT)
		serve_log(SERVE_WARNING, "folder_not_removed", "path", path, "detail", strerror(errno), NULL);
}

/* What an earlier run left: folders with names of jobs. */
static bool
remove_leftovers(const serve_config *config, builder_error *error)
{
	DIR		   *folder = opendir(config->work_dir);
	struct dirent *entry;

	if (folder == NULL)
		return serve_fail(error, BUILDER_IO, errno, "could not read folder \"%.200s\"", config->work_dir);
	while ((entry = readdir(folder)) != NULL)
	{
		serve_files files;

		if (serve_is_id(entry->d_name) && serve_plan_files(config, entry->d_name, &files))
			remove_folder(files.folder);
	}
	closedir(folder);
	return true;
}

/* ---- progress ---- */

static bool
told(void *state, uint64_t done, uint64_t total)
{
	Run		   *run = state;

	run->late |= builder_now() > run->deadline;
	return serve_jobs_progress(run->jobs, run->job, run->phase, done, total) && !run->late;
}

/* Of what has nothing to tell. */
static bool
goes_on(void *state)
{
	Run		   *run = state;

	run->late |= builder_now() > run->deadline;
	return serve_jobs_goes_on(run->jobs, run->job) && !run->late;
}

/* Of the child, which may have nothing to tell (no phase). */
static bool
child_told(void *state, const char *phase, uint64_t done, uint64_t total)
{
	Run		   *run = state;

	if (phase == NULL)
		return serve_jobs_goes_on(run->jobs, run->job);
	run->phase = phase;
	return serve_jobs_progress(run->jobs, run->job, phase, done, total);
}

/* ---- the steps ---- */

/* A disk that is too small should be told before an hour of downloading. */
static bool
wait_for_room(Run *run, builder_error *error)
{
	serve_room_answer answer;

	run->phase = "room";
	while ((answer = serve_room_ask(run->room, &run->share, error)) == SERVE_ROOM_LATER)
	{
		if (!told(run, 0, run->share.bytes))
			return serve_fail(error, BUILDER_CANCELLED, 0, "the job was cancelled");
		(void) builder_wait(ROOM_SECONDS, NULL);
	}
	return answer == SERVE_ROOM_GRANTED;
}

/* One of the two files that a job needs, which must be so long. */
static bool
download(Run *run, const char *key, const char *path, uint64_t expected, builder_error *error)
{
	builder_transfer transfer = {told, run};
	uint64_t	size;

	if (!builder_repository_size(run->repository, key, &size, error))
		return false;
	if (size != expected)
	{
		serve_fail(error, BUILDER_BAD_INPUT, 0, "object \"%.160s\" is not of the size that was announced", key);
		snprintf(error->detail, sizeof(error->detail),
				 "It is %llu bytes long, expected %llu for %u vectors of dimension %u.",
				 (unsigned long long) size, (unsigned long long) expected,
				 run->job->request.doc_count, run->job->request.dimension);
		return false;
	}
	return builder_repository_get(run->repository, key, path, expected, &transfer, error);
}

static bool
check_size(const char *path, uint64_t expected, builder_error *error)
{
	struct stat status;

	if (stat(path, &status) != 0)
		return serve_fail(error, BUILDER_IO, errno, "could not look at a downloaded file");
	if ((uint64_t) status.st_size != expected)
		return serve_fail(error, BUILDER_BAD_INPUT, 0, "an object changed while it was downloaded");
	return true;
}

/* What a job takes of the work folder: its input, and a result with vectors, ids and links. */
static uint64_t
room_for(const serve_request *request)
{
	uint64_t	vectors = serve_request_row_bytes(request) * request->doc_count;
	uint64_t	ids = sizeof(int32_t) * (uint64_t) request->doc_count;

	return 2 * vectors + ids + ids * (2 * (uint64_t) request->m + 8);
}

static bool
fetch(Run *run, builder_error *error)
{
	const serve_request *request = &run->job->request;
	uint64_t	vectors = serve_request_row_bytes(request) * request->doc_count;
	uint64_t	ids = sizeof(int32_t) * (uint64_t) request->doc_count;

	if (!wait_for_room(run, error))
		return false;
	run->phase = "download";
	return download(run, request->vector_path, run->files.vectors, vectors, error) &&
		download(run, request->doc_id_path, run->files.ids, ids, error) &&
		check_size(run->files.vectors, vectors, error) &&
		check_size(run->files.ids, ids, error);
}

static bool
build(Run *run, builder_error *error)
{
	builder_transfer transfer = {told, run};
	serve_child child = {.program = run->config->builder, .deadline = run->deadline,
		.progress = child_told, .state = run};
	char	   *job;
	bool		normalised;
	bool		ok;

	run->phase = "check";
	if (!serve_vectors_check(run->files.vectors, &run->job->request, &transfer, &normalised, error))
		return false;
	job = serve_plan_job(run->config, &run->job->request, &run->files, run->job->memory, normalised);
	if (job == NULL)
		return serve_fail(error, BUILDER_OUT_OF_MEMORY, 0, "out of memory");
	child.job = job;
	ok = serve_child_run(&child, error);
	free(job);
	return ok;
}

/* The result of an earlier try, which was not known to be whole, is replaced. */
static bool
upload(Run *run, builder_error *error)
{
	builder_transfer transfer = {told, run};
	char		key[SERVE_KEY_BYTES + 1];
	uint64_t	size;

	run->phase = "upload";
	serve_request_result_key(&run->job->request, key);
	if (builder_repository_size(run->repository, key, &size, error))
	{
		if (!builder_repository_remove(run->repository, key, error))
			return false;
	}
	else if (strcmp(error->code, BUILDER_NOT_FOUND) != 0)
		return false;
	if (!serve_jobs_putting(run->jobs, run->job))
		return serve_fail(error, BUILDER_CANCELLED, 0, "the job was cancelled");
	return builder_repository_give(run->repository, key, run->files.result, &transfer, error);
}

static bool
run_steps(Run *run, builder_error *error)
{
	builder_going going = {goes_on, run};
	double		begun = builder_now();
	double		fetched;
	double		built;
	bool		ok;

	run->repository = serve_repository_open(run->config, &run->job->request, error);
	if (run->repository == NULL)
		return false;
	builder_repository_going(run->repository, &going);
	ok = fetch(run, error);
	fetched = builder_now();
	ok = ok && build(run, error);
	built = builder_now();
	ok = ok && upload(run, error);
	if (ok)
		serve_log(SERVE_INFO, "job_stored", "job", run->job->id, "fetch_ms", SERVE_MILLIS(begun, fetched),
				  "build_ms", SERVE_MILLIS(fetched, built), "store_ms", SERVE_MILLIS(built, builder_now()),
				  NULL);
	builder_repository_close(run->repository);
	if (!ok && run->late)
		serve_fail(error, BUILDER_INTERNAL, 0, "the job took longer than the service allows (--job-timeout)");
	return ok;
}

static void
run_job(serve_workers *workers, serve_job *job)
{
	const serve_config *config = workers->config;
	serve_jobs *jobs = workers->jobs;
	Run			run = {.config = config, .jobs = jobs, .job = job, .room = &workers->room,
	.deadline = builder_now() + (double) config->job_timeout};
	builder_error error = {0};
	bool		ok;

	serve_log(SERVE_INFO, "job_started", "job", job->id, "tenant", job->request.tenant_id,
			  "vectors", SERVE_NUMBER(job->request.doc_count), "dimension",
			  SERVE_NUMBER(job->request.dimension), "memory", SERVE_NUMBER(job->memory), NULL);
	if (!serve_plan_files(config, job->id, &run.files))
		ok = serve_fail(&error, BUILDER_INTERNAL, 0, "the work folder's name is too long");
	else
	{
		remove_folder(run.files.folder);
		if (mkdir(run.files.folder, 0700) != 0)
			ok = serve_fail(&error, BUILDER_IO, errno, "could not make a folder in the work folder");
		else
		{
			run.share.folder = run.files.folder;
			run.share.bytes = room_for(&job->request);
			serve_room_enter(run.room, &run.share);
			ok = run_steps(&run, &error);
			remove_folder(run.files.folder);
			serve_room_leave(run.room, &run.share);
		}
	}
	serve_jobs_finish(jobs, job, ok ? NULL : &error);
}

/* ---- what cancelled jobs have left ---- */

static bool
remove_result(const serve_config *config, const serve_job *job, builder_error *error)
{
	serve_problems problems = {0};
	builder_repository *repository;
	char		key[SERVE_KEY_BYTES + 1];
	bool		ok;

	/* the service may have been started with other stores since */
	serve_repository_check(config, &job->request, &problems);
	if (problems.count > 0)
		return serve_fail(error, BUILDER_BAD_JOB, 0, "the service has the repository of this job no longer");
	repository = serve_repository_open(config, &job->request, error);
	if (repository == NULL)
		return false;
	builder_repository_deadline(repository, REMOVE_SECONDS);
	serve_request_result_key(&job->request, key);
	ok = builder_repository_remove(repository, key, error);
	builder_repository_close(repository);
	return ok;
}

static void *
remove_results(void *state)
{
	serve_workers *workers = state;
	serve_job  *job;

	while ((job = serve_jobs_take_cancelled(workers->jobs)) != NULL)
	{
		builder_error error = {0};

		if (remove_result(workers->config, job, &error))
			serve_log(SERVE_INFO, "result_removed", "job", job->id, NULL);
		else
			serve_log(SERVE_WARNING, "result_not_removed", "job", job->id, "message", error.message,
					  "detail", error.detail[0] ? error.detail : NULL, NULL);
		serve_jobs_settle(workers->jobs, job);
	}
	return NULL;
}

/* ---- threads ---- */

static void *
work(void *state)
{
	serve_workers *workers = state;
	serve_job  *job;

	while ((job = serve_jobs_take(workers->jobs)) != NULL)
		run_job(workers, job);
	return NULL;
}

serve_workers *
serve_workers_start(const serve_config *config, serve_jobs *jobs, builder_error *error)
{
	serve_workers *workers;

	if (!remove_leftovers(config, error))
		return NULL;
	workers = calloc(1, sizeof(*workers) + sizeof(pthread_t) * (config->workers + 1));
	if (workers == NULL)
	{
		serve_fail(error, BUILDER_OUT_OF_MEMORY, 0, "out of memory");
		return NULL;
	}
	workers->config = config;
	workers->jobs = jobs;
	serve_room_init(&workers->room);
	for (uint64_t i = 0; i <= config->workers; i++)
	{
		int			rc = pthread_create(&workers->threads[i], NULL,
										i < config->workers ? work : remove_results, workers);

		if (rc != 0)
		{
			serve_fail(error, BUILDER_OUT_OF_MEMORY, rc, "could not start a thread");
			serve_jobs_stop(jobs);
			serve_workers_join(workers);
			return NULL;
		}
		workers->count++;
	}
	return workers;
}

void
serve_workers_join(serve_workers *workers)
{
	for (uint64_t i = 0; i < workers->count; i++)
		(void) pthread_join(workers->threads[i], NULL);
	serve_room_destroy(&workers->room);
	free(workers);
}
