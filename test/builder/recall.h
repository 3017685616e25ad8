/*
 * recall.h
 *		The graphs that jobs result in, and the recall of searches of them.
 */
#ifndef KNN_TEST_RECALL_H
#define KNN_TEST_RECALL_H

#include "core/faiss_file.h"
#include "core/graph_file.h"
#include "run_builder.h"

/* How many queries are searched for, and how wide the searches are. */
#define RECALL_QUERIES 100
#define RECALL_WIDTH 60

/* The result of a job, in one of two forms. */
typedef struct Graph
{
	const Job  *job;
	const uint8_t *rows;		/* its vectors */
	uint8_t    *bytes;			/* the file */
	size_t		size;
	knn_graph_file ours;		/* if it is in our form */
	knn_faiss_file faiss;		/* if it is in that of faiss */
	const uint8_t *query;		/* of the search going on */
	char		problem[400];
} Graph;

/*
 * Read the result that there is.  False when it is not such a graph, and the reason is the
 * graph's problem.  graph_close() in either case.
 */
extern bool graph_open(Graph *g, const Job *job, const uint8_t *rows);
extern bool graph_open_faiss(Graph *g, const Job *job, const uint8_t *rows);
extern void graph_close(Graph *g);

/* RECALL_QUERIES queries like the vectors of a job, to be freed. */
extern uint8_t *recall_queries(const Job *job);

/* The share of the ten nearest vectors, or of all if there are fewer, that is found. */
extern double recall_of_graph(Graph *g);

/* The same for one in the form of faiss, read as faiss does. */
extern double recall_of_faiss(Graph *g);

/*
 * Run a job whose result is in our form, and search that: its recall.  -1 when the job
 * fails, or its result is not a graph of all vectors nearly all of which can be reached;
 * the run has the problem then.
 */
extern double recall_of_job(Run *run, const char *command, const Job *job, const uint8_t *rows);

#endif
