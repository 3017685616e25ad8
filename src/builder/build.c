/*
 * build.c
 *		Building the graph of a job and writing it; see build.h.
 */
#include "builder/build.h"

#include <string.h>
#include <time.h>

#include "builder/codes.h"
#include "builder/export.h"
#include "builder/file.h"
#include "builder/memory.h"
#include "builder/parts.h"
#include "builder/threads.h"
#include "core/graph_file.h"
#include "core/graph_order.h"
#include "core/graph_repair.h"

#define ADDED_AT_ONCE 16

void
builder_graph_shape(knn_graph *graph, const builder_job *job, const builder_input *input)
{
	memset(graph, 0, sizeof(*graph));
	graph->m = job->m;
	graph->ef_construction = job->ef_construction;
	graph->seed = job->seed;
	graph->encoder = input->encoder;
	graph->allocator = builder_allocator;
}

uint64_t
builder_memory_for(const builder_job *job, const builder_input *input, uint64_t n)
{
	uint64_t	adding = knn_parallel_memory(n, job->threads);
	/* the graph has its tags */
	uint64_t	connecting = knn_repair_memory(n) - n * sizeof(uint16_t);

	return knn_graph_memory(n, input->encoder.encoding, job->dimension, job->m) +
		(adding > connecting ? adding : connecting);
}

/* ---- adding ---- */

typedef struct Adding
{
	const builder_addition *addition;
	knn_parallel_worker *workers;
} Adding;

static void
add_item(void *context, uint32_t thread, uint64_t item)
{
	Adding	   *adding = context;
	const builder_addition *a = adding->addition;
	uint32_t	id = (uint32_t) item;
	uint32_t	vector = a->vectors ? a->vectors[id] : id;

	if (knn_parallel_add(&adding->workers[thread], id, builder_input_row(a->input, vector)) != KNN_OK)
		builder_fail_memory();
}

void
builder_add(const builder_addition *a)
{
	uint32_t	threads = a->job->threads;
	Adding		adding = {a, builder_alloc(sizeof(knn_parallel_worker) * (uint64_t) threads)};
	builder_work work = {.phase = a->phase ? a->phase : "graph", .base = a->base, .total = a->total,
		.threads = threads, .items = a->n, .chunk = ADDED_AT_ONCE, .item = add_item,
		.context = &adding};
	knn_parallel_build build;

	if (knn_graph_init(a->graph, a->n) != KNN_OK || knn_parallel_begin(&build, a->graph) != KNN_OK)
		builder_fail_memory();
	for (uint32_t i = 0; i < threads; i++)
	{
		if (knn_parallel_worker_init(&adding.workers[i], &build) != KNN_OK)
			builder_fail_memory();
	}
	builder_do(&work);
	for (uint32_t i = 0; i < threads; i++)
		knn_parallel_worker_free(&adding.workers[i]);
	knn_parallel_end(&build);
	builder_release(adding.workers);
}

/* ---- writing ---- */

void
builder_write(const builder_job *job, const builder_input *input, const knn_graph *graph,
			  const uint32_t *vectors)
{
	uint64_t	bytes = sizeof(uint32_t) * (uint64_t) (graph->n > 0 ? graph->n : 1);
	uint32_t   *old_of_new;
	uint32_t   *new_of_old;
	builder_file file;
	knn_graph_sink sink = {.state = &file, .write = builder_file_write, .vector_of_old = vectors};

	if (job->result_format == BUILDER_FORMAT_FAISS)
	{
		builder_export(job, graph, vectors);
		return;
	}
	old_of_new = builder_alloc(bytes);
	new_of_old = builder_alloc(bytes);
	builder_progress("order", 0, graph->n);
	/* pages of one code, where codes cross pages: that is an order by links */
	if (knn_graph_order(graph, job->codes_per_page > 0 ? job->codes_per_page : 1,
						old_of_new, new_of_old) != KNN_OK)
		builder_fail_memory();
	if (job->codes)
		builder_write_codes(job, input, old_of_new, vectors);

	builder_file_begin(&file, job->result, knn_graph_file_size(graph->n, graph->nupper, graph->m));
	if (knn_graph_file_write(graph, old_of_new, new_of_old, &sink) != KNN_OK)
		builder_fail_memory();
	builder_file_end(&file);
	builder_release(old_of_new);
	builder_release(new_of_old);
}

/* ---- the whole ---- */

static void
build_whole(const builder_job *job, const builder_input *input)
{
	knn_graph	graph;
	builder_addition addition = {.job = job, .input = input, .graph = &graph,
		.n = job->count, .total = job->count};

	builder_graph_shape(&graph, job, input);
	builder_add(&addition);
	if (knn_graph_connect(&graph) != KNN_OK)
		builder_fail_memory();
	/* what the numbering needs fits into the room of the codes */
	knn_graph_finish(&graph);
	builder_write(job, input, &graph, NULL);
	knn_graph_free(&graph);
}

void
builder_build(const builder_job *job)
{
	builder_input input;
	struct timespec start;
	struct timespec end;
	uint32_t	partitions = 1;

	clock_gettime(CLOCK_MONOTONIC, &start);
	builder_input_open(&input, job);
	if (job->memory_limit == 0 ||
		builder_memory_for(job, &input, job->count) <= job->memory_limit)
		build_whole(job, &input);
	else
		partitions = builder_build_in_parts(job, &input);
	builder_input_close(&input);
	clock_gettime(CLOCK_MONOTONIC, &end);
	builder_result(job->count, (double) (end.tv_sec - start.tv_sec) +
				   (double) (end.tv_nsec - start.tv_nsec) * 1e-9,
				   job->threads, builder_memory_peak(), partitions);
}
