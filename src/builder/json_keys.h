/*
 * json_keys.h
 *		JSON objects of which every key is known: jobs, and answers of build services.
 *
 * What is missing, of another type or unknown is an error that says so, with the code
 * that the error has already.
 */
#ifndef KNN_BUILDER_JSON_KEYS_H
#define KNN_BUILDER_JSON_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "builder/output.h"

struct json_object;

typedef enum builder_key_kind
{
	BUILDER_KEY_TEXT,			/* char *, its own; not empty */
	BUILDER_KEY_ANY_TEXT,		/* char *, its own; or null, which is NULL */
	BUILDER_KEY_WORD,			/* one of names, as its number in an int */
	BUILDER_KEY_BOOL,
	BUILDER_KEY_UINT32,
	BUILDER_KEY_UINT64,
	BUILDER_KEY_DECIMAL,		/* uint64_t, as text: JSON numbers may be rounded */
	BUILDER_KEY_REAL,			/* double, between least and most */
	BUILDER_KEY_OBJECT			/* struct json_object *, of the object it is in */
} builder_key_kind;

typedef struct builder_key
{
	const char *name;
	builder_key_kind kind;
	size_t		offset;			/* of the value in a structure */
	uint64_t	least;
	uint64_t	most;
	const char *const *names;
	const char *hint;			/* when the value is no good */
	bool		optional;		/* then the structure keeps what it has */
} builder_key;

/* Set the message of an error that has its code.  Always false. */
extern bool builder_refuse(builder_error *error, const char *format,...)
			__attribute__((format(printf, 2, 3)));

/*
 * Text, which need not end with a zero, as one JSON value; *error and NULL when it is
 * none, or one of more levels than depth.  Freed by json_object_put.
 */
extern struct json_object *builder_json_parse(const char *text, size_t length, int depth,
											  const char *of, builder_error *error);

/*
 * Read the keys of an object into a structure; of is what the object is called in
 * messages ("job").  Upon failure too, texts that were read are the structure's.
 */
extern bool builder_json_read(struct json_object *object, const builder_key *keys, size_t n,
							  const char *of, void *structure, builder_error *error);

/* The same of an object that may have other keys too. */
extern bool builder_json_read_known(struct json_object *object, const builder_key *keys, size_t n,
									const char *of, void *structure, builder_error *error);

#endif
