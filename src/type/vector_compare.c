/*
 * vector_compare.c
 *		Total order and hash, for btree and hash operator classes.
 *
 * Vectors are compared by the numbers of their text form, as arrays are: element
 * by element, then by length.  The data type plays no part, so that a float
 * literal equals the byte vector it is written like, and WHERE v = '[1,2,3]'
 * means the same on every column.  Minus zero equals zero.
 */
#include "postgres.h"

#include "common/hashfn.h"

#include "compat.h"
#include "type/knn_vector.h"

/* Elements converted at a time; a hash is chained over runs of this length. */
#define RUN_LENGTH 256

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_lt);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_le);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_eq);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_ne);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_ge);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_gt);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_cmp);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_hash);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_hash_extended);

static inline int
CompareFloats(const float *a, const float *b, uint32 count)
{
	for (uint32 i = 0; i < count; i++)
	{
		if (a[i] != b[i])
			return a[i] < b[i] ? -1 : 1;
	}
	return 0;
}

/* Total order: -1, 0, 1. */
static int
CompareVectors(const KnnVector *a, const KnnVector *b)
{
	uint32		na = KnnVectorElements(a);
	uint32		nb = KnnVectorElements(b);
	uint32		n = Min(na, nb);

	if (a->data_type == KNN_DATA_FLOAT && b->data_type == KNN_DATA_FLOAT)
	{
		int			cmp = CompareFloats(KnnVectorFloats(a), KnnVectorFloats(b), n);

		if (cmp != 0)
			return cmp;
	}
	else
	{
		for (uint32 first = 0; first < n; first += RUN_LENGTH)
		{
			float		xa[RUN_LENGTH];
			float		xb[RUN_LENGTH];
			uint32		count = Min(n - first, (uint32) RUN_LENGTH);
			int			cmp;

			KnnVectorGetFloats(a, first, count, xa);
			KnnVectorGetFloats(b, first, count, xb);
			cmp = CompareFloats(xa, xb, count);
			if (cmp != 0)
				return cmp;
		}
	}
	return na < nb ? -1 : (na > nb ? 1 : 0);
}

static int
CompareArguments(FunctionCallInfo fcinfo)
{
	KnnVector  *a = PG_GETARG_KNN_VECTOR_P(0);
	KnnVector  *b = PG_GETARG_KNN_VECTOR_P(1);
	int			cmp = CompareVectors(a, b);

	/* btree and sort call comparisons in contexts that live long */
	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return cmp;
}

Datum
knn_vector_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(CompareArguments(fcinfo) < 0);
}

Datum
knn_vector_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(CompareArguments(fcinfo) <= 0);
}

Datum
knn_vector_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(CompareArguments(fcinfo) == 0);
}

Datum
knn_vector_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(CompareArguments(fcinfo) != 0);
}

Datum
knn_vector_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(CompareArguments(fcinfo) >= 0);
}

Datum
knn_vector_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(CompareArguments(fcinfo) > 0);
}

Datum
knn_vector_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(CompareArguments(fcinfo));
}

/*
 * Hash over what the comparison looks at: the elements as floats, with one zero.
 */
static uint64
HashVector(const KnnVector *v, uint64 seed)
{
	uint32		n = KnnVectorElements(v);
	uint64		hash = seed;

	for (uint32 first = 0; first < n; first += RUN_LENGTH)
	{
		float		x[RUN_LENGTH];
		uint32		count = Min(n - first, (uint32) RUN_LENGTH);

		KnnVectorGetFloats(v, first, count, x);
		for (uint32 i = 0; i < count; i++)
		{
			if (x[i] == 0.0f)
				x[i] = 0.0f;	/* was perhaps minus zero */
		}
		hash = hash_bytes_extended((const unsigned char *) x,
								   (int) (count * sizeof(float)), hash);
	}
	return hash;
}

Datum
knn_vector_hash(PG_FUNCTION_ARGS)
{
	KnnVector  *v = PG_GETARG_KNN_VECTOR_P(0);
	uint64		hash = HashVector(v, 0);

	/* by contract the low half of the extended hash with seed 0 */
	PG_FREE_IF_COPY(v, 0);
	PG_RETURN_UINT32((uint32) hash);
}

Datum
knn_vector_hash_extended(PG_FUNCTION_ARGS)
{
	KnnVector  *v = PG_GETARG_KNN_VECTOR_P(0);
	uint64		hash = HashVector(v, (uint64) PG_GETARG_INT64(1));

	PG_FREE_IF_COPY(v, 0);
	PG_RETURN_UINT64(hash);
}
