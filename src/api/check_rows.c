/*
 * check_rows.c
 *		Verification of the rows of an index; see check.h.
 *
 * All TIDs of the index are sorted (in maintenance_work_mem, or through temporary
 * files), so that doubles lie side by side and the sorted TIDs of the table can
 * be merged with them.
 *
 * While others work, a TID can be met twice without harm: VACUUM removes a dead
 * row's TID, its place in the table is reused, and the new row's TID lands in a
 * node that is read later.  So TIDs met twice are looked for again, and both
 * places read with both pages locked: a place in the table is free to be reused
 * only after its TID is gone from the index.
 */
#include "postgres.h"

#include "am/value.h"
#include "api/check.h"

#include "access/relscan.h"
#include "access/tableam.h"
#include "am/hnsw.h"
#include "catalog/index.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type_d.h"
#include "compat.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* TIDs met twice that are looked for again: more are not needed for an error. */
#define MAX_SUSPECTS 64

/* Places remembered for each of them. */
#define MAX_PLACES 4

typedef struct Place
{
	KnnColumn	column;
	uint32		id;
} Place;

typedef struct Suspect
{
	int64		row;
	int			nplaces;
	Place		places[MAX_PLACES];
} Suspect;

/* ---- sorting ---- */

static int64
row_of_tid(const ItemPointerData *tid)
{
	return (int64) ItemPointerGetBlockNumberNoCheck(tid) << 16 |
		ItemPointerGetOffsetNumberNoCheck(tid);
}

static Tuplesortstate *
begin_sort(void)
{
	/* there may be two at a time */
	return tuplesort_begin_datum(INT8OID, Int8LessOperator, InvalidOid, false,
								 Max(maintenance_work_mem / 2, 64), NULL, TUPLESORT_NONE);
}

static void
put_row(Tuplesortstate *sort, const ItemPointerData *tid)
{
	tuplesort_putdatum(sort, Int64GetDatum(row_of_tid(tid)), false);
}

static bool
get_row(Tuplesortstate *sort, int64 *row)
{
	Datum		value;
	bool		isnull;

	CHECK_FOR_INTERRUPTS();
	if (!KnnTuplesortGetDatum(sort, &value, &isnull))
		return false;
	*row = DatumGetInt64(value);
	return true;
}

void
KnnCheckRowsBegin(KnnCheck *check)
{
	check->tids = begin_sort();
	check->nrows = 0;
}

void
KnnCheckAddRow(KnnCheck *check, const ItemPointerData *tid)
{
	put_row(check->tids, tid);
	check->nrows++;
}

/* ---- TIDs met twice ---- */

/* The TIDs of an item as it is now; returns their number. */
static int
tids_of_place(KnnCheck *check, Page page, const Place *place, const ItemPointerData **tids)
{
	KnnItemAddress address = KnnStoreLocate(check->store, check->index, place->column, place->id);
	const char *item = KnnPageContents(page) + address.offset;

	if (place->column == KNN_COLUMN_TID)
	{
		*tids = ((const KnnTidItem *) item)->tids;
		return Min(((const KnnTidItem *) item)->ntids, KNN_INLINE_TIDS);
	}
	if (place->column == KNN_COLUMN_BLOCK)
	{
		const KnnIvfBlock *block = (const KnnIvfBlock *) item;

		*tids = KnnIvfTids(block);
		return Min(block->nentries, KNN_PAGE_CAPACITY / sizeof(ItemPointerData) - 4);
	}
	*tids = ((const KnnChainItem *) item)->tids;
	return Min(((const KnnChainItem *) item)->ntids, KNN_CHAIN_TIDS);
}

static int
count_row(KnnCheck *check, Page page, const Place *place, int64 row)
{
	const ItemPointerData *tids;
	int			n = tids_of_place(check, page, place, &tids);
	int			found = 0;

	for (int i = 0; i < n; i++)
		found += row_of_tid(&tids[i]) == row;
	return found;
}

static void
note_places(KnnCheck *check, KnnColumn column, uint32 n, Suspect *suspects, int nsuspects)
{
	KnnCheckCursor *cursor = palloc(sizeof(KnnCheckCursor));

	KnnCheckCursorInit(cursor, check, column);
	for (uint32 id = 0; id < n; id++)
	{
		Place		place = {column, id};

		if (KnnCheckItem(cursor, id, false) == NULL)
			continue;
		for (int s = 0; s < nsuspects; s++)
		{
			if (suspects[s].nplaces < MAX_PLACES &&
				count_row(check, cursor->page.data, &place, suspects[s].row) > 0)
				suspects[s].places[suspects[s].nplaces++] = place;
		}
	}
	pfree(cursor);
}

/* Does a TID lie in both places at the same time?  (They may be the same.) */
static bool
in_both(KnnCheck *check, int64 row, const Place *a, const Place *b)
{
	BlockNumber blocks[2] = {
		KnnCheckBlockOf(check, a->column, a->id), KnnCheckBlockOf(check, b->column, b->id)
	};
	Buffer		buffers[2];
	bool		both;

	/* a comes before b in the order of locks: tid, chain, and by block in each */
	for (int i = 0; i < 2; i++)
		buffers[i] = KnnStorePin(check->store, check->index, blocks[i],
								 i == 0 ? a->column : b->column);
	LockBuffer(buffers[0], BUFFER_LOCK_SHARE);
	if (blocks[1] != blocks[0])
		LockBuffer(buffers[1], BUFFER_LOCK_SHARE);
	both = count_row(check, BufferGetPage(buffers[0]), a, row) > 0 &&
		count_row(check, BufferGetPage(buffers[1]), b, row) > 0;
	if (a == b)
		both = count_row(check, BufferGetPage(buffers[0]), a, row) > 1;
	LockBuffer(buffers[0], BUFFER_LOCK_UNLOCK);
	if (blocks[1] != blocks[0])
		LockBuffer(buffers[1], BUFFER_LOCK_UNLOCK);
	ReleaseBuffer(buffers[0]);
	ReleaseBuffer(buffers[1]);
	return both;
}

static void
check_suspects(KnnCheck *check, Suspect *suspects, int nsuspects)
{
	KnnStore   *store = check->store;

	KnnStoreRefresh(store, check->index);
	if (store->shape.method == KNN_METHOD_IVF)
		note_places(check, KNN_COLUMN_BLOCK, store->used[KNN_GROUP_BLOCK], suspects, nsuspects);
	else
	{
		note_places(check, KNN_COLUMN_TID, store->used[KNN_GROUP_NODE], suspects, nsuspects);
		note_places(check, KNN_COLUMN_CHAIN, store->used[KNN_GROUP_CHAIN], suspects, nsuspects);
	}
	for (int s = 0; s < nsuspects; s++)
	{
		Suspect    *suspect = &suspects[s];

		for (int a = 0; a < suspect->nplaces; a++)
		{
			for (int b = a; b < suspect->nplaces; b++)
			{
				if (!in_both(check, suspect->row, &suspect->places[a], &suspect->places[b]))
					continue;
				KnnCheckFail(check, KnnCheckBlockOf(check, suspect->places[b].column,
													suspect->places[b].id),
							 "TID (%u,%u) is in item %u of column \"%s\" and in item %u of column \"%s\".",
							 (uint32) (suspect->row >> 16), (uint32) (suspect->row & 0xFFFF),
							 suspect->places[a].id, KnnColumnName(suspect->places[a].column),
							 suspect->places[b].id, KnnColumnName(suspect->places[b].column));
			}
		}
	}
}

/* ---- rows of the table ---- */

typedef struct HeapRows
{
	KnnCheck   *check;
	Tuplesortstate *sort;
	MemoryContext context;		/* reset for each row */
} HeapRows;

static void
add_heap_row(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *state)
{
	HeapRows   *rows = state;
	MemoryContext old;
	KnnValue	value;

	if (isnull[0])
		return;
	old = MemoryContextSwitchTo(rows->context);
	/* a zero vector is not indexed under cosine */
	if (KnnIndexedValue(&rows->check->store->shape, values[0], &value))
		put_row(rows->sort, tid);
	MemoryContextSwitchTo(old);
	MemoryContextReset(rows->context);
}

/*
 * The TIDs that an index built now would have, of rows the snapshot shows.  The
 * caller has switched to the table's owner, whose expressions these are.
 */
static Tuplesortstate *
sort_heap_rows(KnnCheck *check, Snapshot snapshot)
{
	IndexInfo  *info = BuildIndexInfo(check->index);
	TableScanDesc scan = table_beginscan_strat(check->heap, snapshot, 0, NULL, true, true);
	HeapRows	rows = {
		.check = check,
		.sort = begin_sort(),
		.context = AllocSetContextCreate(CurrentMemoryContext, "knn index check row",
										 ALLOCSET_DEFAULT_SIZES)
	};

	/* the scan goes by its snapshot, as that of CREATE INDEX CONCURRENTLY does */
	info->ii_Concurrent = true;
	info->ii_Unique = false;
	table_index_build_scan(check->heap, check->index, info, true, false,
						   add_heap_row, &rows, scan);
	tuplesort_performsort(rows.sort);
	MemoryContextDelete(rows.context);
	return rows.sort;
}

void
KnnCheckRows(KnnCheck *check, Snapshot snapshot)
{
	Tuplesortstate *heap_sort = snapshot ? sort_heap_rows(check, snapshot) : NULL;
	Suspect		suspects[MAX_SUSPECTS];
	int			nsuspects = 0;
	int64		row = -1;
	int64		heap_row = -1;
	bool		more_heap = heap_sort != NULL && get_row(heap_sort, &heap_row);
	int64		missing = -1;
	uint64		nmissing = 0;
	int64		previous = -1;
	bool		more;

	tuplesort_performsort(check->tids);
	do
	{
		more = get_row(check->tids, &row);
		if (more && row == previous && nsuspects < MAX_SUSPECTS &&
			(nsuspects == 0 || suspects[nsuspects - 1].row != row))
			suspects[nsuspects++] = (Suspect) {.row = row};
		previous = row;

		while (more_heap && (!more || heap_row <= row))
		{
			if (!more || heap_row < row)
			{
				if (nmissing++ == 0)
					missing = heap_row;
			}
			more_heap = get_row(heap_sort, &heap_row);
		}
	} while (more);
	tuplesort_end(check->tids);
	if (heap_sort)
		tuplesort_end(heap_sort);

	if (nsuspects > 0)
		check_suspects(check, suspects, nsuspects);
	if (nmissing > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" lacks rows of table \"%s\"",
						RelationGetRelationName(check->index),
						RelationGetRelationName(check->heap)),
				 errdetail_plural("%llu row is not in the index: (%u,%u).",
								  "%llu rows are not in the index, the first is (%u,%u).",
								  (unsigned long) nmissing, (unsigned long long) nmissing,
								  (uint32) (missing >> 16), (uint32) (missing & 0xFFFF)),
				 errhint("Please REINDEX it.")));
}
