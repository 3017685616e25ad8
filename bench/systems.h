/*
 * systems.h
 *		The systems under test, as an INI file describes them.
 */
#ifndef BENCH_SYSTEMS_H
#define BENCH_SYSTEMS_H

#include <stdbool.h>
#include <stddef.h>

#include "dataset.h"

#define MAX_SWEEP 64
#define MAX_SET 32

typedef struct
{
	char	   *name;			/* section name */
	char	   *program;		/* not SQL but this program (program.h); then only
								 * index and sweep count */
	char	   *conninfo;		/* NULL: the one of the command line */
	char	   *extension;		/* NULL: none to create */
	char	   *type;
	char	   *index;			/* a CREATE INDEX statement; a program's own words */
	char	   *query;			/* NULL: made from operator and type */
	char	   *operators[4];	/* by metric_t */
	char	   *sweep_name;
	char	   *sweep_values[MAX_SWEEP];
	int			nsweep;
	char	   *set_names[MAX_SET];	/* settings of every connection */
	char	   *set_values[MAX_SET];
	int			nset;
	char	   *prepare;		/* statement that loads the index into a cache, ... */
	char	   *unprepare;		/* ... drops it from there, ... */
	char	   *prepared_bytes; /* ... tells how much of it is there; NULL: none */
	char	   *bypass_name;	/* the setting that keeps a session from loading it */
	char	   *bypass_value;
} system_t;

/*
 * Reads every section of the file, or those named in the comma-separated
 * list only, in the list's order.
 */
extern system_t *systems_read(const char *path, const char *only, int *count);

/* Replaces the values of the sweep, "10,20,40". */
extern void system_set_sweep(system_t *system, const char *values);

/* Replaces or adds a setting of every connection. */
extern void system_set(system_t *system, const char *name, const char *value);

/*
 * Fills in {table} {index} {dim} {metric} {op} {type} {k}; dies on a placeholder
 * it does not know.  index is NULL before there is one.
 */
extern char *system_expand(const system_t *system, const char *template, const char *table,
						   const char *index, const dataset_t *set, size_t k);

#endif
