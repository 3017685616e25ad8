/*
 * memory.c
 *		The allocator for programs: malloc and free.
 */
#include "core/memory.h"

#include <stdlib.h>

static void *
malloc_alloc(void *context, size_t size)
{
	(void) context;
	return malloc(size);
}

static void
malloc_release(void *context, void *pointer)
{
	(void) context;
	free(pointer);
}

const knn_allocator knn_malloc_allocator = {malloc_alloc, malloc_release, NULL};
