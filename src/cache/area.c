/*
 * area.c
 *		The shared memory of the native memory cache; see area.h.
 */
#include "postgres.h"

#include "cache/area.h"

#include <sys/mman.h>

#include "cache/mirror.h"
#include "cache/settings.h"
#include "compat.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"

KnnCacheArea *KnnCache = NULL;
KnnMirror  *KnnMirrors = NULL;
KnnCacheBackend *KnnCacheBackends = NULL;
char	   *KnnUnitBase = NULL;
uint32	   *KnnUnitNext = NULL;

static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;

/* The kernel can back memory that is aligned to this with large pages. */
#define HUGE_PAGE ((Size) 2 * 1024 * 1024)

#define LEAST_MIRRORS 64
#define MOST_MIRRORS 8192

/* ---- size ---- */

static uint32
units_configured(void)
{
	return (uint32) ((uint64) knn_cache_size * 1024 / KNN_UNIT_BYTES);
}

/* A mirror takes five units at least, and most are larger. */
static uint32
mirrors_configured(void)
{
	return Min(Max(units_configured() / 16, LEAST_MIRRORS), MOST_MIRRORS);
}

static Size
control_size(void)
{
	Size		size = CACHELINEALIGN(sizeof(KnnCacheArea));

	size = add_size(size, CACHELINEALIGN(mul_size(sizeof(KnnMirror), mirrors_configured())));
	size = add_size(size, CACHELINEALIGN(mul_size(sizeof(KnnCacheBackend), MaxBackends)));
	return add_size(size, mul_size(sizeof(uint32), units_configured()));
}

static Size
units_size(void)
{
	return add_size(mul_size(KNN_UNIT_BYTES, units_configured()), HUGE_PAGE);
}

static void
request_memory(void)
{
	if (previous_request)
		previous_request();
	if (units_configured() == 0)
		return;
	RequestAddinShmemSpace(add_size(control_size(), units_size()));
	RequestNamedLWLockTranche("knn_cache", 1);
}

/* ---- start ---- */

static void
init_control(void)
{
	memset(KnnCache, 0, sizeof(KnnCacheArea));
	KnnCache->lock = &GetNamedLWLockTranche("knn_cache")->lock;
	KnnCache->nunits = units_configured();
	KnnCache->nmirrors = mirrors_configured();
	KnnCache->nbackends = MaxBackends;
	KnnCache->free_unit = KNN_NO_UNIT;
	pg_atomic_init_u32(&KnnCache->epoch, 1);
	for (int i = 0; i < KNN_NCOUNTERS; i++)
		pg_atomic_init_u64(&KnnCache->reset_base.n[i], 0);
	ConditionVariableInit(&KnnCache->loaded);

	for (uint32 b = 0; b < KnnCache->nbackends; b++)
	{
		KnnCacheBackend *backend = &KnnCacheBackends[b];

		memset(backend, 0, sizeof(KnnCacheBackend));
		for (int i = 0; i < KNN_PINS; i++)
			pg_atomic_init_u32(&backend->pins[i], 0);
		for (int i = 0; i < KNN_NCOUNTERS; i++)
			pg_atomic_init_u64(&backend->counters.n[i], 0);
		pg_atomic_init_u32(&backend->progress.version, 0);
	}
	KnnMirrorsInit();
}

/*
 * Large pages save a search most of its address translations.  The server's own
 * huge_pages may have done it; where the kernel leaves shared memory to advice,
 * this does; elsewhere it has no effect.
 */
static void
advise_huge_pages(void)
{
#ifdef MADV_HUGEPAGE
	(void) madvise(KnnUnitBase, (Size) KnnCache->nunits * KNN_UNIT_BYTES, MADV_HUGEPAGE);
#endif
}

static void
attach_memory(void)
{
	char	   *control;
	char	   *units;
	bool		found;

	if (previous_startup)
		previous_startup();
	if (units_configured() == 0)
		return;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	control = ShmemInitStruct("knn cache control", control_size(), &found);
	units = ShmemInitStruct("knn cache", units_size(), &found);
	KnnCache = (KnnCacheArea *) control;
	control += CACHELINEALIGN(sizeof(KnnCacheArea));
	KnnMirrors = (KnnMirror *) control;
	control += CACHELINEALIGN(sizeof(KnnMirror) * mirrors_configured());
	KnnCacheBackends = (KnnCacheBackend *) control;
	control += CACHELINEALIGN(sizeof(KnnCacheBackend) * MaxBackends);
	KnnUnitNext = (uint32 *) control;
	KnnUnitBase = (char *) TYPEALIGN(HUGE_PAGE, units);
	if (!found)
	{
		init_control();
		advise_huge_pages();
	}
	LWLockRelease(AddinShmemInitLock);
}

void
KnnCacheAreaInit(void)
{
	previous_request = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = attach_memory;
}

/* ---- backends ---- */

static KnnCacheBackend *mine = NULL;

/* The next backend with this number must not find pins or a report of this one. */
static void
leave(int code, Datum arg)
{
	for (int i = 0; i < KNN_PINS; i++)
		pg_atomic_write_u32(&mine->pins[i], 0);
	KnnProgressEnd();
	mine = NULL;
}

KnnCacheBackend *
KnnCacheMine(void)
{
	if (mine == NULL && KnnCache != NULL && MyProc != NULL &&
		KnnMyProcNumber() < (int) KnnCache->nbackends)
	{
		mine = &KnnCacheBackends[KnnMyProcNumber()];
		on_shmem_exit(leave, (Datum) 0);
	}
	return mine;
}

void
KnnCacheRequire(void)
{
	if (KnnCache == NULL && !process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the native memory cache of knn is not available"),
				 knn_cache_size == 0 ?
				 errdetail("The setting knn.cache_size is 0.") :
				 errdetail("The library was not loaded at server start."),
				 errhint("Set shared_preload_libraries = 'knn' and knn.cache_size in postgresql.conf, and restart the server. "
						 "Searches work without it, through shared_buffers.")));
}

/* ---- units ---- */

uint32
KnnUnitTake(void)
{
	uint32		unit = KnnCache->free_unit;

	Assert(LWLockHeldByMeInMode(KnnCache->lock, LW_EXCLUSIVE));
	if (unit != KNN_NO_UNIT)
		KnnCache->free_unit = KnnUnitNext[unit];
	else if (KnnCache->untouched < KnnCache->nunits)
		unit = KnnCache->untouched++;
	else
		return KNN_NO_UNIT;
	KnnUnitNext[unit] = KNN_NO_UNIT;
	KnnCache->nused++;
	return unit;
}

void
KnnUnitGive(uint32 unit)
{
	Assert(LWLockHeldByMeInMode(KnnCache->lock, LW_EXCLUSIVE));
	KnnUnitNext[unit] = KnnCache->free_unit;
	KnnCache->free_unit = unit;
	KnnCache->nused--;
}
