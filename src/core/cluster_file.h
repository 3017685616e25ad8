/*
 * cluster_file.h
 *		Centroids of lists, and the list of each vector, as a file: written by the builder,
 *		read by the server.
 *
 * Little-endian.  A header of 48 bytes:
 *
 *		char	magic[8]		"KNNLISTS"
 *		u32		version			1
 *		u32		unit			bytes of a centroid
 *		u32		floats			1: its elements are float32; 0: bytes or bits
 *		u32		nlists
 *		u64		count			of vectors
 *		u32		crc				CRC-32C of all that follows the header
 *		u8		zero[12]
 *
 * then, each padded with zeros to 8 bytes:
 *
 *		u8		centroids[nlists][unit]	rotated, if they are floats and the space rotates
 *		u32		lists[count]			the list of each vector
 *
 * What is read is not trusted: lengths, the checksum, that floats are finite and lists
 * are there have been checked before anything else is done with it.  Whether a list is
 * the nearest one is not known here; one that is not is searched all the same.
 */
#ifndef KNN_CORE_CLUSTER_FILE_H
#define KNN_CORE_CLUSTER_FILE_H

#include "core/graph_file.h"

#define KNN_CLUSTER_FILE_VERSION 1
#define KNN_CLUSTER_FILE_HEADER 48	/* bytes */

typedef struct knn_cluster_file
{
	/* set by the caller */
	knn_allocator allocator;
	void		(*check) (void);	/* called now and then, may not return; may be
									 * NULL */
	uint32_t	unit;			/* these are expected of the file, or written to it */
	bool		floats;
	uint32_t	nlists;
	uint32_t	count;

	/* what is read: each from the allocator, for the caller to release */
	void	   *centroids;
	uint32_t   *lists;

	/* why it was refused, or empty */
	char		problem[160];
} knn_cluster_file;

/* Bytes of such a file. */
extern uint64_t knn_cluster_file_size(const knn_cluster_file *file);

/*
 * Read and check a file.  KNN_OK, KNN_ERROR_FORMAT, KNN_ERROR_IO or
 * KNN_ERROR_NO_MEMORY; but for KNN_OK centroids and lists are NULL.
 */
extern int	knn_cluster_file_read(knn_cluster_file *file, const knn_graph_source *source);

/* Write one of centroids and lists; KNN_OK or KNN_ERROR_IO. */
extern int	knn_cluster_file_write(const knn_cluster_file *file, const knn_graph_sink *sink);

#endif
