/*
 * serve.c
 *		knn-builder serve: start, signals, end.  The parts are listed in serve.h.
 *
 * The main thread waits for signals, which all other threads have blocked, and does
 * what is to be done some times a second.
 */
#include "builder/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "builder/secrets.h"
#include "builder/serve_http.h"
#include "builder/serve_log.h"
#include "builder/serve_worker.h"

bool
serve_fail(builder_error *error, const char *code, int why, const char *format,...)
{
	va_list		args;

	memset(error, 0, sizeof(*error));
	error->code = code;
	va_start(args, format);
	vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);
	if (why != 0)
		snprintf(error->detail, sizeof(error->detail), "%s", strerror(why));
	return false;
}

static void
log_error(const char *event, const builder_error *error)
{
	serve_log(SERVE_ERROR, event, "message", error->message, "detail",
			  error->detail[0] ? error->detail : NULL, "hint", error->hint[0] ? error->hint : NULL, NULL);
}

/* A folder that is not there is made, but none that it would be in. */
static bool
make_folder(const char *folder, const char *option, builder_error *error)
{
	int			why;

	if (mkdir(folder, 0700) == 0 || errno == EEXIST)
		return true;
	why = errno;
	serve_fail(error, BUILDER_IO, why, "could not make folder \"%.200s\" (--%s)", folder, option);
	if (why == ENOENT)
		snprintf(error->hint, sizeof(error->hint),
				 "The folder that it is to be in is not there; make that first.");
	return false;
}

/* The folder is this service's alone as long as the file in it is open; -1 upon failure. */
static int
lock_folder(const char *folder, const char *option, builder_error *error)
{
	char		path[1024];
	int			fd;

	if (!make_folder(folder, option, error))
		return -1;
	snprintf(path, sizeof(path), "%s/lock", folder);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
	{
		serve_fail(error, BUILDER_IO, errno, "could not make file \"%.200s\"", path);
		return -1;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	serve_fail(error, BUILDER_IO, 0, "folder \"%.200s\" is in use", folder);
	snprintf(error->hint, sizeof(error->hint),
			 "Each service needs a --state-dir and a --work-dir of its own.");
	close(fd);
	return -1;
}

/* A socket, and whether it is for this machine alone; -1 upon failure. */
static int
listen_safely(const serve_config *config, bool *local, char address[128], builder_error *error)
{
	bool		public = true;
	int			fd = serve_listen(config->listen, &public, address, error);

	*local = !public && !config->insecure;
	if (fd < 0 || !public || config->insecure || (config->tls_cert && config->auth_file))
		return fd;
	close(fd);
	serve_fail(error, BUILDER_BAD_JOB, 0, "other machines can reach \"%.100s\", so %s needed",
			   config->listen, config->tls_cert ? "--auth-file is" : config->auth_file ?
			   "--tls-cert and --tls-key are" : "--auth-file, --tls-cert and --tls-key are");
	snprintf(error->hint, sizeof(error->hint),
			 "Listen at 127.0.0.1, or use --insecure in a network where everybody may read and build.");
	return -1;
}

/* Wait for a signal, at most a quarter of a second; 0 for none. */
static int
next_signal(const sigset_t *signals)
{
	struct timespec wait = {0, 250 * 1000 * 1000};
	int			number = sigtimedwait(signals, NULL, &wait);

	return number > 0 ? number : 0;
}

static void
wait_for_end(serve_jobs *jobs, serve_http *http, const sigset_t *signals)
{
	builder_error error;
	int			number;

	while ((number = next_signal(signals)) != SIGTERM && number != SIGINT)
	{
		if (number == SIGHUP)
		{
			if (serve_http_reload(http, &error))
				serve_log(SERVE_INFO, "reloaded", NULL);
			else
				log_error("not_reloaded", &error);
		}
		serve_http_sweep(http);
		serve_jobs_expire(jobs);
	}
	serve_log(SERVE_INFO, "stopping", "signal", strsignal(number), NULL);
}

/* With the folders locked and the socket open; the exit status. */
static int
serve(const serve_config *config, int fd, bool local, const char *address, const sigset_t *signals)
{
	builder_error error;
	serve_jobs *jobs = serve_jobs_open(config, &error);
	serve_workers *workers = jobs ? serve_workers_start(config, jobs, &error) : NULL;
	serve_http *http = workers ? serve_http_start(config, jobs, fd, local, &error) : NULL;

	if (http)
	{
		serve_log(SERVE_INFO, "listening", "address", address, "tls", config->tls_cert ? "on" : "off",
				  "users", config->auth_file ? "on" : "off", "memory_limit",
				  SERVE_NUMBER(config->memory_limit), "workers", SERVE_NUMBER(config->workers),
				  "threads", SERVE_NUMBER(config->threads), NULL);
		wait_for_end(jobs, http, signals);
		serve_http_stop(http);
	}
	else
		log_error("not_started", &error);
	if (workers)
	{
		serve_jobs_stop(jobs);
		serve_workers_join(workers);
	}
	if (jobs)
		serve_jobs_close(jobs);
	if (http)
		serve_log(SERVE_INFO, "stopped", NULL);
	return http ? 0 : 1;
}

static void
block_signals(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGINT);
	sigaddset(signals, SIGHUP);
	(void) sigprocmask(SIG_BLOCK, signals, NULL);
	/* as repository.h asks for, and for pipes and connections whose reader is gone */
	(void) signal(SIGPIPE, SIG_IGN);
	(void) signal(SIGXFSZ, SIG_IGN);
}

int
serve_main(int argc, char **argv)
{
	serve_config config;
	builder_error error;
	sigset_t	signals;
	char		address[128];
	bool		local;
	int			state = -1;
	int			work = -1;
	int			fd = -1;
	int			status = 1;

	if (!serve_options_parse(&config, argc, argv, &error))
	{
		fprintf(stderr, "knn-builder serve: %s\nTry \"knn-builder serve --help\".\n", error.message);
		return 2;
	}
	if (config.help)
	{
		fputs(serve_options_usage, stdout);
		return 0;
	}
	serve_log_format(config.log_json);
	/* children are programs of their own, which have no secrets and may be looked into */
	if (!config.core_dumps)
		builder_secrets_hide();
	block_signals(&signals);
	if ((state = lock_folder(config.state_dir, "state-dir", &error)) >= 0 &&
		(work = lock_folder(config.work_dir, "work-dir", &error)) >= 0 &&
		(fd = listen_safely(&config, &local, address, &error)) >= 0)
		status = serve(&config, fd, local, address, &signals);
	else
		log_error("not_started", &error);
	if (fd >= 0)
		close(fd);
	if (work >= 0)
		close(work);
	if (state >= 0)
		close(state);
	return status;
}
