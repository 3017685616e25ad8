/*
 * child.h
 *		A child process of a backend: started without a shell, read line by line,
 *		gone when it is not wanted any more.
 *
 * Nothing of it outlives the statement: the caller has KnnChildStop called
 * whatever happens, and where the backend itself is killed the kernel kills the
 * child (Linux).
 */
#ifndef KNN_JOB_CHILD_H
#define KNN_JOB_CHILD_H

#include "postgres.h"

#include "job/message.h"
#include "portability/instr_time.h"

#define KNN_CHILD_LINE_ROOM (16 * 1024) /* longest line and its end */
#define KNN_CHILD_TAIL_ROOM 2048
#define KNN_CHILD_PATIENCE 500	/* unless it is given more */

typedef enum KnnChildEvent
{
	KNN_CHILD_LINE,				/* a line on its standard output */
	KNN_CHILD_ENDED,			/* it ended, and there is no further line */
	KNN_CHILD_SILENT,			/* nothing for as long as was asked for */
	KNN_CHILD_LONG_LINE,		/* a line that does not end; its start is there */
	KNN_CHILD_TOO_MUCH			/* more output than lines of progress can be */
} KnnChildEvent;

typedef struct KnnChild
{
	pid_t		pid;			/* also of its process group; 0: none */
	int			out;			/* our ends of pipes, -1: closed */
	int			err;
	int			start;			/* errno of a failed exec */
	int			patience;		/* ms between SIGTERM and SIGKILL */
	bool		ended;
	int			status;			/* as of waitpid, when ended */
	instr_time	begun;
	KnnSecrets	secrets;		/* not to be logged */

	char		buffer[KNN_CHILD_LINE_ROOM];	/* of standard output */
	Size		used;
	Size		taken;			/* bytes of it that were returned as lines */
	uint64		total;

	char		tail[KNN_CHILD_TAIL_ROOM];	/* the last of standard error */
	Size		tail_used;
	char		log[256];		/* a line of it for the server's log */
	Size		log_used;
	int			logged;
} KnnChild;

/* To be called before anything that may fail, so that KnnChildStop can be. */
extern void KnnChildInit(KnnChild *child);

/*
 * Runs a program with the arguments argv (argv[0] its name), a file as its
 * standard input.  False and a reason in *problem (palloc'd) if it cannot be.
 */
extern bool KnnChildStart(KnnChild *child, const char *program, char *const *argv,
						  const char *input, char **problem);

/*
 * Waits for what happens next, at most timeout ms (-1: for ever).  Interrupts
 * are heeded meanwhile: an ERROR leaves the child running, for KnnChildStop.
 * *line of *length bytes is valid until the next call; without its newline.
 */
extern KnnChildEvent KnnChildNext(KnnChild *child, long timeout,
								  const char **line, Size *length);

/* Kills child and process group if they are still there.  Raises no error. */
extern void KnnChildStop(KnnChild *child);

/*
 * How the child ended, as "was killed by signal 9: Killed"; and the last lines
 * of its standard error, or NULL.  Both palloc'd.
 */
extern char *KnnChildFate(const KnnChild *child);
extern char *KnnChildLastWords(const KnnChild *child);

#endif
