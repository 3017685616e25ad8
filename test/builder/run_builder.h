/*
 * run_builder.h
 *		Runs of the program knn-builder: the job that it is given, what it says, how it
 *		ends.
 *
 * KNN_BUILDER in the environment is the program.  In the folder (folder.h) "job" is the
 * job, "v" and "i" are the vectors and ids (vectors.h), and "r" is the result.
 */
#ifndef KNN_TEST_RUN_BUILDER_H
#define KNN_TEST_RUN_BUILDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The seed of every job. */
#define JOB_SEED 42

typedef struct Job
{
	/* as jobs name them */
	const char *data_type;
	const char *space;
	const char *encoding;
	uint32_t	dim;
	uint32_t	count;
	uint32_t	threads;
	unsigned long long memory;	/* in bytes; 0: as much as it takes */
	uint32_t	m;
	uint32_t	ef;
	uint32_t	nlist;			/* of a job "cluster"; 0: it is a job "build" */
	const char *result;			/* in the folder; NULL: "r" */
	const char *codes;			/* likewise; NULL: none */
	const char *more;			/* keys, each after a comma; NULL: none */
} Job;

typedef struct Run
{
	pid_t		pid;
	int			output;			/* a pipe with what it says */
	char		text[65536];	/* what has been read of that, ended by a zero */
	size_t		length;
	int			status;			/* as of waitpid() */
	char		problem[1024];	/* with its result (recall.h); or empty */
} Run;

/* Make the folder and look for the program; false, with a message, without these. */
extern bool runs_begin(void);

/* Remove the folder. */
extern void runs_end(void);

/* The program's path. */
extern const char *run_program(void);

extern void run_write_job(const Job *job);

/* Start the program with a command and the job in the folder. */
extern void run_start(Run *run, const char *command);

/* Read more of what it says; false at the end. */
extern bool run_read(Run *run);

/* Read all that it says, and wait for its end. */
extern void run_finish(Run *run);

/* Run a command with a job, from start to end, with no result there before. */
extern void run_job(Run *run, const char *command, const Job *job);

/* Of a run that has ended: its last line, without the end of line. */
extern const char *run_last_line(const Run *run);

/* The number after a key in the last line, -1 without it. */
extern double run_number(const Run *run, const char *key);

extern bool run_exited(const Run *run, int status);

/* It ended well, and has left nothing but its result. */
extern bool run_succeeded(const Run *run);

/* It ended with an error that has both texts, and has left nothing. */
extern bool run_failed(const Run *run, const char *code, const char *message);

/* How it ended, for the message of a check; good until the next call. */
extern const char *run_told(const Run *run);

#endif
