/*
 * test_graph.c
 *		Building and searching a graph in memory: recall, searches that are widened,
 *		dead nodes, numbering, memory; and the set of fingerprints.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/fingerprint.h"
#include "core/graph_build.h"
#include "core/graph_order.h"
#include "core/rotation.h"
#include "unit.h"

#define DIM 32
#define N 3000
#define NQUERIES 40
#define K 10

/* ---- an allocator that counts, and fails when told to ---- */

typedef struct Counter
{
	size_t		bytes;
	long		live;
	long		until_failure;	/* allocations that still succeed; -1: all */
} Counter;

static void *
counter_alloc(void *context, size_t size)
{
	Counter    *c = context;

	if (c->until_failure == 0)
		return NULL;
	if (c->until_failure > 0)
		c->until_failure--;
	c->bytes += size;
	c->live++;
	return malloc(size > 0 ? size : 1);
}

static void
counter_release(void *context, void *pointer)
{
	Counter    *c = context;

	if (pointer == NULL)
		return;
	c->live--;
	free(pointer);
}

/* ---- data ---- */

static float *
clustered(uint32_t n, uint64_t seed)
{
	float	   *v = unit_allocate(sizeof(float) * DIM * n);
	uint64_t	state = seed;

	for (uint32_t i = 0; i < n; i++)
	{
		uint64_t	centre = 1 + unit_random(&state) % 30;

		for (uint32_t j = 0; j < DIM; j++)
			v[i * DIM + j] = (float) (2 * unit_random_float(&centre) +
									  unit_random_float(&state) + unit_random_float(&state));
	}
	return v;
}

static uint8_t signs[KNN_ROTATION_SIGN_BYTES(DIM)];

static int
build(knn_graph *graph, Counter *counter, const float *vectors, uint32_t n, uint32_t m,
	  uint32_t ef, knn_encoding encoding)
{
	memset(graph, 0, sizeof(*graph));
	graph->m = m;
	graph->ef_construction = ef;
	graph->seed = 11;
	knn_rotation_init(signs, DIM, 3);
	graph->encoder = (knn_encoder) {DIM, KNN_SPACE_L2, encoding, signs, NULL, knn_kernels_get(), NULL, NULL};
	graph->allocator = counter ? (knn_allocator) {counter_alloc, counter_release, counter} : knn_malloc_allocator;
	if (knn_graph_init(graph, n) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	for (uint32_t i = 0; i < n; i++)
	{
		if (knn_graph_add(graph, vectors + i * DIM) != KNN_OK)
			return KNN_ERROR_NO_MEMORY;
	}
	return KNN_OK;
}

/* ---- a reader with exact distances and tombstones ---- */

typedef struct Reader
{
	const knn_graph *graph;
	const float *vectors;
	const float *query;
	const uint8_t *dead;
} Reader;

static uint32_t
reader_neighbours(void *state, uint32_t id, uint32_t level, uint32_t *out, bool *dead)
{
	Reader	   *r = state;
	const uint32_t *row = level == 0 ? knn_graph_links(r->graph, id) : knn_graph_upper(r->graph, id, level);

	memcpy(out, row + 1, sizeof(uint32_t) * row[0]);
	*dead = r->dead && r->dead[id];
	return row[0];
}

static void
reader_score(void *state, const uint32_t *ids, uint32_t n, float *distance, float *error)
{
	Reader	   *r = state;

	for (uint32_t i = 0; i < n; i++)
	{
		distance[i] = knn_exact_distance(knn_kernels_get(), KNN_SPACE_L2, r->query,
										 r->vectors + ids[i] * DIM, DIM);
		error[i] = 0;
	}
}

/* the same, but some distances are no numbers, and many are equal */
static void
reader_score_odd(void *state, const uint32_t *ids, uint32_t n, float *distance, float *error)
{
	reader_score(state, ids, n, distance, error);
	for (uint32_t i = 0; i < n; i++)
		distance[i] = ids[i] % 5 == 0 ? NAN : ids[i] % 11 == 0 ? INFINITY : floorf(distance[i]);
}

static void
search_new(knn_search *s, Reader *reader, bool resumable, uint16_t *tags, uint16_t tag)
{
	memset(s, 0, sizeof(*s));
	s->allocator = knn_malloc_allocator;
	s->reader = (knn_reader) {.state = reader, .neighbours = reader_neighbours, .score = reader_score};
	s->max_degree = 2 * reader->graph->m;
	s->resumable = resumable;
	s->tags = tags;
	s->tag = tag;
	if (knn_search_init(s) != KNN_OK)
		abort();
}

static void
search_from_top(knn_search *s, const knn_graph *graph, uint32_t width)
{
	uint32_t	entry = graph->entry;

	if (graph->entry_level > 0)
		entry = knn_search_descend(s, entry, graph->entry_level, 1);
	if (knn_search_level(s, &entry, 1, 0, width) != KNN_OK)
		abort();
}

/* Distance of the k-th nearest live vector. */
static float
kth_distance(const float *vectors, uint32_t n, const float *query, const uint8_t *dead)
{
	float		nearest[K];
	int			found = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		float		d;
		int			at;

		if (dead && dead[i])
			continue;
		d = knn_exact_distance(knn_kernels_get(), KNN_SPACE_L2, query, vectors + i * DIM, DIM);
		if (found == K && d >= nearest[K - 1])
			continue;
		at = found < K ? found++ : K - 1;
		for (; at > 0 && nearest[at - 1] > d; at--)
			nearest[at] = nearest[at - 1];
		nearest[at] = d;
	}
	return nearest[found - 1];
}

static uint32_t
hits(const knn_search *s, float kth)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < s->nbeam; i++)
		n += !(s->beam[i].flags & KNN_CANDIDATE_DEAD) && s->beam[i].distance <= kth;
	return n;
}

/* ---- tests ---- */

static void
check_structure(const knn_graph *graph)
{
	uint32_t   *seen = unit_allocate(sizeof(uint32_t) * graph->n);
	long		wrong = 0;
	uint64_t	links = 0;

	memset(seen, 0xFF, sizeof(uint32_t) * graph->n);
	for (uint32_t id = 0; id < graph->n; id++)
	{
		for (uint32_t level = 0; level <= graph->levels[id]; level++)
		{
			const uint32_t *row = level == 0 ? knn_graph_links(graph, id) : knn_graph_upper(graph, id, level);
			uint32_t	mark = id * 32 + level;

			wrong += row[0] > (level == 0 ? 2 * graph->m : graph->m);
			links += row[0];
			for (uint32_t i = 1; i <= row[0]; i++)
			{
				wrong += row[i] >= graph->n || row[i] == id;
				if (row[i] >= graph->n)
					continue;
				wrong += graph->levels[row[i]] < level;
				wrong += seen[row[i]] == mark;
				seen[row[i]] = mark;
			}
		}
	}
	UNIT_CHECK(wrong == 0, "%ld links are wrong", wrong);
	UNIT_CHECK(graph->n < 100 || links > (uint64_t) graph->n * graph->m / 2, "%llu links of %u nodes",
			   (unsigned long long) links, graph->n);
	UNIT_CHECK(graph->levels[graph->entry] == graph->entry_level, "the entry point is on another level");
	free(seen);
}

static void
test_recall(const float *vectors, const float *queries)
{
	static const knn_encoding encodings[] = {KNN_ENCODING_ROTATED_8, KNN_ENCODING_ROTATED_4, KNN_ENCODING_ROTATED_1};
	/* low bits are not what graphs are built on, but must do something */
	static const double floors[] = {0.98, 0.97, 0.80};

	for (int e = 0; e < 3; e++)
	{
		knn_graph	graph;
		Reader		reader = {&graph, vectors, NULL, NULL};
		uint32_t	found = 0;
		uint16_t   *tags = unit_allocate(sizeof(uint16_t) * N);

		unit_case("graph: recall, codes of %u bits", knn_encoding_bits(encodings[e]));
		if (build(&graph, NULL, vectors, N, 16, 100, encodings[e]) != KNN_OK)
			abort();
		check_structure(&graph);
		memset(tags, 0, sizeof(uint16_t) * N);
		for (uint32_t q = 0; q < NQUERIES; q++)
		{
			knn_search	s;
			knn_search	tagged;

			reader.query = queries + q * DIM;
			search_new(&s, &reader, false, NULL, 0);
			search_from_top(&s, &graph, 60);
			found += hits(&s, kth_distance(vectors, N, reader.query, NULL));
			for (uint32_t i = 1; i < s.nbeam; i++)
				UNIT_CHECK(s.beam[i - 1].distance <= s.beam[i].distance, "the beam is not sorted");
			UNIT_CHECK(s.nbeam == 60, "%u in a beam of 60", s.nbeam);
			/* tags and hash set are the same */
			search_new(&tagged, &reader, false, tags, (uint16_t) (q + 1));
			search_from_top(&tagged, &graph, 60);
			UNIT_CHECK(tagged.nbeam == s.nbeam && tagged.nscored == s.nscored &&
					   memcmp(tagged.beam, s.beam, sizeof(knn_candidate) * s.nbeam) == 0,
					   "tags give another beam than a hash set");
			knn_search_free(&s);
			knn_search_free(&tagged);
		}
		UNIT_CHECK(found >= floors[e] * NQUERIES * K, "recall %.3f", (double) found / (NQUERIES * K));
		knn_graph_free(&graph);
		free(tags);
	}
}

/* Widened in steps, a search finds what it finds when it is wide from the start. */
static void
test_widen(const knn_graph *graph, const float *vectors, const float *queries)
{
	Reader		reader = {graph, vectors, NULL, NULL};
	uint8_t    *seen = unit_allocate(N);
	knn_search	s;
	uint32_t	reached;

	unit_case("graph: a widened search");
	for (uint32_t q = 0; q < NQUERIES; q++)
	{
		knn_search	wide;
		long		worse = 0;

		reader.query = queries + q * DIM;
		search_new(&s, &reader, true, NULL, 0);
		search_from_top(&s, graph, 5);
		for (uint32_t width = 10; width <= 160; width *= 2)
		{
			uint64_t	scored = s.nscored;

			UNIT_CHECK(knn_search_widen(&s, width) == KNN_OK, "widen");
			UNIT_CHECK(s.nscored >= scored && s.nbeam == width, "%u in a beam of %u", s.nbeam, width);
		}
		search_new(&wide, &reader, true, NULL, 0);
		search_from_top(&wide, graph, 160);
		for (uint32_t i = 0; i < 160; i++)
			worse += s.beam[i].distance > wide.beam[i].distance;
		UNIT_CHECK(worse == 0, "query %u: %ld places of the widened beam are worse", q, worse);
		/* not wider: nothing happens */
		UNIT_CHECK(knn_search_widen(&s, 100) == KNN_OK && s.nbeam == 160, "a narrower beam");
		knn_search_free(&wide);
		knn_search_free(&s);
	}

	unit_case("graph: a search of everything");
	reader.query = queries;
	search_new(&s, &reader, true, NULL, 0);
	search_from_top(&s, graph, 1);
	UNIT_CHECK(!knn_search_exhausted(&s), "a beam of one has seen everything");
	for (uint32_t width = 2; width < 4 * N; width *= 2)
		UNIT_CHECK(knn_search_widen(&s, width) == KNN_OK, "widen");
	UNIT_CHECK(knn_search_exhausted(&s), "not exhausted");
	memset(seen, 0, N);
	reached = 0;
	for (uint32_t i = 0; i < s.nbeam; i++)
	{
		reached += !seen[s.beam[i].id];
		UNIT_CHECK(!seen[s.beam[i].id], "node %u twice", s.beam[i].id);
		seen[s.beam[i].id] = 1;
	}
	UNIT_CHECK(reached >= N - 2, "%u of %u nodes", reached, N);
	knn_search_free(&s);
	free(seen);
}

static void
test_dead(const knn_graph *graph, const float *vectors, const float *queries)
{
	uint8_t    *dead = unit_allocate(N);
	Reader		reader = {graph, vectors, NULL, dead};
	uint64_t	state = 99;
	knn_search	s;

	for (int share = 3; share <= 9; share += 3)
	{
		uint32_t	found = 0;

		unit_case("graph: %d0 %% dead nodes", share);
		for (uint32_t i = 0; i < N; i++)
			dead[i] = unit_random(&state) % 10 < (uint64_t) share;
		for (uint32_t q = 0; q < NQUERIES; q++)
		{
			uint32_t	live = 0;

			reader.query = queries + q * DIM;
			search_new(&s, &reader, true, NULL, 0);
			search_from_top(&s, graph, 50);
			for (uint32_t i = 0; i < s.nbeam; i++)
			{
				bool		flagged = (s.beam[i].flags & KNN_CANDIDATE_DEAD) != 0;

				UNIT_CHECK(!(s.beam[i].flags & KNN_CANDIDATE_EXPANDED) || flagged == (dead[s.beam[i].id] != 0),
						   "node %u has the wrong flag", s.beam[i].id);
				live += !flagged;
			}
			UNIT_CHECK(live >= 50, "%u live nodes in a beam for 50", live);
			found += hits(&s, kth_distance(vectors, N, reader.query, dead));
			/* and wider */
			UNIT_CHECK(knn_search_widen(&s, 100) == KNN_OK, "widen");
			live = 0;
			for (uint32_t i = 0; i < s.nbeam; i++)
				live += (s.beam[i].flags & KNN_CANDIDATE_DEAD) == 0;
			UNIT_CHECK(live >= 100, "%u live nodes in a beam for 100", live);
			knn_search_free(&s);
		}
		UNIT_CHECK(found >= 0.97 * NQUERIES * K, "recall %.3f", (double) found / (NQUERIES * K));
	}

	unit_case("graph: all nodes dead but one");
	memset(dead, 1, N);
	dead[1234] = 0;
	for (uint32_t q = 0; q < 5; q++)
	{
		uint32_t	live = 0;

		reader.query = queries + q * DIM;
		search_new(&s, &reader, true, NULL, 0);
		search_from_top(&s, graph, 1);
		for (uint32_t i = 0; i < s.nbeam; i++)
		{
			if (s.beam[i].flags & KNN_CANDIDATE_DEAD)
				continue;
			live++;
			UNIT_CHECK(s.beam[i].id == 1234, "node %u is live", s.beam[i].id);
		}
		UNIT_CHECK(live == 1, "%u live nodes found", live);
		knn_search_free(&s);
	}
	free(dead);
}

static void
test_order(const knn_graph *graph)
{
	static const uint32_t pages[] = {1, 2, 7, 60, N - 1, N, 2 * N};
	uint32_t   *old_of_new = unit_allocate(sizeof(uint32_t) * N);
	uint32_t   *new_of_old = unit_allocate(sizeof(uint32_t) * N);

	for (size_t p = 0; p < sizeof(pages) / sizeof(pages[0]); p++)
	{
		uint32_t	page = pages[p];
		long		wrong = 0;
		long		together = 0;
		long		before = 0;

		unit_case("order: pages of %u", page);
		UNIT_CHECK(knn_graph_order(graph, page, old_of_new, new_of_old) == KNN_OK, "order");
		for (uint32_t i = 0; i < N; i++)
			wrong += old_of_new[i] >= N || new_of_old[i] >= N || new_of_old[old_of_new[i]] != i;
		UNIT_CHECK(wrong == 0, "%ld numbers are wrong", wrong);
		for (uint32_t i = 0; i < N && wrong == 0; i++)
		{
			const uint32_t *row = knn_graph_links(graph, i);

			for (uint32_t l = 1; l <= row[0]; l++)
			{
				together += new_of_old[i] / page == new_of_old[row[l]] / page;
				before += i / page == row[l] / page;
			}
		}
		if (page > 1 && page < 100)
			UNIT_CHECK(together > 3 * before, "%ld links within pages, %ld before", together, before);
	}
	free(old_of_new);
	free(new_of_old);
}

static void
test_small(const float *vectors)
{
	for (uint32_t n = 0; n <= 20; n += n < 4 ? 1 : 8)
	{
		knn_graph	graph;

		unit_case("graph: %u nodes", n);
		if (build(&graph, NULL, vectors, n, 2, 4, KNN_ENCODING_ROTATED_8) != KNN_OK)
			abort();
		UNIT_CHECK((graph.entry == KNN_INVALID_ID) == (n == 0), "entry point %u", graph.entry);
		if (n > 0)
		{
			Reader		reader = {&graph, vectors, vectors, NULL};
			uint32_t	old_of_new[20];
			uint32_t	new_of_old[20];
			knn_search	s;

			check_structure(&graph);
			search_new(&s, &reader, true, NULL, 0);
			search_from_top(&s, &graph, 1);
			UNIT_CHECK(s.nbeam == 1 && s.beam[0].distance == 0, "a vector does not find itself");
			UNIT_CHECK(knn_search_widen(&s, 100) == KNN_OK, "widen");
			/* with lists so short a node may lose its last link */
			UNIT_CHECK(s.nbeam >= n - n / 10, "%u of %u nodes", s.nbeam, n);
			UNIT_CHECK(knn_graph_order(&graph, 3, old_of_new, new_of_old) == KNN_OK, "order");
			knn_search_free(&s);
		}
		knn_graph_free(&graph);
	}

	/* equal vectors are distinguished by nothing but their ids */
	unit_case("graph: equal vectors");
	{
		float	   *same = unit_allocate(sizeof(float) * DIM * 300);
		knn_graph	graph;

		for (uint32_t i = 0; i < 300; i++)
			memcpy(same + i * DIM, vectors, sizeof(float) * DIM);
		if (build(&graph, NULL, same, 300, 4, 20, KNN_ENCODING_ROTATED_8) != KNN_OK)
			abort();
		check_structure(&graph);
		knn_graph_free(&graph);
		free(same);
	}
}

static void
test_memory(const float *vectors)
{
	static const knn_encoding encodings[] = {KNN_ENCODING_ROTATED_8, KNN_ENCODING_ROTATED_1};
	long		needed = 0;
	knn_graph	graph;

	unit_case("graph: memory is no more than told");
	for (int e = 0; e < 2; e++)
	{
		for (uint32_t n = 100; n <= 1600; n *= 4)
		{
			Counter		counter = {0, 0, -1};
			uint64_t	told = knn_graph_memory(n, encodings[e], DIM, 8);

			/* scratch of searches is not counted */
			if (build(&graph, &counter, vectors, n, 8, 10, encodings[e]) != KNN_OK)
				abort();
			UNIT_CHECK(counter.bytes <= told + told / 10 + 64 * 1024, "%zu bytes, %llu told", counter.bytes,
					   (unsigned long long) told);
			knn_graph_free(&graph);
			UNIT_CHECK(counter.live == 0, "%ld allocations left", counter.live);
		}
	}
	UNIT_CHECK(knn_graph_memory(UINT32_MAX, KNN_ENCODING_ROTATED_8, 16000, 100) > (uint64_t) UINT32_MAX * 16000,
			   "the largest graph overflows");

	unit_case("graph: no memory");
	for (long fail = 0; fail < 200; fail++)
	{
		Counter		counter = {0, 0, fail};
		int			result = build(&graph, &counter, vectors, 200, 2, 10, KNN_ENCODING_ROTATED_8);

		knn_graph_free(&graph);
		UNIT_CHECK(counter.live == 0, "failure %ld: %ld allocations left", fail, counter.live);
		if (result == KNN_OK)
		{
			needed = fail;
			break;
		}
	}
	UNIT_CHECK(needed > 10, "a graph needs %ld allocations", needed);
}

static void
test_fingerprints(void)
{
	Counter		counter = {0, 0, -1};
	knn_allocator allocator = {counter_alloc, counter_release, &counter};
	knn_fingerprint_set set;
	uint32_t	position;
	uint32_t	wrong = 0;
	uint32_t	value[5];
	knn_fingerprint a;
	knn_fingerprint b;

	unit_case("fingerprints: positions of first insertions");
	UNIT_CHECK(knn_fingerprint_set_init(&set, &allocator, 42) == KNN_OK, "init");
	for (uint32_t i = 0; i < 20000; i++)
	{
		/* every third is new, the others are old ones */
		uint32_t	n = i % 3 == 0 ? i / 3 : (i * 7) % (i / 3 + 1);
		bool		new = i % 3 == 0;
		int			known;

		for (int j = 0; j < 5; j++)
			value[j] = n >> j;
		known = knn_fingerprint_set_add(&set, value, sizeof(value), &position);
		wrong += known != !new || position != n;
	}
	UNIT_CHECK(wrong == 0, "%u positions are wrong", wrong);
	UNIT_CHECK(set.n == 6667, "%u in the set", set.n);
	knn_fingerprint_set_free(&set);
	UNIT_CHECK(counter.live == 0, "%ld allocations left", counter.live);

	unit_case("fingerprints: depend on all bytes, the length and the seed");
	for (size_t size = 0; size < 70; size++)
	{
		uint8_t		bytes[70] = {0};

		a = knn_fingerprint_of(bytes, size, 1);
		b = knn_fingerprint_of(bytes, size, 2);
		UNIT_CHECK(size == 0 || a.a != b.a || a.b != b.b, "size %zu: same for another seed", size);
		b = knn_fingerprint_of(bytes, size + 1 < 70 ? size + 1 : size - 1, 1);
		UNIT_CHECK(a.a != b.a || a.b != b.b, "size %zu: same for another length", size);
		for (size_t i = 0; i < size; i++)
		{
			bytes[i] = 1;
			b = knn_fingerprint_of(bytes, size, 1);
			UNIT_CHECK(a.a != b.a && a.b != b.b, "size %zu: same for another byte %zu", size, i);
			bytes[i] = 0;
		}
	}

	unit_case("fingerprints: no memory");
	for (long fail = 0; fail < 40; fail++)
	{
		bool		failed = false;

		counter = (Counter) {0, 0, fail};
		failed = knn_fingerprint_set_init(&set, &allocator, 42) != KNN_OK;
		for (uint32_t i = 0; i < 5000 && !failed; i++)
			failed = knn_fingerprint_set_add(&set, &i, sizeof(i), &position) == KNN_ERROR_NO_MEMORY;
		knn_fingerprint_set_free(&set);
		UNIT_CHECK(counter.live == 0, "failure %ld: %ld allocations left", fail, counter.live);
		if (!failed)
			break;
	}
}

/* Distances without an order must not lead anywhere: every node is in one place. */
static void
test_odd_distances(const knn_graph *graph, const float *vectors, const float *queries)
{
	Reader		reader = {graph, vectors, NULL, NULL};
	uint8_t    *seen = unit_allocate(N);

	unit_case("graph: distances that are no numbers");
	for (uint32_t q = 0; q < NQUERIES; q++)
	{
		knn_search	s;
		uint32_t	wrong = 0;

		reader.query = queries + q * DIM;
		search_new(&s, &reader, true, NULL, 0);
		s.reader.score = reader_score_odd;
		search_from_top(&s, graph, 1 + q);
		for (uint32_t width = 2 + q; width < 300; width *= 2)
		{
			UNIT_CHECK(knn_search_widen(&s, width) == KNN_OK, "widen");
			memset(seen, 0, N);
			for (uint32_t i = 0; i < s.nbeam + s.nspill; i++)
			{
				uint32_t	id = i < s.nbeam ? s.beam[i].id : s.spill[i - s.nbeam].id;

				wrong += id >= N || seen[id] || !knn_search_seen(&s, id);
				if (id < N)
					seen[id] = 1;
			}
		}
		UNIT_CHECK(wrong == 0, "query %u: %u nodes are in no or in two places", q, wrong);
		UNIT_CHECK(s.nbeam + s.nspill == s.nvisited, "query %u: %u and %u of %u nodes",
				   q, s.nbeam, s.nspill, s.nvisited);
		knn_search_free(&s);
	}
	free(seen);
}

int
main(void)
{
	float	   *vectors = clustered(N, 5);
	float	   *queries = clustered(NQUERIES, 6);
	knn_graph	graph;

	test_recall(vectors, queries);
	if (build(&graph, NULL, vectors, N, 16, 100, KNN_ENCODING_ROTATED_8) != KNN_OK)
		abort();
	test_widen(&graph, vectors, queries);
	test_dead(&graph, vectors, queries);
	test_odd_distances(&graph, vectors, queries);
	test_order(&graph);
	knn_graph_free(&graph);
	test_small(vectors);
	test_memory(vectors);
	test_fingerprints();
	free(vectors);
	free(queries);
	return unit_done("test_graph");
}
