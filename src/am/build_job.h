/*
 * build_job.h
 *		A build that has the program knn-builder do the larger part of its work.
 *
 * What the builds of both methods do alike: the program gets the vectors as float32,
 * int8 or packed bits, the first pass's own file where that has them so, or else a copy
 * in the spool directory (.knnvec), and their ids (.knndid).  It is watched, what it
 * made is taken by the method, and whatever is wrong with it is a warning, after which
 * the method does without.
 */
#ifndef KNN_AM_BUILD_JOB_H
#define KNN_AM_BUILD_JOB_H

#include "postgres.h"

#include "am/build_vectors.h"
#include "am/value.h"
#include "core/graph_file.h"
#include "job/job.h"
#include "lib/stringinfo.h"
#include "utils/rel.h"

/* A phase of the program, and the subphase of a build as which it is shown. */
typedef struct KnnBuildPhase
{
	const char *name;
	int			subphase;
} KnnBuildPhase;

typedef struct KnnBuildJob
{
	/* set by the caller */
	Relation	index;
	const KnnShape *shape;
	KnnBuildVectors *read;
	Size		kept_size;		/* bytes of each */
	uint32		n;
	const char *name;			/* of the job */
	const char *command;		/* of the program */
	const char *result_file;
	const char *result_kind;	/* "graph": what the result should be */
	const KnnBuildPhase *phases;
	int			nphases;
	int			spool_phase;	/* subphase in which the files are written */
	int			check_phase;	/* and in which the result is taken */
	void	   *state;			/* of the callbacks */

	/* Append what the job has beyond the members that all jobs have. */
	void		(*describe) (void *state, const KnnJob *job, StringInfo json);

	/*
	 * Read the result, of fd (closed by the caller) and its size, and check all of
	 * it; NULL, or what is wrong with it, palloc'd.
	 */
	const char *(*take) (void *state, const KnnJob *job, const KnnMessage *result,
						 const knn_graph_source *source);

	/* Bytes that a result may have at most. */
	uint64		result_limit;

	/* private */
	KnnSpoolFile vectors;
	KnnSpoolFile ids;
	bool		has_vectors;
} KnnBuildJob;

/*
 * May the program be asked, and is there so much that it is to be, whatever the method
 * has memory for?
 */
extern bool KnnBuildMayAsk(uint32 n);
extern bool KnnBuildWantsJob(const KnnShape *shape, uint32 n);

/* Has the job done; false, after a warning, when it was not. */
extern bool KnnBuildRunJob(KnnBuildJob *build);

/* The same by a job that the caller has made; false, and the failure told, without a warning. */
extern bool KnnBuildTryJob(KnnBuildJob *build, KnnJob *job, KnnJobFailure *failure);

/* A knn_graph_source's read of a file; state is its descriptor, an int. */
extern bool KnnBuildReadPiece(void *state, uint64_t offset, void *bytes, size_t n);

#endif
