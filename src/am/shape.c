/*
 * shape.c
 *		What the options of an index come to: its shape.
 *
 * A compression level counts against the column's own elements.  It comes to
 *
 *				float column			half column
 *		1x		8-bit codes, float		8-bit codes, half
 *		2x		8-bit codes, half		8-bit codes, half
 *		4x		8-bit codes, float		4-bit codes, half
 *		8x		4-bit codes, float		2-bit codes, half
 *		16x		2-bit codes, float		1-bit codes, half
 *		32x		1-bit codes, float		-
 *
 * where the second word is what the index keeps for exact distances, unless
 * store_vectors is off.  Without a level it is that of the encoder; without an
 * encoder, the highest of the column in mode on_disk, and otherwise 1x.  Vectors
 * of byte and binary columns are their own codes, at 1x alone.
 *
 * The level of encoder pq is the highest that its codes reach, and up to 64x; what
 * the index keeps for exact distances are the column's own elements.  An index made
 * from a model has the model's encoder.
 *
 * Levels up to 4x differ in what the index keeps for exact distances, in what is
 * worth holding in memory, and in the first pass of a search with rescoring; all
 * of them search 8-bit codes, which lose next to nothing.
 */
#include "postgres.h"

#include "am/shape.h"

#include <math.h>

#include "am/model_source.h"
#include "am/opclass.h"
#include "am/options.h"
#include "core/space.h"
#include "miscadmin.h"
#include "type/knn_vector.h"

/* First pass of a search with rescoring. */
#define MIN_FIRST_PASS	100
#define MAX_FIRST_PASS	10000

/* Highest level: one bit a dimension, or nothing to compress. */
static int
highest_level(KnnDataType data_type)
{
	switch (data_type)
	{
		case KNN_DATA_FLOAT:
			return 32;
		case KNN_DATA_HALF:
			return 16;
		default:
			return 1;
	}
}

/* Bits a dimension of the codes of float and half columns. */
static int
code_bits(KnnDataType data_type, int level)
{
	return Min(8, highest_level(data_type) / level);
}

static int
code_size(const KnnCodeOptions *options)
{
	return options->code_size > 0 ? options->code_size : KNN_PQ_DEFAULT_CODE_SIZE;
}

/* The level that options come to.  They are consistent, but may not suit the column. */
static int
resolve_level(const KnnCodeOptions *options, KnnDataType data_type, uint32 dim)
{
	if (options->encoder == KNN_ENCODER_PQ)
		return KnnPqLevel(highest_level(data_type), dim, options->pq_m, code_size(options));
	if (options->encoder != KNN_ENCODER_UNSET)
	{
		int			level = KnnEncoderLevel(options->encoder, options->bits);

		/* a model's; elements of 16 bits are half way there */
		return data_type == KNN_DATA_HALF ? Max(level / 2, 1) : level;
	}
	if (options->compression != 0)
		return options->compression;
	return options->mode == KNN_MODE_ON_DISK ? highest_level(data_type) : 1;
}

/* The default of ef_construction and ef_search. */
static int
default_ef(KnnDataType data_type, int level)
{
	if (level > 1 && code_bits(data_type, level) < 8)
		return KNN_HNSW_LOW_BIT_EF;
	return KNN_HNSW_DEFAULT_EF;
}

/* Dimension and data type of the column, which an index needs to know. */
static void
column_shape(Relation index, KnnShape *shape)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(index), 0);

	if (attribute->atttypmod < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" needs a dimension to be indexed",
						NameStr(attribute->attname)),
				 errdetail("Its type is knn_vector without a dimension."),
				 errhint("Declare it as knn_vector(768), say, or index an expression such as ((v::knn_vector(768))).")));
	shape->dim = KnnTypmodDim(attribute->atttypmod);
	shape->data_type = KnnTypmodDataType(attribute->atttypmod);
}

/* Hamming distance is for bits, and the others are for numbers. */
static void
check_space(const KnnShape *shape)
{
	if ((shape->space == KNN_SPACE_HAMMING) == (shape->data_type == KNN_DATA_BINARY))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("space type \"%s\" is not supported with data type \"%s\"",
					KnnSpaceName(shape->space), KnnDataTypeName(shape->data_type)),
			 shape->data_type == KNN_DATA_BINARY ?
			 errhint("Use operator class knn_vector_hamming_ops.") :
			 errhint("Operator class knn_vector_hamming_ops is for data type \"binary\".")));
}

/* What options ask of the column. */
static void
check_data_type(const KnnCodeOptions *options, KnnDataType data_type, bool from_model)
{
	const char *name = KnnDataTypeName(data_type);

	if (data_type == KNN_DATA_FLOAT)
		return;
	if (options->encoder > KNN_ENCODER_FLAT &&
		!(data_type == KNN_DATA_HALF && (options->encoder == KNN_ENCODER_PQ || from_model)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("encoder \"%s\" is not supported for vector data type \"%s\"",
						KnnEncoderName(options->encoder), name),
				 data_type == KNN_DATA_HALF ?
				 errhint("Specify a compression level instead.") :
				 errdetail("Encoders are for data type \"float\".")));
	if (data_type == KNN_DATA_HALF)
	{
		if (options->compression > highest_level(data_type))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("compression level \"%dx\" is not supported for vector data type \"%s\"",
							options->compression, name),
					 errdetail("A level counts against the column's elements of 16 bits, so that \"16x\" is one bit.")));
		return;
	}
	if (options->compression > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("compression level \"%dx\" is not supported for vector data type \"%s\"",
						options->compression, name),
				 errdetail("When \"compression_level\" is set, the data type must be \"float\" or \"half\".")));
	if (options->mode == KNN_MODE_ON_DISK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mode \"on_disk\" is not supported for vector data type \"%s\"", name),
				 errdetail("When mode \"on_disk\" is set, the data type must be \"float\" or \"half\".")));
}

/* Fewer bits than 8 need the rotation, after which any dimension is like any other. */
static void
check_rotation(const KnnCodeOptions *options, const KnnShape *shape)
{
	int			most = highest_level(shape->data_type) / 8;

	if (knn_space_rotates(shape->space))
		return;
	if (options->encoder == KNN_ENCODER_PQ)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("encoder \"pq\" is not supported for space type \"%s\"",
						KnnSpaceName(shape->space)),
				 errdetail("Codes of pq need space type \"l2\", \"innerproduct\" or \"cosinesimil\".")));
	if (shape->compression <= most)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 options->encoder != KNN_ENCODER_UNSET ?
			 errmsg("encoder \"%s\" with compression level \"%dx\" is not supported for space type \"%s\"",
					KnnEncoderName(options->encoder), shape->compression, KnnSpaceName(shape->space)) :
			 options->compression != 0 ?
			 errmsg("compression level \"%dx\" is not supported for space type \"%s\"",
					shape->compression, KnnSpaceName(shape->space)) :
			 errmsg("mode \"on_disk\", which is compression level \"%dx\", is not supported for space type \"%s\"",
					shape->compression, KnnSpaceName(shape->space)),
			 errdetail("Codes of fewer than 8 bits need a space that rotations leave unchanged: \"l2\", \"innerproduct\" or \"cosinesimil\"."),
			 errhint("The highest level for this space type is \"%dx\".", most)));
}

const char *
KnnEncodingName(const KnnShape *shape)
{
	switch (shape->encoding)
	{
		case KNN_ENCODING_ROTATED_8:
			return knn_space_rotates(shape->space) ? "rotated 8-bit" : "8-bit";
		case KNN_ENCODING_ROTATED_4:
			return "rotated 4-bit";
		case KNN_ENCODING_ROTATED_2:
			return "rotated 2-bit";
		case KNN_ENCODING_ROTATED_1:
			return "rotated 1-bit";
		case KNN_ENCODING_BYTE:
			return "byte";
		case KNN_ENCODING_BINARY:
			return "binary";
		case KNN_ENCODING_PQ:
			return "pq";
		default:
			return "unknown";
	}
}

/* Codes of a level of float and half columns. */
static knn_encoding
level_encoding(KnnDataType data_type, int level)
{
	switch (code_bits(data_type, level))
	{
		case 1:
			return KNN_ENCODING_ROTATED_1;
		case 2:
			return KNN_ENCODING_ROTATED_2;
		case 4:
			return KNN_ENCODING_ROTATED_4;
		default:
			return KNN_ENCODING_ROTATED_8;
	}
}

/* Codes of encoder pq. */
static void
resolve_pq(const KnnCodeOptions *options, KnnShape *shape)
{
	KnnCheckPqParts(shape->dim, options->pq_m);
	if (shape->method == KNN_METHOD_HNSW && code_size(options) != 8)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("code_size must be 8 for method \"hnsw\" and encoder \"pq\", not %d",
						code_size(options))));
	KnnCheckEncoderLevel(KNN_ENCODER_PQ, 0, shape->compression, options->compression);
	if (options->mode == KNN_MODE_ON_DISK && shape->compression == 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot specify encoder \"pq\" of compression level \"1x\" when using mode \"on_disk\""),
				 errhint("Use fewer parts, or a smaller code_size.")));
	shape->encoding = KNN_ENCODING_PQ;
	shape->pq_m = options->pq_m;
	shape->pq_bits = code_size(options);
}

/* Codes and vectors of the level. */
static void
resolve_encoding(const KnnCodeOptions *options, KnnShape *shape)
{
	switch ((KnnDataType) shape->data_type)
	{
		case KNN_DATA_BYTE:
			shape->encoding = KNN_ENCODING_BYTE;
			shape->vectors = KNN_VECTORS_NONE;
			return;
		case KNN_DATA_BINARY:
			shape->encoding = KNN_ENCODING_BINARY;
			shape->vectors = KNN_VECTORS_NONE;
			return;
		default:
			break;
	}

	if (options->encoder == KNN_ENCODER_PQ)
		resolve_pq(options, shape);
	else
		shape->encoding = level_encoding(shape->data_type, shape->compression);
	if (shape->data_type == KNN_DATA_HALF ||
		(shape->compression == 2 && options->encoder != KNN_ENCODER_PQ))
		shape->vectors = KNN_VECTORS_HALF;
	else
		shape->vectors = KNN_VECTORS_FLOAT;
	shape->clip = options->clip == KNN_SWITCH_ON;

	if (options->store_vectors == KNN_SWITCH_OFF)
	{
		if (shape->vectors == KNN_VECTORS_HALF && shape->data_type == KNN_DATA_FLOAT)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 options->encoder != KNN_ENCODER_UNSET ?
					 errmsg("cannot specify store_vectors = off with encoder \"sq\" and bits = 16") :
					 errmsg("cannot specify store_vectors = off with compression level \"2x\""),
					 errdetail("Compression level \"2x\" is how the stored vectors are kept: in half precision.")));
		shape->vectors = KNN_VECTORS_NONE;
	}
}

/* Is the model one for the column and the operator class? */
static void
check_model(const KnnModelSource *model, const KnnShape *shape)
{
	if (model->dim != shape->dim)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model \"%s\" has dimension %u, the column has %u",
						model->model_id, model->dim, shape->dim)));
	if (model->data_type != shape->data_type)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model \"%s\" has data type \"%s\", the column has \"%s\"", model->model_id,
						KnnDataTypeName(model->data_type), KnnDataTypeName(shape->data_type))));
	if (model->space != shape->space)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model \"%s\" has space type \"%s\", the operator class has \"%s\"",
						model->model_id, KnnSpaceName(model->space), KnnSpaceName(shape->space)),
				 errhint("Create the index with the operator class of the model's space type.")));
}

/*
 * What the methods have in common; the rest is zero.  Of a model all but
 * store_vectors is the model's.
 */
static KnnShape
resolve_shape(Relation index, KnnMethod method, const KnnCodeOptions *given,
			  const KnnModelSource *model)
{
	KnnCodeOptions resolved = model ? model->code : *given;
	const KnnCodeOptions *options = &resolved;
	KnnShape	shape;

	memset(&shape, 0, sizeof(shape));
	column_shape(index, &shape);
	shape.method = method;
	shape.space = KnnIndexSpace(index);
	resolved.store_vectors = given->store_vectors;
	if (model)
		check_model(model, &shape);
	check_space(&shape);
	check_data_type(options, shape.data_type, model != NULL);
	shape.mode = options->mode;
	shape.compression = resolve_level(options, shape.data_type, shape.dim);
	if (shape.data_type == KNN_DATA_FLOAT || shape.data_type == KNN_DATA_HALF)
		check_rotation(options, &shape);
	resolve_encoding(options, &shape);
	if (!pg_strong_random(&shape.seed, sizeof(shape.seed)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	return shape;
}

KnnShape
KnnResolveHnswShape(Relation index, const KnnModelSource *model)
{
	KnnHnswOptions options = KnnHnswOptionsOf(index);
	KnnShape	shape = resolve_shape(index, KNN_METHOD_HNSW, &options.code, model);
	int			ef = default_ef(shape.data_type, shape.compression);

	if (model)
	{
		shape.m = model->m;
		shape.ef_construction = model->ef_construction;
		shape.ef_search = model->ef_search;
		return shape;
	}
	shape.m = options.m;
	shape.ef_construction = options.ef_construction > 0 ? options.ef_construction : ef;
	/* the option goes before this at every scan, so that it can be reset */
	shape.ef_search = ef;
	return shape;
}

KnnShape
KnnResolveIvfShape(Relation index, const KnnModelSource *model)
{
	KnnIvfOptions options = KnnIvfOptionsOf(index);
	KnnShape	shape = resolve_shape(index, KNN_METHOD_IVF, &options.code, model);

	shape.nlist = model ? model->nlist : options.nlist;
	/* for information, where there is no model: scans look at the option */
	shape.nprobes = model ? model->nprobes : options.nprobes;
	return shape;
}

void
KnnShapeFallBack(KnnShape *shape)
{
	if (shape->encoding != KNN_ENCODING_PQ)
		return;
	shape->encoding = KNN_ENCODING_ROTATED_8;
	shape->compression = highest_level(shape->data_type) / 8;
	shape->pq_m = 0;
	shape->pq_bits = 0;
}

const KnnShape *
KnnFrozenShape(Relation index)
{
	KnnStore   *store = KnnStoreKnown(index);

	return &(store ? store : KnnStoreOpen(index))->shape;
}

bool
KnnShapePossible(const KnnShape *shape)
{
	KnnDataType data_type = (KnnDataType) shape->data_type;
	int			level = shape->compression;
	bool		pq = shape->encoding == KNN_ENCODING_PQ;

	if (shape->data_type > KNN_DATA_BINARY ||
		shape->space < KNN_SPACE_L2 || shape->space > KNN_SPACE_HAMMING ||
		(shape->space == KNN_SPACE_HAMMING) != (data_type == KNN_DATA_BINARY))
		return false;
	if (level < 1 || (level & (level - 1)) != 0 ||
		level > (pq ? KNN_PQ_MAX_COMPRESSION : highest_level(data_type)) ||
		shape->mode > KNN_MODE_ON_DISK || (shape->mode == KNN_MODE_ON_DISK && level == 1))
		return false;
	/* clipping is a parameter of the half precision of 2x */
	if (shape->clip > (data_type == KNN_DATA_FLOAT && level == 2 && !pq))
		return false;
	switch (data_type)
	{
		case KNN_DATA_BYTE:
			return shape->encoding == KNN_ENCODING_BYTE && shape->vectors == KNN_VECTORS_NONE;
		case KNN_DATA_BINARY:
			return shape->encoding == KNN_ENCODING_BINARY && shape->vectors == KNN_VECTORS_NONE;
		default:
			break;
	}
	if (pq)
	{
		if (!knn_pq_possible(shape->dim, shape->pq_m, shape->pq_bits) ||
			level != KnnPqLevel(highest_level(data_type), shape->dim, shape->pq_m, shape->pq_bits))
			return false;
	}
	else if (shape->pq_m != 0 || shape->pq_bits != 0 ||
			 shape->encoding != level_encoding(data_type, level) ||
			 (!knn_space_rotates(shape->space) && level > highest_level(data_type) / 8))
		return false;
	if (data_type == KNN_DATA_FLOAT && level == 2 && !pq)
		return shape->vectors == KNN_VECTORS_HALF;
	return shape->vectors == KNN_VECTORS_NONE ||
		shape->vectors == (data_type == KNN_DATA_HALF ? KNN_VECTORS_HALF : KNN_VECTORS_FLOAT);
}

int
KnnHnswEfSearch(Relation index, const KnnShape *shape)
{
	KnnHnswOptions options = KnnHnswOptionsOf(index);
	int32		typmod = TupleDescAttr(RelationGetDescr(index), 0)->atttypmod;
	KnnDataType data_type = typmod >= 0 ? KnnTypmodDataType(typmod) : KNN_DATA_FLOAT;

	if (options.ef_search > 0)
		return options.ef_search;
	if (shape == NULL && options.code.model_id)
		shape = KnnFrozenShape(index);
	if (shape)
		return (int) shape->ef_search;
	return default_ef(data_type, resolve_level(&options.code, data_type,
											   typmod >= 0 ? KnnTypmodDim(typmod) : 1));
}

/*
 * The first pass is for codes that lose something, so that levels below 4x of
 * float vectors (2x of half ones), byte and binary have none; nor do those
 * above in mode in_memory.  Otherwise, whatever the level, the dimension decides:
 *
 *		below 768		3
 *		768 to 999		2
 *		from 1000 on	1
 *
 * since the more dimensions, the better the estimates.  Codes of one bit are the
 * exception: 2, in every mode and dimension.
 */
double
KnnDefaultOversample(const KnnShape *shape)
{
	int			level = shape->compression;

	if (shape->encoding == KNN_ENCODING_ROTATED_1)
		return 2;
	if (shape->data_type == KNN_DATA_HALF)
		level *= 2;
	if (level < 4 || shape->mode == KNN_MODE_IN_MEMORY)
		return 0;
	if (shape->dim >= 1000)
		return 1;
	return shape->dim >= 768 ? 2 : 3;
}

uint32
KnnFirstPass(double k, double factor)
{
	double		first = ceil(k * Max(factor, 1.0));

	return (uint32) Min(Max(first, MIN_FIRST_PASS), MAX_FIRST_PASS);
}
