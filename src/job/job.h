/*
 * job.h
 *		One run of the program knn-builder.
 *
 * What the program does wrong, or what is wrong with it, is told by KnnJobRun's
 * result: the caller can go on without it.  Errors are those of the statement
 * itself: it was cancelled, or timed out.
 */
#ifndef KNN_JOB_JOB_H
#define KNN_JOB_JOB_H

#include "postgres.h"

#include "job/child.h"
#include "job/message.h"
#include "job/spool.h"
#include "lib/stringinfo.h"

typedef struct KnnJob
{
	KnnSpool	spool;
	KnnChild	child;
	char		program[MAXPGPATH];
	int			warnings;		/* of the program, up to now */
	int			silence;		/* ms after which a silent program is taken to hang; 0: never */
	KnnSecrets	secrets;		/* in the job; see message.h */
	uint64		counters[KNN_JOB_COUNTERS]; /* of the program, as last told */
} KnnJob;

/* Sentences for people; palloc'd. */
typedef struct KnnJobFailure
{
	char	   *detail;
	char	   *hint;			/* or NULL */
	bool		not_started;	/* the program cannot be run */
	KnnMessage *error;			/* what it reports itself, or NULL */
	bool		terminal;		/* the program says that nothing else is to be tried */
} KnnJobFailure;

typedef void (*KnnJobProgress) (void *state, const char *phase, uint64 done, uint64 total);

/*
 * A job with a spool directory, for the caller to put files into.  Silence is
 * knn.builder_timeout unless the caller has reason to wait longer.
 */
extern KnnJob *KnnJobCreate(void);

/*
 * Ends the child and removes the spool; raises no error, may be called twice.
 * With the arguments PG_ENSURE_ERROR_CLEANUP wants: (0, PointerGetDatum(job)).
 * KnnJobBegin goes first, inside of it.
 */
extern void KnnJobCleanup(int code, Datum job);
extern void KnnJobBegin(KnnJob *job);

/* Appends a member to a job: key and absolute path of a file of the spool. */
extern void KnnJobAppendPath(StringInfo json, const KnnJob *job, const char *key, const char *name);

/*
 * Runs the program with a command, as "build", and a job (a JSON object that the
 * command understands) and waits for its result.  False,
 * and *failure set, when there is none; the child is gone then.
 */
extern bool KnnJobRun(KnnJob *job, const char *command, const char *description,
					  KnnJobProgress progress, void *state, KnnMessage *result,
					  KnnJobFailure *failure);

#endif
