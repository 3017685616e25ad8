/*
 * wait.h
 *		Time, and waiting that somebody may end.
 */
#ifndef KNN_BUILDER_WAIT_H
#define KNN_BUILDER_WAIT_H

#include <stdbool.h>

/* How often whoever waits asks whether to go on: seconds. */
#define BUILDER_ASK_SECONDS 0.1

/* Asked ten times a second or so; false: end what you do.  on may be NULL. */
typedef struct builder_going
{
	bool		(*on) (void *state);
	void	   *state;
} builder_going;

extern bool builder_goes_on(const builder_going *going);

/* Seconds of a clock that nobody sets. */
extern double builder_now(void);

/* Wait so many seconds; false when it was not to go on.  going may be NULL. */
extern bool builder_wait(double seconds, const builder_going *going);

/* Uniform in [0, 1); of no use for secrets. */
extern double builder_random(void);

#endif
