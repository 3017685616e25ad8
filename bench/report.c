/*
 * report.c
 *		Tables of medians (or best repetitions), with the ratio to the first system.
 */
#include "report.h"
#include "fail.h"
#include "machine.h"
#include "results.h"
#include "server.h"
#include "tables.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double recall_targets[] = {0.90, 0.95, 0.98, 0.99};
#define MAX_PLACES 16
#define NTARGETS (sizeof(recall_targets) / sizeof(recall_targets[0]))

/*
 * The options that change the numbers: where files lie, how to connect and
 * where output goes are the reader's own.
 */
static void
write_command(FILE *out, const report_t *r)
{
	static const char *const private_options[] = {"--conninfo", "--csv", "--svg", "--markdown"};

	fprintf(out, "- Command: `knn-bench");
	for (int i = 1; i < r->argc; i++)
	{
		const char *word = r->argv[i];
		const char *slash = strrchr(word, '/');
		bool		private = false;

		for (size_t j = 0; j < sizeof(private_options) / sizeof(private_options[0]); j++)
		{
			size_t		n = strlen(private_options[j]);

			if (strncmp(word, private_options[j], n) != 0)
				continue;
			private = true;
			if (word[n] == '\0')
				i++;			/* its value is the next word */
		}
		if (private)
			continue;
		if (slash != NULL)
			word = slash + 1;
		fprintf(out, strpbrk(word, " '\"*;<>|&()$") != NULL ? " '%s'" : " %s", word);
	}
	fprintf(out, "`\n");
}

static void
write_servers(FILE *out, const report_t *r)
{
	static const char *const settings[] =
	{
		"shared_buffers", "maintenance_work_mem", "work_mem", "fsync", "full_page_writes",
		"wal_compression", "max_wal_size", "max_parallel_maintenance_workers",
		"shared_preload_libraries", "knn.cache_size", "huge_pages",
	};
	char	   *before = copy_string("");

	for (int i = 0; i < r->nsystems; i++)
	{
		const system_t *s = &r->systems[i];
		PGconn	   *conn;
		char	   *server;
		char	   *version = NULL;

		if (s->program != NULL)
		{
			fprintf(out, "- %s: %s %s, no server, `%s`, sweep of `%s`\n", s->name, s->program,
					r->titles[i] != NULL ? r->titles[i] : "", s->index, s->sweep_name);
			continue;
		}
		conn = server_connect(s, r->conninfo);
		server = server_text(conn, "SHOW server_version");
		if (s->extension != NULL)
			version = server_text(conn, "SELECT extversion FROM pg_extension WHERE extname = '%s'",
								  s->extension);
		fprintf(out, "- %s: ", s->name);
		if (s->extension != NULL)
			fprintf(out, "extension %s %s, ", s->extension, version ? version : "(unknown)");
		fprintf(out, "`%s`, sweep of `%s`", s->index, s->sweep_name);
		for (int j = 0; j < s->nset; j++)
			fprintf(out, ", `%s = %s`", s->set_names[j], s->set_values[j]);
		if (s->prepare != NULL)
			fprintf(out, ", after `%s`", s->prepare);
		fprintf(out, "\n");
		free(version);

		/* The same server is described once. */
		{
			char	   *text = format_string("- PostgreSQL %s", server);

			for (size_t j = 0; j < sizeof(settings) / sizeof(settings[0]); j++)
			{
				char	   *value = server_text(conn, "SELECT current_setting('%s', true)", settings[j]);
				char	   *longer;

				/* A setting of an extension that is not loaded. */
				if (value == NULL)
					continue;
				longer = format_string("%s%s%s = %s", text, j ? ", " : ": ", settings[j],
									   *value ? value : "(empty)");
				free(text);
				free(value);
				text = longer;
			}
			if (strcmp(text, before) != 0)
				fprintf(out, "%s\n", text);
			free(before);
			before = text;
		}
		free(server);
		PQfinish(conn);
	}
	free(before);
}

/* better is the sign of a bound: the least exact point is worse than the target's. */
static void
write_targets(FILE *out, const report_t *r, const dataset_t *set, const char *label,
			  const char *metric, const char *better)
{
	table_head(out, r, label);
	for (size_t t = 0; t < NTARGETS; t++)
	{
		double	   *value = alloc_array((size_t) r->nsystems, sizeof(*value));
		char	   *sign = alloc_array((size_t) r->nsystems, 1);

		fprintf(out, "| %.2f |", recall_targets[t]);
		for (int i = 0; i < r->nsystems; i++)
		{
			sign[i] = value_at_recall(set, &r->systems[i], recall_targets[t], metric, &value[i]);
			if (sign[i] == 0)
				fprintf(out, " not reached |");
			else
				fprintf(out, " %s%.0f |", sign[i] == '>' ? better : "", value[i]);
		}
		for (int i = 1; i < r->nsystems; i++)
		{
			/* A ratio of bounds would be no number. */
			if (sign[i] == '=' && sign[0] == '=')
				fprintf(out, " %.2f |", value[i] / value[0]);
			else
				fprintf(out, " - |");
		}
		fprintf(out, "\n");
		free(value);
		free(sign);
	}
	fprintf(out, "\n");
}

static void
write_curves(FILE *out, const report_t *r, const dataset_t *set)
{
	static const char *const metrics[] = {"recall", "qps", "p50_us", "p95_us", "p99_us", "cpu_us"};

	for (int i = 0; i < r->nsystems; i++)
	{
		const system_t *s = &r->systems[i];

		fprintf(out, "| %s `%s` | recall@%zu | queries/s | p50 µs | p95 µs | p99 µs | server CPU µs |\n"
				"|---:|---:|---:|---:|---:|---:|---:|\n", s->name, s->sweep_name, r->k);
		for (int v = 0; v < s->nsweep; v++)
		{
			double		value;

			fprintf(out, "| %s |", s->sweep_values[v]);
			for (size_t m = 0; m < sizeof(metrics) / sizeof(metrics[0]); m++)
				if (result_summary(set->name, s->name, "sweep", s->sweep_values[v], metrics[m], &value))
					fprintf(out, m == 0 ? " %.4f |" : " %.0f |", value);
				else
					fprintf(out, " - |");
			fprintf(out, "\n");
		}
		fprintf(out, "\n");
	}
}

static bool
any_above_zero(const report_t *r, const dataset_t *set, const char *at, const char *metric)
{
	double		value;

	for (int i = 0; i < r->nsystems; i++)
		if (result_summary(set->name, r->systems[i].name, "recall", at, metric, &value) && value > 0)
			return true;
	return false;
}

static void
write_churn(FILE *out, const report_t *r, const dataset_t *set)
{
	/* The shares deleted are options, so their names are looked up. */
	const char *places[MAX_PLACES];
	int			nplaces;

	table_head(out, r, "writing");
	table_row(out, r, set, "INSERT, a transaction each, asynchronous commit (rows/s)",
			  "insert", "async_commit", "rows_per_second", 1);
	table_row(out, r, set, "INSERT, a transaction each, synchronous commit (rows/s)",
			  "insert", "sync_commit", "rows_per_second", 1);
	table_row(out, r, set, "INSERT, all in one transaction (rows/s)",
			  "insert", "one_transaction", "rows_per_second", 1);
	table_row(out, r, set, "server CPU of that (µs per row)",
			  "insert", "one_transaction", "cpu_us", 1);
	table_row(out, r, set, "COPY of rows deleted before (rows/s)",
			  "insert", "copy_deleted", "rows_per_second", 1);
	table_row(out, r, set, "COPY of equal rows (rows/s)", "insert", "equal_rows",
			  "rows_per_second", 1);
	table_row(out, r, set, "WAL per row, table without index (bytes)", "wal", "no_index",
			  "bytes_per_row", 1);
	table_row(out, r, set, "WAL per row right after a checkpoint (bytes)", "wal",
			  "after_checkpoint", "bytes_per_row", 1);
	table_row(out, r, set, "full-page images per row right after a checkpoint", "wal",
			  "after_checkpoint", "full_pages_per_row", 1);
	table_row(out, r, set, "WAL per row, steady (bytes)", "wal", "steady", "bytes_per_row", 1);
	table_row(out, r, set, "full-page images per row, steady", "wal", "steady",
			  "full_pages_per_row", 1);
	table_row(out, r, set, "WAL per equal row (bytes)", "wal", "equal_rows", "bytes_per_row", 1);
	nplaces = places_of(set, "vacuum", "seconds", places, MAX_PLACES);
	for (int i = 0; i < nplaces; i++)
	{
		char	   *total = format_string("VACUUM at %s deleted (s)", places[i]);
		char	   *index = format_string("VACUUM at %s deleted, index part (s)", places[i]);
		char	   *cpu = format_string("VACUUM at %s deleted, server CPU (s)", places[i]);
		char	   *wal = format_string("VACUUM at %s deleted, WAL (MB)", places[i]);

		table_row(out, r, set, total, "vacuum", places[i], "seconds", 1);
		table_row(out, r, set, index, "vacuum", places[i], "index_seconds", 1);
		table_row(out, r, set, cpu, "vacuum", places[i], "cpu_seconds", 1);
		table_row(out, r, set, wal, "vacuum", places[i], "wal_bytes", 1e6);
		free(total);
		free(index);
		free(cpu);
		free(wal);
	}
	fprintf(out, "\n");

	table_head(out, r, "recall while the table changes");
	table_row(out, r, set, "at the setting", "churn_setting", "", "value", 1);
	nplaces = places_of(set, "recall", "recall", places, MAX_PLACES);
	for (int i = 0; i < nplaces; i++)
	{
		char	   *qps = format_string("%s, queries/s", places[i]);
		char	   *cpu = format_string("%s, server CPU µs per query", places[i]);
		char	   *bytes = format_string("%s, index (MB)", places[i]);

		table_row(out, r, set, places[i], "recall", places[i], "recall", 1);
		table_row(out, r, set, qps, "recall", places[i], "qps", 1);
		table_row(out, r, set, cpu, "recall", places[i], "cpu_us", 1);
		table_row(out, r, set, bytes, "recall", places[i], "index_bytes", 1e6);
		if (any_above_zero(r, set, places[i], "short_answers"))
		{
			char	   *few = format_string("%s, queries with fewer than %zu rows", places[i], r->k);

			table_row(out, r, set, few, "recall", places[i], "short_answers", 1);
			free(few);
		}
		free(qps);
		free(cpu);
		free(bytes);
	}
	fprintf(out, "\n");
}

/* A system without the cache it is meant to have is another system. */
static void
write_prepared(FILE *out, const report_t *r, const dataset_t *set)
{
	double		done;

	for (int i = 0; i < r->nsystems; i++)
		if (result_summary(set->name, r->systems[i].name, "prepare", "", "done", &done) && done == 0)
			fprintf(out, "%s was measured without its cache: `%s` failed.\n\n", r->systems[i].name,
					r->systems[i].prepare);
}

void
report_write(const report_t *r, const char *path)
{
	FILE	   *out = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");

	if (out == NULL)
		die("cannot write --markdown \"%s\": %s", path, strerror(errno));
	machine_write(out);
	write_servers(out, r);
	write_command(out, r);
	fprintf(out, "- %s of %d repetitions of the sweep, systems in turn; %d connection%s; k = %zu\n",
			r->best ? "Fastest" : "Medians", r->reps, r->connections, r->connections == 1 ? "" : "s", r->k);
	for (int d = 0; d < r->nsets; d++)
	{
		const dataset_t *set = &r->sets[d];

		fprintf(out, "\n## %s: %zu x %u, %s, %zu queries\n\n", set->name, set->base.rows,
				set->base.dim, metric_name(set->metric), set->query.rows);
		if (has_test(set, "build"))
		{
			table_head(out, r, "build");
			table_row(out, r, set, "time (s)", "build", "", "seconds", 1);
			table_row(out, r, set, "server CPU (s)", "build", "", "cpu_seconds", 1);
			table_row(out, r, set, "index (MB)", "build", "", "index_bytes", 1e6);
			table_row(out, r, set, "WAL (MB)", "build", "", "wal_bytes", 1e6);
			fprintf(out, "\n");
		}
		write_prepared(out, r, set);
		if (has_test(set, "sweep"))
		{
			write_ratios(out, r, set);
			write_targets(out, r, set, "queries/s at recall", "qps", "≥ ");
			write_targets(out, r, set, "server CPU µs per query at recall", "cpu_us", "≤ ");
			write_latencies(out, r, set);
			write_curves(out, r, set);
		}
		write_scaling(out, r, set);
		write_cache(out, r, set);
		write_mirror(out, r, set);
		if (has_test(set, "recall"))
			write_churn(out, r, set);
	}
	if (out != stdout && fclose(out) != 0)
		die("cannot write --markdown \"%s\": %s", path, strerror(errno));
	fflush(out == stdout ? stdout : NULL);
}
