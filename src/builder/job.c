/*
 * job.c
 *		Parsing of jobs; see job.h.
 *
 * Every key but the optional ones must be there, once known by name and of its type,
 * and no other: a server and a builder of different versions should say so rather
 * than guess.
 */
#include "builder/job.h"

#include <errno.h>
#include <json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph_file.h"

typedef enum Kind
{
	KIND_TEXT,					/* char * */
	KIND_WORD,					/* one of names, as its number in an int */
	KIND_UINT32,
	KIND_UINT64,
	KIND_DECIMAL				/* uint64_t, as text: JSON numbers may be rounded */
} Kind;

/* The job as it is written, before its parts are compared with each other. */
typedef struct Raw
{
	int			job;
	uint32_t	version;
	int			method;
	int			engine;
	int			data_type;
	int			space;
	int			encoding;
	builder_job values;
} Raw;

typedef struct Key
{
	const char *name;
	Kind		kind;
	size_t		offset;			/* in Raw */
	uint64_t	least;
	uint64_t	most;
	const char *const *names;
	const char *hint;
	bool		optional;
	int			jobs;			/* that have it */
} Key;

#define OF_BUILD	(1 << BUILDER_BUILD)
#define OF_CLUSTER	(1 << BUILDER_CLUSTER)
#define OF_ALL		(OF_BUILD | OF_CLUSTER)

enum
{
	DATA_FLOAT, DATA_BYTE, DATA_BINARY
};

/* in the order of builder_job_kind */
static const char *const job_names[] = {"build", "cluster", NULL};
static const char *const method_names[] = {"hnsw", NULL};
static const char *const engine_names[] = {"cpu", NULL};
static const char *const data_type_names[] = {"float", "byte", "binary", NULL};

/* in the order of knn_space and knn_encoding, which begin with 1 */
static const char *const space_names[] = {"l2", "innerproduct", "cosine", "l1", "linf", "hamming", NULL};
static const char *const encoding_names[] = {"rotated_8", "rotated_4", "rotated_2", "rotated_1",
	"byte", "binary", NULL};

#define VALUE(field) offsetof(Raw, values.field)

static const Key keys[] = {
	{"job", KIND_WORD, offsetof(Raw, job), 0, 0, job_names, NULL, false, OF_ALL},
	{"version", KIND_UINT32, offsetof(Raw, version), BUILDER_JOB_VERSION, BUILDER_JOB_VERSION, NULL,
	"The server and knn-builder are of different versions; install both from one package.", false, OF_ALL},
	{"method", KIND_WORD, offsetof(Raw, method), 0, 0, method_names, NULL, false, OF_BUILD},
	{"engine", KIND_WORD, offsetof(Raw, engine), 0, 0, engine_names, NULL, false, OF_BUILD},
	{"vectors", KIND_TEXT, VALUE(vectors), 0, 0, NULL, NULL, false, OF_ALL},
	{"ids", KIND_TEXT, VALUE(ids), 0, 0, NULL, NULL, false, OF_ALL},
	{"result", KIND_TEXT, VALUE(result), 0, 0, NULL, NULL, false, OF_ALL},
	{"dimension", KIND_UINT32, VALUE(dimension), 1, KNN_MAX_DIM, NULL, NULL, false, OF_ALL},
	{"count", KIND_UINT32, VALUE(count), 0, KNN_INVALID_ID - 1, NULL, NULL, false, OF_ALL},
	{"data_type", KIND_WORD, offsetof(Raw, data_type), 0, 0, data_type_names, NULL, false, OF_ALL},
	{"space", KIND_WORD, offsetof(Raw, space), 0, 0, space_names, NULL, false, OF_ALL},
	{"encoding", KIND_WORD, offsetof(Raw, encoding), 0, 0, encoding_names, NULL, false, OF_BUILD},
	{"m", KIND_UINT32, VALUE(m), 2, KNN_GRAPH_FILE_MAX_M, NULL, NULL, false, OF_BUILD},
	{"nlist", KIND_UINT32, VALUE(nlist), 1, BUILDER_MAX_NLIST, NULL, NULL, false, OF_CLUSTER},
	{"ef_construction", KIND_UINT32, VALUE(ef_construction), 1, 1000000, NULL, NULL, false, OF_BUILD},
	{"seed", KIND_DECIMAL, VALUE(seed), 0, UINT64_MAX, NULL, NULL, false, OF_ALL},
	{"threads", KIND_UINT32, VALUE(threads), 1, 1024, NULL, NULL, false, OF_ALL},
	{"memory_limit", KIND_UINT64, VALUE(memory_limit), 0, INT64_MAX - 1, NULL, NULL, false, OF_ALL},
	{"codes_per_page", KIND_UINT32, VALUE(codes_per_page), 0, 1000000, NULL, NULL, false, OF_BUILD},
	{"codes", KIND_TEXT, VALUE(codes), 0, 0, NULL, NULL, true, OF_BUILD},
};

#define NKEYS (sizeof(keys) / sizeof(keys[0]))

__attribute__((format(printf, 2, 3)))
static bool
refuse(builder_error *error, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);
	return false;
}

/* ---- values ---- */

static bool
read_text(const Key *key, struct json_object *value, char **to, builder_error *error)
{
	const char *text = json_object_get_string(value);

	if (text[0] == '\0')
		return refuse(error, "\"%s\" of the job is empty", key->name);
	if (strlen(text) != (size_t) json_object_get_string_len(value))
		return refuse(error, "\"%s\" of the job contains a zero byte", key->name);
	*to = strdup(text);
	if (*to == NULL)
	{
		error->code = BUILDER_OUT_OF_MEMORY;
		return refuse(error, "out of memory");
	}
	return true;
}

static bool
read_word(const Key *key, struct json_object *value, int *to, builder_error *error)
{
	const char *text = json_object_get_string(value);
	size_t		length = 0;

	for (int i = 0; key->names[i]; i++)
	{
		if (strcmp(key->names[i], text) == 0 &&
			strlen(text) == (size_t) json_object_get_string_len(value))
		{
			*to = i;
			return true;
		}
	}
	for (int i = 0; key->names[i] && length < sizeof(error->detail); i++)
		length += (size_t) snprintf(error->detail + length, sizeof(error->detail) - length, "%s\"%s\"",
									i == 0 ? "Known are " : ", ", key->names[i]);
	return refuse(error, "\"%s\" of the job is \"%.60s\", which knn-builder does not know",
				  key->name, text);
}

static bool
read_decimal(const Key *key, struct json_object *value, uint64_t *to, builder_error *error)
{
	const char *text = json_object_get_string(value);
	size_t		length = strlen(text);
	char	   *end;

	errno = 0;
	*to = strtoull(text, &end, 10);
	if (length == 0 || length != (size_t) json_object_get_string_len(value) ||
		strspn(text, "0123456789") != length || errno != 0)
		return refuse(error, "\"%s\" of the job is no number below 2^64", key->name);
	return true;
}

static bool
read_number(const Key *key, struct json_object *value, uint64_t *to, builder_error *error)
{
	/* beyond its range a number becomes the last one in it */
	int64_t		number = json_object_get_int64(value);

	if (number < 0 || (uint64_t) number < key->least || (uint64_t) number > key->most)
		return refuse(error, "\"%s\" of the job is %lld, expected %llu to %llu", key->name,
					  (long long) number, (unsigned long long) key->least,
					  (unsigned long long) key->most);
	*to = (uint64_t) number;
	return true;
}

static bool
read_value(const Key *key, struct json_object *value, Raw *raw, builder_error *error)
{
	char	   *to = (char *) raw + key->offset;
	bool		number = key->kind == KIND_UINT32 || key->kind == KIND_UINT64;
	uint64_t	n = 0;

	if (!json_object_is_type(value, number ? json_type_int : json_type_string))
		return refuse(error, "\"%s\" of the job is no %s", key->name,
					  number ? "whole number" : "text");
	switch (key->kind)
	{
		case KIND_TEXT:
			return read_text(key, value, (char **) to, error);
		case KIND_WORD:
			return read_word(key, value, (int *) to, error);
		case KIND_DECIMAL:
			return read_decimal(key, value, (uint64_t *) to, error);
		default:
			if (!read_number(key, value, &n, error))
				return false;
			if (key->kind == KIND_UINT64)
				*(uint64_t *) to = n;
			else
				*(uint32_t *) to = (uint32_t) n;
			return true;
	}
}

/* ---- the whole ---- */

static bool
check_names(struct json_object *object, int of, builder_error *error)
{
	json_object_object_foreach(object, name, value)
	{
		bool		known = false;

		(void) value;
		for (size_t i = 0; i < NKEYS; i++)
			known |= strcmp(name, keys[i].name) == 0 && (keys[i].jobs & of);
		if (!known)
			return refuse(error, "the job has an unknown key \"%.60s\"", name);
	}
	return true;
}

static bool
check_combination(const Raw *raw, builder_error *error)
{
	bool		hamming = raw->values.space == KNN_SPACE_HAMMING;
	bool		matches = raw->data_type == DATA_BINARY ? raw->values.encoding == KNN_ENCODING_BINARY :
		raw->data_type == DATA_BYTE ? raw->values.encoding == KNN_ENCODING_BYTE :
		knn_encoding_is_float(raw->values.encoding);

	if (!matches)
		return refuse(error, "vectors of data type \"%s\" have no encoding \"%s\"",
					  data_type_names[raw->data_type], encoding_names[raw->encoding]);
	if ((raw->data_type == DATA_BINARY) != hamming)
		return refuse(error, "vectors of data type \"%s\" have no space \"%s\"",
					  data_type_names[raw->data_type], space_names[raw->space]);
	if (raw->data_type == DATA_BINARY && raw->values.dimension % 8 != 0)
		return refuse(error, "the dimension of binary vectors is %u, expected a multiple of 8",
					  raw->values.dimension);
	if (raw->values.kind == BUILDER_CLUSTER && raw->values.nlist > raw->values.count)
		return refuse(error, "\"nlist\" of the job is %u, more than its %u vectors",
					  raw->values.nlist, raw->values.count);
	if (raw->values.codes && raw->data_type != DATA_FLOAT)
		return refuse(error, "vectors of data type \"%s\" are their own codes",
					  data_type_names[raw->data_type]);
	return true;
}

static bool
read_object(Raw *raw, struct json_object *object, builder_error *error)
{
	if (!json_object_is_type(object, json_type_object))
		return refuse(error, "the job is no JSON object");
	/* of another version: no other difference is of interest then */
	for (size_t i = 0; i < NKEYS; i++)
	{
		struct json_object *value;

		/* which job it is has been read first */
		if (!(keys[i].jobs & 1 << raw->job))
			continue;
		if (!json_object_object_get_ex(object, keys[i].name, &value))
		{
			if (keys[i].optional)
				continue;
			return refuse(error, "the job has no \"%s\"", keys[i].name);
		}
		if (!read_value(&keys[i], value, raw, error))
		{
			if (keys[i].hint)
				snprintf(error->hint, sizeof(error->hint), "%s", keys[i].hint);
			return false;
		}
	}
	if (!check_names(object, 1 << raw->job, error))
		return false;
	raw->values.kind = (builder_job_kind) raw->job;
	raw->values.space = (knn_space) (raw->space + 1);
	raw->values.encoding = (knn_encoding) (raw->encoding + 1);
	if (raw->values.kind == BUILDER_CLUSTER)
		raw->values.encoding = raw->data_type == DATA_BINARY ? KNN_ENCODING_BINARY :
			raw->data_type == DATA_BYTE ? KNN_ENCODING_BYTE : KNN_ENCODING_ROTATED_8;
	return check_combination(raw, error);
}

const char *
builder_job_name(builder_job_kind kind)
{
	return job_names[kind];
}

bool
builder_job_parse(builder_job *job, const char *text, size_t length, builder_error *error)
{
	struct json_tokener *tokener;
	struct json_object *object = NULL;
	Raw			raw;
	size_t		end;
	bool		ok = false;

	memset(error, 0, sizeof(*error));
	memset(&raw, 0, sizeof(raw));
	error->code = BUILDER_BAD_JOB;
	if (length > BUILDER_JOB_BYTES)
		return refuse(error, "the job is longer than %d bytes", BUILDER_JOB_BYTES);
	tokener = json_tokener_new_ex(4);
	if (tokener == NULL)
	{
		error->code = BUILDER_OUT_OF_MEMORY;
		return refuse(error, "out of memory");
	}
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	object = json_tokener_parse_ex(tokener, text, (int) length);
	end = json_tokener_get_parse_end(tokener);
	while (end < length && strchr(" \t\r\n", text[end]) != NULL && text[end] != '\0')
		end++;
	if (json_tokener_get_error(tokener) != json_tokener_success || end < length)
	{
		refuse(error, "the job is no JSON object");
		snprintf(error->detail, sizeof(error->detail), "At byte %zu of %zu: %s.", end, length,
				 json_tokener_get_error(tokener) == json_tokener_success ? "text after the object" :
				 json_tokener_error_desc(json_tokener_get_error(tokener)));
	}
	else
		ok = read_object(&raw, object, error);
	json_object_put(object);
	json_tokener_free(tokener);
	if (!ok)
		builder_job_free(&raw.values);
	else
		*job = raw.values;
	return ok;
}

void
builder_job_free(builder_job *job)
{
	free(job->vectors);
	free(job->ids);
	free(job->result);
	free(job->codes);
	job->vectors = job->ids = job->result = job->codes = NULL;
}
