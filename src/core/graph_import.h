/*
 * graph_import.h
 *		A graph in a file of faiss as one of ours.
 *
 * Two kinds of files are taken:
 *
 *	HNSW	made by faiss's own build or by knn_faiss_graph_write: lists of all levels
 *	CAGRA	made on a GPU: lists of level 0 alone, with up to 4m places, and no entry
 *			point (its levels were drawn, but their lists are empty)
 *
 * The file has been read by knn_faiss_parse, so that its numbers can be followed, but
 * they may be those of other vectors, and its lists may be of any quality: links to
 * the node itself and links that are there twice are left out, and of lists that are
 * too long some links are chosen as in a build.  Levels are taken over only where they
 * can be those of a build; graph_repair.h tells what is done about the rest.
 *
 * Nodes of our graph are numbered by vector, which the file's id map tells.
 */
#ifndef KNN_CORE_GRAPH_IMPORT_H
#define KNN_CORE_GRAPH_IMPORT_H

#include "core/faiss_file.h"
#include "core/graph_build.h"
#include "core/graph_file.h"
#include "core/graph_merge.h"

/* Places of a level that a file may have: no m needs more, and lists are sorted. */
#define KNN_IMPORT_MOST_PLACES (4 * KNN_GRAPH_FILE_MAX_M)

typedef struct knn_import
{
	const knn_faiss_file *file;
	knn_graph  *graph;
	uint32_t	n;
	uint32_t	places;			/* for neighbours, at the level that has most */
	bool		leveled;		/* levels above 0 are the file's, not to be made */
	bool		full_lists;		/* level-0 lists have no more places than ours, and need
								 * no links back: they are as a build left them */
	uint32_t	upper_items;	/* of leveled */
	char		problem[200];	/* with KNN_ERROR_FORMAT */
} knn_import;

/* The scratch of one thread. */
typedef struct knn_import_worker
{
	knn_merger	merger;
	uint32_t   *ids;			/* places */
	uint32_t   *list;			/* and one more */
} knn_import_worker;

/*
 * Compare a file with what is expected: n vectors for graph->encoder, each once.
 * Of the graph, shape, encoder and allocator are set.  KNN_OK, KNN_ERROR_NO_MEMORY or
 * KNN_ERROR_FORMAT.
 */
extern int	knn_import_begin(knn_import *import, const knn_faiss_file *file,
							 knn_graph *graph, uint32_t n);

/* The vector of a node of the file. */
static inline uint32_t
knn_import_vector(const knn_import *import, uint32_t i)
{
	return import->file->ids ? (uint32_t) knn_faiss_i64(import->file->ids, i) : i;
}

/*
 * Is the stored vector of a node of the file the given one (as for knn_encode), but for
 * the precision it is stored in?  True where none is stored, or as PQ.
 */
extern bool knn_import_same_vector(const knn_import *import, uint32_t i, const void *row);

/*
 * Of a leveled import: set graph->levels and upper_first (of n each), nupper, entry and
 * entry_level.  Then graph->upper needs room for nupper lists.
 */
extern void knn_import_levels(knn_import *import);

/* KNN_OK or KNN_ERROR_NO_MEMORY; knn_import_worker_free is due in any case. */
extern int	knn_import_worker_init(knn_import_worker *worker, knn_import *import);
extern void knn_import_worker_free(knn_import_worker *worker, knn_import *import);

/*
 * Write the lists of a node of the file into the graph: level 0 and, of a leveled
 * import, those above.  All codes of the graph are there.  Any number of threads.
 */
extern void knn_import_lists(knn_import *import, knn_import_worker *worker, uint32_t i);

#endif
