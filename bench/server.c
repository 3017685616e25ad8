/*
 * server.c
 *		Connections, statements that must succeed, and the wire's byte order.
 */
#include "server.h"
#include "fail.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
trim_message(char *to, size_t room, const char *message)
{
	size_t		n;

	snprintf(to, room, "%s", message);
	n = strlen(to);
	while (n > 0 && to[n - 1] == '\n')
		to[--n] = '\0';
}

PGconn *
server_connect(const system_t *system, const char *conninfo)
{
	const char *where = system->conninfo != NULL ? system->conninfo : conninfo;
	PGconn	   *conn = PQconnectdb(where);
	char		message[512];

	if (PQstatus(conn) != CONNECTION_OK)
	{
		trim_message(message, sizeof(message), PQerrorMessage(conn));
		die("system \"%s\": %s; give --conninfo \"host=... port=... dbname=...\"",
			system->name, message);
	}
	server_exec(conn, "SET client_min_messages = warning");
	server_exec(conn, "SET jit = off");
	server_exec(conn, "SET max_parallel_workers_per_gather = 0");
	server_exec(conn, "SET max_parallel_maintenance_workers = 0");

	/* One plan for all queries: what is timed is the index, not the planner. */
	server_exec(conn, "SET plan_cache_mode = force_generic_plan");
	for (int i = 0; i < system->nset; i++)
	{
		char	   *value = PQescapeLiteral(conn, system->set_values[i],
											strlen(system->set_values[i]));

		server_exec(conn, "SET %s = %s", system->set_names[i], value);
		PQfreemem(value);
	}
	return conn;
}

void
server_check(PGconn *conn, const PGresult *result, ExecStatusType wanted, const char *statement)
{
	char		message[2048];

	if (PQresultStatus(result) == wanted)
		return;
	trim_message(message, sizeof(message), PQerrorMessage(conn));
	if (message[0] == '\0')
		snprintf(message, sizeof(message), "answered %s", PQresStatus(PQresultStatus(result)));
	die("%s\n  while running: %.500s", message, statement);
}

static PGresult *
run(PGconn *conn, const char *statement)
{
	PGresult   *result = PQexec(conn, statement);

	server_check(conn, result,
				 PQnfields(result) > 0 ? PGRES_TUPLES_OK : PGRES_COMMAND_OK, statement);
	return result;
}

static char *
vformat(const char *fmt, va_list ap)
{
	va_list		again;
	char	   *s;
	int			n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	s = alloc_array((size_t) n + 1, 1);
	vsnprintf(s, (size_t) n + 1, fmt, again);
	va_end(again);
	return s;
}

void
server_exec(PGconn *conn, const char *fmt,...)
{
	va_list		ap;
	char	   *statement;

	va_start(ap, fmt);
	statement = vformat(fmt, ap);
	va_end(ap);
	PQclear(run(conn, statement));
	free(statement);
}

static char *
first_text(PGconn *conn, const char *statement)
{
	PGresult   *result = run(conn, statement);
	char	   *text = NULL;

	if (PQntuples(result) > 0 && PQnfields(result) > 0 && !PQgetisnull(result, 0, 0))
		text = copy_string(PQgetvalue(result, 0, 0));
	PQclear(result);
	return text;
}

char *
server_text(PGconn *conn, const char *fmt,...)
{
	va_list		ap;
	char	   *statement,
			   *text;

	va_start(ap, fmt);
	statement = vformat(fmt, ap);
	va_end(ap);
	text = first_text(conn, statement);
	free(statement);
	return text;
}

double
server_number(PGconn *conn, const char *fmt,...)
{
	va_list		ap;
	char	   *statement,
			   *text;
	double		number;

	va_start(ap, fmt);
	statement = vformat(fmt, ap);
	va_end(ap);
	text = first_text(conn, statement);
	if (text == NULL)
		die("no answer to: %s", statement);
	number = strtod(text, NULL);
	free(text);
	free(statement);
	return number;
}

bool
server_try(PGconn *conn, const char *statement, char **text, char **message)
{
	PGresult   *result = PQexec(conn, statement);
	ExecStatusType status = PQresultStatus(result);
	bool		done = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;

	*text = *message = NULL;
	if (done && PQntuples(result) > 0 && PQnfields(result) > 0 && !PQgetisnull(result, 0, 0))
		*text = copy_string(PQgetvalue(result, 0, 0));
	if (!done)
	{
		const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

		*message = copy_string(primary != NULL ? primary : PQerrorMessage(conn));
	}
	PQclear(result);
	return done;
}

double
server_wal_bytes(PGconn *conn)
{
	return server_number(conn, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')");
}

pid_t
server_pid(PGconn *conn)
{
	const char *host = PQhost(conn);

	/* Only a socket directory says that the process id means something here. */
	if (host == NULL || (host[0] != '/' && host[0] != '@'))
		return 0;
	return (pid_t) PQbackendPID(conn);
}

double
server_cpu_seconds(PGconn *conn)
{
	pid_t		pid = server_pid(conn);
	char		path[64];
	unsigned long long nanoseconds;
	FILE	   *f;
	int			got;

	if (pid == 0)
		return NAN;
	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int) pid);
	f = fopen(path, "r");
	if (f == NULL)
		return NAN;
	got = fscanf(f, "%llu", &nanoseconds);
	fclose(f);
	return got == 1 ? (double) nanoseconds * 1e-9 : NAN;
}

void
put_int16(unsigned char *p, int value)
{
	p[0] = (unsigned char) (value >> 8);
	p[1] = (unsigned char) value;
}

void
put_int32(unsigned char *p, int32_t value)
{
	uint32_t	u = (uint32_t) value;

	p[0] = (unsigned char) (u >> 24);
	p[1] = (unsigned char) (u >> 16);
	p[2] = (unsigned char) (u >> 8);
	p[3] = (unsigned char) u;
}

int32_t
get_int32(const char *p)
{
	const unsigned char *u = (const unsigned char *) p;

	return (int32_t) ((uint32_t) u[0] << 24 | (uint32_t) u[1] << 16 | (uint32_t) u[2] << 8 | u[3]);
}

size_t
vector_wire_size(uint32_t dim)
{
	return 4 + 4 * (size_t) dim;
}

void
put_vector(unsigned char *p, const float *v, uint32_t dim)
{
	put_int16(p, (int) dim);
	put_int16(p + 2, 0);
	for (uint32_t i = 0; i < dim; i++)
	{
		int32_t		bits;

		memcpy(&bits, &v[i], sizeof(bits));
		put_int32(p + 4 + 4 * (size_t) i, bits);
	}
}
