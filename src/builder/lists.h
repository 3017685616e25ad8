/*
 * lists.h
 *		Dividing the vectors of a job into lists and writing these to its result.
 */
#ifndef KNN_BUILDER_LISTS_H
#define KNN_BUILDER_LISTS_H

#include "builder/job.h"

/* All of it; ends the program when something is wrong. */
extern void builder_cluster(const builder_job *job);

#endif
