/*
 * fuzz_faiss_file.c
 *		Fuzz target of the reader of faiss files.
 *
 * The input is allocated to the byte, for the address sanitizer, at an odd address.
 * What is accepted is walked through by the numbers in it, as whoever uses it does:
 * all of it has to lie in the input.  What is refused has a message.  A model written
 * from what was accepted is accepted.
 *
 * Built with KNN_FUZZ_MAIN it is a program of its own that takes the files of the
 * corpus: every beginning of each, every byte changed in several ways, every count
 * made huge, and mutations from a fixed random sequence.
 */
#include "core/faiss_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

static long accepted;

/* Read every byte that belongs to the array. */
static uint32_t
touch(const uint8_t *data, uint64_t size)
{
	uint32_t	sum = 0;

	for (uint64_t i = 0; i < size; i++)
		sum += data[i];
	return sum;
}

static uint32_t
walk_graph(const knn_faiss_file *file)
{
	const knn_faiss_hnsw *g = &file->hnsw;
	uint32_t	sum = touch(g->level_probabilities, 8 * g->level_count);

	for (uint64_t i = 0; i < file->ntotal; i++)
	{
		int32_t		levels = knn_faiss_i32(g->levels, i);
		uint64_t	first = knn_faiss_u64(g->offsets, i);

		REQUIRE(levels >= 1 && (uint64_t) levels <= g->level_count);
		for (int32_t l = 0; l < levels; l++)
			for (int32_t k = knn_faiss_i32(g->level_neighbours, l);
				 k < knn_faiss_i32(g->level_neighbours, l + 1); k++)
			{
				int32_t		neighbour = knn_faiss_i32(g->neighbours, first + k);

				REQUIRE(neighbour >= -1);
				if (neighbour >= 0)
					REQUIRE(knn_faiss_i32(g->levels, neighbour) > l);
			}
	}
	if (g->entry_point >= 0)
		sum += knn_faiss_u32(g->levels, g->entry_point);
	return sum;
}

static uint32_t
walk(const knn_faiss_file *file)
{
	uint32_t	sum = 0;

	REQUIRE(file->dimension > 0);
	if (file->ids)
		sum += touch(file->ids, 8 * file->ntotal);
	if (file->codes.data)
		sum += touch(file->codes.data, file->codes.size * file->ntotal);
	if (file->codes.encoding == KNN_FAISS_PQ)
		sum += touch(file->codes.codebooks, (uint64_t) 4 * file->dimension << file->codes.pq_bits);
	if (file->structure == KNN_FAISS_HNSW)
		sum += walk_graph(file);
	if (file->structure == KNN_FAISS_IVF)
	{
		knn_faiss_list list;
		uint64_t	n = 0;

		sum += touch(file->ivf.centroids,
					 file->ivf.nlist * (uint64_t) (file->binary ? file->dimension / 8 : 4 * file->dimension));
		knn_faiss_begin_lists(file, &list);
		while (knn_faiss_next_list(file, &list))
		{
			REQUIRE(list.number < file->ivf.nlist);
			sum += touch(list.codes, list.count * file->codes.size) + touch(list.ids, 8 * list.count);
			n += list.count;
		}
		REQUIRE(n == file->ntotal);
	}
	return sum;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t    *copy = malloc(size + 1);
	knn_faiss_file file;
	knn_faiss_error error;

	if (size)
		memcpy(copy + 1, data, size);
	if (knn_faiss_parse(copy + 1, size, &file, &error))
	{
		volatile uint32_t sum = walk(&file);

		(void) sum;
		accepted++;
	}
	else
	{
		REQUIRE(error.message[0] != '\0');
		REQUIRE(error.offset <= size);
	}
	free(copy);
	return 0;
}

#ifdef KNN_FUZZ_MAIN
#include <dirent.h>

#define MAX_FILE 16384

static uint64_t state = 88172645463325252u;

static uint32_t
next_random(uint32_t limit)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t) ((state >> 33) % limit);
}

/* Numbers that break sums and products. */
static const uint64_t numbers[] = {
	0, 1, 2, 0x7f, 0xff, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x1fffffffffffffff,
	0x2000000000000000, 0x4000000000000000, 0x7fffffffffffffff, 0x8000000000000000,
	0xfffffffffffffff8, 0xffffffffffffffff
};

#define NNUMBERS (sizeof(numbers) / sizeof(numbers[0]))

static void
put_number(uint8_t *at, uint64_t number, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t) (number >> 8 * i);
}

static long
mutate_file(const uint8_t *file, size_t size, long random_runs)
{
	uint8_t		buf[MAX_FILE + 8];
	long		runs = 0;

	for (size_t part = 0; part <= size; part++, runs++)
		LLVMFuzzerTestOneInput(file, part);
	memcpy(buf, file, size);
	for (size_t at = 0; at < size; at++)
	{
		static const uint8_t masks[] = {0x01, 0x80, 0xff, 0x10};

		for (size_t m = 0; m < sizeof(masks); m++, runs++)
		{
			buf[at] = file[at] ^ masks[m];
			LLVMFuzzerTestOneInput(buf, size);
		}
		buf[at] = file[at];
		for (size_t n = 0; n < NNUMBERS && at + 8 <= size; n++, runs++)
		{
			size_t		bytes = n < 8 ? 4 : 8;

			put_number(buf + at, numbers[n], bytes);
			LLVMFuzzerTestOneInput(buf, size);
			memcpy(buf + at, file + at, bytes);
		}
	}
	for (; random_runs > 0; random_runs--, runs++)
	{
		size_t		n = size;

		memcpy(buf, file, size);
		for (uint32_t changes = 1 + next_random(4); changes > 0; changes--)
		{
			uint32_t	at = next_random((uint32_t) n);

			switch (next_random(4))
			{
				case 0:
					buf[at] = (uint8_t) next_random(256);
					break;
				case 1:
					if (at + 8 <= n)
						put_number(buf + at, numbers[next_random(NNUMBERS)], 8);
					break;
				case 2:
					/* one byte less, and all behind it elsewhere */
					memmove(buf + at, buf + at + 1, n - at - 1);
					n -= n > 1;
					break;
				case 3:
					if (n < MAX_FILE)
					{
						memmove(buf + at + 1, buf + at, n - at);
						n++;
					}
					break;
			}
		}
		LLVMFuzzerTestOneInput(buf, n);
	}
	return runs;
}

int
main(int argc, char **argv)
{
	const char *directory = argc > 2 ? argv[2] : KNN_FUZZ_CORPUS;
	long		random_runs = argc > 1 ? atol(argv[1]) : 3000;
	struct dirent **entries;
	int			n = scandir(directory, &entries, NULL, alphasort);
	int			files = 0;
	long		runs = 0;

	for (int i = 0; i < n; i++)
	{
		const char *dot = strrchr(entries[i]->d_name, '.');
		char		path[512];
		uint8_t		file[MAX_FILE];
		FILE	   *in;

		snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name);
		in = dot && strcmp(dot, ".faiss") == 0 ? fopen(path, "rb") : NULL;
		if (in)
		{
			size_t		size = fread(file, 1, sizeof(file), in);

			fclose(in);
			runs += mutate_file(file, size, random_runs);
			files++;
		}
		free(entries[i]);
	}
	REQUIRE(files > 0);
	free(entries);
	printf("%ld inputs from %d files, %ld of them accepted\n", runs, files, accepted);
	return 0;
}
#endif
