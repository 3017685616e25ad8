/*
 * output.h
 *		What knn-builder, and knn-train, say to whoever runs them: JSON lines on
 *		standard output.
 *
 * Each line is written at once.  The last one is a result or an error; the program
 * ends with it.
 */
#ifndef KNN_BUILDER_OUTPUT_H
#define KNN_BUILDER_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Codes of errors */
#define BUILDER_BAD_JOB "bad_job"
#define BUILDER_BAD_INPUT "bad_input"
#define BUILDER_OUT_OF_MEMORY "out_of_memory"
#define BUILDER_IO "io"
#define BUILDER_CANCELLED "cancelled"
#define BUILDER_NOT_INSTALLED "not_installed"
#define BUILDER_INTERNAL "internal"
#define BUILDER_REMOTE "remote"			/* a build service refused, failed, was not reached */
#define BUILDER_UNREACHED "unreached"	/* a build service that may be there again soon */
#define BUILDER_REPOSITORY "repository"	/* an object store did */
#define BUILDER_NOT_FOUND "not_found"
#define BUILDER_EXISTS "exists"			/* an object that was not to be overwritten */

typedef struct builder_error
{
	const char *code;
	char		message[256];
	char		detail[512];
	char		hint[256];
	bool		terminal;		/* nobody is to try the same in another way */
} builder_error;

/*
 * Set an error that somebody else may report: all else in it becomes empty.  Always
 * false, for functions that return it at once.
 */
extern bool builder_error_set(builder_error *error, const char *code, const char *format,...)
			__attribute__((format(printf, 3, 4)));

/*
 * A progress line, unless the last one is less than a tenth of a second old (a new
 * phase is always told).  Of one thread only.  Ends the program when its parent is
 * gone.
 */
extern void builder_progress(const char *phase, uint64_t done, uint64_t total);

extern void builder_result(uint64_t nodes, double seconds, uint32_t threads,
						   uint64_t memory, uint32_t partitions);

/* The same of a training: bytes of the model's file. */
extern void builder_trained(uint64_t bytes, double seconds, uint32_t threads);

/* A warning line: what is told, message, detail and hint, does not end the job. */
extern void builder_warning(const builder_error *warning);

/* Numbers of the whole job up to now, as a line. */
typedef struct builder_counter
{
	const char *name;
	uint64_t	value;
} builder_counter;

extern void builder_counters(const builder_counter *counters, size_t n);

/*
 * Called once before the last line, a result or an error, but not when a signal ends the
 * program.  NULL: nothing.
 */
extern void builder_before_end(void (*call) (void *state, bool failed), void *state);

/* An error line; removes the unfinished result and exits with status 1. */
extern void builder_fail(const builder_error *error) __attribute__((noreturn));

/* The same with a code and a message; the detail is of errno when it is not 0. */
extern void builder_fail_with(const char *code, int error_number, const char *format,...)
			__attribute__((format(printf, 3, 4), noreturn));

/* The same for memory. */
extern void builder_fail_memory(void) __attribute__((noreturn));

/*
 * The file that is removed when the program ends without a result, of any cause it
 * can notice; NULL for none.  The name must stay where it is.
 */
extern void builder_unfinished(const char *path);

/* Let signals, and the end of the parent, end the program so. */
extern void builder_catch_signals(void);

/*
 * While they are deferred, those signals are only noted (a second SIGTERM, or some seconds,
 * end the program all the same), so that it can undo what it did elsewhere.  Those of
 * errors are not.  No longer deferred, a noted one ends it.
 */
extern void builder_defer_signals(bool defer);
extern bool builder_signalled(void);

#endif
