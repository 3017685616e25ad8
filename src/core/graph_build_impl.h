/*
 * graph_build_impl.h
 *		What the files that make graphs share; for no one else.
 *
 * Lists of links are read and changed by functions that take "shared" as a
 * constant: where it is false the compiler sees plain loads and stores.
 */
#ifndef KNN_CORE_GRAPH_BUILD_IMPL_H
#define KNN_CORE_GRAPH_BUILD_IMPL_H

#include <sched.h>
#include <string.h>

#include "core/graph_build.h"
#include "core/graph_prune.h"

#define CACHE_LINE 64

/* Codes that are requested, then scored, together. */
#define SCORED_AT_ONCE 32

extern int	knn_graph_scratch_init(knn_graph_scratch *scratch, knn_graph *graph);
extern void knn_graph_scratch_free(knn_graph_scratch *scratch);

/* Make room for more upper slots. */
extern int	knn_graph_reserve_upper(knn_graph *graph, uint32_t slots);

static inline uint32_t *
graph_row(const knn_graph *graph, uint32_t id, uint32_t level)
{
	return level == 0 ? knn_graph_links(graph, id) : knn_graph_upper(graph, id, level);
}

static inline bool
has_link(const uint32_t *row, uint32_t id)
{
	for (uint32_t i = 1; i <= row[0]; i++)
	{
		if (row[i] == id)
			return true;
	}
	return false;
}

static inline void
prefetch_code(const knn_graph *graph, uint32_t id)
{
	const uint8_t *code = knn_graph_code(graph, id);

	__builtin_prefetch(&graph->factors[id]);
	/* past the first lines the hardware's stream prefetcher keeps up */
	for (uint32_t at = 0; at < graph->code_stride && at < 6 * CACHE_LINE; at += CACHE_LINE)
		__builtin_prefetch(code + at);
}

static inline void
prefetch_links(const knn_graph *graph, uint32_t id)
{
	const char *row = (const char *) knn_graph_links(graph, id);

	__builtin_prefetch(row);
	__builtin_prefetch(row + CACHE_LINE);
}

static inline void
score_nodes(const knn_graph *graph, const knn_query *query,
			const uint32_t *ids, uint32_t n, float *distance)
{
	const knn_code_factors *factors[SCORED_AT_ONCE];
	const uint8_t *codes[SCORED_AT_ONCE];

	for (uint32_t start = 0; start < n; start += SCORED_AT_ONCE)
	{
		uint32_t	count = n - start < SCORED_AT_ONCE ? n - start : SCORED_AT_ONCE;

		for (uint32_t i = 0; i < count; i++)
		{
			uint32_t	id = ids[start + i];

			prefetch_code(graph, id);
			factors[i] = &graph->factors[id];
			codes[i] = knn_graph_code(graph, id);
		}
		knn_query_scores(query, factors, codes, count, distance + start);
	}
}

/*
 * knn_covered over the arrays.  One code after the other: mostly one of the first few
 * is nearer, and comparing four at a time took longer.
 */
static inline bool
covered(void *state, const knn_candidate *candidate,
		const knn_candidate *kept, uint32_t nkept)
{
	knn_graph_scratch *scratch = state;
	const knn_graph *graph = scratch->graph;

	if (nkept == 0)
		return false;
	knn_query_from_code(&scratch->pair_query, &graph->encoder,
						&graph->factors[candidate->id],
						knn_graph_code(graph, candidate->id),
						scratch->pair_q8, scratch->pair_qf);
	for (uint32_t i = 0; i < nkept; i++)
	{
		uint32_t	id = kept[i].id;

		if (knn_query_score(&scratch->pair_query, &graph->factors[id],
							knn_graph_code(graph, id)) < candidate->distance)
			return true;
	}
	return false;
}

/* Tries to lock a node before the processor is left to another thread. */
#define SPINS 200

/* Locks are bytes, 0 while nobody holds them. */
static inline void
lock_node(uint8_t *lock)
{
	for (uint32_t spins = 0; __atomic_test_and_set(lock, __ATOMIC_ACQUIRE); spins++)
	{
		if (spins >= SPINS)
			(void) sched_yield();
	}
}

static inline void
unlock_node(uint8_t *lock)
{
	__atomic_clear(lock, __ATOMIC_RELEASE);
}

/* A new epoch of the visited tags. */
static inline void
next_tag(knn_graph_scratch *scratch)
{
	if (++scratch->search.tag == 0)
	{
		memset(scratch->search.tags, 0, sizeof(uint16_t) * scratch->graph->capacity);
		scratch->search.tag = 1;
	}
}

/*
 * A word of a list that others may read meanwhile.  Whoever reads an id this way
 * sees the node's code and lists as they were when the id was stored.
 */
static inline void
set_word(uint32_t *word, uint32_t value, bool shared)
{
	if (shared)
		__atomic_store_n(word, value, __ATOMIC_RELEASE);
	else
		*word = value;
}

/*
 * Link from a neighbour back to the new node; false when pruning left it out,
 * which force prevents.  While there is room the link is
 * just added: pruning happens when a list is full, and leaves room for as many
 * again, so that its cost is shared by all the links added in between.
 */
static inline bool
link_back(knn_graph_scratch *scratch, uint32_t from, uint32_t to, float distance,
		  uint32_t *row, uint32_t room, bool force, bool shared)
{
	const knn_graph *graph = scratch->graph;
	knn_candidate *full = scratch->full;
	uint32_t	n = row[0];
	bool		linked = false;

	if (n < room)
	{
		set_word(&row[1 + n], to, shared);
		set_word(&row[0], n + 1, shared);
		return true;
	}

	knn_query_from_code(&scratch->pair_query, &graph->encoder,
						&graph->factors[from], knn_graph_code(graph, from),
						scratch->pair_q8, scratch->pair_qf);
	score_nodes(graph, &scratch->pair_query, row + 1, n, scratch->search.distances);
	for (uint32_t i = 0; i < n; i++)
		full[i] = (knn_candidate) {scratch->search.distances[i], 0, row[1 + i], 0};
	full[n] = (knn_candidate) {distance, 0, to, 0};
	n++;
	knn_sort_few(full, n);
	n = knn_choose_neighbours(full, n, room, room / 2, covered, scratch, scratch->spare);
	for (uint32_t i = 0; i < n; i++)
	{
		set_word(&row[1 + i], full[i].id, shared);
		linked |= full[i].id == to;
	}
	if (!linked && force)
	{
		set_word(&row[1 + (n < room ? n++ : room - 1)], to, shared);
		linked = true;
	}
	set_word(&row[0], n, shared);
	return linked;
}

#endif
