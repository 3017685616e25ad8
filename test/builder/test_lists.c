/*
 * test_lists.c
 *		The program's job "cluster": the lists it makes of generated data, whatever the
 *		vectors and threads; its memory; what it says of bad jobs.
 *
 * How it ends when it is told to is test_ending's.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bytes_file.h"
#include "checked_run.h"
#include "core/cluster_file.h"
#include "core/code.h"
#include "core/rotation.h"
#include "folder.h"
#include "vectors.h"

#define DIM 32

static const Job plain = {.data_type = "float", .space = "l2", .dim = DIM, .count = 5000, .threads = 1, .nlist = 150};

static bool
is(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
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
	Job			by = *job;

	/* whatever the space, floats are in the list that is nearest by this distance */
	by.space = is(job->space, "l1") ? "l1" : "l2";
	knn_rotation_init(signs, job->dim, JOB_SEED);
	for (uint32_t i = 0; i < job->count; i++)
	{
		float		least = INFINITY;

		memcpy(v, rows + (size_t) i * vectors_row_bytes(job), vectors_row_bytes(job));
		if (file->floats && !is(job->space, "l1"))
			knn_rotation_apply(signs, (float *) (void *) v, job->dim);
		for (uint32_t list = 0; list < file->nlists; list++)
		{
			float		d = vectors_distance(&by, v, (const uint8_t *) file->centroids + (size_t) file->unit * list);

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
		size_t		first_size = 0;
		Run			run;

		job.data_type = kinds[k][0];
		job.space = kinds[k][1];
		job.dim = is(job.data_type, "binary") ? 256 : DIM;
		rows = vectors_write(&job, 0, 1);
		for (job.threads = 1; job.threads <= 3; job.threads += 2)
		{
			size_t		size;
			uint8_t    *bytes;

			unit_case("lists: %s, %s, %u threads", job.data_type, job.space, job.threads);
			succeeds(&run, "cluster", &job);
			UNIT_CHECK(run_number(&run, "{\"nodes\":") == job.count, "%s", run_last_line(&run));
			UNIT_CHECK(folder_files("") == 4, "%d files", folder_files(""));
			bytes = folder_read("r", &size);
			if (first == NULL)
			{
				Bytes		b = {bytes, size, -1};
				knn_graph_source source = {&b, size, bytes_read};
				knn_cluster_file file = {.allocator = knn_malloc_allocator,.unit = vectors_row_bytes(&job),
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
		Run			run;

		job.count = sizes[i][0];
		job.nlist = sizes[i][1];
		job.threads = 3;
		unit_case("lists: %u of %u vectors", job.nlist, job.count);
		free(vectors_write(&job, 0, 1));
		succeeds(&run, "cluster", &job);
	}
}

static void
test_memory(void)
{
	Job			job = plain;
	Run			run;

	unit_case("memory: as much as there is");
	free(vectors_write(&job, 0, 1));
	job.memory = 700000;
	succeeds(&run, "cluster", &job);
	unit_case("memory: too little");
	job.memory = 100000;
	fails("cluster", &job, "\"out_of_memory\"", "150 lists do not fit into the memory");
}

static void
test_bad(void)
{
	Job			job = plain;

	unit_case("job: more lists than vectors");
	job.count = 149;
	fails("cluster", &job, "\"bad_job\"", "\"nlist\\\" of the job is 150, more than its 149 vectors");
	unit_case("job: of another command");
	job = plain;
	fails("build", &job, "\"bad_job\"", "was given a job \\\"cluster\\\"");
	unit_case("job: vectors of another length");
	job.dim = DIM / 2;
	fails("cluster", &job, "\"bad_input\"", "bytes long");
}

int
main(void)
{
	if (!runs_begin())
		return 1;
	test_kinds();
	test_sizes();
	test_memory();
	test_bad();
	runs_end();
	return unit_done("test_lists");
}
