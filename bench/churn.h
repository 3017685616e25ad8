/*
 * churn.h
 *		What writing costs, and what it does to recall.
 */
#ifndef BENCH_CHURN_H
#define BENCH_CHURN_H

#include "server.h"

typedef struct
{
	size_t		insert_rows;	/* single-row inserts per variant */
	size_t		equal_rows;
	const char *at;				/* value of the sweep for recall; NULL: its middle */
	double		delete_fraction;	/* before the VACUUM that is timed */
	size_t		k;
	const char *conninfo;
} churn_options_t;

/*
 * Every step for each system in turn, so that drift of the machine hits all.
 * The tables must be loaded; they are left changed.
 */
extern void churn_run(const system_t *systems, int nsystems, const dataset_t *set,
					  const churn_options_t *options);

#endif
