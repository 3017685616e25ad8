/*
 * insert.c
 *		INSERT of a row with binary parameters, prepared once.
 */
#include "insert.h"
#include "fail.h"
#include "progress.h"

#include <stdlib.h>

void
insert_prepare(PGconn *conn, const system_t *system, const char *name, const char *table)
{
	char	   *insert = format_string("INSERT INTO %s (id, v) VALUES ($1::int, $2::%s)", table,
									   system->type);
	PGresult   *result;

	server_exec(conn, "DEALLOCATE ALL");
	result = PQprepare(conn, name, insert, 0, NULL);
	server_check(conn, result, PGRES_COMMAND_OK, insert);
	PQclear(result);
	free(insert);
}

void
insert_rows(PGconn *conn, const system_t *system, const dataset_t *set, const char *name,
			size_t first, size_t n)
{
	size_t		wire = vector_wire_size(set->base.dim);
	unsigned char *vector = alloc_array(wire, 1);
	char	   *what = format_string("%s: inserting", system->name);

	progress_begin(what, n);
	for (size_t i = 0; i < n; i++)
	{
		unsigned char id[4];
		const char *values[2] = {(const char *) id, (const char *) vector};
		int			lengths[2] = {4, (int) wire};
		int			binary[2] = {1, 1};
		PGresult   *result;

		put_int32(id, (int32_t) (first + i));
		put_vector(vector, matrix_row(&set->base, first + i), set->base.dim);
		result = PQexecPrepared(conn, name, 2, values, lengths, binary, 0);
		server_check(conn, result, PGRES_COMMAND_OK, "INSERT of one row");
		PQclear(result);
		progress_at(i);
	}
	progress_end();
	free(what);
	free(vector);
}
