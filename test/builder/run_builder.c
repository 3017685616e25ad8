/*
 * run_builder.c
 *		Runs of the program knn-builder; see run_builder.h.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "folder.h"
#include "run_builder.h"

bool
runs_begin(void)
{
	if (run_program() != NULL && folder_make())
		return true;
	fprintf(stderr, "KNN_BUILDER is not set, or no folder can be made\n");
	return false;
}

void
runs_end(void)
{
	folder_remove();
}

const char *
run_program(void)
{
	return getenv("KNN_BUILDER");
}

void
run_write_job(const Job *job)
{
	FILE	   *file = fopen(folder_path("job"), "w");

	fprintf(file, "{\"job\":\"%s\",\"version\":1,\"vectors\":\"%s\",\"ids\":\"%s\",\"result\":\"%s\","
			"\"dimension\":%u,\"count\":%u,\"data_type\":\"%s\",\"space\":\"%s\",\"seed\":\"%d\",\"threads\":%u,"
			"\"memory_limit\":%llu", job->nlist ? "cluster" : "build", folder_path("v"), folder_path("i"),
			folder_path(job->result ? job->result : "r"), job->dim, job->count, job->data_type, job->space,
			JOB_SEED, job->threads, job->memory);
	if (job->nlist)
		fprintf(file, ",\"nlist\":%u", job->nlist);
	else
		fprintf(file, ",\"method\":\"hnsw\",\"engine\":\"cpu\",\"encoding\":\"%s\",\"m\":%u,"
				"\"ef_construction\":%u,\"codes_per_page\":20", job->encoding, job->m, job->ef);
	if (job->codes)
		fprintf(file, ",\"codes\":\"%s\"", folder_path(job->codes));
	fprintf(file, "%s}", job->more ? job->more : "");
	fclose(file);
}

void
run_start(Run *run, const char *command)
{
	int			pipes[2];

	if (pipe(pipes) != 0)
		abort();
	run->length = 0;
	run->text[0] = '\0';
	run->problem[0] = '\0';
	run->output = pipes[0];
	run->pid = fork();
	if (run->pid == 0)
	{
		int			input = open(folder_path("job"), O_RDONLY);

		dup2(input, STDIN_FILENO);
		dup2(pipes[1], STDOUT_FILENO);
		close(pipes[0]);
		close(pipes[1]);
		close(input);
		execl(run_program(), run_program(), command, (char *) NULL);
		_exit(127);
	}
	close(pipes[1]);
}

bool
run_read(Run *run)
{
	ssize_t		n = read(run->output, run->text + run->length, sizeof(run->text) - 1 - run->length);

	if (n <= 0)
		return false;
	run->length += (size_t) n;
	run->text[run->length] = '\0';
	return true;
}

void
run_finish(Run *run)
{
	while (run_read(run))
		;
	close(run->output);
	waitpid(run->pid, &run->status, 0);
	while (run->length > 0 && run->text[run->length - 1] == '\n')
		run->text[--run->length] = '\0';
}

void
run_job(Run *run, const char *command, const Job *job)
{
	unlink(folder_path("r"));
	run_write_job(job);
	run_start(run, command);
	run_finish(run);
}

const char *
run_last_line(const Run *run)
{
	const char *end = strrchr(run->text, '\n');

	return end ? end + 1 : run->text;
}

double
run_number(const Run *run, const char *key)
{
	const char *at = strstr(run_last_line(run), key);

	return at ? strtod(at + strlen(key), NULL) : -1;
}

bool
run_exited(const Run *run, int status)
{
	return WIFEXITED(run->status) && WEXITSTATUS(run->status) == status;
}

bool
run_succeeded(const Run *run)
{
	return run_exited(run, 0) && strncmp(run_last_line(run), "{\"result\":", 10) == 0 && folder_files("r.") == 0;
}

bool
run_failed(const Run *run, const char *code, const char *message)
{
	const char *line = run_last_line(run);

	return run_exited(run, 1) && strstr(line, code) != NULL && strstr(line, message) != NULL && folder_files("r") == 0;
}

const char *
run_told(const Run *run)
{
	static char text[1024];

	snprintf(text, sizeof(text), "status %d, %d files of results: %.900s", run->status,
			 folder_files("r"), run_last_line(run));
	return text;
}
