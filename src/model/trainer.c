/*
 * trainer.c
 *		Running the program that trains, knn-train.
 *
 * Nothing of faiss enters a server process: it runs in a child, which gets a job on
 * its stdin and tells on its stdout how it went (src/builder/train.cpp).
 */
#include "postgres.h"

#include "model/trainer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/stringinfo.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/wait_event.h"

#define PROGRAM			"knn-train"
#define MAX_OUTPUT		(1024 * 1024)	/* of an honest program some hundred bytes */
#define MAX_COMPLAINT	500		/* of stderr, in an error */

/* A child and the ends of its pipes here. */
typedef struct Child
{
	pid_t		pid;
	int			in;				/* -1: closed */
	int			out;
} Child;

static char *
program_path(void)
{
	return psprintf("%s/%s", pkglib_path, PROGRAM);
}

void
KnnCheckTrainer(void)
{
	char	   *path = program_path();

	if (access(path, X_OK) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not find the program \"%s\": %m", path),
				 errhint("It is built where faiss and json-c are installed: install libfaiss-dev, libjson-c-dev and a BLAS, and build the extension again.")));
}

/* Threads to use: the setting's, where the library has it. */
static int
threads(void)
{
	const char *value = GetConfigOption("knn.algo_param_index_thread_qty", true, false);
	int			n = value ? atoi(value) : 1;

	return n < 1 ? 1 : n;
}

static char *
job_json(const KnnTrainerJob *job)
{
	StringInfoData buf;
	char		directory[MAXPGPATH];

	if (getcwd(directory, sizeof(directory)) == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not identify current directory: %m")));
	initStringInfo(&buf);
	appendStringInfoString(&buf, "{\"job\": \"train\", \"version\": 1, \"vectors\": ");
	escape_json(&buf, psprintf("%s/%s", directory, job->vectors));
	appendStringInfoString(&buf, ", \"result\": ");
	escape_json(&buf, psprintf("%s/%s", directory, job->result));
	appendStringInfo(&buf, ", \"dimension\": %d, \"count\": " INT64_FORMAT, job->dimension, job->count);
	appendStringInfo(&buf, ", \"data_type\": \"%s\", \"space\": \"%s\", \"method\": %s",
					 job->data_type, job->space, job->method);
	appendStringInfo(&buf, ", \"threads\": %d, \"memory_limit\": " INT64_FORMAT "}",
					 threads(), (int64) maintenance_work_mem * 1024);
	return buf.data;
}

/* What the child does until it is another program: nothing that allocates or locks. */
static void
become_program(const char *path, int in, int out, int complaints)
{
	char	   *const args[] = {PROGRAM, NULL};

	/* ignored signals and the mask would stay so */
	pqsignal(SIGPIPE, SIG_DFL);
	pqsignal(SIGINT, SIG_DFL);
	pqsignal(SIGTERM, SIG_DFL);
	pqsignal(SIGHUP, SIG_DFL);
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(complaints, 2) < 0)
		_exit(126);
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	execv(path, args);
	_exit(127);
}

static void
start_child(Child *child, const char *complaints_path)
{
	char	   *path = program_path();
	int			in[2];
	int			out[2];
	int			complaints;

	if (pipe(in) < 0)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not create pipe: %m")));
	if (pipe(out) < 0)
	{
		close(in[0]);
		close(in[1]);
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not create pipe: %m")));
	}
	complaints = open(complaints_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	fflush(NULL);
	child->pid = complaints < 0 ? -1 : fork();
	if (child->pid == 0)
		become_program(path, in[0], out[1], complaints);
	close(in[0]);
	close(out[1]);
	if (complaints >= 0)
		close(complaints);
	child->in = in[1];
	child->out = out[0];
	if (child->pid < 0)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not start the program \"%s\": %m", path)));
}

/* Its exit status. */
static int
end_child(Child *child, bool now)
{
	int			status = 0;

	if (child->in >= 0)
		close(child->in);
	if (child->out >= 0)
		close(child->out);
	child->in = child->out = -1;
	if (child->pid <= 0)
		return 0;
	if (now)
		kill(child->pid, SIGKILL);
	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		;
	child->pid = 0;
	return status;
}

/* All that it prints, until it closes its stdout. */
static void
read_output(Child *child, StringInfo output)
{
	for (;;)
	{
		char		buf[4096];
		ssize_t		n;
		int			events;

		events = WaitLatchOrSocket(MyLatch,
								   WL_LATCH_SET | WL_SOCKET_READABLE | WL_EXIT_ON_PM_DEATH,
								   child->out, 0, PG_WAIT_EXTENSION);
		if (events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (!(events & WL_SOCKET_READABLE))
			continue;
		n = read(child->out, buf, sizeof(buf));
		if (n == 0)
			return;
		if (n < 0)
		{
			if (errno == EINTR || errno == EAGAIN)
				continue;
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read from the program \"%s\": %m", PROGRAM)));
		}
		appendBinaryStringInfo(output, buf, (int) n);
		if (output->len > MAX_OUTPUT)
			ereport(ERROR,
					(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
					 errmsg("the program \"%s\" prints too much", PROGRAM)));
	}
}

static char *
last_line(StringInfo output)
{
	char	   *newline;

	while (output->len > 0 && output->data[output->len - 1] == '\n')
		output->data[--output->len] = '\0';
	newline = strrchr(output->data, '\n');
	return newline ? newline + 1 : output->data;
}

/* The member of that name of a JSON object, as text; NULL when it is not so. */
static char *
member_text(const char *volatile json, const char *outer, const char *inner)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *volatile result = NULL;

	PG_TRY();
	{
		Jsonb	   *object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
		JsonbValue	value;

		if (JB_ROOT_IS_OBJECT(object) &&
			getKeyJsonValueFromContainer(&object->root, outer, (int) strlen(outer), &value) &&
			value.type == jbvBinary && JsonContainerIsObject(value.val.binary.data))
		{
			JsonbValue	member;

			if (getKeyJsonValueFromContainer(value.val.binary.data, inner, (int) strlen(inner),
											 &member))
				result = member.type == jbvString ?
					pnstrdup(member.val.string.val, member.val.string.len) : pstrdup("");
		}
	}
	PG_CATCH();
	{
		/* not JSON: reading it has done nothing else */
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return result;
}

/* The end of what it has printed to stderr. */
static char *
complaints_of(const char *path)
{
	char		buf[MAX_COMPLAINT + 1];
	FILE	   *file = AllocateFile(path, "r");
	size_t		n = 0;

	if (file)
	{
		if (fseek(file, -MAX_COMPLAINT, SEEK_END) != 0)
			rewind(file);
		n = fread(buf, 1, MAX_COMPLAINT, file);
		FreeFile(file);
	}
	buf[n] = '\0';
	for (size_t i = 0; i < n; i++)
		if ((unsigned char) buf[i] < ' ' || (unsigned char) buf[i] > '~')
			buf[i] = ' ';
	return pstrdup(buf);
}

static void
judge(int status, StringInfo output, const char *complaints_path)
{
	char	   *line = last_line(output);
	char	   *message = member_text(line, "error", "message");
	char	   *complaints;

	if (message)
	{
		char	   *code = member_text(line, "error", "code");

		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("%s", message),
				 code && strcmp(code, "out_of_memory") == 0 ?
				 errdetail("The limit is maintenance_work_mem.") : 0));
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && member_text(line, "result", "bytes"))
		return;
	complaints = complaints_of(complaints_path);
	if (WIFSIGNALED(status))
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("the program \"%s\" was terminated by signal %d", PROGRAM, WTERMSIG(status)),
				 complaints[0] ? errdetail("It printed: %s", complaints) : 0));
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("the program \"%s\" ended with status %d and without a result", PROGRAM,
					WIFEXITED(status) ? WEXITSTATUS(status) : -1),
			 complaints[0] ? errdetail("It printed: %s", complaints) : 0));
}

void
KnnRunTrainer(const KnnTrainerJob *job)
{
	char	   *json = job_json(job);
	char	   *complaints_path = psprintf("%s.err", job->result);
	StringInfoData output;
	volatile Child child = {0, -1, -1};
	Child	   *running = (Child *) &child;
	int			status = 0;

	KnnCheckTrainer();
	initStringInfo(&output);
	PG_TRY();
	{
		size_t		size = strlen(json);

		start_child(running, complaints_path);
		/* less than a pipe holds; a child that has died already says why later */
		if (write(running->in, json, size) != (ssize_t) size)
			elog(DEBUG1, "could not write to the program \"%s\": %m", PROGRAM);
		close(running->in);
		running->in = -1;
		read_output(running, &output);
		status = end_child(running, false);
	}
	PG_CATCH();
	{
		(void) end_child(running, true);
		PG_RE_THROW();
	}
	PG_END_TRY();
	judge(status, &output, complaints_path);
}
