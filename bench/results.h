/*
 * results.h
 *		Everything measured, as flat rows: one number each.
 *
 * The rows are the CSV; tables, medians and plots are made from them.
 */
#ifndef BENCH_RESULTS_H
#define BENCH_RESULTS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct
{
	const char *dataset;
	const char *system;
	const char *test;			/* build, sweep, insert, vacuum, ... */
	const char *at;				/* value of the sweep, variant of the test */
	int			rep;
	const char *metric;			/* recall, qps, ... with its unit */
	double		value;
} result_row_t;

/* Strings are copied; a value that is not a number (unknown) adds no row. */
extern void result_add(const char *dataset, const char *system, const char *test,
					   const char *at, int rep, const char *metric, double value);

/*
 * The repetitions in one number: their median, or the fastest of them after
 * results_use_best() (times and rates only; recall stays a median).  False
 * when nothing was measured.
 */
extern void results_use_best(void);
extern bool result_summary(const char *dataset, const char *system, const char *test,
						  const char *at, const char *metric, double *value);

/* Every row, in the order of measurement. */
extern const result_row_t *result_rows(size_t *count);

extern double median_of(double *values, size_t n);

/* Also written after every row added from then on, so that a crash loses none. */
extern void results_csv(const char *path);

#endif
