/*
 * file.h
 *		The file that a job results in: whole under its name, or not there.
 */
#ifndef KNN_BUILDER_FILE_H
#define KNN_BUILDER_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct builder_file
{
	int			fd;
	const char *path;			/* the caller's */
	char	   *part;			/* the name it has meanwhile */
	uint64_t	size;			/* of the whole, for the progress */
} builder_file;

/* All end the program when something is wrong, and the unfinished file goes. */
extern void builder_file_begin(builder_file *file, const char *path, uint64_t size);

/* A knn_graph_sink's function, with a builder_file as its state; always true. */
extern bool builder_file_write(void *file, uint64_t offset, const void *bytes, size_t n);

extern void builder_file_end(builder_file *file);

#endif
