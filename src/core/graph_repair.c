/*
 * graph_repair.c
 *		Making a graph that somebody else has built fit for searches; see
 *		graph_repair.h.
 */
#include "core/graph_repair.h"

#include <string.h>

#include "core/graph_build_impl.h"
#include "core/graph_file.h"

#define CHECK_EVERY 4096		/* nodes */

/* Eviction of one link may make another node unreachable: so many rounds. */
#define ROUNDS 3

/* ---- links back ---- */

/*
 * Under the lock of "from".  False when the link was left out, which force prevents.
 */
static bool
link_to(knn_merger *merger, uint32_t from, uint32_t to, bool force)
{
	const knn_graph *graph = merger->scratch.graph;
	uint32_t	room = 2 * graph->m;
	uint32_t   *row = knn_graph_links(graph, from);
	uint32_t	one[2] = {1, to};
	const uint32_t *lists[2] = {row, one};

	if (has_link(row, to))
		return true;
	if (row[0] < room)
	{
		row[++row[0]] = to;
		return true;
	}
	knn_merge_lists(merger, from, lists, 2, room, room / 2, row);
	if (has_link(row, to))
		return true;
	if (force)
		row[row[0] < room ? ++row[0] : room] = to;
	return force;
}

void
knn_repair_link_back(knn_merger *merger, uint8_t *locks, uint32_t id, uint32_t *list)
{
	const uint32_t *row = knn_graph_links(merger->scratch.graph, id);
	bool		linked = false;

	/* others add to it meanwhile */
	lock_node(&locks[id]);
	memcpy(list, row, sizeof(uint32_t) * (1 + (size_t) row[0]));
	unlock_node(&locks[id]);
	for (uint32_t i = list[0]; i >= 1; i--)
	{
		lock_node(&locks[list[i]]);
		linked |= link_to(merger, list[i], id, i == 1 && !linked);
		unlock_node(&locks[list[i]]);
	}
}

/* ---- long links ---- */

/* Distances of a list's nodes from one, ascending, into merger->scratch.full. */
static uint32_t
sort_list(knn_merger *merger, const uint32_t *row)
{
	knn_graph_scratch *scratch = &merger->scratch;
	const knn_graph *graph = scratch->graph;

	for (uint32_t i = 0; i < row[0]; i++)
	{
		uint32_t	other = row[1 + i];

		scratch->full[i] = (knn_candidate) {
			knn_query_score(&scratch->query, &graph->factors[other], knn_graph_code(graph, other)), 0, other, 0
		};
	}
	knn_sort_few(scratch->full, row[0]);
	return row[0];
}

/* The node itself or one that it is linked to, which is above level 0. */
static uint32_t
above(const knn_graph *graph, uint32_t id)
{
	const uint32_t *row = knn_graph_links(graph, id);

	if (graph->levels[id] > 0)
		return id;
	for (uint32_t i = 1; i <= row[0]; i++)
	{
		if (graph->levels[row[i]] > 0)
			return row[i];
	}
	return KNN_INVALID_ID;
}

void
knn_repair_link_far(knn_merger *merger, uint32_t id)
{
	knn_graph_scratch *scratch = &merger->scratch;
	const knn_graph *graph = scratch->graph;
	uint32_t   *row = knn_graph_links(graph, id);
	uint32_t	from = above(graph, id);
	float		farthest;
	uint32_t	far[KNN_REPAIR_LONG_LINKS];
	uint32_t	most = graph->m / 2;
	uint32_t	nfar = 0;
	uint32_t	n = row[0];
	uint32_t	near = 0;

	if (from == KNN_INVALID_ID || n == 0)
		return;
	if (most > KNN_REPAIR_LONG_LINKS)
		most = KNN_REPAIR_LONG_LINKS;
	knn_query_from_code(&scratch->query, &graph->encoder, &graph->factors[id],
						knn_graph_code(graph, id), scratch->q8, scratch->qf);
	sort_list(merger, row);
	for (uint32_t i = 0; i < n; i++)
		row[1 + i] = scratch->full[i].id;
	farthest = scratch->full[n - 1].distance;
	n = sort_list(merger, knn_graph_upper(graph, from, 1));
	while (near < n && scratch->full[near].distance <= farthest)
		near++;
	/* nodes that are near each other take different ones */
	for (uint32_t i = 0; i < n - near && nfar < most; i++)
	{
		uint32_t	other = scratch->full[near + (id + i) % (n - near)].id;

		if (other != id)
			far[nfar++] = other;
	}
	if (row[0] + nfar > 2 * graph->m)
		row[0] = 2 * graph->m - nfar;
	for (uint32_t i = 0; i < nfar; i++)
		row[++row[0]] = far[i];
}

int
knn_repair_begin(knn_graph *graph)
{
	/* that of a build may be there still */
	knn_graph_scratch_free(&graph->scratch);
	return knn_graph_scratch_init(&graph->scratch, graph);
}

void
knn_repair_end(knn_graph *graph)
{
	knn_graph_scratch_free(&graph->scratch);
}

/* ---- connection ---- */

typedef struct Walk
{
	knn_graph  *graph;
	uint8_t    *reached;		/* bits */
	uint32_t   *queue;
	uint32_t	count;			/* nodes reached */
} Walk;

static bool
is_reached(const Walk *walk, uint32_t id)
{
	return (walk->reached[id >> 3] >> (id & 7) & 1) != 0;
}

static void
reach(Walk *walk, uint32_t id)
{
	if (is_reached(walk, id))
		return;
	walk->reached[id >> 3] |= (uint8_t) (1 << (id & 7));
	walk->queue[walk->count++] = id;
}

/* Go on from what was reached last. */
static void
walk_from(Walk *walk, uint32_t at)
{
	const knn_graph *graph = walk->graph;

	for (; at < walk->count; at++)
	{
		uint32_t	id = walk->queue[at];

		if (graph->check && at % CHECK_EVERY == 0)
			graph->check();
		for (uint32_t level = 0; level <= graph->levels[id]; level++)
		{
			const uint32_t *row = graph_row(graph, id, level);

			for (uint32_t i = 1; i <= row[0]; i++)
				reach(walk, row[i]);
		}
	}
}

/* A beam around a node, whose code is the query. */
static int
search_for(knn_graph *graph, uint32_t id, uint32_t width)
{
	knn_graph_scratch *scratch = &graph->scratch;
	uint32_t	entry = graph->entry;

	knn_query_from_code(&scratch->query, &graph->encoder, &graph->factors[id],
						knn_graph_code(graph, id), scratch->q8, scratch->qf);
	if (graph->entry_level > 0)
		entry = knn_search_descend(&scratch->search, entry, graph->entry_level, 1);
	next_tag(scratch);
	return knn_search_level(&scratch->search, &entry, 1, 0, width);
}

/* Level 0 of an insertion; the links that the node has are kept. */
static int
insert(knn_graph *graph, knn_merger *merger, uint32_t id)
{
	knn_graph_scratch *scratch = &graph->scratch;
	knn_search *search = &scratch->search;
	uint32_t	m = graph->m;
	uint32_t   *row = knn_graph_links(graph, id);
	uint32_t	n;
	bool		linked = false;

	if (search_for(graph, id, graph->ef_construction) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	n = knn_choose_neighbours(search->beam, search->nbeam, 2 * m, m / 2, covered, scratch, scratch->spare);
	for (uint32_t i = n; i-- > 0;)
		linked |= link_to(merger, search->beam[i].id, id, i == 0 && !linked);
	for (uint32_t i = 0; i < n && row[0] < 2 * m; i++)
	{
		if (!has_link(row, search->beam[i].id))
			row[++row[0]] = search->beam[i].id;
	}
	return KNN_OK;
}

/* Links a node from one of a list that was reached and has room. */
static bool
link_from_any(const Walk *walk, const uint32_t *list, uint32_t id)
{
	for (uint32_t i = 1; i <= list[0]; i++)
	{
		uint32_t   *row = knn_graph_links(walk->graph, list[i]);

		if (row[0] < 2 * walk->graph->m && is_reached(walk, list[i]))
		{
			row[++row[0]] = id;
			return true;
		}
	}
	return false;
}

/*
 * A node that others have dropped knows its neighbours itself.  By inner product these
 * are often a few that all have in common and whose lists are full, but not those of
 * their neighbours.  No link is lost by it.
 */
static bool
link_from_neighbours(const Walk *walk, uint32_t id)
{
	const uint32_t *row = knn_graph_links(walk->graph, id);

	if (link_from_any(walk, row, id))
		return true;
	for (uint32_t i = 1; i <= row[0]; i++)
	{
		if (is_reached(walk, row[i]) &&
			link_from_any(walk, knn_graph_links(walk->graph, row[i]), id))
			return true;
	}
	return false;
}

static int
connect_round(Walk *walk, knn_merger *merger, uint32_t most, uint32_t *pieces)
{
	knn_graph  *graph = walk->graph;

	memset(walk->reached, 0, (size_t) graph->n / 8 + 1);
	walk->count = 0;
	reach(walk, graph->entry);
	walk_from(walk, 0);
	for (uint32_t id = 0; id < graph->n && walk->count < graph->n; id++)
	{
		uint32_t	before = walk->count;

		if (is_reached(walk, id))
			continue;
		if (!link_from_neighbours(walk, id))
		{
			if (++*pieces > most)
				return KNN_ERROR_FORMAT;
			if (graph->check)
				graph->check();
			if (insert(graph, merger, id) != KNN_OK)
				return KNN_ERROR_NO_MEMORY;
		}
		reach(walk, id);
		walk_from(walk, before);
	}
	return KNN_OK;
}

int
knn_repair_connect(knn_graph *graph, uint32_t most, uint32_t *pieces)
{
	const knn_allocator *allocator = &graph->allocator;
	Walk		walk = {.graph = graph};
	knn_merger	merger;
	int			result = KNN_ERROR_NO_MEMORY;

	*pieces = 0;
	if (graph->n == 0)
		return KNN_OK;
	walk.reached = allocator->alloc(allocator->context, (size_t) graph->n / 8 + 1);
	walk.queue = allocator->alloc(allocator->context, sizeof(uint32_t) * (size_t) graph->n);
	if (knn_merger_init(&merger, graph, 2 * graph->m + 1) == KNN_OK && walk.reached && walk.queue)
	{
		result = KNN_OK;
		for (int round = 0; round < ROUNDS && result == KNN_OK; round++)
		{
			uint32_t	before = *pieces;

			result = connect_round(&walk, &merger, most, pieces);
			if (*pieces == before)
				break;
		}
	}
	knn_merger_free(&merger);
	if (walk.reached)
		allocator->release(allocator->context, walk.reached);
	if (walk.queue)
		allocator->release(allocator->context, walk.queue);
	return result;
}

int
knn_graph_connect(knn_graph *graph)
{
	uint32_t	pieces;
	int			result = knn_repair_begin(graph);

	if (result == KNN_OK)
		result = knn_repair_connect(graph, graph->n, &pieces);
	knn_repair_end(graph);
	/* rounds may count a piece again */
	return result == KNN_ERROR_FORMAT ? KNN_OK : result;
}

/* ---- sense ---- */

/* The i-th of so many nodes all over the graph. */
static uint32_t
sample(const knn_graph *graph, uint32_t i, uint32_t count)
{
	return (uint32_t) ((uint64_t) graph->n * i / count);
}

int
knn_repair_sense(knn_graph *graph, uint32_t width, uint32_t *sought, uint32_t *found)
{
	knn_graph_scratch *scratch = &graph->scratch;
	uint32_t	compared = graph->n < KNN_REPAIR_COMPARED ? graph->n : KNN_REPAIR_COMPARED;

	if (*sought > graph->n)
		*sought = graph->n;
	*found = 0;
	for (uint32_t i = 0; i < *sought; i++)
	{
		uint32_t	id = sample(graph, i, *sought);
		float		nearest;

		if (graph->check)
			graph->check();
		if (search_for(graph, id, width) != KNN_OK)
			return KNN_ERROR_NO_MEMORY;
		score_nodes(graph, &scratch->query, &id, 1, &nearest);
		for (uint32_t j = 0; j < compared; j++)
		{
			uint32_t	other = sample(graph, j, compared);
			float		distance;

			score_nodes(graph, &scratch->query, &other, 1, &distance);
			if (distance < nearest)
				nearest = distance;
		}
		*found += scratch->search.nbeam > 0 && scratch->search.beam[0].distance <= nearest;
	}
	return KNN_OK;
}
