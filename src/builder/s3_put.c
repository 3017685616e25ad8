/*
 * s3_put.c
 *		Writing objects to a store that speaks S3.
 *
 * A small file is one request, a larger one a multipart upload.  Each part has its CRC-32
 * in a signed header, so that the store refuses a damaged one; a store that keeps
 * checksums tells it again.  Nothing is overwritten: the key is asked for before, and the
 * request that makes the object appear says "If-None-Match: *", which stores that do not
 * know it ignore or refuse.  An answer may be lost after the store has acted: then a
 * repeated request finds the object there, and its size and checksum tell whose it is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/http_text.h"
#include "builder/s3.h"
#include "builder/wait.h"
#include "core/crc.h"

#define S3_PARTS_MOST 10000
#define MB (1024 * 1024)
#define READ_BYTES (256 * 1024)
#define COMPLETE_SECONDS 300
#define COMPLETE_ATTEMPTS 3		/* after "200" with an error inside */
#define UNDO_SECONDS 10
#define UNDO_SECONDS_CANCELLED 0.25	/* whoever cancels does not wait long */

#define UNCONDITIONAL "content-type: application/octet-stream"
#define NOT_OVER_ANOTHER "if-none-match: *"
#define XML "content-type: application/xml"

typedef struct Part
{
	uint32_t	crc;
	bool		confirmed;		/* the store told the same checksum */
	char	   *etag;
} Part;

typedef struct Upload
{
	s3_repository *s3;
	const char *key;
	const builder_local *file;
	char		id[3 * S3_TEXT];	/* encoded; "": one request */
	uint64_t	part_bytes;
	Part	   *parts;
	uint32_t	nparts;
	s3_parallel parallel;
} Upload;

/* ---- a part ---- */

typedef struct Stream
{
	Upload	   *upload;
	uint64_t	start;
	uint64_t	moved;			/* that were counted as moved, of this attempt */
	builder_error *error;
} Stream;

static bool
begin_part(void *state, builder_http_request *http)
{
	Stream	   *stream = state;

	(void) http;
	__atomic_sub_fetch(&stream->upload->parallel.moved, stream->moved, __ATOMIC_RELAXED);
	stream->moved = 0;
	return true;
}

static bool
read_part(void *state, uint64_t offset, void *bytes, size_t n)
{
	Stream	   *stream = state;

	if (!builder_local_read(stream->upload->file, stream->start + offset, bytes, n, stream->error))
		return false;
	stream->moved += n;
	__atomic_add_fetch(&stream->upload->parallel.moved, n, __ATOMIC_RELAXED);
	return true;
}

static uint64_t
part_length(const Upload *upload, uint32_t part)
{
	uint64_t	start = part * upload->part_bytes;
	uint64_t	left = upload->file->size - start;

	return left < upload->part_bytes ? left : upload->part_bytes;
}

static bool
checksum_part(Upload *upload, uint32_t part, const builder_going *going, builder_error *error)
{
	uint64_t	at = part * upload->part_bytes;
	uint64_t	end = at + part_length(upload, part);
	knn_crc    *crc = malloc(sizeof(*crc) + READ_BYTES);
	bool		ok = crc != NULL;

	if (!ok)
		return builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
	knn_crc_init(crc, KNN_CRC32);
	while (ok && at < end)
	{
		size_t		n = end - at < READ_BYTES ? (size_t) (end - at) : READ_BYTES;

		if (!builder_goes_on(going))
			ok = builder_error_set(error, BUILDER_CANCELLED, "the transfer was cancelled");
		else
			ok = builder_local_read(upload->file, at, crc + 1, n, error);
		if (ok)
			knn_crc_add(crc, crc + 1, n);
		at += n;
	}
	upload->parts[part].crc = knn_crc_value(crc);
	free(crc);
	return ok;
}

/* What a store says of a part it took. */
static bool
confirm_part(Upload *upload, uint32_t part, builder_http *http, builder_error *error)
{
	Part	   *p = &upload->parts[part];
	const char *etag = builder_http_header(http, "ETag");
	const char *told = builder_http_header(http, "x-amz-checksum-crc32");
	char		text[BUILDER_CRC_TEXT];

	builder_crc_text(text, p->crc);
	if (told && strcmp(told, text) != 0)
		return builder_error_set(error, BUILDER_REPOSITORY,
								 "object \"%.150s\" was damaged on its way to the object store",
								 upload->key);
	p->confirmed = told != NULL;
	if (upload->id[0] == '\0')
		return true;
	if (etag == NULL || strlen(etag) >= S3_TEXT)
		return builder_error_set(error, BUILDER_REPOSITORY,
								 "the object store told no ETag of a part of \"%.150s\"",
								 upload->key);
	free(p->etag);
	p->etag = strdup(etag);
	return p->etag != NULL || builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
}

/* The key was found taken: by whom? */
static bool
check_own(Upload *upload, const s3_request *request, builder_error *error);

static bool
put_part(void *state, uint32_t part, builder_http *http, const builder_going *going,
		 builder_error *error)
{
	Upload	   *upload = state;
	Stream		stream = {.upload = upload, .start = part * upload->part_bytes, .error = error};
	char		query[S3_QUERY];
	char		header[64] = "x-amz-checksum-crc32: ";
	s3_request	request = {.http = {.method = BUILDER_HTTP_PUT, .read = read_part, .state = &stream,
			.length = part_length(upload, part), .going = *going},
		.key = upload->key, .begin = begin_part, .headers = {header}};
	bool		whole = upload->id[0] == '\0';
	long		status;

	if (!checksum_part(upload, part, going, error))
		return false;
	builder_crc_text(header + strlen(header), upload->parts[part].crc);
	snprintf(query, sizeof(query), "partNumber=%u&uploadId=%s", part + 1, upload->id);
	request.query = whole ? NULL : query;
	request.headers[1] = whole ? NOT_OVER_ANOTHER : NULL;
	request.http.once = whole;
	status = s3_do(upload->s3, http, &request, error);
	if (whole && status == 501)
	{
		request.headers[1] = UNCONDITIONAL;
		status = s3_do(upload->s3, http, &request, error);
	}
	if (status == 0)
		return false;
	if (whole && status == 412)
		return check_own(upload, &request, error);
	if (status != 200)
		return s3_refused(upload->s3, http, "write", upload->key, error);
	return confirm_part(upload, part, http, error);
}

/* ---- a multipart upload ---- */

static bool
begin_upload(Upload *upload, builder_error *error)
{
	s3_repository *s3 = upload->s3;
	s3_request	request = {.http.method = BUILDER_HTTP_POST, .http.once = true,
		.http.seconds = BUILDER_HTTP_SECONDS, .key = upload->key, .query = "uploads=",
		.headers = {"content-type: application/octet-stream", "x-amz-checksum-algorithm: CRC32"}};
	long		status = s3_do(s3, s3->http, &request, error);
	char		id[S3_TEXT];
	size_t		length;
	const char *body;

	if (status == 0)
		return false;
	if (status != 200)
		return s3_refused(s3, s3->http, "write", upload->key, error);
	body = builder_http_body(s3->http, &length);
	if (!builder_xml_element(body, length, "UploadId", id, sizeof(id)) || id[0] == '\0' ||
		!builder_url_encode(upload->id, sizeof(upload->id), id, false))
		return builder_error_set(error, BUILDER_REPOSITORY,
								 "the object store at %.150s told no id of a multipart upload", s3->url);
	return true;
}

/* Take away what a failed write has left: the parts, or the whole object. */
static void
undo(Upload *upload, bool object, bool cancelled)
{
	s3_repository *s3 = upload->s3;
	char		query[S3_QUERY];
	s3_request	request = {.http.method = BUILDER_HTTP_DELETE, .key = upload->key, .query = query};
	double		before = s3->base.deadline;
	builder_going going = s3->base.going;
	double		end = builder_now() + (cancelled ? UNDO_SECONDS_CANCELLED : UNDO_SECONDS);
	builder_error ignored;

	if (before == 0 || end < before)
		s3->base.deadline = end;
	s3->base.going = (builder_going) {NULL, NULL};
	snprintf(query, sizeof(query), "uploadId=%s", upload->id);
	if (object)
		(void) s3_remove(&s3->base, upload->key, &ignored);
	else
		(void) s3_do(s3, s3->http, &request, &ignored);
	s3->base.deadline = before;
	s3->base.going = going;
}

/* The list of parts; NULL when there is no memory. */
static char *
list_parts(const Upload *upload, size_t *length)
{
	char	   *text = NULL;
	FILE	   *to = open_memstream(&text, length);
	bool		checksums = true;

	if (to == NULL)
		return NULL;
	for (uint32_t i = 0; i < upload->nparts; i++)
		checksums &= upload->parts[i].confirmed;
	fputs("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">", to);
	for (uint32_t i = 0; i < upload->nparts; i++)
	{
		char		crc[BUILDER_CRC_TEXT];
		char		etag[6 * S3_TEXT];

		if (!builder_xml_escape(etag, sizeof(etag), upload->parts[i].etag))
			etag[0] = '\0';
		builder_crc_text(crc, upload->parts[i].crc);
		fprintf(to, "<Part>");
		if (checksums)
			fprintf(to, "<ChecksumCRC32>%s</ChecksumCRC32>", crc);
		fprintf(to, "<ETag>%s</ETag><PartNumber>%u</PartNumber></Part>", etag, i + 1);
	}
	fputs("</CompleteMultipartUpload>", to);
	if (ferror(to) | fclose(to))
	{
		free(text);
		return NULL;
	}
	return text;
}

/* A status of 200 comes before the store knows how it ends. */
static bool
was_completed(const s3_repository *s3)
{
	size_t		length;
	const char *body = builder_http_body(s3->http, &length);
	char		etag[S3_TEXT];

	return builder_xml_element(body, length, "ETag", etag, sizeof(etag));
}

static bool
complete_upload(Upload *upload, const builder_going *going, builder_error *error)
{
	s3_repository *s3 = upload->s3;
	char		query[S3_QUERY];
	size_t		length;
	char	   *list = list_parts(upload, &length);
	s3_request	request = {.http = {.method = BUILDER_HTTP_POST, .once = true, .body = list,
			.seconds = COMPLETE_SECONDS, .going = *going},
		.key = upload->key, .query = query, .headers = {XML, NOT_OVER_ANOTHER}};
	long		status = 0;
	int			attempts = 0;

	if (list == NULL)
		return builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
	request.http.body_length = length;
	snprintf(query, sizeof(query), "uploadId=%s", upload->id);
	for (int i = 0; i < COMPLETE_ATTEMPTS; i++)
	{
		status = s3_do(s3, s3->http, &request, error);
		attempts += request.attempts;
		if (status == 501 && request.headers[1])
			request.headers[1] = NULL;
		else if (status != 200 || was_completed(s3))
			break;
	}
	free(list);
	request.attempts = attempts;
	if (status == 0)
		return false;
	if (status == 200 && was_completed(s3))
		return true;
	if (status == 412 || (status == 404 && attempts > 1))
		return check_own(upload, &request, error);
	return s3_refused(s3, s3->http, "complete", upload->key, error);
}

/* ---- what the store has then ---- */

/* Whether a checksum the store tells is that of what was written, in either of its forms. */
static bool
checksum_is_right(const Upload *upload, char *told)
{
	char		of_whole[BUILDER_CRC_TEXT];
	char		of_parts[BUILDER_CRC_TEXT];
	uint32_t	whole = 0;
	knn_crc    *crc = malloc(sizeof(*crc));

	if (crc == NULL)
		return false;
	knn_crc_init(crc, KNN_CRC32);
	for (uint32_t i = 0; i < upload->nparts; i++)
	{
		uint32_t	part = upload->parts[i].crc;
		uint8_t		bytes[4] = {(uint8_t) (part >> 24), (uint8_t) (part >> 16),
		(uint8_t) (part >> 8), (uint8_t) part};

		knn_crc_add(crc, bytes, 4);
		whole = knn_crc_join(KNN_CRC32, whole, part, part_length(upload, i));
	}
	builder_crc_text(of_parts, knn_crc_value(crc));
	builder_crc_text(of_whole, whole);
	free(crc);
	/* that of parts is followed by their number, but for some stores */
	told[strcspn(told, "-")] = '\0';
	return strcmp(told, of_whole) == 0 || strcmp(told, of_parts) == 0;
}

/* Size, and checksum where there is one. */
static bool
verify(Upload *upload, const builder_going *going, builder_error *error)
{
	s3_repository *s3 = upload->s3;
	s3_head		head;
	long		status = s3_ask(s3, upload->key, 0, going, &head, error);

	if (status == 0)
		return false;
	if (status != 200)
		return s3_refused(s3, s3->http, "tell the size of", upload->key, error);
	if (head.size != upload->file->size)
		return builder_error_set(error, BUILDER_REPOSITORY,
								 "object \"%.150s\" has %llu bytes in the object store, not the %llu that were written",
								 upload->key, (unsigned long long) head.size,
								 (unsigned long long) upload->file->size);
	if (head.crc32[0] && !checksum_is_right(upload, head.crc32))
		return builder_error_set(error, BUILDER_REPOSITORY,
								 "object \"%.150s\" has another checksum in the object store than what was written",
								 upload->key);
	return true;
}

static bool
refuse_taken(const Upload *upload, builder_error *error)
{
	builder_error_set(error, BUILDER_EXISTS, "there is an object \"%.150s\" already", upload->key);
	snprintf(error->hint, sizeof(error->hint),
			 "Objects are never overwritten.  Remove it, or use another base path.");
	return false;
}

static bool
check_own(Upload *upload, const s3_request *request, builder_error *error)
{
	s3_head		head;
	long		status;

	if (request->attempts <= 1)
		return refuse_taken(upload, error);
	/* a worker may use the calling thread's client: that thread only watches */
	status = s3_ask(upload->s3, upload->key, 0, &request->http.going, &head, error);
	if (status == 0)
		return false;
	if (status != 200 || head.size != upload->file->size ||
		(head.crc32[0] && !checksum_is_right(upload, head.crc32)))
		return refuse_taken(upload, error);
	return true;
}

/* ---- the whole ---- */

/* False: it is there, or the store does not answer. */
static bool
check_free(Upload *upload, const builder_going *going, builder_error *error)
{
	s3_repository *s3 = upload->s3;
	s3_head		head;
	long		status = s3_ask(s3, upload->key, 0, going, &head, error);

	if (status == 0)
		return false;
	if (status == 200)
		return refuse_taken(upload, error);
	/* 403: perhaps only without the right to know; writing will tell, and say why */
	return status == 404 || status == 403 ||
		s3_refused(s3, s3->http, "tell the size of", upload->key, error);
}

static bool
write_object(Upload *upload, const builder_going *going, builder_error *error)
{
	bool		written;

	if (!check_free(upload, going, error))
		return false;
	if (upload->nparts > 1 && !begin_upload(upload, error))
		return false;
	written = s3_do_parts(upload->s3, &upload->parallel, error) &&
		(upload->nparts == 1 || complete_upload(upload, going, error));
	if (written && verify(upload, going, error))
		return true;
	if (written || upload->nparts > 1)
		undo(upload, written, strcmp(error->code, BUILDER_CANCELLED) == 0);
	return false;
}

bool
s3_put(builder_repository *base, const char *key, const builder_local *file,
	   const builder_transfer *transfer, builder_error *error)
{
	Upload		upload = {.s3 = (s3_repository *) base, .key = key, .file = file};
	builder_going going = {s3_goes_on, &upload.parallel};
	bool		ok;

	upload.part_bytes = (file->size + S3_PARTS_MOST - 1) / S3_PARTS_MOST;
	if (upload.part_bytes <= S3_PART_BYTES)
		upload.part_bytes = S3_PART_BYTES;
	else
		upload.part_bytes = (upload.part_bytes + MB - 1) / MB * MB;
	upload.nparts = file->size == 0 ? 1 :
		(uint32_t) ((file->size + upload.part_bytes - 1) / upload.part_bytes);
	upload.parts = calloc(upload.nparts, sizeof(Part));
	if (upload.parts == NULL)
		return builder_error_set(error, BUILDER_OUT_OF_MEMORY, "out of memory");
	upload.parallel = (s3_parallel) {.n = upload.nparts, .one = put_part, .state = &upload,
		.total = file->size, .transfer = transfer};
	ok = write_object(&upload, &going, error);
	for (uint32_t i = 0; i < upload.nparts; i++)
		free(upload.parts[i].etag);
	free(upload.parts);
	return ok;
}
