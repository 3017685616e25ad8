/*
 * prepare.h
 *		Loading an index into a system's own cache, and dropping it from there.
 */
#ifndef BENCH_PREPARE_H
#define BENCH_PREPARE_H

#include "server.h"

/*
 * Runs the system's `prepare` and returns how many seconds it took.  NAN, and a
 * warning told once, when it has none or the server cannot: then searches are
 * measured as they come.
 */
extern double prepare_index(PGconn *conn, const system_t *system, const dataset_t *set,
							const char *table);

/* Runs `unprepare`; dies when that fails. */
extern void unprepare_index(PGconn *conn, const system_t *system, const dataset_t *set,
							const char *table);

/* What `prepared_bytes` tells; NAN when it cannot, 0 when nothing is loaded. */
extern double prepared_bytes(PGconn *conn, const system_t *system, const dataset_t *set,
							 const char *table);

/* Whether the tests of the cache make sense for it: both statements work. */
extern bool can_prepare(PGconn *conn, const system_t *system, const dataset_t *set,
						const char *table);

#endif
