/*
 * info_lists.c
 *		What knn_index_info tells of a knn_ivf index; see info_lists.h.
 */
#include "postgres.h"

#include "api/info_lists.h"

#include "am/ivf.h"
#include "miscadmin.h"

void
KnnCountLists(Relation index, KnnStore *store, BufferAccessStrategy strategy,
			  KnnListCounts *counts)
{
	KnnIvfReader reader;

	memset(counts, 0, sizeof(*counts));
	KnnIvfReaderInit(&reader, index, store);
	for (uint32 i = 0; i < KnnIvfNlists(store); i++)
	{
		uint32		list = KnnIvfFirstList(store) + i;
		uint64		rows = 0;
		uint32		steps = 0;

		for (uint32 next = KnnIvfFirstBlock(&reader, list); next != KNN_IVF_NO_BLOCK;)
		{
			BlockNumber number = KnnStoreLocate(store, index, KNN_COLUMN_BLOCK, next - 1).block;
			Buffer		buffer = ReadBufferExtended(index, MAIN_FORKNUM, number, RBM_NORMAL, strategy);
			const KnnIvfBlock *block;

			CHECK_FOR_INTERRUPTS();
			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			KnnPageCheck(index, number, BufferGetPage(buffer), KNN_COLUMN_BLOCK);
			block = KnnIvfCheckBlock(&reader, BufferGetPage(buffer), number, list);
			rows += block->nentries - block->nfree;
			counts->places += block->nentries;
			next = block->next;
			UnlockReleaseBuffer(buffer);
			if (steps++ > store->capacity[KNN_GROUP_BLOCK])
				KnnReportDamage(index, number, psprintf("The blocks of list %u have a cycle.", list));
		}
		counts->rows += rows;
		counts->longest = Max(counts->longest, rows);
	}
}
