/*
 * machine.c
 *		Processor, memory and kernel, from where Linux tells them.
 */
#define _GNU_SOURCE
#include "machine.h"

#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Value of the first "key : value" line; false when there is none. */
static bool
proc_value(const char *path, const char *key, char *value, size_t room)
{
	FILE	   *f = fopen(path, "r");
	char		line[4096];
	bool		found = false;

	if (f == NULL)
		return false;
	while (!found && fgets(line, sizeof(line), f) != NULL)
	{
		char	   *colon = strchr(line, ':');

		if (colon == NULL || strncmp(line, key, strlen(key)) != 0)
			continue;
		colon += 1 + strspn(colon + 1, " \t");
		colon[strcspn(colon, "\n")] = '\0';
		snprintf(value, room, "%s", colon);
		found = true;
	}
	fclose(f);
	return found;
}

/* The choice in brackets of a file like "always [madvise] never". */
static bool
sys_choice(const char *path, char *value, size_t room)
{
	FILE	   *f = fopen(path, "r");
	char		line[256];
	char	   *from;
	bool		found = false;

	if (f == NULL)
		return false;
	if (fgets(line, sizeof(line), f) != NULL && (from = strchr(line, '[')) != NULL)
	{
		from[strcspn(from, "]")] = '\0';
		snprintf(value, room, "%s", from + 1);
		found = true;
	}
	fclose(f);
	return found;
}

void
machine_write(FILE *out)
{
	struct utsname u;
	char		value[4096];
	cpu_set_t	cpus;
	long		online = sysconf(_SC_NPROCESSORS_ONLN);

	if (!proc_value("/proc/cpuinfo", "model name", value, sizeof(value)))
		snprintf(value, sizeof(value), "unknown");
	fprintf(out, "- Processor: %s, %ld cores", value, online);
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) < online)
		fprintf(out, ", client held to %d", CPU_COUNT(&cpus));
	if (proc_value("/proc/cpuinfo", "flags", value, sizeof(value)))
	{
		static const char *const wanted[] = {"avx2", "avx512f", "avx512_vnni", "avx512_vpopcntdq"};

		fprintf(out, " (");
		for (size_t i = 0, shown = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
			if (strstr(value, wanted[i]) != NULL)
				fprintf(out, "%s%s", shown++ ? " " : "", wanted[i]);
		fprintf(out, ")");
	}
	fprintf(out, "\n");
	if (proc_value("/proc/meminfo", "MemTotal", value, sizeof(value)))
		fprintf(out, "- Memory: %.1f GB\n", strtod(value, NULL) * 1024 / 1e9);
	if (sys_choice("/sys/kernel/mm/transparent_hugepage/enabled", value, sizeof(value)))
		fprintf(out, "- Transparent large pages: %s", value);
	if (sys_choice("/sys/kernel/mm/transparent_hugepage/shmem_enabled", value, sizeof(value)))
		fprintf(out, "; of shared memory: %s\n", value);
	if (uname(&u) == 0)
		fprintf(out, "- Kernel: %s %s, %s\n", u.sysname, u.release, u.machine);
}
