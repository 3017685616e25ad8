/*
 * output.c
 *		JSON lines on standard output, and ending with one; see output.h.
 */
#include "builder/output.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_SECONDS 0.1
#define DEFERRED_SECONDS 5		/* from a deferred signal to the end */

/* What a signal handler needs. */
static const char *volatile unfinished;
static volatile sig_atomic_t ending;
static volatile sig_atomic_t deferring;
static volatile sig_atomic_t signalled;
static pid_t parent;

static void (*before_end) (void *state, bool failed);
static void *before_end_state;

/* Write all of a line; false when nobody reads it any more. */
static int
write_line(const char *line, size_t length)
{
	while (length > 0)
	{
		ssize_t		n = write(STDOUT_FILENO, line, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 0;
		line += n;
		length -= (size_t) n;
	}
	return 1;
}

static void
remove_unfinished(void)
{
	const char *path = unfinished;

	if (path)
		(void) unlink(path);
}

/*
 * Only one thread ends the program; the others wait for that.
 */
static void
begin_ending(void)
{
	if (__atomic_exchange_n(&ending, 1, __ATOMIC_ACQ_REL))
	{
		for (;;)
			(void) pause();
	}
}

/* Text as the inside of a JSON string; what does not fit is left out. */
static size_t
escape(char *to, size_t room, const char *text)
{
	static const char hex[] = "0123456789abcdef";
	size_t		n = 0;

	for (; *text && n + 7 < room; text++)
	{
		unsigned char c = (unsigned char) *text;

		if (c == '"' || c == '\\')
		{
			to[n++] = '\\';
			to[n++] = (char) c;
		}
		else if (c < 0x20 || c >= 0x7F)
		{
			/* bytes of paths in no particular encoding */
			memcpy(to + n, "\\u00", 4);
			to[n + 4] = hex[c >> 4];
			to[n + 5] = hex[c & 15];
			n += 6;
		}
		else
			to[n++] = (char) c;
	}
	to[n] = '\0';
	return n;
}

bool
builder_error_set(builder_error *error, const char *code, const char *format,...)
{
	va_list		args;

	memset(error, 0, sizeof(*error));
	error->code = code;
	va_start(args, format);
	vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);
	return false;
}

void
builder_before_end(void (*call) (void *state, bool failed), void *state)
{
	before_end = call;
	before_end_state = state;
}

/* An error as a line of a kind, "error" or "warning". */
static int
write_error(const char *kind, const builder_error *error)
{
	char		message[6 * sizeof(error->message) + 8];
	char		detail[6 * sizeof(error->detail) + 8];
	char		hint[6 * sizeof(error->hint) + 8];
	char		line[sizeof(message) + sizeof(detail) + sizeof(hint) + 128];
	int			length;

	escape(message, sizeof(message), error->message);
	escape(detail, sizeof(detail), error->detail);
	escape(hint, sizeof(hint), error->hint);
	length = snprintf(line, sizeof(line), "{\"%s\":{\"code\":\"%s\",\"message\":\"%s\","
					  "\"detail\":\"%s\",\"hint\":\"%s\"%s}}\n",
					  kind, error->code, message, detail, hint,
					  error->terminal ? ",\"terminal\":true" : "");
	return write_line(line, (size_t) length);
}

void
builder_fail(const builder_error *error)
{
	begin_ending();
	if (before_end)
		before_end(before_end_state, true);
	remove_unfinished();
	(void) write_error("error", error);
	_exit(1);
}

void
builder_fail_with(const char *code, int error_number, const char *format,...)
{
	builder_error error = {.code = code};
	va_list		args;

	va_start(args, format);
	vsnprintf(error.message, sizeof(error.message), format, args);
	va_end(args);
	if (error_number == ENOMEM)
		error.code = BUILDER_OUT_OF_MEMORY;
	if (error_number != 0)
		snprintf(error.detail, sizeof(error.detail), "%s", strerror(error_number));
	builder_fail(&error);
}

void
builder_fail_memory(void)
{
	builder_error error = {.code = BUILDER_OUT_OF_MEMORY, .message = "out of memory"};

	builder_fail(&error);
}

void
builder_unfinished(const char *path)
{
	unfinished = path;
}

/* Nobody waits for the job any more: it ends, with as much time as after one signal. */
static void
nobody_listens(void)
{
	if (!signalled)
		raise(SIGTERM);
}

static void
check_parent(void)
{
	if (getppid() != parent)
		nobody_listens();
}

void
builder_progress(const char *phase, uint64_t done, uint64_t total)
{
	static const char *last_phase;
	static double last;
	char		line[160];
	struct timespec t;
	double		now;
	int			length;

	clock_gettime(CLOCK_MONOTONIC, &t);
	now = (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
	if (last_phase == phase && now - last < PROGRESS_SECONDS)
		return;
	last_phase = phase;
	last = now;
	check_parent();
	length = snprintf(line, sizeof(line),
					  "{\"progress\":{\"phase\":\"%s\",\"done\":%llu,\"total\":%llu}}\n",
					  phase, (unsigned long long) done, (unsigned long long) total);
	if (!write_line(line, (size_t) length))
		nobody_listens();
}

void
builder_warning(const builder_error *warning)
{
	if (!write_error("warning", warning))
		nobody_listens();
}

void
builder_counters(const builder_counter *counters, size_t n)
{
	char		line[2048] = "{\"counters\":{";
	size_t		length = strlen(line);

	/* the names are the program's own, and few */
	for (size_t i = 0; i < n && length < sizeof(line); i++)
		length += (size_t) snprintf(line + length, sizeof(line) - length, "%s\"%s\":%llu",
									i == 0 ? "" : ",", counters[i].name,
									(unsigned long long) counters[i].value);
	if (length < sizeof(line))
		length += (size_t) snprintf(line + length, sizeof(line) - length, "}}\n");
	if (length < sizeof(line) && !write_line(line, length))
		nobody_listens();
}

void
builder_result(uint64_t nodes, double seconds, uint32_t threads, uint64_t memory,
			   uint32_t partitions)
{
	char		line[256];
	int			length = snprintf(line, sizeof(line),
								  "{\"result\":{\"nodes\":%llu,\"seconds\":%.3f,\"threads\":%u,"
								  "\"memory\":%llu,\"partitions\":%u}}\n",
								  (unsigned long long) nodes, seconds, threads,
								  (unsigned long long) memory, partitions);

	begin_ending();
	if (before_end)
		before_end(before_end_state, false);
	(void) write_line(line, (size_t) length);
}

void
builder_trained(uint64_t bytes, double seconds, uint32_t threads)
{
	char		line[160];
	int			length = snprintf(line, sizeof(line),
								  "{\"result\":{\"bytes\":%llu,\"seconds\":%.3f,\"threads\":%u}}\n",
								  (unsigned long long) bytes, seconds, threads);

	begin_ending();
	(void) write_line(line, (size_t) length);
}

/* ---- signals ---- */

/* Only what is safe in a handler, which may interrupt anything. */
static void
end_by_signal(int signal_number)
{
	static const char cancelled[] = "{\"error\":{\"code\":\"cancelled\","
		"\"message\":\"the job was cancelled\",\"detail\":\"\",\"hint\":\"\"}}\n";
	static const char lost[] = "{\"error\":{\"code\":\"io\","
		"\"message\":\"a file of the job became shorter or could not be read\","
		"\"detail\":\"\",\"hint\":\"\"}}\n";

	/* SIGHUP, which also tells that the parent has ended, takes no time away */
	if (deferring && signal_number != SIGBUS && signal_number != SIGALRM &&
		(!signalled || signal_number == SIGHUP))
	{
		if (!signalled)
			(void) alarm(DEFERRED_SECONDS);
		signalled = 1;
		return;
	}
	if (!__atomic_exchange_n(&ending, 1, __ATOMIC_ACQ_REL))
	{
		remove_unfinished();
		if (signal_number == SIGBUS)
			(void) write_line(lost, sizeof(lost) - 1);
		else
			(void) write_line(cancelled, sizeof(cancelled) - 1);
	}
	_exit(1);
}

void
builder_catch_signals(void)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGBUS, SIGALRM};
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = end_by_signal;
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		(void) sigaction(signals[i], &action, NULL);

	/* a server blocks signals around fork, and a child inherits that */
	sigemptyset(&action.sa_mask);
	(void) sigprocmask(SIG_SETMASK, &action.sa_mask, NULL);

	parent = getppid();
	(void) prctl(PR_SET_PDEATHSIG, SIGHUP);
	/* it may have ended before that */
	check_parent();
}

void
builder_defer_signals(bool defer)
{
	deferring = defer;
	if (!defer && signalled)
		raise(SIGTERM);
}

bool
builder_signalled(void)
{
	return signalled;
}
