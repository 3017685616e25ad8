/*
 * serve_child.c
 *		The child process that builds, from its start to its end.
 *
 * It gets its job on standard input and tells JSON lines on standard output
 * (output.h).  It is the leader of a process group, which is ended as a whole; and it
 * ends by itself when this process dies (builder_catch_signals).  It gets nothing of
 * the environment: credentials are there.
 */
#include <errno.h>
#include <fcntl.h>
#include <json.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "builder/serve.h"
#include "builder/wait.h"

#define LINE_BYTES 65536		/* of a line; no longer one is understood */
#define LAST_WORDS 400			/* bytes of standard error that an error tells */
#define POLL_MILLISECONDS 200
#define EXIT_MILLISECONDS 10	/* the same, once it has nothing more to say */
#define GRACE_SECONDS 5.0		/* from SIGTERM to SIGKILL */

typedef struct Running
{
	const serve_child *child;
	pid_t		pid;
	int			out;			/* its standard output and error, or -1 */
	int			err;
	bool		exited;
	int			status;			/* then */
	bool		cancelled;		/* why it was ended */
	bool		late;
	double		killed_at;		/* 0: not told to end */
	bool		result;			/* a result line came */
	builder_error error;		/* of its error line; no code: none came */
	size_t		length;			/* of line */
	char		line[LINE_BYTES + 1];
	char		last[LAST_WORDS + 1];	/* of standard error */
} Running;

/* ---- start ---- */

static void
close_pair(int pair[2])
{
	for (int i = 0; i < 2; i++)
	{
		if (pair[i] >= 0)
			close(pair[i]);
		pair[i] = -1;
	}
}

static int
spawn(pid_t *pid, const char *program, int in, int out, int err)
{
	char	   *arguments[] = {"knn-builder", "build", NULL};
	char	   *environment[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t	all;
	sigset_t	none;
	int			rc;

	sigfillset(&all);
	sigdelset(&all, SIGKILL);
	sigdelset(&all, SIGSTOP);
	sigemptyset(&none);
	rc = posix_spawn_file_actions_init(&files);
	if (rc != 0)
		return rc;
	rc = posix_spawnattr_init(&attributes);
	if (rc == 0)
	{
		(void) posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP |
										POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
		(void) posix_spawnattr_setpgroup(&attributes, 0);
		(void) posix_spawnattr_setsigmask(&attributes, &none);
		(void) posix_spawnattr_setsigdefault(&attributes, &all);
		rc = posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
		if (rc == 0)
			rc = posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
		if (rc == 0)
			rc = posix_spawn_file_actions_adddup2(&files, err, STDERR_FILENO);
		if (rc == 0)
			rc = posix_spawn(pid, program, &files, &attributes, arguments, environment);
		(void) posix_spawnattr_destroy(&attributes);
	}
	(void) posix_spawn_file_actions_destroy(&files);
	return rc;
}

static bool
start(Running *running, builder_error *error)
{
	size_t		length = strlen(running->child->job);
	int			in[2] = {-1, -1};
	int			out[2] = {-1, -1};
	int			err[2] = {-1, -1};
	int			why = 0;

	if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0)
		why = errno;
	/* a job is shorter than what a pipe takes without a reader */
	else if (write(in[1], running->child->job, length) != (ssize_t) length)
		why = errno;
	else
		why = spawn(&running->pid, running->child->program, in[0], out[1], err[1]);
	close_pair(in);
	if (why != 0)
	{
		close_pair(out);
		close_pair(err);
		return serve_fail(error, BUILDER_INTERNAL, why, "could not start the program that builds");
	}
	close(out[1]);
	close(err[1]);
	running->out = out[0];
	running->err = err[0];
	return true;
}

/* ---- what it says ---- */

/* Phases are told as constants; one that is not known is "build". */
static const char *
phase_name(const char *name)
{
	static const char *const names[] = {"read", "graph", "merge", "order", "write", NULL};

	for (int i = 0; name && names[i]; i++)
	{
		if (strcmp(names[i], name) == 0)
			return names[i];
	}
	return "build";
}

static uint64_t
number_of(struct json_object *object, const char *name)
{
	struct json_object *value = NULL;
	int64_t		number = json_object_object_get_ex(object, name, &value) ? json_object_get_int64(value) : 0;

	return number > 0 ? (uint64_t) number : 0;
}

static const char *
text_of(struct json_object *object, const char *name)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(object, name, &value) || !json_object_is_type(value, json_type_string))
		return "";
	return json_object_get_string(value);
}

static void
take_error(Running *running, struct json_object *object)
{
	static const char *const codes[] = {BUILDER_BAD_JOB, BUILDER_BAD_INPUT, BUILDER_OUT_OF_MEMORY,
	BUILDER_IO, NULL};
	builder_error *error = &running->error;

	serve_fail(error, BUILDER_INTERNAL, 0, "%s", text_of(object, "message"));
	snprintf(error->detail, sizeof(error->detail), "%s", text_of(object, "detail"));
	snprintf(error->hint, sizeof(error->hint), "%s", text_of(object, "hint"));
	for (int i = 0; codes[i]; i++)
	{
		if (strcmp(codes[i], text_of(object, "code")) == 0)
			error->code = codes[i];
	}
}

static void
take_line(Running *running)
{
	const serve_child *child = running->child;
	struct json_object *object;
	struct json_object *part;

	running->line[running->length] = '\0';
	object = json_tokener_parse(running->line);
	if (json_object_is_type(object, json_type_object))
	{
		if (json_object_object_get_ex(object, "progress", &part) &&
			json_object_is_type(part, json_type_object))
			running->cancelled |= !child->progress(child->state, phase_name(text_of(part, "phase")),
												   number_of(part, "done"), number_of(part, "total"));
		else if (json_object_object_get_ex(object, "error", &part) &&
				 json_object_is_type(part, json_type_object))
			take_error(running, part);
		else if (json_object_object_get_ex(object, "result", &part))
			running->result = true;
	}
	json_object_put(object);
	running->length = 0;
}

/* What is there to read of standard output; closes it at its end. */
static void
read_output(Running *running)
{
	char		bytes[4096];
	ssize_t		n = read(running->out, bytes, sizeof(bytes));

	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0)
	{
		close(running->out);
		running->out = -1;
		return;
	}
	for (ssize_t i = 0; i < n; i++)
	{
		if (bytes[i] == '\n')
			take_line(running);
		else if (running->length < LINE_BYTES)
			running->line[running->length++] = bytes[i];
	}
}

/* The same of standard error, whose end is kept, without that of its last line. */
static void
read_last_words(Running *running)
{
	char		bytes[4096];
	size_t		length = strlen(running->last);
	ssize_t		n = read(running->err, bytes, sizeof(bytes));

	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0)
	{
		while (length > 0 && running->last[length - 1] == '\n')
			running->last[--length] = '\0';
		close(running->err);
		running->err = -1;
		return;
	}
	for (ssize_t i = 0; i < n; i++)
	{
		if (length == LAST_WORDS)
			memmove(running->last, running->last + 1, --length);
		running->last[length++] = bytes[i] == '\0' ? ' ' : bytes[i];
	}
	running->last[length] = '\0';
}

/* ---- its end ---- */

static void
end_if_needed(Running *running)
{
	double		now = builder_now();

	running->late |= now > running->child->deadline;
	if (!running->late && !running->cancelled)
		return;
	if (running->killed_at == 0)
	{
		running->killed_at = now;
		(void) kill(-running->pid, SIGTERM);
	}
	else if (now - running->killed_at > GRACE_SECONDS)
		(void) kill(-running->pid, SIGKILL);
}

/* Until it has exited, and said all that it said before. */
static void
attend(Running *running)
{
	for (;;)
	{
		/* before the poll: what it wrote before its end is still read then */
		bool		over = running->exited ||
			waitpid(running->pid, &running->status, WNOHANG) == running->pid;
		struct pollfd files[2] = {{.fd = running->out, .events = POLLIN},
		{.fd = running->err, .events = POLLIN}};
		int			wait = running->out < 0 && running->err < 0 ? EXIT_MILLISECONDS : POLL_MILLISECONDS;
		int			ready;

		if (over && !running->exited)
		{
			running->exited = true;
			/* those it has started, if any */
			(void) kill(-running->pid, SIGKILL);
		}
		ready = poll(files, 2, over ? 0 : wait);
		if (ready > 0 && files[0].revents != 0)
			read_output(running);
		if (ready > 0 && files[1].revents != 0)
			read_last_words(running);
		if (over && ready <= 0)
			return;
		if (!over)
		{
			const serve_child *child = running->child;

			running->cancelled |= !child->progress(child->state, NULL, 0, 0);
			end_if_needed(running);
		}
	}
}

static bool
tell_end(const Running *running, builder_error *error)
{
	if (running->cancelled)
		return serve_fail(error, BUILDER_CANCELLED, 0, "the job was cancelled");
	if (running->late)
		return serve_fail(error, BUILDER_INTERNAL, 0, "the job took longer than the service allows (--job-timeout)");
	if (running->error.code)
	{
		*error = running->error;
		return false;
	}
	if (WIFEXITED(running->status) && WEXITSTATUS(running->status) == 0 && running->result)
		return true;
	if (WIFSIGNALED(running->status))
	{
		serve_fail(error, BUILDER_INTERNAL, 0, "the program that builds was ended by signal %d (%s)",
				   WTERMSIG(running->status), strsignal(WTERMSIG(running->status)));
		if (WTERMSIG(running->status) == SIGKILL)
			snprintf(error->hint, sizeof(error->hint),
					 "The machine may have run out of memory; see --memory-limit and --workers.");
	}
	else
		serve_fail(error, BUILDER_INTERNAL, 0,
				   "the program that builds ended with status %d and without a result",
				   WEXITSTATUS(running->status));
	snprintf(error->detail, sizeof(error->detail), "%s", running->last);
	return false;
}

bool
serve_child_run(const serve_child *child, builder_error *error)
{
	Running    *running = calloc(1, sizeof(*running));
	bool		ok;

	if (running == NULL)
		return serve_fail(error, BUILDER_OUT_OF_MEMORY, 0, "out of memory");
	running->child = child;
	running->out = running->err = -1;
	ok = start(running, error);
	if (ok)
	{
		attend(running);
		ok = tell_end(running, error);
	}
	if (running->out >= 0)
		close(running->out);
	if (running->err >= 0)
		close(running->err);
	free(running);
	return ok;
}
