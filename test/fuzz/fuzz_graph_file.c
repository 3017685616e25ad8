/*
 * fuzz_graph_file.c
 *		The reader of graph files on any bytes.
 *
 * What it accepts is walked through as a server would lay it into pages.  The
 * checksum is made right first, or no other check would be reached.
 *
 *	cc -DKNN_FUZZ_MAIN ...		[RUNS] mutations of corpus/fuzz_graph_file
 *	clang -fsanitize=fuzzer ...	libFuzzer
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph_file.h"

#define HEADER KNN_GRAPH_FILE_HEADER

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz_graph_file: %s\n", what);
	abort();
}

static void
set_crc(uint8_t *bytes, size_t size)
{
	static uint32_t table[256];
	uint32_t	c = ~UINT32_C(0);

	for (uint32_t i = 0; i < 256 && table[255] == 0; i++)
	{
		table[i] = i;
		for (int bit = 0; bit < 8; bit++)
			table[i] = table[i] >> 1 ^ (UINT32_C(0x82F63B78) & -(table[i] & 1));
	}
	for (size_t i = HEADER; i < size; i++)
		c = c >> 8 ^ table[(c ^ bytes[i]) & 0xFF];
	c = ~c;
	for (int i = 0; i < 4 && size >= HEADER; i++)
		bytes[40 + i] = (uint8_t) (c >> 8 * i);
}

static bool
bytes_read(void *state, uint64_t offset, void *to, size_t n)
{
	memcpy(to, (const uint8_t *) state + offset, n);
	return true;
}

static void
walk(const knn_graph_file *file)
{
	uint64_t	sum = 0;

	for (uint32_t node = 0; node < file->nodes; node++)
	{
		require(file->old_of_new[node] < file->nodes, "a vector that does not exist");
		for (uint32_t level = 0; level <= file->levels[node]; level++)
		{
			const uint32_t *row = level == 0 ? knn_graph_file_links(file, node) :
				knn_graph_file_upper(file, node, level);

			require(row[0] <= (level == 0 ? 2 : 1) * file->m, "too many links");
			for (uint32_t i = 1; i <= row[0]; i++)
				sum += file->levels[row[i]];
		}
	}
	require(file->nodes == 0 || file->levels[file->entry] == file->entry_level, "entry point");
	require(sum != UINT64_MAX, "never");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* exactly as long, for the sanitizer to see what is read beyond */
	uint8_t    *bytes = malloc(size > 0 ? size : 1);
	knn_graph_file opened = {.allocator = knn_malloc_allocator};
	knn_graph_file read = {.allocator = knn_malloc_allocator};
	knn_graph_source source = {bytes, size, bytes_read};
	int			result;

	if (size > 0)
		memcpy(bytes, data, size);
	set_crc(bytes, size);
	result = knn_graph_file_open(&opened, bytes, size);
	require(knn_graph_file_read(&read, &source) == result, "two ways, two answers");
	require((result == KNN_OK) == (read.problem[0] == '\0'), "a refusal without a reason");
	require(strcmp(opened.problem, read.problem) == 0, "two ways, two reasons");
	if (result == KNN_OK)
	{
		walk(&opened);
		walk(&read);
	}
	knn_graph_file_free(&opened);
	knn_graph_file_free(&read);
	free(bytes);
	return 0;
}

#ifdef KNN_FUZZ_MAIN

static uint64_t state = 42;

static uint32_t
next_random(uint32_t limit)
{
	state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t) ((state >> 33) % limit);
}

#define SEEDS 3
#define MOST 2048

int
main(int argc, char **argv)
{
	static uint8_t seeds[SEEDS][MOST];
	size_t		sizes[SEEDS];
	long		runs = argc > 1 ? atol(argv[1]) : 300000;

	for (int i = 0; i < SEEDS; i++)
	{
		char		path[64];
		FILE	   *file;

		snprintf(path, sizeof(path), "corpus/fuzz_graph_file/%d", i);
		file = fopen(path, "rb");
		require(file != NULL, path);
		sizes[i] = fread(seeds[i], 1, MOST, file);
		fclose(file);
		LLVMFuzzerTestOneInput(seeds[i], sizes[i]);
	}
	for (long run = 0; run < runs; run++)
	{
		static const uint8_t odd[] = {0, 1, 2, 3, 4, 5, 6, 0x7F, 0x80, 0xFE, 0xFF};
		uint8_t		bytes[MOST];
		uint32_t	seed = next_random(SEEDS);
		size_t		size = sizes[seed];

		memcpy(bytes, seeds[seed], size);
		for (uint32_t n = 1 + next_random(4); n > 0; n--)
		{
			uint32_t	at = next_random((uint32_t) size);

			if (next_random(3) == 0)
				at = next_random(HEADER);
			bytes[at] = next_random(2) ? odd[next_random(sizeof(odd))] : (uint8_t) next_random(256);
		}
		if (next_random(8) == 0)
			size = next_random((uint32_t) size);
		LLVMFuzzerTestOneInput(bytes, size);
	}
	printf("%ld inputs\n", runs);
	return 0;
}
#endif
