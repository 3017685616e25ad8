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

/* Detoast (copying only when needed); ERROR when the datum is malformed. */
extern KnnVector *KnnVectorFromDatum(Datum datum);
#define PG_GETARG_KNN_VECTOR_P(n) KnnVectorFromDatum(PG_GETARG_DATUM(n))
#define PG_RETURN_KNN_VECTOR_P(x) PG_RETURN_POINTER(x)

/* Bytes of the elements of a vector. */
extern Size KnnVectorDataSize(uint32 dim, KnnDataType data_type);

/* A zeroed vector in the current memory context. */
extern KnnVector *KnnVectorAlloc(uint32 dim, KnnDataType data_type);

/*
 * Convert to another data type, checking range; returns v itself when it has
 * that type already.  ERROR names the element that does not fit.
 */
extern KnnVector *KnnVectorConvert(KnnVector *v, KnnDataType data_type);

/*
 * A typmod packs (dim, data_type): dim + (data_type << 16); -1 is none, dim 0 in
 * a typmod never occurs.
 */
#define KnnTypmodMake(dim, data_type) ((int32) ((dim) | ((uint32) (data_type) << 16)))
#define KnnTypmodDim(typmod) ((typmod) & 0xFFFF)
#define KnnTypmodDataType(typmod) ((KnnDataType) (((typmod) >> 16) & 0xFF))

extern const char *KnnDataTypeName(KnnDataType data_type);	/* "float", ... */

#endif
