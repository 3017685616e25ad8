/*
 * cache.c
 *		The speed of loading an index into its cache from shared buffers, and the
 *		first queries that find it there or not.
 */
#include "cache.h"
#include "fail.h"
#include "load.h"
#include "prepare.h"
#include "results.h"
#include "sweep.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_QUERIES 3

static void
add(const dataset_t *set, const system_t *s, const char *at, int rep, const char *metric,
	double value)
{
	result_add(set->name, s->name, "cache", at, rep, metric, value);
	fprintf(stderr, "%-12s cache %s: %s %.6g\n", s->name, at, metric, value);
}

static void
warmup(PGconn *conn, const system_t *s, const dataset_t *set, const char *table, int rep)
{
	double		seconds,
				cpu,
				bytes;
	char	   *index = index_of(conn, table);
	double		index_bytes = server_number(conn, "SELECT pg_relation_size('%s')", index);

	unprepare_index(conn, s, set, table);
	cpu = server_cpu_seconds(conn);
	seconds = prepare_index(conn, s, set, table);
	cpu = server_cpu_seconds(conn) - cpu;
	if (isnan(seconds))
		die("system \"%s\": its index could not be loaded a second time", s->name);
	bytes = prepared_bytes(conn, s, set, table);
	add(set, s, "warmup", rep, "seconds", seconds);
	add(set, s, "warmup", rep, "cpu_seconds", cpu);
	add(set, s, "warmup", rep, "index_bytes", index_bytes);

	/* Where nobody tells what the cache holds, what was read for it counts. */
	if (bytes > 0)
		add(set, s, "warmup", rep, "cache_bytes", bytes);
	else
		bytes = index_bytes;
	add(set, s, "warmup", rep, "gb_per_second", bytes / 1e9 / seconds);
	free(index);
}

/* The first queries of a connection that has its plan already. */
static void
first_queries(const system_t *s, const dataset_t *set, const char *table, size_t k, bool prepared,
			  int rep, PGconn *control, const char *conninfo)
{
	search_t	search;

	search_open(&search, s, set, table, k, 1, conninfo);
	search_at(&search, s->sweep_values[s->nsweep / 2]);
	if (prepared)
		(void) prepare_index(control, s, set, table);
	else
		unprepare_index(control, s, set, table);
	for (int i = 0; i < FIRST_QUERIES; i++)
	{
		char	   *metric = format_string("query_%d_us", i + 1);

		add(set, s, prepared ? "loaded" : "empty", rep, metric,
			1e6 * search_one(&search, (size_t) i % set->query.rows));
		free(metric);
	}
	search_close(&search);
}

void
cache_run(const system_t *systems, int n, const dataset_t *set, size_t k, int reps,
		  const char *conninfo)
{
	bool	   *chosen = alloc_array((size_t) n, sizeof(*chosen));
	bool		any = false;

	for (int i = 0; i < n; i++)
	{
		const system_t *s = &systems[i];
		PGconn	   *conn = server_connect(s, conninfo);
		char	   *table = table_name(s, set);

		chosen[i] = can_prepare(conn, s, set, table);
		any |= chosen[i];
		if (chosen[i])
		{
			search_t	search;

			/* Every page into shared buffers, so that no disk is measured. */
			unprepare_index(conn, s, set, table);
			(void) prepare_index(conn, s, set, table);
			search_open(&search, s, set, table, k, 1, conninfo);
			search_at(&search, s->sweep_values[s->nsweep - 1]);
			(void) search_warm(&search, set->query.rows);
			search_close(&search);
		}
		free(table);
		PQfinish(conn);
	}
	if (!any)
		warn("the test cache is passed over: no system has a prepare and an unprepare that work");
	for (int rep = 0; rep < reps; rep++)
		for (int i = 0; i < n; i++)
			if (chosen[i])
			{
				PGconn	   *conn = server_connect(&systems[i], conninfo);
				char	   *table = table_name(&systems[i], set);

				warmup(conn, &systems[i], set, table, rep);
				first_queries(&systems[i], set, table, k, true, rep, conn, conninfo);
				first_queries(&systems[i], set, table, k, false, rep, conn, conninfo);
				free(table);
				PQfinish(conn);
			}
	free(chosen);
}
