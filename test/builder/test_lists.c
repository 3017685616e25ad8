/*
 * test_lists.c
 *		The program's job "cluster": the lists it makes of generated data, whatever the
 *		vectors and threads; its memory; what it says of bad jobs.
 *
 * KNN_BUILDER in the environment is the program.  How it ends when it is told to is
 * test_builder's.
 */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/cluster_file.h"
#include "core/code.h"
#include "core/rotation.h"
#include "unit.h"

#define DIM 32
#define SEED 42

static char folder[] = "/tmp/knn-lists-test.XXXXXX";
static const char *program;

typedef struct Job
{
	const char *command;
	const char *data_type;
	const char *space;
	uint32_t	dim;
	uint32_t	count;
	uint32_t	nlist;
	uint32_t	threads;
	unsigned long long memory;
} Job;

static const Job plain = {"cluster", "float", "l2", DIM, 5000, 150, 1, 0};

static const char *
path_of(const char *name)
{
	static char paths[4][256];
	static int	next;
	char	   *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static bool
is(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

static uint32_t
row_bytes(const Job *job)
{
	return is(job->data_type, "float") ? 4 * job->dim : is(job->data_type, "byte") ? job->dim : job->dim / 8;
}

static void
write_file(const char *name, const void *bytes, size_t size)
{
	FILE	   *file = fopen(path_of(name), "wb");

	if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
		abort();
}

/* Vectors about some centres, and their ids; the vectors as they are in the file. */
static uint8_t *
write_input(const Job *job)
{
	uint32_t	bytes = row_bytes(job);
	uint8_t    *rows = calloc(job->count + 1, bytes);
	int32_t    *ids = calloc(job->count + 1, sizeof(int32_t));
	uint64_t	state = 9;

	if (rows == NULL || ids == NULL)
		abort();
	for (uint32_t i = 0; i < job->count; i++)
	{
		uint64_t	centre = 1 + unit_random(&state) % 60;
		uint8_t    *row = rows + (size_t) i * bytes;
		double		norm = 0;

		ids[i] = (int32_t) i;
		for (uint32_t j = 0; j < job->dim; j++)
		{
			double		x = unit_random_float(&centre) + 0.5 * unit_random_float(&state);

			norm += x * x;
			if (is(job->data_type, "float"))
				((float *) row)[j] = (float) x;
			else if (is(job->data_type, "byte"))
				((int8_t *) row)[j] = (int8_t) (60 * x);
			else if (x > 0)
				row[j / 8] |= (uint8_t) (1 << j % 8);
		}
		for (uint32_t j = 0; j < job->dim && is(job->space, "cosinesimil") && is(job->data_type, "float"); j++)
			((float *) row)[j] /= (float) sqrt(norm);
	}
	write_file("v", rows, (size_t) bytes * job->count);
	write_file("i", ids, sizeof(int32_t) * (size_t) job->count);
	free(ids);
	return rows;
}

/* Run a job; the exit status, and its last line. */
static int
run_job(const Job *job, const char *last)
{
	static char line[4096];
	char		command[1024];
	FILE	   *file = fopen(path_of("job"), "w");
	FILE	   *output;
	int			status;

	fprintf(file, "{\"job\":\"cluster\",\"version\":1,\"vectors\":\"%s/v\",\"ids\":\"%s/i\",\"result\":\"%s/r\","
			"\"dimension\":%u,\"count\":%u,\"data_type\":\"%s\",\"space\":\"%s\",\"seed\":\"%d\",\"nlist\":%u,"
			"\"threads\":%u,\"memory_limit\":%llu}", folder, folder, folder, job->dim, job->count,
			job->data_type, job->space, SEED, job->nlist, job->threads, job->memory);
	fclose(file);
	unlink(path_of("r"));
	snprintf(command, sizeof(command), "%s %s <%s/job", program, job->command, folder);
	output = popen(command, "r");
	line[0] = '\0';
	while (fgets(line, sizeof(line), output))
		;
	status = WEXITSTATUS(pclose(output));
	UNIT_CHECK(strstr(line, last) != NULL, "status %d, not %s: %s", status, last, line);
	return status;
}

static uint8_t *
read_bytes(uint64_t *size)
{
	FILE	   *file = fopen(path_of("r"), "rb");
	uint8_t    *bytes = calloc(1, 1 << 20);

	if (file == NULL || bytes == NULL)
		abort();
	*size = fread(bytes, 1, 1 << 20, file);
	fclose(file);
	return bytes;
}

typedef struct Bytes
{
	const uint8_t *bytes;
	uint64_t	size;
} Bytes;

static bool
bytes_read(void *state, uint64_t offset, void *to, size_t n)
{
	const Bytes *b = state;

	if (offset + n > b->size)
		return false;
	memcpy(to, b->bytes + offset, n);
	return true;
}

static int
files(void)
{
	DIR		   *dir = opendir(folder);
	int			n = 0;

	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n - 2;
}

static float
distance_of(const Job *job, const void *a, const void *b)
{
	const knn_kernels *k = knn_kernels_get();

	if (is(job->data_type, "binary"))
		return (float) k->hamming(a, b, job->dim / 8);
	if (is(job->data_type, "byte"))
		return (float) k->l2_squared_s8(a, b, job->dim);
	return is(job->space, "l1") ? k->l1_f32(a, b, job->dim) : k->l2_squared_f32(a, b, job->dim);
}

/* Each vector is in the list of a centroid that is as near as any, but for a little. */
static void
check_lists(const Job *job, const uint8_t *rows, const knn_cluster_file *file)
{
	uint8_t		signs[KNN_ROTATION_SIGN_BYTES(256)];
	uint8_t		v[1024];
	double		chosen = 0;
	double		best = 0;
	uint32_t	used = 0;
	uint8_t    *has = calloc(file->nlists, 1);

	knn_rotation_init(signs, job->dim, SEED);
	for (uint32_t i = 0; i < job->count; i++)
	{
		float		least = INFINITY;

		memcpy(v, rows + (size_t) i * row_bytes(job), row_bytes(job));
		if (file->floats && !is(job->space, "l1"))
			knn_rotation_apply(signs, (float *) (void *) v, job->dim);
		for (uint32_t list = 0; list < file->nlists; list++)
		{
			float		d = distance_of(job, v, (const uint8_t *) file->centroids + (size_t) file->unit * list);

			least = d < least ? d : least;
			chosen += list == file->lists[i] ? d : 0;
		}
		best += least;
		used += !has[file->lists[i]];
		has[file->lists[i]] = 1;
	}
	UNIT_CHECK(chosen <= best * 1.03 + 1e-6, "%g, the best would be %g", chosen, best);
	UNIT_CHECK(used >= file->nlists * 9 / 10, "%u of %u lists have vectors", used, file->nlists);
	free(has);
}

static void
test_kinds(void)
{
	static const char *const kinds[][2] = {
		{"float", "l2"}, {"float", "cosinesimil"}, {"float", "innerproduct"}, {"float", "l1"}, {"byte", "l2"},
		{"binary", "hamming"},
	};

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
	{
		Job			job = plain;
		uint8_t    *rows;
		uint8_t    *first = NULL;
		uint64_t	first_size = 0;

		job.data_type = kinds[k][0];
		job.space = kinds[k][1];
		job.dim = is(job.data_type, "binary") ? 256 : DIM;
		rows = write_input(&job);
		for (job.threads = 1; job.threads <= 3; job.threads += 2)
		{
			uint64_t	size;
			uint8_t    *bytes;

			unit_case("lists: %s, %s, %u threads", job.data_type, job.space, job.threads);
			UNIT_CHECK(run_job(&job, "{\"result\":{\"nodes\":5000,") == 0, "status");
			UNIT_CHECK(files() == 4, "%d files", files());
			bytes = read_bytes(&size);
			if (first == NULL)
			{
				Bytes		b = {bytes, size};
				knn_graph_source source = {&b, size, bytes_read};
				knn_cluster_file file = {.allocator = knn_malloc_allocator,.unit = row_bytes(&job),
				.floats = is(job.data_type, "float"),.nlists = job.nlist,.count = job.count};

				if (UNIT_CHECK(knn_cluster_file_read(&file, &source) == KNN_OK, "%s", file.problem))
					check_lists(&job, rows, &file);
				free(file.centroids);
				free(file.lists);
				first = bytes;
				first_size = size;
				continue;
			}
			UNIT_CHECK(size == first_size && memcmp(bytes, first, size) == 0, "other lists than one thread's");
			free(bytes);
		}
		free(first);
		free(rows);
	}
}

static void
test_sizes(void)
{
	static const uint32_t sizes[][2] = {{1, 1}, {2, 1}, {2, 2}, {100, 100}, {3000, 1}};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		Job			job = plain;

		job.count = sizes[i][0];
		job.nlist = sizes[i][1];
		job.threads = 3;
		unit_case("lists: %u of %u vectors", job.nlist, job.count);
		free(write_input(&job));
		UNIT_CHECK(run_job(&job, "{\"result\":") == 0, "status");
	}
}

static void
test_memory(void)
{
	Job			job = plain;

	unit_case("memory: as much as there is");
	free(write_input(&job));
	job.memory = 700000;
	UNIT_CHECK(run_job(&job, "{\"result\":") == 0, "status");
	unit_case("memory: too little");
	job.memory = 100000;
	UNIT_CHECK(run_job(&job, "150 lists do not fit into the memory") == 1, "status");
	UNIT_CHECK(files() == 3, "%d files", files());
}

static void
test_bad(void)
{
	Job			job = plain;

	unit_case("job: more lists than vectors");
	job.count = 149;
	UNIT_CHECK(run_job(&job, "\"nlist\\\" of the job is 150, more than its 149 vectors") == 1, "status");
	unit_case("job: of another command");
	job = plain;
	job.command = "build";
	UNIT_CHECK(run_job(&job, "was given a job \\\"cluster\\\"") == 1, "status");
	unit_case("job: vectors of another length");
	job.command = "cluster";
	job.dim = DIM / 2;
	UNIT_CHECK(run_job(&job, "\"bad_input\"") == 1, "status");
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
	test_kinds();
	test_sizes();
	test_memory();
	test_bad();
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	if (system(command) != 0)
		fprintf(stderr, "%s is left\n", folder);
	return unit_done("test_lists");
}
