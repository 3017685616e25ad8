/*
 * codes.h
 *		The codes that an index keeps, in the order of its nodes.
 */
#ifndef KNN_BUILDER_CODES_H
#define KNN_BUILDER_CODES_H

#include "builder/input.h"
#include "builder/job.h"

/*
 * Make the codes of a job's vectors in its encoding, about their mean, and write them to
 * job->codes (core/code_file.h).  Node i is vector vectors[old_of_new[i]], or
 * old_of_new[i] where vectors is NULL.  Ends the program when something is wrong.
 */
extern void builder_write_codes(const builder_job *job, const builder_input *input,
								const uint32_t *old_of_new, const uint32_t *vectors);

#endif
