/*
 * memory.c
 *		Counted memory, and files in the place of memory; see memory.h.
 */
#include "builder/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "builder/output.h"

/* Before each piece, its size. */
#define HEADER 64

/*
 * From this size on in huge pages, where the kernel has them: a search touches
 * codes all over.
 */
#define HUGE_PAGE ((size_t) 2 << 20)
#define HUGE_FROM (4 * HUGE_PAGE)

static uint64_t in_use;
static uint64_t peak;

static void *
count_alloc(void *context, size_t size)
{
	size_t		total = size + HEADER;
	size_t		align = total >= HUGE_FROM ? HUGE_PAGE : HEADER;
	uint64_t	now;
	uint64_t	most;
	void	   *piece;

	(void) context;
	if (size > SIZE_MAX / 2)
		return NULL;
	if (posix_memalign(&piece, align, total) != 0)
		return NULL;
	if (align == HUGE_PAGE)
		(void) madvise(piece, total, MADV_HUGEPAGE);
	memcpy(piece, &total, sizeof(total));
	now = __atomic_add_fetch(&in_use, total, __ATOMIC_RELAXED);
	most = __atomic_load_n(&peak, __ATOMIC_RELAXED);
	while (now > most && !__atomic_compare_exchange_n(&peak, &most, now, true,
													  __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	return (char *) piece + HEADER;
}

static void
count_release(void *context, void *pointer)
{
	size_t		total;

	(void) context;
	if (pointer == NULL)
		return;
	pointer = (char *) pointer - HEADER;
	memcpy(&total, pointer, sizeof(total));
	__atomic_sub_fetch(&in_use, total, __ATOMIC_RELAXED);
	free(pointer);
}

const knn_allocator builder_allocator = {count_alloc, count_release, NULL};

uint64_t
builder_memory_peak(void)
{
	return __atomic_load_n(&peak, __ATOMIC_RELAXED);
}

void *
builder_alloc(uint64_t size)
{
	void	   *p = size <= SIZE_MAX ? count_alloc(NULL, (size_t) size) : NULL;

	if (p == NULL)
		builder_fail_memory();
	memset(p, 0, (size_t) size);
	return p;
}

void
builder_release(void *pointer)
{
	count_release(NULL, pointer);
}

void *
builder_spool(const char *beside, uint64_t size)
{
	char		path[4096];
	void	   *bytes;
	int			fd;
	int			rc;

	if (size == 0)
		size = 1;
	if (snprintf(path, sizeof(path), "%s.spool.XXXXXX", beside) >= (int) sizeof(path))
		builder_fail_with(BUILDER_IO, ENAMETOOLONG, "could not make a file beside the result");
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		builder_fail_with(BUILDER_IO, errno, "could not make file \"%s\"", path);
	(void) unlink(path);
	/* a full disk must show here, not when a page is written */
	rc = posix_fallocate(fd, 0, (off_t) size);
	if (rc != 0)
		builder_fail_with(BUILDER_IO, rc, "could not make file \"%s\" of %llu bytes", path,
						  (unsigned long long) size);
	bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED)
		builder_fail_with(BUILDER_IO, errno, "could not map file \"%s\"", path);
	close(fd);
	return bytes;
}

void
builder_spool_end(void *bytes, uint64_t size)
{
	if (bytes)
		munmap(bytes, size > 0 ? size : 1);
}
