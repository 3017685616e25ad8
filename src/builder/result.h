/*
 * result.h
 *		The file of a job's result: under another name until it is whole.
 */
#ifndef KNN_BUILDER_RESULT_H
#define KNN_BUILDER_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct builder_result_file
{
	int			fd;
	const char *path;			/* the caller's */
	char	   *part;			/* the name until the end */
	uint64_t	size;
} builder_result_file;

/*
 * Make it, write to it (as a knn_graph_sink does, with the file as the state; "size" is
 * for the progress), and give it its name.  Each ends the program upon an error.
 */
extern void builder_result_begin(builder_result_file *file, const char *path, uint64_t size);
extern bool builder_result_write(void *file, uint64_t offset, const void *bytes, size_t n);
extern void builder_result_end(builder_result_file *file);

#endif
