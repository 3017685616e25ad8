/*
 * instance.c
 *		The credentials of the machine; see instance.h.
 *
 * In a container (ECS, pod identities of EKS) a variable tells the URL, and another one a
 * token or a file with one, which changes and is read each time.  Otherwise it is the
 * metadata service of EC2, version 2 only: a token, the role's name, the role's keys.
 * Requests never go by a proxy: whoever is between would have the keys.  Messages name the
 * service's host only, since the path of a container's URL is known to it alone.
 */
#include "builder/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "builder/http.h"
#include "builder/http_text.h"
#include "builder/secrets.h"

#define SECONDS 2.0				/* for a request: the service is on this machine */
#define ATTEMPTS 3
#define FIRST_PAUSE 0.2			/* seconds, doubled each time */
#define URL_BYTES 2048		/* of a place to ask at */
#define ASKED_BYTES (URL_BYTES + 256)	/* of a URL there */
#define TOKEN_BYTES 16384		/* of a container's token */
#define CONTAINERS "http://169.254.170.2"
#define METADATA "http://169.254.169.254"
#define ROLES "/latest/meta-data/iam/security-credentials/"

struct builder_instance
{
	builder_http *http;
	bool		container;
	char		url[URL_BYTES]; /* of a container's keys, or of the metadata service */
	int			shown;			/* bytes of it up to the path */
};

/* One time of asking. */
typedef struct Question
{
	builder_instance *instance;
	const builder_going *going;
	double		deadline;
	builder_error *error;
	char	   *secret;			/* a header, or NULL */
} Question;

/* ---- where to ask ---- */

static const char *
variable(const char *name)
{
	const char *value = getenv(name);

	return value && value[0] ? value : NULL;
}

static bool
bad_variable(const char *name, const char *expected, builder_error *error)
{
	builder_error_set(error, BUILDER_BAD_JOB, "variable %s of the environment is no good", name);
	snprintf(error->hint, sizeof(error->hint), "Expected is %s.", expected);
	return false;
}

static bool
set_container(builder_instance *instance, const char *relative, const char *full,
			  builder_error *error)
{
	int			n = snprintf(instance->url, URL_BYTES, "%s%s", relative ? CONTAINERS : "",
							 relative ? relative : full);

	instance->container = true;
	if (relative && (relative[0] != '/' || n >= URL_BYTES ||
					 !builder_container_url_is_good(instance->url)))
		return bad_variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "a path that begins with /", error);
	if (n >= URL_BYTES || !builder_container_url_is_good(instance->url))
		return bad_variable("AWS_CONTAINER_CREDENTIALS_FULL_URI",
							"a URL of https, or of http at localhost, 127.0.0.1, [::1], 169.254.170.2, "
							"169.254.170.23 or [fd00:ec2::23]", error);
	return true;
}

static bool
set_metadata(builder_instance *instance, builder_error *error)
{
	const char *disabled = variable("AWS_EC2_METADATA_DISABLED");
	const char *endpoint = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
	size_t		length;

	if (disabled && strcasecmp(disabled, "true") == 0)
	{
		builder_error_set(error, BUILDER_BAD_JOB,
						  "the credentials of this machine may not be asked for: AWS_EC2_METADATA_DISABLED is true");
		snprintf(error->hint, sizeof(error->hint),
				 "Take it out of the environment, or give the repository other credentials.");
		return false;
	}
	if (endpoint == NULL)
		endpoint = METADATA;
	if (!builder_endpoint_is_good(endpoint, &length) || length >= URL_BYTES / 2)
		return bad_variable("AWS_EC2_METADATA_SERVICE_ENDPOINT", "a URL of http or https", error);
	memcpy(instance->url, endpoint, length);
	return true;
}

builder_instance *
builder_instance_open(builder_error *error)
{
	const char *relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	builder_http_options options = {.direct = true};
	builder_instance *instance = calloc(1, sizeof(*instance));
	const char *host;

	if (instance == NULL || (instance->http = builder_http_open(&options)) == NULL)
		builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
	else if (relative || full ? set_container(instance, relative, full, error) :
			 set_metadata(instance, error))
	{
		host = strstr(instance->url, "//") + 2;
		instance->shown = (int) (host + strcspn(host, "/?") - instance->url);
		return instance;
	}
	builder_instance_close(instance);
	return NULL;
}

void
builder_instance_close(builder_instance *instance)
{
	if (instance == NULL)
		return;
	builder_http_close(instance->http);
	free(instance);
}

/* ---- requests ---- */

static bool
no_answer(const Question *question, builder_http_result result)
{
	const builder_instance *instance = question->instance;
	builder_error *error = question->error;

	if (result == BUILDER_HTTP_CANCELLED)
		return builder_error_set(error, BUILDER_CANCELLED, "the transfer was cancelled");
	if (result == BUILDER_HTTP_NO_MEMORY)
		return builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
	builder_error_set(error, BUILDER_REPOSITORY,
					  "the metadata service at %.*s, which has this machine's credentials, %s",
					  instance->shown < 120 ? instance->shown : 120, instance->url,
					  result == BUILDER_HTTP_UNREACHED ? "could not be reached" :
					  result == BUILDER_HTTP_UNTRUSTED ? "has a certificate that is not trusted" :
					  result == BUILDER_HTTP_BROKEN ? "does not answer" : "gave an answer that is no good");
	snprintf(error->detail, sizeof(error->detail), "%s", builder_http_trouble(instance->http));
	snprintf(error->hint, sizeof(error->hint), instance->container ?
			 "Check the variables AWS_CONTAINER_CREDENTIALS_... of the environment." :
			 "Only machines of a cloud have one, and containers on them where its hop limit is 2 or more.");
	return false;
}

/* An answer that is a refusal, unless it repeats the token. */
static bool
refused(const Question *question, const char *what)
{
	const builder_instance *instance = question->instance;
	builder_error *error = question->error;
	const char *token = question->secret ? strchr(question->secret, ' ') + 1 : NULL;
	char		said[200];
	size_t		length;
	const char *body = builder_http_body(instance->http, &length);

	builder_printable(said, sizeof(said), body, length);
	if (token && strstr(body, token))
		said[0] = '\0';
	builder_error_set(error, BUILDER_REPOSITORY, "the metadata service at %.*s refused to give %s",
					  instance->shown < 120 ? instance->shown : 120, instance->url, what);
	snprintf(error->detail, sizeof(error->detail), "It answered %ld%s%s.",
			 builder_http_status(instance->http), said[0] ? ": " : "", said);
	return false;
}

/* The status of an answer; 0 and the error when there is none. */
static long
ask(const Question *question, builder_http_method method, const char *url, const char *header)
{
	builder_http *http = question->instance->http;
	builder_http_request request = {.method = method, .url = url, .headers = {header},
		.seconds = SECONDS, .deadline = question->deadline};
	builder_http_result result;
	double		pause = FIRST_PAUSE;

	if (question->going)
		request.going = *question->going;
	for (int i = 1;; i++, pause *= 2)
	{
		result = builder_http_do(http, &request);
		if (i == ATTEMPTS ||
			!(result == BUILDER_HTTP_ANSWERED ? builder_http_may_pass(builder_http_status(http)) :
			  result == BUILDER_HTTP_UNREACHED || result == BUILDER_HTTP_BROKEN) ||
			(question->deadline > 0 && builder_now() + pause >= question->deadline))
			break;
		if (!builder_wait(pause, question->going))
		{
			result = BUILDER_HTTP_CANCELLED;
			break;
		}
	}
	if (result == BUILDER_HTTP_ANSWERED)
		return builder_http_status(http);
	(void) no_answer(question, result);
	return 0;
}

/* Take the keys of the last answer. */
static bool
take_lease(const Question *question, long status, builder_lease *lease)
{
	size_t		length;
	const char *body;

	if (status == 0)
		return false;
	if (status != 200)
		return refused(question, "credentials");
	body = builder_http_body(question->instance->http, &length);
	return builder_lease_read(lease, body, length, question->error);
}

/* ---- containers ---- */

/* The text of a file without the end of its line; NULL and *error upon failure. */
static char *
read_token(const char *path, builder_error *error)
{
	int			fd = open(path, O_RDONLY | O_CLOEXEC);
	char	   *text = calloc(1, TOKEN_BYTES + 1);
	size_t		n = 0;
	ssize_t		got = fd < 0 || text == NULL ? -1 : 1;

	while (got > 0 && n < TOKEN_BYTES)
	{
		got = read(fd, text + n, TOKEN_BYTES - n);
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got > 0)
			n += (size_t) got;
	}
	if (got < 0)
	{
		int			why = errno;

		builder_error_set(error, BUILDER_REPOSITORY,
						  "could not read the file of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
		snprintf(error->detail, sizeof(error->detail), "%s", strerror(why));
		builder_secret_free(text);
		text = NULL;
	}
	if (fd >= 0)
		(void) close(fd);
	while (text && n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
		text[--n] = '\0';
	return text;
}

/* NULL when there is no memory. */
static char *
make_header(const char *name, const char *value, size_t length)
{
	char	   *header = NULL;

	if (asprintf(&header, "%s: %.*s", name, (int) length, value) < 0)
		header = NULL;
	return header;
}

/* Something that can be a header, and is not empty. */
static bool
is_plain(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		if (text[i] < 0x20 || text[i] >= 0x7F)
			return false;
	}
	return length > 0;
}

static bool
authorize(Question *question)
{
	const char *path = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	const char *given = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
	char	   *text = NULL;
	bool		ok = true;

	if (path && (given = text = read_token(path, question->error)) == NULL)
		return false;
	if (given && !is_plain(given, strlen(given)))
		ok = builder_error_set(question->error, BUILDER_REPOSITORY,
							   "the token of %s is empty or has several lines",
							   path ? "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" :
							   "AWS_CONTAINER_AUTHORIZATION_TOKEN");
	else if (given)
	{
		question->secret = make_header("Authorization", given, strlen(given));
		ok = question->secret != NULL ||
			builder_error_set(question->error, BUILDER_OUT_OF_MEMORY, "out of memory");
	}
	builder_secret_free(text);
	return ok;
}

static bool
ask_container(Question *question, builder_lease *lease)
{
	return authorize(question) &&
		take_lease(question, ask(question, BUILDER_HTTP_GET, question->instance->url, question->secret),
				   lease);
}

/* ---- instances ---- */

static bool
get_session(Question *question)
{
	builder_instance *instance = question->instance;
	char		url[ASKED_BYTES];
	long		status;
	size_t		length;
	const char *body;

	snprintf(url, sizeof(url), "%s/latest/api/token", instance->url);
	/* it is used for the next two requests only */
	status = ask(question, BUILDER_HTTP_PUT, url, "x-aws-ec2-metadata-token-ttl-seconds: 60");
	if (status == 0)
		return false;
	if (status != 200)
		return refused(question, "a token");
	body = builder_http_body(instance->http, &length);
	if (length > TOKEN_BYTES || !is_plain(body, length))
		return builder_error_set(question->error, BUILDER_REPOSITORY,
								 "the metadata service gave a token that is none");
	question->secret = make_header("x-aws-ec2-metadata-token", body, length);
	return question->secret != NULL ||
		builder_error_set(question->error, BUILDER_OUT_OF_MEMORY, "out of memory");
}

static bool
get_role(const Question *question, char name[BUILDER_ROLE_NAME])
{
	builder_instance *instance = question->instance;
	char		url[ASKED_BYTES];
	long		status;
	size_t		length;
	const char *body;

	snprintf(url, sizeof(url), "%s" ROLES, instance->url);
	status = ask(question, BUILDER_HTTP_GET, url, question->secret);
	if (status == 0)
		return false;
	body = builder_http_body(instance->http, &length);
	if (status == 404 || (status == 200 && length == 0))
	{
		builder_error_set(question->error, BUILDER_REPOSITORY,
						  "this machine has no role, and so no credentials");
		snprintf(question->error->hint, sizeof(question->error->hint),
				 "Attach a role (an instance profile) that may use the bucket.");
		return false;
	}
	if (status != 200)
		return refused(question, "the name of a role");
	return builder_role_read(body, length, name) ||
		builder_error_set(question->error, BUILDER_REPOSITORY,
						  "the metadata service told a role whose name is none");
}

static bool
ask_metadata(Question *question, builder_lease *lease)
{
	char		role[BUILDER_ROLE_NAME];
	char		name[3 * BUILDER_ROLE_NAME];
	char		url[ASKED_BYTES];

	if (!get_session(question) || !get_role(question, role))
		return false;
	(void) builder_url_encode(name, sizeof(name), role, false);
	snprintf(url, sizeof(url), "%s" ROLES "%s", question->instance->url, name);
	return take_lease(question, ask(question, BUILDER_HTTP_GET, url, question->secret), lease);
}

/* ---- the whole ---- */

bool
builder_instance_ask(builder_instance *instance, const builder_going *going, double deadline,
					 builder_lease *lease, builder_error *error)
{
	Question	question = {.instance = instance, .going = going, .deadline = deadline,
		.error = error};
	bool		ok = instance->container ? ask_container(&question, lease) :
		ask_metadata(&question, lease);

	builder_secret_free(question.secret);
	return ok;
}
