/*
 * scaling.c
 *		Queries per second of a number of clients, over that of the first number.
 *
 * Each client shares a core with its own server process: one client uses one
 * core, two use two, and nothing but the index is common to them.  The numbers
 * of clients take turns within a repetition, and the speed-up is that of one
 * repetition, so that a machine whose speed drifts does not show in it.
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

static void
measure(search_t *s, const expected_t *expected, const dataset_t *set, int rep, pass_t *first,
		int first_clients)
{
	char	   *at = format_string("%d", s->nconn);
	pass_t		p;
	bool		is_first = first->qps == 0;

	/*
	 * The cores change places from repetition to repetition: one of them may be
	 * busier.
	 */
	if (!search_pin(s, rep))
		die("a process cannot be moved any more");
	(void) search_warm(s, SETTLE_QUERIES);
	p = search_pass(s, expected);
	if (is_first)
		*first = p;
	result_add(set->name, s->system->name, "scaling", at, rep, "recall", p.recall);
	result_add(set->name, s->system->name, "scaling", at, rep, "qps", p.qps);
	result_add(set->name, s->system->name, "scaling", at, rep, "p50_us", p.p50_us);
	result_add(set->name, s->system->name, "scaling", at, rep, "p99_us", p.p99_us);
	result_add(set->name, s->system->name, "scaling", at, rep, "cpu_us", p.cpu_us);
	if (!is_first)
	{
		result_add(set->name, s->system->name, "scaling", at, rep, "speedup", p.qps / first->qps);

		/* What it would be if nobody else had used the cores. */
		result_add(set->name, s->system->name, "scaling", at, rep, "cpu_speedup",
				   (double) s->nconn / first_clients * first->cpu_us / p.cpu_us);
	}
	fprintf(stderr, "%-12s %d clients, %s=%s  recall %.4f  %8.1f qps (x %.2f)  p99 %6.0f us  cpu %6.0f us\n",
			s->system->name, s->nconn, s->system->sweep_name, s->value, p.recall, p.qps,
			p.qps / first->qps, p.p99_us, p.cpu_us);
	free(at);
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
		{
			pass_t		first = {0};

			for (int j = 0; j < o->nclients; j++)
				measure(&searches[i * o->nclients + j], &expected, set, rep, &first,
						o->clients[0]);
		}
	for (int i = 0; i < n * o->nclients; i++)
		search_close(&searches[i]);
	expected_free(&expected);
	free(searches);
}
