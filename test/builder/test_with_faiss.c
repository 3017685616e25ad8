/*
 * test_with_faiss.c
 *		faiss itself searches graphs of ours, and graphs of its own are imported.
 *
 * FAISS_GRAPHS in the environment is a program that has faiss read and write graphs:
 * ../faiss/graphs.cpp for the library of the system, ../faiss/graphs.py for a newer one.
 * Without it all is skipped.  What a version does not know is not among its cases.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checked_run.h"
#include "folder.h"
#include "vectors.h"

#define M 12

/* As the programs tell versions of faiss. */
#define VERSION(major, minor) (10000 * (major) + 100 * (minor))

static const Job plain = {.data_type = "float", .space = "l2", .encoding = "rotated_8", .dim = 32, .count = 3000,
.threads = 2, .m = M, .ef = 60};

/* Run it; what it prints as a number, or -1. */
__attribute__((format(printf, 1, 2)))
static double
with_faiss(const char *format,...)
{
	char		line[1024];
	size_t		length = (size_t) snprintf(line, sizeof(line), "exec %s ", getenv("FAISS_GRAPHS"));
	double		value = 0;
	FILE	   *output;
	va_list		args;

	va_start(args, format);
	vsnprintf(line + length, sizeof(line) - length, format, args);
	va_end(args);
	output = popen(line, "r");
	if (fscanf(output, "%lf", &value) != 1)
		value = 0;
	return pclose(output) == 0 ? value : -1;
}

/* The job for vectors of a type, in the encoding that loses least. */
static Job
job_for(const char *data_type, const char *space)
{
	Job			job = plain;

	job.data_type = data_type;
	job.space = space;
	job.encoding = strcmp(data_type, "float") == 0 ? "rotated_8" : data_type;
	job.dim = strcmp(data_type, "binary") == 0 ? 256 : 32;
	return job;
}

static void
test_searches(int version)
{
	static const struct
	{
		int			since;
		const char *data_type;
		const char *space;
		const char *storage;
	}			cases[] = {
		{0, "float", "l2", "float"},
		{0, "float", "l2", "half"},
		{0, "float", "cosinesimil", "float"},
		{0, "float", "innerproduct", "float"},
		{0, "binary", "hamming", "binary"},
		{VERSION(1, 9), "float", "innerproduct", "half"},
		{VERSION(1, 9), "byte", "l2", "byte"},
		{VERSION(1, 9), "byte", "innerproduct", "byte"},
		{VERSION(1, 9), "float", "l2", "none"},
		{VERSION(1, 9), "float", "innerproduct", "none"},
	};

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++)
	{
		Job			job = job_for(cases[c].data_type, cases[c].space);
		char		more[100];
		uint8_t    *rows;
		uint8_t    *queries;
		double		own;
		double		found;
		Run			r;

		if (version < cases[c].since)
			continue;
		unit_case("faiss: searches our graph, %s, %s stored as %s", cases[c].data_type, cases[c].space,
				  cases[c].storage);
		rows = vectors_write(&job, 0, 1);
		own = searched(&r, "build", &job, rows);
		free(rows);
		rows = vectors_write(&job, 7, 1);
		queries = recall_queries(&job);
		folder_write("q", queries, vectors_row_bytes(&job) * RECALL_QUERIES);
		snprintf(more, sizeof(more), ",\"result_format\":\"faiss\",\"storage\":\"%s\"", cases[c].storage);
		job.more = more;
		if (succeeds(&r, "build", &job))
		{
			found = with_faiss("search %s %s %s %s %u %s %u", folder_path("r"), folder_path("v"),
							   folder_path("i"), folder_path("q"), job.dim, job.data_type, RECALL_WIDTH);
			UNIT_CHECK(found >= 0.97 && found >= own - 0.01, "recall %.3f, of ours %.3f", found, own);
		}
		free(rows);
		free(queries);
	}
}

static void
test_imports(int version)
{
	static const struct
	{
		int			since;
		const char *data_type;
		const char *space;
		const char *index;
	}			cases[] = {
		{0, "float", "l2", "HNSW12,Flat"},
		{0, "float", "l2", "HNSW12,SQfp16"},
		{0, "float", "cosinesimil", "HNSW24,Flat"},
		{0, "float", "innerproduct", "HNSW12,Flat"},
		{0, "binary", "hamming", "BHNSW12"},
		{VERSION(1, 9), "float", "l2", "IDMap2,HNSW12,SQfp16"},
		{VERSION(1, 9), "float", "l2", "alone,HNSW12,Flat"},
		{VERSION(1, 9), "float", "l2", "HNSW12,none"},
		{VERSION(1, 9), "byte", "l2", "HNSW12,SQ8_direct_signed"},
		{VERSION(1, 9), "byte", "innerproduct", "IDMap2,HNSW12,SQ8_direct_signed"},
		{VERSION(1, 9), "binary", "hamming", "IDMap2,BHNSW12"},
		{VERSION(1, 9), "float", "l2", "CAGRA48,Flat"},
		{VERSION(1, 9), "float", "cosinesimil", "alone,CAGRA48,Flat"},
		{VERSION(1, 9), "float", "l2", "CAGRA48,none"},
		{VERSION(1, 9), "float", "l2", "leveled,CAGRA24,Flat"},
		{VERSION(1, 12), "float", "l2", "CAGRA48,SQfp16"},
		{VERSION(1, 12), "float", "innerproduct", "CAGRA48,SQfp16"},
		{VERSION(1, 12), "byte", "l2", "CAGRA48,SQ8_direct_signed"},
		{VERSION(1, 12), "binary", "hamming", "BCAGRA48"},
		{VERSION(1, 15), "float", "l2", "alone,base,HNSW12,Flat"},
	};

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++)
	{
		Job			job = job_for(cases[c].data_type, cases[c].space);
		char		more[300];
		uint8_t    *rows;
		double		own;
		double		found;
		Run			r;

		if (version < cases[c].since)
			continue;
		unit_case("faiss: its graph is imported, %s, %s", cases[c].space, cases[c].index);
		rows = vectors_write(&job, 0, 1);
		own = searched(&r, "build", &job, rows);
		if (UNIT_CHECK(with_faiss("write %s %s %u %s %s %s", folder_path("graph"), folder_path("v"),
								  job.dim, job.data_type, job.space, cases[c].index) >= 0, "nothing was written"))
		{
			snprintf(more, sizeof(more), ",\"graph\":\"%s\"", folder_path("graph"));
			job.more = more;
			found = searched(&r, "import", &job, rows);
			UNIT_CHECK(found >= own - 0.01, "recall %.3f, of a build %.3f", found, own);
		}
		free(rows);
	}
}

/* What is not supported is named. */
static void
test_refusals(int version)
{
	static const struct
	{
		int			since;
		const char *index;
		const char *reason;
	}			cases[] = {
		{0, "HNSW12,SQ8", "the scalar quantizer has type 0"},
		{VERSION(1, 9), "HNSW12,SQbf16", "the scalar quantizer has type 7"},
		{VERSION(1, 9), "NSG12,Flat", "\\\"INSf\\\" is not a known kind of index"},
		{VERSION(1, 9), "PCA16,HNSW12,Flat", "\\\"IxPT\\\" is not a known kind of index"},
		{VERSION(1, 9), "HNSW12_16+PQ4", "\\\"IHN2\\\" is not a known kind of index"},
	};

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++)
	{
		Job			job = plain;
		char		more[300];

		if (version < cases[c].since)
			continue;
		unit_case("faiss: %s is refused", cases[c].index);
		free(vectors_write(&job, 0, 1));
		snprintf(more, sizeof(more), ",\"graph\":\"%s\"", folder_path("graph"));
		job.more = more;
		if (UNIT_CHECK(with_faiss("write %s %s %u %s %s %s", folder_path("graph"), folder_path("v"),
								  job.dim, job.data_type, job.space, cases[c].index) >= 0, "nothing was written"))
			fails("import", &job, "\"bad_input\"", cases[c].reason);
	}
}

int
main(void)
{
	const char *graphs = getenv("FAISS_GRAPHS");
	int			version;

	if (!runs_begin())
		return 1;
	unit_case("faiss: its version");
	if (graphs == NULL || graphs[0] == '\0')
		unit_skip("no faiss");
	else
	{
		version = (int) with_faiss("version");
		UNIT_CHECK(version > 0, "it tells none");
		test_searches(version);
		test_imports(version);
		test_refusals(version);
	}
	runs_end();
	return unit_done("test_with_faiss");
}
