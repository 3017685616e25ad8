/*
 * bytes_file.h
 *		A file in memory, for tests of what reads and writes files; it may fail.
 */
#ifndef KNN_TEST_BYTES_FILE_H
#define KNN_TEST_BYTES_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct Bytes
{
	uint8_t    *bytes;			/* of malloc, or NULL; whoever has it frees them */
	uint64_t	size;
	long		until_failure;	/* calls that still succeed; -1: all */
} Bytes;

/* For a knn_graph_source, whose state is the Bytes. */
__attribute__((unused))
static bool
bytes_read(void *state, uint64_t offset, void *to, size_t n)
{
	Bytes	   *b = state;

	if (b->until_failure == 0 || offset + n > b->size)
		return false;
	if (b->until_failure > 0)
		b->until_failure--;
	memcpy(to, b->bytes + offset, n);
	return true;
}

/* For a knn_graph_sink; the file grows. */
__attribute__((unused))
static bool
bytes_write(void *state, uint64_t offset, const void *from, size_t n)
{
	Bytes	   *b = state;

	if (b->until_failure == 0)
		return false;
	if (b->until_failure > 0)
		b->until_failure--;
	if (offset + n > b->size)
	{
		b->bytes = realloc(b->bytes, offset + n);
		if (b->bytes == NULL)
			abort();
		b->size = offset + n;
	}
	memcpy(b->bytes + offset, from, n);
	return true;
}

#endif
