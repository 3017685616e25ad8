/*
 * graph_import.c
 *		A graph in a file of faiss as one of ours; see graph_import.h.
 */
#include "core/graph_import.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/problem.h"

#define CHECK_EVERY 4096		/* nodes */

/*
 * Stored vectors may differ by half precision: each element by 2^-11 of itself, or by
 * 2^-25.  The square of that, and some more, of the square of the norm.
 */
#define STORED_RELATIVE 1e-6
#define STORED_ABSOLUTE 1e-14

/* ---- the file against the job ---- */

static const char *
metric_name(knn_faiss_metric metric)
{
	static const char *const names[] = {"inner product", "L2", "L1", "L-infinity"};

	return metric <= KNN_FAISS_LINF ? names[metric] : "unknown";
}

/*
 * Does a metric give the order of a space?  Of cosine it does where vectors are normalised,
 * which those of bytes cannot be.
 */
static bool
metric_fits(knn_faiss_metric metric, const knn_encoder *encoder)
{
	switch (encoder->space)
	{
		case KNN_SPACE_L2:
			return metric == KNN_FAISS_L2;
		case KNN_SPACE_INNER_PRODUCT:
			return metric == KNN_FAISS_INNER_PRODUCT;
		case KNN_SPACE_COSINE:
			return knn_encoding_is_float(encoder->encoding) &&
				(metric == KNN_FAISS_INNER_PRODUCT || metric == KNN_FAISS_L2);
		case KNN_SPACE_L1:
			return metric == KNN_FAISS_L1;
		case KNN_SPACE_LINF:
			return metric == KNN_FAISS_LINF;
		case KNN_SPACE_HAMMING:
			return true;		/* files of bits have no other */
	}
	return false;
}

static const char *
data_type_of(knn_encoding encoding)
{
	return encoding == KNN_ENCODING_BINARY ? "bits" : encoding == KNN_ENCODING_BYTE ? "signed bytes" : "floats";
}

static bool
storage_fits(const knn_faiss_file *file, knn_encoding encoding)
{
	knn_faiss_encoding stored = file->codes.encoding;

	if (stored == KNN_FAISS_NO_VECTORS)
		return true;
	if (encoding == KNN_ENCODING_BINARY)
		return stored == KNN_FAISS_BITS;
	if (encoding == KNN_ENCODING_BYTE)
		return stored == KNN_FAISS_INT8;
	return stored == KNN_FAISS_FLOAT || stored == KNN_FAISS_FP16 || stored == KNN_FAISS_PQ;
}

static int
check_shape(knn_import *import, uint32_t n)
{
	const knn_faiss_file *file = import->file;
	const knn_encoder *encoder = &import->graph->encoder;

	if (file->structure != KNN_FAISS_HNSW)
		return knn_refuse(import, "it has no graph");
	if (file->binary != (encoder->encoding == KNN_ENCODING_BINARY) || !storage_fits(file, encoder->encoding))
		return knn_refuse(import, "its vectors are not %s", data_type_of(encoder->encoding));
	if ((uint32_t) file->dimension != encoder->dim)
		return knn_refuse(import, "its vectors have %d dimensions, expected %u", file->dimension, encoder->dim);
	if (file->ntotal != n)
		return knn_refuse(import, "it has %llu vectors, expected %u", (unsigned long long) file->ntotal, n);
	if (!metric_fits(file->metric, encoder))
		return knn_refuse(import, "its metric %s is another one than the space's", metric_name(file->metric));
	return KNN_OK;
}

/* Each vector is there once. */
static int
check_ids(knn_import *import)
{
	const knn_allocator *allocator = &import->graph->allocator;
	const uint8_t *ids = import->file->ids;
	size_t		bytes = (size_t) import->n / 8 + 1;
	uint8_t    *seen;
	int			result = KNN_OK;

	if (!ids)
		return KNN_OK;
	seen = allocator->alloc(allocator->context, bytes);
	if (!seen)
		return KNN_ERROR_NO_MEMORY;
	memset(seen, 0, bytes);
	for (uint32_t i = 0; i < import->n; i++)
	{
		int64_t		id = knn_faiss_i64(ids, i);

		if (id < 0 || id >= import->n)
		{
			result = knn_refuse(import, "id %lld of node %u is none of the %u that were given", (long long) id, i,
								import->n);
			break;
		}
		if (seen[id / 8] & 1 << id % 8)
		{
			result = knn_refuse(import, "id %lld is that of two nodes", (long long) id);
			break;
		}
		seen[id / 8] |= (uint8_t) (1 << id % 8);
	}
	allocator->release(allocator->context, seen);
	return result;
}

/* ---- levels ---- */

/* Places at a level of the file, which may have been said to be on none. */
static uint32_t
places_at(const knn_faiss_hnsw *g, uint32_t level)
{
	return (uint32_t) (knn_faiss_i32(g->level_neighbours, level + 1) - knn_faiss_i32(g->level_neighbours, level));
}

/* Highest level of a node of the file, from 0. */
static uint32_t
level_of(const knn_faiss_hnsw *g, uint32_t i)
{
	uint32_t	level = (uint32_t) knn_faiss_i32(g->levels, i) - 1;

	return level > KNN_MAX_LEVEL ? KNN_MAX_LEVEL : level;
}

/*
 * Levels of a build hold at most as many nodes as there are at level 0 (that is m = 2),
 * and some: there is one above it if it has many nodes.  Other ones are made anew.
 */
static void
look_at_levels(knn_import *import)
{
	const knn_faiss_hnsw *g = &import->file->hnsw;
	uint64_t	items = 0;

	if (g->base_level_only || g->entry_point < 0)
		return;
	for (uint32_t i = 0; i < import->n; i++)
		items += level_of(g, i);
	if (items > (uint64_t) import->n + import->n / 4 + 64 || items > UINT32_MAX)
		return;
	if (items == 0 && import->n > 4 * import->places)
		return;
	import->leveled = true;
	import->upper_items = (uint32_t) items;
}

void
knn_import_levels(knn_import *import)
{
	const knn_faiss_hnsw *g = &import->file->hnsw;
	knn_graph  *graph = import->graph;
	uint32_t	entry = (uint32_t) g->entry_point;

	graph->nupper = 0;
	for (uint32_t i = 0; i < import->n; i++)
	{
		uint32_t	vector = knn_import_vector(import, i);

		graph->levels[vector] = (uint8_t) level_of(g, i);
		graph->upper_first[vector] = graph->nupper;
		graph->nupper += graph->levels[vector];
		/* the file's highest level is only what it says */
		if (level_of(g, i) > level_of(g, entry))
			entry = i;
	}
	graph->entry = knn_import_vector(import, entry);
	graph->entry_level = level_of(g, entry);
}

int
knn_import_begin(knn_import *import, const knn_faiss_file *file, knn_graph *graph, uint32_t n)
{
	const knn_faiss_hnsw *g = &file->hnsw;
	int			result;

	memset(import, 0, sizeof(*import));
	import->file = file;
	import->graph = graph;
	import->n = n;
	result = check_shape(import, n);
	if (result == KNN_OK)
		result = check_ids(import);
	if (result != KNN_OK)
		return result;
	for (uint32_t level = 0; level < g->level_count; level++)
	{
		if (places_at(g, level) > KNN_IMPORT_MOST_PLACES)
			return knn_refuse(import, "it has %u places for neighbours at level %u, of at most %u",
							  places_at(g, level), level, (unsigned) KNN_IMPORT_MOST_PLACES);
		if (places_at(g, level) > import->places)
			import->places = places_at(g, level);
	}
	if (import->places == 0 && n > 1)
		return knn_refuse(import, "it has no places for neighbours");
	if (n > 0)
		look_at_levels(import);
	import->full_lists = import->leveled && places_at(g, 0) <= 2 * graph->m;
	return KNN_OK;
}

/* ---- vectors ---- */

static float
stored_element(const knn_faiss_codes *codes, const uint8_t *code, uint32_t j)
{
	if (codes->encoding == KNN_FAISS_FP16)
		return knn_half_to_float((knn_half) (code[2 * j] | code[2 * j + 1] << 8));
	return knn_faiss_f32(code, j);
}

bool
knn_import_same_vector(const knn_import *import, uint32_t i, const void *row)
{
	const knn_faiss_codes *codes = &import->file->codes;
	const uint8_t *code = codes->data + codes->size * i;
	uint32_t	dim = import->graph->encoder.dim;
	const float *floats = row;
	double		norm2 = 0;
	double		difference2 = 0;

	switch (codes->encoding)
	{
		case KNN_FAISS_BITS:
			return memcmp(code, row, codes->size) == 0;
		case KNN_FAISS_INT8:
			for (uint32_t j = 0; j < dim; j++)
			{
				if ((uint8_t) (code[j] - 128) != ((const uint8_t *) row)[j])
					return false;
			}
			return true;
		case KNN_FAISS_FLOAT:
		case KNN_FAISS_FP16:
			for (uint32_t j = 0; j < dim; j++)
			{
				double		difference = (double) floats[j] - stored_element(codes, code, j);

				difference2 += difference * difference;
				norm2 += (double) floats[j] * floats[j];
			}
			/* false for what is not a number, too */
			return difference2 <= norm2 * STORED_RELATIVE + dim * STORED_ABSOLUTE;
		default:
			return true;
	}
}

/* ---- lists ---- */

int
knn_import_worker_init(knn_import_worker *worker, knn_import *import)
{
	const knn_allocator *allocator = &import->graph->allocator;
	/* links back and long ones are made with the same merger */
	uint32_t	room = import->places > 2 * import->graph->m ? import->places + 1 : 2 * import->graph->m + 1;

	memset(worker, 0, sizeof(*worker));
	worker->ids = allocator->alloc(allocator->context, sizeof(uint32_t) * (size_t) room);
	worker->list = allocator->alloc(allocator->context, sizeof(uint32_t) * (size_t) room);
	if (!worker->ids || !worker->list)
		return KNN_ERROR_NO_MEMORY;
	return knn_merger_init(&worker->merger, import->graph, room);
}

void
knn_import_worker_free(knn_import_worker *worker, knn_import *import)
{
	const knn_allocator *allocator = &import->graph->allocator;

	if (worker->ids)
		allocator->release(allocator->context, worker->ids);
	if (worker->list)
		allocator->release(allocator->context, worker->list);
	if (worker->merger.scratch.graph)
		knn_merger_free(&worker->merger);
	memset(worker, 0, sizeof(*worker));
}

static int
compare_ids(const void *a, const void *b)
{
	uint32_t	x = *(const uint32_t *) a;
	uint32_t	y = *(const uint32_t *) b;

	return x < y ? -1 : x > y;
}

/* Neighbours of a node that are others, each once and ascending, as a list. */
static void
read_list(const knn_import *import, knn_import_worker *worker, uint32_t i, uint32_t level)
{
	const knn_faiss_hnsw *g = &import->file->hnsw;
	uint64_t	first = knn_faiss_u64(g->offsets, i) +
		(uint64_t) knn_faiss_i32(g->level_neighbours, level);
	uint32_t	places = places_at(g, level);
	uint32_t   *list = worker->list;
	uint32_t	n = 0;

	for (uint32_t k = 0; k < places; k++)
	{
		int32_t		neighbour = knn_faiss_i32(g->neighbours, first + k);

		if (neighbour >= 0 && (uint32_t) neighbour != i)
			worker->ids[n++] = knn_import_vector(import, (uint32_t) neighbour);
	}
	qsort(worker->ids, n, sizeof(uint32_t), compare_ids);
	list[0] = 0;
	for (uint32_t k = 0; k < n; k++)
	{
		if (k == 0 || worker->ids[k] != worker->ids[k - 1])
			list[++list[0]] = worker->ids[k];
	}
}

static void
import_list(knn_import *import, knn_import_worker *worker, uint32_t i, uint32_t level, uint32_t *row,
			uint32_t most)
{
	const uint32_t *list = worker->list;

	read_list(import, worker, i, level);
	if (list[0] > most)
		knn_merge_lists(&worker->merger, knn_import_vector(import, i), &list, 1, most, most / 2, row);
	else
		memcpy(row, list, sizeof(uint32_t) * (1 + (size_t) list[0]));
}

void
knn_import_lists(knn_import *import, knn_import_worker *worker, uint32_t i)
{
	knn_graph  *graph = import->graph;
	uint32_t	vector = knn_import_vector(import, i);

	import_list(import, worker, i, 0, knn_graph_links(graph, vector), 2 * graph->m);
	for (uint32_t level = 1; import->leveled && level <= graph->levels[vector]; level++)
		import_list(import, worker, i, level, knn_graph_upper(graph, vector, level), graph->m);
}
