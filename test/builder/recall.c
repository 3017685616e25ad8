/*
 * recall.c
 *		The graphs that jobs result in, and the recall of searches; see recall.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph_search.h"
#include "folder.h"
#include "recall.h"
#include "vectors.h"

#define K 10
#define QUERY_SEED 77

/* ---- reading ---- */

static bool
read_result(Graph *g, const Job *job, const uint8_t *rows)
{
	memset(g, 0, sizeof(*g));
	g->job = job;
	g->rows = rows;
	g->ours.allocator = knn_malloc_allocator;
	g->bytes = folder_read("r", &g->size);
	if (g->bytes == NULL)
		snprintf(g->problem, sizeof(g->problem), "there is no result");
	return g->bytes != NULL;
}

bool
graph_open(Graph *g, const Job *job, const uint8_t *rows)
{
	if (!read_result(g, job, rows))
		return false;
	if (knn_graph_file_open(&g->ours, g->bytes, g->size) == KNN_OK)
		return true;
	snprintf(g->problem, sizeof(g->problem), "the result is refused: %s", g->ours.problem);
	return false;
}

bool
graph_open_faiss(Graph *g, const Job *job, const uint8_t *rows)
{
	knn_faiss_error error;

	if (!read_result(g, job, rows))
		return false;
	if (knn_faiss_parse(g->bytes, g->size, &g->faiss, &error))
		return true;
	snprintf(g->problem, sizeof(g->problem), "the result is refused at %zu: %s", error.offset, error.message);
	return false;
}

void
graph_close(Graph *g)
{
	knn_graph_file_free(&g->ours);
	free(g->bytes);
}

/* ---- searches ---- */

static float
distance_of(const Graph *g, uint32_t vector)
{
	return vectors_distance(g->job, g->rows + vectors_row_bytes(g->job) * vector, g->query);
}

static uint32_t
our_neighbours(void *state, uint32_t id, uint32_t level, uint32_t *out, bool *dead)
{
	Graph	   *g = state;
	const uint32_t *row = level == 0 ? knn_graph_file_links(&g->ours, id) :
		knn_graph_file_upper(&g->ours, id, level);

	(void) dead;
	memcpy(out, row + 1, sizeof(uint32_t) * row[0]);
	return row[0];
}

static void
our_score(void *state, const uint32_t *ids, uint32_t n, float *distance, float *error)
{
	Graph	   *g = state;

	for (uint32_t i = 0; i < n; i++)
	{
		distance[i] = distance_of(g, g->ours.old_of_new[ids[i]]);
		error[i] = 0;
	}
}

/* A list ends with the first -1. */
static uint32_t
faiss_neighbours(void *state, uint32_t id, uint32_t level, uint32_t *out, bool *dead)
{
	const knn_faiss_hnsw *h = &((Graph *) state)->faiss.hnsw;
	uint64_t	at = knn_faiss_u64(h->offsets, id);
	uint64_t	end = at + knn_faiss_u32(h->level_neighbours, level + 1);
	uint32_t	n = 0;

	(void) dead;
	for (at += knn_faiss_u32(h->level_neighbours, level); at < end && knn_faiss_i32(h->neighbours, at) >= 0; at++)
		out[n++] = knn_faiss_u32(h->neighbours, at);
	return n;
}

static void
faiss_score(void *state, const uint32_t *ids, uint32_t n, float *distance, float *error)
{
	for (uint32_t i = 0; i < n; i++)
	{
		distance[i] = distance_of(state, ids[i]);
		error[i] = 0;
	}
}

uint8_t *
recall_queries(const Job *job)
{
	return vectors_generate(job, RECALL_QUERIES, QUERY_SEED, 1);
}

/* The distance of the farthest of the k vectors nearest to the query; k <= K. */
static float
distance_of_last(const Graph *g, uint32_t k)
{
	float		nearest[K];
	uint32_t	n = 0;

	for (uint32_t i = 0; i < g->job->count; i++)
	{
		float		d = distance_of(g, i);
		uint32_t	at;

		if (n == k && d >= nearest[k - 1])
			continue;
		at = n < k ? n++ : k - 1;
		for (; at > 0 && nearest[at - 1] > d; at--)
			nearest[at] = nearest[at - 1];
		nearest[at] = d;
	}
	return nearest[k - 1];
}

/* Searches begin with a node on a level. */
static double
recall_with(Graph *g, knn_reader reader, uint32_t degree, uint32_t top, uint32_t top_level)
{
	uint8_t    *queries = recall_queries(g->job);
	uint32_t	k = g->job->count < K ? g->job->count : K;
	knn_search	s = {.allocator = knn_malloc_allocator, .reader = reader, .max_degree = degree};
	uint32_t	found = 0;

	if (knn_search_init(&s) != KNN_OK)
		abort();
	for (uint32_t q = 0; q < RECALL_QUERIES && k > 0; q++)
	{
		uint32_t	entry = top;
		float		last;

		g->query = queries + vectors_row_bytes(g->job) * q;
		last = distance_of_last(g, k);
		if (top_level > 0)
			entry = knn_search_descend(&s, entry, top_level, 1);
		if (knn_search_level(&s, &entry, 1, 0, RECALL_WIDTH) != KNN_OK)
			abort();
		for (uint32_t i = 0; i < s.nbeam && i < k; i++)
			found += s.beam[i].distance <= last;
	}
	knn_search_free(&s);
	free(queries);
	return k > 0 ? (double) found / (RECALL_QUERIES * k) : 1;
}

double
recall_of_graph(Graph *g)
{
	knn_reader	reader = {.state = g, .neighbours = our_neighbours, .score = our_score};

	return recall_with(g, reader, 2 * g->ours.m, g->ours.entry, g->ours.entry_level);
}

double
recall_of_faiss(Graph *g)
{
	const knn_faiss_hnsw *h = &g->faiss.hnsw;
	knn_reader	reader = {.state = g, .neighbours = faiss_neighbours, .score = faiss_score};

	return recall_with(g, reader, knn_faiss_u32(h->level_neighbours, 1), (uint32_t) h->entry_point,
					   (uint32_t) h->max_level);
}

double
recall_of_job(Run *run, const char *command, const Job *job, const uint8_t *rows)
{
	Graph		g;
	double		found = -1;

	run_job(run, command, job);
	if (!run_succeeded(run))
	{
		snprintf(run->problem, sizeof(run->problem), "%s", run_told(run));
		return -1;
	}
	if (!graph_open(&g, job, rows))
		snprintf(run->problem, sizeof(run->problem), "%s", g.problem);
	else if (g.ours.nodes == job->count && g.ours.unreachable <= job->count / 500)
		found = recall_of_graph(&g);
	else
		snprintf(run->problem, sizeof(run->problem), "%u nodes, %u of them cannot be reached", g.ours.nodes,
				 g.ours.unreachable);
	graph_close(&g);
	return found;
}
