/*
 * memory.h
 *		The allocator a caller lends to the core.
 *
 * The core has no allocator of its own: inside a server process memory must
 * come from a memory context (so that an error frees it), in a program from
 * malloc.  alloc may return NULL, upon which the core returns
 * KNN_ERROR_NO_MEMORY, or may not return at all (longjmp); the core holds
 * nothing that would leak then.
 */
#ifndef KNN_CORE_MEMORY_H
#define KNN_CORE_MEMORY_H

#include <stddef.h>

typedef struct knn_allocator
{
	void	   *(*alloc) (void *context, size_t size);
	void		(*release) (void *context, void *pointer);
	void	   *context;
} knn_allocator;

enum
{
	KNN_OK = 0,
	KNN_ERROR_NO_MEMORY = -1
};

/* malloc and free */
extern const knn_allocator knn_malloc_allocator;

#endif
