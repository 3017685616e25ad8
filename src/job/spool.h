/*
 * spool.h
 *		The directory in which server and knn-builder hand each other files.
 *
 * It lies among the server's temporary files, under a name that the server's own
 * start removes (pgsql_tmp_knn_<process>.<number>).  What a process left that
 * died in between is removed by the next job that makes one.
 */
#ifndef KNN_JOB_SPOOL_H
#define KNN_JOB_SPOOL_H

#include "postgres.h"

#include "storage/fd.h"

typedef struct KnnSpool
{
	char		path[MAXPGPATH];	/* as the server names it; empty: none */
} KnnSpool;

/* A file of the spool that is being written. */
typedef struct KnnSpoolFile
{
	File		file;
	off_t		offset;
	char	   *buffer;
	Size		used;
	int			error;			/* errno of the first write that failed, or 0 */
} KnnSpoolFile;

/*
 * Makes the directory; ERROR if that fails.  The caller sees to it that
 * KnnSpoolRemove is called whatever happens.
 */
extern void KnnSpoolCreate(KnnSpool *spool);

/* Removes it with all that is in it.  Raises no error; may be called twice. */
extern void KnnSpoolRemove(KnnSpool *spool);

/* Is there anything of this name in it? */
extern bool KnnSpoolHas(const KnnSpool *spool, const char *name);

/* The path of a file in it, absolute, for another program. */
extern void KnnSpoolPath(const KnnSpool *spool, const char *name, char *path);

/*
 * Writing a file.  What goes wrong is told by End (false, and errno set), since
 * it need not be the end of what the caller does; temp_file_limit is an ERROR.
 * The file counts against that limit until Close.
 */
extern void KnnSpoolFileBegin(KnnSpoolFile *file, const KnnSpool *spool, const char *name);
extern void KnnSpoolFileWrite(KnnSpoolFile *file, const void *data, Size size);
extern bool KnnSpoolFileEnd(KnnSpoolFile *file);
extern void KnnSpoolFileClose(KnnSpoolFile *file);

/*
 * Opens a file that the program wrote, of at most limit bytes: a transient file
 * descriptor (storage/fd.h), or -1 and a reason in *problem (palloc'd).
 */
extern int	KnnSpoolOpen(const KnnSpool *spool, const char *name, uint64 limit,
						 uint64 *size, char **problem);

#endif
