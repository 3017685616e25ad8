/*
 * serve_plan.c
 *		What a request is to knn-builder build: its memory, its files and its job.
 *
 * A build whose graph fits into the memory limit gets what that takes; a larger one
 * gets all there is and is built in parts, alone.
 */
#include <json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/build.h"
#include "builder/parts.h"
#include "builder/serve.h"

/*
 * Beside the graph: the program, buffers, the writing of the file.  --memory-limit is
 * more.
 */
#define MEMORY_BESIDE (UINT64_C(32) << 20)

static knn_encoding
encoding_of(const serve_request *request)
{
	return request->data_type == SERVE_BINARY ? KNN_ENCODING_BINARY :
		request->data_type == SERVE_BYTE ? KNN_ENCODING_BYTE : KNN_ENCODING_ROTATED_8;
}

uint64_t
serve_plan_memory(const serve_config *config, const serve_request *request)
{
	builder_job job = {.dimension = request->dimension, .count = request->doc_count,
		.m = request->m, .threads = (uint32_t) config->threads,
	.memory_limit = config->memory_limit - MEMORY_BESIDE};
	builder_input input = {.encoder.encoding = encoding_of(request)};
	uint64_t	whole = builder_memory_for(&job, &input, job.count);

	if (whole <= job.memory_limit)
		return whole + MEMORY_BESIDE;
	return builder_parts_possible(&job, &input) ? config->memory_limit : 0;
}

bool
serve_plan_files(const serve_config *config, const char *id, serve_files *files)
{
	if (snprintf(files->folder, sizeof(files->folder), "%s/%s", config->work_dir, id) >=
		(int) sizeof(files->folder))
		return false;
	snprintf(files->vectors, sizeof(files->vectors), "%s/vectors.knnvec", files->folder);
	snprintf(files->ids, sizeof(files->ids), "%s/vectors.knndid", files->folder);
	snprintf(files->result, sizeof(files->result), "%s/result.faiss", files->folder);
	return true;
}

static const char *
space_of(const serve_request *request, bool normalised)
{
	switch (request->space_type)
	{
		case SERVE_L2:
			return "l2";
		case SERVE_HAMMING:
			return "hamming";
		case SERVE_COSINESIMIL:
			return "cosinesimil";
		default:
			/* the same order, and an order that a graph is better at */
			return normalised ? "cosinesimil" : "innerproduct";
	}
}

static bool
add_text(struct json_object *job, const char *name, const char *text)
{
	return json_object_object_add(job, name, json_object_new_string(text)) == 0;
}

static bool
add_number(struct json_object *job, const char *name, uint64_t number)
{
	return json_object_object_add(job, name, json_object_new_int64((int64_t) number)) == 0;
}

char *
serve_plan_job(const serve_config *config, const serve_request *request, const serve_files *files,
			   uint64_t memory, bool normalised)
{
	/* by serve_data_type */
	static const char *const data_types[] = {"float", "float", "byte", "binary"};
	static const char *const encodings[] = {"rotated_8", "rotated_8", "byte", "binary"};
	static const char *const storages[] = {"float", "half", "byte", "binary"};
	struct json_object *job = json_object_new_object();
	char	   *text = NULL;

	if (job && add_text(job, "job", "build") && add_number(job, "version", BUILDER_JOB_VERSION) &&
		add_text(job, "method", "hnsw") && add_text(job, "engine", "cpu") &&
		add_text(job, "vectors", files->vectors) && add_text(job, "ids", files->ids) &&
		add_text(job, "result", files->result) &&
		add_number(job, "dimension", request->dimension) &&
		add_number(job, "count", request->doc_count) &&
		add_text(job, "data_type", data_types[request->data_type]) &&
		add_text(job, "space", space_of(request, normalised)) &&
		add_text(job, "encoding", encodings[request->data_type]) &&
		add_number(job, "m", request->m) &&
		add_number(job, "ef_construction", request->ef_construction) &&
		add_text(job, "seed", "42") && add_number(job, "threads", config->threads) &&
		add_number(job, "memory_limit", memory - MEMORY_BESIDE) && add_number(job, "codes_per_page", 0) &&
		add_text(job, "result_format", "faiss") &&
		add_text(job, "storage", request->skip_stored_vectors ? "none" : storages[request->data_type]) &&
		add_number(job, "ef_search", request->ef_search))
		text = strdup(json_object_to_json_string_ext(job, JSON_C_TO_STRING_PLAIN));
	json_object_put(job);
	return text;
}
