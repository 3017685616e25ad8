/*
 * child.c
 *		A child process of a backend; see child.h.
 *
 * The child is in a process group of its own, so that all of it can be killed,
 * and holds nothing of the server but its standard streams.  It becomes the
 * first candidate of the kernel's out-of-memory killer: losing it is a warning,
 * losing a backend restarts the server.
 */
#include "postgres.h"

#include "job/child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include "compat.h"
#include "job/message.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

#define CHECK_INTERVAL 1000		/* ms after which a dead child is noticed whose
								 * descendants hold its output open */
#define TOTAL_FREE (1024 * 1024)	/* bytes of output that are always in order */
#define TOTAL_PER_SECOND (64 * 1024)
#define LOGGED_LINES 200
#define EXEC_FAILED 127

extern char **environ;

void
KnnChildInit(KnnChild *child)
{
	memset(child, 0, sizeof(KnnChild));
	child->out = child->err = child->start = -1;
	child->patience = KNN_CHILD_PATIENCE;
}

static void
close_end(int *fd)
{
	if (*fd < 0)
		return;
	close(*fd);
	*fd = -1;
	ReleaseExternalFD();
}

static void
close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* Both ends close on exec; the server's is never waited for. */
static bool
make_pipe(int *pair)
{
	return pipe(pair) == 0 && fcntl(pair[0], F_SETFD, FD_CLOEXEC) == 0 &&
		fcntl(pair[1], F_SETFD, FD_CLOEXEC) == 0 && fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0;
}

/* ---- in the child, where only async-signal-safe calls are allowed ---- */

static void
close_from(int first)
{
	struct rlimit limit;
	int			last = 65536;

#if defined(__linux__) && defined(SYS_close_range)
	if (syscall(SYS_close_range, (unsigned int) first, ~0U, 0) == 0)
		return;
#endif
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < (rlim_t) last)
		last = (int) limit.rlim_cur;
	for (int fd = first; fd < last; fd++)
		close(fd);
}

static void
become_first_victim(void)
{
#ifdef __linux__
	int			fd = open("/proc/self/oom_score_adj", O_WRONLY);

	if (fd >= 0)
	{
		ssize_t		written = write(fd, "500", 3);

		(void) written;			/* it is a courtesy */
		close(fd);
	}
#endif
}

static void
run_program(const char *program, char *const *argv, int in, int out, int err, int start,
			pid_t parent)
{
	struct sigaction action;
	sigset_t	none;
	int			error;
	ssize_t		written;

	setpgid(0, 0);
#ifdef __linux__
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXEC_FAILED);
#endif
	/* ignored signals would stay ignored */
	memset(&action, 0, sizeof(action));
	action.sa_handler = SIG_DFL;
	for (int i = 1; i < NSIG; i++)
		sigaction(i, &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	become_first_victim();

	if (dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0 &&
		dup2(err, STDERR_FILENO) >= 0 && dup2(start, 3) >= 0 &&
		fcntl(3, F_SETFD, FD_CLOEXEC) == 0)
	{
		close_from(4);
		start = 3;
		execve(program, argv, environ);
	}
	error = errno;
	written = write(start, &error, sizeof(error));
	(void) written;
	_exit(EXEC_FAILED);
}

/* ---- start ---- */

static bool
start_failed(char **problem, const char *program, const char *why)
{
	*problem = psprintf("Program \"%s\" could not be run: %s.", program, why);
	return false;
}

bool
KnnChildStart(KnnChild *child, const char *program, char *const *argv, const char *input,
			  char **problem)
{
	struct stat status;
	int			in = -1;
	int			out[2] = {-1, -1};
	int			err[2] = {-1, -1};
	int			start[2] = {-1, -1};
	int			reserved = 0;
	int			error = 0;
	pid_t		parent = getpid();
	pid_t		pid = -1;

	/* the usual causes, in words; what only exec sees is told by exec */
	if (stat(program, &status) != 0)
		return start_failed(problem, program, strerror(errno));
	if (!S_ISREG(status.st_mode))
		return start_failed(problem, program, "it is no file");
	if (access(program, X_OK) != 0)
		return start_failed(problem, program, strerror(errno));

	while (reserved < 3 && AcquireExternalFD())
		reserved++;
	if (reserved < 3)
		error = EMFILE;
	else if ((in = open(input, O_RDONLY | O_CLOEXEC)) < 0 ||
			 !make_pipe(out) || !make_pipe(err) || !make_pipe(start))
		error = errno;
	if (error == 0)
	{
		sigset_t	all;
		sigset_t	old;

		/* a handler must not run in the child, with what it has of the server */
		sigfillset(&all);
		sigprocmask(SIG_SETMASK, &all, &old);
		pid = fork();
		if (pid == 0)
			run_program(program, argv, in, out[1], err[1], start[1], parent);
		error = pid < 0 ? errno : 0;
		if (pid > 0)
			(void) setpgid(pid, pid);	/* whoever is first */
		sigprocmask(SIG_SETMASK, &old, NULL);
	}
	close_if_open(in);
	close_if_open(out[1]);
	close_if_open(err[1]);
	close_if_open(start[1]);
	if (error != 0)
	{
		close_if_open(out[0]);
		close_if_open(err[0]);
		close_if_open(start[0]);
		while (reserved-- > 0)
			ReleaseExternalFD();
		return start_failed(problem, program, strerror(error));
	}
	child->pid = pid;
	child->out = out[0];
	child->err = err[0];
	child->start = start[0];
	INSTR_TIME_SET_CURRENT(child->begun);
	return true;
}

/* ---- reading ---- */

static void
log_line(KnnChild *child)
{
	if (child->log_used > 0 && child->logged++ < LOGGED_LINES)
	{
		char	   *line = KnnQuoteBytes(child->log, child->log_used, sizeof(child->log));

		KnnHideSecrets(line, &child->secrets);
		ereport(DEBUG1,
				(errmsg_internal("knn-builder (process %d): %s", (int) child->pid, line)));
		pfree(line);
	}
	child->log_used = 0;
}

static void
read_stderr(KnnChild *child)
{
	char		piece[1024];

	/* a flood must not keep this from noticing anything else */
	for (int round = 0; round < 64 && child->err >= 0; round++)
	{
		ssize_t		n = read(child->err, piece, sizeof(piece));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n <= 0)
		{
			log_line(child);
			close_end(&child->err);
			return;
		}
		for (ssize_t i = 0; i < n; i++)
		{
			if (piece[i] == '\n')
				log_line(child);
			else if (child->log_used < sizeof(child->log))
				child->log[child->log_used++] = piece[i];
		}
		if (child->tail_used + n > KNN_CHILD_TAIL_ROOM)
		{
			Size		keep = KNN_CHILD_TAIL_ROOM - n;

			keep = Min(keep, child->tail_used);
			memmove(child->tail, child->tail + child->tail_used - keep, keep);
			child->tail_used = keep;
		}
		memcpy(child->tail + child->tail_used, piece, n);
		child->tail_used += n;
	}
}

/* Fills the buffer; false when there is nothing more now. */
static bool
read_stdout(KnnChild *child)
{
	ssize_t		n;

	if (child->out < 0 || child->used == KNN_CHILD_LINE_ROOM)
		return false;
	do
		n = read(child->out, child->buffer + child->used, KNN_CHILD_LINE_ROOM - child->used);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return false;
	if (n <= 0)
	{
		close_end(&child->out);
		return false;
	}
	child->used += n;
	child->total += n;
	return true;
}

/* The next whole line of the buffer, or at the end what is left of it. */
static bool
take_line(KnnChild *child, bool last, const char **line, Size *length)
{
	char	   *begin;
	char	   *end;

	memmove(child->buffer, child->buffer + child->taken, child->used - child->taken);
	child->used -= child->taken;
	child->taken = 0;
	begin = child->buffer;
	end = memchr(begin, '\n', child->used);
	*line = begin;
	if (end)
	{
		*length = end - begin;
		child->taken = *length + 1;
		return true;
	}
	*length = child->used;
	child->taken = last ? child->used : 0;
	return last && child->used > 0;
}

static double
seconds_since(instr_time begun)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, begun);
	return INSTR_TIME_GET_DOUBLE(now);
}

/*
 * Has the child ended?  The rest of its process group goes before its number is
 * given back, when the number may become another group's.
 */
static bool
check_ended(KnnChild *child)
{
	siginfo_t	info;
	pid_t		pid;

	if (child->ended || child->pid == 0)
		return true;
	info.si_pid = 0;
	if (waitid(P_PID, child->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0)
		return false;
	kill(-child->pid, SIGKILL);
	do
		pid = waitpid(child->pid, &child->status, 0);
	while (pid < 0 && errno == EINTR);
	if (pid != child->pid)
		child->status = 0;		/* someone else took it; not in a backend */
	child->ended = true;
	return true;
}

/* Waits for output, the latch, or some time. */
static void
wait_for_anything(KnnChild *child, long timeout)
{
	WaitEventSet *set = KnnCreateWaitEventSet(4);
	WaitEvent	event;

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	if (child->out >= 0)
		AddWaitEventToSet(set, WL_SOCKET_READABLE, child->out, NULL, NULL);
	if (child->err >= 0)
		AddWaitEventToSet(set, WL_SOCKET_READABLE, child->err, NULL, NULL);
	if (WaitEventSetWait(set, timeout, &event, 1, PG_WAIT_EXTENSION) == 1 &&
		(event.events & WL_LATCH_SET))
		ResetLatch(MyLatch);
	FreeWaitEventSet(set);
}

KnnChildEvent
KnnChildNext(KnnChild *child, long timeout, const char **line, Size *length)
{
	instr_time	begun;
	long		interval = 1;	/* between looks at a child without output */

	INSTR_TIME_SET_CURRENT(begun);
	for (;;)
	{
		long		wait = CHECK_INTERVAL;
		bool		ended;

		CHECK_FOR_INTERRUPTS();
		if (take_line(child, false, line, length))
			return KNN_CHILD_LINE;
		if (child->used == KNN_CHILD_LINE_ROOM)
			return KNN_CHILD_LONG_LINE;
		read_stderr(child);
		/* asked first: what it printed before its end is in the pipe then */
		ended = check_ended(child);
		if (read_stdout(child))
		{
			if (child->total > TOTAL_FREE + TOTAL_PER_SECOND * seconds_since(child->begun))
				return KNN_CHILD_TOO_MUCH;
			continue;
		}
		if (ended)
		{
			if (take_line(child, true, line, length))
				return KNN_CHILD_LINE;
			read_stderr(child);
			return KNN_CHILD_ENDED;
		}
		if (timeout >= 0)
		{
			double		left = timeout - seconds_since(begun) * 1000;

			if (left <= 0)
				return KNN_CHILD_SILENT;
			wait = Min(wait, (long) left + 1);
		}
		if (child->out < 0)
		{
			/* it is about to end, as a rule */
			wait = Min(wait, interval);
			interval = Min(interval * 2, CHECK_INTERVAL);
		}
		wait_for_anything(child, wait);
	}
}

/* ---- end ---- */

void
KnnChildStop(KnnChild *child)
{
	if (child->pid != 0 && !check_ended(child))
	{
		kill(-child->pid, SIGTERM);
		for (int waited = 0; waited < child->patience && !check_ended(child); waited++)
			pg_usleep(1000);
		if (!child->ended)
		{
			siginfo_t	info;

			kill(-child->pid, SIGKILL);
			while (waitid(P_PID, child->pid, &info, WEXITED | WNOWAIT) != 0 && errno == EINTR)
				;
			check_ended(child);
		}
	}
	child->pid = 0;
	close_end(&child->out);
	close_end(&child->err);
	close_end(&child->start);
}

char *
KnnChildFate(const KnnChild *child)
{
	int			error;

	if (child->start >= 0 && read(child->start, &error, sizeof(error)) == sizeof(error))
		return psprintf("could not be run: %s", strerror(error));
	if (WIFSIGNALED(child->status))
		return psprintf("was killed by signal %d: %s", WTERMSIG(child->status),
						pg_strsignal(WTERMSIG(child->status)));
	return psprintf("ended with exit status %d", WEXITSTATUS(child->status));
}

char *
KnnChildLastWords(const KnnChild *child)
{
	char		text[KNN_CHILD_TAIL_ROOM + 1];
	Size		begin = 0;
	Size		end = child->tail_used;
	Size		length;
	int			lines = 0;

	while (end > 0 && (child->tail[end - 1] == '\n' || child->tail[end - 1] == ' '))
		end--;
	for (Size i = end; i-- > 0 && begin == 0;)
	{
		if (child->tail[i] == '\n' && (++lines == 3 || end - i > 400))
			begin = i + 1;
	}
	if (begin == end)
		return NULL;
	for (Size i = begin; i < end; i++)
		text[i - begin] = child->tail[i] == '\n' ? ' ' : child->tail[i] == '\0' ? '?' : child->tail[i];
	text[end - begin] = '\0';
	KnnHideSecrets(text, &child->secrets);
	length = strlen(text);
	/* the end of it tells more than the start */
	if (length > 500)
		return KnnQuoteBytes(text + length - 500, 500, 500);
	return KnnQuoteBytes(text, length, length);
}
