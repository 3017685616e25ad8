/*
 * model.c
 *		Rows of the table knn_model.
 */
#include "postgres.h"

#include "model/model.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "common/base64.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

/* Columns, in their order. */
enum
{
	COLUMN_MODEL_ID = 1,
	COLUMN_STATE,
	COLUMN_TIMESTAMP,
	COLUMN_OWNER,
	COLUMN_DESCRIPTION,
	COLUMN_ERROR,
	COLUMN_SPACE_TYPE,
	COLUMN_DIMENSION,
	COLUMN_ENGINE,
	COLUMN_METHOD,
	COLUMN_DATA_TYPE,
	COLUMN_MODE,
	COLUMN_COMPRESSION_LEVEL,
	COLUMN_TRAINING_TABLE,
	COLUMN_TRAINING_COLUMN,
	COLUMN_MAX_TRAINING_VECTOR_COUNT,
	COLUMN_SEARCH_SIZE,
	COLUMN_RUN,
	COLUMN_TRAINER_PID,
	COLUMN_MODEL_VERSION,
	COLUMN_MODEL_BLOB,
	COLUMN_END
};

#define NCOLUMNS (COLUMN_END - 1)

/* Locks are advisory ones of a class that SQL cannot name. */
#define LOCK_CLASS		7
#define SLOT_KEY		0x6b6e6e31

/* ---- rows ---- */

Oid
KnnModelTable(FunctionCallInfo fcinfo)
{
	return KnnModelTableOf(fcinfo->flinfo->fn_oid);
}

Oid
KnnModelTableOf(Oid function)
{
	Oid			table = get_relname_relid("knn_model", get_func_namespace(function));

	if (!OidIsValid(table))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"knn_model\" does not exist in the schema of the extension knn")));
	return table;
}

static Datum
column(HeapTuple tuple, TupleDesc desc, int number, bool *isnull)
{
	return heap_getattr(tuple, number, desc, isnull);
}

static char *
text_column(HeapTuple tuple, TupleDesc desc, int number)
{
	bool		isnull;
	Datum		value = column(tuple, desc, number, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static int32
int_column(HeapTuple tuple, TupleDesc desc, int number)
{
	bool		isnull;
	Datum		value = column(tuple, desc, number, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

static KnnModel *
model_of(Relation table, HeapTuple row)
{
	TupleDesc	desc = RelationGetDescr(table);
	KnnModel   *model = palloc0(sizeof(KnnModel));
	HeapTuple	tuple = heap_copytuple(row);
	bool		isnull;
	Datum		value;

	if (desc->natts < NCOLUMNS)
		elog(ERROR, "table \"%s\" has %d columns", RelationGetRelationName(table), desc->natts);
	model->tuple = tuple;
	model->model_id = text_column(tuple, desc, COLUMN_MODEL_ID);
	model->state = text_column(tuple, desc, COLUMN_STATE);
	value = column(tuple, desc, COLUMN_TIMESTAMP, &isnull);
	model->timestamp = isnull ? 0 : DatumGetTimestampTz(value);
	value = column(tuple, desc, COLUMN_OWNER, &isnull);
	model->owner = isnull ? InvalidOid : DatumGetObjectId(value);
	model->description = text_column(tuple, desc, COLUMN_DESCRIPTION);
	model->error = text_column(tuple, desc, COLUMN_ERROR);
	model->space_type = text_column(tuple, desc, COLUMN_SPACE_TYPE);
	model->dimension = int_column(tuple, desc, COLUMN_DIMENSION);
	model->engine = text_column(tuple, desc, COLUMN_ENGINE);
	value = column(tuple, desc, COLUMN_METHOD, &isnull);
	model->method = isnull ? NULL : DatumGetJsonbPCopy(value);
	model->data_type = text_column(tuple, desc, COLUMN_DATA_TYPE);
	model->mode = text_column(tuple, desc, COLUMN_MODE);
	model->compression_level = text_column(tuple, desc, COLUMN_COMPRESSION_LEVEL);
	value = column(tuple, desc, COLUMN_TRAINING_TABLE, &isnull);
	model->training_table = isnull ? InvalidOid : DatumGetObjectId(value);
	model->training_column = text_column(tuple, desc, COLUMN_TRAINING_COLUMN);
	model->max_training_vector_count = int_column(tuple, desc, COLUMN_MAX_TRAINING_VECTOR_COUNT);
	model->search_size = int_column(tuple, desc, COLUMN_SEARCH_SIZE);
	value = column(tuple, desc, COLUMN_RUN, &isnull);
	model->run = isnull ? 0 : DatumGetInt64(value);
	model->trainer_pid = int_column(tuple, desc, COLUMN_TRAINER_PID);
	model->model_version = text_column(tuple, desc, COLUMN_MODEL_VERSION);
	value = column(tuple, desc, COLUMN_MODEL_BLOB, &isnull);
	model->model_blob = isnull ? NULL : DatumGetByteaPCopy(value);

	if (strcmp(model->state, KNN_MODEL_TRAINING) == 0 && !KnnTrainingIsHeld(model->run))
	{
		model->state = KNN_MODEL_FAILED;
		model->error = KNN_MODEL_CRASHED;
	}
	return model;
}

KnnModel *
KnnFindModel(Relation table, const char *model_id)
{
	KnnModel   *model = NULL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	/* the key's collation is "C" */
	ScanKeyInit(&key, COLUMN_MODEL_ID, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(model_id));
	list_free(RelationGetIndexList(table)); /* finds the primary key */
	scan = systable_beginscan(table, table->rd_pkindex, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		model = model_of(table, tuple);
	systable_endscan(scan);
	return model;
}

KnnModel *
KnnFindTraining(Relation table, int64 run)
{
	KnnModel   *model = NULL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, COLUMN_RUN, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(run));
	scan = systable_beginscan(table, InvalidOid, false, NULL, 1, &key);
	while (model == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
		model = model_of(table, tuple);
	systable_endscan(scan);
	return model;
}

static int
compare_ids(const ListCell *a, const ListCell *b)
{
	return strcmp(((KnnModel *) lfirst(a))->model_id, ((KnnModel *) lfirst(b))->model_id);
}

List *
KnnAllModels(Relation table)
{
	List	   *models = NIL;
	SysScanDesc scan = systable_beginscan(table, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		models = lappend(models, model_of(table, tuple));
	systable_endscan(scan);
	list_sort(models, compare_ids);
	return models;
}

static void
set_text(Datum *values, bool *nulls, int number, const char *value)
{
	nulls[number - 1] = value == NULL;
	values[number - 1] = value ? CStringGetTextDatum(value) : (Datum) 0;
}

static HeapTuple
tuple_of(Relation table, const KnnModel *model)
{
	Datum	   *values = palloc0(sizeof(Datum) * RelationGetDescr(table)->natts);
	bool	   *nulls = palloc(sizeof(bool) * RelationGetDescr(table)->natts);

	/* columns that somebody has added */
	memset(nulls, true, RelationGetDescr(table)->natts);
	memset(nulls, false, NCOLUMNS);
	set_text(values, nulls, COLUMN_MODEL_ID, model->model_id);
	set_text(values, nulls, COLUMN_STATE, model->state);
	values[COLUMN_TIMESTAMP - 1] = TimestampTzGetDatum(model->timestamp);
	values[COLUMN_OWNER - 1] = ObjectIdGetDatum(model->owner);
	set_text(values, nulls, COLUMN_DESCRIPTION, model->description);
	set_text(values, nulls, COLUMN_ERROR, model->error);
	set_text(values, nulls, COLUMN_SPACE_TYPE, model->space_type);
	values[COLUMN_DIMENSION - 1] = Int32GetDatum(model->dimension);
	set_text(values, nulls, COLUMN_ENGINE, model->engine);
	values[COLUMN_METHOD - 1] = JsonbPGetDatum(model->method);
	set_text(values, nulls, COLUMN_DATA_TYPE, model->data_type);
	set_text(values, nulls, COLUMN_MODE, model->mode);
	set_text(values, nulls, COLUMN_COMPRESSION_LEVEL, model->compression_level);
	values[COLUMN_TRAINING_TABLE - 1] = ObjectIdGetDatum(model->training_table);
	nulls[COLUMN_TRAINING_TABLE - 1] = !OidIsValid(model->training_table);
	set_text(values, nulls, COLUMN_TRAINING_COLUMN, model->training_column);
	values[COLUMN_MAX_TRAINING_VECTOR_COUNT - 1] = Int32GetDatum(model->max_training_vector_count);
	nulls[COLUMN_MAX_TRAINING_VECTOR_COUNT - 1] = model->max_training_vector_count == 0;
	values[COLUMN_SEARCH_SIZE - 1] = Int32GetDatum(model->search_size);
	values[COLUMN_RUN - 1] = Int64GetDatum(model->run);
	values[COLUMN_TRAINER_PID - 1] = Int32GetDatum(model->trainer_pid);
	nulls[COLUMN_TRAINER_PID - 1] = model->trainer_pid == 0;
	set_text(values, nulls, COLUMN_MODEL_VERSION, model->model_version);
	values[COLUMN_MODEL_BLOB - 1] = PointerGetDatum(model->model_blob);
	nulls[COLUMN_MODEL_BLOB - 1] = model->model_blob == NULL;
	return heap_form_tuple(RelationGetDescr(table), values, nulls);
}

void
KnnInsertModel(Relation table, const KnnModel *model)
{
	CatalogTupleInsert(table, tuple_of(table, model));
	CommandCounterIncrement();
}

void
KnnUpdateModel(Relation table, const KnnModel *model)
{
	CatalogTupleUpdate(table, &model->tuple->t_self, tuple_of(table, model));
	CommandCounterIncrement();
}

void
KnnDeleteModel(Relation table, const KnnModel *model)
{
	CatalogTupleDelete(table, &model->tuple->t_self);
	CommandCounterIncrement();
}

bool
KnnMayUseModel(const KnnModel *model)
{
	Oid			user = GetUserId();

	return superuser() || has_privs_of_role(user, model->owner) ||
		has_privs_of_role(user, ROLE_PG_READ_ALL_DATA);
}

/* ---- documents ---- */

static void
append_member(StringInfo buf, const char *name, const char *value)
{
	if (buf->len > 1)
		appendStringInfoString(buf, ", ");
	escape_json(buf, name);
	appendStringInfoString(buf, ": ");
	escape_json(buf, value ? value : "");
}

static char *
base64(const bytea *data)
{
	int			size = VARSIZE_ANY_EXHDR(data);
	int			room = pg_b64_enc_len(size);
	char	   *text = palloc(room + 1);
	int			length = pg_b64_encode((const void *) VARDATA_ANY(data), size, text, room);

	if (length < 0)
		elog(ERROR, "could not encode a model");
	text[length] = '\0';
	return text;
}

/* As in 2021-11-15T18:45:07.505369Z. */
static char *
utc(TimestampTz timestamp)
{
	int			zone = 0;
	char	   *text = JsonEncodeDateTime(NULL, TimestampTzGetDatum(timestamp), TIMESTAMPTZOID, &zone);
	char	   *offset = strstr(text, "+00:00");

	if (offset)
		strcpy(offset, "Z");
	return text;
}

Jsonb *
KnnModelDocument(const KnnModel *model, bool with_blob)
{
	StringInfoData buf;
	char		pid[16] = "";

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	append_member(&buf, "model_id", model->model_id);
	if (with_blob)
		append_member(&buf, "model_blob", model->model_blob ? base64(model->model_blob) : "");
	append_member(&buf, "state", model->state);
	append_member(&buf, "timestamp", utc(model->timestamp));
	append_member(&buf, "description", model->description);
	append_member(&buf, "error", model->error);
	append_member(&buf, "space_type", model->space_type);
	appendStringInfo(&buf, ", \"dimension\": %d", model->dimension);
	append_member(&buf, "engine", model->engine);
	if (strcmp(model->state, KNN_MODEL_TRAINING) == 0)
		snprintf(pid, sizeof(pid), "%d", model->trainer_pid);
	append_member(&buf, "training_node_assignment", pid);
	appendStringInfo(&buf, ", \"model_definition\": %s",
					 JsonbToCString(NULL, &model->method->root, VARSIZE(model->method)));
	append_member(&buf, "data_type", model->data_type);
	if (model->mode)
		append_member(&buf, "mode", model->mode);
	if (model->compression_level)
		append_member(&buf, "compression_level", model->compression_level);
	append_member(&buf, "model_version", model->model_version);
	appendStringInfoChar(&buf, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data)));
}

/* ---- indexes ---- */

/* Does an option say model_id=...? */
static bool
has_model(Datum reloptions, const char *model_id)
{
	ListCell   *cell;

	foreach(cell, untransformRelOptions(reloptions))
	{
		DefElem    *option = lfirst(cell);

		if (strcmp(option->defname, "model_id") == 0 && option->arg &&
			strcmp(strVal(option->arg), model_id) == 0)
			return true;
	}
	return false;
}

List *
KnnModelIndexes(const char *model_id)
{
	List	   *names = NIL;
	Relation	pg_class = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(pg_class, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	/* no other access method has such an option, or it is nobody's */
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);
		Datum		options;
		bool		isnull;

		if (form->relkind != RELKIND_INDEX && form->relkind != RELKIND_PARTITIONED_INDEX)
			continue;
		options = heap_getattr(tuple, Anum_pg_class_reloptions, RelationGetDescr(pg_class), &isnull);
		if (!isnull && has_model(options, model_id))
			names = lappend(names,
							quote_qualified_identifier(get_namespace_name(form->relnamespace),
													   NameStr(form->relname)));
	}
	systable_endscan(scan);
	table_close(pg_class, AccessShareLock);
	return names;
}

/* ---- locks ---- */

/* The training of this process; it ends with it, and so does its lock. */
static int64 held_run = 0;

/* The one of the server is of no database. */
static LOCKTAG
slot_tag(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, InvalidOid, SLOT_KEY, 0, LOCK_CLASS);
	return tag;
}

static LOCKTAG
run_tag(int64 run)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) ((uint64) run >> 32), (uint32) run, LOCK_CLASS);
	return tag;
}

bool
KnnTryTrainingSlot(void)
{
	LOCKTAG		tag = slot_tag();

	return LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_OK;
}

void
KnnWaitForTrainingSlot(void)
{
	LOCKTAG		tag = slot_tag();

	(void) LockAcquire(&tag, ExclusiveLock, true, false);
}

void
KnnHoldTraining(int64 run)
{
	LOCKTAG		tag = run_tag(run);

	(void) LockAcquire(&tag, ExclusiveLock, true, false);
	held_run = run;
}

bool
KnnTrainingIsHeld(int64 run)
{
	LOCKTAG		tag = run_tag(run);

	/* a standby knows nothing of the primary's processes */
	if (RecoveryInProgress())
		return true;
	/* by this process: the worker itself */
	if (held_run == run)
		return true;
	/* those who ask do not hinder each other */
	if (LockAcquire(&tag, ShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	(void) LockRelease(&tag, ShareLock, false);
	return false;
}
