/*
 * job.c
 *		One run of the program knn-builder; see job.h.
 *
 * The job is the program's standard input, as a file of the spool: so there is no
 * pipe that the program might not read from.  The file's name is removed as soon as
 * the program has it open.
 */
#include "postgres.h"

#include "job/job.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "job/settings.h"
#include "utils/json.h"

#define JOB_FILE "job.json"
#define SHOWN_BYTES 100			/* of output that is no message */
#define END_PATIENCE 10000		/* ms from its last line to its end */
#define MOST_WARNINGS 10		/* of one program */

KnnJob *
KnnJobCreate(void)
{
	KnnJob	   *job = palloc0(sizeof(KnnJob));

	KnnChildInit(&job->child);
	KnnBuilderPath(job->program);
	job->silence = knn_builder_timeout;
	return job;
}

void
KnnJobBegin(KnnJob *job)
{
	KnnSpoolCreate(&job->spool);
}

void
KnnJobCleanup(int code, Datum arg)
{
	KnnJob	   *job = (KnnJob *) DatumGetPointer(arg);

	/* the child first, lest it write into what is being removed */
	KnnChildStop(&job->child);
	KnnSpoolRemove(&job->spool);
}

void
KnnJobAppendPath(StringInfo json, const KnnJob *job, const char *key, const char *name)
{
	char		path[MAXPGPATH];

	KnnSpoolPath(&job->spool, name, path);
	appendStringInfo(json, ",\"%s\":", key);
	escape_json(json, path);
}

/* "Program "..." did this and that.", and what it said last. */
static bool
failed(KnnJob *job, KnnJobFailure *failure, const char *what)
{
	char	   *last = KnnChildLastWords(&job->child);
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "Program \"%s\" %s", job->program, what);
	appendStringInfoChar(&text, '.');
	if (last)
		appendStringInfo(&text, " The last of its standard error is: %s", last);
	KnnHideSecrets(text.data, &job->secrets);
	failure->detail = text.data;
	KnnChildStop(&job->child);
	return false;
}

static bool
write_description(KnnJob *job, const char *description)
{
	KnnSpoolFile file;
	bool		written;

	KnnSpoolFileBegin(&file, &job->spool, JOB_FILE);
	KnnSpoolFileWrite(&file, description, strlen(description));
	KnnSpoolFileWrite(&file, "\n", 1);
	written = KnnSpoolFileEnd(&file);
	KnnSpoolFileClose(&file);
	return written;
}

/* What a warning line says is the user's to hear; a flood of them is not. */
static void
report_warning(KnnJob *job, KnnMessage *warning)
{
	if (++job->warnings > MOST_WARNINGS || warning->message[0] == '\0')
		return;
	KnnHideSecrets(warning->message, &job->secrets);
	KnnHideSecrets(warning->detail, &job->secrets);
	KnnHideSecrets(warning->hint, &job->secrets);
	ereport(WARNING,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg_internal("%s", warning->message),
			 warning->detail[0] != '\0' ? errdetail_internal("%s", warning->detail) : 0,
			 warning->hint[0] != '\0' ? errhint("%s", warning->hint) : 0));
}

/* What an error line says: "message: detail." */
static bool
reported_error(KnnJob *job, const KnnMessage *error, KnnJobFailure *failure)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "Program \"%s\" reports: %s", job->program,
					 error->message[0] != '\0' ? error->message :
					 error->code[0] != '\0' ? error->code : "an error");
	if (error->detail[0] != '\0')
		appendStringInfo(&text, ": %s", error->detail);
	if (text.data[text.len - 1] != '.')
		appendStringInfoChar(&text, '.');
	KnnHideSecrets(text.data, &job->secrets);
	failure->detail = text.data;
	if (error->hint[0] != '\0')
	{
		failure->hint = pstrdup(error->hint);
		KnnHideSecrets(failure->hint, &job->secrets);
	}
	failure->terminal = error->terminal;
	failure->error = palloc(sizeof(KnnMessage));
	*failure->error = *error;
	KnnChildStop(&job->child);
	return false;
}

/* The child ended: with a result, or with what instead? */
static bool
ended(KnnJob *job, bool has_result, KnnJobFailure *failure)
{
	const KnnChild *child = &job->child;

	if (has_result && WIFEXITED(child->status) && WEXITSTATUS(child->status) == 0)
	{
		KnnChildStop(&job->child);
		return true;
	}
	if (WIFSIGNALED(child->status) && WTERMSIG(child->status) == SIGKILL)
		failure->hint = pstrdup("The system may have been out of memory.");
	return failed(job, failure,
				  psprintf("%s%s", KnnChildFate(child),
						   has_result ? ", after its result" : " and without a result"));
}

bool
KnnJobRun(KnnJob *job, const char *command, const char *description,
		  KnnJobProgress progress, void *state, KnnMessage *result, KnnJobFailure *failure)
{
	char	   *argv[] = {job->program, unconstify(char *, command), NULL};
	char		input[MAXPGPATH];
	bool		has_result = false;
	KnnMessage *message = palloc(sizeof(KnnMessage));

	memset(failure, 0, sizeof(KnnJobFailure));
	job->child.secrets = job->secrets;
	if (!write_description(job, description))
	{
		failure->detail = psprintf("Its job could not be written: %s.", strerror(errno));
		return false;
	}
	KnnSpoolPath(&job->spool, JOB_FILE, input);
	if (!KnnChildStart(&job->child, job->program, argv, input, &failure->detail))
	{
		failure->not_started = true;
		failure->hint = psprintf("Install the program, or tell its place by knn.builder_path%s",
								 strcmp(command, "build") == 0 || strcmp(command, "cluster") == 0 ?
								 "; with knn.build_external_min = -1 it is never asked for." : ".");
		return false;
	}
	(void) unlink(input);
	for (;;)
	{
		long		timeout = has_result ? END_PATIENCE :
			job->silence > 0 ? job->silence : -1;
		const char *line;
		Size		length;

		switch (KnnChildNext(&job->child, timeout, &line, &length))
		{
			case KNN_CHILD_LINE:
				break;
			case KNN_CHILD_ENDED:
				return ended(job, has_result, failure);
			case KNN_CHILD_SILENT:
				if (has_result)
					return failed(job, failure, "did not end after its result");
				failure->hint = pstrdup("knn.builder_timeout tells how long it may be silent.");
				return failed(job, failure, psprintf("printed nothing for %d ms", job->silence));
			case KNN_CHILD_LONG_LINE:
				return failed(job, failure,
							  psprintf("printed a line of more than %d bytes that begins with \"%s\"",
									   KNN_CHILD_LINE_ROOM, KnnQuoteBytes(line, length, SHOWN_BYTES)));
			case KNN_CHILD_TOO_MUCH:
				return failed(job, failure,
							  psprintf("printed more than it can have to say, %llu bytes",
									   (unsigned long long) job->child.total));
		}
		if (has_result)
			return failed(job, failure,
						  psprintf("printed something after its result: \"%s\"",
								   KnnQuoteBytes(line, length, SHOWN_BYTES)));
		if (!KnnMessageParse(line, length, message))
			return failed(job, failure,
						  psprintf("printed what is no message: \"%s\"",
								   KnnQuoteBytes(line, length, SHOWN_BYTES)));
		switch (message->kind)
		{
			case KNN_MESSAGE_PROGRESS:
				if (progress)
					progress(state, message->phase, message->done, message->total);
				break;
			case KNN_MESSAGE_COUNTERS:
				memcpy(job->counters, message->counters, sizeof(job->counters));
				break;
			case KNN_MESSAGE_RESULT:
				*result = *message;
				has_result = true;
				break;
			case KNN_MESSAGE_WARNING:
				report_warning(job, message);
				break;
			case KNN_MESSAGE_ERROR:
				return reported_error(job, message, failure);
		}
	}
}
