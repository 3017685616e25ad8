/*
 * faiss_reader.h
 *		Numbers and arrays of bytes that are not believed.
 *
 * Each function takes what comes next, or fails when there are not the bytes or it
 * is not what was expected.  The first failure stays: from then on nothing more is
 * taken, numbers are 0, arrays are empty and their pointers NULL.
 *
 * Names of what is taken are for messages, as in "the file ends within %s"; those of
 * arrays are plural.
 */
#ifndef KNN_CORE_FAISS_READER_H
#define KNN_CORE_FAISS_READER_H

#include "core/faiss_file.h"

typedef struct knn_reader
{
	const uint8_t *start;
	const uint8_t *p;
	const uint8_t *end;
	knn_faiss_error *error;
	bool		failed;
} knn_reader;

static inline uint64_t
knn_reader_left(const knn_reader *r)
{
	return (uint64_t) (r->end - r->p);
}

/* Fail here, with this message; always false. */
__attribute__((format(printf, 2, 3)))
extern bool knn_reader_fail(knn_reader *r, const char *format,...);

/* That many bytes. */
extern const uint8_t *knn_take(knn_reader *r, uint64_t size, const char *what);

extern uint8_t knn_take_u8(knn_reader *r, const char *what);
extern bool knn_take_bool(knn_reader *r, const char *what);
extern int32_t knn_take_i32(knn_reader *r, const char *what);
extern uint64_t knn_take_u64(knn_reader *r, const char *what);

/* Numbers that have to be in a range, or are known already. */
extern int32_t knn_take_i32_between(knn_reader *r, const char *what, int32_t min, int32_t max);
extern uint64_t knn_take_u64_between(knn_reader *r, const char *what, uint64_t min, uint64_t max);
extern void knn_expect_u64(knn_reader *r, const char *what, uint64_t expected);

/* An array with its count (uint64) before it. */
extern const uint8_t *knn_take_array(knn_reader *r, size_t element, uint64_t *count,
									 const char *what);

/* One whose count must be first * second, which may be beyond any number. */
extern const uint8_t *knn_take_known_array(knn_reader *r, size_t element, uint64_t first,
										   uint64_t second, const char *what);

extern void knn_check_finite(knn_reader *r, const uint8_t *floats, uint64_t count,
							 const char *what);

#endif
