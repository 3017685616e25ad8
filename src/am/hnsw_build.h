/*
 * hnsw_build.h
 *		What the passes of a build of knn_hnsw share; see hnsw_build.c.
 */
#ifndef KNN_AM_HNSW_BUILD_H
#define KNN_AM_HNSW_BUILD_H

#include "postgres.h"

#include "am/build_vectors.h"
#include "am/hnsw.h"

#include "core/fingerprint.h"
#include "core/graph_build.h"
#include "core/graph_file.h"
#include "job/spool.h"

/* A further row of a node. */
typedef struct DuplicateRow
{
	uint32		node;			/* by position in the file */
	ItemPointerData tid;
} DuplicateRow;

typedef struct HnswBuild
{
	Relation	index;
	KnnShape	shape;
	KnnColumnShape columns[KNN_NCOLUMNS];
	MemoryContext context;		/* lives as long as the build */
	MemoryContext row_context;	/* reset for each row */

	/* after the first pass */
	KnnBuildVectors read;		/* n vectors, stored form or else elements */
	Size		kept_size;		/* bytes of each */
	uint32		n;
	double	   *sum;
	knn_fingerprint_set seen;
	ItemPointerData *tids;		/* first row of each vector */
	uint32		tids_room;
	DuplicateRow *duplicates;
	uint32		nduplicates;
	uint32		duplicates_room;
	double		nrows;			/* indexed */

	/* second pass */
	float	   *centre;			/* rotated if the space rotates */
	const struct KnnModelSource *model; /* NULL: there is none */
	const knn_pq *pq;			/* of encoder pq */
	float	   *code_centre;	/* what the index's codes are about */
	uint32		in_memory;		/* vectors that the graph in memory holds */
	knn_graph	graph;
	uint32	   *old_of_new;		/* position in the file of each node */
	uint32	   *new_of_old;		/* NULL in a graph of knn-builder */
	bool		external;		/* knn-builder's: the arrays of graph are those of
								 * graph_file, its nodes numbered for good, and
								 * it has no codes */
	knn_graph_file graph_file;
	bool		has_codes;		/* knn-builder's, in a file that has no name any
								 * more */
	int			codes_fd;
	uint64		codes_size;

	/* third pass */
	BlockNumber blocks;			/* of the index */
	BlockNumber next_block;		/* that is to be filled */
} HnswBuild;

/* The number in build->graph of the node that the index will number id. */
static inline uint32
KnnBuildNode(const HnswBuild *build, uint32 id)
{
	return build->external ? id : build->old_of_new[id];
}

/* And the other way round. */
static inline uint32
KnnBuildId(const HnswBuild *build, uint32 node)
{
	return build->external ? node : build->new_of_old[node];
}

/* hnsw_build.c */
extern uint32 KnnBuildFitting(const HnswBuild *build);
extern void KnnBuildCheckInterrupts(void);

/* hnsw_build_read.c */
extern void KnnBuildReadBegin(HnswBuild *build);
extern void KnnBuildReadRow(Relation index, ItemPointer tid, Datum *values, bool *isnull,
							bool alive, void *state);

/*
 * hnsw_build_external.c
 *
 * Is the graph to be built by knn-builder?  And have it built: false, after a
 * warning, when it was not, and the server has to.
 */
extern bool KnnBuildWantsExternal(const HnswBuild *build);
extern bool KnnBuildExternally(HnswBuild *build);

/*
 * The same remotely, if the index is to be built so; false, after a warning if it
 * was tried, when it was not.  ERROR if nothing else is to be tried.
 */
extern bool KnnBuildRemotely(HnswBuild *build);

/*
 * hnsw_build_codes.c
 *
 * The name of the file in which knn-builder is to write the codes; NULL where it is not
 * asked for them: those of bytes and bits, and those it does not know.
 */
extern const char *KnnBuildCodesFile(const HnswBuild *build);

/*
 * Once there is a graph: look for codes of its nodes, which need not be there.  False
 * when they are no good, and why in *problem.
 */
extern bool KnnBuildTakeCodes(HnswBuild *build, const KnnSpool *spool, char **problem);

/* Append them to the column, when there are some; they are gone then. */
extern void KnnBuildWriteTakenCodes(HnswBuild *build, KnnColumnWriter *writer);

/* hnsw_build_write.c */
extern void KnnBuildWritePages(HnswBuild *build);
extern void KnnBuildInsertRest(HnswBuild *build);

#endif
