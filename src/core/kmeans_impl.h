/*
 * kmeans_impl.h
 *		What kmeans.c and kmeans_train.c share.
 */
#ifndef KNN_CORE_KMEANS_IMPL_H
#define KNN_CORE_KMEANS_IMPL_H

#include <stddef.h>

#include "core/kmeans.h"

static inline void *
knn_kmeans_take(const knn_kmeans *km, size_t size)
{
	return km->allocator.alloc(km->allocator.context, size > 0 ? size : 1);
}

static inline void
knn_kmeans_give(const knn_kmeans *km, void *pointer)
{
	if (pointer)
		km->allocator.release(km->allocator.context, pointer);
}

static inline const char *
knn_kmeans_at(const knn_kmeans *km, const void *vectors, uint32_t i)
{
	return (const char *) vectors + (size_t) km->unit * i;
}

/* Room for n codes, and for places of so many; false without memory. */
extern bool knn_coded_init(const knn_kmeans *km, knn_coded *coded, uint32_t n, uint32_t nplaces);
extern void knn_coded_free(const knn_kmeans *km, knn_coded *coded);

/* Encode a vector as number i, and let a place be that of a code. */
extern void knn_coded_set(const knn_kmeans *km, knn_coded *coded, uint32_t i, const void *v,
						  uint32_t thread);

static inline const uint8_t *
knn_coded_code(const knn_kmeans *km, const knn_coded *coded, uint32_t i)
{
	return coded->codes + (size_t) km->code_bytes * i;
}

static inline void
knn_coded_place(const knn_kmeans *km, knn_coded *coded, uint32_t place, uint32_t i)
{
	coded->code_places[place] = knn_coded_code(km, coded, i);
	coded->factor_places[place] = &coded->factors[i];
}

/* Code i as a query; it lives as long as the thread makes no other. */
static inline void
knn_coded_query(const knn_kmeans *km, knn_query *query, const knn_coded *coded, uint32_t i,
				uint32_t thread)
{
	knn_query_from_code(query, &km->encoder, &coded->factors[i], knn_coded_code(km, coded, i),
						km->scratch[thread].q8, km->scratch[thread].qf);
}

/*
 * Do something for each of n items; counted of them are added to what is done (the
 * others are not of the progress).
 */
extern void knn_kmeans_each(knn_kmeans *km, uint64_t n, bool counted, knn_kmeans_item item,
							void *argument);

/* The position of the least of n > 0 distances. */
extern uint32_t knn_kmeans_least(const float *distances, uint32_t n);

/* Vectors a centroid that the first ones are drawn from. */
#define KNN_KMEANS_DRAWN 8

/* Centroids near one that are remembered while training. */
#define KNN_KMEANS_NEAR 64

/*
 * Groups that a vector is compared with.  Of 32 groups of 1000 centroids the nearest
 * centroid is in the first for one vector of two only, where clusters are not apart.
 */
#define KNN_KMEANS_PROBED 8

/* Groups of n centroids. */
extern uint32_t knn_kmeans_groups(uint32_t n);

/*
 * Centroids that may be the nearest ones of a query: their number; they and their
 * distances are in the thread's scratch.
 */
extern uint32_t knn_kmeans_search(const knn_kmeans *km, const knn_query *query, uint32_t thread);

/*
 * The groups, at most KNN_KMEANS_PROBED, whose centres are nearest to a query, and their
 * number; distances has room for those of all.
 */
extern uint32_t knn_kmeans_search_groups(const knn_kmeans *km, const knn_query *query,
										 float *distances, uint32_t *groups);

/* The number of the nearest of the groups' centres. */
extern uint32_t knn_kmeans_nearest_group(const knn_kmeans *km, const knn_query *query,
										 uint32_t thread);

/*
 * The numbers of n vectors, sorted by cluster, into ids; of[] has the cluster of each.
 * starts, one more than there are clusters, gets where those of each begin.
 */
extern void knn_kmeans_sort(const uint32_t *of, uint32_t n, uint32_t nclusters,
							uint32_t *starts, uint32_t *ids);

/* Vectors at even distances in memory. */
typedef struct knn_vectors
{
	const char *first;
	size_t		stride;			/* bytes */
	uint32_t	n;
} knn_vectors;

static inline const void *
knn_vectors_at(const knn_vectors *vectors, uint32_t i)
{
	return vectors->first + vectors->stride * i;
}

/*
 * Make each of n centroids what its vectors have in common: members of cluster i are
 * ids[starts[i]] to ids[starts[i + 1] - 1].  One without members, or whose members
 * have nothing in common, stays as it is.  Codes follow.
 */
extern void knn_kmeans_move(knn_kmeans *km, const knn_vectors *vectors, const uint32_t *starts,
							const uint32_t *ids, char *centroids, knn_coded *coded);

/* The mean of vectors becomes the encoder's centre, if they are floats. */
extern void knn_kmeans_find_mean(knn_kmeans *km, const knn_vectors *vectors);

/* Groups of the centroids, whose codes are made. */
extern void knn_kmeans_group(knn_kmeans *km);

#endif
