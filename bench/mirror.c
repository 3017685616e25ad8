/*
 * mirror.c
 *		Inserts into an index that is loaded into its cache, against inserts into
 *		the same index when it is not.
 *
 * Batches of either kind take turns on one table, in the order ABBA, for the
 * graph grows and the machine's speed drifts: what counts is the ratio within
 * a pair of batches.  The first pair is not counted; it meets the pages that
 * were not logged whole since the checkpoint.
 */
#include "mirror.h"
#include "fail.h"
#include "insert.h"
#include "load.h"
#include "prepare.h"
#include "progress.h"
#include "results.h"
#include "sweep.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MIN_PAIRS 10
#define TEST "mirror_insert"

/* How rows become transactions; the name is the CSV's. */
static const char *const variants[] = {"one_transaction", "async_commit"};
#define NVARIANTS (sizeof(variants) / sizeof(variants[0]))
#define ONE_TRANSACTION 0

typedef struct
{
	const system_t *system;
	const dataset_t *set;
	const churn_options_t *options;
	char	   *table;
	PGconn	   *conn;
	bool		bytes_known;	/* prepared_bytes tells whether it is loaded */
	bool		wal_inspected;	/* pg_walinspect tells records from page images */
	size_t		next_row;
	size_t		batch;
} mirror_t;

/* Per row. */
typedef struct
{
	double		rows_per_second;
	double		cpu_us;
	double		wal_bytes;
	double		wal_record_bytes;	/* of that, not page images; NAN if unknown */
	double		full_pages;
} cost_t;

static void
add(const mirror_t *m, const char *at, int rep, const char *kind, const char *metric, double value)
{
	char	   *name = format_string("%s%s", kind, metric);

	result_add(m->set->name, m->system->name, TEST, at, rep, name, value);
	free(name);
}

static void
switch_mirror(mirror_t *m, bool on)
{
	const system_t *s = m->system;

	if (s->bypass_name != NULL)
	{
		if (on)
			server_exec(m->conn, "RESET %s", s->bypass_name);
		else
			server_exec(m->conn, "SET %s = '%s'", s->bypass_name, s->bypass_value);
	}
	if (!on)
		unprepare_index(m->conn, s, m->set, m->table);
	else if (isnan(prepare_index(m->conn, s, m->set, m->table)))
		die("system \"%s\": its index could not be loaded a second time", s->name);
}

/* A number of the wrong kind of insert would look like any other. */
static void
check_mirror(const mirror_t *m, bool on)
{
	double		bytes;

	if (!m->bytes_known)
		return;
	bytes = prepared_bytes(m->conn, m->system, m->set, m->table);
	if (on && !(bytes > 0))
		die("system \"%s\": its index was dropped from the cache while rows were inserted",
			m->system->name);
	if (!on && bytes > 0)
		die("system \"%s\": its index was loaded into the cache while rows were inserted, in spite of unprepare and bypass",
			m->system->name);
}

/* Counters of this session reach the view only when told to (from 15 on). */
static double
full_pages(PGconn *conn)
{
	if (PQserverVersion(conn) < 150000)
		return NAN;
	server_exec(conn, "SELECT pg_stat_force_next_flush()");
	return server_number(conn, "SELECT wal_fpi FROM pg_stat_wal");
}

static cost_t
insert_batch(mirror_t *m, size_t variant)
{
	size_t		n = m->batch;
	cost_t		cost;
	double		seconds,
				cpu;
	char	   *from;

	/* Nothing of this is timed. */
	server_exec(m->conn, "SET synchronous_commit = off");
	cost.wal_record_bytes = NAN;
	cost.full_pages = -full_pages(m->conn);
	from = server_text(m->conn, "SELECT pg_current_wal_insert_lsn()");

	cpu = server_cpu_seconds(m->conn);
	seconds = -now_seconds();
	if (variant == ONE_TRANSACTION)
		server_exec(m->conn, "BEGIN");
	insert_rows(m->conn, m->system, m->set, "insert", m->next_row, n);
	if (variant == ONE_TRANSACTION)
		server_exec(m->conn, "COMMIT");
	seconds += now_seconds();
	cpu = server_cpu_seconds(m->conn) - cpu;

	cost.wal_bytes = server_number(m->conn, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '%s')",
								   from) / (double) n;
	cost.full_pages = (cost.full_pages + full_pages(m->conn)) / (double) n;
	if (m->wal_inspected)
	{
		char	   *to = server_text(m->conn, "SELECT pg_current_wal_insert_lsn()");

		/* Only what was flushed can be looked at: a commit that waits. */
		server_exec(m->conn, "SET synchronous_commit = on");
		server_exec(m->conn, "SELECT pg_logical_emit_message(true, 'knn-bench', '')");
		cost.wal_record_bytes = server_number(m->conn,
											  "SELECT sum(record_size) FROM pg_get_wal_stats('%s', '%s')",
											  from, to) / (double) n;
		free(to);
	}
	cost.rows_per_second = (double) n / seconds;
	cost.cpu_us = 1e6 * cpu / (double) n;
	m->next_row += n;
	free(from);
	return cost;
}

static void
record(const mirror_t *m, const char *at, int rep, const char *kind, cost_t c)
{
	add(m, at, rep, kind, "rows_per_second", c.rows_per_second);
	add(m, at, rep, kind, "cpu_us", c.cpu_us);
	add(m, at, rep, kind, "wal_bytes", c.wal_bytes);
	add(m, at, rep, kind, "wal_record_bytes", c.wal_record_bytes);
	add(m, at, rep, kind, "full_pages", c.full_pages);
	fprintf(stderr, "%-12s %s, %s%zu rows: %.0f rows/s, cpu %.1f us, WAL %.0f bytes (%.0f without images), %.2f images\n",
			m->system->name, at, kind, m->batch, c.rows_per_second, c.cpu_us, c.wal_bytes,
			c.wal_record_bytes, c.full_pages);
}

static void
insert_pair(mirror_t *m, size_t variant, int pair)
{
	cost_t		cost[2];

	for (int turn = 0; turn < 2; turn++)
	{
		bool		on = (turn + pair) % 2 == 0;

		switch_mirror(m, on);
		cost[on] = insert_batch(m, variant);
		check_mirror(m, on);
	}
	if (pair == 0)
		return;
	record(m, variants[variant], pair - 1, "mirror_", cost[true]);
	record(m, variants[variant], pair - 1, "plain_", cost[false]);
	add(m, variants[variant], pair - 1, "", "cpu_ratio", cost[true].cpu_us / cost[false].cpu_us);
	add(m, variants[variant], pair - 1, "", "wal_record_ratio",
		cost[true].wal_record_bytes / cost[false].wal_record_bytes);
}

/* The copy that was kept current must answer as the pages do. */
static void
compare_recall(mirror_t *m)
{
	expected_t	expected;
	search_t	search;
	double		recall[2];

	server_exec(m->conn, "ANALYZE %s", m->table);
	expected_init(&expected, m->set, m->options->k, NULL, 0, NULL);
	for (int on = 1; on >= 0; on--)
	{
		search_open(&search, m->system, m->set, m->table, m->options->k, 1, m->options->conninfo);
		if (!on && m->system->bypass_name != NULL)
			server_exec(search.conns[0], "SET %s = '%s'", m->system->bypass_name,
						m->system->bypass_value);
		search_at(&search, m->system->sweep_values[m->system->nsweep / 2]);
		recall[on] = search_pass(&search, &expected).recall;
		add(m, "after", 0, on ? "mirror_" : "plain_", "recall", recall[on]);
		search_close(&search);
	}
	fprintf(stderr, "%-12s recall through the mirror %.4f, through pages %.4f\n", m->system->name,
			recall[1], recall[0]);
	expected_free(&expected);
}

static void
load(mirror_t *m, size_t rows)
{
	create_table(m->conn, m->system, m->set, m->table);
	progress_begin("loading", rows);
	copy_begin(m->conn, m->table);
	for (size_t i = 0; i < rows; i++)
	{
		copy_row(m->conn, (int32_t) i, matrix_row(&m->set->base, i), m->set->base.dim);
		progress_at(i);
	}
	copy_end(m->conn);
	progress_end();
	server_exec(m->conn, "VACUUM (FREEZE, ANALYZE) %s", m->table);
	(void) build_index(m->conn, m->system, m->set, m->table, m->options->k);
}

static void
run(mirror_t *m, int pairs)
{
	size_t		held = m->batch * 2 * NVARIANTS * (size_t) (pairs + 1);
	char	   *text,
			   *message;

	m->next_row = m->set->base.rows - held;
	load(m, m->next_row);
	if (can_prepare(m->conn, m->system, m->set, m->table))
	{
		/* What a view shows of other caches, or not at all, is no reason to stop. */
		m->bytes_known = prepared_bytes(m->conn, m->system, m->set, m->table) > 0;
		m->wal_inspected = server_try(m->conn, "CREATE EXTENSION IF NOT EXISTS pg_walinspect",
									  &text, &message);
		free(text);
		free(message);
		insert_prepare(m->conn, m->system, "insert", m->table);
		server_exec(m->conn, "CHECKPOINT");
		for (size_t v = 0; v < NVARIANTS; v++)
			for (int pair = 0; pair <= pairs; pair++)
				insert_pair(m, v, pair);
		switch_mirror(m, true);
		compare_recall(m);
	}
	server_exec(m->conn, "DROP TABLE %s", m->table);
}

void
mirror_run(const system_t *systems, int n, const dataset_t *set, const churn_options_t *options,
		   int reps)
{
	int			pairs = reps > MIN_PAIRS ? reps : MIN_PAIRS;
	size_t		batch = options->insert_rows / (size_t) pairs;
	size_t		most = set->base.rows / 4 / (2 * NVARIANTS * (size_t) (pairs + 1));
	bool		any = false;

	/* At most a quarter of the rows is held back. */
	if (batch > most)
		batch = most;
	if (batch == 0)
		die("%s: %zu rows are too few for the test %s", set->name, set->base.rows, TEST);
	for (int i = 0; i < n; i++)
	{
		mirror_t	m = {&systems[i], set, options, NULL, NULL, false, false, 0, batch};
		char	   *table;

		if (systems[i].prepare == NULL || systems[i].unprepare == NULL)
			continue;
		any = true;
		table = table_name(&systems[i], set);
		m.table = format_string("%s_m", table);
		m.conn = server_connect(&systems[i], options->conninfo);
		run(&m, pairs);
		PQfinish(m.conn);
		free(m.table);
		free(table);
	}
	if (!any)
		warn("the test %s is passed over: no system has a prepare and an unprepare", TEST);
}
