/*
 * geometry.c
 *		Columns of an index and the room they take; see store.h.
 */
#include "postgres.h"

#include "store/store.h"

/* A column's group, and the first column of that. */
static KnnGroup
column_group(KnnColumn column, KnnColumn *first)
{
	*first = column;
	switch (column)
	{
		case KNN_COLUMN_UPPER:
			return KNN_GROUP_UPPER;
		case KNN_COLUMN_CHAIN:
			return KNN_GROUP_CHAIN;
		case KNN_COLUMN_CENTRE:
			return KNN_GROUP_CENTRE;
		case KNN_COLUMN_BLOCK:
			return KNN_GROUP_BLOCK;
		case KNN_COLUMN_HEAD:
		case KNN_COLUMN_COARSE:
		case KNN_COLUMN_CENTROID:
			*first = KNN_COLUMN_HEAD;
			return KNN_GROUP_LIST;
		default:
			*first = KNN_COLUMN_TID;
			return KNN_GROUP_NODE;
	}
}

static void
shape_column(KnnColumnShape *columns, KnnColumn column, Size width)
{
	KnnColumn	first;

	/* items start 4-byte aligned */
	width = TYPEALIGN(sizeof(uint32), width);
	columns[column].group = column_group(column, &first);
	columns[column].first_column = first;
	columns[column].width = (uint32) width;
	columns[column].per_page = 0;
	if (width == 0)
		return;
	/* items cross pages where keeping them whole would waste over a tenth */
	columns[column].per_page = KNN_PAGE_CAPACITY % width <= KNN_PAGE_CAPACITY / 10 ?
		(uint32) (KNN_PAGE_CAPACITY / width) : 0;
}

uint32
KnnFactorBytes(const KnnShape *shape)
{
	return knn_code_has_factors(shape->encoding, shape->space) ? sizeof(knn_code_factors) : 0;
}

uint32
KnnCodeSize(const KnnShape *shape)
{
	return shape->encoding == KNN_ENCODING_PQ ? knn_pq_code_bytes(shape->pq_m, shape->pq_bits) :
		knn_code_bytes(shape->encoding, shape->dim);
}

uint32
KnnCentreItems(const KnnShape *shape)
{
	if (!knn_encoding_is_float(shape->encoding))
		return 0;
	return shape->encoding == KNN_ENCODING_PQ ? 1 + ((uint32) 1 << shape->pq_bits) : 1;
}

static Size
vector_width(const KnnShape *shape)
{
	return shape->vectors == KNN_VECTORS_FLOAT ? sizeof(float) * shape->dim :
		shape->vectors == KNN_VECTORS_HALF ? sizeof(knn_half) * shape->dim : 0;
}

static void
ivf_columns(const KnnShape *shape, KnnColumnShape *columns)
{
	bool		is_float = knn_encoding_is_float(shape->encoding);
	KnnIvfLayout layout;

	if (KnnIvfPerBlock(shape) == 0)
		shape_column(columns, KNN_COLUMN_CODE,
					 KnnFactorBytes(shape) + KnnCodeSize(shape));
	shape_column(columns, KNN_COLUMN_VECTOR, vector_width(shape));
	if (is_float)
		shape_column(columns, KNN_COLUMN_CENTRE, sizeof(float) * shape->dim);
	KnnIvfLayoutInit(&layout, shape);
	shape_column(columns, KNN_COLUMN_BLOCK, layout.end);
	columns[KNN_COLUMN_BLOCK].per_page = 1;
	shape_column(columns, KNN_COLUMN_HEAD, sizeof(KnnIvfHead));
	shape_column(columns, KNN_COLUMN_COARSE,
				 offsetof(KnnIvfCoarse, code) +
				 knn_code_bytes(KnnIvfCoarseEncoding(shape), shape->dim));
	/* byte and binary centroids are their own codes */
	shape_column(columns, KNN_COLUMN_CENTROID, is_float ? sizeof(float) * shape->dim : 0);
}

void
KnnStoreColumns(const KnnShape *shape, KnnColumnShape *columns)
{
	for (int column = 0; column < KNN_NCOLUMNS; column++)
		shape_column(columns, (KnnColumn) column, 0);
	if (shape->method == KNN_METHOD_IVF)
	{
		ivf_columns(shape, columns);
		return;
	}
	shape_column(columns, KNN_COLUMN_TID, sizeof(KnnTidItem));
	shape_column(columns, KNN_COLUMN_LINKS,
				 offsetof(KnnLinksItem, links) + sizeof(uint32) * 2 * shape->m);
	shape_column(columns, KNN_COLUMN_CODE,
				 KnnFactorBytes(shape) + KnnCodeSize(shape));
	shape_column(columns, KNN_COLUMN_VECTOR, vector_width(shape));
	shape_column(columns, KNN_COLUMN_UPPER,
				 offsetof(KnnUpperItem, links) + sizeof(uint32) * shape->m);
	shape_column(columns, KNN_COLUMN_CHAIN, sizeof(KnnChainItem));
	shape_column(columns, KNN_COLUMN_CENTRE, sizeof(float) * shape->dim);
}

BlockNumber
KnnColumnBlocks(const KnnColumnShape *column, uint32 nitems)
{
	uint64		blocks;

	if (column->width == 0 || nitems == 0)
		return 0;
	if (column->per_page != 0)
		blocks = ((uint64) nitems + column->per_page - 1) / column->per_page;
	else
		blocks = ((uint64) nitems * column->width + KNN_PAGE_CAPACITY - 1) / KNN_PAGE_CAPACITY;
	if (blocks > MaxBlockNumber)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index is too large"),
				 errdetail("A column of %u items of %u bytes needs more than %u blocks.",
						   nitems, column->width, MaxBlockNumber)));
	return (BlockNumber) blocks;
}

void
KnnGroupColumns(const KnnColumnShape *columns, KnnGroup group, int *first, int *last)
{
	if (columns[KNN_COLUMN_BLOCK].width != 0)
	{
		if (group == KNN_GROUP_BLOCK)
		{
			*first = *last = KNN_COLUMN_BLOCK;
			return;
		}
		if (group == KNN_GROUP_LIST)
		{
			*first = KNN_COLUMN_HEAD;
			*last = KNN_COLUMN_CENTROID;
			return;
		}
	}

	switch (group)
	{
		case KNN_GROUP_NODE:
			*first = KNN_COLUMN_TID;
			*last = KNN_COLUMN_VECTOR;
			break;
		case KNN_GROUP_UPPER:
			*first = *last = KNN_COLUMN_UPPER;
			break;
		case KNN_GROUP_CHAIN:
			*first = *last = KNN_COLUMN_CHAIN;
			break;
		default:
			*first = *last = KNN_COLUMN_CENTRE;
			break;
	}
}

BlockNumber
KnnExtentBlocks(const KnnColumnShape *columns, KnnGroup group, uint32 nitems)
{
	uint64		blocks = 0;
	int			first;
	int			last;

	KnnGroupColumns(columns, group, &first, &last);
	for (int column = first; column <= last; column++)
		blocks += KnnColumnBlocks(&columns[column], nitems);
	if (blocks > MaxBlockNumber)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index is too large"),
				 errdetail("An extent of %u items needs more than %u blocks.",
						   nitems, MaxBlockNumber)));
	return (BlockNumber) blocks;
}
