/*
 * cache_views.c
 *		What the views knn_stat, knn_cache and knn_progress show, and
 *		knn_stats_reset().
 *
 * The views add names to what these functions return.  Without a cache there is one
 * row of zeroes, and no row, respectively.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "api/cache_state.h"
#include "cache/area.h"
#include "cache/progress.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_stat_counters);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_cache_entries);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_progress_reports);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_stats_reset);

#define STAT_COLUMNS 27
#define CACHE_COLUMNS 11
#define PROGRESS_COLUMNS 9

/* A time, or NULL. */
static Datum
time_or_null(TimestampTz time, bool *isnull)
{
	*isnull = time == 0;
	return TimestampTzGetDatum(time);
}

static double
milliseconds(uint64 nanoseconds)
{
	return nanoseconds / 1e6;
}

/* In the order of the columns of knn_stat. */
Datum
knn_stat_counters(PG_FUNCTION_ARGS)
{
	static const KnnCounter counts[] = {
		KNN_COUNT_HIT, KNN_COUNT_MISS, KNN_COUNT_LOAD_SUCCESS, KNN_COUNT_LOAD_EXCEPTION,
		KNN_COUNT_LOAD_BYTES, KNN_COUNT_EVICTION, KNN_COUNT_REFRESH,
		KNN_COUNT_KNN_QUERY, KNN_COUNT_GRAPH_QUERY, KNN_COUNT_GRAPH_QUERY_ERROR,
		KNN_COUNT_GRAPH_INDEX, KNN_COUNT_GRAPH_INDEX_ERROR, KNN_COUNT_BREAKER_REJECT,
		KNN_COUNT_BUILD, KNN_COUNT_REBUILD, KNN_COUNT_BUILD_ERROR, KNN_COUNT_BUILD_ROWS
	};
	Datum		values[STAT_COLUMNS];
	bool		nulls[STAT_COLUMNS] = {0};
	KnnCacheState state;
	TupleDesc	tupdesc;
	int			n = 0;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (tupdesc->natts != STAT_COLUMNS)
		elog(ERROR, "return type has %d columns, expected %d", tupdesc->natts, STAT_COLUMNS);
	KnnCacheStateRead(&state);

	values[n++] = BoolGetDatum(state.enabled);
	values[n++] = Int64GetDatum((int64) state.size);
	values[n++] = Int64GetDatum((int64) state.limit);
	values[n++] = Int64GetDatum((int64) state.used);
	values[n++] = BoolGetDatum(state.triggered);
	values[n++] = BoolGetDatum(state.capacity_reached);
	values[n++] = Int64GetDatum(state.nentries);
	for (int i = 0; i < lengthof(counts); i++)
		values[n++] = Int64GetDatum((int64) state.counters[counts[i]]);
	values[n++] = Float8GetDatum(milliseconds(state.counters[KNN_COUNT_LOAD_TIME]));
	values[n++] = Float8GetDatum(milliseconds(state.counters[KNN_COUNT_BUILD_TIME]));
	values[n] = time_or_null(state.reset_at, &nulls[n]);
	Assert(n == STAT_COLUMNS - 1);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

Datum
knn_cache_entries(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	KnnCacheState state;

	InitMaterializedSRF(fcinfo, 0);
	KnnCacheStateRead(&state);
	for (int i = 0; i < state.nentries; i++)
	{
		const KnnCacheEntry *entry = &state.entries[i];
		Datum		values[CACHE_COLUMNS];
		bool		nulls[CACHE_COLUMNS] = {0};
		int			n = 0;

		values[n++] = ObjectIdGetDatum(entry->database);
		values[n++] = ObjectIdGetDatum(entry->index);
		values[n++] = CStringGetTextDatum(entry->state);
		values[n++] = Int64GetDatum((int64) entry->bytes);
		values[n++] = Int64GetDatum(entry->nodes);
		values[n++] = Int64GetDatum((int64) entry->searches);
		values[n] = time_or_null(entry->last_use, &nulls[n]);
		n++;
		values[n] = time_or_null(entry->loaded_at, &nulls[n]);
		n++;
		nulls[n] = entry->loaded_at == 0;
		values[n++] = Float8GetDatum(milliseconds(entry->load_time));
		nulls[n] = entry->loader == 0;
		values[n++] = Int32GetDatum(entry->loader);
		values[n++] = BoolGetDatum(entry->standby);
		Assert(n == CACHE_COLUMNS);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
knn_progress_reports(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (uint32 b = 0; KnnCache != NULL && b < KnnCache->nbackends; b++)
	{
		KnnProgress progress;
		Datum		values[PROGRESS_COLUMNS];
		bool		nulls[PROGRESS_COLUMNS] = {0};
		int			n = 0;

		if (!KnnProgressRead(b, &progress))
			continue;
		values[n++] = Int32GetDatum(progress.pid);
		values[n++] = ObjectIdGetDatum(progress.database);
		values[n++] = ObjectIdGetDatum(progress.role);
		values[n++] = ObjectIdGetDatum(progress.relation);
		values[n++] = CStringGetTextDatum(progress.command);
		values[n++] = CStringGetTextDatum(progress.phase);
		values[n++] = Int64GetDatum((int64) progress.done);
		nulls[n] = progress.total == 0;
		values[n++] = Int64GetDatum((int64) progress.total);
		values[n++] = TimestampTzGetDatum(progress.started);
		Assert(n == PROGRESS_COLUMNS);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
knn_stats_reset(PG_FUNCTION_ARGS)
{
	KnnCacheRequire();
	KnnCountersReset();
	PG_RETURN_VOID();
}
