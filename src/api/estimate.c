/*
 * estimate.c
 *		knn_estimate_memory(): memory that an index would take, before it is built.
 *
 * The formulas are those of OpenSearch's documentation.  For N vectors of d
 * dimensions, with e bytes for the elements of a vector and b bits a dimension in
 * a code:
 *
 *	hnsw			1.1 * (e + 8m) * N
 *	hnsw, pq		1.1 * ((b/8 * pq_m + 24 + 8m) * N + segments * 2^b * 4d)
 *	ivf				1.1 * (e * N + 4 * nlist * d), binary: nlist * d/8
 *	ivf, pq			1.1 * ((b/8 * pq_m + 24) * N + segments * (2^b * 4d + 4 * nlist * d))
 *
 * They count links and codes, and say nothing about how an index is laid out here.
 * All is computed in integers, where a part of a byte counts as a byte.
 */
#include "postgres.h"

#include "api/estimate.h"

#include "am/options.h"
#include "common/int.h"
#include "fmgr.h"
#include "type/knn_vector.h"
#include "utils/builtins.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_estimate_memory);

#define DEFAULT_NLIST		4
#define MAX_NLIST			19999
#define DEFAULT_CODE_SIZE	8
#define MAX_CODE_SIZE		24	/* of faiss */
#define MAX_PQ_M			1023

typedef struct EstimateInput
{
	bool		ivf;
	int32		dim;
	int64		count;
	KnnDataType data_type;
	int			compression;	/* 0: not given */
	KnnEncoder	encoder;
	int32		m;
	int32		nlist;
	int32		bits;			/* 0: not given */
	int32		pq_m;
	int32		code_size;
	int32		segments;
} EstimateInput;

/* ---- arithmetic ---- */

static void
too_large(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("estimated memory is out of range for type bigint")));
}

static int64
times(int64 a, int64 b)
{
	int64		result;

	if (pg_mul_s64_overflow(a, b, &result))
		too_large();
	return result;
}

static int64
plus(int64 a, int64 b)
{
	int64		result;

	if (pg_add_s64_overflow(a, b, &result))
		too_large();
	return result;
}

/* A tenth more, for what is not counted. */
static int64
with_overhead(int64 bytes)
{
	return plus(bytes, (bytes / 10) + (bytes % 10 != 0));
}

/* ---- input ---- */

/* An integer argument in a range, or its default where it is NULL. */
static int32
integer_argument(FunctionCallInfo fcinfo, int n, const char *name,
				 int32 least, int32 most, int32 missing)
{
	int32		value;

	if (PG_ARGISNULL(n))
		return missing;
	value = PG_GETARG_INT32(n);
	if (value < least || value > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between %d and %d, not %d", name, least, most, value)));
	return value;
}

static void
refuse_argument(FunctionCallInfo fcinfo, int n, const char *name, const char *with)
{
	if (!PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"%s\" is only for %s", name, with)));
}

static bool
parse_method(const char *name)
{
	if (pg_strcasecmp(name, "hnsw") == 0 || pg_strcasecmp(name, "knn_hnsw") == 0)
		return false;
	if (pg_strcasecmp(name, "ivf") == 0 || pg_strcasecmp(name, "knn_ivf") == 0)
		return true;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid method name: \"%s\"", name),
			 errdetail("Valid values are \"hnsw\" and \"ivf\".")));
}

static KnnDataType
parse_data_type(const char *name)
{
	for (int i = KNN_DATA_FLOAT; i <= KNN_DATA_BINARY; i++)
	{
		if (pg_strcasecmp(name, KnnDataTypeName((KnnDataType) i)) == 0)
			return (KnnDataType) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid data type: \"%s\"", name),
			 errdetail("Valid values are \"float\", \"half\", \"byte\" and \"binary\".")));
}

static int
element_bits(KnnDataType data_type)
{
	switch (data_type)
	{
		case KNN_DATA_FLOAT:
			return 32;
		case KNN_DATA_HALF:
			return 16;
		case KNN_DATA_BYTE:
			return 8;
		default:
			return 1;
	}
}

static void
check_pq(const EstimateInput *in)
{
	if (in->pq_m == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"pq_m\" is required for encoder \"pq\""),
				 errdetail("It is the number of subvectors that a vector is split into.")));
	if (in->dim % in->pq_m != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimension %d is not divisible by pq_m = %d", in->dim, in->pq_m)));
	if (!in->ivf && in->code_size != 8)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("code_size must be 8 for method \"hnsw\" and encoder \"pq\", not %d",
						in->code_size)));
}

/* Bits a dimension of what the index looks at; not for pq. */
static int
vector_bits(const EstimateInput *in)
{
	int			level = in->compression;
	int			bits = element_bits(in->data_type);

	if (in->encoder != KNN_ENCODER_UNSET)
	{
		level = KnnEncoderLevel(in->encoder, in->bits);
		KnnCheckEncoderLevel(in->encoder, in->bits, level, in->compression);
	}
	if (level <= 1)
		return bits;
	if (bits < 16 || level > bits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("compression level \"%dx\" is not supported for vector data type \"%s\"",
						level, KnnDataTypeName(in->data_type))));
	return bits / level;
}

/* ---- formulas ---- */

static int64
estimate(const EstimateInput *in)
{
	int64		links = in->ivf ? 0 : 8 * (int64) in->m;
	int64		centroids = 0;
	int64		each;

	if (in->ivf)
		centroids = in->data_type == KNN_DATA_BINARY ?
			times(in->nlist, in->dim / 8) :
			times(4 * (int64) in->nlist, in->dim);

	if (in->encoder == KNN_ENCODER_PQ)
	{
		int64		code = ((int64) in->code_size * in->pq_m + 7) / 8;
		int64		tables = plus(times((int64) 1 << in->code_size, 4 * (int64) in->dim), centroids);

		return with_overhead(plus(times(code + 24 + links, in->count),
								  times(tables, in->segments)));
	}

	each = ((int64) in->dim * vector_bits(in) + 7) / 8 + links;
	return with_overhead(plus(times(each, in->count), centroids));
}

int64
KnnEstimateIndexMemory(const KnnShape *shape, int64 count)
{
	EstimateInput in = {
		.dim = (int32) shape->dim,
		.count = count,
		.data_type = (KnnDataType) shape->data_type,
		.compression = shape->compression,
		.ivf = shape->method == KNN_METHOD_IVF
	};

	if (in.ivf)
		in.nlist = (int32) shape->nlist;
	else
		in.m = (int32) shape->m;
	if (shape->encoding == KNN_ENCODING_PQ)
	{
		in.encoder = KNN_ENCODER_PQ;
		in.pq_m = shape->pq_m;
		in.code_size = shape->pq_bits;
		in.segments = 1;
	}

	return estimate(&in);
}

Datum
knn_estimate_memory(PG_FUNCTION_ARGS)
{
	enum
	{
		METHOD, DIMENSION, COUNT, DATA_TYPE, COMPRESSION, ENCODER, M, NLIST, BITS,
		PQ_M, CODE_SIZE, SEGMENTS
	};
	EstimateInput in = {0};

	if (PG_ARGISNULL(METHOD) || PG_ARGISNULL(DIMENSION) || PG_ARGISNULL(COUNT) ||
		PG_ARGISNULL(DATA_TYPE))
		PG_RETURN_NULL();

	in.ivf = parse_method(text_to_cstring(PG_GETARG_TEXT_PP(METHOD)));
	in.data_type = parse_data_type(text_to_cstring(PG_GETARG_TEXT_PP(DATA_TYPE)));
	in.dim = PG_GETARG_INT32(DIMENSION);
	KnnCheckDim(in.dim, in.data_type, NULL);
	in.count = PG_GETARG_INT64(COUNT);
	if (in.count < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("count cannot be negative")));
	if (!PG_ARGISNULL(COMPRESSION))
		in.compression = KnnParseCompressionLevel(text_to_cstring(PG_GETARG_TEXT_PP(COMPRESSION)));
	if (!PG_ARGISNULL(ENCODER))
		in.encoder = KnnParseEncoder(text_to_cstring(PG_GETARG_TEXT_PP(ENCODER)));

	in.m = integer_argument(fcinfo, M, "m", KNN_HNSW_MIN_M, KNN_HNSW_MAX_M, KNN_HNSW_DEFAULT_M);
	if (!in.ivf)
		refuse_argument(fcinfo, NLIST, "nlist", "method \"ivf\"");
	in.nlist = integer_argument(fcinfo, NLIST, "nlist", 1, MAX_NLIST, DEFAULT_NLIST);

	if (in.encoder > KNN_ENCODER_PQ)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("memory of encoder \"%s\" cannot be estimated", KnnEncoderName(in.encoder)),
				 errhint("Supported encoders are \"flat\", \"sq\", \"binary\" and \"pq\".")));
	if (in.data_type != KNN_DATA_FLOAT && in.encoder > KNN_ENCODER_FLAT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("encoder \"%s\" is not supported for vector data type \"%s\"",
						KnnEncoderName(in.encoder), KnnDataTypeName(in.data_type))));
	if (in.encoder != KNN_ENCODER_SQ && in.encoder != KNN_ENCODER_BINARY)
		refuse_argument(fcinfo, BITS, "bits", "encoders \"sq\" and \"binary\"");
	in.bits = integer_argument(fcinfo, BITS, "bits", 1, 16, 0);
	if (in.encoder == KNN_ENCODER_PQ)
	{
		in.pq_m = integer_argument(fcinfo, PQ_M, "pq_m", 1, MAX_PQ_M, 0);
		in.code_size = integer_argument(fcinfo, CODE_SIZE, "code_size", 1, MAX_CODE_SIZE, DEFAULT_CODE_SIZE);
		check_pq(&in);
		KnnCheckEncoderLevel(in.encoder, 0, KnnPqLevel(32, in.dim, in.pq_m, in.code_size), in.compression);
	}
	else
	{
		refuse_argument(fcinfo, PQ_M, "pq_m", "encoder \"pq\"");
		refuse_argument(fcinfo, CODE_SIZE, "code_size", "encoder \"pq\"");
	}
	in.segments = integer_argument(fcinfo, SEGMENTS, "segments", 1, PG_INT32_MAX, 1);

	PG_RETURN_INT64(estimate(&in));
}
