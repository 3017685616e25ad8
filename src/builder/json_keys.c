/*
 * json_keys.c
 *		JSON objects of which every key is known; see json_keys.h.
 */
#include "builder/json_keys.h"

#include <errno.h>
#include <json.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool
builder_refuse(builder_error *error, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);
	return false;
}

static bool
no_memory(builder_error *error)
{
	error->code = BUILDER_OUT_OF_MEMORY;
	return builder_refuse(error, "out of memory");
}

/* ---- values ---- */

static bool
read_text(const builder_key *key, struct json_object *value, const char *of, char **to,
		  builder_error *error)
{
	const char *text = json_object_get_string(value);

	*to = NULL;
	if (value == NULL)
		return true;
	if (text[0] == '\0' && key->kind == BUILDER_KEY_TEXT)
		return builder_refuse(error, "\"%s\" of the %s is empty", key->name, of);
	if (strlen(text) != (size_t) json_object_get_string_len(value))
		return builder_refuse(error, "\"%s\" of the %s contains a zero byte", key->name, of);
	*to = strdup(text);
	return *to != NULL || no_memory(error);
}

static bool
read_word(const builder_key *key, struct json_object *value, const char *of, int *to,
		  builder_error *error)
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
	return builder_refuse(error, "\"%s\" of the %s is \"%.60s\", which knn-builder does not know",
						  key->name, of, text);
}

static bool
read_decimal(const builder_key *key, struct json_object *value, const char *of, uint64_t *to,
			 builder_error *error)
{
	const char *text = json_object_get_string(value);
	size_t		length = strlen(text);
	char	   *end;

	errno = 0;
	*to = strtoull(text, &end, 10);
	if (length == 0 || length != (size_t) json_object_get_string_len(value) ||
		strspn(text, "0123456789") != length || errno != 0)
		return builder_refuse(error, "\"%s\" of the %s is no number below 2^64", key->name, of);
	return true;
}

static bool
read_number(const builder_key *key, struct json_object *value, const char *of, uint64_t *to,
			builder_error *error)
{
	/* beyond its range a number becomes the last one in it */
	int64_t		number = json_object_get_int64(value);

	if (number < 0 || (uint64_t) number < key->least || (uint64_t) number > key->most)
		return builder_refuse(error, "\"%s\" of the %s is %lld, expected %llu to %llu", key->name, of,
							  (long long) number, (unsigned long long) key->least,
							  (unsigned long long) key->most);
	*to = (uint64_t) number;
	return true;
}

static bool
read_real(const builder_key *key, struct json_object *value, const char *of, double *to,
		  builder_error *error)
{
	*to = json_object_get_double(value);
	if (!isfinite(*to) || *to < (double) key->least || *to > (double) key->most)
		return builder_refuse(error, "\"%s\" of the %s is %g, expected %llu to %llu", key->name, of, *to,
							  (unsigned long long) key->least, (unsigned long long) key->most);
	return true;
}

static bool
has_type(builder_key_kind kind, struct json_object *value)
{
	switch (kind)
	{
		case BUILDER_KEY_ANY_TEXT:
			return value == NULL || json_object_is_type(value, json_type_string);
		case BUILDER_KEY_BOOL:
			return json_object_is_type(value, json_type_boolean);
		case BUILDER_KEY_UINT32:
		case BUILDER_KEY_UINT64:
			return json_object_is_type(value, json_type_int);
		case BUILDER_KEY_REAL:
			return json_object_is_type(value, json_type_int) ||
				json_object_is_type(value, json_type_double);
		case BUILDER_KEY_OBJECT:
			return json_object_is_type(value, json_type_object);
		default:
			return json_object_is_type(value, json_type_string);
	}
}

static const char *const type_names[] = {
	[BUILDER_KEY_TEXT] = "text", [BUILDER_KEY_ANY_TEXT] = "text", [BUILDER_KEY_WORD] = "text",
	[BUILDER_KEY_BOOL] = "true or false", [BUILDER_KEY_UINT32] = "whole number",
	[BUILDER_KEY_UINT64] = "whole number", [BUILDER_KEY_DECIMAL] = "text",
	[BUILDER_KEY_REAL] = "number", [BUILDER_KEY_OBJECT] = "object",
};

static bool
read_value(const builder_key *key, struct json_object *value, const char *of, void *structure,
		   builder_error *error)
{
	char	   *to = (char *) structure + key->offset;
	uint64_t	n = 0;

	if (!has_type(key->kind, value))
		return builder_refuse(error, "\"%s\" of the %s is no %s", key->name, of, type_names[key->kind]);
	switch (key->kind)
	{
		case BUILDER_KEY_TEXT:
		case BUILDER_KEY_ANY_TEXT:
			return read_text(key, value, of, (char **) to, error);
		case BUILDER_KEY_WORD:
			return read_word(key, value, of, (int *) to, error);
		case BUILDER_KEY_BOOL:
			*(bool *) to = json_object_get_boolean(value);
			return true;
		case BUILDER_KEY_DECIMAL:
			return read_decimal(key, value, of, (uint64_t *) to, error);
		case BUILDER_KEY_REAL:
			return read_real(key, value, of, (double *) to, error);
		case BUILDER_KEY_OBJECT:
			*(struct json_object **) to = value;
			return true;
		default:
			if (!read_number(key, value, of, &n, error))
				return false;
			if (key->kind == BUILDER_KEY_UINT64)
				*(uint64_t *) to = n;
			else
				*(uint32_t *) to = (uint32_t) n;
			return true;
	}
}

/* ---- the whole ---- */

static bool
check_names(struct json_object *object, const builder_key *keys, size_t n, const char *of,
			builder_error *error)
{
	json_object_object_foreach(object, name, value)
	{
		bool		known = false;

		(void) value;
		for (size_t i = 0; i < n; i++)
			known |= strcmp(name, keys[i].name) == 0;
		if (!known)
			return builder_refuse(error, "the %s has an unknown key \"%.60s\"", of, name);
	}
	return true;
}

bool
builder_json_read_known(struct json_object *object, const builder_key *keys, size_t n,
						const char *of, void *structure, builder_error *error)
{
	if (!json_object_is_type(object, json_type_object))
		return builder_refuse(error, "the %s is no JSON object", of);
	for (size_t i = 0; i < n; i++)
	{
		struct json_object *value;

		if (!json_object_object_get_ex(object, keys[i].name, &value))
		{
			if (keys[i].optional)
				continue;
			return builder_refuse(error, "the %s has no \"%s\"", of, keys[i].name);
		}
		if (!read_value(&keys[i], value, of, structure, error))
		{
			if (keys[i].hint)
				snprintf(error->hint, sizeof(error->hint), "%s", keys[i].hint);
			return false;
		}
	}
	return true;
}

bool
builder_json_read(struct json_object *object, const builder_key *keys, size_t n, const char *of,
				  void *structure, builder_error *error)
{
	return builder_json_read_known(object, keys, n, of, structure, error) &&
		check_names(object, keys, n, of, error);
}

struct json_object *
builder_json_parse(const char *text, size_t length, int depth, const char *of,
				   builder_error *error)
{
	struct json_tokener *tokener = json_tokener_new_ex(depth);
	struct json_object *object;
	enum json_tokener_error result;
	size_t		end;

	if (tokener == NULL)
	{
		no_memory(error);
		return NULL;
	}
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	object = json_tokener_parse_ex(tokener, text, (int) length);
	result = json_tokener_get_error(tokener);
	end = json_tokener_get_parse_end(tokener);
	json_tokener_free(tokener);
	while (end < length && strchr(" \t\r\n", text[end]) != NULL && text[end] != '\0')
		end++;
	if (result == json_tokener_success && end == length && object != NULL)
		return object;
	builder_refuse(error, "the %s is no JSON object", of);
	if (result != json_tokener_success || end < length)
		snprintf(error->detail, sizeof(error->detail), "At byte %zu of %zu: %s.", end, length,
				 result == json_tokener_success ? "text after the object" :
				 json_tokener_error_desc(result));
	json_object_put(object);
	return NULL;
}
