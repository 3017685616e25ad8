/*
 * serve_request.c
 *		Parsing and checking of requests; see serve_request.h.
 *
 * Keys that are not known are refused, but for further algorithm_parameters, which the
 * protocol leaves open.  All problems of a request are told, not only the first.
 */
#include "builder/serve_request.h"

#include <json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/repository.h"
#include "core/distance.h"

#define REQUEST_DEPTH 8
#define DOC_COUNT_LEAST 5		/* of fewer no client asks for a graph */
#define M_MOST 1024
#define EF_MOST 1000000
#define TENANT_BYTES 1024

typedef enum Kind
{
	KIND_TEXT,					/* char * */
	KIND_KEY,					/* the same: the key of an object */
	KIND_WORD,					/* one of names, as its number in an int */
	KIND_COUNT,					/* uint32_t */
	KIND_FLAG					/* bool */
} Kind;

/* The object that a value is in. */
typedef enum Place
{
	PLACE_TOP, PLACE_INDEX, PLACE_ALGORITHM
} Place;

static const char *const place_names[] = {"", "index_parameters", "index_parameters.algorithm_parameters"};

/* A request with what it may say in one way only. */
typedef struct Raw
{
	serve_request values;
	int			engine;
	int			algorithm;
} Raw;

typedef struct Key
{
	Place		place;
	const char *name;
	Kind		kind;
	size_t		offset;			/* in Raw */
	bool		required;
	uint32_t	least;			/* of a count */
	uint32_t	most;			/* of a count, or bytes of a text */
	uint32_t	otherwise;		/* when it is not there; of texts: the empty one */
	const char *const *names;
} Key;

/* in the order of builder_repository_type */
static const char *const repository_names[] = {"s3", "file", NULL};
static const char *const data_type_names[] = {"float", "half_float", "byte", "binary", NULL};
static const char *const space_names[] = {"l2", "innerproduct", "hamming", "cosinesimil", NULL};
static const char *const engine_names[] = {"faiss", NULL};
static const char *const algorithm_names[] = {"hnsw", NULL};

#define VALUE(field) offsetof(Raw, values.field)

static const Key keys[] = {
	{PLACE_TOP, "repository_type", KIND_WORD, VALUE(repository_type), false, 0, 0, BUILDER_REPOSITORY_S3, repository_names},
	{PLACE_TOP, "container_name", KIND_TEXT, VALUE(container_name), true, 1, 1024, 0, NULL},
	{PLACE_TOP, "vector_path", KIND_KEY, VALUE(vector_path), true, 1, SERVE_KEY_BYTES, 0, NULL},
	{PLACE_TOP, "doc_id_path", KIND_KEY, VALUE(doc_id_path), true, 1, SERVE_KEY_BYTES, 0, NULL},
	{PLACE_TOP, "tenant_id", KIND_TEXT, VALUE(tenant_id), false, 0, TENANT_BYTES, 0, NULL},
	{PLACE_TOP, "dimension", KIND_COUNT, VALUE(dimension), true, 1, KNN_MAX_DIM, 0, NULL},
	{PLACE_TOP, "doc_count", KIND_COUNT, VALUE(doc_count), true, DOC_COUNT_LEAST, INT32_MAX, 0, NULL},
	{PLACE_TOP, "data_type", KIND_WORD, VALUE(data_type), false, 0, 0, SERVE_FLOAT, data_type_names},
	{PLACE_TOP, "engine", KIND_WORD, offsetof(Raw, engine), false, 0, 0, 0, engine_names},
	{PLACE_TOP, "skip_stored_vectors", KIND_FLAG, VALUE(skip_stored_vectors), false, 0, 0, 0, NULL},
	{PLACE_INDEX, "algorithm", KIND_WORD, offsetof(Raw, algorithm), false, 0, 0, 0, algorithm_names},
	{PLACE_INDEX, "space_type", KIND_WORD, VALUE(space_type), false, 0, 0, SERVE_L2, space_names},
	{PLACE_ALGORITHM, "m", KIND_COUNT, VALUE(m), false, 2, M_MOST, 16, NULL},
	{PLACE_ALGORITHM, "ef_construction", KIND_COUNT, VALUE(ef_construction), false, 1, EF_MOST, 100, NULL},
	{PLACE_ALGORITHM, "ef_search", KIND_COUNT, VALUE(ef_search), false, 1, EF_MOST, 100, NULL},
};

#define NKEYS (sizeof(keys) / sizeof(keys[0]))

/* ---- problems ---- */

void
serve_problem_add(serve_problems *problems, const char *field, const char *type,
				  const char *format,...)
{
	serve_problem *problem;
	va_list		args;

	if (problems->count >= SERVE_PROBLEMS)
		return;
	problem = &problems->list[problems->count++];
	snprintf(problem->field, sizeof(problem->field), "%s", field);
	problem->type = type;
	va_start(args, format);
	vsnprintf(problem->message, sizeof(problem->message), format, args);
	va_end(args);
}

__attribute__((format(printf, 4, 5)))
static void
refuse(serve_problems *problems, const Key *key, const char *type, const char *format,...)
{
	char		field[80];
	char		message[200];
	va_list		args;

	snprintf(field, sizeof(field), "%s%s%s", place_names[key->place],
			 key->place == PLACE_TOP ? "" : ".", key->name);
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	serve_problem_add(problems, field, type, "%s", message);
}

/* ---- values ---- */

static bool
ends_with(const char *text, const char *suffix)
{
	size_t		length = strlen(text);

	return length > strlen(suffix) && strcmp(text + length - strlen(suffix), suffix) == 0;
}

/* Why a text is no key of an object; NULL when it is one. */
static const char *
fault_of_key(const char *text)
{
	const char *part = text;

	for (;;)
	{
		size_t		length = strcspn(part, "/");

		if (length == 0)
			return "parts of the path must not be empty";
		if ((length == 1 && part[0] == '.') || (length == 2 && part[0] == '.' && part[1] == '.'))
			return "parts of the path must not be \".\" or \"..\"";
		if (part[length] == '\0')
			return NULL;
		part += length + 1;
	}
}

static bool
has_control(const char *text)
{
	for (; *text; text++)
	{
		if ((unsigned char) *text < ' ' || *text == 0x7F)
			return true;
	}
	return false;
}

/* False without memory. */
static bool
read_text(const Key *key, struct json_object *value, char **to, serve_problems *problems)
{
	const char *text = json_object_get_string(value);
	size_t		length = (size_t) json_object_get_string_len(value);
	const char *fault;

	if (length < key->least)
		refuse(problems, key, "string_too_short", "must not be empty");
	else if (length > key->most)
		refuse(problems, key, "string_too_long", "has %zu bytes, expected at most %u", length, key->most);
	else if (strlen(text) != length || has_control(text))
		refuse(problems, key, "value_error", "contains a control character");
	else if (key->kind == KIND_KEY && (fault = fault_of_key(text)) != NULL)
		refuse(problems, key, "value_error", "%s", fault);
	else
	{
		*to = strdup(text);
		return *to != NULL;
	}
	return true;
}

static void
read_word(const Key *key, struct json_object *value, int *to, serve_problems *problems)
{
	const char *text = json_object_get_string(value);
	char		known[120] = "";
	size_t		length = 0;

	for (int i = 0; key->names[i]; i++)
	{
		if (strcmp(key->names[i], text) == 0 &&
			strlen(text) == (size_t) json_object_get_string_len(value))
		{
			*to = i;
			return;
		}
		length += (size_t) snprintf(known + length, sizeof(known) - length, "%s\"%s\"",
									i > 0 ? ", " : "", key->names[i]);
	}
	refuse(problems, key, "enum", "\"%.40s\" is not supported; known: %s", text, known);
}

static void
read_count(const Key *key, struct json_object *value, uint32_t *to, serve_problems *problems)
{
	/* beyond its range a number becomes the last one in it */
	int64_t		number = json_object_get_int64(value);

	if (number < (int64_t) key->least)
		refuse(problems, key, "greater_than_equal", "is %lld, expected at least %u",
			   (long long) number, key->least);
	else if (number > (int64_t) key->most)
		refuse(problems, key, "less_than_equal", "is %lld, expected at most %u",
			   (long long) number, key->most);
	else
		*to = (uint32_t) number;
}

static bool
read_value(const Key *key, struct json_object *value, Raw *raw, serve_problems *problems)
{
	void	   *to = (char *) raw + key->offset;

	switch (key->kind)
	{
		case KIND_TEXT:
		case KIND_KEY:
		case KIND_WORD:
			if (!json_object_is_type(value, json_type_string))
				refuse(problems, key, "string_type", "must be a text");
			else if (key->kind == KIND_WORD)
				read_word(key, value, to, problems);
			else
				return read_text(key, value, to, problems);
			break;
		case KIND_COUNT:
			if (!json_object_is_type(value, json_type_int))
				refuse(problems, key, "int_type", "must be a whole number");
			else
				read_count(key, value, to, problems);
			break;
		case KIND_FLAG:
			if (!json_object_is_type(value, json_type_boolean))
				refuse(problems, key, "bool_type", "must be true or false");
			else
				*(bool *) to = json_object_get_boolean(value);
			break;
	}
	return true;
}

/* What a value is when the request does not tell it; false without memory. */
static bool
set_default(const Key *key, Raw *raw)
{
	void	   *to = (char *) raw + key->offset;

	switch (key->kind)
	{
		case KIND_TEXT:
		case KIND_KEY:
			*(char **) to = strdup("");
			return *(char **) to != NULL;
		case KIND_WORD:
			*(int *) to = (int) key->otherwise;
			break;
		case KIND_COUNT:
			*(uint32_t *) to = key->otherwise;
			break;
		case KIND_FLAG:
			*(bool *) to = key->otherwise != 0;
			break;
	}
	return true;
}

/* ---- the whole ---- */

static bool
is_object_inside(Place place, const char *name)
{
	return (place == PLACE_TOP && strcmp(name, "index_parameters") == 0) ||
		(place == PLACE_INDEX && strcmp(name, "algorithm_parameters") == 0);
}

/*
 * The values of one object, which may be NULL, and with it those of the objects in
 * it; false without memory.
 */
static bool
read_place(Place place, struct json_object *object, Raw *raw, serve_problems *problems)
{
	struct json_object *inside = NULL;

	if (object && !json_object_is_type(object, json_type_object))
	{
		serve_problem_add(problems, place_names[place], "dict_type", "must be an object");
		object = NULL;
	}
	for (size_t i = 0; i < NKEYS; i++)
	{
		const Key  *key = &keys[i];
		struct json_object *value;

		if (key->place != place)
			continue;
		if (object && json_object_object_get_ex(object, key->name, &value))
		{
			if (!read_value(key, value, raw, problems))
				return false;
		}
		else if (key->required)
			refuse(problems, key, "missing", "is required");
		else if (!set_default(key, raw))
			return false;
	}
	if (object)
	{
		json_object_object_foreach(object, name, value)
		{
			bool		known = is_object_inside(place, name) || place == PLACE_ALGORITHM;

			(void) value;
			for (size_t i = 0; i < NKEYS && !known; i++)
				known = keys[i].place == place && strcmp(name, keys[i].name) == 0;
			if (!known)
			{
				char		field[80];

				snprintf(field, sizeof(field), "%s%s%.40s", place_names[place],
						 place == PLACE_TOP ? "" : ".", name);
				serve_problem_add(problems, field, "extra_forbidden", "is not known");
			}
		}
	}
	if (place == PLACE_ALGORITHM)
		return true;
	if (object)
		(void) json_object_object_get_ex(object, place == PLACE_TOP ? "index_parameters" :
										 "algorithm_parameters", &inside);
	return read_place(place + 1, inside, raw, problems);
}

/* What values must be to each other, once each is good. */
static void
check_together(const serve_request *r, serve_problems *problems)
{
	bool		floats = r->data_type == SERVE_FLOAT || r->data_type == SERVE_HALF;

	if (!ends_with(r->vector_path, SERVE_VECTORS_SUFFIX) ||
		ends_with(r->vector_path, "/" SERVE_VECTORS_SUFFIX))
		serve_problem_add(problems, "vector_path", "string_pattern_mismatch",
						  "must have the form NAME" SERVE_VECTORS_SUFFIX);
	else if (strcmp(r->vector_path, r->doc_id_path) == 0)
		serve_problem_add(problems, "doc_id_path", "value_error", "is the same as vector_path");
	if ((r->data_type == SERVE_BINARY) != (r->space_type == SERVE_HAMMING))
		serve_problem_add(problems, "index_parameters.space_type", "value_error",
						  "vectors of data type \"%s\" have no space \"%s\"",
						  data_type_names[r->data_type], space_names[r->space_type]);
	else if (r->space_type == SERVE_COSINESIMIL && !floats)
		serve_problem_add(problems, "index_parameters.space_type", "value_error",
						  "\"cosinesimil\" needs vectors that can be normalised, which those of data type \"%s\" cannot",
						  data_type_names[r->data_type]);
	if (r->data_type == SERVE_BINARY && r->dimension % 8 != 0)
		serve_problem_add(problems, "dimension", "multiple_of",
						  "is %u bits, expected a multiple of 8", r->dimension);
}

serve_request_result
serve_request_read(serve_request *request, struct json_object *object, serve_problems *problems)
{
	Raw			raw;
	bool		memory;

	memset(&raw, 0, sizeof(raw));
	memset(problems, 0, sizeof(*problems));
	if (!json_object_is_type(object, json_type_object))
	{
		serve_problem_add(problems, "", "dict_type", "the request is no JSON object");
		return SERVE_REQUEST_INVALID;
	}
	memory = read_place(PLACE_TOP, object, &raw, problems);
	if (memory && problems->count == 0)
		check_together(&raw.values, problems);
	if (memory && problems->count == 0)
	{
		*request = raw.values;
		return SERVE_REQUEST_OK;
	}
	serve_request_free(&raw.values);
	return memory ? SERVE_REQUEST_INVALID : SERVE_REQUEST_NO_MEMORY;
}

serve_request_result
serve_request_parse(serve_request *request, const char *text, size_t length,
					serve_problems *problems)
{
	struct json_tokener *tokener;
	struct json_object *object;
	serve_request_result result;
	enum json_tokener_error fault;
	size_t		end;

	memset(problems, 0, sizeof(*problems));
	if (length > SERVE_REQUEST_BYTES)
	{
		serve_problem_add(problems, "", "json_invalid", "the request is longer than %d bytes",
						  SERVE_REQUEST_BYTES);
		return SERVE_REQUEST_NOT_JSON;
	}
	tokener = json_tokener_new_ex(REQUEST_DEPTH);
	if (tokener == NULL)
		return SERVE_REQUEST_NO_MEMORY;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, text, (int) length);
	fault = json_tokener_get_error(tokener);
	end = json_tokener_get_parse_end(tokener);
	json_tokener_free(tokener);
	while (end < length && text[end] != '\0' && strchr(" \t\r\n", text[end]) != NULL)
		end++;
	if (fault != json_tokener_success || end < length)
	{
		serve_problem_add(problems, "", "json_invalid", "the request is no JSON object: at byte %zu of %zu: %s",
						  end, length, fault == json_tokener_success ? "text after the object" :
						  fault == json_tokener_continue ? "it ends too early" :
						  json_tokener_error_desc(fault));
		result = SERVE_REQUEST_NOT_JSON;
	}
	else
		result = serve_request_read(request, object, problems);
	json_object_put(object);
	return result;
}

/* ---- what a request says ---- */

static struct json_object *
value_json(const Key *key, const serve_request *request)
{
	const void *from = (const char *) request + (key->offset - offsetof(Raw, values));

	switch (key->kind)
	{
		case KIND_TEXT:
		case KIND_KEY:
			return json_object_new_string(*(char *const *) from);
		case KIND_WORD:
			return json_object_new_string(key->names[*(const int *) from]);
		case KIND_COUNT:
			return json_object_new_int64(*(const uint32_t *) from);
		case KIND_FLAG:
			return json_object_new_boolean(*(const bool *) from);
	}
	return NULL;
}

/* Whether a key is one that a request keeps. */
static bool
is_kept(const Key *key)
{
	return key->offset < offsetof(Raw, engine);
}

struct json_object *
serve_request_json(const serve_request *request)
{
	struct json_object *objects[3];
	bool		ok = true;

	for (int i = 0; i < 3; i++)
	{
		objects[i] = json_object_new_object();
		ok &= objects[i] != NULL;
	}
	for (size_t i = 0; ok && i < NKEYS; i++)
	{
		struct json_object *value;

		if (!is_kept(&keys[i]))
			continue;
		value = value_json(&keys[i], request);
		ok = value != NULL && json_object_object_add(objects[keys[i].place], keys[i].name, value) == 0;
	}
	if (ok && json_object_object_add(objects[1], "algorithm_parameters", objects[2]) == 0)
	{
		objects[2] = NULL;
		if (json_object_object_add(objects[0], "index_parameters", objects[1]) == 0)
			return objects[0];
	}
	for (int i = 0; i < 3; i++)
		json_object_put(objects[i]);
	return NULL;
}

bool
serve_request_equal(const serve_request *a, const serve_request *b)
{
	for (size_t i = 0; i < NKEYS; i++)
	{
		const void *of_a = (const char *) a + (keys[i].offset - offsetof(Raw, values));
		const void *of_b = (const char *) b + (keys[i].offset - offsetof(Raw, values));
		bool		equal = true;

		if (!is_kept(&keys[i]))
			continue;
		switch (keys[i].kind)
		{
			case KIND_TEXT:
			case KIND_KEY:
				equal = strcmp(*(char *const *) of_a, *(char *const *) of_b) == 0;
				break;
			case KIND_WORD:
				equal = *(const int *) of_a == *(const int *) of_b;
				break;
			case KIND_COUNT:
				equal = *(const uint32_t *) of_a == *(const uint32_t *) of_b;
				break;
			case KIND_FLAG:
				equal = *(const bool *) of_a == *(const bool *) of_b;
				break;
		}
		if (!equal)
			return false;
	}
	return true;
}

void
serve_request_free(serve_request *request)
{
	free(request->container_name);
	free(request->vector_path);
	free(request->doc_id_path);
	free(request->tenant_id);
	request->container_name = request->vector_path = NULL;
	request->doc_id_path = request->tenant_id = NULL;
}

bool
serve_request_id(const serve_request *request, char id[SHA256_HEX + 1])
{
	size_t		room = strlen(request->vector_path) + strlen(request->tenant_id) + 2;
	char	   *text = malloc(room);

	if (text == NULL)
		return false;
	snprintf(text, room, "%s-%s", request->vector_path, request->tenant_id);
	sha256_hex(id, text, room - 1);
	free(text);
	return true;
}

uint64_t
serve_request_row_bytes(const serve_request *request)
{
	switch (request->data_type)
	{
		case SERVE_BINARY:
			return request->dimension / 8;
		case SERVE_BYTE:
			return request->dimension;
		default:
			/* of half_float too: it tells how the result keeps them */
			return sizeof(float) * (uint64_t) request->dimension;
	}
}

void
serve_request_result_key(const serve_request *request, char key[SERVE_KEY_BYTES + 1])
{
	snprintf(key, SERVE_KEY_BYTES + 1, "%.*s" SERVE_RESULT_SUFFIX,
			 (int) (strlen(request->vector_path) - strlen(SERVE_VECTORS_SUFFIX)),
			 request->vector_path);
}

const char *
serve_request_file_name(const char *key)
{
	const char *slash = strrchr(key, '/');

	return slash ? slash + 1 : key;
}
