/*
 * clusters.h
 *		Dividing vectors among clusters of about the same size.
 */
#ifndef KNN_BUILDER_CLUSTERS_H
#define KNN_BUILDER_CLUSTERS_H

#include "builder/input.h"

/*
 * Give each vector the two clusters it is nearest to, of k, so that none has more
 * than "most" members, first and second ones together (k * most must be more than
 * twice the number of vectors, by a tenth or so).
 */
extern void builder_divide(const builder_job *job, const builder_input *input, uint32_t k,
						   uint32_t most, uint16_t *first, uint16_t *second);

#endif
