/*
 * checked_run.h
 *		Runs of the program knn-builder whose outcome is a check of the current case.
 */
#ifndef KNN_TEST_CHECKED_RUN_H
#define KNN_TEST_CHECKED_RUN_H

#include "recall.h"
#include "unit.h"

/* A job that has to succeed. */
__attribute__((unused))
static bool
succeeds(Run *run, const char *command, const Job *job)
{
	run_job(run, command, job);
	return UNIT_CHECK(run_succeeded(run), "%s", run_told(run));
}

/* A job that has to fail with an error that has both texts. */
__attribute__((unused))
static void
fails(const char *command, const Job *job, const char *code, const char *message)
{
	Run			run;

	run_job(&run, command, job);
	UNIT_CHECK(run_failed(&run, code, message), "expected \"%s\": %s", message, run_told(&run));
}

/* A job that has to result in a graph that can be searched: the recall of that. */
__attribute__((unused))
static double
searched(Run *run, const char *command, const Job *job, const uint8_t *rows)
{
	double		found = recall_of_job(run, command, job, rows);

	UNIT_CHECK(found >= 0, "%s", run->problem);
	return found;
}

#endif
