/*
 * churn.c
 *		Inserts, deletes, VACUUM and equal rows, with recall after each.
 *
 * The order of the steps, each for every system in turn:
 *
 *		hold back the last rows, build the index on the others
 *		insert the held-back rows one by one, in three variants; the table is
 *			complete again
 *		delete a share, VACUUM
 *		delete up to 30 %, VACUUM, insert all deleted rows again
 *		add equal rows
 */
#define _GNU_SOURCE
#include "churn.h"
#include "fail.h"
#include "insert.h"
#include "load.h"
#include "prepare.h"
#include "progress.h"
#include "results.h"
#include "sweep.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REFILL_FRACTION 0.30
#define WARM_QUERIES 100

/* How often the phase of a VACUUM is looked up. */
#define POLL_NANOSECONDS 10000000L

typedef struct
{
	const system_t *system;
	char	   *table;
	char	   *plain;			/* the same table without index */
	PGconn	   *conn;
	const char *at;
} subject_t;

typedef struct
{
	const dataset_t *set;
	const churn_options_t *options;
	subject_t  *subjects;
	int			n;
	uint8_t    *alive;
	size_t		per_variant;
	size_t		first_held;
	size_t		hub;
} churn_t;

static void
add(const churn_t *c, const subject_t *s, const char *test, const char *at, const char *metric,
	double value)
{
	result_add(c->set->name, s->system->name, test, at, 0, metric, value);
	fprintf(stderr, "%-12s %s %s: %s %.6g\n", s->system->name, test, at, metric, value);
}

/*
 * Which rows go: the same pseudo-random share for every system, and a larger
 * share contains the smaller ones.  delete_condition() says it in SQL.
 */
static bool
is_deleted(size_t id, int permille)
{
	return (((uint64_t) id * 2654435761u & 0xffffffffu) >> 16) % 1000 < (uint64_t) permille;
}

static char *
delete_condition(int permille)
{
	return format_string("(((id::bigint * 2654435761) & 4294967295) >> 16) %% 1000 < %d", permille);
}

/* Searches at the chosen setting and records what came of it. */
static void
measure_recall(const churn_t *c, const subject_t *s, const expected_t *e, const char *when)
{
	search_t	search;
	pass_t		pass;

	server_exec(s->conn, "ANALYZE %s", s->table);
	search_open(&search, s->system, c->set, s->table, c->options->k, 1, c->options->conninfo);
	(void) prepare_index(s->conn, s->system, c->set, s->table);
	search_at(&search, s->at);
	(void) search_warm(&search, WARM_QUERIES);
	pass = search_pass(&search, e);
	add(c, s, "recall", when, "recall", pass.recall);
	add(c, s, "recall", when, "qps", pass.qps);
	add(c, s, "recall", when, "cpu_us", pass.cpu_us);
	add(c, s, "recall", when, "short_answers", pass.short_answers);
	add(c, s, "recall", when, "index_bytes",
		server_number(s->conn, "SELECT pg_relation_size('%s')", search.index));
	search_close(&search);
}

static void
measure_recall_all(const churn_t *c, const uint8_t *alive, size_t equal_rows, const char *when)
{
	expected_t	e;

	expected_init(&e, c->set, c->options->k, alive, equal_rows,
				  equal_rows > 0 ? matrix_row(&c->set->base, c->hub) : NULL);
	for (int i = 0; i < c->n; i++)
		measure_recall(c, &c->subjects[i], &e, when);
	expected_free(&e);
}

typedef struct
{
	double		bytes;
	double		pages;			/* full-page images */
} wal_mark_t;

static wal_mark_t
wal_mark(PGconn *conn)
{
	wal_mark_t	mark;

	mark.bytes = server_wal_bytes(conn);
	mark.pages = 0;

	/* Counters of this session reach the view only when told to (from 15 on). */
	if (PQserverVersion(conn) >= 150000)
	{
		server_exec(conn, "SELECT pg_stat_force_next_flush()");
		mark.pages = server_number(conn, "SELECT wal_fpi FROM pg_stat_wal");
	}
	return mark;
}

static void
record_wal(const churn_t *c, const subject_t *s, const char *variant, wal_mark_t from, size_t rows)
{
	wal_mark_t	now = wal_mark(s->conn);

	add(c, s, "wal", variant, "bytes_per_row", (now.bytes - from.bytes) / (double) rows);
	if (PQserverVersion(s->conn) >= 150000)
		add(c, s, "wal", variant, "full_pages_per_row", (now.pages - from.pages) / (double) rows);
}

/* Rate and processor time of a number of rows. */
typedef struct
{
	double		start,
				cpu;
} stopwatch_t;

static stopwatch_t
start_watch(PGconn *conn)
{
	return (stopwatch_t) {now_seconds(), server_cpu_seconds(conn)};
}

static void
record_rate(const churn_t *c, const subject_t *s, const char *variant, stopwatch_t w, size_t rows)
{
	double		seconds = now_seconds() - w.start;

	add(c, s, "insert", variant, "rows_per_second", (double) rows / seconds);
	add(c, s, "insert", variant, "cpu_us",
		1e6 * (server_cpu_seconds(s->conn) - w.cpu) / (double) rows);
}

/* What a row costs without any index, to be subtracted by the reader. */
static void
insert_plain(const churn_t *c, const subject_t *s)
{
	wal_mark_t	mark;

	create_table(s->conn, s->system, c->set, s->plain);
	insert_prepare(s->conn, s->system, "plain", s->plain);
	server_exec(s->conn, "SET synchronous_commit = off");
	server_exec(s->conn, "CHECKPOINT");
	mark = wal_mark(s->conn);
	insert_rows(s->conn, s->system, c->set, "plain", c->first_held, c->per_variant);
	record_wal(c, s, "no_index", mark, c->per_variant);
	server_exec(s->conn, "DROP TABLE %s", s->plain);
}

static void
insert_steps(const churn_t *c)
{
	size_t		n = c->per_variant;
	size_t		early = n / 10 > 0 ? n / 10 : 1;

	for (int i = 0; i < c->n; i++)
	{
		const subject_t *s = &c->subjects[i];
		build_t		build;

		server_exec(s->conn, "DELETE FROM %s WHERE id >= %zu", s->table, c->first_held);
		drop_index(s->conn, s->table);
		server_exec(s->conn, "VACUUM (FREEZE, ANALYZE) %s", s->table);
		build = build_index(s->conn, s->system, c->set, s->table, c->options->k);
		add(c, s, "churn_build", "", "seconds", build.seconds);
		insert_plain(c, s);
	}

	/* Variant 1: a transaction each, not waiting for the disk. */
	for (int i = 0; i < c->n; i++)
	{
		const subject_t *s = &c->subjects[i];
		wal_mark_t	mark;
		stopwatch_t watch;

		insert_prepare(s->conn, s->system, "insert", s->table);
		server_exec(s->conn, "SET synchronous_commit = off");
		server_exec(s->conn, "CHECKPOINT");
		mark = wal_mark(s->conn);
		insert_rows(s->conn, s->system, c->set, "insert", c->first_held, early);
		record_wal(c, s, "after_checkpoint", mark, early);
		watch = start_watch(s->conn);
		insert_rows(s->conn, s->system, c->set, "insert", c->first_held + early, n - early);
		record_rate(c, s, "async_commit", watch, n - early);
	}

	/* Variant 2: a transaction each, durable. */
	for (int i = 0; i < c->n; i++)
	{
		const subject_t *s = &c->subjects[i];
		stopwatch_t watch;

		server_exec(s->conn, "SET synchronous_commit = on");
		watch = start_watch(s->conn);
		insert_rows(s->conn, s->system, c->set, "insert", c->first_held + n, n);
		record_rate(c, s, "sync_commit", watch, n);
	}

	/* Variant 3: one transaction.  By now most pages were logged in full. */
	for (int i = 0; i < c->n; i++)
	{
		const subject_t *s = &c->subjects[i];
		wal_mark_t	mark;
		stopwatch_t watch;

		mark = wal_mark(s->conn);
		watch = start_watch(s->conn);
		server_exec(s->conn, "BEGIN");
		insert_rows(s->conn, s->system, c->set, "insert", c->first_held + 2 * n, n);
		server_exec(s->conn, "COMMIT");
		record_rate(c, s, "one_transaction", watch, n);
		record_wal(c, s, "steady", mark, n);
	}
	measure_recall_all(c, NULL, 0, "after inserts");
}

/* Watches the phase of a VACUUM from a second connection. */
typedef struct
{
	PGconn	   *conn;
	int			pid;
	atomic_bool stop;
	double		index_seconds;
} watch_t;

static void *
watch_main(void *arg)
{
	watch_t    *w = arg;
	char		query[128];
	double		last = now_seconds();
	bool		was_index = false;

	snprintf(query, sizeof(query), "SELECT phase FROM pg_stat_progress_vacuum WHERE pid = %d", w->pid);
	while (!atomic_load(&w->stop))
	{
		struct timespec pause = {0, POLL_NANOSECONDS};
		char	   *phase = server_text(w->conn, "%s", query);
		double		now = now_seconds();

		if (was_index)
			w->index_seconds += now - last;
		was_index = phase != NULL &&
			(strcmp(phase, "vacuuming indexes") == 0 || strcmp(phase, "cleaning up indexes") == 0);
		last = now;
		free(phase);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static void
vacuum(const churn_t *c, const subject_t *s, const char *variant)
{
	watch_t		watch = {0};
	pthread_t	thread;
	char	   *what = format_string("%s: VACUUM", s->system->name);
	double		wal,
				cpu,
				start,
				seconds;

	watch.conn = server_connect(s->system, c->options->conninfo);
	watch.pid = PQbackendPID(s->conn);
	atomic_init(&watch.stop, false);
	server_exec(s->conn, "CHECKPOINT");
	wal = server_wal_bytes(s->conn);
	if (pthread_create(&thread, NULL, watch_main, &watch) != 0)
		die("cannot start a thread");
	progress_begin(what, 0);
	cpu = server_cpu_seconds(s->conn);
	start = now_seconds();
	server_exec(s->conn, "VACUUM (INDEX_CLEANUP ON) %s", s->table);
	seconds = now_seconds() - start;
	cpu = server_cpu_seconds(s->conn) - cpu;
	atomic_store(&watch.stop, true);
	pthread_join(thread, NULL);
	progress_end();
	PQfinish(watch.conn);
	add(c, s, "vacuum", variant, "seconds", seconds);
	add(c, s, "vacuum", variant, "cpu_seconds", cpu);
	add(c, s, "vacuum", variant, "index_seconds", watch.index_seconds);
	add(c, s, "vacuum", variant, "wal_bytes", server_wal_bytes(s->conn) - wal);
	free(what);
}

static void
delete_and_vacuum(const churn_t *c, double fraction)
{
	int			permille = (int) (fraction * 1000 + 0.5);
	char	   *variant = format_string("%g%%", fraction * 100);
	char	   *when = format_string("after deleting %s", variant);
	char	   *condition = delete_condition(permille);
	size_t		gone = 0;

	for (size_t i = 0; i < c->set->base.rows; i++)
	{
		c->alive[i] = !is_deleted(i, permille);
		gone += !c->alive[i];
	}
	for (int i = 0; i < c->n; i++)
	{
		const subject_t *s = &c->subjects[i];
		double		left;

		server_exec(s->conn, "DELETE FROM %s WHERE %s", s->table, condition);
		left = server_number(s->conn, "SELECT count(*) FROM %s", s->table);
		if (left != (double) (c->set->base.rows - gone))
			die("%s holds %.0f rows after deleting, not %zu", s->table, left,
				c->set->base.rows - gone);
		vacuum(c, s, variant);
	}
	measure_recall_all(c, c->alive, 0, when);
	free(condition);
	free(when);
	free(variant);
}

static void
insert_deleted(const churn_t *c)
{
	size_t		n = 0;

	for (int i = 0; i < c->n; i++)
	{
		const subject_t *s = &c->subjects[i];
		char	   *what = format_string("%s: inserting deleted rows", s->system->name);
		stopwatch_t watch = start_watch(s->conn);

		n = 0;
		progress_begin(what, c->set->base.rows);
		copy_begin(s->conn, s->table);
		for (size_t row = 0; row < c->set->base.rows; row++)
		{
			progress_at(row);
			if (c->alive[row])
				continue;
			copy_row(s->conn, (int32_t) row, matrix_row(&c->set->base, row), c->set->base.dim);
			n++;
		}
		copy_end(s->conn);
		progress_end();
		record_rate(c, s, "copy_deleted", watch, n);
		free(what);
	}
	measure_recall_all(c, NULL, 0, "after re-insert");
}

/*
 * The row that is an answer to the most queries: equal rows hurt most where
 * many searches pass.
 */
static size_t
find_hub(const dataset_t *set, size_t k)
{
	uint32_t   *times = alloc_array(set->base.rows, sizeof(*times));
	size_t		hub = 0;

	memset(times, 0, set->base.rows * sizeof(*times));
	for (size_t q = 0; q < set->query.rows; q++)
		for (size_t j = 0; j < k; j++)
			times[set->truth[q * set->truth_k + j]]++;
	for (size_t i = 0; i < set->base.rows; i++)
		if (times[i] > times[hub])
			hub = i;
	free(times);
	return hub;
}

static void
add_equal_rows(churn_t *c)
{
	size_t		n = c->options->equal_rows;

	for (int i = 0; i < c->n; i++)
	{
		const subject_t *s = &c->subjects[i];
		char	   *what = format_string("%s: adding equal rows", s->system->name);
		wal_mark_t	mark;
		stopwatch_t watch;

		server_exec(s->conn, "CHECKPOINT");
		mark = wal_mark(s->conn);
		watch = start_watch(s->conn);
		progress_begin(what, n);
		copy_begin(s->conn, s->table);
		for (size_t row = 0; row < n; row++)
		{
			copy_row(s->conn, (int32_t) (c->set->base.rows + row),
					 matrix_row(&c->set->base, c->hub), c->set->base.dim);
			progress_at(row);
		}
		copy_end(s->conn);
		progress_end();
		record_rate(c, s, "equal_rows", watch, n);
		record_wal(c, s, "equal_rows", mark, n);
		free(what);
	}
	measure_recall_all(c, NULL, n, "after equal rows");
}

void
churn_run(const system_t *systems, int nsystems, const dataset_t *set,
		  const churn_options_t *options)
{
	churn_t		c = {0};

	c.set = set;
	c.options = options;
	c.n = nsystems;
	c.subjects = alloc_array((size_t) nsystems, sizeof(*c.subjects));
	c.alive = alloc_array(set->base.rows, 1);
	c.hub = find_hub(set, options->k);

	/* At most a quarter of the rows is held back. */
	c.per_variant = options->insert_rows;
	if (c.per_variant > set->base.rows / 12)
		c.per_variant = set->base.rows / 12;
	if (c.per_variant < 10)
		die("%s: %zu rows are too few for the churn test; leave it out with --tests sweep",
			set->name, set->base.rows);
	c.first_held = set->base.rows - 3 * c.per_variant;

	for (int i = 0; i < nsystems; i++)
	{
		subject_t  *s = &c.subjects[i];

		s->system = &systems[i];
		s->table = table_name(s->system, set);
		s->plain = format_string("%s_plain", s->table);
		s->conn = server_connect(s->system, options->conninfo);
		s->at = options->at != NULL ? options->at :
			s->system->sweep_values[s->system->nsweep / 2];
		server_exec(s->conn, "SET synchronous_commit = on");
	}
	for (int i = 0; i < nsystems; i++)
		add(&c, &c.subjects[i], "churn_setting", "", "value", strtod(c.subjects[i].at, NULL));
	measure_recall_all(&c, NULL, 0, "after build");
	insert_steps(&c);
	delete_and_vacuum(&c, options->delete_fraction);
	if (options->delete_fraction < REFILL_FRACTION)
		delete_and_vacuum(&c, REFILL_FRACTION);
	insert_deleted(&c);
	if (options->equal_rows > 0)
		add_equal_rows(&c);

	for (int i = 0; i < nsystems; i++)
	{
		PQfinish(c.subjects[i].conn);
		free(c.subjects[i].table);
		free(c.subjects[i].plain);
	}
	free(c.subjects);
	free(c.alive);
}
