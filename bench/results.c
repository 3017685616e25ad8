/*
 * results.c
 *		The rows, their medians and the CSV file.
 */
#include "results.h"
#include "fail.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static result_row_t *rows;
static size_t nrows;
static FILE *csv;
static bool best;

void
result_add(const char *dataset, const char *system, const char *test, const char *at,
		   int rep, const char *metric, double value)
{
	if (isnan(value))
		return;
	rows = grow_array(rows, nrows + 1, sizeof(*rows));
	rows[nrows++] = (result_row_t)
	{
		copy_string(dataset), copy_string(system), copy_string(test), copy_string(at), rep,
			copy_string(metric), value
	};
	if (csv != NULL)
	{
		fprintf(csv, "%s,%s,%s,%s,%d,%s,%.10g\n", dataset, system, test, at, rep, metric, value);
		fflush(csv);
	}
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a,
				y = *(const double *) b;

	return (x > y) - (x < y);
}

double
median_of(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), compare);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

void
results_use_best(void)
{
	best = true;
}

static bool
ends_with(const char *s, const char *ending)
{
	size_t		n = strlen(s),
				m = strlen(ending);

	return n >= m && strcmp(s + n - m, ending) == 0;
}

bool
result_summary(const char *dataset, const char *system, const char *test, const char *at,
			  const char *metric, double *value)
{
	double	   *values = alloc_array(nrows, sizeof(*values));
	size_t		n = 0;

	for (size_t i = 0; i < nrows; i++)
		if (strcmp(rows[i].metric, metric) == 0 && strcmp(rows[i].at, at) == 0 &&
			strcmp(rows[i].test, test) == 0 && strcmp(rows[i].system, system) == 0 &&
			strcmp(rows[i].dataset, dataset) == 0)
			values[n++] = rows[i].value;
	if (n > 0)
	{
		*value = median_of(values, n);	/* sorts them */
		if (best && (strcmp(metric, "qps") == 0 || ends_with(metric, "per_second")))
			*value = values[n - 1];
		else if (best && (ends_with(metric, "_us") || ends_with(metric, "seconds")))
			*value = values[0];
	}
	free(values);
	return n > 0;
}

const result_row_t *
result_rows(size_t *count)
{
	*count = nrows;
	return rows;
}

void
results_csv(const char *path)
{
	csv = fopen(path, "w");
	if (csv == NULL)
		die("cannot write --csv \"%s\": %s", path, strerror(errno));
	fputs("dataset,system,test,at,rep,metric,value\n", csv);
	fflush(csv);
}
