/*
 * sweep.c
 *		Prepared queries on one or more connections, latencies and recall.
 */
#define _GNU_SOURCE
#include "sweep.h"
#include "fail.h"
#include "load.h"
#include "pin.h"
#include "progress.h"
#include "results.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The server adds in float, this program in double.  Relative to 1 + distance,
 * so that it also covers cosine distances near zero.
 */
#define TIE_SLACK 1e-6

#define MAX_ROUNDS 1000

void
expected_init(expected_t *e, const dataset_t *set, size_t k, const uint8_t *alive,
			  size_t equal_rows, const float *equal)
{
	size_t		tk = set->truth_k;
	double	   *nearest = alloc_array(k, sizeof(double));
	int32_t    *ids = alloc_array(k, sizeof(int32_t));

	e->set = set;
	e->k = k;
	e->alive = alive;
	e->equal_rows = equal_rows;
	e->equal = equal;
	e->kth = alloc_array(set->query.rows, sizeof(double));
	progress_begin("expected answers", set->query.rows);
	for (size_t q = 0; q < set->query.rows; q++)
	{
		size_t		n = 0;

		/* The truth is longer than k: usually enough of it is still alive. */
		for (size_t j = 0; j < tk && n < k; j++)
			if (alive == NULL || alive[set->truth[q * tk + j]])
				nearest[n++] = set->truth_distance[q * tk + j];
		if (n < k)
			n = exact_nearest(&set->base, set->metric, matrix_row(&set->query, q), alive, k,
							  ids, nearest);
		if (equal_rows > 0)
		{
			double		d = exact_distance(set->metric, matrix_row(&set->query, q), equal,
										   set->base.dim);
			size_t		nearer = 0;

			while (nearer < n && nearest[nearer] <= d)
				nearer++;
			for (size_t j = nearer; j < k && j < nearer + equal_rows; j++)
				nearest[j] = d; /* what follows them is not needed: k is reached */
			if (nearer + equal_rows >= k)
				n = k;
			else
				die("fewer equal rows than neighbours to ask for");
		}
		if (n < k)
			die("only %zu rows are left, fewer than the %zu neighbours to ask for", n, k);
		e->kth[q] = nearest[k - 1];
		progress_at(q);
	}
	progress_end();
	free(nearest);
	free(ids);
}

void
expected_free(expected_t *e)
{
	free(e->kth);
	e->kth = NULL;
}

static double
judge(const expected_t *e, size_t q, const int32_t *ids, size_t n, const char *system)
{
	const dataset_t *set = e->set;
	const float *query = matrix_row(&set->query, q);
	double		limit = e->kth[q] + TIE_SLACK * (1 + fabs(e->kth[q]));
	size_t		right = 0;

	for (size_t i = 0; i < n; i++)
	{
		const float *v;

		if (ids[i] < 0 || (size_t) ids[i] >= set->base.rows + e->equal_rows)
			die("system \"%s\", query %zu: returned id %d, which no row has", system, q, ids[i]);
		for (size_t j = 0; j < i; j++)
			if (ids[j] == ids[i])
				die("system \"%s\", query %zu: returned id %d twice", system, q, ids[i]);
		if ((size_t) ids[i] >= set->base.rows)
			v = e->equal;
		else if (e->alive != NULL && !e->alive[ids[i]])
			die("system \"%s\", query %zu: returned id %d, which was deleted", system, q, ids[i]);
		else
			v = matrix_row(&set->base, (size_t) ids[i]);
		if (exact_distance(set->metric, query, v, set->base.dim) <= limit)
			right++;
	}
	return (double) right / (double) e->k;
}

static void
search_init(search_t *s, const system_t *system, const dataset_t *set, size_t k, int clients)
{
	memset(s, 0, sizeof(*s));
	s->system = system;
	s->set = set;
	s->k = k;
	s->rounds = 1;
	s->nconn = clients;
	s->cores = alloc_array((size_t) clients, sizeof(*s->cores));
	for (int i = 0; i < clients; i++)
		s->cores[i] = -1;
}

void
search_open_program(search_t *s, const system_t *system, const dataset_t *set,
					program_t *program, size_t k, int clients)
{
	search_init(s, system, set, k, clients);
	s->program = program;
}

void
search_open(search_t *s, const system_t *system, const dataset_t *set, const char *table,
			size_t k, int connections, const char *conninfo)
{
	const char *template = system->query != NULL ? system->query :
		"SELECT id FROM {table} ORDER BY v {op} $1::{type} LIMIT {k}";
	char	   *query = system_expand(system, template, table, NULL, set, k);
	size_t		wire = vector_wire_size(set->query.dim);

	search_init(s, system, set, k, connections);
	s->conns = alloc_array((size_t) connections, sizeof(*s->conns));
	for (int i = 0; i < connections; i++)
	{
		PGresult   *result;

		s->conns[i] = server_connect(system, conninfo);
		result = PQprepare(s->conns[i], "nearest", query, 0, NULL);
		server_check(s->conns[i], result, PGRES_COMMAND_OK, query);
		PQclear(result);
	}
	s->index = index_of(s->conns[0], table);
	if (s->index == NULL)
		die("%s has no index", table);
	s->params = alloc_array(set->query.rows, wire);
	for (size_t q = 0; q < set->query.rows; q++)
		put_vector(s->params + q * wire, matrix_row(&set->query, q), set->query.dim);
	free(query);
}

void
search_close(search_t *s)
{
	for (int i = 0; i < s->nconn && s->conns != NULL; i++)
		PQfinish(s->conns[i]);
	free(s->conns);
	free(s->cores);
	free(s->index);
	free(s->params);
	memset(s, 0, sizeof(*s));
}

/* EXPLAIN of the prepared statement itself, with the first query. */
static void
check_plan(search_t *s)
{
	const dataset_t *set = s->set;
	size_t		room = 64 + 32 * (size_t) set->query.dim;
	char	   *text = alloc_array(room, 1);
	char	   *at = text;
	char	   *wanted = format_string(" using %s on ", s->index);
	PGresult   *result;
	bool		found = false;

	at += sprintf(at, "EXPLAIN EXECUTE nearest('[");
	for (uint32_t i = 0; i < set->query.dim; i++)
		at += sprintf(at, "%s%.9g", i > 0 ? "," : "", (double) set->query.values[i]);
	sprintf(at, "]')");
	result = PQexec(s->conns[0], text);
	server_check(s->conns[0], result, PGRES_TUPLES_OK, text);
	for (int i = 0; i < PQntuples(result); i++)
		if (strstr(PQgetvalue(result, i, 0), wanted) != NULL)
			found = true;
	if (!found)
	{
		fprintf(stderr, "The plan:\n");
		for (int i = 0; i < PQntuples(result); i++)
			fprintf(stderr, "  %.200s\n", PQgetvalue(result, i, 0));
		die("system \"%s\": the query does not use the index %s (plan above); either its operator class does not serve the operator \"%s\", or the planner finds a sequential scan cheaper (then --set enable_seqscan=off, or more rows)",
			s->system->name, s->index, s->system->operators[set->metric]);
	}
	PQclear(result);
	free(wanted);
	free(text);
}

void
search_at(search_t *s, const char *value)
{
	s->value = value;
	if (s->program != NULL)
		return;
	for (int i = 0; i < s->nconn; i++)
	{
		char	   *literal = PQescapeLiteral(s->conns[i], value, strlen(value));

		server_exec(s->conns[i], "SET %s = %s", s->system->sweep_name, literal);
		PQfreemem(literal);
	}
	check_plan(s);
}

/* Runs query q; fills ids, returns how many rows came. */
static size_t
ask(const search_t *s, PGconn *conn, size_t q, int32_t *ids)
{
	size_t		wire = vector_wire_size(s->set->query.dim);
	const char *value = (const char *) s->params + q * wire;
	int			length = (int) wire;
	int			binary = 1;
	PGresult   *result = PQexecPrepared(conn, "nearest", 1, &value, &length, &binary, 1);
	size_t		n;

	server_check(conn, result, PGRES_TUPLES_OK, "the query of the sweep");
	n = (size_t) PQntuples(result);
	if (n > s->k)
		die("system \"%s\": a query with LIMIT %zu returned %zu rows", s->system->name, s->k, n);
	for (size_t i = 0; i < n; i++)
	{
		if (PQgetlength(result, (int) i, 0) != 4)
			die("system \"%s\": the query must return the table's id (int) first", s->system->name);
		ids[i] = get_int32(PQgetvalue(result, (int) i, 0));
	}
	PQclear(result);
	return n;
}

bool
search_pin(search_t *s, int first_core)
{
	int			cores = pin_cores();

	if (s->nconn > cores)
		return false;
	for (int i = 0; i < s->nconn; i++)
	{
		int			core = pin_core((first_core + i) % cores);

		if (s->program == NULL)
		{
			pid_t		pid = server_pid(s->conns[i]);

			if (pid == 0 || !pin_to(pid, core))
				return false;
		}
		s->cores[i] = core;
	}
	return true;
}

double
search_one(search_t *s, size_t q)
{
	int32_t    *ids = alloc_array(s->k, sizeof(*ids));
	double		seconds = -now_seconds();

	ask(s, s->conns[0], q, ids);
	seconds += now_seconds();
	free(ids);
	return seconds;
}

double
search_warm(search_t *s, size_t n)
{
	int32_t    *ids = alloc_array(s->k, sizeof(*ids));
	size_t		clients = s->program != NULL ? 1 : (size_t) s->nconn;
	double		seconds;

	if (n > s->set->query.rows)
		n = s->set->query.rows;
	seconds = -now_seconds();
	if (s->program != NULL)
		program_warm(s->program, s->value, s->k, n);
	else
		for (size_t c = 0; c < clients; c++)
			for (size_t q = 0; q < n; q++)
				ask(s, s->conns[c], q, ids);
	seconds += now_seconds();
	free(ids);
	return seconds / (double) (n * clients);
}

void
search_last(search_t *s, double pass_seconds, double query_seconds)
{
	double		rounds = ceil(pass_seconds / (query_seconds * (double) s->set->query.rows));

	s->rounds = rounds > MAX_ROUNDS ? MAX_ROUNDS : rounds > 1 ? (size_t) rounds : 1;
}

typedef struct
{
	const search_t *s;
	int			conn;
	pthread_barrier_t *start;
	int32_t    *ids;			/* queries x k, of the last round */
	int32_t    *counts;
	double	   *latencies;		/* queries x rounds */
	double	   *seconds;		/* from its first query to its last answer */
} client_t;

static void *
client_main(void *arg)
{
	client_t   *c = arg;
	const search_t *s = c->s;
	size_t		nq = s->set->query.rows;
	size_t		first = nq * (size_t) c->conn / (size_t) s->nconn;
	int			core = s->cores[c->conn];

	if (core >= 0 && !pin_to(0, core))
		die("cannot move a client to core %d", core);
	pthread_barrier_wait(c->start);
	*c->seconds = -now_seconds();
	for (size_t i = 0; i < nq * s->rounds; i++)
	{
		size_t		q = (first + i) % nq;
		double		t = now_seconds();

		c->counts[q] = (int32_t) ask(s, s->conns[c->conn], q, c->ids + q * s->k);
		c->latencies[i] = now_seconds() - t;
		if (c->conn == 0)
			progress_at(i);
	}
	*c->seconds += now_seconds();
	if (core >= 0)
		pin_undo(0);
	return NULL;
}

/* The same as a program's answer, from threads that send SQL. */
static program_answer_t
search_sql(search_t *s)
{
	size_t		nq = s->set->query.rows;
	size_t		clients = (size_t) s->nconn;
	client_t   *client = alloc_array(clients, sizeof(*client));
	pthread_t  *threads = alloc_array(clients, sizeof(*threads));
	program_answer_t a = {0};
	pthread_barrier_t start;

	a.seconds = alloc_array(clients, sizeof(*a.seconds));
	a.ids = alloc_array(clients * nq * s->k, sizeof(*a.ids));
	a.counts = alloc_array(clients * nq, sizeof(*a.counts));
	a.latencies = alloc_array(clients * nq * s->rounds, sizeof(*a.latencies));
	pthread_barrier_init(&start, NULL, (unsigned) clients);
	for (size_t c = 0; c < clients; c++)
		a.cpu_seconds -= server_cpu_seconds(s->conns[c]);
	for (size_t c = 0; c < clients; c++)
	{
		client[c] = (client_t)
		{
			s, (int) c, &start, a.ids + c * nq * s->k, a.counts + c * nq,
				a.latencies + c * nq * s->rounds, a.seconds + c
		};
		if (c > 0 && pthread_create(&threads[c], NULL, client_main, &client[c]) != 0)
			die("cannot start %zu threads; use fewer --connections", clients);
	}
	client_main(&client[0]);
	for (size_t c = 1; c < clients; c++)
		pthread_join(threads[c], NULL);
	pthread_barrier_destroy(&start);
	for (size_t c = 0; c < clients; c++)
		a.cpu_seconds += server_cpu_seconds(s->conns[c]);
	free(client);
	free(threads);
	return a;
}

static double
percentile(const double *sorted, size_t n, double p)
{
	size_t		i = (size_t) ceil(p * (double) n);

	return sorted[i > 0 ? i - 1 : 0];
}

pass_t
search_pass(search_t *s, const expected_t *e)
{
	size_t		nq = s->set->query.rows;
	size_t		clients = (size_t) s->nconn;
	size_t		answers = clients * nq;
	size_t		asked = answers * s->rounds;
	program_answer_t a;
	double		right = 0;
	pass_t		pass = {0};

	progress_begin(s->system->name, nq * s->rounds);
	a = s->program == NULL ? search_sql(s) :
		program_search(s->program, s->value, s->k, s->rounds, s->cores, clients);
	progress_end();
	for (size_t i = 0; i < answers; i++)
	{
		right += judge(e, i % nq, a.ids + i * s->k, (size_t) a.counts[i], s->system->name);
		if ((size_t) a.counts[i] < s->k)
			pass.short_answers += 1;
	}
	(void) median_of(a.latencies, asked);	/* sorts them */
	pass.recall = right / (double) answers;

	/* The sum of the clients' speeds: not the slowest one's alone. */
	for (size_t c = 0; c < clients; c++)
		pass.qps += (double) (nq * s->rounds) / a.seconds[c];
	pass.p50_us = 1e6 * percentile(a.latencies, asked, 0.50);
	pass.p95_us = 1e6 * percentile(a.latencies, asked, 0.95);
	pass.p99_us = 1e6 * percentile(a.latencies, asked, 0.99);
	pass.cpu_us = 1e6 * a.cpu_seconds / (double) asked;
	program_answer_free(&a);
	return pass;
}
