/*
 * test_ending.c
 *		The program knn-builder ends when it is told to, when nobody reads what it says and
 *		when its parent ends, and leaves nothing.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "folder.h"
#include "unit.h"
#include "vectors.h"

/* One that takes long. */
static const Job plain = {.data_type = "float", .space = "l2", .encoding = "rotated_8", .dim = 32, .count = 60000,
.threads = 2, .m = 12, .ef = 1000};

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

/* Start the job in the folder, and wait until the program has said something. */
static void
start_until(Run *run, const char *text)
{
	run_start(run, "build");
	while (strstr(run->text, text) == NULL && run_read(run))
		;
	UNIT_CHECK(strstr(run->text, text) != NULL, "no %s: %s", text, run->text);
}

static void
is_cancelled(Run *run, int signal)
{
	kill(run->pid, signal);
	run_finish(run);
	UNIT_CHECK(run_failed(run, "\"cancelled\"", ""), "%s", run_told(run));
}

static void
test_signals(void)
{
	static const int signals[] = {SIGTERM, SIGINT};
	Job			job = plain;
	Run			run;

	run_write_job(&job);
	for (int i = 0; i < 2; i++)
	{
		double		before;

		unit_case("ending: signal %d while the graph is built", signals[i]);
		start_until(&run, "\"phase\":\"graph\"");
		before = now();
		is_cancelled(&run, signals[i]);
		/* under a sanitizer exiting alone takes a second */
		UNIT_CHECK(now() - before < 3, "it took %.1f s", now() - before);
	}

	unit_case("ending: a signal while the parts are built");
	job.memory = 4 << 20;
	run_write_job(&job);
	start_until(&run, "\"phase\":\"graph\"");
	is_cancelled(&run, SIGTERM);
}

static void
test_no_reader(void)
{
	double		before;
	Run			run;

	unit_case("ending: nobody reads what it says");
	run_write_job(&plain);
	start_until(&run, "\"phase\":\"graph\"");
	before = now();
	close(run.output);
	waitpid(run.pid, &run.status, 0);
	UNIT_CHECK(run_exited(&run, 1), "status %d", run.status);
	UNIT_CHECK(now() - before < 5, "it took %.1f s", now() - before);
}

/* It may be a zombie. */
static bool
has_ended(pid_t pid)
{
	char		path[64];
	char		status[512] = "";
	FILE	   *file;
	bool		ended;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
	file = fopen(path, "r");
	ended = file == NULL || fgets(status, sizeof(status), file) == NULL || strstr(status, ") Z ") != NULL;
	if (file)
		fclose(file);
	return ended;
}

static void
test_no_parent(void)
{
	double		before;
	pid_t		starter;
	pid_t		builder = 0;
	int			pids[2];
	Run			run;

	unit_case("ending: its parent ends");
	run_write_job(&plain);
	if (pipe(pids) != 0)
		abort();
	starter = fork();
	if (starter == 0)
	{
		start_until(&run, "\"phase\":\"graph\"");
		if (write(pids[1], &run.pid, sizeof(pid_t)) != sizeof(pid_t))
			abort();
		_exit(0);
	}
	close(pids[1]);
	if (read(pids[0], &builder, sizeof(pid_t)) != sizeof(pid_t))
		abort();
	close(pids[0]);
	waitpid(starter, NULL, 0);
	/* an orphan: whoever is its parent now need not have waited for it */
	before = now();
	while (!has_ended(builder) && now() - before < 5)
		usleep(10000);
	UNIT_CHECK(now() - before < 5, "it goes on");
	UNIT_CHECK(folder_files("r") == 0, "%d files are left", folder_files("r"));
}

static void
test_writing(void)
{
	Job			job = plain;
	Run			run;

	unit_case("ending: a signal while the result is written");
	job.count = 1000;
	job.ef = 50;
	free(vectors_write(&job, 0, 1));
	run_write_job(&job);
	/* opening it waits for someone who reads */
	mkfifo(folder_path("r.part"), 0600);
	start_until(&run, "\"phase\":\"order\"");
	usleep(300000);
	is_cancelled(&run, SIGTERM);
}

int
main(void)
{
	if (!runs_begin())
		return 1;
	free(vectors_write(&plain, 0, 1));
	test_signals();
	test_no_reader();
	test_no_parent();
	test_writing();
	runs_end();
	return unit_done("test_ending");
}
