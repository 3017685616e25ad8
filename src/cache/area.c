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
#include "storage/pg_shmem.h"
#include "storage/proc.h"
#include "storage/shmem.h"

KnnCacheArea *KnnCache = NULL;
KnnMirror  *KnnMirrors = NULL;
KnnCacheBackend *KnnCacheBackends = NULL;
char	   *KnnUnitBase = NULL;
uint32	   *KnnUnitNext = NULL;

static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;

#ifdef EXEC_BACKEND
#error "the cache of knn needs children that inherit memory mappings"
#endif

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

static void
request_memory(void)
{
	if (previous_request)
		previous_request();
	if (units_configured() == 0)
		return;
	RequestAddinShmemSpace(control_size());
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
		for (int i = 0; i < KNN_NOTED_USES; i++)
		{
			pg_atomic_init_u32(&backend->uses[i].mirror, 0);
			pg_atomic_init_u64(&backend->uses[i].generation, 0);
			pg_atomic_init_u64(&backend->uses[i].searches, 0);
			pg_atomic_init_u64(&backend->uses[i].last, 0);
		}
		for (int i = 0; i < KNN_NCOUNTERS; i++)
			pg_atomic_init_u64(&backend->counters.n[i], 0);
		pg_atomic_init_u32(&backend->remote_build.kind, KNN_BUILD_NONE);
		pg_atomic_init_u32(&backend->remote_build.pid, 0);
		pg_atomic_init_u64(&backend->remote_build.vectors, 0);
		pg_atomic_init_u64(&backend->remote_build.bytes, 0);
		pg_atomic_init_u32(&backend->progress.version, 0);
	}
	KnnMirrorsInit();
}

/*
 * Map the memory of the units.  Large pages save a search most of its address
 * translations (a tenth of its time), so the units do not lie in the server's own
 * shared memory: the kernel can only back memory with large pages without being
 * told at boot when the mapping begins at a multiple of their size.  Pages that
 * were reserved at boot are used as huge_pages says; otherwise the kernel is
 * advised.  Children inherit the mapping, and it is kept when the server starts
 * over after a crash.
 */
static char *
map_units(void)
{
	static char *mapped = NULL;
	Size		size = TYPEALIGN(HUGE_PAGE, (Size) units_configured() * KNN_UNIT_BYTES);
	char	   *reserved;
	char	   *start;
	void	   *at = MAP_FAILED;

	if (mapped)
		return mapped;
	/* a place that is aligned: reserve more, and map over a part of it */
	reserved = mmap(NULL, size + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (reserved == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not reserve %zu bytes of addresses for the cache of knn: %m", size)));
	start = (char *) TYPEALIGN(HUGE_PAGE, reserved);
#ifdef MAP_HUGETLB
	if (huge_pages == HUGE_PAGES_ON || huge_pages == HUGE_PAGES_TRY)
		at = mmap(start, size, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED | MAP_HUGETLB, -1, 0);
#endif
	if (at == MAP_FAILED)
	{
		at = mmap(start, size, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		if (at == MAP_FAILED)
			ereport(FATAL,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("could not map %zu bytes for the cache of knn: %m", size),
					 errhint("Reduce knn.cache_size.")));
#ifdef MADV_HUGEPAGE
		(void) madvise(start, size, MADV_HUGEPAGE);
#endif
	}
	if (start > reserved)
		(void) munmap(reserved, start - reserved);
	(void) munmap(start + size, reserved + HUGE_PAGE - start);
	mapped = start;
	return mapped;
}

static void
attach_memory(void)
{
	char	   *control;
	bool		found;

	if (previous_startup)
		previous_startup();
	if (units_configured() == 0)
		return;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	control = ShmemInitStruct("knn cache control", control_size(), &found);
	KnnCache = (KnnCacheArea *) control;
	control += CACHELINEALIGN(sizeof(KnnCacheArea));
	KnnMirrors = (KnnMirror *) control;
	control += CACHELINEALIGN(sizeof(KnnMirror) * mirrors_configured());
	KnnCacheBackends = (KnnCacheBackend *) control;
	control += CACHELINEALIGN(sizeof(KnnCacheBackend) * MaxBackends);
	KnnUnitNext = (uint32 *) control;
	KnnUnitBase = map_units();
	if (!found)
		init_control();
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
