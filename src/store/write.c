/*
 * write.c
 *		Logged changes of items of a store; see store.h for the order of locks.
 */
#include "postgres.h"

#include "store/store.h"

#include "access/generic_xlog.h"
#include "miscadmin.h"
#include "storage/lmgr.h"

/* The blocks in between stay zero until they are used. */
Buffer
KnnStoreReadForWrite(Relation index, BlockNumber block)
{
	if (block >= RelationGetNumberOfBlocks(index))
	{
		LockRelationForExtension(index, ExclusiveLock);
		while (RelationGetNumberOfBlocks(index) <= block)
		{
			CHECK_FOR_INTERRUPTS();
			ReleaseBuffer(ReadBufferExtended(index, MAIN_FORKNUM, P_NEW, RBM_NORMAL, NULL));
		}
		UnlockRelationForExtension(index, ExclusiveLock);
	}
	return ReadBuffer(index, block);
}

/* A part of an item that lies in one page. */
typedef struct Piece
{
	BlockNumber block;
	uint32		offset;
	uint32		length;
	KnnColumn	column;
	const char *data;
} Piece;

/* Write pieces, ascending by block, of at most MAX_GENERIC_XLOG_PAGES blocks. */
static void
write_record(Relation index, const Piece *pieces, int npieces)
{
	Buffer		buffers[MAX_GENERIC_XLOG_PAGES];
	GenericXLogState *state;
	Page		page = NULL;
	BlockNumber last = InvalidBlockNumber;
	int			nbuffers = 0;

	/* read before locking: a read may have to evict and do I/O */
	for (int i = 0; i < npieces; i++)
	{
		if (pieces[i].block != last)
			buffers[nbuffers++] = KnnStoreReadForWrite(index, pieces[i].block);
		last = pieces[i].block;
	}
	for (int i = 0; i < nbuffers; i++)
		LockBuffer(buffers[i], BUFFER_LOCK_EXCLUSIVE);

	state = GenericXLogStart(index);
	last = InvalidBlockNumber;
	nbuffers = 0;
	for (int i = 0; i < npieces; i++)
	{
		if (pieces[i].block != last)
		{
			bool		is_new = PageIsNew(BufferGetPage(buffers[nbuffers]));

			page = GenericXLogRegisterBuffer(state, buffers[nbuffers],
											 is_new ? GENERIC_XLOG_FULL_IMAGE : 0);
			if (is_new)
				KnnPageInit(page, pieces[i].column);
			else
				KnnPageCheck(index, pieces[i].block, page, pieces[i].column);
			nbuffers++;
		}
		last = pieces[i].block;
		KnnPageCover(page, pieces[i].offset + pieces[i].length);
		memcpy(KnnPageContents(page) + pieces[i].offset, pieces[i].data, pieces[i].length);
	}
	GenericXLogFinish(state);
	for (int i = 0; i < nbuffers; i++)
		UnlockReleaseBuffer(buffers[i]);
}

void
KnnStoreWrite(KnnStore *store, Relation index, const KnnItemWrite *writes, int nwrites)
{
	Piece		pieces[MAX_GENERIC_XLOG_PAGES];
	int			npieces = 0;

	for (int i = 0; i < nwrites; i++)
	{
		KnnItemAddress address = KnnStoreLocate(store, index, writes[i].column, writes[i].id);
		uint32		width = store->columns[writes[i].column].width;
		uint32		done = 0;

		while (done < width)
		{
			uint32		part = Min(width - done, KNN_PAGE_CAPACITY - address.offset);

			/* a record holds four pages, and their locks go upwards */
			if (npieces == MAX_GENERIC_XLOG_PAGES ||
				(npieces > 0 && address.block < pieces[npieces - 1].block))
			{
				write_record(index, pieces, npieces);
				npieces = 0;
			}
			pieces[npieces].block = address.block;
			pieces[npieces].offset = address.offset;
			pieces[npieces].length = part;
			pieces[npieces].column = writes[i].column;
			pieces[npieces].data = (const char *) writes[i].data + done;
			npieces++;
			done += part;
			address.block++;
			address.offset = 0;
		}
	}
	if (npieces > 0)
		write_record(index, pieces, npieces);
}

Buffer
KnnStoreLockItem(KnnStore *store, Relation index, KnnColumn column, uint32 id, uint32 *offset)
{
	KnnItemAddress address = KnnStoreLocate(store, index, column, id);
	Buffer		buffer = KnnStorePin(store, index, address.block, column);

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	*offset = address.offset;
	return buffer;
}
