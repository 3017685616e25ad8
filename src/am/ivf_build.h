/*
 * ivf_build.h
 *		Between the files of a build of knn_ivf.
 */
#ifndef KNN_AM_IVF_BUILD_H
#define KNN_AM_IVF_BUILD_H

#include "postgres.h"

#include "am/build_vectors.h"
#include "am/ivf.h"

/* What a build has read, and is to be divided. */
typedef struct KnnIvfRead
{
	Relation	index;
	const KnnShape *shape;
	KnnBuildVectors *vectors;
	Size		kept_size;		/* bytes of each */
	uint32		n;
	MemoryContext context;		/* for the result */
} KnnIvfRead;

/* The lists of vectors, checked: centroids (rotated) end to end, and the list of each. */
typedef struct KnnIvfClusters
{
	void	   *centroids;
	uint32	   *lists;
} KnnIvfClusters;

/*
 * ivf_build_external.c
 *
 * Have knn-builder divide the vectors into nlists lists: false when there are too few to
 * ask it, or, after a warning, when it did not, and the server has to.
 */
extern bool KnnIvfClusterExternally(const KnnIvfRead *read, uint32 nlists, KnnIvfClusters *clusters);

#endif
