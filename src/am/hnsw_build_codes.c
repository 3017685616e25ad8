/*
 * hnsw_build_codes.c
 *		Codes that knn-builder has made.
 *
 * They come in a file beside the graph's (core/code_file.h), in the order of the nodes,
 * and are streamed into pages: memory never holds them all.  Before that all of the file
 * is read once, since the whole result is refused when it is damaged.
 *
 * A code that is not that of its vector would misguide searches as a wrong link does,
 * which nobody can see either.  What can be seen is whether the program makes codes as
 * the server does, about the same centre and with the same seed: some are made again
 * and must be equal to the bit, and so must those with factors that are no numbers.
 */
#include "postgres.h"

#include "am/hnsw_build.h"

#include "am/build_job.h"

#include "core/code_file.h"
#include "miscadmin.h"

#define CODES_FILE "result.knncodes"
#define MADE_AGAIN 64			/* codes */

const char *
KnnBuildCodesFile(const HnswBuild *build)
{
	switch (build->shape.encoding)
	{
		case KNN_ENCODING_ROTATED_8:
		case KNN_ENCODING_ROTATED_4:
		case KNN_ENCODING_ROTATED_2:
		case KNN_ENCODING_ROTATED_1:
			return CODES_FILE;
		default:
			return NULL;
	}
}

/* ---- checking ---- */

typedef struct Check
{
	HnswBuild  *build;
	knn_encoder encoder;
	uint32		width;
	uint32		every;			/* one of so many is made again */
	uint8	   *item;
	float	   *elements;
	float	   *scratch;
	int64		wrong;			/* vector whose code is, or -1 */
} Check;

static bool
is_right(Check *check, uint32 vector, const uint8 *item)
{
	const void *kept = KnnBuildVectorsGet(&check->build->read, vector);

	knn_code_file_item(&check->encoder,
					   KnnElementsOfStored(&check->build->shape, kept, check->elements),
					   check->item, check->scratch);
	return memcmp(item, check->item, check->width) == 0;
}

static void
check_items(void *state, uint64_t first, const uint8_t *items, uint32_t n)
{
	Check	   *check = state;

	for (uint32 i = 0; i < n && check->wrong < 0; i++)
	{
		const uint8 *item = items + (Size) check->width * i;
		uint32		vector = check->build->old_of_new[first + i];
		knn_code_factors factors = knn_code_file_factors(item);

		if ((first + i) % check->every != 0 && isfinite(factors.norm2) &&
			isfinite(factors.scale) && isfinite(factors.err))
			continue;
		CHECK_FOR_INTERRUPTS();
		if (!is_right(check, vector, item))
			check->wrong = vector;
	}
}

static knn_code_reader
make_reader(const HnswBuild *build)
{
	knn_code_reader reader = {
		.allocator = KnnContextAllocator(build->context),
		.check = KnnBuildCheckInterrupts,
		.width = knn_code_file_width(build->shape.encoding, build->shape.dim),
		.count = build->in_memory
	};

	Assert(reader.width == build->columns[KNN_COLUMN_CODE].width);
	return reader;
}

/* Why the file is refused, or NULL. */
static char *
check_codes(HnswBuild *build)
{
	knn_code_reader reader = make_reader(build);
	knn_graph_source source = {&build->codes_fd, build->codes_size, KnnBuildReadPiece};
	Check		check = {.build = build, .encoder = build->graph.encoder, .wrong = -1};
	int			status;

	check.encoder.encoding = build->shape.encoding;
	check.width = reader.width;
	check.every = Max(build->in_memory / MADE_AGAIN, 1);
	check.item = palloc(check.width);
	check.elements = palloc(sizeof(float) * build->shape.dim);
	check.scratch = palloc(sizeof(float) * build->shape.dim);
	reader.items = check_items;
	reader.state = &check;
	status = knn_code_file_read(&reader, &source);
	pfree(check.item);
	pfree(check.elements);
	pfree(check.scratch);
	if (status == KNN_OK && check.wrong < 0)
		return NULL;
	if (status == KNN_OK)
		return psprintf("the code of vector %lld is not what the server makes of it",
						(long long) check.wrong);
	return reader.problem[0] != '\0' ? pstrdup(reader.problem) :
		psprintf("file \"%s\" could not be read", CODES_FILE);
}

bool
KnnBuildTakeCodes(HnswBuild *build, const KnnSpool *spool, char **problem)
{
	uint64		size = KNN_CODE_FILE_HEADER +
		(uint64) build->in_memory * build->columns[KNN_COLUMN_CODE].width;

	*problem = NULL;
	if (KnnBuildCodesFile(build) == NULL || !KnnSpoolHas(spool, CODES_FILE))
		return true;
	build->codes_fd = KnnSpoolOpen(spool, CODES_FILE, size, &build->codes_size, problem);
	if (build->codes_fd < 0)
		return false;
	*problem = check_codes(build);
	build->has_codes = *problem == NULL;
	if (build->has_codes)
		ereport(DEBUG1,
				(errmsg_internal("knn-builder made the codes of %u nodes", build->in_memory)));
	else
		CloseTransientFile(build->codes_fd);
	return build->has_codes;
}

/* ---- writing ---- */

typedef struct Writing
{
	KnnColumnWriter *writer;
	uint32		width;
	char	   *item;
} Writing;

static void
write_items(void *state, uint64_t first, const uint8_t *items, uint32_t n)
{
	Writing    *writing = state;

	for (uint32 i = 0; i < n; i++)
	{
		const uint8 *item = items + (Size) writing->width * i;
		knn_code_factors factors = knn_code_file_factors(item);

		memcpy(writing->item, item, writing->width);
		/* in this machine's order of bytes */
		memcpy(writing->item, &factors, sizeof(factors));
		KnnColumnWriterAppend(writing->writer, writing->item);
	}
}

void
KnnBuildWriteTakenCodes(HnswBuild *build, KnnColumnWriter *writer)
{
	knn_code_reader reader = make_reader(build);
	knn_graph_source source = {&build->codes_fd, build->codes_size, KnnBuildReadPiece};
	Writing		writing = {.writer = writer, .width = reader.width};

	writing.item = palloc(reader.width);
	reader.again = true;
	reader.items = write_items;
	reader.state = &writing;
	if (knn_code_file_read(&reader, &source) != KNN_OK)
		ereport(ERROR,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("could not read file \"%s\" again", CODES_FILE),
				 errdetail_internal("%s", reader.problem)));
	pfree(writing.item);
	CloseTransientFile(build->codes_fd);
	build->has_codes = false;
}
