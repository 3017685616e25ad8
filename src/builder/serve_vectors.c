/*
 * serve_vectors.c
 *		Checks of downloaded vectors, before a build is begun.
 *
 * Files are little-endian, and so is every machine that this is built for (graph_file.h).
 *
 * They are read and written, not mapped: of a mapped file, a disk that is full or broken
 * would be a signal that ends the service with all its jobs.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "builder/file_part.h"
#include "builder/serve.h"

#define BLOCK_BYTES (256 * 1024)	/* so many are read at once, or one vector: they stay in a cache */

/* How far the square of a length may be from 1: normalising rounds. */
#define LENGTH_TOLERANCE 1e-3

/* The square of a vector's length; no number when an element is none. */
static double
square(const float *row, uint32_t dimension)
{
	double		sum = 0;

	for (uint32_t i = 0; i < dimension; i++)
		sum += (double) row[i] * row[i];
	return sum;
}

/* Rows from the one that is number `first`; their new values where they are normalised. */
static bool
check_rows(float *rows, uint32_t first, uint32_t count, const serve_request *request,
		   bool *normalised, builder_error *error)
{
	for (uint32_t i = 0; i < count; i++)
	{
		float	   *row = rows + (size_t) request->dimension * i;
		double		length = square(row, request->dimension);

		if (!isfinite(length))
			return serve_fail(error, BUILDER_BAD_INPUT, 0, "vector %u contains NaN or infinity", first + i);
		if (request->space_type == SERVE_COSINESIMIL)
		{
			if (length == 0)
				return serve_fail(error, BUILDER_BAD_INPUT, 0,
								  "vector %u is zero, which has no angle to others", first + i);
			length = 1 / sqrt(length);
			for (uint32_t j = 0; j < request->dimension; j++)
				row[j] = (float) (row[j] * length);
		}
		else if (fabs(length - 1) > LENGTH_TOLERANCE)
			*normalised = false;
	}
	return true;
}

static bool
check_file(int fd, float *rows, uint32_t rows_at_once, const serve_request *request,
		   const builder_transfer *transfer, bool *normalised, builder_error *error)
{
	size_t		row_bytes = (size_t) serve_request_row_bytes(request);

	for (uint32_t i = 0; i < request->doc_count;)
	{
		uint32_t	count = request->doc_count - i < rows_at_once ? request->doc_count - i : rows_at_once;
		uint64_t	offset = (uint64_t) row_bytes * i;

		if (!transfer->progress(transfer->state, i, request->doc_count))
			return serve_fail(error, BUILDER_CANCELLED, 0, "the job was cancelled");
		if (!builder_read_part(fd, offset, rows, row_bytes * count))
			return serve_fail(error, BUILDER_IO, errno, "could not read the downloaded vectors");
		if (!check_rows(rows, i, count, request, normalised, error))
			return false;
		if (request->space_type == SERVE_COSINESIMIL &&
			!builder_write_part(fd, offset, rows, row_bytes * count))
			return serve_fail(error, BUILDER_IO, errno, "could not write the normalised vectors");
		i += count;
	}
	return true;
}

bool
serve_vectors_check(const char *path, const serve_request *request,
					const builder_transfer *transfer, bool *normalised, builder_error *error)
{
	size_t		row_bytes = (size_t) serve_request_row_bytes(request);
	uint32_t	rows_at_once = row_bytes < BLOCK_BYTES ? (uint32_t) (BLOCK_BYTES / row_bytes) : 1;
	float	   *rows;
	int			fd;
	bool		ok;

	*normalised = request->data_type == SERVE_FLOAT || request->data_type == SERVE_HALF;
	if (!*normalised)
		return true;
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return serve_fail(error, BUILDER_IO, errno, "could not open the downloaded vectors");
	rows = malloc(row_bytes * rows_at_once);
	ok = rows ? check_file(fd, rows, rows_at_once, request, transfer, normalised, error) :
		serve_fail(error, BUILDER_OUT_OF_MEMORY, 0, "out of memory");
	free(rows);
	close(fd);
	return ok;
}
