/*
 * spool.c
 *		The directory in which server and knn-builder hand each other files; see
 *		spool.h.
 *
 * Files are written through fd.c, so that they count against temp_file_limit and
 * an error closes them.
 */
#include "postgres.h"

#include "job/spool.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/pg_tablespace.h"
#include "commands/tablespace.h"
#include "common/file_utils.h"
#include "compat.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/wait_event.h"

#define SPOOL_PREFIX PG_TEMP_FILE_PREFIX "_knn_"
#define BUFFER_SIZE (256 * 1024)

/* Directories in directories that are removed; the program has no need for any. */
#define MAX_DEPTH 8

static int	last_number = 0;

/*
 * Removes a directory and whatever is in it.  fd.c's function of this purpose
 * passes over links and pipes, which a program may leave as well as files, and
 * may raise errors.
 */
static void
remove_tree(const char *path, int depth)
{
	DIR		   *dir = opendir(path);
	struct dirent *entry;

	if (dir == NULL)
	{
		if (errno != ENOENT)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not open directory \"%s\": %m", path)));
		return;
	}
	while ((entry = readdir(dir)) != NULL)
	{
		char		name[MAXPGPATH * 2];
		struct stat status;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
			snprintf(name, sizeof(name), "%s/%s", path, entry->d_name) >= sizeof(name))
			continue;
		if (depth < MAX_DEPTH && lstat(name, &status) == 0 && S_ISDIR(status.st_mode))
			remove_tree(name, depth + 1);
		else if (unlink(name) != 0 && errno != ENOENT)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not remove file \"%s\": %m", name)));
	}
	closedir(dir);
	if (rmdir(path) != 0 && errno != ENOENT)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not remove directory \"%s\": %m", path)));
}

/*
 * Removes what processes left that are gone: after kill -9 of a backend the
 * server restarts and cleans up, unless remove_temp_files_after_crash is off.
 * This process has no other spool, so one that bears its number is of a
 * predecessor's.
 */
static void
remove_leftovers(const char *base)
{
	DIR		   *dir = AllocateDir(base);
	struct dirent *entry;

	if (dir == NULL)
		return;					/* not made yet; what else is wrong shows soon */
	while ((entry = ReadDirExtended(dir, base, LOG)) != NULL)
	{
		int			pid;
		char		path[MAXPGPATH * 2];

		if (sscanf(entry->d_name, SPOOL_PREFIX "%d.", &pid) != 1)
			continue;
		if (pid != MyProcPid && BackendPidGetProc(pid) != NULL)
			continue;
		snprintf(path, sizeof(path), "%s/%s", base, entry->d_name);
		ereport(DEBUG1,
				(errmsg_internal("removing spool directory \"%s\" of a process that is gone", path)));
		remove_tree(path, 0);
	}
	FreeDir(dir);
}

void
KnnSpoolCreate(KnnSpool *spool)
{
	char		base[MAXPGPATH];
	char		path[MAXPGPATH];
	Oid			tablespace;

	PrepareTempTablespaces();
	tablespace = GetNextTempTableSpace();
	if (!OidIsValid(tablespace))
		tablespace = MyDatabaseTableSpace;
	/* a database's own tablespace need not be one for temporary files */
	TempTablespacePath(base, tablespace);
	remove_leftovers(base);
	if (snprintf(path, sizeof(path), "%s/%s%d.%d", base, SPOOL_PREFIX,
				 MyProcPid, ++last_number) >= sizeof(path))
		elog(ERROR, "path of a spool directory is too long");
	/* set first, so that one that is half made is removed too */
	strlcpy(spool->path, path, sizeof(spool->path));
	PathNameCreateTemporaryDir(base, path);
}

void
KnnSpoolRemove(KnnSpool *spool)
{
	if (spool->path[0] == '\0')
		return;
	remove_tree(spool->path, 0);
	spool->path[0] = '\0';
}

void
KnnSpoolPath(const KnnSpool *spool, const char *name, char *path)
{
	if (snprintf(path, MAXPGPATH, "%s/%s/%s", DataDir, spool->path, name) >= MAXPGPATH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("path of file \"%s\" of a build is too long", name),
				 errdetail("It would be longer than %d bytes.", MAXPGPATH - 1)));
}

/* ---- writing ---- */

void
KnnSpoolFileBegin(KnnSpoolFile *file, const KnnSpool *spool, const char *name)
{
	char		path[MAXPGPATH * 2];

	snprintf(path, sizeof(path), "%s/%s", spool->path, name);
	file->offset = 0;
	file->used = 0;
	file->error = 0;
	file->buffer = palloc(BUFFER_SIZE);
	file->file = PathNameCreateTemporaryFile(path, false);
	/* whatever the mode of the data directory: a job may have passwords in it */
	if (file->file < 0 || chmod(path, S_IRUSR | S_IWUSR) != 0)
		file->error = errno;
}

static void
flush_file(KnnSpoolFile *file)
{
	Size		done = 0;

	CHECK_FOR_INTERRUPTS();
	while (done < file->used && file->error == 0)
	{
		int			n;

		errno = 0;
		n = FileWrite(file->file, file->buffer + done, file->used - done, file->offset,
					  WAIT_EVENT_BUFFILE_WRITE);
		if (n <= 0)
			file->error = errno != 0 ? errno : ENOSPC;
		else
		{
			done += n;
			file->offset += n;
		}
	}
	file->used = 0;
}

void
KnnSpoolFileWrite(KnnSpoolFile *file, const void *data, Size size)
{
	const char *from = data;

	while (size > 0 && file->error == 0)
	{
		Size		part = Min(size, BUFFER_SIZE - file->used);

		memcpy(file->buffer + file->used, from, part);
		file->used += part;
		from += part;
		size -= part;
		if (file->used == BUFFER_SIZE)
			flush_file(file);
	}
}

bool
KnnSpoolFileEnd(KnnSpoolFile *file)
{
	if (file->error == 0)
		flush_file(file);
	pfree(file->buffer);
	file->buffer = NULL;
	errno = file->error;
	return file->error == 0;
}

void
KnnSpoolFileClose(KnnSpoolFile *file)
{
	if (file->file >= 0)
		FileClose(file->file);
	file->file = -1;
}

/* ---- reading ---- */

bool
KnnSpoolHas(const KnnSpool *spool, const char *name)
{
	char		path[MAXPGPATH * 2];
	struct stat status;

	snprintf(path, sizeof(path), "%s/%s", spool->path, name);
	return lstat(path, &status) == 0 || errno != ENOENT;
}

int
KnnSpoolOpen(const KnnSpool *spool, const char *name, uint64 limit, uint64 *size, char **problem)
{
	char		path[MAXPGPATH * 2];
	struct stat status;
	int			fd;

	snprintf(path, sizeof(path), "%s/%s", spool->path, name);
	*problem = NULL;
	/* whatever the program left there: no link is followed, no pipe waited for */
	fd = OpenTransientFile(path, O_RDONLY | PG_BINARY | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
	{
		*problem = errno == ENOENT ? psprintf("there is no file \"%s\"", name) :
			psprintf("file \"%s\" could not be opened: %s", name, strerror(errno));
		return -1;
	}
	if (fstat(fd, &status) != 0)
		*problem = psprintf("file \"%s\" could not be read: %s", name, strerror(errno));
	else if (!S_ISREG(status.st_mode))
		*problem = psprintf("\"%s\" is no file", name);
	else if ((uint64) status.st_size > limit)
		*problem = psprintf("file \"%s\" has %lld bytes", name, (long long) status.st_size);
	if (*problem)
	{
		CloseTransientFile(fd);
		return -1;
	}
	*size = (uint64) status.st_size;
	return fd;
}
