/*
 * vector_distance.c
 *		Distances as SQL functions, which the operators are made of, and scores.
 *
 * The kernels sum floats in float: that is their speed, and the error is far
 * below what distinguishes neighbours.  Only when such a sum leaves float's
 * range (or a square falls below it) is the distance computed again in double,
 * which no vector of floats can exceed.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "utils/builtins.h"

#include "compat.h"
#include "type/knn_vector.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_l2_distance);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_l2_squared);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_inner_product);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_negative_inner_product);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_cosine_distance);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_l1_distance);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_linf_distance);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_hamming_distance);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_norm);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_score);

/* A sum of squares of floats in [FLT_MIN, FLT_MAX] has lost nothing to range. */
static inline bool
InFloatRange(float sum)
{
	return sum >= FLT_MIN && sum <= FLT_MAX;
}

static pg_noinline double
L2SquaredDouble(const float *a, const float *b, uint32 dim)
{
	double		sum = 0.0;

	for (uint32 i = 0; i < dim; i++)
	{
		double		d = (double) a[i] - (double) b[i];

		sum += d * d;
	}
	return sum;
}

static pg_noinline double
InnerProductDouble(const float *a, const float *b, uint32 dim)
{
	double		sum = 0.0;

	for (uint32 i = 0; i < dim; i++)
		sum += (double) a[i] * (double) b[i];
	return sum;
}

static pg_noinline double
L1Double(const float *a, const float *b, uint32 dim)
{
	double		sum = 0.0;

	for (uint32 i = 0; i < dim; i++)
		sum += fabs((double) a[i] - (double) b[i]);
	return sum;
}

static pg_noinline double
LinfDouble(const float *a, const float *b, uint32 dim)
{
	double		max = 0.0;

	for (uint32 i = 0; i < dim; i++)
	{
		double		d = fabs((double) a[i] - (double) b[i]);

		max = Max(max, d);
	}
	return max;
}

/*
 * Squared Euclidean distance.
 */
static inline double
L2Squared(const KnnVector *a, const KnnVector *b)
{
	const knn_kernels *k = knn_kernels_get();
	float		sum;

	switch ((KnnDataType) a->data_type)
	{
		case KNN_DATA_FLOAT:
			sum = k->l2_squared_f32(KnnVectorFloats(a), KnnVectorFloats(b), a->dim);
			if (unlikely(!InFloatRange(sum)))
				return L2SquaredDouble(KnnVectorFloats(a), KnnVectorFloats(b), a->dim);
			return (double) sum;
		case KNN_DATA_HALF:
			/* no square of halves leaves float's range */
			return (double) k->l2_squared_f16(KnnVectorHalves(a), KnnVectorHalves(b), a->dim);
		case KNN_DATA_BYTE:
			return (double) k->l2_squared_s8(KnnVectorBytes(a), KnnVectorBytes(b), a->dim);
		case KNN_DATA_BINARY:
			break;
	}
	pg_unreachable();
}

static inline double
InnerProduct(const KnnVector *a, const KnnVector *b)
{
	const knn_kernels *k = knn_kernels_get();
	float		sum;

	switch ((KnnDataType) a->data_type)
	{
		case KNN_DATA_FLOAT:
			sum = k->inner_product_f32(KnnVectorFloats(a), KnnVectorFloats(b), a->dim);
			if (unlikely(!InFloatRange(fabsf(sum))))
				return InnerProductDouble(KnnVectorFloats(a), KnnVectorFloats(b), a->dim);
			return (double) sum;
		case KNN_DATA_HALF:
			return (double) k->inner_product_f16(KnnVectorHalves(a), KnnVectorHalves(b), a->dim);
		case KNN_DATA_BYTE:
			return (double) k->inner_product_s8(KnnVectorBytes(a), KnnVectorBytes(b), a->dim);
		case KNN_DATA_BINARY:
			break;
	}
	pg_unreachable();
}

/*
 * 1 - cosine, in [0, 2]; NaN if either vector is zero.
 */
static inline double
CosineDistance(const KnnVector *a, const KnnVector *b)
{
	double		similarity = InnerProduct(a, b) / sqrt(InnerProduct(a, a) * InnerProduct(b, b));

	/* rounding may exceed the range by a little; comparisons keep a NaN */
	if (similarity > 1.0)
		similarity = 1.0;
	else if (similarity < -1.0)
		similarity = -1.0;
	return 1.0 - similarity;
}

static inline double
L1Distance(const KnnVector *a, const KnnVector *b)
{
	const knn_kernels *k = knn_kernels_get();
	float		sum;

	switch ((KnnDataType) a->data_type)
	{
		case KNN_DATA_FLOAT:
			sum = k->l1_f32(KnnVectorFloats(a), KnnVectorFloats(b), a->dim);
			if (unlikely(!(sum <= FLT_MAX)))
				return L1Double(KnnVectorFloats(a), KnnVectorFloats(b), a->dim);
			return (double) sum;
		case KNN_DATA_HALF:
			return (double) k->l1_f16(KnnVectorHalves(a), KnnVectorHalves(b), a->dim);
		case KNN_DATA_BYTE:
			return (double) k->l1_s8(KnnVectorBytes(a), KnnVectorBytes(b), a->dim);
		case KNN_DATA_BINARY:
			break;
	}
	pg_unreachable();
}

static inline double
LinfDistance(const KnnVector *a, const KnnVector *b)
{
	const knn_kernels *k = knn_kernels_get();
	float		max;

	switch ((KnnDataType) a->data_type)
	{
		case KNN_DATA_FLOAT:
			max = k->linf_f32(KnnVectorFloats(a), KnnVectorFloats(b), a->dim);
			if (unlikely(!(max <= FLT_MAX)))
				return LinfDouble(KnnVectorFloats(a), KnnVectorFloats(b), a->dim);
			return (double) max;
		case KNN_DATA_HALF:
			return (double) k->linf_f16(KnnVectorHalves(a), KnnVectorHalves(b), a->dim);
		case KNN_DATA_BYTE:
			return (double) k->linf_s8(KnnVectorBytes(a), KnnVectorBytes(b), a->dim);
		case KNN_DATA_BINARY:
			break;
	}
	pg_unreachable();
}

static inline double
HammingDistance(const KnnVector *a, const KnnVector *b)
{
	return (double) knn_kernels_get()->hamming(KnnVectorBits(a), KnnVectorBits(b), a->dim / 8);
}

/*
 * The last float operand that was converted, and what it became.  A search
 * compares one literal with every row of a table of bytes or halves: comparing
 * the literal with its copy costs a fraction of converting it again.
 */
typedef struct Conversion
{
	KnnVector  *source;
	KnnVector  *result;
} Conversion;

static KnnVector *
ConvertOperand(FmgrInfo *flinfo, KnnVector *v, KnnDataType data_type)
{
	Conversion *last = (Conversion *) flinfo->fn_extra;
	KnnVector  *result;
	MemoryContext old;

	if (last != NULL && last->result != NULL &&
		last->result->data_type == data_type &&
		VARSIZE(last->source) == VARSIZE(v) &&
		memcmp(last->source, v, VARSIZE(v)) == 0)
		return last->result;

	old = MemoryContextSwitchTo(flinfo->fn_mcxt);
	result = KnnVectorConvert(v, data_type);	/* may ERROR: nothing changed yet */
	if (last == NULL)
	{
		last = (Conversion *) palloc0(sizeof(Conversion));
		flinfo->fn_extra = last;
	}
	if (last->result != NULL)
	{
		pfree(last->result);
		last->result = NULL;
		pfree(last->source);
	}
	last->source = (KnnVector *) palloc(VARSIZE(v));
	memcpy(last->source, v, VARSIZE(v));
	last->result = result;
	MemoryContextSwitchTo(old);
	return result;
}

/*
 * Bring operands of different data types to one, as KnnMatchOperands does.
 */
static pg_noinline void
MatchOperands(FunctionCallInfo fcinfo, KnnVector **a, KnnVector **b)
{
	if (fcinfo->flinfo == NULL ||
		((*a)->data_type != KNN_DATA_FLOAT && (*b)->data_type != KNN_DATA_FLOAT))
		KnnMatchOperands(a, b);
	else if ((*a)->data_type == KNN_DATA_FLOAT)
		*a = ConvertOperand(fcinfo->flinfo, *a, (KnnDataType) (*b)->data_type);
	else
		*b = ConvertOperand(fcinfo->flinfo, *b, (KnnDataType) (*a)->data_type);
}

/*
 * The operands of a distance: of one data type, for which the space is defined,
 * and of one dimension.  The detoasted ones are kept apart from the converted.
 */
typedef struct Operands
{
	KnnVector  *a;
	KnnVector  *b;
	KnnVector  *detoasted_a;
	KnnVector  *detoasted_b;
} Operands;

static inline void
GetOperands(FunctionCallInfo fcinfo, KnnSpace space, Operands *op)
{
	op->a = op->detoasted_a = PG_GETARG_KNN_VECTOR_P(0);
	op->b = op->detoasted_b = PG_GETARG_KNN_VECTOR_P(1);

	if (unlikely(op->a->data_type != op->b->data_type))
		MatchOperands(fcinfo, &op->a, &op->b);
	KnnCheckSpace(space, (KnnDataType) op->a->data_type);
	KnnCheckSameDim(op->a, op->b);
}

/*
 * Give back what detoasting made: an index build or a sort may call a distance
 * many times in one memory context.
 */
static inline void
FreeOperands(FunctionCallInfo fcinfo, Operands *op)
{
	PG_FREE_IF_COPY(op->detoasted_a, 0);
	PG_FREE_IF_COPY(op->detoasted_b, 1);
}

#define DISTANCE_FUNCTION(name, space, expression) \
Datum \
name(PG_FUNCTION_ARGS) \
{ \
	Operands	op; \
	double		distance; \
\
	GetOperands(fcinfo, space, &op); \
	distance = expression; \
	FreeOperands(fcinfo, &op); \
	PG_RETURN_FLOAT8(distance); \
}

DISTANCE_FUNCTION(knn_vector_l2_distance, KNN_SPACE_L2, sqrt(L2Squared(op.a, op.b)))
DISTANCE_FUNCTION(knn_vector_l2_squared, KNN_SPACE_L2, L2Squared(op.a, op.b))
DISTANCE_FUNCTION(knn_vector_inner_product, KNN_SPACE_INNER_PRODUCT, InnerProduct(op.a, op.b))
/* not -x, so that orthogonal vectors are at 0 and not at -0 */
DISTANCE_FUNCTION(knn_vector_negative_inner_product, KNN_SPACE_INNER_PRODUCT,
				  0.0 - InnerProduct(op.a, op.b))
DISTANCE_FUNCTION(knn_vector_cosine_distance, KNN_SPACE_COSINE, CosineDistance(op.a, op.b))
DISTANCE_FUNCTION(knn_vector_l1_distance, KNN_SPACE_L1, L1Distance(op.a, op.b))
DISTANCE_FUNCTION(knn_vector_linf_distance, KNN_SPACE_LINF, LinfDistance(op.a, op.b))
DISTANCE_FUNCTION(knn_vector_hamming_distance, KNN_SPACE_HAMMING, HammingDistance(op.a, op.b))

double
KnnVectorNorm(const KnnVector *v)
{
	double		sum = 0.0;

	switch ((KnnDataType) v->data_type)
	{
		case KNN_DATA_FLOAT:
			sum = InnerProductDouble(KnnVectorFloats(v), KnnVectorFloats(v), v->dim);
			break;
		case KNN_DATA_HALF:
			for (int i = 0; i < v->dim; i++)
			{
				double		x = (double) knn_half_to_float(KnnVectorHalves(v)[i]);

				sum += x * x;
			}
			break;
		case KNN_DATA_BYTE:
			sum = InnerProduct(v, v);
			break;
		case KNN_DATA_BINARY:
			elog(ERROR, "a binary vector has no norm");
	}
	return sqrt(sum);
}

Datum
knn_norm(PG_FUNCTION_ARGS)
{
	KnnVector  *v = PG_GETARG_KNN_VECTOR_P(0);

	if (v->data_type == KNN_DATA_BINARY)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s is not supported with data type \"%s\"",
						"knn_norm", KnnDataTypeName(KNN_DATA_BINARY))));
	PG_RETURN_FLOAT8(KnnVectorNorm(v));
}

/*
 * OpenSearch's score of what an operator returned.  L2 is the root of what
 * OpenSearch calls the distance, so its square enters the score.
 */
Datum
knn_score(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	double		distance = PG_GETARG_FLOAT8(1);
	int			space;

	for (space = KNN_SPACE_L2; space <= KNN_SPACE_HAMMING; space++)
	{
		if (strcmp(name, KnnSpaceName((KnnSpace) space)) == 0)
			break;
	}
	if (space > KNN_SPACE_HAMMING)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unrecognized space type \"%s\"", name),
				 errhint("Valid space types are \"l2\", \"innerproduct\", \"cosinesimil\", \"l1\", \"linf\" and \"hamming\".")));

	if (space != KNN_SPACE_INNER_PRODUCT && distance < 0.0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("distance of space type \"%s\" cannot be negative", name)));

	switch ((KnnSpace) space)
	{
		case KNN_SPACE_L2:
			PG_RETURN_FLOAT8(1.0 / (1.0 + distance * distance));
		case KNN_SPACE_INNER_PRODUCT:
			PG_RETURN_FLOAT8(distance >= 0.0 ? 1.0 / (1.0 + distance) : 1.0 - distance);
		case KNN_SPACE_COSINE:
			/* not Max(): a NaN stays one */
			PG_RETURN_FLOAT8(distance > 2.0 ? 0.0 : (2.0 - distance) / 2.0);
		case KNN_SPACE_L1:
		case KNN_SPACE_LINF:
		case KNN_SPACE_HAMMING:
			PG_RETURN_FLOAT8(1.0 / (1.0 + distance));
	}
	pg_unreachable();
}
