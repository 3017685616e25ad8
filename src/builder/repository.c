/*
 * repository.c
 *		Object stores: what is the same for all of them; see repository.h.
 */
#include "builder/repository.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builder/file_part.h"
#include "builder/repository_class.h"
#include "builder/wait.h"

/* ---- local files ---- */

bool
builder_error_detail(builder_error *error, int error_number)
{
	strncpy(error->detail, strerror(error_number), sizeof(error->detail) - 1);
	if (error_number == ENOMEM)
		error->code = BUILDER_OUT_OF_MEMORY;
	return false;
}

bool
builder_local_read(const builder_local *file, uint64_t offset, void *bytes, size_t n,
				   builder_error *error)
{
	int			why;

	if (builder_read_part(file->fd, offset, bytes, n))
		return true;
	why = errno;
	if (why == 0)
		return builder_error_set(error, BUILDER_IO, "file \"%s\" became shorter", file->path);
	builder_error_set(error, BUILDER_IO, "could not read file \"%s\"", file->path);
	return builder_error_detail(error, why);
}

bool
builder_local_write(const builder_local *file, uint64_t offset, const void *bytes, size_t n,
					builder_error *error)
{
	int			why;

	if (builder_write_part(file->fd, offset, bytes, n))
		return true;
	why = errno;
	builder_error_set(error, BUILDER_IO, "could not write file \"%s\"", file->path);
	return builder_error_detail(error, why);
}

bool
builder_local_reserve(const builder_local *file, uint64_t bytes, builder_error *error)
{
	int			why;

	if (bytes == 0 || fallocate(file->fd, 0, 0, (off_t) bytes) == 0)
		return true;
	why = errno;
	/* others are of file systems that cannot */
	if (why != ENOSPC && why != EDQUOT && why != EFBIG)
		return true;
	builder_error_set(error, BUILDER_IO, "could not make room for %llu bytes in file \"%s\"",
					  (unsigned long long) bytes, file->path);
	return builder_error_detail(error, why);
}

bool
builder_transfer_tell(const builder_transfer *transfer, uint64_t done, uint64_t total,
					  builder_error *error)
{
	if (transfer == NULL || transfer->progress == NULL ||
		transfer->progress(transfer->state, done, total))
		return true;
	return builder_error_set(error, BUILDER_CANCELLED, "the transfer was cancelled");
}

/* ---- all types ---- */

static bool
check_key(const char *key, builder_error *error)
{
	const char *part = key;

	if (key[0] == '\0' || strlen(key) > BUILDER_KEY_BYTES)
		return builder_error_set(error, BUILDER_BAD_JOB, "a key of an object store has %zu bytes, expected 1 to %d",
								 strlen(key), BUILDER_KEY_BYTES);
	for (const char *p = key;; p++)
	{
		if (*p != '/' && *p != '\0')
		{
			if ((unsigned char) *p < 0x20 || *p == 0x7F)
				return builder_error_set(error, BUILDER_BAD_JOB,
										 "a key of an object store contains a control character");
			continue;
		}
		if (p == part || (p - part == 1 && part[0] == '.') ||
			(p - part == 2 && part[0] == '.' && part[1] == '.'))
			return builder_error_set(error, BUILDER_BAD_JOB,
									 "the key \"%.100s\" of an object store has a part that is empty, \".\" or \"..\"",
									 key);
		if (*p == '\0')
			return true;
		part = p + 1;
	}
}

builder_repository *
builder_repository_open(const builder_repository_options *options, builder_error *error)
{
	if (options->container == NULL || options->container[0] == '\0')
	{
		builder_error_set(error, BUILDER_BAD_JOB, "the repository has no container");
		return NULL;
	}
	if (options->type == BUILDER_REPOSITORY_FILE)
		return builder_repository_open_file(options, error);
	return builder_repository_open_s3(options, error);
}

void
builder_repository_close(builder_repository *repository)
{
	if (repository)
		repository->class->close(repository);
}

void
builder_repository_deadline(builder_repository *repository, double seconds)
{
	repository->deadline = seconds > 0 ? builder_now() + seconds : 0;
}

void
builder_repository_going(builder_repository *repository, const builder_going *going)
{
	repository->going = *going;
}

static bool
put(builder_repository *repository, const char *key, const char *path, bool given,
	const builder_transfer *transfer, builder_error *error)
{
	builder_local file = {.path = path, .given = given};
	struct stat st;
	bool		ok;
	int			why;

	if (!check_key(key, error))
		return false;
	file.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (file.fd < 0 || fstat(file.fd, &st) != 0)
	{
		why = errno;
		if (file.fd >= 0)
			(void) close(file.fd);
		builder_error_set(error, BUILDER_IO, "could not open file \"%s\"", path);
		return builder_error_detail(error, why);
	}
	if (S_ISREG(st.st_mode))
	{
		file.size = (uint64_t) st.st_size;
		ok = repository->class->put(repository, key, &file, transfer, error);
	}
	else
		ok = builder_error_set(error, BUILDER_IO, "\"%s\" is no file", path);
	(void) close(file.fd);
	return ok;
}

bool
builder_repository_put(builder_repository *repository, const char *key, const char *path,
					   const builder_transfer *transfer, builder_error *error)
{
	return put(repository, key, path, false, transfer, error);
}

bool
builder_repository_give(builder_repository *repository, const char *key, const char *path,
						const builder_transfer *transfer, builder_error *error)
{
	return put(repository, key, path, true, transfer, error);
}

bool
builder_repository_get(builder_repository *repository, const char *key, const char *path,
					   uint64_t limit, const builder_transfer *transfer, builder_error *error)
{
	builder_local file = {.path = path};
	bool		ok;
	int			why;

	if (!check_key(key, error))
		return false;
	file.fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file.fd < 0)
	{
		why = errno;
		builder_error_set(error, BUILDER_IO, "could not make file \"%s\"", path);
		return builder_error_detail(error, why);
	}
	ok = repository->class->get(repository, key, &file, limit, transfer, error);
	/* a full disk may be told only now */
	if (close(file.fd) != 0 && ok)
	{
		why = errno;
		builder_error_set(error, BUILDER_IO, "could not write file \"%s\"", path);
		ok = builder_error_detail(error, why);
	}
	if (!ok)
		(void) unlink(path);
	return ok;
}

bool
builder_repository_size(builder_repository *repository, const char *key, uint64_t *size,
						builder_error *error)
{
	return check_key(key, error) && repository->class->size(repository, key, size, error);
}

bool
builder_repository_remove(builder_repository *repository, const char *key, builder_error *error)
{
	return check_key(key, error) && repository->class->remove(repository, key, error);
}
