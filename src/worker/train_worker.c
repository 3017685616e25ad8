/*
 * train_worker.c
 *		The background worker that trains a model.
 *
 * It reads the sample into a file as the model's owner, with the owner's privileges
 * and row-level security, has knn-builder learn from it, checks what that has
 * written and puts it into the model's row.  Whatever goes wrong is told there.
 *
 * Reading and learning are transactions of their own, so that no snapshot is held
 * while the program works.
 */
#include "postgres.h"

#include "worker/train_worker.h"

#include "access/table.h"
#include "access/xact.h"
#include "cache/counters.h"
#include "cache/progress.h"
#include "core/faiss_file.h"
#include "executor/spi.h"
#include "job/settings.h"
#include "miscadmin.h"
#include "model/model.h"
#include "model/trainer.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
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

/* With the settings of the session that would make a difference to a build, too. */
typedef struct TrainArgument
{
	Oid			database;
	Oid			table;
	int64		run;
	int			maintenance_work_mem;
	int			threads;
	int			timeout;
} TrainArgument;

StaticAssertDecl(sizeof(TrainArgument) <= BGW_EXTRALEN, "argument of the worker is too long");

static volatile sig_atomic_t terminated = false;

/* ---- starting ---- */

int
KnnStartTrainWorker(Oid table, int64 run)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	TrainArgument argument = {MyDatabaseId, table, run, maintenance_work_mem,
		knn_index_threads, knn_builder_timeout};
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
	KnnSpoolFile file;
	int64		count;
	KnnDataType data_type;
	int			dimension;
	bool		normalise;
} Sample;

static void
write_vector(Sample *sample, Datum datum)
{
	KnnVector  *v = KnnVectorFromDatum(datum);

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
	KnnSpoolFileWrite(&sample->file, v->data, KnnVectorDataSize(v->dim, v->data_type));
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
read_sample(const KnnModel *model, KnnJob *job, Sample *sample)
{
	Oid			user;
	int			security;
	SPIPlanPtr	plan;
	Portal		portal;
	MemoryContext per_batch;

	StartTransactionCommand();
	KnnJobBegin(job);
	KnnSpoolFileBegin(&sample->file, &job->spool, KNN_TRAINER_VECTORS);
	PushActiveSnapshot(GetTransactionSnapshot());
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(model->owner, security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	KnnProgressStart("train", model->training_table, "reading vectors",
					 model->max_training_vector_count);
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
		KnnProgressUpdate(sample->count);
	} while (SPI_processed > 0);
	SPI_cursor_close(portal);
	SPI_finish();
	SetUserIdAndSecContext(user, security);
	if (!KnnSpoolFileEnd(&sample->file))
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write the vectors to \"%s\": %m", job->spool.path)));
	KnnSpoolFileClose(&sample->file);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* ---- the result ---- */

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

typedef struct Phase
{
	const char *name;			/* of the program */
	const char *shown;
} Phase;

static const Phase phases[] = {
	{"read", "handing vectors over"},
	{"cluster", "learning centroids"},
	{"codebook", "learning codebooks"},
	{"write", "writing"}
};

typedef struct Shown
{
	const KnnModel *model;
	const Phase *phase;
} Shown;

/* To pg_stat_activity, and to knn_progress where there is one. */
static void
show_progress(void *state, const char *name, uint64 done, uint64 total)
{
	Shown	   *shown = state;

	for (int i = 0; i < lengthof(phases); i++)
	{
		const Phase *phase = &phases[i];
		char		step[64] = "";
		char	   *activity;

		if (strcmp(phase->name, name) != 0)
			continue;
		if (phase != shown->phase)
			KnnProgressPhase(phase->shown, total);
		KnnProgressUpdate(done);
		shown->phase = phase;
		if (total > 0)
			snprintf(step, sizeof(step), ", step " UINT64_FORMAT " of " UINT64_FORMAT, done, total);
		activity = psprintf("training: %s%s; model \"%s\"", phase->shown, step, shown->model->model_id);
		pgstat_report_activity(STATE_RUNNING, activity);
		pfree(activity);
		return;
	}
	/* a phase of a newer program: nobody misses it */
}

static void
learn(KnnModel *model, KnnJob *job, const Sample *sample)
{
	MemoryContext context = CurrentMemoryContext;
	KnnTraining training;
	Shown		shown = {model, NULL};
	Oid			user;
	int			security;

	training.count = sample->count;
	training.dimension = sample->dimension;
	training.data_type = KnnDataTypeName(sample->data_type == KNN_DATA_HALF ? KNN_DATA_FLOAT :
										 sample->data_type);
	training.space = model->space_type;
	training.method = JsonbToCString(NULL, &model->method->root, VARSIZE(model->method));
	pgstat_report_activity(STATE_RUNNING, psprintf("training; model \"%s\"", model->model_id));
	StartTransactionCommand();
	/* the report is the owner's */
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(model->owner, security | SECURITY_LOCAL_USERID_CHANGE);
	KnnProgressStart("train", model->training_table, phases[0].shown, 0);
	SetUserIdAndSecContext(user, security);
	MemoryContextSwitchTo(context);
	model->model_blob = KnnRunTraining(job, &training, show_progress, &shown);
	check_result(model, model->model_blob);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

static void
train(KnnModel *model, KnnJob *job)
{
	MemoryContext context = CurrentMemoryContext;
	Sample		sample = {0};

	sample.dimension = model->dimension;
	for (int i = KNN_DATA_FLOAT; i <= KNN_DATA_BINARY; i++)
	{
		if (strcmp(model->data_type, KnnDataTypeName((KnnDataType) i)) == 0)
			sample.data_type = (KnnDataType) i;
	}
	sample.normalise = strcmp(model->space_type, KnnSpaceName(KNN_SPACE_COSINE)) == 0;
	pgstat_report_activity(STATE_RUNNING,
						   psprintf("training: reading vectors; model \"%s\"", model->model_id));
	read_sample(model, job, &sample);
	MemoryContextSwitchTo(context);
	learn(model, job, &sample);
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

static void
append_sentence(StringInfo text, const char *sentence)
{
	if (sentence == NULL)
		return;
	appendStringInfo(text, "%s %s", text->data[text->len - 1] == '.' ? "" : ".", sentence);
}

/* What became of it, from an error: there is no other place for all of it. */
static char *
failure(const ErrorData *edata)
{
	StringInfoData text;

	if (terminated)
		return pstrdup("Training was terminated by administrator command");
	if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
		return pstrdup("Training was cancelled");
	initStringInfo(&text);
	appendStringInfo(&text, "Failed to execute training. %s", edata->message);
	append_sentence(&text, edata->detail);
	append_sentence(&text, edata->hint);
	return text.data;
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
use_settings(const TrainArgument *argument)
{
	const struct
	{
		const char *name;
		int			value;
	}			settings[] = {
		{"maintenance_work_mem", argument->maintenance_work_mem},
		{"knn.algo_param_index_thread_qty", argument->threads},
		{"knn.builder_timeout", argument->timeout}
	};

	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION);
	/* in the table's order, whatever else goes on */
	SetConfigOption("synchronize_seqscans", "off", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("max_parallel_workers_per_gather", "0", PGC_USERSET, PGC_S_SESSION);
	for (int i = 0; i < lengthof(settings); i++)
	{
		char		value[16];

		snprintf(value, sizeof(value), "%d", settings[i].value);
		SetConfigOption(settings[i].name, value, PGC_USERSET, PGC_S_SESSION);
	}
}

void
knn_train_worker_main(Datum arg)
{
	TrainArgument argument;
	MemoryContext context;
	KnnModel   *volatile model = NULL;
	char	   *volatile error = NULL;
	KnnJob	   *job;

	memcpy(&argument, MyBgworkerEntry->bgw_extra, sizeof(argument));
	pqsignal(SIGINT, StatementCancelHandler);
	pqsignal(SIGTERM, handle_sigterm);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(argument.database, InvalidOid, 0);
	use_settings(&argument);

	context = AllocSetContextCreate(TopMemoryContext, "knn training", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	job = KnnJobCreate();
	StartTransactionCommand();
	KnnHoldTraining(argument.run);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	before_shmem_exit(KnnJobCleanup, PointerGetDatum(job));

	PG_TRY();
	{
		model = wait_for_row(&argument);
		if (model != NULL)
		{
			KnnCount(KNN_COUNT_TRAINING, 1);
			train(model, job);
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
	KnnJobCleanup(0, PointerGetDatum(job));
	if (model != NULL)
		record(argument.table, model, error);
	RESUME_INTERRUPTS();
	proc_exit(0);
}
