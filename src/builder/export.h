/*
 * export.h
 *		The result of a job as a file of faiss.
 */
#ifndef KNN_BUILDER_EXPORT_H
#define KNN_BUILDER_EXPORT_H

#include "builder/job.h"
#include "core/graph_build.h"

/* As builder_write, of a job whose result_format is BUILDER_FORMAT_FAISS. */
extern void builder_export(const builder_job *job, const knn_graph *graph,
						   const uint32_t *vectors);

#endif
