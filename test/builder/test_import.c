/*
 * test_import.c
 *		Files of faiss: builds that result in one, and graphs that come from one.
 *
 * KNN_BUILDER in the environment is the program, and FAISS_GRAPHS one that has faiss
 * read and write graphs (../faiss/graphs.cpp); without it some cases are skipped.
 */
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cagra_file.h"
#include "core/faiss_file.h"
#include "core/graph_file.h"
#include "unit.h"

#define K 10
#define NQUERIES 100
#define M 12
#define EF 60
#define CLUSTERS 40

static char folder[] = "/tmp/knn-import-test.XXXXXX";
static const char *program;

/* ---- jobs ---- */

typedef struct Job
{
	const char *data_type;
	const char *space;
	const char *encoding;
	uint32_t	dim;
	uint32_t	count;
	uint32_t	threads;
	unsigned long long memory;
	uint32_t	m;
	const char *more;			/* keys, each after a comma */
} Job;

static const Job plain = {"float", "l2", "rotated_8", 32, 3000, 2, 0, M, ""};

typedef struct Run
{
	int			status;
	char		text[65536];
	const char *last;			/* line */
} Run;

static const char *
path_of(const char *name)
{
	static char paths[4][256];
	static int	next;
	char	   *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static void
write_file(const char *name, const void *bytes, size_t size)
{
	FILE	   *file = fopen(path_of(name), "wb");

	if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
		abort();
}

static uint8_t *
read_file(const char *name, size_t *size)
{
	FILE	   *file = fopen(path_of(name), "rb");
	struct stat status;
	uint8_t    *bytes;

	*size = 0;
	if (file == NULL)
		return NULL;
	fstat(fileno(file), &status);
	*size = (size_t) status.st_size;
	bytes = malloc(*size + 8);
	if (fread(bytes, 1, *size, file) != *size)
		abort();
	fclose(file);
	return bytes;
}

/* Run a command of the program, whose result is in file r. */
static void
run(Run *r, const char *command, const Job *job)
{
	char		line[512];
	FILE	   *file = fopen(path_of("job"), "w");
	size_t		length;

	fprintf(file, "{\"job\":\"build\",\"version\":1,\"method\":\"hnsw\",\"engine\":\"cpu\","
			"\"vectors\":\"%s/v\",\"ids\":\"%s/i\",\"result\":\"%s/r\",\"dimension\":%u,\"count\":%u,"
			"\"data_type\":\"%s\",\"space\":\"%s\",\"encoding\":\"%s\",\"m\":%u,\"ef_construction\":60,"
			"\"seed\":\"42\",\"threads\":%u,\"memory_limit\":%llu,\"codes_per_page\":20%s}",
			folder, folder, folder, job->dim, job->count, job->data_type, job->space, job->encoding,
			job->m, job->threads, job->memory, job->more);
	fclose(file);
	unlink(path_of("r"));
	snprintf(line, sizeof(line), "exec %s %s < %s", program, command, path_of("job"));
	file = popen(line, "r");
	length = fread(r->text, 1, sizeof(r->text) - 1, file);
	r->status = pclose(file);
	while (length > 0 && r->text[length - 1] == '\n')
		length--;
	r->text[length] = '\0';
	r->last = strrchr(r->text, '\n');
	r->last = r->last ? r->last + 1 : r->text;
	UNIT_CHECK(access(path_of("r.part"), F_OK) != 0, "an unfinished file is left");
}

static bool
succeeded(const Run *r)
{
	return UNIT_CHECK(WIFEXITED(r->status) && WEXITSTATUS(r->status) == 0 &&
					  strncmp(r->last, "{\"result\":", 10) == 0, "status %d: %s", r->status, r->last);
}

static void
fails(const char *command, const Job *job, const char *code, const char *text)
{
	Run			r;

	run(&r, command, job);
	UNIT_CHECK(WIFEXITED(r.status) && WEXITSTATUS(r.status) == 1 && strstr(r.last, code) != NULL &&
			   strstr(r.last, text) != NULL, "status %d, expected \"%s\": %s", r.status, text, r.last);
	UNIT_CHECK(access(path_of("r"), F_OK) != 0, "there is a result");
}

static double
number_of(const Run *r, const char *key)
{
	const char *at = strstr(r->last, key);

	return at ? strtod(at + strlen(key), NULL) : -1;
}

/* ---- data ---- */

static uint32_t
row_bytes(const Job *job)
{
	return strcmp(job->data_type, "float") == 0 ? 4 * job->dim :
		strcmp(job->data_type, "byte") == 0 ? job->dim : job->dim / 8;
}

/* Clusters, whose distance is so many times the usual one. */
static uint8_t *
generate(const Job *job, uint32_t n, uint64_t seed, double apart)
{
	uint8_t    *rows = calloc(n, row_bytes(job));
	uint64_t	state = seed;

	for (uint32_t i = 0; i < n; i++)
	{
		uint64_t	centre = 1 + unit_random(&state) % CLUSTERS;
		uint8_t    *row = rows + (size_t) i * row_bytes(job);
		double		norm = 0;

		for (uint32_t j = 0; j < job->dim; j++)
		{
			double		x = apart * unit_random_float(&centre) + unit_random_float(&state);

			if (strcmp(job->data_type, "float") == 0)
			{
				((float *) row)[j] = (float) x;
				norm += x * x;
			}
			else if (strcmp(job->data_type, "byte") == 0)
				((int8_t *) row)[j] = (int8_t) (60 * x);
			else if (x > 0)
				row[j / 8] |= (uint8_t) (1 << (j % 8));
		}
		for (uint32_t j = 0; j < job->dim && strcmp(job->space, "cosinesimil") == 0; j++)
			((float *) row)[j] /= (float) sqrt(norm);
	}
	return rows;
}

/* With ids factor * i + 3 where there is a factor, or i. */
static uint8_t *
write_input(const Job *job, int32_t factor, double apart)
{
	uint8_t    *rows = generate(job, job->count, 5, apart);
	int32_t    *ids = malloc(4 * (size_t) job->count);

	for (uint32_t i = 0; i < job->count; i++)
		ids[i] = factor ? factor * (int32_t) i + 3 : (int32_t) i;
	write_file("v", rows, (size_t) row_bytes(job) * job->count);
	write_file("i", ids, 4 * (size_t) job->count);
	free(ids);
	return rows;
}

/* ---- searches ---- */

/* One of the two. */
typedef struct Graph
{
	const Job  *job;
	const uint8_t *rows;
	const uint8_t *query;
	uint8_t    *bytes;
	size_t		size;
	knn_faiss_file faiss;
	knn_graph_file ours;
} Graph;

static float
distance_of(const Graph *g, const uint8_t *q, uint32_t vector)
{
	const knn_kernels *k = knn_kernels_get();
	const void *row = g->rows + (size_t) vector * row_bytes(g->job);

	if (strcmp(g->job->data_type, "binary") == 0)
		return (float) k->hamming(row, q, g->job->dim / 8);
	if (strcmp(g->job->data_type, "byte") == 0)
		return (float) k->l2_squared_s8(row, (const void *) q, g->job->dim);
	return knn_exact_distance(k, strcmp(g->job->space, "innerproduct") == 0 ? KNN_SPACE_INNER_PRODUCT :
							  KNN_SPACE_L2, row, (const void *) q, g->job->dim);
}

static uint32_t
ours_neighbours(void *state, uint32_t id, uint32_t level, uint32_t *out, bool *dead)
{
	Graph	   *g = state;
	const uint32_t *row = level == 0 ? knn_graph_file_links(&g->ours, id) :
		knn_graph_file_upper(&g->ours, id, level);

	(void) dead;
	memcpy(out, row + 1, sizeof(uint32_t) * row[0]);
	return row[0];
}

static void
ours_score(void *state, const uint32_t *ids, uint32_t n, float *distance, float *error)
{
	Graph	   *g = state;

	for (uint32_t i = 0; i < n; i++)
	{
		distance[i] = distance_of(g, g->query, g->ours.old_of_new[ids[i]]);
		error[i] = 0;
	}
}

/* As faiss: a list ends with the first -1. */
static uint32_t
faiss_neighbours(void *state, uint32_t id, uint32_t level, uint32_t *out, bool *dead)
{
	const knn_faiss_hnsw *h = &((Graph *) state)->faiss.hnsw;
	uint64_t	at = knn_faiss_u64(h->offsets, id);
	uint64_t	end = at + knn_faiss_u32(h->level_neighbours, level + 1);
	uint32_t	n = 0;

	(void) dead;
	for (at += knn_faiss_u32(h->level_neighbours, level); at < end && knn_faiss_i32(h->neighbours, at) >= 0; at++)
		out[n++] = knn_faiss_u32(h->neighbours, at);
	return n;
}

static void
faiss_score(void *state, const uint32_t *ids, uint32_t n, float *distance, float *error)
{
	for (uint32_t i = 0; i < n; i++)
	{
		distance[i] = distance_of(state, ((Graph *) state)->query, ids[i]);
		error[i] = 0;
	}
}

static double
recall_with(Graph *g, knn_reader reader, uint32_t degree, uint32_t top, uint32_t top_level)
{
	uint8_t    *queries = generate(g->job, NQUERIES, 77, 1);
	knn_search	s = {.allocator = knn_malloc_allocator, .reader = reader, .max_degree = degree};
	uint32_t	found = 0;

	if (knn_search_init(&s) != KNN_OK)
		abort();
	for (uint32_t q = 0; q < NQUERIES; q++)
	{
		float		nearest[K];
		uint32_t	entry = top;
		int			n = 0;

		g->query = queries + (size_t) q * row_bytes(g->job);
		for (uint32_t i = 0; i < g->job->count; i++)
		{
			float		d = distance_of(g, g->query, i);
			int			at;

			if (n == K && d >= nearest[K - 1])
				continue;
			at = n < K ? n++ : K - 1;
			for (; at > 0 && nearest[at - 1] > d; at--)
				nearest[at] = nearest[at - 1];
			nearest[at] = d;
		}
		if (top_level > 0)
			entry = knn_search_descend(&s, entry, top_level, 1);
		if (knn_search_level(&s, &entry, 1, 0, EF) != KNN_OK)
			abort();
		for (uint32_t i = 0; i < s.nbeam && i < K; i++)
			found += s.beam[i].distance <= nearest[K - 1];
	}
	knn_search_free(&s);
	free(queries);
	return (double) found / (NQUERIES * K);
}

/* The result that there is, as a graph of ours. */
static bool
open_ours(Graph *g, const Job *job, const uint8_t *rows)
{
	memset(g, 0, sizeof(*g));
	g->job = job;
	g->rows = rows;
	g->ours.allocator = knn_malloc_allocator;
	g->bytes = read_file("r", &g->size);
	return UNIT_CHECK(g->bytes && knn_graph_file_open(&g->ours, g->bytes, g->size) == KNN_OK,
					  "refused: %s", g->ours.problem);
}

static void
close_graph(Graph *g)
{
	knn_graph_file_free(&g->ours);
	free(g->bytes);
}

/* Of the result, a graph of ours nearly all of whose nodes can be reached. */
static double
recall_of_ours(const Job *job, const uint8_t *rows)
{
	Graph		g;
	knn_reader	reader = {.state = &g, .neighbours = ours_neighbours, .score = ours_score};
	double		found = -1;

	if (open_ours(&g, job, rows))
	{
		UNIT_CHECK(g.ours.nodes == job->count && g.ours.unreachable <= job->count / 500,
				   "%u nodes, %u unreachable", g.ours.nodes, g.ours.unreachable);
		found = recall_with(&g, reader, 2 * g.ours.m, g.ours.entry, g.ours.entry_level);
	}
	close_graph(&g);
	return found;
}

/* That of a build, with which imports are compared. */
static double
recall_of_build(const Job *job, const uint8_t *rows)
{
	Job			own = *job;
	Run			r;

	own.memory = 0;
	own.m = M;
	own.more = "";
	run(&r, "build", &own);
	return succeeded(&r) ? recall_of_ours(&own, rows) : -1;
}

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
		const uint8_t *row = g->rows + (size_t) i * row_bytes(g->job);
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
		Graph		g = {.job = &job};
		knn_reader	reader = {.state = &g, .neighbours = faiss_neighbours, .score = faiss_score};
		knn_faiss_error error;
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
		rows = write_input(&job, 0, 1);
		own = recall_of_build(&job, rows);
		free(rows);
		rows = write_input(&job, 7, 1);
		snprintf(more, sizeof(more), ",\"result_format\":\"faiss\",\"storage\":\"%s\",\"ef_search\":77",
				 cases[c].storage);
		job.more = more;
		job.memory = cases[c].memory;
		run(&r, "build", &job);
		g.rows = rows;
		if (succeeded(&r) && (g.bytes = read_file("r", &g.size)) != NULL &&
			UNIT_CHECK(knn_faiss_parse(g.bytes, g.size, &g.faiss, &error), "at %zu: %s", error.offset,
					   error.message))
		{
			before = g.faiss.binary ? 25 : 37;
			UNIT_CHECK(memcmp(g.bytes + before, cases[c].kind, 4) == 0, "%.4s", g.bytes + before);
			UNIT_CHECK((number_of(&r, "\"partitions\":") > 1) == (job.memory > 0), "%s", r.last);
			UNIT_CHECK(job.memory == 0 || number_of(&r, "\"memory\":") <= (double) job.memory + 512 * 1024,
					   "%s", r.last);
			UNIT_CHECK(g.faiss.ntotal == job.count && g.faiss.dimension == (int32_t) job.dim &&
					   g.faiss.metric == (strcmp(job.space, "l2") == 0 || g.faiss.binary ? KNN_FAISS_L2 :
										  KNN_FAISS_INNER_PRODUCT), "header");
			UNIT_CHECK(g.faiss.hnsw.ef_construction == 60 && g.faiss.hnsw.ef_search == 77, "parameters");
			for (uint32_t i = 0; i < job.count; i++)
				UNIT_CHECK(knn_faiss_i64(g.faiss.ids, i) == 7 * (int64_t) i + 3, "id %u", i);
			UNIT_CHECK(stored_right(&g, cases[c].storage), "stored vectors");
			found = recall_with(&g, reader, 2 * M, (uint32_t) g.faiss.hnsw.entry_point,
								(uint32_t) g.faiss.hnsw.max_level);
			UNIT_CHECK(found >= own - 0.01, "recall %.3f, of our own graph %.3f", found, own);
		}
		free(g.bytes);
		free(rows);
	}

	{
		Job			job = plain;
		float	   *rows = (float *) write_input(&job, 0, 1);
		Run			r;

		unit_case("result of faiss: of no vectors, of one");
		job.more = ",\"result_format\":\"faiss\"";
		for (job.count = 0; job.count < 2; job.count++)
		{
			Graph		g;
			knn_faiss_error error;

			write_file("v", rows, (size_t) row_bytes(&job) * job.count);
			write_file("i", "\0\0\0\0", 4 * (size_t) job.count);
			run(&r, "build", &job);
			if (succeeded(&r) && (g.bytes = read_file("r", &g.size)) != NULL)
			{
				UNIT_CHECK(knn_faiss_parse(g.bytes, g.size, &g.faiss, &error) &&
						   g.faiss.ntotal == job.count, "%s", error.message);
				free(g.bytes);
			}
		}
		unit_case("result of faiss: an element that halves do not have");
		job.count = plain.count;
		free(rows);
		job.more = ",\"result_format\":\"faiss\",\"storage\":\"half\"";
		rows = (float *) write_input(&job, 0, 1);
		rows[32 * 100 + 5] = 70000;
		write_file("v", rows, (size_t) row_bytes(&job) * job.count);
		fails("build", &job, "\"bad_input\"", "vector 100 has an element");
		free(rows);
	}
}

/* ---- with faiss itself ---- */

/* Run it; what it prints as a number, or -1. */
__attribute__((format(printf, 1, 2)))
static double
with_faiss(const char *format,...)
{
	char		line[1024];
	size_t		length = (size_t) snprintf(line, sizeof(line), "exec %s ", getenv("FAISS_GRAPHS"));
	double		value = 0;
	FILE	   *output;
	va_list		args;

	va_start(args, format);
	vsnprintf(line + length, sizeof(line) - length, format, args);
	va_end(args);
	output = popen(line, "r");
	if (fscanf(output, "%lf", &value) != 1)
		value = 0;
	return pclose(output) == 0 ? value : -1;
}

static void
test_with_faiss(void)
{
	static const struct
	{
		const char *data_type;
		const char *space;
		const char *storage;
		const char *metric;
		const char *factory;
	}			cases[] = {
		{"float", "l2", "float", "l2", "HNSW12,Flat"},
		{"float", "l2", "half", "l2", "HNSW12,SQfp16"},
		{"float", "cosinesimil", "float", "ip", "HNSW24,Flat"},
		{"float", "innerproduct", "float", "ip", "HNSW12,Flat"},
		{"binary", "hamming", "binary", "bits", "BHNSW12"},
	};
	const char *graphs = getenv("FAISS_GRAPHS");

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++)
	{
		Job			job = plain;
		bool		bits = strcmp(cases[c].data_type, "binary") == 0;
		char		more[300];
		uint8_t    *rows;
		uint8_t    *queries;
		double		own;
		double		found;
		Run			r;

		unit_case("faiss: searches our graph, %s, stored as %s", cases[c].space, cases[c].storage);
		if (graphs == NULL || graphs[0] == '\0')
		{
			unit_skip("no faiss");
			continue;
		}
		job.data_type = cases[c].data_type;
		job.space = cases[c].space;
		job.encoding = bits ? "binary" : "rotated_8";
		job.dim = bits ? 256 : 32;
		free(write_input(&job, 7, 1));
		queries = generate(&job, NQUERIES, 77, 1);
		write_file("q", queries, (size_t) row_bytes(&job) * NQUERIES);
		snprintf(more, sizeof(more), ",\"result_format\":\"faiss\",\"storage\":\"%s\"", cases[c].storage);
		job.more = more;
		run(&r, "build", &job);
		if (succeeded(&r))
		{
			found = with_faiss("search %s/r %s/v %s/i %s/q %u %s %u", folder, folder, folder, folder, job.dim,
							   bits ? "bits" : "floats", EF);
			UNIT_CHECK(found >= 0.97, "recall %.3f", found);
		}

		unit_case("faiss: its graph is imported, %s, %s", cases[c].space, cases[c].factory);
		rows = write_input(&job, 0, 1);
		own = recall_of_build(&job, rows);
		if (UNIT_CHECK(with_faiss("write %s/graph %s/v %u %s %s", folder, folder, job.dim, cases[c].metric,
								  cases[c].factory) >= 0, "nothing was written"))
		{
			snprintf(more, sizeof(more), ",\"graph\":\"%s\"", path_of("graph"));
			run(&r, "import", &job);
			if (succeeded(&r))
			{
				found = recall_of_ours(&job, rows);
				UNIT_CHECK(found >= own - 0.01, "recall %.3f, of a build %.3f", found, own);
			}
		}
		free(rows);
		free(queries);
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

static void
test_round_trip(void)
{
	Job			job = plain;
	uint8_t    *rows = write_input(&job, 0, 1);
	Graph		built;
	Graph		imported;
	char		more[300];
	double		own = recall_of_build(&job, rows);
	double		found;
	Run			r;

	unit_case("round trip: the same links");
	job.threads = 1;
	run(&r, "build", &job);
	(void) succeeded(&r);
	if (open_ours(&built, &job, rows))
	{
		job.more = ",\"result_format\":\"faiss\"";
		run(&r, "build", &job);
		(void) succeeded(&r);
		rename(path_of("r"), path_of("graph"));
		snprintf(more, sizeof(more), ",\"graph\":\"%s\"", path_of("graph"));
		job.more = more;
		job.threads = 2;
		run(&r, "import", &job);
		if (succeeded(&r) && open_ours(&imported, &job, rows))
		{
			uint32_t   *node_of = malloc(sizeof(uint32_t) * job.count);
			uint32_t	a[1 + 2 * M];
			uint32_t	b[1 + 2 * M];

			UNIT_CHECK(strstr(r.text, "\"phase\":\"import\"") && strstr(r.text, "\"phase\":\"write\""), "phases");
			UNIT_CHECK(built.ours.old_of_new[built.ours.entry] ==
					   imported.ours.old_of_new[imported.ours.entry], "entry");
			for (uint32_t i = 0; i < job.count; i++)
				node_of[imported.ours.old_of_new[i]] = i;
			for (uint32_t i = 0; i < job.count; i++)
			{
				uint32_t	other = node_of[built.ours.old_of_new[i]];

				if (!UNIT_CHECK(built.ours.levels[i] == imported.ours.levels[other], "level of %u", i))
					continue;
				for (uint32_t level = 0; level <= built.ours.levels[i]; level++)
				{
					vectors_of(&built, i, level, a);
					vectors_of(&imported, other, level, b);
					UNIT_CHECK(memcmp(a, b, sizeof(uint32_t) * (1 + a[0])) == 0, "links of %u", i);
				}
			}
			free(node_of);
			close_graph(&imported);
		}
	}
	close_graph(&built);

	for (uint32_t m = 6; m <= 40; m += 17)
	{
		unit_case("round trip: from m %u to %u", m, M);
		job.m = m;
		job.more = ",\"result_format\":\"faiss\",\"storage\":\"half\"";
		run(&r, "build", &job);
		(void) succeeded(&r);
		rename(path_of("r"), path_of("graph"));
		job.m = M;
		job.more = more;
		run(&r, "import", &job);
		if (succeeded(&r))
		{
			found = recall_of_ours(&job, rows);
			/* short lists stay short */
			UNIT_CHECK(found >= own - (m < M ? 0.08 : 0.01), "recall %.3f, of a build %.3f", found, own);
		}
	}
	free(rows);
}

/* ---- graphs of a GPU ---- */

/* The nearest of each, but for some that are left out. */
static uint32_t *
find_nearest(const Graph *g, uint32_t k, uint32_t percent)
{
	uint32_t	n = g->job->count;
	uint32_t   *nearest = malloc(sizeof(uint32_t) * (size_t) n * k);
	float	   *distances = malloc(sizeof(float) * (k + 1));
	uint64_t	state = 9;

	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t   *list = nearest + (size_t) i * k;
		uint32_t	have = 0;

		for (uint32_t j = 0; j < n; j++)
		{
			float		d = distance_of(g, g->rows + (size_t) i * row_bytes(g->job), j);
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
	Graph		g = {.job = job, .rows = rows};
	cagra_input in = {.n = job->count, .k = degree, .degree = degree, .dim = job->dim,
		.binary = strcmp(job->data_type, "binary") == 0,
		.metric = strcmp(job->space, "l2") == 0 || strcmp(job->space, "hamming") == 0,
		.numbers = numbers, .rows = stored,
		.row_bytes = numbers == 1 ? 2 * job->dim : row_bytes(job)};
	uint32_t   *nearest = find_nearest(&g, degree, percent);
	uint32_t   *links;
	FILE	   *file = fopen(path_of("graph"), "wb");

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
		rows = write_input(&job, 0, cases[c].apart);
		own = recall_of_build(&job, rows);
		stored = malloc((size_t) row_bytes(&job) * job.count);
		memcpy(stored, rows, (size_t) row_bytes(&job) * job.count);
		for (size_t i = 0; i < (size_t) job.dim * job.count && cases[c].numbers == 3; i++)
			stored[i] = (uint8_t) (stored[i] + 128);
		for (size_t i = 0; i < (size_t) job.dim * job.count && cases[c].numbers == 1; i++)
			((knn_half *) stored)[i] = knn_float_to_half(((const float *) rows)[i]);
		write_cagra(&job, rows, cases[c].numbers < 0 ? NULL : stored,
					cases[c].numbers < 0 ? 0 : cases[c].numbers, cases[c].degree, cases[c].percent);
		snprintf(more, sizeof(more), ",\"graph\":\"%s\"", path_of("graph"));
		job.more = more;
		run(&r, "import", &job);
		if (succeeded(&r) && cases[c].share > 1)
		{
			job.memory = (unsigned long long) number_of(&r, "\"memory\":") / cases[c].share;
			run(&r, "import", &job);
			UNIT_CHECK(number_of(&r, "\"memory\":") <= (double) job.memory + 256 * 1024, "%llu were allowed: %s",
					   job.memory, r.last);
		}
		if (succeeded(&r))
		{
			found = recall_of_ours(&job, rows);
			UNIT_CHECK(found >= own - 0.005, "recall %.3f, of a build %.3f", found, own);
		}
		free(stored);
		free(rows);
	}
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

	change->bytes = read_file("whole", &change->size);
	if (!knn_faiss_parse(change->bytes, change->size, &change->file, &error))
		abort();
}

static void
end_change(Change *change)
{
	write_file("graph", change->bytes, change->size);
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
	snprintf(more, sizeof(more), ",\"graph\":\"%s\"", path_of("graph"));
	rows = write_input(&job, 0, 1);
	own = recall_of_build(&job, rows);
	write_cagra(&job, rows, rows, 0, 2 * M, 0);
	rename(path_of("graph"), path_of("whole"));
	job.more = more;

	unit_case("import: a file that is missing, empty, a folder, cut off, or not of faiss");
	fails("import", &job, "\"bad_input\"", "could not open file");
	write_file("graph", "", 0);
	fails("import", &job, "\"bad_input\"", "It is empty");
	unlink(path_of("graph"));
	mkdir(path_of("graph"), 0700);
	fails("import", &job, "\"bad_input\"", "not a regular file");
	rmdir(path_of("graph"));
	begin_change(&change);
	change.size -= 5;
	end_change(&change);
	fails("import", &job, "\"bad_input\"", "At byte");
	write_file("graph", "KNNGRAPH and more", 17);
	fails("import", &job, "\"bad_input\"", "is not a known kind of index");

	unit_case("import: of another job");
	begin_change(&change);
	end_change(&change);
	other = job;
	other.space = "innerproduct";
	fails("import", &other, "\"bad_input\"", "metric L2 is another one");
	other = job;
	other.dim = 16;
	free(write_input(&other, 0, 1));
	fails("import", &other, "\"bad_input\"", "32 dimensions, expected 16");
	other = job;
	other.count = 1999;
	free(write_input(&other, 0, 1));
	fails("import", &other, "\"bad_input\"", "2000 vectors, expected 1999");
	other = job;
	other.data_type = other.encoding = "byte";
	free(write_input(&other, 0, 1));
	fails("import", &other, "\"bad_input\"", "are not signed bytes");
	free(write_input(&job, 0, 1.1));
	fails("import", &job, "\"bad_input\"", "another one than that in file");
	free(write_input(&job, 0, 1));
	fails("build", &job, "\"bad_job\"", "for import");
	other = job;
	other.more = "";
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
		FILE	   *file = fopen(path_of("graph"), "wb");

		large.count = 30000;
		many = write_input(&large, 0, 1);
		for (uint32_t i = 0; i < 2 * M * 30000; i++)
			links[i] = (uint32_t) (unit_random(&state) % 30000);
		cagra_write(file, &in, links);
		fclose(file);
		fails("import", &large, "\"bad_input\"", "does not find its own vectors");
		free(links);
		free(many);
		free(write_input(&job, 0, 1));
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
	run(&r, "import", &job);
	if (succeeded(&r))
	{
		found = recall_of_ours(&job, rows);
		UNIT_CHECK(found >= own - 0.01, "recall %.3f, of a build %.3f", found, own);
	}

	unit_case("import: no vectors, and few");
	for (job.count = 0; job.count < 6; job.count += job.count ? 4 : 1)
	{
		free(write_input(&job, 0, 1));
		job.more = ",\"result_format\":\"faiss\"";
		run(&r, "build", &job);
		(void) succeeded(&r);
		rename(path_of("r"), path_of("graph"));
		job.more = more;
		run(&r, "import", &job);
		(void) succeeded(&r);
	}
	free(rows);
}

int
main(void)
{
	program = getenv("KNN_BUILDER");
	if (program == NULL || mkdtemp(folder) == NULL)
		return 2;
	test_results();
	test_with_faiss();
	test_round_trip();
	test_gpu_graphs();
	test_files();
	{
		char		command[64];

		snprintf(command, sizeof(command), "rm -rf %s", folder);
		if (system(command) != 0)
			return 2;
	}
	return unit_done("test_import");
}
