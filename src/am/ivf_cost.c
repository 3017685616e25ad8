/*
 * ivf_cost.c
 *		What the planner should expect of a scan of a knn_ivf index.
 *
 * A scan compares the query with all centroids, and with the codes of nprobes
 * lists: that is the price of the first row.  Rows beyond those that these lists hold
 * have further lists read.  Since the planner pays for the share of the path's rows
 * that a LIMIT, after a filter, asks for, the total is the price of all lists:
 *
 *	startup = centroids + nprobes lists
 *	total   = startup + (nlist - nprobes) lists
 */
#include "postgres.h"

#include "am/ivf.h"

#include "am/handler.h"
#include "am/options.h"
#include "am/shape.h"
#include "nodes/pathnodes.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "utils/selfuncs.h"

void
knn_ivf_costestimate(PlannerInfo *root, IndexPath *path, double loop_count,
					 Cost *startup_cost, Cost *total_cost, Selectivity *selectivity,
					 double *correlation, double *pages)
{
	IndexOptInfo *info = path->indexinfo;
	GenericCosts costs = {0};
	Relation	index;
	int32		typmod;
	double		nlist;
	double		nprobes;
	double		rows = Max(info->tuples, 1.0);
	double		dim;
	double		page_cost;
	double		score;
	double		list;
	double		list_pages;

	if (!KnnCostIsOrdered(path, startup_cost, total_cost, selectivity, correlation, pages))
		return;

	index = index_open(info->indexoid, NoLock);
	nlist = KnnIvfOptionsOf(index).nlist;
	if (nlist == 0)
		nlist = KnnFrozenShape(index)->nlist;
	nlist = Min(nlist, rows);
	nprobes = knn_nprobes > 0 ? knn_nprobes : KnnIvfNprobes(index);
	typmod = TupleDescAttr(RelationGetDescr(index), 0)->atttypmod;
	dim = typmod >= 0 ? KnnTypmodDim(typmod) : 128;
	index_close(index, NoLock);
	nprobes = Min(nprobes, nlist);

	genericcostestimate(root, path, loop_count, &costs);

	/* most of the file may be full vectors, of which few are read */
	page_cost = KnnCostPage(info);
	score = KnnCostScore(dim);
	list_pages = Min(Max(rows / nlist * (dim + 24) / KNN_PAGE_CAPACITY, 1), info->pages / nlist + 1);
	list = list_pages * page_cost + rows / nlist * score;

	*startup_cost = nlist * (score + page_cost * (dim + 16) / KNN_PAGE_CAPACITY) + nprobes * list;
	*total_cost = *startup_cost + (nlist - nprobes) * list + rows * cpu_index_tuple_cost;
	*selectivity = costs.indexSelectivity;
	*correlation = 0;			/* rows come in the order of the query's making */
	*pages = costs.numIndexPages;
}
