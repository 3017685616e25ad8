/*
 * program.h
 *		A rival that is a program of its own, not an extension: it keeps the
 *		vectors and the index in its memory and is driven over a pipe.
 */
#ifndef BENCH_PROGRAM_H
#define BENCH_PROGRAM_H

#include "systems.h"

typedef struct program_t program_t;

/* What one search of all queries gave, for each client in turn. */
typedef struct
{
	double	   *seconds;		/* clients: from its first query to its last answer */
	double		cpu_seconds;
	int32_t    *ids;			/* clients x queries x k */
	int32_t    *counts;			/* clients x queries */
	double	   *latencies;		/* clients x queries x rounds */
} program_answer_t;

typedef struct
{
	double		seconds;
	double		cpu_seconds;
	double		bytes;
} program_build_t;

/* Whether the program was built; it lies beside this one. */
extern bool program_exists(const system_t *system);

/* Starts it and hands it the base and the queries. */
extern program_t *program_start(const system_t *system, const dataset_t *set);
extern void program_stop(program_t *p);

/* How it describes itself: name, version, what it was compiled for. */
extern const char *program_title(const program_t *p);

extern program_build_t program_build(program_t *p);
extern void program_warm(program_t *p, const char *value, size_t k, size_t queries);

/* cores has a number for each client, -1 where it may run anywhere. */
extern program_answer_t program_search(program_t *p, const char *value, size_t k, size_t rounds,
									   const int *cores, size_t clients);
extern void program_answer_free(program_answer_t *a);

#endif
