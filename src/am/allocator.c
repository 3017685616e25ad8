/*
 * allocator.c
 *		Memory contexts as the core's allocators; see allocator.h.
 */
#include "postgres.h"

#include "am/allocator.h"

#include "utils/memutils.h"

static void *
context_alloc(void *context, size_t size)
{
	return MemoryContextAllocHuge((MemoryContext) context, size);
}

static void
context_release(void *context, void *pointer)
{
	pfree(pointer);
}

knn_allocator
KnnContextAllocator(MemoryContext context)
{
	return (knn_allocator) {
		context_alloc, context_release, context
	};
}
