/*
 * repository_class.h
 *		What the types of repositories have in common; for themselves alone.
 */
#ifndef KNN_BUILDER_REPOSITORY_CLASS_H
#define KNN_BUILDER_REPOSITORY_CLASS_H

#include <stddef.h>

#include "builder/repository.h"

#define BUILDER_KEY_BYTES 1024	/* no key is longer: S3's own limit */

/* The local file of a transfer. */
typedef struct builder_local
{
	int			fd;
	const char *path;
	uint64_t	size;			/* of put */
	bool		given;			/* of put: it may become the object */
} builder_local;

/* Keys are good ones; local files are open. */
typedef struct builder_repository_class
{
	void		(*close) (builder_repository *repository);
	bool		(*put) (builder_repository *repository, const char *key,
						const builder_local *file, const builder_transfer *transfer,
						builder_error *error);
	bool		(*get) (builder_repository *repository, const char *key,
						const builder_local *file, uint64_t limit,
						const builder_transfer *transfer, builder_error *error);
	bool		(*size) (builder_repository *repository, const char *key, uint64_t *size,
						 builder_error *error);
	bool		(*remove) (builder_repository *repository, const char *key,
						   builder_error *error);
} builder_repository_class;

struct builder_repository
{
	const builder_repository_class *class;
	double		deadline;		/* of builder_now(); 0: none */
	builder_going going;		/* of size and remove */
};

extern builder_repository *builder_repository_open_file(const builder_repository_options *options,
														builder_error *error);
extern builder_repository *builder_repository_open_s3(const builder_repository_options *options,
													  builder_error *error);

/* Exactly n bytes of a local file: BUILDER_IO when they are not to be had. */
extern bool builder_local_read(const builder_local *file, uint64_t offset, void *bytes, size_t n,
							   builder_error *error);
extern bool builder_local_write(const builder_local *file, uint64_t offset, const void *bytes,
								size_t n, builder_error *error);

/* Room for so many bytes, where the file system can tell that beforehand. */
extern bool builder_local_reserve(const builder_local *file, uint64_t bytes, builder_error *error);

/* False: BUILDER_CANCELLED is set. */
extern bool builder_transfer_tell(const builder_transfer *transfer, uint64_t done, uint64_t total,
								  builder_error *error);

/* The detail of an error: that of errno. */
extern bool builder_error_detail(builder_error *error, int error_number);

#endif
