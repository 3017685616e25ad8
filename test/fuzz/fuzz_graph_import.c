/*
 * fuzz_graph_import.c
 *		Import of any file of faiss that the parser takes, as graphs of several kinds of
 *		vectors.
 *
 * The vectors are made up, as many as the file has.  What is imported is mended as
 * knn-builder does it, but for the levels above 0, whose graph is one of our own; then
 * every list is looked at: a graph that is not refused is one that a server takes.
 *
 * Built with KNN_FUZZ_MAIN it is a program of its own: mutations of the corpus from a
 * fixed random sequence.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph_import.h"
#include "core/graph_repair.h"

/* More than any file of the corpus has. */
#define MOST_NODES 64
#define MOST_DIM 1024
#define M 3

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static long imported;

static void
require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz_graph_import: %s\n", what);
	abort();
}

static void *
take(size_t size)
{
	void	   *p = calloc(size > 0 ? size : 1, 1);

	require(p != NULL, "no memory");
	return p;
}

static void
check_list(const knn_graph *graph, const uint32_t *row, uint32_t id, uint32_t level)
{
	require(row[0] <= (level == 0 ? 2 : 1) * graph->m, "too many links");
	for (uint32_t i = 1; i <= row[0]; i++)
	{
		require(row[i] < graph->n && row[i] != id, "a link to nowhere");
		require(graph->levels[row[i]] >= level, "a link to a node that is not there");
		for (uint32_t j = 1; j < i; j++)
			require(row[i] != row[j], "a link twice");
	}
}

static void
check_graph(const knn_graph *graph)
{
	require(graph->entry < graph->n && graph->levels[graph->entry] == graph->entry_level, "entry point");
	for (uint32_t id = 0; id < graph->n; id++)
	{
		require(graph->levels[id] <= graph->entry_level, "a level above the highest");
		check_list(graph, knn_graph_links(graph, id), id, 0);
		for (uint32_t level = 1; level <= graph->levels[id]; level++)
		{
			require(graph->upper_first[id] + level <= graph->nupper, "an upper list beyond the last");
			check_list(graph, knn_graph_upper(graph, id, level), id, level);
		}
	}
}

/* As the program does it, one node after the other. */
static void
import_graph(knn_import *import)
{
	knn_graph  *graph = import->graph;
	uint8_t    *locks = take(graph->n);
	uint32_t	list[1 + 2 * M];
	knn_import_worker worker;
	uint32_t	pieces;
	uint32_t	sought = 50;
	uint32_t	found;

	require(knn_import_worker_init(&worker, import) == KNN_OK, "no memory");
	for (uint32_t i = 0; i < graph->n; i++)
		knn_import_lists(import, &worker, i);
	check_graph(graph);
	for (uint32_t i = 0; i < graph->n; i++)
		knn_repair_link_back(&worker.merger, locks, i, list);
	for (uint32_t i = 0; i < graph->n; i++)
		knn_repair_link_far(&worker.merger, i);
	check_graph(graph);
	require(knn_repair_begin(graph) == KNN_OK, "no memory");
	if (knn_repair_connect(graph, KNN_REPAIR_MOST_PIECES(graph->n), &pieces) == KNN_OK)
	{
		require(knn_repair_sense(graph, 8, &sought, &found) == KNN_OK && found <= sought, "sense");
		imported++;
	}
	knn_repair_end(graph);
	check_graph(graph);
	knn_import_worker_free(&worker, import);
	free(locks);
}

/* Codes of vectors that are no two alike. */
static void
encode(knn_graph *graph)
{
	uint32_t	dim = graph->encoder.dim;
	float	   *scratch = take(sizeof(float) * KNN_QUERY_ROOM(dim));
	float	   *row = take(sizeof(float) * dim);
	uint32_t	state = 7;

	for (uint32_t id = 0; id < graph->n; id++)
	{
		for (uint32_t j = 0; j < dim; j++)
		{
			state = state * 1664525u + 1013904223u;
			if (graph->encoder.encoding == KNN_ENCODING_ROTATED_8)
				row[j] = (float) (state >> 8) / 16777216.0f;
			else
				((uint8_t *) row)[j] = (uint8_t) (state >> 24);
		}
		knn_encode(&graph->encoder, row, &graph->factors[id], graph->codes + graph->code_stride * id, scratch);
	}
	free(scratch);
	free(row);
}

static void
import_as(const knn_faiss_file *file, knn_encoding encoding, knn_space space)
{
	knn_graph	graph = {.m = M, .ef_construction = 10, .seed = 1, .allocator = knn_malloc_allocator};
	knn_import	import;
	uint8_t    *row;
	int			result;

	graph.encoder.dim = (uint32_t) file->dimension;
	graph.encoder.space = space;
	graph.encoder.encoding = encoding;
	graph.encoder.kernels = knn_kernels_get();
	result = knn_import_begin(&import, file, &graph, (uint32_t) file->ntotal);
	require((result == KNN_OK) == (import.problem[0] == '\0'), "a refusal without a reason");
	if (result != KNN_OK || file->ntotal == 0)
		return;
	graph.n = graph.capacity = (uint32_t) file->ntotal;
	row = take(sizeof(float) * graph.encoder.dim);
	for (uint32_t i = 0; i < graph.n; i++)
	{
		require(knn_import_vector(&import, i) < graph.n, "a vector that does not exist");
		(void) knn_import_same_vector(&import, i, row);
	}
	free(row);
	graph.code_stride = knn_graph_code_stride(encoding, graph.encoder.dim);
	graph.codes = take(graph.code_stride * graph.n);
	graph.factors = take(sizeof(knn_code_factors) * graph.n);
	graph.links = take(sizeof(uint32_t) * (1 + 2 * M) * graph.n);
	graph.levels = take(graph.n);
	graph.upper_first = take(sizeof(uint32_t) * graph.n);
	if (import.leveled)
	{
		knn_import_levels(&import);
		require(graph.nupper == import.upper_items, "upper items");
		graph.upper = take(sizeof(uint32_t) * (1 + M) * graph.nupper);
	}
	encode(&graph);
	import_graph(&import);
	free(graph.codes);
	free(graph.factors);
	free(graph.links);
	free(graph.levels);
	free(graph.upper_first);
	free(graph.upper);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t    *copy = malloc(size + 1);
	knn_faiss_file file;
	knn_faiss_error error;

	require(copy != NULL, "no memory");
	if (size > 0)
		memcpy(copy + 1, data, size);
	if (knn_faiss_parse(copy + 1, size, &file, &error) && file.ntotal <= MOST_NODES && file.dimension <= MOST_DIM)
	{
		import_as(&file, KNN_ENCODING_ROTATED_8, KNN_SPACE_L2);
		import_as(&file, KNN_ENCODING_ROTATED_8, KNN_SPACE_INNER_PRODUCT);
		import_as(&file, KNN_ENCODING_BYTE, KNN_SPACE_L2);
		import_as(&file, KNN_ENCODING_BINARY, KNN_SPACE_HAMMING);
	}
	free(copy);
	return 0;
}

#ifdef KNN_FUZZ_MAIN
#include <dirent.h>

#define MOST_FILES 64
#define MOST 16384

static uint64_t state = 88172645463325252u;

static uint32_t
next_random(uint32_t limit)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t) ((state >> 33) % limit);
}

typedef struct Seed
{
	uint8_t		bytes[MOST];
	size_t		size;
	size_t		links;			/* where the neighbours are, and their bytes */
	size_t		link_bytes;
} Seed;

/* Number the vectors from 0, as they have to be here, and find the links. */
static void
prepare(Seed *seed)
{
	knn_faiss_file file;
	knn_faiss_error error;
	uint64_t	places;

	require(knn_faiss_parse(seed->bytes, seed->size, &file, &error), "the corpus is refused");
	for (uint64_t i = 0; file.ids && i < file.ntotal; i++)
	{
		memset((uint8_t *) file.ids + 8 * i, 0, 8);
		((uint8_t *) file.ids)[8 * i] = (uint8_t) (file.ntotal - 1 - i);
	}
	places = knn_faiss_u64(file.hnsw.offsets, file.ntotal);
	seed->links = (size_t) (file.hnsw.neighbours - seed->bytes);
	seed->link_bytes = (size_t) places * 4;
}

/* Words become others; mostly those of the links, and mostly others that may be taken. */
static void
mutate(uint8_t *bytes, const Seed *seed)
{
	static const uint32_t words[] = {0, 1, 2, 3, 5, 13, 14, 0xFFFFFFFF, 0x7FFFFFFF, 1000, 1003};

	for (uint32_t changes = 1 + next_random(20); changes > 0; changes--)
	{
		bool		link = seed->link_bytes > 0 && next_random(64) != 0;
		size_t		at = link ? seed->links + 4 * next_random((uint32_t) seed->link_bytes / 4) :
			next_random((uint32_t) seed->size);
		uint32_t	word = next_random(64) ? next_random(15) - 1 :
			words[next_random(sizeof(words) / sizeof(words[0]))];

		for (size_t b = 0; b < 4 && at + b < seed->size; b++)
			bytes[at + b] = (uint8_t) (word >> 8 * b);
	}
}

int
main(int argc, char **argv)
{
	static Seed seeds[MOST_FILES];
	long		runs = argc > 1 ? atol(argv[1]) : 300000;
	struct dirent **entries;
	int			n = scandir(KNN_FUZZ_CORPUS, &entries, NULL, alphasort);
	uint32_t	count = 0;

	for (int i = 0; i < n; i++)
	{
		const char *name = entries[i]->d_name;
		const char *dot = strrchr(name, '.');
		char		path[512];
		FILE	   *file;

		/* files without a graph have their own target */
		if (dot && strcmp(dot, ".faiss") == 0 && count < MOST_FILES &&
			(strncmp(name, "hnsw", 4) == 0 || strncmp(name, "cagra", 5) == 0 || strncmp(name, "binary_hnsw", 11) == 0))
		{
			snprintf(path, sizeof(path), "%s/%s", KNN_FUZZ_CORPUS, name);
			file = fopen(path, "rb");
			require(file != NULL, path);
			seeds[count].size = fread(seeds[count].bytes, 1, MOST, file);
			fclose(file);
			prepare(&seeds[count]);
			LLVMFuzzerTestOneInput(seeds[count].bytes, seeds[count].size);
			count++;
		}
		free(entries[i]);
	}
	free(entries);
	require(count > 0, "no corpus");
	for (long run = 0; run < runs; run++)
	{
		uint8_t		bytes[MOST];
		const Seed *seed = &seeds[next_random(count)];

		memcpy(bytes, seed->bytes, seed->size);
		mutate(bytes, seed);
		LLVMFuzzerTestOneInput(bytes, seed->size);
	}
	printf("%ld inputs from %u files, %ld graphs were imported\n", runs, count, imported);
	require(imported > runs / 10, "hardly any input was a graph");
	return 0;
}
#endif
