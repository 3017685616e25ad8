/*
 * serve_worker.h
 *		The threads that do jobs.
 */
#ifndef KNN_BUILDER_SERVE_WORKER_H
#define KNN_BUILDER_SERVE_WORKER_H

#include "builder/serve_jobs.h"

typedef struct serve_workers serve_workers;

/*
 * Remove what an earlier run left in the work folder, and start as many workers as
 * are configured; NULL and *error upon failure.
 */
extern serve_workers *serve_workers_start(const serve_config *config, serve_jobs *jobs,
										  builder_error *error);

/* Wait for their end, which serve_jobs_stop asks for. */
extern void serve_workers_join(serve_workers *workers);

#endif
