/*
 * cache_state.h
 *		The state of the native memory cache at some moment, for statistics and views.
 */
#ifndef KNN_API_CACHE_STATE_H
#define KNN_API_CACHE_STATE_H

#include "postgres.h"

#include "cache/counters.h"
#include "datatype/timestamp.h"

/* A mirror. */
typedef struct KnnCacheEntry
{
	Oid			database;
	Oid			index;
	const char *state;			/* loading, ready, refreshing, leaving */
	int32		loader;			/* pid, or 0 */
	bool		standby;		/* loaded during recovery, see cache/mirror.h */
	uint32		nodes;
	uint64		bytes;
	uint64		searches;
	TimestampTz last_use;
	TimestampTz loaded_at;		/* 0: not yet */
	uint64		load_time;		/* ns */
} KnnCacheEntry;

typedef struct KnnCacheState
{
	bool		enabled;		/* all else is zero if not */
	uint64		counters[KNN_NCOUNTERS];
	TimestampTz reset_at;		/* 0: never */

	/* bytes */
	uint64		size;
	uint64		limit;
	uint64		used;

	bool		triggered;
	bool		capacity_reached;
	TimestampTz triggered_at;	/* 0: not triggered */

	int			nentries;
	KnnCacheEntry *entries;
} KnnCacheState;

extern void KnnCacheStateRead(KnnCacheState *state);

/* Percentage of the limit. */
extern double KnnCachePercentage(const KnnCacheState *state, uint64 bytes);

#endif
