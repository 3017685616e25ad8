/*
 * allocator.h
 *		Memory contexts as the core's allocators.
 */
#ifndef KNN_AM_ALLOCATOR_H
#define KNN_AM_ALLOCATOR_H

#include "postgres.h"

#include "core/memory.h"

/* palloc and pfree of one memory context as the core's allocator. */
extern knn_allocator KnnContextAllocator(MemoryContext context);

#endif
