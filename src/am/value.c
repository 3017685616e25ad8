/*
 * value.c
 *		Vectors on their way into an index; see value.h.
 */
#include "postgres.h"

#include "am/value.h"

#define HALF_MAX 65504.0f

Size
KnnElementsSize(const KnnShape *shape)
{
	if (knn_encoding_is_float(shape->encoding))
		return mul_size(sizeof(float), shape->dim);
	return KnnVectorDataSize(shape->dim, shape->data_type);
}

Size
KnnStoredSize(const KnnShape *shape)
{
	switch ((KnnVectorStorage) shape->vectors)
	{
		case KNN_VECTORS_FLOAT:
			return sizeof(float) * shape->dim;
		case KNN_VECTORS_HALF:
			return sizeof(knn_half) * shape->dim;
		case KNN_VECTORS_NONE:
			return 0;
	}
	return 0;
}

/* Round to halves; ERROR or clip where a value is out of their range. */
static knn_half *
to_halves(const KnnShape *shape, const float *v)
{
	knn_half   *halves = palloc(sizeof(knn_half) * shape->dim);
	float	   *clipped = NULL;

	for (uint32 i = 0; i < shape->dim; i++)
	{
		if (likely(fabsf(v[i]) <= HALF_MAX))
			continue;
		if (!shape->clip)
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("encoder \"sq\" of type \"fp16\" cannot hold element %u of the vector", i + 1),
					 errdetail("It is %g, values must be within [%g, %g].", v[i], -HALF_MAX, HALF_MAX),
					 errhint("Create the index with clip = true, or with another compression level.")));
		if (clipped == NULL)
		{
			clipped = palloc(sizeof(float) * shape->dim);
			memcpy(clipped, v, sizeof(float) * shape->dim);
		}
		clipped[i] = v[i] > 0 ? HALF_MAX : -HALF_MAX;
	}
	knn_kernels_get()->f32_to_f16(clipped ? clipped : v, halves, shape->dim);
	if (clipped)
		pfree(clipped);
	return halves;
}

static bool
is_zero(const int8 *v, uint32 dim)
{
	for (uint32 i = 0; i < dim; i++)
	{
		if (v[i] != 0)
			return false;
	}
	return true;
}

/* Elements of a vector that has the column's data type and dimension. */
static void *
elements_of(const KnnShape *shape, const KnnVector *v)
{
	Size		size = KnnElementsSize(shape);
	float	   *elements;

	if (!knn_encoding_is_float(shape->encoding))
	{
		void	   *raw;

		if (knn_space_normalises(shape->space) && is_zero(KnnVectorBytes(v), shape->dim))
			return NULL;
		raw = palloc(size);
		memcpy(raw, v->data, size);
		return raw;
	}

	elements = palloc(size);
	if (shape->data_type == KNN_DATA_HALF)
		knn_kernels_get()->f16_to_f32(KnnVectorHalves(v), elements, shape->dim);
	else
		memcpy(elements, KnnVectorFloats(v), size);
	for (uint32 i = 0; i < shape->dim; i++)
		elements[i] += 0.0f;	/* -0 + 0 is 0 */
	return elements;
}

static bool
normalise(const KnnShape *shape, float *elements)
{
	return !knn_space_normalises(shape->space) ||
		!knn_encoding_is_float(shape->encoding) ||
		knn_normalise(knn_kernels_get(), elements, shape->dim);
}

bool
KnnIndexedValue(const KnnShape *shape, Datum datum, KnnValue *value)
{
	KnnVector  *v = KnnVectorConvert(KnnVectorFromDatum(datum), shape->data_type);

	if (v->dim != shape->dim)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("vector has %u dimensions, the index has %u", v->dim, shape->dim)));
	value->elements = elements_of(shape, v);
	if (value->elements == NULL)
		return false;
	if (shape->vectors == KNN_VECTORS_HALF)
	{
		/* codes are made of what is kept */
		value->stored = to_halves(shape, value->elements);
		knn_kernels_get()->f16_to_f32(value->stored, value->elements, shape->dim);
	}
	if (!normalise(shape, value->elements))
		return false;
	if (shape->vectors != KNN_VECTORS_HALF)
		value->stored = shape->vectors == KNN_VECTORS_FLOAT ? value->elements : NULL;
	return true;
}

void *
KnnQueryElements(Relation index, const KnnShape *shape, Datum datum)
{
	KnnVector  *v = KnnVectorFromDatum(datum);
	void	   *elements;

	v = KnnVectorConvert(v, shape->data_type);
	if (v->dim != shape->dim)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("vector has %u dimensions, index \"%s\" has %u",
						v->dim, RelationGetRelationName(index), shape->dim)));
	elements = elements_of(shape, v);
	if (elements != NULL && !normalise(shape, elements))
		return NULL;
	return elements;
}

const void *
KnnElementsOfStored(const KnnShape *shape, const void *stored, float *scratch)
{
	if (shape->vectors != KNN_VECTORS_HALF)
		return stored;
	knn_kernels_get()->f16_to_f32(stored, scratch, shape->dim);
	(void) normalise(shape, scratch);
	return scratch;
}

float
KnnStoredDistance(const KnnShape *shape, const knn_kernels *kernels,
				  const float *query, const void *stored, float *scratch)
{
	const knn_half *halves = stored;

	if (shape->vectors == KNN_VECTORS_FLOAT)
		return knn_exact_distance(kernels, shape->space, query, stored, shape->dim);
	switch (shape->space)
	{
		case KNN_SPACE_L2:
			return kernels->l2_squared_f32f16(query, halves, shape->dim);
		case KNN_SPACE_INNER_PRODUCT:
			return -kernels->inner_product_f32f16(query, halves, shape->dim);
		case KNN_SPACE_COSINE:
			return knn_cosine_form(kernels->inner_product_f32f16(query, halves, shape->dim),
								   1.0, kernels->inner_product_f16(halves, halves, shape->dim));
		default:
			kernels->f16_to_f32(halves, scratch, shape->dim);
			return knn_exact_distance(kernels, shape->space, query, scratch, shape->dim);
	}
}
