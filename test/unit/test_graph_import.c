/*
 * test_graph_import.c
 *		Graphs to files of faiss and back, and the mending of graphs.
 */
#include <string.h>

#include "core/faiss_graph.h"
#include "core/graph_import.h"
#include "core/graph_repair.h"
#include "unit.h"

#define DIM 16
#define N 400
#define M 4
#define SOUGHT 200

static float rows[N * DIM];
static uint8_t ids[4 * N];

/* Two clusters, so far from each other that no neighbour is in the other one. */
static void
fill_rows(void)
{
	uint64_t	state = 11;

	for (uint32_t i = 0; i < N; i++)
	{
		for (uint32_t j = 0; j < DIM; j++)
			rows[i * DIM + j] = unit_random_float(&state) + (i % 2 ? 100 : 0);
		for (int b = 0; b < 4; b++)
			ids[4 * i + (uint32_t) b] = (uint8_t) (i >> 8 * b);
	}
}

static void
shape(knn_graph *graph)
{
	memset(graph, 0, sizeof(*graph));
	graph->m = M;
	graph->ef_construction = 40;
	graph->seed = 3;
	graph->allocator = knn_malloc_allocator;
	graph->encoder.dim = DIM;
	graph->encoder.space = KNN_SPACE_L1;	/* neither rotation nor centre is needed */
	graph->encoder.encoding = KNN_ENCODING_ROTATED_8;
	graph->encoder.kernels = knn_kernels_get();
}

static void
build(knn_graph *graph)
{
	shape(graph);
	if (knn_graph_init(graph, N) != KNN_OK)
		abort();
	for (uint32_t i = 0; i < N; i++)
	{
		if (knn_graph_add(graph, rows + i * DIM) != KNN_OK)
			abort();
	}
}

/* ---- files ---- */

typedef struct Bytes
{
	uint8_t    *bytes;
	uint64_t	size;
	uint64_t	room;
	uint64_t	fails_at;		/* of a write, or 0 */
} Bytes;

static bool
write_bytes(void *state, uint64_t offset, const void *bytes, size_t n)
{
	Bytes	   *b = state;

	UNIT_CHECK(offset == b->size && offset + n <= b->room, "%llu bytes at %llu of %llu", (unsigned long long) n,
			   (unsigned long long) offset, (unsigned long long) b->room);
	if (b->fails_at > 0 && offset + n > b->fails_at)
		return false;
	memcpy(b->bytes + offset, bytes, n);
	b->size += n;
	return true;
}

static Bytes
to_file(const knn_graph *graph, knn_faiss_file *file)
{
	knn_faiss_graph g = {.graph = graph, .metric = KNN_FAISS_L1, .storage = KNN_FAISS_FLOAT, .ef_search = 9,
	.vectors = (const uint8_t *) rows, .ids = ids};
	Bytes		b = {.room = knn_faiss_graph_size(&g)};
	knn_graph_sink sink = {.state = &b, .write = write_bytes};
	knn_faiss_error error;

	b.bytes = malloc(b.room);
	UNIT_CHECK(knn_faiss_graph_write(&g, &sink) == KNN_OK && b.size == b.room, "%llu bytes of %llu",
			   (unsigned long long) b.size, (unsigned long long) b.room);
	UNIT_CHECK(knn_faiss_parse(b.bytes, b.size, file, &error), "%s", error.message);
	return b;
}

static void
put(const uint8_t *array, uint64_t i, uint32_t value)
{
	for (int b = 0; b < 4; b++)
		((uint8_t *) array)[4 * i + (uint64_t) b] = (uint8_t) (value >> 8 * b);
}

static void
test_files(void)
{
	knn_graph	graph;
	knn_graph	other;
	knn_faiss_file file;
	knn_import	import;
	Bytes		b;

	unit_case("import: what is taken over as it is, and what is not");
	build(&graph);
	b = to_file(&graph, &file);
	shape(&other);
	UNIT_CHECK(knn_import_begin(&import, &file, &other, N) == KNN_OK && import.leveled && import.full_lists &&
			   import.upper_items == graph.nupper && import.places == 2 * M, "its own m: %s", import.problem);
	other.m = M - 1;
	UNIT_CHECK(knn_import_begin(&import, &file, &other, N) == KNN_OK && import.leveled && !import.full_lists,
			   "a smaller m");
	other.m = M;
	for (uint32_t i = 0; i < N; i += 37)
	{
		UNIT_CHECK(knn_import_same_vector(&import, i, rows + i * DIM), "vector %u", i);
		UNIT_CHECK(!knn_import_same_vector(&import, i, rows + (i + 2) % N * DIM), "vector %u as another", i);
	}

	unit_case("import: refused");
	UNIT_CHECK(knn_import_begin(&import, &file, &other, N - 1) == KNN_ERROR_FORMAT &&
			   strstr(import.problem, "400 vectors, expected 399"), "%s", import.problem);
	other.encoder.space = KNN_SPACE_LINF;
	UNIT_CHECK(knn_import_begin(&import, &file, &other, N) == KNN_ERROR_FORMAT &&
			   strstr(import.problem, "metric L1"), "%s", import.problem);
	other.encoder.space = KNN_SPACE_L1;
	other.encoder.encoding = KNN_ENCODING_BYTE;
	UNIT_CHECK(knn_import_begin(&import, &file, &other, N) == KNN_ERROR_FORMAT &&
			   strstr(import.problem, "signed bytes"), "%s", import.problem);
	file.codes.encoding = KNN_FAISS_INT8;
	for (int metric = KNN_FAISS_INNER_PRODUCT; metric <= KNN_FAISS_L2; metric++)
	{
		file.metric = (knn_faiss_metric) metric;
		other.encoder.space = metric == KNN_FAISS_L2 ? KNN_SPACE_L2 : KNN_SPACE_INNER_PRODUCT;
		UNIT_CHECK(knn_import_begin(&import, &file, &other, N) == KNN_OK, "bytes: %s", import.problem);
		/* they are of all lengths there */
		other.encoder.space = KNN_SPACE_COSINE;
		UNIT_CHECK(knn_import_begin(&import, &file, &other, N) == KNN_ERROR_FORMAT &&
				   strstr(import.problem, "is another one than the space's"), "bytes of cosine: %s", import.problem);
	}
	file.codes.encoding = KNN_FAISS_FLOAT;
	file.metric = KNN_FAISS_L1;
	other.encoder.space = KNN_SPACE_L1;
	other.encoder.encoding = KNN_ENCODING_ROTATED_8;

	unit_case("import: levels that no build makes");
	file.hnsw.base_level_only = true;
	UNIT_CHECK(knn_import_begin(&import, &file, &other, N) == KNN_OK && !import.leveled && !import.full_lists,
			   "of level 0 alone");
	file.hnsw.base_level_only = false;
	for (uint32_t i = 0; i < N; i++)
		put(file.hnsw.levels, i, 3);
	UNIT_CHECK(knn_import_begin(&import, &file, &other, N) == KNN_OK && !import.leveled, "too many");
	for (uint32_t i = 0; i < N; i++)
		put(file.hnsw.levels, i, 1);
	UNIT_CHECK(knn_import_begin(&import, &file, &other, N) == KNN_OK && !import.leveled, "none");

	unit_case("faiss: a sink that fails");
	{
		knn_faiss_graph g = {.graph = &graph, .metric = KNN_FAISS_L2, .storage = KNN_FAISS_FP16,
		.vectors = (const uint8_t *) rows, .ids = ids};
		Bytes		small = {.room = b.room, .bytes = b.bytes, .fails_at = 10};
		knn_graph_sink sink = {.state = &small, .write = write_bytes};

		UNIT_CHECK(knn_faiss_graph_write(&g, &sink) == KNN_ERROR_IO, "it did not");
	}
	free(b.bytes);
	knn_graph_free(&graph);
}

/* ---- mending ---- */

/* Links of a ring at level 0, of either cluster on its own. */
static void
make_rings(knn_graph *graph)
{
	for (uint32_t i = 0; i < N; i++)
	{
		uint32_t   *row = knn_graph_links(graph, i);

		row[0] = 1;
		row[1] = (i + 2) % N;
		graph->levels[i] = 0;
	}
	graph->nupper = 0;
	graph->entry = 0;
	graph->entry_level = 0;
}

static uint32_t
reachable(const knn_graph *graph)
{
	static bool reached[N];
	static uint32_t queue[N];
	uint32_t	n = 1;

	memset(reached, 0, sizeof(reached));
	queue[0] = graph->entry;
	reached[graph->entry] = true;
	for (uint32_t at = 0; at < n; at++)
	{
		const uint32_t *row = knn_graph_links(graph, queue[at]);

		for (uint32_t i = 1; i <= row[0]; i++)
		{
			if (!reached[row[i]])
			{
				reached[row[i]] = true;
				queue[n++] = row[i];
			}
		}
	}
	return n;
}

static void
test_mending(void)
{
	static uint8_t locks[N];
	knn_graph	graph;
	knn_merger	merger;
	uint32_t	list[1 + 2 * M];
	uint32_t	pieces;
	uint32_t	sought = SOUGHT;
	uint32_t	found;

	build(&graph);
	if (knn_merger_init(&merger, &graph, 2 * M + 1) != KNN_OK || knn_repair_begin(&graph) != KNN_OK)
		abort();

	unit_case("mending: a graph of a build needs none");
	UNIT_CHECK(knn_repair_sense(&graph, 60, &sought, &found) == KNN_OK && sought == SOUGHT &&
			   found >= 196, "%u of %u are found", found, sought);

	unit_case("mending: links back");
	make_rings(&graph);
	for (uint32_t i = 0; i < N; i++)
		knn_repair_link_back(&merger, locks, i, list);
	for (uint32_t i = 0; i < N; i++)
	{
		const uint32_t *row = knn_graph_links(&graph, i);

		UNIT_CHECK(row[0] == 2 && (row[1] == (i + N - 2) % N || row[2] == (i + N - 2) % N), "node %u", i);
	}
	knn_repair_link_back(&merger, locks, 5, list);
	UNIT_CHECK(knn_graph_links(&graph, 7)[0] == 2, "twice");

	unit_case("mending: a full list takes a link that is the last to its node");
	/* node 2 is linked to all of its cluster's next ones; they have full lists */
	make_rings(&graph);
	for (uint32_t i = 4; i < 4 + 2 * 2 * M; i += 2)
	{
		uint32_t   *row = knn_graph_links(&graph, i);

		for (row[0] = 0; row[0] < 2 * M;)
		{
			row[0]++;
			row[row[0]] = 100 + i + 2 * row[0];
		}
		knn_graph_links(&graph, 2)[0] = (i - 2) / 2;
		knn_graph_links(&graph, 2)[(i - 2) / 2] = i;
	}
	knn_repair_link_back(&merger, locks, 2, list);
	found = 0;
	for (uint32_t i = 4; i < 4 + 2 * 2 * M; i += 2)
	{
		const uint32_t *row = knn_graph_links(&graph, i);

		UNIT_CHECK(row[0] <= 2 * M, "node %u has %u links", i, row[0]);
		for (uint32_t l = 1; l <= row[0]; l++)
			found += row[l] == 2;
	}
	UNIT_CHECK(found > 0, "nobody links back");

	unit_case("mending: pieces are connected");
	make_rings(&graph);
	UNIT_CHECK(reachable(&graph) == N / 2, "%u", reachable(&graph));
	UNIT_CHECK(knn_repair_connect(&graph, KNN_REPAIR_MOST_PIECES(N), &pieces) == KNN_OK && pieces == 1, "%u pieces", pieces);
	UNIT_CHECK(reachable(&graph) == N, "%u", reachable(&graph));
	UNIT_CHECK(knn_repair_connect(&graph, KNN_REPAIR_MOST_PIECES(N), &pieces) == KNN_OK && pieces == 0, "%u pieces", pieces);

	unit_case("mending: what others have dropped is linked from its neighbours");
	make_rings(&graph);
	for (uint32_t i = 0; i < N; i++)
	{
		uint32_t   *row = knn_graph_links(&graph, i);

		/* nobody links to the first odd ones, which all link to the same full node */
		if (i % 2 == 1)
			row[1] = 0;
		else if (i >= N / 4)
			row[++row[0]] = i + 1;
	}
	list[0] = knn_graph_links(&graph, 0)[0] = 2 * M;
	for (uint32_t i = 1; i <= 2 * M; i++)
		list[i] = knn_graph_links(&graph, 0)[i] = 2 * i;
	UNIT_CHECK(reachable(&graph) == N - N / 8, "%u", reachable(&graph));
	UNIT_CHECK(knn_repair_connect(&graph, 0, &pieces) == KNN_OK && pieces == 0, "%u pieces", pieces);
	UNIT_CHECK(reachable(&graph) == N, "%u", reachable(&graph));
	UNIT_CHECK(memcmp(list, knn_graph_links(&graph, 0), sizeof(list)) == 0, "a link was lost");

	unit_case("mending: too many pieces");
	for (uint32_t i = 0; i < N; i++)
		knn_graph_links(&graph, i)[0] = 0;
	UNIT_CHECK(knn_repair_connect(&graph, KNN_REPAIR_MOST_PIECES(N), &pieces) == KNN_ERROR_FORMAT && pieces > KNN_REPAIR_MOST_PIECES(N),
			   "%u pieces", pieces);

	unit_case("mending: a graph without sense");
	make_rings(&graph);
	UNIT_CHECK(knn_repair_sense(&graph, 20, &sought, &found) == KNN_OK && found < sought / 4, "%u of %u", found,
			   sought);

	knn_repair_end(&graph);
	knn_merger_free(&merger);
	knn_graph_free(&graph);
}

int
main(void)
{
	fill_rows();
	test_files();
	test_mending();
	return unit_done("test_graph_import");
}
