/*
 * http.c
 *		Requests over HTTP; see http.h.
 *
 * Each client has one easy handle in a multi handle of its own: curl_multi_poll gives
 * the chance to end a request within a tenth of a second, whatever it waits for.
 */
#include "builder/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BUFFER_BYTES (512 * 1024L)	/* libcurl has one for each direction */

struct builder_http
{
	builder_http_options options;
	CURLM	   *multi;
	CURL	   *easy;
	const builder_http_request *request;	/* while one is done */
	uint64_t	sent;			/* bytes of its stream that were asked for */
	bool		stopped;		/* a callback returned false */
	bool		too_long;
	bool		no_memory;
	long		status;
	char	   *body;
	size_t		body_length;
	size_t		body_room;
	char		trouble[CURL_ERROR_SIZE];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode global_result;

static void
init_library(void)
{
	global_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

builder_http *
builder_http_open(const builder_http_options *options)
{
	builder_http *http;

	(void) pthread_once(&once, init_library);
	http = calloc(1, sizeof(*http));
	if (http == NULL || global_result != CURLE_OK)
	{
		free(http);
		return NULL;
	}
	http->options = *options;
	http->multi = curl_multi_init();
	http->easy = curl_easy_init();
	if (http->multi == NULL || http->easy == NULL)
	{
		builder_http_close(http);
		return NULL;
	}
	return http;
}

/* There may be secrets in an answer. */
static void
free_body(builder_http *http)
{
	if (http->body)
		explicit_bzero(http->body, http->body_room);
	free(http->body);
}

void
builder_http_close(builder_http *http)
{
	if (http == NULL)
		return;
	if (http->easy)
		curl_easy_cleanup(http->easy);
	if (http->multi)
		(void) curl_multi_cleanup(http->multi);
	free_body(http);
	free(http);
}

/* ---- callbacks ---- */

static size_t
keep(builder_http *http, const char *bytes, size_t n)
{
	if (n > BUILDER_HTTP_ANSWER_BYTES - http->body_length)
	{
		http->too_long = true;
		return 0;
	}
	if (http->body_length + n + 1 > http->body_room)
	{
		size_t		room = 2 * (http->body_length + n + 1);
		char	   *body = malloc(room);

		if (body == NULL)
		{
			http->no_memory = true;
			return 0;
		}
		if (http->body_length > 0)
			memcpy(body, http->body, http->body_length);
		free_body(http);
		http->body = body;
		http->body_room = room;
	}
	memcpy(http->body + http->body_length, bytes, n);
	http->body_length += n;
	http->body[http->body_length] = '\0';
	return n;
}

static size_t
take(char *bytes, size_t size, size_t n, void *context)
{
	builder_http *http = context;
	const builder_http_request *request = http->request;
	long		status = 0;

	n *= size;
	(void) curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &status);
	if (request->write == NULL || status != request->write_status)
		return keep(http, bytes, n);
	if (request->write(request->state, bytes, n))
		return n;
	http->stopped = true;
	return 0;
}

static size_t
give(char *bytes, size_t size, size_t n, void *context)
{
	builder_http *http = context;
	const builder_http_request *request = http->request;

	n *= size;
	if (n > request->length - http->sent)
		n = (size_t) (request->length - http->sent);
	if (n > 0 && !request->read(request->state, http->sent, bytes, n))
	{
		http->stopped = true;
		return CURL_READFUNC_ABORT;
	}
	http->sent += n;
	return n;
}

/* When a kept connection turns out to be closed, libcurl begins again on another. */
static int
give_again(void *context, curl_off_t offset, int origin)
{
	builder_http *http = context;

	if (origin != SEEK_SET || offset < 0 || (uint64_t) offset > http->request->length)
		return CURL_SEEKFUNC_FAIL;
	http->sent = (uint64_t) offset;
	return CURL_SEEKFUNC_OK;
}

/* ---- a request ---- */

static bool
set(CURLcode *result, CURLcode one)
{
	if (*result == CURLE_OK)
		*result = one;
	return *result == CURLE_OK;
}

#define SET(option, value) set(&result, curl_easy_setopt(easy, option, value))

static CURLcode
set_security(builder_http *http, const builder_http_request *request)
{
	const builder_http_options *options = &http->options;
	bool		own = request->username != NULL;
	CURL	   *easy = http->easy;
	CURLcode	result = CURLE_OK;

	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	if (options->ca_file)
	{
		SET(CURLOPT_CAINFO, options->ca_file);
		/* that file alone */
		SET(CURLOPT_CAPATH, NULL);
	}
	if (options->direct)
		SET(CURLOPT_PROXY, "");
	if (own || options->username)
	{
		SET(CURLOPT_USERNAME, own ? request->username : options->username);
		SET(CURLOPT_PASSWORD, own ? request->password : options->password);
		if (options->sigv4)
			SET(CURLOPT_AWS_SIGV4, options->sigv4);
		else
			SET(CURLOPT_HTTPAUTH, (long) CURLAUTH_BASIC);
	}
	return result;
}

static CURLcode
set_limits(builder_http *http, const builder_http_request *request)
{
	CURL	   *easy = http->easy;
	CURLcode	result = CURLE_OK;
	double		seconds = request->seconds;

	if (request->deadline > 0)
	{
		double		left = request->deadline - builder_now();

		if (left < 0.001)
			left = 0.001;
		if (seconds == 0 || left < seconds)
			seconds = left;
	}
	SET(CURLOPT_CONNECTTIMEOUT, (long) BUILDER_HTTP_CONNECT_SECONDS);
	/* what has a limit of its own may take its time until then */
	if (request->seconds == 0)
	{
		SET(CURLOPT_LOW_SPEED_LIMIT, (long) BUILDER_HTTP_STALL_BYTES);
		SET(CURLOPT_LOW_SPEED_TIME, (long) BUILDER_HTTP_STALL_SECONDS);
	}
	SET(CURLOPT_TIMEOUT_MS, (long) (seconds * 1000));
	SET(CURLOPT_NOSIGNAL, 1L);
	/* not to wait for a name that is being resolved, when the request was ended */
	SET(CURLOPT_QUICK_EXIT, 1L);
	return result;
}

static CURLcode
set_method(builder_http *http, const builder_http_request *request)
{
	CURL	   *easy = http->easy;
	CURLcode	result = CURLE_OK;

	switch (request->method)
	{
		case BUILDER_HTTP_GET:
			SET(CURLOPT_HTTPGET, 1L);
			break;
		case BUILDER_HTTP_HEAD:
			SET(CURLOPT_NOBODY, 1L);
			break;
		case BUILDER_HTTP_DELETE:
			SET(CURLOPT_CUSTOMREQUEST, "DELETE");
			break;
		case BUILDER_HTTP_POST:
			SET(CURLOPT_POST, 1L);
			SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) request->body_length);
			SET(CURLOPT_POSTFIELDS, request->body ? request->body : "");
			break;
		case BUILDER_HTTP_PUT:
			SET(CURLOPT_UPLOAD, 1L);
			SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t) request->length);
			SET(CURLOPT_READFUNCTION, give);
			SET(CURLOPT_READDATA, http);
			SET(CURLOPT_SEEKFUNCTION, give_again);
			SET(CURLOPT_SEEKDATA, http);
			break;
	}
	return result;
}

static CURLcode
set_request(builder_http *http, const builder_http_request *request, struct curl_slist *headers)
{
	CURL	   *easy = http->easy;
	CURLcode	result = CURLE_OK;

	curl_easy_reset(easy);
	SET(CURLOPT_ERRORBUFFER, http->trouble);
	SET(CURLOPT_URL, request->url);
	/* what is signed is what is sent */
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_USERAGENT, "knn-builder/" KNN_BUILDER_VERSION);
	/* parallel parts are to have connections of their own */
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_HTTPHEADER, headers);
	SET(CURLOPT_RANGE, request->range);
	SET(CURLOPT_FRESH_CONNECT, request->once ? 1L : 0L);
	SET(CURLOPT_BUFFERSIZE, BUFFER_BYTES);
	SET(CURLOPT_UPLOAD_BUFFERSIZE, BUFFER_BYTES);
	/*
	 * "Expect: 100-continue" is sent, but not waited for: some stores never answer it.
	 * An own empty header against it would be signed by libcurl 7.88, yet not sent.
	 */
	SET(CURLOPT_EXPECT_100_TIMEOUT_MS, 1L);
	SET(CURLOPT_WRITEFUNCTION, take);
	SET(CURLOPT_WRITEDATA, http);
	set(&result, set_security(http, request));
	set(&result, set_limits(http, request));
	set(&result, set_method(http, request));
	return result;
}

#undef SET

/* The transfer itself; false when it was not to go on. */
static bool
transfer(builder_http *http, CURLcode *result)
{
	const builder_http_request *request = http->request;
	int			running = 1;
	int			left;
	CURLMsg    *message;

	*result = CURLE_FAILED_INIT;
	for (;;)
	{
		if (curl_multi_perform(http->multi, &running) != CURLM_OK)
			return true;
		if (running == 0)
			break;
		if (!builder_goes_on(&request->going))
			return false;
		(void) curl_multi_poll(http->multi, NULL, 0, (int) (BUILDER_ASK_SECONDS * 1000), NULL);
	}
	while ((message = curl_multi_info_read(http->multi, &left)) != NULL)
	{
		if (message->msg == CURLMSG_DONE)
			*result = message->data.result;
	}
	return true;
}

static builder_http_result
judge(builder_http *http, CURLcode result)
{
	curl_off_t	connected = 0;

	if (http->no_memory || result == CURLE_OUT_OF_MEMORY)
		return BUILDER_HTTP_NO_MEMORY;
	if (http->stopped)
		return BUILDER_HTTP_STOPPED;
	if (http->too_long)
	{
		snprintf(http->trouble, sizeof(http->trouble), "the answer is longer than %d bytes",
				 BUILDER_HTTP_ANSWER_BYTES);
		return BUILDER_HTTP_UNUSABLE;
	}
	if (result == CURLE_OK)
		return BUILDER_HTTP_ANSWERED;
	if (http->trouble[0] == '\0')
		snprintf(http->trouble, sizeof(http->trouble), "%s", curl_easy_strerror(result));
	switch (result)
	{
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_RESOLVE_PROXY:
		case CURLE_COULDNT_CONNECT:
		case CURLE_SSL_CONNECT_ERROR:
			return BUILDER_HTTP_UNREACHED;
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_SSL_ISSUER_ERROR:
			return BUILDER_HTTP_UNTRUSTED;
		case CURLE_SSL_CACERT_BADFILE:
			return BUILDER_HTTP_NO_CA;
		case CURLE_OPERATION_TIMEDOUT:
			(void) curl_easy_getinfo(http->easy, CURLINFO_PRETRANSFER_TIME_T, &connected);
			return connected > 0 ? BUILDER_HTTP_BROKEN : BUILDER_HTTP_UNREACHED;
		case CURLE_GOT_NOTHING:
		case CURLE_SEND_ERROR:
		case CURLE_RECV_ERROR:
		case CURLE_PARTIAL_FILE:
		case CURLE_SEND_FAIL_REWIND:
		case CURLE_UPLOAD_FAILED:
			return BUILDER_HTTP_BROKEN;
		default:
			return BUILDER_HTTP_UNUSABLE;
	}
}

builder_http_result
builder_http_do(builder_http *http, const builder_http_request *request)
{
	struct curl_slist *headers = NULL;
	CURLcode	result;
	bool		ended = false;

	http->request = request;
	http->sent = 0;
	http->status = 0;
	http->body_length = 0;
	http->stopped = http->too_long = http->no_memory = false;
	http->trouble[0] = '\0';
	if (!builder_goes_on(&request->going))
		return BUILDER_HTTP_CANCELLED;
	for (int i = 0; i < BUILDER_HTTP_HEADERS && request->headers[i]; i++)
	{
		struct curl_slist *longer = curl_slist_append(headers, request->headers[i]);

		if (longer == NULL)
		{
			curl_slist_free_all(headers);
			return BUILDER_HTTP_NO_MEMORY;
		}
		headers = longer;
	}
	result = set_request(http, request, headers);
	if (result == CURLE_OK && curl_multi_add_handle(http->multi, http->easy) != CURLM_OK)
		result = CURLE_FAILED_INIT;
	else if (result == CURLE_OK)
	{
		ended = !transfer(http, &result);
		(void) curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &http->status);
		(void) curl_multi_remove_handle(http->multi, http->easy);
	}
	(void) curl_easy_setopt(http->easy, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(headers);
	http->request = NULL;
	return ended ? BUILDER_HTTP_CANCELLED : judge(http, result);
}

/* ---- what came of it ---- */

long
builder_http_status(const builder_http *http)
{
	return http->status;
}

const char *
builder_http_body(const builder_http *http, size_t *length)
{
	*length = http->body_length;
	return http->body_length > 0 ? http->body : "";
}

const char *
builder_http_header(builder_http *http, const char *name)
{
	struct curl_header *header;

	if (curl_easy_header(http->easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
		return NULL;
	return header->value;
}

const char *
builder_http_trouble(const builder_http *http)
{
	return http->trouble;
}

bool
builder_http_may_pass(long status)
{
	return status == 408 || status == 429 || status == 500 || (status >= 502 && status <= 504) ||
		status == 509;
}

double
builder_http_retry_after(builder_http *http, double most, double otherwise)
{
	const char *value = builder_http_header(http, "Retry-After");
	double		seconds;
	char	   *end;
	time_t		date;

	if (value == NULL)
		return otherwise;
	seconds = strtod(value, &end);
	if (end == value || *end != '\0')
	{
		date = curl_getdate(value, NULL);
		if (date == -1)
			return otherwise;
		seconds = difftime(date, time(NULL));
	}
	/* also what is no number */
	if (!(seconds > 0))
		seconds = 0;
	return seconds < most ? seconds : most;
}
