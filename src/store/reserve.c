/*
 * reserve.c
 *		Room on disk for all blocks of an index that is being built.
 *
 * Extending a file block by block writes each of them once with zeros, which takes as
 * long as what is written into them afterwards.  A build knows how many it needs: the
 * file gets its length at once, and the file system is asked to have room for it, so
 * that a disk that is full shows here and not when a checkpoint writes the pages.
 */
#include "postgres.h"

#include "store/store.h"

#include <fcntl.h>
#include <unistd.h>

#include "compat.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/smgr.h"

#if PG_VERSION_NUM >= 160000

#define RESERVED_AT_ONCE 16384	/* blocks */

void
KnnReserveBlocks(Relation index, BlockNumber nblocks)
{
	BlockNumber first = RelationGetNumberOfBlocks(index);

	while (first < nblocks)
	{
		int			count = (int) Min(nblocks - first, RESERVED_AT_ONCE);

		CHECK_FOR_INTERRUPTS();
		smgrzeroextend(RelationGetSmgr(index), MAIN_FORKNUM, first, count, false);
		first += count;
	}
}

#else

/* Have the blocks of a segment's file, whose length is set already, allocated. */
static void
allocate_segment(Relation index, BlockNumber segment, off_t bytes)
{
	char	   *path = relpath(RelationGetSmgr(index)->smgr_rnode, MAIN_FORKNUM);
	char	   *name = segment == 0 ? path : psprintf("%s.%u", path, segment);
	int			fd = OpenTransientFile(name, O_RDWR | PG_BINARY);
	int			rc = 0;

	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", name)));
	do
	{
		CHECK_FOR_INTERRUPTS();
		rc = posix_fallocate(fd, 0, bytes);
	} while (rc == EINTR);
	/* a file system that cannot do it finds room when it is needed */
	if (rc != 0 && rc != EINVAL && rc != EOPNOTSUPP)
	{
		errno = rc;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not extend file \"%s\": %m", name),
				 errhint("Check free disk space.")));
	}
	CloseTransientFile(fd);
	if (name != path)
		pfree(name);
	pfree(path);
}

void
KnnReserveBlocks(Relation index, BlockNumber nblocks)
{
	BlockNumber first = RelationGetNumberOfBlocks(index);
	PGAlignedBlock zeros;

	memset(zeros.data, 0, BLCKSZ);
	while (first < nblocks)
	{
		BlockNumber segment = first / RELSEG_SIZE;
		BlockNumber start = segment * RELSEG_SIZE;
		BlockNumber end = Min(nblocks - start, RELSEG_SIZE) + start;

		/* the last block alone sets the length */
		smgrextend(RelationGetSmgr(index), MAIN_FORKNUM, end - 1, zeros.data, false);
		allocate_segment(index, segment, (off_t) (end - start) * BLCKSZ);
		first = end;
	}
}

#endif
