/*
 * report.h
 *		The results as Markdown, ready for a document.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "dataset.h"
#include "systems.h"

typedef struct
{
	int			argc;
	char	  **argv;
	const dataset_t *sets;
	int			nsets;
	const system_t *systems;
	int			nsystems;
	char	  **titles;			/* how programs describe themselves; NULL: SQL */
	const char *conninfo;
	size_t		k;
	int			reps;
	int			connections;
	bool		best;			/* fastest repetitions instead of medians */
} report_t;

/* To a file, or to standard output for "-". */
extern void report_write(const report_t *report, const char *path);

#endif
