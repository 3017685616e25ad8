/*
 * machine.c
 *		What this process may use of its machine; see machine.h.
 *
 * /proc/self/cgroup tells the process's groups, one a line:
 *
 *	0::/system.slice/x.service			version 2: memory.max, cpu.max
 *	4:memory:/docker/12ab				version 1: memory/.../memory.limit_in_bytes
 *	3:cpu,cpuacct:/docker/12ab			version 1: cpu,cpuacct/.../cpu.cfs_quota_us
 *
 * A group is bound by those above it too, so all are read up to the root of what is
 * mounted.  Within a container that root may be the process's own group, and the path one
 * that is not there, or that leads out of it ("/../x").
 */
#include "builder/machine.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROUPS_MOST 64			/* lines that are read */
#define LINE_BYTES (PATH_MAX + 200)

/* The least of what groups allow so far. */
typedef struct Limits
{
	uint64_t	memory;			/* bytes */
	uint64_t	processors;
} Limits;

static void
set_least(uint64_t *to, uint64_t limit)
{
	if (limit > 0 && limit < *to)
		*to = limit;
}

/* The numbers in a file's first line, 0 where there is "max", -1 or nothing; false without the file. */
static bool
read_numbers(const char *folder, const char *name, uint64_t *first, uint64_t *second)
{
	char		path[2 * PATH_MAX + 300];
	char		texts[2][32] = {{0}};
	uint64_t   *numbers[2] = {first, second};
	FILE	   *file;
	int			found;

	*first = *second = 0;
	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int) sizeof(path))
		return false;
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	found = fscanf(file, "%31s %31s", texts[0], texts[1]);
	fclose(file);
	for (int i = 0; i < found; i++)
	{
		if (texts[i][0] >= '0' && texts[i][0] <= '9')
			*numbers[i] = strtoull(texts[i], NULL, 10);
	}
	return true;
}

/* What time a group has of each period, both in microseconds. */
static void
take_quota(Limits *limits, uint64_t quota, uint64_t period)
{
	if (quota > 0 && period > 0)
		set_least(&limits->processors, quota / period + (quota % period > 0));
}

static void
read_group(const char *folder, Limits *limits)
{
	uint64_t	first;
	uint64_t	second;
	uint64_t	quota;

	if (read_numbers(folder, "memory.max", &first, &second))
		set_least(&limits->memory, first);
	if (read_numbers(folder, "memory.limit_in_bytes", &first, &second))
		set_least(&limits->memory, first);
	if (read_numbers(folder, "cpu.max", &first, &second))
		take_quota(limits, first, second);
	if (read_numbers(folder, "cpu.cfs_quota_us", &quota, &second) &&
		read_numbers(folder, "cpu.cfs_period_us", &first, &second))
		take_quota(limits, quota, first);
}

/* A group and those above it. */
static void
read_groups(const char *root, const char *controllers, const char *path, Limits *limits)
{
	char		folder[2 * PATH_MAX];
	int			top = snprintf(folder, sizeof(folder), "%s/sys/fs/cgroup%s%s", root,
							   controllers[0] ? "/" : "", controllers);
	size_t		length;

	if (strstr(path, "/.."))
		path = "";
	length = strlen(path);
	if (top < 0 || (size_t) top + length >= sizeof(folder))
		return;
	memcpy(folder + top, path, length + 1);
	for (;;)
	{
		char	   *slash;

		read_group(folder, limits);
		slash = strrchr(folder + top, '/');
		if (slash == NULL)
			return;
		*slash = '\0';
	}
}

static Limits
read_limits(const char *root)
{
	Limits		limits = {UINT64_MAX, UINT64_MAX};
	char		line[LINE_BYTES];
	FILE	   *file;

	snprintf(line, sizeof(line), "%s/proc/self/cgroup", root);
	file = fopen(line, "re");
	for (int i = 0; file && i < GROUPS_MOST && fgets(line, sizeof(line), file); i++)
	{
		char	   *controllers = strchr(line, ':');
		char	   *path = controllers ? strchr(controllers + 1, ':') : NULL;

		if (path == NULL)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		read_groups(root, controllers + 1, path, &limits);
	}
	if (file)
		fclose(file);
	return limits;
}

uint64_t
builder_machine_memory(const char *root)
{
	uint64_t	whole = (uint64_t) sysconf(_SC_PHYS_PAGES) * (uint64_t) sysconf(_SC_PAGESIZE);

	set_least(&whole, read_limits(root).memory);
	return whole;
}

uint64_t
builder_machine_processors(const char *root)
{
	long		online = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t	count = online > 1 ? (uint64_t) online : 1;
	cpu_set_t	mine;

	/* of machines with more processors than the set has bits it fails, and says nothing */
	if (sched_getaffinity(0, sizeof(mine), &mine) == 0)
		set_least(&count, (uint64_t) CPU_COUNT(&mine));
	set_least(&count, read_limits(root).processors);
	return count;
}
