/*
 * vector_value.c
 *		Making, detoasting and checking values of type knn_vector.
 *
 * The checks that more than one part of the type needs live here, once, with
 * their messages.
 */
#include "postgres.h"

#include <math.h>

#include "compat.h"
#include "type/knn_vector.h"

static const char *const data_type_names[] = {"float", "half", "byte", "binary"};

static const char *const space_names[KNN_SPACE_COUNT] = {
	"l2", "innerproduct", "cosinesimil", "l1", "linf", "hamming"
};

const char *
KnnDataTypeName(KnnDataType data_type)
{
	Assert(data_type <= KNN_DATA_BINARY);
	return data_type_names[data_type];
}

const char *
KnnSpaceName(KnnSpace space)
{
	Assert(space >= KNN_SPACE_L2 && space <= KNN_SPACE_HAMMING);
	return space_names[space - KNN_SPACE_L2];
}

Size
KnnVectorDataSize(uint32 dim, KnnDataType data_type)
{
	switch (data_type)
	{
		case KNN_DATA_FLOAT:
			return (Size) dim * sizeof(float);
		case KNN_DATA_HALF:
			return (Size) dim * sizeof(knn_half);
		case KNN_DATA_BYTE:
			return (Size) dim;
		case KNN_DATA_BINARY:
			return (Size) dim / 8;
	}
	elog(ERROR, "unrecognized knn_vector data type: %d", (int) data_type);
	return 0;					/* keep the compiler quiet */
}

/*
 * ERROR, or soft error returning false, unless dim is one that a vector of the
 * data type can have.
 */
bool
KnnCheckDim(int64 dim, KnnDataType data_type, struct Node *escontext)
{
	if (dim < 1)
		ereturn(escontext, false,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("knn_vector must have at least 1 dimension")));
	if (dim > KNN_MAX_DIM)
		ereturn(escontext, false,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("knn_vector cannot have more than %d dimensions", KNN_MAX_DIM)));
	if (data_type == KNN_DATA_BINARY && dim % 8 != 0)
		ereturn(escontext, false,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("dimension must be a multiple of 8 for data type \"binary\""),
				 errdetail("The dimension is %d.", (int) dim)));
	return true;
}

KnnVector *
KnnVectorAlloc(uint32 dim, KnnDataType data_type)
{
	Size		size;
	KnnVector  *v;

	KnnCheckDim(dim, data_type, NULL);
	size = KNN_VECTOR_HEADER_SIZE + KnnVectorDataSize(dim, data_type);
	v = (KnnVector *) palloc0(size);
	SET_VARSIZE(v, size);
	v->dim = (uint16) dim;
	v->data_type = (uint8) data_type;
	return v;
}

/*
 * The checks here are what keeps every reader of a vector inside its memory
 * when a page was damaged, so they are on for every value; they cost a few
 * instructions on a line that is read anyway.
 */
KnnVector *
KnnVectorFromDatum(Datum datum)
{
	KnnVector  *v = (KnnVector *) PG_DETOAST_DATUM(datum);
	Size		size = VARSIZE(v);

	if (unlikely(size < KNN_VECTOR_HEADER_SIZE ||
				 v->dim < 1 || v->dim > KNN_MAX_DIM ||
				 v->data_type > KNN_DATA_BINARY ||
				 (v->data_type == KNN_DATA_BINARY && v->dim % 8 != 0) ||
				 size != KNN_VECTOR_HEADER_SIZE + KnnVectorDataSize(v->dim, (KnnDataType) v->data_type)))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("malformed knn_vector")));
	return v;
}

uint32
KnnVectorElements(const KnnVector *v)
{
	return v->data_type == KNN_DATA_BINARY ? v->dim / 8 : v->dim;
}

void
KnnVectorGetFloats(const KnnVector *v, uint32 first, uint32 count, float *out)
{
	Assert(first + count <= KnnVectorElements(v));

	switch ((KnnDataType) v->data_type)
	{
		case KNN_DATA_FLOAT:
			memcpy(out, KnnVectorFloats(v) + first, count * sizeof(float));
			break;
		case KNN_DATA_HALF:
			knn_kernels_get()->f16_to_f32(KnnVectorHalves(v) + first, out, count);
			break;
		case KNN_DATA_BYTE:
		case KNN_DATA_BINARY:
			{
				const int8 *x = KnnVectorBytes(v) + first;

				for (uint32 i = 0; i < count; i++)
					out[i] = (float) x[i];
			}
			break;
	}
}

bool
KnnCheckFloats(const float *x, uint32 count, struct Node *escontext)
{
	uint32		bad = 0;

	/* one branch-free pass tells whether there is anything to complain about */
	for (uint32 i = 0; i < count; i++)
	{
		uint32		bits;

		memcpy(&bits, &x[i], sizeof(bits));
		bad |= (uint32) ((bits & 0x7F800000) == 0x7F800000);
	}
	if (likely(bad == 0))
		return true;

	for (uint32 i = 0; i < count; i++)
	{
		if (isnan(x[i]))
			ereturn(escontext, false,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("knn_vector values cannot be NaN"),
					 errdetail("Element %u is NaN.", i + 1)));
		if (isinf(x[i]))
			ereturn(escontext, false,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("knn_vector values cannot be infinity"),
					 errdetail("Element %u is infinite.", i + 1)));
	}
	return true;
}

void
KnnCheckSameDim(const KnnVector *a, const KnnVector *b)
{
	if (unlikely(a->dim != b->dim))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("different vector dimensions %d and %d", a->dim, b->dim)));
}

void
KnnCheckSpace(KnnSpace space, KnnDataType data_type)
{
	if (unlikely((space == KNN_SPACE_HAMMING) != (data_type == KNN_DATA_BINARY)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("space type \"%s\" is not supported with data type \"%s\"",
						KnnSpaceName(space), KnnDataTypeName(data_type)),
				 space == KNN_SPACE_HAMMING ?
				 errhint("Cast the operands to knn_vector(n, 'binary').") :
				 errhint("The space type for data type \"binary\" is \"hamming\".")));
}
