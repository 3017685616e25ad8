/*
 * kmeans.c
 *		Clustering of vectors around centroids; see kmeans.h.
 */
#include "core/kmeans.h"

#include <math.h>
#include <string.h>

/*
 * Rounds.  The first ones, which move far, see a part of the sample only: this many
 * vectors a centroid.
 */
#define COARSE_ROUNDS	4
#define FINE_ROUNDS		4
#define COARSE_SHARE	8

/*
 * Within each of these, after its first round, a vector is compared with the centroids
 * near the one it went to only: a vector that moves further is rare, and found by
 * the next full round.
 */
#define NEAR_CENTROIDS	64

/* Vectors between two calls of check. */
#define CHECK_EVERY		1024

static void *
take(knn_kmeans *km, size_t size)
{
	return km->allocator.alloc(km->allocator.context, size > 0 ? size : 1);
}

static void
give(knn_kmeans *km, void *pointer)
{
	if (pointer)
		km->allocator.release(km->allocator.context, pointer);
}

/* xorshift64* */
static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static uint32_t
random_below(uint64_t *state, uint32_t n)
{
	return (uint32_t) ((next_random(state) >> 32) * n >> 32);
}

static uint32_t
unit_bytes(uint32_t dim, knn_encoding encoding)
{
	return knn_encoding_is_float(encoding) ? (uint32_t) sizeof(float) * dim :
		knn_code_bytes(encoding, dim);
}

size_t
knn_kmeans_memory(uint32_t dim, knn_encoding encoding, uint32_t n)
{
	/* centroids, and the codes of the vectors that the first ones are drawn from */
	return (size_t) n * (COARSE_SHARE * (knn_code_bytes(encoding, dim) + sizeof(knn_code_factors) +
										 2 * sizeof(void *) + 2 * sizeof(float)) +
						 unit_bytes(dim, encoding) + knn_code_bytes(encoding, dim) +
						 sizeof(float) * dim + sizeof(knn_code_factors) +
						 2 * sizeof(void *) + (3 + NEAR_CENTROIDS) * sizeof(uint32_t));
}

int
knn_kmeans_init(knn_kmeans *km, uint32_t n)
{
	uint32_t	dim = km->dim;

	km->ncentroids = 0;
	km->unit = unit_bytes(dim, km->encoding);
	km->code_bytes = knn_code_bytes(km->encoding, dim);
	km->mean = take(km, sizeof(float) * dim);
	km->centroids = take(km, (size_t) km->unit * n);
	km->codes = take(km, (size_t) km->code_bytes * n);
	km->factors = take(km, sizeof(knn_code_factors) * (size_t) n);
	km->code_places = take(km, sizeof(uint8_t *) * (size_t) n);
	km->factor_places = take(km, sizeof(knn_code_factors *) * (size_t) n);
	km->distances = take(km, sizeof(float) * (size_t) n);
	km->qf = take(km, sizeof(float) * KNN_QUERY_ROOM(dim));
	km->q8 = take(km, KNN_QUERY_ROOM(dim));
	if (!km->mean || !km->centroids || !km->codes || !km->factors || !km->code_places ||
		!km->factor_places || !km->distances || !km->qf || !km->q8)
		return KNN_ERROR_NO_MEMORY;
	for (uint32_t i = 0; i < n; i++)
	{
		km->code_places[i] = km->codes + (size_t) km->code_bytes * i;
		km->factor_places[i] = &km->factors[i];
	}

	memset(&km->encoder, 0, sizeof(km->encoder));
	km->encoder.dim = dim;
	km->encoder.space = knn_kmeans_space(km->space);
	km->encoder.encoding = km->encoding;
	km->encoder.kernels = knn_kernels_get();

	/* vectors come rotated: that there are signs is all that the encoder needs */
	km->encoder.signs = knn_encoding_is_float(km->encoding) && knn_space_rotates(km->space) ?
		(const uint8_t *) "" : NULL;
	return KNN_OK;
}

void
knn_kmeans_free(knn_kmeans *km)
{
	give(km, km->mean);
	give(km, km->centroids);
	give(km, km->codes);
	give(km, km->factors);
	give(km, km->code_places);
	give(km, km->factor_places);
	give(km, km->distances);
	give(km, km->qf);
	give(km, km->q8);
	memset(km, 0, sizeof(*km));
}

/* ---- the nearest centroid ---- */

uint32_t
knn_kmeans_nearest(knn_kmeans *km, const void *v)
{
	knn_query	query;
	uint32_t	best = 0;
	float		least;

	if (km->ncentroids <= 1)
		return 0;
	knn_query_prepare_rotated(&query, &km->encoder, v, km->q8, km->qf);
	knn_query_scores(&query, km->factor_places, km->code_places, km->ncentroids, km->distances);
	least = km->distances[0];
	for (uint32_t i = 1; i < km->ncentroids; i++)
	{
		if (km->distances[i] < least)
		{
			least = km->distances[i];
			best = i;
		}
	}
	return best;
}

/* ---- training ---- */

typedef struct training
{
	knn_kmeans *km;
	const char *sample;
	uint32_t	nsample;
	uint32_t   *order;			/* the sample, shuffled */
	uint32_t   *counts;			/* vectors of each centroid */
	float	   *sums;			/* of their elements; set bits of binary vectors */
	uint32_t   *near;			/* NEAR_CENTROIDS for each centroid, itself first */
	uint32_t	nnear;			/* or as many as there are */
	uint64_t	random;
} training;

static const void *
sample_at(const training *t, uint32_t i)
{
	return t->sample + (size_t) t->km->unit * i;
}

static void *
centroid_at(const knn_kmeans *km, uint32_t i)
{
	return km->centroids + (size_t) km->unit * i;
}

static void
add_to_sum(const training *t, float *sum, const void *v)
{
	knn_kmeans *km = t->km;
	uint32_t	dim = km->dim;

	if (km->encoding == KNN_ENCODING_BINARY)
	{
		const uint8_t *bits = v;

		for (uint32_t i = 0; i < dim; i++)
			sum[i] += (float) (bits[i >> 3] >> (i & 7) & 1);
	}
	else if (km->encoding == KNN_ENCODING_BYTE)
	{
		const int8_t *bytes = v;
		float		weight = 1;

		if (knn_space_normalises(km->space))
		{
			float		norm2 = (float) km->encoder.kernels->inner_product_s8(bytes, bytes, dim);

			weight = norm2 > 0 ? 1 / sqrtf(norm2) : 0;
		}
		for (uint32_t i = 0; i < dim; i++)
			sum[i] += weight * (float) bytes[i];
	}
	else
	{
		const float *floats = v;

		for (uint32_t i = 0; i < dim; i++)
			sum[i] += floats[i];
	}
}

/* What the vectors of a cluster, count of them, have in common. */
static void
set_centroid(const training *t, uint32_t i)
{
	knn_kmeans *km = t->km;
	uint32_t	dim = km->dim;
	const float *sum = t->sums + (size_t) dim * i;
	float		count = (float) t->counts[i];

	if (km->encoding == KNN_ENCODING_BINARY)
	{
		uint8_t    *bits = centroid_at(km, i);

		memset(bits, 0, km->unit);
		for (uint32_t j = 0; j < dim; j++)
		{
			if (2 * sum[j] > count)
				bits[j >> 3] |= (uint8_t) (1 << (j & 7));
		}
	}
	else if (km->encoding == KNN_ENCODING_BYTE)
	{
		int8_t	   *bytes = centroid_at(km, i);
		float		factor = 1 / count;

		if (knn_space_normalises(km->space))
		{
			float		largest = 0;

			for (uint32_t j = 0; j < dim; j++)
				largest = fabsf(sum[j]) > largest ? fabsf(sum[j]) : largest;
			if (!(largest > 0))
				return;			/* opposite directions: stay where it is */
			factor = 127 / largest;
		}
		for (uint32_t j = 0; j < dim; j++)
			bytes[j] = (int8_t) lrintf(sum[j] * factor);
	}
	else
	{
		float	   *floats = centroid_at(km, i);

		for (uint32_t j = 0; j < dim; j++)
		{
			float		mean = sum[j] / count;

			/* sums of huge elements overflow */
			if (isfinite(mean))
				floats[j] = mean;
		}
		if (knn_space_normalises(km->space))
			(void) knn_normalise(km->encoder.kernels, floats, dim);
	}
}

static void
encode_centroids(knn_kmeans *km)
{
	for (uint32_t i = 0; i < km->ncentroids; i++)
		knn_encode_rotated(&km->encoder, centroid_at(km, i), &km->factors[i],
						   km->codes + (size_t) km->code_bytes * i, km->qf);
}

/*
 * Centroids that have lost all their vectors go where there are too many: to a
 * vector of the largest cluster, of which they get about half.  assigned tells the
 * cluster of the first n vectors in t->order.
 */
static void
fill_empty(training *t, const uint32_t *assigned, uint32_t n)
{
	knn_kmeans *km = t->km;

	for (uint32_t i = 0; i < km->ncentroids; i++)
	{
		uint32_t	largest = 0;
		uint32_t	at;

		if (t->counts[i] > 0)
			continue;
		for (uint32_t j = 1; j < km->ncentroids; j++)
		{
			if (t->counts[j] > t->counts[largest])
				largest = j;
		}
		if (t->counts[largest] < 2)
			return;
		at = random_below(&t->random, n);
		for (uint32_t tried = 0; assigned[at] != largest && tried < n; tried++)
			at = at + 1 < n ? at + 1 : 0;
		memcpy(centroid_at(km, i), sample_at(t, t->order[at]), km->unit);
		t->counts[i] = t->counts[largest] / 2;
		t->counts[largest] -= t->counts[i];
	}
}

/* For each centroid those nearest to it. */
static void
find_near(training *t)
{
	knn_kmeans *km = t->km;
	uint32_t	n = t->nnear;

	for (uint32_t i = 0; i < km->ncentroids; i++)
	{
		uint32_t   *near = t->near + (size_t) NEAR_CENTROIDS * i;
		knn_query	query;
		uint32_t	found = 0;

		if (i % 16 == 0 && km->check)
			km->check();
		knn_query_prepare_rotated(&query, &km->encoder, centroid_at(km, i), km->q8, km->qf);
		knn_query_scores(&query, km->factor_places, km->code_places, km->ncentroids, km->distances);
		km->distances[i] = -INFINITY;
		for (uint32_t j = 0; j < km->ncentroids; j++)
		{
			uint32_t	at;

			/* the farthest one found is the last */
			if (found == n && !(km->distances[j] < km->distances[near[n - 1]]))
				continue;
			for (at = found < n ? found++ : n - 1;
				 at > 0 && km->distances[j] < km->distances[near[at - 1]]; at--)
				near[at] = near[at - 1];
			near[at] = j;
		}
	}
}

/* The nearest of the centroids near one. */
static uint32_t
nearest_of(training *t, const void *v, uint32_t centroid)
{
	knn_kmeans *km = t->km;
	const uint32_t *near = t->near + (size_t) NEAR_CENTROIDS * centroid;
	const uint8_t *codes[NEAR_CENTROIDS];
	const knn_code_factors *factors[NEAR_CENTROIDS];
	float		distances[NEAR_CENTROIDS];
	knn_query	query;
	uint32_t	best = 0;

	for (uint32_t i = 0; i < t->nnear; i++)
	{
		codes[i] = km->code_places[near[i]];
		factors[i] = km->factor_places[near[i]];
	}
	knn_query_prepare_rotated(&query, &km->encoder, v, km->q8, km->qf);
	knn_query_scores(&query, factors, codes, t->nnear, distances);
	for (uint32_t i = 1; i < t->nnear; i++)
	{
		if (distances[i] < distances[best])
			best = i;
	}
	return near[best];
}

/*
 * One round over the first n vectors in t->order: full, or from where they went in
 * the last one.
 */
static void
round_of(training *t, uint32_t *assigned, uint32_t n, bool full, bool last)
{
	knn_kmeans *km = t->km;

	if (!full)
		find_near(t);
	memset(t->counts, 0, sizeof(uint32_t) * km->ncentroids);
	memset(t->sums, 0, sizeof(float) * km->dim * km->ncentroids);
	for (uint32_t i = 0; i < n; i++)
	{
		const void *v = sample_at(t, t->order[i]);
		uint32_t	nearest = full ? knn_kmeans_nearest(km, v) : nearest_of(t, v, assigned[i]);

		if (i % CHECK_EVERY == 0 && km->check)
			km->check();
		assigned[i] = nearest;
		t->counts[nearest]++;
		add_to_sum(t, t->sums + (size_t) km->dim * nearest, v);
	}
	for (uint32_t i = 0; i < km->ncentroids; i++)
	{
		if (t->counts[i] > 0)
			set_centroid(t, i);
	}
	if (!last)
		fill_empty(t, assigned, n);
	encode_centroids(km);
}

static void
find_mean(const training *t)
{
	knn_kmeans *km = t->km;
	uint32_t	dim = km->dim;

	memset(km->mean, 0, sizeof(float) * dim);
	for (uint32_t i = 0; i < t->nsample; i++)
	{
		const float *v = sample_at(t, i);

		for (uint32_t j = 0; j < dim; j++)
			km->mean[j] += (v[j] - km->mean[j]) / (float) (i + 1);
	}
	for (uint32_t j = 0; j < dim; j++)
	{
		if (!isfinite(km->mean[j]))
			km->mean[j] = 0;
	}
	km->encoder.centre = km->mean;
}

/*
 * The first centroids (k-means++, Arthur and Vassilvitskii, SODA 2007): vectors of
 * the first n in t->order, each drawn with a chance in proportion to its distance
 * from the nearest one drawn before, so that no cluster gets many and another none.
 * The vectors' codes are compared with each new centroid as a query.
 */
static int
draw_centroids(training *t, uint32_t n)
{
	knn_kmeans *km = t->km;
	uint8_t    *codes = take(km, (size_t) km->code_bytes * n);
	knn_code_factors *factors = take(km, sizeof(knn_code_factors) * (size_t) n);
	const uint8_t **code_places = take(km, sizeof(uint8_t *) * (size_t) n);
	const knn_code_factors **factor_places = take(km, sizeof(knn_code_factors *) * (size_t) n);
	float	   *distances = take(km, sizeof(float) * (size_t) n);
	float	   *least = take(km, sizeof(float) * (size_t) n);
	uint32_t	drawn = 0;

	if (!codes || !factors || !code_places || !factor_places || !distances || !least)
		return KNN_ERROR_NO_MEMORY;
	for (uint32_t i = 0; i < n; i++)
	{
		code_places[i] = codes + (size_t) km->code_bytes * i;
		factor_places[i] = &factors[i];
		knn_encode_rotated(&km->encoder, sample_at(t, t->order[i]), &factors[i],
						   codes + (size_t) km->code_bytes * i, km->qf);
		least[i] = INFINITY;
	}

	for (uint32_t c = 0;; c++)
	{
		const void *v = sample_at(t, t->order[drawn]);
		knn_query	query;
		double		sum = 0;
		double		left;

		memcpy(centroid_at(km, c), v, km->unit);
		if (c + 1 == km->ncentroids)
			break;
		if (c % 16 == 0 && km->check)
			km->check();
		knn_query_prepare_rotated(&query, &km->encoder, v, km->q8, km->qf);
		knn_query_scores(&query, factor_places, code_places, n, distances);
		least[drawn] = 0;
		for (uint32_t i = 0; i < n; i++)
		{
			if (distances[i] < least[i])
				least[i] = distances[i] > 0 ? distances[i] : 0;
			/* what is out of float's range is drawn by the fallback alone */
			sum += isfinite(least[i]) ? least[i] : 0;
		}
		left = sum * ((double) (next_random(&t->random) >> 11) * 0x1p-53);
		drawn = random_below(&t->random, n);
		for (uint32_t i = 0; i < n && sum > 0; i++)
		{
			left -= isfinite(least[i]) ? least[i] : 0;
			if (left < 0)
			{
				drawn = i;
				break;
			}
		}
	}

	give(km, codes);
	give(km, factors);
	give(km, code_places);
	give(km, factor_places);
	give(km, distances);
	give(km, least);
	return KNN_OK;
}

int
knn_kmeans_train(knn_kmeans *km, const void *sample, uint32_t nsample, uint32_t n)
{
	training	t = {.km = km,.sample = sample,.nsample = nsample,.random = km->seed | 1};
	uint32_t   *assigned = take(km, sizeof(uint32_t) * (size_t) nsample);
	uint32_t	part;

	t.order = take(km, sizeof(uint32_t) * (size_t) nsample);
	t.counts = take(km, sizeof(uint32_t) * (size_t) n);
	t.sums = take(km, sizeof(float) * (size_t) km->dim * n);
	t.near = take(km, sizeof(uint32_t) * NEAR_CENTROIDS * (size_t) n);
	t.nnear = n < NEAR_CENTROIDS ? n : NEAR_CENTROIDS;
	if (!assigned || !t.order || !t.counts || !t.sums || !t.near)
		return KNN_ERROR_NO_MEMORY;

	/* a shuffled sample has random vectors in front */
	for (uint32_t i = 0; i < nsample; i++)
	{
		uint32_t	j = random_below(&t.random, i + 1);

		t.order[i] = t.order[j];
		t.order[j] = i;
	}
	if (knn_encoding_is_float(km->encoding))
		find_mean(&t);
	km->ncentroids = n;
	part = nsample / COARSE_SHARE < n ? nsample : n * COARSE_SHARE;
	if (draw_centroids(&t, part) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	encode_centroids(km);

	for (int i = 0; i < COARSE_ROUNDS && part < nsample; i++)
		round_of(&t, assigned, part, i == 0, false);
	for (int i = 0; i < FINE_ROUNDS; i++)
		round_of(&t, assigned, nsample, i == 0, i == FINE_ROUNDS - 1);

	give(km, assigned);
	give(km, t.order);
	give(km, t.counts);
	give(km, t.sums);
	give(km, t.near);
	return KNN_OK;
}

void
knn_kmeans_set(knn_kmeans *km, const void *centroids, uint32_t n)
{
	training	t = {.km = km,.sample = centroids,.nsample = n};

	memcpy(km->centroids, centroids, (size_t) km->unit * n);
	km->ncentroids = n;
	if (knn_encoding_is_float(km->encoding))
		find_mean(&t);
	encode_centroids(km);
}
