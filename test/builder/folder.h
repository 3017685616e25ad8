/*
 * folder.h
 *		The temporary folder that a test of the program works in: one for each process.
 *
 * Names are those of files in it.  A test that cannot write there aborts.
 */
#ifndef KNN_TEST_FOLDER_H
#define KNN_TEST_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Make it; false if that is not possible. */
extern bool folder_make(void);

/* With all that is in it. */
extern void folder_remove(void);

/* The path of a file, good until the fourth call from now. */
extern const char *folder_path(const char *name);

extern void folder_write(const char *name, const void *bytes, size_t size);

/* A file's bytes, to be freed; NULL where there is none. */
extern uint8_t *folder_read(const char *name, size_t *size);

/* How many files have names that begin so. */
extern int	folder_files(const char *prefix);

#endif
