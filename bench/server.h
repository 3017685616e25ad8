/*
 * server.h
 *		Thin layer over libpq: every failure ends the program with the
 *		statement that failed.
 */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "systems.h"

/* Connects and applies the system's settings. */
extern PGconn *server_connect(const system_t *system, const char *conninfo);

extern void server_exec(PGconn *conn, const char *fmt, ...)
			__attribute__((format(printf, 2, 3)));

/* First column of the first row, to be freed; NULL for no row or null. */
extern char *server_text(PGconn *conn, const char *fmt, ...)
			__attribute__((format(printf, 2, 3)));
extern double server_number(PGconn *conn, const char *fmt, ...)
			__attribute__((format(printf, 2, 3)));

/*
 * The same for a statement that this server may lack: false, with the message
 * (to be freed), when it failed.
 */
extern bool server_try(PGconn *conn, const char *statement, char **text, char **message);

/* Dies unless the result has the wanted status; statement is for the message. */
extern void server_check(PGconn *conn, const PGresult *result, ExecStatusType wanted,
						 const char *statement);

/* Bytes of WAL written since the server's first. */
extern double server_wal_bytes(PGconn *conn);

/* The connection's server process; 0 when the server is not on this machine. */
extern pid_t server_pid(PGconn *conn);

/*
 * Processor time of the connection's server process, which other load on the
 * machine does not lengthen; NAN when the server is not on this machine.
 */
extern double server_cpu_seconds(PGconn *conn);

/* Big-endian, as the wire wants it. */
extern void put_int16(unsigned char *p, int value);
extern void put_int32(unsigned char *p, int32_t value);
extern int32_t get_int32(const char *p);

/*
 * A vector in the binary form that pgvector and knn share: dimension and a
 * zero as int16, then float4s.
 */
extern size_t vector_wire_size(uint32_t dim);
extern void put_vector(unsigned char *p, const float *v, uint32_t dim);

#endif
