/*
 * program.c
 *		The pipe to a rival outside SQL; hnswlib_search.cpp tells the protocol.
 */
#define _GNU_SOURCE
#include "program.h"
#include "fail.h"
#include "progress.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct program_t
{
	const system_t *system;
	const dataset_t *set;
	pid_t		pid;
	FILE	   *to;
	FILE	   *from;
	char		title[128];
};

/* NAME_search in the directory of this program. */
static char *
program_path(const system_t *system)
{
	char		self[PATH_MAX];
	ssize_t		n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		die("cannot tell where this program lies: %s", strerror(errno));
	self[n] = '\0';
	return format_string("%s/%s_search", dirname(self), system->program);
}

bool
program_exists(const system_t *system)
{
	char	   *path = program_path(system);
	bool		exists = access(path, X_OK) == 0;

	free(path);
	return exists;
}

static void
get(program_t *p, void *to, size_t size, size_t count)
{
	if (fread(to, size, count, p->from) != count)
		die("system \"%s\": its program ended in the middle of an answer", p->system->name);
}

static void
put(program_t *p, const void *from, size_t size, size_t count)
{
	if (fwrite(from, size, count, p->to) != count)
		die("system \"%s\": its program does not read any more: %s", p->system->name,
			strerror(errno));
}

/* A line of answer; what follows the wanted first word. */
static void
answer(program_t *p, const char *wanted, char *rest, size_t room)
{
	char		line[1024];
	size_t		n = strlen(wanted);

	fflush(p->to);
	if (fgets(line, sizeof(line), p->from) == NULL)
		die("system \"%s\": its program ended", p->system->name);
	line[strcspn(line, "\n")] = '\0';
	if (strncmp(line, "error ", 6) == 0)
		die("system \"%s\": %s", p->system->name, line + 6);
	if (strncmp(line, wanted, n) != 0 || (line[n] != '\0' && line[n] != ' '))
		die("system \"%s\": its program answered \"%s\", not \"%s\"", p->system->name, line,
			wanted);
	snprintf(rest, room, "%s", line + n);
}

static void
put_rows(program_t *p, const matrix_t *m)
{
	char		rest[16];

	put(p, m->values, sizeof(float), m->rows * m->dim);
	answer(p, "ok", rest, sizeof(rest));
}

program_t *
program_start(const system_t *system, const dataset_t *set)
{
	program_t  *p = alloc_array(1, sizeof(*p));
	char	   *path = program_path(system);
	int			down[2],
				up[2];

	/* A program that ended is an error of the next write, with a message. */
	signal(SIGPIPE, SIG_IGN);
	if (pipe2(down, O_CLOEXEC) != 0 || pipe2(up, O_CLOEXEC) != 0)
		die("no pipe to %s: %s", path, strerror(errno));
	p->system = system;
	p->set = set;
	p->pid = fork();
	if (p->pid < 0)
		die("cannot start %s: %s", path, strerror(errno));
	if (p->pid == 0)
	{
		dup2(down[0], STDIN_FILENO);
		dup2(up[1], STDOUT_FILENO);

		/* Large pages where the kernel has them: a rival as fast as it can be. */
		setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", 0);
		execl(path, path, (char *) NULL);
		fprintf(stderr, "knn-bench: cannot run %s: %s\n", path, strerror(errno));
		_exit(127);
	}
	close(down[0]);
	close(up[1]);
	p->to = fdopen(down[1], "w");
	p->from = fdopen(up[0], "r");
	if (p->to == NULL || p->from == NULL)
		die("no pipe to %s: %s", path, strerror(errno));
	answer(p, system->program, p->title, sizeof(p->title));
	fprintf(p->to, "load %zu %u %s\n", set->base.rows, set->base.dim, metric_name(set->metric));
	put_rows(p, &set->base);
	fprintf(p->to, "queries %zu\n", set->query.rows);
	put_rows(p, &set->query);
	free(path);
	return p;
}

void
program_stop(program_t *p)
{
	fclose(p->to);
	fclose(p->from);
	waitpid(p->pid, NULL, 0);
	free(p);
}

const char *
program_title(const program_t *p)
{
	return p->title + strspn(p->title, " ");
}

program_build_t
program_build(program_t *p)
{
	char	   *what = format_string("%s: building the index on %s", p->system->name,
									 p->set->name);
	char		rest[256];
	program_build_t build;

	progress_begin(what, 0);
	fprintf(p->to, "build %s\n", p->system->index);
	answer(p, "built", rest, sizeof(rest));
	progress_end();
	if (sscanf(rest, "%lf %lf %lf", &build.seconds, &build.cpu_seconds, &build.bytes) != 3)
		die("system \"%s\": built%s is not understood", p->system->name, rest);
	free(what);
	return build;
}

void
program_warm(program_t *p, const char *value, size_t k, size_t queries)
{
	char		rest[16];

	fprintf(p->to, "warm %s %zu %zu\n", value, k, queries);
	answer(p, "ok", rest, sizeof(rest));
}

program_answer_t
program_search(program_t *p, const char *value, size_t k, size_t rounds, const int *cores,
			   size_t clients)
{
	size_t		n = p->set->query.rows;
	program_answer_t a;
	char		rest[256];

	fprintf(p->to, "search %s %zu %zu", value, k, rounds);
	for (size_t c = 0; c < clients; c++)
		fprintf(p->to, " %d", cores[c]);
	fputc('\n', p->to);
	answer(p, "found", rest, sizeof(rest));
	if (sscanf(rest, "%lf", &a.cpu_seconds) != 1)
		die("system \"%s\": found%s is not understood", p->system->name, rest);
	a.seconds = alloc_array(clients, sizeof(*a.seconds));
	a.ids = alloc_array(clients * n * k, sizeof(*a.ids));
	a.counts = alloc_array(clients * n, sizeof(*a.counts));
	a.latencies = alloc_array(clients * n * rounds, sizeof(*a.latencies));
	for (size_t c = 0; c < clients; c++)
	{
		get(p, a.seconds + c, sizeof(*a.seconds), 1);
		get(p, a.ids + c * n * k, sizeof(*a.ids), n * k);
		get(p, a.counts + c * n, sizeof(*a.counts), n);
		get(p, a.latencies + c * n * rounds, sizeof(*a.latencies), n * rounds);
	}
	return a;
}

void
program_answer_free(program_answer_t *a)
{
	free(a->seconds);
	free(a->ids);
	free(a->counts);
	free(a->latencies);
}
