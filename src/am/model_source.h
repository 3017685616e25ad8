/*
 * model_source.h
 *		Models as indexes are made from them.
 *
 * A model is a row of a catalog that is of a higher layer (model/model.h), and what
 * an index takes from it is a matter of this one.  So that layer registers a function
 * that finds a model by its name, and all that is done with it is done here and
 * through a structure that knows of no catalog.
 *
 * What an index takes from a model it copies into its own pages; nothing looks at the
 * model again but a rebuild.
 */
#ifndef KNN_AM_MODEL_SOURCE_H
#define KNN_AM_MODEL_SOURCE_H

#include "postgres.h"

#include "am/options.h"
#include "core/faiss_file.h"
#include "core/space.h"
#include "type/knn_vector.h"

typedef struct KnnModelSource
{
	const char *model_id;
	uint32		dim;
	knn_space	space;
	KnnDataType data_type;

	/* its method; what the method does not have is 0 */
	KnnMethod	method;
	int			m;
	int			ef_construction;
	int			ef_search;
	int			nlist;
	int			nprobes;
	KnnCodeOptions code;		/* mode, encoder and its parameters */

	/* faiss's file, in memory of the context in which the model was found */
	const void *blob;
	Size		blob_size;
} KnnModelSource;

/*
 * Finds a model, for the user that indexes are built as, in the catalog of the
 * extension that a function belongs to; ERROR when there is none, or it cannot be
 * used.  The catalog stays locked against deletions to the end of the transaction.
 */
typedef KnnModelSource *(*KnnModelFinder) (Oid function, const char *model_id);

extern void KnnRegisterModelFinder(KnnModelFinder finder);

/*
 * The model of an index that is about to be built, NULL when it has none.  ERROR also
 * when it is not one for the method.
 */
extern KnnModelSource *KnnModelOfIndex(Relation index, KnnMethod method);

/*
 * What the model's file has learned, checked against its method: a view of the blob,
 * in the current memory context.
 */
extern const knn_faiss_file *KnnModelFile(const KnnModelSource *model);

/*
 * Its centroids laid end to end, as elements of vectors (am/value.h), not rotated;
 * of length 1 under cosine.  In the current memory context.
 */
extern void *KnnModelCentroids(const KnnModelSource *model, const knn_faiss_file *file);

/* The codebooks of that, into a quantizer in memory of the current context. */
extern knn_pq *KnnModelCodebooks(const KnnModelSource *model, const knn_faiss_file *file);

#endif
