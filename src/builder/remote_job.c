/*
 * remote_job.c
 *		The job of `knn-builder remote`, and the texts of the protocol; see remote_job.h.
 */
#include "builder/remote_job.h"

#include <json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/http_text.h"
#include "builder/json_keys.h"
#include "builder/secrets.h"

#define DEPTH 4					/* of objects in an answer */
#define DAY (24 * 3600)

/* ---- the job ---- */

typedef struct Raw
{
	builder_remote_job job;
	struct json_object *repository;
	int			type;
	int			credentials;
} Raw;

#define FIELD(name) offsetof(Raw, job.name)
#define TEXT(name, where, optional) {name, BUILDER_KEY_TEXT, FIELD(where), 0, 0, NULL, NULL, optional}
#define FLAG(name, where, optional) {name, BUILDER_KEY_BOOL, FIELD(where), 0, 0, NULL, NULL, optional}

static const builder_key remote_keys[] = {
	TEXT("endpoint", endpoint, false),
	TEXT("username", username, true),
	TEXT("password", password, true),
	TEXT("ca_file", ca_file, true),
	{"poll_interval", BUILDER_KEY_REAL, FIELD(poll_interval), 0, DAY, NULL, NULL, false},
	{"timeout", BUILDER_KEY_REAL, FIELD(timeout), 0, 366 * DAY, NULL, NULL, false},
	{"tenant_id", BUILDER_KEY_ANY_TEXT, FIELD(tenant_id), 0, 0, NULL, NULL, true},
	TEXT("object", object, false),
	FLAG("keep_objects", keep_objects, false),
	FLAG("fp16_storage", fp16_storage, false),
	FLAG("skip_stored_vectors", skip_stored_vectors, false),
	{"repository", BUILDER_KEY_OBJECT, offsetof(Raw, repository), 0, 0, NULL, NULL, false},
};

static const char *const type_names[] = {"s3", "file", NULL};
static const char *const credentials_names[] = {"given", "instance", NULL};

static const builder_key repository_keys[] = {
	{"type", BUILDER_KEY_WORD, offsetof(Raw, type), 0, 0, type_names, NULL, false},
	TEXT("container", repository.container, false),
	TEXT("region", repository.region, true),
	TEXT("endpoint", repository.endpoint, true),
	FLAG("path_style", repository.path_style, true),
	{"credentials", BUILDER_KEY_WORD, offsetof(Raw, credentials), 0, 0, credentials_names, NULL, true},
	TEXT("access_key", repository.access_key, true),
	TEXT("secret_key", repository.secret_key, true),
	TEXT("session_token", repository.session_token, true),
	TEXT("ca_file", repository.ca_file, true),
	{"connections", BUILDER_KEY_UINT32, FIELD(repository.connections), 0, BUILDER_CONNECTIONS_MAX,
	NULL, NULL, true},
};

#define COUNT(array) (sizeof(array) / sizeof(array[0]))

static bool
is_float(const builder_job *job)
{
	return knn_encoding_is_float(job->encoding);
}

static bool
check(builder_remote_job *job, builder_error *error)
{
	size_t		length;

	if (!builder_endpoint_is_good(job->endpoint, &length))
	{
		builder_error_set(error, BUILDER_BAD_JOB,
						  "the endpoint of the build service is no URL of http or https");
		snprintf(error->hint, sizeof(error->hint),
				 "Expected is http:// or https:// with a host, perhaps a port and a path, and nothing else.");
		return false;
	}
	job->endpoint[length] = '\0';
	if (job->build.graph || job->build.result_format != BUILDER_FORMAT_GRAPH)
		return builder_error_set(error, BUILDER_BAD_JOB,
								 "a remote build has a graph neither before it nor of faiss as its result");
	if (job->password && !job->username)
		return builder_error_set(error, BUILDER_BAD_JOB,
								 "the build service has a password, but no user name");
	if (job->username && strchr(job->username, ':'))
		return builder_error_set(error, BUILDER_BAD_JOB,
								 "the user name for the build service contains a colon");
	if (job->build.space == KNN_SPACE_L1 || job->build.space == KNN_SPACE_LINF)
		return builder_error_set(error, BUILDER_BAD_JOB,
								 "build services do not know the spaces l1 and linf");
	/* faiss's inner product is not their order: bytes are not normalised */
	if (job->build.space == KNN_SPACE_COSINE && job->build.encoding == KNN_ENCODING_BYTE)
		return builder_error_set(error, BUILDER_BAD_JOB,
								 "build services do not know the space cosinesimil of bytes");
	if (job->fp16_storage && !is_float(&job->build))
		return builder_error_set(error, BUILDER_BAD_JOB,
								 "only vectors of data type \"float\" can be stored as fp16");
	return true;
}

static bool
read_remote(Raw *raw, struct json_object *object, builder_error *error)
{
	memset(error, 0, sizeof(*error));
	error->code = BUILDER_BAD_JOB;
	if (!builder_json_read(object, remote_keys, COUNT(remote_keys), "job's \"remote\"", raw, error) ||
		!builder_json_read(raw->repository, repository_keys, COUNT(repository_keys),
						   "job's \"repository\"", raw, error))
		return false;
	raw->job.repository.type = raw->type == 0 ? BUILDER_REPOSITORY_S3 : BUILDER_REPOSITORY_FILE;
	raw->job.repository.instance = raw->credentials == 1;
	if (raw->job.repository.instance &&
		(raw->job.repository.access_key || raw->job.repository.secret_key))
		return builder_error_set(error, BUILDER_BAD_JOB,
								 "the job's \"repository\" has keys besides \"credentials\": \"instance\"");
	return true;
}

bool
builder_remote_job_parse(builder_remote_job *job, const char *text, size_t length,
						 builder_error *error)
{
	struct json_object *object = builder_job_object(text, length, error);
	struct json_object *remote = NULL;
	Raw			raw;
	bool		ok = object != NULL;

	memset(&raw, 0, sizeof(raw));
	if (ok && (!json_object_is_type(object, json_type_object) ||
			   !json_object_object_get_ex(object, "remote", &remote)))
		ok = builder_error_set(error, BUILDER_BAD_JOB, "the job has no \"remote\"");
	if (ok)
	{
		/* what is left is a build job */
		remote = json_object_get(remote);
		json_object_object_del(object, "remote");
		ok = read_remote(&raw, remote, error) && builder_job_read(&raw.job.build, object, error) &&
			check(&raw.job, error);
		json_object_put(remote);
	}
	json_object_put(object);
	if (ok)
		*job = raw.job;
	else
		builder_remote_job_free(&raw.job);
	return ok;
}

void
builder_remote_job_free(builder_remote_job *job)
{
	builder_repository_options *repository = &job->repository;

	builder_job_free(&job->build);
	free(job->endpoint);
	free(job->username);
	builder_secret_free(job->password);
	free(job->ca_file);
	free(job->tenant_id);
	free(job->object);
	free((char *) repository->container);
	free((char *) repository->region);
	free((char *) repository->endpoint);
	free((char *) repository->access_key);
	builder_secret_free((char *) repository->secret_key);
	builder_secret_free((char *) repository->session_token);
	free((char *) repository->ca_file);
	memset(job, 0, sizeof(*job));
}

/* ---- the request ---- */

static const char *
data_type_of(const builder_remote_job *job)
{
	if (job->build.encoding == KNN_ENCODING_BINARY)
		return "binary";
	if (!is_float(&job->build))
		return "byte";
	return job->fp16_storage ? "half_float" : "float";
}

static const char *
space_type_of(const builder_job *job)
{
	if (job->space == KNN_SPACE_HAMMING)
		return "hamming";
	/* floats of the cosine space are normalised */
	return job->space == KNN_SPACE_L2 ? "l2" : "innerproduct";
}

/* Add a value, which is NULL where there was no memory for it. */
static bool
add(struct json_object *object, const char *name, struct json_object *value)
{
	return value != NULL && json_object_object_add(object, name, value) == 0;
}

static bool
add_text(struct json_object *object, const char *name, const char *text)
{
	return add(object, name, json_object_new_string(text));
}

static bool
add_number(struct json_object *object, const char *name, uint32_t number)
{
	return add(object, name, json_object_new_int64(number));
}

char *
builder_remote_request(const builder_remote_job *job, const char *vectors, const char *ids)
{
	const builder_job *build = &job->build;
	struct json_object *body = json_object_new_object();
	struct json_object *index = json_object_new_object();
	struct json_object *algorithm = json_object_new_object();
	char	   *text = NULL;
	bool		ok = body && index && algorithm;

	ok = ok &&
		add_text(body, "repository_type",
				 job->repository.type == BUILDER_REPOSITORY_S3 ? "s3" : "file") &&
		add_text(body, "container_name", job->repository.container) &&
		add_text(body, "vector_path", vectors) &&
		add_text(body, "doc_id_path", ids) &&
		add_text(body, "tenant_id", job->tenant_id ? job->tenant_id : "") &&
		add_number(body, "dimension", build->dimension) &&
		add_number(body, "doc_count", build->count) &&
		add_text(body, "data_type", data_type_of(job)) &&
		add_text(body, "engine", "faiss") &&
		add_text(index, "space_type", space_type_of(build)) &&
		add_text(index, "algorithm", "hnsw") &&
		add_number(algorithm, "ef_construction", build->ef_construction) &&
		add_number(algorithm, "ef_search", build->ef_search) &&
		add_number(algorithm, "m", build->m) &&
	/* services that do not know the key refuse it: only where it says something */
		(!job->skip_stored_vectors ||
		 add(body, "skip_stored_vectors", json_object_new_boolean(true)));
	if (ok)
		ok = add(index, "algorithm_parameters", json_object_get(algorithm)) &&
			add(body, "index_parameters", json_object_get(index));
	if (ok)
	{
		const char *printed = json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN |
															 JSON_C_TO_STRING_NOSLASHESCAPE);

		text = printed ? strdup(printed) : NULL;
	}
	json_object_put(algorithm);
	json_object_put(index);
	json_object_put(body);
	return text;
}

uint64_t
builder_remote_result_limit(const builder_job *job)
{
	/* vector as floats, id, level, offset; at level 0 and above it links of 4 m each */
	uint64_t	node = 4 * (uint64_t) job->dimension + 8 + 4 + 8 + 4 * (8 * (uint64_t) job->m);

	return 1024 * 1024 + 2 * node * job->count;
}

/* ---- answers ---- */

typedef struct Answer
{
	char	   *job_id;
	int			task_status;
	char	   *file_name;
	char	   *error_message;
} Answer;

static const builder_key id_keys[] = {
	{"job_id", BUILDER_KEY_TEXT, offsetof(Answer, job_id), 0, 0, NULL, NULL, false},
};

/* in the order of builder_remote_state */
static const char *const state_names[] = {"RUNNING_INDEX_BUILD", "FAILED_INDEX_BUILD",
"COMPLETED_INDEX_BUILD", NULL};

static const builder_key status_keys[] = {
	{"task_status", BUILDER_KEY_WORD, offsetof(Answer, task_status), 0, 0, state_names, NULL, false},
	{"file_name", BUILDER_KEY_ANY_TEXT, offsetof(Answer, file_name), 0, 0, NULL, NULL, true},
	{"error_message", BUILDER_KEY_ANY_TEXT, offsetof(Answer, error_message), 0, 0, NULL, NULL, true},
};

#define OF "answer of the build service"

static bool
read_answer(const char *text, size_t length, const builder_key *keys, size_t n, Answer *answer,
			builder_error *error)
{
	struct json_object *object;
	bool		ok;

	memset(error, 0, sizeof(*error));
	memset(answer, 0, sizeof(*answer));
	error->code = BUILDER_REMOTE;
	object = builder_json_parse(text, length, DEPTH, OF, error);
	ok = object != NULL && builder_json_read(object, keys, n, OF, answer, error);
	json_object_put(object);
	if (!ok && strcmp(error->code, BUILDER_REMOTE) == 0)
		snprintf(error->hint, sizeof(error->hint),
				 "Check that a build service of this protocol is at knn.remote_index_build_service_endpoint.");
	return ok;
}

static void
free_answer(Answer *answer)
{
	free(answer->job_id);
	free(answer->file_name);
	free(answer->error_message);
}

static bool
is_blank(const char *text)
{
	return text[strspn(text, " \t\r\n\f\v")] == '\0';
}

bool
builder_remote_read_id(const char *text, size_t length, char id[3 * BUILDER_REMOTE_TEXT],
					   builder_error *error)
{
	Answer		answer;
	bool		ok = read_answer(text, length, id_keys, COUNT(id_keys), &answer, error);

	if (ok && is_blank(answer.job_id))
		ok = builder_error_set(error, BUILDER_REMOTE, "the job id of the build service is blank");
	/* these would be steps in a path, encoded or not */
	else if (ok && (strcmp(answer.job_id, ".") == 0 || strcmp(answer.job_id, "..") == 0))
		ok = builder_error_set(error, BUILDER_REMOTE, "the job id of the build service is \"%s\"",
							   answer.job_id);
	else if (ok && (strlen(answer.job_id) >= BUILDER_REMOTE_TEXT ||
					!builder_url_encode(id, 3 * BUILDER_REMOTE_TEXT, answer.job_id, false)))
		ok = builder_error_set(error, BUILDER_REMOTE,
							   "the job id of the build service is longer than %d bytes",
							   BUILDER_REMOTE_TEXT - 1);
	free_answer(&answer);
	return ok;
}

/* A plain name: it is put behind the path of the vectors. */
static bool
is_result_name(const char *name)
{
	static const char ending[] = ".faiss";
	size_t		length = strlen(name);

	for (size_t i = 0; i < length; i++)
	{
		if ((unsigned char) name[i] < 0x20 || name[i] == 0x7F || name[i] == '/' || name[i] == '\\')
			return false;
	}
	return length >= sizeof(ending) && length < BUILDER_REMOTE_TEXT && name[0] != '.' &&
		strcmp(name + length - strlen(ending), ending) == 0;
}

bool
builder_remote_read_status(const char *text, size_t length, builder_remote_status *status,
						   builder_error *error)
{
	Answer		answer;
	bool		ok = read_answer(text, length, status_keys, COUNT(status_keys), &answer, error);

	memset(status, 0, sizeof(*status));
	if (ok)
		status->state = (builder_remote_state) answer.task_status;
	if (ok && status->state == BUILDER_REMOTE_COMPLETED)
	{
		if (answer.file_name == NULL || answer.file_name[0] == '\0')
			ok = builder_error_set(error, BUILDER_REMOTE,
								   "the build service completed the build, but names no file");
		else if (!is_result_name(answer.file_name))
		{
			builder_error_set(error, BUILDER_REMOTE,
							  "the build service names a file that is no result");
			builder_printable(error->detail, sizeof(error->detail), answer.file_name,
							  strlen(answer.file_name));
			snprintf(error->hint, sizeof(error->hint),
					 "Expected is a name without a path that ends in .faiss.");
			ok = false;
		}
		else
			strcpy(status->file_name, answer.file_name);
	}
	if (ok && status->state == BUILDER_REMOTE_FAILED && answer.error_message)
		builder_printable(status->message, sizeof(status->message), answer.error_message,
						  strlen(answer.error_message));
	free_answer(&answer);
	return ok;
}
