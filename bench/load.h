/*
 * load.h
 *		Filling a table and building its index.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "server.h"

typedef struct
{
	double		seconds;
	double		cpu_seconds;	/* of the server process; NAN if unknown */
	double		index_bytes;
	double		wal_bytes;
} build_t;

/* A table name of its own for each system and data set. */
extern char *table_name(const system_t *system, const dataset_t *set);

/* A new table (id int, v type(dim)) with every base row in it. */
extern void load_table(PGconn *conn, const system_t *system, const dataset_t *set,
					   const char *table);

/* An empty one. */
extern void create_table(PGconn *conn, const system_t *system, const dataset_t *set,
						 const char *table);

/* COPY of single rows: begin, any number of rows, end. */
extern void copy_begin(PGconn *conn, const char *table);
extern void copy_row(PGconn *conn, int32_t id, const float *v, uint32_t dim);
extern void copy_end(PGconn *conn);

extern build_t build_index(PGconn *conn, const system_t *system, const dataset_t *set,
						   const char *table, size_t k);

extern void drop_index(PGconn *conn, const char *table);

/* The table's one index; NULL when it has none, dies when there are more. */
extern char *index_of(PGconn *conn, const char *table);

#endif
