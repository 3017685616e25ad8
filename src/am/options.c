/*
 * options.c
 *		Index options (WITH ...) and query settings (SET knn. ...).
 *
 * Options are checked in three steps.  A value that is none of its option is
 * refused by the option itself; options that contradict each other, when all of
 * them are parsed, in CREATE INDEX as in ALTER INDEX; and what the column or the
 * space does not allow, when the index is built (shape.c).  Options that were
 * not given stay distinguishable from given ones, since what they default to
 * depends on the others.
 */
#include "postgres.h"

#include "am/options.h"

#include <float.h>

#include "access/reloptions.h"
#include "utils/guc.h"

int			knn_ef_search = 0;
int			knn_max_scan_tuples = 1000000;
int			knn_scan_order = KNN_SCAN_ORDER_STRICT;
int			knn_rescore = KNN_RESCORE_AUTO;
double		knn_oversample_factor = 0;

static relopt_kind hnsw_options;

/* Options as the relation cache keeps them; strings are offsets. */
typedef struct HnswReloptions
{
	int32		vl_len_;
	int			m;
	int			ef_construction;
	int			ef_search;
	int			mode;
	int			compression_level;
	int			encoder;
	int			bits;
	int			type;
	int			clip;
	int			random_rotation;
	int			enable_adc;
	int			store_vectors;
} HnswReloptions;

/* Booleans that tell whether they were given. */
static relopt_enum_elt_def switches[] = {
	{"on", KNN_SWITCH_ON},
	{"off", KNN_SWITCH_OFF},
	{"true", KNN_SWITCH_ON},
	{"false", KNN_SWITCH_OFF},
	{"yes", KNN_SWITCH_ON},
	{"no", KNN_SWITCH_OFF},
	{"1", KNN_SWITCH_ON},
	{"0", KNN_SWITCH_OFF},
	{NULL, 0}
};

static const struct config_enum_entry scan_orders[] = {
	{"strict", KNN_SCAN_ORDER_STRICT, false},
	{"relaxed", KNN_SCAN_ORDER_RELAXED, false},
	{NULL, 0, false}
};

static const struct config_enum_entry rescores[] = {
	{"auto", KNN_RESCORE_AUTO, false},
	{"on", KNN_RESCORE_ON, false},
	{"off", KNN_RESCORE_OFF, false},
	{"true", KNN_RESCORE_ON, true},
	{"false", KNN_RESCORE_OFF, true},
	{"yes", KNN_RESCORE_ON, true},
	{"no", KNN_RESCORE_OFF, true},
	{"1", KNN_RESCORE_ON, true},
	{"0", KNN_RESCORE_OFF, true},
	{NULL, 0, false}
};

/* ---- values ---- */

static KnnMode
parse_mode(const char *value)
{
	if (pg_strcasecmp(value, "in_memory") == 0)
		return KNN_MODE_IN_MEMORY;
	if (pg_strcasecmp(value, "on_disk") == 0)
		return KNN_MODE_ON_DISK;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid mode: \"%s\"", value),
			 errdetail("Valid values are \"in_memory\" and \"on_disk\".")));
}

int
KnnParseCompressionLevel(const char *value)
{
	for (int level = 1; level <= KNN_MAX_COMPRESSION; level *= 2)
	{
		char		name[8];

		snprintf(name, sizeof(name), "%dx", level);
		if (pg_strcasecmp(value, name) == 0)
			return level;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid compression level: \"%s\"", value),
			 errdetail("Valid values are \"1x\", \"2x\", \"4x\", \"8x\", \"16x\" and \"32x\".")));
}

KnnEncoder
KnnParseEncoder(const char *value)
{
	if (pg_strcasecmp(value, "flat") == 0)
		return KNN_ENCODER_FLAT;
	if (pg_strcasecmp(value, "sq") == 0)
		return KNN_ENCODER_SQ;
	if (pg_strcasecmp(value, "binary") == 0)
		return KNN_ENCODER_BINARY;
	if (pg_strcasecmp(value, "pq") == 0)
		return KNN_ENCODER_PQ;
	if (pg_strcasecmp(value, "lvq") == 0)
		return KNN_ENCODER_LVQ;
	if (pg_strcasecmp(value, "leanvec") == 0)
		return KNN_ENCODER_LEANVEC;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid encoder: \"%s\"", value),
			 errdetail("Encoders are \"flat\", \"sq\", \"binary\", \"pq\", \"lvq\" and \"leanvec\".")));
}

const char *
KnnEncoderName(KnnEncoder encoder)
{
	static const char *const names[] = {"", "flat", "sq", "binary", "pq", "lvq", "leanvec"};

	return names[encoder];
}

int
KnnEncoderLevel(KnnEncoder encoder, int bits)
{
	switch (encoder)
	{
		case KNN_ENCODER_FLAT:
			if (bits != 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("parameter \"bits\" is not supported for encoder \"flat\""),
						 errdetail("Encoder \"flat\" keeps vectors as they are.")));
			return 1;
		case KNN_ENCODER_SQ:
			switch (bits)
			{
				case 0:
					ereport(ERROR,
							(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							 errmsg("parameter \"bits\" is required for encoder \"sq\""),
							 errhint("Supported values are 1, 7, 8 and 16.")));
					break;
				case 16:
					return 2;
				case 8:
				case 7:			/* a byte each all the same */
					return 4;
				case 1:
					return 32;
			}
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("bits = %d is not supported for encoder \"sq\"", bits),
					 errhint("Supported values are 1, 7, 8 and 16.")));
			break;
		case KNN_ENCODER_BINARY:
			switch (bits)
			{
				case 0:
				case 1:
					return 32;
				case 2:
					return 16;
				case 4:
					return 8;
			}
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("bits = %d is not supported for encoder \"binary\"", bits),
					 errhint("Supported values are 1, 2 and 4.")));
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("encoder \"%s\" is not supported by this version",
							KnnEncoderName(encoder)),
					 errhint("Supported encoders are \"flat\", \"sq\" and \"binary\".")));
	}
	return 0;					/* not reached */
}

void
KnnCheckEncoderLevel(KnnEncoder encoder, int bits, int encoder_level, int compression)
{
	if (compression == 0 || compression == encoder_level)
		return;
	if (bits != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("compression level \"%dx\" is incompatible with bits = %d for encoder \"%s\"",
						compression, bits, KnnEncoderName(encoder)),
				 errdetail("Expected compression level: \"%dx\".", encoder_level),
				 errhint("Specify the compression level or the encoder, not both.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("compression level \"%dx\" conflicts with encoder \"%s\"",
					compression, KnnEncoderName(encoder)),
			 errdetail("Expected compression level: \"%dx\".", encoder_level),
			 errhint("Specify the compression level or the encoder, not both.")));
}

/* Validators of the options; the default, NULL, goes through them too. */

static void
validate_mode(const char *value)
{
	if (value)
		parse_mode(value);
}

static void
validate_compression_level(const char *value)
{
	if (value)
		KnnParseCompressionLevel(value);
}

static void
validate_encoder(const char *value)
{
	KnnEncoder	encoder;

	if (value == NULL)
		return;
	encoder = KnnParseEncoder(value);
	if (encoder >= KNN_ENCODER_PQ)
		KnnEncoderLevel(encoder, 0);	/* says that it is not supported */
}

static void
validate_type(const char *value)
{
	if (value && pg_strcasecmp(value, "fp16") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid type of encoder \"sq\": \"%s\"", value),
				 errdetail("The only valid value is \"fp16\".")));
}

/* 0 leaves the factor to the index; it is not in the range of factors. */
static bool
check_oversample_factor(double *value, void **extra, GucSource source)
{
	if (*value == 0)
		return true;
	if (*value < KNN_MIN_OVERSAMPLE)
	{
		GUC_check_errmsg("oversample factor %g cannot be less than %g", *value, KNN_MIN_OVERSAMPLE);
		GUC_check_errdetail("0 is the default of the index's compression level.");
		return false;
	}
	if (*value > KNN_MAX_OVERSAMPLE)
	{
		GUC_check_errmsg("oversample factor %g cannot be more than %g", *value, KNN_MAX_OVERSAMPLE);
		return false;
	}
	return true;
}

/* ---- registration ---- */

void
KnnOptionsInit(void)
{
	static const char switch_values[] = "Valid values are \"on\" and \"off\".";

	hnsw_options = add_reloption_kind();
	add_int_reloption(hnsw_options, "m",
					  "Neighbours of a node per level; at level 0 it has room for twice as many",
					  KNN_HNSW_DEFAULT_M, KNN_HNSW_MIN_M, KNN_HNSW_MAX_M,
					  AccessExclusiveLock);
	add_int_reloption(hnsw_options, "ef_construction",
					  "Width of the search for a new node's neighbours",
					  0,
					  KNN_HNSW_MIN_EF_CONSTRUCTION, KNN_HNSW_MAX_EF_CONSTRUCTION,
					  AccessExclusiveLock);
	add_int_reloption(hnsw_options, "ef_search",
					  "Width of a query's search, unless knn.ef_search is set",
					  0, 1, KNN_MAX_EF_SEARCH,
					  ShareUpdateExclusiveLock);
	add_string_reloption(hnsw_options, "mode",
						 "What the other defaults favour: in_memory (latency) or on_disk (memory)",
						 NULL, validate_mode, AccessExclusiveLock);
	add_string_reloption(hnsw_options, "compression_level",
						 "How much smaller codes are than the column's vectors: 1x to 32x",
						 NULL, validate_compression_level, AccessExclusiveLock);
	add_string_reloption(hnsw_options, "encoder",
						 "What makes codes: flat, sq or binary",
						 NULL, validate_encoder, AccessExclusiveLock);
	add_int_reloption(hnsw_options, "bits",
					  "Bits of a dimension that encoder sq or binary keeps",
					  0, 1, 16, AccessExclusiveLock);
	add_string_reloption(hnsw_options, "type",
						 "Number format of encoder sq with 16 bits: fp16",
						 NULL, validate_type, AccessExclusiveLock);
	add_enum_reloption(hnsw_options, "clip",
					   "Clip values beyond the range of fp16 instead of refusing them",
					   switches, KNN_SWITCH_UNSET, switch_values, AccessExclusiveLock);
	add_enum_reloption(hnsw_options, "random_rotation",
					   "Rotate vectors before encoder binary (always on)",
					   switches, KNN_SWITCH_UNSET, switch_values, AccessExclusiveLock);
	add_enum_reloption(hnsw_options, "enable_adc",
					   "Compare full queries with codes of encoder binary (always on)",
					   switches, KNN_SWITCH_UNSET, switch_values, AccessExclusiveLock);
	add_enum_reloption(hnsw_options, "store_vectors",
					   "Keep vectors for exact distances in the index",
					   switches, KNN_SWITCH_UNSET, switch_values, AccessExclusiveLock);

	DefineCustomIntVariable("knn.ef_search",
							"Width of the search of a graph index.",
							"The more, the better the recall and the longer a query takes. "
							"0 takes the index's own option ef_search.",
							&knn_ef_search, 0, 0, KNN_MAX_EF_SEARCH,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("knn.max_scan_tuples",
							"Number of vectors after which a scan is not widened any more.",
							"A scan whose rows a filter rejects is widened until the query has enough "
							"rows, or until it has looked at this many vectors. -1 is no limit.",
							&knn_max_scan_tuples, 1000000, -1, INT_MAX,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("knn.scan_order",
							 "What happens to a row that a widened scan finds too late.",
							 "A widened scan may find a row that is nearer than one returned already. "
							 "\"strict\" returns it after all other rows, \"relaxed\" at once.",
							 &knn_scan_order, KNN_SCAN_ORDER_STRICT, scan_orders,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("knn.rescore",
							 "Whether candidates are ranked again by exact distances.",
							 "\"auto\" computes as many exact distances as the order of the rows needs, "
							 "\"on\" those of a first pass of the size knn.oversample_factor tells, "
							 "\"off\" none.",
							 &knn_rescore, KNN_RESCORE_AUTO, rescores,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("knn.oversample_factor",
							 "Candidates of a search's first pass for each row wanted, 1 to 100.",
							 "0 takes the default of the index's compression level.",
							 &knn_oversample_factor, 0, -DBL_MAX, DBL_MAX,
							 PGC_USERSET, 0, check_oversample_factor, NULL, NULL);

	MarkGUCPrefixReserved("knn");
}

/* ---- parsing ---- */

static KnnHnswOptions
decode(HnswReloptions *raw)
{
	KnnHnswOptions options = {
		.m = raw->m,
		.ef_construction = raw->ef_construction,
		.ef_search = raw->ef_search,
		.bits = raw->bits,
		.clip = raw->clip,
		.random_rotation = raw->random_rotation,
		.enable_adc = raw->enable_adc,
		.store_vectors = raw->store_vectors
	};

	if (raw->mode != 0)
		options.mode = parse_mode(GET_STRING_RELOPTION(raw, mode));
	if (raw->compression_level != 0)
		options.compression = KnnParseCompressionLevel(GET_STRING_RELOPTION(raw, compression_level));
	if (raw->encoder != 0)
		options.encoder = KnnParseEncoder(GET_STRING_RELOPTION(raw, encoder));
	options.fp16 = raw->type != 0;
	return options;
}

/* A parameter of encoder sq with 16 bits that was given with something else. */
static void
refuse_fp16_parameter(const KnnHnswOptions *options, const char *parameter)
{
	if (options->encoder == KNN_ENCODER_SQ)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"%s\" conflicts with bits = %d for encoder \"sq\"",
						parameter, options->bits),
				 errdetail("It is only supported with bits = 16.")));
	if (options->encoder != KNN_ENCODER_UNSET)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"%s\" is not supported for encoder \"%s\"",
						parameter, KnnEncoderName(options->encoder)),
				 errdetail("It is only supported for encoder \"sq\" with bits = 16.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("parameter \"%s\" needs an encoder", parameter),
			 errhint("Specify encoder = sq, bits = 16.")));
}

/* A parameter of encoder binary: what it turns on cannot be turned off. */
static void
check_binary_parameter(const KnnHnswOptions *options, const char *parameter,
					   KnnSwitch value, const char *detail)
{
	if (value == KNN_SWITCH_UNSET)
		return;
	if (options->encoder == KNN_ENCODER_UNSET)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"%s\" needs an encoder", parameter),
				 errhint("Specify encoder = binary.")));
	if (options->encoder != KNN_ENCODER_BINARY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"%s\" is not supported for encoder \"%s\"",
						parameter, KnnEncoderName(options->encoder)),
				 errdetail("It is only supported for encoder \"binary\".")));
	if (value == KNN_SWITCH_OFF)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s = off is not supported for encoder \"binary\"", parameter),
				 errdetail_internal("%s", detail),
				 errhint("Leave \"%s\" out.", parameter)));
}

/* ERROR when options contradict each other, whatever the column is. */
static void
check_conflicts(const KnnHnswOptions *options)
{
	int			level = options->compression;

	if (options->encoder != KNN_ENCODER_UNSET)
	{
		level = KnnEncoderLevel(options->encoder, options->bits);
		KnnCheckEncoderLevel(options->encoder, options->bits, level, options->compression);
	}
	else if (options->bits != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"bits\" needs an encoder"),
				 errhint("Specify encoder = sq or encoder = binary, or a compression level without bits.")));

	if (options->encoder != KNN_ENCODER_SQ || options->bits != 16)
	{
		if (options->fp16)
			refuse_fp16_parameter(options, "type");
		if (options->clip != KNN_SWITCH_UNSET)
			refuse_fp16_parameter(options, "clip");
	}

	check_binary_parameter(options, "random_rotation", options->random_rotation,
						   "Vectors are always rotated before they are encoded.");
	check_binary_parameter(options, "enable_adc", options->enable_adc,
						   "Queries are never reduced to the bits of a code.");
	if (options->enable_adc == KNN_SWITCH_ON && options->bits > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("enable_adc conflicts with bits = %d for encoder \"binary\"",
						options->bits),
				 errdetail("ADC is not supported for bit count: %d.", options->bits)));

	if (options->mode == KNN_MODE_ON_DISK && level == 1)
	{
		if (options->compression == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("cannot specify encoder \"flat\" when using mode \"on_disk\""),
					 errdetail("Encoder \"flat\" is compression level \"1x\".")));
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot specify compression level \"1x\" when using mode \"on_disk\""),
				 errdetail("Mode \"on_disk\" searches compressed vectors."),
				 errhint("Use mode \"in_memory\", or a higher compression level.")));
	}
}

bytea *
KnnHnswOptionsParse(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		{"m", RELOPT_TYPE_INT, offsetof(HnswReloptions, m)},
		{"ef_construction", RELOPT_TYPE_INT, offsetof(HnswReloptions, ef_construction)},
		{"ef_search", RELOPT_TYPE_INT, offsetof(HnswReloptions, ef_search)},
		{"mode", RELOPT_TYPE_STRING, offsetof(HnswReloptions, mode)},
		{"compression_level", RELOPT_TYPE_STRING, offsetof(HnswReloptions, compression_level)},
		{"encoder", RELOPT_TYPE_STRING, offsetof(HnswReloptions, encoder)},
		{"bits", RELOPT_TYPE_INT, offsetof(HnswReloptions, bits)},
		{"type", RELOPT_TYPE_STRING, offsetof(HnswReloptions, type)},
		{"clip", RELOPT_TYPE_ENUM, offsetof(HnswReloptions, clip)},
		{"random_rotation", RELOPT_TYPE_ENUM, offsetof(HnswReloptions, random_rotation)},
		{"enable_adc", RELOPT_TYPE_ENUM, offsetof(HnswReloptions, enable_adc)},
		{"store_vectors", RELOPT_TYPE_ENUM, offsetof(HnswReloptions, store_vectors)},
	};
	HnswReloptions *raw = build_reloptions(reloptions, validate, hnsw_options,
										   sizeof(HnswReloptions),
										   table, lengthof(table));

	if (raw && validate)
	{
		KnnHnswOptions options = decode(raw);

		check_conflicts(&options);
	}
	return (bytea *) raw;
}

KnnHnswOptions
KnnHnswOptionsOf(Relation index)
{
	KnnHnswOptions options = {
		.m = KNN_HNSW_DEFAULT_M
	};

	if (index->rd_options)
		options = decode((HnswReloptions *) index->rd_options);
	return options;
}
