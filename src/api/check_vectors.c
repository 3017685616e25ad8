/*
 * check_vectors.c
 *		Verification of the columns centre, code and vector; see check.h.
 *
 * These are written once.  A node's code must be what encoding its vector gives.
 * Encoding is floating-point arithmetic, which may round differently where the
 * index was built (another processor, another compiler), so that a component
 * half way between two codes may have got either, and factors may differ in
 * their last digits.
 */
#include "postgres.h"

#include <math.h>

#include "api/check.h"

#include "miscadmin.h"

/* How far from half way a component may be that was rounded the other way. */
#define HALF_WAY 0.02f

/* Equal but for rounding; what overflowed on one side has on the other. */
static bool
near(float a, float b, float relative, float absolute)
{
	if (!isfinite(a) || !isfinite(b))
		return !isfinite(a) && !isfinite(b);
	return fabsf(a - b) <= relative * Max(fabsf(a), fabsf(b)) + absolute;
}

static void
check_finite(KnnCheck *check, KnnColumn column, uint32 id, const float *v)
{
	for (uint32 i = 0; i < check->store->shape.dim; i++)
	{
		if (!isfinite(v[i]))
			KnnCheckFail(check, KnnCheckBlockOf(check, column, id),
						 "Element %u of item %u of column \"%s\" is not a finite number.",
						 i, id, KnnColumnName(column));
	}
}

/*
 * r: the vector as it was encoded (centred and rotated).
 */
static void
check_code(KnnCheck *check, uint32 node, const KnnCodeItem *stored,
		   const KnnCodeItem *expected, const float *r)
{
	const knn_code_factors *a = &stored->factors;
	const knn_code_factors *b = &expected->factors;
	uint32		dim = check->store->shape.dim;
	float		largest = 0;
	float		length = sqrtf(b->norm2);

	if (memcmp(stored->code, expected->code, dim) != 0)
	{
		for (uint32 i = 0; i < dim; i++)
			largest = Max(largest, fabsf(r[i]));
		for (uint32 i = 0; i < dim; i++)
		{
			int			difference = (int) stored->code[i] - (int) expected->code[i];
			float		exact = r[i] / (largest / 127.0f);
			float		half = (float) ((int) expected->code[i] - 128) + 0.5f * (float) difference;

			if (difference != 0 && (abs(difference) > 1 || !(fabsf(exact - half) <= HALF_WAY)))
				KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_CODE, node),
							 "Byte %u of the code of node %u is %u, but its vector's is %u.",
							 i, node, stored->code[i], expected->code[i]);
		}
	}

	/* err is a small difference: measured against the vector's length */
	if (!near(a->norm2, b->norm2, 1e-4f, 0) ||
		!near(a->scale, b->scale, 1e-3f, 0) ||
		!near(a->err, b->err, 2e-2f, isfinite(length) ? 1e-4f * length : 0))
		KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_CODE, node),
					 "The code of node %u has factors %g, %g, %g, but its vector's has %g, %g, %g.",
					 node, a->norm2, a->scale, a->err, b->norm2, b->scale, b->err);
}

void
KnnCheckVectors(KnnCheck *check)
{
	KnnStore   *store = check->store;
	uint32		dim = store->shape.dim;
	uint32		width = store->columns[KNN_COLUMN_CODE].width;
	KnnCheckCursor *codes = palloc(sizeof(KnnCheckCursor));
	KnnCheckCursor *vectors = palloc(sizeof(KnnCheckCursor));
	KnnCodeItem *expected = palloc0(width);
	float	   *r = palloc(sizeof(float) * dim);

	KnnCheckCursorInit(codes, check, KNN_COLUMN_CENTRE);
	if (store->used[KNN_GROUP_CENTRE] > 0)
	{
		const float *centre = KnnCheckItem(codes, 0, false);

		if (centre == NULL)
			KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_CENTRE, 0),
						 "The centre was never written.");
		check_finite(check, KNN_COLUMN_CENTRE, 0, centre);
	}

	KnnCheckCursorInit(codes, check, KNN_COLUMN_CODE);
	KnnCheckCursorInit(vectors, check, KNN_COLUMN_VECTOR);
	for (uint32 node = 0; node < check->nnodes; node++)
	{
		/* reading verifies the pages, also of nodes that were never written */
		const float *v = KnnCheckItem(vectors, node, false);
		const KnnCodeItem *code = KnnCheckItem(codes, node, false);

		if (!(check->nodes[node].flags & KNN_CHECK_WRITTEN))
			continue;
		if (v == NULL)
			KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_VECTOR, node),
						 "The vector of node %u was never written.", node);
		if (code == NULL)
			KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_CODE, node),
						 "The code of node %u was never written.", node);
		check_finite(check, KNN_COLUMN_VECTOR, node, v);
		if (knn_space_normalises(store->shape.space))
		{
			double		norm2 = 0;

			for (uint32 i = 0; i < dim; i++)
				norm2 += (double) v[i] * v[i];
			if (!(fabs(sqrt(norm2) - 1.0) <= 1e-3))
				KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_VECTOR, node),
							 "The vector of node %u has length %g, not 1.", node, sqrt(norm2));
		}
		knn_encode(&store->encoder, v, &expected->factors, expected->code, r);
		check_code(check, node, code, expected, r);
		for (uint32 i = offsetof(KnnCodeItem, code) + dim; i < width; i++)
		{
			if (((const char *) code)[i] != 0)
				KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_CODE, node),
							 "Unused bytes of the code of node %u are not zero.", node);
		}
	}
	pfree(codes);
	pfree(vectors);
	pfree(expected);
	pfree(r);
}
