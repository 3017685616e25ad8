/*
 * kmeans_train.c
 *		Centroids of a sample; see kmeans.h.
 *
 * Three steps, each with the groups of kmeans.c, so that no vector is compared with
 * all centroids:
 *
 *	divide	a part of the sample is divided roughly, into as many clusters as there will
 *			be groups
 *	draw	the first centroids are drawn from the part; a centroid is compared with
 *			the vectors of the clusters near it
 *	rounds	of Lloyd's algorithm, over the part, then over the whole
 */
#include "core/kmeans_impl.h"

#include <math.h>
#include <string.h>

#include "core/random.h"

/* Rounds over the part and over the whole. */
#define PART_ROUNDS		4
#define WHOLE_ROUNDS	4

/*
 * Every other of these compares vectors with the centroids of near groups; those
 * between with the KNN_KMEANS_NEAR ones near the one that a vector went to, which takes
 * a third of the time.  (No other round but the first of either kind being of the whole
 * costs 1 % of the mean squared distance at 768 dimensions, every one being so gains
 * half a percent.)
 */

/* Rounds of dividing the part, and clusters that a drawn centroid is compared with. */
#define DIVIDE_ROUNDS	3
#define CLUSTERS_PROBED	8

typedef struct training
{
	knn_kmeans *km;
	knn_vectors sample;
	knn_coded	coded;			/* of the sample; places are of the part */
	uint32_t	n;				/* vectors of the part, or of the sample */
	uint32_t	step;			/* of the sample's, the part has one of so many */
	uint32_t   *assigned;		/* the centroid of each of n */
	uint32_t   *ids;			/* their numbers in the sample, by centroid */
	uint32_t   *starts;			/* in ids, of each centroid */
	uint32_t   *near;			/* KNN_KMEANS_NEAR for each centroid */
	uint64_t	random;
} training;

/*
 * The number in the sample of vector i of the part: one of each "step", not always the
 * first, as what is in the sample may repeat itself.
 */
static uint32_t
sample_number(const training *t, uint32_t i)
{
	return i * t->step + (i * UINT32_C(2654435761) >> 16) % t->step;
}

/* Sorts the n vectors by what they were assigned to. */
static void
sort(training *t, uint32_t nclusters, uint32_t *starts)
{
	knn_kmeans_sort(t->assigned, t->n, nclusters, starts, t->ids);
	for (uint32_t i = 0; i < t->n && t->step > 1; i++)
		t->ids[i] = sample_number(t, t->ids[i]);
}

/* ---- divide ---- */

static void
find_cluster(void *argument, uint32_t thread, uint64_t item)
{
	training   *t = argument;
	knn_query	query;

	knn_coded_query(t->km, &query, &t->coded, sample_number(t, (uint32_t) item), thread);
	t->assigned[item] = knn_kmeans_nearest_group(t->km, &query, thread);
}

/* Divides the part among the groups' centres; members are in ids by starts of the groups. */
static void
divide(training *t)
{
	knn_kmeans *km = t->km;

	km->ngroups = knn_kmeans_groups(km->ncentroids);
	for (uint32_t i = 0; i < km->ngroups; i++)
	{
		uint32_t	from = sample_number(t, knn_random_below(&t->random, t->n));

		memcpy(km->centres + (size_t) km->unit * i, knn_vectors_at(&t->sample, from), km->unit);
		knn_coded_set(km, &km->coded_centres, i, knn_kmeans_at(km, km->centres, i), 0);
	}
	for (int round = 0; round <= DIVIDE_ROUNDS; round++)
	{
		knn_kmeans_each(km, t->n, false, find_cluster, t);
		sort(t, km->ngroups, km->starts);
		if (round < DIVIDE_ROUNDS)
			knn_kmeans_move(km, &t->sample, km->starts, t->ids, km->centres, &km->coded_centres);
	}
}

/* ---- draw ---- */

typedef struct drawing
{
	training   *t;
	float	   *least;			/* distance from the nearest centroid; of each vector of
								 * the part, cluster by cluster */
	float	   *distances;
	double	   *sums;			/* of least, of each cluster */
} drawing;

/* A centroid has been put at a vector: those of a cluster may be nearer to it. */
static void
compare_with(drawing *d, const knn_query *query, uint32_t cluster)
{
	uint32_t	first = d->t->km->starts[cluster];
	uint32_t	end = d->t->km->starts[cluster + 1];
	double		sum = 0;

	knn_query_scores(query, d->t->coded.factor_places + first, d->t->coded.code_places + first,
					 end - first, d->distances);
	for (uint32_t i = first; i < end; i++)
	{
		float		distance = d->distances[i - first];

		if (distance < d->least[i])
			d->least[i] = distance > 0 ? distance : 0;
		/* what is out of float's range is drawn by the fallback alone */
		sum += isfinite(d->least[i]) ? d->least[i] : 0;
	}
	d->sums[cluster] = sum;
}

/* A vector of the part, by its place in ids, drawn with a chance in proportion to least. */
static uint32_t
draw_vector(drawing *d)
{
	training   *t = d->t;
	const uint32_t *starts = t->km->starts;
	uint32_t	cluster = 0;
	double		left = 0;

	for (uint32_t i = 0; i < t->km->ngroups; i++)
		left += d->sums[i];
	if (!(left > 0))
		return knn_random_below(&t->random, t->n);
	left *= (double) (knn_random_next(&t->random) >> 11) * 0x1p-53;
	for (; cluster + 1 < t->km->ngroups && left >= d->sums[cluster]; cluster++)
		left -= d->sums[cluster];
	for (uint32_t i = starts[cluster]; i < starts[cluster + 1]; i++)
	{
		left -= isfinite(d->least[i]) ? d->least[i] : 0;
		if (left < 0)
			return i;
	}
	/* rounding has led beyond the end */
	return knn_random_below(&t->random, t->n);
}

static void
draw_all(drawing *d)
{
	training   *t = d->t;
	knn_kmeans *km = t->km;
	uint32_t	drawn = 0;

	for (uint32_t i = 0; i < t->n; i++)
	{
		knn_coded_place(km, &t->coded, i, t->ids[i]);
		d->least[i] = INFINITY;
	}
	for (uint32_t i = 0; i < km->ngroups; i++)
		d->sums[i] = 0;
	for (uint32_t c = 0; c < km->ncentroids; c++)
	{
		uint32_t	clusters[KNN_KMEANS_PROBED];
		uint32_t	nclusters;
		knn_query	query;

		if (c % 16 == 0 && km->check)
			km->check(km->context, km->done, km->total);

		/* one of each cluster goes first, so that all have distances */
		if (c < km->ngroups && km->starts[c] < km->starts[c + 1])
			drawn = km->starts[c] + knn_random_below(&t->random, km->starts[c + 1] - km->starts[c]);
		else
			drawn = draw_vector(d);
		memcpy(km->centroids + (size_t) km->unit * c,
			   knn_vectors_at(&t->sample, t->ids[drawn]), km->unit);
		knn_coded_query(km, &query, &t->coded, t->ids[drawn], 0);
		nclusters = knn_kmeans_search_groups(km, &query, d->distances, clusters);
		for (uint32_t i = 0; i < nclusters; i++)
			compare_with(d, &query, clusters[i]);
		d->least[drawn] = 0;
	}
}

/*
 * The first centroids (k-means++, Arthur and Vassilvitskii, SODA 2007): vectors, each
 * drawn with a chance in proportion to its distance from the nearest one drawn
 * before, so that no cluster gets many and another none.  The vectors' codes are
 * compared with each new centroid as a query, those of the clusters near it.
 */
static int
draw_centroids(training *t)
{
	knn_kmeans *km = t->km;
	uint32_t	n = t->n;
	drawing		d = {.t = t};
	int			result = KNN_ERROR_NO_MEMORY;

	d.least = knn_kmeans_take(km, sizeof(float) * (size_t) n);
	d.distances = knn_kmeans_take(km, sizeof(float) * (size_t) n);
	d.sums = knn_kmeans_take(km, sizeof(double) * km->ngroups);
	if (d.least && d.distances && d.sums)
	{
		draw_all(&d);
		result = KNN_OK;
	}
	knn_kmeans_give(km, d.least);
	knn_kmeans_give(km, d.distances);
	knn_kmeans_give(km, d.sums);
	return result;
}

/* ---- rounds ---- */

/* Put the n with the least distances of the vectors found first, in any order. */
static void
keep_least(float *distances, uint32_t *found, uint32_t nfound, uint32_t n)
{
	uint32_t	low = 0;
	uint32_t	high = nfound;

	/* quickselect: those before low belong to the n, those from high on do not */
	while (high - low > 1)
	{
		float		pivot = distances[low + (high - low) / 2];
		uint32_t	less = low;
		uint32_t	more = high;

		for (uint32_t i = low; i < more;)
		{
			uint32_t	to = distances[i] < pivot ? less++ : distances[i] > pivot ? --more : i;
			float		distance = distances[i];
			uint32_t	number = found[i];

			if (to == i)
			{
				i++;
				continue;
			}
			distances[i] = distances[to];
			found[i] = found[to];
			distances[to] = distance;
			found[to] = number;
			i += to < i;
		}
		if (n <= less)
			high = less;
		else if (n >= more)
			low = more;
		else
			return;
	}
}

static void
find_near(void *argument, uint32_t thread, uint64_t item)
{
	training   *t = argument;
	knn_kmeans *km = t->km;
	knn_kmeans_scratch *scratch = &km->scratch[thread];
	uint32_t   *near = t->near + (size_t) KNN_KMEANS_NEAR * item;
	knn_query	query;
	uint32_t	n;

	knn_coded_query(km, &query, &km->coded, (uint32_t) item, thread);
	n = knn_kmeans_search(km, &query, thread);
	if (n > KNN_KMEANS_NEAR)
		keep_least(scratch->distances, scratch->found, n, KNN_KMEANS_NEAR);
	for (uint32_t i = 0; i < KNN_KMEANS_NEAR; i++)
		near[i] = i < n ? scratch->found[i] : (uint32_t) item;
}

static void
assign_fully(void *argument, uint32_t thread, uint64_t item)
{
	training   *t = argument;
	knn_kmeans_scratch *scratch = &t->km->scratch[thread];
	knn_query	query;
	uint32_t	n;

	knn_coded_query(t->km, &query, &t->coded, sample_number(t, (uint32_t) item), thread);
	n = knn_kmeans_search(t->km, &query, thread);
	t->assigned[item] = scratch->found[knn_kmeans_least(scratch->distances, n)];
}

/* The nearest of the centroids near the one that the vector went to. */
static void
assign_nearby(void *argument, uint32_t thread, uint64_t item)
{
	training   *t = argument;
	knn_kmeans *km = t->km;
	const uint32_t *near = t->near + (size_t) KNN_KMEANS_NEAR * t->assigned[item];
	const uint8_t *codes[KNN_KMEANS_NEAR];
	const knn_code_factors *factors[KNN_KMEANS_NEAR];
	float		distances[KNN_KMEANS_NEAR];
	knn_query	query;

	for (uint32_t i = 0; i < KNN_KMEANS_NEAR; i++)
	{
		codes[i] = knn_coded_code(km, &km->coded, near[i]);
		factors[i] = &km->coded.factors[near[i]];
	}
	knn_coded_query(km, &query, &t->coded, sample_number(t, (uint32_t) item), thread);
	knn_query_scores(&query, factors, codes, KNN_KMEANS_NEAR, distances);
	t->assigned[item] = near[knn_kmeans_least(distances, KNN_KMEANS_NEAR)];
}

/*
 * Centroids that have lost all their vectors go where there are too many: to a
 * vector of the largest cluster, of which they get about half.  Not to one that is the
 * cluster's centroid: its vectors are equal, or nearly all of them.
 */
static void
fill_empty(training *t)
{
	knn_kmeans *km = t->km;
	uint32_t   *sizes = km->scratch[0].found;

	for (uint32_t i = 0; i < km->ncentroids; i++)
		sizes[i] = t->starts[i + 1] - t->starts[i];
	for (uint32_t i = 0; i < km->ncentroids; i++)
	{
		const void *v;
		uint32_t	largest;

		if (sizes[i] > 0)
			continue;
		for (;;)
		{
			uint32_t	from;

			largest = 0;
			for (uint32_t j = 1; j < km->ncentroids; j++)
			{
				if (sizes[j] > sizes[largest])
					largest = j;
			}
			if (sizes[largest] < 2)
				return;
			from = t->starts[largest] +
				knn_random_below(&t->random, t->starts[largest + 1] - t->starts[largest]);
			v = knn_vectors_at(&t->sample, t->ids[from]);
			if (memcmp(v, knn_kmeans_at(km, km->centroids, largest), km->unit) != 0)
				break;
			sizes[largest] = 1;
		}
		memcpy(km->centroids + (size_t) km->unit * i, v, km->unit);
		knn_coded_set(km, &km->coded, i, knn_kmeans_at(km, km->centroids, i), 0);
		sizes[largest] -= sizes[largest] / 2;
		sizes[i] = 1;			/* it is not known which of its vectors it gets */
	}
}

static void
rounds(training *t, int n)
{
	knn_kmeans *km = t->km;

	for (int round = 0; round < n; round++)
	{
		bool		nearby = round % 2 > 0;

		knn_kmeans_group(km);
		if (nearby)
			knn_kmeans_each(km, km->ncentroids, false, find_near, t);
		knn_kmeans_each(km, t->n, true, nearby ? assign_nearby : assign_fully, t);
		sort(t, km->ncentroids, t->starts);
		knn_kmeans_move(km, &t->sample, t->starts, t->ids, km->centroids, &km->coded);
		fill_empty(t);
	}
}

static void
encode_vector(void *argument, uint32_t thread, uint64_t item)
{
	training   *t = argument;

	knn_coded_set(t->km, &t->coded, (uint32_t) item, knn_vectors_at(&t->sample, (uint32_t) item),
				  thread);
}

static int
train(training *t)
{
	knn_kmeans *km = t->km;
	uint32_t	whole = t->sample.n;
	uint32_t	step = (whole - 1) / (KNN_KMEANS_DRAWN * km->ncentroids) + 1;

	km->total = WHOLE_ROUNDS * (uint64_t) whole;
	if (step > 1)
		km->total += PART_ROUNDS * (uint64_t) (whole / step);
	knn_kmeans_find_mean(km, &t->sample);
	knn_kmeans_each(km, whole, false, encode_vector, t);

	t->step = step;
	t->n = whole / step;
	divide(t);
	if (draw_centroids(t) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	for (uint32_t i = 0; i < km->ncentroids; i++)
		knn_coded_set(km, &km->coded, i, knn_kmeans_at(km, km->centroids, i), 0);
	if (step > 1)
		rounds(t, PART_ROUNDS);

	t->step = 1;
	t->n = whole;
	rounds(t, WHOLE_ROUNDS);
	knn_kmeans_group(km);
	return KNN_OK;
}

int
knn_kmeans_train(knn_kmeans *km, const void *sample, uint32_t nsample, uint32_t n)
{
	training	t = {.km = km,.sample = {sample, km->unit, nsample},.random = km->seed | 1};
	int			result = KNN_ERROR_NO_MEMORY;

	km->ncentroids = n;
	km->done = 0;
	t.assigned = knn_kmeans_take(km, sizeof(uint32_t) * (size_t) nsample);
	t.ids = knn_kmeans_take(km, sizeof(uint32_t) * (size_t) nsample);
	t.starts = knn_kmeans_take(km, sizeof(uint32_t) * ((size_t) n + 1));
	t.near = knn_kmeans_take(km, sizeof(uint32_t) * KNN_KMEANS_NEAR * (size_t) n);
	if (knn_coded_init(km, &t.coded, nsample, nsample / KNN_KMEANS_DRAWN < n ? nsample : KNN_KMEANS_DRAWN * n) &&
		t.assigned && t.ids && t.starts && t.near)
		result = train(&t);
	knn_coded_free(km, &t.coded);
	knn_kmeans_give(km, t.assigned);
	knn_kmeans_give(km, t.ids);
	knn_kmeans_give(km, t.starts);
	knn_kmeans_give(km, t.near);
	return result;
}
