/*
 * repository_file.c
 *		Repositories that are directories: of one machine, or of a shared file system.
 *
 * A key is followed part by part below the directory, never through a symbolic link.  An
 * object is written under a name of its own, or a file given becomes it, and is then linked
 * to its key, which fails where one is: so it appears whole and replaces nothing.  Files and
 * directories get the rights that the repository's directory has, so that its owner says
 * who else may read them.  Directories are removed when their last object is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builder/repository_class.h"
#include "builder/wait.h"

#define COPY_BYTES (1024 * 1024)
#define NAME_BYTES 256			/* of a part of a key, with a zero */
#define LOST_RACES 10			/* with who removes directories */

typedef struct file_repository
{
	builder_repository base;
	char	   *path;
} file_repository;

/* A key's directory, open, and the name in it. */
typedef struct Place
{
	int			directory;
	const char *name;
	mode_t		mode;			/* of the repository's directory */
} Place;

static bool
fail(builder_error *error, int why, const char *what, const file_repository *repository,
	 const char *key)
{
	builder_error_set(error, why == ENOENT ? BUILDER_NOT_FOUND :
					  why == EEXIST ? BUILDER_EXISTS : BUILDER_REPOSITORY,
					  "could not %s object \"%.100s\" of repository \"%.100s\"", what, key,
					  repository->path);
	builder_error_detail(error, why);
	if (why == ELOOP || why == ENOTDIR)
		snprintf(error->hint, sizeof(error->hint),
				 "Symbolic links inside of a repository are not followed.");
	else if (why == EACCES || why == EPERM || why == EROFS)
		snprintf(error->hint, sizeof(error->hint),
				 "The server and the build service need rights to read and write in that directory.");
	return false;
}

/* ---- places ---- */

/* Open one directory in another, making it where wanted; -1 and errno. */
static int
step(int directory, const char *name, bool make, mode_t mode)
{
	bool		made = make && mkdirat(directory, name, 0700) == 0;
	int			fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 && made)
		(void) fchmod(fd, mode & 02777);
	return fd;
}

/* 0, or why not: an errno. */
static int
find_place(const file_repository *repository, const char *key, bool make, Place *place)
{
	struct stat st;
	const char *slash;
	int			why = 0;

	place->directory = open(repository->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (place->directory < 0)
		return errno;
	if (fstat(place->directory, &st) != 0)
		why = errno;
	place->mode = st.st_mode;
	for (; why == 0 && (slash = strchr(key, '/')) != NULL; key = slash + 1)
	{
		char		name[NAME_BYTES];
		int			fd;

		if ((size_t) (slash - key) >= sizeof(name))
		{
			why = ENAMETOOLONG;
			break;
		}
		memcpy(name, key, (size_t) (slash - key));
		name[slash - key] = '\0';
		fd = step(place->directory, name, make, place->mode);
		if (fd < 0)
			why = errno;
		else
		{
			(void) close(place->directory);
			place->directory = fd;
		}
	}
	place->name = key;
	if (why != 0)
		(void) close(place->directory);
	return why;
}

/* ---- copying ---- */

/* What was said of the object's file, said of the object. */
static bool
of_object(builder_error *error, const char *what, const file_repository *repository,
		  const char *key)
{
	char		detail[sizeof(error->detail)];

	snprintf(detail, sizeof(detail), "%s",
			 error->detail[0] ? error->detail : "It became shorter meanwhile.");
	builder_error_set(error, BUILDER_REPOSITORY,
					  "could not %s object \"%.100s\" of repository \"%.100s\"", what, key,
					  repository->path);
	memcpy(error->detail, detail, sizeof(detail));
	return false;
}

/* Copy so many bytes between the local file and the object's, fd. */
static bool
copy(const file_repository *repository, const char *key, const builder_local *local, int fd,
	 uint64_t size, bool put, const builder_transfer *transfer, builder_error *error)
{
	builder_local object = {.fd = fd, .path = key};
	void	   *buffer = malloc(COPY_BYTES);
	double		told = 0;
	bool		ok = true;

	if (buffer == NULL)
		return builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
	for (uint64_t at = 0; ok && at < size;)
	{
		size_t		n = size - at < COPY_BYTES ? (size_t) (size - at) : COPY_BYTES;

		if (builder_now() - told >= BUILDER_ASK_SECONDS)
		{
			ok = builder_transfer_tell(transfer, at, size, error);
			told = builder_now();
		}
		if (ok && put)
			ok = builder_local_read(local, at, buffer, n, error) &&
				(builder_local_write(&object, at, buffer, n, error) ||
				 of_object(error, "write", repository, key));
		else if (ok)
			ok = (builder_local_read(&object, at, buffer, n, error) ||
				  of_object(error, "read", repository, key)) &&
				builder_local_write(local, at, buffer, n, error);
		at += n;
	}
	free(buffer);
	return ok && builder_transfer_tell(transfer, size, size, error);
}

/* ---- objects ---- */

/* Give what was written its name; 0 or an errno. */
static int
name_object(const Place *place, const char *part)
{
	if (linkat(place->directory, part, place->directory, place->name, 0) == 0)
		return 0;
	/* without hard links */
	if (errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS)
		return renameat2(place->directory, part, place->directory, place->name,
						 RENAME_NOREPLACE) == 0 ? 0 : errno;
	return errno;
}

/* Give a file the rights, and the group, that one made in the directory would have. */
static bool
give_rights(const Place *place, int fd)
{
	struct stat directory;

	if (fstat(place->directory, &directory) != 0)
		return false;
	if ((directory.st_mode & S_ISGID) && fchown(fd, (uid_t) -1, directory.st_gid) != 0)
		return false;
	return fchmod(fd, place->mode & 0666) == 0;
}

/* Is the local file, without a copy, the object's part now?  Where it can be linked. */
static bool
take_given(const Place *place, const char *part, const builder_local *file)
{
	struct stat opened;
	struct stat linked;

	if (!file->given || linkat(AT_FDCWD, file->path, place->directory, part, 0) != 0)
		return false;
	if (fstat(file->fd, &opened) == 0 &&
		fstatat(place->directory, part, &linked, AT_SYMLINK_NOFOLLOW) == 0 &&
		opened.st_dev == linked.st_dev && opened.st_ino == linked.st_ino &&
		give_rights(place, file->fd))
		return true;
	/* another file has that name by now, or this one cannot have those rights */
	(void) unlinkat(place->directory, part, 0);
	return false;
}

/* A copy of the local file as the object's part. */
static bool
write_part(const file_repository *repository, const Place *place, const char *key, const char *part,
		   const builder_local *file, const builder_transfer *transfer, builder_error *error)
{
	int			fd = openat(place->directory, part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int			why = 0;
	bool		ok;

	if (fd < 0)
		return fail(error, errno, "write", repository, key);
	ok = copy(repository, key, file, fd, file->size, true, transfer, error);
	/*
	 * Nothing is synced: an object lives as long as a build, which a crash of the machine
	 * ends too, and whoever reads one compares its size and checks what is in it.
	 */
	if (ok && fchmod(fd, place->mode & 0666) != 0)
		why = errno;
	if (close(fd) != 0 && why == 0)
		why = errno;
	return ok && (why == 0 || fail(error, why, "write", repository, key));
}

static bool
put_at(const file_repository *repository, const Place *place, const char *key,
	   const builder_local *file, const builder_transfer *transfer, builder_error *error)
{
	char		part[64];
	uint64_t	bits = 0;
	bool		ok;

	if (faccessat(place->directory, place->name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return fail(error, EEXIST, "write", repository, key);
	(void) !getrandom(&bits, sizeof(bits), 0);
	snprintf(part, sizeof(part), ".%016llx.part", (unsigned long long) bits);
	if (take_given(place, part, file))
		ok = builder_transfer_tell(transfer, file->size, file->size, error);
	else
		ok = write_part(repository, place, key, part, file, transfer, error);
	if (ok)
	{
		int			why = name_object(place, part);

		ok = why == 0 || fail(error, why, "write", repository, key);
	}
	(void) unlinkat(place->directory, part, 0);
	return ok;
}

static bool
file_put(builder_repository *base, const char *key, const builder_local *file,
		 const builder_transfer *transfer, builder_error *error)
{
	const file_repository *repository = (file_repository *) base;
	Place		place;
	int			why = ENOENT;
	bool		ok;

	/* who removes the last object of a directory removes that too, perhaps just now */
	for (int i = 0; i < LOST_RACES && why == ENOENT; i++)
	{
		why = find_place(repository, key, true, &place);
		if (why != 0)
			continue;
		ok = put_at(repository, &place, key, file, transfer, error);
		(void) close(place.directory);
		if (ok || strcmp(error->code, BUILDER_NOT_FOUND) != 0)
			return ok;
		why = ENOENT;
	}
	fail(error, why, "write", repository, key);
	error->code = BUILDER_REPOSITORY;
	return false;
}

/* The object, open; -1 and *error. */
static int
open_object(const file_repository *repository, const char *key, struct stat *st,
			builder_error *error)
{
	Place		place;
	int			why = find_place(repository, key, false, &place);
	int			fd = -1;

	if (why == 0)
	{
		fd = openat(place.directory, place.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		why = fd < 0 || fstat(fd, st) != 0 ? errno : !S_ISREG(st->st_mode) ? EISDIR : 0;
		(void) close(place.directory);
	}
	if (why == 0)
		return fd;
	if (fd >= 0)
		(void) close(fd);
	(void) fail(error, why, "read", repository, key);
	return -1;
}

static bool
file_get(builder_repository *base, const char *key, const builder_local *file, uint64_t limit,
		 const builder_transfer *transfer, builder_error *error)
{
	const file_repository *repository = (file_repository *) base;
	struct stat before;
	struct stat after;
	int			fd = open_object(repository, key, &before, error);
	bool		ok;

	if (fd < 0)
		return false;
	if ((uint64_t) before.st_size > limit)
		ok = builder_error_set(error, BUILDER_REPOSITORY,
							   "object \"%.100s\" has %llu bytes, more than the %llu it may have",
							   key, (unsigned long long) before.st_size,
							   (unsigned long long) limit);
	else
		ok = builder_local_reserve(file, (uint64_t) before.st_size, error) &&
			copy(repository, key, file, fd, (uint64_t) before.st_size, false, transfer, error);
	if (ok && (fstat(fd, &after) != 0 || after.st_size != before.st_size ||
			   after.st_mtim.tv_sec != before.st_mtim.tv_sec ||
			   after.st_mtim.tv_nsec != before.st_mtim.tv_nsec))
		ok = builder_error_set(error, BUILDER_REPOSITORY,
							   "object \"%.100s\" changed while it was read", key);
	(void) close(fd);
	return ok;
}

static bool
file_size(builder_repository *base, const char *key, uint64_t *size, builder_error *error)
{
	struct stat st;
	int			fd = open_object((file_repository *) base, key, &st, error);

	if (fd < 0)
		return false;
	*size = (uint64_t) st.st_size;
	(void) close(fd);
	return true;
}

/* Directories that are empty now, from the innermost out. */
static void
remove_directories(const file_repository *repository, const char *key)
{
	char		path[BUILDER_KEY_BYTES + 1];
	char	   *slash;

	strcpy(path, key);
	while ((slash = strrchr(path, '/')) != NULL)
	{
		Place		place;
		bool		removed;

		*slash = '\0';
		if (find_place(repository, path, false, &place) != 0)
			return;
		removed = unlinkat(place.directory, place.name, AT_REMOVEDIR) == 0;
		(void) close(place.directory);
		if (!removed)
			return;
	}
}

static bool
file_remove(builder_repository *base, const char *key, builder_error *error)
{
	const file_repository *repository = (file_repository *) base;
	Place		place;
	int			why = find_place(repository, key, false, &place);

	if (why == 0)
	{
		if (unlinkat(place.directory, place.name, 0) != 0)
			why = errno;
		(void) close(place.directory);
	}
	if (why != 0 && why != ENOENT)
		return fail(error, why, "remove", repository, key);
	remove_directories(repository, key);
	return true;
}

/* ---- the repository ---- */

static void
file_close(builder_repository *base)
{
	file_repository *repository = (file_repository *) base;

	free(repository->path);
	free(repository);
}

static const builder_repository_class file_class = {file_close, file_put, file_get, file_size,
file_remove};

builder_repository *
builder_repository_open_file(const builder_repository_options *options, builder_error *error)
{
	file_repository *repository;

	if (options->container[0] != '/')
	{
		builder_error_set(error, BUILDER_BAD_JOB,
						  "the directory \"%.150s\" of the repository is no absolute path",
						  options->container);
		return NULL;
	}
	repository = calloc(1, sizeof(*repository));
	if (repository)
		repository->path = strdup(options->container);
	if (repository == NULL || repository->path == NULL)
	{
		free(repository);
		builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
		return NULL;
	}
	repository->base.class = &file_class;
	return &repository->base;
}
