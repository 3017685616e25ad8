/*
 * s3_parallel.c
 *		Parts of an object on several connections; see s3.h.
 *
 * Workers take numbers of parts and end at the first failure of any; the calling thread
 * only tells the progress, and hears whether to go on.  The lock is of next, running,
 * failed and the error; ended and moved are read without it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "builder/s3.h"
#include "builder/wait.h"

typedef struct Crew
{
	s3_repository *s3;
	s3_parallel *parallel;
	pthread_mutex_t lock;
	pthread_cond_t left;		/* a worker has */
	uint32_t	next;			/* part that nobody has taken */
	uint32_t	running;		/* workers */
	bool		failed;
	bool		ended;			/* atomic: all are to end */
	builder_error error;		/* the first one */
} Crew;

static bool
goes_on(void *state)
{
	return !__atomic_load_n(&((Crew *) state)->ended, __ATOMIC_RELAXED);
}

/* The next part; false when there is none, or one has failed. */
static bool
take_part(Crew *crew, uint32_t *part)
{
	bool		more;

	pthread_mutex_lock(&crew->lock);
	more = !crew->failed && goes_on(crew) && crew->next < crew->parallel->n;
	if (more)
		*part = crew->next++;
	pthread_mutex_unlock(&crew->lock);
	return more;
}

static void
fail(Crew *crew, const builder_error *error)
{
	pthread_mutex_lock(&crew->lock);
	if (!crew->failed)
		crew->error = *error;
	crew->failed = true;
	__atomic_store_n(&crew->ended, true, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&crew->lock);
}

static void *
work(void *context)
{
	Crew	   *crew = context;
	builder_going going = {goes_on, crew};
	builder_http *http = s3_open_http(crew->s3);
	builder_error error;
	uint32_t	part;

	if (http == NULL)
	{
		builder_error_set(&error, BUILDER_OUT_OF_MEMORY, "out of memory");
		fail(crew, &error);
	}
	while (http && take_part(crew, &part))
	{
		if (!crew->parallel->one(crew->parallel->state, part, http, &going, &error))
			fail(crew, &error);
	}
	builder_http_close(http);
	pthread_mutex_lock(&crew->lock);
	crew->running--;
	pthread_cond_signal(&crew->left);
	pthread_mutex_unlock(&crew->lock);
	return NULL;
}

/* Signals are for the calling thread: it is the one that can act on them. */
static int
start(pthread_t *thread, Crew *crew)
{
	sigset_t	all;
	sigset_t	before;
	int			why;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	why = pthread_create(thread, NULL, work, crew);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return why;
}

/* Until all workers have ended. */
static void
watch(Crew *crew)
{
	s3_parallel *parallel = crew->parallel;
	builder_error error;
	struct timespec until;

	pthread_mutex_lock(&crew->lock);
	while (crew->running > 0)
	{
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += (long) (BUILDER_ASK_SECONDS * 1e9);
		if (until.tv_nsec >= 1000000000)
		{
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		(void) pthread_cond_timedwait(&crew->left, &crew->lock, &until);
		if (!goes_on(crew))
			continue;
		pthread_mutex_unlock(&crew->lock);
		if (!builder_transfer_tell(parallel->transfer,
								   __atomic_load_n(&parallel->moved, __ATOMIC_RELAXED),
								   parallel->total, &error))
			fail(crew, &error);
		pthread_mutex_lock(&crew->lock);
	}
	pthread_mutex_unlock(&crew->lock);
}

bool
s3_goes_on(void *state)
{
	const s3_parallel *parallel = state;
	builder_error ignored;

	return builder_transfer_tell(parallel->transfer,
								 __atomic_load_n(&parallel->moved, __ATOMIC_RELAXED),
								 parallel->total, &ignored);
}

bool
s3_do_parts(s3_repository *s3, s3_parallel *parallel, builder_error *error)
{
	Crew		crew = {.s3 = s3, .parallel = parallel};
	pthread_t	threads[BUILDER_CONNECTIONS_MAX];
	pthread_condattr_t attributes;
	uint32_t	wanted = parallel->n < s3->connections ? parallel->n : s3->connections;
	uint32_t	started = 0;
	int			why = 0;

	pthread_mutex_init(&crew.lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&crew.left, &attributes);
	pthread_condattr_destroy(&attributes);
	crew.running = wanted;
	while (started < wanted && (why = start(&threads[started], &crew)) == 0)
		started++;
	pthread_mutex_lock(&crew.lock);
	crew.running -= wanted - started;
	pthread_mutex_unlock(&crew.lock);
	/* fewer of them do it as well, but not none */
	if (started == 0 && wanted > 0)
	{
		crew.failed = true;
		builder_error_set(&crew.error, BUILDER_OUT_OF_MEMORY, "could not start a thread");
		builder_error_detail(&crew.error, why);
	}
	watch(&crew);
	for (uint32_t i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	pthread_cond_destroy(&crew.left);
	pthread_mutex_destroy(&crew.lock);
	if (crew.failed)
		*error = crew.error;
	return !crew.failed &&
		builder_transfer_tell(parallel->transfer, parallel->total, parallel->total, error);
}
