/*
 * mirror.h
 *		What keeping a cached copy of an index current costs an insert.
 */
#ifndef BENCH_MIRROR_H
#define BENCH_MIRROR_H

#include "churn.h"

/* For the systems with prepare and unprepare; the others are passed over. */
extern void mirror_run(const system_t *systems, int n, const dataset_t *set,
					   const churn_options_t *options, int reps);

#endif
