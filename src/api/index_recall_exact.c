/*
 * index_recall_exact.c
 *		Rows drawn from a table, and their true neighbours; see index_recall.h.
 */
#include "postgres.h"

#include <math.h>

#include "am/value.h"
#include "api/index_recall.h"
#include "cache/progress.h"

#include "access/relscan.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "common/pg_prng.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/sampling.h"

/*
 * Blocks that are read to draw a row from.  Rows of one block are often alike, as
 * they were inserted together: more blocks make the rows drawn more independent.
 */
#define BLOCKS_PER_ROW 4

/* ---- rows ---- */

void
KnnRecallRowsBegin(KnnRecallRows *rows, Relation heap, Relation index,
				   const KnnShape *shape, Snapshot snapshot)
{
	rows->heap = heap;
	rows->index = index;
	rows->snapshot = snapshot;
	rows->context = CurrentMemoryContext;
	rows->shape = *shape;
	/* what the index rounds or leaves out is its loss, not the truth */
	if (knn_encoding_is_float(shape->encoding))
		rows->shape.vectors = KNN_VECTORS_FLOAT;
	rows->kernels = knn_kernels_get();
	rows->estate = CreateExecutorState();
	rows->info = BuildIndexInfo(index);
	rows->predicate = ExecPrepareQual(rows->info->ii_Predicate, rows->estate);
}

void
KnnRecallRowsEnd(KnnRecallRows *rows)
{
	FreeExecutorState(rows->estate);
}

/* The indexed value of a row in per-tuple memory; false when it is not indexed. */
static bool
row_datum(KnnRecallRows *rows, TupleTableSlot *slot, Datum *datum)
{
	ExprContext *econtext = GetPerTupleExprContext(rows->estate);
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];
	MemoryContext old;

	ResetExprContext(econtext);
	econtext->ecxt_scantuple = slot;

	/* the predicate first: expressions may be defined for its rows only */
	if (!ExecQual(rows->predicate, econtext))
		return false;
	old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	FormIndexDatum(rows->info, slot, rows->estate, values, isnull);
	MemoryContextSwitchTo(old);
	*datum = values[0];
	return !isnull[0];
}

/* What distances need of a value, in the current memory context. */
static bool
set_vector(const KnnRecallRows *rows, Datum datum, KnnRecallVector *vector)
{
	KnnValue	value;

	if (!KnnIndexedValue(&rows->shape, datum, &value))
		return false;
	vector->elements = value.elements;
	vector->norm2 = 0;
	if (rows->shape.encoding == KNN_ENCODING_BYTE && rows->shape.space == KNN_SPACE_COSINE)
		vector->norm2 = rows->kernels->inner_product_s8(value.elements, value.elements,
														rows->shape.dim);
	return true;
}

bool
KnnRecallRowVector(KnnRecallRows *rows, TupleTableSlot *slot, KnnRecallVector *vector)
{
	Datum		datum;
	MemoryContext old;
	bool		indexed;

	if (!row_datum(rows, slot, &datum))
		return false;
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(rows->estate));
	indexed = set_vector(rows, datum, vector);
	MemoryContextSwitchTo(old);
	return indexed;
}

static double
byte_distance(const KnnRecallRows *rows, const KnnRecallVector *a, const KnnRecallVector *b)
{
	const knn_kernels *kernels = rows->kernels;
	uint32		dim = rows->shape.dim;

	switch (rows->shape.space)
	{
		case KNN_SPACE_INNER_PRODUCT:
			return -(double) kernels->inner_product_s8(a->elements, b->elements, dim);
		case KNN_SPACE_COSINE:
			return knn_cosine_form(kernels->inner_product_s8(a->elements, b->elements, dim),
								   a->norm2, b->norm2);
		case KNN_SPACE_L1:
			return kernels->l1_s8(a->elements, b->elements, dim);
		case KNN_SPACE_LINF:
			return kernels->linf_s8(a->elements, b->elements, dim);
		default:
			return kernels->l2_squared_s8(a->elements, b->elements, dim);
	}
}

double
KnnRecallDistance(const KnnRecallRows *rows, const KnnRecallVector *a, const KnnRecallVector *b)
{
	double		distance;

	switch ((knn_encoding) rows->shape.encoding)
	{
		case KNN_ENCODING_BYTE:
			return byte_distance(rows, a, b);
		case KNN_ENCODING_BINARY:
			return rows->kernels->hamming(a->elements, b->elements, rows->shape.dim / 8);
		default:
			distance = knn_exact_distance(rows->kernels, rows->shape.space,
										  a->elements, b->elements, rows->shape.dim);
			/* beyond the range of float; scans rank it last, too */
			return isnan(distance) ? get_float8_infinity() : distance;
	}
}

/* ---- sampling ---- */

/* Rows drawn from those seen so far (algorithm R). */
typedef struct Reservoir
{
	KnnRecallQuery *queries;
	int			room;
	uint64		seen;
} Reservoir;

static void
consider_row(KnnRecallRows *rows, Reservoir *reservoir, TupleTableSlot *slot)
{
	uint64		place = reservoir->seen;
	KnnRecallQuery *query;
	KnnVector  *value;
	Datum		datum;

	CHECK_FOR_INTERRUPTS();
	if (!row_datum(rows, slot, &datum))
		return;

	/* under cosine it takes the vector itself to know whether it is indexed */
	if (knn_space_normalises(rows->shape.space))
	{
		KnnRecallVector vector;
		MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(rows->estate));
		bool		indexed = set_vector(rows, datum, &vector);

		MemoryContextSwitchTo(old);
		if (!indexed)
			return;
	}

	if (place >= reservoir->room)
		place = pg_prng_uint64_range(&pg_global_prng_state, 0, reservoir->seen);
	reservoir->seen++;
	if (place >= reservoir->room)
		return;
	query = &reservoir->queries[place];
	if (query->value)
		pfree(query->value);
	query->tid = slot->tts_tid;
	value = KnnVectorFromDatum(datum);
	query->value = MemoryContextAlloc(rows->context, VARSIZE(value));
	memcpy(query->value, value, VARSIZE(value));
}

/* See the rows of some blocks, drawn at random. */
static void
sample_blocks(KnnRecallRows *rows, Reservoir *reservoir, BlockNumber nblocks, int nsample)
{
	TupleTableSlot *slot = table_slot_create(rows->heap, NULL);
	TableScanDesc scan = NULL;
	BlockSamplerData sampler;
	BlockNumber total;
	BlockNumber done = 0;

	total = BlockSampler_Init(&sampler, nblocks, nsample, pg_prng_uint32(&pg_global_prng_state));
	KnnProgressPhase("sampling", total);
	while (BlockSampler_HasMore(&sampler))
	{
		BlockNumber block = BlockSampler_Next(&sampler);
		ItemPointerData first;
		ItemPointerData last;

		ItemPointerSet(&first, block, FirstOffsetNumber);
		ItemPointerSet(&last, block, MaxOffsetNumber);
		if (scan == NULL)
			scan = table_beginscan_tidrange(rows->heap, rows->snapshot, &first, &last);
		else
			table_rescan_tidrange(scan, &first, &last);
		while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
			consider_row(rows, reservoir, slot);
		KnnProgressUpdate(++done);
	}
	if (scan)
		table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/* Begin to read the whole table, for a phase that counts its blocks. */
static TableScanDesc
begin_pass(KnnRecallRows *rows, const char *phase)
{
	KnnProgressPhase(phase, RelationGetNumberOfBlocks(rows->heap));
	/* from its beginning, so that a row's block tells how far it is */
	return table_beginscan_strat(rows->heap, rows->snapshot, 0, NULL, true, false);
}

static void
report_block(TupleTableSlot *slot, BlockNumber *current)
{
	BlockNumber block = ItemPointerGetBlockNumberNoCheck(&slot->tts_tid);

	if (block == *current)
		return;
	*current = block;
	KnnProgressUpdate(block);
}

static void
sample_all(KnnRecallRows *rows, Reservoir *reservoir)
{
	TupleTableSlot *slot = table_slot_create(rows->heap, NULL);
	TableScanDesc scan = begin_pass(rows, "sampling");
	BlockNumber block = InvalidBlockNumber;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		report_block(slot, &block);
		consider_row(rows, reservoir, slot);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

int
KnnRecallSample(KnnRecallRows *rows, KnnRecallQuery *queries, int n)
{
	Reservoir	reservoir = {.queries = queries, .room = n};
	BlockNumber nblocks = RelationGetNumberOfBlocks(rows->heap);
	int			nsample = BLOCKS_PER_ROW * n;
	int			nqueries;

	/* not every table access method knows blocks */
	if (nblocks > nsample && rows->heap->rd_tableam->scan_set_tidrange != NULL)
		sample_blocks(rows, &reservoir, nblocks, nsample);
	if (reservoir.seen < n)
	{
		/* few rows are in the index, or the table is small */
		reservoir.seen = 0;
		sample_all(rows, &reservoir);
	}

	nqueries = (int) Min(reservoir.seen, n);
	for (int i = 0; i < nqueries; i++)
	{
		if (!set_vector(rows, PointerGetDatum(queries[i].value), &queries[i].vector))
			elog(ERROR, "a row that is indexed has no vector");
	}
	return nqueries;
}

/* ---- exact search ---- */

/* A row is at this distance of a query: is it among the nearest so far? */
static void
offer(KnnRecallQuery *query, int k, double distance)
{
	double	   *heap = query->nearest;
	int			at;

	if (query->nnearest < k)
	{
		at = query->nnearest++;
		while (at > 0 && heap[(at - 1) / 2] < distance)
		{
			heap[at] = heap[(at - 1) / 2];
			at = (at - 1) / 2;
		}
		heap[at] = distance;
		return;
	}
	at = 0;
	for (;;)
	{
		int			child = 2 * at + 1;

		if (child >= k)
			break;
		if (child + 1 < k && heap[child + 1] > heap[child])
			child++;
		if (heap[child] <= distance)
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = distance;
}

uint64
KnnRecallExact(KnnRecallRows *rows, KnnRecallQuery *queries, int nqueries, int k)
{
	TupleTableSlot *slot = table_slot_create(rows->heap, NULL);
	TableScanDesc scan = begin_pass(rows, "exact search");
	BlockNumber block = InvalidBlockNumber;
	uint64		nrows = 0;

	for (int i = 0; i < nqueries; i++)
		queries[i].nearest = palloc(mul_size(sizeof(double), k));
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		KnnRecallVector row;

		CHECK_FOR_INTERRUPTS();
		report_block(slot, &block);
		if (!KnnRecallRowVector(rows, slot, &row))
			continue;
		nrows++;
		for (int i = 0; i < nqueries; i++)
		{
			KnnRecallQuery *query = &queries[i];
			double		distance = KnnRecallDistance(rows, &query->vector, &row);

			if ((query->nnearest < k || distance < query->nearest[0]) &&
				!ItemPointerEquals(&query->tid, &slot->tts_tid))
				offer(query, k, distance);
		}
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return nrows;
}
