/*
 * flat_graph.c
 *		Reading a graph in columns of plain memory; see flat_graph.h.
 */
#include "core/flat_graph.h"

#define CACHE_LINE 64

/* Expansions between calls of check: some 100 us. */
#define CHECK_EVERY 256

/* Bytes of a code that are requested ahead; the hardware goes on by itself. */
#define PREFETCH_BYTES 1024

/*
 * Division by an invariant with one multiplication (Robison, "N-bit unsigned
 * division via N-bit multiply-add", 2005): with 2^s <= d < 2^(s+1), the reciprocal
 * 2^(32+s) / d rounded up is near enough, or else the one rounded down is when one
 * is added to the dividend.
 */
void
knn_flat_column_init(knn_flat_column *column, const char *const *units,
					 uint32_t stride, uint32_t per_unit)
{
	uint32_t	s = 0;
	uint64_t	rest;

	while (per_unit >> s > 1)
		s++;
	column->units = units;
	column->stride = stride;
	column->per_unit = per_unit;
	column->shift = 32 + s;
	column->multiplier = (UINT64_C(1) << column->shift) / per_unit;
	column->addend = 0;
	rest = (UINT64_C(1) << column->shift) % per_unit;
	if (rest == 0)
		return;
	if (per_unit - rest < UINT64_C(1) << s)
		column->multiplier++;
	else
		column->addend = column->multiplier;
}

static inline uint32_t
load_word(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void
report(knn_flat_reader *reader, uint32_t id, uint32_t level)
{
	if (reader->damaged)
		return;
	reader->damaged = true;
	reader->damaged_node = id;
	reader->damaged_level = level;
}

static inline bool
below(knn_flat_graph *graph, uint32_t id, const uint32_t *limit)
{
	if (id < *limit)
		return true;
	if (graph->grow)
		graph->grow(graph->owner, graph);
	return id < *limit;
}

/* Copy links to ids; those beyond the limit are left out when there are any. */
static inline uint32_t
copy_links(const uint32_t *words, uint32_t room, uint32_t limit, uint32_t *out, bool *beyond)
{
	uint32_t	most = 0;
	uint32_t	n = 0;
	uint32_t	valid = 0;

	for (; n < room; n++)
	{
		uint32_t	word = load_word(&words[n]);

		if (word == 0)
			break;
		out[n] = word - 1;
		most = word > most ? word : most;
	}
	*beyond = most > limit;
	if (most <= limit)
		return n;
	for (uint32_t i = 0; i < n; i++)
	{
		if (out[i] < limit)
			out[valid++] = out[i];
	}
	return valid;
}

static uint32_t
flat_neighbours(void *state, uint32_t id, uint32_t level, uint32_t *out, bool *dead)
{
	knn_flat_reader *reader = state;
	knn_flat_graph *graph = reader->graph;
	const uint32_t *words;
	uint32_t	room = graph->m;
	uint32_t	n;
	bool		beyond;

	if (graph->check && reader->until_check-- == 0)
	{
		reader->until_check = CHECK_EVERY;
		graph->check();
	}
	if (level == 0)
	{
		const knn_flat_head *head = (const knn_flat_head *) knn_flat_item(&graph->head, id);

		*dead = (load_word(&head->flags) & KNN_FLAT_DEAD) != 0;
		words = (const uint32_t *) knn_flat_item(&graph->links, id);
		room *= 2;
	}
	else
	{
		uint32_t	item;

		if (!graph->upper_item(graph->owner, id, level, &item) ||
			!below(graph, item, &graph->nupper))
		{
			report(reader, id, level);
			return 0;
		}
		words = (const uint32_t *) knn_flat_item(&graph->upper, item);
	}
	n = copy_links(words, room, graph->nnodes, out, &beyond);
	if (beyond)
	{
		/* added since the limits were set, it may be; the columns may move then */
		if (graph->grow)
		{
			graph->grow(graph->owner, graph);
			n = copy_links(words, room, graph->nnodes, out, &beyond);
		}
		if (beyond)
			report(reader, id, level);
	}
	return n;
}

/* Places of n nodes: their codes, then their factors. */
static inline void
find(const knn_flat_graph *graph, const uint32_t *ids, uint32_t n, const void **places,
	 uint32_t prefetch_bytes)
{
	for (uint32_t i = 0; i < n; i++)
	{
		const char *code = knn_flat_item(&graph->code, ids[i]);
		const char *head = knn_flat_item(&graph->head, ids[i]);

		for (uint32_t at = 0; at < prefetch_bytes; at += CACHE_LINE)
			__builtin_prefetch(code + at);
		__builtin_prefetch(head);
		places[i] = code;
		places[n + i] = head;
	}
}

static void
flat_fetch(void *state, const uint32_t *ids, uint32_t n, const void **places)
{
	const knn_flat_graph *graph = ((knn_flat_reader *) state)->graph;

	/* the usual lengths by themselves: as many prefetches and no loop */
	if (graph->code.stride == 2 * CACHE_LINE)
		find(graph, ids, n, places, 2 * CACHE_LINE);
	else
		find(graph, ids, n, places, graph->code.stride < PREFETCH_BYTES ?
			 graph->code.stride : PREFETCH_BYTES);
}

static void
flat_score_fetched(void *state, const void *const *places, uint32_t n, float *distance)
{
	knn_query_scores(((knn_flat_reader *) state)->query,
					 (const knn_code_factors *const *) (places + n),
					 (const uint8_t *const *) places, n, distance);
}

static void
flat_score(void *state, const uint32_t *ids, uint32_t n, float *distance, float *error)
{
	knn_flat_reader *reader = state;

	for (uint32_t i = 0; i < n; i++)
	{
		const knn_code_factors *factors = (const knn_code_factors *)
			knn_flat_item(&reader->graph->head, ids[i]);

		distance[i] = knn_query_score(reader->query, factors, (const uint8_t *)
									  knn_flat_item(&reader->graph->code, ids[i]));
		error[i] = knn_query_error(reader->query, factors, distance[i]);
	}
}

static float
flat_bound(void *state, uint32_t id, float distance)
{
	knn_flat_reader *reader = state;

	return knn_query_error(reader->query, (const knn_code_factors *)
						   knn_flat_item(&reader->graph->head, id), distance);
}

static void
flat_prefetch(void *state, uint32_t id)
{
	knn_flat_reader *reader = state;
	const knn_flat_column *links = &reader->graph->links;
	const char *item = knn_flat_item(links, id);

	for (uint32_t at = 0; at < links->stride; at += CACHE_LINE)
		__builtin_prefetch(item + at);
}

void
knn_flat_reader_init(knn_flat_reader *reader, knn_flat_graph *graph, knn_search *search)
{
	*reader = (knn_flat_reader) {.graph = graph};
	search->reader = (knn_reader) {
		.state = reader, .neighbours = flat_neighbours, .score = flat_score,
		.fetch = flat_fetch, .score_fetched = flat_score_fetched,
		.bound = flat_bound, .prefetch = flat_prefetch
	};
	search->max_degree = 2 * graph->m;
}
