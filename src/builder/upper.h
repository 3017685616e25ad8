/*
 * upper.h
 *		The levels above 0 of a graph whose level 0 comes from elsewhere.
 */
#ifndef KNN_BUILDER_UPPER_H
#define KNN_BUILDER_UPPER_H

#include "builder/input.h"
#include "builder/job.h"
#include "core/graph_build.h"

typedef struct builder_upper
{
	const builder_job *job;
	const builder_input *input;
	knn_graph  *graph;			/* of n nodes; its shape is the job's */
	const uint32_t *vectors;	/* of its nodes; NULL: the same */
	bool		listed;			/* the graph has its lists of level 0 */
	uint64_t	beside;			/* bytes in use meanwhile, of the job's limit */
	/* of the progress */
	const char *phase;
	uint64_t	base;
	uint64_t	total;
} builder_upper;

/*
 * Draw the levels, build a graph of the nodes above level 0, and make its lists those
 * of graph.  With lists of level 0, a few nodes are added to those that are drawn, so
 * that no small piece is left out.  Allocates graph->levels, upper_first and upper; sets
 * nupper, entry and entry_level.  Without nodes above, the entry point is node 0.
 */
extern void builder_build_upper(const builder_upper *u);

/* Lists above level 0 of a graph of n nodes: hardly ever more. */
extern uint64_t builder_upper_lists(uint64_t n, uint32_t m);

/* Bytes that this takes beyond what it allocates for the graph. */
extern uint64_t builder_upper_memory(const builder_job *job, const builder_input *input,
									 uint64_t nodes);

#endif
