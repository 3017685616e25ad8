/*
 * parts.c
 *		Building a graph that does not fit into memory; see parts.h.
 *
 * The way of DiskANN (Subramanya and others, NeurIPS 2019):
 *
 *	divide	each vector goes to the two clusters it is nearest to (clusters.c)
 *	graph	a graph of each cluster in memory, one after the other; its level-0
 *			lists, and the codes of those whose first cluster it is, go to files
 *	merge	a node's list is chosen from the union of its two
 *
 * A graph of the nodes above level 0, some n/m, is built in memory as a whole
 * (upper.c): searches descend through it, and it connects the clusters at every level.
 *
 * Nodes are numbered by their first cluster meanwhile ("spool ids"), so that the merge
 * reads codes that are close together: most neighbours are of the same cluster.
 * The files are mapped; memory that the system needs otherwise is had by writing them
 * out.
 */
#include "builder/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/build.h"
#include "builder/clusters.h"
#include "builder/memory.h"
#include "builder/threads.h"
#include "builder/upper.h"
#include "core/graph_merge.h"
#include "core/graph_prune.h"
#include "core/graph_repair.h"

#define PARTS_MOST 1024
#define PART_LEAST 256			/* vectors */
#define MERGED_AT_ONCE 64

/* Bytes a vector that are in use while the levels above are built. */
#define UPPER_BESIDE (4 + 2 + 1 + 4 + 5)

typedef struct Parts
{
	const builder_job *job;
	const builder_input *input;
	uint32_t	n;
	uint32_t	count;			/* of parts */
	uint32_t	most;			/* members of one */

	/* by part, and one more: the first spool id */
	uint32_t   *starts;
	/* by spool id */
	uint32_t   *vectors;
	uint16_t   *second;

	/* files */
	uint64_t	row;			/* words of a list */
	uint32_t   *first_lists;
	uint32_t   *second_lists;
	uint8_t    *codes;
	knn_code_factors *factors;

	uint64_t	added;			/* for the progress */
	uint64_t	to_add;
	knn_graph	graph;			/* the whole, in terms of spool ids */
} Parts;

/* ---- the plan ---- */

/* What is there as long as parts are built, and then while nodes are numbered. */
static uint64_t
memory_beside(const builder_job *job)
{
	uint64_t	n = job->count;
	uint64_t	upper = (n / (job->m - 1) + 1) * sizeof(uint32_t) * (1 + (uint64_t) job->m);
	uint64_t	dividing = n * (2 + 2 + 4 + 2);
	uint64_t	numbering = n * (4 + 1 + 4 + 4 + 4 + 2) + upper;

	return dividing > numbering ? dividing : numbering;
}

/* Of one part: its graph, its members and their order. */
static uint64_t
memory_of_part(const builder_job *job, const builder_input *input, uint64_t members)
{
	return builder_memory_for(job, input, members) + members * 8;
}

/* The most members of a part; 0 when not even a small one fits. */
static uint32_t
fitting(const builder_job *job, const builder_input *input)
{
	/* what is in memory beside a part is less than at its most */
	uint64_t	beside = (uint64_t) job->count * 6;
	uint64_t	low = 0;
	uint64_t	high = job->count;

	while (low < high)
	{
		uint64_t	middle = (low + high + 1) / 2;

		if (beside + memory_of_part(job, input, middle) <= job->memory_limit)
			low = middle;
		else
			high = middle - 1;
	}
	if (low < PART_LEAST || memory_beside(job) > job->memory_limit)
		return 0;
	return (uint32_t) low;
}

/* Enough parts that members find room in the nearest ones. */
static uint32_t
parts_for(uint64_t count, uint64_t most)
{
	uint64_t	wanted = (count * 2 * 20 + most * 19 - 1) / (most * 19);

	return wanted < 3 ? 3 : wanted > PARTS_MOST ? PARTS_MOST + 1 : (uint32_t) wanted;
}

/* The most members of a part, and how many parts; false when they are too many. */
static bool
plan_parts(const builder_job *job, const builder_input *input, uint32_t *most, uint32_t *count)
{
	*most = fitting(job, input);
	*count = *most > 0 ? parts_for(job->count, *most) : PARTS_MOST + 1;
	return *count <= PARTS_MOST;
}

bool
builder_parts_possible(const builder_job *job, const builder_input *input)
{
	uint32_t	most;
	uint32_t	count;

	return plan_parts(job, input, &most, &count);
}

static void
plan(Parts *parts)
{
	const builder_job *job = parts->job;
	builder_error error = {.code = BUILDER_OUT_OF_MEMORY};
	uint64_t	needed;

	if (plan_parts(job, parts->input, &parts->most, &parts->count))
		return;
	needed = memory_of_part(job, parts->input, (uint64_t) job->count * 2 / (PARTS_MOST / 2) +
							PART_LEAST) + memory_beside(job);
	snprintf(error.message, sizeof(error.message),
			 "the graph cannot be built within %llu bytes of memory",
			 (unsigned long long) job->memory_limit);
	snprintf(error.detail, sizeof(error.detail),
			 "%u vectors need about %llu bytes, and best %llu, with %u threads.", job->count,
			 (unsigned long long) needed,
			 (unsigned long long) builder_memory_for(job, parts->input, job->count), job->threads);
	snprintf(error.hint, sizeof(error.hint), "Raise maintenance_work_mem.");
	builder_fail(&error);
}

/* ---- dividing ---- */

static void
divide(Parts *parts)
{
	uint32_t	n = parts->n;
	uint16_t   *first = builder_alloc(sizeof(uint16_t) * (uint64_t) n);
	uint16_t   *second = builder_alloc(sizeof(uint16_t) * (uint64_t) n);
	uint32_t   *next = builder_alloc(sizeof(uint32_t) * (uint64_t) parts->count);

	builder_divide(parts->job, parts->input, parts->count, parts->most, first, second);
	parts->starts = builder_alloc(sizeof(uint32_t) * ((uint64_t) parts->count + 1));
	parts->vectors = builder_alloc(sizeof(uint32_t) * (uint64_t) n);
	parts->second = builder_alloc(sizeof(uint16_t) * (uint64_t) n);
	for (uint32_t i = 0; i < n; i++)
		parts->starts[first[i] + 1]++;
	for (uint32_t p = 0; p < parts->count; p++)
	{
		parts->starts[p + 1] += parts->starts[p];
		next[p] = parts->starts[p];
	}
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t	at = next[first[i]]++;

		parts->vectors[at] = i;
		parts->second[at] = second[i];
	}
	builder_release(first);
	builder_release(second);
	builder_release(next);
}

/* ---- graphs of parts ---- */

typedef struct Part
{
	Parts	   *parts;
	uint32_t	number;
	knn_graph	graph;
	uint32_t	n;
	uint32_t   *members;		/* spool ids */
	uint32_t   *vectors;		/* of the members */
} Part;

static int
compare_longs(const void *a, const void *b)
{
	uint64_t	x = *(const uint64_t *) a;
	uint64_t	y = *(const uint64_t *) b;

	return x < y ? -1 : x > y;
}

/*
 * Members ascending by vector: the file is read forward, and they are added in the
 * order of the table.
 */
static void
list_members(Part *part)
{
	Parts	   *parts = part->parts;
	uint32_t	start = parts->starts[part->number];
	uint32_t	end = parts->starts[part->number + 1];
	uint32_t	n = end - start;
	uint64_t   *pairs;

	for (uint32_t s = 0; s < parts->n; s++)
		n += parts->second[s] == part->number;
	part->n = n;
	pairs = builder_alloc(sizeof(uint64_t) * (uint64_t) n);
	n = 0;
	for (uint32_t s = 0; s < parts->n; s++)
	{
		if ((s >= start && s < end) || parts->second[s] == part->number)
			pairs[n++] = (uint64_t) parts->vectors[s] << 32 | s;
	}
	qsort(pairs, n, sizeof(uint64_t), compare_longs);
	part->members = builder_alloc(sizeof(uint32_t) * (uint64_t) n);
	part->vectors = builder_alloc(sizeof(uint32_t) * (uint64_t) n);
	for (uint32_t i = 0; i < n; i++)
	{
		part->members[i] = (uint32_t) pairs[i];
		part->vectors[i] = (uint32_t) (pairs[i] >> 32);
	}
	builder_release(pairs);
}

/* Lists with spool ids, and codes, to the files. */
static void
spool_member(void *context, uint32_t thread, uint64_t item)
{
	Part	   *part = context;
	Parts	   *parts = part->parts;
	uint32_t	i = (uint32_t) item;
	uint32_t	id = part->members[i];
	bool		first = id >= parts->starts[part->number] && id < parts->starts[part->number + 1];
	const uint32_t *from = knn_graph_links(&part->graph, i);
	uint32_t   *to = (first ? parts->first_lists : parts->second_lists) + parts->row * id;

	(void) thread;
	to[0] = from[0];
	for (uint32_t l = 1; l <= from[0]; l++)
		to[l] = part->members[from[l]];
	if (first)
	{
		memcpy(parts->codes + part->graph.code_stride * id, knn_graph_code(&part->graph, i),
			   part->graph.code_stride);
		parts->factors[id] = part->graph.factors[i];
	}
}

static void
build_part(Parts *parts, uint32_t number)
{
	Part		part = {.parts = parts, .number = number};
	builder_addition addition = {.job = parts->job, .input = parts->input, .graph = &part.graph,
		.base = parts->added, .total = parts->to_add};
	builder_work spool = {.threads = parts->job->threads, .chunk = MERGED_AT_ONCE,
		.item = spool_member, .context = &part};

	list_members(&part);
	if (part.n > 0)
	{
		builder_graph_shape(&part.graph, parts->job, parts->input);
		part.graph.seed += number + 1;
		addition.n = part.n;
		addition.vectors = part.vectors;
		builder_add(&addition);
		parts->added += part.n;
		spool.items = part.n;
		builder_do(&spool);
		knn_graph_free(&part.graph);
	}
	builder_release(part.members);
	builder_release(part.vectors);
}

static void
build_upper(Parts *parts)
{
	builder_upper upper = {.job = parts->job, .input = parts->input, .graph = &parts->graph,
		.vectors = parts->vectors, .beside = (uint64_t) parts->n * UPPER_BESIDE,
		.phase = "graph", .base = parts->added, .total = parts->to_add};

	builder_build_upper(&upper);
}

/* ---- merging ---- */

typedef struct Merging
{
	Parts	   *parts;
	knn_merger *mergers;
} Merging;

/*
 * Links that a list keeps at least when it is pruned.  Lists of parts miss neighbours
 * in other parts, the more the more dimensions there are: with m / 2, as in a build,
 * recall at ef 80 fell by 0.016 (768 dimensions, 9 parts), with this by 0.001.
 */
static uint32_t
merge_fill(uint32_t m)
{
	return m + m / 2;
}

static void
merge_node(void *context, uint32_t thread, uint64_t item)
{
	Merging    *merging = context;
	Parts	   *parts = merging->parts;
	uint32_t   *row = parts->first_lists + parts->row * item;
	const uint32_t *lists[2] = {row, parts->second_lists + parts->row * item};

	knn_merge_lists(&merging->mergers[thread], (uint32_t) item, lists, 2,
					2 * parts->job->m, merge_fill(parts->job->m), row);
}

static void
merge(Parts *parts)
{
	uint32_t	threads = parts->job->threads;
	Merging		merging = {parts, builder_alloc(sizeof(knn_merger) * (uint64_t) threads)};
	builder_work work = {.phase = "merge", .total = parts->n, .threads = threads,
		.items = parts->n, .chunk = MERGED_AT_ONCE, .item = merge_node, .context = &merging};

	for (uint32_t i = 0; i < threads; i++)
	{
		if (knn_merger_init(&merging.mergers[i], &parts->graph, 4 * parts->job->m) != KNN_OK)
			builder_fail_memory();
	}
	builder_do(&work);
	for (uint32_t i = 0; i < threads; i++)
		knn_merger_free(&merging.mergers[i]);
	builder_release(merging.mergers);
}

uint32_t
builder_build_in_parts(const builder_job *job, const builder_input *input)
{
	Parts		parts = {.job = job, .input = input, .n = job->count};
	uint64_t	n = job->count;
	uint64_t	lists;
	uint64_t	stride;

	plan(&parts);
	divide(&parts);
	parts.to_add = 2 * n + n / job->m;
	parts.row = 1 + 2 * (uint64_t) job->m;
	lists = sizeof(uint32_t) * parts.row * n;
	stride = knn_graph_code_stride(input->encoder.encoding, job->dimension);
	parts.first_lists = builder_spool(job->result, lists);
	parts.second_lists = builder_spool(job->result, lists);
	parts.codes = builder_spool(job->result, stride * n);
	parts.factors = builder_spool(job->result, sizeof(knn_code_factors) * n);

	for (uint32_t p = 0; p < parts.count; p++)
		build_part(&parts, p);
	builder_graph_shape(&parts.graph, job, input);
	parts.graph.n = parts.graph.capacity = parts.n;
	build_upper(&parts);
	parts.graph.code_stride = stride;
	parts.graph.codes = parts.codes;
	parts.graph.factors = parts.factors;
	parts.graph.links = parts.first_lists;
	merge(&parts);
	builder_spool_end(parts.second_lists, lists);
	if (knn_graph_connect(&parts.graph) != KNN_OK)
		builder_fail_memory();
	builder_spool_end(parts.codes, stride * n);
	builder_spool_end(parts.factors, sizeof(knn_code_factors) * n);
	builder_release(parts.second);

	builder_write(job, input, &parts.graph, parts.vectors);
	builder_spool_end(parts.first_lists, lists);
	builder_release(parts.starts);
	builder_release(parts.vectors);
	builder_release(parts.graph.levels);
	builder_release(parts.graph.upper_first);
	builder_release(parts.graph.upper);
	return parts.count;
}
