/*
 * remote.h
 *		Builds by a service elsewhere, through an object store.
 */
#ifndef KNN_BUILDER_REMOTE_H
#define KNN_BUILDER_REMOTE_H

#include <stddef.h>

/*
 * All of a job of `knn-builder remote`, which is freed by the caller: upload, build,
 * download, conversion.  Ends the program when something is wrong.
 */
extern void builder_remote(const char *text, size_t length);

#endif
