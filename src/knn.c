/*
 * knn.c
 *		Module entry point: magic block and load-time initialisation.
 *
 * Everything a layer needs at load time is called from here, lowest layer
 * first, so that the order of initialisation can be read in one place.
 */
#include "postgres.h"

#include "fmgr.h"

#include "am/options.h"
#include "am/plan.h"
#include "cache/area.h"
#include "cache/evict.h"
#include "cache/settings.h"
#include "job/remote_settings.h"
#include "job/settings.h"
#include "miscadmin.h"
#include "model/source.h"
#include "worker/cache_worker.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	bool		preloaded = process_shared_preload_libraries_in_progress;

	KnnCacheSettingsInit(preloaded);
	KnnJobSettingsInit();
	KnnRemoteSettingsInit(preloaded);
	if (preloaded)
	{
		KnnCacheAreaInit();
		KnnCacheWatchDrops();
		KnnCacheWorkerInit();
	}
	KnnOptionsInit();
	KnnPlanInit();
	KnnModelSourceInit();
}
