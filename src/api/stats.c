/*
 * stats.c
 *		knn_stats(names): statistics in the shape and by the names of OpenSearch.
 *
 * One server is a cluster of one node, whose id is the cluster's system identifier.
 * What OpenSearch counts and this extension has nothing of is there as zero, so
 * that dashboards made for one work with the other; docs/cache.md tells which.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "am/hnsw.h"
#include "api/cache_state.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_type_d.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/progress.h"
#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "type/knn_vector.h"
#include "utils/array.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_stats);

/* Writes the value of a statistic as JSON. */
typedef struct Stat Stat;
typedef void (*stat_function) (StringInfo json, const Stat *stat, const KnnCacheState *state);

struct Stat
{
	const char *name;
	stat_function write;
	KnnCounter	counter;		/* of those that are just a counter */
};

/* ---- values ---- */

static void
write_uint(StringInfo json, uint64 value)
{
	appendStringInfo(json, UINT64_FORMAT, value);
}

static void
write_bool(StringInfo json, bool value)
{
	appendStringInfoString(json, value ? "true" : "false");
}

static void
write_kilobytes(StringInfo json, uint64 bytes)
{
	write_uint(json, bytes / 1024);
}

static void
write_percentage(StringInfo json, const KnnCacheState *state, uint64 bytes)
{
	appendStringInfo(json, "%.2f", KnnCachePercentage(state, bytes));
}

static void
write_time(StringInfo json, TimestampTz time)
{
	if (time == 0)
		appendStringInfoString(json, "null");
	else
		escape_json(json, DatumGetCString(DirectFunctionCall1(timestamptz_out,
															   TimestampTzGetDatum(time))));
}

/* "name": , after a comma unless it is the first of its object */
static void
write_key(StringInfo json, const char *name)
{
	char		last = json->data[json->len - 1];

	if (last != '{')
		appendStringInfoString(json, ", ");
	escape_json(json, name);
	appendStringInfoString(json, ": ");
}

static void
write_member(StringInfo json, const char *name, uint64 value)
{
	write_key(json, name);
	write_uint(json, value);
}

/* A member of an object, and its counter. */
typedef struct Counted
{
	const char *name;
	KnnCounter	counter;
} Counted;

/* "name": {...}, of counters. */
static void
write_counted(StringInfo json, const char *name, const Counted *members, int nmembers,
			  const uint64 *counters)
{
	write_key(json, name);
	appendStringInfoChar(json, '{');
	for (int i = 0; i < nmembers; i++)
		write_member(json, members[i].name, counters[members[i].counter]);
	appendStringInfoChar(json, '}');
}

/* ---- statistics of a kind ---- */

static void
counter(StringInfo json, const Stat *stat, const KnnCacheState *state)
{
	write_uint(json, state->counters[stat->counter]);
}

/* Of something that does not exist here. */
static void
zero(StringInfo json, const Stat *stat, const KnnCacheState *state)
{
	write_uint(json, 0);
}

static void
not_there(StringInfo json, const Stat *stat, const KnnCacheState *state)
{
	write_bool(json, false);
}

static void
unknown(StringInfo json, const Stat *stat, const KnnCacheState *state)
{
	appendStringInfoString(json, "null");
}

/* ---- the cache ---- */

static void
circuit_breaker_triggered(StringInfo json, const Stat *stat, const KnnCacheState *state)
{
	write_bool(json, state->triggered);
}

static void
cache_capacity_reached(StringInfo json, const Stat *stat, const KnnCacheState *state)
{
	write_bool(json, state->capacity_reached);
}

static void
cache_enabled(StringInfo json, const Stat *stat, const KnnCacheState *state)
{
	write_bool(json, state->enabled);
}

static void
cache_size(StringInfo json, const Stat *stat, const KnnCacheState *state)
{
	write_kilobytes(json, state->size);
}

static void
cache_limit(StringInfo json, const Stat *stat, const KnnCacheState *state)
{
	write_kilobytes(json, state->limit);
}

static void
graph_memory_usage(StringInfo json, const Stat *stat, const KnnCacheState *state)
{
	write_kilobytes(json, state->used);
}

static void
graph_memory_usage_percentage(StringInfo json, const Stat *stat, const KnnCacheState *state)
{
	write_percentage(json, state, state->used);
}

static void
stats_reset(StringInfo json, const Stat *stat, const KnnCacheState *state)
{
	write_time(json, state->reset_at);
}

static void
write_graphs(StringInfo json, const KnnCacheState *state, uint64 bytes, int count)
{
	appendStringInfoChar(json, '{');
	write_key(json, "graph_memory_usage");
	write_kilobytes(json, bytes);
	write_key(json, "graph_memory_usage_percentage");
	write_percentage(json, state, bytes);
	write_member(json, "graph_count", count);
	appendStringInfoChar(json, '}');
}

/* Of this database; names of others cannot be looked up. */
static void
indices_in_cache(StringInfo json, const Stat *stat, const KnnCacheState *state)
{
	appendStringInfoChar(json, '{');
	for (int i = 0; i < state->nentries; i++)
	{
		const KnnCacheEntry *entry = &state->entries[i];
		char	   *name;
		char	   *schema;

		if (entry->database != MyDatabaseId)
			continue;
		name = get_rel_name(entry->index);
		schema = get_namespace_name(get_rel_namespace(entry->index));
		if (name == NULL || schema == NULL)
			continue;			/* dropped just now */
		write_key(json, quote_qualified_identifier(schema, name));
		write_graphs(json, state, entry->bytes, 1);
	}
	appendStringInfoChar(json, '}');
}

/* The other databases, each as a whole. */
static void
other_databases_in_cache(StringInfo json, const Stat *stat, const KnnCacheState *state)
{
	bool	   *done = palloc0(sizeof(bool) * Max(state->nentries, 1));

	appendStringInfoChar(json, '{');
	for (int i = 0; i < state->nentries; i++)
	{
		Oid			database = state->entries[i].database;
		uint64		bytes = 0;
		int			count = 0;
		char	   *name;

		if (done[i] || database == MyDatabaseId || (name = get_database_name(database)) == NULL)
			continue;
		for (int j = i; j < state->nentries; j++)
		{
			if (state->entries[j].database != database)
				continue;
			bytes += state->entries[j].bytes;
			count++;
			done[j] = true;
		}
		write_key(json, name);
		write_graphs(json, state, bytes, count);
	}
	appendStringInfoChar(json, '}');
	pfree(done);
}

/* ---- builds ---- */

/* Bytes of a vector of an index, 0 if its column does not tell. */
static uint64
vector_bytes(Oid index)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(index), Int16GetDatum(1));
	int32		typmod = -1;

	if (HeapTupleIsValid(tuple))
	{
		typmod = ((Form_pg_attribute) GETSTRUCT(tuple))->atttypmod;
		ReleaseSysCache(tuple);
	}
	if (typmod < 0)
		return 0;
	return KnnVectorDataSize(KnnTypmodDim(typmod), KnnTypmodDataType(typmod));
}

/*
 * Vectors that a rebuild is at: what it reports, unless a service builds it.  Then that is
 * bytes or seconds, and all vectors are under way.
 */
static uint64
rebuild_rows(const PgBackendStatus *backend)
{
	const int64 *params = backend->st_progress_param;
	uint64		remote = KnnRemoteBuildVectors(backend->st_procpid);

	switch (params[PROGRESS_CREATEIDX_SUBPHASE])
	{
		case KNN_HNSW_PHASE_UPLOAD:
		case KNN_HNSW_PHASE_REMOTE:
		case KNN_HNSW_PHASE_DOWNLOAD:
			return remote;
		default:
			return remote > 0 ? remote : (uint64) params[PROGRESS_CREATEIDX_TUPLES_DONE];
	}
}

/*
 * Rebuilds of this database that are under way, by what they report to
 * pg_stat_progress_create_index.
 */
static void
current_rebuilds(uint64 *count, uint64 *rows, uint64 *bytes)
{
	Oid			method = get_am_oid("knn_hnsw", true);
	int			nbackends = pgstat_fetch_stat_numbackends();

	*count = *rows = *bytes = 0;
	for (int i = 1; i <= nbackends; i++)
	{
		LocalPgBackendStatus *local = KnnBackendEntry(i);
		const PgBackendStatus *backend = local ? &local->backendStatus : NULL;
		const int64 *params = backend ? backend->st_progress_param : NULL;
		uint64		done;

		if (backend == NULL || backend->st_databaseid != MyDatabaseId ||
			backend->st_progress_command != PROGRESS_COMMAND_CREATE_INDEX ||
			(Oid) params[PROGRESS_CREATEIDX_ACCESS_METHOD_OID] != method ||
			(params[PROGRESS_CREATEIDX_COMMAND] != PROGRESS_CREATEIDX_COMMAND_REINDEX &&
			 params[PROGRESS_CREATEIDX_COMMAND] != PROGRESS_CREATEIDX_COMMAND_REINDEX_CONCURRENTLY))
			continue;
		done = rebuild_rows(backend);
		*count += 1;
		*rows += done;
		*bytes += done * vector_bytes((Oid) params[PROGRESS_CREATEIDX_INDEX_OID]);
	}
}

/* A flush is a CREATE INDEX, a merge a rebuild. */
static void
graph_stats(StringInfo json, const Stat *stat, const KnnCacheState *state)
{
	const uint64 *n = state->counters;
	uint64		current;
	uint64		rows;
	uint64		bytes;

	current_rebuilds(&current, &rows, &bytes);
	appendStringInfoChar(json, '{');
	write_key(json, "refresh");
	appendStringInfoChar(json, '{');
	write_member(json, "total", n[KNN_COUNT_BUILD] - n[KNN_COUNT_REBUILD]);
	write_member(json, "total_time_in_millis",
				 (n[KNN_COUNT_BUILD_TIME] - n[KNN_COUNT_REBUILD_TIME]) / 1000000);
	appendStringInfoChar(json, '}');
	write_key(json, "merge");
	appendStringInfoChar(json, '{');
	write_member(json, "current", current);
	write_member(json, "current_docs", rows);
	write_member(json, "current_size_in_bytes", bytes);
	write_member(json, "total", n[KNN_COUNT_REBUILD]);
	write_member(json, "total_time_in_millis", n[KNN_COUNT_REBUILD_TIME] / 1000000);
	write_member(json, "total_docs", n[KNN_COUNT_REBUILD_ROWS]);
	write_member(json, "total_size_in_bytes", n[KNN_COUNT_REBUILD_BYTES]);
	appendStringInfoString(json, "}}");
}

static void
remote_vector_index_build_stats(StringInfo json, const Stat *stat, const KnnCacheState *state)
{
	static const Counted repository[] = {
		{"read_success_count", KNN_COUNT_REMOTE_READ_SUCCESS},
		{"read_failure_count", KNN_COUNT_REMOTE_READ_FAILURE},
		{"successful_read_time_in_millis", KNN_COUNT_REMOTE_READ_TIME},
		{"write_success_count", KNN_COUNT_REMOTE_WRITE_SUCCESS},
		{"write_failure_count", KNN_COUNT_REMOTE_WRITE_FAILURE},
		{"successful_write_time_in_millis", KNN_COUNT_REMOTE_WRITE_TIME}
	};
	static const Counted client[] = {
		{"build_request_success_count", KNN_COUNT_REMOTE_REQUEST_SUCCESS},
		{"build_request_failure_count", KNN_COUNT_REMOTE_REQUEST_FAILURE},
		{"status_request_success_count", KNN_COUNT_REMOTE_STATUS_SUCCESS},
		{"status_request_failure_count", KNN_COUNT_REMOTE_STATUS_FAILURE},
		{"index_build_success_count", KNN_COUNT_REMOTE_SUCCESS},
		{"index_build_failure_count", KNN_COUNT_REMOTE_FAILURE},
		{"index_build_merge_abort_exception", KNN_COUNT_REMOTE_ABORT},
		{"index_build_terminal_exception", KNN_COUNT_REMOTE_TERMINAL},
		{"waiting_time_in_ms", KNN_COUNT_REMOTE_WAITING_TIME}
	};
	const uint64 *n = state->counters;
	KnnRemoteBuildsNow now;

	KnnRemoteBuildsCount(&now);
	appendStringInfoChar(json, '{');
	write_counted(json, "repository_stats", repository, lengthof(repository), n);
	write_counted(json, "client_stats", client, lengthof(client), n);
	write_key(json, "build_stats");
	appendStringInfoChar(json, '{');
	write_member(json, "remote_index_build_current_flush_operations", now.flushes);
	write_member(json, "remote_index_build_current_merge_operations", now.merges);
	write_member(json, "remote_index_build_current_flush_size", now.flush_bytes);
	write_member(json, "remote_index_build_current_merge_size", now.merge_bytes);
	write_member(json, "remote_index_build_flush_time_in_millis",
				 n[KNN_COUNT_REMOTE_FLUSH_TIME] / 1000000);
	write_member(json, "remote_index_build_merge_time_in_millis",
				 n[KNN_COUNT_REMOTE_MERGE_TIME] / 1000000);
	appendStringInfoString(json, "}}");
}

/* ---- all statistics ---- */

static const Stat cluster_stats[] = {
	{"circuit_breaker_triggered", circuit_breaker_triggered},
	{"model_index_status", unknown},
};

static const Stat node_stats[] = {
	{"hit_count", counter, KNN_COUNT_HIT},
	{"miss_count", counter, KNN_COUNT_MISS},
	{"load_success_count", counter, KNN_COUNT_LOAD_SUCCESS},
	{"load_exception_count", counter, KNN_COUNT_LOAD_EXCEPTION},
	{"total_load_time", counter, KNN_COUNT_LOAD_TIME},
	{"eviction_count", counter, KNN_COUNT_EVICTION},
	{"cache_capacity_reached", cache_capacity_reached},
	{"graph_memory_usage", graph_memory_usage},
	{"graph_memory_usage_percentage", graph_memory_usage_percentage},
	{"indices_in_cache", indices_in_cache},

	{"graph_query_requests", counter, KNN_COUNT_GRAPH_QUERY},
	{"graph_query_errors", counter, KNN_COUNT_GRAPH_QUERY_ERROR},
	{"graph_index_requests", counter, KNN_COUNT_GRAPH_INDEX},
	{"graph_index_errors", counter, KNN_COUNT_GRAPH_INDEX_ERROR},
	{"knn_query_requests", counter, KNN_COUNT_KNN_QUERY},
	{"knn_query_with_filter_requests", zero},
	{"min_score_query_requests", zero},
	{"min_score_query_with_filter_requests", zero},
	{"max_distance_query_requests", zero},
	{"max_distance_query_with_filter_requests", zero},

	{"script_compilations", zero},
	{"script_compilation_errors", zero},
	{"script_query_requests", zero},
	{"script_query_errors", zero},
	{"nmslib_initialized", not_there},
	{"faiss_initialized", not_there},
	{"lucene_initialized", not_there},

	{"indexing_from_model_degraded", not_there},
	{"training_requests", counter, KNN_COUNT_TRAINING},
	{"training_errors", counter, KNN_COUNT_TRAINING_ERROR},
	{"training_memory_usage", zero},
	{"training_memory_usage_percentage", zero},

	{"graph_stats", graph_stats},
	{"remote_vector_index_build_stats", remote_vector_index_build_stats},

	/* not in OpenSearch */
	{"cache_enabled", cache_enabled},
	{"cache_size", cache_size},
	{"cache_limit", cache_limit},
	{"other_databases_in_cache", other_databases_in_cache},
	{"total_load_bytes", counter, KNN_COUNT_LOAD_BYTES},
	{"refresh_count", counter, KNN_COUNT_REFRESH},
	{"rejected_index_requests", counter, KNN_COUNT_BREAKER_REJECT},
	{"index_build_errors", counter, KNN_COUNT_BUILD_ERROR},
	{"stats_reset", stats_reset},
};

/* ---- the call ---- */

/* Which statistics are asked for; no name, or "_all" alone, is all of them. */
typedef struct Wanted
{
	bool		all;
	bool		cluster[lengthof(cluster_stats)];
	bool		node[lengthof(node_stats)];
} Wanted;

static bool
want(const Stat *stats, int nstats, const char *name, bool *wanted)
{
	for (int i = 0; i < nstats; i++)
	{
		if (strcmp(stats[i].name, name) == 0)
		{
			wanted[i] = true;
			return true;
		}
	}
	return false;
}

static char *
all_names(void)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < lengthof(cluster_stats); i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", cluster_stats[i].name);
	for (int i = 0; i < lengthof(node_stats); i++)
		appendStringInfo(&names, ", %s", node_stats[i].name);
	return names.data;
}

static void
read_names(ArrayType *names, Wanted *wanted)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	wanted->all = n == 0;
	for (int i = 0; i < n; i++)
	{
		char	   *name;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("the name of a statistic must not be null")));
		name = TextDatumGetCString(elements[i]);
		if (strcmp(name, "_all") == 0)
		{
			if (n > 1)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("\"_all\" cannot be combined with names of statistics")));
			wanted->all = true;
		}
		else if (!want(cluster_stats, lengthof(cluster_stats), name, wanted->cluster) &&
				 !want(node_stats, lengthof(node_stats), name, wanted->node))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unrecognized statistic \"%s\"", name),
					 errhint("There are: %s.", all_names())));
	}
}

static void
write_stats(StringInfo json, const Stat *stats, int nstats, const bool *wanted, bool all,
			const KnnCacheState *state)
{
	for (int i = 0; i < nstats; i++)
	{
		if (!all && !wanted[i])
			continue;
		write_key(json, stats[i].name);
		stats[i].write(json, &stats[i], state);
	}
}

Datum
knn_stats(PG_FUNCTION_ARGS)
{
	Wanted		wanted = {0};
	const char *cluster_name = GetConfigOption("cluster_name", true, false);
	KnnCacheState state;
	StringInfoData json;
	char		node[32];

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of a statistic must not be null")));
	read_names(PG_GETARG_ARRAYTYPE_P(0), &wanted);
	KnnCacheStateRead(&state);

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"_nodes\": {\"total\": 1, \"successful\": 1, \"failed\": 0}");
	write_key(&json, "cluster_name");
	escape_json(&json, cluster_name ? cluster_name : "");
	write_stats(&json, cluster_stats, lengthof(cluster_stats), wanted.cluster, wanted.all, &state);
	write_key(&json, "nodes");
	snprintf(node, sizeof(node), UINT64_FORMAT, GetSystemIdentifier());
	appendStringInfoChar(&json, '{');
	write_key(&json, node);
	appendStringInfoChar(&json, '{');
	write_stats(&json, node_stats, lengthof(node_stats), wanted.node, wanted.all, &state);
	appendStringInfoString(&json, "}}}");
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}
