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

static uint32_t
level_of(const builder_upper *u, uint32_t id, uint32_t shift)
{
	uint32_t	level = knn_node_level(u->job->seed, id, u->job->m);

	return level > shift ? level - shift : 0;
}

uint64_t
builder_upper_memory(const builder_job *job, const builder_input *input, uint64_t nodes)
{
	/* the graph, its members and their vectors */
	return builder_memory_for(job, input, nodes) + nodes * 8;
}

/*
 * Nodes above level 0.  If their graph does not fit into memory, the lowest of their
 * levels are left out.
 */
static uint32_t *
list_members(const builder_upper *u, uint32_t *count)
{
	uint64_t	limit = u->job->memory_limit;
	uint32_t   *members;
	uint32_t	shift;
	uint32_t	n;

	for (shift = 0;; shift++)
	{
		n = 0;
		for (uint32_t id = 0; id < u->graph->n; id++)
			n += level_of(u, id, shift) > 0;
		if (n == 0 || limit == 0 || builder_upper_memory(u->job, u->input, n) + u->beside <= limit)
			break;
	}
	members = builder_alloc(sizeof(uint32_t) * (uint64_t) (n > 0 ? n : 1));
	n = 0;
	for (uint32_t id = 0; id < u->graph->n; id++)
	{
		if (level_of(u, id, shift) > 0)
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
	uint32_t   *members = list_members(u, &n);
	uint32_t   *vectors = builder_alloc(sizeof(uint32_t) * (uint64_t) n);
	knn_graph	upper;
	builder_addition addition = {.job = u->job, .input = u->input, .graph = &upper,
		.n = n, .vectors = vectors, .phase = u->phase, .base = u->base, .total = u->total};

	u->graph->levels = builder_alloc(u->graph->n);
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
