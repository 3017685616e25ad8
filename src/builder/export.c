/*
 * export.c
 *		The result of a job as a file of faiss; see export.h.
 *
 * The job's own files are mapped and read forward: nothing of them is kept in memory.
 */
#include "builder/export.h"

#include <stdio.h>
#include <sys/mman.h>

#include "builder/file.h"
#include "builder/input.h"
#include "builder/memory.h"
#include "core/faiss_graph.h"

static uint32_t *
invert(const uint32_t *vectors, uint32_t n)
{
	uint32_t   *nodes = builder_alloc(sizeof(uint32_t) * (uint64_t) n);

	for (uint32_t i = 0; i < n; i++)
		nodes[vectors[i]] = i;
	return nodes;
}

void
builder_export(const builder_job *job, const knn_graph *graph, const uint32_t *vectors)
{
	uint64_t	vector_bytes = builder_row_bytes(job) * job->count;
	uint64_t	id_bytes = sizeof(uint32_t) * (uint64_t) job->count;
	bool		by_product = job->space == KNN_SPACE_INNER_PRODUCT || job->space == KNN_SPACE_COSINE;
	uint32_t   *nodes = vectors ? invert(vectors, graph->n) : NULL;
	knn_faiss_graph output = {
		.graph = graph, .vector_of_node = vectors, .node_of_vector = nodes,
		.metric = by_product ? KNN_FAISS_INNER_PRODUCT : KNN_FAISS_L2,
		.storage = job->storage, .ef_search = job->ef_search,
		.vectors = builder_map(job->vectors, vector_bytes, job->count, "vectors"),
		.ids = builder_map(job->ids, id_bytes, job->count, "ids"),
	};
	builder_file file;
	knn_graph_sink sink = {.state = &file, .write = builder_file_write};
	int			result;

	builder_file_begin(&file, job->result, knn_faiss_graph_size(&output));
	result = knn_faiss_graph_write(&output, &sink);
	if (result == KNN_ERROR_FORMAT)
	{
		builder_error error = {.code = BUILDER_BAD_INPUT};

		snprintf(error.message, sizeof(error.message), "the vectors cannot be stored as the job says");
		snprintf(error.detail, sizeof(error.detail), "In file \"%s\", %s.", job->vectors, output.problem);
		builder_fail(&error);
	}
	if (result != KNN_OK)
		builder_fail_memory();
	builder_file_end(&file);
	if (output.vectors)
		munmap((void *) output.vectors, vector_bytes);
	if (output.ids)
		munmap((void *) output.ids, id_bytes);
	builder_release(nodes);
}
