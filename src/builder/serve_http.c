/*
 * serve_http.c
 *		The service's HTTP, on libmicrohttpd; see serve_http.h.
 *
 * Requests are answered by a few threads of the library.  None of them waits for a job;
 * what they wait for is the lock of the jobs.
 *
 * A connection is for one request, and may last so long and no longer, however slowly
 * its client sends: the library's own time limit is on silence only.
 *
 * Users and certificate are exchanged by starting a second daemon at the same socket and
 * ending the first one when its connections are over.
 *
 * Who has not the password gets that answer late, so that guessing takes time: the
 * connection is suspended, which keeps no thread, until a sweep finds that it is time.
 *
 * Locks: http->lock is of the list of connections, http->users of the users, http->held_lock
 * of the requests that are held.  None is held while another, or the lock of the jobs, is
 * taken; the library's own are taken within http->held_lock alone.
 */
#include "builder/serve_http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <json.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "builder/serve_log.h"
#include "builder/serve_routes.h"
#include "builder/wait.h"

#define HTTP_THREADS 4
#define CERTIFICATE_BYTES (1024 * 1024)
#define RETRY_AFTER_SECONDS 30
#define HOLD_SECONDS 0.5		/* at least, for a wrong password */

/* Of a body that is too long so much is read before it is refused, or cut off. */
#define BODY_SEEN_MOST (16 * SERVE_REQUEST_BYTES)

typedef struct Connection
{
	LIST_ENTRY(Connection) entry;
	int			fd;
	double		opened;			/* of builder_now() */
} Connection;

struct serve_http
{
	const serve_config *config;
	serve_jobs *jobs;
	int			fd;
	bool		local;			/* it listens to this machine alone */
	struct MHD_Daemon *daemon;
	pthread_rwlock_t users;
	serve_auth *auth;			/* NULL: anybody may ask */
	pthread_mutex_t lock;
	LIST_HEAD(, Connection) connections;
	pthread_mutex_t held_lock;
	LIST_HEAD(, Exchange) held;
	bool		hurries;		/* a daemon ends, which needs all connections: none is held */
};

/* A request while it comes in. */
typedef struct Exchange
{
	const char *method;
	char		path[128];		/* cut, which no known path is */
	char		user[64];
	const serve_route *route;	/* NULL: refused is the answer */
	serve_answer refused;
	char	   *body;
	size_t		length;			/* of body */
	size_t		seen;			/* with what was not kept */
	const char *rest;			/* of the path, after the route's */
	bool		asks;			/* and changes nothing */
	LIST_ENTRY(Exchange) entry;	/* of those held */
	struct MHD_Connection *connection;	/* its own */
	double		until;			/* when its answer may go, of builder_now(); 0: it is not held */
} Exchange;

/* ---- who asks ---- */

static const char *
header(struct MHD_Connection *connection, const char *name)
{
	return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

/* Whether the client is one that may ask, and then who. */
static bool
is_user(serve_http *http, struct MHD_Connection *connection, Exchange *exchange)
{
	const char *user = "";

	pthread_rwlock_rdlock(&http->users);
	if (http->auth)
		user = serve_auth_user(http->auth, header(connection, MHD_HTTP_HEADER_AUTHORIZATION));
	if (user)
		snprintf(exchange->user, sizeof(exchange->user), "%s", user);
	pthread_rwlock_unlock(&http->users);
	return user != NULL;
}

/* Why a request is refused that a browser makes for somebody else's page; NULL if it is none. */
static const char *
why_foreign(const serve_http *http, struct MHD_Connection *connection)
{
	const char *host = header(connection, MHD_HTTP_HEADER_HOST);

	if (serve_origin_is_foreign(header(connection, "Origin"), header(connection, "Sec-Fetch-Site"), host))
		return "requests of pages of other sites are refused";
	/* where there are users a site under a name of its own has not their passwords */
	if (http->local && http->config->auth_file == NULL && host && !serve_origin_host_is_local(host))
		return "Host must be localhost or an address of this machine, since anybody here may ask (--auth-file, --insecure)";
	return NULL;
}

/* Set the route of a request, or why it is refused. */
static void
choose_route(serve_http *http, struct MHD_Connection *connection, Exchange *exchange)
{
	const char *method = strcmp(exchange->method, "HEAD") == 0 ? "GET" : exchange->method;
	const char *foreign = why_foreign(http, connection);

	exchange->asks = strcmp(method, "GET") == 0;
	if (foreign)
		serve_answer_error(&exchange->refused, 403, foreign);
	else if (!is_user(http, connection, exchange))
		serve_answer_error(&exchange->refused, 401, "user and password are missing or wrong");
	else
		exchange->route = serve_route_find(method, exchange->path, &exchange->rest, &exchange->refused);
}

/* ---- the library's callbacks ---- */

/* One line, but for what clients that wait ask over and over. */
static void
log_request(struct MHD_Connection *connection, const Exchange *exchange, unsigned status)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	char		client[64] = "";

	if (status < 400 && exchange->asks)
		return;
	if (info && info->client_addr)
		(void) getnameinfo(info->client_addr, info->client_addr->sa_family == AF_INET6 ?
						   sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in),
						   client, sizeof(client), NULL, 0, NI_NUMERICHOST);
	serve_log(status >= 500 ? SERVE_ERROR : status >= 400 ? SERVE_WARNING : SERVE_INFO, "request",
			  "client", client, "user", exchange->user[0] ? exchange->user : NULL, "method",
			  exchange->method, "path", exchange->path, "status", SERVE_NUMBER(status), NULL);
}

static enum MHD_Result
send_answer(struct MHD_Connection *connection, const Exchange *exchange, serve_answer *answer)
{
	const char *text = answer->body ? json_object_to_json_string_ext(answer->body, JSON_C_TO_STRING_PLAIN |
																	 JSON_C_TO_STRING_NOSLASHESCAPE) : NULL;
	struct MHD_Response *response;
	enum MHD_Result result = MHD_NO;
	unsigned	status = text ? answer->status : 500;

	if (text == NULL)
		text = "{\"detail\":\"out of memory\"}";
	response = MHD_create_response_from_buffer(strlen(text), (void *) text, MHD_RESPMEM_MUST_COPY);
	log_request(connection, exchange, status);
	if (response)
	{
		bool		ok =
			MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json") == MHD_YES &&
			MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close") == MHD_YES;

		if (status == 401)
			ok &= MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
										  "Basic realm=\"knn-builder\"") == MHD_YES;
		if (status == 405)
			ok &= MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, answer->allow) == MHD_YES;
		if (status == 429)
			ok &= MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER,
										  SERVE_NUMBER(RETRY_AFTER_SECONDS)) == MHD_YES;
		if (ok)
			result = MHD_queue_response(connection, status, response);
		MHD_destroy_response(response);
	}
	json_object_put(answer->body);
	answer->body = NULL;
	return result;
}

/* The first call for a request: its headers are there. */
static enum MHD_Result
begin_exchange(serve_http *http, struct MHD_Connection *connection, const char *path,
			   const char *method, void **state)
{
	Exchange   *exchange = calloc(1, sizeof(*exchange));
	const char *length;
	bool		waits;

	if (exchange == NULL)
		return MHD_NO;
	*state = exchange;
	/* texts of the library stay as long as the request */
	exchange->method = method;
	snprintf(exchange->path, sizeof(exchange->path), "%s", path);
	choose_route(http, connection, exchange);

	/*
	 * A client that asks before it sends its body is told at once, and so is one whose
	 * body is too long to be read to its end.  Others get their answer after their body,
	 * since it could be lost with a connection that is closed while they still send.
	 */
	length = header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH);
	waits = header(connection, MHD_HTTP_HEADER_EXPECT) != NULL;
	if (length && strtoull(length, NULL, 10) > (waits ? SERVE_REQUEST_BYTES : BODY_SEEN_MOST) &&
		exchange->route)
	{
		exchange->route = NULL;
		serve_answer_error(&exchange->refused, 400, "the request is too long");
		waits = true;
	}
	/* an answer that is held comes after the body always: this is no way around that */
	if (exchange->route == NULL && waits && exchange->refused.status != 401)
		return send_answer(connection, exchange, &exchange->refused);
	return MHD_YES;
}

/* A part of the body; what is too long is not kept. */
static enum MHD_Result
take_body(Exchange *exchange, const char *bytes, size_t *count)
{
	size_t		keep = *count;

	exchange->seen += *count;
	*count = 0;
	if (exchange->seen > BODY_SEEN_MOST)
		return MHD_NO;
	if (exchange->route == NULL || exchange->seen > SERVE_REQUEST_BYTES)
		return MHD_YES;
	if (exchange->body == NULL)
		exchange->body = malloc(SERVE_REQUEST_BYTES);
	if (exchange->body == NULL)
		return MHD_NO;
	memcpy(exchange->body + exchange->length, bytes, keep);
	exchange->length += keep;
	return MHD_YES;
}

/* Let a wrong password wait for its answer, once; true if it does. */
static bool
hold(serve_http *http, struct MHD_Connection *connection, Exchange *exchange)
{
	bool		held;

	if (exchange->refused.status != 401 || exchange->until > 0)
		return false;
	pthread_mutex_lock(&http->held_lock);
	held = !http->hurries;
	if (held)
	{
		exchange->connection = connection;
		exchange->until = builder_now() + HOLD_SECONDS;
		LIST_INSERT_HEAD(&http->held, exchange, entry);
		MHD_suspend_connection(connection);
	}
	pthread_mutex_unlock(&http->held_lock);
	return held;
}

/* Those whose time has come, or all, are asked for their answer again. */
static void
release(serve_http *http)
{
	double		now = builder_now();
	Exchange   *exchange;
	Exchange   *next;

	pthread_mutex_lock(&http->held_lock);
	for (exchange = LIST_FIRST(&http->held); exchange; exchange = next)
	{
		next = LIST_NEXT(exchange, entry);
		if (now < exchange->until && !http->hurries)
			continue;
		LIST_REMOVE(exchange, entry);
		/* from here on it is its connection's thread's, and may be gone */
		MHD_resume_connection(exchange->connection);
	}
	pthread_mutex_unlock(&http->held_lock);
}

static void
set_hurry(serve_http *http, bool hurries)
{
	pthread_mutex_lock(&http->held_lock);
	http->hurries = hurries;
	pthread_mutex_unlock(&http->held_lock);
}

static enum MHD_Result
on_request(void *context, struct MHD_Connection *connection, const char *url, const char *method,
		   const char *version, const char *upload, size_t *upload_size, void **state)
{
	serve_http *http = context;
	Exchange   *exchange = *state;
	serve_call	call = {.config = http->config, .jobs = http->jobs};
	serve_answer answer = {0};

	(void) version;
	if (exchange == NULL)
		return begin_exchange(http, connection, url, method, state);
	if (*upload_size > 0)
		return take_body(exchange, upload, upload_size);
	if (exchange->route == NULL && hold(http, connection, exchange))
		return MHD_YES;
	if (exchange->route == NULL)
		return send_answer(connection, exchange, &exchange->refused);
	call.rest = exchange->rest;
	call.body = exchange->body;
	call.length = exchange->seen;
	serve_route_answer(exchange->route, &call, &answer);
	return send_answer(connection, exchange, &answer);
}

static void
on_end(void *context, struct MHD_Connection *connection, void **state,
	   enum MHD_RequestTerminationCode why)
{
	Exchange   *exchange = *state;

	(void) context;
	(void) connection;
	(void) why;
	*state = NULL;
	if (exchange == NULL)
		return;
	json_object_put(exchange->refused.body);
	free(exchange->body);
	free(exchange);
}

/* Called before the library closes a connection's socket, and after it got it. */
static void
on_connection(void *context, struct MHD_Connection *connection, void **state,
			  enum MHD_ConnectionNotificationCode what)
{
	serve_http *http = context;
	Connection *mine = *state;

	if (what == MHD_CONNECTION_NOTIFY_STARTED)
	{
		const union MHD_ConnectionInfo *info =
			MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

		mine = info ? calloc(1, sizeof(*mine)) : NULL;
		*state = mine;
		if (mine == NULL)
			return;
		mine->fd = (int) info->connect_fd;
		mine->opened = builder_now();
		pthread_mutex_lock(&http->lock);
		LIST_INSERT_HEAD(&http->connections, mine, entry);
		pthread_mutex_unlock(&http->lock);
	}
	else if (mine)
	{
		*state = NULL;
		pthread_mutex_lock(&http->lock);
		LIST_REMOVE(mine, entry);
		pthread_mutex_unlock(&http->lock);
		free(mine);
	}
}

__attribute__((format(printf, 2, 0)))
static void
on_message(void *context, const char *format, va_list args)
{
	char		message[400];

	(void) context;
	vsnprintf(message, sizeof(message), format, args);
	message[strcspn(message, "\n")] = '\0';
	serve_log(SERVE_WARNING, "connection", "message", message, NULL);
}

/* ---- start, reload, end ---- */

/* A certificate is no secret, so its mode is not looked at. */
static char *
read_certificate(const char *path, builder_error *error)
{
	char	   *text = calloc(1, CERTIFICATE_BYTES + 1);
	int			fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t		n = fd >= 0 && text ? read(fd, text, CERTIFICATE_BYTES) : -1;

	if (n <= 0)
	{
		serve_fail(error, BUILDER_IO, n < 0 ? errno : 0, "could not read file \"%.200s\"", path);
		free(text);
		text = NULL;
	}
	if (fd >= 0)
		close(fd);
	return text;
}

/*
 * The library gets the socket under a number of its own, which it closes when it fails
 * and gives back when it is told to accept no more.
 */
static struct MHD_Daemon *
start_daemon(serve_http *http, const char *cert, const char *key)
{
	const serve_config *config = http->config;
	int			fd = fcntl(http->fd, F_DUPFD_CLOEXEC, 0);
	unsigned	flags = MHD_USE_AUTO_INTERNAL_THREAD | MHD_USE_ITC | MHD_USE_ERROR_LOG |
		MHD_ALLOW_SUSPEND_RESUME;
	unsigned	threads = config->connections < HTTP_THREADS ? 1 : HTTP_THREADS;
	struct MHD_OptionItem tls[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, (void *) cert},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, (void *) key},
		{MHD_OPTION_HTTPS_PRIORITIES, 0, (void *) (config->tls_min == 13 ? "NORMAL:-VERS-ALL:+VERS-TLS1.3" :
												   "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2")},
		{MHD_OPTION_END, 0, NULL}};

	if (fd < 0)
		return NULL;
	if (cert)
		flags |= MHD_USE_TLS;
	else
		tls[0].option = MHD_OPTION_END;
	return MHD_start_daemon(flags, 0, NULL, NULL, on_request, http,
							MHD_OPTION_EXTERNAL_LOGGER, on_message, NULL,
							MHD_OPTION_LISTEN_SOCKET, fd,
							MHD_OPTION_THREAD_POOL_SIZE, threads,
							MHD_OPTION_CONNECTION_LIMIT, (unsigned) config->connections,
							MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned) (config->connections + 1) / 2,
							MHD_OPTION_CONNECTION_TIMEOUT, (unsigned) config->request_timeout,
							MHD_OPTION_NOTIFY_COMPLETED, on_end, NULL,
							MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
							MHD_OPTION_ARRAY, tls,
							MHD_OPTION_END);
}

/* A daemon with the files as they are now, and the users; false and *error otherwise. */
static bool
load(serve_http *http, struct MHD_Daemon **daemon, serve_auth **auth, builder_error *error)
{
	const serve_config *config = http->config;
	char	   *cert = NULL;
	char	   *key = NULL;

	*daemon = NULL;
	*auth = NULL;
	if (config->auth_file && (*auth = serve_auth_load(config->auth_file, error)) == NULL)
		return false;
	if (config->tls_cert)
	{
		cert = read_certificate(config->tls_cert, error);
		key = cert ? serve_secret_read(config->tls_key, CERTIFICATE_BYTES, error) : NULL;
	}
	if (config->tls_cert == NULL || key)
	{
		*daemon = start_daemon(http, cert, key);
		if (*daemon == NULL)
			serve_fail(error, BUILDER_IO, 0, config->tls_cert ?
					   "could not start with the files of --tls-cert and --tls-key" :
					   "could not start the HTTP server");
	}
	if (key)
		explicit_bzero(key, strlen(key));
	free(key);
	free(cert);
	if (*daemon)
		return true;
	serve_auth_free(*auth);
	return false;
}

/* End a daemon, once its connections are over or have had their time. */
static void
end_daemon(serve_http *http, struct MHD_Daemon *daemon)
{
	double		until = builder_now() + 3;
	MHD_socket	fd = MHD_quiesce_daemon(daemon);

	for (;;)
	{
		const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

		if (info == NULL || info->num_connections == 0 || builder_now() > until)
			break;
		serve_http_sweep(http);
		usleep(10000);
	}
	/* the library ends the program when a daemon ends that has suspended connections */
	set_hurry(http, true);
	release(http);
	MHD_stop_daemon(daemon);
	set_hurry(http, false);
	if (fd != MHD_INVALID_SOCKET)
		close(fd);
}

serve_http *
serve_http_start(const serve_config *config, serve_jobs *jobs, int fd, bool local,
				 builder_error *error)
{
	serve_http *http = calloc(1, sizeof(*http));

	if (http == NULL)
	{
		serve_fail(error, BUILDER_OUT_OF_MEMORY, 0, "out of memory");
		return NULL;
	}
	http->config = config;
	http->jobs = jobs;
	http->fd = fd;
	http->local = local;
	LIST_INIT(&http->connections);
	LIST_INIT(&http->held);
	(void) pthread_mutex_init(&http->lock, NULL);
	(void) pthread_mutex_init(&http->held_lock, NULL);
	(void) pthread_rwlock_init(&http->users, NULL);
	if (load(http, &http->daemon, &http->auth, error))
		return http;
	pthread_rwlock_destroy(&http->users);
	pthread_mutex_destroy(&http->held_lock);
	pthread_mutex_destroy(&http->lock);
	free(http);
	return NULL;
}

bool
serve_http_reload(serve_http *http, builder_error *error)
{
	struct MHD_Daemon *daemon;
	struct MHD_Daemon *old_daemon = http->daemon;
	serve_auth *auth;
	serve_auth *old_auth;

	if (!load(http, &daemon, &auth, error))
		return false;
	pthread_rwlock_wrlock(&http->users);
	old_auth = http->auth;
	http->auth = auth;
	pthread_rwlock_unlock(&http->users);
	serve_auth_free(old_auth);
	http->daemon = daemon;
	end_daemon(http, old_daemon);
	return true;
}

void
serve_http_sweep(serve_http *http)
{
	double		now = builder_now();
	Connection *connection;

	release(http);
	pthread_mutex_lock(&http->lock);
	LIST_FOREACH(connection, &http->connections, entry)
	{
		if (now - connection->opened > (double) http->config->request_timeout)
			(void) shutdown(connection->fd, SHUT_RDWR);
	}
	pthread_mutex_unlock(&http->lock);
}

void
serve_http_stop(serve_http *http)
{
	end_daemon(http, http->daemon);
	serve_auth_free(http->auth);
	pthread_rwlock_destroy(&http->users);
	pthread_mutex_destroy(&http->held_lock);
	pthread_mutex_destroy(&http->lock);
	free(http);
}
