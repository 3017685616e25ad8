/*
 * test_builder.c
 *		The program knn-builder: the graphs it makes of generated data with any threads and
 *		memory, and what it says of bad input and options.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "checked_run.h"
#include "folder.h"
#include "vectors.h"

#define DIM 32

static const Job plain = {.data_type = "float", .space = "l2", .encoding = "rotated_8", .dim = DIM, .count = 4000,
.threads = 1, .m = 12, .ef = 60};

static void
test_builds(void)
{
	static const char *const kinds[][3] = {
		{"float", "l2", "rotated_8"}, {"float", "cosinesimil", "rotated_1"}, {"float", "innerproduct", "rotated_4"},
		{"float", "l1", "rotated_8"}, {"byte", "l2", "byte"}, {"binary", "hamming", "binary"},
	};
	Run			run;

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
	{
		Job			job = plain;
		uint8_t    *rows;

		job.data_type = kinds[k][0];
		job.space = kinds[k][1];
		job.encoding = kinds[k][2];
		/* with a few bits nearly all distances are ties */
		job.dim = strcmp(job.data_type, "binary") == 0 ? 256 : DIM;
		rows = vectors_write(&job, 0, 1);
		for (job.threads = 1; job.threads <= 4; job.threads *= 2)
		{
			double		found;

			unit_case("build: %s, %s, %u threads", job.data_type, job.space, job.threads);
			found = searched(&run, "build", &job, rows);
			UNIT_CHECK(found >= (strcmp(job.space, "innerproduct") == 0 ? 0.93 : 0.97), "recall %.3f", found);
			UNIT_CHECK(run_number(&run, "\"partitions\":") == 1 && run_number(&run, "\"threads\":") == job.threads,
					   "%s", run_last_line(&run));
			UNIT_CHECK(strstr(run.text, "\"phase\":\"read\"") && strstr(run.text, "\"phase\":\"graph\"") &&
					   strstr(run.text, "\"phase\":\"order\"") && strstr(run.text, "\"phase\":\"write\""),
					   "phases: %s", run.text);
		}
		free(rows);
	}

	for (uint32_t n = 0; n <= 25; n += n < 3 ? 1 : 11)
	{
		Job			job = plain;
		uint8_t    *rows;

		unit_case("build: %u vectors", n);
		job.count = n;
		job.threads = 4;
		rows = vectors_write(&job, 0, 1);
		UNIT_CHECK(searched(&run, "build", &job, rows) == 1, "a vector is not found");
		free(rows);
	}
}

static void
test_memory(void)
{
	static const char *const kinds[][3] = {
		{"float", "l2", "rotated_8"}, {"byte", "l2", "byte"}, {"binary", "hamming", "binary"},
	};
	Run			run;

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
	{
		Job			job = plain;
		uint8_t    *rows;
		double		whole;
		double		parts;
		double		wanted;

		unit_case("memory: a quarter of it, %s", kinds[k][0]);
		job.count = 12000;
		job.threads = 2;
		job.data_type = kinds[k][0];
		job.space = kinds[k][1];
		job.encoding = kinds[k][2];
		job.dim = strcmp(job.data_type, "binary") == 0 ? 1024 : 64;
		rows = vectors_write(&job, 0, 1);
		whole = searched(&run, "build", &job, rows);
		wanted = run_number(&run, "\"memory\":");
		job.memory = (unsigned long long) (wanted / 4);
		parts = searched(&run, "build", &job, rows);
		UNIT_CHECK(run_number(&run, "\"partitions\":") >= 8, "%s", run_last_line(&run));
		UNIT_CHECK(run_number(&run, "\"memory\":") <= wanted / 4 + 512 * 1024, "%.0f wanted: %s", wanted,
				   run_last_line(&run));
		UNIT_CHECK(strstr(run.text, "\"phase\":\"merge\"") != NULL, "phases: %s", run.text);
		UNIT_CHECK(parts >= whole - 0.01, "recall %.3f, of the whole %.3f", parts, whole);
		if (k == 0)
		{
			unit_case("memory: a little less than all of it");
			job.memory = (unsigned long long) (wanted * 0.9);
			parts = searched(&run, "build", &job, rows);
			UNIT_CHECK(run_number(&run, "\"partitions\":") == 3, "%s", run_last_line(&run));
			UNIT_CHECK(parts >= whole - 0.01, "recall %.3f, of the whole %.3f", parts, whole);
			unit_case("memory: much too little");
			job.memory = 100000;
			run_job(&run, "build", &job);
			UNIT_CHECK(run_failed(&run, "\"out_of_memory\"", ""), "%s", run_told(&run));
		}
		free(rows);
	}
}

static void
test_inputs(void)
{
	Job			job = plain;
	uint8_t    *rows = vectors_write(&job, 0, 1);
	int32_t		id = 7;
	const char *cuda = "{\"job\":\"build\",\"version\":1,\"method\":\"hnsw\",\"engine\":\"cuda\"}";
	Run			run;

	unit_case("input: vectors that are missing, shorter, longer");
	unlink(folder_path("v"));
	fails("build", &job, "\"bad_input\"", "could not open file");
	folder_write("v", rows, vectors_row_bytes(&job) * job.count - 1);
	fails("build", &job, "\"bad_input\"", "511999 bytes long, expected 512000");
	folder_write("v", rows, 0);
	fails("build", &job, "\"bad_input\"", "0 bytes long");
	job.count--;
	free(vectors_write(&job, 0, 1));
	job.count++;
	fails("build", &job, "\"bad_input\"", "bytes long");
	job.dim = DIM / 2;
	free(vectors_write(&job, 0, 1));
	job.dim = DIM;
	fails("build", &job, "\"bad_input\"", "bytes long");

	unit_case("input: ids that are missing or others");
	free(vectors_write(&job, 0, 1));
	unlink(folder_path("i"));
	fails("build", &job, "\"bad_input\"", "could not open file");
	free(vectors_write(&job, 0, 1));
	if (truncate(folder_path("i"), 4 * job.count - 4) != 0)
		abort();
	fails("build", &job, "\"bad_input\"", "bytes long");
	free(vectors_write(&job, 0, 1));
	{
		int			fd = open(folder_path("i"), O_WRONLY);

		if (pwrite(fd, &id, 4, 4 * 1234) != 4)
			abort();
		close(fd);
	}
	fails("build", &job, "\"bad_input\"", "id 1234");
	free(vectors_write(&job, 0, 1));

	unit_case("input: a folder in the place of a file");
	unlink(folder_path("v"));
	mkdir(folder_path("v"), 0700);
	fails("build", &job, "\"bad_input\"", "file");
	rmdir(folder_path("v"));
	free(vectors_write(&job, 0, 1));

	unit_case("result: a folder that does not exist");
	job.result = "none/r";
	fails("build", &job, "\"io\"", "could not make file");
	job.result = NULL;
	unit_case("result: a disk that is full");
	if (access("/dev/full", W_OK) == 0 && symlink("/dev/full", folder_path("r.part")) == 0)
		fails("build", &job, "\"io\"", "could not write file");
	else
		unit_skip("no /dev/full");

	unit_case("job: none");
	folder_write("job", "", 0);
	run_start(&run, "build");
	run_finish(&run);
	UNIT_CHECK(run_failed(&run, "\"bad_job\"", ""), "%s", run_told(&run));
	unit_case("job: of another engine");
	folder_write("job", cuda, strlen(cuda));
	run_start(&run, "build");
	run_finish(&run);
	UNIT_CHECK(run_failed(&run, "engine", ""), "%s", run_told(&run));
	free(rows);
}

static void
test_options(void)
{
	static const struct
	{
		const char *option;
		int			status;
		const char *text;
	}			options[] = {{"--version", 0, "knn-builder "}, {"--help", 0, "Usage:"}, {"--other", 2, "Usage:"},
	{"", 2, "Usage:"}};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
	{
		char		command[512];
		char		text[4096];
		FILE	   *output;
		size_t		n;
		int			status;

		unit_case("options: \"%s\"", options[i].option);
		snprintf(command, sizeof(command), "%s %s 2>&1 </dev/null", run_program(), options[i].option);
		output = popen(command, "r");
		n = fread(text, 1, sizeof(text) - 1, output);
		text[n] = '\0';
		status = pclose(output);
		UNIT_CHECK(WEXITSTATUS(status) == options[i].status && strstr(text, options[i].text) != NULL,
				   "status %d: %s", status, text);
	}
}

int
main(void)
{
	if (!runs_begin())
		return 1;
	test_options();
	test_builds();
	test_memory();
	test_inputs();
	runs_end();
	return unit_done("test_builder");
}
