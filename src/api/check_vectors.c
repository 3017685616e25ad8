/*
 * check_vectors.c
 *		Verification of the columns centre, code and vector; see check.h.
 *
 * These are written once.  A node's code must be what encoding its vector gives.
 * Encoding is floating-point arithmetic, which may round differently where the
 * index was built (another processor, another compiler), so that a component
 * half way between two codes may have got either, and factors may differ in
 * their last digits.  Codes of fewer than 8 bits take the best of several steps,
 * where rounding may decide between two that are as good, as may two codewords of pq:
 * of those only the factors are compared, loosely.  Byte and binary vectors are their own codes, and
 * an index may keep no vectors: then there is nothing to compare with.
 */
#include "postgres.h"

#include <math.h>

#include "am/value.h"
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

void
KnnCheckFinite(KnnCheck *check, KnnColumn column, uint32 id, const float *v)
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
 * The same of pq: of two codewords that are as near either may be in the code, which
 * decides the factors too.
 */
static const char *
check_pq_code(KnnCheck *check, const knn_code_factors *a, const uint8 *stored,
			  const knn_code_factors *b, const uint8 *expected)
{
	uint32		size = KnnCodeSize(&check->store->shape);
	uint32		differing = 0;

	for (uint32 i = 0; i < size; i++)
		differing += stored[i] != expected[i];
	if (differing > size / 8 + 1)
		return psprintf("The code of %%s %%u differs from its vector's in %u of %u bytes.",
						differing, size);
	if (differing == 0 && !(near(a->norm2, b->norm2, 1e-3f, 1e-4f * fabsf(b->scale) + 1e-4f * b->err) &&
							near(a->scale, b->scale, 1e-3f, 0) && near(a->err, b->err, 2e-2f, 0)))
		return psprintf("The code of %%s %%u has factors %g, %g, %g, but its vector's has %g, %g, %g.",
						a->norm2, a->scale, a->err, b->norm2, b->scale, b->err);
	return NULL;
}

/* What is wrong with a code, or NULL. */
const char *
KnnCheckCode(KnnCheck *check, const knn_code_factors *a, const uint8 *stored,
			 const knn_code_factors *b, const uint8 *expected, const float *r)
{
	bool		low = !knn_encoding_is_fine(check->store->shape.encoding);
	uint32		dim = check->store->shape.dim;
	float		largest = 0;
	float		length = sqrtf(b->norm2);

	if (check->store->shape.encoding == KNN_ENCODING_PQ)
		return check_pq_code(check, a, stored, b, expected);
	if (!low && memcmp(stored, expected, dim) != 0)
	{
		for (uint32 i = 0; i < dim; i++)
			largest = Max(largest, fabsf(r[i]));
		for (uint32 i = 0; i < dim; i++)
		{
			int			difference = (int) stored[i] - (int) expected[i];
			float		exact = r[i] / (largest / 127.0f);
			float		half = (float) ((int) expected[i] - 128) + 0.5f * (float) difference;

			if (difference != 0 && (abs(difference) > 1 || !(fabsf(exact - half) <= HALF_WAY)))
				return psprintf("Byte %u of the code of %%s %%u is %u, but its vector's is %u.",
								i, stored[i], expected[i]);
		}
	}

	/* err is a small difference: measured against the vector's length */
	if (!near(a->norm2, b->norm2, 1e-4f, 0) ||
		!near(a->scale, b->scale, low ? 0.5f : 1e-3f, 0) ||
		!near(a->err, b->err, low ? 0.1f : 2e-2f, isfinite(length) ? 1e-4f * length : 0))
		return psprintf("The code of %%s %%u has factors %g, %g, %g, but its vector's has %g, %g, %g.",
						a->norm2, a->scale, a->err, b->norm2, b->scale, b->err);
	return NULL;
}

bool
KnnCheckFactors(const KnnCheck *check, const knn_code_factors *factors)
{
	/* of pq it has a term of any sign */
	return !isnan(factors->norm2) && !isnan(factors->scale) && !isnan(factors->err) &&
		(factors->norm2 >= 0 || check->store->shape.encoding == KNN_ENCODING_PQ) &&
		factors->err >= 0;
}

static void
check_factors(KnnCheck *check, uint32 node, const KnnCodeItem *item)
{
	const knn_code_factors *factors = KnnCodeFactors(check->store, item);

	if (factors && !KnnCheckFactors(check, factors))
		KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_CODE, node),
					 "The code of node %u has factors %g, %g, %g.",
					 node, factors->norm2, factors->scale, factors->err);
}

void
KnnCheckCentre(KnnCheck *check, KnnCheckCursor *cursor)
{
	for (uint32 i = 0; i < check->store->used[KNN_GROUP_CENTRE]; i++)
	{
		const float *item = KnnCheckItem(cursor, i, false);

		if (item == NULL)
			KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_CENTRE, i),
						 "Item %u of column \"centre\" was never written.", i);
		KnnCheckFinite(check, KNN_COLUMN_CENTRE, i, item);
	}
}

void
KnnCheckVectors(KnnCheck *check)
{
	KnnStore   *store = check->store;
	uint32		dim = store->shape.dim;
	uint32		width = store->columns[KNN_COLUMN_CODE].width;
	KnnCheckCursor *codes = palloc(sizeof(KnnCheckCursor));
	KnnCheckCursor *vectors = palloc(sizeof(KnnCheckCursor));
	uint32		code_end = store->factor_bytes + KnnCodeSize(&store->shape);
	Size		stored_size = KnnStoredSize(&store->shape);
	uint32		vector_width = store->columns[KNN_COLUMN_VECTOR].width;
	knn_code_factors factors;
	uint8	   *expected = palloc0(width);
	float	   *r = palloc(sizeof(float) * dim);
	float	   *scratch = palloc(sizeof(float) * dim);

	KnnCheckCursorInit(codes, check, KNN_COLUMN_CENTRE);
	KnnCheckCentre(check, codes);

	KnnCheckCursorInit(codes, check, KNN_COLUMN_CODE);
	if (stored_size > 0)
		KnnCheckCursorInit(vectors, check, KNN_COLUMN_VECTOR);
	for (uint32 node = 0; node < check->nnodes; node++)
	{
		/* reading verifies the pages, also of nodes that were never written */
		const void *stored = stored_size > 0 ? KnnCheckItem(vectors, node, false) : NULL;
		const float *v;
		const char *wrong;
		const KnnCodeItem *code = KnnCheckItem(codes, node, false);

		if (!(check->nodes[node].flags & KNN_CHECK_WRITTEN))
			continue;
		if (stored == NULL && stored_size > 0)
			KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_VECTOR, node),
						 "The vector of node %u was never written.", node);
		if (code == NULL)
			KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_CODE, node),
						 "The code of node %u was never written.", node);
		for (uint32 i = code_end; i < width; i++)
		{
			if (((const char *) code)[i] != 0)
				KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_CODE, node),
							 "Unused bytes of the code of node %u are not zero.", node);
		}
		check_factors(check, node, code);
		if (stored == NULL)
			continue;

		for (uint32 i = (uint32) stored_size; i < vector_width; i++)
		{
			if (((const char *) stored)[i] != 0)
				KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_VECTOR, node),
							 "Unused bytes of the vector of node %u are not zero.", node);
		}
		v = KnnElementsOfStored(&store->shape, stored, scratch);
		KnnCheckFinite(check, KNN_COLUMN_VECTOR, node, v);
		if (knn_space_normalises(store->shape.space))
		{
			double		norm2 = 0;

			for (uint32 i = 0; i < dim; i++)
				norm2 += (double) v[i] * v[i];
			if (!(fabs(sqrt(norm2) - 1.0) <= 1e-3))
				KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_VECTOR, node),
							 "The vector of node %u has length %g, not 1.", node, sqrt(norm2));
		}
		knn_encode(&store->encoder, v, &factors, expected, r);
		wrong = KnnCheckCode(check, KnnCodeFactors(store, code), KnnCodeBytes(store, code),
							 &factors, expected, r);
		if (wrong)
			KnnCheckFail(check, KnnCheckBlockOf(check, KNN_COLUMN_CODE, node), wrong, "node", node);
	}
	pfree(codes);
	pfree(vectors);
	pfree(expected);
	pfree(r);
	pfree(scratch);
}
