/*
 * check_lists.c
 *		Verification of a knn_ivf index; see check.h.
 *
 * While others work, this holds:
 *
 *	- a list's first block, its centroid and the code of that never change, nor
 *	  does the block that follows another one
 *	- a place of a block keeps its vector id, which no other place has
 *	- vector and code are written before the entry that refers to them, and stay
 *	  as long as the entry has a row
 *
 * So a vector that does not fit its code is looked at again, with the entry: what does
 * not fit then, several times, is damage.
 */
#include "postgres.h"

#include <math.h>

#include "am/ivf.h"
#include "api/check.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#define LOOKS 3					/* at an entry that is wrong */

typedef struct ListCheck
{
	KnnCheck   *check;
	KnnIvfReader reader;
	KnnCheckCursor *coarse;
	KnnCheckCursor *centroids;
	KnnCheckCursor *vectors;
	KnnCheckCursor *codes;
	uint32		list;			/* id */
	uint8	   *expected;
	float	   *r;
	float	   *scratch;
	void	   *rotated;
} ListCheck;

static KnnCheckCursor *
cursor_of(KnnCheck *check, KnnColumn column)
{
	KnnCheckCursor *cursor;

	if (check->store->columns[column].width == 0)
		return NULL;
	cursor = palloc(sizeof(KnnCheckCursor));
	KnnCheckCursorInit(cursor, check, column);
	return cursor;
}

/* ---- entries ---- */

/* What is wrong with an entry's code and vector, a format as of KnnCheckCode, or NULL. */
static const char *
check_vector(ListCheck *lists, const KnnIvfBlock *block, uint32 at)
{
	KnnStore   *store = lists->check->store;
	const KnnIvfLayout *layout = &lists->reader.layout;
	const knn_code_factors *factors = NULL;
	knn_code_factors expected;
	const uint8 *code;
	uint32		id = layout->has_ids ? KnnIvfIds(block, layout)[at] : 0;
	const void *stored;
	const float *v;

	if (layout->has_codes)
	{
		code = KnnIvfCode(block, layout, at);
		if (layout->factors)
			factors = &KnnIvfFactors(block, layout)[at];
	}
	else
	{
		const KnnCodeItem *item = KnnCheckItem(lists->codes, id, true);

		if (item == NULL)
			return "The code of %s %u was never written.";
		code = KnnCodeBytes(store, item);
		factors = KnnCodeFactors(store, item);
	}
	if (factors && !KnnCheckFactors(lists->check, factors))
		return "The code of %s %u has impossible factors.";
	if (lists->vectors == NULL)
		return NULL;

	stored = KnnCheckItem(lists->vectors, id, true);
	if (stored == NULL)
		return "The vector of %s %u was never written.";
	v = KnnElementsOfStored(&store->shape, stored, lists->scratch);
	for (uint32 i = 0; i < store->shape.dim; i++)
	{
		if (!isfinite(v[i]))
			return "The vector of %s %u has an element that is not a finite number.";
	}
	knn_encoder_rotate(&store->encoder, v, lists->rotated);
	knn_encode_rotated(&lists->reader.encoder, lists->rotated, &expected, lists->expected, lists->r);
	return KnnCheckCode(lists->check, factors, code, &expected, lists->expected, lists->r);
}

/*
 * An entry's vector and code did not fit.  Another row may have taken the place between
 * the looks at the one and the other, with the same TID even; what is wrong each time is
 * damage.
 */
static const char *
look_again(ListCheck *lists, uint32 id, uint32 at, const ItemPointerData *tid)
{
	const char *wrong = NULL;

	for (int i = 0; i < LOOKS; i++)
	{
		Buffer		buffer = KnnIvfPinBlock(&lists->reader, id);
		PGAlignedBlock page;
		const KnnIvfBlock *block = (const KnnIvfBlock *) KnnPageContents(page.data);

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		memcpy(page.data, BufferGetPage(buffer), BLCKSZ);
		UnlockReleaseBuffer(buffer);
		if (!ItemPointerEquals(&KnnIvfTids(block)[at], unconstify(ItemPointerData *, tid)))
			return NULL;
		wrong = check_vector(lists, block, at);
		if (wrong == NULL)
			return NULL;
	}
	return wrong;
}

/*
 * A block of the list being looked at, by its id; the next one + 1.
 */
static uint32
check_block(ListCheck *lists, uint32 id)
{
	KnnCheck   *check = lists->check;
	const KnnIvfLayout *layout = &lists->reader.layout;
	BlockNumber number = KnnCheckBlockOf(check, KNN_COLUMN_BLOCK, id);
	PGAlignedBlock page;
	const KnnIvfBlock *block = (const KnnIvfBlock *) KnnPageContents(page.data);
	uint32		empty = 0;
	Buffer		buffer;

	CHECK_FOR_INTERRUPTS();
	check->block = number;
	if (!KnnCheckBlockExists(check, number))
		KnnCheckFail(check, number, "Block %u of list %u is beyond the end.", id, lists->list);
	if (number < check->first_nblocks)
		KnnCheckSetAdd(&check->seen, number);
	buffer = ReadBufferExtended(check->index, MAIN_FORKNUM, number, RBM_NORMAL, check->strategy);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(page.data, BufferGetPage(buffer), BLCKSZ);
	KnnCheckPage(check, number, page.data, KNN_COLUMN_BLOCK);
	if (!KnnCheckCovers(page.data, layout->end))
		KnnCheckFail(check, number, "Block %u of list %u was never written.", id, lists->list);
	(void) KnnIvfCheckBlock(&lists->reader, page.data, number, lists->list);

	/* with the page locked: see KnnCheckTid */
	for (uint32 i = 0; i < block->nentries; i++)
	{
		const ItemPointerData *tid = &KnnIvfTids(block)[i];

		if (!ItemPointerIsValid(tid))
			empty++;
		else
			KnnCheckTid(check, number, KNN_COLUMN_BLOCK, id, tid);
	}
	UnlockReleaseBuffer(buffer);

	if (empty != block->nfree)
		KnnCheckFail(check, number, "Block %u has %u empty places, but says %u.",
					 id, empty, block->nfree);
	for (uint32 i = block->nentries; i < layout->per_block; i++)
	{
		if (ItemPointerIsValid(&KnnIvfTids(block)[i]))
			KnnCheckFail(check, number, "Block %u has a TID after its last entry.", id);
	}
	for (uint32 i = 0; i < block->nentries; i++)
	{
		const ItemPointerData *tid = &KnnIvfTids(block)[i];
		const char *wrong;

		if (layout->has_ids)
		{
			uint32		vector = KnnIvfIds(block, layout)[i];

			if (vector >= check->store->used[KNN_GROUP_NODE])
				KnnStoreRefresh(check->store, check->index);
			if (vector >= check->store->used[KNN_GROUP_NODE])
				KnnCheckFail(check, number, "Entry %u of block %u has vector %u, which was not given out.",
							 i, id, vector);
			if (!KnnCheckSetAdd(&check->vectors, vector))
				KnnCheckFail(check, number, "Entry %u of block %u has vector %u, which another one has.",
							 i, id, vector);
		}
		if (!ItemPointerIsValid(tid))
			continue;
		KnnCheckAddRow(check, tid);
		wrong = check_vector(lists, block, i);
		if (wrong)
			wrong = look_again(lists, id, i, tid);
		if (wrong)
			KnnCheckFail(check, number, wrong, "entry", i);
	}
	return block->next;
}

/* ---- lists ---- */

static void
check_centroid(ListCheck *lists, const KnnIvfCoarse *coarse)
{
	KnnCheck   *check = lists->check;
	const float *centroid;
	knn_code_factors expected;
	const char *wrong;

	if (!KnnCheckFactors(check, &coarse->factors))
		KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_COARSE, lists->list),
					 "The code of list %u has impossible factors.", lists->list);
	if (lists->centroids == NULL)
		return;
	centroid = KnnCheckItem(lists->centroids, lists->list, false);
	if (centroid == NULL)
		KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_CENTROID, lists->list),
					 "The centroid of list %u was never written.", lists->list);
	KnnCheckFinite(check, KNN_COLUMN_CENTROID, lists->list, centroid);

	/* a code of 8 bits whatever entries have: what is low is compared loosely */
	knn_encode_rotated(&lists->reader.coarse, centroid, &expected, lists->expected, lists->r);
	if (!knn_encoding_is_fine(check->store->shape.encoding))
		return;
	wrong = KnnCheckCode(check, &coarse->factors, coarse->code, &expected, lists->expected, lists->r);
	if (wrong)
		KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_COARSE, lists->list),
					 wrong, "list", lists->list);
}

static void
check_list(ListCheck *lists)
{
	KnnCheck   *check = lists->check;
	const KnnIvfCoarse *coarse = KnnCheckItem(lists->coarse, lists->list, false);
	KnnIvfHead	head;
	bool		head_found = false;
	uint32		next;

	if (coarse == NULL)
		KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_COARSE, lists->list),
					 "List %u was never written.", lists->list);
	next = coarse->first;
	check_centroid(lists, coarse);
	KnnIvfSelect(&lists->reader, lists->list);
	/* before the blocks: it is set to blocks that are linked */
	KnnStoreCopy(check->store, check->index, KNN_COLUMN_HEAD, lists->list, &head);
	if (next == KNN_IVF_NO_BLOCK)
		KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_COARSE, lists->list),
					 "List %u has no block.", lists->list);
	while (next != KNN_IVF_NO_BLOCK)
	{
		uint32		id = next - 1;

		if (id >= check->store->used[KNN_GROUP_BLOCK])
			KnnStoreRefresh(check->store, check->index);
		if (id >= check->store->used[KNN_GROUP_BLOCK])
			KnnCheckFail(check, KNN_META_BLOCK, "List %u has block %u, which was not given out.",
						 lists->list, id);
		if (!KnnCheckSetAdd(&check->blocks, id))
			KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_BLOCK, id),
						 "Block %u is in list %u and in another place.", id, lists->list);
		head_found |= next == head.insert;
		next = check_block(lists, id);
	}
	if (!head_found)
		KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_HEAD, lists->list),
					 "The head of list %u names block %u, which is not of the list.",
					 lists->list, head.insert);
}

void
KnnCheckLists(KnnCheck *check)
{
	KnnStore   *store = check->store;
	uint32		dim = store->shape.dim;
	ListCheck	lists = {.check = check};

	KnnCheckSetInit(&check->blocks, store->used[KNN_GROUP_BLOCK]);
	KnnCheckSetInit(&check->vectors, store->used[KNN_GROUP_NODE]);
	KnnIvfReaderInit(&lists.reader, check->index, store);
	lists.coarse = cursor_of(check, KNN_COLUMN_COARSE);
	lists.centroids = cursor_of(check, KNN_COLUMN_CENTROID);
	lists.vectors = cursor_of(check, KNN_COLUMN_VECTOR);
	lists.codes = cursor_of(check, KNN_COLUMN_CODE);
	lists.expected = palloc0(dim);
	lists.r = palloc(sizeof(float) * dim);
	lists.scratch = palloc(sizeof(float) * dim);
	lists.rotated = palloc(Max(KnnElementsSize(&store->shape), sizeof(float) * dim));

	KnnCheckCentre(check, cursor_of(check, KNN_COLUMN_CENTRE));
	for (uint32 i = 0; i < KnnIvfNlists(store); i++)
	{
		lists.list = KnnIvfFirstList(store) + i;
		check_list(&lists);
	}
}
