/*
 * wait.c
 *		Time, and waiting that somebody may end; see wait.h.
 */
#include "builder/wait.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/random.h>
#include <time.h>

bool
builder_goes_on(const builder_going *going)
{
	return going == NULL || going->on == NULL || going->on(going->state);
}

double
builder_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

bool
builder_wait(double seconds, const builder_going *going)
{
	double		end = builder_now() + seconds;

	for (;;)
	{
		double		left = end - builder_now();
		struct timespec t = {0, 0};

		if (!builder_goes_on(going))
			return false;
		if (left <= 0)
			return true;
		if (left > BUILDER_ASK_SECONDS)
			left = BUILDER_ASK_SECONDS;
		t.tv_nsec = (long) (left * 1e9);
		/* a signal ends it early, and is then asked for at once */
		(void) nanosleep(&t, NULL);
	}
}

double
builder_random(void)
{
	uint32_t	bits = 0;

	/* without a source all wait equally long: no harm */
	(void) !getrandom(&bits, sizeof(bits), GRND_NONBLOCK);
	return (double) bits / 4294967296.0;
}
