/*
 * vector_aggregate.c
 *		sum and avg.
 *
 * The state is "internal" so that SQL cannot hand in a forged one; sums are kept
 * in double, and the result is a vector of floats whatever was summed.
 */
#include "postgres.h"

#include <math.h>

#include "libpq/pqformat.h"
#include "utils/float.h"

#include "compat.h"
#include "type/knn_vector.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_accum);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_combine);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_serialize);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_deserialize);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_sum_final);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_avg_final);

typedef struct SumState
{
	int64		count;			/* vectors summed, at least 1 */
	uint32		dim;
	double		sum[FLEXIBLE_ARRAY_MEMBER];
} SumState;

static SumState *
NewState(uint32 dim, MemoryContext context)
{
	SumState   *state = (SumState *)
		MemoryContextAllocZero(context, offsetof(SumState, sum) + dim * sizeof(double));

	state->dim = dim;
	return state;
}

static void
CheckStateDim(const SumState *state, uint32 dim)
{
	if (state->dim != dim)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("different vector dimensions %u and %u", state->dim, dim)));
}

Datum
knn_vector_accum(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	SumState   *state = PG_ARGISNULL(0) ? NULL : (SumState *) PG_GETARG_POINTER(0);
	KnnVector  *v;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "knn_vector_accum called in non-aggregate context");
	if (PG_ARGISNULL(1))
	{
		if (state == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(state);
	}

	v = PG_GETARG_KNN_VECTOR_P(1);
	if (v->data_type == KNN_DATA_BINARY)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("sum and avg are not supported with data type \"%s\"",
						KnnDataTypeName(KNN_DATA_BINARY))));
	if (state == NULL)
		state = NewState(v->dim, context);
	CheckStateDim(state, v->dim);

	state->count++;
	if (v->data_type == KNN_DATA_FLOAT)
	{
		const float *x = KnnVectorFloats(v);

		for (uint32 i = 0; i < state->dim; i++)
			state->sum[i] += (double) x[i];
	}
	else
	{
		float	   *x = (float *) palloc(state->dim * sizeof(float));

		KnnVectorGetFloats(v, 0, state->dim, x);
		for (uint32 i = 0; i < state->dim; i++)
			state->sum[i] += (double) x[i];
		pfree(x);
	}
	PG_FREE_IF_COPY(v, 1);
	PG_RETURN_POINTER(state);
}

Datum
knn_vector_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	SumState   *a = PG_ARGISNULL(0) ? NULL : (SumState *) PG_GETARG_POINTER(0);
	SumState   *b = PG_ARGISNULL(1) ? NULL : (SumState *) PG_GETARG_POINTER(1);

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "knn_vector_combine called in non-aggregate context");
	if (b == NULL)
	{
		if (a == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(a);
	}
	/* b lives in a short-lived context: it is added, never kept */
	if (a == NULL)
		a = NewState(b->dim, context);
	CheckStateDim(a, b->dim);
	a->count += b->count;
	for (uint32 i = 0; i < a->dim; i++)
		a->sum[i] += b->sum[i];
	PG_RETURN_POINTER(a);
}

Datum
knn_vector_serialize(PG_FUNCTION_ARGS)
{
	SumState   *state;
	StringInfoData buf;

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "knn_vector_serialize called in non-aggregate context");
	state = (SumState *) PG_GETARG_POINTER(0);
	pq_begintypsend(&buf);
	pq_sendint64(&buf, (uint64) state->count);
	pq_sendint32(&buf, state->dim);
	for (uint32 i = 0; i < state->dim; i++)
		pq_sendfloat8(&buf, state->sum[i]);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

Datum
knn_vector_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes;
	StringInfoData buf;
	int64		count;
	uint32		dim;
	SumState   *state;

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "knn_vector_deserialize called in non-aggregate context");
	bytes = PG_GETARG_BYTEA_PP(0);
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), (int) VARSIZE_ANY_EXHDR(bytes));
	count = pq_getmsgint64(&buf);
	dim = pq_getmsgint(&buf, 4);
	if (count < 1 || dim < 1 || dim > KNN_MAX_DIM)
		elog(ERROR, "invalid state of a knn_vector aggregate");
	state = NewState(dim, CurrentMemoryContext);
	state->count = count;
	for (uint32 i = 0; i < dim; i++)
		state->sum[i] = pq_getmsgfloat8(&buf);
	pq_getmsgend(&buf);
	pfree(buf.data);
	PG_RETURN_POINTER(state);
}

/*
 * The vector of sum[i] / divisor.
 */
static Datum
FinishState(const SumState *state, double divisor)
{
	KnnVector  *result = KnnVectorAlloc(state->dim, KNN_DATA_FLOAT);

	for (uint32 i = 0; i < state->dim; i++)
	{
		KnnVectorFloats(result)[i] = (float) (state->sum[i] / divisor);
		if (unlikely(isinf(KnnVectorFloats(result)[i])))
			float_overflow_error();
	}
	PG_RETURN_KNN_VECTOR_P(result);
}

Datum
knn_vector_sum_final(PG_FUNCTION_ARGS)
{
	/* no rows, or only nulls, leave no state */
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	return FinishState((SumState *) PG_GETARG_POINTER(0), 1.0);
}

Datum
knn_vector_avg_final(PG_FUNCTION_ARGS)
{
	SumState   *state;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	state = (SumState *) PG_GETARG_POINTER(0);
	return FinishState(state, (double) state->count);
}
