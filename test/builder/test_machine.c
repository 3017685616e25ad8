/*
 * test_machine.c
 *		What a process may use of its machine, with files of control groups of all kinds.
 */
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builder/machine.h"
#include "folder.h"
#include "unit.h"

#define MB (UINT64_C(1) << 20)

/* A file with all folders that it is in. */
static void
put(const char *root, const char *name, const char *text)
{
	char		path[512];
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	for (char *slash = strchr(path + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/'))
	{
		*slash = '\0';
		(void) mkdir(path, 0700);
		*slash = '/';
	}
	file = fopen(path, "w");
	UNIT_CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0, "could not write %s", path);
}

static void
check(const char *root, uint64_t memory, uint64_t processors)
{
	uint64_t	got_memory = builder_machine_memory(root);
	uint64_t	got_processors = builder_machine_processors(root);

	UNIT_CHECK(got_memory == memory, "%llu bytes, expected %llu", (unsigned long long) got_memory,
			   (unsigned long long) memory);
	UNIT_CHECK(got_processors == processors, "%llu processors, expected %llu",
			   (unsigned long long) got_processors, (unsigned long long) processors);
}

/* What is allowed without any limit of groups. */
static uint64_t all_memory;
static uint64_t all_processors;

static void
test_none(const char *root)
{
	unit_case("no control groups");
	check(root, all_memory, all_processors);
	put(root, "proc/self/cgroup", "nonsense\n\n::\n0:");
	check(root, all_memory, all_processors);
	UNIT_CHECK(all_memory > 0 && all_processors > 0, "no machine");
}

static void
test_version_2(const char *root)
{
	unit_case("version 2");
	put(root, "proc/self/cgroup", "0::/a.slice/b.service\n");
	put(root, "sys/fs/cgroup/a.slice/b.service/memory.max", "max\n");
	put(root, "sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n");
	check(root, all_memory, all_processors);
	put(root, "sys/fs/cgroup/a.slice/b.service/memory.max", "67108864\n");
	check(root, 64 * MB, all_processors);
	/* one above is less, and then one more */
	put(root, "sys/fs/cgroup/a.slice/memory.max", "33554432\n");
	put(root, "sys/fs/cgroup/a.slice/cpu.max", "50000 100000\n");
	check(root, 32 * MB, 1);
	put(root, "sys/fs/cgroup/memory.max", "16777216\n");
	check(root, 16 * MB, 1);
	/* what is no number, or more than there is, is no limit */
	put(root, "sys/fs/cgroup/a.slice/b.service/memory.max", "");
	put(root, "sys/fs/cgroup/a.slice/memory.max", "99999999999999999999999\n");
	put(root, "sys/fs/cgroup/memory.max", "-1\n");
	put(root, "sys/fs/cgroup/a.slice/cpu.max", "9999900000 100000\n");
	check(root, all_memory, all_processors);
	put(root, "sys/fs/cgroup/a.slice/cpu.max", "100000 0\n");
	check(root, all_memory, all_processors);
}

/* The path is that of the machine, the root is the container's. */
static void
test_container(const char *root)
{
	unit_case("container");
	put(root, "proc/self/cgroup", "0::/../../elsewhere\n");
	put(root, "sys/fs/cgroup/memory.max", "8388608\n");
	put(root, "sys/fs/cgroup/cpu.max", "100000 100000\n");
	check(root, 8 * MB, 1);
}

static void
test_version_1(const char *root)
{
	unit_case("version 1");
	put(root, "sys/fs/cgroup/memory.max", "max\n");
	put(root, "sys/fs/cgroup/cpu.max", "max 100000\n");
	put(root, "proc/self/cgroup", "4:memory:/docker/12ab\n3:cpu,cpuacct:/docker/12ab\n0::/\n");
	put(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put(root, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
	put(root, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
	check(root, all_memory, all_processors);
	put(root, "sys/fs/cgroup/memory/docker/12ab/memory.limit_in_bytes", "4194304\n");
	put(root, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n");
	check(root, 4 * MB, 1);
}

static void
test_affinity(const char *root)
{
	cpu_set_t	all;
	cpu_set_t	one;

	unit_case("affinity");
	if (sched_getaffinity(0, sizeof(all), &all) != 0 || CPU_COUNT(&all) < 2)
	{
		unit_skip("one processor");
		return;
	}
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
	{
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	}
	UNIT_CHECK(sched_setaffinity(0, sizeof(one), &one) == 0, "affinity");
	UNIT_CHECK(builder_machine_processors(root) == 1, "processors");
	(void) sched_setaffinity(0, sizeof(all), &all);
}

int
main(void)
{
	char		root[256];

	if (!folder_make())
		return 1;
	snprintf(root, sizeof(root), "%s", folder_path("root"));
	(void) mkdir(root, 0700);
	all_memory = builder_machine_memory(root);
	all_processors = builder_machine_processors(root);
	test_none(root);
	test_version_2(root);
	test_container(root);
	test_version_1(root);
	test_affinity(root);
	folder_remove();
	return unit_done("test_machine");
}
