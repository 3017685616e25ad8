/*
 * build_vectors.h
 *		The vectors that a build has read from the table, in their order.
 *
 * Items of one size: the first ones in memory, as many as it is given, those after
 * them in a temporary file, one after the other and with nothing else, so that
 * another program can be given the file.  It counts against temp_file_limit, and goes
 * with the build, or the statement.
 */
#ifndef KNN_AM_BUILD_VECTORS_H
#define KNN_AM_BUILD_VECTORS_H

#include "postgres.h"

#include "storage/fd.h"
#include "store/store.h"

typedef struct KnnBuildVectors
{
	MemoryContext context;
	Size		item_size;
	uint64		memory;			/* bytes that may be kept in memory */
	char	   *items;
	uint64		in_memory;		/* items kept there */
	uint64		room;
	uint64		nitems;

	/* the others, by their number in the file */
	File		file;			/* 0 if there is none */
	char	   *buffer;			/* a run of its items */
	uint64		buffer_room;
	uint64		first;			/* that is in the buffer */
	uint64		buffered;
	bool		dirty;			/* they are still to be written */
} KnnBuildVectors;

extern void KnnBuildVectorsBegin(KnnBuildVectors *vectors, MemoryContext context, Size item_size, uint64 memory);
extern void KnnBuildVectorsAppend(KnnBuildVectors *vectors, const void *item);

/* An item by number; valid until the next call. */
extern const void *KnnBuildVectorsGet(KnnBuildVectors *vectors, uint64 number);

/*
 * Lend the file to another program: its absolute path, palloc'd, with all that was
 * appended.  No item may be in memory, and one must be there.  Nobody may write the
 * file, and this process may not read it, until it is taken back.
 */
extern char *KnnBuildVectorsLend(KnnBuildVectors *vectors);
extern void KnnBuildVectorsTakeBack(KnnBuildVectors *vectors);

/*
 * Write the column "vector" into blocks from *next on (KnnColumnWriterBegin), whose items
 * these are: n of them, by their numbers.
 */
extern void KnnBuildVectorsWrite(KnnBuildVectors *vectors, const uint32 *numbers, uint32 n,
								 Relation index, const KnnColumnShape *columns, BlockNumber *next);

extern void KnnBuildVectorsEnd(KnnBuildVectors *vectors);

#endif
