/*
 * faiss_graph.c
 *		An HNSW graph as a file of faiss; see faiss_graph.h.
 */
#include "core/faiss_graph.h"

#include <math.h>
#include <stdio.h>

#include "core/faiss_writer.h"

#define WRITE_AT_ONCE ((size_t) 1 << 16)
#define CHECK_EVERY 4096		/* nodes */

/* The longest of faiss's tables is that of m = 2; ours may reach one level more. */
#define MOST_LEVELS 64

/*
 * What faiss's constructor computes for an m (HNSW::set_default_probas): the
 * probability of each level, and the places for neighbours below it.
 */
typedef struct Table
{
	uint32_t	count;
	double		probability[MOST_LEVELS];
	uint32_t	places[MOST_LEVELS + 1];
} Table;

static void
make_table(Table *table, const knn_graph *graph)
{
	float		mult = (float) (1.0 / log((double) graph->m));

	table->places[0] = 0;
	for (table->count = 0; table->count < MOST_LEVELS; table->count++)
	{
		uint32_t	level = table->count;
		float		p = expf(-(float) level / mult) * (1 - expf(-1 / mult));

		/* at least as many as there are in this graph */
		if (p < 1e-9f && (graph->n == 0 || level > graph->entry_level))
			break;
		table->probability[level] = p;
		table->places[level + 1] = table->places[level] + (level == 0 ? 2 : 1) * graph->m;
	}
}

static uint32_t
node_of(const knn_faiss_graph *g, uint32_t vector)
{
	return g->node_of_vector ? g->node_of_vector[vector] : vector;
}

static void
pause_at(const knn_graph *graph, uint32_t i)
{
	if (graph->check && i % CHECK_EVERY == 0)
		graph->check();
}

/* ---- the graph ---- */

/* Neighbours, then -1 up to the places there are. */
static void
put_list(knn_writer *w, const knn_faiss_graph *g, const uint32_t *row, uint32_t places)
{
	for (uint32_t i = 1; i <= row[0]; i++)
		knn_put_u32(w, g->vector_of_node ? g->vector_of_node[row[i]] : row[i]);
	for (uint32_t i = row[0]; i < places; i++)
		knn_put_u32(w, UINT32_MAX);
}

static uint64_t
all_places(const knn_graph *graph)
{
	return (uint64_t) graph->n * 2 * graph->m + (uint64_t) graph->nupper * graph->m;
}

static void
put_nodes(knn_writer *w, const knn_faiss_graph *g, const Table *table)
{
	const knn_graph *graph = g->graph;
	uint64_t	offset = 0;

	knn_put_u64(w, graph->n);
	for (uint32_t v = 0; v < graph->n; v++)
		knn_put_u32(w, (uint32_t) graph->levels[node_of(g, v)] + 1);
	knn_put_u64(w, (uint64_t) graph->n + 1);
	knn_put_u64(w, 0);
	for (uint32_t v = 0; v < graph->n; v++)
	{
		offset += table->places[graph->levels[node_of(g, v)] + 1];
		knn_put_u64(w, offset);
	}
	knn_put_u64(w, offset);
	for (uint32_t v = 0; v < graph->n; v++)
	{
		uint32_t	node = node_of(g, v);

		pause_at(graph, v);
		put_list(w, g, knn_graph_links(graph, node), 2 * graph->m);
		for (uint32_t level = 1; level <= graph->levels[node]; level++)
			put_list(w, g, knn_graph_upper(graph, node, level), graph->m);
	}
}

static void
put_graph(knn_writer *w, const knn_faiss_graph *g)
{
	const knn_graph *graph = g->graph;
	Table		table;
	uint32_t	entry = UINT32_MAX;

	make_table(&table, graph);
	knn_put_u64(w, table.count);
	for (uint32_t l = 0; l < table.count; l++)
		knn_put_f64(w, table.probability[l]);
	knn_put_u64(w, table.count + 1);
	for (uint32_t l = 0; l <= table.count; l++)
		knn_put_u32(w, table.places[l]);
	if (w->buffer)
		put_nodes(w, g, &table);
	else
		w->size += 3 * 8 + 8 + (uint64_t) graph->n * (4 + 8) + 4 * all_places(graph);
	if (graph->n > 0)
		entry = g->vector_of_node ? g->vector_of_node[graph->entry] : graph->entry;
	knn_put_u32(w, entry);
	knn_put_u32(w, graph->n > 0 ? graph->entry_level : UINT32_MAX);
	knn_put_u32(w, graph->ef_construction);
	knn_put_u32(w, g->ef_search);
	knn_put_u32(w, 1);			/* beam of the upper levels */
}

/* ---- the vectors ---- */

/* One vector as it is stored; false when that cannot be. */
static bool
put_vector(knn_writer *w, const knn_faiss_graph *g, const knn_faiss_codes *codes, const uint8_t *row,
		   uint8_t *scratch)
{
	const knn_encoder *encoder = &g->graph->encoder;
	knn_half   *halves = (knn_half *) scratch;

	switch (codes->encoding)
	{
		case KNN_FAISS_FP16:
			encoder->kernels->f32_to_f16((const float *) row, halves, encoder->dim);
			for (uint32_t i = 0; i < encoder->dim; i++)
			{
				if ((halves[i] & 0x7C00) == 0x7C00)
					return false;
			}
			break;
		case KNN_FAISS_INT8:
			for (uint32_t i = 0; i < encoder->dim; i++)
				scratch[i] = (uint8_t) (row[i] + 128);
			break;
		default:
			knn_put(w, row, (size_t) codes->size);
			return true;
	}
	knn_put(w, scratch, (size_t) codes->size);
	return true;
}

static int
put_vectors(knn_writer *w, knn_faiss_graph *g, const knn_faiss_file *file, uint64_t row_bytes)
{
	const knn_graph *graph = g->graph;
	uint8_t    *scratch;

	if (!w->buffer)
	{
		w->size += file->codes.size * graph->n;
		return KNN_OK;
	}
	scratch = graph->allocator.alloc(graph->allocator.context, (size_t) file->codes.size);
	if (!scratch)
		return KNN_ERROR_NO_MEMORY;
	for (uint32_t v = 0; v < graph->n; v++)
	{
		pause_at(graph, v);
		if (!put_vector(w, g, &file->codes, g->vectors + row_bytes * v, scratch))
		{
			snprintf(g->problem, sizeof(g->problem),
					 "vector %u has an element beyond half precision's 65504", v);
			graph->allocator.release(graph->allocator.context, scratch);
			return KNN_ERROR_FORMAT;
		}
	}
	graph->allocator.release(graph->allocator.context, scratch);
	return KNN_OK;
}

static int
put_storage(knn_writer *w, knn_faiss_graph *g, const knn_faiss_file *file)
{
	uint32_t	n = g->graph->n;
	uint64_t	dim = g->graph->encoder.dim;

	switch (g->storage)
	{
		case KNN_FAISS_NO_VECTORS:
			knn_put(w, "null", 4);
			return KNN_OK;
		case KNN_FAISS_FLOAT:
			knn_put_header(w, file, knn_faiss_flat_kind(file), n);
			knn_put_u64(w, n * dim);
			return put_vectors(w, g, file, 4 * dim);
		case KNN_FAISS_BITS:
			knn_put_header(w, file, knn_faiss_flat_kind(file), n);
			knn_put_u64(w, n * (dim / 8));
			return put_vectors(w, g, file, dim / 8);
		default:
			knn_put_header(w, file, "IxSQ", n);
			knn_put_scalar_quantizer(w, file);
			knn_put_u64(w, n * file->codes.size);
			return put_vectors(w, g, file, g->storage == KNN_FAISS_FP16 ? 4 * dim : dim);
	}
}

/* ---- the whole ---- */

static void
put_ids(knn_writer *w, const knn_faiss_graph *g)
{
	uint32_t	n = g->graph->n;

	knn_put_u64(w, n);
	if (!w->buffer)
	{
		w->size += 8 * (uint64_t) n;
		return;
	}
	for (uint32_t v = 0; v < n; v++)
		knn_put_u64(w, (uint64_t) (int64_t) knn_faiss_i32(g->ids, v));
}

static int
put_file(knn_writer *w, knn_faiss_graph *g)
{
	uint32_t	dim = g->graph->encoder.dim;
	knn_faiss_file file = {
		.binary = g->graph->encoder.encoding == KNN_ENCODING_BINARY,
		.dimension = (int32_t) dim,
		.metric = g->metric,
		.codes = {.encoding = g->storage,
			.size = g->storage == KNN_FAISS_FLOAT ? 4 * (uint64_t) dim :
			g->storage == KNN_FAISS_FP16 ? 2 * (uint64_t) dim :
			g->storage == KNN_FAISS_BITS ? dim / 8 : dim},
	};
	bool		flat = g->storage == KNN_FAISS_FLOAT || g->storage == KNN_FAISS_NO_VECTORS;
	int			result;

	knn_put_header(w, &file, file.binary ? "IBMp" : "IxMp", g->graph->n);
	knn_put_header(w, &file, file.binary ? "IBHf" : flat ? "IHNf" : "IHNs", g->graph->n);
	put_graph(w, g);
	result = put_storage(w, g, &file);
	if (result == KNN_OK)
		put_ids(w, g);
	return result;
}

uint64_t
knn_faiss_graph_size(const knn_faiss_graph *g)
{
	knn_faiss_graph counted = *g;
	knn_writer	w = {.buffer = NULL};

	(void) put_file(&w, &counted);
	return w.size;
}

int
knn_faiss_graph_write(knn_faiss_graph *g, const knn_graph_sink *sink)
{
	const knn_allocator *allocator = &g->graph->allocator;
	knn_writer	w = {.room = WRITE_AT_ONCE, .write = sink->write, .state = sink->state};
	int			result;

	g->problem[0] = '\0';
	w.buffer = allocator->alloc(allocator->context, WRITE_AT_ONCE);
	if (!w.buffer)
		return KNN_ERROR_NO_MEMORY;
	result = put_file(&w, g);
	knn_writer_flush(&w);
	allocator->release(allocator->context, w.buffer);
	return result == KNN_OK && w.failed ? KNN_ERROR_IO : result;
}
