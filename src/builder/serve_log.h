/*
 * serve_log.h
 *		The log of knn-builder serve: a line for each event, on standard error.
 *
 *	time=2026-01-31T12:00:00.000Z level=info event=job_queued job=... vectors=1000
 *	{"time":"2026-01-31T12:00:00.000Z","level":"info","event":"job_queued",...}
 *
 * Values are texts.  Nothing secret may be given to it.
 */
#ifndef KNN_BUILDER_SERVE_LOG_H
#define KNN_BUILDER_SERVE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#define SERVE_INFO "info"
#define SERVE_WARNING "warning"
#define SERVE_ERROR "error"

/* The form of all lines; before there are threads. */
extern void serve_log_format(bool json);

/*
 * A line with pairs of a name and a value, ended by NULL; a pair whose value is NULL
 * is left out.  From any thread.
 */
extern void serve_log(const char *level, const char *event,...) __attribute__((sentinel));

/* A number as such a value; it lives until the end of the block it is written in. */
#define SERVE_NUMBER(n) serve_number((char[24]) {0}, (n))
extern const char *serve_number(char text[24], uint64_t n);

#endif
