/*
 * evict.c
 *		Removing mirrors from the cache, and its circuit breaker; see evict.h.
 */
#include "postgres.h"

#include "cache/evict.h"

#include "cache/settings.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/*
 * A mirror that was used as recently as this is not evicted for another index's
 * first search: two indexes in use that do not fit together would throw each other
 * out with every query.
 */
#define IN_USE_SECONDS 60

/* A refused mirror that nobody has asked for again since is forgotten. */
#define REFUSED_SECONDS 600

static object_access_hook_type previous_object_access = NULL;

static inline KnnMirrorState
state_of(const KnnMirror *mirror)
{
	return (KnnMirrorState) pg_atomic_read_u32((pg_atomic_uint32 *) &mirror->state);
}

/* ---- freeing ---- */

static bool
is_pinned(const KnnMirror *mirror)
{
	uint32		number = (uint32) (mirror - KnnMirrors) + 1;

	for (uint32 b = 0; b < KnnCache->nbackends; b++)
	{
		for (int i = 0; i < KNN_PINS; i++)
		{
			if (pg_atomic_read_u32(&KnnCacheBackends[b].pins[i]) == number)
				return true;
		}
	}
	return false;
}

/* Free a mirror that is going, if nobody uses it any more. */
static void
free_if_unpinned(KnnMirror *mirror)
{
	if (is_pinned(mirror))
		return;
	for (int c = 0; c < KNN_MIRROR_NCOLUMNS; c++)
	{
		uint32		nunits = pg_atomic_read_u32(&mirror->columns[c].nunits);
		uint32		unit = mirror->columns[c].first;

		while (nunits-- > 0)
		{
			uint32		next = KnnUnitNext[unit];

			KnnUnitGive(unit);
			unit = next;
		}
		pg_atomic_write_u32(&mirror->columns[c].nunits, 0);
	}
	mirror->nunits = 0;
	mirror->index = InvalidOid;
	mirror->database = InvalidOid;
	pg_atomic_write_u32(&mirror->state, KNN_MIRROR_FREE);
}

void
KnnCacheDiscard(KnnMirror *mirror)
{
	pg_atomic_write_u64(&mirror->generation, pg_atomic_read_u64(&mirror->generation) + 1);
	pg_atomic_write_u32(&mirror->state, KNN_MIRROR_GOING);
	pg_atomic_fetch_add_u32(&KnnCache->epoch, 1);
	/* pins that were set before this are seen below, later ones see the state */
	pg_memory_barrier();
	free_if_unpinned(mirror);
}

/* Free what was pinned when it was thrown out. */
static void
free_going(void)
{
	for (uint32 i = 0; i < KnnCache->nmirrors; i++)
	{
		if (state_of(&KnnMirrors[i]) == KNN_MIRROR_GOING)
			KnnCacheDiscard(&KnnMirrors[i]);
	}
}

KnnMirror *
KnnCacheFreeMirror(void)
{
	free_going();
	for (uint32 i = 0; i < KnnCache->nmirrors; i++)
	{
		if (state_of(&KnnMirrors[i]) == KNN_MIRROR_FREE)
			return &KnnMirrors[i];
	}
	return NULL;
}

/* ---- room ---- */

static uint32
limit_units(void)
{
	return (uint32) Min(KnnCacheLimitBytes() / KNN_UNIT_BYTES, KnnCache->nunits);
}

/* The ready mirror that was used least recently, before a time. */
static KnnMirror *
least_recent(const KnnMirror *except, TimestampTz before)
{
	KnnMirror  *oldest = NULL;
	TimestampTz oldest_use = before;

	for (uint32 i = 0; i < KnnCache->nmirrors; i++)
	{
		KnnMirror  *mirror = &KnnMirrors[i];

		if (mirror != except && state_of(mirror) == KNN_MIRROR_READY)
		{
			TimestampTz use = KnnMirrorUseOf(mirror, NULL);

			/* while it is pinned, evicting it would free nothing */
			if (use < oldest_use && !is_pinned(mirror))
			{
				oldest = mirror;
				oldest_use = use;
			}
		}
	}
	return oldest;
}

/* Units of mirrors that may be evicted. */
static uint64
evictable_units(const KnnMirror *except, TimestampTz before)
{
	uint64		units = 0;

	for (uint32 i = 0; i < KnnCache->nmirrors; i++)
	{
		KnnMirror  *mirror = &KnnMirrors[i];

		if (mirror != except && state_of(mirror) == KNN_MIRROR_READY &&
			KnnMirrorUseOf(mirror, NULL) < before && !is_pinned(mirror))
			units += mirror->nunits;
	}
	return units;
}

static void
evict(KnnMirror *mirror)
{
	KnnCacheDiscard(mirror);
	KnnCount(KNN_COUNT_EVICTION, 1);
}

bool
KnnCacheMakeRoom(uint32 units, const KnnMirror *except, bool forced)
{
	uint32		limit = limit_units();
	TimestampTz before = forced ? DT_NOEND :
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), -IN_USE_SECONDS * 1000);

	free_going();
	if ((uint64) KnnCache->nused + units <= limit)
		return true;
	KnnBreakerTrip();
	if (units > limit ||
		KnnCache->nused + (uint64) units > limit + evictable_units(except, before))
		return false;
	while ((uint64) KnnCache->nused + units > limit)
	{
		KnnMirror  *mirror = least_recent(except, before);

		if (mirror == NULL)
			return false;
		evict(mirror);
	}
	return true;
}

/* ---- removal by request ---- */

static int
remove_matching(Oid database, Oid relid)
{
	int			removed = 0;

	/* not told by the units in use: the mirror of an empty index has none */
	if (KnnCache == NULL)
		return 0;
	LWLockAcquire(KnnCache->lock, LW_EXCLUSIVE);
	for (uint32 i = 0; i < KnnCache->nmirrors; i++)
	{
		KnnMirror  *mirror = &KnnMirrors[i];
		KnnMirrorState state = state_of(mirror);

		if (mirror->database == database && (relid == InvalidOid || mirror->index == relid) &&
			(state == KNN_MIRROR_LOADING || state == KNN_MIRROR_READY))
		{
			KnnCacheDiscard(mirror);
			removed++;
		}
	}
	free_going();
	KnnCache->refused_bytes = 0;
	LWLockRelease(KnnCache->lock);
	(void) KnnBreakerTriggered();
	return removed;
}

int
KnnCacheRemoveIndex(Oid database, Oid relid)
{
	return remove_matching(database, relid);
}

/*
 * Called before the drop is final.  When it is rolled back, the index is loaded
 * again at its next search.
 */
static void
on_object_access(ObjectAccessType access, Oid class, Oid object, int subid, void *arg)
{
	if (previous_object_access)
		previous_object_access(access, class, object, subid, arg);
	if (access != OAT_DROP || subid != 0)
		return;
	if (class == RelationRelationId)
		(void) KnnCacheRemoveIndex(MyDatabaseId, object);
	else if (class == DatabaseRelationId)
		(void) remove_matching(object, InvalidOid);
}

void
KnnCacheWatchDrops(void)
{
	previous_object_access = object_access_hook;
	object_access_hook = on_object_access;
}

/* ---- the circuit breaker ---- */

void
KnnBreakerTrip(void)
{
	if (!KnnCache->triggered && knn_breaker_enabled)
	{
		KnnCache->triggered = true;
		KnnCache->triggered_at = GetCurrentTimestamp();
	}
	KnnCache->capacity_reached = true;
}

void
KnnBreakerRefused(uint64 bytes)
{
	KnnBreakerTrip();
	KnnCache->refused_bytes = Max(KnnCache->refused_bytes, bytes);
	KnnCache->triggered_at = GetCurrentTimestamp();
}

/* Under the lock. */
static void
reset_if_possible(void)
{
	uint64		limit = KnnCacheLimitBytes();
	uint64		used = KnnCacheBytesUsed();

	if (!KnnCache->triggered && !KnnCache->capacity_reached)
		return;
	if (KnnCache->refused_bytes > 0 &&
		TimestampDifferenceExceeds(KnnCache->triggered_at, GetCurrentTimestamp(),
								   REFUSED_SECONDS * 1000))
		KnnCache->refused_bytes = 0;
	if (used <= (uint64) (limit * (knn_breaker_unset_percentage / 100)) &&
		used + KnnCache->refused_bytes <= limit)
	{
		KnnCache->triggered = false;
		KnnCache->capacity_reached = false;
		KnnCache->refused_bytes = 0;
	}
	else if (!knn_breaker_enabled)
		KnnCache->triggered = false;
}

bool
KnnBreakerTriggered(void)
{
	bool		triggered;

	if (KnnCache == NULL)
		return false;
	if (!KnnCache->triggered && !KnnCache->capacity_reached)
		return false;
	LWLockAcquire(KnnCache->lock, LW_EXCLUSIVE);
	reset_if_possible();
	triggered = KnnCache->triggered;
	LWLockRelease(KnnCache->lock);
	return triggered;
}

void
KnnBreakerCheckInsert(Relation index)
{
	if (KnnCache == NULL || knn_breaker_action != KNN_BREAKER_REJECT || !KnnBreakerTriggered())
		return;
	KnnCount(KNN_COUNT_BREAKER_REJECT, 1);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("cannot index vectors in \"%s\" because the circuit breaker of knn is triggered",
					RelationGetRelationName(index)),
			 errdetail("%llu of %llu kB of the cache are in use, and there was no room for another index.",
					   (unsigned long long) KnnCacheBytesUsed() / 1024,
					   (unsigned long long) KnnCacheLimitBytes() / 1024),
			 errhint("Remove indexes from the cache with knn_clear_cache(), or raise knn.memory_circuit_breaker_limit or knn.cache_size; "
					 "it is reset when less than %g percent are in use. "
					 "With knn.circuit_breaker_action = bypass it does not keep vectors from being indexed.",
					 knn_breaker_unset_percentage)));
}

/* ---- maintenance ---- */

void
KnnCacheMaintain(void)
{
	TimestampTz expired = knn_cache_expiry_enabled ?
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
									-(int64) knn_cache_expiry_minutes * 60 * 1000) : DT_NOBEGIN;

	if (KnnCache == NULL)
		return;
	LWLockAcquire(KnnCache->lock, LW_EXCLUSIVE);
	free_going();
	for (uint32 i = 0; i < KnnCache->nmirrors; i++)
	{
		if (state_of(&KnnMirrors[i]) == KNN_MIRROR_READY &&
			KnnMirrorUseOf(&KnnMirrors[i], NULL) < expired)
			evict(&KnnMirrors[i]);
	}
	/* a limit that was lowered */
	while (KnnCache->nused > limit_units())
	{
		KnnMirror  *mirror = least_recent(NULL, DT_NOEND);

		if (mirror == NULL)
			break;
		KnnBreakerTrip();
		evict(mirror);
	}
	reset_if_possible();
	LWLockRelease(KnnCache->lock);
}
