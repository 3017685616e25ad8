/*
 * vector_arith.c
 *		Elementwise arithmetic, concatenation, parts and properties of vectors.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/float.h"

#include "compat.h"
#include "type/knn_vector.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_add);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_sub);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_mul);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_concat);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_dims);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_data_type);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_l2_normalize);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_subvector);

static void
RefuseBinary(const KnnVector *v, const char *what)
{
	if (v->data_type == KNN_DATA_BINARY)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s is not supported with data type \"%s\"",
						what, KnnDataTypeName(KNN_DATA_BINARY))));
}

/*
 * The elements of v as floats: in place when they are, else in a copy.
 */
static const float *
FloatsOf(const KnnVector *v)
{
	float	   *x;

	if (v->data_type == KNN_DATA_FLOAT)
		return KnnVectorFloats(v);
	x = (float *) palloc(v->dim * sizeof(float));
	KnnVectorGetFloats(v, 0, v->dim, x);
	return x;
}

/*
 * Elementwise a op b.  Two halves give a half, anything else floats.
 */
static Datum
Arithmetic(FunctionCallInfo fcinfo, char op)
{
	KnnVector  *a = PG_GETARG_KNN_VECTOR_P(0);
	KnnVector  *b = PG_GETARG_KNN_VECTOR_P(1);
	char		name[] = {'o', 'p', 'e', 'r', 'a', 't', 'o', 'r', ' ', op, '\0'};
	bool		half = a->data_type == KNN_DATA_HALF && b->data_type == KNN_DATA_HALF;
	const float *xa;
	const float *xb;
	float	   *x;
	KnnVector  *result;

	RefuseBinary(a, name);
	RefuseBinary(b, name);
	KnnCheckSameDim(a, b);
	xa = FloatsOf(a);
	xb = FloatsOf(b);
	result = KnnVectorAlloc(a->dim, KNN_DATA_FLOAT);
	x = KnnVectorFloats(result);

	switch (op)
	{
		case '+':
			for (int i = 0; i < a->dim; i++)
				x[i] = xa[i] + xb[i];
			break;
		case '-':
			for (int i = 0; i < a->dim; i++)
				x[i] = xa[i] - xb[i];
			break;
		case '*':
			for (int i = 0; i < a->dim; i++)
			{
				x[i] = xa[i] * xb[i];
				if (unlikely(x[i] == 0.0f && xa[i] != 0.0f && xb[i] != 0.0f))
					float_underflow_error();
			}
			break;
	}
	for (int i = 0; i < a->dim; i++)
	{
		/* 65520 is where rounding to half begins to give infinity */
		if (unlikely(isinf(x[i]) || (half && fabsf(x[i]) >= 65520.0f)))
			float_overflow_error();
	}

	if (half)
	{
		KnnVector  *floats = result;

		result = KnnVectorAlloc(a->dim, KNN_DATA_HALF);
		knn_kernels_get()->f32_to_f16(x, KnnVectorHalves(result), a->dim);
		pfree(floats);
	}
	PG_RETURN_KNN_VECTOR_P(result);
}

Datum
knn_vector_add(PG_FUNCTION_ARGS)
{
	return Arithmetic(fcinfo, '+');
}

Datum
knn_vector_sub(PG_FUNCTION_ARGS)
{
	return Arithmetic(fcinfo, '-');
}

Datum
knn_vector_mul(PG_FUNCTION_ARGS)
{
	return Arithmetic(fcinfo, '*');
}

/*
 * Concatenation.  Vectors of one data type keep it; a float operand follows the
 * other one's, as with distances.
 */
Datum
knn_vector_concat(PG_FUNCTION_ARGS)
{
	KnnVector  *a = PG_GETARG_KNN_VECTOR_P(0);
	KnnVector  *b = PG_GETARG_KNN_VECTOR_P(1);
	Size		size_a;
	Size		size_b;
	KnnVector  *result;

	KnnMatchOperands(&a, &b);
	result = KnnVectorAlloc((uint32) a->dim + b->dim, (KnnDataType) a->data_type);
	size_a = KnnVectorDataSize(a->dim, (KnnDataType) a->data_type);
	size_b = KnnVectorDataSize(b->dim, (KnnDataType) b->data_type);
	memcpy(result->data, a->data, size_a);
	memcpy(result->data + size_a, b->data, size_b);
	PG_RETURN_KNN_VECTOR_P(result);
}

Datum
knn_dims(PG_FUNCTION_ARGS)
{
	KnnVector  *v = PG_GETARG_KNN_VECTOR_P(0);

	PG_RETURN_INT32(v->dim);
}

Datum
knn_data_type(PG_FUNCTION_ARGS)
{
	KnnVector  *v = PG_GETARG_KNN_VECTOR_P(0);

	PG_RETURN_TEXT_P(cstring_to_text(KnnDataTypeName((KnnDataType) v->data_type)));
}

/*
 * The vector of norm 1 in the same direction; a zero vector stays zero.  Halves
 * stay halves, bytes become floats.
 */
Datum
knn_vector_l2_normalize(PG_FUNCTION_ARGS)
{
	KnnVector  *v = PG_GETARG_KNN_VECTOR_P(0);
	KnnVector  *result;
	double		norm;
	const float *x;

	RefuseBinary(v, "l2_normalize");
	result = KnnVectorAlloc(v->dim, KNN_DATA_FLOAT);
	norm = KnnVectorNorm(v);
	x = FloatsOf(v);
	if (norm > 0.0)
	{
		for (int i = 0; i < v->dim; i++)
			KnnVectorFloats(result)[i] = (float) ((double) x[i] / norm);
	}
	if (v->data_type == KNN_DATA_HALF)
		result = KnnVectorConvert(result, KNN_DATA_HALF);
	PG_RETURN_KNN_VECTOR_P(result);
}

/*
 * count elements from the one-based start, cut to those that exist, as
 * substring does.  Bits of a binary vector are counted, in whole bytes.
 */
Datum
knn_vector_subvector(PG_FUNCTION_ARGS)
{
	KnnVector  *v = PG_GETARG_KNN_VECTOR_P(0);
	int64		first = PG_GETARG_INT32(1);
	int64		end = first + PG_GETARG_INT32(2);
	KnnDataType data_type = (KnnDataType) v->data_type;
	KnnVector  *result;

	first = Max(first, 1);
	end = Min(end, (int64) v->dim + 1);
	if (end <= first)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("knn_vector must have at least 1 dimension")));
	if (data_type == KNN_DATA_BINARY && ((first - 1) % 8 != 0 || (end - first) % 8 != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("part of a knn_vector of data type \"%s\" must begin and end at a multiple of 8 bits",
						KnnDataTypeName(data_type))));

	result = KnnVectorAlloc((uint32) (end - first), data_type);
	memcpy(result->data,
		   v->data + KnnVectorDataSize((uint32) (first - 1), data_type),
		   KnnVectorDataSize((uint32) (end - first), data_type));
	PG_RETURN_KNN_VECTOR_P(result);
}
