/*
 * tables.h
 *		Pieces of Markdown tables, and numbers looked up for them.
 */
#ifndef BENCH_TABLES_H
#define BENCH_TABLES_H

#include "report.h"

#include <stdio.h>

/* With as many digits as a reader needs. */
extern void write_number(FILE *out, double v);

/*
 * A sweep's metric (greater than zero) at a recall, on the line between the two
 * measured points around it: linear in recall and in the metric's logarithm.
 * Returns '=' for that, '>' when the least exact point is already better (its
 * value is given, the true one is better still), 0 when no point reaches the
 * target.
 */
extern char value_at_recall(const dataset_t *set, const system_t *s, double target,
							const char *metric, double *value);

/* A column for each system, and one for its ratio to the first. */
extern void table_head(FILE *out, const report_t *r, const char *first);

/* A row of medians; nothing when no system has any. */
extern void table_row(FILE *out, const report_t *r, const dataset_t *set, const char *label,
					  const char *test, const char *at, const char *metric, double unit);

/* Whether anything of that test was measured. */
extern bool has_test(const dataset_t *set, const char *test);

/*
 * The different places ("at") of a test's metric, in the order of measurement,
 * whichever system has them.  Returns how many of at most max.
 */
extern int	places_of(const dataset_t *set, const char *test, const char *metric,
					  const char **places, int max);

/* report_cache.c, report_rivals.c: tables of one data set. */
extern void write_ratios(FILE *out, const report_t *r, const dataset_t *set);
extern void write_latencies(FILE *out, const report_t *r, const dataset_t *set);
extern void write_scaling(FILE *out, const report_t *r, const dataset_t *set);
extern void write_cache(FILE *out, const report_t *r, const dataset_t *set);
extern void write_mirror(FILE *out, const report_t *r, const dataset_t *set);

#endif
