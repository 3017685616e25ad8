/*
 * check_reach.c
 *		Which nodes a search can come to; see check.h.
 *
 * Pruning a full list of links may drop the last link to a node, and a crash or
 * a cancelled insert may leave a node that nothing links to.  No order of steps
 * rules that out, so it is no damage and reported as a warning: the rows of such
 * a node are found by no search.
 */
#include "postgres.h"

#include "api/check.h"

#include "core/graph_search.h"
#include "miscadmin.h"
#include "utils/memutils.h"

typedef struct Walk
{
	KnnCheck   *check;
	KnnCheckSet reached;
	uint32	   *queue;			/* nodes reached, in order */
	uint32		nqueue;
} Walk;

static void
reach(Walk *walk, uint32 node)
{
	/* at rest, and verified: all links lead to nodes below nnodes */
	if (node < walk->check->nnodes && KnnCheckSetAdd(&walk->reached, node))
		walk->queue[walk->nqueue++] = node;
}

/*
 * Walk from the entry point along links of level 0, and of the levels above too
 * if "descend".  Returns the number of live nodes it does not come to.
 */
static uint32
count_unreachable(Walk *walk, bool descend)
{
	KnnCheck   *check = walk->check;
	KnnStore   *store = check->store;
	KnnLinksItem *links = palloc(store->columns[KNN_COLUMN_LINKS].width);
	KnnUpperItem *upper = palloc(store->columns[KNN_COLUMN_UPPER].width);
	uint32		unreachable = 0;

	memset(walk->reached.bits, 0, walk->reached.nbits / 8 + 1);
	walk->nqueue = 0;
	if (store->entry != KNN_INVALID_ID)
		reach(walk, store->entry);
	for (uint32 i = 0; i < walk->nqueue; i++)
	{
		CHECK_FOR_INTERRUPTS();
		KnnStoreCopy(store, check->index, KNN_COLUMN_LINKS, walk->queue[i], links);
		for (uint32 l = 0; l < links->nlinks && l < 2 * store->shape.m; l++)
			reach(walk, links->links[l] - 1);
		for (uint32 level = 1; descend && level <= links->level; level++)
		{
			KnnStoreCopy(store, check->index, KNN_COLUMN_UPPER, links->upper + level - 1, upper);
			for (uint32 l = 0; l < upper->nlinks && l < store->shape.m; l++)
				reach(walk, upper->links[l] - 1);
		}
	}
	for (uint32 node = 0; node < check->nnodes; node++)
	{
		if ((check->nodes[node].flags & KNN_CHECK_LIVE) &&
			!(walk->reached.bits[node / 8] & (1 << (node % 8))))
			unreachable++;
	}
	pfree(links);
	pfree(upper);
	return unreachable;
}

void
KnnCheckReach(KnnCheck *check)
{
	Walk		walk = {.check = check};
	uint32		unreachable;
	uint32		unlinked = 0;
	uint32		live = 0;

	KnnCheckSetInit(&walk.reached, (uint64) check->nnodes + 1);
	walk.queue = MemoryContextAllocHuge(CurrentMemoryContext,
										mul_size(sizeof(uint32), (Size) check->nnodes + 1));

	/* a search enters level 0 wherever its descent ends */
	unreachable = count_unreachable(&walk, true);
	if (unreachable > 0)
	{
		uint32		from_entry = count_unreachable(&walk, false);

		for (uint32 node = 0; node < check->nnodes; node++)
		{
			if (!(check->nodes[node].flags & KNN_CHECK_LIVE))
				continue;
			live++;
			unlinked += check->nodes[node].need == 0;
		}
		ereport(WARNING,
				(errmsg("%u of %u nodes of index \"%s\" cannot be reached from its entry point",
						unreachable, live, RelationGetRelationName(check->index)),
				 errdetail("No link leads to %u of them. Along links of level 0 alone %u cannot be reached.",
						   unlinked, from_entry),
				 errhint("No search finds their rows; REINDEX if they are many.")));
	}
	else
		ereport(DEBUG1,
				(errmsg_internal("all nodes can be reached; along links of level 0 alone %u cannot",
								 count_unreachable(&walk, false))));
	pfree(walk.queue);
	pfree(walk.reached.bits);
}
