/*
 * test_codes.c
 *		The codes that the program knn-builder makes beside a graph: those of the vectors
 *		about their mean, whatever the threads and parts.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checked_run.h"
#include "core/code_file.h"
#include "core/rotation.h"
#include "folder.h"
#include "vectors.h"

#define DIM 32

static const Job plain = {.data_type = "float", .space = "l2", .encoding = "rotated_8", .dim = DIM, .count = 4000,
.threads = 1, .m = 12, .ef = 60};

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
	int			fd = open(folder_path(job->codes), O_RDONLY);
	knn_graph_source source = {&fd, 0, read_file};

	for (uint32_t j = 0; j < DIM; j++)
	{
		double		sum = 0;

		for (uint32_t i = 0; i < job->count; i++)
			sum += rows[(size_t) DIM * i + j];
		centre[j] = (float) (sum / job->count);
	}
	knn_rotation_init(signs, DIM, JOB_SEED);
	knn_rotation_apply(signs, centre, DIM);
	if (UNIT_CHECK(fd >= 0 && fstat(fd, &status) == 0, "no codes") &&
		UNIT_CHECK(graph_open(&g, job, (const uint8_t *) rows), "%s", g.problem))
	{
		source.size = (uint64_t) status.st_size;
		codes.old_of_new = g.ours.old_of_new;
		UNIT_CHECK(knn_code_file_read(&reader, &source) == KNN_OK, "%s", reader.problem);
		UNIT_CHECK(codes.wrong == 0 && codes.n == job->count, "%ld wrong of %u codes", codes.wrong, codes.n);
		graph_close(&g);
	}
	close(fd);
}

static void
test_codes(void)
{
	static const char *const names[] = {"rotated_8", "rotated_4", "rotated_2", "rotated_1"};
	Job			job = plain;
	uint8_t    *rows;
	Run			run;

	job.codes = "c";
	rows = vectors_write(&job, 0, 1);
	for (int e = 0; e < 4; e++)
	{
		job.encoding = names[e];
		for (job.threads = 1; job.threads <= 3; job.threads += 2)
		{
			unit_case("codes: %s, %u threads", job.encoding, job.threads);
			succeeds(&run, "build", &job);
			check_codes(&job, (knn_encoding) (KNN_ENCODING_ROTATED_8 + e), (const float *) rows);
		}
	}
	unit_case("codes: of a graph in parts");
	job.encoding = "rotated_8";
	job.memory = (unsigned long long) (run_number(&run, "\"memory\":") / 3);
	succeeds(&run, "build", &job);
	UNIT_CHECK(run_number(&run, "\"partitions\":") > 1, "%s", run_last_line(&run));
	check_codes(&job, KNN_ENCODING_ROTATED_8, (const float *) rows);

	unit_case("codes: they cannot be written");
	job.memory = 0;
	job.codes = "none/c";
	fails("build", &job, "\"io\"", "could not make file");
	unlink(folder_path("c"));
	free(rows);
}

int
main(void)
{
	if (!runs_begin())
		return 1;
	test_codes();
	runs_end();
	return unit_done("test_codes");
}
