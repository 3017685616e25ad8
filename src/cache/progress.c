/*
 * progress.c
 *		Progress reports in shared memory; see progress.h.
 */
#include "postgres.h"

#include "cache/progress.h"

#include "access/xact.h"
#include "cache/area.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

/* Is a report of this backend under way? */
static bool reporting = false;

static void
begin_change(KnnProgress *mine)
{
	pg_atomic_write_u32(&mine->version, pg_atomic_read_u32(&mine->version) + 1);
	pg_write_barrier();
}

static void
end_change(KnnProgress *mine)
{
	pg_write_barrier();
	pg_atomic_write_u32(&mine->version, pg_atomic_read_u32(&mine->version) + 1);
}

static void
end_with_transaction(XactEvent event, void *arg)
{
	if (reporting && (event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT))
		KnnProgressEnd();
}

void
KnnProgressStart(const char *command, Oid relid, const char *phase, uint64 total)
{
	static bool registered = false;
	KnnCacheBackend *mine = KnnCacheMine();
	KnnProgress *progress;

	if (mine == NULL)
		return;
	if (!registered)
	{
		RegisterXactCallback(end_with_transaction, NULL);
		registered = true;
	}
	progress = &mine->progress;
	begin_change(progress);
	progress->pid = MyProcPid;
	progress->database = MyDatabaseId;
	progress->role = GetUserId();
	progress->relation = relid;
	strlcpy(progress->command, command, sizeof(progress->command));
	strlcpy(progress->phase, phase, sizeof(progress->phase));
	progress->started = GetCurrentTimestamp();
	progress->total = total;
	progress->done = 0;
	end_change(progress);
	reporting = true;
}

void
KnnProgressPhase(const char *phase, uint64 total)
{
	KnnProgress *progress;

	if (!reporting)
		return;
	progress = &KnnCacheMine()->progress;
	begin_change(progress);
	strlcpy(progress->phase, phase, sizeof(progress->phase));
	progress->total = total;
	progress->done = 0;
	end_change(progress);
}

void
KnnProgressUpdate(uint64 done)
{
	KnnProgress *progress;

	if (!reporting)
		return;
	progress = &KnnCacheMine()->progress;
	begin_change(progress);
	progress->done = done;
	end_change(progress);
}

void
KnnProgressEnd(void)
{
	KnnProgress *progress;

	if (!reporting)
		return;
	progress = &KnnCacheMine()->progress;
	begin_change(progress);
	progress->pid = 0;
	end_change(progress);
	reporting = false;
}

bool
KnnProgressRead(uint32 backend, KnnProgress *out)
{
	KnnProgress *progress = &KnnCacheBackends[backend].progress;

	for (int tries = 0; tries < 1000; tries++)
	{
		uint32		version = pg_atomic_read_u32(&progress->version);

		pg_read_barrier();
		memcpy(out, progress, sizeof(KnnProgress));
		pg_read_barrier();
		if (version % 2 == 0 && pg_atomic_read_u32(&progress->version) == version)
			return out->pid != 0;
	}
	return false;
}
