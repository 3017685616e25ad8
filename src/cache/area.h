/*
 * area.h
 *		The shared memory of the native memory cache.
 *
 * With the library in shared_preload_libraries the server sets aside, at start,
 *
 *	units		knn.cache_size in pieces of 64 kB, which hold the mirrors of indexes.
 *				Pieces of one size leave no holes, whatever comes and goes.  (A
 *				mapping of its own; the rest lies in the server's shared memory.)
 *	mirrors		one descriptor for each index in the cache
 *	backends	for each backend a line of pins, its counters and its progress,
 *				which nobody else writes: a search takes no lock and writes no
 *				memory that another one writes
 *
 * LOCKS.  One lwlock guards the free units, the table of mirrors and everything in
 * a descriptor but what is said to be atomic.  It is held for short: never while
 * pages are read or waited for.  It may be taken while page locks are held.
 *
 * PINS.  Memory of a mirror is used without a lock, so it may be freed only when no
 * backend uses it: who uses a mirror writes its number into a place of its own
 * line of pins first, and then looks whether the mirror is still there.  Who
 * throws a mirror out marks it first, and then looks at all lines; when some
 * backend has it pinned, its units are freed later (hazard pointers: Michael,
 * "Hazard Pointers: Safe Memory Reclamation for Lock-Free Objects", 2004).  Pins
 * are held during a call of the scan, not between calls.
 */
#ifndef KNN_CACHE_AREA_H
#define KNN_CACHE_AREA_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"

#include "cache/counters.h"
#include "cache/progress.h"

#define KNN_UNIT_BYTES	65536
#define KNN_NO_UNIT		UINT32_MAX

/* Mirrors that one backend can use at once: scans nested in each other, and a write. */
#define KNN_PINS		16

/* Mirrors whose use a backend notes in its own memory. */
#define KNN_NOTED_USES	8

/* A backend's use of one mirror; written by the backend alone (use.c). */
typedef struct KnnNotedUse
{
	pg_atomic_uint32 mirror;	/* number + 1, or 0 */
	pg_atomic_uint64 generation;
	pg_atomic_uint64 searches;
	pg_atomic_uint64 last;		/* TimestampTz */
} KnnNotedUse;

typedef struct KnnCacheBackend
{
	/* number + 1 of a mirror, or 0; written by the backend alone */
	pg_atomic_uint32 pins[KNN_PINS];
	KnnNotedUse uses[KNN_NOTED_USES];
	KnnCounters counters;
	KnnRemoteBuildNote remote_build;
	KnnProgress progress;
} KnnCacheBackend;

typedef struct KnnCacheArea
{
	LWLock	   *lock;
	uint32		nunits;
	uint32		nmirrors;		/* descriptors */
	uint32		nbackends;

	/*
	 * Raised whenever a mirror appears or goes, so that a backend that knows of
	 * none, or of one, need not look again as long as it has not changed.
	 */
	pg_atomic_uint32 epoch;

	/* under the lock, read without it for statistics */
	uint32		nused;			/* units */
	uint32		free_unit;		/* first of the free list */
	uint32		untouched;		/* units from here on were never used */

	/* the circuit breaker, under the lock */
	bool		triggered;
	bool		capacity_reached;
	uint64		refused_bytes;	/* the largest mirror refused since, or 0 */
	TimestampTz triggered_at;

	KnnCounters reset_base;		/* subtracted from the counters' sums */
	TimestampTz reset_at;
	ConditionVariable loaded;	/* a load has ended */
} KnnCacheArea;

/* NULL when the library was not preloaded or the cache has no size. */
extern KnnCacheArea *KnnCache;

/* Descriptors (mirror.h), and the lines of all backends. */
extern struct KnnMirror *KnnMirrors;
extern KnnCacheBackend *KnnCacheBackends;

/* This backend's line, or NULL: without a cache, or in a process that runs no queries. */
extern KnnCacheBackend *KnnCacheMine(void);

/* Requests the shared memory; called once at load, while preloading. */
extern void KnnCacheAreaInit(void);

/* ERROR that tells how to turn the cache on, unless it is. */
extern void KnnCacheRequire(void);

static inline Size
KnnCacheBytesUsed(void)
{
	return (Size) KnnCache->nused * KNN_UNIT_BYTES;
}

/* ---- units; all but the address under the lock ---- */

extern char *KnnUnitBase;

static inline char *
KnnUnitAddress(uint32 unit)
{
	return KnnUnitBase + (Size) unit * KNN_UNIT_BYTES;
}

/* The unit that follows a unit of the same column; see KnnMirrorColumn. */
extern uint32 *KnnUnitNext;

/* Take a unit; KNN_NO_UNIT when there is none.  Its contents are anything. */
extern uint32 KnnUnitTake(void);

/* Give back a unit. */
extern void KnnUnitGive(uint32 unit);

#endif
