/*
 * cache_control.c
 *		knn_warmup(names) and knn_clear_cache(names): putting indexes into the native
 *		memory cache, and taking them out.
 *
 * Indexes of knn_ivf are never in it: of these the pages are read into shared
 * buffers, which needs no cache, and there is nothing to take out.
 *
 * Both take names and patterns (cache_names.h) and tell how many indexes they stood
 * for, and with how many it went well.  What goes wrong with one index is a
 * warning, and the others are done nonetheless.  Neither is transactional: what
 * has been loaded or removed stays so when the transaction is rolled back.
 *
 * Both also remove what no name stands for any more: a standby is not told of drops,
 * and DROP INDEX CONCURRENTLY waits for scans that may load the index once more.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "api/cache_names.h"
#include "api/index_open.h"
#include "cache/evict.h"
#include "cache/mirror.h"
#include "cache/settings.h"
#include "cache/warm_pages.h"
#include "catalog/index.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "store/store.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_warmup);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_clear_cache);

/* What was asked for, and how it went. */
typedef struct Request
{
	int			total;
	int			successful;
	uint64		bytes;			/* of those that are in the cache by this request */
	uint64		pages;			/* of the others, read by it */
} Request;

/* Remove copies of indexes of this database that are not there any more. */
static void
forget_dropped(void)
{
	Oid		   *indexes;
	int			n = 0;

	if (KnnCache == NULL)
		return;
	indexes = palloc(sizeof(Oid) * KnnCache->nmirrors);
	LWLockAcquire(KnnCache->lock, LW_SHARED);
	for (uint32 i = 0; i < KnnCache->nmirrors; i++)
	{
		if (pg_atomic_read_u32(&KnnMirrors[i].state) == KNN_MIRROR_READY &&
			KnnMirrors[i].database == MyDatabaseId)
			indexes[n++] = KnnMirrors[i].index;
	}
	LWLockRelease(KnnCache->lock);
	for (int i = 0; i < n; i++)
	{
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(indexes[i])))
			(void) KnnCacheRemoveIndex(MyDatabaseId, indexes[i]);
	}
	pfree(indexes);
}

/* ERROR when one of them needs a cache and there is none. */
static List *
indexes_of(FunctionCallInfo fcinfo, const char *function, bool to_be_searched)
{
	List	   *indexes;
	ListCell   *cell;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of an index or a table must not be null")));
	indexes = KnnIndexesByName(PG_GETARG_ARRAYTYPE_P(0), function, to_be_searched);
	foreach(cell, indexes)
	{
		if (KnnIsMirrored(lfirst_oid(cell)))
			KnnCacheRequire();
	}
	return indexes;
}

static Datum
answer(const Request *request)
{
	char	   *text = psprintf("{\"total\": %d, \"successful\": %d, \"failed\": %d}",
								request->total, request->successful,
								request->total - request->successful);

	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
}

/* How an index is called in messages; it may have been dropped meanwhile. */
static char *
name_for_message(Oid indexoid)
{
	char	   *name = get_rel_name(indexoid);
	char	   *schema = get_namespace_name(get_rel_namespace(indexoid));

	if (name == NULL || schema == NULL)
		return psprintf("%u", indexoid);
	return quote_qualified_identifier(schema, name);
}

/* ---- warmup ---- */

/*
 * Bytes of the index's mirror, if it is in the cache.  Asking for it counts as a
 * use of it, so that it is not the first to be evicted for the next one asked for.
 */
static uint64
touch_mirror(Oid indexoid)
{
	KnnMirror  *mirror;
	uint64		bytes = 0;

	LWLockAcquire(KnnCache->lock, LW_SHARED);
	mirror = KnnMirrorFind(MyDatabaseId, indexoid);
	if (mirror && pg_atomic_read_u32(&mirror->state) == KNN_MIRROR_READY)
	{
		KnnMirrorTouch(mirror);
		bytes = (uint64) mirror->nunits * KNN_UNIT_BYTES;
	}
	LWLockRelease(KnnCache->lock);
	return bytes;
}

/* That there was no room for an index, and what would make some. */
static void
warn_no_room(const Request *request, uint64 bytes, const char *name)
{
	uint64		limit = KnnCacheLimitBytes();
	uint64		size = (uint64) knn_cache_size * 1024;
	uint64		wanted = request->bytes + bytes;

	ereport(WARNING,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("could not load index \"%s\" into the cache", name),
			 request->bytes > 0 ?
			 errdetail("It takes %llu kB, in addition to %llu kB of the others asked for, and the limit is %llu kB.",
					   (unsigned long long) bytes / 1024, (unsigned long long) request->bytes / 1024,
					   (unsigned long long) limit / 1024) :
			 errdetail("It takes %llu kB, and the limit is %llu kB.",
					   (unsigned long long) bytes / 1024, (unsigned long long) limit / 1024),
			 wanted > size ?
			 errhint("Set knn.cache_size to more than %llu kB and restart the server, and look at knn.memory_circuit_breaker_limit.",
					 (unsigned long long) wanted / 1024) :
			 wanted > limit ?
			 errhint("Raise knn.memory_circuit_breaker_limit, or remove other indexes with knn_clear_cache().") :
			 errhint("What is in the cache is in use, or the index was removed while it was loaded. Try again.")));
}

/* Remember, as a load does that finds no room. */
static void
refuse(uint64 bytes)
{
	LWLockAcquire(KnnCache->lock, LW_EXCLUSIVE);
	KnnBreakerRefused(bytes);
	LWLockRelease(KnnCache->lock);
	KnnCount(KNN_COUNT_LOAD_EXCEPTION, 1);
}

/*
 * Bring a mirror that was loaded during recovery up to date, if it is not or the
 * server has been promoted since.
 */
static void
refresh_old_mirror(Relation index, KnnStore *store)
{
	KnnMirrorPin pin;
	const KnnMirror *mirror;

	if (!KnnMirrorAttach(&pin, index, store))
		return;
	mirror = pin.view->mirror;
	PG_TRY();
	{
		if (pg_atomic_read_u32((pg_atomic_uint32 *) &mirror->recovery) != 0 &&
			(!RecoveryInProgress() ||
			 pg_atomic_read_u32((pg_atomic_uint32 *) &mirror->complete) < store->used[KNN_GROUP_NODE]))
			(void) KnnMirrorRefresh(index, store, &pin);
	}
	PG_FINALLY();
	{
		KnnMirrorDetach(&pin);
	}
	PG_END_TRY();
}

static bool
warm(Request *request, Relation index, KnnStore *store, const char *name)
{
	uint64		present = touch_mirror(RelationGetRelid(index));
	uint64		bytes = Max(present, KnnMirrorBytes(store));
	KnnLoadResult result;

	/* one request does not evict what it has loaded itself */
	if (present == 0 && request->bytes > 0 && request->bytes + bytes > KnnCacheLimitBytes())
	{
		refuse(bytes);
		warn_no_room(request, bytes, name);
		return false;
	}
	while ((result = KnnMirrorLoad(index, store, true)) == KNN_LOAD_BUSY)
	{
		KnnProgressPhase("waiting for other load", 0);
		KnnMirrorAwaitLoad(RelationGetRelid(index));
		KnnStoreRefresh(store, index);
	}
	switch (result)
	{
		case KNN_LOAD_PRESENT:
			refresh_old_mirror(index, store);
			request->bytes += bytes;
			return true;
		case KNN_LOAD_DONE:
			request->bytes += bytes;
			return true;
		case KNN_LOAD_NO_ROOM:
			warn_no_room(request, bytes, name);
			return false;
		default:
			ereport(WARNING,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("could not load index \"%s\" into the cache", name),
					 index->rd_rel->relpersistence == RELPERSISTENCE_TEMP ?
					 errdetail("Indexes of temporary tables are never in the cache.") :
					 errdetail("It was created or rebuilt by the present transaction.")));
			return false;
	}
}

/* The pages of an index, for one that has no mirror. */
static bool
warm_pages(Request *request, Relation index, const char *name)
{
	BlockNumber fit = KnnPagesThatFit();
	BlockNumber room = fit - (BlockNumber) Min(fit, request->pages);
	BlockNumber pages;

	if (index->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
	{
		ereport(WARNING,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("could not load index \"%s\" into shared_buffers", name),
				 errdetail("Indexes of temporary tables are never in shared_buffers.")));
		return false;
	}
	pages = KnnWarmPages(index, room);
	if (pages > room)
	{
		uint64		wanted = (request->pages + pages) * BLCKSZ / 3 * 4;

		ereport(NOTICE,
				(errmsg("index \"%s\" does not fit into shared_buffers", name),
				 errdetail("The first %u of its %u pages are there, up to three quarters of it for all indexes asked for; the others were read into the system's cache of files.",
						   room, pages),
				 errhint("For all of them, set shared_buffers to %llu MB or more.",
						 (unsigned long long) (wanted / 1024 / 1024 + 1))));
	}
	request->pages += pages;
	return true;
}

/* Open an index and load it, keeping no lock. */
static bool
open_and_warm(Request *request, Oid indexoid, const char *name, MemoryContext context)
{
	Relation	heap;
	Relation	index;
	KnnStore   *store;
	bool		warmed;

	KnnProgressStart("warmup", indexoid, "waiting for lock", 0);
	index = KnnOpenIndex(indexoid, AccessShareLock, KNN_ACCESS_MAINTAIN, &heap);
	store = KnnStoreOpen(index);
	KnnStoreHold(store, context);
	warmed = store->shape.method == KNN_METHOD_IVF ? warm_pages(request, index, name) :
		warm(request, index, store, name);
	index_close(index, AccessShareLock);
	table_close(heap, AccessShareLock);
	KnnProgressEnd();
	return warmed;
}

/* May an index's failure be a warning, or is it about the whole command? */
static bool
is_of_one_index(const ErrorData *error)
{
	return error->sqlerrcode != ERRCODE_QUERY_CANCELED &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_TRANSACTION_ROLLBACK;
}

/* In a subtransaction of its own, so that an error leaves nothing behind. */
static bool
warm_apart(Request *request, Oid indexoid)
{
	char	   *name = name_for_message(indexoid);
	MemoryContext outer = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext context = AllocSetContextCreate(outer, "knn warmup", ALLOCSET_DEFAULT_SIZES);
	volatile bool warmed = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		warmed = open_and_warm(request, indexoid, name, context);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(outer);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		KnnProgressEnd();
		if (!is_of_one_index(error))
			ReThrowError(error);
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("could not load index \"%s\" into the cache", name),
				 errdetail_internal("%s", error->message),
				 error->hint ? errhint("%s", error->hint) : 0));
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(outer);
	CurrentResourceOwner = owner;
	MemoryContextDelete(context);
	return warmed;
}

Datum
knn_warmup(PG_FUNCTION_ARGS)
{
	Request		request = {0};
	List	   *indexes = indexes_of(fcinfo, "knn_warmup", true);
	ListCell   *cell;

	forget_dropped();
	foreach(cell, indexes)
	{
		CHECK_FOR_INTERRUPTS();
		request.total++;
		if (warm_apart(&request, lfirst_oid(cell)))
			request.successful++;
	}
	return answer(&request);
}

/* ---- clear ---- */

/* No lock is needed, nor that the index can be read. */
static bool
clear(Oid indexoid)
{
	Oid			heap = IndexGetRelation(indexoid, true);

	if (OidIsValid(heap) && !KnnMayAccess(heap, KNN_ACCESS_MAINTAIN))
	{
		ereport(WARNING,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("could not remove index \"%s\" from the cache", name_for_message(indexoid)),
				 errdetail("You must be owner of table \"%s\".", get_rel_name(heap))));
		return false;
	}
	if (KnnCache != NULL)
		(void) KnnCacheRemoveIndex(MyDatabaseId, indexoid);
	return true;
}

/* Say of indexes that are never in the cache that there was nothing to remove. */
static void
tell_not_kept(List *indexes)
{
	Oid			first = InvalidOid;
	int			n = 0;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		if (!KnnIsMirrored(lfirst_oid(cell)) && n++ == 0)
			first = lfirst_oid(cell);
	}
	if (n == 0)
		return;
	ereport(NOTICE,
			(n == 1 ? errmsg("nothing of index \"%s\" is in the native memory cache", name_for_message(first)) :
			 errmsg("nothing of %d indexes is in the native memory cache", n),
			 errdetail("Indexes of the access method knn_ivf never are: their pages are in shared_buffers, and make room there for others.")));
}

Datum
knn_clear_cache(PG_FUNCTION_ARGS)
{
	Request		request = {0};
	List	   *indexes = indexes_of(fcinfo, "knn_clear_cache", false);
	ListCell   *cell;

	tell_not_kept(indexes);
	forget_dropped();
	foreach(cell, indexes)
	{
		CHECK_FOR_INTERRUPTS();
		request.total++;
		if (clear(lfirst_oid(cell)))
			request.successful++;
	}
	return answer(&request);
}
