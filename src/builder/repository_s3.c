/*
 * repository_s3.c
 *		Repositories that speak S3: settings, signed requests, their retries and errors.
 *
 * libcurl signs (SigV4).  Version 7.88 signs path, query and headers as they are given: so
 * they are given in their canonical form, with x-amz-content-sha256 always there.  Bodies
 * are not part of the signature; parts have a checksum in a header that is.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/http_text.h"
#include "builder/s3.h"
#include "builder/wait.h"
#include "core/endpoint.h"

#define ATTEMPTS 5
#define FIRST_PAUSE 0.2			/* seconds, doubled each time */
#define LONGEST_PAUSE 5.0
#define RETRY_AFTER_MOST 30.0
#define URL_BYTES 8192
#define CONNECTIONS 4

/* SHA-256 of nothing */
#define NO_BODY "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ANY_BODY "x-amz-content-sha256: UNSIGNED-PAYLOAD"

/* ---- settings ---- */

static bool
given(const char *value)
{
	return value != NULL && value[0] != '\0';
}

/* The option, or the first of two variables that is set, or else. */
static const char *
choose(const char *option, const char *variable, const char *other, const char *otherwise)
{
	if (given(option))
		return option;
	if (given(getenv(variable)))
		return getenv(variable);
	if (other && given(getenv(other)))
		return getenv(other);
	return otherwise;
}

__attribute__((format(printf, 1, 2)))
static char *
print(const char *format,...)
{
	va_list		args;
	char	   *text = NULL;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	return text;
}

static bool
only_of(const char *text, const char *characters, size_t least, size_t most)
{
	size_t		length = strlen(text);

	return length >= least && length <= most && text[strspn(text, characters)] == '\0';
}

/* Whether a bucket can be the first label of a host name: as DNS has it. */
static bool
can_be_host(const char *bucket)
{
	return only_of(bucket, "abcdefghijklmnopqrstuvwxyz0123456789-", 3, 63) &&
		bucket[0] != '-' && bucket[strlen(bucket) - 1] != '-';
}

/* Whether the host of a URL is an address, which has no labels before it. */
static bool
host_is_address(const char *url)
{
	const char *host = strstr(url, "//") + 2;
	size_t		length = strcspn(host, ":/");

	return host[0] == '[' || strspn(host, "0123456789.") == length;
}

static bool
set_url(s3_repository *s3, const builder_repository_options *options, builder_error *error)
{
	const char *endpoint = choose(options->endpoint, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", NULL);
	const char *host;
	char	   *amazon = NULL;
	size_t		length;

	if (endpoint == NULL)
	{
		amazon = print("https://s3.%s.amazonaws.com%s", s3->region,
					   strncmp(s3->region, "cn-", 3) == 0 ? ".cn" : "");
		if (amazon == NULL)
			return builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
		endpoint = amazon;
	}
	if (!builder_endpoint_is_good(endpoint, &length))
	{
		builder_error_set(error, BUILDER_BAD_JOB, "the endpoint of the repository is no URL of a store");
		snprintf(error->hint, sizeof(error->hint),
				 "Expected is http:// or https:// with a host, perhaps a port and a path, and nothing else.");
		return false;
	}
	host = strstr(endpoint, "//") + 2;
	if (options->path_style || !can_be_host(s3->bucket) || host_is_address(endpoint))
		s3->url = print("%.*s/%s", (int) length, endpoint, s3->bucket);
	else
		s3->url = print("%.*s%s.%.*s", (int) (host - endpoint), endpoint, s3->bucket,
						(int) (endpoint + length - host), host);
	free(amazon);
	return s3->url != NULL || builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
}

static bool
set_all(s3_repository *s3, const builder_repository_options *options, builder_error *error)
{
	const char *region = choose(options->region, "AWS_REGION", "AWS_DEFAULT_REGION", "us-east-1");

	if (!only_of(options->container,
				 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_", 1, 255) ||
		options->container[0] == '.')
		return builder_error_set(error, BUILDER_BAD_JOB, "\"%.100s\" is no name of a bucket",
								 options->container);
	if (knn_region_problem(region, strlen(region)) != NULL)
		return builder_error_set(error, BUILDER_BAD_JOB, "\"%.100s\" is no name of a region", region);
	if (options->connections > BUILDER_CONNECTIONS_MAX)
		return builder_error_set(error, BUILDER_BAD_JOB, "the repository has %u connections, expected up to %d",
								 options->connections, BUILDER_CONNECTIONS_MAX);
	s3->connections = options->connections > 0 ? options->connections : CONNECTIONS;
	s3->bucket = strdup(options->container);
	s3->region = strdup(region);
	s3->scope = print("aws:amz:%s:s3", region);
	if (given(options->ca_file))
		s3->ca_file = strdup(options->ca_file);
	if (!s3->bucket || !s3->region || !s3->scope || (given(options->ca_file) && !s3->ca_file))
		return builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
	if (!set_url(s3, options, error))
		return false;
	s3->credentials = options->instance ? builder_credentials_instance(error) :
		builder_credentials_given(options->access_key, options->secret_key, options->session_token,
								  error);
	if (s3->credentials == NULL)
		return false;
	s3->http = s3_open_http(s3);
	return s3->http != NULL || builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
}

builder_http *
s3_open_http(const s3_repository *s3)
{
	builder_http_options options = {.ca_file = s3->ca_file, .sigv4 = s3->scope};

	return builder_http_open(&options);
}

static void
s3_close(builder_repository *base)
{
	s3_repository *s3 = (s3_repository *) base;

	builder_http_close(s3->http);
	free(s3->bucket);
	free(s3->url);
	free(s3->region);
	free(s3->scope);
	builder_credentials_close(s3->credentials);
	free(s3->ca_file);
	free(s3);
}

/* ---- requests ---- */

/* Where it goes: set in the request for as long as url lives. */
static bool
address(const s3_repository *s3, s3_request *request, char url[URL_BYTES])
{
	int			n = snprintf(url, URL_BYTES, "%s/", s3->url);

	if (!builder_url_encode(url + n, URL_BYTES - (size_t) n, request->key, true))
		return false;
	n += (int) strlen(url + n);
	if (request->query &&
		snprintf(url + n, URL_BYTES - (size_t) n, "?%s", request->query) >= URL_BYTES - n)
		return false;
	request->http.url = url;
	request->http.deadline = s3->base.deadline;
	return true;
}

/* Who sends it: set in the request for as long as there are the keys. */
static void
sign(s3_request *request, const builder_keys *keys)
{
	const char **headers = request->http.headers;
	bool		body = request->http.method == BUILDER_HTTP_PUT ||
		request->http.body_length > 0;

	request->http.username = keys->access_key;
	request->http.password = keys->secret_key;
	*headers++ = body ? ANY_BODY : NO_BODY;
	if (keys->token)
		*headers++ = keys->token;
	for (int i = 0; request->headers[i]; i++)
		*headers++ = request->headers[i];
	*headers = NULL;
}

static bool
no_answer(const s3_repository *s3, builder_http *http, builder_http_result result,
		  builder_error *error)
{
	switch (result)
	{
		case BUILDER_HTTP_CANCELLED:
			return builder_error_set(error, BUILDER_CANCELLED, "the transfer was cancelled");
		case BUILDER_HTTP_NO_MEMORY:
			return builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
		case BUILDER_HTTP_UNREACHED:
			builder_error_set(error, BUILDER_REPOSITORY, "could not reach the object store at %.150s",
							  s3->url);
			snprintf(error->hint, sizeof(error->hint),
					 "Check the repository's endpoint and region, and that the server may connect to it.");
			break;
		case BUILDER_HTTP_UNTRUSTED:
			builder_error_set(error, BUILDER_REPOSITORY,
							  "the certificate of the object store at %.150s is not trusted", s3->url);
			snprintf(error->hint, sizeof(error->hint),
					 "Name the authority that signed it in the repository's ca_file, or renew it.");
			break;
		case BUILDER_HTTP_NO_CA:
			builder_error_set(error, BUILDER_REPOSITORY,
							  "the certificates to trust, of the object store at %.150s, cannot be read", s3->url);
			snprintf(error->hint, sizeof(error->hint),
					 "Check the repository's ca_file: a file of PEM that the server may read.");
			break;
		case BUILDER_HTTP_BROKEN:
			builder_error_set(error, BUILDER_REPOSITORY,
							  "the connection to the object store at %.150s broke or stalled", s3->url);
			snprintf(error->hint, sizeof(error->hint),
					 "Check that a store that speaks S3 is there, and whether it is asked by http or https.");
			break;
		default:
			builder_error_set(error, BUILDER_REPOSITORY,
							  "the object store at %.150s gave an answer that is no good", s3->url);
	}
	snprintf(error->detail, sizeof(error->detail), "%s", builder_http_trouble(http));
	return false;
}

static bool
worth_another(builder_http *http, builder_http_result result)
{
	if (result == BUILDER_HTTP_ANSWERED)
		return builder_http_may_pass(builder_http_status(http));
	return result == BUILDER_HTTP_UNREACHED || result == BUILDER_HTTP_BROKEN;
}

/* Perhaps for its keys: the code depends on the store, and an answer to HEAD has none. */
static bool
is_refusal(builder_http *http, builder_http_result result)
{
	long		status = result == BUILDER_HTTP_ANSWERED ? builder_http_status(http) : 0;

	return status == 400 || status == 401 || status == 403;
}

/*
 * Do a request once, and once more when it was refused and there are other keys by now.
 * False: begin, or asking for keys, has set *error.
 */
static bool
attempt(s3_repository *s3, builder_http *http, s3_request *request, builder_http_result *result,
		builder_error *error)
{
	const builder_going *going = &request->http.going;
	double		deadline = s3->base.deadline;
	bool		again = false;

	do
	{
		builder_keys *keys = builder_credentials_take(s3->credentials, going, deadline, error);
		bool		begun;

		if (keys == NULL)
			return false;
		sign(request, keys);
		begun = request->begin == NULL || request->begin(request->http.state, &request->http);
		if (begun)
			*result = builder_http_do(http, &request->http);
		again = begun && !again && is_refusal(http, *result) &&
			builder_credentials_renew(s3->credentials, keys, going, deadline);
		builder_credentials_release(s3->credentials, keys);
		if (!begun)
			return false;
	} while (again);
	return true;
}

long
s3_do(s3_repository *s3, builder_http *http, s3_request *request, builder_error *error)
{
	builder_http_result result;
	char		url[URL_BYTES];
	double		pause = FIRST_PAUSE;

	if (!address(s3, request, url))
		return builder_error_set(error, BUILDER_BAD_JOB, "the key \"%.100s\" is too long", request->key);
	for (request->attempts = 0;;)
	{
		double		wait;

		if (!attempt(s3, http, request, &result, error))
			return 0;
		if (request->attempts == 0)
			pause = FIRST_PAUSE;
		request->attempts++;
		if (!worth_another(http, result) || request->attempts >= ATTEMPTS)
			break;
		wait = pause * (0.8 + 0.4 * builder_random());
		if (result == BUILDER_HTTP_ANSWERED)
			wait = builder_http_retry_after(http, RETRY_AFTER_MOST, wait);
		if (s3->base.deadline > 0 && builder_now() + wait >= s3->base.deadline)
			break;
		if (!builder_wait(wait, &request->http.going))
			return builder_error_set(error, BUILDER_CANCELLED, "the transfer was cancelled");
		pause = pause * 2 < LONGEST_PAUSE ? pause * 2 : LONGEST_PAUSE;
	}
	if (result == BUILDER_HTTP_ANSWERED)
		return builder_http_status(http);
	if (result != BUILDER_HTTP_STOPPED)
		(void) no_answer(s3, http, result, error);
	return 0;
}

/* ---- refusals ---- */

static const struct
{
	const char *code;			/* of S3, or a status */
	const char *hint;
}			hints[] = {
	{"SignatureDoesNotMatch", "Check the repository's secret key and region."},
	{"InvalidAccessKeyId", "Check the repository's access key."},
	{"RequestTimeTooSkewed", "Set this machine's clock."},
	{"ExpiredToken", "The session token has expired: get a new one."},
	{"InvalidToken", "Check the repository's session token."},
	{"NoSuchBucket", "Check the repository's bucket, region and endpoint."},
	{"AuthorizationHeaderMalformed", "Check the repository's region."},
	{"EntityTooLarge", "The store takes no objects of that size."},
	{"301", "Check the repository's region and endpoint; redirects are not followed."},
	{"307", "Check the repository's region and endpoint; redirects are not followed."},
	{"400", "Check the repository's region, endpoint and path_style."},
	{"401", "Check the repository's credentials."},
	{"403", "Check the repository's credentials.  Needed are s3:PutObject, s3:GetObject, s3:DeleteObject and "
	"s3:AbortMultipartUpload on the objects, and s3:ListBucket on the bucket."},
	{"404", "Check the repository's bucket, region and endpoint."},
	{"429", "The store asks for fewer requests; try again later."},
	{"503", "The store is overloaded or down; try again later."},
};

bool
s3_refused(const s3_repository *s3, builder_http *http, const char *what, const char *key,
		   builder_error *error)
{
	long		status = builder_http_status(http);
	const char *region = builder_http_header(http, "x-amz-bucket-region");
	char		code[80] = "";
	char		said[300] = "";
	char		number[24];
	size_t		length;
	const char *body = builder_http_body(http, &length);

	if (builder_xml_element(body, length, "Code", said, sizeof(said)))
		builder_printable(code, sizeof(code), said, strlen(said));
	if (builder_xml_element(body, length, "Message", said, sizeof(said)))
		builder_printable(said, sizeof(said), said, strlen(said));
	else
		said[0] = '\0';
	snprintf(number, sizeof(number), "%ld", status);
	builder_error_set(error, BUILDER_REPOSITORY, "the object store refused to %s object \"%.160s\"",
					  what, key);
	snprintf(error->detail, sizeof(error->detail), "%.100s answered %s%s%s%s%s.", s3->url, number,
			 code[0] ? " " : "", code, said[0] ? ": " : "", said);
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]) && error->hint[0] == '\0'; i++)
	{
		if (strcmp(hints[i].code, code) == 0 || strcmp(hints[i].code, number) == 0)
			snprintf(error->hint, sizeof(error->hint), "%s", hints[i].hint);
	}
	if (strcmp(code, "ExpiredToken") == 0 && builder_credentials_of_instance(s3->credentials))
		snprintf(error->hint, sizeof(error->hint),
				 "The machine's metadata service gives no newer credentials; check it, and the clock.");
	if (region && strcmp(region, s3->region) != 0)
	{
		char		name[64];

		builder_printable(name, sizeof(name), region, strlen(region));
		snprintf(error->hint, sizeof(error->hint),
				 "The bucket is in region %s, the repository's is %s.", name, s3->region);
	}
	return false;
}

/* ---- what a store says of an object ---- */

/* Copy a header; "" when it is not there or does not fit. */
static void
copy_header(builder_http *http, const char *name, char *to, size_t room)
{
	const char *value = builder_http_header(http, name);

	to[0] = '\0';
	if (value && strlen(value) < room)
		strcpy(to, value);
}

long
s3_ask(s3_repository *s3, const char *key, uint32_t part, const builder_going *going,
	   s3_head *head, builder_error *error)
{
	s3_request	request = {.http.method = BUILDER_HTTP_HEAD, .http.seconds = BUILDER_HTTP_SECONDS,
		.key = key, .headers = {"x-amz-checksum-mode: ENABLED"}};
	char		query[32];
	char		type[16];
	const char *length;
	long		status;

	if (going)
		request.http.going = *going;
	if (part > 0)
	{
		snprintf(query, sizeof(query), "partNumber=%u", part);
		request.query = query;
	}
	status = s3_do(s3, s3->http, &request, error);
	if (status != 200 && status != 206)
		return status;
	length = builder_http_header(s3->http, "Content-Length");
	if (length == NULL || !builder_whole_number(length, &head->size) || head->size > INT64_MAX)
	{
		builder_error_set(error, BUILDER_REPOSITORY,
						  "the object store does not tell the size of object \"%.150s\"", key);
		return 0;
	}
	copy_header(s3->http, "ETag", head->etag, sizeof(head->etag));
	copy_header(s3->http, "x-amz-checksum-crc32", head->crc32, sizeof(head->crc32));
	copy_header(s3->http, "x-amz-checksum-crc32c", head->crc32c, sizeof(head->crc32c));
	copy_header(s3->http, "x-amz-checksum-type", type, sizeof(type));
	/* not all stores say so, but those made of parts have such tags */
	head->of_parts = strcmp(type, "FULL_OBJECT") != 0 && strchr(head->etag, '-') != NULL;
	head->only_of_parts = strcmp(type, "COMPOSITE") == 0 || strchr(head->crc32, '-') != NULL ||
		strchr(head->crc32c, '-') != NULL;
	return status;
}

static bool
s3_size(builder_repository *base, const char *key, uint64_t *size, builder_error *error)
{
	s3_repository *s3 = (s3_repository *) base;
	s3_head		head;
	long		status = s3_ask(s3, key, 0, &base->going, &head, error);

	if (status == 0)
		return false;
	if (status == 404)
		return builder_error_set(error, BUILDER_NOT_FOUND, "there is no object \"%.200s\"", key);
	if (status != 200)
		return s3_refused(s3, s3->http, "tell the size of", key, error);
	*size = head.size;
	return true;
}

bool
s3_remove(builder_repository *base, const char *key, builder_error *error)
{
	s3_repository *s3 = (s3_repository *) base;
	s3_request	request = {.http.method = BUILDER_HTTP_DELETE,
		.http.seconds = BUILDER_HTTP_SECONDS, .http.going = base->going, .key = key};
	long		status = s3_do(s3, s3->http, &request, error);
	char		code[80];
	size_t		length;
	const char *body;

	if (status == 0)
		return false;
	if (status >= 200 && status < 300)
		return true;
	body = builder_http_body(s3->http, &length);
	if (status == 404 &&
		(!builder_xml_element(body, length, "Code", code, sizeof(code)) ||
		 strcmp(code, "NoSuchKey") == 0))
		return true;
	return s3_refused(s3, s3->http, "remove", key, error);
}

/* ---- the repository ---- */

static const builder_repository_class s3_class = {s3_close, s3_put, s3_get, s3_size, s3_remove};

builder_repository *
builder_repository_open_s3(const builder_repository_options *options, builder_error *error)
{
	s3_repository *s3 = calloc(1, sizeof(*s3));

	if (s3 == NULL)
	{
		builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
		return NULL;
	}
	s3->base.class = &s3_class;
	if (!set_all(s3, options, error))
	{
		s3_close(&s3->base);
		return NULL;
	}
	return &s3->base;
}
