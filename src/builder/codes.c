/*
 * codes.c
 *		The codes that an index keeps; see codes.h.
 *
 * They are made anew, even those of 8 bits that the graph was built on: these are gone by
 * the time nodes are numbered, which needs their memory.  All threads do it, each
 * writing runs of items where they belong.
 */
#include "builder/codes.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "builder/file_part.h"
#include "builder/memory.h"
#include "builder/threads.h"
#include "core/code_file.h"
#include "core/crc.h"

#define RUN_BYTES ((uint32_t) 1 << 17)

typedef struct Maker
{
	uint8_t    *items;
	float	   *scratch;
} Maker;

typedef struct Codes
{
	const builder_job *job;
	const builder_input *input;
	const uint32_t *old_of_new;
	const uint32_t *vectors;
	knn_encoder encoder;
	uint32_t	width;
	uint32_t	run;			/* items */
	int			fd;
	Maker	   *makers;			/* by thread */
	knn_crc    *crcs;
	uint32_t   *run_crcs;
} Codes;

static void
write_at(const Codes *codes, const void *bytes, size_t n, uint64_t offset)
{
	if (!builder_write_part(codes->fd, offset, bytes, n))
		builder_fail_with(BUILDER_IO, errno, "could not write file \"%s\"", codes->job->codes);
}

/* The items of a run; the last may be shorter. */
static uint32_t
items_of_run(const Codes *codes, uint64_t run)
{
	uint64_t	left = codes->input->count - run * codes->run;

	return left < codes->run ? (uint32_t) left : codes->run;
}

static void
write_run(void *context, uint32_t thread, uint64_t run)
{
	Codes	   *codes = context;
	Maker	   *maker = &codes->makers[thread];
	uint64_t	first = run * codes->run;
	uint32_t	n = items_of_run(codes, run);
	knn_crc    *crc = &codes->crcs[thread];

	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t	old = codes->old_of_new[first + i];
		uint32_t	vector = codes->vectors ? codes->vectors[old] : old;

		knn_code_file_item(&codes->encoder, builder_input_row(codes->input, vector),
						   maker->items + (size_t) codes->width * i, maker->scratch);
	}
	knn_crc_restart(crc);
	knn_crc_add(crc, maker->items, (size_t) codes->width * n);
	codes->run_crcs[run] = knn_crc_value(crc);
	write_at(codes, maker->items, (size_t) codes->width * n,
			 KNN_CODE_FILE_HEADER + first * codes->width);
}

static void
write_header(const Codes *codes, uint64_t runs)
{
	uint8_t		header[KNN_CODE_FILE_HEADER];
	uint32_t	crc = 0;		/* of nothing */

	for (uint64_t i = 0; i < runs; i++)
		crc = knn_crc_join(KNN_CRC32C, crc, codes->run_crcs[i],
						   (uint64_t) codes->width * items_of_run(codes, i));
	knn_code_file_header(header, codes->width, codes->input->count, crc);
	write_at(codes, header, sizeof(header), 0);
}

static void
write_all(Codes *codes)
{
	uint32_t	threads = codes->job->threads;
	uint64_t	runs = ((uint64_t) codes->input->count + codes->run - 1) / codes->run;
	builder_work work = {.phase = "write", .total = runs, .threads = threads, .items = runs,
		.chunk = 1, .item = write_run, .context = codes};

	codes->makers = builder_alloc(sizeof(Maker) * (uint64_t) threads);
	codes->crcs = builder_alloc(sizeof(knn_crc) * (uint64_t) threads);
	codes->run_crcs = builder_alloc(sizeof(uint32_t) * (runs > 0 ? runs : 1));
	for (uint32_t i = 0; i < threads; i++)
	{
		codes->makers[i].items = builder_alloc((uint64_t) codes->run * codes->width);
		codes->makers[i].scratch = builder_alloc(sizeof(float) * (uint64_t) codes->encoder.dim);
		knn_crc_init(&codes->crcs[i], KNN_CRC32C);
	}
	builder_do(&work);
	write_header(codes, runs);
	for (uint32_t i = 0; i < threads; i++)
	{
		builder_release(codes->makers[i].items);
		builder_release(codes->makers[i].scratch);
	}
	builder_release(codes->makers);
	builder_release(codes->crcs);
	builder_release(codes->run_crcs);
}

void
builder_write_codes(const builder_job *job, const builder_input *input,
					const uint32_t *old_of_new, const uint32_t *vectors)
{
	Codes		codes = {.job = job, .input = input, .old_of_new = old_of_new,
		.vectors = vectors, .encoder = input->encoder};

	codes.encoder.encoding = job->encoding;
	codes.width = knn_code_file_width(job->encoding, job->dimension);
	codes.run = codes.width < RUN_BYTES ? RUN_BYTES / codes.width : 1;
	builder_unfinished(job->codes);
	codes.fd = open(job->codes, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (codes.fd < 0)
		builder_fail_with(BUILDER_IO, errno, "could not make file \"%s\"", job->codes);
	write_all(&codes);
	if (close(codes.fd) != 0)
		builder_fail_with(BUILDER_IO, errno, "could not write file \"%s\"", job->codes);
	builder_unfinished(NULL);
}
