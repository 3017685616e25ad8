/*
 * threads.h
 *		Doing something for each of many items with several threads.
 */
#ifndef KNN_BUILDER_THREADS_H
#define KNN_BUILDER_THREADS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct builder_work
{
	const char *phase;			/* of the progress that is told meanwhile, or
								 * NULL for none */
	uint64_t	base;			/* items done before */
	uint64_t	total;			/* and all there are, this work's included */
	bool		uncounted;		/* but its own are none of them */
	uint32_t	threads;
	uint64_t	items;
	uint32_t	chunk;			/* items that a thread takes at once */
	void		(*item) (void *context, uint32_t thread, uint64_t item);
	void	   *context;
} builder_work;

/* Returns when all is done.  Threads are numbered from 0. */
extern void builder_do(const builder_work *work);

#endif
