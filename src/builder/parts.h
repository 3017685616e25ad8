/*
 * parts.h
 *		Building a graph that does not fit into memory: in overlapping parts.
 */
#ifndef KNN_BUILDER_PARTS_H
#define KNN_BUILDER_PARTS_H

#include "builder/input.h"
#include "builder/job.h"

/*
 * Build the graph of a job within its memory limit and write it.  Returns the number
 * of parts.
 */
extern uint32_t builder_build_in_parts(const builder_job *job, const builder_input *input);

/*
 * Whether the memory limit of a job is enough for that.  Of the input only the
 * encoding is looked at, and no file of the job.
 */
extern bool builder_parts_possible(const builder_job *job, const builder_input *input);

#endif
