/*
 * pin.h
 *		Keeping a client and its server process on a core of their own.
 */
#ifndef BENCH_PIN_H
#define BENCH_PIN_H

#include <stdbool.h>
#include <sys/types.h>

/* How many cores this program may use, as it was started. */
extern int	pin_cores(void);

/* The number of the i-th of them. */
extern int	pin_core(int i);

/* A process, or with 0 the calling thread, on one core; false when not allowed. */
extern bool pin_to(pid_t pid, int core);

/* The same, back on all of them. */
extern void pin_undo(pid_t pid);

#endif
