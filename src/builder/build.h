/*
 * build.h
 *		Building the graph of a job and writing it to its result.
 */
#ifndef KNN_BUILDER_BUILD_H
#define KNN_BUILDER_BUILD_H

#include "builder/input.h"
#include "builder/job.h"
#include "core/graph_build_parallel.h"

/* All of it; ends the program when something is wrong. */
extern void builder_build(const builder_job *job);

/*
 * Add vectors to a graph that is set but for its nodes: vectors[i] of the input is
 * node i, or i itself where vectors is NULL.  The graph is complete then, with its
 * codes.  The progress is of so many before and so many in all.
 */
typedef struct builder_addition
{
	const builder_job *job;
	const builder_input *input;
	knn_graph  *graph;
	uint32_t	n;
	const uint32_t *vectors;
	uint64_t	base;
	uint64_t	total;
} builder_addition;

extern void builder_add(const builder_addition *addition);

/* The same of a graph whose shape is the job's. */
extern void builder_graph_shape(knn_graph *graph, const builder_job *job,
								const builder_input *input);

/*
 * Number the nodes and write the file, and the codes if the job wants them; vectors
 * are those of the graph's ids, NULL for the ids themselves.
 */
extern void builder_write(const builder_job *job, const builder_input *input,
						  const knn_graph *graph, const uint32_t *vectors);

/* Bytes that a build in memory takes for n vectors. */
extern uint64_t builder_memory_for(const builder_job *job, const builder_input *input, uint64_t n);

#endif
