/*
 * report_rivals.c
 *		How systems compare at the same recall, and with more clients.
 */
#include "tables.h"
#include "fail.h"
#include "results.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PLACES 16

/* What the others are measured against, where they were measured too. */
static const char *const references[] = {"pgvector", "hnswlib"};
#define NREFERENCES (sizeof(references) / sizeof(references[0]))

static const double ratio_targets[] = {0.90, 0.95, 0.99};
#define NRATIOS (sizeof(ratio_targets) / sizeof(ratio_targets[0]))

static const double latency_targets[] = {0.95, 0.99};
#define NLATENCIES (sizeof(latency_targets) / sizeof(latency_targets[0]))

static const system_t *
find_system(const report_t *r, const char *name)
{
	for (int i = 0; i < r->nsystems; i++)
		if (strcmp(r->systems[i].name, name) == 0)
			return &r->systems[i];
	return NULL;
}

static void
write_ratio(FILE *out, const dataset_t *set, const system_t *s, const system_t *reference,
			double target, const char *metric, bool more_is_better)
{
	double		mine,
				theirs;
	char		sign = value_at_recall(set, s, target, metric, &mine);
	char		their_sign = value_at_recall(set, reference, target, metric, &theirs);

	if (sign == 0 || their_sign == 0)
		fprintf(out, " - |");
	else if (s == reference)
		fprintf(out, " 1 |");
	else if (sign == '>' && their_sign == '>')
		fprintf(out, " - |");		/* a ratio of bounds would be no number */
	else
		fprintf(out, " %s%.2f |", sign == '>' ? "≥ " : their_sign == '>' ? "≤ " : "",
				more_is_better ? mine / theirs : theirs / mine);
}

static void
write_speeds(FILE *out, const report_t *r, const dataset_t *set, const char *label,
			 const char *metric, bool more_is_better)
{
	int			columns = 0;

	fprintf(out, "| %s |", label);
	for (size_t i = 0; i < NREFERENCES; i++)
		for (size_t t = 0; t < NRATIOS && find_system(r, references[i]) != NULL; t++, columns++)
			fprintf(out, " %s at %.2f |", references[i], ratio_targets[t]);
	fprintf(out, "\n|---|");
	for (int i = 0; i < columns; i++)
		fprintf(out, "---:|");
	fprintf(out, "\n");
	for (int s = 0; s < r->nsystems; s++)
	{
		fprintf(out, "| %s |", r->systems[s].name);
		for (size_t i = 0; i < NREFERENCES; i++)
		{
			const system_t *reference = find_system(r, references[i]);

			for (size_t t = 0; t < NRATIOS && reference != NULL; t++)
				write_ratio(out, set, &r->systems[s], reference, ratio_targets[t], metric,
							more_is_better);
		}
		fprintf(out, "\n");
	}
	fprintf(out, "\n");
}

void
write_ratios(FILE *out, const report_t *r, const dataset_t *set)
{
	bool		any = false;

	for (size_t i = 0; i < NREFERENCES; i++)
		any |= find_system(r, references[i]) != NULL;
	if (!any)
		return;
	write_speeds(out, r, set, "queries/s over", "qps", true);

	/* Waiting for a core that others use is in a mean, not in a median. */
	write_speeds(out, r, set, "speed by p50 latency over", "p50_us", false);
}

void
write_latencies(FILE *out, const report_t *r, const dataset_t *set)
{
	fprintf(out, "| latency at recall |");
	for (size_t t = 0; t < NLATENCIES; t++)
		fprintf(out, " %.2f: p50 µs | p99 µs | p99 / p50 |", latency_targets[t]);
	fprintf(out, "\n|---|");
	for (size_t t = 0; t < NLATENCIES; t++)
		fprintf(out, "---:|---:|---:|");
	fprintf(out, "\n");
	for (int i = 0; i < r->nsystems; i++)
	{
		fprintf(out, "| %s |", r->systems[i].name);
		for (size_t t = 0; t < NLATENCIES; t++)
		{
			double		p50,
						p99;
			char		sign = value_at_recall(set, &r->systems[i], latency_targets[t], "p50_us", &p50);

			if (sign == 0 ||
				value_at_recall(set, &r->systems[i], latency_targets[t], "p99_us", &p99) == 0)
				fprintf(out, " not reached | - | - |");
			else
				fprintf(out, " %s%.0f | %s%.0f | %.2f |", sign == '>' ? "≤ " : "", p50,
						sign == '>' ? "≤ " : "", p99, p99 / p50);
		}
		fprintf(out, "\n");
	}
	fprintf(out, "\n");
}

void
write_scaling(FILE *out, const report_t *r, const dataset_t *set)
{
	const char *clients[MAX_PLACES];
	int			n = places_of(set, "scaling", "qps", clients, MAX_PLACES);

	if (n == 0)
		return;
	table_head(out, r, "clients, each on a core with its server process");
	table_row(out, r, set, "at the setting", "scaling_setting", "", "value", 1);
	for (int i = 0; i < n; i++)
	{
		char	   *qps = format_string("%s: queries/s", clients[i]);
		char	   *speedup = format_string("**%s over %s**, median over the repetitions", clients[i],
											clients[0]);
		char	   *by_cpu = format_string("%s over %s by server CPU per query", clients[i],
										   clients[0]);
		char	   *p99 = format_string("%s: p99 µs", clients[i]);
		char	   *cpu = format_string("%s: server CPU µs per query", clients[i]);

		table_row(out, r, set, qps, "scaling", clients[i], "qps", 1);
		table_row(out, r, set, speedup, "scaling", clients[i], "speedup", 1);
		table_row(out, r, set, by_cpu, "scaling", clients[i], "cpu_speedup", 1);
		table_row(out, r, set, p99, "scaling", clients[i], "p99_us", 1);
		table_row(out, r, set, cpu, "scaling", clients[i], "cpu_us", 1);
		free(qps);
		free(speedup);
		free(by_cpu);
		free(p99);
		free(cpu);
	}
	fprintf(out, "\n");
}
