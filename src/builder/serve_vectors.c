/*
 * serve_vectors.c
 *		Checks of downloaded vectors, before a build is begun.
 *
 * Files are little-endian, and so is every machine that this is built for (graph_file.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builder/serve.h"

#define CHECKED_AT_ONCE 4096	/* vectors */

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

static bool
check_rows(float *rows, const serve_request *request, const builder_transfer *transfer,
		   bool *normalised, builder_error *error)
{
	for (uint32_t i = 0; i < request->doc_count; i++)
	{
		float	   *row = rows + (uint64_t) request->dimension * i;
		double		length = square(row, request->dimension);

		if (!isfinite(length))
			return serve_fail(error, BUILDER_BAD_INPUT, 0, "vector %u contains NaN or infinity", i);
		if (request->space_type == SERVE_COSINESIMIL)
		{
			if (length == 0)
				return serve_fail(error, BUILDER_BAD_INPUT, 0,
								  "vector %u is zero, which has no angle to others", i);
			length = 1 / sqrt(length);
			for (uint32_t j = 0; j < request->dimension; j++)
				row[j] = (float) (row[j] * length);
		}
		else if (fabs(length - 1) > LENGTH_TOLERANCE)
			*normalised = false;
		if (i % CHECKED_AT_ONCE == 0 && !transfer->progress(transfer->state, i, request->doc_count))
			return serve_fail(error, BUILDER_CANCELLED, 0, "the job was cancelled");
	}
	return true;
}

bool
serve_vectors_check(const char *path, const serve_request *request,
					const builder_transfer *transfer, bool *normalised, builder_error *error)
{
	size_t		bytes = (size_t) (serve_request_row_bytes(request) * request->doc_count);
	void	   *rows;
	int			fd;
	bool		ok;

	*normalised = request->data_type == SERVE_FLOAT || request->data_type == SERVE_HALF;
	if (!*normalised)
		return true;
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return serve_fail(error, BUILDER_IO, errno, "could not open the downloaded vectors");
	rows = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (rows == MAP_FAILED)
		return serve_fail(error, BUILDER_IO, errno, "could not map the downloaded vectors");
	(void) madvise(rows, bytes, MADV_SEQUENTIAL);
	ok = check_rows(rows, request, transfer, normalised, error);
	munmap(rows, bytes);
	return ok;
}
