/*
 * counters.c
 *		Counting; see counters.h.
 */
#include "postgres.h"

#include "cache/counters.h"

#include "access/xact.h"
#include "cache/area.h"
#include "catalog/index.h"
#include "commands/progress.h"
#include "miscadmin.h"
#include "utils/backend_status.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

static inline void
count(KnnCacheBackend *mine, KnnCounter counter, uint64 by)
{
	pg_atomic_uint64 *n = &mine->counters.n[counter];

	/* nobody else writes it, so that no atomic addition is needed */
	pg_atomic_write_u64(n, pg_atomic_read_u64(n) + by);
}

void
KnnCount(KnnCounter counter, uint64 by)
{
	KnnCacheBackend *mine = KnnCacheMine();

	if (mine)
		count(mine, counter, by);
}

void
KnnCountError(KnnCounter counter)
{
	if (geterrcode() != ERRCODE_QUERY_CANCELED)
		KnnCount(counter, 1);
}

void
KnnCountSearch(void)
{
	static TimestampTz last_statement = 0;
	KnnCacheBackend *mine = KnnCacheMine();
	TimestampTz statement = GetCurrentStatementStartTimestamp();

	if (mine == NULL)
		return;
	if (statement != last_statement)
	{
		last_statement = statement;
		count(mine, KNN_COUNT_KNN_QUERY, 1);
	}
	count(mine, KNN_COUNT_GRAPH_QUERY, 1);
}

void
KnnCountQuery(bool hit)
{
	KnnCountSearch();
	KnnCount(hit ? KNN_COUNT_HIT : KNN_COUNT_MISS, 1);
}

/*
 * Is this a rebuild?  REINDEX tells it to who asks, but for REINDEX CONCURRENTLY,
 * which builds an index of its own: that is only known from the progress report.
 */
KnnBuildKind
KnnBuildKindOf(Relation index)
{
	if (ReindexIsProcessingIndex(RelationGetRelid(index)))
		return KNN_BUILD_MERGE;
	if (MyBEEntry == NULL || MyBEEntry->st_progress_command != PROGRESS_COMMAND_CREATE_INDEX)
		return KNN_BUILD_FLUSH;
	switch (MyBEEntry->st_progress_param[PROGRESS_CREATEIDX_COMMAND])
	{
		case PROGRESS_CREATEIDX_COMMAND_REINDEX:
		case PROGRESS_CREATEIDX_COMMAND_REINDEX_CONCURRENTLY:
			return KNN_BUILD_MERGE;
		default:
			return KNN_BUILD_FLUSH;
	}
}

void
KnnCountBuild(Relation index, uint64 time, uint64 rows, uint64 bytes)
{
	KnnCount(KNN_COUNT_BUILD, 1);
	KnnCount(KNN_COUNT_BUILD_TIME, time);
	KnnCount(KNN_COUNT_BUILD_ROWS, rows);
	if (KnnBuildKindOf(index) == KNN_BUILD_MERGE)
	{
		KnnCount(KNN_COUNT_REBUILD, 1);
		KnnCount(KNN_COUNT_REBUILD_TIME, time);
		KnnCount(KNN_COUNT_REBUILD_ROWS, rows);
		KnnCount(KNN_COUNT_REBUILD_BYTES, bytes);
	}
}

void
KnnNoteRemoteBuild(KnnBuildKind kind, uint64 vectors, uint64 bytes)
{
	KnnCacheBackend *mine = KnnCacheMine();

	if (mine == NULL)
		return;
	pg_atomic_write_u32(&mine->remote_build.pid, (uint32) MyProcPid);
	pg_atomic_write_u64(&mine->remote_build.vectors, vectors);
	pg_atomic_write_u64(&mine->remote_build.bytes, bytes);
	pg_write_barrier();
	pg_atomic_write_u32(&mine->remote_build.kind, kind);
}

uint64
KnnRemoteBuildVectors(int pid)
{
	for (uint32 b = 0; KnnCache != NULL && b < KnnCache->nbackends; b++)
	{
		KnnRemoteBuildNote *note = &KnnCacheBackends[b].remote_build;

		if (pg_atomic_read_u32(&note->kind) == KNN_BUILD_NONE)
			continue;
		pg_read_barrier();
		if (pg_atomic_read_u32(&note->pid) == (uint32) pid)
			return pg_atomic_read_u64(&note->vectors);
	}
	return 0;
}

void
KnnRemoteBuildsCount(KnnRemoteBuildsNow *now)
{
	memset(now, 0, sizeof(KnnRemoteBuildsNow));
	if (KnnCache == NULL)
		return;
	for (uint32 b = 0; b < KnnCache->nbackends; b++)
	{
		KnnRemoteBuildNote *note = &KnnCacheBackends[b].remote_build;
		uint32		kind = pg_atomic_read_u32(&note->kind);
		uint64		bytes;

		pg_read_barrier();
		bytes = pg_atomic_read_u64(&note->bytes);
		if (kind == KNN_BUILD_FLUSH)
		{
			now->flushes++;
			now->flush_bytes += bytes;
		}
		else if (kind == KNN_BUILD_MERGE)
		{
			now->merges++;
			now->merge_bytes += bytes;
		}
	}
}

static void
sum_all(uint64 *sums)
{
	memset(sums, 0, sizeof(uint64) * KNN_NCOUNTERS);
	for (uint32 b = 0; b < KnnCache->nbackends; b++)
	{
		for (int i = 0; i < KNN_NCOUNTERS; i++)
			sums[i] += pg_atomic_read_u64(&KnnCacheBackends[b].counters.n[i]);
	}
}

void
KnnCountersSum(uint64 *sums)
{
	memset(sums, 0, sizeof(uint64) * KNN_NCOUNTERS);
	if (KnnCache == NULL)
		return;
	sum_all(sums);
	for (int i = 0; i < KNN_NCOUNTERS; i++)
		sums[i] -= pg_atomic_read_u64(&KnnCache->reset_base.n[i]);
}

void
KnnCountersReset(void)
{
	uint64		sums[KNN_NCOUNTERS];

	if (KnnCache == NULL)
		return;
	LWLockAcquire(KnnCache->lock, LW_EXCLUSIVE);
	sum_all(sums);
	for (int i = 0; i < KNN_NCOUNTERS; i++)
		pg_atomic_write_u64(&KnnCache->reset_base.n[i], sums[i]);
	KnnCache->reset_at = GetCurrentTimestamp();
	LWLockRelease(KnnCache->lock);
}
