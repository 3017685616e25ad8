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

#include <stdint.h>

/* Codes of errors */
#define BUILDER_BAD_JOB "bad_job"
#define BUILDER_BAD_INPUT "bad_input"
#define BUILDER_OUT_OF_MEMORY "out_of_memory"
#define BUILDER_IO "io"
#define BUILDER_CANCELLED "cancelled"
#define BUILDER_NOT_INSTALLED "not_installed"
#define BUILDER_INTERNAL "internal"

typedef struct builder_error
{
	const char *code;
	char		message[256];
	char		detail[512];
	char		hint[256];
} builder_error;

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

#endif
