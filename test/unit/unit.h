/*
 * unit.h
 *		A tiny harness for the unit tests of src/core.
 *
 * A test program is one .c file, test_*.c, whose main() runs cases and ends with
 *
 *		return unit_done("test_something");
 *
 * A case starts with unit_case(name) and lasts until the next one; it fails when
 * any UNIT_CHECK in it fails, and is skipped when it says unit_skip(reason).
 * unit_done() prints one line of counts, which the Makefile adds up, and gives
 * the exit status.  Details of failures go to stderr, a few for each case; those of
 * skipped cases too when UNIT_VERBOSE is set in the environment.
 */
#ifndef KNN_TEST_UNIT_H
#define KNN_TEST_UNIT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define UNIT_MAX_REPORTS 5

static int	unit_passed,
			unit_failed,
			unit_skipped;
static char unit_name[128];
static bool unit_open,
			unit_is_skipped;
static long unit_errors;

static inline void
unit_close(void)
{
	if (!unit_open)
		return;
	unit_open = false;
	if (unit_errors > 0)
	{
		fprintf(stderr, "FAILED %s: %ld checks failed\n", unit_name, unit_errors);
		unit_failed++;
	}
	else if (unit_is_skipped)
		unit_skipped++;
	else
		unit_passed++;
}

/* Start a case; the name is formatted as by printf. */
__attribute__((format(printf, 1, 2), unused))
static void
unit_case(const char *fmt,...)
{
	va_list		args;

	unit_close();
	va_start(args, fmt);
	vsnprintf(unit_name, sizeof(unit_name), fmt, args);
	va_end(args);
	unit_open = true;
	unit_is_skipped = false;
	unit_errors = 0;
}

/* Mark the current case as skipped. */
__attribute__((unused))
static void
unit_skip(const char *reason)
{
	if (getenv("UNIT_VERBOSE") != NULL)
		fprintf(stderr, "skipped %s: %s\n", unit_name, reason);
	unit_is_skipped = true;
}

/* Record the outcome of one check, the rest formatted as by printf. */
__attribute__((format(printf, 4, 5), unused))
static bool
unit_check(bool ok, const char *file, int line, const char *fmt,...)
{
	va_list		args;

	if (ok)
		return true;
	if (unit_errors++ < UNIT_MAX_REPORTS)
	{
		fprintf(stderr, "%s:%d: %s: ", file, line, unit_name);
		va_start(args, fmt);
		vfprintf(stderr, fmt, args);
		va_end(args);
		fputc('\n', stderr);
	}
	return false;
}

/* UNIT_CHECK(condition, format, ...): the message tells the values. */
#define UNIT_CHECK(ok, ...) unit_check((ok), __FILE__, __LINE__, __VA_ARGS__)

/* Print the counts; the exit status of the program. */
__attribute__((unused))
static int
unit_done(const char *program)
{
	unit_close();
	printf("%s: %d passed, %d failed, %d skipped\n",
		   program, unit_passed, unit_failed, unit_skipped);
	return unit_failed > 0 ? 1 : 0;
}

/* Memory, of malloc(); never NULL. */
__attribute__((unused))
static void *
unit_allocate(size_t size)
{
	void	   *p = malloc(size > 0 ? size : 1);

	if (p == NULL)
		abort();
	return p;
}

/*
 * A reproducible source of pseudo-random numbers (xorshift64*); the state must
 * not be zero.
 */
__attribute__((unused))
static uint64_t
unit_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

/* Uniform in [-1, 1). */
__attribute__((unused))
static double
unit_random_float(uint64_t *state)
{
	return (double) (unit_random(state) >> 11) * 0x1p-52 - 1.0;
}

#endif
