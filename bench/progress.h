/*
 * progress.h
 *		A progress bar on stderr for steps that take long; silent when stderr
 *		is not a terminal.
 */
#ifndef BENCH_PROGRESS_H
#define BENCH_PROGRESS_H

#include <stddef.h>

/* A new step; total 0 means that nobody knows how long it takes. */
extern void progress_begin(const char *what, size_t total);
extern void progress_at(size_t done);
extern void progress_end(void);

/* Seconds since some fixed moment, never going back. */
extern double now_seconds(void);

#endif
