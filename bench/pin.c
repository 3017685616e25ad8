/*
 * pin.c
 *		sched_setaffinity, within the cores that the program was started on.
 */
#define _GNU_SOURCE
#include "pin.h"
#include "fail.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

/* Asked once, before any thread was moved. */
static const cpu_set_t *
allowed(void)
{
	static cpu_set_t cpus;
	static bool known;

	if (!known)
	{
		if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0)
			die("cannot tell which cores may be used: %s", strerror(errno));
		known = true;
	}
	return &cpus;
}

int
pin_cores(void)
{
	return CPU_COUNT(allowed());
}

int
pin_core(int i)
{
	for (int core = 0; core < CPU_SETSIZE; core++)
		if (CPU_ISSET(core, allowed()) && i-- == 0)
			return core;
	die("there is no such core");
}

bool
pin_to(pid_t pid, int core)
{
	cpu_set_t	one;

	(void) allowed();
	CPU_ZERO(&one);
	CPU_SET(core, &one);
	return sched_setaffinity(pid, sizeof(one), &one) == 0;
}

void
pin_undo(pid_t pid)
{
	/* Best effort: the process may have ended meanwhile. */
	(void) sched_setaffinity(pid, sizeof(cpu_set_t), allowed());
}
