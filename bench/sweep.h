/*
 * sweep.h
 *		Running all queries through an index and judging the answers.
 */
#ifndef BENCH_SWEEP_H
#define BENCH_SWEEP_H

#include "program.h"
#include "server.h"

/*
 * What a right answer is, for a table that may have lost rows or gained equal
 * ones.  An answer is right when it is no farther than the k-th nearest row,
 * so ties count whichever of them is returned.
 */
typedef struct
{
	const dataset_t *set;
	size_t		k;
	double	   *kth;			/* per query: distance of the k-th nearest */
	const uint8_t *alive;		/* rows still there; NULL: all */
	size_t		equal_rows;		/* ids from base.rows on, ... */
	const float *equal;			/* ... all with this vector */
} expected_t;

extern void expected_init(expected_t *e, const dataset_t *set, size_t k,
						  const uint8_t *alive, size_t equal_rows, const float *equal);
extern void expected_free(expected_t *e);

/*
 * Connections with the query prepared, and what they need; or a program that
 * searches in the same way.
 */
typedef struct
{
	const system_t *system;
	const dataset_t *set;
	size_t		k;
	size_t		rounds;			/* times that a pass asks all queries */
	int			nconn;
	int		   *cores;			/* of each client and its server process; -1: any */
	PGconn	  **conns;
	char	   *index;
	unsigned char *params;		/* every query in wire form */
	program_t  *program;		/* NULL: SQL */
	const char *value;			/* of the sweep, for a program */
} search_t;

typedef struct
{
	double		recall;
	double		qps;
	double		p50_us;
	double		p95_us;
	double		p99_us;
	double		cpu_us;			/* server's processor time a query; NAN if unknown */
	double		short_answers;	/* queries that returned fewer than k rows */
} pass_t;

extern void search_open(search_t *s, const system_t *system, const dataset_t *set,
						const char *table, size_t k, int connections, const char *conninfo);
extern void search_open_program(search_t *s, const system_t *system, const dataset_t *set,
								program_t *program, size_t k, int clients);
extern void search_close(search_t *s);

/* Sets the sweep's setting and makes sure that the plan uses the index. */
extern void search_at(search_t *s, const char *value);

/*
 * Puts each client and its server process together on a core of their own,
 * beginning with the core of that number.  False when that cannot be done: too
 * few cores, a server elsewhere, or another user's.
 */
extern bool search_pin(search_t *s, int first_core);

/* Seconds of the first connection's next query. */
extern double search_one(search_t *s, size_t q);

/*
 * Runs the first n queries and judges nothing; returns about how many seconds
 * one took.
 */
extern double search_warm(search_t *s, size_t n);

/* As many rounds that a pass lasts so long, when a query takes so long. */
extern void search_last(search_t *s, double pass_seconds, double query_seconds);

/* All queries, timed and judged. */
extern pass_t search_pass(search_t *s, const expected_t *e);

#endif
