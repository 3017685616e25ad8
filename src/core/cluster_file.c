/*
 * cluster_file.c
 *		Centroids and lists as a file; see cluster_file.h.
 */
#include "core/cluster_file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/crc.h"
#include "core/little_endian.h"
#include "core/problem.h"

#define MAGIC "KNNLISTS"
#define ZEROS_FROM 36			/* in the header */
#define WORDS_AT_ONCE 16384

/* ---- bytes ---- */

static uint64_t
centroid_bytes(const knn_cluster_file *file)
{
	return (uint64_t) file->unit * file->nlists;
}

static uint64_t
list_bytes(const knn_cluster_file *file)
{
	return sizeof(uint32_t) * (uint64_t) file->count;
}

/* Zeros after so many bytes. */
static uint32_t
padding(uint64_t bytes)
{
	return (uint32_t) (-bytes & 7);
}

static uint64_t
padded(uint64_t bytes)
{
	return bytes + padding(bytes);
}

uint64_t
knn_cluster_file_size(const knn_cluster_file *file)
{
	return KNN_CLUSTER_FILE_HEADER + padded(centroid_bytes(file)) + padded(list_bytes(file));
}

/* ---- reading ---- */

static int
check_header(knn_cluster_file *file, const uint8_t *header, uint64_t size)
{
	uint64_t	count = knn_get32(header + 24) | (uint64_t) knn_get32(header + 28) << 32;

	if (memcmp(header, MAGIC, 8) != 0)
		return knn_refuse(file, "it does not begin with \"" MAGIC "\"");
	if (knn_get32(header + 8) != KNN_CLUSTER_FILE_VERSION)
		return knn_refuse(file, "it has version %u, expected %d", knn_get32(header + 8),
						  KNN_CLUSTER_FILE_VERSION);
	if (knn_get32(header + 12) != file->unit || knn_get32(header + 16) != (file->floats ? 1 : 0))
		return knn_refuse(file, "its centroids have %u bytes of kind %u, expected %u of kind %d",
						  knn_get32(header + 12), knn_get32(header + 16), file->unit, file->floats ? 1 : 0);
	if (knn_get32(header + 20) != file->nlists)
		return knn_refuse(file, "it has %u lists, expected %u", knn_get32(header + 20), file->nlists);
	if (count != file->count)
		return knn_refuse(file, "it has %llu vectors, expected %u", (unsigned long long) count,
						  file->count);
	for (int i = ZEROS_FROM; i < KNN_CLUSTER_FILE_HEADER; i++)
	{
		if (header[i] != 0)
			return knn_refuse(file, "byte %d of its header is not zero", i);
	}
	if (size != knn_cluster_file_size(file))
		return knn_refuse(file, "it is %llu bytes long, expected %llu", (unsigned long long) size,
						  (unsigned long long) knn_cluster_file_size(file));
	return KNN_OK;
}

/* A part of the file, with its padding, which the memory has room for. */
static int
read_part(knn_cluster_file *file, const knn_graph_source *source, uint64_t offset, uint64_t bytes,
		  uint8_t *to, knn_crc *crc)
{
	const size_t at_once = sizeof(uint32_t) * WORDS_AT_ONCE;
	uint64_t	all = padded(bytes);

	for (uint64_t at = 0; at < all; at += at_once)
	{
		size_t		n = all - at < at_once ? (size_t) (all - at) : at_once;

		if (file->check)
			file->check();
		if (!source->read(source->state, offset + at, to + at, n))
			return KNN_ERROR_IO;
		knn_crc_add(crc, to + at, n);
	}
	for (uint64_t i = bytes; i < all; i++)
	{
		if (to[i] != 0)
			return knn_refuse(file, "what fills it up is not zero");
	}
	return KNN_OK;
}

/* In the order of this machine's bytes. */
static void
turn_words(uint32_t *words, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		words[i] = knn_get32((const uint8_t *) &words[i]);
}

static int
check_parts(knn_cluster_file *file)
{
	uint64_t	floats = file->floats ? centroid_bytes(file) / sizeof(float) : 0;

	for (uint64_t i = 0; i < floats; i++)
	{
		if (!isfinite(((const float *) file->centroids)[i]))
			return knn_refuse(file, "centroid %u is not finite", (uint32_t) (i / (file->unit / sizeof(float))));
	}
	for (uint32_t i = 0; i < file->count; i++)
	{
		if (i % WORDS_AT_ONCE == 0 && file->check)
			file->check();
		if (file->lists[i] >= file->nlists)
			return knn_refuse(file, "vector %u is in list %u of %u", i, file->lists[i], file->nlists);
	}
	return KNN_OK;
}

static void
forget(knn_cluster_file *file)
{
	if (file->centroids)
		file->allocator.release(file->allocator.context, file->centroids);
	if (file->lists)
		file->allocator.release(file->allocator.context, file->lists);
	file->centroids = NULL;
	file->lists = NULL;
}

static int
read_parts(knn_cluster_file *file, const knn_graph_source *source, uint32_t expected)
{
	uint64_t	first = padded(centroid_bytes(file));
	uint64_t	second = padded(list_bytes(file));
	knn_crc		crc;
	int			result;

	if (first < SIZE_MAX - 8 && second < SIZE_MAX - 8)
	{
		file->centroids = file->allocator.alloc(file->allocator.context, (size_t) first + 8);
		file->lists = file->allocator.alloc(file->allocator.context, (size_t) second + 8);
	}
	if (!file->centroids || !file->lists)
	{
		snprintf(file->problem, sizeof(file->problem), "out of memory");
		return KNN_ERROR_NO_MEMORY;
	}
	knn_crc_init(&crc, KNN_CRC32C);
	result = read_part(file, source, KNN_CLUSTER_FILE_HEADER, centroid_bytes(file),
					   file->centroids, &crc);
	if (result == KNN_OK)
		result = read_part(file, source, KNN_CLUSTER_FILE_HEADER + first, list_bytes(file),
						   (uint8_t *) file->lists, &crc);
	if (result != KNN_OK)
		return result;
	if (knn_crc_value(&crc) != expected)
		return knn_refuse(file, "its checksum is wrong");
	if (file->floats)
		turn_words(file->centroids, centroid_bytes(file) / sizeof(float));
	turn_words(file->lists, file->count);
	return check_parts(file);
}

int
knn_cluster_file_read(knn_cluster_file *file, const knn_graph_source *source)
{
	uint8_t		header[KNN_CLUSTER_FILE_HEADER];
	int			result;

	file->centroids = NULL;
	file->lists = NULL;
	file->problem[0] = '\0';
	if (source->size < KNN_CLUSTER_FILE_HEADER)
		return knn_refuse(file, "it is %llu bytes long", (unsigned long long) source->size);
	if (!source->read(source->state, 0, header, sizeof(header)))
		return KNN_ERROR_IO;
	result = check_header(file, header, source->size);
	if (result == KNN_OK)
		result = read_parts(file, source, knn_get32(header + 32));
	if (result != KNN_OK)
		forget(file);
	return result;
}

/* ---- writing ---- */

typedef struct Writer
{
	const knn_graph_sink *sink;
	uint64_t	offset;
	knn_crc		crc;
} Writer;

static bool
write_bytes(Writer *writer, const void *bytes, size_t n)
{
	if (n > 0 && !writer->sink->write(writer->sink->state, writer->offset, bytes, n))
		return false;
	knn_crc_add(&writer->crc, bytes, n);
	writer->offset += n;
	return true;
}

static bool
write_words(Writer *writer, const uint32_t *words, uint64_t n)
{
	uint8_t		buffer[4096];
	const uint64_t at_once = sizeof(buffer) / sizeof(uint32_t);

	for (uint64_t at = 0; at < n; at += at_once)
	{
		uint64_t	count = n - at < at_once ? n - at : at_once;

		for (uint64_t i = 0; i < count; i++)
			knn_put32(buffer + sizeof(uint32_t) * i, words[at + i]);
		if (!write_bytes(writer, buffer, sizeof(uint32_t) * (size_t) count))
			return false;
	}
	return true;
}

static bool
write_parts(Writer *writer, const knn_cluster_file *file)
{
	static const uint8_t zeros[8] = {0};
	bool		written = file->floats ?
		write_words(writer, file->centroids, centroid_bytes(file) / sizeof(float)) :
		write_bytes(writer, file->centroids, (size_t) centroid_bytes(file));

	return written &&
		write_bytes(writer, zeros, padding(centroid_bytes(file))) &&
		write_words(writer, file->lists, file->count) &&
		write_bytes(writer, zeros, padding(list_bytes(file)));
}

int
knn_cluster_file_write(const knn_cluster_file *file, const knn_graph_sink *sink)
{
	uint8_t		header[KNN_CLUSTER_FILE_HEADER] = {0};
	Writer		writer = {.sink = sink, .offset = KNN_CLUSTER_FILE_HEADER};

	knn_crc_init(&writer.crc, KNN_CRC32C);
	if (!write_parts(&writer, file))
		return KNN_ERROR_IO;
	memcpy(header, MAGIC, 8);
	knn_put32(header + 8, KNN_CLUSTER_FILE_VERSION);
	knn_put32(header + 12, file->unit);
	knn_put32(header + 16, file->floats ? 1 : 0);
	knn_put32(header + 20, file->nlists);
	knn_put32(header + 24, file->count);
	knn_put32(header + 32, knn_crc_value(&writer.crc));
	return sink->write(sink->state, 0, header, sizeof(header)) ? KNN_OK : KNN_ERROR_IO;
}
