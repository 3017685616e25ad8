/*
 * kmeans.h
 *		Clustering of vectors around centroids, and finding the nearest centroid.
 *
 * Lloyd's algorithm over a sample in memory (kmeans_train.c).  Distances between
 * vectors and centroids are estimates from the centroids' codes of 8 bits (byte and
 * binary vectors: exact), which cost a quarter of float distances, and which scans of an
 * index use for the same purpose: an assignment that differs from the exact one
 * is between two centroids that are equally near but for 1 %.
 *
 * The nearest centroid is looked for in two steps.  Centroids that are near each other
 * form groups, about as many as there are centroids in each; a vector is compared with
 * the groups' centres first, then with the centroids of the nearest groups.  (The
 * inverted file of an inverted file: Jegou, Douze and Schmid, PAMI 2011, have lists
 * searched so.)  One vector in fifty gets another than the nearest that way, and the mean
 * squared distance is a quarter of a percent larger.
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
 *
 * There are no threads here, but a caller who has some can lend them: what is done for
 * each of many vectors goes through "run", and the result does not depend on who does
 * which of them.
 */
#ifndef KNN_CORE_KMEANS_H
#define KNN_CORE_KMEANS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/code.h"
#include "core/memory.h"

/* Codes of vectors; and where they are, in an order of its own. */
typedef struct knn_coded
{
	uint8_t    *codes;
	knn_code_factors *factors;
	const uint8_t **code_places;
	const knn_code_factors **factor_places;
} knn_coded;

/* Memory of one thread. */
typedef struct knn_kmeans_scratch
{
	float	   *distances;		/* of the centroids that a vector was compared with */
	uint32_t   *found;			/* their numbers, and codes */
	const uint8_t **code_places;
	const knn_code_factors **factor_places;
	float	   *sum;
	float	   *qf;
	int8_t	   *q8;
} knn_kmeans_scratch;

typedef void (*knn_kmeans_item) (void *argument, uint32_t thread, uint64_t item);

typedef struct knn_kmeans
{
	/* set by the caller before knn_kmeans_init */
	uint32_t	dim;
	knn_space	space;			/* of the index; see knn_kmeans_space */
	knn_encoding encoding;		/* ROTATED_8 (any float vector), BYTE or BINARY */
	uint64_t	seed;
	knn_allocator allocator;
	void	   *context;		/* of the callbacks */

	/*
	 * Called now and then with what training has done of what it has to do (vectors
	 * in rounds); may longjmp; or NULL.
	 */
	void		(*check) (void *context, uint64_t done, uint64_t total);

	/*
	 * Do something for each of n items, by threads numbered from 0 to threads - 1;
	 * NULL: one after the other.  Those that are counted add to what is done.
	 */
	void		(*run) (void *context, uint64_t n, bool counted, knn_kmeans_item item,
						void *argument);
	uint32_t	threads;		/* 0 is 1 */

	/* what codes of centroids are made with */
	knn_encoder encoder;
	float	   *mean;			/* of the sample: the encoder's centre */

	uint32_t	ncentroids;
	uint32_t	unit;			/* bytes of a vector */
	uint32_t	code_bytes;
	char	   *centroids;
	knn_coded	coded;			/* of the centroids; the places group by group */

	/* groups of centroids */
	uint32_t	ngroups;
	char	   *centres;
	knn_coded	coded_centres;
	uint32_t   *starts;			/* in members, of each group; one more */
	uint32_t   *members;		/* centroids */
	uint32_t   *group_of;		/* of each centroid */

	/* progress */
	uint64_t	done;
	uint64_t	total;

	knn_kmeans_scratch *scratch;
} knn_kmeans;

/* The space that vectors of a space are clustered by. */
static inline knn_space
knn_kmeans_space(knn_space space)
{
	return space == KNN_SPACE_INNER_PRODUCT ? KNN_SPACE_L2 : space;
}

/*
 * Bytes that init allocates for n centroids, and what train allocates on top; but for
 * the sample, and for each of its vectors knn_kmeans_sample_memory.
 */
extern size_t knn_kmeans_memory(uint32_t dim, knn_encoding encoding, uint32_t n, uint32_t threads);
extern size_t knn_kmeans_sample_memory(uint32_t dim, knn_encoding encoding);

/* Make room for up to n centroids; KNN_OK or KNN_ERROR_NO_MEMORY. */
extern int	knn_kmeans_init(knn_kmeans *km, uint32_t n);

/*
 * Find n centroids of a sample of at least n vectors, laid end to end.  Of equal
 * vectors several may become centroids, as when there are fewer different ones than n:
 * see knn_kmeans_merge_equal.
 */
extern int	knn_kmeans_train(knn_kmeans *km, const void *sample, uint32_t nsample,
							 uint32_t n);

/*
 * Take over n centroids that were learned elsewhere, as many as init made room for,
 * in place of training; laid end to end.  Their mean takes the sample's place.
 */
extern void knn_kmeans_set(knn_kmeans *km, const void *centroids, uint32_t n);

/*
 * Let equal centroids be one, so that there is no tie between them, which who assigns a
 * vector and who searches for it might break differently.  ncentroids becomes smaller;
 * numbers gets the new number of each of the old ones.  KNN_OK or KNN_ERROR_NO_MEMORY;
 * four to eight bytes per centroid are needed meanwhile.
 */
extern int	knn_kmeans_merge_equal(knn_kmeans *km, uint32_t *numbers);

/*
 * How many vectors of count a sample for n centroids has, if memory is plenty; and the
 * number of its vector i when it has nsample: at even steps with a random place in
 * each, so that no part of the vectors is left out.  state begins as the seed.
 */
extern uint32_t knn_kmeans_sample_size(uint32_t n, uint32_t count);
extern uint32_t knn_kmeans_sample_pick(uint64_t *state, uint32_t i, uint32_t nsample, uint32_t count);

/* The number of the nearest centroid; by a thread that is less than km->threads. */
extern uint32_t knn_kmeans_nearest(const knn_kmeans *km, const void *v, uint32_t thread);

extern void knn_kmeans_free(knn_kmeans *km);

#endif
