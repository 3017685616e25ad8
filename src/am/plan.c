/*
 * plan.c
 *		What is left out of plans that scan a knn index; see plan.h.
 *
 * In SELECT id FROM items ORDER BY v <-> $1 LIMIT 10 the distance is a column of the
 * scan that the query does not return: the planner puts it there for a sort, and the
 * executor computes it for every row even where an index gives the order.  For a
 * vector of more than 2 kB that means fetching it from the TOAST table, a quarter of
 * the query's time at 768 dimensions.  So when a plan is complete, such a column
 * is replaced by NULL where nobody looks at it: in an index scan that orders by
 * the very same expression and is at the top of a query level, or below a LIMIT
 * (without WITH TIES) that is.
 */
#include "postgres.h"

#include "am/plan.h"

#include "access/amapi.h"
#include "am/handler.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "optimizer/planner.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static planner_hook_type previous_planner = NULL;

static bool
is_knn_index(Oid indexoid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(indexoid));
	Oid			amoid;
	IndexAmRoutine *routine;

	if (!HeapTupleIsValid(tuple))
		return false;
	amoid = ((Form_pg_class) GETSTRUCT(tuple))->relam;
	ReleaseSysCache(tuple);
	routine = GetIndexAmRoutineByAmId(amoid, true);
	return routine != NULL && KnnIsAmRoutine(routine);
}

/*
 * The columns of the scan that it orders by and that are not returned.  Its parent,
 * if any, hands on all columns, so that what is junk there is junk here.
 */
static void
leave_out_distances(IndexScan *scan)
{
	ListCell   *lc;

	if (scan->indexorderbyorig == NIL || !is_knn_index(scan->indexid))
		return;
	foreach(lc, scan->scan.plan.targetlist)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);

		if (entry->resjunk && list_member(scan->indexorderbyorig, entry->expr))
			entry->expr = (Expr *) makeNullConst(exprType((Node *) entry->expr),
												 exprTypmod((Node *) entry->expr),
												 exprCollation((Node *) entry->expr));
	}
}

/* top: the plan's junk columns are dropped by whoever runs it. */
static void
visit(Plan *plan, bool top)
{
	ListCell   *lc;

	if (plan == NULL)
		return;
	check_stack_depth();
	switch (nodeTag(plan))
	{
		case T_IndexScan:
			if (top)
				leave_out_distances((IndexScan *) plan);
			break;
		case T_Limit:
			/* always the top of its query level */
			if (((Limit *) plan)->limitOption != LIMIT_OPTION_WITH_TIES &&
				plan->lefttree && IsA(plan->lefttree, IndexScan))
				leave_out_distances((IndexScan *) plan->lefttree);
			break;
		case T_SubqueryScan:
			visit(((SubqueryScan *) plan)->subplan, true);
			break;
		case T_Append:
			foreach(lc, ((Append *) plan)->appendplans)
				visit(lfirst(lc), false);
			break;
		case T_MergeAppend:
			foreach(lc, ((MergeAppend *) plan)->mergeplans)
				visit(lfirst(lc), false);
			break;
		default:
			break;
	}
	visit(plan->lefttree, false);
	visit(plan->righttree, false);
}

static PlannedStmt *
plan_query(Query *parse, const char *query_string, int cursor_options, ParamListInfo params)
{
	PlannedStmt *result = (previous_planner ? previous_planner : standard_planner)
		(parse, query_string, cursor_options, params);
	ListCell   *lc;

	/* other commands may look at junk columns */
	if (result->commandType == CMD_SELECT && result->rowMarks == NIL)
	{
		visit(result->planTree, true);
		foreach(lc, result->subplans)
			visit(lfirst(lc), true);
	}
	return result;
}

void
KnnPlanInit(void)
{
	previous_planner = planner_hook;
	planner_hook = plan_query;
}
