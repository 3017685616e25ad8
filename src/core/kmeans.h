/*
 * kmeans.h
 *		Clustering of vectors around centroids, and finding the nearest centroid.
 *
 * Lloyd's algorithm over a sample in memory.  Distances between vectors and
 * centroids are estimates from the centroids' codes of 8 bits (byte and binary
 * vectors: exact), which cost a quarter of float distances, and which scans of an
 * index use for the same purpose: an assignment that differs from the exact one
 * is between two centroids that are equally near but for 1 %.
 *
 * Vectors, the sample's and the centroids, are what knn_encoder_rotate makes:
 * rotated floats, or the elements of byte and binary vectors.  Centroids are means
 * of their vectors; of byte vectors rounded (under cosine the mean of
 * directions, as long as bytes allow), of bits what the majority has.
 *
 * Inner product is no distance to cluster by: its vectors are clustered by L2, so
 * that those of a cluster are alike.  Under cosine centroids are directions, of
 * length 1 as the vectors: lists that are found by their means' distances lose two
 * neighbours in a hundred more (25,000 texts of 768 dimensions).
 */
#ifndef KNN_CORE_KMEANS_H
#define KNN_CORE_KMEANS_H

#include <stdint.h>

#include "core/code.h"
#include "core/memory.h"

typedef struct knn_kmeans
{
	/* set by the caller before knn_kmeans_init */
	uint32_t	dim;
	knn_space	space;			/* of the index; see knn_kmeans_space */
	knn_encoding encoding;		/* ROTATED_8 (any float vector), BYTE or BINARY */
	uint64_t	seed;
	knn_allocator allocator;
	void		(*check) (void);	/* called now and then; may longjmp */

	/* what codes of centroids are made with */
	knn_encoder encoder;
	float	   *mean;			/* of the sample: the encoder's centre */

	uint32_t	ncentroids;
	uint32_t	unit;			/* bytes of a vector */
	char	   *centroids;
	uint32_t	code_bytes;
	uint8_t    *codes;
	knn_code_factors *factors;

	/* scratch */
	const uint8_t **code_places;
	const knn_code_factors **factor_places;
	float	   *distances;
	float	   *qf;
	int8_t	   *q8;
} knn_kmeans;

/* The space that vectors of a space are clustered by. */
static inline knn_space
knn_kmeans_space(knn_space space)
{
	return space == KNN_SPACE_INNER_PRODUCT ? KNN_SPACE_L2 : space;
}

/* Bytes that init allocates for n centroids, and train for a sample on top. */
extern size_t knn_kmeans_memory(uint32_t dim, knn_encoding encoding, uint32_t n);

/* Make room for up to n centroids; KNN_OK or KNN_ERROR_NO_MEMORY. */
extern int	knn_kmeans_init(knn_kmeans *km, uint32_t n);

/*
 * Find n centroids of a sample of at least n vectors, laid end to end.  Of equal
 * vectors several may become centroids when there are fewer different ones than n.
 */
extern int	knn_kmeans_train(knn_kmeans *km, const void *sample, uint32_t nsample,
							 uint32_t n);

/*
 * Take over n centroids that were learned elsewhere, as many as init made room for,
 * in place of training; laid end to end.  Their mean takes the sample's place.
 */
extern void knn_kmeans_set(knn_kmeans *km, const void *centroids, uint32_t n);

/* The number of the nearest centroid. */
extern uint32_t knn_kmeans_nearest(knn_kmeans *km, const void *v);

extern void knn_kmeans_free(knn_kmeans *km);

#endif
