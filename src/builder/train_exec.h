/*
 * train_exec.h
 *		knn-builder train.
 */
#ifndef KNN_BUILDER_TRAIN_EXEC_H
#define KNN_BUILDER_TRAIN_EXEC_H

/*
 * Becomes the program knn-train, which finds the job on standard input; ends with
 * an error line where there is none.
 */
extern void builder_train(void) __attribute__((noreturn));

#endif
