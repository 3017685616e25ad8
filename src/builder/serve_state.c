/*
 * serve_state.c
 *		The file of a job: what the service knows of it when it starts again.
 *
 *	STATE_DIR/<id>.json		{"version":1,"number":7,"state":"queued","attempts":0,"created":...,
 *							 "started":...,"finished":...,"error":"...","put":false,"request":{...}}
 *
 * Files without "put" are of a service that did not have it yet.
 *
 * A new state is written beside it (.part), synced, and takes the name of the old one:
 * there is the one or the other whatever happens.
 */
#include <errno.h>
#include <fcntl.h>
#include <json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builder/file_part.h"
#include "builder/serve_jobs.h"

#define STATE_VERSION 1
#define STATE_BYTES (SERVE_REQUEST_BYTES + 16384)
#define STATE_DEPTH 12

/* Larger ones are nobody's, and could not be counted on from. */
#define NUMBER_MOST (INT64_C(1) << 53)
#define ATTEMPTS_MOST 1000000

const char *const serve_state_names[] = {"queued", "running", "completed", "failed", "cancelled", NULL};

bool
serve_is_id(const char *text)
{
	return strspn(text, "0123456789abcdef") == SHA256_HEX && text[SHA256_HEX] == '\0';
}

/* ---- writing ---- */

static struct json_object *
job_json(const serve_job *job)
{
	struct json_object *object = json_object_new_object();
	bool		ok = object != NULL;

	/* an addition of NULL, for want of memory, would be a null that reading refuses */
	ok = ok && json_object_object_add(object, "version", json_object_new_int(STATE_VERSION)) == 0 &&
		json_object_object_add(object, "number", json_object_new_int64((int64_t) job->number)) == 0 &&
		json_object_object_add(object, "state", json_object_new_string(serve_state_names[job->state])) == 0 &&
		json_object_object_add(object, "attempts", json_object_new_int64(job->attempts)) == 0 &&
		json_object_object_add(object, "created", json_object_new_int64(job->created)) == 0 &&
		json_object_object_add(object, "started", json_object_new_int64(job->started)) == 0 &&
		json_object_object_add(object, "finished", json_object_new_int64(job->finished)) == 0 &&
		json_object_object_add(object, "error", json_object_new_string(job->error)) == 0 &&
		json_object_object_add(object, "put", json_object_new_boolean(job->put)) == 0 &&
		json_object_object_add(object, "request", serve_request_json(&job->request)) == 0;
	if (ok)
		return object;
	json_object_put(object);
	return NULL;
}

/* The names of a folder, durably. */
static bool
sync_folder(const char *folder)
{
	int			fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool		ok = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

static bool
write_file(const char *folder, const char *path, const char *text, builder_error *error)
{
	char		part[1200];
	int			fd;
	int			why;

	snprintf(part, sizeof(part), "%s.part", path);
	fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return serve_fail(error, BUILDER_IO, errno, "could not make file \"%.180s\"", part);
	if (!builder_write_part(fd, 0, text, strlen(text)) || fsync(fd) != 0)
	{
		why = errno;
		close(fd);
		(void) unlink(part);
		return serve_fail(error, BUILDER_IO, why, "could not write file \"%.180s\"", part);
	}
	if (close(fd) != 0 || rename(part, path) != 0 || !sync_folder(folder))
	{
		why = errno;
		(void) unlink(part);
		return serve_fail(error, BUILDER_IO, why, "could not write file \"%.180s\"", path);
	}
	return true;
}

char *
serve_state_text(const serve_job *job)
{
	struct json_object *object = job_json(job);
	const char *printed = object ? json_object_to_json_string_ext(object, JSON_C_TO_STRING_NOSLASHESCAPE) : NULL;
	char	   *text = printed ? strdup(printed) : NULL;

	json_object_put(object);
	return text;
}

bool
serve_state_write(const char *folder, const serve_job *job, builder_error *error)
{
	char	   *text = serve_state_text(job);
	char		path[1152];
	bool		ok;

	if (text == NULL)
		return serve_fail(error, BUILDER_OUT_OF_MEMORY, 0, "out of memory");
	snprintf(path, sizeof(path), "%s/%s.json", folder, job->id);
	ok = write_file(folder, path, text, error);
	free(text);
	return ok;
}

void
serve_state_remove(const char *folder, const char *id)
{
	char		path[1152];

	snprintf(path, sizeof(path), "%s/%s.json", folder, id);
	(void) unlink(path);
}

/* ---- reading ---- */

static struct json_object *
parse_object(const char *text, size_t length)
{
	struct json_tokener *tokener = json_tokener_new_ex(STATE_DEPTH);
	struct json_object *object = NULL;

	if (tokener && length <= STATE_BYTES)
	{
		json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
		object = json_tokener_parse_ex(tokener, text, (int) length);
	}
	if (tokener)
		json_tokener_free(tokener);
	return object;
}

static bool
read_number(struct json_object *object, const char *name, int64_t most, int64_t *to)
{
	struct json_object *value;

	if (!json_object_object_get_ex(object, name, &value) || !json_object_is_type(value, json_type_int))
		return false;
	*to = json_object_get_int64(value);
	return *to >= 0 && *to <= most;
}

static bool
read_job(serve_job *job, struct json_object *object)
{
	struct json_object *state;
	struct json_object *error;
	struct json_object *put;
	struct json_object *request;
	serve_problems problems;
	int64_t		version;
	int64_t		number;
	int64_t		attempts;
	int64_t		created;
	int64_t		started;
	int64_t		finished;
	int			i = 0;

	if (!read_number(object, "version", STATE_VERSION, &version) || version != STATE_VERSION ||
		!read_number(object, "number", NUMBER_MOST, &number) ||
		!read_number(object, "attempts", ATTEMPTS_MOST, &attempts) ||
		!read_number(object, "created", NUMBER_MOST, &created) ||
		!read_number(object, "started", NUMBER_MOST, &started) ||
		!read_number(object, "finished", NUMBER_MOST, &finished) ||
		!json_object_object_get_ex(object, "state", &state) ||
		!json_object_is_type(state, json_type_string) ||
		!json_object_object_get_ex(object, "error", &error) ||
		!json_object_is_type(error, json_type_string) ||
		(json_object_object_get_ex(object, "put", &put) && !json_object_is_type(put, json_type_boolean)) ||
		!json_object_object_get_ex(object, "request", &request))
		return false;
	while (serve_state_names[i] && strcmp(serve_state_names[i], json_object_get_string(state)) != 0)
		i++;
	/* what is over has a time to be forgotten after, and nothing else has */
	if (serve_state_names[i] == NULL || (i >= SERVE_COMPLETED) != (finished > 0) ||
		serve_request_read(&job->request, request, &problems) != SERVE_REQUEST_OK)
		return false;
	job->state = (serve_state) i;
	job->put = put ? json_object_get_boolean(put) : job->state == SERVE_COMPLETED;
	job->number = (uint64_t) number;
	job->attempts = (uint32_t) attempts;
	job->created = (time_t) created;
	job->started = (time_t) started;
	job->finished = (time_t) finished;
	snprintf(job->error, sizeof(job->error), "%s", json_object_get_string(error));
	return true;
}

serve_job *
serve_state_parse(const char *text, size_t length)
{
	serve_job  *job = calloc(1, sizeof(*job));
	struct json_object *object = job ? parse_object(text, length) : NULL;
	bool		ok = json_object_is_type(object, json_type_object) && read_job(job, object) &&
		serve_request_id(&job->request, job->id);

	json_object_put(object);
	if (ok)
		return job;
	serve_job_free(job);
	return NULL;
}

serve_job *
serve_state_read(const char *folder, const char *name, builder_error *error)
{
	char		path[1280];
	char	   *text = malloc(STATE_BYTES);
	serve_job  *job = NULL;
	ssize_t		n = -1;
	int			fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && text)
		n = read(fd, text, STATE_BYTES);
	if (n < 0)
		serve_fail(error, BUILDER_IO, errno, "could not read file \"%.180s\"", path);
	else
	{
		job = serve_state_parse(text, (size_t) n);
		/* a file of another name is another's */
		if (job && strncmp(name, job->id, SHA256_HEX) != 0)
		{
			serve_job_free(job);
			job = NULL;
		}
		if (job == NULL)
			serve_fail(error, BUILDER_IO, 0, "could not understand file \"%.180s\"", path);
	}
	if (fd >= 0)
		close(fd);
	free(text);
	return job;
}

void
serve_job_free(serve_job *job)
{
	if (job == NULL)
		return;
	serve_request_free(&job->request);
	free(job);
}
