/*
 * cache_worker.c
 *		The background worker that looks after the native memory cache.
 *
 * Every few seconds, and when the configuration is reloaded, it removes indexes
 * that have expired or that a lowered limit has no room for, frees what was in use
 * when it was removed, and resets the circuit breaker.  It connects to no database
 * and reads no pages; when it is not there, the same is done whenever an index is
 * loaded or removed, but for expiry.
 */
#include "postgres.h"

#include "worker/cache_worker.h"

#include "cache/evict.h"
#include "cache/settings.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

#define PERIOD_MS 5000
#define RESTART_SECONDS 5

void
knn_cache_worker_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();

	while (!ShutdownRequestPending)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 PERIOD_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		KnnCacheMaintain();
	}
	/* started again, unless it is the server that stops: with 0 it would not be */
	proc_exit(1);
}

void
KnnCacheWorkerInit(void)
{
	BackgroundWorker worker = {0};

	/* without a cache there is nothing to look after */
	if (knn_cache_size == 0)
		return;
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_PostmasterStart;
	worker.bgw_restart_time = RESTART_SECONDS;
	strlcpy(worker.bgw_library_name, "knn", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "knn_cache_worker_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "knn cache", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "knn cache", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}
