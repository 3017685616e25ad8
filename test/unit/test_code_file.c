/*
 * test_code_file.c
 *		Codes written to a file and read back; files that are damaged.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes_file.h"
#include "core/code_file.h"
#include "core/crc.h"
#include "core/rotation.h"
#include "unit.h"

#define DIM 37
#define N 900
#define HEADER KNN_CODE_FILE_HEADER

static float vectors[N][DIM];
static float centre[DIM];
static uint8_t signs[KNN_ROTATION_SIGN_BYTES(DIM)];

static knn_encoder
make_encoder(knn_encoding encoding)
{
	knn_encoder encoder = {.dim = DIM, .space = KNN_SPACE_L2, .encoding = encoding,
		.signs = signs, .centre = centre, .kernels = knn_kernels_get()};
	uint64_t	state = 3;

	knn_rotation_init(signs, DIM, 5);
	for (int j = 0; j < DIM; j++)
		centre[j] = unit_random_float(&state);
	for (int i = 0; i < N; i++)
	{
		for (int j = 0; j < DIM; j++)
			vectors[i][j] = unit_random_float(&state);
	}
	return encoder;
}

static void
set_crc(Bytes *b)
{
	knn_crc		crc;
	uint32_t	value;

	knn_crc_init(&crc, KNN_CRC32C);
	knn_crc_add(&crc, b->bytes + HEADER, (size_t) b->size - HEADER);
	value = knn_crc_value(&crc);
	for (int i = 0; i < 4; i++)
		b->bytes[24 + i] = (uint8_t) (value >> 8 * i);
}

static Bytes
written(const knn_encoder *encoder, uint32_t n)
{
	uint32_t	width = knn_code_file_width(encoder->encoding, DIM);
	Bytes		b = {calloc(1, HEADER + (size_t) width * n), HEADER + (uint64_t) width * n, -1};
	float		scratch[DIM];

	if (b.bytes == NULL)
		abort();
	for (uint32_t i = 0; i < n; i++)
		knn_code_file_item(encoder, vectors[i], b.bytes + HEADER + (size_t) width * i, scratch);
	knn_code_file_header(b.bytes, width, n, 0);
	set_crc(&b);
	return b;
}

/* Items are the encoder's; in order, and each once. */
typedef struct Seen
{
	const knn_encoder *encoder;
	uint64_t	next;
	long		wrong;
} Seen;

static void
see(void *state, uint64_t first, const uint8_t *items, uint32_t n)
{
	Seen	   *seen = state;
	uint32_t	width = knn_code_file_width(seen->encoder->encoding, DIM);

	seen->wrong += first != seen->next;
	for (uint32_t i = 0; i < n && first + i < N; i++)
	{
		const uint8_t *item = items + (size_t) width * i;
		knn_code_factors factors = knn_code_file_factors(item);
		knn_code_factors expected;
		uint8_t		code[DIM];
		float		scratch[DIM];

		knn_encode(seen->encoder, vectors[first + i], &expected, code, scratch);
		seen->wrong += memcmp(&factors, &expected, sizeof(factors)) != 0 ||
			memcmp(item + 12, code, knn_code_bytes(seen->encoder->encoding, DIM)) != 0;
	}
	seen->next = first + n;
}

static void *
no_memory(void *context, size_t size)
{
	(void) context;
	(void) size;
	return NULL;
}

static int
read_bytes(Bytes *b, const knn_encoder *encoder, uint32_t n, Seen *seen, knn_code_reader *reader)
{
	knn_graph_source source = {b, b->size, bytes_read};

	memset(seen, 0, sizeof(*seen));
	seen->encoder = encoder;
	memset(reader, 0, sizeof(*reader));
	reader->allocator = knn_malloc_allocator;
	reader->width = knn_code_file_width(encoder->encoding, DIM);
	reader->count = n;
	reader->items = see;
	reader->state = seen;
	return knn_code_file_read(reader, &source);
}

static void
test_round_trip(void)
{
	static const knn_encoding encodings[] = {KNN_ENCODING_ROTATED_8, KNN_ENCODING_ROTATED_4,
	KNN_ENCODING_ROTATED_2, KNN_ENCODING_ROTATED_1};
	static const uint32_t counts[] = {0, 1, 2, N};

	for (size_t e = 0; e < sizeof(encodings) / sizeof(encodings[0]); e++)
	{
		knn_encoder encoder = make_encoder(encodings[e]);

		for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++)
		{
			Bytes		b = written(&encoder, counts[c]);
			Seen		seen;
			knn_code_reader reader;

			unit_case("code file: encoding %d, %u codes", (int) encodings[e], counts[c]);
			UNIT_CHECK(knn_code_file_width(encodings[e], DIM) % 4 == 0, "width");
			UNIT_CHECK(read_bytes(&b, &encoder, counts[c], &seen, &reader) == KNN_OK, "%s",
					   reader.problem);
			UNIT_CHECK(seen.wrong == 0 && seen.next == counts[c], "%ld wrong of %llu", seen.wrong,
					   (unsigned long long) seen.next);
			free(b.bytes);
		}
	}
}

static void
refused(const Bytes *whole, const knn_encoder *encoder, uint64_t at, uint8_t byte, const char *problem)
{
	Bytes		b = {malloc((size_t) whole->size), whole->size, -1};
	Seen		seen;
	knn_code_reader reader;
	int			result;

	if (b.bytes == NULL)
		abort();
	memcpy(b.bytes, whole->bytes, (size_t) b.size);
	b.bytes[at] ^= byte;
	result = read_bytes(&b, encoder, N, &seen, &reader);
	UNIT_CHECK(result == KNN_ERROR_FORMAT && strstr(reader.problem, problem) != NULL,
			   "byte %llu: %d \"%s\"", (unsigned long long) at, result, reader.problem);
	free(b.bytes);
}

static void
test_damage(void)
{
	knn_encoder encoder = make_encoder(KNN_ENCODING_ROTATED_8);
	Bytes		b = written(&encoder, N);
	knn_graph_source source = {&b, b.size, bytes_read};
	Seen		seen;
	knn_code_reader reader;
	long		accepted = 0;
	long		fail;

	unit_case("code file: the reader names what is wrong");
	refused(&b, &encoder, 0, 1, "do not begin");
	refused(&b, &encoder, 8, 3, "version 2");
	refused(&b, &encoder, 12, 4, "expected 900 of 52");
	refused(&b, &encoder, 16, 1, "it has 901 codes");
	refused(&b, &encoder, 20, 1, "expected 900 of");
	refused(&b, &encoder, 24, 1, "checksum");
	refused(&b, &encoder, 31, 1, "is not zero");
	refused(&b, &encoder, HEADER, 1, "checksum");
	refused(&b, &encoder, b.size - 1, 0x80, "checksum");

	unit_case("code file: cut off at any byte, and longer");
	for (uint64_t size = 0; size < b.size; size += size < 100 ? 1 : 131)
	{
		Bytes		part = {b.bytes, size, -1};

		accepted += read_bytes(&part, &encoder, N, &seen, &reader) != KNN_ERROR_FORMAT;
	}
	UNIT_CHECK(accepted == 0, "%ld parts were accepted", accepted);
	UNIT_CHECK(read_bytes(&b, &encoder, N - 1, &seen, &reader) == KNN_ERROR_FORMAT && seen.next == 0,
			   "one code too many");

	unit_case("code file: a file that was read before");
	b.bytes[HEADER + 20] ^= 1;
	UNIT_CHECK(read_bytes(&b, &encoder, N, &seen, &reader) == KNN_ERROR_FORMAT, "checksum");
	reader.again = true;
	UNIT_CHECK(knn_code_file_read(&reader, &source) == KNN_OK && reader.problem[0] == '\0', "%s",
			   reader.problem);
	b.bytes[HEADER + 20] ^= 1;

	unit_case("code file: callbacks that fail");
	for (fail = 0; fail < 10; fail++)
	{
		int			result;

		b.until_failure = fail;
		result = read_bytes(&b, &encoder, N, &seen, &reader);
		if (result == KNN_OK)
			break;
		UNIT_CHECK(result == KNN_ERROR_IO && reader.problem[0] == '\0', "read: %d", result);
	}
	UNIT_CHECK(fail == 2, "read by %ld calls", fail);
	b.until_failure = -1;
	reader.allocator.alloc = no_memory;
	UNIT_CHECK(knn_code_file_read(&reader, &source) == KNN_ERROR_NO_MEMORY, "no memory");
	free(b.bytes);
}

int
main(void)
{
	test_round_trip();
	test_damage();
	return unit_done("test_code_file");
}
