/*
 * progress.h
 *		How far a function that takes long has come.
 *
 * Nobody is told yet: these do nothing.
 */
#ifndef KNN_CACHE_PROGRESS_H
#define KNN_CACHE_PROGRESS_H

#include "postgres.h"

/* A command on a relation begins, with a phase of so many steps. */
static inline void
KnnProgressStart(const char *command, Oid relid, const char *phase, uint64 total)
{
}

/* The next phase begins. */
static inline void
KnnProgressPhase(const char *phase, uint64 total)
{
}

/* So many steps of the phase are done. */
static inline void
KnnProgressUpdate(uint64 done)
{
}

static inline void
KnnProgressEnd(void)
{
}

#endif
