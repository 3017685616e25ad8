/*
 * request.h
 *		What a model is to be: the arguments of a training, checked.
 */
#ifndef KNN_MODEL_REQUEST_H
#define KNN_MODEL_REQUEST_H

#include "postgres.h"

#include "am/options.h"
#include "type/knn_vector.h"
#include "utils/jsonb.h"

/* The longest id of a model, in bytes: that of a document of OpenSearch. */
#define KNN_MODEL_ID_MAX	512

typedef struct KnnModelRequest
{
	/* as given, NULL or 0 where not; the method stays as it is */
	char	   *space_type;
	char	   *data_type;
	char	   *mode;
	char	   *compression_level;
	char	   *description;
	Jsonb	   *method;
	int			dimension;

	/* what it comes to */
	KnnSpace	space;
	KnnDataType type;
	bool		hnsw;			/* else ivf */
	int			nlist;
	int			nprobes;
	int			m;
	int			ef_construction;
	int			ef_search;
	KnnEncoder	encoder;
	int			bits;			/* of sq and binary */
	bool		clip;
	int			pq_m;
	int			code_size;
} KnnModelRequest;

/*
 * Check all that does not depend on the table, and fill in what it comes to; ERROR
 * where it does not go together.
 */
extern void KnnResolveModelRequest(KnnModelRequest *request);

/* The method resolved, as JSON: {"name": ..., "parameters": {...}}. */
extern char *KnnModelMethodJson(const KnnModelRequest *request);

#endif
