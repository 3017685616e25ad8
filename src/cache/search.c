/*
 * search.c
 *		What a search does with the cache before it begins; see search.h.
 */
#include "postgres.h"

#include "cache/search.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "cache/settings.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* After a load that failed, the next search that tries again is not before this. */
#define RETRY_MS 5000

/*
 * Nodes newer than a standby's mirror that a search compares one by one (some 200
 * ns each) before it pays to refresh, and the most it does when it cannot.
 */
#define TAIL_USUAL 256
#define TAIL_MOST 4096

/* Loads of this backend that failed. */
typedef struct FailedLoad
{
	Oid			relid;
	TimestampTz at;
} FailedLoad;

static HTAB *failed_loads = NULL;

static FailedLoad *
failed_load(Oid relid, HASHACTION action)
{
	if (failed_loads == NULL)
	{
		HASHCTL		ctl = {0};

		if (action != HASH_ENTER)
			return NULL;
		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(FailedLoad);
		ctl.hcxt = CacheMemoryContext;
		failed_loads = hash_create("knn failed loads", 16, &ctl,
								   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	return hash_search(failed_loads, &relid, action, NULL);
}

/* Load at the first search; tries again only after a while when that failed. */
static bool
load_on_use(Relation index, KnnStore *store)
{
	Oid			relid = RelationGetRelid(index);
	TimestampTz now = GetCurrentStatementStartTimestamp();
	FailedLoad *failed = failed_load(relid, HASH_FIND);
	KnnLoadResult result;

	if (KnnCacheMine() == NULL || !knn_use_cache || !KnnMirrorCacheable(index))
		return false;
	if (failed && !TimestampDifferenceExceeds(failed->at, now, RETRY_MS))
		return false;
	result = KnnMirrorLoad(index, store, false);
	if (result == KNN_LOAD_NO_ROOM)
		failed_load(relid, HASH_ENTER)->at = now;
	else if (failed)
		(void) failed_load(relid, HASH_REMOVE);
	return result == KNN_LOAD_DONE || result == KNN_LOAD_PRESENT;
}

static void
get_mode(KnnMirrorView *view, KnnMirrorUseMode *mode)
{
	KnnMirror  *mirror = view->mirror;
	uint32		version;

	do
	{
		uint64		entry;

		version = pg_atomic_read_u32(&mirror->version);
		pg_read_barrier();
		mode->standby = pg_atomic_read_u32(&mirror->recovery) != 0;
		entry = pg_atomic_read_u64(&mirror->entry);
		mode->entry = (uint32) entry;
		mode->entry_level = (uint32) (entry >> 32);
		if (mode->standby)
		{
			mode->complete = pg_atomic_read_u32(&mirror->complete);
			mode->nloose = Min(mirror->nloose, KNN_LOOSE_NODES);
			if (mode->nloose > 0)
			{
				if (mode->loose == NULL)
					mode->loose = palloc(sizeof(mirror->loose));
				memcpy(mode->loose, mirror->loose, sizeof(uint32) * mode->nloose);
			}
		}
		pg_read_barrier();
	} while (version % 2 != 0 || version != pg_atomic_read_u32(&mirror->version));
	/* others may have added the units of these since */
	KnnMirrorExtendView(view);
}

bool
KnnMirrorTells(Relation index, KnnStore *store)
{
	KnnMirrorView *view;

	if (KnnCacheMine() == NULL || !knn_use_cache || !KnnMirrorCacheable(index))
		return false;
	view = KnnMirrorViewOf(index, store, false);
	return view != NULL && !pg_atomic_read_u32(&view->mirror->recovery) &&
		(uint32) pg_atomic_read_u64(&view->mirror->entry) != KNN_INVALID_ID;
}

bool
KnnMirrorBeginSearch(KnnMirrorPin *pin, Relation index, KnnStore *store, KnnMirrorUseMode *mode)
{
	bool		hit = KnnMirrorAttach(pin, index, store);

	KnnCountQuery(hit);
	if (!hit && (!load_on_use(index, store) || !KnnMirrorAttach(pin, index, store)))
		return false;

	KnnMirrorNoteUse(pin->view);
	get_mode(pin->view, mode);
	if (mode->standby)
	{
		bool		promoted = !RecoveryInProgress();
		uint32		used = store->used[KNN_GROUP_NODE];

		if (promoted || used - Min(used, mode->complete) > TAIL_USUAL)
		{
			(void) KnnMirrorRefresh(index, store, pin);
			get_mode(pin->view, mode);
			used = store->used[KNN_GROUP_NODE];
			if (mode->standby &&
				(promoted || used - Min(used, mode->complete) > TAIL_MOST))
			{
				KnnMirrorDetach(pin);
				return false;
			}
		}
	}
	return true;
}
