/*
 * code_options.c
 *		The options of all methods that tell what an index keeps of a vector:
 *		compression level, mode, encoder and its parameters; see options.h.
 */
#include "postgres.h"

#include "am/code_options.h"

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
					 errhint("Supported encoders are \"flat\", \"sq\", \"binary\" and \"pq\".")));
	}
	return 0;					/* not reached */
}

void
KnnCheckPqParts(int dim, int pq_m)
{
	if (dim % pq_m != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimension %d is not divisible by pq_m = %d", dim, pq_m)));
}

int
KnnPqLevel(int element_bits, int dim, int pq_m, int code_size)
{
	int64		bits = (int64) pq_m * code_size;
	int			level = 1;

	while (level < KNN_PQ_MAX_COMPRESSION && (int64) element_bits * dim >= 2 * level * bits)
		level *= 2;
	return level;
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
	if (encoder > KNN_ENCODER_PQ)
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

/* ---- registration ---- */

void
KnnCodeOptionsRegister(relopt_kind kind)
{
	static const char switch_values[] = "Valid values are \"on\" and \"off\".";

	add_string_reloption(kind, "mode",
						 "What the other defaults favour: in_memory (latency) or on_disk (memory)",
						 NULL, validate_mode, AccessExclusiveLock);
	add_string_reloption(kind, "compression_level",
						 "How much smaller codes are than the column's vectors: 1x to 32x",
						 NULL, validate_compression_level, AccessExclusiveLock);
	add_string_reloption(kind, "encoder",
						 "What makes codes: flat, sq, binary or pq",
						 NULL, validate_encoder, AccessExclusiveLock);
	add_int_reloption(kind, "bits",
					  "Bits of a dimension that encoder sq or binary keeps",
					  0, 1, 16, AccessExclusiveLock);
	add_string_reloption(kind, "type",
						 "Number format of encoder sq with 16 bits: fp16",
						 NULL, validate_type, AccessExclusiveLock);
	add_enum_reloption(kind, "clip",
					   "Clip values beyond the range of fp16 instead of refusing them",
					   switches, KNN_SWITCH_UNSET, switch_values, AccessExclusiveLock);
	add_enum_reloption(kind, "random_rotation",
					   "Rotate vectors before encoder binary (always on)",
					   switches, KNN_SWITCH_UNSET, switch_values, AccessExclusiveLock);
	add_enum_reloption(kind, "enable_adc",
					   "Compare full queries with codes of encoder binary (always on)",
					   switches, KNN_SWITCH_UNSET, switch_values, AccessExclusiveLock);
	add_enum_reloption(kind, "store_vectors",
					   "Keep vectors for exact distances in the index",
					   switches, KNN_SWITCH_UNSET, switch_values, AccessExclusiveLock);
	add_int_reloption(kind, "pq_m",
					  "Parts that encoder pq cuts a vector into",
					  0, 1, KNN_PQ_MAX_M, AccessExclusiveLock);
	add_int_reloption(kind, "code_size",
					  "Bits of the code of a part of encoder pq",
					  0, 1, KNN_PQ_MAX_BITS, AccessExclusiveLock);
	add_string_reloption(kind, "model_id",
						 "The model that the index is made from",
						 NULL, NULL, AccessExclusiveLock);
}

/* ---- parsing ---- */

/* The parameters of encoder pq: given with it, and no other. */
static void
check_pq_parameters(const KnnCodeOptions *options)
{
	const char *given = options->pq_m != 0 ? "pq_m" : options->code_size != 0 ? "code_size" : NULL;

	if (options->encoder == KNN_ENCODER_PQ)
	{
		if (options->bits != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("parameter \"bits\" is not supported for encoder \"pq\""),
					 errhint("Specify code_size.")));
		if (options->pq_m == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("parameter \"pq_m\" is required for encoder \"pq\""),
					 errdetail("It is the number of parts that a vector is cut into, and divides its dimension.")));
		return;
	}
	if (given == NULL)
		return;
	if (options->encoder == KNN_ENCODER_UNSET)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"%s\" needs an encoder", given),
				 errhint("Specify encoder = pq.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("parameter \"%s\" is not supported for encoder \"%s\"",
					given, KnnEncoderName(options->encoder)),
			 errdetail("It is only supported for encoder \"pq\".")));
}

/* A model decides what these would. */
static void
check_model_alone(const KnnCodeOptions *options)
{
	const char *given = options->mode != KNN_MODE_UNSET ? "mode" :
		options->compression != 0 ? "compression_level" :
		options->encoder != KNN_ENCODER_UNSET ? "encoder" :
		options->bits != 0 ? "bits" :
		options->fp16 ? "type" :
		options->clip != KNN_SWITCH_UNSET ? "clip" :
		options->random_rotation != KNN_SWITCH_UNSET ? "random_rotation" :
		options->enable_adc != KNN_SWITCH_UNSET ? "enable_adc" :
		options->pq_m != 0 ? "pq_m" :
		options->code_size != 0 ? "code_size" : NULL;

	if (given)
		KnnRefuseWithModel(given);
}

void
KnnRefuseWithModel(const char *option)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" cannot be given with \"model_id\"", option),
			 errdetail("The model decides it.")));
}

/* A parameter of encoder sq with 16 bits that was given with something else. */
static void
refuse_fp16_parameter(const KnnCodeOptions *options, const char *parameter)
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
check_binary_parameter(const KnnCodeOptions *options, const char *parameter,
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
check_conflicts(const KnnCodeOptions *options)
{
	int			level = options->compression;

	if (options->model_id)
	{
		check_model_alone(options);
		return;
	}
	check_pq_parameters(options);
	/* the level of pq depends on the dimension: shape.c */
	if (options->encoder == KNN_ENCODER_PQ)
		level = 0;
	else if (options->encoder != KNN_ENCODER_UNSET)
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

KnnCodeOptions
KnnCodeOptionsDecode(void *reloptions, const KnnCodeReloptions *raw)
{
	KnnCodeOptions options = {
		.bits = raw->bits,
		.clip = raw->clip,
		.random_rotation = raw->random_rotation,
		.enable_adc = raw->enable_adc,
		.store_vectors = raw->store_vectors,
		.pq_m = raw->pq_m,
		.code_size = raw->code_size
	};
	const char *base = reloptions;

	if (raw->mode != 0)
		options.mode = parse_mode(base + raw->mode);
	if (raw->compression_level != 0)
		options.compression = KnnParseCompressionLevel(base + raw->compression_level);
	if (raw->encoder != 0)
		options.encoder = KnnParseEncoder(base + raw->encoder);
	options.fp16 = raw->type != 0;
	if (raw->model_id != 0 && base[raw->model_id] != '\0')
		options.model_id = base + raw->model_id;
	return options;
}

void
KnnCodeOptionsCheck(void *reloptions, const KnnCodeReloptions *raw)
{
	KnnCodeOptions options = KnnCodeOptionsDecode(reloptions, raw);

	check_conflicts(&options);
}
