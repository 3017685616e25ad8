/*
 * trainer.h
 *		Training by the program knn-builder.
 */
#ifndef KNN_MODEL_TRAINER_H
#define KNN_MODEL_TRAINER_H

#include "postgres.h"

#include "job/job.h"

/* The file of the job's spool that has the vectors: see builder/train.cpp. */
#define KNN_TRAINER_VECTORS "vectors.knnvec"

typedef struct KnnTraining
{
	int64		count;			/* of vectors */
	int			dimension;
	const char *data_type;		/* "float", "byte", "binary" */
	const char *space;
	const char *method;			/* JSON, with all parameters */
} KnnTraining;

/* ERROR unless the programs are installed, as far as the server can tell. */
extern void KnnCheckTrainer(void);

/*
 * Trains, with the vectors in the spool of a job that has begun; progress is told as
 * KnnJobRun tells it.  Returns the file that was learned, palloc'd; nothing of it is
 * checked.  ERROR with what the program says when it fails, or with what it did
 * instead; its detail and hint are sentences.
 */
extern bytea *KnnRunTraining(KnnJob *job, const KnnTraining *training,
							 KnnJobProgress progress, void *state);

#endif
