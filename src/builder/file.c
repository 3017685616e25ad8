/*
 * file.c
 *		The file that a job results in; see file.h.
 */
#include "builder/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "builder/file_part.h"
#include "builder/memory.h"
#include "builder/output.h"

void
builder_file_begin(builder_file *file, const char *path, uint64_t size)
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
builder_file_write(void *state, uint64_t offset, const void *bytes, size_t n)
{
	builder_file *file = state;

	builder_progress("write", offset, file->size);
	if (!builder_write_part(file->fd, offset, bytes, n))
		builder_fail_with(BUILDER_IO, errno, "could not write file \"%s\"", file->part);
	return true;
}

void
builder_file_end(builder_file *file)
{
	if (close(file->fd) != 0)
		builder_fail_with(BUILDER_IO, errno, "could not write file \"%s\"", file->part);
	if (rename(file->part, file->path) != 0)
		builder_fail_with(BUILDER_IO, errno, "could not rename file \"%s\" to \"%s\"", file->part,
						  file->path);
	builder_unfinished(NULL);
	builder_release(file->part);
}
