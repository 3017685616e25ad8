/*
 * counters.h
 *		What has happened since the server started, for knn_stats.
 *
 * Each backend counts in memory of its own in the shared area, which lives on
 * when it ends and is used by the next, so that counting takes neither lock nor
 * atomic instruction and a sum over all backends is exact as soon as they are at
 * rest.  Without the area nothing is counted.
 */
#ifndef KNN_CACHE_COUNTERS_H
#define KNN_CACHE_COUNTERS_H

#include "postgres.h"

#include "port/atomics.h"
#include "utils/relcache.h"

/* What a build is to OpenSearch: CREATE INDEX a flush, a rebuild a merge. */
typedef enum KnnBuildKind
{
	KNN_BUILD_NONE,
	KNN_BUILD_FLUSH,
	KNN_BUILD_MERGE
} KnnBuildKind;

typedef enum KnnCounter
{
	/* the cache */
	KNN_COUNT_HIT,				/* searches of an index in the cache */
	KNN_COUNT_MISS,				/* searches of one that was not there */
	KNN_COUNT_LOAD_SUCCESS,
	KNN_COUNT_LOAD_EXCEPTION,	/* loads that failed, or found no room */
	KNN_COUNT_LOAD_TIME,		/* ns */
	KNN_COUNT_LOAD_BYTES,
	KNN_COUNT_EVICTION,			/* for lack of room or idle; not by request or drop */
	KNN_COUNT_REFRESH,			/* of mirrors on a standby */

	/* requests */
	KNN_COUNT_KNN_QUERY,		/* statements that searched at least one index */
	KNN_COUNT_GRAPH_QUERY,		/* searches of an index */
	KNN_COUNT_GRAPH_QUERY_ERROR,
	KNN_COUNT_GRAPH_INDEX,		/* vectors handed to an index */
	KNN_COUNT_GRAPH_INDEX_ERROR,
	KNN_COUNT_BUILD,			/* CREATE INDEX and rebuilds */
	KNN_COUNT_BUILD_ERROR,
	KNN_COUNT_BUILD_TIME,		/* ns */
	KNN_COUNT_BUILD_ROWS,
	KNN_COUNT_BREAKER_REJECT,	/* vectors refused by the circuit breaker */

	/* those of the builds that were rebuilds */
	KNN_COUNT_REBUILD,
	KNN_COUNT_REBUILD_TIME,		/* ns */
	KNN_COUNT_REBUILD_ROWS,
	KNN_COUNT_REBUILD_BYTES,	/* of vectors */

	/* models */
	KNN_COUNT_TRAINING,
	KNN_COUNT_TRAINING_ERROR,	/* those that failed, or were cancelled */

	/* remote builds: what knn-builder counts, times in ms */
	KNN_COUNT_REMOTE_READ_SUCCESS,
	KNN_COUNT_REMOTE_READ_FAILURE,
	KNN_COUNT_REMOTE_READ_TIME,
	KNN_COUNT_REMOTE_WRITE_SUCCESS,
	KNN_COUNT_REMOTE_WRITE_FAILURE,
	KNN_COUNT_REMOTE_WRITE_TIME,
	KNN_COUNT_REMOTE_REQUEST_SUCCESS,
	KNN_COUNT_REMOTE_REQUEST_FAILURE,
	KNN_COUNT_REMOTE_STATUS_SUCCESS,
	KNN_COUNT_REMOTE_STATUS_FAILURE,
	KNN_COUNT_REMOTE_WAITING_TIME,

	/* and what the server does: each attempt ends in one of the first four */
	KNN_COUNT_REMOTE_SUCCESS,
	KNN_COUNT_REMOTE_FAILURE,
	KNN_COUNT_REMOTE_ABORT,		/* the statement was cancelled */
	KNN_COUNT_REMOTE_TERMINAL,	/* it failed, and no other build was tried */
	KNN_COUNT_REMOTE_FLUSH_TIME,	/* ns */
	KNN_COUNT_REMOTE_MERGE_TIME,
	KNN_NCOUNTERS
} KnnCounter;

typedef struct KnnCounters
{
	pg_atomic_uint64 n[KNN_NCOUNTERS];
} KnnCounters;

/*
 * The remote build that a backend is at.  Not among the counters, which only grow
 * and are reset; the end of the build takes it back, however it ends.
 */
typedef struct KnnRemoteBuildNote
{
	pg_atomic_uint32 kind;		/* KnnBuildKind */
	pg_atomic_uint32 pid;
	pg_atomic_uint64 vectors;
	pg_atomic_uint64 bytes;		/* of these */
} KnnRemoteBuildNote;

typedef struct KnnRemoteBuildsNow
{
	uint64		flushes;
	uint64		merges;
	uint64		flush_bytes;
	uint64		merge_bytes;
} KnnRemoteBuildsNow;

/* Add to a counter of this backend. */
extern void KnnCount(KnnCounter counter, uint64 by);

/* The same in a PG_CATCH block, unless the error is that somebody cancels. */
extern void KnnCountError(KnnCounter counter);

/* Count a search, and the statement that it is part of if it is the first there. */
extern void KnnCountSearch(void);

/* The same, of an index that was in the cache or not. */
extern void KnnCountQuery(bool hit);

/*
 * Count a build that has ended well: its time in ns, vectors and their bytes.
 * Called by the backend whose command it is.
 */
extern void KnnCountBuild(Relation index, uint64 time, uint64 rows, uint64 bytes);

/* What the build of an index is; called by the backend whose command it is. */
extern KnnBuildKind KnnBuildKindOf(Relation index);

/* Note a remote build of this backend, KNN_BUILD_NONE when it has ended.  Raises no error. */
extern void KnnNoteRemoteBuild(KnnBuildKind kind, uint64 vectors, uint64 bytes);

/* Vectors of the remote build that the backend of a process is at; 0 if it is at none. */
extern uint64 KnnRemoteBuildVectors(int pid);

/* Those of all backends; none without a cache. */
extern void KnnRemoteBuildsCount(KnnRemoteBuildsNow *now);

/* Sums over all backends since the last reset; all zero without a cache. */
extern void KnnCountersSum(uint64 *sums);

/* Let all counters be zero from now on. */
extern void KnnCountersReset(void);

#endif
