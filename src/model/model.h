/*
 * model.h
 *		Models: rows of the table knn_model, and trainings under way.
 *
 * The table is in the extension's schema and nobody but its owner may read it;
 * these functions read and write it for anybody, and their callers check.
 *
 * A training is known by a random number, its run.  The worker that trains holds a
 * lock on the run as long as it lives, in whatever state the row is: a row in state
 * "training" whose run nobody holds is one whose worker or server has crashed.  A
 * second lock, of the whole server, is held by the one training there may be.
 */
#ifndef KNN_MODEL_MODEL_H
#define KNN_MODEL_MODEL_H

#include "postgres.h"

#include "access/htup.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#define KNN_MODEL_TRAINING	"training"
#define KNN_MODEL_CREATED	"created"
#define KNN_MODEL_FAILED	"failed"

#define KNN_MODEL_ENGINE	"faiss"
#define KNN_MODEL_VERSION	"1.0"

/* What became of a training whose worker is gone. */
#define KNN_MODEL_CRASHED	"Training failed to complete as cluster crashed"

typedef struct KnnModel
{
	char	   *model_id;
	char	   *state;
	TimestampTz timestamp;
	Oid			owner;
	char	   *description;
	char	   *error;
	char	   *space_type;
	int			dimension;
	char	   *engine;
	Jsonb	   *method;
	char	   *data_type;
	char	   *mode;			/* NULL: not given */
	char	   *compression_level;	/* the same */
	Oid			training_table;
	char	   *training_column;
	int			max_training_vector_count;	/* 0: all */
	int			search_size;
	int64		run;
	int			trainer_pid;
	char	   *model_version;
	bytea	   *model_blob;		/* NULL: none */
	HeapTuple	tuple;			/* the row; NULL of a new one */
} KnnModel;

/* The table, beside a function of the extension, or the one that is called. */
extern Oid	KnnModelTableOf(Oid function);
extern Oid	KnnModelTable(FunctionCallInfo fcinfo);

/*
 * The row of that id, or of that run, in the current memory context; NULL when
 * there is none.  A training whose worker is gone is given as failed.
 */
extern KnnModel *KnnFindModel(Relation table, const char *model_id);
extern KnnModel *KnnFindTraining(Relation table, int64 run);

/* All rows, by id. */
extern List *KnnAllModels(Relation table);

extern void KnnInsertModel(Relation table, const KnnModel *model);
extern void KnnUpdateModel(Relation table, const KnnModel *model);
extern void KnnDeleteModel(Relation table, const KnnModel *model);

/* May the current user see and use it? */
extern bool KnnMayUseModel(const KnnModel *model);

/* As OpenSearch describes it; the blob is large. */
extern Jsonb *KnnModelDocument(const KnnModel *model, bool with_blob);

/* Names of the indexes made from it. */
extern List *KnnModelIndexes(const char *model_id);

/* Locks.  The session's are held to the end of the process, others to that of the transaction. */
extern bool KnnTryTrainingSlot(void);	/* false: another has it, or this transaction */
extern void KnnWaitForTrainingSlot(void);	/* of the session */
extern void KnnHoldTraining(int64 run); /* of the session */
extern bool KnnTrainingIsHeld(int64 run);

#endif
