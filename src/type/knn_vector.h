/*
 * knn_vector.h
 *		On-disk and in-memory form of the SQL type knn_vector.
 *
 * One varlena for all data types: header, dimension, data type, elements.  The
 * elements start 4-byte aligned and are
 *
 *	KNN_DATA_FLOAT	float4 each
 *	KNN_DATA_HALF	IEEE binary16 each
 *	KNN_DATA_BYTE	int8 each
 *	KNN_DATA_BINARY	dim bits packed in dim/8 bytes, first bit is the most
 *					significant of the first byte
 *
 * dim counts elements, bits for binary.  Values are never NaN nor infinite.
 */
#ifndef KNN_TYPE_KNN_VECTOR_H
#define KNN_TYPE_KNN_VECTOR_H

#include "postgres.h"

#include "fmgr.h"

#include "core/distance.h"
#include "core/space.h"

typedef enum KnnDataType
{
	KNN_DATA_FLOAT = 0,
	KNN_DATA_HALF = 1,
	KNN_DATA_BYTE = 2,
	KNN_DATA_BINARY = 3
} KnnDataType;

typedef struct KnnVector
{
	int32		vl_len_;		/* varlena header, do not touch directly */
	uint16		dim;			/* elements, bits for binary; 1..KNN_MAX_DIM */
	uint8		data_type;		/* KnnDataType */
	uint8		unused;			/* zero */
	char		data[FLEXIBLE_ARRAY_MEMBER];
} KnnVector;

#define KNN_VECTOR_HEADER_SIZE offsetof(KnnVector, data)

#define KnnVectorFloats(v) ((float *) (v)->data)
#define KnnVectorHalves(v) ((knn_half *) (v)->data)
#define KnnVectorBytes(v) ((int8 *) (v)->data)
#define KnnVectorBits(v) ((uint8 *) (v)->data)

/*
 * Spaces, in OpenSearch's words; numbered from 1 (core/space.h).  Which data types
 * a space is for is checked by KnnCheckSpace.
 */
typedef knn_space KnnSpace;

#define KNN_SPACE_COUNT 6

struct Node;

/* vector_value.c */

/* Detoast (copying only when needed); ERROR when the datum is malformed. */
extern KnnVector *KnnVectorFromDatum(Datum datum);
#define PG_GETARG_KNN_VECTOR_P(n) KnnVectorFromDatum(PG_GETARG_DATUM(n))
#define PG_RETURN_KNN_VECTOR_P(x) PG_RETURN_POINTER(x)

/* Bytes of the elements of a vector. */
extern Size KnnVectorDataSize(uint32 dim, KnnDataType data_type);

/* A zeroed vector in the current memory context; ERROR when dim is not valid. */
extern KnnVector *KnnVectorAlloc(uint32 dim, KnnDataType data_type);

/* Numbers in the text form: dim, but dim / 8 for binary. */
extern uint32 KnnVectorElements(const KnnVector *v);

/*
 * Those numbers from first (zero-based) to first + count - 1, as floats.
 * KnnVectorGetFloats reads any data type; out has room for count.
 */
extern void KnnVectorGetFloats(const KnnVector *v, uint32 first, uint32 count, float *out);

/* ERROR (or soft error, returning false) unless every float is finite. */
extern bool KnnCheckFloats(const float *x, uint32 count, struct Node *escontext);

extern bool KnnCheckDim(int64 dim, KnnDataType data_type, struct Node *escontext);
extern void KnnCheckSameDim(const KnnVector *a, const KnnVector *b);

extern const char *KnnDataTypeName(KnnDataType data_type);	/* "float", ... */
extern const char *KnnSpaceName(KnnSpace space);	/* "l2", "cosinesimil", ... */

/* ERROR unless the space is defined for the data type. */
extern void KnnCheckSpace(KnnSpace space, KnnDataType data_type);

/* vector_convert.c */

/*
 * Convert to another data type, checking range; returns v itself when it has
 * that type already.  ERROR names the element that does not fit; with an
 * escontext the error may be soft, and the result NULL.
 */
extern KnnVector *KnnVectorConvertSoft(KnnVector *v, KnnDataType data_type,
									   struct Node *escontext);
#define KnnVectorConvert(v, data_type) KnnVectorConvertSoft(v, data_type, NULL)

/* Bring two operands to one data type: a float one follows the other, or ERROR. */
extern void KnnMatchOperands(KnnVector **a, KnnVector **b);

/* Make v fit a type modifier: check the dimension, convert the data type. */
extern KnnVector *KnnVectorCoerce(KnnVector *v, int32 typmod, struct Node *escontext);

/* vector_distance.c */

/* Euclidean norm, accumulated in double; not for binary. */
extern double KnnVectorNorm(const KnnVector *v);

/*
 * A typmod packs (dim, data_type): dim + (data_type << 16); -1 is none, dim 0 in
 * a typmod never occurs.
 */
#define KnnTypmodMake(dim, data_type) ((int32) ((dim) | ((uint32) (data_type) << 16)))
#define KnnTypmodDim(typmod) ((typmod) & 0xFFFF)
#define KnnTypmodDataType(typmod) ((KnnDataType) (((typmod) >> 16) & 0xFF))

#endif
