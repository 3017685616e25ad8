/*
 * threads.c
 *		Doing something for each of many items with several threads; see threads.h.
 */
#include "builder/threads.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "builder/memory.h"
#include "builder/output.h"

#define PROGRESS_NANOSECONDS 100000000

typedef struct Shared
{
	const builder_work *work;
	uint64_t	next;			/* item that nobody has taken */
	uint64_t	done;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	uint32_t	running;
} Shared;

typedef struct Thread
{
	Shared	   *shared;
	uint32_t	number;
	pthread_t	thread;
} Thread;

static void *
thread_main(void *argument)
{
	Thread	   *thread = argument;
	Shared	   *shared = thread->shared;
	const builder_work *work = shared->work;

	for (;;)
	{
		uint64_t	start = __atomic_fetch_add(&shared->next, work->chunk, __ATOMIC_RELAXED);
		uint64_t	end;

		if (start >= work->items)
			break;
		end = work->items - start < work->chunk ? work->items : start + work->chunk;
		for (uint64_t i = start; i < end; i++)
			work->item(work->context, thread->number, i);
		__atomic_add_fetch(&shared->done, end - start, __ATOMIC_RELAXED);
	}
	pthread_mutex_lock(&shared->lock);
	shared->running--;
	pthread_cond_signal(&shared->ended);
	pthread_mutex_unlock(&shared->lock);
	return NULL;
}

static void
tell(const builder_work *work, uint64_t done)
{
	if (work->phase)
		builder_progress(work->phase, work->base + (work->uncounted ? 0 : done), work->total);
}

static void
wait_for_all(Shared *shared)
{
	const builder_work *work = shared->work;

	pthread_mutex_lock(&shared->lock);
	while (shared->running > 0)
	{
		struct timespec until;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += PROGRESS_NANOSECONDS;
		if (until.tv_nsec >= 1000000000)
		{
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		(void) pthread_cond_timedwait(&shared->ended, &shared->lock, &until);
		pthread_mutex_unlock(&shared->lock);
		tell(work, __atomic_load_n(&shared->done, __ATOMIC_RELAXED));
		pthread_mutex_lock(&shared->lock);
	}
	pthread_mutex_unlock(&shared->lock);
}

void
builder_do(const builder_work *work)
{
	Shared		shared = {.work = work};
	Thread	   *threads = builder_alloc(sizeof(Thread) * (uint64_t) work->threads);
	uint32_t	started = 0;
	pthread_condattr_t attributes;
	int			rc = 0;

	tell(work, 0);
	pthread_mutex_init(&shared.lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&shared.ended, &attributes);
	pthread_condattr_destroy(&attributes);

	pthread_mutex_lock(&shared.lock);
	for (; started < work->threads; started++)
	{
		threads[started].shared = &shared;
		threads[started].number = started;
		rc = pthread_create(&threads[started].thread, NULL, thread_main, &threads[started]);
		if (rc != 0)
			break;
	}
	shared.running = started;
	pthread_mutex_unlock(&shared.lock);
	/* fewer than wanted will do */
	if (started == 0)
		builder_fail_with(BUILDER_OUT_OF_MEMORY, rc, "could not start a thread");
	wait_for_all(&shared);
	for (uint32_t i = 0; i < started; i++)
		pthread_join(threads[i].thread, NULL);
	pthread_cond_destroy(&shared.ended);
	pthread_mutex_destroy(&shared.lock);
	builder_release(threads);
}
