/*
 * job.c
 *		Parsing of jobs; see job.h.
 *
 * Every key but the optional ones must be there, once known by name and of its type,
 * and no other: a server and a builder of different versions should say so rather
 * than guess.
 */
#include "builder/job.h"

#include <json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/json_keys.h"
#include "core/graph_file.h"

#define DEPTH 4					/* of objects in each other */

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
	int			result_format;
	int			storage;
	builder_job values;
} Raw;

typedef struct Key
{
	builder_key key;
	int			jobs;			/* that have it */
} Key;

#define OF_BUILD	(1 << BUILDER_BUILD)
#define OF_CLUSTER	(1 << BUILDER_CLUSTER)
#define OF_ALL		(OF_BUILD | OF_CLUSTER)

enum
{
	DATA_FLOAT, DATA_BYTE, DATA_BINARY
};

enum
{
	STORAGE_UNSAID = -1, STORAGE_FLOAT, STORAGE_HALF, STORAGE_BYTE, STORAGE_BINARY, STORAGE_NONE
};

#define DEFAULT_EF_SEARCH 100

/* in the order of builder_job_kind */
static const char *const job_names[] = {"build", "cluster", NULL};
static const char *const method_names[] = {"hnsw", NULL};
static const char *const engine_names[] = {"cpu", NULL};
static const char *const data_type_names[] = {"float", "byte", "binary", NULL};

/* in the order of knn_space and knn_encoding, which begin with 1 */
static const char *const space_names[] = {"l2", "innerproduct", "cosinesimil", "l1", "linf", "hamming", NULL};
static const char *const encoding_names[] = {"rotated_8", "rotated_4", "rotated_2", "rotated_1",
	"byte", "binary", NULL};

/* in the order of builder_format, and of the enumeration above */
static const char *const format_names[] = {"knngraph", "faiss", NULL};
static const char *const storage_names[] = {"float", "half", "byte", "binary", "none", NULL};

#define VALUE(field) offsetof(Raw, values.field)

static const Key keys[] = {
	{{"job", BUILDER_KEY_WORD, offsetof(Raw, job), 0, 0, job_names, NULL, false}, OF_ALL},
	{{"version", BUILDER_KEY_UINT32, offsetof(Raw, version), BUILDER_JOB_VERSION, BUILDER_JOB_VERSION, NULL,
	"The server and knn-builder are of different versions; install both from one package.", false}, OF_ALL},
	{{"method", BUILDER_KEY_WORD, offsetof(Raw, method), 0, 0, method_names, NULL, false}, OF_BUILD},
	{{"engine", BUILDER_KEY_WORD, offsetof(Raw, engine), 0, 0, engine_names, NULL, false}, OF_BUILD},
	{{"vectors", BUILDER_KEY_TEXT, VALUE(vectors), 0, 0, NULL, NULL, false}, OF_ALL},
	{{"ids", BUILDER_KEY_TEXT, VALUE(ids), 0, 0, NULL, NULL, false}, OF_ALL},
	{{"result", BUILDER_KEY_TEXT, VALUE(result), 0, 0, NULL, NULL, false}, OF_ALL},
	{{"dimension", BUILDER_KEY_UINT32, VALUE(dimension), 1, KNN_MAX_DIM, NULL, NULL, false}, OF_ALL},
	{{"count", BUILDER_KEY_UINT32, VALUE(count), 0, KNN_INVALID_ID - 1, NULL, NULL, false}, OF_ALL},
	{{"data_type", BUILDER_KEY_WORD, offsetof(Raw, data_type), 0, 0, data_type_names, NULL, false}, OF_ALL},
	{{"space", BUILDER_KEY_WORD, offsetof(Raw, space), 0, 0, space_names, NULL, false}, OF_ALL},
	{{"encoding", BUILDER_KEY_WORD, offsetof(Raw, encoding), 0, 0, encoding_names, NULL, false}, OF_BUILD},
	{{"m", BUILDER_KEY_UINT32, VALUE(m), 2, KNN_GRAPH_FILE_MAX_M, NULL, NULL, false}, OF_BUILD},
	{{"ef_construction", BUILDER_KEY_UINT32, VALUE(ef_construction), 1, 1000000, NULL, NULL, false}, OF_BUILD},
	{{"nlist", BUILDER_KEY_UINT32, VALUE(nlist), 1, BUILDER_MAX_NLIST, NULL, NULL, false}, OF_CLUSTER},
	{{"seed", BUILDER_KEY_DECIMAL, VALUE(seed), 0, UINT64_MAX, NULL, NULL, false}, OF_ALL},
	{{"threads", BUILDER_KEY_UINT32, VALUE(threads), 1, 1024, NULL, NULL, false}, OF_ALL},
	{{"memory_limit", BUILDER_KEY_UINT64, VALUE(memory_limit), 0, INT64_MAX - 1, NULL, NULL, false}, OF_ALL},
	{{"codes_per_page", BUILDER_KEY_UINT32, VALUE(codes_per_page), 0, 1000000, NULL, NULL, false}, OF_BUILD},
	{{"result_format", BUILDER_KEY_WORD, offsetof(Raw, result_format), 0, 0, format_names, NULL, true}, OF_BUILD},
	{{"storage", BUILDER_KEY_WORD, offsetof(Raw, storage), 0, 0, storage_names, NULL, true}, OF_BUILD},
	{{"ef_search", BUILDER_KEY_UINT32, VALUE(ef_search), 1, 1000000, NULL, NULL, true}, OF_BUILD},
	{{"graph", BUILDER_KEY_TEXT, VALUE(graph), 0, 0, NULL, NULL, true}, OF_BUILD},
	{{"codes", BUILDER_KEY_TEXT, VALUE(codes), 0, 0, NULL, NULL, true}, OF_BUILD},
};

#define NKEYS (sizeof(keys) / sizeof(keys[0]))

static bool
check_combination(const Raw *raw, builder_error *error)
{
	bool		hamming = raw->values.space == KNN_SPACE_HAMMING;
	bool		matches = raw->data_type == DATA_BINARY ? raw->values.encoding == KNN_ENCODING_BINARY :
		raw->data_type == DATA_BYTE ? raw->values.encoding == KNN_ENCODING_BYTE :
		knn_encoding_is_float(raw->values.encoding);

	if (!matches)
		return builder_refuse(error, "vectors of data type \"%s\" have no encoding \"%s\"",
							  data_type_names[raw->data_type], encoding_names[raw->encoding]);
	if ((raw->data_type == DATA_BINARY) != hamming)
		return builder_refuse(error, "vectors of data type \"%s\" have no space \"%s\"",
							  data_type_names[raw->data_type], space_names[raw->space]);
	if (raw->data_type == DATA_BINARY && raw->values.dimension % 8 != 0)
		return builder_refuse(error, "the dimension of binary vectors is %u, expected a multiple of 8",
							  raw->values.dimension);
	if (raw->values.kind == BUILDER_CLUSTER && raw->values.nlist > raw->values.count)
		return builder_refuse(error, "\"nlist\" of the job is %u, more than its %u vectors",
							  raw->values.nlist, raw->values.count);
	if (raw->values.codes && raw->data_type != DATA_FLOAT)
		return builder_refuse(error, "vectors of data type \"%s\" are their own codes",
							  data_type_names[raw->data_type]);
	return true;
}

/* What a result of faiss keeps of the vectors. */
static bool
check_faiss(Raw *raw, builder_error *error)
{
	static const int own[] = {STORAGE_FLOAT, STORAGE_BYTE, STORAGE_BINARY};
	static const knn_faiss_encoding encodings[] = {KNN_FAISS_FLOAT, KNN_FAISS_FP16, KNN_FAISS_INT8,
	KNN_FAISS_BITS, KNN_FAISS_NO_VECTORS};
	int			storage = raw->storage == STORAGE_UNSAID ? own[raw->data_type] : raw->storage;

	if (storage != own[raw->data_type] && storage != STORAGE_NONE &&
		!(storage == STORAGE_HALF && raw->data_type == DATA_FLOAT))
		return builder_refuse(error, "vectors of data type \"%s\" are not stored as \"%s\"",
							  data_type_names[raw->data_type], storage_names[storage]);
	raw->values.storage = encodings[storage];
	if (raw->values.result_format != BUILDER_FORMAT_FAISS)
		return true;
	/* faiss's numbers of nodes are int32 */
	if (raw->values.count > INT32_MAX)
		return builder_refuse(error, "a result of faiss has at most %d vectors, not %u", INT32_MAX, raw->values.count);
	if (raw->values.space == KNN_SPACE_L1 || raw->values.space == KNN_SPACE_LINF ||
		(raw->values.space == KNN_SPACE_COSINE && raw->data_type == DATA_BYTE))
		return builder_refuse(error, "a result of faiss has no space \"%s\" of vectors of data type \"%s\"",
							  space_names[raw->space], data_type_names[raw->data_type]);
	return true;
}

/* Keys of a kind of job, and how many. */
static size_t
keys_of(builder_job_kind kind, builder_key *of_kind)
{
	size_t		n = 0;

	for (size_t i = 0; i < NKEYS; i++)
	{
		if (keys[i].jobs & 1 << kind)
			of_kind[n++] = keys[i].key;
	}
	return n;
}

/* What an object says it is; of one that says nothing known, the keys will tell. */
static builder_job_kind
kind_of(struct json_object *object)
{
	struct json_object *name;

	if (json_object_is_type(object, json_type_object) &&
		json_object_object_get_ex(object, "job", &name) &&
		json_object_is_type(name, json_type_string) &&
		strcmp(json_object_get_string(name), job_names[BUILDER_CLUSTER]) == 0)
		return BUILDER_CLUSTER;
	return BUILDER_BUILD;
}

/* What words stand for. */
static void
take_words(Raw *raw)
{
	builder_job *job = &raw->values;

	job->kind = (builder_job_kind) raw->job;
	job->space = (knn_space) (raw->space + 1);
	job->encoding = (knn_encoding) (raw->encoding + 1);
	if (job->kind == BUILDER_CLUSTER)
		job->encoding = raw->data_type == DATA_BINARY ? KNN_ENCODING_BINARY :
			raw->data_type == DATA_BYTE ? KNN_ENCODING_BYTE : KNN_ENCODING_ROTATED_8;
	job->result_format = (builder_format) raw->result_format;
}

const char *
builder_job_name(builder_job_kind kind)
{
	return job_names[kind];
}

bool
builder_job_read(builder_job *job, struct json_object *object, builder_error *error)
{
	Raw			raw;
	builder_key of_kind[NKEYS];
	size_t		n = keys_of(kind_of(object), of_kind);

	memset(error, 0, sizeof(*error));
	memset(&raw, 0, sizeof(raw));
	error->code = BUILDER_BAD_JOB;
	raw.storage = STORAGE_UNSAID;
	raw.values.ef_search = DEFAULT_EF_SEARCH;
	/* of another version: no other difference is of interest then */
	if (builder_json_read(object, of_kind, n, "job", &raw, error))
	{
		take_words(&raw);
		if (check_combination(&raw, error) && check_faiss(&raw, error))
		{
			*job = raw.values;
			return true;
		}
	}
	builder_job_free(&raw.values);
	return false;
}

struct json_object *
builder_job_object(const char *text, size_t length, builder_error *error)
{
	memset(error, 0, sizeof(*error));
	error->code = BUILDER_BAD_JOB;
	if (length > BUILDER_JOB_BYTES)
	{
		builder_refuse(error, "the job is longer than %d bytes", BUILDER_JOB_BYTES);
		return NULL;
	}
	return builder_json_parse(text, length, DEPTH, "job", error);
}

bool
builder_job_parse(builder_job *job, const char *text, size_t length, builder_error *error)
{
	struct json_object *object = builder_job_object(text, length, error);
	bool		ok = object != NULL && builder_job_read(job, object, error);

	json_object_put(object);
	return ok;
}

void
builder_job_free(builder_job *job)
{
	free(job->vectors);
	free(job->ids);
	free(job->result);
	free(job->graph);
	free(job->codes);
	job->vectors = job->ids = job->result = job->graph = job->codes = NULL;
}
