/*
 * faiss_writer.h
 *		Numbers and arrays of bytes on their way into a file of faiss.
 *
 * A writer puts its bytes through a buffer to a function, or, without a buffer, only
 * counts them.  The first failure of the function stays: nothing more is written.
 */
#ifndef KNN_CORE_FAISS_WRITER_H
#define KNN_CORE_FAISS_WRITER_H

#include "core/faiss_file.h"

typedef struct knn_writer
{
	uint8_t    *buffer;			/* NULL: count alone */
	size_t		room;			/* of the buffer */
	size_t		used;
	bool		(*write) (void *state, uint64_t offset, const void *bytes, size_t n);
	void	   *state;
	uint64_t	size;			/* of all that was put */
	bool		failed;
} knn_writer;

extern void knn_put(knn_writer *w, const void *data, size_t size);
extern void knn_put_u8(knn_writer *w, uint8_t value);
extern void knn_put_u32(knn_writer *w, uint32_t value);
extern void knn_put_u64(knn_writer *w, uint64_t value);
extern void knn_put_f64(knn_writer *w, double value);

/* What is left in the buffer, to the function. */
extern void knn_writer_flush(knn_writer *w);

/*
 * The kind of an index and what all begin with; of the file are looked at
 * dimension, metric and whether it is binary.
 */
extern void knn_put_header(knn_writer *w, const knn_faiss_file *file, const char *kind,
						   uint64_t ntotal);

/* The kind of an index of nothing but vectors. */
extern const char *knn_faiss_flat_kind(const knn_faiss_file *file);

/* The scalar quantizer of file->codes. */
extern void knn_put_scalar_quantizer(knn_writer *w, const knn_faiss_file *file);

#endif
