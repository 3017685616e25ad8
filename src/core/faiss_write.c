/*
 * faiss_write.c
 *		Files of the library faiss that hold what was learned, but no vectors.
 */
#include "core/faiss_writer.h"

/* faiss::DirectMap::Array: OpenSearch's models are made so */
#define DIRECT_MAP_ARRAY	1

static void
put_product_quantizer(knn_writer *w, const knn_faiss_file *file)
{
	knn_put_u64(w, (uint64_t) file->dimension);
	knn_put_u64(w, file->codes.pq_m);
	knn_put_u64(w, file->codes.pq_bits);
	knn_put_array(w, file->codes.codebooks, (uint64_t) file->dimension << file->codes.pq_bits, 4);
}

static void
put_ivf(knn_writer *w, const knn_faiss_file *file)
{
	const knn_faiss_ivf *ivf = &file->ivf;
	knn_faiss_encoding encoding = file->codes.encoding;

	knn_put_header(w, file, encoding == KNN_FAISS_BITS ? "IBwF" : encoding == KNN_FAISS_FLOAT ? "IwFl" :
				   encoding == KNN_FAISS_PQ ? "IwPQ" : "IwSq", 0);
	knn_put_u64(w, ivf->nlist);
	knn_put_u64(w, ivf->nprobe);
	knn_put_header(w, file, knn_faiss_flat_kind(file), ivf->nlist);
	if (file->binary)
		knn_put_array(w, ivf->centroids, ivf->nlist * ((uint64_t) file->dimension / 8), 1);
	else
		knn_put_array(w, ivf->centroids, ivf->nlist * (uint64_t) file->dimension, 4);
	knn_put_u8(w, DIRECT_MAP_ARRAY);
	knn_put_u64(w, 0);
	if (encoding == KNN_FAISS_PQ)
	{
		knn_put_u8(w, ivf->by_residual);
		knn_put_u64(w, file->codes.size);
		put_product_quantizer(w, file);
	}
	else if (encoding != KNN_FAISS_BITS && encoding != KNN_FAISS_FLOAT)
	{
		knn_put_scalar_quantizer(w, file);
		knn_put_u64(w, file->codes.size);
		knn_put_u8(w, ivf->by_residual);
	}
	knn_put(w, "ilar", 4);
	knn_put_u64(w, ivf->nlist);
	knn_put_u64(w, file->codes.size);
	knn_put(w, "sprs", 4);
	knn_put_u64(w, 0);
}

static void
put_hnsw(knn_writer *w, const knn_faiss_file *file)
{
	const knn_faiss_hnsw *g = &file->hnsw;
	knn_faiss_encoding encoding = file->codes.encoding;

	knn_put_header(w, file, encoding == KNN_FAISS_FLOAT ? "IHNf" :
				   encoding == KNN_FAISS_PQ ? "IHNp" : "IHNs", 0);
	knn_put_array(w, g->level_probabilities, g->level_count, 8);
	knn_put_array(w, g->level_neighbours, g->level_count + 1, 4);
	knn_put_u64(w, 0);			/* levels */
	knn_put_u64(w, 1);			/* offsets: that of the end */
	knn_put_u64(w, 0);
	knn_put_u64(w, 0);			/* neighbours */
	knn_put_u32(w, UINT32_MAX); /* entry point -1 */
	knn_put_u32(w, UINT32_MAX); /* highest level -1 */
	knn_put_u32(w, (uint32_t) g->ef_construction);
	knn_put_u32(w, (uint32_t) g->ef_search);
	knn_put_u32(w, (uint32_t) g->upper_beam);
	if (encoding == KNN_FAISS_FLOAT)
	{
		knn_put_header(w, file, knn_faiss_flat_kind(file), 0);
		knn_put_u64(w, 0);
	}
	else if (encoding == KNN_FAISS_PQ)
	{
		knn_put_header(w, file, "IxPq", 0);
		put_product_quantizer(w, file);
		knn_put_u64(w, 0);
		knn_put_u32(w, 0);		/* search type: by tables of distances */
		knn_put_u8(w, 0);		/* no signs */
		knn_put_u32(w, 0);		/* threshold of polysemous codes */
	}
	else
	{
		knn_put_header(w, file, "IxSQ", 0);
		knn_put_scalar_quantizer(w, file);
		knn_put_u64(w, 0);
	}
}

static size_t
put_file(const knn_faiss_file *file, uint8_t *memory)
{
	knn_writer	w = {.buffer = memory, .room = SIZE_MAX};

	if (file->structure == KNN_FAISS_IVF)
		put_ivf(&w, file);
	else if (file->structure == KNN_FAISS_HNSW && !file->binary && !file->hnsw.is_cagra &&
			 file->codes.encoding != KNN_FAISS_NO_VECTORS)
		put_hnsw(&w, file);
	return (size_t) w.size;
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
