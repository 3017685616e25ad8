/*
 * file_part.c
 *		All of a part of a file; see file_part.h.
 */
#include "builder/file_part.h"

#include <errno.h>
#include <unistd.h>

bool
builder_read_part(int fd, uint64_t offset, void *bytes, size_t n)
{
	char	   *to = bytes;

	while (n > 0)
	{
		ssize_t		got = pread(fd, to, n, (off_t) offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0)
			errno = 0;
		if (got <= 0)
			return false;
		to += got;
		offset += (uint64_t) got;
		n -= (size_t) got;
	}
	return true;
}

bool
builder_write_part(int fd, uint64_t offset, const void *bytes, size_t n)
{
	const char *from = bytes;

	while (n > 0)
	{
		ssize_t		written = pwrite(fd, from, n, (off_t) offset);

		if (written < 0 && errno == EINTR)
			continue;
		if (written == 0)
			errno = ENOSPC;
		if (written <= 0)
			return false;
		from += written;
		offset += (uint64_t) written;
		n -= (size_t) written;
	}
	return true;
}
