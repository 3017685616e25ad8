/*
 * faiss_writer.c
 *		Numbers and arrays of bytes on their way into a file of faiss.
 */
#include "core/faiss_writer.h"

#include <string.h>

#define RANGE_MINMAX		0	/* faiss::ScalarQuantizer::RangeStat */

void
knn_writer_flush(knn_writer *w)
{
	if (!w->write || w->used == 0)
		return;
	if (!w->failed && !w->write(w->state, w->size - w->used, w->buffer, w->used))
		w->failed = true;
	w->used = 0;
}

void
knn_put(knn_writer *w, const void *data, size_t size)
{
	const uint8_t *p = data;

	if (!w->buffer)
	{
		w->size += size;
		return;
	}
	while (size > 0)
	{
		size_t		n;

		if (w->used == w->room)
			knn_writer_flush(w);
		n = size < w->room - w->used ? size : w->room - w->used;
		memcpy(w->buffer + w->used, p, n);
		w->used += n;
		w->size += n;
		p += n;
		size -= n;
	}
}

void
knn_put_u8(knn_writer *w, uint8_t value)
{
	knn_put(w, &value, 1);
}

void
knn_put_u32(knn_writer *w, uint32_t value)
{
	uint8_t		bytes[4] = {(uint8_t) value, (uint8_t) (value >> 8), (uint8_t) (value >> 16),
	(uint8_t) (value >> 24)};

	knn_put(w, bytes, 4);
}

void
knn_put_u64(knn_writer *w, uint64_t value)
{
	knn_put_u32(w, (uint32_t) value);
	knn_put_u32(w, (uint32_t) (value >> 32));
}

void
knn_put_f64(knn_writer *w, double value)
{
	uint64_t	bits;

	memcpy(&bits, &value, 8);
	knn_put_u64(w, bits);
}

void
knn_put_header(knn_writer *w, const knn_faiss_file *file, const char *kind, uint64_t ntotal)
{
	knn_put(w, kind, 4);
	knn_put_u32(w, (uint32_t) file->dimension);
	if (file->binary)
	{
		knn_put_u32(w, (uint32_t) file->dimension / 8);
		knn_put_u64(w, ntotal);
		knn_put_u8(w, 1);
		knn_put_u32(w, file->metric);
		return;
	}
	knn_put_u64(w, ntotal);
	knn_put_u64(w, UINT64_C(1) << 20);	/* two that mean nothing */
	knn_put_u64(w, UINT64_C(1) << 20);
	knn_put_u8(w, 1);
	knn_put_u32(w, file->metric);
	if (file->metric > KNN_FAISS_L2)
		knn_put_u32(w, 0);
}

const char *
knn_faiss_flat_kind(const knn_faiss_file *file)
{
	return file->binary ? "IBxF" : file->metric == KNN_FAISS_INNER_PRODUCT ? "IxFI" : "IxF2";
}

void
knn_put_scalar_quantizer(knn_writer *w, const knn_faiss_file *file)
{
	knn_faiss_encoding encoding = file->codes.encoding;

	knn_put_u32(w, encoding == KNN_FAISS_FP16 ? KNN_FAISS_QT_FP16 :
				encoding == KNN_FAISS_UINT8 ? KNN_FAISS_QT_8BIT_DIRECT : KNN_FAISS_QT_8BIT_DIRECT_SIGNED);
	knn_put_u32(w, RANGE_MINMAX);
	knn_put_u32(w, 0);			/* the argument of the range */
	knn_put_u64(w, (uint64_t) file->dimension);
	knn_put_u64(w, file->codes.size);
	knn_put_u64(w, 0);			/* nothing learned */
}
