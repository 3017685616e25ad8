/*
 * train_worker.h
 *		The background worker that trains a model.
 */
#ifndef KNN_WORKER_TRAIN_WORKER_H
#define KNN_WORKER_TRAIN_WORKER_H

#include "postgres.h"

/*
 * Start a worker for the training of that run, whose row in that table may come
 * later in this transaction; the worker's pid.  It waits for the server's training
 * slot, which the caller holds, and goes away when it then finds no row.
 */
extern int	KnnStartTrainWorker(Oid table, int64 run);

/* Entry point, called by name. */
extern PGDLLEXPORT void knn_train_worker_main(Datum arg);

#endif
