/*
 * s3_get.c
 *		Reading objects from a store that speaks S3.
 *
 * The object is asked for first, and then read in ranges, all of the same ETag.  A range
 * that breaks off is continued where it broke.  Checksums are of the whole object or, of a
 * multipart upload, of its parts' checksums: then the ranges are its parts, as far as the
 * size of the first one and their number agree.  Some stores do not say which it is: then
 * either will do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/http_text.h"
#include "builder/s3.h"
#include "core/crc.h"

#define PARTS_MOST 10000		/* of S3's multipart uploads */
#define WORTH_ANOTHER (1024 * 1024) /* bytes after which attempts are counted anew */

typedef struct Download
{
	s3_repository *s3;
	const char *key;
	const builder_local *file;
	s3_head		head;
	char		if_match[S3_TEXT + 16];
	uint32_t	polynomial;		/* 0: no checksum is known */
	const char *checksum;
	uint64_t	part_bytes;
	uint32_t	nparts;
	uint32_t   *crcs;			/* of the ranges */
	s3_parallel parallel;
} Download;

/* ---- a range ---- */

typedef struct Stream
{
	Download   *download;
	builder_http *http;
	s3_request *request;
	uint64_t	start;
	uint64_t	length;
	uint64_t	done;
	uint64_t	counted;		/* done, when attempts were last counted anew */
	bool		checked;		/* that this answer is the range */
	char		range[64];
	knn_crc		crc;
	builder_error *error;
} Stream;

static bool
begin_range(void *state, builder_http_request *http)
{
	Stream	   *stream = state;

	if (stream->done - stream->counted >= WORTH_ANOTHER)
	{
		stream->counted = stream->done;
		stream->request->attempts = 0;
	}
	snprintf(stream->range, sizeof(stream->range), "%llu-%llu",
			 (unsigned long long) (stream->start + stream->done),
			 (unsigned long long) (stream->start + stream->length - 1));
	http->range = stream->range;
	stream->checked = false;
	return true;
}

static bool
take_range(void *state, const void *bytes, size_t n)
{
	Stream	   *stream = state;
	Download   *download = stream->download;

	if (!stream->checked)
	{
		const char *value = builder_http_header(stream->http, "Content-Range");

		stream->checked = value &&
			builder_content_range_is(value, stream->start + stream->done,
									 stream->start + stream->length - 1, download->head.size);
	}
	if (!stream->checked || n > stream->length - stream->done)
		return builder_error_set(stream->error, BUILDER_REPOSITORY,
								 "the object store gave another range of object \"%.150s\" than it was asked for",
								 download->key);
	if (!builder_local_write(download->file, stream->start + stream->done, bytes, n, stream->error))
		return false;
	if (download->polynomial)
		knn_crc_add(&stream->crc, bytes, n);
	stream->done += n;
	__atomic_add_fetch(&download->parallel.moved, n, __ATOMIC_RELAXED);
	return true;
}

static bool
get_range(void *state, uint32_t part, builder_http *http, const builder_going *going,
		  builder_error *error)
{
	Download   *download = state;
	uint64_t	start = part * download->part_bytes;
	uint64_t	left = download->head.size - start;
	Stream		stream = {.download = download, .http = http, .start = start, .error = error,
		.length = left < download->part_bytes ? left : download->part_bytes};
	s3_request	request = {.http = {.method = BUILDER_HTTP_GET, .write_status = 206,
			.write = take_range, .state = &stream, .going = *going},
		.key = download->key, .begin = begin_range,
		.headers = {download->if_match[0] ? download->if_match : NULL}};
	long		status;

	stream.request = &request;
	if (download->polynomial)
		knn_crc_init(&stream.crc, download->polynomial);
	status = s3_do(download->s3, http, &request, error);
	if (status == 0)
		return false;
	if (status == 412)
		return builder_error_set(error, BUILDER_REPOSITORY,
								 "object \"%.150s\" changed while it was read", download->key);
	if (status != 206)
		return s3_refused(download->s3, http, "give", download->key, error);
	if (stream.done < stream.length)
		return builder_error_set(error, BUILDER_REPOSITORY,
								 "the object store gave less of object \"%.150s\" than it has",
								 download->key);
	if (download->polynomial)
		download->crcs[part] = knn_crc_value(&stream.crc);
	return true;
}

/* ---- checksums ---- */

/*
 * Choose ranges that fit the checksum the store tells; without one, or with one whose
 * parts cannot be found out, nothing is checked.
 */
static bool
choose_ranges(Download *download, const builder_going *going, builder_error *error)
{
	s3_head    *head = &download->head;
	const char *count;
	s3_head		first;
	uint64_t	parts;
	uint64_t	told;
	long		status;

	download->checksum = head->crc32[0] ? head->crc32 : head->crc32c;
	download->polynomial = head->crc32[0] ? KNN_CRC32 : head->crc32c[0] ? KNN_CRC32C : 0;
	download->part_bytes = head->size / PARTS_MOST < S3_PART_BYTES ? S3_PART_BYTES :
		head->size / PARTS_MOST + 1;
	if (download->polynomial == 0 || !(head->of_parts || head->only_of_parts))
		return true;
	status = s3_ask(download->s3, download->key, 1, going, &first, error);
	if (status == 0)
		return false;
	if ((status == 200 || status == 206) && strcmp(first.etag, head->etag) == 0 &&
		first.size > 0 && first.size <= head->size)
	{
		parts = (head->size + first.size - 1) / first.size;
		count = strchr(download->checksum, '-');
		/* not all stores tell their number */
		if (parts <= PARTS_MOST &&
			(count == NULL || (builder_whole_number(count + 1, &told) && told == parts)))
		{
			download->part_bytes = first.size;
			return true;
		}
	}
	if (head->only_of_parts)
		download->polynomial = 0;
	return true;
}

static bool
is_checksum(const Download *download, uint32_t crc)
{
	char		text[BUILDER_CRC_TEXT];

	builder_crc_text(text, crc);
	return strcspn(download->checksum, "-") == strlen(text) &&
		strncmp(text, download->checksum, strlen(text)) == 0;
}

static bool
verify(const Download *download, builder_error *error)
{
	uint32_t	whole = 0;
	knn_crc    *crc;
	bool		right;

	if (download->polynomial == 0)
		return true;
	crc = malloc(sizeof(*crc));
	if (crc == NULL)
		return builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
	knn_crc_init(crc, download->polynomial);
	for (uint32_t i = 0; i < download->nparts; i++)
	{
		uint32_t	part = download->crcs[i];
		uint64_t	left = download->head.size - i * download->part_bytes;
		uint8_t		bytes[4] = {(uint8_t) (part >> 24), (uint8_t) (part >> 16),
		(uint8_t) (part >> 8), (uint8_t) part};

		knn_crc_add(crc, bytes, 4);
		whole = knn_crc_join(download->polynomial, whole, part,
							 left < download->part_bytes ? left : download->part_bytes);
	}
	right = (!download->head.only_of_parts && is_checksum(download, whole)) ||
		((download->head.of_parts || download->head.only_of_parts) &&
		 is_checksum(download, knn_crc_value(crc)));
	free(crc);
	if (right)
		return true;
	builder_error_set(error, BUILDER_REPOSITORY,
					  "object \"%.150s\" was damaged: its checksum is another than the store's",
					  download->key);
	snprintf(error->detail, sizeof(error->detail), "Expected is %s.", download->checksum);
	return false;
}

/* ---- the whole ---- */

static bool
read_object(Download *download, builder_error *error)
{
	uint64_t	size = download->head.size;
	bool		ok;

	download->nparts = (uint32_t) ((size + download->part_bytes - 1) / download->part_bytes);
	download->crcs = calloc(download->nparts > 0 ? download->nparts : 1, sizeof(uint32_t));
	if (download->crcs == NULL)
		return builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
	download->parallel.n = download->nparts;
	download->parallel.total = size;
	ok = builder_local_reserve(download->file, size, error) &&
		s3_do_parts(download->s3, &download->parallel, error) && verify(download, error);
	free(download->crcs);
	return ok;
}

bool
s3_get(builder_repository *base, const char *key, const builder_local *file, uint64_t limit,
	   const builder_transfer *transfer, builder_error *error)
{
	Download	download = {.s3 = (s3_repository *) base, .key = key, .file = file};
	builder_going going = {s3_goes_on, &download.parallel};
	s3_head    *head = &download.head;
	long		status;

	download.parallel = (s3_parallel) {.one = get_range, .state = &download, .transfer = transfer};
	status = s3_ask(download.s3, key, 0, &going, head, error);
	if (status == 0)
		return false;
	if (status == 404)
		return builder_error_set(error, BUILDER_NOT_FOUND, "there is no object \"%.200s\"", key);
	if (status != 200)
		return s3_refused(download.s3, download.s3->http, "tell the size of", key, error);
	if (head->size > limit)
		return builder_error_set(error, BUILDER_REPOSITORY,
								 "object \"%.100s\" has %llu bytes, more than the %llu it may have",
								 key, (unsigned long long) head->size, (unsigned long long) limit);
	if (head->etag[0])
		snprintf(download.if_match, sizeof(download.if_match), "if-match: %s", head->etag);
	return choose_ranges(&download, &going, error) && read_object(&download, error);
}
