/*
 * faiss_write.c
 *		Files of the library faiss that hold what was learned, but no vectors.
 */
#include "core/faiss_file.h"

#include <string.h>

/* faiss::ScalarQuantizer::QuantizerType and RangeStat */
#define QT_FP16				4
#define QT_8BIT_DIRECT		5
#define QT_8BIT_DIRECT_SIGNED 8
#define RANGE_MINMAX		0

/* faiss::DirectMap::Array: OpenSearch's models are made so */
#define DIRECT_MAP_ARRAY	1

/* Counts bytes, and puts them where there is memory. */
typedef struct writer
{
	uint8_t    *memory;
	size_t		size;
} writer;

static void
put(writer *w, const void *data, size_t size)
{
	if (w->memory && size > 0)
		memcpy(w->memory + w->size, data, size);
	w->size += size;
}

static void
put_u8(writer *w, uint8_t value)
{
	put(w, &value, 1);
}

static void
put_u32(writer *w, uint32_t value)
{
	uint8_t		bytes[4] = {(uint8_t) value, (uint8_t) (value >> 8), (uint8_t) (value >> 16),
	(uint8_t) (value >> 24)};

	put(w, bytes, 4);
}

static void
put_u64(writer *w, uint64_t value)
{
	put_u32(w, (uint32_t) value);
	put_u32(w, (uint32_t) (value >> 32));
}

/* Bytes that are little-endian already, after the number of elements. */
static void
put_array(writer *w, const uint8_t *data, uint64_t count, size_t element)
{
	put_u64(w, count);
	put(w, data, (size_t) count * element);
}

static void
put_header(writer *w, const knn_faiss_file *file, const char *kind, uint64_t ntotal)
{
	put(w, kind, 4);
	put_u32(w, (uint32_t) file->dimension);
	if (file->binary)
	{
		put_u32(w, (uint32_t) file->dimension / 8);
		put_u64(w, ntotal);
		put_u8(w, 1);
		put_u32(w, file->metric);
		return;
	}
	put_u64(w, ntotal);
	put_u64(w, UINT64_C(1) << 20);	/* two that mean nothing */
	put_u64(w, UINT64_C(1) << 20);
	put_u8(w, 1);
	put_u32(w, file->metric);
	if (file->metric > KNN_FAISS_L2)
		put_u32(w, 0);
}

static const char *
flat_kind(const knn_faiss_file *file)
{
	return file->binary ? "IBxF" : file->metric == KNN_FAISS_INNER_PRODUCT ? "IxFI" : "IxF2";
}

static void
put_scalar_quantizer(writer *w, const knn_faiss_file *file)
{
	knn_faiss_encoding encoding = file->codes.encoding;

	put_u32(w, encoding == KNN_FAISS_FP16 ? QT_FP16 :
			encoding == KNN_FAISS_UINT8 ? QT_8BIT_DIRECT : QT_8BIT_DIRECT_SIGNED);
	put_u32(w, RANGE_MINMAX);
	put_u32(w, 0);				/* the argument of the range */
	put_u64(w, (uint64_t) file->dimension);
	put_u64(w, file->codes.size);
	put_u64(w, 0);				/* nothing learned */
}

static void
put_product_quantizer(writer *w, const knn_faiss_file *file)
{
	put_u64(w, (uint64_t) file->dimension);
	put_u64(w, file->codes.pq_m);
	put_u64(w, file->codes.pq_bits);
	put_array(w, file->codes.codebooks, (uint64_t) file->dimension << file->codes.pq_bits, 4);
}

static void
put_ivf(writer *w, const knn_faiss_file *file)
{
	const knn_faiss_ivf *ivf = &file->ivf;
	knn_faiss_encoding encoding = file->codes.encoding;

	put_header(w, file, encoding == KNN_FAISS_BITS ? "IBwF" : encoding == KNN_FAISS_FLOAT ? "IwFl" :
			   encoding == KNN_FAISS_PQ ? "IwPQ" : "IwSq", 0);
	put_u64(w, ivf->nlist);
	put_u64(w, ivf->nprobe);
	put_header(w, file, flat_kind(file), ivf->nlist);
	if (file->binary)
		put_array(w, ivf->centroids, ivf->nlist * ((uint64_t) file->dimension / 8), 1);
	else
		put_array(w, ivf->centroids, ivf->nlist * (uint64_t) file->dimension, 4);
	put_u8(w, DIRECT_MAP_ARRAY);
	put_u64(w, 0);
	if (encoding == KNN_FAISS_PQ)
	{
		put_u8(w, ivf->by_residual);
		put_u64(w, file->codes.size);
		put_product_quantizer(w, file);
	}
	else if (encoding != KNN_FAISS_BITS && encoding != KNN_FAISS_FLOAT)
	{
		put_scalar_quantizer(w, file);
		put_u64(w, file->codes.size);
		put_u8(w, ivf->by_residual);
	}
	put(w, "ilar", 4);
	put_u64(w, ivf->nlist);
	put_u64(w, file->codes.size);
	put(w, "sprs", 4);
	put_u64(w, 0);
}

static void
put_hnsw(writer *w, const knn_faiss_file *file)
{
	const knn_faiss_hnsw *g = &file->hnsw;
	knn_faiss_encoding encoding = file->codes.encoding;

	put_header(w, file, encoding == KNN_FAISS_FLOAT ? "IHNf" :
			   encoding == KNN_FAISS_PQ ? "IHNp" : "IHNs", 0);
	put_array(w, g->level_probabilities, g->level_count, 8);
	put_array(w, g->level_neighbours, g->level_count + 1, 4);
	put_u64(w, 0);				/* levels */
	put_u64(w, 1);				/* offsets: that of the end */
	put_u64(w, 0);
	put_u64(w, 0);				/* neighbours */
	put_u32(w, UINT32_MAX);		/* entry point -1 */
	put_u32(w, UINT32_MAX);		/* highest level -1 */
	put_u32(w, (uint32_t) g->ef_construction);
	put_u32(w, (uint32_t) g->ef_search);
	put_u32(w, (uint32_t) g->upper_beam);
	if (encoding == KNN_FAISS_FLOAT)
	{
		put_header(w, file, flat_kind(file), 0);
		put_u64(w, 0);
	}
	else if (encoding == KNN_FAISS_PQ)
	{
		put_header(w, file, "IxPq", 0);
		put_product_quantizer(w, file);
		put_u64(w, 0);
		put_u32(w, 0);			/* search type: by tables of distances */
		put_u8(w, 0);			/* no signs */
		put_u32(w, 0);			/* threshold of polysemous codes */
	}
	else
	{
		put_header(w, file, "IxSQ", 0);
		put_scalar_quantizer(w, file);
		put_u64(w, 0);
	}
}

static size_t
put_file(const knn_faiss_file *file, uint8_t *memory)
{
	writer		w = {memory, 0};

	if (file->structure == KNN_FAISS_IVF)
		put_ivf(&w, file);
	else if (file->structure == KNN_FAISS_HNSW && !file->binary && !file->hnsw.is_cagra &&
			 file->codes.encoding != KNN_FAISS_NO_VECTORS)
		put_hnsw(&w, file);
	return w.size;
}

size_t
knn_faiss_empty_size(const knn_faiss_file *file)
{
	return put_file(file, NULL);
}

void
knn_faiss_write_empty(const knn_faiss_file *file, void *memory)
{
	put_file(file, memory);
}
