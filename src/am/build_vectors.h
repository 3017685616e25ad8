/*
 * build_vectors.h
 *		The vectors that a build has read from the table, in their order.
 *
 * Items of one size: the first ones in memory, as many as it is given, those after
 * them in a temporary file.
 */
#ifndef KNN_AM_BUILD_VECTORS_H
#define KNN_AM_BUILD_VECTORS_H

#include "postgres.h"

#include "storage/buffile.h"

typedef struct KnnBuildVectors
{
	MemoryContext context;
	Size		item_size;
	uint64		memory;			/* bytes that may be kept in memory */
	char	   *items;
	uint64		in_memory;		/* items kept there */
	uint64		room;
	BufFile    *file;			/* the others; NULL if there are none */
	uint64		nitems;
	uint64		position;		/* of the file: item that is read next */
	char	   *scratch;
} KnnBuildVectors;

extern void KnnBuildVectorsBegin(KnnBuildVectors *vectors, MemoryContext context, Size item_size, uint64 memory);
extern void KnnBuildVectorsAppend(KnnBuildVectors *vectors, const void *item);

/* An item by number; valid until the next call. */
extern const void *KnnBuildVectorsGet(KnnBuildVectors *vectors, uint64 number);

extern void KnnBuildVectorsEnd(KnnBuildVectors *vectors);

#endif
