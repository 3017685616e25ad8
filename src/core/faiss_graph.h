/*
 * faiss_graph.h
 *		An HNSW graph as a file of faiss: what faiss itself would write of one it
 *		had built of the same vectors.
 *
 *		IxMp	id map
 *		  IHNf	over floats or no vectors, IHNs over halves or signed bytes
 *		    IxF2, IxFI, IxSQ or null
 *		int64	ids[n]
 *
 * and IBMp, IBHf, IBxF or null for bits.  faiss's node i is the i-th vector, whatever
 * numbers the nodes of the graph have.  The file is written from its beginning to its
 * end; no more memory is taken than a buffer.
 */
#ifndef KNN_CORE_FAISS_GRAPH_H
#define KNN_CORE_FAISS_GRAPH_H

#include "core/faiss_file.h"
#include "core/graph_build.h"
#include "core/graph_file.h"

typedef struct knn_faiss_graph
{
	const knn_graph *graph;		/* of which shape, levels and links are looked at */
	/* both NULL where they are the same */
	const uint32_t *vector_of_node;
	const uint32_t *node_of_vector;
	knn_faiss_metric metric;	/* L2 or inner product; L2 for bits */
	knn_faiss_encoding storage; /* FLOAT or FP16 of floats, INT8 of bytes, BITS of
								 * bits; NO_VECTORS of any */
	uint32_t	ef_search;
	const uint8_t *vectors;		/* as for knn_encode, one after the other */
	const uint8_t *ids;			/* int32, little-endian, of the vectors */

	char		problem[160];	/* with KNN_ERROR_FORMAT */
} knn_faiss_graph;

/* Bytes of the file. */
extern uint64_t knn_faiss_graph_size(const knn_faiss_graph *g);

/*
 * Write it to a sink, of which vector_of_old is not looked at.  KNN_OK, KNN_ERROR_IO,
 * KNN_ERROR_NO_MEMORY, or KNN_ERROR_FORMAT when a vector cannot be stored so.
 */
extern int	knn_faiss_graph_write(knn_faiss_graph *g, const knn_graph_sink *sink);

#endif
