/*
 * scaling.c
 *		Queries per second of a number of clients, over that of the first number.
 *
 * Each client shares a core with its own server process: one client uses one
 * core, two use two, and nothing but the index is common to them.  The numbers
 * of clients take turns, and a speed-up is one repetition's own, so that a
 * machine whose speed drifts does not show in it.
 */
#include "scaling.h"
#include "fail.h"
#include "load.h"
#include "pin.h"
#include "results.h"
#include "sweep.h"

#include <stdio.h>
#include <stdlib.h>

/* A pass of a thousand fast queries is over before the clock tells much. */
#define PASS_SECONDS 1.0
#define SETTLE_QUERIES 50

/* Returns about how many seconds a query takes. */
static double
open_search(search_t *s, const system_t *system, program_t *program, const dataset_t *set,
			const scaling_options_t *o, int clients, size_t k, const char *conninfo)
{
	char	   *table = table_name(system, set);

	if (program != NULL)
		search_open_program(s, system, set, program, k, clients);
	else
		search_open(s, system, set, table, k, clients, conninfo);
	free(table);
	if (!search_pin(s, 0))
		die("the test scaling puts every client and its server process on a core of their own; %d clients need as many cores (%d are allowed; CORE=all gives bench/run all), a server on this machine and the right to move its processes",
			clients, pin_cores());
	search_at(s, o->at != NULL ? o->at : system->sweep_values[system->nsweep / 2]);
	return search_warm(s, set->query.rows);
}

static pass_t
pass_on(search_t *s, const expected_t *expected, int first_core)
{
	if (!search_pin(s, first_core))
		die("a process cannot be moved any more");
	(void) search_warm(s, SETTLE_QUERIES);
	return search_pass(s, expected);
}

static void
record(const search_t *s, int rep, pass_t p, const search_t *first, pass_t base)
{
	char	   *at = format_string("%d", s->nconn);
	const char *set = s->set->name;
	const char *name = s->system->name;

	result_add(set, name, "scaling", at, rep, "recall", p.recall);
	result_add(set, name, "scaling", at, rep, "qps", p.qps);
	result_add(set, name, "scaling", at, rep, "p50_us", p.p50_us);
	result_add(set, name, "scaling", at, rep, "p99_us", p.p99_us);
	result_add(set, name, "scaling", at, rep, "cpu_us", p.cpu_us);
	if (s != first)
	{
		result_add(set, name, "scaling", at, rep, "speedup", p.qps / base.qps);

		/* What it would be if nobody else had used the cores. */
		result_add(set, name, "scaling", at, rep, "cpu_speedup",
				   (double) s->nconn / first->nconn * base.cpu_us / p.cpu_us);
	}
	fprintf(stderr, "%-12s %d clients, %s=%s  recall %.4f  %8.1f qps (x %.2f)  p99 %6.0f us  cpu %6.0f us\n",
			name, s->nconn, s->system->sweep_name, s->value, p.recall, p.qps, p.qps / base.qps,
			p.p99_us, p.cpu_us);
	free(at);
}

/*
 * One repetition of a system.  The first number of clients is measured on every
 * core that the largest number uses, some of it before and some after the
 * others, and its mean counts: a core that is busier with other things, or a
 * machine that becomes slower, must not look like clients in each other's way.
 */
static void
measure(search_t *searches, int n, const expected_t *expected, int rep)
{
	pass_t	   *passes = alloc_array((size_t) n, sizeof(*passes));
	pass_t		base = {0};
	int			first = searches[0].nconn,
				most = first,
				times;

	for (int j = 1; j < n; j++)
		if (searches[j].nconn > most)
			most = searches[j].nconn;
	times = most / first;
	for (int t = 0; t < times; t++)
	{
		pass_t		p = pass_on(&searches[0], expected, rep + t * first);

		base.recall += p.recall / times;
		base.qps += p.qps / times;
		base.p50_us += p.p50_us / times;
		base.p99_us += p.p99_us / times;
		base.cpu_us += p.cpu_us / times;
		if (t == (times - 1) / 2)
			for (int j = 1; j < n; j++)
				passes[j] = pass_on(&searches[j], expected, rep);
	}
	passes[0] = base;
	for (int j = 0; j < n; j++)
		record(&searches[j], rep, passes[j], &searches[0], base);
	free(passes);
}

void
scaling_run(const system_t *systems, program_t **programs, int n, const dataset_t *set,
			const scaling_options_t *o, size_t k, int reps, const char *conninfo)
{
	search_t   *searches = alloc_array((size_t) (n * o->nclients), sizeof(*searches));
	expected_t	expected;

	expected_init(&expected, set, k, NULL, 0, NULL);
	for (int i = 0; i < n; i++)
	{
		search_t   *mine = searches + i * o->nclients;
		double		query_seconds = 0;

		for (int j = 0; j < o->nclients; j++)
			query_seconds = open_search(&mine[j], &systems[i], programs[i], set, o, o->clients[j], k,
										conninfo);

		/* As many rounds for every number of clients. */
		for (int j = 0; j < o->nclients; j++)
			search_last(&mine[j], PASS_SECONDS, query_seconds);
		result_add(set->name, systems[i].name, "scaling_setting", "", 0, "value",
				   strtod(mine[0].value, NULL));
	}
	for (int rep = 0; rep < reps; rep++)
		for (int i = 0; i < n; i++)
			measure(searches + i * o->nclients, o->nclients, &expected, rep);
	for (int i = 0; i < n * o->nclients; i++)
		search_close(&searches[i]);
	expected_free(&expected);
	free(searches);
}
