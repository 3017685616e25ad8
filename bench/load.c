/*
 * load.c
 *		COPY BINARY into a table, CREATE INDEX on it.
 */
#include "load.h"
#include "fail.h"
#include "progress.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char copy_header[] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0";
#define COPY_HEADER_SIZE 19

char *
table_name(const system_t *system, const dataset_t *set)
{
	char	   *name = format_string("bench_%s_%.24s", system->name, set->name);

	for (char *p = name; *p; p++)
		*p = isalnum((unsigned char) *p) ? (char) tolower((unsigned char) *p) : '_';
	return name;
}

void
create_table(PGconn *conn, const system_t *system, const dataset_t *set, const char *table)
{
	server_exec(conn, "DROP TABLE IF EXISTS %s", table);
	server_exec(conn, "CREATE TABLE %s (id int NOT NULL, v %s(%u)) WITH (autovacuum_enabled = off)",
				table, system->type, set->base.dim);
}

static void
copy_send(PGconn *conn, const void *data, size_t size)
{
	if (PQputCopyData(conn, data, (int) size) != 1)
		die("COPY failed: %s", PQerrorMessage(conn));
}

void
copy_begin(PGconn *conn, const char *table)
{
	char	   *statement = format_string("COPY %s (id, v) FROM STDIN (FORMAT binary)", table);
	PGresult   *result = PQexec(conn, statement);

	server_check(conn, result, PGRES_COPY_IN, statement);
	PQclear(result);
	free(statement);
	copy_send(conn, copy_header, COPY_HEADER_SIZE);
}

void
copy_row(PGconn *conn, int32_t id, const float *v, uint32_t dim)
{
	unsigned char row[2 + 4 + 4 + 4 + 4 + 4 * DATASET_MAX_DIM];
	size_t		wire = vector_wire_size(dim);

	put_int16(row, 2);
	put_int32(row + 2, 4);
	put_int32(row + 6, id);
	put_int32(row + 10, (int32_t) wire);
	put_vector(row + 14, v, dim);
	copy_send(conn, row, 14 + wire);
}

void
copy_end(PGconn *conn)
{
	unsigned char trailer[2];
	PGresult   *result;

	put_int16(trailer, -1);
	copy_send(conn, trailer, sizeof(trailer));
	if (PQputCopyEnd(conn, NULL) != 1)
		die("COPY failed: %s", PQerrorMessage(conn));
	while ((result = PQgetResult(conn)) != NULL)
	{
		server_check(conn, result, PGRES_COMMAND_OK, "COPY FROM STDIN");
		PQclear(result);
	}
}

void
load_table(PGconn *conn, const system_t *system, const dataset_t *set, const char *table)
{
	char	   *what = format_string("%s: loading %s", system->name, set->name);
	double		rows;

	if (system->extension != NULL)
		server_exec(conn, "CREATE EXTENSION IF NOT EXISTS %s", system->extension);
	create_table(conn, system, set, table);
	progress_begin(what, set->base.rows);
	copy_begin(conn, table);
	for (size_t i = 0; i < set->base.rows; i++)
	{
		copy_row(conn, (int32_t) i, matrix_row(&set->base, i), set->base.dim);
		progress_at(i);
	}
	copy_end(conn);
	progress_end();
	free(what);
	rows = server_number(conn, "SELECT count(*) FROM %s", table);
	if (rows != (double) set->base.rows)
		die("%s holds %.0f rows after loading %zu", table, rows, set->base.rows);
	server_exec(conn, "VACUUM (FREEZE, ANALYZE) %s", table);
}

char *
index_of(PGconn *conn, const char *table)
{
	double		n = server_number(conn,
								  "SELECT count(*) FROM pg_index WHERE indrelid = '%s'::regclass", table);

	if (n > 1)
		die("%s has %.0f indexes; a system's index statement must create one", table, n);
	return server_text(conn,
					   "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = '%s'::regclass",
					   table);
}

void
drop_index(PGconn *conn, const char *table)
{
	char	   *index = index_of(conn, table);

	if (index != NULL)
		server_exec(conn, "DROP INDEX %s", index);
	free(index);
}

build_t
build_index(PGconn *conn, const system_t *system, const dataset_t *set, const char *table, size_t k)
{
	char	   *statement = system_expand(system, system->index, table, NULL, set, k);
	char	   *what = format_string("%s: building the index on %s", system->name, set->name);
	char	   *name;
	build_t		build;
	double		wal,
				cpu,
				start;

	drop_index(conn, table);

	/* Pages of the load are written now, not during the build. */
	server_exec(conn, "CHECKPOINT");
	progress_begin(what, 0);
	wal = server_wal_bytes(conn);
	cpu = server_cpu_seconds(conn);
	start = now_seconds();
	server_exec(conn, "%s", statement);
	build.seconds = now_seconds() - start;
	build.cpu_seconds = server_cpu_seconds(conn) - cpu;
	build.wal_bytes = server_wal_bytes(conn) - wal;
	progress_end();
	name = index_of(conn, table);
	if (name == NULL)
		die("system \"%s\": %s created no index on %s", system->name, statement, table);
	build.index_bytes = server_number(conn, "SELECT pg_relation_size('%s')", name);
	free(name);
	free(what);
	free(statement);
	return build;
}
