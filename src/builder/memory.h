/*
 * memory.h
 *		The memory of knn-builder: counted, and files in the place of memory.
 *
 * The limit of a job is on what is allocated; files that are mapped (vectors, and
 * what is spooled beside the result) are the kernel's to keep or to write out.
 */
#ifndef KNN_BUILDER_MEMORY_H
#define KNN_BUILDER_MEMORY_H

#include <stdint.h>

#include "core/memory.h"

/* Counts what it gives; safe for threads. */
extern const knn_allocator builder_allocator;

/* The most bytes that were in use at once. */
extern uint64_t builder_memory_peak(void);

/* Memory, zeroed; ends the program when there is none. */
extern void *builder_alloc(uint64_t size);
extern void builder_release(void *pointer);

/*
 * A file of zeros that is mapped, and has no name any more: "beside" is the path of
 * one in the same folder.  Ends the program with an error when it cannot be made.
 */
extern void *builder_spool(const char *beside, uint64_t size);
extern void builder_spool_end(void *bytes, uint64_t size);

#endif
