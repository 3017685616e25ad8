/*
 * test_cluster_file.c
 *		Centroids and lists written to a file and read back; files that are damaged.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/cluster_file.h"
#include "core/crc.h"
#include "unit.h"

#define MOST 4096
#define NLISTS 5
#define COUNT 103

typedef struct Bytes
{
	uint8_t		bytes[MOST];
	uint64_t	size;
	long		until_failure;	/* calls that still succeed; -1: all */
} Bytes;

static bool
bytes_write(void *state, uint64_t offset, const void *from, size_t n)
{
	Bytes	   *b = state;

	if (b->until_failure == 0 || offset + n > MOST)
		return false;
	b->until_failure -= b->until_failure > 0;
	memcpy(b->bytes + offset, from, n);
	b->size = offset + n > b->size ? offset + n : b->size;
	return true;
}

static bool
bytes_read(void *state, uint64_t offset, void *to, size_t n)
{
	Bytes	   *b = state;

	if (b->until_failure == 0 || offset + n > b->size)
		return false;
	b->until_failure -= b->until_failure > 0;
	memcpy(to, b->bytes + offset, n);
	return true;
}

static void
set_crc(Bytes *b)
{
	knn_crc		crc;
	uint32_t	value;

	knn_crc_init(&crc, KNN_CRC32C);
	knn_crc_add(&crc, b->bytes + KNN_CLUSTER_FILE_HEADER, b->size - KNN_CLUSTER_FILE_HEADER);
	value = knn_crc_value(&crc);
	for (int i = 0; i < 4; i++)
		b->bytes[32 + i] = (uint8_t) (value >> 8 * i);
}

/* A file of lists of vectors i % NLISTS. */
static knn_cluster_file
make(bool floats, Bytes *b)
{
	static float centroids[NLISTS * 3];
	static uint32_t lists[COUNT];
	knn_cluster_file file = {.allocator = knn_malloc_allocator,.unit = floats ? 12 : 3,
	.floats = floats,.nlists = NLISTS,.count = COUNT,.centroids = centroids,.lists = lists};
	knn_graph_sink sink = {.state = b,.write = bytes_write};

	for (int i = 0; i < NLISTS * 3; i++)
		centroids[i] = (float) i / 7 - 1;
	for (uint32_t i = 0; i < COUNT; i++)
		lists[i] = i % NLISTS;
	memset(b, 0, sizeof(*b));
	b->until_failure = -1;
	UNIT_CHECK(knn_cluster_file_write(&file, &sink) == KNN_OK, "write");
	UNIT_CHECK(b->size == knn_cluster_file_size(&file), "%llu bytes, said %llu",
			   (unsigned long long) b->size, (unsigned long long) knn_cluster_file_size(&file));
	return file;
}

static void
release(knn_cluster_file *file)
{
	free(file->centroids);
	free(file->lists);
}

static int
read_back(knn_cluster_file *file, Bytes *b)
{
	knn_graph_source source = {b, b->size, bytes_read};

	return knn_cluster_file_read(file, &source);
}

static void
test_round(bool floats)
{
	Bytes		b;
	knn_cluster_file written = make(floats, &b);
	knn_cluster_file file = written;

	unit_case("written and read, %s", floats ? "floats" : "bytes");
	UNIT_CHECK(read_back(&file, &b) == KNN_OK, "%s", file.problem);
	UNIT_CHECK(memcmp(file.centroids, written.centroids, file.unit * NLISTS) == 0, "centroids");
	UNIT_CHECK(memcmp(file.lists, written.lists, sizeof(uint32_t) * COUNT) == 0, "lists");
	release(&file);
}

/* Refused, with a reason, and nothing kept. */
static void
refused(const char *what, knn_cluster_file file, Bytes *b)
{
	unit_case("refused: %s", what);
	UNIT_CHECK(read_back(&file, b) == KNN_ERROR_FORMAT, "read");
	UNIT_CHECK(strstr(file.problem, what) != NULL, "\"%s\"", file.problem);
	UNIT_CHECK(file.centroids == NULL && file.lists == NULL, "something is kept");
}

static void
test_damage(void)
{
	Bytes		good;
	knn_cluster_file file = make(true, &good);
	uint64_t	lists = KNN_CLUSTER_FILE_HEADER + 64;	/* 60 of centroids, padded */
	Bytes		b;

	for (uint64_t size = 0; size < good.size; size++)
	{
		knn_cluster_file cut = file;

		b = good;
		b.size = size;
		if (read_back(&cut, &b) != KNN_ERROR_FORMAT)
			UNIT_CHECK(false, "%llu bytes of it are taken", (unsigned long long) size);
	}
	for (uint64_t at = 0; at < good.size; at++)
	{
		knn_cluster_file changed = file;

		b = good;
		b.bytes[at] ^= 0x10;
		if (read_back(&changed, &b) != KNN_ERROR_FORMAT)
			UNIT_CHECK(false, "byte %llu may be changed", (unsigned long long) at);
	}

	b = good;
	b.bytes[lists + 4 * 50] = NLISTS;
	refused("its checksum is wrong", file, &b);
	set_crc(&b);
	refused("vector 50 is in list 5 of 5", file, &b);
	b = good;
	b.bytes[KNN_CLUSTER_FILE_HEADER + 12 + 2] = 0x80;
	b.bytes[KNN_CLUSTER_FILE_HEADER + 12 + 3] = 0x7F;
	set_crc(&b);
	refused("centroid 1 is not finite", file, &b);
	b = good;
	b.bytes[lists - 1] = 1;
	set_crc(&b);
	refused("what fills it up is not zero", file, &b);
	file.nlists = NLISTS + 1;
	refused("it has 5 lists, expected 6", file, &good);
	file.nlists = NLISTS;
	file.count = COUNT - 1;
	refused("it has 103 vectors, expected 102", file, &good);
	file.count = COUNT;
	file.floats = false;
	refused("kind 1, expected 12 of kind 0", file, &good);
}

static void
test_failures(void)
{
	Bytes		b;
	knn_cluster_file written = make(true, &b);

	unit_case("reading and writing that fail");
	for (long n = 0; n < 3; n++)
	{
		knn_cluster_file file = written;

		b.until_failure = n;
		UNIT_CHECK(read_back(&file, &b) == KNN_ERROR_IO, "read %ld", n);
		UNIT_CHECK(file.centroids == NULL && file.lists == NULL, "something is kept");
	}
	for (long n = 0; n < 4; n++)
	{
		knn_graph_sink sink = {.state = &b,.write = bytes_write};

		b.until_failure = n;
		UNIT_CHECK(knn_cluster_file_write(&written, &sink) == KNN_ERROR_IO, "write %ld", n);
	}
}

int
main(void)
{
	test_round(true);
	test_round(false);
	test_damage();
	test_failures();
	return unit_done("test_cluster_file");
}
