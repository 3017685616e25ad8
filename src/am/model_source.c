/*
 * model_source.c
 *		Models as indexes are made from them; see model_source.h.
 *
 * The blob is a file of faiss that may have come with a dump: nothing of it is
 * believed.  core/faiss_file.h checks that it is one; what is checked here is that it
 * is the one that the model's row describes.
 */
#include "postgres.h"

#include "am/model_source.h"

#include <math.h>

#include "utils/memutils.h"

static KnnModelFinder find_model = NULL;

void
KnnRegisterModelFinder(KnnModelFinder finder)
{
	find_model = finder;
}

KnnModelSource *
KnnModelOfIndex(Relation index, KnnMethod method)
{
	const char *id = method == KNN_METHOD_IVF ? KnnIvfOptionsOf(index).code.model_id :
		KnnHnswOptionsOf(index).code.model_id;
	KnnModelSource *model;

	if (id == NULL)
		return NULL;
	model = find_model(index->rd_amhandler, pstrdup(id));
	if (model->method != method)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model \"%s\" is of method \"%s\"", model->model_id,
						model->method == KNN_METHOD_IVF ? "ivf" : "hnsw"),
				 errhint("Create the index USING %s.",
						 model->method == KNN_METHOD_IVF ? "knn_ivf" : "knn_hnsw")));
	return model;
}

static void
refuse_file(const KnnModelSource *model, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the file of model \"%s\" cannot be used", model->model_id),
			 errdetail_internal("%s", problem),
			 errhint("Delete the model and train it again.")));
}

/* Is it of the metric that faiss has for the space? */
static bool
metric_fits(const KnnModelSource *model, const knn_faiss_file *file)
{
	if (model->space == KNN_SPACE_HAMMING)
		return file->binary;
	return !file->binary &&
		file->metric == (model->space == KNN_SPACE_L2 ? KNN_FAISS_L2 : KNN_FAISS_INNER_PRODUCT);
}

const knn_faiss_file *
KnnModelFile(const KnnModelSource *model)
{
	knn_faiss_file *file = palloc0(sizeof(knn_faiss_file));
	knn_faiss_error error;
	bool		pq = model->code.encoder == KNN_ENCODER_PQ;

	if (!knn_faiss_parse(model->blob, model->blob_size, file, &error))
		refuse_file(model, psprintf("At byte %zu %s.", error.offset, error.message));
	if (file->structure != (model->method == KNN_METHOD_IVF ? KNN_FAISS_IVF : KNN_FAISS_HNSW))
		refuse_file(model, "It is of another method.");
	if (file->dimension != (int32_t) model->dim)
		refuse_file(model, psprintf("Its dimension is %d, not %u.", file->dimension, model->dim));
	if (!metric_fits(model, file))
		refuse_file(model, "It is of another space type.");
	if (file->structure == KNN_FAISS_IVF && file->ivf.nlist != (uint64) model->nlist)
		refuse_file(model, psprintf("It has %llu lists, not %d.",
									(unsigned long long) file->ivf.nlist, model->nlist));
	if (pq != (file->codes.encoding == KNN_FAISS_PQ) ||
		(pq && (file->codes.pq_m != (uint32) model->code.pq_m ||
				file->codes.pq_bits != (uint32) model->code.code_size)))
		refuse_file(model, "Its codes are of another encoder.");
	if (pq && file->structure == KNN_FAISS_IVF && !file->ivf.by_residual)
		refuse_file(model, "Its codebooks are not of residuals.");
	return file;
}

/*
 * Floats that bytes are made of: under L2 means of bytes, and else of length 1, so
 * that they are made as long as bytes allow, all by the same factor: which one is
 * nearest stays as it was.
 */
static float
byte_factor(const KnnModelSource *model, const uint8 *learned, uint64 n)
{
	float		largest = 0;

	if (model->space == KNN_SPACE_L2)
		return 1;
	for (uint64 i = 0; i < n; i++)
		largest = Max(largest, fabsf(knn_faiss_f32(learned, i)));
	return largest > 0 ? PG_INT8_MAX / largest : 1;
}

void *
KnnModelCentroids(const KnnModelSource *model, const knn_faiss_file *file)
{
	const uint8 *learned = file->ivf.centroids;
	uint64		n = file->ivf.nlist * model->dim;
	float	   *floats;
	int8	   *bytes;
	float		factor;

	switch (model->data_type)
	{
		case KNN_DATA_BINARY:
			bytes = MemoryContextAllocHuge(CurrentMemoryContext, n / 8);
			memcpy(bytes, learned, n / 8);
			return bytes;
		case KNN_DATA_BYTE:
			bytes = MemoryContextAllocHuge(CurrentMemoryContext, n);
			factor = byte_factor(model, learned, n);
			for (uint64 i = 0; i < n; i++)
			{
				float		element = rintf(knn_faiss_f32(learned, i) * factor);

				bytes[i] = (int8) Max(Min(element, PG_INT8_MAX), PG_INT8_MIN);
			}
			return bytes;
		default:
			floats = MemoryContextAllocHuge(CurrentMemoryContext, mul_size(sizeof(float), n));
			for (uint64 i = 0; i < n; i++)
				floats[i] = knn_faiss_f32(learned, i);
			for (uint64 i = 0; i < file->ivf.nlist && knn_space_normalises(model->space); i++)
				(void) knn_normalise(knn_kernels_get(), floats + i * model->dim, model->dim);
			return floats;
	}
}

knn_pq *
KnnModelCodebooks(const KnnModelSource *model, const knn_faiss_file *file)
{
	knn_pq	   *pq = palloc(sizeof(knn_pq));
	uint32		m = file->codes.pq_m;
	uint32		bits = file->codes.pq_bits;
	float	   *words = palloc(sizeof(float) * model->dim);

	if (!knn_pq_possible(model->dim, m, bits))
		refuse_file(model, "Its codebooks cannot be.");
	knn_pq_init(pq, model->dim, m, bits,
				MemoryContextAllocHuge(CurrentMemoryContext,
									   mul_size(sizeof(float), knn_pq_floats(model->dim, m, bits))));
	/* faiss has the codewords of a part end to end, part after part */
	for (uint32 k = 0; k < pq->ncodes; k++)
	{
		for (uint32 i = 0; i < model->dim; i++)
		{
			uint64		part = i / pq->width;

			words[i] = knn_faiss_f32(file->codes.codebooks,
									 (part * pq->ncodes + k) * pq->width + i % pq->width);
		}
		knn_pq_set_codewords(pq, k, words);
	}
	knn_pq_finish(pq);
	pfree(words);
	return pq;
}
