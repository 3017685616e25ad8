/*
 * main.c
 *		Options, and the order of the tests.
 */
#define _GNU_SOURCE
#include "cache.h"
#include "churn.h"
#include "dataset.h"
#include "fail.h"
#include "load.h"
#include "mirror.h"
#include "pin.h"
#include "prepare.h"
#include "progress.h"
#include "report.h"
#include "results.h"
#include "scaling.h"
#include "svg.h"
#include "sweep.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DATA 16
#define SETTLE_QUERIES 50

/* What a single interruption lengthens tells little about the fast systems. */
#define PASS_SECONDS 0.2

static const char usage[] =
"knn-bench measures and compares vector indexes of PostgreSQL.\n"
"\n"
"  knn-bench --data PATH[:METRIC] ... [options]\n"
"\n"
"Data (repeat --data for more sets):\n"
"  --data PATH[:METRIC]  file prefix (PATH.base.u8, PATH.query.u8, PATH.gt.i32 and\n"
"                        the like) or an .hdf5 file; METRIC is l2, cosine or ip\n"
"  --base F --query F --truth F   files with other names (one --data only)\n"
"  --dim N               elements of a row in files that do not tell\n"
"  --max-rows N, --max-queries N  use the first N only\n"
"Systems:\n"
"  --systems FILE        their description (default: systems.ini)\n"
"  --only A,B            these of the file, in this order\n"
"  --sweep V,V,...       values of every system's sweep setting\n"
"  --set NAME=VALUE      a setting for every connection; may be repeated\n"
"  --conninfo STRING     how to connect (default: libpq's environment)\n"
"What to measure:\n"
"  --tests LIST          of sweep, scaling, cache, mirror_insert, churn (default:\n"
"                        sweep,churn); builds always run\n"
"  --k N                 neighbours per query (default 10)\n"
"  --reps N              repetitions of the sweep (default 3)\n"
"  --build-reps N        repetitions of the build (default 1)\n"
"  --connections N       clients of the sweep (default 1)\n"
"  --scaling N,N,...     numbers of clients that the test scaling compares, the\n"
"                        first of them with the others (default 1,2)\n"
"  --scaling-at VALUE    sweep value of that (default: the middle one)\n"
"  --insert-rows N       single-row inserts per variant (default 2000)\n"
"  --equal-rows N        equal rows added at the end (default 10000)\n"
"  --delete FRACTION     share deleted before the timed VACUUM (default 0.1)\n"
"  --churn-at VALUE      sweep value of the churn's recall (default: the middle one)\n"
"  --reuse               keep a table and index found complete (implies --keep)\n"
"  --keep                leave the tables when done\n"
"Output:\n"
"  --csv FILE            every number measured, a row each\n"
"  --svg PREFIX          PREFIX-DATASET.svg, recall against queries per second\n"
"  --markdown FILE       tables for a document (- for standard output)\n"
"  --best                tables and plot show the fastest repetition, not the median:\n"
"                        for a machine shared with others, where noise only adds\n";

typedef struct
{
	const char *data[MAX_DATA];
	int			ndata;
	dataset_request_t request;
	const char *systems_file;
	const char *only;
	const char *conninfo;
	const char *sweep;
	const char *sets[MAX_SET];
	int			nsets;
	bool		do_sweep,
				do_scaling,
				do_cache,
				do_mirror,
				do_churn;
	int			reps,
				build_reps,
				connections;
	bool		reuse,
				keep,
				best;
	const char *csv,
			   *svg,
			   *markdown;
	scaling_options_t scaling;
	churn_options_t churn;
} options_t;

static size_t
count_option(const char *name, const char *text, size_t max)
{
	char	   *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || *text == '-' || n > max)
		die("--%s %s: a whole number from 0 to %zu is needed", name, text, max);
	return (size_t) n;
}

static int
positive_option(const char *name, const char *text, size_t max)
{
	size_t		n = count_option(name, text, max);

	if (n == 0)
		die("--%s must be at least 1", name);
	return (int) n;
}

static void
parse_tests(options_t *o, const char *text)
{
	char	   *list = copy_string(text);
	char	   *save = NULL;

	struct
	{
		const char *name;
		bool	   *chosen;
	}			tests[] =
	{
		{"sweep", &o->do_sweep}, {"scaling", &o->do_scaling}, {"cache", &o->do_cache},
		{"mirror_insert", &o->do_mirror}, {"churn", &o->do_churn},
	};
	size_t		n = sizeof(tests) / sizeof(tests[0]);

	for (size_t i = 0; i < n; i++)
		*tests[i].chosen = false;
	for (char *t = strtok_r(list, ",", &save); t != NULL; t = strtok_r(NULL, ",", &save))
	{
		size_t		i;

		for (i = 0; i < n && strcmp(t, tests[i].name) != 0; i++)
			;
		if (i < n)
			*tests[i].chosen = true;
		else if (strcmp(t, "build") != 0)
			die("--tests: unknown test \"%s\"; known are build, sweep, scaling, cache, mirror_insert and churn",
				t);
	}
	free(list);
}

static void
parse_scaling(scaling_options_t *o, const char *text)
{
	char	   *list = copy_string(text);
	char	   *save = NULL;

	o->nclients = 0;
	for (char *t = strtok_r(list, ",", &save); t != NULL; t = strtok_r(NULL, ",", &save))
	{
		if (o->nclients == MAX_SCALING)
			die("--scaling %s: more than %d numbers", text, MAX_SCALING);
		o->clients[o->nclients++] = positive_option("scaling", t, 1000);
	}
	if (o->nclients < 2)
		die("--scaling %s: give at least two numbers of clients, like 1,2", text);
	free(list);
}

static void
parse_options(options_t *o, int argc, char **argv)
{
	enum
	{
		DATA = 256, BASE, QUERY, TRUTH, DIM, MAX_ROWS, MAX_QUERIES, SYSTEMS, ONLY, SWEEP, SET,
		CONNINFO, TESTS, K, REPS, BUILD_REPS, CONNECTIONS, SCALING, SCALING_AT, INSERT_ROWS,
		EQUAL_ROWS, DELETE, CHURN_AT, REUSE, KEEP, CSV, SVG, MARKDOWN, BEST, HELP
	};
	static const struct option longs[] =
	{
		{"data", 1, NULL, DATA}, {"base", 1, NULL, BASE}, {"query", 1, NULL, QUERY},
		{"truth", 1, NULL, TRUTH}, {"dim", 1, NULL, DIM}, {"max-rows", 1, NULL, MAX_ROWS},
		{"max-queries", 1, NULL, MAX_QUERIES}, {"systems", 1, NULL, SYSTEMS},
		{"only", 1, NULL, ONLY}, {"sweep", 1, NULL, SWEEP}, {"set", 1, NULL, SET},
		{"conninfo", 1, NULL, CONNINFO}, {"tests", 1, NULL, TESTS}, {"k", 1, NULL, K},
		{"reps", 1, NULL, REPS}, {"build-reps", 1, NULL, BUILD_REPS},
		{"connections", 1, NULL, CONNECTIONS}, {"scaling", 1, NULL, SCALING},
		{"scaling-at", 1, NULL, SCALING_AT}, {"insert-rows", 1, NULL, INSERT_ROWS},
		{"equal-rows", 1, NULL, EQUAL_ROWS}, {"delete", 1, NULL, DELETE},
		{"churn-at", 1, NULL, CHURN_AT}, {"reuse", 0, NULL, REUSE}, {"keep", 0, NULL, KEEP},
		{"csv", 1, NULL, CSV}, {"svg", 1, NULL, SVG}, {"markdown", 1, NULL, MARKDOWN},
		{"best", 0, NULL, BEST}, {"help", 0, NULL, HELP}, {NULL, 0, NULL, 0}
	};
	const char *name;
	int			opt,
				which = 0;

	while ((opt = getopt_long(argc, argv, "h", longs, &which)) != -1)
	{
		name = opt >= 256 ? longs[which].name : "";
		switch (opt)
		{
			case DATA:
				if (o->ndata == MAX_DATA)
					die("at most %d --data", MAX_DATA);
				o->data[o->ndata++] = optarg;
				break;
			case BASE:
				o->request.base_file = optarg;
				break;
			case QUERY:
				o->request.query_file = optarg;
				break;
			case TRUTH:
				o->request.truth_file = optarg;
				break;
			case DIM:
				o->request.dim = (uint32_t) positive_option(name, optarg, DATASET_MAX_DIM);
				break;
			case MAX_ROWS:
				o->request.max_rows = count_option(name, optarg, INT32_MAX / 2);
				break;
			case MAX_QUERIES:
				o->request.max_queries = count_option(name, optarg, INT32_MAX);
				break;
			case SYSTEMS:
				o->systems_file = optarg;
				break;
			case ONLY:
				o->only = optarg;
				break;
			case SWEEP:
				o->sweep = optarg;
				break;
			case SET:
				if (o->nsets == MAX_SET)
					die("at most %d --set", MAX_SET);
				if (strchr(optarg, '=') == NULL)
					die("--set %s: write NAME=VALUE", optarg);
				o->sets[o->nsets++] = optarg;
				break;
			case CONNINFO:
				o->conninfo = optarg;
				break;
			case TESTS:
				parse_tests(o, optarg);
				break;
			case K:
				o->churn.k = (size_t) positive_option(name, optarg, 10000);
				break;
			case REPS:
				o->reps = positive_option(name, optarg, 1000);
				break;
			case BUILD_REPS:
				o->build_reps = positive_option(name, optarg, 1000);
				break;
			case CONNECTIONS:
				o->connections = positive_option(name, optarg, 1000);
				break;
			case SCALING:
				parse_scaling(&o->scaling, optarg);
				break;
			case SCALING_AT:
				o->scaling.at = optarg;
				break;
			case INSERT_ROWS:
				o->churn.insert_rows = (size_t) positive_option(name, optarg, INT32_MAX / 8);
				break;
			case EQUAL_ROWS:
				o->churn.equal_rows = count_option(name, optarg, INT32_MAX / 4);
				break;
			case DELETE:
				o->churn.delete_fraction = atof(optarg);
				if (!(o->churn.delete_fraction > 0 && o->churn.delete_fraction <= 0.9))
					die("--delete %s: a fraction from 0 to 0.9 is needed", optarg);
				break;
			case CHURN_AT:
				o->churn.at = optarg;
				break;
			case REUSE:
				o->reuse = o->keep = true;
				break;
			case KEEP:
				o->keep = true;
				break;
			case CSV:
				o->csv = optarg;
				break;
			case SVG:
				o->svg = optarg;
				break;
			case MARKDOWN:
				o->markdown = optarg;
				break;
			case BEST:
				o->best = true;
				results_use_best();
				break;
			case HELP:
			case 'h':
				fputs(usage, stdout);
				exit(0);
			default:
				die("see knn-bench --help");
		}
	}
	if (optind < argc)
		die("\"%s\" is not an option; see knn-bench --help", argv[optind]);
	if (o->ndata == 0)
		die("no data; give --data PATH:METRIC, see knn-bench --help");
	if (o->ndata > 1 && (o->request.base_file || o->request.query_file || o->request.truth_file))
		die("--base, --query and --truth go with a single --data");
	if (o->churn.equal_rows > 0 && o->churn.equal_rows < o->churn.k)
		die("--equal-rows must be 0 or at least --k");
}

/* "path:metric"; the metric may be missing. */
static void
open_data(dataset_t *set, const options_t *o, const char *text)
{
	dataset_request_t request = o->request;
	char	   *path = copy_string(text);
	char	   *colon = strrchr(path, ':');

	if (colon != NULL && strchr(colon, '/') == NULL)
	{
		*colon = '\0';
		request.metric = metric_from_name(colon + 1);
		if (request.metric == METRIC_UNKNOWN)
			die("--data %s: unknown metric \"%s\"; use l2, cosine or ip", text, colon + 1);
	}
	request.path = path;
	request.min_truth_k = o->churn.k;
	dataset_open(set, &request);
	fprintf(stderr, "%s: %zu x %u, %zu queries, %s, exact answers %s\n", set->name,
			set->base.rows, set->base.dim, set->query.rows, metric_name(set->metric),
			set->truth_computed ? "computed" : "from the file");
}

static void
record_build(const char *set, const char *system, int rep, build_t b)
{
	result_add(set, system, "build", "", rep, "seconds", b.seconds);
	result_add(set, system, "build", "", rep, "cpu_seconds", b.cpu_seconds);
	result_add(set, system, "build", "", rep, "index_bytes", b.index_bytes);
	result_add(set, system, "build", "", rep, "wal_bytes", b.wal_bytes);
	fprintf(stderr, "%s: built in %.1f s, %.1f MB\n", system, b.seconds, b.index_bytes / 1e6);
}

static build_t
build_program(program_t *program)
{
	program_build_t b = program_build(program);

	return (build_t) {b.seconds, b.cpu_seconds, b.bytes, NAN};
}

/* Whether an earlier run left the table and its index complete. */
static bool
reusable(PGconn *conn, const system_t *s, const char *table, const dataset_t *set)
{
	char	   *index;

	if (server_number(conn, "SELECT count(to_regclass('%s'))", table) != 1 ||
		server_number(conn, "SELECT count(*) FROM %s", table) != (double) set->base.rows)
		return false;
	index = index_of(conn, table);
	if (index == NULL)
		return false;
	fprintf(stderr, "%s: reusing %s and %s\n", s->name, table, index);
	free(index);
	return true;
}

static void
build_all(const options_t *o, const system_t *systems, program_t **programs, int n,
		  const dataset_t *set)
{
	for (int rep = 0; rep < o->build_reps; rep++)
		for (int i = 0; i < n; i++)
		{
			const system_t *s = &systems[i];
			PGconn	   *conn;
			char	   *table;

			if (programs[i] != NULL)
			{
				record_build(set->name, s->name, rep, build_program(programs[i]));
				continue;
			}
			conn = server_connect(s, o->conninfo);
			table = table_name(s, set);
			if (!o->reuse || !reusable(conn, s, table, set))
			{
				if (rep == 0)
					load_table(conn, s, set, table);
				record_build(set->name, s->name, rep,
							 build_index(conn, s, set, table, o->churn.k));
			}
			free(table);
			PQfinish(conn);
		}
}

/* Before the searches: what a system can load, it loads. */
static void
prepare_all(const options_t *o, const system_t *systems, program_t **programs, int n,
			const dataset_t *set)
{
	for (int i = 0; i < n; i++)
		if (programs[i] == NULL && systems[i].prepare != NULL)
		{
			PGconn	   *conn = server_connect(&systems[i], o->conninfo);
			char	   *table = table_name(&systems[i], set);
			double		seconds = prepare_index(conn, &systems[i], set, table);

			result_add(set->name, systems[i].name, "prepare", "", 0, "done", !isnan(seconds));
			result_add(set->name, systems[i].name, "prepare", "", 0, "seconds", seconds);
			if (!isnan(seconds))
				fprintf(stderr, "%s: prepared in %.3f s\n", systems[i].name, seconds);
			free(table);
			PQfinish(conn);
		}
}

static void
record_pass(const dataset_t *set, const system_t *s, const char *value, int rep, pass_t p)
{
	result_add(set->name, s->name, "sweep", value, rep, "recall", p.recall);
	result_add(set->name, s->name, "sweep", value, rep, "qps", p.qps);
	result_add(set->name, s->name, "sweep", value, rep, "p50_us", p.p50_us);
	result_add(set->name, s->name, "sweep", value, rep, "p95_us", p.p95_us);
	result_add(set->name, s->name, "sweep", value, rep, "p99_us", p.p99_us);
	result_add(set->name, s->name, "sweep", value, rep, "cpu_us", p.cpu_us);
	result_add(set->name, s->name, "sweep", value, rep, "short_answers", p.short_answers);
	fprintf(stderr, "%-12s %s=%-5s recall %.4f  %8.1f qps  p50 %6.0f  p95 %6.0f  p99 %6.0f  cpu %6.0f us\n",
			s->name, s->sweep_name, value, p.recall, p.qps, p.p50_us, p.p95_us, p.p99_us, p.cpu_us);
}

static void
sweep_all(const options_t *o, const system_t *systems, program_t **programs, int n,
		  const dataset_t *set)
{
	search_t   *searches = alloc_array((size_t) n, sizeof(*searches));
	expected_t	expected;
	int			longest = 0;

	expected_init(&expected, set, o->churn.k, NULL, 0, NULL);
	for (int i = 0; i < n; i++)
	{
		char	   *table = table_name(&systems[i], set);

		if (programs[i] != NULL)
			search_open_program(&searches[i], &systems[i], set, programs[i], o->churn.k,
								o->connections);
		else
			search_open(&searches[i], &systems[i], set, table, o->churn.k, o->connections,
						o->conninfo);
		free(table);
		if (o->connections > 1 && !search_pin(&searches[i], 0))
			warn("system \"%s\": its %d clients run where the kernel puts them", systems[i].name,
				 o->connections);

		/* The widest search touches the most pages. */
		search_at(&searches[i], systems[i].sweep_values[systems[i].nsweep - 1]);
		(void) search_warm(&searches[i], set->query.rows);
		if (systems[i].nsweep > longest)
			longest = systems[i].nsweep;
	}
	for (int rep = 0; rep < o->reps; rep++)
		for (int v = 0; v < longest; v++)
			for (int i = 0; i < n; i++)
			{
				const char *value;

				if (v >= systems[i].nsweep)
					continue;
				value = systems[i].sweep_values[v];
				search_at(&searches[i], value);
				search_last(&searches[i], PASS_SECONDS, search_warm(&searches[i], SETTLE_QUERIES));
				record_pass(set, &systems[i], value, rep, search_pass(&searches[i], &expected));
			}
	for (int i = 0; i < n; i++)
		search_close(&searches[i]);
	expected_free(&expected);
	free(searches);
}

/* A rival that was not built is left out; the others are measured all the same. */
static int
without_missing_programs(system_t *systems, int n)
{
	int			kept = 0;

	for (int i = 0; i < n; i++)
	{
		if (systems[i].program != NULL && !program_exists(&systems[i]))
			warn("system \"%s\" is left out: %s_search was not built, for its library is missing",
				 systems[i].name, systems[i].program);
		else
			systems[kept++] = systems[i];
	}
	if (kept == 0)
		die("no system is left to measure");
	return kept;
}

/* The systems that are extensions, for the tests that write. */
static system_t *
sql_systems(const system_t *systems, int n, int *count)
{
	system_t   *sql = alloc_array((size_t) n, sizeof(*sql));

	*count = 0;
	for (int i = 0; i < n; i++)
		if (systems[i].program == NULL)
			sql[(*count)++] = systems[i];
	return sql;
}

static void
measure(const options_t *o, const system_t *systems, program_t **programs, int n,
		const dataset_t *set)
{
	int			nsql;
	system_t   *sql = sql_systems(systems, n, &nsql);

	build_all(o, systems, programs, n, set);
	if (o->do_sweep || o->do_scaling)
		prepare_all(o, systems, programs, n, set);
	if (o->do_sweep)
		sweep_all(o, systems, programs, n, set);
	if (o->do_scaling)
		scaling_run(systems, programs, n, set, &o->scaling, o->churn.k, o->reps, o->conninfo);
	if (o->do_cache)
		cache_run(sql, nsql, set, o->churn.k, o->reps, o->conninfo);
	if (o->do_mirror)
		mirror_run(sql, nsql, set, &o->churn, o->reps);
	if (o->do_churn && nsql > 0)
		churn_run(sql, nsql, set, &o->churn);
	for (int i = 0; i < nsql && !o->keep; i++)
	{
		PGconn	   *conn = server_connect(&sql[i], o->conninfo);
		char	   *table = table_name(&sql[i], set);

		server_exec(conn, "DROP TABLE %s", table);
		free(table);
		PQfinish(conn);
	}
	free(sql);
}

int
main(int argc, char **argv)
{
	options_t	o = {
		.systems_file = "systems.ini", .conninfo = "", .do_sweep = true, .do_churn = true,
		.reps = 3, .build_reps = 1, .connections = 1,
		.scaling = {.clients = {1, 2}, .nclients = 2},
		.churn = {.insert_rows = 2000, .equal_rows = 10000, .delete_fraction = 0.1, .k = 10}
	};
	dataset_t	sets[MAX_DATA];
	system_t   *systems;
	program_t **programs;
	report_t	report = {0};
	char	  **titles;
	int			n;

	parse_options(&o, argc, argv);
	(void) pin_cores();			/* as we were started */
	systems = systems_read(o.systems_file, o.only, &n);
	n = without_missing_programs(systems, n);
	programs = alloc_array((size_t) n, sizeof(*programs));
	titles = alloc_array((size_t) n, sizeof(*titles));
	memset(programs, 0, (size_t) n * sizeof(*programs));
	memset(titles, 0, (size_t) n * sizeof(*titles));
	for (int i = 0; i < n; i++)
	{
		if (o.sweep != NULL)
			system_set_sweep(&systems[i], o.sweep);
		for (int j = 0; j < o.nsets && systems[i].program == NULL; j++)
		{
			char	   *name = copy_string(o.sets[j]);
			char	   *value = strchr(name, '=');

			*value++ = '\0';
			system_set(&systems[i], name, value);
			free(name);
		}
	}
	o.churn.conninfo = o.conninfo;
	if (o.csv != NULL)
		results_csv(o.csv);

	/* A mistake in the last system should not show after an hour. */
	for (int i = 0; i < n; i++)
	{
		PGconn	   *conn;

		if (systems[i].program != NULL)
			continue;
		conn = server_connect(&systems[i], o.conninfo);
		if (systems[i].extension != NULL)
			server_exec(conn, "CREATE EXTENSION IF NOT EXISTS %s", systems[i].extension);
		PQfinish(conn);
	}

	report = (report_t)
	{
		.argc = argc, .argv = argv, .sets = sets, .systems = systems, .nsystems = n,
			.titles = titles, .conninfo = o.conninfo, .k = o.churn.k, .reps = o.reps, .connections = o.connections,
			.best = o.best
	};
	for (int d = 0; d < o.ndata; d++)
	{
		open_data(&sets[d], &o, o.data[d]);
		for (int i = 0; i < n; i++)
			if (systems[i].program != NULL)
			{
				programs[i] = program_start(&systems[i], &sets[d]);
				titles[i] = copy_string(program_title(programs[i]));
			}
		measure(&o, systems, programs, n, &sets[d]);
		for (int i = 0; i < n; i++)
			if (programs[i] != NULL)
				program_stop(programs[i]);
		if (o.svg != NULL && o.do_sweep)
			svg_write(o.svg, &sets[d], systems, n);

		/* A file has what there is so far, should the next set fail. */
		report.nsets = d + 1;
		if (o.markdown != NULL && strcmp(o.markdown, "-") != 0)
			report_write(&report, o.markdown);
	}
	if (o.markdown == NULL || strcmp(o.markdown, "-") == 0)
		report_write(&report, "-");
	for (int d = 0; d < o.ndata; d++)
		dataset_free(&sets[d]);
	return 0;
}
