/*
 * progress.h
 *		Progress of long commands that PostgreSQL has no progress view for.
 *
 * Shown by the view knn_progress, when the library is preloaded.  A backend
 * reports one command at a time.
 */
#ifndef KNN_CACHE_PROGRESS_H
#define KNN_CACHE_PROGRESS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"

/*
 * Written by one backend, read by others without a lock.  The version is odd
 * while it is being changed.
 */
typedef struct KnnProgress
{
	pg_atomic_uint32 version;
	int32		pid;			/* 0: nothing is reported */
	Oid			database;
	Oid			role;
	Oid			relation;
	char		command[32];
	char		phase[32];
	TimestampTz started;
	uint64		total;
	uint64		done;
} KnnProgress;

/*
 * Begin a report; command and phase are short words.  total is of the phase, 0
 * when it is not known.
 */
extern void KnnProgressStart(const char *command, Oid relid, const char *phase, uint64 total);
extern void KnnProgressPhase(const char *phase, uint64 total);
extern void KnnProgressUpdate(uint64 done);

/* End the report.  The end of the transaction does so too. */
extern void KnnProgressEnd(void);

/* Copy a backend's report; false when there is none. */
extern bool KnnProgressRead(uint32 backend, KnnProgress *out);

#endif
