/*
 * trainer.h
 *		Running the program that trains.
 */
#ifndef KNN_MODEL_TRAINER_H
#define KNN_MODEL_TRAINER_H

#include "postgres.h"

typedef struct KnnTrainerJob
{
	const char *vectors;		/* file, relative to the data directory, as the next */
	const char *result;
	int64		count;
	int			dimension;
	const char *data_type;		/* "float", "byte", "binary" */
	const char *space;
	const char *method;			/* JSON, with all parameters */
} KnnTrainerJob;

/* ERROR unless the program is installed. */
extern void KnnCheckTrainer(void);

/*
 * Train: when it returns the result is there.  ERROR with what the program says, when
 * it fails or dies.  Interrupts are served, and the program ends with an ERROR.
 */
extern void KnnRunTrainer(const KnnTrainerJob *job);

#endif
