/*
 * serve_routes.c
 *		What can be asked of the service, and its answers; see serve_routes.h.
 */
#include "builder/serve_routes.h"

#include <json.h>
#include <stdio.h>
#include <string.h>

#include "builder/serve_log.h"

/* ---- answers ---- */

static void
set_text(struct json_object *object, const char *name, const char *text)
{
	json_object_object_add(object, name, text ? json_object_new_string(text) : NULL);
}

void
serve_answer_error(serve_answer *answer, unsigned status, const char *detail)
{
	answer->status = status;
	answer->body = json_object_new_object();
	if (answer->body)
		set_text(answer->body, "detail", detail);
}

static void
answer_problems(serve_answer *answer, const serve_problems *problems)
{
	struct json_object *list = json_object_new_array();

	serve_answer_error(answer, 422, "Validation Error");
	for (uint32_t i = 0; i < problems->count; i++)
	{
		struct json_object *problem = json_object_new_object();

		set_text(problem, "field", problems->list[i].field);
		set_text(problem, "message", problems->list[i].message);
		set_text(problem, "type", problems->list[i].type);
		json_object_array_add(list, problem);
	}
	json_object_object_add(answer->body, "errors", list);
}

/* Of a job that is known. */
static void
answer_status(serve_answer *answer, const serve_status *status)
{
	/* a client knows no state of waiting, and none of an end that takes its time */
	static const char *const names[] = {"RUNNING_INDEX_BUILD", "RUNNING_INDEX_BUILD",
	"COMPLETED_INDEX_BUILD", "FAILED_INDEX_BUILD", "FAILED_INDEX_BUILD"};
	bool		failed = status->state == SERVE_FAILED || status->state == SERVE_CANCELLED;

	answer->status = 200;
	answer->body = json_object_new_object();
	set_text(answer->body, "task_status", names[status->state]);
	set_text(answer->body, "file_name", status->state == SERVE_COMPLETED ? status->file_name : NULL);
	set_text(answer->body, "error_message", failed ? status->error : NULL);
}

/* ---- routes ---- */

static void
submit(const serve_call *call, serve_request *request, serve_answer *answer)
{
	char		id[SHA256_HEX + 1];
	builder_error error;
	serve_problems problems = {0};

	serve_repository_check(call->config, request, &problems);
	if (problems.count > 0)
	{
		answer_problems(answer, &problems);
		return;
	}
	switch (serve_jobs_submit(call->jobs, request, id, &error))
	{
		case SERVE_ACCEPTED:
			answer->status = 200;
			answer->body = json_object_new_object();
			set_text(answer->body, "job_id", id);
			serve_log(SERVE_INFO, "job_accepted", "job", id, NULL);
			break;
		case SERVE_CONFLICT:
			serve_answer_error(answer, 409, "there is another request with this vector_path and tenant_id");
			break;
		case SERVE_RIVAL:
			serve_answer_error(answer, 409, error.message);
			break;
		case SERVE_BUSY:
			serve_answer_error(answer, 429, "too many jobs are waiting");
			break;
		case SERVE_TOO_LARGE:
			serve_answer_error(answer, 507, "the service has not enough memory for a build of this size");
			break;
		case SERVE_BROKEN:
			serve_log(SERVE_ERROR, "job_not_accepted", "message", error.message, "detail", error.detail, NULL);
			serve_answer_error(answer, 500, "the job could not be saved");
			break;
	}
}

static void
handle_build(const serve_call *call, serve_answer *answer)
{
	serve_request request;
	serve_problems problems;

	switch (serve_request_parse(&request, call->body ? call->body : "", call->length, &problems))
	{
		case SERVE_REQUEST_OK:
			submit(call, &request, answer);
			serve_request_free(&request);
			break;
		case SERVE_REQUEST_NOT_JSON:
			serve_answer_error(answer, 400, problems.list[0].message);
			break;
		case SERVE_REQUEST_INVALID:
			answer_problems(answer, &problems);
			break;
		case SERVE_REQUEST_NO_MEMORY:
			serve_answer_error(answer, 500, "out of memory");
			break;
	}
}

static void
handle_cancel(const serve_call *call, serve_answer *answer)
{
	serve_status status;
	builder_error error;

	switch (serve_jobs_cancel(call->jobs, call->rest, &status, &error))
	{
		case SERVE_CANCEL_UNKNOWN:
			serve_answer_error(answer, 404, "Job not found");
			break;
		case SERVE_CANCEL_BEGUN:
			answer_status(answer, &status);
			answer->status = 202;
			break;
		case SERVE_CANCEL_OVER:
			answer_status(answer, &status);
			break;
		case SERVE_CANCEL_BROKEN:
			serve_log(SERVE_ERROR, "job_not_cancelled", "message", error.message, "detail", error.detail, NULL);
			serve_answer_error(answer, 500, "the job could not be saved");
			break;
	}
}

static void
handle_status(const serve_call *call, serve_answer *answer)
{
	serve_status status;

	if (serve_jobs_status(call->jobs, call->rest, &status))
		answer_status(answer, &status);
	else
		serve_answer_error(answer, 404, "Job not found");
}

static void
handle_jobs(const serve_call *call, serve_answer *answer)
{
	answer->body = serve_jobs_list(call->jobs);
	if (answer->body)
		answer->status = 200;
	else
		serve_answer_error(answer, 500, "out of memory");
}

static void
handle_heart_beat(const serve_call *call, serve_answer *answer)
{
	(void) call;
	answer->status = 200;
	answer->body = json_object_new_string("knn-builder " KNN_BUILDER_VERSION);
}

struct serve_route
{
	const char *method;
	const char *path;			/* ending with '/': anything follows */
	const char *allow;
	void		(*handle) (const serve_call *call, serve_answer *answer);
};

static const serve_route routes[] = {
	{"POST", "/_build", "POST", handle_build},
	{"DELETE", "/_build/", "DELETE", handle_cancel},
	{"GET", "/_status/", "GET, HEAD", handle_status},
	{"GET", "/_jobs", "GET, HEAD", handle_jobs},
	{"GET", "/_heart_beat", "GET, HEAD", handle_heart_beat},
};

static const serve_route *
find_path(const char *path)
{
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
	{
		size_t		length = strlen(routes[i].path);

		if (routes[i].path[length - 1] == '/' ? strncmp(path, routes[i].path, length) == 0 :
			strcmp(path, routes[i].path) == 0)
			return &routes[i];
	}
	return NULL;
}

const serve_route *
serve_route_find(const char *method, const char *path, const char **rest, serve_answer *refused)
{
	const serve_route *route = find_path(path);

	if (route == NULL)
	{
		serve_answer_error(refused, 404, "there is nothing of this name");
		return NULL;
	}
	if (strcmp(method, route->method) != 0)
	{
		serve_answer_error(refused, 405, "this method is not known here");
		refused->allow = route->allow;
		return NULL;
	}
	*rest = path + strlen(route->path);
	return route;
}

void
serve_route_answer(const serve_route *route, const serve_call *call, serve_answer *answer)
{
	route->handle(call, answer);
}
