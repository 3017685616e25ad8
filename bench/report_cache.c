/*
 * report_cache.c
 *		What a cache of indexes costs: to fill, to find empty, to keep current.
 */
#include "tables.h"
#include "fail.h"
#include "results.h"

#include <stdlib.h>
#include <string.h>

/* Only the systems with a cache get a column; free its systems. */
static report_t
with_test(const report_t *r, const dataset_t *set, const char *test)
{
	report_t	some = *r;
	system_t   *systems = alloc_array((size_t) r->nsystems, sizeof(*systems));
	size_t		n;
	const result_row_t *rows = result_rows(&n);

	some.nsystems = 0;
	for (int i = 0; i < r->nsystems; i++)
		for (size_t j = 0; j < n; j++)
			if (strcmp(rows[j].dataset, set->name) == 0 && strcmp(rows[j].test, test) == 0 &&
				strcmp(rows[j].system, r->systems[i].name) == 0)
			{
				systems[some.nsystems++] = r->systems[i];
				break;
			}
	some.systems = systems;
	return some;
}

void
write_cache(FILE *out, const report_t *all, const dataset_t *set)
{
	static const struct
	{
		const char *label,
				   *at,
				   *metric;
		double		unit;
	}			lines[] =
	{
		{"index (MB)", "warmup", "index_bytes", 1e6},
		{"of it in the cache (MB)", "warmup", "cache_bytes", 1e6},
		{"loading it from shared buffers (ms)", "warmup", "seconds", 1e-3},
		{"server CPU of that (ms)", "warmup", "cpu_seconds", 1e-3},
		{"GB/s", "warmup", "gb_per_second", 1},
		{"first query of a connection, loaded (µs)", "loaded", "query_1_us", 1},
		{"second", "loaded", "query_2_us", 1},
		{"third", "loaded", "query_3_us", 1},
		{"first query of a connection, cache empty (µs)", "empty", "query_1_us", 1},
		{"second", "empty", "query_2_us", 1},
		{"third", "empty", "query_3_us", 1},
	};
	report_t	r = with_test(all, set, "cache");

	if (r.nsystems > 0)
	{
		table_head(out, &r, "cache");
		for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
			table_row(out, &r, set, lines[i].label, "cache", lines[i].at, lines[i].metric,
					  lines[i].unit);
		fprintf(out, "\n");
	}
	free((void *) r.systems);
}

void
write_mirror(FILE *out, const report_t *all, const dataset_t *set)
{
	static const char *const lines[][2] =
	{
		{"rows/s, in the cache", "mirror_rows_per_second"},
		{"rows/s, not in it", "plain_rows_per_second"},
		{"server CPU (µs per row), in the cache", "mirror_cpu_us"},
		{"server CPU (µs per row), not in it", "plain_cpu_us"},
		{"**ratio of server CPU**, median over pairs", "cpu_ratio"},
		{"WAL per row (bytes), in the cache", "mirror_wal_bytes"},
		{"WAL per row (bytes), not in it", "plain_wal_bytes"},
		{"of that without page images, in the cache", "mirror_wal_record_bytes"},
		{"of that without page images, not in it", "plain_wal_record_bytes"},
		{"**ratio of WAL without page images**, median over pairs", "wal_record_ratio"},
		{"full-page images per row, in the cache", "mirror_full_pages"},
		{"full-page images per row, not in it", "plain_full_pages"},
		{"recall of searches, in the cache", "mirror_recall"},
		{"recall of searches, not in it", "plain_recall"},
	};
	static const char *const places[] = {"one_transaction", "async_commit", "after"};
	report_t	r = with_test(all, set, "mirror_insert");

	for (size_t p = 0; p < sizeof(places) / sizeof(places[0]) && r.nsystems > 0; p++)
	{
		char	   *title = format_string("inserts, %s", places[p]);

		table_head(out, &r, title);
		for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
			table_row(out, &r, set, lines[i][0], "mirror_insert", places[p], lines[i][1], 1);
		fprintf(out, "\n");
		free(title);
	}
	free((void *) r.systems);
}
