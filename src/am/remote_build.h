/*
 * remote_build.h
 *		Builds of an index's graph by a service elsewhere: whether, by what, and
 *		how they are counted.
 *
 * The program knn-builder does all that has to do with the network; to a build this
 * is one more job of it ("remote"), described by what a local one is and a member
 * of its own.
 *
 *	if (KnnRemoteBuildWanted(...))
 *		remote = KnnRemoteBuildBegin(...)
 *		PG_ENSURE_ERROR_CLEANUP(KnnRemoteBuildEnd, remote)
 *			KnnRemoteBuildPrepare, run remote->job, KnnRemoteBuildDone
 */
#ifndef KNN_AM_REMOTE_BUILD_H
#define KNN_AM_REMOTE_BUILD_H

#include "postgres.h"

#include "job/job.h"
#include "job/repository.h"
#include "lib/stringinfo.h"
#include "portability/instr_time.h"
#include "store/store.h"
#include "utils/relcache.h"

typedef struct KnnRemoteBuild
{
	Relation	index;
	const KnnShape *shape;
	KnnJob	   *job;
	KnnRepository *repository;

	/* for the statistics */
	instr_time	start;
	bool		rebuild;
	KnnCounter	outcome;		/* KNN_NCOUNTERS while there is none */
} KnnRemoteBuild;

/*
 * Is the graph of n vectors to be built remotely?  What is against it is logged at
 * DEBUG1.
 */
extern bool KnnRemoteBuildWanted(Relation index, const KnnShape *shape, uint32 n);

/* An attempt; counted from now on as one that is under way. */
extern KnnRemoteBuild *KnnRemoteBuildBegin(Relation index, const KnnShape *shape, uint32 n);

/*
 * Looks up service, repository and credentials, for the job to be run as the owner
 * of the table.  False, and the failure told, if something is missing.
 */
extern bool KnnRemoteBuildPrepare(KnnRemoteBuild *remote, KnnJobFailure *failure);

/* The member "remote" of the job, with a comma before it. */
extern void KnnRemoteBuildDescribe(const KnnRemoteBuild *remote, StringInfo json);

/* The outcome: when it failed a warning, or an ERROR if nothing else is to be tried. */
extern void KnnRemoteBuildDone(KnnRemoteBuild *remote, bool built, const KnnJobFailure *failure);

/*
 * Ends and counts an attempt, whatever came of it; raises no error.  With the
 * arguments that PG_ENSURE_ERROR_CLEANUP wants.
 */
extern void KnnRemoteBuildEnd(int code, Datum remote);

#endif
