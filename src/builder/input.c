/*
 * input.c
 *		The vectors of a job; see input.h.
 */
#include "builder/input.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builder/memory.h"
#include "core/rotation.h"

#define READ_AT_ONCE 4096		/* vectors */

uint64_t
builder_row_bytes(const builder_job *job)
{
	if (job->encoding == KNN_ENCODING_BINARY)
		return job->dimension / 8;
	if (job->encoding == KNN_ENCODING_BYTE)
		return job->dimension;
	return sizeof(float) * (uint64_t) job->dimension;
}

const void *
builder_map(const char *path, uint64_t expected, uint32_t count, const char *what)
{
	builder_error error = {.code = BUILDER_BAD_INPUT};
	struct stat status;
	void	   *bytes = NULL;
	int			fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &status) != 0)
	{
		int			why = errno;

		snprintf(error.message, sizeof(error.message), "could not open file \"%s\" of the %s",
				 path, what);
		snprintf(error.detail, sizeof(error.detail), "%s", strerror(why));
		builder_fail(&error);
	}
	if (!S_ISREG(status.st_mode) || (uint64_t) status.st_size != expected)
	{
		snprintf(error.message, sizeof(error.message), "file \"%s\" is not that of %u %s",
				 path, count, what);
		snprintf(error.detail, sizeof(error.detail), "It is %lld bytes long, expected %llu.",
				 (long long) status.st_size, (unsigned long long) expected);
		builder_fail(&error);
	}
	if (expected > 0)
	{
		bytes = mmap(NULL, expected, PROT_READ, MAP_SHARED, fd, 0);
		if (bytes == MAP_FAILED)
			builder_fail_with(BUILDER_IO, errno, "could not map file \"%s\"", path);
		(void) madvise(bytes, expected, MADV_SEQUENTIAL);
	}
	close(fd);
	return bytes;
}

/*
 * A vector is known by its position, so its id must be that; but a file of faiss has
 * ids of its own.
 */
static void
check_ids(const builder_job *job)
{
	uint64_t	bytes = sizeof(uint32_t) * (uint64_t) job->count;
	const uint8_t *ids = builder_map(job->ids, bytes, job->count, "ids");

	for (uint32_t i = 0; i < job->count && job->result_format == BUILDER_FORMAT_GRAPH; i++)
	{
		const uint8_t *p = ids + sizeof(uint32_t) * (uint64_t) i;
		uint32_t	id = (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 |
			(uint32_t) p[3] << 24;

		if (id != i)
			builder_fail_with(BUILDER_BAD_INPUT, 0, "id %u in file \"%s\" is %d", i, job->ids,
							  (int) id);
	}
	if (ids)
		munmap((void *) ids, bytes);
}

/* The mean of the vectors, which codes are made about, as a build in the server has it. */
static float *
mean(const builder_input *input)
{
	double	   *sum = builder_alloc(sizeof(double) * input->dimension);
	float	   *centre = builder_alloc(sizeof(float) * input->dimension);

	for (uint32_t i = 0; i < input->count; i++)
	{
		const float *row = builder_input_row(input, i);

		for (uint32_t j = 0; j < input->dimension; j++)
			sum[j] += row[j];
		if (i % READ_AT_ONCE == 0)
			builder_progress("read", i, input->count);
	}
	for (uint32_t j = 0; j < input->dimension; j++)
	{
		double		value = sum[j] / input->count;

		centre[j] = isfinite((float) value) ? (float) value : 0;
	}
	builder_release(sum);
	return centre;
}

void
builder_input_open(builder_input *input, const builder_job *job)
{
	memset(input, 0, sizeof(*input));
	input->count = job->count;
	input->dimension = job->dimension;
	input->row_bytes = builder_row_bytes(job);
	input->bytes = input->row_bytes * job->count;
	builder_progress("read", 0, job->count);
	check_ids(job);
	input->rows = builder_map(job->vectors, input->bytes, job->count, "vectors");

	/* 8 bits whatever the index keeps: a graph on fewer would be a worse one */
	input->encoder.dim = job->dimension;
	input->encoder.space = job->space;
	input->encoder.encoding = knn_encoding_is_float(job->encoding) ?
		KNN_ENCODING_ROTATED_8 : job->encoding;
	input->encoder.kernels = knn_kernels_get();
	if (knn_encoding_is_float(job->encoding))
	{
		/* lists have centres of their own */
		float	   *centre = job->kind == BUILDER_BUILD ? mean(input) : NULL;

		if (knn_space_rotates(job->space))
		{
			uint8_t    *signs = builder_alloc(KNN_ROTATION_SIGN_BYTES(job->dimension));

			knn_rotation_init(signs, job->dimension, job->seed);
			if (centre)
				knn_rotation_apply(signs, centre, job->dimension);
			input->encoder.signs = signs;
		}
		input->encoder.centre = centre;
	}
	builder_progress("read", job->count, job->count);
}

void
builder_input_close(builder_input *input)
{
	if (input->rows)
		munmap((void *) input->rows, input->bytes);
	builder_release((void *) input->encoder.signs);
	builder_release((void *) input->encoder.centre);
	memset(input, 0, sizeof(*input));
}

const float *
builder_input_floats(const builder_input *input, uint32_t i, float *buffer)
{
	const uint8_t *row = builder_input_row(input, i);

	switch (input->encoder.encoding)
	{
		case KNN_ENCODING_BYTE:
			for (uint32_t j = 0; j < input->dimension; j++)
				buffer[j] = (float) (int8_t) row[j];
			return buffer;
		case KNN_ENCODING_BINARY:
			for (uint32_t j = 0; j < input->dimension; j++)
				buffer[j] = (float) (row[j / 8] >> (j % 8) & 1);
			return buffer;
		default:
			return (const float *) row;
	}
}
