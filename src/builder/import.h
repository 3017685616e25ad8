/*
 * import.h
 *		A graph that somebody else has built: from a file of faiss to the job's result.
 */
#ifndef KNN_BUILDER_IMPORT_H
#define KNN_BUILDER_IMPORT_H

#include "builder/job.h"

/*
 * Check a file of faiss against the job (its vectors, ids, space and shape), make a
 * graph of the job's shape out of it and write that to job->result, with progress
 * lines of phase "import", then those of writing, and the result line, as
 * builder_build.  The file is mapped and not changed.  Ends the program when something
 * is wrong: BUILDER_BAD_INPUT when it is the file.
 */
extern void builder_import(const builder_job *job, const char *faiss_path);

#endif
