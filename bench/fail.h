/*
 * fail.h
 *		How the program gives up: one message, what to do about it, exit 1.
 *
 * A benchmark that carries on after something odd produces numbers that look
 * like measurements, so nothing here is recoverable.
 */
#ifndef BENCH_FAIL_H
#define BENCH_FAIL_H

#include <stddef.h>

extern void die(const char *fmt, ...)
			__attribute__((noreturn, format(printf, 1, 2)));
extern void warn(const char *fmt, ...)
			__attribute__((format(printf, 1, 2)));

/* Allocation that dies on failure and on a product that does not fit. */
extern void *alloc_array(size_t count, size_t size);
extern void *grow_array(void *old, size_t count, size_t size);
extern char *copy_string(const char *s);
extern char *format_string(const char *fmt, ...)
			__attribute__((format(printf, 1, 2)));

#endif
