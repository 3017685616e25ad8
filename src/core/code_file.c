/*
 * code_file.c
 *		The codes of a finished graph as a file; see code_file.h.
 */
#include "core/code_file.h"

#include <stdio.h>
#include <string.h>

#include "core/crc.h"
#include "core/little_endian.h"
#include "core/problem.h"

#define MAGIC "KNNCODES"
#define FACTOR_BYTES (3 * sizeof(uint32_t))
#define READ_AT_ONCE ((uint32_t) 1 << 18)

/* ---- bytes ---- */

static float
get_float(const uint8_t *p)
{
	uint32_t	bits = knn_get32(p);
	float		value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static void
put_float(uint8_t *p, float value)
{
	uint32_t	bits;

	memcpy(&bits, &value, sizeof(bits));
	knn_put32(p, bits);
}

/* ---- items ---- */

uint32_t
knn_code_file_width(knn_encoding encoding, uint32_t dim)
{
	return (uint32_t) (FACTOR_BYTES + knn_code_bytes(encoding, dim) + 3) / 4 * 4;
}

void
knn_code_file_item(const knn_encoder *encoder, const void *v, uint8_t *item, float *scratch)
{
	uint32_t	width = knn_code_file_width(encoder->encoding, encoder->dim);
	uint32_t	used = (uint32_t) FACTOR_BYTES + knn_code_bytes(encoder->encoding, encoder->dim);
	knn_code_factors factors;

	knn_encode(encoder, v, &factors, item + FACTOR_BYTES, scratch);
	put_float(item, factors.norm2);
	put_float(item + 4, factors.scale);
	put_float(item + 8, factors.err);
	memset(item + used, 0, width - used);
}

knn_code_factors
knn_code_file_factors(const uint8_t *item)
{
	knn_code_factors factors = {get_float(item), get_float(item + 4), get_float(item + 8)};

	return factors;
}

/* ---- the file ---- */

void
knn_code_file_header(uint8_t header[KNN_CODE_FILE_HEADER], uint32_t width, uint64_t count,
					 uint32_t crc)
{
	memcpy(header, MAGIC, 8);
	knn_put32(header + 8, KNN_CODE_FILE_VERSION);
	knn_put32(header + 12, width);
	knn_put32(header + 16, (uint32_t) count);
	knn_put32(header + 20, (uint32_t) (count >> 32));
	knn_put32(header + 24, crc);
	knn_put32(header + 28, 0);
}

static int
check_header(knn_code_reader *reader, const uint8_t *header, uint64_t size)
{
	uint64_t	count = knn_get32(header + 16) | (uint64_t) knn_get32(header + 20) << 32;
	uint64_t	expected = KNN_CODE_FILE_HEADER + reader->count * reader->width;

	if (memcmp(header, MAGIC, 8) != 0)
		return knn_refuse(reader, "its codes do not begin with \"" MAGIC "\"");
	if (knn_get32(header + 8) != KNN_CODE_FILE_VERSION)
		return knn_refuse(reader, "its codes have version %u, expected %d", knn_get32(header + 8),
						  KNN_CODE_FILE_VERSION);
	if (knn_get32(header + 12) != reader->width || count != reader->count)
		return knn_refuse(reader, "it has %llu codes of %u bytes, expected %llu of %u",
						  (unsigned long long) count, knn_get32(header + 12),
						  (unsigned long long) reader->count, reader->width);
	if (knn_get32(header + 28) != 0)
		return knn_refuse(reader, "the end of the header of its codes is not zero");
	if (size != expected)
		return knn_refuse(reader, "its codes are %llu bytes long, expected %llu",
						  (unsigned long long) size, (unsigned long long) expected);
	return KNN_OK;
}

static int
read_items(knn_code_reader *reader, const knn_graph_source *source, uint8_t *buffer,
		   uint32_t at_once, knn_crc *crc)
{
	for (uint64_t first = 0; first < reader->count; first += at_once)
	{
		uint64_t	left = reader->count - first;
		uint32_t	n = left < at_once ? (uint32_t) left : at_once;
		size_t		bytes = (size_t) n * reader->width;

		if (reader->check)
			reader->check();
		if (!source->read(source->state, KNN_CODE_FILE_HEADER + first * reader->width, buffer, bytes))
			return KNN_ERROR_IO;
		if (!reader->again)
			knn_crc_add(crc, buffer, bytes);
		reader->items(reader->state, first, buffer, n);
	}
	return KNN_OK;
}

int
knn_code_file_read(knn_code_reader *reader, const knn_graph_source *source)
{
	uint8_t		header[KNN_CODE_FILE_HEADER];
	uint32_t	at_once = reader->width < READ_AT_ONCE ? READ_AT_ONCE / reader->width : 1;
	uint8_t    *buffer;
	knn_crc		crc;
	int			result;

	reader->problem[0] = '\0';
	if (source->size < KNN_CODE_FILE_HEADER)
		return knn_refuse(reader, "its codes are %llu bytes long", (unsigned long long) source->size);
	if (!source->read(source->state, 0, header, sizeof(header)))
		return KNN_ERROR_IO;
	result = check_header(reader, header, source->size);
	if (result != KNN_OK)
		return result;
	buffer = reader->allocator.alloc(reader->allocator.context, (size_t) at_once * reader->width);
	if (buffer == NULL)
	{
		snprintf(reader->problem, sizeof(reader->problem), "out of memory");
		return KNN_ERROR_NO_MEMORY;
	}
	knn_crc_init(&crc, KNN_CRC32C);
	result = read_items(reader, source, buffer, at_once, &crc);
	if (result == KNN_OK && !reader->again && knn_crc_value(&crc) != knn_get32(header + 24))
		result = knn_refuse(reader, "the checksum of its codes is wrong");
	reader->allocator.release(reader->allocator.context, buffer);
	return result;
}
