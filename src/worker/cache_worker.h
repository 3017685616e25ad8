/*
 * cache_worker.h
 *		The background worker that looks after the native memory cache.
 */
#ifndef KNN_WORKER_CACHE_WORKER_H
#define KNN_WORKER_CACHE_WORKER_H

#include "postgres.h"

/* Has the worker started with the server; called once, while preloading. */
extern void KnnCacheWorkerInit(void);

/* Entry point, called by name. */
extern PGDLLEXPORT void knn_cache_worker_main(Datum arg);

#endif
