/*
 * index_recall.c
 *		knn_index_recall(index, sample, k): how much of the truth does an index find?
 *
 * Rows drawn at random are the queries.  The k nearest other rows of each are found
 * twice: by comparing it with every row of the table, which is read once for all
 * queries, and by a scan of the index with the settings in effect.  A row that the
 * scan returned counts when it is no farther than the k-th nearest: which of several
 * equally distant rows are returned does not matter.  A row always finds itself, so
 * it is left out of both answers.  (It is in the graph all the same, and leads a
 * search to its neighbours: strangers are found less often.)
 *
 * Under AccessShareLock and the caller's snapshot, while others read and write, in
 * transactions that are read-only, and on a standby.
 *
 * For whoever may ask knn_index_info, unless policies hide rows of the table.
 */
#include "postgres.h"

#include <math.h>

#include "am/ivf.h"
#include "am/opclass.h"
#include "am/options.h"
#include "am/shape.h"
#include "api/index_open.h"
#include "api/index_recall.h"
#include "cache/progress.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "compat.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_index_recall);

/* What one call may ask for: it has to be held in memory. */
#define MAX_SAMPLE	10000
#define MAX_K		1000

/*
 * How much farther than the k-th nearest a row may be, and count as equally far:
 * rounding of sums of floats, as a share of the distance.  Between normalised
 * vectors it is one of their lengths.
 */
#define ROUNDING			1e-6
#define COSINE_ROUNDING		1e-12

/* A row that a scan returned. */
typedef struct Answer
{
	ItemPointerData tid;
	double		distance;
} Answer;

typedef struct Recall
{
	Relation	index;
	Relation	heap;
	Snapshot	snapshot;
	int			sample;
	int			k;

	/* results */
	int			nqueries;
	double	   *recalls;		/* of each query, ascending */
	uint64		nrows;
	int			ef_search;		/* 0: an index of another method */
	int			nprobes;		/* likewise */
	double		exact_ms;		/* of all queries */
	double		index_ms;
} Recall;

static int
argument(FunctionCallInfo fcinfo, int n, const char *name, int most)
{
	int			value = PG_GETARG_INT32(n);

	if (value < 1 || value > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between %d and %d, not %d", name, 1, most, value)));
	return value;
}

static void
check_index_usable(const Recall *recall)
{
	Relation	index = recall->index;

	if (!index->rd_index->indisvalid)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot measure the recall of index \"%s\", which is not valid",
						RelationGetRelationName(index)),
				 errhint("Its CREATE INDEX CONCURRENTLY is under way or has failed; REINDEX makes it valid.")));

	/* policies would have to be applied to each row, and would tell by the result */
	if (check_enable_rls(RelationGetRelid(recall->heap), InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot measure the recall of index \"%s\" under row-level security",
						RelationGetRelationName(index)),
				 errdetail("All rows of table \"%s\" are compared, and its policies apply to you.",
						   RelationGetRelationName(recall->heap)),
				 errhint("Ask a role that bypasses row-level security.")));

	/* the planner does not use it, as it may lack older versions of rows */
	if (index->rd_index->indcheckxmin &&
		!TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data), TransactionXmin))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" cannot be used by this transaction yet",
						RelationGetRelationName(index)),
				 errdetail("Rows were updated while it was built, which older snapshots may show as they were."),
				 errhint("Try again when the transactions that are running now have ended.")));
}

/* ORDER BY column <distance> query, for a scan of the index. */
static void
init_order(Relation index, ScanKey key)
{
	Oid			type = index->rd_opcintype[0];
	Oid			operator = get_opfamily_member(index->rd_opfamily[0], type, type,
											   KNN_DISTANCE_STRATEGY);

	if (!OidIsValid(operator))
		elog(ERROR, "index \"%s\" has no distance operator", RelationGetRelationName(index));
	ScanKeyEntryInitialize(key, SK_ORDER_BY, 1, KNN_DISTANCE_STRATEGY, type, InvalidOid,
						   get_opcode(operator), (Datum) 0);
}

static int
compare_tids(const void *a, const void *b)
{
	return ItemPointerCompare(&((Answer *) a)->tid, &((Answer *) b)->tid);
}

static int
compare_doubles(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

/*
 * The first rows other than the query's own that the index returns, with their
 * exact distances; the time is that of the scan alone.
 */
static int
scan_index(KnnRecallRows *rows, IndexScanDesc scan, TupleTableSlot *slot, ScanKey order,
		   KnnRecallQuery *query, int k, Answer *answers, instr_time *spent)
{
	int			n = 0;
	instr_time	begun;
	instr_time	ended;

	order->sk_argument = PointerGetDatum(query->value);
	INSTR_TIME_SET_CURRENT(begun);
	index_rescan(scan, NULL, 0, order, 1);
	while (n < k)
	{
		bool		found = index_getnext_slot(scan, ForwardScanDirection, slot);
		KnnRecallVector row;

		INSTR_TIME_SET_CURRENT(ended);
		INSTR_TIME_ACCUM_DIFF(*spent, ended, begun);
		CHECK_FOR_INTERRUPTS();
		if (!found)
			break;
		if (!ItemPointerEquals(&slot->tts_tid, &query->tid) &&
			KnnRecallRowVector(rows, slot, &row))
		{
			answers[n].tid = slot->tts_tid;
			answers[n++].distance = KnnRecallDistance(rows, &query->vector, &row);
		}
		INSTR_TIME_SET_CURRENT(begun);
	}
	ExecClearTuple(slot);
	return n;
}

/* The share of the rows that should have been returned. */
static double
recall_of(const KnnRecallRows *rows, const KnnRecallQuery *query, Answer *answers, int nanswers)
{
	double		limit = query->nearest[0];
	int			hits = 0;

	if (isfinite(limit))
		limit += fabs(limit) * ROUNDING;
	if (knn_space_normalises(rows->shape.space))
		limit += COSINE_ROUNDING;

	/* a row returned twice is found once */
	qsort(answers, nanswers, sizeof(Answer), compare_tids);
	for (int i = 0; i < nanswers; i++)
	{
		if (i > 0 && ItemPointerEquals(&answers[i].tid, &answers[i - 1].tid))
			continue;
		hits += answers[i].distance <= limit;
	}
	return (double) hits / query->nnearest;
}

static void
scan_for_all(Recall *recall, KnnRecallRows *rows, KnnRecallQuery *queries)
{
	IndexScanDesc scan = KnnIndexBeginScan(recall->heap, recall->index, recall->snapshot, 0, 1);
	TupleTableSlot *slot = table_slot_create(recall->heap, NULL);
	Answer	   *answers = palloc(sizeof(Answer) * recall->k);
	ScanKeyData order;
	instr_time	spent;

	KnnProgressPhase("index scans", recall->nqueries);
	INSTR_TIME_SET_ZERO(spent);
	init_order(recall->index, &order);
	recall->recalls = palloc(sizeof(double) * recall->nqueries);
	for (int i = 0; i < recall->nqueries; i++)
	{
		int			n = scan_index(rows, scan, slot, &order, &queries[i], recall->k,
								   answers, &spent);

		recall->recalls[i] = recall_of(rows, &queries[i], answers, n);
		KnnProgressUpdate(i + 1);
	}
	qsort(recall->recalls, recall->nqueries, sizeof(double), compare_doubles);
	recall->index_ms = INSTR_TIME_GET_MILLISEC(spent);
	ExecDropSingleTupleTableSlot(slot);
	index_endscan(scan);
}

static void
measure(Recall *recall)
{
	KnnStore   *store = KnnStoreOpen(recall->index);
	KnnRecallQuery *queries = palloc0(sizeof(KnnRecallQuery) * recall->sample);
	KnnRecallRows rows;
	instr_time	begun;
	instr_time	ended;

	KnnStoreHold(store, CurrentMemoryContext);
	if (store->shape.method == KNN_METHOD_HNSW)
		recall->ef_search = knn_ef_search > 0 ? knn_ef_search :
			KnnHnswEfSearch(recall->index, &store->shape);
	else
		recall->nprobes = knn_nprobes > 0 ? knn_nprobes : KnnIvfNprobes(recall->index);
	KnnRecallRowsBegin(&rows, recall->heap, recall->index, &store->shape, recall->snapshot);
	recall->nqueries = KnnRecallSample(&rows, queries, recall->sample);

	INSTR_TIME_SET_CURRENT(begun);
	if (recall->nqueries > 0)
		recall->nrows = KnnRecallExact(&rows, queries, recall->nqueries, recall->k);
	INSTR_TIME_SET_CURRENT(ended);
	INSTR_TIME_SUBTRACT(ended, begun);
	recall->exact_ms = INSTR_TIME_GET_MILLISEC(ended);

	/* a row alone has no neighbours to be found */
	if (recall->nrows < 2)
		recall->nqueries = 0;
	if (recall->nqueries > 0)
		scan_for_all(recall, &rows, queries);
	KnnRecallRowsEnd(&rows);
}

static Datum
result_row(const Recall *recall, TupleDesc tupdesc)
{
	enum
	{
		RECALL, RECALL_MIN, RECALL_P10, QUERIES, K, EF_SEARCH, NPROBES, ROWS, INDEX_MS, EXACT_MS, NCOLUMNS
	};
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS] = {0};
	int			n = recall->nqueries;
	double		sum = 0;

	if (tupdesc->natts != NCOLUMNS)
		elog(ERROR, "return type has %d columns, expected %d", tupdesc->natts, NCOLUMNS);
	for (int i = 0; i < n; i++)
		sum += recall->recalls[i];
	nulls[RECALL] = nulls[RECALL_MIN] = nulls[RECALL_P10] = n == 0;
	nulls[INDEX_MS] = nulls[EXACT_MS] = n == 0;
	if (n > 0)
	{
		values[RECALL] = Float8GetDatum(sum / n);
		values[RECALL_MIN] = Float8GetDatum(recall->recalls[0]);
		/* as percentile_disc(0.1) */
		values[RECALL_P10] = Float8GetDatum(recall->recalls[(n + 9) / 10 - 1]);
		values[INDEX_MS] = Float8GetDatum(recall->index_ms / n);
		values[EXACT_MS] = Float8GetDatum(recall->exact_ms / n);
	}
	values[QUERIES] = Int32GetDatum(n);
	values[K] = Int32GetDatum(recall->k);
	values[EF_SEARCH] = Int32GetDatum(recall->ef_search);
	nulls[EF_SEARCH] = recall->ef_search == 0;
	values[NPROBES] = Int32GetDatum(recall->nprobes);
	nulls[NPROBES] = recall->nprobes == 0;
	values[ROWS] = Int64GetDatum((int64) recall->nrows);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls));
}

Datum
knn_index_recall(PG_FUNCTION_ARGS)
{
	Recall		recall = {0};
	MemoryContext context;
	MemoryContext old;
	TupleDesc	tupdesc;
	Datum		result;
	Oid			user;
	int			security;
	int			nestlevel;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	recall.sample = argument(fcinfo, 1, "sample", MAX_SAMPLE);
	recall.k = argument(fcinfo, 2, "k", MAX_K);
	recall.index = KnnOpenIndex(PG_GETARG_OID(0), AccessShareLock, KNN_ACCESS_READ, &recall.heap);
	check_index_usable(&recall);

	/* what expressions of the index do, they do as the table's owner */
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(recall.heap->rd_rel->relowner, security | SECURITY_RESTRICTED_OPERATION);
	nestlevel = NewGUCNestLevel();
	KnnRestrictSearchPath();

	context = AllocSetContextCreate(CurrentMemoryContext, "knn index recall", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	recall.snapshot = RegisterSnapshot(GetActiveSnapshot());
	KnnProgressStart("knn_index_recall", RelationGetRelid(recall.index), "sampling", 0);
	measure(&recall);
	KnnProgressEnd();
	UnregisterSnapshot(recall.snapshot);
	MemoryContextSwitchTo(old);

	AtEOXact_GUC(false, nestlevel);
	SetUserIdAndSecContext(user, security);
	result = result_row(&recall, tupdesc);
	MemoryContextDelete(context);
	KnnCloseIndex(recall.index, recall.heap);
	PG_RETURN_DATUM(result);
}
