/*
 * fuzz_cluster_file.c
 *		The reader of files of lists on any bytes.
 *
 * What it accepts is gone through as a server would.  The checksum is made right
 * first, or no other check would be reached.
 *
 *	cc -DKNN_FUZZ_MAIN ...		[RUNS] mutations of whole files
 *	clang -fsanitize=fuzzer ...	libFuzzer
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cluster_file.h"
#include "core/crc.h"

#define HEADER KNN_CLUSTER_FILE_HEADER
#define NLISTS 3
#define COUNT 9
#define ELEMENTS 5

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz_cluster_file: %s\n", what);
	abort();
}

static knn_cluster_file
expected(bool floats)
{
	knn_cluster_file file = {.allocator = knn_malloc_allocator,.unit = floats ? 4 * ELEMENTS : ELEMENTS,
	.floats = floats,.nlists = NLISTS,.count = COUNT};

	return file;
}

static void
set_crc(uint8_t *bytes, size_t size)
{
	knn_crc		crc;

	if (size < HEADER)
		return;
	knn_crc_init(&crc, KNN_CRC32C);
	knn_crc_add(&crc, bytes + HEADER, size - HEADER);
	for (int i = 0; i < 4; i++)
		bytes[32 + i] = (uint8_t) (knn_crc_value(&crc) >> 8 * i);
}

/* Only what is within the file may be asked for. */
typedef struct Input
{
	const uint8_t *bytes;
	size_t		size;
} Input;

static bool
input_read(void *state, uint64_t offset, void *to, size_t n)
{
	const Input *input = state;

	require(offset <= input->size && n <= input->size - offset, "a read beyond the end");
	memcpy(to, input->bytes + offset, n);
	return true;
}

static void
read_as(const uint8_t *bytes, size_t size, bool floats)
{
	knn_cluster_file file = expected(floats);
	Input		input = {bytes, size};
	knn_graph_source source = {&input, size, input_read};
	int			result = knn_cluster_file_read(&file, &source);

	require((result == KNN_OK) == (file.problem[0] == '\0'), "a refusal without a reason");
	require((result == KNN_OK) == (file.centroids != NULL), "centroids of a file that was refused");
	require((result == KNN_OK) == (file.lists != NULL), "lists of a file that was refused");
	for (int i = 0; i < COUNT && file.lists; i++)
		require(file.lists[i] < NLISTS, "a list that is not there");
	for (int i = 0; i < NLISTS * ELEMENTS && file.centroids && floats; i++)
		require(isfinite(((float *) file.centroids)[i]), "a centroid that is no number");
	free(file.centroids);
	free(file.lists);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* exactly as long, for the sanitizer to see what is read beyond */
	uint8_t    *bytes = malloc(size > 0 ? size : 1);

	if (size > 0)
		memcpy(bytes, data, size);
	set_crc(bytes, size);
	read_as(bytes, size, true);
	read_as(bytes, size, false);
	free(bytes);
	return 0;
}

#ifdef KNN_FUZZ_MAIN

#define MOST 512

static uint64_t state = 42;

static uint32_t
next_random(uint32_t limit)
{
	state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t) ((state >> 33) % limit);
}

static bool
seed_write(void *to, uint64_t offset, const void *bytes, size_t n)
{
	require(offset + n <= MOST, "a file of that size");
	memcpy((uint8_t *) to + offset, bytes, n);
	return true;
}

/* A file that is in order; its size. */
static size_t
make_seed(uint8_t *bytes, bool floats)
{
	knn_cluster_file file = expected(floats);
	float		centroids[NLISTS * ELEMENTS];
	uint32_t	lists[COUNT];
	knn_graph_sink sink = {.state = bytes,.write = seed_write};

	for (int i = 0; i < NLISTS * ELEMENTS; i++)
		centroids[i] = (float) i;
	for (uint32_t i = 0; i < COUNT; i++)
		lists[i] = i % NLISTS;
	file.centroids = centroids;
	file.lists = lists;
	require(knn_cluster_file_write(&file, &sink) == KNN_OK, "writing");
	return (size_t) knn_cluster_file_size(&file);
}

int
main(int argc, char **argv)
{
	uint8_t		seeds[2][MOST] = {{0}};
	size_t		sizes[2];
	long		runs = argc > 1 ? atol(argv[1]) : 300000;

	for (int i = 0; i < 2; i++)
	{
		sizes[i] = make_seed(seeds[i], i == 0);
		LLVMFuzzerTestOneInput(seeds[i], sizes[i]);
	}
	for (long run = 0; run < runs; run++)
	{
		static const uint8_t odd[] = {0, 1, 2, 3, 9, 0x7F, 0x80, 0xFE, 0xFF};
		uint8_t		bytes[MOST];
		uint32_t	seed = next_random(2);
		size_t		size = sizes[seed];

		memcpy(bytes, seeds[seed], size);
		for (uint32_t n = 1 + next_random(3); n > 0; n--)
		{
			uint32_t	at = next_random(3) == 0 ? next_random(HEADER) : next_random((uint32_t) size);

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
