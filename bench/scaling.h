/*
 * scaling.h
 *		How much faster several clients are than one.
 */
#ifndef BENCH_SCALING_H
#define BENCH_SCALING_H

#include "program.h"

#define MAX_SCALING 16

typedef struct
{
	int			clients[MAX_SCALING];
	int			nclients;
	const char *at;				/* value of the sweep; NULL: its middle */
} scaling_options_t;

/* programs[i] is NULL for a system that speaks SQL. */
extern void scaling_run(const system_t *systems, program_t **programs, int n,
						const dataset_t *set, const scaling_options_t *options, size_t k,
						int reps, const char *conninfo);

#endif
