/*
 * cache_state.c
 *		Reading the state of the native memory cache; see cache_state.h.
 */
#include "postgres.h"

#include "api/cache_state.h"

#include "cache/evict.h"
#include "cache/mirror.h"
#include "cache/settings.h"

static const char *
state_name(KnnMirrorState state, int32 loader)
{
	switch (state)
	{
		case KNN_MIRROR_PREPARED:
		case KNN_MIRROR_LOADING:
			return "loading";
		case KNN_MIRROR_READY:
			return loader != 0 ? "refreshing" : "ready";
		default:
			return "leaving";
	}
}

/* Under the lock. */
static void
read_entry(KnnMirror *mirror, KnnMirrorState state, KnnCacheEntry *entry)
{
	entry->database = mirror->database;
	entry->index = mirror->index;
	entry->state = state_name(state, mirror->loader);
	entry->loader = mirror->loader;
	entry->bytes = (uint64) mirror->nunits * KNN_UNIT_BYTES;
	entry->nodes = pg_atomic_read_u32(&mirror->covered[KNN_GROUP_NODE]);
	entry->last_use = KnnMirrorUseOf(mirror, &entry->searches);

	/* what the load says is not known before its end */
	entry->standby = false;
	entry->loaded_at = 0;
	entry->load_time = 0;
	if (state == KNN_MIRROR_READY)
	{
		entry->standby = pg_atomic_read_u32(&mirror->recovery) != 0;
		entry->loaded_at = mirror->loaded_at;
		entry->load_time = mirror->load_time;
	}
}

void
KnnCacheStateRead(KnnCacheState *state)
{
	memset(state, 0, sizeof(KnnCacheState));
	if (KnnCache == NULL)
		return;
	state->enabled = true;
	state->size = (uint64) KnnCache->nunits * KNN_UNIT_BYTES;
	state->limit = KnnCacheLimitBytes();
	/* looks whether it can be reset */
	state->triggered = KnnBreakerTriggered();
	state->entries = palloc(sizeof(KnnCacheEntry) * KnnCache->nmirrors);

	LWLockAcquire(KnnCache->lock, LW_SHARED);
	KnnCountersSum(state->counters);
	state->reset_at = KnnCache->reset_at;
	state->used = KnnCacheBytesUsed();
	state->capacity_reached = KnnCache->capacity_reached;
	state->triggered_at = state->triggered ? KnnCache->triggered_at : 0;
	for (uint32 i = 0; i < KnnCache->nmirrors; i++)
	{
		KnnMirrorState mirror_state = (KnnMirrorState) pg_atomic_read_u32(&KnnMirrors[i].state);

		if (mirror_state != KNN_MIRROR_FREE)
			read_entry(&KnnMirrors[i], mirror_state, &state->entries[state->nentries++]);
	}
	LWLockRelease(KnnCache->lock);
}

double
KnnCachePercentage(const KnnCacheState *state, uint64 bytes)
{
	return state->limit > 0 ? 100.0 * bytes / state->limit : 0;
}
