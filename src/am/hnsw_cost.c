/*
 * hnsw_cost.c
 *		What the planner should expect of a scan of a knn_hnsw index.
 *
 * A scan with beam width ef expands about ef nodes below the hierarchy, and
 * scores for each some of its neighbours that it has not met before.  That is
 * the price of the first row.  Every further row beyond ef widens the beam by
 * one node.  A filter that keeps a share s of the rows makes the scan produce 1/s
 * rows for one; since the planner pays for the share of the path's rows that a
 * LIMIT asks for, it is enough to make the total the price of all rows:
 *
 *	startup = descent + ef expansions
 *	total   = startup + (rows of the index - ef) expansions
 *
 * An expansion reads one page of links and pages of codes; how many of these
 * reads are from disk depends on how much of the index is cached, estimated by
 * effective_cache_size as elsewhere.
 */
#include "postgres.h"

#include "am/hnsw.h"

#include <math.h>

#include "access/genam.h"
#include "am/handler.h"
#include "am/options.h"
#include "am/shape.h"
#include "nodes/pathnodes.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "utils/selfuncs.h"

/* New neighbours of an expanded node, as a share of those it may have. */
#define UNSEEN_SHARE 0.4

/* Pages of codes read for each scored node; neighbours share pages. */
#define PAGES_PER_SCORE 0.6

void
knn_hnsw_costestimate(PlannerInfo *root, IndexPath *path, double loop_count,
					  Cost *startup_cost, Cost *total_cost, Selectivity *selectivity,
					  double *correlation, double *pages)
{
	IndexOptInfo *info = path->indexinfo;
	GenericCosts costs = {0};
	Relation	index;
	double		m;
	double		ef;
	double		rows = Max(info->tuples, 1.0);
	double		dim = 128;
	double		page_cost;
	double		score;
	double		scores;
	double		expansion;
	double		descent;

	if (!KnnCostIsOrdered(path, startup_cost, total_cost, selectivity, correlation, pages))
		return;

	index = index_open(info->indexoid, NoLock);
	m = KnnHnswOptionsOf(index).m;
	if (m == 0)
		m = KnnFrozenShape(index)->m;
	ef = knn_ef_search > 0 ? knn_ef_search : KnnHnswEfSearch(index, NULL);
	if (TupleDescAttr(RelationGetDescr(index), 0)->atttypmod >= 0)
		dim = KnnTypmodDim(TupleDescAttr(RelationGetDescr(index), 0)->atttypmod);
	index_close(index, NoLock);

	ef = Min(ef, rows);

	genericcostestimate(root, path, loop_count, &costs);
	page_cost = KnnCostPage(info);
	score = KnnCostScore(dim);
	scores = 2 * m * UNSEEN_SHARE;
	expansion = page_cost * (1 + scores * PAGES_PER_SCORE) +
		scores * score;
	descent = log(rows) / log(m) * 2 * m *
		(page_cost + score);

	*startup_cost = descent + Min(ef, rows) * expansion;
	*total_cost = *startup_cost + Max(rows - ef, 0) * expansion + rows * cpu_index_tuple_cost;
	*selectivity = costs.indexSelectivity;
	*correlation = 0;			/* rows come in the order of the query's making */
	*pages = costs.numIndexPages;
}
