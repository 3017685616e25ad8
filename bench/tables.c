/*
 * tables.c
 *		Rows and columns of the report, from the medians of what was measured.
 */
#include "tables.h"
#include "fail.h"
#include "results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void
write_number(FILE *out, double v)
{
	double		size = fabs(v);

	if (size >= 1000 || v == floor(v))
		fprintf(out, "%.0f", v);
	else if (size >= 100)
		fprintf(out, "%.1f", v);
	else if (size >= 1)
		fprintf(out, "%.2f", v);
	else
		fprintf(out, "%.4f", v);
}

char
value_at_recall(const dataset_t *set, const system_t *s, double target, const char *metric,
				double *value)
{
	double		low_recall = -1,
				low_value = 0,
				high_recall = 2,
				high_value = 0;

	for (int v = 0; v < s->nsweep; v++)
	{
		double		recall,
					q;

		if (!result_summary(set->name, s->name, "sweep", s->sweep_values[v], "recall", &recall) ||
			!result_summary(set->name, s->name, "sweep", s->sweep_values[v], metric, &q) ||
			!(q > 0))
			continue;

		/* Nearest on either side; of equal recall the first, which searched less. */
		if (recall >= target && recall < high_recall)
			high_recall = recall, high_value = q;
		if (recall < target && recall > low_recall)
			low_recall = recall, low_value = q;
	}
	if (high_recall > 1)
		return 0;
	if (low_recall < 0)
	{
		*value = high_value;
		return '>';
	}
	*value = exp(log(low_value) + (log(high_value) - log(low_value)) *
				 (target - low_recall) / (high_recall - low_recall));
	return '=';
}

void
table_head(FILE *out, const report_t *r, const char *first)
{
	fprintf(out, "| %s |", first);
	for (int i = 0; i < r->nsystems; i++)
		fprintf(out, " %s |", r->systems[i].name);
	for (int i = 1; i < r->nsystems; i++)
		fprintf(out, " %s / %s |", r->systems[i].name, r->systems[0].name);
	fprintf(out, "\n|---|");
	for (int i = 0; i < 2 * r->nsystems - 1; i++)
		fprintf(out, "---:|");
	fprintf(out, "\n");
}

void
table_row(FILE *out, const report_t *r, const dataset_t *set, const char *label,
		  const char *test, const char *at, const char *metric, double unit)
{
	double	   *values = alloc_array((size_t) r->nsystems, sizeof(*values));
	bool		any = false;

	for (int i = 0; i < r->nsystems; i++)
	{
		if (result_summary(set->name, r->systems[i].name, test, at, metric, &values[i]))
		{
			values[i] /= unit;
			any = true;
		}
		else
			values[i] = NAN;
	}
	if (any)
	{
		fprintf(out, "| %s |", label);
		for (int i = 0; i < r->nsystems; i++)
		{
			fprintf(out, " ");
			if (isnan(values[i]))
				fprintf(out, "-");
			else
				write_number(out, values[i]);
			fprintf(out, " |");
		}
		for (int i = 1; i < r->nsystems; i++)
		{
			if (isnan(values[i]) || isnan(values[0]) || values[0] == 0)
				fprintf(out, " - |");
			else
				fprintf(out, " %.2f |", values[i] / values[0]);
		}
		fprintf(out, "\n");
	}
	free(values);
}

bool
has_test(const dataset_t *set, const char *test)
{
	size_t		n;
	const result_row_t *rows = result_rows(&n);

	for (size_t i = 0; i < n; i++)
		if (strcmp(rows[i].test, test) == 0 && strcmp(rows[i].dataset, set->name) == 0)
			return true;
	return false;
}

int
places_of(const dataset_t *set, const char *test, const char *metric, const char **places, int max)
{
	size_t		n;
	const result_row_t *rows = result_rows(&n);
	int			found = 0;

	for (size_t i = 0; i < n && found < max; i++)
	{
		int			j;

		if (strcmp(rows[i].dataset, set->name) != 0 || strcmp(rows[i].test, test) != 0 ||
			strcmp(rows[i].metric, metric) != 0)
			continue;
		for (j = 0; j < found && strcmp(places[j], rows[i].at) != 0; j++)
			;
		if (j == found)
			places[found++] = rows[i].at;
	}
	return found;
}
