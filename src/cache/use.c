/*
 * use.c
 *		How much and when mirrors are searched, for eviction and statistics.
 *
 * A search writes no memory that others write: each backend notes its searches of
 * the mirrors it used lately in its own line of the area, and adds them to a mirror
 * when it needs the place for another one.  Whoever wants to know sums up.  A place
 * stays as it is when its backend ends, and is taken over by the next one with the
 * same number.
 */
#include "postgres.h"

#include "cache/mirror.h"

#include "access/xact.h"
#include "utils/timestamp.h"

static void
raise_last_use(KnnMirror *mirror, uint64 last)
{
	uint64		before = pg_atomic_read_u64(&mirror->last_use);

	while (before < last &&
		   !pg_atomic_compare_exchange_u64(&mirror->last_use, &before, last))
		;
}

/* Empty a place; its searches go to the mirror, if that is still the same. */
static void
hand_over(KnnNotedUse *use)
{
	uint32		number = pg_atomic_read_u32(&use->mirror);
	KnnMirror  *mirror;

	if (number == 0)
		return;
	mirror = &KnnMirrors[number - 1];
	/* seen twice for a moment would be worse than not at all */
	pg_atomic_write_u32(&use->mirror, 0);
	pg_write_barrier();
	if (pg_atomic_read_u64(&mirror->generation) != pg_atomic_read_u64(&use->generation))
		return;
	pg_atomic_fetch_add_u64(&mirror->searches, pg_atomic_read_u64(&use->searches));
	raise_last_use(mirror, pg_atomic_read_u64(&use->last));
}

void
KnnMirrorNoteUse(const KnnMirrorView *view)
{
	static uint32 next = 0;
	KnnCacheBackend *mine = KnnCacheMine();
	uint32		number = (uint32) (view->mirror - KnnMirrors) + 1;
	KnnNotedUse *use;

	for (int i = 0; i < KNN_NOTED_USES; i++)
	{
		use = &mine->uses[i];
		if (pg_atomic_read_u32(&use->mirror) == number &&
			pg_atomic_read_u64(&use->generation) == view->generation)
		{
			pg_atomic_write_u64(&use->searches, pg_atomic_read_u64(&use->searches) + 1);
			pg_atomic_write_u64(&use->last, (uint64) GetCurrentStatementStartTimestamp());
			return;
		}
	}
	use = &mine->uses[next++ % KNN_NOTED_USES];
	hand_over(use);
	pg_atomic_write_u64(&use->generation, view->generation);
	pg_atomic_write_u64(&use->searches, 1);
	pg_atomic_write_u64(&use->last, (uint64) GetCurrentStatementStartTimestamp());
	pg_write_barrier();
	pg_atomic_write_u32(&use->mirror, number);
}

void
KnnMirrorTouch(KnnMirror *mirror)
{
	raise_last_use(mirror, (uint64) GetCurrentTimestamp());
}

TimestampTz
KnnMirrorUseOf(KnnMirror *mirror, uint64 *searches)
{
	uint32		number = (uint32) (mirror - KnnMirrors) + 1;
	uint64		generation = pg_atomic_read_u64(&mirror->generation);
	uint64		last = pg_atomic_read_u64(&mirror->last_use);
	uint64		sum = pg_atomic_read_u64(&mirror->searches);

	for (uint32 b = 0; b < KnnCache->nbackends; b++)
	{
		for (int i = 0; i < KNN_NOTED_USES; i++)
		{
			KnnNotedUse *use = &KnnCacheBackends[b].uses[i];

			if (pg_atomic_read_u32(&use->mirror) != number)
				continue;
			pg_read_barrier();
			if (pg_atomic_read_u64(&use->generation) != generation)
				continue;
			sum += pg_atomic_read_u64(&use->searches);
			last = Max(last, pg_atomic_read_u64(&use->last));
		}
	}
	if (searches)
		*searches = sum;
	return (TimestampTz) last;
}
