/*
 * remote_service.c
 *		Requests to a build service; see remote_service.h.
 *
 * A request is repeated once, after a second or what the service asks for, when the status
 * says that this may help.  A connection that breaks is another chance only for questions:
 * whether a request to build was taken is not known then.
 */
#include "builder/remote_service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/http.h"
#include "builder/http_text.h"
#include "builder/secrets.h"
#include "core/secret.h"

#define PAUSE 1.0				/* seconds before the second attempt */
#define RETRY_AFTER_MOST 30.0

struct builder_service
{
	const builder_remote_job *job;
	builder_going going;
	builder_http *http;
	char	   *secret;			/* as Basic authentication sends it, or NULL */
};

builder_service *
builder_service_open(const builder_remote_job *job, const builder_going *going)
{
	builder_service *service = calloc(1, sizeof(*service));
	builder_http_options options = {.ca_file = job->ca_file,
		.username = job->password ? job->username : NULL, .password = job->password};
	bool		ok = service != NULL;

	if (!ok)
		return NULL;
	service->job = job;
	service->going = *going;
	service->http = builder_http_open(&options);
	ok = service->http != NULL;
	if (ok && job->password)
	{
		size_t		length = strlen(job->username) + 1 + strlen(job->password);
		char	   *both = malloc(length + 1);

		service->secret = malloc(BUILDER_BASE64(length));
		ok = both != NULL && service->secret != NULL;
		if (ok)
		{
			snprintf(both, length + 1, "%s:%s", job->username, job->password);
			builder_base64(service->secret, both, length);
			explicit_bzero(both, length);
		}
		free(both);
	}
	if (ok)
		return service;
	builder_service_close(service);
	return NULL;
}

void
builder_service_close(builder_service *service)
{
	if (service == NULL)
		return;
	builder_http_close(service->http);
	builder_secret_free(service->secret);
	free(service);
}

/* ---- refusals ---- */

typedef struct Meaning
{
	long		status;
	const char *name;
	const char *hint;
} Meaning;

#define AGAIN "It was the same after another attempt.  Try again later; the service's log may tell more."

static const Meaning meanings[] = {
	{400, "Bad Request", "The service does not take this request: its version may not know the index's parameters."},
	{401, "Unauthorized", "Check knn.remote_index_build_service_username and knn.remote_index_build_service_password."},
	{403, "Forbidden", "The service does not let this user build: change the user, or its rights there."},
	{404, "Not Found", "Check the path of knn.remote_index_build_service_endpoint; a service that was restarted forgets its jobs."},
	{405, "Method Not Allowed", "Check knn.remote_index_build_service_endpoint: another service seems to be there."},
	{408, "Request Timeout", AGAIN},
	{409, "Conflict", "The service has another request for the same vectors: wait until it has ended."},
	{422, "Unprocessable Entity", "The service does not take these parameters: the detail says which."},
	{429, "Too Many Requests", AGAIN},
	{500, "Internal Server Error", AGAIN},
	{502, "Bad Gateway", AGAIN},
	{503, "Service Unavailable", AGAIN},
	{504, "Gateway Timeout", AGAIN},
	{507, "Insufficient Storage", "The index needs more memory than the service has: set knn.remote_index_build_size_max below its size."},
	{509, "Bandwidth Limit Exceeded", AGAIN},
};

static const Meaning other = {0, "", "Check that a build service of this protocol is at knn.remote_index_build_service_endpoint, and whether it is asked by http or https."};

static const Meaning redirect = {0, "a redirect", "Redirects are not followed: name the service's own address in knn.remote_index_build_service_endpoint."};

static const Meaning *
meaning_of(long status)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
	{
		if (meanings[i].status == status)
			return &meanings[i];
	}
	return status >= 300 && status < 400 ? &redirect : &other;
}

static bool
repeats(const char *body, size_t length, const char *secret)
{
	return knn_secret_shows(secret) && memmem(body, length, secret, strlen(secret)) != NULL;
}

/* What the service said besides, but for a secret that it may repeat. */
static void
quote(const builder_service *service, builder_error *error)
{
	size_t		length;
	const char *body = builder_http_body(service->http, &length);
	char		said[BUILDER_HTTP_ANSWER_BYTES + 1];

	builder_printable(said, sizeof(said), body, length);
	if (said[0] == '\0')
		return;
	/* of the body, since a secret may have characters that are replaced in what is shown */
	if (repeats(body, length, service->secret) || repeats(body, length, service->job->password))
		snprintf(error->detail, sizeof(error->detail), "The service's answer repeats the password.");
	else
		snprintf(error->detail, sizeof(error->detail), "The service answered: %.400s", said);
}

static bool
refused(const builder_service *service, const char *what, builder_error *error)
{
	long		status = builder_http_status(service->http);
	const Meaning *meaning = meaning_of(status);

	builder_error_set(error, BUILDER_REMOTE, "the build service refused to %s: %ld%s%s", what,
					  status, meaning->name[0] ? " " : "", meaning->name);
	snprintf(error->hint, sizeof(error->hint), "%s", meaning->hint);
	quote(service, error);
	return false;
}

static bool
no_answer(const builder_service *service, builder_http_result result, const char *what,
		  builder_error *error)
{
	const char *endpoint = service->job->endpoint;

	switch (result)
	{
		case BUILDER_HTTP_CANCELLED:
			return builder_error_set(error, BUILDER_CANCELLED, "the job was cancelled");
		case BUILDER_HTTP_NO_MEMORY:
			return builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
		case BUILDER_HTTP_UNREACHED:
			builder_error_set(error, BUILDER_UNREACHED, "could not reach the build service at %.150s",
							  endpoint);
			snprintf(error->hint, sizeof(error->hint),
					 "Check knn.remote_index_build_service_endpoint, whether it is to be http or https, and that the service runs.");
			break;
		case BUILDER_HTTP_UNTRUSTED:
			builder_error_set(error, BUILDER_REMOTE,
							  "the certificate of the build service at %.150s is not trusted", endpoint);
			snprintf(error->hint, sizeof(error->hint),
					 "Name the authority that signed it in knn.remote_index_build_service_ca_file, or renew it.");
			break;
		case BUILDER_HTTP_NO_CA:
			builder_error_set(error, BUILDER_REMOTE,
							  "the certificates to trust, of the build service at %.150s, cannot be read", endpoint);
			snprintf(error->hint, sizeof(error->hint),
					 "Check knn.remote_index_build_service_ca_file: a file of PEM that the server may read.");
			break;
		case BUILDER_HTTP_BROKEN:
			builder_error_set(error, BUILDER_REMOTE,
							  "the connection to the build service broke or stalled (%s)", what);
			snprintf(error->hint, sizeof(error->hint), "%s", other.hint);
			break;
		default:
			builder_error_set(error, BUILDER_REMOTE,
							  "the build service gave an answer that is no good (%s)", what);
			snprintf(error->hint, sizeof(error->hint), "%s", other.hint);
	}
	snprintf(error->detail, sizeof(error->detail), "%s", builder_http_trouble(service->http));
	return false;
}

/* ---- requests ---- */

/* With its second attempt; what is "build" or the like.  True: the answer is one of success. */
static bool
ask(builder_service *service, builder_http_request *request, const char *what,
	builder_error *error)
{
	bool		question = request->method == BUILDER_HTTP_GET;
	builder_http_result result;
	long		status;

	request->going = service->going;
	for (bool second = false;; second = true)
	{
		double		pause = PAUSE;

		result = builder_http_do(service->http, request);
		status = builder_http_status(service->http);
		if (result == BUILDER_HTTP_ANSWERED && builder_http_may_pass(status))
			pause = builder_http_retry_after(service->http, RETRY_AFTER_MOST, PAUSE);
		else if (!(result == BUILDER_HTTP_BROKEN && question))
			break;
		if (second)
			break;
		if (!builder_wait(pause, &service->going))
			return no_answer(service, BUILDER_HTTP_CANCELLED, what, error);
	}
	if (result != BUILDER_HTTP_ANSWERED)
	{
		(void) no_answer(service, result, what, error);
		if (result == BUILDER_HTTP_BROKEN && question)
			error->code = BUILDER_UNREACHED;
		return false;
	}
	if (status < 200 || status >= 300)
		return refused(service, what, error);
	return true;
}

bool
builder_service_greet(builder_service *service, builder_error *error)
{
	builder_http_request request = {.method = BUILDER_HTTP_GET,
		.seconds = BUILDER_HTTP_SECONDS, .headers = {"accept: application/json"}};
	char	   *url = NULL;
	long		status;
	bool		ok;

	if (asprintf(&url, "%s/_heart_beat", service->job->endpoint) < 0)
		return builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
	request.url = url;
	ok = ask(service, &request, "let this user in", error);
	free(url);
	status = builder_http_status(service->http);
	return ok || (strcmp(error->code, BUILDER_REMOTE) == 0 && status != 0 && status != 401 && status != 403);
}

bool
builder_service_submit(builder_service *service, const char *body,
					   char id[3 * BUILDER_REMOTE_TEXT], builder_error *error)
{
	builder_http_request request = {.method = BUILDER_HTTP_POST, .once = true,
		.seconds = BUILDER_HTTP_SECONDS,
		.headers = {"content-type: application/json", "accept: application/json"},
		.body = body, .body_length = strlen(body)};
	char	   *url = NULL;
	const char *answer;
	size_t		length;
	bool		ok;

	if (asprintf(&url, "%s/_build", service->job->endpoint) < 0)
		return builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
	request.url = url;
	ok = ask(service, &request, "build", error);
	free(url);
	if (!ok)
		return false;
	answer = builder_http_body(service->http, &length);
	if (builder_remote_read_id(answer, length, id, error))
		return true;
	if (error->detail[0] == '\0' && strcmp(error->code, BUILDER_REMOTE) == 0)
		quote(service, error);
	return false;
}

bool
builder_service_ask(builder_service *service, const char *id, double seconds,
					builder_remote_status *status, builder_error *error)
{
	builder_http_request request = {.method = BUILDER_HTTP_GET,
		.headers = {"accept: application/json"}};
	char	   *url = NULL;
	const char *answer;
	size_t		length;
	bool		ok;

	if (asprintf(&url, "%s/_status/%s", service->job->endpoint, id) < 0)
		return builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
	request.url = url;
	request.seconds = seconds < BUILDER_HTTP_SECONDS ? seconds : BUILDER_HTTP_SECONDS;
	ok = ask(service, &request, "tell the build's status", error);
	free(url);
	if (!ok)
		return false;
	answer = builder_http_body(service->http, &length);
	if (builder_remote_read_status(answer, length, status, error))
		return true;
	if (error->detail[0] == '\0' && strcmp(error->code, BUILDER_REMOTE) == 0)
		quote(service, error);
	return false;
}

void
builder_service_cancel(builder_service *service, const char *id, double seconds)
{
	builder_http_request request = {.method = BUILDER_HTTP_DELETE, .seconds = seconds,
		.headers = {"accept: application/json"}};
	char	   *url = NULL;

	if (asprintf(&url, "%s/_build/%s", service->job->endpoint, id) < 0)
		return;
	request.url = url;
	(void) builder_http_do(service->http, &request);
	free(url);
}
