/*
 * vector_text.h
 *		Parser of the text form of a vector: [1, 2.5, -3e-2].
 *
 * Plain C11, no PostgreSQL headers, so that it can be fuzzed on its own.
 */
#ifndef KNN_CORE_VECTOR_TEXT_H
#define KNN_CORE_VECTOR_TEXT_H

#include <stddef.h>
#include <stdint.h>

typedef enum knn_text_status
{
	KNN_TEXT_OK = 0,
	KNN_TEXT_NO_OPENING,		/* does not start with [ */
	KNN_TEXT_EMPTY,				/* nothing between the brackets */
	KNN_TEXT_NOT_A_NUMBER,		/* something else where an element belongs */
	KNN_TEXT_NO_DELIMITER,		/* neither , nor ] after an element */
	KNN_TEXT_UNTERMINATED,		/* the text ends before ] */
	KNN_TEXT_TRAILING,			/* more than white space after ] */
	KNN_TEXT_NAN,
	KNN_TEXT_INFINITY,
	KNN_TEXT_OUT_OF_RANGE,		/* too large for a float */
	KNN_TEXT_TOO_MANY			/* more elements than max */
} knn_text_status;

typedef struct knn_text_result
{
	uint32_t	count;			/* elements stored so far */
	size_t		offset;			/* where the status was found */
	size_t		length;			/* bytes of the number at offset, if it is one */
} knn_text_result;

/*
 * Parse len bytes of text (no terminator needed, none of the bytes is trusted)
 * into at most max floats.  Every number is rounded correctly, ties to even;
 * one too small for a float becomes the nearest subnormal or zero.  The
 * locale has no influence.
 */
extern knn_text_status knn_vector_text_parse(const char *text, size_t len,
											 float *out, uint32_t max,
											 knn_text_result *result);

#endif
