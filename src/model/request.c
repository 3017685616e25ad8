/*
 * request.c
 *		What a model is to be: the arguments of a training, checked.
 *
 * The rules are those of OpenSearch's train API, for its engine faiss:
 *
 *		method		needs training
 *		ivf			always; nlist, nprobes, encoder
 *		hnsw		with encoder pq; m, ef_construction, ef_search, encoder
 *
 *		encoder		for float and half; others have flat alone
 *		flat		1x
 *		sq			bits 16, type fp16, clip; 2x
 *		binary		bits 4, 2, 1; 8x, 16x, 32x
 *		pq			m, which divides the dimension, code_size; by their sizes
 *
 * Where the method has no encoder, mode and compression level decide on it.
 */
#include "postgres.h"

#include "model/request.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/numeric.h"

#define DEFAULT_NLIST			4
#define MAX_NLIST				19999	/* of nprobes too */
#define DEFAULT_PQ_M			1
#define MAX_PQ_M				1023
#define DEFAULT_CODE_SIZE		8
#define MAX_CODE_SIZE			8	/* of faiss; OpenSearch lets up to 127 fail later */
#define MAX_DESCRIPTION			1000

/* ---- errors ---- */

static void
unknown_parameter(const char *name, const char *of, const char *valid)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is not a valid parameter of %s", name, of),
			 errdetail("Valid parameters are: %s.", valid)));
}

static void
wrong_type(const char *type, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("value is not an instance of %s for %s parameter [%s]", type, type, name)));
}

/* ---- JSON ---- */

/* Is this member's name the one? */
static bool
is_named(const JsonbValue *key, const char *name)
{
	return key->val.string.len == strlen(name) &&
		memcmp(key->val.string.val, name, key->val.string.len) == 0;
}

static char *
text_of(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static char *
string_value(const JsonbValue *value, const char *name)
{
	if (value->type != jbvString)
		wrong_type("String", name);
	return text_of(value);
}

static bool
boolean_value(const JsonbValue *value, const char *name)
{
	if (value->type != jbvBool)
		wrong_type("Boolean", name);
	return value->val.boolean;
}

static int
integer_value(const JsonbValue *value, const char *name, int min, int max)
{
	bool		out_of_range;
	int32		result;
	Numeric		number;

	if (value->type != jbvNumeric)
		wrong_type("Integer", name);
	number = value->val.numeric;
	result = numeric_int4_opt_error(number, &out_of_range);
	if (!out_of_range &&
		!DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(number),
										  NumericGetDatum(int64_to_numeric(result)))))
		wrong_type("Integer", name);
	if (out_of_range || result < min || result > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter validation failed for Integer parameter [%s]", name),
				 errdetail("It must be between %d and %d.", min, max)));
	return result;
}

/* Walk over the members of an object; what names it in errors. */
static JsonbIterator *
begin_object(const JsonbValue *value, const char *what)
{
	JsonbIterator *it;
	JsonbValue	dummy;

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a JSON object", what)));
	it = JsonbIteratorInit(value->val.binary.data);
	(void) JsonbIteratorNext(&it, &dummy, true);
	return it;
}

static bool
next_member(JsonbIterator **it, JsonbValue *key, JsonbValue *value)
{
	if (JsonbIteratorNext(it, key, true) != WJB_KEY)
		return false;
	(void) JsonbIteratorNext(it, value, true);
	return true;
}

/* ---- spaces and engines ---- */

static KnnSpace
parse_space(const char *name)
{
	for (int i = KNN_SPACE_L2; i < KNN_SPACE_L2 + KNN_SPACE_COUNT; i++)
	{
		if (strcmp(name, KnnSpaceName((KnnSpace) i)) == 0)
			return (KnnSpace) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unable to find space: %s", name),
			 errdetail("Spaces of models are l2, innerproduct and cosinesimil, and hamming for data type \"binary\".")));
}

static void
check_engine(const char *name)
{
	if (strcmp(name, "faiss") == 0)
		return;
	if (strcmp(name, "lucene") == 0 || strcmp(name, "nmslib") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot use \"%s\" engine from training context", name),
				 errhint("The engine of models is faiss.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid engine: \"%s\"", name),
			 errhint("The engine of models is faiss.")));
}

/* ---- method ---- */

static void
read_encoder(KnnModelRequest *request, const JsonbValue *object)
{
	JsonbIterator *it = begin_object(object, "encoder");
	JsonbValue	key;
	JsonbValue	value;
	JsonbValue	parameters = {.type = jbvNull};
	char	   *name = NULL;

	while (next_member(&it, &key, &value))
	{
		if (is_named(&key, "name"))
			name = string_value(&value, "name");
		else if (is_named(&key, "parameters"))
			parameters = value;
		else
			unknown_parameter(text_of(&key), "an encoder", "name, parameters");
	}
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name needs to be set for encoder")));
	if (strcmp(name, "flat") == 0)
		request->encoder = KNN_ENCODER_FLAT;
	else if (strcmp(name, "sq") == 0)
		request->encoder = KNN_ENCODER_SQ;
	else if (strcmp(name, "binary") == 0)
		request->encoder = KNN_ENCODER_BINARY;
	else if (strcmp(name, "pq") == 0)
		request->encoder = KNN_ENCODER_PQ;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid encoder name: %s", name),
				 errdetail("Encoders of models are flat, sq, binary and pq.")));
	request->pq_m = DEFAULT_PQ_M;
	request->code_size = DEFAULT_CODE_SIZE;
	request->bits = request->encoder == KNN_ENCODER_SQ ? 16 :
		request->encoder == KNN_ENCODER_BINARY ? 1 : 0;
	if (parameters.type == jbvNull)
		return;
	it = begin_object(&parameters, "parameters of encoder");
	while (next_member(&it, &key, &value))
	{
		if (request->encoder == KNN_ENCODER_SQ && is_named(&key, "bits"))
			request->bits = integer_value(&value, "bits", 1, 16);
		else if (request->encoder == KNN_ENCODER_SQ && is_named(&key, "type"))
		{
			if (strcmp(string_value(&value, "type"), "fp16") != 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("parameter validation failed for String parameter [type]"),
						 errdetail("The type of encoder sq is \"fp16\".")));
		}
		else if (request->encoder == KNN_ENCODER_SQ && is_named(&key, "clip"))
		{
			request->clip = boolean_value(&value, "clip");
		}
		else if (request->encoder == KNN_ENCODER_BINARY && is_named(&key, "bits"))
			request->bits = integer_value(&value, "bits", 1, 4);
		else if (request->encoder == KNN_ENCODER_PQ && is_named(&key, "m"))
			request->pq_m = integer_value(&value, "m", 1, MAX_PQ_M);
		else if (request->encoder == KNN_ENCODER_PQ && is_named(&key, "code_size"))
			request->code_size = integer_value(&value, "code_size", 1, MAX_CODE_SIZE);
		else
			unknown_parameter(text_of(&key), psprintf("encoder %s", name),
							  request->encoder == KNN_ENCODER_SQ ? "bits, type, clip" :
							  request->encoder == KNN_ENCODER_BINARY ? "bits" :
							  request->encoder == KNN_ENCODER_PQ ? "m, code_size" : "none");
	}
	if ((request->encoder == KNN_ENCODER_SQ && request->bits != 16) ||
		(request->encoder == KNN_ENCODER_BINARY && request->bits == 3))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter validation failed for Integer parameter [bits]"),
				 request->encoder == KNN_ENCODER_SQ ?
				 errdetail("Encoder sq of a model has 16 bits.") :
				 errdetail("Encoder binary has 1, 2 or 4 bits.")));
}

static void
read_parameters(KnnModelRequest *request, const JsonbValue *object)
{
	JsonbIterator *it = begin_object(object, "parameters of method");
	JsonbValue	key;
	JsonbValue	value;

	while (next_member(&it, &key, &value))
	{
		if (is_named(&key, "encoder"))
			read_encoder(request, &value);
		else if (!request->hnsw && is_named(&key, "nlist"))
			request->nlist = integer_value(&value, "nlist", 1, MAX_NLIST);
		else if (!request->hnsw && is_named(&key, "nprobes"))
			request->nprobes = integer_value(&value, "nprobes", 1, MAX_NLIST);
		else if (request->hnsw && is_named(&key, "m"))
			request->m = integer_value(&value, "m", KNN_HNSW_MIN_M, KNN_HNSW_MAX_M);
		else if (request->hnsw && is_named(&key, "ef_construction"))
			request->ef_construction = integer_value(&value, "ef_construction",
													 KNN_HNSW_MIN_EF_CONSTRUCTION,
													 KNN_HNSW_MAX_EF_CONSTRUCTION);
		else if (request->hnsw && is_named(&key, "ef_search"))
			request->ef_search = integer_value(&value, "ef_search", 1, KNN_MAX_EF_SEARCH);
		else
			unknown_parameter(text_of(&key), request->hnsw ? "method hnsw" : "method ivf",
							  request->hnsw ? "m, ef_construction, ef_search, encoder" :
							  "nlist, nprobes, encoder");
	}
}

static void
read_method(KnnModelRequest *request)
{
	JsonbValue	object;
	JsonbValue	key;
	JsonbValue	value;
	JsonbValue	parameters = {.type = jbvNull};
	JsonbIterator *it;
	char	   *name = NULL;

	object.type = jbvBinary;
	object.val.binary.data = &request->method->root;
	object.val.binary.len = VARSIZE(request->method) - VARHDRSZ;
	it = begin_object(&object, "method");
	while (next_member(&it, &key, &value))
	{
		if (is_named(&key, "name"))
			name = string_value(&value, "name");
		else if (is_named(&key, "engine"))
			check_engine(string_value(&value, "engine"));
		else if (is_named(&key, "space_type"))
		{
			char	   *space = string_value(&value, "space_type");

			if (request->space_type && strcmp(request->space_type, space) != 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("space type of the method, \"%s\", is not that of the request, \"%s\"",
								space, request->space_type)));
			request->space_type = space;
		}
		else if (is_named(&key, "parameters"))
			parameters = value;
		else
			unknown_parameter(text_of(&key), "a method", "name, engine, space_type, parameters");
	}
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name needs to be set for method")));
	if (strcmp(name, "hnsw") == 0)
		request->hnsw = true;
	else if (strcmp(name, "ivf") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid method name: %s", name),
				 errdetail("Methods of models are ivf, and hnsw with encoder pq.")));
	if (parameters.type != jbvNull)
		read_parameters(request, &parameters);
}

/* ---- what it comes to ---- */

/* Compression level of an encoder of floats. */
static int
encoder_level(const KnnModelRequest *request)
{
	int64		ratio;
	int			level;

	switch (request->encoder)
	{
		case KNN_ENCODER_SQ:
			return 2;
		case KNN_ENCODER_BINARY:
			return 32 / request->bits;
		case KNN_ENCODER_PQ:
			/* the highest level that is no more than it saves */
			ratio = INT64CONST(32) * request->dimension /
				((int64) request->pq_m * request->code_size);
			for (level = 1; level < 64 && 2 * level <= ratio; level *= 2)
				;
			return level;
		default:
			return 1;
	}
}

/* The encoder that mode and level come to. */
static void
choose_encoder(KnnModelRequest *request, bool on_disk, int level)
{
	if (level == 0)
		level = on_disk ? 32 : 1;
	request->encoder = level == 1 ? KNN_ENCODER_FLAT :
		level == 2 ? KNN_ENCODER_SQ : KNN_ENCODER_BINARY;
	request->bits = level == 1 ? 0 : level == 2 ? 16 : 32 / level;
}

/* Mode and level; 0 for a level that is not given. */
static int
resolve_compression(KnnModelRequest *request, bool *on_disk)
{
	int			level = 0;

	*on_disk = false;
	if (request->mode == NULL && request->compression_level == NULL)
		return 0;
	if (request->type != KNN_DATA_FLOAT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("when mode or compression_level is set, data_type must be \"float\", not \"%s\"",
						KnnDataTypeName(request->type))));
	if (request->mode && strcmp(request->mode, "on_disk") == 0)
		*on_disk = true;
	else if (request->mode && strcmp(request->mode, "in_memory") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid mode: \"%s\"", request->mode),
				 errdetail("Valid values are \"in_memory\" and \"on_disk\".")));
	if (request->compression_level)
		level = KnnParseCompressionLevel(request->compression_level);
	if (level == 4)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"faiss\" does not support \"4x\" compression"),
				 errhint("Levels of models are 1x, 2x, 8x, 16x and 32x.")));
	return level;
}

static void
resolve_space(KnnModelRequest *request)
{
	bool		binary = request->type == KNN_DATA_BINARY;

	request->space = request->space_type ? parse_space(request->space_type) :
		binary ? KNN_SPACE_HAMMING : KNN_SPACE_L2;
	if (binary != (request->space == KNN_SPACE_HAMMING) ||
		request->space == KNN_SPACE_L1 || request->space == KNN_SPACE_LINF)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" with \"faiss\" configuration does not support space type: \"%s\"",
						request->hnsw ? "hnsw" : "ivf", KnnSpaceName(request->space)),
				 binary ?
				 errhint("The space type for data type \"binary\" is \"hamming\".") :
				 errhint("Use l2, innerproduct or cosinesimil.")));
}

static void
check_description(const char *description)
{
	if (pg_mbstrlen(description) > MAX_DESCRIPTION)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("description exceeds limit of %d characters", MAX_DESCRIPTION)));
	if (strchr(description, ',') != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model description cannot contain any commas: ','")));
}

void
KnnResolveModelRequest(KnnModelRequest *request)
{
	bool		on_disk;
	int			level;
	int			i;

	request->nlist = DEFAULT_NLIST;
	request->nprobes = 1;
	request->m = KNN_HNSW_DEFAULT_M;
	request->encoder = KNN_ENCODER_UNSET;

	check_description(request->description);
	for (i = KNN_DATA_FLOAT; i <= KNN_DATA_BINARY; i++)
	{
		if (strcmp(request->data_type, KnnDataTypeName((KnnDataType) i)) == 0)
			break;
	}
	if (i > KNN_DATA_BINARY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid data type: \"%s\"", request->data_type),
				 errdetail("Valid values are \"float\", \"half\", \"byte\" and \"binary\".")));
	request->type = (KnnDataType) i;
	KnnCheckDim(request->dimension, request->type, NULL);
	if (request->method == NULL && request->mode == NULL && request->compression_level == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("at least method, mode or compression_level needs to be set")));
	if (request->method)
		read_method(request);
	resolve_space(request);
	level = resolve_compression(request, &on_disk);

	if (request->encoder != KNN_ENCODER_UNSET && request->encoder != KNN_ENCODER_FLAT &&
		(request->type == KNN_DATA_BYTE || request->type == KNN_DATA_BINARY))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("encoder is not supported for vector data type [%s]",
						KnnDataTypeName(request->type)),
				 errhint("Leave the encoder out.")));
	if (request->encoder == KNN_ENCODER_PQ)
	{
		if (request->dimension % request->pq_m != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("training request ENCODER_PARAMETER_PQ_M is not divisible by vector dimensions"),
					 errdetail("Parameter m of encoder pq is %d, and the dimension is %d.",
							   request->pq_m, request->dimension)));
		if (request->hnsw && request->code_size != 8)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("parameter validation failed for Integer parameter [code_size]"),
					 errdetail("It must be 8 with method hnsw.")));
	}
	if (request->encoder == KNN_ENCODER_UNSET)
		choose_encoder(request, on_disk, level);
	else if (level != 0 && level != encoder_level(request))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot specify an encoder that conflicts with the provided compression level"),
				 errdetail("The encoder comes to %dx, and compression_level is %dx.",
						   encoder_level(request), level)));
	if (request->hnsw && request->encoder != KNN_ENCODER_PQ)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("method does not require training"),
				 errdetail("Method hnsw learns nothing but the codebooks of encoder pq."),
				 errhint("Create a knn_hnsw index without a model.")));

	level = encoder_level(request);
	i = level >= 8 && request->encoder == KNN_ENCODER_BINARY ? KNN_HNSW_LOW_BIT_EF : KNN_HNSW_DEFAULT_EF;
	if (request->ef_construction == 0)
		request->ef_construction = i;
	if (request->ef_search == 0)
		request->ef_search = i;
}

char *
KnnModelMethodJson(const KnnModelRequest *request)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (request->hnsw)
		appendStringInfo(&buf, "{\"name\": \"hnsw\", \"parameters\": {\"m\": %d, \"ef_construction\": %d, \"ef_search\": %d",
						 request->m, request->ef_construction, request->ef_search);
	else
		appendStringInfo(&buf, "{\"name\": \"ivf\", \"parameters\": {\"nlist\": %d, \"nprobes\": %d",
						 request->nlist, request->nprobes);
	appendStringInfo(&buf, ", \"encoder\": {\"name\": \"%s\", \"parameters\": {",
					 KnnEncoderName(request->encoder));
	switch (request->encoder)
	{
		case KNN_ENCODER_SQ:
			appendStringInfo(&buf, "\"bits\": %d, \"type\": \"fp16\", \"clip\": %s",
							 request->bits, request->clip ? "true" : "false");
			break;
		case KNN_ENCODER_BINARY:
			appendStringInfo(&buf, "\"bits\": %d", request->bits);
			break;
		case KNN_ENCODER_PQ:
			appendStringInfo(&buf, "\"m\": %d, \"code_size\": %d", request->pq_m, request->code_size);
			break;
		default:
			break;
	}
	appendStringInfoString(&buf, "}}}}");
	return buf.data;
}
