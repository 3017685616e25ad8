/*
 * insert.h
 *		Rows one by one, by a prepared INSERT.
 */
#ifndef BENCH_INSERT_H
#define BENCH_INSERT_H

#include "server.h"

/* Replaces whatever the connection had prepared. */
extern void insert_prepare(PGconn *conn, const system_t *system, const char *name,
						   const char *table);

/* Base rows first .. first + n - 1, each with its own number as id. */
extern void insert_rows(PGconn *conn, const system_t *system, const dataset_t *set,
						const char *name, size_t first, size_t n);

#endif
