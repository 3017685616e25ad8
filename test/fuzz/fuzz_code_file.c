/*
 * fuzz_code_file.c
 *		The reader of files of codes on any bytes.
 *
 * The first byte tells how many codes are expected, the rest is the file.  The checksum
 * is made right first, or no other check would be reached.
 *
 *	cc -DKNN_FUZZ_MAIN ...		[RUNS] mutations of a good file
 *	clang -fsanitize=fuzzer ...	libFuzzer
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/code_file.h"
#include "core/crc.h"

#define HEADER KNN_CODE_FILE_HEADER
#define WIDTH 20

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz_code_file: %s\n", what);
	abort();
}

static uint32_t
crc_of(const uint8_t *bytes, size_t size)
{
	knn_crc		crc;

	knn_crc_init(&crc, KNN_CRC32C);
	if (size > HEADER)
		knn_crc_add(&crc, bytes + HEADER, size - HEADER);
	return knn_crc_value(&crc);
}

static bool
bytes_read(void *state, uint64_t offset, void *to, size_t n)
{
	memcpy(to, (const uint8_t *) state + offset, n);
	return true;
}

static void
count_items(void *state, uint64_t first, const uint8_t *items, uint32_t n)
{
	uint64_t   *count = state;
	float		sum = 0;

	require(first == *count, "items out of order");
	for (uint32_t i = 0; i < n; i++)
		sum += knn_code_file_factors(items + (size_t) WIDTH * i).scale;
	require(n > 0 || sum == 0, "never");
	*count += n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t		length = size > 0 ? size - 1 : 0;
	/* exactly as long, for the sanitizer to see what is read beyond */
	uint8_t    *bytes = malloc(length > 0 ? length : 1);
	uint64_t	seen = 0;
	knn_code_reader reader = {.allocator = knn_malloc_allocator, .width = WIDTH,
		.count = size > 0 ? data[0] : 0, .items = count_items, .state = &seen};
	knn_graph_source source = {bytes, length, bytes_read};
	int			result;

	if (length > 0)
		memcpy(bytes, data + 1, length);
	for (int i = 0; i < 4 && length >= HEADER; i++)
		bytes[24 + i] = (uint8_t) (crc_of(bytes, length) >> 8 * i);
	result = knn_code_file_read(&reader, &source);
	require((result == KNN_OK) == (reader.problem[0] == '\0'), "a refusal without a reason");
	require(result != KNN_OK || seen == reader.count, "not all items");
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

#define COUNT 5
#define MOST (1 + HEADER + COUNT * WIDTH)

int
main(int argc, char **argv)
{
	long		runs = argc > 1 ? atol(argv[1]) : 200000;
	uint8_t		good[MOST] = {COUNT};

	knn_code_file_header(good + 1, WIDTH, COUNT, 0);
	LLVMFuzzerTestOneInput(good, MOST);
	for (long run = 0; run < runs; run++)
	{
		uint8_t		bytes[MOST];
		size_t		size = next_random(4) ? MOST : next_random(MOST + 1);

		memcpy(bytes, good, MOST);
		for (uint32_t n = next_random(4); n > 0; n--)
			bytes[next_random(2) ? next_random(1 + HEADER) : next_random(MOST)] = (uint8_t) next_random(256);
		LLVMFuzzerTestOneInput(bytes, size);
	}
	printf("%ld inputs\n", runs);
	return 0;
}
#endif
