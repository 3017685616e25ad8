/*
 * serve_jobs.c
 *		The jobs that the service knows; see serve_jobs.h.
 *
 * The queue is served in its order: a job that needs more memory than is free waits, and
 * those after it wait with it, so that small ones cannot keep a large one waiting for
 * ever.  Only a job whose result is that of one which has not ended yet is passed over: its
 * cancelled predecessor of the same id, which has the same folder too, or another's.
 *
 * A new state is published in this order: the job's file, then what others see.  A job
 * that is lost between the two is done again, which gives the same file.
 */
#include "builder/serve_jobs.h"

#include <dirent.h>
#include <errno.h>
#include <json.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/serve_log.h"

#define BUCKETS 4096			/* a power of two */

/* A job that was running so many times when the service died is not tried again. */
#define ATTEMPTS_MOST 3

struct serve_jobs
{
	const serve_config *config;
	pthread_mutex_t lock;		/* of all below, and of the jobs */
	pthread_cond_t changed;		/* a job is queued, cancelled or gone, memory is free, or stopping */
	TAILQ_HEAD(, serve_job) known;
	TAILQ_HEAD(, serve_job) waiting;
	TAILQ_HEAD(, serve_job) at_work;	/* a worker has them, cancelled ones too: by waiting */
	TAILQ_HEAD(, serve_job) leaving;	/* cancelled, nobody works at them, results to be removed, of
										 * the first just now */
	TAILQ_HEAD(, serve_job) replaced;	/* cancelled, known no longer: by known */
	LIST_HEAD(, serve_job) buckets[BUCKETS];
	uint64_t	count;
	uint64_t	next_number;
	uint64_t	queued;
	uint64_t	running;
	uint64_t	memory;			/* of those running */
	bool		stopping;
};

/* ---- under the lock ---- */

static uint32_t
bucket_of(const char *id)
{
	char		digits[9] = {0};

	memcpy(digits, id, 8);
	return (uint32_t) strtoul(digits, NULL, 16) & (BUCKETS - 1);
}

static serve_job *
find(serve_jobs *jobs, const char *id)
{
	serve_job  *job;

	LIST_FOREACH(job, &jobs->buckets[bucket_of(id)], bucket)
	{
		if (strcmp(job->id, id) == 0)
			return job;
	}
	return NULL;
}

/* Has a cancelled job of this id, which was asked for again, not ended yet? */
static bool
is_leaving(const serve_jobs *jobs, const char *id)
{
	const serve_job *job;

	TAILQ_FOREACH(job, &jobs->replaced, known)
	{
		if (strcmp(job->id, id) == 0)
			return true;
	}
	return false;
}

static void
add_known(serve_jobs *jobs, serve_job *job)
{
	TAILQ_INSERT_TAIL(&jobs->known, job, known);
	LIST_INSERT_HEAD(&jobs->buckets[bucket_of(job->id)], job, bucket);
	jobs->count++;
	if (job->number >= jobs->next_number)
		jobs->next_number = job->number + 1;
}

/* It is freed, unless it has not ended yet. */
static void
forget(serve_jobs *jobs, serve_job *job)
{
	TAILQ_REMOVE(&jobs->known, job, known);
	LIST_REMOVE(job, bucket);
	jobs->count--;
	job->replaced = job->state == SERVE_CANCELLED;
	if (job->replaced)
		TAILQ_INSERT_TAIL(&jobs->replaced, job, known);
	else
		serve_job_free(job);
}

static void
add_waiting(serve_jobs *jobs, serve_job *job, bool first)
{
	if (first)
		TAILQ_INSERT_HEAD(&jobs->waiting, job, waiting);
	else
		TAILQ_INSERT_TAIL(&jobs->waiting, job, waiting);
	jobs->queued++;
	pthread_cond_broadcast(&jobs->changed);
}

/* The file of a job whose new state is a fact already. */
static void
note_state(serve_jobs *jobs, const serve_job *job)
{
	builder_error error;

	if (!serve_state_write(jobs->config->state_dir, job, &error))
		serve_log(SERVE_ERROR, "state_not_written", "job", job->id, "message", error.message,
				  "detail", error.detail, NULL);
}

/* What its client is told: "message: detail. Hint" */
static void
set_failed(serve_job *job, const builder_error *error)
{
	const char *told = error->detail[0] ? error->detail : error->message;
	bool		stopped = told[0] && told[strlen(told) - 1] == '.';

	job->state = SERVE_FAILED;
	job->finished = time(NULL);
	snprintf(job->error, sizeof(job->error), "%s%s%s%s%s", error->message,
			 error->detail[0] ? ": " : "", error->detail,
			 error->hint[0] == '\0' ? "" : stopped ? " " : ". ", error->hint);
}

/* Nothing is left of a cancelled job. */
static void
settle(serve_jobs *jobs, serve_job *job)
{
	job->state = SERVE_FAILED;
	job->put = false;
	if (!job->replaced)
		note_state(jobs, job);
	else
	{
		TAILQ_REMOVE(&jobs->replaced, job, known);
		serve_job_free(job);
	}
	pthread_cond_broadcast(&jobs->changed);
}

/* Nobody works at a cancelled job any more. */
static void
leave(serve_jobs *jobs, serve_job *job)
{
	if (!job->put)
	{
		settle(jobs, job);
		return;
	}
	TAILQ_INSERT_TAIL(&jobs->leaving, job, waiting);
	pthread_cond_broadcast(&jobs->changed);
}

/* ---- start and end ---- */

/* A job of an earlier run of the service: what is not over begins again. */
static void
take_over(serve_jobs *jobs, serve_job *job)
{
	builder_error error = {.code = BUILDER_INTERNAL};
	bool		again = job->state == SERVE_QUEUED || job->state == SERVE_RUNNING;

	job->memory = serve_plan_memory(jobs->config, &job->request);
	if (again)
	{
		serve_problems problems = {0};

		serve_repository_check(jobs->config, &job->request, &problems);
		if (job->state == SERVE_RUNNING)
			job->attempts++;
		if (job->attempts >= ATTEMPTS_MOST)
			snprintf(error.message, sizeof(error.message),
					 "the service ended %u times while it ran this job", job->attempts);
		else if (job->memory == 0)
			snprintf(error.message, sizeof(error.message),
					 "the service was started again with too little memory for this job");
		else if (problems.count > 0)
			snprintf(error.message, sizeof(error.message),
					 "the service was started again without the repository of this job");
		if (error.message[0])
			set_failed(job, &error);
		else
			job->state = SERVE_QUEUED;
		note_state(jobs, job);
	}
	add_known(jobs, job);
	if (job->state == SERVE_QUEUED)
		add_waiting(jobs, job, false);
	else if (job->state == SERVE_CANCELLED)
		leave(jobs, job);
	if (again)
		serve_log(SERVE_INFO, job->state == SERVE_QUEUED ? "job_again" : "job_failed", "job", job->id,
				  "attempts", SERVE_NUMBER(job->attempts), "message",
				  job->error[0] ? job->error : NULL, NULL);
}

static int
compare_numbers(const void *a, const void *b)
{
	const serve_job *const *x = a;
	const serve_job *const *y = b;

	return (*x)->number < (*y)->number ? -1 : (*x)->number > (*y)->number;
}

/* False without memory. */
static bool
load(serve_jobs *jobs, DIR *folder)
{
	serve_job **list = NULL;
	size_t		count = 0;
	size_t		room = 0;
	struct dirent *entry;
	bool		ok = true;

	while (ok && (entry = readdir(folder)) != NULL)
	{
		char		id[SHA256_HEX + 1];
		builder_error error = {0};
		serve_job  *job;

		snprintf(id, sizeof(id), "%.*s", SHA256_HEX, entry->d_name);
		if (!serve_is_id(id) || strcmp(entry->d_name + SHA256_HEX, ".json") != 0)
			continue;
		job = serve_state_read(jobs->config->state_dir, entry->d_name, &error);
		if (job == NULL)
		{
			serve_log(SERVE_WARNING, "state_ignored", "message", error.message, "detail",
					  error.detail[0] ? error.detail : NULL, NULL);
			continue;
		}
		if (count == room)
		{
			serve_job **larger = realloc(list, sizeof(*list) * (room = room * 2 + 64));

			ok = larger != NULL;
			if (ok)
				list = larger;
		}
		if (ok)
			list[count++] = job;
		else
			serve_job_free(job);
	}
	if (ok && count > 0)
		qsort(list, count, sizeof(*list), compare_numbers);
	for (size_t i = 0; i < count; i++)
		take_over(jobs, list[i]);
	free(list);
	return ok;
}

serve_jobs *
serve_jobs_open(const serve_config *config, builder_error *error)
{
	serve_jobs *jobs = calloc(1, sizeof(*jobs));
	DIR		   *folder;
	bool		ok;

	serve_fail(error, BUILDER_OUT_OF_MEMORY, 0, "out of memory");
	if (jobs == NULL)
		return NULL;
	jobs->config = config;
	TAILQ_INIT(&jobs->known);
	TAILQ_INIT(&jobs->waiting);
	TAILQ_INIT(&jobs->at_work);
	TAILQ_INIT(&jobs->leaving);
	TAILQ_INIT(&jobs->replaced);
	for (int i = 0; i < BUCKETS; i++)
		LIST_INIT(&jobs->buckets[i]);
	(void) pthread_mutex_init(&jobs->lock, NULL);
	(void) pthread_cond_init(&jobs->changed, NULL);
	folder = opendir(config->state_dir);
	if (folder == NULL)
	{
		serve_fail(error, BUILDER_IO, errno, "could not read folder \"%.200s\"", config->state_dir);
		free(jobs);
		return NULL;
	}
	ok = load(jobs, folder);
	closedir(folder);
	if (ok)
		return jobs;
	serve_jobs_close(jobs);
	return NULL;
}

void
serve_jobs_close(serve_jobs *jobs)
{
	serve_job  *job;

	while ((job = TAILQ_FIRST(&jobs->known)) != NULL)
		forget(jobs, job);
	while ((job = TAILQ_FIRST(&jobs->replaced)) != NULL)
	{
		TAILQ_REMOVE(&jobs->replaced, job, known);
		serve_job_free(job);
	}
	pthread_cond_destroy(&jobs->changed);
	pthread_mutex_destroy(&jobs->lock);
	free(jobs);
}

/* ---- requests ---- */

/*
 * A new job, known from now on; its request has the texts of the given one.  put: a result
 * of an earlier job of this id may be in the store.
 */
static serve_submission
add_job(serve_jobs *jobs, serve_request *request, const char *id, uint64_t memory, bool put,
		builder_error *error)
{
	serve_job  *job = calloc(1, sizeof(*job));

	if (job == NULL)
	{
		serve_fail(error, BUILDER_OUT_OF_MEMORY, 0, "out of memory");
		return SERVE_BROKEN;
	}
	memcpy(job->id, id, sizeof(job->id));
	job->request = *request;
	job->state = SERVE_QUEUED;
	job->number = jobs->next_number;
	job->created = time(NULL);
	job->memory = memory;
	job->put = put;
	if (!serve_state_write(jobs->config->state_dir, job, error))
	{
		free(job);
		return SERVE_BROKEN;
	}
	request->container_name = request->vector_path = NULL;
	request->doc_id_path = request->tenant_id = NULL;
	add_known(jobs, job);
	add_waiting(jobs, job, false);
	return SERVE_ACCEPTED;
}

/* The job, queued or running, that has the same result under another id; NULL for none. */
static const serve_job *
find_rival(const serve_jobs *jobs, const serve_request *request, const char *id)
{
	const serve_job *job;

	TAILQ_FOREACH(job, &jobs->waiting, waiting)
	{
		if (strcmp(job->id, id) != 0 && serve_repository_same_result(&job->request, request))
			return job;
	}
	TAILQ_FOREACH(job, &jobs->at_work, waiting)
	{
		if (job->state == SERVE_RUNNING && strcmp(job->id, id) != 0 &&
			serve_repository_same_result(&job->request, request))
			return job;
	}
	return NULL;
}

/* The one that has been completed or failed for the longest time; NULL for none. */
static serve_job *
oldest_over(const serve_jobs *jobs)
{
	serve_job  *oldest = NULL;
	serve_job  *job;

	TAILQ_FOREACH(job, &jobs->known, known)
	{
		if ((job->state == SERVE_COMPLETED || job->state == SERVE_FAILED) &&
			(oldest == NULL || job->finished < oldest->finished))
			oldest = job;
	}
	return oldest;
}

/* With its file. */
static void
forget_for_good(serve_jobs *jobs, serve_job *job)
{
	serve_log(SERVE_INFO, "job_forgotten", "job", job->id, NULL);
	serve_state_remove(jobs->config->state_dir, job->id);
	forget(jobs, job);
}

static serve_submission
submit(serve_jobs *jobs, serve_request *request, const char *id, uint64_t memory,
	   builder_error *error)
{
	serve_job  *old = find(jobs, id);
	serve_job  *excess = NULL;	/* forgotten for this one */
	const serve_job *rival;
	serve_submission submission;

	/* one that failed may be tried again, and be corrected */
	if (old && old->state != SERVE_FAILED && old->state != SERVE_CANCELLED)
		return serve_request_equal(&old->request, request) ? SERVE_ACCEPTED : SERVE_CONFLICT;
	if (memory == 0)
		return SERVE_TOO_LARGE;
	rival = find_rival(jobs, request, id);
	if (rival)
	{
		serve_fail(error, BUILDER_BAD_JOB, 0,
				   "job %s, of another tenant_id, is making the same result; wait for its end, or use another vector_path",
				   rival->id);
		return SERVE_RIVAL;
	}
	if (jobs->stopping || jobs->queued >= jobs->config->queue)
		return SERVE_BUSY;
	if (old == NULL && jobs->count >= jobs->config->jobs && (excess = oldest_over(jobs)) == NULL)
		return SERVE_BUSY;
	/* one predecessor of an id may take its time, not any number */
	if (old && old->state == SERVE_CANCELLED && is_leaving(jobs, id))
		return SERVE_BUSY;
	submission = add_job(jobs, request, id, memory, old && old->put, error);
	if (submission == SERVE_ACCEPTED && old)
		forget(jobs, old);
	if (submission == SERVE_ACCEPTED && excess)
		forget_for_good(jobs, excess);
	return submission;
}

serve_submission
serve_jobs_submit(serve_jobs *jobs, serve_request *request, char id[SHA256_HEX + 1],
				  builder_error *error)
{
	uint64_t	memory = serve_plan_memory(jobs->config, request);
	serve_submission submission;

	if (!serve_request_id(request, id))
	{
		serve_fail(error, BUILDER_OUT_OF_MEMORY, 0, "out of memory");
		return SERVE_BROKEN;
	}
	pthread_mutex_lock(&jobs->lock);
	submission = submit(jobs, request, id, memory, error);
	pthread_mutex_unlock(&jobs->lock);
	return submission;
}

static void
tell_status(const serve_job *job, serve_status *status)
{
	char		key[SERVE_KEY_BYTES + 1];

	status->state = job->state;
	serve_request_result_key(&job->request, key);
	snprintf(status->file_name, sizeof(status->file_name), "%s", serve_request_file_name(key));
	snprintf(status->error, sizeof(status->error), "%s", job->error);
}

bool
serve_jobs_status(serve_jobs *jobs, const char *id, serve_status *status)
{
	serve_job  *job;

	if (!serve_is_id(id))
		return false;
	pthread_mutex_lock(&jobs->lock);
	job = find(jobs, id);
	if (job)
		tell_status(job, status);
	pthread_mutex_unlock(&jobs->lock);
	return job != NULL;
}

static serve_cancellation
cancel(serve_jobs *jobs, serve_job *job, builder_error *error)
{
	serve_state before = job->state;
	serve_job	noted = *job;	/* as its file tells it from now on */

	if (before == SERVE_FAILED)
		return SERVE_CANCEL_OVER;
	if (before == SERVE_CANCELLED)
		return SERVE_CANCEL_BEGUN;
	noted.state = SERVE_CANCELLED;
	noted.finished = time(NULL);
	snprintf(noted.error, sizeof(noted.error), "the job was cancelled by its client");
	if (!serve_state_write(jobs->config->state_dir, &noted, error))
		return SERVE_CANCEL_BROKEN;
	/* not the whole of it, since a worker may be reading the request */
	job->state = noted.state;
	job->finished = noted.finished;
	memcpy(job->error, noted.error, sizeof(job->error));
	serve_log(SERVE_INFO, "job_cancelled", "job", job->id, "state", serve_state_names[before], NULL);
	/* a worker that has it is told when it asks next */
	if (before == SERVE_RUNNING)
		return SERVE_CANCEL_BEGUN;
	if (before == SERVE_QUEUED)
	{
		TAILQ_REMOVE(&jobs->waiting, job, waiting);
		jobs->queued--;
		pthread_cond_broadcast(&jobs->changed);
	}
	leave(jobs, job);
	return job->state == SERVE_CANCELLED ? SERVE_CANCEL_BEGUN : SERVE_CANCEL_OVER;
}

serve_cancellation
serve_jobs_cancel(serve_jobs *jobs, const char *id, serve_status *status, builder_error *error)
{
	serve_cancellation cancellation = SERVE_CANCEL_UNKNOWN;
	serve_job  *job;

	if (!serve_is_id(id))
		return SERVE_CANCEL_UNKNOWN;
	pthread_mutex_lock(&jobs->lock);
	job = find(jobs, id);
	if (job)
	{
		cancellation = cancel(jobs, job, error);
		tell_status(job, status);
	}
	pthread_mutex_unlock(&jobs->lock);
	return cancellation;
}

/* ---- the list of all ---- */

static void
add_text(struct json_object *object, const char *name, const char *text)
{
	json_object_object_add(object, name, json_object_new_string(text));
}

static void
add_number(struct json_object *object, const char *name, uint64_t number)
{
	json_object_object_add(object, name, json_object_new_int64((int64_t) number));
}

static struct json_object *
list_job(const serve_job *job)
{
	struct json_object *object = json_object_new_object();

	if (object == NULL)
		return NULL;
	add_text(object, "job_id", job->id);
	add_text(object, "state", serve_state_names[job->state]);
	add_number(object, "created", (uint64_t) job->created);
	add_number(object, "started", (uint64_t) job->started);
	add_number(object, "finished", (uint64_t) job->finished);
	add_number(object, "memory", job->memory);
	if (job->state == SERVE_RUNNING && job->phase)
	{
		add_text(object, "phase", job->phase);
		add_number(object, "done", job->done);
		add_number(object, "total", job->total);
	}
	if (job->error[0])
		add_text(object, "error_message", job->error);
	json_object_object_add(object, "request", serve_request_json(&job->request));
	return object;
}

struct json_object *
serve_jobs_list(serve_jobs *jobs)
{
	struct json_object *object = json_object_new_object();
	struct json_object *list = json_object_new_array();
	serve_job  *job;

	if (object == NULL || list == NULL)
	{
		json_object_put(object);
		json_object_put(list);
		return NULL;
	}
	pthread_mutex_lock(&jobs->lock);
	add_number(object, "queued", jobs->queued);
	add_number(object, "queue_limit", jobs->config->queue);
	add_number(object, "running", jobs->running);
	add_number(object, "workers", jobs->config->workers);
	add_number(object, "memory", jobs->memory);
	add_number(object, "memory_limit", jobs->config->memory_limit);
	TAILQ_FOREACH(job, &jobs->known, known)
		json_object_array_add(list, list_job(job));
	pthread_mutex_unlock(&jobs->lock);
	json_object_object_add(object, "jobs", list);
	return object;
}

void
serve_jobs_expire(serve_jobs *jobs)
{
	time_t		now = time(NULL);
	serve_job  *job;
	serve_job  *next;

	pthread_mutex_lock(&jobs->lock);
	for (job = TAILQ_FIRST(&jobs->known); job; job = next)
	{
		next = TAILQ_NEXT(job, known);
		if (job->finished == 0 || job->state == SERVE_CANCELLED || now - job->finished < (time_t) jobs->config->job_ttl)
			continue;
		forget_for_good(jobs, job);
	}
	pthread_mutex_unlock(&jobs->lock);
}

/* ---- workers ---- */

/* Does anybody still work at a job with this result, or remove it? */
static bool
is_in_use(const serve_jobs *jobs, const serve_request *request)
{
	const serve_job *job;

	TAILQ_FOREACH(job, &jobs->at_work, waiting)
	{
		if (serve_repository_same_result(&job->request, request))
			return true;
	}
	TAILQ_FOREACH(job, &jobs->leaving, waiting)
	{
		if (serve_repository_same_result(&job->request, request))
			return true;
	}
	return false;
}

/* Whose turn it is, if there is memory for it. */
static serve_job *
next_waiting(const serve_jobs *jobs)
{
	serve_job  *job = TAILQ_FIRST(&jobs->waiting);

	while (job && is_in_use(jobs, &job->request))
		job = TAILQ_NEXT(job, waiting);
	return job && job->memory <= jobs->config->memory_limit - jobs->memory ? job : NULL;
}

serve_job *
serve_jobs_take(serve_jobs *jobs)
{
	serve_job  *job = NULL;

	pthread_mutex_lock(&jobs->lock);
	while (!jobs->stopping)
	{
		job = next_waiting(jobs);
		if (job)
			break;
		pthread_cond_wait(&jobs->changed, &jobs->lock);
	}
	if (job)
	{
		TAILQ_REMOVE(&jobs->waiting, job, waiting);
		TAILQ_INSERT_TAIL(&jobs->at_work, job, waiting);
		jobs->queued--;
		jobs->running++;
		jobs->memory += job->memory;
		job->state = SERVE_RUNNING;
		job->started = time(NULL);
		job->phase = NULL;
		note_state(jobs, job);
	}
	pthread_mutex_unlock(&jobs->lock);
	return job;
}

static bool
is_wanted(const serve_jobs *jobs, const serve_job *job)
{
	return !jobs->stopping && job->state == SERVE_RUNNING;
}

bool
serve_jobs_progress(serve_jobs *jobs, serve_job *job, const char *phase, uint64_t done,
					uint64_t total)
{
	bool		goes_on;

	pthread_mutex_lock(&jobs->lock);
	job->phase = phase;
	job->done = done;
	job->total = total;
	goes_on = is_wanted(jobs, job);
	pthread_mutex_unlock(&jobs->lock);
	return goes_on;
}

bool
serve_jobs_goes_on(serve_jobs *jobs, const serve_job *job)
{
	bool		goes_on;

	pthread_mutex_lock(&jobs->lock);
	goes_on = is_wanted(jobs, job);
	pthread_mutex_unlock(&jobs->lock);
	return goes_on;
}

bool
serve_jobs_putting(serve_jobs *jobs, serve_job *job)
{
	bool		goes_on;

	pthread_mutex_lock(&jobs->lock);
	goes_on = is_wanted(jobs, job);
	if (goes_on)
	{
		job->put = true;
		note_state(jobs, job);
	}
	pthread_mutex_unlock(&jobs->lock);
	return goes_on;
}

/* What a worker that has ended made of a job that was not cancelled. */
static void
set_end(serve_jobs *jobs, serve_job *job, const builder_error *error)
{
	if (error && jobs->stopping && strcmp(error->code, BUILDER_CANCELLED) == 0)
	{
		job->state = SERVE_QUEUED;
		job->started = 0;
		add_waiting(jobs, job, true);
		serve_log(SERVE_INFO, "job_put_back", "job", job->id, NULL);
	}
	else if (error)
	{
		set_failed(job, error);
		serve_log(SERVE_WARNING, "job_failed", "job", job->id, "code", error->code, "message",
				  job->error, NULL);
	}
	else
	{
		job->state = SERVE_COMPLETED;
		job->finished = time(NULL);
		serve_log(SERVE_INFO, "job_completed", "job", job->id, "seconds",
				  SERVE_NUMBER((uint64_t) (job->finished - job->started)), NULL);
	}
	note_state(jobs, job);
}

void
serve_jobs_finish(serve_jobs *jobs, serve_job *job, const builder_error *error)
{
	pthread_mutex_lock(&jobs->lock);
	TAILQ_REMOVE(&jobs->at_work, job, waiting);
	jobs->running--;
	jobs->memory -= job->memory;
	if (job->state == SERVE_CANCELLED)
		leave(jobs, job);
	else
		set_end(jobs, job, error);
	pthread_cond_broadcast(&jobs->changed);
	pthread_mutex_unlock(&jobs->lock);
}

serve_job *
serve_jobs_take_cancelled(serve_jobs *jobs)
{
	serve_job  *job = NULL;

	pthread_mutex_lock(&jobs->lock);
	while (!jobs->stopping && (job = TAILQ_FIRST(&jobs->leaving)) == NULL)
		pthread_cond_wait(&jobs->changed, &jobs->lock);
	pthread_mutex_unlock(&jobs->lock);
	return job;
}

void
serve_jobs_settle(serve_jobs *jobs, serve_job *job)
{
	pthread_mutex_lock(&jobs->lock);
	TAILQ_REMOVE(&jobs->leaving, job, waiting);
	settle(jobs, job);
	pthread_mutex_unlock(&jobs->lock);
}

void
serve_jobs_stop(serve_jobs *jobs)
{
	pthread_mutex_lock(&jobs->lock);
	jobs->stopping = true;
	pthread_cond_broadcast(&jobs->changed);
	pthread_mutex_unlock(&jobs->lock);
}
