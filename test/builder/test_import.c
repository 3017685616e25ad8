/*
 * test_import.c
 *		Imports of graphs, as a GPU build leaves them: what comes of them, what is refused,
 *		and what is mended.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cagra_file.h"
#include "checked_run.h"
#include "folder.h"
#include "vectors.h"

#define M 12

static const Job plain = {.data_type = "float", .space = "l2", .encoding = "rotated_8", .dim = 32, .count = 3000,
.threads = 2, .m = M, .ef = 60};

/* ---- graphs of a GPU ---- */

/* The nearest of each, but for some that are left out. */
static uint32_t *
find_nearest(const Job *job, const uint8_t *rows, uint32_t k, uint32_t percent)
{
	uint32_t	n = job->count;
	uint32_t   *nearest = malloc(sizeof(uint32_t) * (size_t) n * k);
	float	   *distances = malloc(sizeof(float) * (k + 1));
	size_t		bytes = vectors_row_bytes(job);
	uint64_t	state = 9;

	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t   *list = nearest + (size_t) i * k;
		uint32_t	have = 0;

		for (uint32_t j = 0; j < n; j++)
		{
			float		d = vectors_distance(job, rows + bytes * i, rows + bytes * j);
			uint32_t	at;

			if (j == i || (have == k && d >= distances[k - 1]) || unit_random(&state) % 100 < percent)
				continue;
			at = have < k ? have++ : k - 1;
			for (; at > 0 && distances[at - 1] > d; at--)
			{
				distances[at] = distances[at - 1];
				list[at] = list[at - 1];
			}
			distances[at] = d;
			list[at] = j;
		}
	}
	free(distances);
	return nearest;
}

/* A file "graph" of the job's vectors; rows as it stores them. */
static void
write_cagra(const Job *job, const uint8_t *rows, const void *stored, int numbers, uint32_t degree,
			uint32_t percent)
{
	cagra_input in = {.n = job->count, .k = degree, .degree = degree, .dim = job->dim,
		.binary = strcmp(job->data_type, "binary") == 0,
		.metric = strcmp(job->space, "l2") == 0 || strcmp(job->space, "hamming") == 0,
		.numbers = numbers, .rows = stored,
		.row_bytes = numbers == 1 ? 2 * job->dim : (uint32_t) vectors_row_bytes(job)};
	uint32_t   *nearest = find_nearest(job, rows, degree, percent);
	uint32_t   *links;
	FILE	   *file = fopen(folder_path("graph"), "wb");

	in.nearest = nearest;
	links = cagra_links(&in);
	cagra_write(file, &in, links);
	fclose(file);
	free(links);
	free(nearest);
}

static void
test_gpu_graphs(void)
{
	static const struct
	{
		const char *data_type;
		const char *space;
		const char *encoding;
		int			numbers;	/* -1: none stored */
		uint32_t	degree;
		uint32_t	percent;	/* of neighbours that it misses */
		double		apart;
		uint32_t	share;		/* of the memory wanted, as a divisor */
	}			cases[] = {
		{"float", "l2", "rotated_8", 0, 4 * M, 0, 1, 1},
		{"float", "l2", "rotated_2", 1, 4 * M, 20, 1, 1},
		{"float", "l2", "rotated_8", -1, 2 * M, 0, 1, 1},
		{"float", "cosinesimil", "rotated_8", 0, 4 * M, 0, 1, 1},
		{"float", "innerproduct", "rotated_8", 0, 4 * M, 0, 1, 1},
		{"byte", "l2", "byte", 3, 4 * M, 0, 1, 1},
		{"binary", "hamming", "binary", 0, 4 * M, 0, 1, 1},
		{"float", "l2", "rotated_8", 0, 4 * M, 0, 100, 1},
		{"float", "l2", "rotated_8", 0, 4 * M, 0, 1, 3},
	};

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++)
	{
		Job			job = plain;
		char		more[300];
		uint8_t    *rows;
		uint8_t    *stored;
		double		own;
		double		found;
		Run			r;

		unit_case("import: graph of a GPU, %s, %s, degree %u%s%s", cases[c].data_type, cases[c].space,
				  cases[c].degree, cases[c].apart > 1 ? ", clusters apart" : "",
				  cases[c].share > 1 ? ", little memory" : "");
		job.data_type = cases[c].data_type;
		job.space = cases[c].space;
		job.encoding = cases[c].encoding;
		job.dim = strcmp(job.data_type, "binary") == 0 ? 256 : 32;
		rows = vectors_write(&job, 0, cases[c].apart);
		own = searched(&r, "build", &job, rows);
		stored = malloc(vectors_row_bytes(&job) * job.count);
		memcpy(stored, rows, vectors_row_bytes(&job) * job.count);
		for (size_t i = 0; i < (size_t) job.dim * job.count && cases[c].numbers == 3; i++)
			stored[i] = (uint8_t) (stored[i] + 128);
		for (size_t i = 0; i < (size_t) job.dim * job.count && cases[c].numbers == 1; i++)
			((knn_half *) stored)[i] = knn_float_to_half(((const float *) rows)[i]);
		write_cagra(&job, rows, cases[c].numbers < 0 ? NULL : stored,
					cases[c].numbers < 0 ? 0 : cases[c].numbers, cases[c].degree, cases[c].percent);
		snprintf(more, sizeof(more), ",\"graph\":\"%s\"", folder_path("graph"));
		job.more = more;
		found = searched(&r, "import", &job, rows);
		if (cases[c].share > 1)
		{
			job.memory = (unsigned long long) run_number(&r, "\"memory\":") / cases[c].share;
			found = searched(&r, "import", &job, rows);
			UNIT_CHECK(run_number(&r, "\"memory\":") <= (double) job.memory + 256 * 1024, "%llu were allowed: %s",
					   job.memory, run_last_line(&r));
		}
		/* an import is content when nearly all vectors are found: a query may find none */
		UNIT_CHECK(found >= own - 0.015, "recall %.3f, of a build %.3f", found, own);
		free(stored);
		free(rows);
	}
}

/* Nodes of which two links do not come to one above level 0. */
static uint32_t
count_lonely(const Graph *g)
{
	const knn_graph_file *file = &g->ours;
	uint8_t    *near = malloc(file->nodes + 1);
	uint32_t	lonely = 0;

	for (int step = 0; step <= 2; step++)
	{
		uint8_t    *before = malloc(file->nodes + 1);

		memcpy(before, step == 0 ? file->levels : near, file->nodes);
		for (uint32_t i = 0; i < file->nodes; i++)
		{
			const uint32_t *row = knn_graph_file_links(file, i);

			near[i] = before[i];
			for (uint32_t l = 1; l <= row[0] && step > 0; l++)
				near[i] |= before[row[l]];
		}
		free(before);
	}
	for (uint32_t i = 0; i < file->nodes; i++)
		lonely += !near[i];
	free(near);
	return lonely;
}

/* Of pieces with about 2m nodes, one of seven has none of those that are drawn. */
static void
test_small_pieces(void)
{
	Job			job = plain;
	char		more[300];
	uint8_t    *rows;
	Graph		g;
	Run			r;

	unit_case("import: every piece has a node above level 0");
	job.count = 40 * (2 * M + 1);
	rows = vectors_write(&job, 0, 100);
	write_cagra(&job, rows, rows, 0, 2 * M, 0);
	snprintf(more, sizeof(more), ",\"graph\":\"%s\"", folder_path("graph"));
	job.more = more;
	if (succeeds(&r, "import", &job) && UNIT_CHECK(graph_open(&g, &job, rows), "%s", g.problem))
	{
		uint32_t	lonely = count_lonely(&g);

		/* long links may have taken the place of those that led there */
		UNIT_CHECK(lonely <= job.count / 100, "%u of %u nodes are far from all above", lonely, job.count);
		graph_close(&g);
	}
	free(rows);
}

/* ---- what is refused, and what is mended ---- */

/* The file of the last write_cagra, to be changed and written again. */
typedef struct Change
{
	uint8_t    *bytes;
	size_t		size;
	knn_faiss_file file;
} Change;

static void
begin_change(Change *change)
{
	knn_faiss_error error;

	change->bytes = folder_read("whole", &change->size);
	if (!knn_faiss_parse(change->bytes, change->size, &change->file, &error))
		abort();
}

static void
end_change(Change *change)
{
	folder_write("graph", change->bytes, change->size);
	free(change->bytes);
}

static void
put(const uint8_t *array, uint64_t i, uint64_t value, int bytes)
{
	for (int b = 0; b < bytes; b++)
		((uint8_t *) array)[i * (uint64_t) bytes + (uint64_t) b] = (uint8_t) (value >> 8 * b);
}

static void
test_files(void)
{
	Job			job = plain;
	Job			other;
	uint8_t    *rows;
	uint64_t	state = 3;
	char		more[300];
	double		own;
	double		found;
	Change		change;
	Run			r;

	job.count = 2000;
	snprintf(more, sizeof(more), ",\"graph\":\"%s\"", folder_path("graph"));
	rows = vectors_write(&job, 0, 1);
	own = searched(&r, "build", &job, rows);
	write_cagra(&job, rows, rows, 0, 2 * M, 0);
	rename(folder_path("graph"), folder_path("whole"));
	job.more = more;

	unit_case("import: a file that is missing, empty, a folder, cut off, or not of faiss");
	fails("import", &job, "\"bad_input\"", "could not open file");
	folder_write("graph", "", 0);
	fails("import", &job, "\"bad_input\"", "It is empty");
	unlink(folder_path("graph"));
	mkdir(folder_path("graph"), 0700);
	fails("import", &job, "\"bad_input\"", "not a regular file");
	rmdir(folder_path("graph"));
	begin_change(&change);
	change.size -= 5;
	end_change(&change);
	fails("import", &job, "\"bad_input\"", "At byte");
	folder_write("graph", "KNNGRAPH and more", 17);
	fails("import", &job, "\"bad_input\"", "is not a known kind of index");

	unit_case("import: of another job");
	begin_change(&change);
	end_change(&change);
	other = job;
	other.space = "innerproduct";
	fails("import", &other, "\"bad_input\"", "metric L2 is another one");
	other = job;
	other.dim = 16;
	free(vectors_write(&other, 0, 1));
	fails("import", &other, "\"bad_input\"", "32 dimensions, expected 16");
	other = job;
	other.count = 1999;
	free(vectors_write(&other, 0, 1));
	fails("import", &other, "\"bad_input\"", "2000 vectors, expected 1999");
	other = job;
	other.data_type = other.encoding = "byte";
	free(vectors_write(&other, 0, 1));
	fails("import", &other, "\"bad_input\"", "are not signed bytes");
	free(vectors_write(&job, 0, 1.1));
	fails("import", &job, "\"bad_input\"", "another one than that in file");
	free(vectors_write(&job, 0, 1));
	fails("build", &job, "\"bad_job\"", "for import");
	other = job;
	other.more = NULL;
	fails("import", &other, "\"bad_job\"", "no \\\"graph\\\"");
	other.more = ",\"graph\":\"g\",\"result_format\":\"faiss\"";
	fails("import", &other, "\"bad_job\"", "does not result in a file of faiss");

	unit_case("import: ids that are not there, or twice");
	begin_change(&change);
	put(change.file.ids, 1234, 2000, 8);
	end_change(&change);
	fails("import", &job, "\"bad_input\"", "Id 2000 of node 1234");
	begin_change(&change);
	put(change.file.ids, 1234, 1, 8);
	end_change(&change);
	fails("import", &job, "\"bad_input\"", "Id 1 is that of two nodes");

	unit_case("import: links to nowhere");
	begin_change(&change);
	put(change.file.hnsw.neighbours, 99, 2000, 4);
	end_change(&change);
	fails("import", &job, "\"bad_input\"", "has neighbour 2000");

	unit_case("import: no links");
	begin_change(&change);
	for (uint64_t i = 0; i < knn_faiss_u64(change.file.hnsw.offsets, job.count); i++)
		put(change.file.hnsw.neighbours, i, UINT32_MAX, 4);
	end_change(&change);
	fails("import", &job, "\"bad_input\"", "pieces");

	unit_case("import: links by chance");
	/* so many nodes that a beam does not see all of them */
	{
		Job			large = job;
		uint8_t    *many;
		cagra_input in = {.n = 30000, .k = 2 * M, .degree = 2 * M, .dim = 32, .metric = 1, .row_bytes = 128};
		uint32_t   *links = malloc(sizeof(uint32_t) * 2 * M * 30000);
		FILE	   *file = fopen(folder_path("graph"), "wb");

		large.count = 30000;
		many = vectors_write(&large, 0, 1);
		for (uint32_t i = 0; i < 2 * M * 30000; i++)
			links[i] = (uint32_t) (unit_random(&state) % 30000);
		cagra_write(file, &in, links);
		fclose(file);
		fails("import", &large, "\"bad_input\"", "does not find its own vectors");
		free(links);
		free(many);
		free(vectors_write(&job, 0, 1));
	}

	unit_case("import: links to the node itself and twice, and ids in another order");
	begin_change(&change);
	for (uint64_t i = 0; i < job.count; i++)
	{
		uint64_t	first = knn_faiss_u64(change.file.hnsw.offsets, i);

		put(change.file.hnsw.neighbours, first, i, 4);
		put(change.file.hnsw.neighbours, first + 1, knn_faiss_u32(change.file.hnsw.neighbours, first + 2), 4);
	}
	for (uint64_t i = 0; i < job.count; i++)
	{
		put(change.file.ids, i, job.count - 1 - i, 8);
		memcpy((uint8_t *) change.file.codes.data + 128 * i, rows + 128 * (job.count - 1 - i), 128);
	}
	/* and then the links have to be those of the vectors at these places */
	for (uint64_t i = 0, half = job.count / 2; i < half; i++)
	{
		uint64_t	a = knn_faiss_u64(change.file.hnsw.offsets, i);
		uint64_t	b = knn_faiss_u64(change.file.hnsw.offsets, job.count - 1 - i);

		for (uint64_t k = 0; k < 2 * M; k++)
		{
			uint32_t	x = knn_faiss_u32(change.file.hnsw.neighbours, a + k);
			uint32_t	y = knn_faiss_u32(change.file.hnsw.neighbours, b + k);

			put(change.file.hnsw.neighbours, a + k, job.count - 1 - y, 4);
			put(change.file.hnsw.neighbours, b + k, job.count - 1 - x, 4);
		}
	}
	end_change(&change);
	found = searched(&r, "import", &job, rows);
	UNIT_CHECK(found >= own - 0.01, "recall %.3f, of a build %.3f", found, own);

	unit_case("import: no vectors, and few");
	for (job.count = 0; job.count < 6; job.count += job.count ? 4 : 1)
	{
		free(vectors_write(&job, 0, 1));
		job.more = ",\"result_format\":\"faiss\"";
		succeeds(&r, "build", &job);
		rename(folder_path("r"), folder_path("graph"));
		job.more = more;
		succeeds(&r, "import", &job);
	}
	free(rows);
}

int
main(void)
{
	if (!runs_begin())
		return 1;
	test_gpu_graphs();
	test_small_pieces();
	test_files();
	runs_end();
	return unit_done("test_import");
}
