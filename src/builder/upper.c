/*
 * upper.c
 *		The levels above 0 of a graph whose level 0 comes from elsewhere; see upper.h.
 *
 * The nodes that are drawn, some n/m, get a graph of their own, built as any other.  Its
 * level 0 is level 1 of the whole.
 */
#include "builder/upper.h"

#include <string.h>

#include "builder/build.h"
#include "builder/memory.h"
#include "core/graph_merge.h"
#include "core/graph_prune.h"

/* Nodes that add_lonely may add: lists that are nearly empty would make all of them lonely. */
static uint64_t
most_lonely(uint64_t n, uint32_t m)
{
	return n / (4 * (uint64_t) m) + 1;
}

uint64_t
builder_upper_lists(uint64_t n, uint32_t m)
{
	return n / (m - 1) + most_lonely(n, m);
}

uint64_t
builder_upper_memory(const builder_job *job, const builder_input *input, uint64_t nodes)
{
	/* the graph, its members and their vectors */
	return builder_memory_for(job, input, nodes) + nodes * 8;
}

/* Is a node on level 1, or one that its list has? */
static bool
is_near(const builder_upper *u, uint32_t id)
{
	const uint32_t *list = knn_graph_links(u->graph, id);

	if (u->graph->levels[id] > 0)
		return true;
	for (uint32_t l = 1; l <= list[0]; l++)
	{
		if (u->graph->levels[list[l]] > 0)
			return true;
	}
	return false;
}

/*
 * Put nodes on level 1 so that each node comes to one of level 1 by two links at most.
 * What is drawn may have none of a piece of about m nodes; searches from above would then
 * come to it by single links at best.
 */
static void
add_lonely(const builder_upper *u)
{
	uint64_t	most = most_lonely(u->graph->n, u->job->m);

	for (uint32_t id = 0; id < u->graph->n && most > 0; id++)
	{
		const uint32_t *list = knn_graph_links(u->graph, id);
		bool		near = is_near(u, id);

		for (uint32_t l = 1; l <= list[0] && !near; l++)
			near = is_near(u, list[l]);
		if (!near)
		{
			u->graph->levels[id] = 1;
			most--;
		}
	}
}

/*
 * Draw graph->levels, and list the nodes above level 0.  If their graph does not fit
 * into memory, the lowest of their levels are left out.
 */
static uint32_t *
list_members(const builder_upper *u, uint32_t *count)
{
	uint64_t	limit = u->job->memory_limit;
	uint8_t	   *levels = u->graph->levels;
	uint32_t   *members;
	uint32_t	n;

	for (uint32_t id = 0; id < u->graph->n; id++)
		levels[id] = (uint8_t) knn_node_level(u->job->seed, id, u->job->m);
	if (u->listed)
		add_lonely(u);
	for (;;)
	{
		n = 0;
		for (uint32_t id = 0; id < u->graph->n; id++)
			n += levels[id] > 0;
		if (n == 0 || limit == 0 || builder_upper_memory(u->job, u->input, n) + u->beside <= limit)
			break;
		for (uint32_t id = 0; id < u->graph->n; id++)
			levels[id] -= levels[id] > 0;
	}
	members = builder_alloc(sizeof(uint32_t) * (uint64_t) (n > 0 ? n : 1));
	n = 0;
	for (uint32_t id = 0; id < u->graph->n; id++)
	{
		if (levels[id] > 0)
			members[n++] = id;
	}
	*count = n;
	return members;
}

/* Take over the lists of a graph of them, one level higher. */
static void
raise_levels(knn_graph *graph, knn_graph *upper, const uint32_t *members)
{
	uint32_t	m = graph->m;
	uint32_t	at = 0;
	knn_merger	merger;

	if (knn_merger_init(&merger, upper, 2 * m) != KNN_OK)
		builder_fail_memory();
	graph->nupper = upper->nupper + upper->n;
	graph->upper = builder_alloc(sizeof(uint32_t) * (uint64_t) graph->nupper * (1 + m));
	for (uint32_t i = 0; i < upper->n; i++)
	{
		uint32_t	id = members[i];

		graph->levels[id] = (uint8_t) (upper->levels[i] + 1);
		graph->upper_first[id] = at;
		at += graph->levels[id];
		for (uint32_t level = 1; level <= graph->levels[id]; level++)
		{
			const uint32_t *from = level == 1 ? knn_graph_links(upper, i) :
				knn_graph_upper(upper, i, level - 1);
			uint32_t   *to = knn_graph_upper(graph, id, level);

			/* at its own level 0 a list has room for twice as many */
			if (from[0] > m)
				knn_merge_lists(&merger, i, &from, 1, m, m / 2, to);
			else
				memcpy(to, from, sizeof(uint32_t) * (1 + from[0]));
			for (uint32_t l = 1; l <= to[0]; l++)
				to[l] = members[to[l]];
		}
	}
	graph->entry = members[upper->entry];
	graph->entry_level = upper->entry_level + 1;
	knn_merger_free(&merger);
}

void
builder_build_upper(const builder_upper *u)
{
	uint32_t	n;
	uint32_t   *members;
	uint32_t   *vectors;
	knn_graph	upper;
	builder_addition addition = {.job = u->job, .input = u->input, .graph = &upper,
		.phase = u->phase, .base = u->base, .total = u->total};

	u->graph->levels = builder_alloc(u->graph->n);
	members = list_members(u, &n);
	vectors = builder_alloc(sizeof(uint32_t) * (uint64_t) n);
	addition.n = n;
	addition.vectors = vectors;
	u->graph->upper_first = builder_alloc(sizeof(uint32_t) * (uint64_t) u->graph->n);
	u->graph->entry = 0;
	u->graph->entry_level = 0;
	for (uint32_t i = 0; i < n; i++)
		vectors[i] = u->vectors ? u->vectors[members[i]] : members[i];
	if (n > 0)
	{
		builder_graph_shape(&upper, u->job, u->input);
		builder_add(&addition);
		raise_levels(u->graph, &upper, members);
		knn_graph_free(&upper);
	}
	builder_release(members);
	builder_release(vectors);
}
