/*
 * cache.h
 *		What a cache of whole indexes costs to fill, and to find empty.
 */
#ifndef BENCH_CACHE_H
#define BENCH_CACHE_H

#include "server.h"

/* For the systems with prepare and unprepare; the others are passed over. */
extern void cache_run(const system_t *systems, int n, const dataset_t *set, size_t k, int reps,
					  const char *conninfo);

#endif
