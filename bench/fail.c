/*
 * fail.c
 *		Messages that end the program, and allocation that cannot fail quietly.
 */
#include "fail.h"
#include "progress.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
die(const char *fmt,...)
{
	va_list		ap;

	progress_end();
	fputs("knn-bench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void
warn(const char *fmt,...)
{
	va_list		ap;

	progress_end();
	fputs("knn-bench: warning: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void *
alloc_array(size_t count, size_t size)
{
	return grow_array(NULL, count, size);
}

void *
grow_array(void *old, size_t count, size_t size)
{
	size_t		bytes;
	void	   *p;

	if (__builtin_mul_overflow(count, size, &bytes))
		die("%zu items of %zu bytes do not fit into memory", count, size);
	p = realloc(old, bytes ? bytes : 1);
	if (p == NULL)
		die("out of memory for %zu bytes; try fewer rows with --max-rows", bytes);
	return p;
}

char *
copy_string(const char *s)
{
	size_t		n = strlen(s) + 1;

	return memcpy(alloc_array(n, 1), s, n);
}

char *
format_string(const char *fmt,...)
{
	va_list		ap;
	int			n;
	char	   *s;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		die("cannot format \"%s\"", fmt);
	s = alloc_array((size_t) n + 1, 1);
	va_start(ap, fmt);
	vsnprintf(s, (size_t) n + 1, fmt, ap);
	va_end(ap);
	return s;
}
