/*
 * model.c
 *		Functions for models: train, get, delete.
 *
 * A model belongs to the role that has it trained.  Roles that have that role's
 * privileges, and those of pg_read_all_data, see it; to others it does not exist,
 * but that its name is taken.  Members of the owner's role may delete it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "common/base64.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "model/model.h"
#include "model/request.h"
#include "model/trainer.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "worker/train_worker.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_train_model);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_get_model);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_delete_model);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_training_alive);

#define DEFAULT_SEARCH_SIZE	10000
#define MAX_SEARCH_SIZE		10000

/* ---- arguments ---- */

static char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static void
require_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("request did not set \"%s\"", name)));
}

static int
positive_argument(FunctionCallInfo fcinfo, int n, const char *name, int max, int missing)
{
	int			value;

	if (PG_ARGISNULL(n))
		return missing;
	value = PG_GETARG_INT32(n);
	if (value < 1 || value > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between 1 and %d, not %d", name, max, value)));
	return value;
}

/* The id given, or a random one as OpenSearch makes them: 22 characters. */
static char *
model_id_argument(FunctionCallInfo fcinfo, int n)
{
	char	   *id = text_argument(fcinfo, n);
	uint8		random[16];
	int			length;

	if (id && id[0] != '\0')
	{
		if (strlen(id) > KNN_MODEL_ID_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
					 errmsg("model id is longer than %d bytes", KNN_MODEL_ID_MAX)));
		return id;
	}
	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	id = palloc(pg_b64_enc_len(sizeof(random)) + 1);
	length = pg_b64_encode((const void *) random, sizeof(random), id,
						   pg_b64_enc_len(sizeof(random)));
	while (length > 0 && id[length - 1] == '=')
		length--;
	id[length] = '\0';
	for (char *c = id; *c; c++)
		*c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
	return id;
}

/* ---- the training table ---- */

static void
check_privileges(Oid table, AttrNumber column)
{
	if (pg_class_aclcheck(table, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		(column == InvalidAttrNumber ||
		 pg_attribute_aclcheck(table, column, GetUserId(), ACL_SELECT) != ACLCHECK_OK))
		aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(get_rel_relkind(table)),
					   get_rel_name(table));
}

/* The column of vectors: of which type it is, if it is of one. */
static void
check_column(Oid table, const char *name, const KnnModelRequest *request, Oid vector_type)
{
	HeapTuple	tuple = SearchSysCacheAttName(table, name);
	Form_pg_attribute attribute;

	if (!HeapTupleIsValid(tuple) || ((Form_pg_attribute) GETSTRUCT(tuple))->attnum < 1)
	{
		/* who may not read it does not learn its columns */
		check_privileges(table, InvalidAttrNumber);
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist", name, get_rel_name(table))));
	}
	attribute = (Form_pg_attribute) GETSTRUCT(tuple);
	check_privileges(table, attribute->attnum);
	if (getBaseType(attribute->atttypid) != vector_type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is not of type knn_vector", name)));
	if (attribute->atttypmod >= 0)
	{
		int			dimension = KnnTypmodDim(attribute->atttypmod);
		KnnDataType type = KnnTypmodDataType(attribute->atttypmod);

		if (dimension != request->dimension)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" has dimension %d, which is different from dimension specified in the training request: %d",
							name, dimension, request->dimension)));
		if (type != request->type)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" has data type %s, which is different from data type specified in the training request: %s",
							name, KnnDataTypeName(type), KnnDataTypeName(request->type))));
	}
	ReleaseSysCache(tuple);
}

static void
check_table(Oid table)
{
	char	   *name = get_rel_name(table);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", table)));
	switch (get_rel_relkind(table))
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_MATVIEW:
		case RELKIND_VIEW:
		case RELKIND_FOREIGN_TABLE:
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"%s\" is not a table", name)));
	}
	if (get_rel_persistence(table) == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot train a model from temporary table \"%s\"", name),
				 errdetail("Training runs in a background worker, which cannot read the tables of a session.")));
}

/* ---- train ---- */

/* What a training is refused for by models there are. */
static void
check_model_is_new(Relation table, const char *model_id)
{
	if (KnnFindModel(table, model_id) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("model with id=\"%s\" already exists", model_id)));
}

/* knn_train_model(model_id, training_table, training_column, dimension, method,
 *		description, max_training_vector_count, search_size, space_type, data_type,
 *		mode, compression_level) */
Datum
knn_train_model(PG_FUNCTION_ARGS)
{
	KnnModelRequest request = {0};
	KnnModel	model = {0};
	Relation	table;

	PreventCommandIfReadOnly("knn_train_model()");
	PreventCommandDuringRecovery("knn_train_model()");
	require_argument(fcinfo, 1, "training_table");
	require_argument(fcinfo, 2, "training_column");
	require_argument(fcinfo, 3, "dimension");

	request.dimension = PG_GETARG_INT32(3);
	request.method = PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4);
	request.description = PG_ARGISNULL(5) ? pstrdup("") : text_argument(fcinfo, 5);
	request.space_type = text_argument(fcinfo, 8);
	request.data_type = PG_ARGISNULL(9) ? pstrdup("float") : text_argument(fcinfo, 9);
	request.mode = text_argument(fcinfo, 10);
	request.compression_level = text_argument(fcinfo, 11);
	KnnResolveModelRequest(&request);

	model.model_id = model_id_argument(fcinfo, 0);
	model.training_table = PG_GETARG_OID(1);
	model.training_column = pstrdup(NameStr(*PG_GETARG_NAME(2)));
	model.max_training_vector_count =
		positive_argument(fcinfo, 6, "max_training_vector_count", PG_INT32_MAX, 0);
	model.search_size =
		positive_argument(fcinfo, 7, "search_size", MAX_SEARCH_SIZE, DEFAULT_SEARCH_SIZE);
	check_table(model.training_table);
	check_column(model.training_table, model.training_column, &request,
				 GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("knn_vector"),
								 ObjectIdGetDatum(get_func_namespace(fcinfo->flinfo->fn_oid))));

	model.state = KNN_MODEL_TRAINING;
	model.timestamp = GetCurrentTimestamp();
	model.owner = GetUserId();
	model.description = request.description;
	model.error = "";
	model.space_type = pstrdup(KnnSpaceName(request.space));
	model.dimension = request.dimension;
	model.engine = KNN_MODEL_ENGINE;
	model.method = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
													  CStringGetDatum(KnnModelMethodJson(&request))));
	model.data_type = pstrdup(KnnDataTypeName(request.type));
	model.mode = request.mode;
	model.compression_level = request.compression_level;
	model.model_version = KNN_MODEL_VERSION;
	if (!pg_strong_random(&model.run, sizeof(model.run)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));

	table = table_open(KnnModelTable(fcinfo), RowExclusiveLock);
	check_model_is_new(table, model.model_id);
	KnnCheckTrainer();
	if (!KnnTryTrainingSlot())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("cluster does not have capacity to train"),
				 errdetail("Another model is being trained; one can be at a time."),
				 errhint("Try again when no model is in state \"training\".")));
	/* somebody may have had it trained just now */
	check_model_is_new(table, model.model_id);
	model.trainer_pid = KnnStartTrainWorker(RelationGetRelid(table), model.run);
	KnnInsertModel(table, &model);
	table_close(table, NoLock);
	PG_RETURN_TEXT_P(cstring_to_text(model.model_id));
}

/* knn_training_alive(run): is a worker at it? */
Datum
knn_training_alive(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(KnnTrainingIsHeld(PG_GETARG_INT64(0)));
}

/* ---- get and delete ---- */

Datum
knn_get_model(PG_FUNCTION_ARGS)
{
	char	   *id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Relation	table = table_open(KnnModelTable(fcinfo), AccessShareLock);
	KnnModel   *model = KnnFindModel(table, id);

	if (model == NULL || !KnnMayUseModel(model))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" does not exist", id)));
	table_close(table, AccessShareLock);
	PG_RETURN_JSONB_P(KnnModelDocument(model, true));
}

/* Names, for a message. */
static char *
join(List *names)
{
	StringInfoData buf;
	ListCell   *cell;

	initStringInfo(&buf);
	foreach(cell, names)
		appendStringInfo(&buf, "%s%s", buf.len > 0 ? ", " : "", (char *) lfirst(cell));
	return buf.data;
}

Datum
knn_delete_model(PG_FUNCTION_ARGS)
{
	char	   *id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Relation	table;
	KnnModel   *model;
	List	   *indexes;
	StringInfoData buf;

	PreventCommandIfReadOnly("knn_delete_model()");
	PreventCommandDuringRecovery("knn_delete_model()");
	/* a training that ends meanwhile waits, as does another deletion */
	table = table_open(KnnModelTable(fcinfo), ShareRowExclusiveLock);
	model = KnnFindModel(table, id);
	if (model == NULL || !KnnMayUseModel(model))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("unable to delete model [%s]: model does not exist", id)));
	if (!superuser() && !has_privs_of_role(GetUserId(), model->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of model %s", id)));
	if (strcmp(model->state, KNN_MODEL_TRAINING) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot delete model [%s]: model is still in training", id),
				 errhint("Cancel the training with pg_cancel_backend(%d).", model->trainer_pid)));
	indexes = KnnModelIndexes(id);
	if (indexes != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot delete model [%s]: model is in use by the following indices [%s], which must be deleted first",
						id, join(indexes))));
	KnnDeleteModel(table, model);
	table_close(table, NoLock);

	initStringInfo(&buf);
	appendStringInfoString(&buf, "{\"model_id\": ");
	escape_json(&buf, id);
	appendStringInfoString(&buf, ", \"acknowledged\": true}");
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data)));
}
