/*
 * vector_convert.c
 *		Conversions between data types, and casts from and to other SQL types.
 *
 * A conversion never changes a value silently, except that half rounds: a
 * number that the target cannot hold is an error naming the element.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/varbit.h"

#include "compat.h"
#include "type/knn_vector.h"

#define HALF_MAX 65504.0f

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_coerce);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_from_float4_array);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_from_float8_array);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_from_int4_array);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_from_numeric_array);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_from_bit);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_to_float4_array);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_to_float8_array);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_to_int4_array);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_to_bit);

/* A float as the text form shows it, for messages. */
static char *
FloatText(float f)
{
	char	   *buf = (char *) palloc(FLOAT_SHORTEST_DECIMAL_LEN);

	float_to_shortest_decimal_buf(f, buf);
	return buf;
}

/* Floats to int8, for byte and binary. */
static bool
FloatsToBytes(const float *x, int8 *out, uint32 count, KnnDataType data_type,
			  struct Node *escontext)
{
	for (uint32 i = 0; i < count; i++)
	{
		if (unlikely(!(x[i] >= -128.0f && x[i] <= 127.0f && x[i] == (float) (int) x[i])))
		{
			if (x[i] != rintf(x[i]))
				ereturn(escontext, false,
						(errcode(ERRCODE_DATA_EXCEPTION),
						 errmsg("knn_vector values are floats instead of byte integers for data type \"%s\"",
								KnnDataTypeName(data_type)),
						 errdetail("Element %u is %s.", i + 1, FloatText(x[i]))));
			ereturn(escontext, false,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("knn_vector values are not within the byte range [-128, 127] for data type \"%s\"",
							KnnDataTypeName(data_type)),
					 errdetail("Element %u is %s.", i + 1, FloatText(x[i]))));
		}
		out[i] = (int8) x[i];
	}
	return true;
}

static bool
FloatsToHalves(const float *x, knn_half *out, uint32 count, struct Node *escontext)
{
	for (uint32 i = 0; i < count; i++)
	{
		if (unlikely(!(fabsf(x[i]) <= HALF_MAX)))
			ereturn(escontext, false,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("knn_vector values are not within the FP16 range [-65504, 65504] for data type \"half\""),
					 errdetail("Element %u is %s.", i + 1, FloatText(x[i]))));
	}
	knn_kernels_get()->f32_to_f16(x, out, count);
	return true;
}

KnnVector *
KnnVectorConvertSoft(KnnVector *v, KnnDataType data_type, struct Node *escontext)
{
	uint32		count;
	const float *x;
	float	   *copy = NULL;
	KnnVector  *result;
	bool		ok = true;
	int64		dim;

	if (v->data_type == data_type)
		return v;

	/*
	 * The numbers of a binary vector are eight bits each; taken for values, any
	 * distance between them would be a different one.
	 */
	if (v->data_type == KNN_DATA_BINARY)
		ereturn(escontext, NULL,
				(errcode(ERRCODE_CANNOT_COERCE),
				 errmsg("cannot convert a knn_vector of data type \"%s\" to data type \"%s\"",
						KnnDataTypeName(KNN_DATA_BINARY), KnnDataTypeName(data_type)),
				 errhint("To use its bytes as numbers, cast it to integer[] first.")));

	count = v->dim;
	dim = data_type == KNN_DATA_BINARY ? (int64) count * 8 : (int64) count;
	if (!KnnCheckDim(dim, data_type, escontext))
		return NULL;

	if (v->data_type == KNN_DATA_FLOAT)
		x = KnnVectorFloats(v);
	else
	{
		copy = (float *) palloc(count * sizeof(float));
		KnnVectorGetFloats(v, 0, count, copy);
		x = copy;
	}

	result = KnnVectorAlloc((uint32) dim, data_type);
	switch (data_type)
	{
		case KNN_DATA_FLOAT:
			memcpy(KnnVectorFloats(result), x, count * sizeof(float));
			break;
		case KNN_DATA_HALF:
			ok = FloatsToHalves(x, KnnVectorHalves(result), count, escontext);
			break;
		case KNN_DATA_BYTE:
		case KNN_DATA_BINARY:
			ok = FloatsToBytes(x, KnnVectorBytes(result), count, data_type, escontext);
			break;
	}
	if (copy)
		pfree(copy);
	return ok ? result : NULL;
}

KnnVector *
KnnVectorCoerce(KnnVector *v, int32 typmod, struct Node *escontext)
{
	KnnDataType data_type;
	int			dim;

	if (typmod < 0)
		return v;
	data_type = KnnTypmodDataType(typmod);
	dim = KnnTypmodDim(typmod);

	if (data_type == KNN_DATA_BINARY && v->data_type != KNN_DATA_BINARY)
	{
		if (v->dim * 8 != dim)
			ereturn(escontext, NULL,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("the dimension of the binary vector must be 8 times the length of the provided vector: expected %d, given %d",
							dim, v->dim * 8),
					 errdetail("A binary vector is written as signed bytes of 8 bits each; the provided vector has %d.",
							   v->dim)));
	}
	else if (v->data_type == data_type || v->data_type != KNN_DATA_BINARY)
	{
		/* otherwise the data type is what is wrong, and the conversion says so */
		if (v->dim != dim)
			ereturn(escontext, NULL,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("vector dimension mismatch: expected %d, given %d", dim, v->dim)));
	}
	return KnnVectorConvertSoft(v, data_type, escontext);
}

/*
 * Bring two operands of an operator to one data type.  A float operand follows the other one,
 * since that is what a literal is read as.
 */
void
KnnMatchOperands(KnnVector **a, KnnVector **b)
{
	if ((*a)->data_type == (*b)->data_type)
		return;
	if ((*a)->data_type == KNN_DATA_FLOAT)
		*a = KnnVectorConvert(*a, (KnnDataType) (*b)->data_type);
	else if ((*b)->data_type == KNN_DATA_FLOAT)
		*b = KnnVectorConvert(*b, (KnnDataType) (*a)->data_type);
	else
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("different vector data types \"%s\" and \"%s\"",
						KnnDataTypeName((KnnDataType) (*a)->data_type),
						KnnDataTypeName((KnnDataType) (*b)->data_type)),
				 errhint("Cast one of the operands to the data type of the other.")));
}

/*
 * The cast of the type to itself, which applies a type modifier.
 */
Datum
knn_vector_coerce(PG_FUNCTION_ARGS)
{
	KnnVector  *v = PG_GETARG_KNN_VECTOR_P(0);
	int32		typmod = PG_GETARG_INT32(1);

	PG_RETURN_KNN_VECTOR_P(KnnVectorCoerce(v, typmod, NULL));
}

/*
 * Number of elements of an array that may become a vector.
 */
static int
CheckArray(ArrayType *array)
{
	int			n;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("array must be one-dimensional to become a knn_vector"),
				 errdetail("The array has %d dimensions.", ARR_NDIM(array))));
	if (ARR_HASNULL(array) && array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("array must not contain nulls to become a knn_vector")));
	n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	KnnCheckDim(n, KNN_DATA_FLOAT, NULL);
	return n;
}

/* The common end of the array casts: v is a fresh float vector. */
static Datum
FinishArrayCast(KnnVector *v, int32 typmod)
{
	KnnCheckFloats(KnnVectorFloats(v), v->dim, NULL);
	PG_RETURN_KNN_VECTOR_P(KnnVectorCoerce(v, typmod, NULL));
}

Datum
knn_vector_from_float4_array(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	int			n = CheckArray(array);
	KnnVector  *v = KnnVectorAlloc((uint32) n, KNN_DATA_FLOAT);

	memcpy(KnnVectorFloats(v), ARR_DATA_PTR(array), (Size) n * sizeof(float));
	return FinishArrayCast(v, PG_GETARG_INT32(1));
}

Datum
knn_vector_from_float8_array(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	int			n = CheckArray(array);
	KnnVector  *v = KnnVectorAlloc((uint32) n, KNN_DATA_FLOAT);
	const float8 *x = (const float8 *) ARR_DATA_PTR(array);

	for (int i = 0; i < n; i++)
	{
		KnnVectorFloats(v)[i] = (float) x[i];
		if (unlikely(isinf(KnnVectorFloats(v)[i]) && !isinf(x[i])))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("\"%s\" is out of range for type knn_vector", float8out_internal(x[i])),
					 errdetail("It is element %d.", i + 1)));
	}
	return FinishArrayCast(v, PG_GETARG_INT32(1));
}

Datum
knn_vector_from_int4_array(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	int			n = CheckArray(array);
	KnnVector  *v = KnnVectorAlloc((uint32) n, KNN_DATA_FLOAT);
	const int32 *x = (const int32 *) ARR_DATA_PTR(array);

	for (int i = 0; i < n; i++)
		KnnVectorFloats(v)[i] = (float) x[i];
	return FinishArrayCast(v, PG_GETARG_INT32(1));
}

Datum
knn_vector_from_numeric_array(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	int			n = CheckArray(array);
	KnnVector  *v = KnnVectorAlloc((uint32) n, KNN_DATA_FLOAT);
	Datum	   *elems;

	deconstruct_array(array, NUMERICOID, -1, false, TYPALIGN_INT, &elems, NULL, &n);
	for (int i = 0; i < n; i++)
		KnnVectorFloats(v)[i] = DatumGetFloat4(DirectFunctionCall1(numeric_float4, elems[i]));
	return FinishArrayCast(v, PG_GETARG_INT32(1));
}

/*
 * A bit string is a binary vector as it is: both keep the first bit in the most
 * significant place of the first byte.
 */
Datum
knn_vector_from_bit(PG_FUNCTION_ARGS)
{
	VarBit	   *bits = PG_GETARG_VARBIT_P(0);
	KnnVector  *v;

	KnnCheckDim(VARBITLEN(bits), KNN_DATA_BINARY, NULL);
	v = KnnVectorAlloc((uint32) VARBITLEN(bits), KNN_DATA_BINARY);
	memcpy(KnnVectorBits(v), VARBITS(bits), v->dim / 8);
	PG_RETURN_KNN_VECTOR_P(KnnVectorCoerce(v, PG_GETARG_INT32(1), NULL));
}

Datum
knn_vector_to_bit(PG_FUNCTION_ARGS)
{
	KnnVector  *v = PG_GETARG_KNN_VECTOR_P(0);
	VarBit	   *bits;
	Size		size = VARBITTOTALLEN(v->dim);

	if (v->data_type != KNN_DATA_BINARY)
		ereport(ERROR,
				(errcode(ERRCODE_CANNOT_COERCE),
				 errmsg("cannot cast a knn_vector of data type \"%s\" to bit",
						KnnDataTypeName((KnnDataType) v->data_type)),
				 errhint("Only data type \"binary\" has bits.")));

	bits = (VarBit *) palloc0(size);
	SET_VARSIZE(bits, size);
	VARBITLEN(bits) = v->dim;
	memcpy(VARBITS(bits), KnnVectorBits(v), v->dim / 8);
	PG_RETURN_VARBIT_P(bits);
}

/*
 * The numbers of the text form, in a palloc'd array.
 */
static float *
ElementsAsFloats(const KnnVector *v, uint32 *count)
{
	float	   *x;

	*count = KnnVectorElements(v);
	x = (float *) palloc(*count * sizeof(float));
	KnnVectorGetFloats(v, 0, *count, x);
	return x;
}

Datum
knn_vector_to_float4_array(PG_FUNCTION_ARGS)
{
	uint32		n;
	float	   *x = ElementsAsFloats(PG_GETARG_KNN_VECTOR_P(0), &n);
	Datum	   *elems = (Datum *) palloc(n * sizeof(Datum));

	for (uint32 i = 0; i < n; i++)
		elems[i] = Float4GetDatum(x[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(elems, (int) n, FLOAT4OID, sizeof(float4), true, TYPALIGN_INT));
}

Datum
knn_vector_to_float8_array(PG_FUNCTION_ARGS)
{
	uint32		n;
	float	   *x = ElementsAsFloats(PG_GETARG_KNN_VECTOR_P(0), &n);
	Datum	   *elems = (Datum *) palloc(n * sizeof(Datum));

	for (uint32 i = 0; i < n; i++)
		elems[i] = Float8GetDatum((float8) x[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(elems, (int) n, FLOAT8OID, sizeof(float8),
										  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*
 * To integer[], rounding as the cast from real to integer does.
 */
Datum
knn_vector_to_int4_array(PG_FUNCTION_ARGS)
{
	uint32		n;
	float	   *x = ElementsAsFloats(PG_GETARG_KNN_VECTOR_P(0), &n);
	Datum	   *elems = (Datum *) palloc(n * sizeof(Datum));

	for (uint32 i = 0; i < n; i++)
	{
		float		f = rintf(x[i]);

		if (unlikely(!FLOAT4_FITS_IN_INT32(f)))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("integer out of range"),
					 errdetail("Element %u is %s.", i + 1, FloatText(x[i]))));
		elems[i] = Int32GetDatum((int32) f);
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(elems, (int) n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}
