/*
 * test_faiss.c
 *		Graphs in the form of faiss: builds that result in one, and ways there and back.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checked_run.h"
#include "folder.h"
#include "vectors.h"

#define M 12

static const Job plain = {.data_type = "float", .space = "l2", .encoding = "rotated_8", .dim = 32, .count = 3000,
.threads = 2, .m = M, .ef = 60};

/* ---- results of faiss ---- */

static bool
stored_right(const Graph *g, const char *storage)
{
	const uint8_t *data = g->faiss.codes.data;
	uint64_t	size = g->faiss.codes.size;

	if (strcmp(storage, "none") == 0)
		return data == NULL && g->faiss.codes.encoding == KNN_FAISS_NO_VECTORS;
	for (uint32_t i = 0; i < g->job->count; i++)
	{
		const uint8_t *row = g->rows + (size_t) i * vectors_row_bytes(g->job);
		const uint8_t *code = data + size * i;
		bool		half = strcmp(storage, "half") == 0;

		for (uint32_t j = 0; j < g->job->dim && half; j++)
		{
			float		x = ((const float *) row)[j];

			if (fabsf(knn_half_to_float((knn_half) (code[2 * j] | code[2 * j + 1] << 8)) - x) >
				fabsf(x) / 2048 + 1e-7f)
				return false;
		}
		for (uint32_t j = 0; j < g->job->dim && strcmp(storage, "byte") == 0; j++)
		{
			if (code[j] != (uint8_t) ((int8_t) row[j] + 128))
				return false;
		}
		if ((strcmp(storage, "float") == 0 || strcmp(storage, "binary") == 0) && memcmp(code, row, size) != 0)
			return false;
	}
	return true;
}

static void
test_results(void)
{
	static const struct
	{
		const char *data_type;
		const char *space;
		const char *encoding;
		const char *storage;
		const char *kind;		/* of the index in the map */
		unsigned long long memory;
	}			cases[] = {
		{"float", "l2", "rotated_8", "float", "IHNf", 0},
		{"float", "l2", "rotated_1", "half", "IHNs", 0},
		{"float", "cosinesimil", "rotated_8", "none", "IHNf", 0},
		{"float", "innerproduct", "rotated_8", "float", "IHNf", 0},
		{"byte", "l2", "byte", "byte", "IHNs", 0},
		{"binary", "hamming", "binary", "binary", "IBHf", 0},
		{"binary", "hamming", "binary", "none", "IBHf", 0},
		{"float", "l2", "rotated_8", "half", "IHNs", 280000},
	};

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++)
	{
		Job			job = plain;
		Graph		g;
		char		more[200];
		uint8_t    *rows;
		double		own;
		double		found;
		size_t		before;
		Run			r;

		unit_case("result of faiss: %s, %s stored as %s%s", cases[c].data_type, cases[c].space,
				  cases[c].storage, cases[c].memory ? ", in parts" : "");
		job.data_type = cases[c].data_type;
		job.space = cases[c].space;
		job.encoding = cases[c].encoding;
		job.dim = strcmp(job.data_type, "binary") == 0 ? 256 : 32;
		rows = vectors_write(&job, 0, 1);
		own = searched(&r, "build", &job, rows);
		free(rows);
		rows = vectors_write(&job, 7, 1);
		snprintf(more, sizeof(more), ",\"result_format\":\"faiss\",\"storage\":\"%s\",\"ef_search\":77",
				 cases[c].storage);
		job.more = more;
		job.memory = cases[c].memory;
		if (succeeds(&r, "build", &job) && UNIT_CHECK(graph_open_faiss(&g, &job, rows), "%s", g.problem))
		{
			before = g.faiss.binary ? 25 : 37;
			UNIT_CHECK(memcmp(g.bytes + before, cases[c].kind, 4) == 0, "%.4s", g.bytes + before);
			UNIT_CHECK((run_number(&r, "\"partitions\":") > 1) == (job.memory > 0), "%s", run_last_line(&r));
			UNIT_CHECK(job.memory == 0 || run_number(&r, "\"memory\":") <= (double) job.memory + 512 * 1024,
					   "%s", run_last_line(&r));
			UNIT_CHECK(g.faiss.ntotal == job.count && g.faiss.dimension == (int32_t) job.dim &&
					   g.faiss.metric == (strcmp(job.space, "l2") == 0 || g.faiss.binary ? KNN_FAISS_L2 :
										  KNN_FAISS_INNER_PRODUCT), "header");
			UNIT_CHECK(g.faiss.hnsw.ef_construction == 60 && g.faiss.hnsw.ef_search == 77, "parameters");
			for (uint32_t i = 0; i < job.count; i++)
				UNIT_CHECK(knn_faiss_i64(g.faiss.ids, i) == 7 * (int64_t) i + 3, "id %u", i);
			UNIT_CHECK(stored_right(&g, cases[c].storage), "stored vectors");
			found = recall_of_faiss(&g);
			UNIT_CHECK(found >= own - 0.01, "recall %.3f, of our own graph %.3f", found, own);
			graph_close(&g);
		}
		free(rows);
	}

	{
		Job			job = plain;
		float	   *rows = (float *) vectors_write(&job, 0, 1);
		Run			r;

		unit_case("result of faiss: of no vectors, of one");
		job.more = ",\"result_format\":\"faiss\"";
		for (job.count = 0; job.count < 2; job.count++)
		{
			Graph		g;

			folder_write("v", rows, vectors_row_bytes(&job) * job.count);
			folder_write("i", "\0\0\0\0", 4 * (size_t) job.count);
			succeeds(&r, "build", &job);
			UNIT_CHECK(graph_open_faiss(&g, &job, (const uint8_t *) rows) && g.faiss.ntotal == job.count, "%s",
					   g.problem);
			graph_close(&g);
		}
		unit_case("result of faiss: an element that halves do not have");
		job.count = plain.count;
		free(rows);
		job.more = ",\"result_format\":\"faiss\",\"storage\":\"half\"";
		rows = (float *) vectors_write(&job, 0, 1);
		rows[32 * 100 + 5] = 70000;
		folder_write("v", rows, vectors_row_bytes(&job) * job.count);
		fails("build", &job, "\"bad_input\"", "vector 100 has an element");
		free(rows);
	}
}

/* ---- there and back ---- */

static int
compare_ids(const void *a, const void *b)
{
	uint32_t	x = *(const uint32_t *) a;
	uint32_t	y = *(const uint32_t *) b;

	return x < y ? -1 : x > y;
}

/* The neighbours of a vector at a level as vectors, ascending, the number first. */
static void
vectors_of(const Graph *g, uint32_t node, uint32_t level, uint32_t *out)
{
	const uint32_t *row = level == 0 ? knn_graph_file_links(&g->ours, node) :
		knn_graph_file_upper(&g->ours, node, level);

	out[0] = row[0];
	for (uint32_t i = 1; i <= row[0]; i++)
		out[i] = g->ours.old_of_new[row[i]];
	qsort(out + 1, out[0], sizeof(uint32_t), compare_ids);
}

/* Two graphs of the same vectors have the same levels, links and entry. */
static void
check_same(const Graph *a, const Graph *b)
{
	uint32_t	n = a->job->count;
	uint32_t   *node_of = malloc(sizeof(uint32_t) * n);
	uint32_t	links[1 + 2 * M];
	uint32_t	others[1 + 2 * M];

	UNIT_CHECK(a->ours.old_of_new[a->ours.entry] == b->ours.old_of_new[b->ours.entry], "entry");
	for (uint32_t i = 0; i < n; i++)
		node_of[b->ours.old_of_new[i]] = i;
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t	other = node_of[a->ours.old_of_new[i]];

		if (!UNIT_CHECK(a->ours.levels[i] == b->ours.levels[other], "level of %u", i))
			continue;
		for (uint32_t level = 0; level <= a->ours.levels[i]; level++)
		{
			vectors_of(a, i, level, links);
			vectors_of(b, other, level, others);
			UNIT_CHECK(memcmp(links, others, sizeof(uint32_t) * (1 + links[0])) == 0, "links of %u", i);
		}
	}
	free(node_of);
}

static void
test_round_trip(void)
{
	Job			job = plain;
	uint8_t    *rows = vectors_write(&job, 0, 1);
	Graph		built;
	Graph		imported;
	char		more[300];
	double		own;
	double		found;
	bool		opened;
	Run			r;

	unit_case("round trip: the same links");
	own = searched(&r, "build", &job, rows);
	job.threads = 1;
	succeeds(&r, "build", &job);
	opened = UNIT_CHECK(graph_open(&built, &job, rows), "%s", built.problem);
	job.more = ",\"result_format\":\"faiss\"";
	succeeds(&r, "build", &job);
	rename(folder_path("r"), folder_path("graph"));
	snprintf(more, sizeof(more), ",\"graph\":\"%s\"", folder_path("graph"));
	job.more = more;
	job.threads = 2;
	succeeds(&r, "import", &job);
	UNIT_CHECK(strstr(r.text, "\"phase\":\"import\"") && strstr(r.text, "\"phase\":\"write\""), "phases");
	if (UNIT_CHECK(graph_open(&imported, &job, rows), "%s", imported.problem) && opened)
		check_same(&built, &imported);
	graph_close(&built);
	graph_close(&imported);

	for (uint32_t m = 6; m <= 40; m += 17)
	{
		unit_case("round trip: from m %u to %u", m, M);
		job.m = m;
		job.more = ",\"result_format\":\"faiss\",\"storage\":\"half\"";
		succeeds(&r, "build", &job);
		rename(folder_path("r"), folder_path("graph"));
		job.m = M;
		job.more = more;
		found = searched(&r, "import", &job, rows);
		/* short lists stay short */
		UNIT_CHECK(found >= own - (m < M ? 0.08 : 0.01), "recall %.3f, of a build %.3f", found, own);
	}
	free(rows);
}

int
main(void)
{
	if (!runs_begin())
		return 1;
	test_results();
	test_round_trip();
	runs_end();
	return unit_done("test_faiss");
}
