/*
 * lists.c
 *		Dividing vectors into lists; see lists.h.
 *
 * As a build in the server does it: centroids are learned from a sample, which is in
 * memory, rotated; then each vector goes to the nearest (core/kmeans.h).  The vectors
 * are read from their file, and the numbers of lists are in one that is the kernel's to
 * keep or to write out, so that the limit of the job is for the training.
 */
#include "builder/lists.h"

#include <stdio.h>
#include <time.h>

#include "builder/input.h"
#include "builder/memory.h"
#include "builder/file.h"
#include "builder/threads.h"
#include "core/cluster_file.h"
#include "core/kmeans.h"

#define TRAINED_AT_ONCE 64		/* at most */
#define ASSIGNED_AT_ONCE 256
#define SERIAL_BELOW 256		/* items that are not worth a thread */

typedef struct Lists
{
	const builder_job *job;
	builder_input input;
	knn_kmeans	kmeans;
	uint32_t	unit;			/* bytes of a vector in memory */
	char	   *sample;			/* rotated */
	uint32_t	nsample;
	char	   *rotated;		/* a vector for each thread */
	uint32_t   *lists;			/* of each vector */
} Lists;

/* ---- train ---- */

/* kmeans's run: with all threads. */
static void
run(void *context, uint64_t n, bool counted, knn_kmeans_item item, void *argument)
{
	Lists	   *lists = context;
	uint32_t	threads = n < SERIAL_BELOW ? 1 : lists->job->threads;
	uint64_t	chunk = n / (threads * 8) + 1;
	builder_work work = {.phase = "train", .base = lists->kmeans.done, .total = lists->kmeans.total,
		.uncounted = !counted, .threads = threads, .items = n,
		.chunk = chunk < TRAINED_AT_ONCE ? (uint32_t) chunk : TRAINED_AT_ONCE,
		.item = item, .context = argument};

	if (threads > 1)
	{
		builder_do(&work);
		return;
	}
	for (uint64_t i = 0; i < n; i++)
	{
		if (i % TRAINED_AT_ONCE == 0)
			builder_progress("train", work.base + (counted ? i : 0), work.total);
		item(argument, 0, i);
	}
}

static void
show_training(void *context, uint64_t done, uint64_t total)
{
	(void) context;
	builder_progress("train", done, total);
}

/* The limit of the job decides how large the sample is. */
static void
plan_sample(Lists *lists)
{
	const builder_job *job = lists->job;
	uint64_t	vector = lists->unit + knn_kmeans_sample_memory(job->dimension, job->encoding);
	uint64_t	centroids = knn_kmeans_memory(job->dimension, job->encoding, job->nlist, job->threads);
	uint64_t	least = centroids + vector * job->nlist;

	lists->nsample = knn_kmeans_sample_size(job->nlist, job->count);
	if (job->memory_limit == 0)
		return;
	if (least > job->memory_limit)
	{
		builder_error error = {.code = BUILDER_OUT_OF_MEMORY};

		snprintf(error.message, sizeof(error.message), "%u lists do not fit into the memory",
				 job->nlist);
		snprintf(error.detail, sizeof(error.detail), "They need %llu bytes, and may take %llu.",
				 (unsigned long long) least, (unsigned long long) job->memory_limit);
		builder_fail(&error);
	}
	if (lists->nsample > (job->memory_limit - centroids) / vector)
		lists->nsample = (uint32_t) ((job->memory_limit - centroids) / vector);
}

static void
read_sample(Lists *lists)
{
	const builder_job *job = lists->job;
	uint64_t	state = job->seed | 1;

	lists->sample = builder_alloc((uint64_t) lists->unit * lists->nsample);
	for (uint32_t i = 0; i < lists->nsample; i++)
	{
		uint32_t	picked = knn_kmeans_sample_pick(&state, i, lists->nsample, job->count);

		if (i % TRAINED_AT_ONCE == 0)
			builder_progress("read", i, lists->nsample);
		knn_encoder_rotate(&lists->input.encoder, builder_input_row(&lists->input, picked),
						   lists->sample + (size_t) lists->unit * i);
	}
}

static void
train(Lists *lists)
{
	const builder_job *job = lists->job;
	knn_kmeans *km = &lists->kmeans;

	plan_sample(lists);
	read_sample(lists);
	km->dim = job->dimension;
	km->space = job->space;
	km->encoding = job->encoding;
	km->seed = job->seed;
	km->allocator = builder_allocator;
	km->context = lists;
	km->check = show_training;
	km->run = run;
	km->threads = job->threads;
	if (knn_kmeans_init(km, job->nlist) != KNN_OK ||
		knn_kmeans_train(km, lists->sample, lists->nsample, job->nlist) != KNN_OK)
		builder_fail_memory();
	builder_release(lists->sample);
}

/* ---- assign ---- */

static void
assign_one(void *context, uint32_t thread, uint64_t item)
{
	Lists	   *lists = context;
	char	   *rotated = lists->rotated + (size_t) lists->unit * thread;

	knn_encoder_rotate(&lists->input.encoder, builder_input_row(&lists->input, (uint32_t) item), rotated);
	lists->lists[item] = knn_kmeans_nearest(&lists->kmeans, rotated, thread);
}

static void
assign(Lists *lists)
{
	const builder_job *job = lists->job;
	builder_work work = {.phase = "assign", .total = job->count, .threads = job->threads,
		.items = job->count, .chunk = ASSIGNED_AT_ONCE, .item = assign_one, .context = lists};

	lists->rotated = builder_alloc((uint64_t) lists->unit * job->threads);
	lists->lists = builder_spool(job->result, sizeof(uint32_t) * (uint64_t) job->count);
	builder_do(&work);
	builder_release(lists->rotated);
}

/* ---- write ---- */

static void
write_lists(const Lists *lists)
{
	const builder_job *job = lists->job;
	knn_cluster_file file = {.unit = lists->kmeans.unit,
		.floats = knn_encoding_is_float(job->encoding), .nlists = job->nlist, .count = job->count,
		.centroids = lists->kmeans.centroids, .lists = lists->lists};
	builder_file result;
	knn_graph_sink sink = {.state = &result, .write = builder_file_write};

	builder_file_begin(&result, job->result, knn_cluster_file_size(&file));
	(void) knn_cluster_file_write(&file, &sink);
	builder_file_end(&result);
}

void
builder_cluster(const builder_job *job)
{
	Lists		lists = {.job = job};
	struct timespec start;
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &start);
	builder_input_open(&lists.input, job);
	lists.unit = (uint32_t) lists.input.row_bytes;
	train(&lists);
	assign(&lists);
	write_lists(&lists);
	builder_spool_end(lists.lists, sizeof(uint32_t) * (uint64_t) job->count);
	knn_kmeans_free(&lists.kmeans);
	builder_input_close(&lists.input);
	clock_gettime(CLOCK_MONOTONIC, &end);
	builder_result(job->count, (double) (end.tv_sec - start.tv_sec) +
				   (double) (end.tv_nsec - start.tv_nsec) * 1e-9,
				   job->threads, builder_memory_peak(), 1);
}
