/*
 * test_graph_file.c
 *		A graph written to a file and read back; files that are damaged.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes_file.h"
#include "core/graph_file.h"
#include "core/graph_order.h"
#include "unit.h"

#define DIM 16
#define N 400
#define M 4
#define HEADER KNN_GRAPH_FILE_HEADER

/* ---- memory that fails when told to ---- */

static long until_failure = -1;
static long live = 0;

static void *
failing_alloc(void *context, size_t size)
{
	(void) context;
	if (until_failure == 0)
		return NULL;
	if (until_failure > 0)
		until_failure--;
	live++;
	return malloc(size > 0 ? size : 1);
}

static void
failing_release(void *context, void *pointer)
{
	(void) context;
	live--;
	free(pointer);
}

static const knn_allocator failing_allocator = {failing_alloc, failing_release, NULL};

/* ---- graphs ---- */

static void
make_graph(knn_graph *graph, uint32_t n, uint32_t m)
{
	uint64_t	state = 7;

	memset(graph, 0, sizeof(*graph));
	graph->m = m;
	graph->ef_construction = 20;
	graph->seed = 5;
	graph->encoder = (knn_encoder) {.dim = DIM, .space = KNN_SPACE_L2,
		.encoding = KNN_ENCODING_BYTE, .kernels = knn_kernels_get(), NULL, NULL};
	graph->allocator = knn_malloc_allocator;
	if (knn_graph_init(graph, n) != KNN_OK)
		abort();
	for (uint32_t i = 0; i < n; i++)
	{
		int8_t		v[DIM];

		for (int j = 0; j < DIM; j++)
			v[j] = (int8_t) (unit_random(&state) >> 56);
		if (knn_graph_add(graph, v) != KNN_OK)
			abort();
	}
}

static Bytes
written(const knn_graph *graph, uint32_t *old_of_new, uint32_t *new_of_old)
{
	Bytes		b = {NULL, 0, -1};
	knn_graph_sink sink = {.state = &b, .write = bytes_write};

	if (knn_graph_order(graph, 10, old_of_new, new_of_old) != KNN_OK)
		abort();
	UNIT_CHECK(knn_graph_file_write(graph, old_of_new, new_of_old, &sink) == KNN_OK, "write");
	UNIT_CHECK(b.size == knn_graph_file_size(graph->n, graph->nupper, graph->m),
			   "%llu bytes", (unsigned long long) b.size);
	return b;
}

static int
compare_ids(const void *a, const void *b)
{
	uint32_t	x = *(const uint32_t *) a;
	uint32_t	y = *(const uint32_t *) b;

	return x < y ? -1 : x > y;
}

/* Is what was read the graph, renumbered? */
static void
check_same(const knn_graph_file *file, const knn_graph *graph, const uint32_t *new_of_old)
{
	long		wrong = 0;

	UNIT_CHECK(file->nodes == graph->n && file->m == graph->m && file->upper_items == graph->nupper,
			   "%u nodes, m %u", file->nodes, file->m);
	if (graph->n == 0)
		return;
	UNIT_CHECK(file->entry == new_of_old[graph->entry] && file->entry_level == graph->entry_level,
			   "entry point %u", file->entry);
	for (uint32_t node = 0; node < file->nodes; node++)
	{
		uint32_t	old = file->old_of_new[node];

		wrong += file->levels[node] != graph->levels[old] || new_of_old[old] != node;
		for (uint32_t level = 0; level <= file->levels[node]; level++)
		{
			const uint32_t *a = level == 0 ? knn_graph_file_links(file, node) :
				knn_graph_file_upper(file, node, level);
			const uint32_t *b = level == 0 ? knn_graph_links(graph, old) :
				knn_graph_upper(graph, old, level);
			uint32_t	ids[2 * M];

			wrong += a[0] != b[0];
			for (uint32_t i = 0; i < b[0]; i++)
				ids[i] = new_of_old[b[1 + i]];
			if (level == 0)
				qsort(ids, b[0], sizeof(uint32_t), compare_ids);
			wrong += memcmp(ids, a + 1, sizeof(uint32_t) * b[0]) != 0;
		}
	}
	UNIT_CHECK(wrong == 0, "%ld differences", wrong);
}

static int
read_bytes(Bytes *b, knn_graph_file *file)
{
	knn_graph_source source = {b, b->size, bytes_read};

	memset(file, 0, sizeof(*file));
	file->allocator = knn_malloc_allocator;
	return knn_graph_file_read(file, &source);
}

static void
test_round_trip(void)
{
	static const uint32_t counts[] = {0, 1, 2, 3, 17, N};

	for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++)
	{
		knn_graph	graph;
		knn_graph_file file = {.allocator = knn_malloc_allocator};
		uint32_t	old_of_new[N];
		uint32_t	new_of_old[N];
		Bytes		b;

		unit_case("graph file: %u nodes", counts[c]);
		make_graph(&graph, counts[c], M);
		b = written(&graph, old_of_new, new_of_old);
		UNIT_CHECK(knn_graph_file_open(&file, b.bytes, b.size) == KNN_OK, "%s", file.problem);
		check_same(&file, &graph, new_of_old);
		UNIT_CHECK(file.unreachable <= counts[c] / 50, "%u nodes cannot be reached", file.unreachable);
		knn_graph_file_free(&file);
		UNIT_CHECK(read_bytes(&b, &file) == KNN_OK, "%s", file.problem);
		check_same(&file, &graph, new_of_old);
		knn_graph_file_free(&file);
		knn_graph_free(&graph);
		free(b.bytes);
	}
}

/* The checksum is computed bit by bit here. */
static void
set_crc(Bytes *b)
{
	uint32_t	c = ~UINT32_C(0);

	for (uint64_t i = HEADER; i < b->size; i++)
	{
		c ^= b->bytes[i];
		for (int bit = 0; bit < 8; bit++)
			c = c & 1 ? c >> 1 ^ UINT32_C(0x82F63B78) : c >> 1;
	}
	c = ~c;
	memcpy(b->bytes + 40, &c, 4);
}

static void
refused(const Bytes *whole, uint64_t at, uint32_t word, const char *problem)
{
	Bytes		b = {unit_allocate(whole->size), whole->size, -1};
	knn_graph_file file;
	uint32_t	before;
	int			result;

	memcpy(b.bytes, whole->bytes, b.size);
	memcpy(&before, b.bytes + at, 4);
	memcpy(b.bytes + at, &word, 4);
	if (at >= HEADER)
		set_crc(&b);
	result = read_bytes(&b, &file);
	UNIT_CHECK(result == KNN_ERROR_FORMAT && strstr(file.problem, problem) != NULL,
			   "%u for %u at %llu: %d \"%s\"", word, before, (unsigned long long) at, result,
			   file.problem);
	knn_graph_file_free(&file);
	free(b.bytes);
}

static void
test_damage(void)
{
	knn_graph	graph;
	knn_graph_file file;
	uint32_t	old_of_new[N];
	uint32_t	new_of_old[N];
	uint64_t	ids_at = HEADER + N;
	uint64_t	first_at = ids_at + 4 * N;
	uint64_t	links_at = first_at + 4 * N;
	uint64_t	upper_at = links_at + 4 * N * (1 + 2 * M);
	uint64_t	state = 3;
	uint32_t	high = 0;
	uint32_t	low = 0;
	long		accepted = 0;
	Bytes		b;

	unit_case("graph file: the reader names what is wrong");
	make_graph(&graph, N, M);
	b = written(&graph, old_of_new, new_of_old);
	while (graph.levels[old_of_new[high]] == 0)
		high++;
	while (graph.levels[old_of_new[low]] != 0)
		low++;
	refused(&b, 0, 0, "does not begin");
	refused(&b, 8, 2, "version 2");
	refused(&b, 12, 0, "its m is 0");
	refused(&b, 12, UINT32_MAX, "its m is");
	refused(&b, 12, M + 1, "bytes long");
	refused(&b, 16, UINT32_MAX, "nodes");
	refused(&b, 20, 1, "nodes");
	refused(&b, 16, N - 1, "bytes long");
	refused(&b, 24, UINT32_MAX, "upper items");
	refused(&b, 28, UINT32_MAX, "upper items");
	refused(&b, 32, UINT32_MAX, "entry point");
	refused(&b, 32, low, "entry point");
	refused(&b, 36, KNN_MAX_LEVEL, "entry point");
	refused(&b, 40, 0, "checksum");
	refused(&b, 60, 1u << 24, "header is not zero");
	refused(&b, HEADER, 0xFF, "level 255");
	refused(&b, ids_at, N, "does not exist or has another");
	refused(&b, ids_at, old_of_new[1], "has another node");
	refused(&b, first_at + 4 * high, graph.nupper, "upper item");
	refused(&b, first_at + 4 * high, UINT32_MAX, "upper item");
	refused(&b, first_at + 4 * high, graph.nupper - 1, "upper item");
	refused(&b, links_at, 2 * M + 1, "has 9 links");
	refused(&b, links_at + 4, N, "links to 400");
	refused(&b, links_at + 4, 0, "links to itself");
	refused(&b, upper_at, M + 1, "has 5 links");
	refused(&b, upper_at + 4, low, "at level 1, which has level 0");
	{
		uint32_t	second;

		memcpy(&second, b.bytes + links_at + 8, 4);
		refused(&b, links_at + 4, second, "twice");
	}

	unit_case("graph file: cut off at any byte");
	for (uint64_t size = 0; size < b.size; size += size < 100 || size + 100 > b.size ? 1 : 97)
	{
		Bytes		part = {b.bytes, size, -1};

		accepted += read_bytes(&part, &file) == KNN_OK;
		knn_graph_file_free(&file);
		accepted += knn_graph_file_open(&file, b.bytes, size) == KNN_OK;
		knn_graph_file_free(&file);
	}
	UNIT_CHECK(accepted == 0, "%ld parts were accepted", accepted);

	unit_case("graph file: another byte anywhere is noticed");
	for (uint64_t at = 0; at < b.size; at += at < HEADER + 16 ? 1 : 1 + unit_random(&state) % 40)
	{
		uint8_t		before = b.bytes[at];

		b.bytes[at] ^= (uint8_t) (1 + unit_random(&state) % 255);
		accepted += knn_graph_file_open(&file, b.bytes, b.size) == KNN_OK;
		knn_graph_file_free(&file);
		b.bytes[at] = before;
	}
	UNIT_CHECK(accepted == 0, "%ld changed files were accepted", accepted);

	unit_case("graph file: nodes that nothing leads to");
	memset(&file, 0, sizeof(file));
	file.allocator = knn_malloc_allocator;
	for (uint32_t node = 0; node < N; node++)
		memset(b.bytes + links_at + (uint64_t) node * 4 * (1 + 2 * M), 0, 4);
	set_crc(&b);
	UNIT_CHECK(knn_graph_file_open(&file, b.bytes, b.size) == KNN_OK, "%s", file.problem);
	UNIT_CHECK(file.unreachable > N / 2 && file.unreachable < N, "%u cannot be reached",
			   file.unreachable);
	knn_graph_file_free(&file);
	knn_graph_free(&graph);
	free(b.bytes);
}

static void
test_failures(void)
{
	knn_graph	graph;
	knn_graph_file file;
	uint32_t	old_of_new[N];
	uint32_t	new_of_old[N];
	Bytes		b;
	long		fail;

	unit_case("graph file: callbacks that fail");
	make_graph(&graph, N, M);
	b = written(&graph, old_of_new, new_of_old);
	for (fail = 0; fail < 10; fail++)
	{
		Bytes		to = {NULL, 0, fail};
		knn_graph_sink sink = {.state = &to, .write = bytes_write};
		int			result = knn_graph_file_write(&graph, old_of_new, new_of_old, &sink);

		free(to.bytes);
		if (result == KNN_OK)
			break;
		UNIT_CHECK(result == KNN_ERROR_IO, "write: %d", result);
	}
	UNIT_CHECK(fail == 2, "written by %ld calls", fail);
	for (fail = 0; fail < 10; fail++)
	{
		int			result;

		b.until_failure = fail;
		result = read_bytes(&b, &file);
		knn_graph_file_free(&file);
		if (result == KNN_OK)
			break;
		UNIT_CHECK(result == KNN_ERROR_IO, "read: %d", result);
	}
	UNIT_CHECK(fail == 2, "read by %ld calls", fail);
	b.until_failure = -1;

	unit_case("graph file: no memory");
	for (fail = 0; fail < 10; fail++)
	{
		knn_graph_source source = {&b, b.size, bytes_read};
		int			result;

		memset(&file, 0, sizeof(file));
		file.allocator = failing_allocator;
		until_failure = fail;
		result = knn_graph_file_read(&file, &source);
		knn_graph_file_free(&file);
		UNIT_CHECK(live == 0, "%ld allocations left", live);
		if (result == KNN_OK)
			break;
		UNIT_CHECK(result == KNN_ERROR_NO_MEMORY, "read: %d", result);
	}
	UNIT_CHECK(fail == 2, "read with %ld allocations", fail);
	graph.allocator = failing_allocator;
	for (fail = 0; fail < 10; fail++)
	{
		Bytes		to = {NULL, 0, -1};
		knn_graph_sink sink = {.state = &to, .write = bytes_write};
		int			result;

		until_failure = fail;
		result = knn_graph_file_write(&graph, old_of_new, new_of_old, &sink);
		free(to.bytes);
		UNIT_CHECK(live == 0, "%ld allocations left", live);
		if (result == KNN_OK)
			break;
		UNIT_CHECK(result == KNN_ERROR_NO_MEMORY, "write: %d", result);
	}
	until_failure = -1;
	graph.allocator = knn_malloc_allocator;
	knn_graph_free(&graph);
	free(b.bytes);
}

int
main(void)
{
	test_round_trip();
	test_damage();
	test_failures();
	return unit_done("test_graph_file");
}
