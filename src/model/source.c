/*
 * source.c
 *		Models for the indexes that are made from them.
 *
 * LOCKS.  Who makes an index from a model locks the table knn_model as who writes to
 * it does, to the end of the transaction.  A deletion takes a lock that excludes
 * that, and then looks for indexes that name the model.  So either it sees the
 * index, which is committed by then, or the index's build does not find the model.
 *
 * Indexes are built as the owner of their table: it is the owner who must be allowed
 * to use the model, whoever creates or rebuilds the index.
 */
#include "postgres.h"

#include "model/source.h"

#include "access/table.h"
#include "am/model_source.h"
#include "model/model.h"
#include "model/request.h"

/* What the row says, which is read again as the training that wrote it was asked for. */
static void
describe(const KnnModel *model, KnnModelSource *source)
{
	KnnModelRequest request = {
		.space_type = model->space_type,
		.data_type = model->data_type,
		.mode = model->mode,
		.compression_level = model->compression_level,
		.description = model->description,
		.method = model->method,
		.dimension = model->dimension
	};

	KnnResolveModelRequest(&request);
	source->model_id = model->model_id;
	source->dim = (uint32) request.dimension;
	source->space = (knn_space) request.space;
	source->data_type = request.type;
	source->method = request.hnsw ? KNN_METHOD_HNSW : KNN_METHOD_IVF;
	if (request.hnsw)
	{
		source->m = request.m;
		source->ef_construction = request.ef_construction;
		source->ef_search = request.ef_search;
	}
	else
	{
		source->nlist = request.nlist;
		source->nprobes = request.nprobes;
	}
	source->code.encoder = request.encoder;
	source->code.bits = request.bits;
	source->code.clip = request.clip ? KNN_SWITCH_ON : KNN_SWITCH_UNSET;
	if (request.encoder == KNN_ENCODER_PQ)
	{
		source->code.pq_m = request.pq_m;
		source->code.code_size = request.code_size;
	}
	if (request.mode)
		source->code.mode = strcmp(request.mode, "on_disk") == 0 ? KNN_MODE_ON_DISK : KNN_MODE_IN_MEMORY;
}

static KnnModelSource *
find_source(Oid function, const char *model_id)
{
	Relation	table = table_open(KnnModelTableOf(function), RowExclusiveLock);
	KnnModel   *model = KnnFindModel(table, model_id);
	KnnModelSource *source = palloc0(sizeof(KnnModelSource));

	if (model == NULL || !KnnMayUseModel(model))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" does not exist", model_id)));
	if (strcmp(model->state, KNN_MODEL_CREATED) != 0 || model->model_blob == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model ID '%s' is not created", model_id),
				 errdetail("Its state is \"%s\".", model->state)));
	describe(model, source);
	source->blob = VARDATA_ANY(model->model_blob);
	source->blob_size = VARSIZE_ANY_EXHDR(model->model_blob);
	table_close(table, NoLock);
	return source;
}

void
KnnModelSourceInit(void)
{
	KnnRegisterModelFinder(find_source);
}
