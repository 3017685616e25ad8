/*
 * repository.h
 *		Object stores for remote builds: servers of the foreign-data wrapper
 *		knn_repository.
 *
 *	CREATE SERVER s FOREIGN DATA WRAPPER knn_repository
 *		OPTIONS (type 's3', bucket 'b', ...) or (type 'file', directory '/d', ...)
 *	CREATE USER MAPPING FOR r SERVER s OPTIONS (access_key_id '...', ...)
 *
 * The wrapper has no handler: there are no foreign tables.  What it has is what is
 * wanted here: options by name, privileges, a place for credentials that only their
 * owner and superusers can read, and pg_dump.
 */
#ifndef KNN_JOB_REPOSITORY_H
#define KNN_JOB_REPOSITORY_H

#include "postgres.h"

#include "job/job.h"

#define KNN_MAX_CONNECTIONS 64

/* Texts are palloc'd; NULL: not given. */
typedef struct KnnRepository
{
	bool		s3;				/* or else a directory */
	char	   *container;		/* bucket, or directory */
	char	   *base_path;		/* "a/b", for keys to begin with */
	char	   *region;
	char	   *endpoint;		/* URL */
	char	   *ca_file;
	bool		path_style;
	bool		keep_objects;
	int			connections;	/* 0: the program's default */

	bool		instance;		/* the credentials are the machine's, and not these */
	char	   *access_key;		/* both or none */
	char	   *secret_key;
	char	   *session_token;
} KnnRepository;

/*
 * A repository by its name, with the credentials of a role, which needs USAGE on it.
 * NULL, and the failure told, if there is none or it is of no use.
 */
extern KnnRepository *KnnRepositoryOpen(const char *name, Oid role, KnnJobFailure *failure);

/* What is wrong with the URL of a service, as a sentence; NULL if nothing. */
extern const char *KnnUrlProblem(const char *url);

#endif
