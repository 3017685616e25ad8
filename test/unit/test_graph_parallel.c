/*
 * test_graph_parallel.c
 *		Several threads building one graph: its structure, its recall against that of
 *		one thread, failures.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph_build_parallel.h"
#include "core/rotation.h"
#include "unit.h"

#define DIM 24
#define K 10
#define NQUERIES 100
#define MOST_THREADS 8

static uint32_t nodes = 6000;	/* fewer under a sanitizer, which is slow */
static uint8_t signs[KNN_ROTATION_SIGN_BYTES(DIM)];

static float *
clustered(uint32_t n, uint64_t seed)
{
	float	   *v = malloc(sizeof(float) * DIM * n);
	uint64_t	state = seed;

	if (v == NULL)
		abort();
	for (uint32_t i = 0; i < n; i++)
	{
		uint64_t	centre = 1 + unit_random(&state) % 30;

		for (uint32_t j = 0; j < DIM; j++)
			v[i * DIM + j] = (float) (2 * unit_random_float(&centre) +
									  unit_random_float(&state) + unit_random_float(&state));
	}
	return v;
}

/* ---- memory that fails when told to, from any thread ---- */

static long until_failure = -1;
static long live = 0;

static void *
failing_alloc(void *context, size_t size)
{
	(void) context;
	if (__atomic_load_n(&until_failure, __ATOMIC_RELAXED) >= 0 &&
		__atomic_sub_fetch(&until_failure, 1, __ATOMIC_RELAXED) < 0)
	{
		__atomic_store_n(&until_failure, 0, __ATOMIC_RELAXED);
		return NULL;
	}
	__atomic_add_fetch(&live, 1, __ATOMIC_RELAXED);
	return malloc(size > 0 ? size : 1);
}

static void
failing_release(void *context, void *pointer)
{
	(void) context;
	__atomic_sub_fetch(&live, 1, __ATOMIC_RELAXED);
	free(pointer);
}

static const knn_allocator failing_allocator = {failing_alloc, failing_release, NULL};

/* ---- builds ---- */

static void
shape(knn_graph *graph, uint32_t m, uint32_t ef)
{
	memset(graph, 0, sizeof(*graph));
	graph->m = m;
	graph->ef_construction = ef;
	graph->seed = 11;
	knn_rotation_init(signs, DIM, 3);
	graph->encoder = (knn_encoder) {DIM, KNN_SPACE_L2, KNN_ENCODING_ROTATED_8, signs, NULL,
		knn_kernels_get(), NULL, NULL};
	graph->allocator = failing_allocator;
}

typedef struct Team
{
	knn_parallel_build build;
	const float *vectors;
	uint32_t	n;
	uint32_t	next;
	int			result;
} Team;

typedef struct Member
{
	Team	   *team;
	knn_parallel_worker worker;
	pthread_t	thread;
} Member;

static void *
member_main(void *argument)
{
	Member	   *member = argument;
	Team	   *team = member->team;

	for (;;)
	{
		uint32_t	id = __atomic_fetch_add(&team->next, 1, __ATOMIC_RELAXED);

		if (id >= team->n || __atomic_load_n(&team->result, __ATOMIC_RELAXED) != KNN_OK)
			return NULL;
		if (knn_parallel_add(&member->worker, id, team->vectors + (size_t) id * DIM) != KNN_OK)
			__atomic_store_n(&team->result, KNN_ERROR_NO_MEMORY, __ATOMIC_RELAXED);
	}
}

static int
build(knn_graph *graph, const float *vectors, uint32_t n, uint32_t m, uint32_t ef, int threads)
{
	Team		team = {.vectors = vectors, .n = n, .result = KNN_OK};
	Member		members[MOST_THREADS];
	int			ready = 0;

	shape(graph, m, ef);
	if (knn_graph_init(graph, n) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	team.result = knn_parallel_begin(&team.build, graph);
	for (; ready < threads && team.result == KNN_OK; ready++)
	{
		members[ready].team = &team;
		team.result = knn_parallel_worker_init(&members[ready].worker, &team.build);
	}
	if (team.result == KNN_OK)
	{
		for (int i = 0; i < threads; i++)
		{
			if (pthread_create(&members[i].thread, NULL, member_main, &members[i]) != 0)
				abort();
		}
		for (int i = 0; i < threads; i++)
			pthread_join(members[i].thread, NULL);
	}
	for (int i = 0; i < ready; i++)
		knn_parallel_worker_free(&members[i].worker);
	knn_parallel_end(&team.build);
	return team.result;
}

static void
check_structure(const knn_graph *graph, uint32_t n)
{
	uint32_t   *seen = malloc(sizeof(uint32_t) * (n + 1));
	long		wrong = 0;
	uint32_t	highest = 0;

	UNIT_CHECK(graph->n == n, "%u nodes", graph->n);
	memset(seen, 0xFF, sizeof(uint32_t) * n);
	for (uint32_t id = 0; id < graph->n; id++)
	{
		if (graph->levels[id] > highest)
			highest = graph->levels[id];
		for (uint32_t level = 0; level <= graph->levels[id]; level++)
		{
			const uint32_t *row = level == 0 ? knn_graph_links(graph, id) : knn_graph_upper(graph, id, level);
			uint32_t	mark = id * 32 + level;

			wrong += row[0] > (level == 0 ? 2 * graph->m : graph->m);
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
	if (n > 0)
		UNIT_CHECK(graph->levels[graph->entry] == graph->entry_level && graph->entry_level == highest,
				   "the entry point is on level %u of %u", graph->entry_level, highest);
	free(seen);
}

/* ---- recall ---- */

typedef struct Reader
{
	const knn_graph *graph;
	const float *vectors;
	const float *query;
} Reader;

static uint32_t
reader_neighbours(void *state, uint32_t id, uint32_t level, uint32_t *out, bool *dead)
{
	const knn_graph *graph = ((Reader *) state)->graph;
	const uint32_t *row = level == 0 ? knn_graph_links(graph, id) : knn_graph_upper(graph, id, level);

	(void) dead;
	memcpy(out, row + 1, sizeof(uint32_t) * row[0]);
	return row[0];
}

static void
reader_score(void *state, const uint32_t *ids, uint32_t n, float *distance, float *error)
{
	Reader	   *r = state;

	for (uint32_t i = 0; i < n; i++)
	{
		distance[i] = knn_exact_distance(knn_kernels_get(), KNN_SPACE_L2, r->query,
										 r->vectors + (size_t) ids[i] * DIM, DIM);
		error[i] = 0;
	}
}

static double
recall(const knn_graph *graph, const float *vectors, const float *queries, uint32_t width)
{
	Reader		reader = {graph, vectors, NULL};
	knn_search	s = {.allocator = knn_malloc_allocator,
		.reader = {.state = &reader, .neighbours = reader_neighbours, .score = reader_score},
		.max_degree = 2 * graph->m};
	uint32_t	found = 0;

	if (knn_search_init(&s) != KNN_OK)
		abort();
	for (uint32_t q = 0; q < NQUERIES; q++)
	{
		float		nearest[K];
		uint32_t	entry = graph->entry;
		int			n = 0;

		reader.query = queries + q * DIM;
		for (uint32_t i = 0; i < graph->n; i++)
		{
			float		d = knn_exact_distance(knn_kernels_get(), KNN_SPACE_L2, reader.query,
											   vectors + (size_t) i * DIM, DIM);
			int			at;

			if (n == K && d >= nearest[K - 1])
				continue;
			at = n < K ? n++ : K - 1;
			for (; at > 0 && nearest[at - 1] > d; at--)
				nearest[at] = nearest[at - 1];
			nearest[at] = d;
		}
		if (graph->entry_level > 0)
			entry = knn_search_descend(&s, entry, graph->entry_level, 1);
		if (knn_search_level(&s, &entry, 1, 0, width) != KNN_OK)
			abort();
		for (uint32_t i = 0; i < s.nbeam; i++)
			found += s.beam[i].distance <= nearest[K - 1];
	}
	knn_search_free(&s);
	return (double) found / (NQUERIES * K);
}

/* ---- tests ---- */

static void
test_recall(const float *vectors, const float *queries)
{
	knn_graph	serial;
	double		expected;

	shape(&serial, 8, 60);
	if (knn_graph_init(&serial, nodes) != KNN_OK)
		abort();
	for (uint32_t i = 0; i < nodes; i++)
	{
		if (knn_graph_add(&serial, vectors + (size_t) i * DIM) != KNN_OK)
			abort();
	}
	expected = recall(&serial, vectors, queries, 30);
	knn_graph_free(&serial);

	for (int threads = 1; threads <= MOST_THREADS; threads *= 2)
	{
		knn_graph	graph;
		double		got;

		unit_case("parallel build: recall with %d threads", threads);
		UNIT_CHECK(build(&graph, vectors, nodes, 8, 60, threads) == KNN_OK, "build");
		check_structure(&graph, nodes);
		got = recall(&graph, vectors, queries, 30);
		UNIT_CHECK(got >= expected - 0.01, "recall %.4f, one thread's %.4f", got, expected);
		knn_graph_free(&graph);
		UNIT_CHECK(live == 0, "%ld allocations left", live);
	}
}

/* Many threads and few nodes: all of them change the same lists. */
static void
test_small(const float *vectors)
{
	for (uint32_t n = 0; n <= 40; n += n < 4 ? 1 : 12)
	{
		unit_case("parallel build: %u nodes", n);
		for (int again = 0; again < 20; again++)
		{
			knn_graph	graph;

			UNIT_CHECK(build(&graph, vectors, n, 2, 8, MOST_THREADS) == KNN_OK, "build");
			UNIT_CHECK((graph.entry == KNN_INVALID_ID) == (n == 0), "entry point %u", graph.entry);
			check_structure(&graph, n);
			knn_graph_free(&graph);
		}
	}
}

static void
test_memory(const float *vectors)
{
	long		fail;

	unit_case("parallel build: no memory");
	for (fail = 0; fail < 200; fail++)
	{
		knn_graph	graph;
		int			result;

		until_failure = fail;
		result = build(&graph, vectors, 100, 2, 10, 2);
		until_failure = -1;
		knn_graph_free(&graph);
		UNIT_CHECK(live == 0, "failure %ld: %ld allocations left", fail, live);
		if (result == KNN_OK)
			break;
	}
	UNIT_CHECK(fail > 20 && fail < 200, "a build needs %ld allocations", fail);
}

int
main(void)
{
	float	   *vectors;
	float	   *queries = clustered(NQUERIES, 6);

	if (getenv("UNIT_SMALL") != NULL)
		nodes = 1500;
	vectors = clustered(nodes, 5);
	test_recall(vectors, queries);
	test_small(vectors);
	test_memory(vectors);
	free(vectors);
	free(queries);
	return unit_done("test_graph_parallel");
}
