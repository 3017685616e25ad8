/*
 * train_worker.c
 *		The background worker that trains a model.
 *
 * It reads the sample into a file as the model's owner, with the owner's privileges
 * and row-level security, has a program learn from it, checks what that has
 * written and puts it into the model's row.  Whatever goes wrong is told there.
 */
#include "postgres.h"

#include "worker/train_worker.h"

#include <math.h>
#include <sys/stat.h>

#include "access/table.h"
#include "access/xact.h"
#include "cache/counters.h"
#include "common/file_utils.h"
#include "core/faiss_file.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "model/model.h"
#include "model/trainer.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "type/knn_vector.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#define POLL_MS 2

/* The server removes what has such a name after a crash. */
#define SPOOL_PARENT "base/" PG_TEMP_FILES_DIR

typedef struct TrainArgument
{
	Oid			database;
	Oid			table;
	int64		run;
} TrainArgument;

static volatile sig_atomic_t terminated = false;

/* ---- starting ---- */

int
KnnStartTrainWorker(Oid table, int64 run)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	TrainArgument argument = {MyDatabaseId, table, run};
	pid_t		pid;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "knn", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "knn_train_worker_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "knn training", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "knn training", BGW_MAXLEN);
	memcpy(worker.bgw_extra, &argument, sizeof(argument));
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start a background worker for the training"),
				 errhint("You may need to increase max_worker_processes.")));

	/* until it holds its run, others would take it for a crashed one */
	while (GetBackgroundWorkerPid(handle, &pid) != BGWH_STARTED || !KnnTrainingIsHeld(run))
	{
		if (GetBackgroundWorkerPid(handle, &pid) == BGWH_STOPPED)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("the background worker for the training ended before it began"),
					 errhint("The server's log may tell more.")));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return pid;
}

/* ---- the sample ---- */

typedef struct Sample
{
	char	   *path;
	FILE	   *file;
	int64		count;
	KnnDataType data_type;
	int			dimension;
	bool		normalise;
} Sample;

static void
write_vector(Sample *sample, Datum datum)
{
	KnnVector  *v = KnnVectorFromDatum(datum);
	Size		size;

	if (v->dim != sample->dimension)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("a vector of the training table has dimension %d, which is different from dimension specified in the training request: %d",
						v->dim, sample->dimension)));
	if (v->data_type != sample->data_type)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("a vector of the training table has data type %s, which is different from data type specified in the training request: %s",
						KnnDataTypeName(v->data_type), KnnDataTypeName(sample->data_type))));
	if (v->data_type == KNN_DATA_HALF)
		v = KnnVectorConvert(v, KNN_DATA_FLOAT);
	if (sample->normalise && v->data_type == KNN_DATA_FLOAT)
	{
		double		norm = KnnVectorNorm(v);
		KnnVector  *unit;

		/* not in an index either */
		if (norm == 0)
			return;
		unit = KnnVectorAlloc(v->dim, KNN_DATA_FLOAT);
		for (int i = 0; i < v->dim; i++)
			KnnVectorFloats(unit)[i] = (float) (KnnVectorFloats(v)[i] / norm);
		v = unit;
	}
	size = KnnVectorDataSize(v->dim, v->data_type);
	if (fwrite(v->data, 1, size, sample->file) != size)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write to file \"%s\": %m", sample->path)));
	sample->count++;
}

/* The statement that reads it; its names are whatever the table's are now. */
static char *
sample_query(const KnnModel *model)
{
	char	   *name = get_rel_name(model->training_table);
	char	   *schema = name ? get_namespace_name(get_rel_namespace(model->training_table)) : NULL;
	char	   *query;

	if (schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the training table does not exist any more")));
	query = psprintf("SELECT %s FROM %s WHERE %s IS NOT NULL",
					 quote_identifier(model->training_column),
					 quote_qualified_identifier(schema, name),
					 quote_identifier(model->training_column));
	if (model->max_training_vector_count > 0)
		query = psprintf("%s LIMIT %d", query, model->max_training_vector_count);
	return query;
}

static void
read_sample(const KnnModel *model, Sample *sample)
{
	Oid			user;
	int			security;
	SPIPlanPtr	plan;
	Portal		portal;
	MemoryContext per_batch;

	StartTransactionCommand();
	sample->file = AllocateFile(sample->path, PG_BINARY_W);
	if (sample->file == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", sample->path)));
	PushActiveSnapshot(GetTransactionSnapshot());
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(model->owner, security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	SPI_connect();
	plan = SPI_prepare_cursor(sample_query(model), 0, NULL, CURSOR_OPT_NO_SCROLL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare_cursor failed: %s", SPI_result_code_string(SPI_result));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	per_batch = AllocSetContextCreate(CurrentMemoryContext, "knn training", ALLOCSET_DEFAULT_SIZES);
	do
	{
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, model->search_size);
		old = MemoryContextSwitchTo(per_batch);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			bool		isnull;
			Datum		value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

			if (!isnull)
				write_vector(sample, value);
			if (i % 64 == 63)
				MemoryContextReset(per_batch);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(per_batch);
		SPI_freetuptable(SPI_tuptable);
	} while (SPI_processed > 0);
	SPI_cursor_close(portal);
	SPI_finish();
	SetUserIdAndSecContext(user, security);
	if (FreeFile(sample->file) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write to file \"%s\": %m", sample->path)));
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* ---- the result ---- */

/* The whole file, as a bytea. */
static bytea *
read_result(const char *path)
{
	FILE	   *file = AllocateFile(path, PG_BINARY_R);
	struct stat st;
	bytea	   *data;

	if (file == NULL || fstat(fileno(file), &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path)));
	if (st.st_size > MaxAllocSize - VARHDRSZ)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the model is too large: %lld bytes", (long long) st.st_size)));
	data = palloc(st.st_size + VARHDRSZ);
	SET_VARSIZE(data, st.st_size + VARHDRSZ);
	if (fread(VARDATA(data), 1, st.st_size, file) != st.st_size)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", path)));
	FreeFile(file);
	return data;
}

/* The program is not believed: what it has written must be a model as asked for. */
static void
check_result(const KnnModel *model, const bytea *data)
{
	knn_faiss_file file;
	knn_faiss_error error;

	if (!knn_faiss_parse(VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data), &file, &error))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the trained model is not sound: %s", error.message),
				 errdetail("At byte %zu of %zu.", error.offset, (size_t) VARSIZE_ANY_EXHDR(data))));
	if (file.dimension != model->dimension || file.ntotal != 0 ||
		file.structure == KNN_FAISS_FLAT ||
		file.binary != (strcmp(model->data_type, "binary") == 0))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the trained model is not the one asked for")));
}

/* ---- the training ---- */

static void
train(KnnModel *model, const char *spool)
{
	MemoryContext context = CurrentMemoryContext;
	Sample		sample = {0};
	KnnTrainerJob job = {0};
	bytea	   *blob;

	sample.path = psprintf("%s/vectors.knnvec", spool);
	sample.dimension = model->dimension;
	for (int i = KNN_DATA_FLOAT; i <= KNN_DATA_BINARY; i++)
	{
		if (strcmp(model->data_type, KnnDataTypeName((KnnDataType) i)) == 0)
			sample.data_type = (KnnDataType) i;
	}
	sample.normalise = strcmp(model->space_type, KnnSpaceName(KNN_SPACE_COSINE)) == 0;
	pgstat_report_activity(STATE_RUNNING,
						   psprintf("reading vectors to train model \"%s\"", model->model_id));
	PathNameCreateTemporaryDir(SPOOL_PARENT, spool);
	read_sample(model, &sample);
	MemoryContextSwitchTo(context);

	job.vectors = sample.path;
	job.result = psprintf("%s/model.faiss", spool);
	job.count = sample.count;
	job.dimension = sample.dimension;
	job.data_type = KnnDataTypeName(sample.data_type == KNN_DATA_HALF ? KNN_DATA_FLOAT :
									sample.data_type);
	job.space = model->space_type;
	job.method = JsonbToCString(NULL, &model->method->root, VARSIZE(model->method));
	pgstat_report_activity(STATE_RUNNING, psprintf("training model \"%s\"", model->model_id));
	StartTransactionCommand();
	MemoryContextSwitchTo(context);
	KnnRunTrainer(&job);
	blob = read_result(job.result);
	check_result(model, blob);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	model->model_blob = blob;
}

/* Tell how it went, unless the row is gone or told otherwise. */
static void
record(Oid table_oid, const KnnModel *model, const char *error)
{
	MemoryContext context = CurrentMemoryContext;
	Relation	table;
	KnnModel   *row;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	table = table_open(table_oid, RowExclusiveLock);
	row = KnnFindTraining(table, model->run);
	if (row && strcmp(row->state, KNN_MODEL_TRAINING) == 0)
	{
		row->state = error ? KNN_MODEL_FAILED : KNN_MODEL_CREATED;
		row->error = error ? pstrdup(error) : "";
		row->model_blob = error ? NULL : model->model_blob;
		row->trainer_pid = 0;
		KnnUpdateModel(table, row);
	}
	table_close(table, NoLock);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* What became of it, from an error. */
static char *
failure(const ErrorData *edata)
{
	if (terminated)
		return pstrdup("Training was terminated by administrator command");
	if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
		return pstrdup("Training was cancelled");
	return psprintf("Failed to execute training. %s%s%s", edata->message,
					edata->detail ? ". " : "", edata->detail ? edata->detail : "");
}

/* The row, once whoever asked for it has committed; NULL when it did not. */
static KnnModel *
wait_for_row(const TrainArgument *argument)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext in_transaction;
	Relation	table;
	KnnModel   *model;

	StartTransactionCommand();
	KnnWaitForTrainingSlot();
	CommitTransactionCommand();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	table = try_table_open(argument->table, AccessShareLock);
	in_transaction = MemoryContextSwitchTo(context);
	model = table ? KnnFindTraining(table, argument->run) : NULL;
	MemoryContextSwitchTo(in_transaction);
	if (table)
		table_close(table, AccessShareLock);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return model;
}

/* Being terminated is an error first, so that it can be told. */
static void
handle_sigterm(SIGNAL_ARGS)
{
	terminated = true;
	StatementCancelHandler(postgres_signal_arg);
}

static void
remove_spool(int code, Datum spool)
{
	PathNameDeleteTemporaryDir(DatumGetCString(spool));
}

void
knn_train_worker_main(Datum arg)
{
	TrainArgument argument;
	MemoryContext context;
	KnnModel   *volatile model = NULL;
	char	   *volatile error = NULL;
	char	   *spool;

	memcpy(&argument, MyBgworkerEntry->bgw_extra, sizeof(argument));
	pqsignal(SIGINT, StatementCancelHandler);
	pqsignal(SIGTERM, handle_sigterm);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(argument.database, InvalidOid, 0);
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION);
	/* in the table's order, whatever else goes on */
	SetConfigOption("synchronize_seqscans", "off", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("max_parallel_workers_per_gather", "0", PGC_USERSET, PGC_S_SESSION);

	context = AllocSetContextCreate(TopMemoryContext, "knn training", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	spool = psprintf(SPOOL_PARENT "/" PG_TEMP_FILE_PREFIX "_knn_train_%d", MyProcPid);
	StartTransactionCommand();
	KnnHoldTraining(argument.run);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	before_shmem_exit(remove_spool, CStringGetDatum(spool));

	PG_TRY();
	{
		model = wait_for_row(&argument);
		if (model != NULL)
		{
			KnnCount(KNN_COUNT_TRAINING, 1);
			train(model, spool);
		}
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(context);
		error = failure(edata);
		QueryCancelPending = false;
		if (model != NULL)
			KnnCount(KNN_COUNT_TRAINING_ERROR, 1);
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();

	/* from here on it is decided, and told in no time */
	HOLD_INTERRUPTS();
	if (model != NULL)
		record(argument.table, model, error);
	RESUME_INTERRUPTS();
	proc_exit(0);
}
