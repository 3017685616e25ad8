/*
 * result.c
 *		The file of a job's result; see result.h.
 */
#include "builder/result.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "builder/memory.h"
#include "builder/output.h"

void
builder_result_begin(builder_result_file *file, const char *path, uint64_t size)
{
	size_t		length = strlen(path) + sizeof(".part");

	file->path = path;
	file->size = size;
	file->part = builder_alloc(length);
	snprintf(file->part, length, "%s.part", path);
	builder_unfinished(file->part);
	file->fd = open(file->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (file->fd < 0)
		builder_fail_with(BUILDER_IO, errno, "could not make file \"%s\"", file->part);
}

bool
builder_result_write(void *state, uint64_t offset, const void *bytes, size_t n)
{
	builder_result_file *file = state;
	const char *p = bytes;

	builder_progress("write", offset, file->size);
	while (n > 0)
	{
		ssize_t		written = pwrite(file->fd, p, n, (off_t) offset);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			builder_fail_with(BUILDER_IO, written < 0 ? errno : ENOSPC,
							  "could not write file \"%s\"", file->part);
		p += written;
		offset += (uint64_t) written;
		n -= (size_t) written;
	}
	return true;
}

void
builder_result_end(builder_result_file *file)
{
	if (close(file->fd) != 0)
		builder_fail_with(BUILDER_IO, errno, "could not write file \"%s\"", file->part);
	if (rename(file->part, file->path) != 0)
		builder_fail_with(BUILDER_IO, errno, "could not rename file \"%s\" to \"%s\"", file->part,
						  file->path);
	builder_unfinished(NULL);
	builder_release(file->part);
}
