/*
 * test_builder.c
 *		The program knn-builder: what it makes of generated data, what it says of bad
 *		input, and that it ends when it is told to.
 *
 * KNN_BUILDER in the environment is the program.
 */
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/code_file.h"
#include "core/graph_file.h"
#include "core/rotation.h"
#include "unit.h"

#define DIM 32
#define K 10
#define NQUERIES 100
#define OUTPUT 65536

static char folder[] = "/tmp/knn-builder-test.XXXXXX";
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
	uint32_t	ef;
	unsigned long long memory;
	const char *result;			/* NULL: the usual one */
	const char *codes;			/* NULL: none */
} Job;

static const Job plain = {"float", "l2", "rotated_8", DIM, 4000, 1, 60, 0, NULL, NULL};

static const char *
path_of(const char *name)
{
	static char paths[4][256];
	static int	next;
	char	   *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static uint32_t
row_bytes(const Job *job)
{
	return strcmp(job->data_type, "float") == 0 ? 4 * job->dim :
		strcmp(job->data_type, "byte") == 0 ? job->dim : job->dim / 8;
}

static void
write_job(const Job *job)
{
	FILE	   *file = fopen(path_of("job"), "w");

	fprintf(file, "{\"job\":\"build\",\"version\":1,\"method\":\"hnsw\",\"engine\":\"cpu\","
			"\"vectors\":\"%s/v\",\"ids\":\"%s/i\",\"result\":\"%s\",\"dimension\":%u,\"count\":%u,"
			"\"data_type\":\"%s\",\"space\":\"%s\",\"encoding\":\"%s\",\"m\":12,\"ef_construction\":%u,"
			"\"seed\":\"42\",\"threads\":%u,\"memory_limit\":%llu,\"codes_per_page\":20",
			folder, folder, job->result ? job->result : path_of("r"), job->dim, job->count,
			job->data_type, job->space, job->encoding, job->ef, job->threads, job->memory);
	if (job->codes)
		fprintf(file, ",\"codes\":\"%s\"", job->codes);
	fputs("}", file);
	fclose(file);
}

static void
write_file(const char *name, const void *bytes, size_t size)
{
	FILE	   *file = fopen(path_of(name), "wb");

	if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
		abort();
}

/* Clustered vectors; returns them in the form of the file. */
static uint8_t *
generate(const Job *job, uint32_t n, uint64_t seed)
{
	uint32_t	bytes = row_bytes(job);
	uint8_t    *rows = calloc(n > 0 ? n : 1, bytes);
	uint64_t	state = seed;

	if (rows == NULL)
		abort();
	for (uint32_t i = 0; i < n; i++)
	{
		uint64_t	centre = 1 + unit_random(&state) % 40;
		uint8_t    *row = rows + (size_t) i * bytes;
		double		norm = 0;

		for (uint32_t j = 0; j < job->dim; j++)
		{
			double		x = unit_random_float(&centre) + unit_random_float(&state);

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

static uint8_t *
write_input(const Job *job)
{
	uint8_t    *rows = generate(job, job->count, 5);
	int32_t    *ids = malloc(4 * (size_t) job->count + 4);

	for (uint32_t i = 0; i < job->count; i++)
		ids[i] = (int32_t) i;
	write_file("v", rows, (size_t) row_bytes(job) * job->count);
	write_file("i", ids, 4 * (size_t) job->count);
	free(ids);
	return rows;
}

/* ---- running ---- */

typedef struct Run
{
	pid_t		pid;
	int			output;			/* what it says, a pipe */
	char		text[OUTPUT];
	size_t		length;
	int			status;
} Run;

static void
start(Run *run)
{
	int			pipes[2];

	if (pipe(pipes) != 0)
		abort();
	run->length = 0;
	run->text[0] = '\0';
	run->output = pipes[0];
	run->pid = fork();
	if (run->pid == 0)
	{
		int			input = open(path_of("job"), O_RDONLY);

		dup2(input, STDIN_FILENO);
		dup2(pipes[1], STDOUT_FILENO);
		close(pipes[0]);
		close(pipes[1]);
		close(input);
		execl(program, program, "build", (char *) NULL);
		_exit(127);
	}
	close(pipes[1]);
}

/* Read on; false at the end. */
static bool
read_more(Run *run)
{
	ssize_t		n = read(run->output, run->text + run->length, OUTPUT - 1 - run->length);

	if (n <= 0)
		return false;
	run->length += (size_t) n;
	run->text[run->length] = '\0';
	return true;
}

static void
finish(Run *run)
{
	while (read_more(run))
		;
	close(run->output);
	waitpid(run->pid, &run->status, 0);
}

static const char *
last_line(const Run *run)
{
	size_t		at = run->length;

	while (at > 0 && run->text[at - 1] == '\n')
		at--;
	while (at > 0 && run->text[at - 1] != '\n')
		at--;
	return run->text + at;
}

static bool
exited(const Run *run, int status)
{
	return WIFEXITED(run->status) && WEXITSTATUS(run->status) == status;
}

/* Files whose names begin so. */
static int
files_like(const char *name)
{
	DIR		   *dir = opendir(folder);
	struct dirent *entry;
	int			n = 0;

	while ((entry = readdir(dir)) != NULL)
		n += strncmp(entry->d_name, name, strlen(name)) == 0;
	closedir(dir);
	return n;
}

static void
run_job(Run *run, const Job *job)
{
	unlink(path_of("r"));
	write_job(job);
	start(run);
	finish(run);
}

static double
number_of(const Run *run, const char *key)
{
	const char *at = strstr(last_line(run), key);

	return at ? strtod(at + strlen(key), NULL) : -1;
}

/* ---- recall ---- */

typedef struct Graph
{
	knn_graph_file file;
	void	   *bytes;
	const Job  *job;
	const uint8_t *rows;
	const uint8_t *query;
} Graph;

static float
distance_of(const Graph *g, uint32_t vector)
{
	const knn_kernels *k = knn_kernels_get();
	const void *row = g->rows + (size_t) vector * row_bytes(g->job);
	const void *q = g->query;

	if (strcmp(g->job->data_type, "binary") == 0)
		return (float) k->hamming(row, q, g->job->dim / 8);
	if (strcmp(g->job->data_type, "byte") == 0)
		return (float) k->l2_squared_s8(row, q, g->job->dim);
	return knn_exact_distance(k, strcmp(g->job->space, "l1") == 0 ? KNN_SPACE_L1 :
							  strcmp(g->job->space, "innerproduct") == 0 ? KNN_SPACE_INNER_PRODUCT :
							  KNN_SPACE_L2, row, q, g->job->dim);
}

static uint32_t
graph_neighbours(void *state, uint32_t id, uint32_t level, uint32_t *out, bool *dead)
{
	Graph	   *g = state;
	const uint32_t *row = level == 0 ? knn_graph_file_links(&g->file, id) :
		knn_graph_file_upper(&g->file, id, level);

	(void) dead;
	memcpy(out, row + 1, sizeof(uint32_t) * row[0]);
	return row[0];
}

static void
graph_score(void *state, const uint32_t *ids, uint32_t n, float *distance, float *error)
{
	Graph	   *g = state;

	for (uint32_t i = 0; i < n; i++)
	{
		distance[i] = distance_of(g, g->file.old_of_new[ids[i]]);
		error[i] = 0;
	}
}

static bool
open_result(Graph *g)
{
	FILE	   *file = fopen(path_of("r"), "rb");
	struct stat status;

	memset(g, 0, sizeof(*g));
	g->file.allocator = knn_malloc_allocator;
	if (!UNIT_CHECK(file != NULL, "no result"))
		return false;
	fstat(fileno(file), &status);
	g->bytes = malloc((size_t) status.st_size);
	if (fread(g->bytes, 1, (size_t) status.st_size, file) != (size_t) status.st_size)
		abort();
	fclose(file);
	return UNIT_CHECK(knn_graph_file_open(&g->file, g->bytes, (uint64_t) status.st_size) == KNN_OK,
					  "refused: %s", g->file.problem);
}

static double
recall(Graph *g, uint32_t width)
{
	uint8_t    *queries = generate(g->job, NQUERIES, 77);
	knn_search	s = {.allocator = knn_malloc_allocator,
		.reader = {.state = g, .neighbours = graph_neighbours, .score = graph_score},
		.max_degree = 2 * g->file.m};
	uint32_t	found = 0;

	if (knn_search_init(&s) != KNN_OK)
		abort();
	for (uint32_t q = 0; q < NQUERIES; q++)
	{
		float		nearest[K];
		uint32_t	entry = g->file.entry;
		int			n = 0;

		g->query = queries + (size_t) q * row_bytes(g->job);
		for (uint32_t i = 0; i < g->job->count; i++)
		{
			float		d = distance_of(g, i);
			int			at;

			if (n == K && d >= nearest[K - 1])
				continue;
			at = n < K ? n++ : K - 1;
			for (; at > 0 && nearest[at - 1] > d; at--)
				nearest[at] = nearest[at - 1];
			nearest[at] = d;
		}
		if (g->file.entry_level > 0)
			entry = knn_search_descend(&s, entry, g->file.entry_level, 1);
		if (knn_search_level(&s, &entry, 1, 0, width) != KNN_OK)
			abort();
		for (uint32_t i = 0; i < s.nbeam && i < K; i++)
			found += s.beam[i].distance <= nearest[K - 1];
	}
	knn_search_free(&s);
	free(queries);
	return (double) found / (NQUERIES * K);
}

/* Run a job whose input is written; its recall, or -1. */
static double
build_and_search(Run *run, const Job *job, const uint8_t *rows)
{
	Graph		g;
	double		result = -1;

	run_job(run, job);
	UNIT_CHECK(exited(run, 0) && strncmp(last_line(run), "{\"result\":", 10) == 0, "status %d: %s",
			   run->status, last_line(run));
	UNIT_CHECK(files_like("r.") == 0, "%d files are left", files_like("r."));
	if (open_result(&g))
	{
		g.job = job;
		g.rows = rows;
		UNIT_CHECK(g.file.nodes == job->count && number_of(run, "\"nodes\":") == job->count, "%u nodes",
				   g.file.nodes);
		UNIT_CHECK(g.file.unreachable <= job->count / 500, "%u nodes cannot be reached", g.file.unreachable);
		if (job->count > K)
			result = recall(&g, 60);
	}
	knn_graph_file_free(&g.file);
	free(g.bytes);
	return result;
}

/* ---- tests ---- */

static void
test_builds(void)
{
	static const char *const kinds[][3] = {
		{"float", "l2", "rotated_8"}, {"float", "cosinesimil", "rotated_1"}, {"float", "innerproduct", "rotated_4"},
		{"float", "l1", "rotated_8"}, {"byte", "l2", "byte"}, {"binary", "hamming", "binary"},
	};
	Run			run;

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
	{
		Job			job = plain;
		uint8_t    *rows;

		job.data_type = kinds[k][0];
		job.space = kinds[k][1];
		job.encoding = kinds[k][2];
		/* with a few bits nearly all distances are ties */
		job.dim = strcmp(job.data_type, "binary") == 0 ? 256 : DIM;
		rows = write_input(&job);
		for (job.threads = 1; job.threads <= 4; job.threads *= 2)
		{
			double		found;

			unit_case("build: %s, %s, %u threads", job.data_type, job.space, job.threads);
			found = build_and_search(&run, &job, rows);
			UNIT_CHECK(found >= (strcmp(job.space, "innerproduct") == 0 ? 0.93 : 0.97), "recall %.3f", found);
			UNIT_CHECK(number_of(&run, "\"partitions\":") == 1 && number_of(&run, "\"threads\":") == job.threads,
					   "%s", last_line(&run));
			UNIT_CHECK(strstr(run.text, "\"phase\":\"read\"") && strstr(run.text, "\"phase\":\"graph\"") &&
					   strstr(run.text, "\"phase\":\"order\"") && strstr(run.text, "\"phase\":\"write\""),
					   "phases: %s", run.text);
		}
		free(rows);
	}

	for (uint32_t n = 0; n <= 25; n += n < 3 ? 1 : 11)
	{
		Job			job = plain;
		uint8_t    *rows;

		unit_case("build: %u vectors", n);
		job.count = n;
		job.threads = 4;
		rows = write_input(&job);
		(void) build_and_search(&run, &job, rows);
		free(rows);
	}
}

static void
test_memory(void)
{
	static const char *const kinds[][3] = {
		{"float", "l2", "rotated_8"}, {"byte", "l2", "byte"}, {"binary", "hamming", "binary"},
	};
	Run			run;

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
	{
		Job			job = plain;
		uint8_t    *rows;
		double		whole;
		double		parts;
		double		wanted;

		unit_case("memory: a quarter of it, %s", kinds[k][0]);
		job.count = 12000;
		job.threads = 2;
		job.data_type = kinds[k][0];
		job.space = kinds[k][1];
		job.encoding = kinds[k][2];
		job.dim = strcmp(job.data_type, "binary") == 0 ? 1024 : 64;
		rows = write_input(&job);
		whole = build_and_search(&run, &job, rows);
		wanted = number_of(&run, "\"memory\":");
		job.memory = (unsigned long long) (wanted / 4);
		parts = build_and_search(&run, &job, rows);
		UNIT_CHECK(number_of(&run, "\"partitions\":") >= 8, "%s", last_line(&run));
		UNIT_CHECK(number_of(&run, "\"memory\":") <= wanted / 4 + 512 * 1024, "%.0f wanted: %s", wanted,
				   last_line(&run));
		UNIT_CHECK(strstr(run.text, "\"phase\":\"merge\"") != NULL, "phases: %s", run.text);
		UNIT_CHECK(parts >= whole - 0.01, "recall %.3f, of the whole %.3f", parts, whole);
		if (k == 0)
		{
			unit_case("memory: a little less than all of it");
			job.memory = (unsigned long long) (wanted * 0.9);
			parts = build_and_search(&run, &job, rows);
			UNIT_CHECK(number_of(&run, "\"partitions\":") == 3, "%s", last_line(&run));
			UNIT_CHECK(parts >= whole - 0.01, "recall %.3f, of the whole %.3f", parts, whole);
			unit_case("memory: much too little");
			job.memory = 100000;
			run_job(&run, &job);
			UNIT_CHECK(exited(&run, 1) && strstr(last_line(&run), "\"out_of_memory\"") != NULL, "%s",
					   last_line(&run));
			UNIT_CHECK(files_like("r") == 0, "%d files are left", files_like("r"));
		}
		free(rows);
	}
}

/* ---- codes ---- */

typedef struct Codes
{
	knn_encoder encoder;
	const float *rows;
	const uint32_t *old_of_new;
	uint32_t	n;
	long		wrong;
} Codes;

static bool
read_file(void *state, uint64_t offset, void *to, size_t n)
{
	return pread(*(int *) state, to, n, (off_t) offset) == (ssize_t) n;
}

static void
compare_codes(void *state, uint64_t first, const uint8_t *items, uint32_t n)
{
	Codes	   *codes = state;
	uint32_t	width = knn_code_file_width(codes->encoder.encoding, DIM);

	for (uint32_t i = 0; i < n; i++)
	{
		const float *row = codes->rows + (size_t) DIM * codes->old_of_new[first + i];
		uint8_t		item[4 * DIM];
		float		scratch[DIM];

		knn_code_file_item(&codes->encoder, row, item, scratch);
		codes->wrong += memcmp(item, items + (size_t) width * i, width) != 0;
		codes->n++;
	}
}

/* The codes of a job that was run are those of its vectors about their mean. */
static void
check_codes(const Job *job, knn_encoding encoding, const float *rows)
{
	uint8_t		signs[KNN_ROTATION_SIGN_BYTES(DIM)];
	float		centre[DIM];
	Graph		g;
	Codes		codes = {.rows = rows, .encoder = {.dim = DIM, .space = KNN_SPACE_L2, .encoding = encoding,
	.signs = signs, .centre = centre, .kernels = knn_kernels_get()}};
	knn_code_reader reader = {.allocator = knn_malloc_allocator, .items = compare_codes, .state = &codes,
	.width = knn_code_file_width(encoding, DIM), .count = job->count};
	struct stat status;
	int			fd = open(job->codes, O_RDONLY);
	knn_graph_source source = {&fd, 0, read_file};

	for (uint32_t j = 0; j < DIM; j++)
	{
		double		sum = 0;

		for (uint32_t i = 0; i < job->count; i++)
			sum += rows[(size_t) DIM * i + j];
		centre[j] = (float) (sum / job->count);
	}
	knn_rotation_init(signs, DIM, 42);
	knn_rotation_apply(signs, centre, DIM);
	if (!UNIT_CHECK(fd >= 0 && fstat(fd, &status) == 0, "no codes") || !open_result(&g))
		return;
	source.size = (uint64_t) status.st_size;
	codes.old_of_new = g.file.old_of_new;
	UNIT_CHECK(knn_code_file_read(&reader, &source) == KNN_OK, "%s", reader.problem);
	UNIT_CHECK(codes.wrong == 0 && codes.n == job->count, "%ld wrong of %u codes", codes.wrong, codes.n);
	close(fd);
	knn_graph_file_free(&g.file);
	free(g.bytes);
}

static void
test_codes(void)
{
	static const char *const names[] = {"rotated_8", "rotated_4", "rotated_2", "rotated_1"};
	Job			job = plain;
	uint8_t    *rows;
	Run			run;

	job.codes = path_of("c");
	rows = write_input(&job);
	for (int e = 0; e < 4; e++)
	{
		job.encoding = names[e];
		for (job.threads = 1; job.threads <= 3; job.threads += 2)
		{
			unit_case("codes: %s, %u threads", job.encoding, job.threads);
			run_job(&run, &job);
			UNIT_CHECK(exited(&run, 0), "%s", last_line(&run));
			check_codes(&job, (knn_encoding) (KNN_ENCODING_ROTATED_8 + e), (const float *) rows);
		}
	}
	unit_case("codes: of a graph in parts");
	job.encoding = "rotated_8";
	job.memory = (unsigned long long) (number_of(&run, "\"memory\":") / 3);
	run_job(&run, &job);
	UNIT_CHECK(number_of(&run, "\"partitions\":") > 1, "%s", last_line(&run));
	check_codes(&job, KNN_ENCODING_ROTATED_8, (const float *) rows);

	unit_case("codes: they cannot be written");
	job.memory = 0;
	job.codes = path_of("none/c");
	run_job(&run, &job);
	UNIT_CHECK(exited(&run, 1) && strstr(last_line(&run), "could not make file") != NULL, "%s", last_line(&run));
	UNIT_CHECK(files_like("r") == 0, "%d files are left", files_like("r"));
	unlink(path_of("c"));
	free(rows);
}

static void
fails(const Job *job, const char *code, const char *message)
{
	Run			run;

	run_job(&run, job);
	UNIT_CHECK(exited(&run, 1) && strstr(last_line(&run), code) != NULL &&
			   strstr(last_line(&run), message) != NULL, "status %d: %s", run.status, last_line(&run));
	UNIT_CHECK(files_like("r") == 0, "%d files are left", files_like("r"));
}

static void
test_inputs(void)
{
	Job			job = plain;
	uint8_t    *rows = write_input(&job);
	int32_t		id = 7;
	const char *cuda = "{\"job\":\"build\",\"version\":1,\"method\":\"hnsw\",\"engine\":\"cuda\"}";
	Run			run;

	unit_case("input: vectors that are missing, shorter, longer");
	unlink(path_of("v"));
	fails(&job, "\"bad_input\"", "could not open file");
	write_file("v", rows, (size_t) row_bytes(&job) * job.count - 1);
	fails(&job, "\"bad_input\"", "511999 bytes long, expected 512000");
	write_file("v", rows, 0);
	fails(&job, "\"bad_input\"", "0 bytes long");
	job.count--;
	free(write_input(&job));
	job.count++;
	fails(&job, "\"bad_input\"", "bytes long");
	job.dim = DIM / 2;
	free(write_input(&job));
	job.dim = DIM;
	fails(&job, "\"bad_input\"", "bytes long");

	unit_case("input: ids that are missing or others");
	free(write_input(&job));
	unlink(path_of("i"));
	fails(&job, "\"bad_input\"", "could not open file");
	free(write_input(&job));
	if (truncate(path_of("i"), 4 * job.count - 4) != 0)
		abort();
	fails(&job, "\"bad_input\"", "bytes long");
	free(write_input(&job));
	{
		int			fd = open(path_of("i"), O_WRONLY);

		if (pwrite(fd, &id, 4, 4 * 1234) != 4)
			abort();
		close(fd);
	}
	fails(&job, "\"bad_input\"", "id 1234");
	free(write_input(&job));

	unit_case("input: a folder in the place of a file");
	unlink(path_of("v"));
	mkdir(path_of("v"), 0700);
	fails(&job, "\"bad_input\"", "file");
	rmdir(path_of("v"));
	free(write_input(&job));

	unit_case("result: a folder that does not exist");
	job.result = path_of("none/r");
	fails(&job, "\"io\"", "could not make file");
	job.result = NULL;
	unit_case("result: a disk that is full");
	if (access("/dev/full", W_OK) == 0 && symlink("/dev/full", path_of("r.part")) == 0)
		fails(&job, "\"io\"", "could not write file");
	else
		unit_skip("no /dev/full");

	unit_case("job: none");
	write_file("job", "", 0);
	start(&run);
	finish(&run);
	UNIT_CHECK(exited(&run, 1) && strstr(last_line(&run), "\"bad_job\"") != NULL, "%s", last_line(&run));
	unit_case("job: of another engine");
	write_file("job", cuda, strlen(cuda));
	start(&run);
	finish(&run);
	UNIT_CHECK(exited(&run, 1) && strstr(last_line(&run), "engine") != NULL, "%s", last_line(&run));
	free(rows);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

static void
wait_for_text(Run *run, const char *text)
{
	while (strstr(run->text, text) == NULL && read_more(run))
		;
	UNIT_CHECK(strstr(run->text, text) != NULL, "no %s: %s", text, run->text);
}

static void
test_ending(void)
{
	static const int signals[] = {SIGTERM, SIGINT};
	Job			job = plain;
	Run			run;
	double		before;
	pid_t		starter;
	pid_t		builder = 0;
	int			pids[2];

	job.count = 60000;
	job.ef = 1000;
	job.threads = 2;
	free(write_input(&job));
	unlink(path_of("r"));
	write_job(&job);
	for (int i = 0; i < 2; i++)
	{
		unit_case("ending: signal %d while the graph is built", signals[i]);
		start(&run);
		wait_for_text(&run, "\"phase\":\"graph\"");
		before = now();
		kill(run.pid, signals[i]);
		finish(&run);
		UNIT_CHECK(exited(&run, 1) && strstr(last_line(&run), "\"cancelled\"") != NULL, "status %d: %s",
				   run.status, last_line(&run));
		/* under a sanitizer exiting alone takes a second */
		UNIT_CHECK(now() - before < 3, "it took %.1f s", now() - before);
		UNIT_CHECK(files_like("r") == 0, "%d files are left", files_like("r"));
	}

	unit_case("ending: a signal while the parts are built");
	job.memory = 4 << 20;
	write_job(&job);
	start(&run);
	wait_for_text(&run, "\"phase\":\"graph\"");
	kill(run.pid, SIGTERM);
	finish(&run);
	UNIT_CHECK(exited(&run, 1) && strstr(last_line(&run), "\"cancelled\"") != NULL, "%s", last_line(&run));
	UNIT_CHECK(files_like("r") == 0, "%d files are left", files_like("r"));
	job.memory = 0;

	unit_case("ending: nobody reads what it says");
	write_job(&job);
	start(&run);
	wait_for_text(&run, "\"phase\":\"graph\"");
	before = now();
	close(run.output);
	waitpid(run.pid, &run.status, 0);
	UNIT_CHECK(exited(&run, 1), "status %d", run.status);
	UNIT_CHECK(now() - before < 5, "it took %.1f s", now() - before);

	unit_case("ending: its parent ends");
	if (pipe(pids) != 0)
		abort();
	starter = fork();
	if (starter == 0)
	{
		start(&run);
		wait_for_text(&run, "\"phase\":\"graph\"");
		if (write(pids[1], &run.pid, sizeof(pid_t)) != sizeof(pid_t))
			abort();
		_exit(0);
	}
	close(pids[1]);
	if (read(pids[0], &builder, sizeof(pid_t)) != sizeof(pid_t))
		abort();
	close(pids[0]);
	waitpid(starter, NULL, 0);
	/* an orphan: whoever is its parent now need not have waited for it */
	before = now();
	for (bool gone = false; !gone && now() - before < 5;)
	{
		char		path[64];
		char		status[512] = "";
		FILE	   *file;

		snprintf(path, sizeof(path), "/proc/%d/stat", (int) builder);
		file = fopen(path, "r");
		gone = file == NULL || fgets(status, sizeof(status), file) == NULL || strstr(status, ") Z ") != NULL;
		if (file)
			fclose(file);
		usleep(10000);
	}
	UNIT_CHECK(now() - before < 5, "it goes on");
	UNIT_CHECK(files_like("r") == 0, "%d files are left", files_like("r"));

	unit_case("ending: a signal while the result is written");
	job.count = 1000;
	job.ef = 50;
	free(write_input(&job));
	write_job(&job);
	/* opening it waits for someone who reads */
	mkfifo(path_of("r.part"), 0600);
	start(&run);
	wait_for_text(&run, "\"phase\":\"order\"");
	usleep(300000);
	kill(run.pid, SIGTERM);
	finish(&run);
	UNIT_CHECK(exited(&run, 1) && strstr(last_line(&run), "\"cancelled\"") != NULL, "%s", last_line(&run));
	UNIT_CHECK(files_like("r") == 0, "%d files are left", files_like("r"));
}

static void
test_options(void)
{
	static const struct
	{
		const char *option;
		int			status;
		const char *text;
	}			options[] = {{"--version", 0, "knn-builder "}, {"--help", 0, "Usage:"}, {"--other", 2, "Usage:"},
	{"", 2, "Usage:"}};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
	{
		char		command[512];
		char		text[4096];
		FILE	   *output;
		size_t		n;
		int			status;

		unit_case("options: \"%s\"", options[i].option);
		snprintf(command, sizeof(command), "%s %s 2>&1 </dev/null", program, options[i].option);
		output = popen(command, "r");
		n = fread(text, 1, sizeof(text) - 1, output);
		text[n] = '\0';
		status = pclose(output);
		UNIT_CHECK(WEXITSTATUS(status) == options[i].status && strstr(text, options[i].text) != NULL,
				   "status %d: %s", status, text);
	}
}

int
main(void)
{
	char		command[128];

	program = getenv("KNN_BUILDER");
	if (program == NULL || mkdtemp(folder) == NULL)
	{
		fprintf(stderr, "KNN_BUILDER is not set, or no folder can be made\n");
		return 1;
	}
	test_options();
	test_builds();
	test_memory();
	test_codes();
	test_inputs();
	test_ending();
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	if (system(command) != 0)
		fprintf(stderr, "%s is left\n", folder);
	return unit_done("test_builder");
}
