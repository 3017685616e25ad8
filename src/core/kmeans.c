/*
 * kmeans.c
 *		Centroids and the nearest of them; see kmeans.h.
 */
#include "core/kmeans_impl.h"

#include <math.h>
#include <string.h>

/*
 * With fewer centroids there is one group; with more, twice as many as there would be in
 * each if both numbers were equal, so that a vector is compared with fewer.
 */
#define GROUPED_FROM	128

/* Rounds of clustering centroids, which need not be a good one. */
#define GROUP_ROUNDS	3

/*
 * Vectors of a sample for each centroid: few centroids can afford many.  (faiss takes up to
 * 256, and warns below 39.)
 */
#define SAMPLE_MOST		256
#define SAMPLE_LEAST	32
#define SAMPLE_TOTAL	32768

/* Items between two calls of check. */
#define CHECK_EVERY		512

/* ---- memory ---- */

static uint32_t
unit_bytes(uint32_t dim, knn_encoding encoding)
{
	return knn_encoding_is_float(encoding) ? (uint32_t) sizeof(float) * dim :
		knn_code_bytes(encoding, dim);
}

uint32_t
knn_kmeans_groups(uint32_t n)
{
	return n < GROUPED_FROM ? 1 : 2 * (uint32_t) sqrt(n);
}

bool
knn_coded_init(const knn_kmeans *km, knn_coded *coded, uint32_t n, uint32_t nplaces)
{
	coded->codes = knn_kmeans_take(km, (size_t) km->code_bytes * n);
	coded->factors = knn_kmeans_take(km, sizeof(knn_code_factors) * (size_t) n);
	coded->code_places = knn_kmeans_take(km, sizeof(uint8_t *) * (size_t) nplaces);
	coded->factor_places = knn_kmeans_take(km, sizeof(knn_code_factors *) * (size_t) nplaces);
	return coded->codes && coded->factors && coded->code_places && coded->factor_places;
}

void
knn_coded_free(const knn_kmeans *km, knn_coded *coded)
{
	knn_kmeans_give(km, coded->codes);
	knn_kmeans_give(km, coded->factors);
	knn_kmeans_give(km, coded->code_places);
	knn_kmeans_give(km, coded->factor_places);
	memset(coded, 0, sizeof(*coded));
}

void
knn_coded_set(const knn_kmeans *km, knn_coded *coded, uint32_t i, const void *v, uint32_t thread)
{
	knn_encode_rotated(&km->encoder, v, &coded->factors[i],
					   coded->codes + (size_t) km->code_bytes * i, km->scratch[thread].qf);
}

/* Bytes of a code, with factors and place. */
static size_t
coded_bytes(uint32_t dim, knn_encoding encoding)
{
	return knn_code_bytes(encoding, dim) + sizeof(knn_code_factors) + 2 * sizeof(void *);
}

size_t
knn_kmeans_memory(uint32_t dim, knn_encoding encoding, uint32_t n, uint32_t threads)
{
	size_t		groups = knn_kmeans_groups(n);
	size_t		scratch = sizeof(knn_kmeans_scratch) + (n + groups) * (sizeof(float) + sizeof(uint32_t) + 2 * sizeof(void *)) +
		sizeof(float) * dim + (sizeof(float) + 1) * KNN_QUERY_ROOM(dim);
	size_t		drawn = KNN_KMEANS_DRAWN * (2 * sizeof(float) + 2 * sizeof(void *));
	size_t		training = KNN_KMEANS_NEAR * sizeof(uint32_t) + sizeof(uint32_t);

	return (n + groups) * (coded_bytes(dim, encoding) + unit_bytes(dim, encoding) + 2 * sizeof(uint32_t)) +
		sizeof(float) * dim + n * (drawn + training) + groups * sizeof(double) +
		(threads > 0 ? threads : 1) * scratch;
}

size_t
knn_kmeans_sample_memory(uint32_t dim, knn_encoding encoding)
{
	return knn_code_bytes(encoding, dim) + sizeof(knn_code_factors) + 2 * sizeof(uint32_t);
}

static bool
init_scratch(knn_kmeans *km, uint32_t n)
{
	size_t		most = (size_t) n + knn_kmeans_groups(n);

	km->scratch = knn_kmeans_take(km, sizeof(knn_kmeans_scratch) * km->threads);
	if (!km->scratch)
		return false;
	memset(km->scratch, 0, sizeof(knn_kmeans_scratch) * km->threads);
	for (uint32_t i = 0; i < km->threads; i++)
	{
		knn_kmeans_scratch *scratch = &km->scratch[i];

		scratch->distances = knn_kmeans_take(km, sizeof(float) * most);
		scratch->found = knn_kmeans_take(km, sizeof(uint32_t) * most);
		scratch->code_places = knn_kmeans_take(km, sizeof(uint8_t *) * most);
		scratch->factor_places = knn_kmeans_take(km, sizeof(knn_code_factors *) * most);
		scratch->sum = knn_kmeans_take(km, sizeof(float) * km->dim);
		scratch->qf = knn_kmeans_take(km, sizeof(float) * KNN_QUERY_ROOM(km->dim));
		scratch->q8 = knn_kmeans_take(km, KNN_QUERY_ROOM(km->dim));
		if (!scratch->distances || !scratch->found || !scratch->code_places ||
			!scratch->factor_places || !scratch->sum || !scratch->qf || !scratch->q8)
			return false;
	}
	return true;
}

int
knn_kmeans_init(knn_kmeans *km, uint32_t n)
{
	uint32_t	dim = km->dim;
	uint32_t	groups = knn_kmeans_groups(n);

	if (km->threads == 0)
		km->threads = 1;
	km->ncentroids = 0;
	km->ngroups = 0;
	km->done = km->total = 0;
	km->unit = unit_bytes(dim, km->encoding);
	km->code_bytes = knn_code_bytes(km->encoding, dim);
	km->mean = knn_kmeans_take(km, sizeof(float) * dim);
	km->centroids = knn_kmeans_take(km, (size_t) km->unit * n);
	km->centres = knn_kmeans_take(km, (size_t) km->unit * groups);
	km->starts = knn_kmeans_take(km, sizeof(uint32_t) * ((size_t) groups + 1));
	km->members = knn_kmeans_take(km, sizeof(uint32_t) * (size_t) n);
	km->group_of = knn_kmeans_take(km, sizeof(uint32_t) * (size_t) n);
	if (!knn_coded_init(km, &km->coded, n, n) ||
		!knn_coded_init(km, &km->coded_centres, groups, groups) ||
		!init_scratch(km, n) || !km->mean || !km->centroids || !km->centres || !km->starts ||
		!km->members || !km->group_of)
		return KNN_ERROR_NO_MEMORY;
	for (uint32_t i = 0; i < groups; i++)
		knn_coded_place(km, &km->coded_centres, i, i);

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
	for (uint32_t i = 0; km->scratch && i < km->threads; i++)
	{
		knn_kmeans_give(km, km->scratch[i].distances);
		knn_kmeans_give(km, km->scratch[i].found);
		knn_kmeans_give(km, km->scratch[i].code_places);
		knn_kmeans_give(km, km->scratch[i].factor_places);
		knn_kmeans_give(km, km->scratch[i].sum);
		knn_kmeans_give(km, km->scratch[i].qf);
		knn_kmeans_give(km, km->scratch[i].q8);
	}
	knn_kmeans_give(km, km->scratch);
	knn_coded_free(km, &km->coded);
	knn_coded_free(km, &km->coded_centres);
	knn_kmeans_give(km, km->mean);
	knn_kmeans_give(km, km->centroids);
	knn_kmeans_give(km, km->centres);
	knn_kmeans_give(km, km->starts);
	knn_kmeans_give(km, km->members);
	knn_kmeans_give(km, km->group_of);
	memset(km, 0, sizeof(*km));
}

/* ---- samples ---- */

uint32_t
knn_kmeans_sample_size(uint32_t n, uint32_t count)
{
	uint64_t	each = n > 0 ? SAMPLE_TOTAL / n : 0;

	each = each > SAMPLE_MOST ? SAMPLE_MOST : each < SAMPLE_LEAST ? SAMPLE_LEAST : each;
	return each * n < count ? (uint32_t) (each * n) : count;
}

uint32_t
knn_kmeans_sample_pick(uint64_t *state, uint32_t i, uint32_t nsample, uint32_t count)
{
	uint64_t	first = (uint64_t) count * i / nsample;
	uint64_t	end = (uint64_t) count * (i + 1) / nsample;

	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t) (first + (*state >> 33) % (end - first));
}

/* ---- many items ---- */

void
knn_kmeans_each(knn_kmeans *km, uint64_t n, bool counted, knn_kmeans_item item, void *argument)
{
	if (km->run)
		km->run(km->context, n, counted, item, argument);
	else
	{
		for (uint64_t i = 0; i < n; i++)
		{
			if (i % CHECK_EVERY == 0 && km->check)
				km->check(km->context, km->done + (counted ? i : 0), km->total);
			item(argument, 0, i);
		}
	}
	if (counted)
		km->done += n;
	if (km->check)
		km->check(km->context, km->done, km->total);
}

/* ---- the nearest centroid ---- */

/*
 * In lanes, as comparing each with the least before it would be a branch that cannot be
 * foretold: 8 % of a training.
 */
#define LANES 8

uint32_t
knn_kmeans_least(const float *distances, uint32_t n)
{
	float		lanes[LANES];
	float		least = distances[0];
	uint32_t	i = 0;

	for (int lane = 0; lane < LANES; lane++)
		lanes[lane] = least;
	for (; i + LANES <= n; i += LANES)
	{
		for (int lane = 0; lane < LANES; lane++)
			lanes[lane] = distances[i + lane] < lanes[lane] ? distances[i + lane] : lanes[lane];
	}
	for (int lane = 0; lane < LANES; lane++)
		least = lanes[lane] < least ? lanes[lane] : least;
	for (; i < n; i++)
		least = distances[i] < least ? distances[i] : least;
	for (i = 0; i + 1 < n && distances[i] != least; i++)
		;
	return i;
}

uint32_t
knn_kmeans_search_groups(const knn_kmeans *km, const knn_query *query, float *distances,
						 uint32_t *groups)
{
	const knn_coded *coded = &km->coded_centres;
	uint32_t	most = km->ngroups < KNN_KMEANS_PROBED ? km->ngroups : KNN_KMEANS_PROBED;
	uint32_t	n = 0;

	knn_query_scores(query, coded->factor_places, coded->code_places, km->ngroups, distances);
	for (uint32_t i = 0; i < km->ngroups; i++)
	{
		uint32_t	at;

		/* one without members is not worth a place */
		if (km->starts[i] == km->starts[i + 1])
			continue;
		if (n == most && !(distances[i] < distances[groups[n - 1]]))
			continue;
		for (at = n < most ? n++ : n - 1; at > 0 && distances[i] < distances[groups[at - 1]]; at--)
			groups[at] = groups[at - 1];
		groups[at] = i;
	}
	return n;
}

uint32_t
knn_kmeans_search(const knn_kmeans *km, const knn_query *query, uint32_t thread)
{
	knn_kmeans_scratch *scratch = &km->scratch[thread];
	uint32_t	groups[KNN_KMEANS_PROBED];
	uint32_t	ngroups = knn_kmeans_search_groups(km, query, scratch->distances, groups);
	uint32_t	n = 0;

	for (uint32_t i = 0; i < ngroups; i++)
	{
		uint32_t	first = km->starts[groups[i]];
		uint32_t	size = km->starts[groups[i] + 1] - first;

		memcpy(scratch->found + n, km->members + first, sizeof(uint32_t) * size);
		memcpy(scratch->code_places + n, km->coded.code_places + first, sizeof(uint8_t *) * size);
		memcpy(scratch->factor_places + n, km->coded.factor_places + first,
			   sizeof(knn_code_factors *) * size);
		n += size;
	}
	knn_query_scores(query, scratch->factor_places, scratch->code_places, n, scratch->distances);
	return n;
}

uint32_t
knn_kmeans_nearest(const knn_kmeans *km, const void *v, uint32_t thread)
{
	knn_kmeans_scratch *scratch = &km->scratch[thread];
	knn_query	query;
	uint32_t	n;

	if (km->ncentroids <= 1)
		return 0;
	knn_query_prepare_rotated(&query, &km->encoder, v, scratch->q8, scratch->qf);
	n = knn_kmeans_search(km, &query, thread);
	return scratch->found[knn_kmeans_least(scratch->distances, n)];
}

uint32_t
knn_kmeans_nearest_group(const knn_kmeans *km, const knn_query *query, uint32_t thread)
{
	const knn_coded *coded = &km->coded_centres;
	float	   *distances = km->scratch[thread].distances;

	if (km->ngroups <= 1)
		return 0;
	knn_query_scores(query, coded->factor_places, coded->code_places, km->ngroups, distances);
	return knn_kmeans_least(distances, km->ngroups);
}

/* ---- what vectors have in common ---- */

/*
 * Add a vector to a sum of elements; of binary vectors the sum counts set bits.  Floats are
 * summed as what they differ from one of those summed, base: so the mean of equal vectors
 * is one of them, whatever their number, and no sum of large elements loses small ones.
 */
static void
add_to_sum(const knn_kmeans *km, float *restrict sum, const void *restrict v, const void *restrict base)
{
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
		const float *from = base;
		uint32_t	i = 0;

		/* a number of steps that the compiler knows, so that it makes vectors of them */
		for (; i + LANES <= dim; i += LANES)
		{
			for (int lane = 0; lane < LANES; lane++)
				sum[i + lane] += floats[i + lane] - from[i + lane];
		}
		for (; i < dim; i++)
			sum[i] += floats[i] - from[i];
	}
}

/* What n vectors have in common, by the sum of what they differ from base. */
static void
set_centroid(const knn_kmeans *km, void *centroid, const float *sum, uint32_t n, const void *base)
{
	uint32_t	dim = km->dim;
	float		count = (float) n;

	if (km->encoding == KNN_ENCODING_BINARY)
	{
		uint8_t    *bits = centroid;

		memset(bits, 0, km->unit);
		for (uint32_t j = 0; j < dim; j++)
		{
			if (2 * sum[j] > count)
				bits[j >> 3] |= (uint8_t) (1 << (j & 7));
		}
	}
	else if (km->encoding == KNN_ENCODING_BYTE)
	{
		int8_t	   *bytes = centroid;
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
		float	   *floats = centroid;
		const float *from = base;
		bool		differ = false;

		for (uint32_t j = 0; j < dim; j++)
		{
			float		mean = from[j] + sum[j] / count;

			differ |= sum[j] != 0;
			/* sums of huge elements overflow */
			if (isfinite(mean))
				floats[j] = mean;
		}
		if (differ && knn_space_normalises(km->space))
			(void) knn_normalise(km->encoder.kernels, floats, dim);
	}
}

typedef struct Move
{
	knn_kmeans *km;
	const knn_vectors *vectors;
	const uint32_t *starts;
	const uint32_t *ids;
	char	   *centroids;
	knn_coded  *coded;
} Move;

static void
prefetch(const char *v, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i += 64)
		__builtin_prefetch(v + i);
}

static void
move_centroid(void *argument, uint32_t thread, uint64_t item)
{
	const Move *move = argument;
	const knn_kmeans *km = move->km;
	uint32_t	i = (uint32_t) item;
	char	   *centroid = move->centroids + (size_t) km->unit * i;
	float	   *sum = km->scratch[thread].sum;
	uint32_t	first = move->starts[i];
	uint32_t	end = move->starts[i + 1];

	if (first < end)
	{
		const void *base = knn_vectors_at(move->vectors, move->ids[first]);

		memset(sum, 0, sizeof(float) * km->dim);
		for (uint32_t at = first; at < end; at++)
		{
			/* the members are anywhere in memory */
			if (at + 2 < end)
				prefetch(knn_vectors_at(move->vectors, move->ids[at + 2]), km->unit);
			add_to_sum(km, sum, knn_vectors_at(move->vectors, move->ids[at]), base);
		}
		set_centroid(km, centroid, sum, end - first, base);
	}
	knn_coded_set(km, move->coded, i, centroid, thread);
}

void
knn_kmeans_move(knn_kmeans *km, const knn_vectors *vectors, const uint32_t *starts,
				const uint32_t *ids, char *centroids, knn_coded *coded)
{
	Move		move = {km, vectors, starts, ids, centroids, coded};

	knn_kmeans_each(km, centroids == km->centres ? km->ngroups : km->ncentroids, false,
					move_centroid, &move);
}

void
knn_kmeans_sort(const uint32_t *of, uint32_t n, uint32_t nclusters, uint32_t *starts,
				uint32_t *ids)
{
	memset(starts, 0, sizeof(uint32_t) * ((size_t) nclusters + 1));
	for (uint32_t i = 0; i < n; i++)
		starts[of[i]]++;
	for (uint32_t i = 0, sum = 0; i <= nclusters; i++)
	{
		sum += starts[i];
		starts[i] = sum;
	}
	/* from the ends of clusters to their beginnings */
	for (uint32_t i = n; i-- > 0;)
		ids[--starts[of[i]]] = i;
}

/* ---- groups ---- */

static void
find_group(void *argument, uint32_t thread, uint64_t item)
{
	knn_kmeans *km = argument;
	knn_query	query;

	knn_coded_query(km, &query, &km->coded, (uint32_t) item, thread);
	km->group_of[item] = knn_kmeans_nearest_group(km, &query, thread);
}

void
knn_kmeans_group(knn_kmeans *km)
{
	knn_vectors centroids = {km->centroids, km->unit, km->ncentroids};

	km->ngroups = knn_kmeans_groups(km->ncentroids);
	for (uint32_t i = 0; i < km->ngroups; i++)
	{
		uint32_t	from = (uint32_t) ((uint64_t) km->ncentroids * i / km->ngroups);

		memcpy(km->centres + (size_t) km->unit * i, knn_kmeans_at(km, km->centroids, from), km->unit);
		knn_coded_set(km, &km->coded_centres, i, knn_kmeans_at(km, km->centres, i), 0);
	}
	for (int round = 0; round <= GROUP_ROUNDS; round++)
	{
		knn_kmeans_each(km, km->ncentroids, false, find_group, km);
		knn_kmeans_sort(km->group_of, km->ncentroids, km->ngroups, km->starts, km->members);
		if (round < GROUP_ROUNDS)
			knn_kmeans_move(km, &centroids, km->starts, km->members, km->centres, &km->coded_centres);
	}
	for (uint32_t i = 0; i < km->ncentroids; i++)
		knn_coded_place(km, &km->coded, i, km->members[i]);
}

/* ---- centroids of elsewhere ---- */

void
knn_kmeans_find_mean(knn_kmeans *km, const knn_vectors *vectors)
{
	uint32_t	dim = km->dim;

	if (!knn_encoding_is_float(km->encoding))
		return;
	memset(km->mean, 0, sizeof(float) * dim);
	for (uint32_t i = 0; i < vectors->n; i++)
	{
		const float *v = knn_vectors_at(vectors, i);
		float		share = 1 / (float) (i + 1);

		for (uint32_t j = 0; j < dim; j++)
			km->mean[j] += (v[j] - km->mean[j]) * share;
	}
	for (uint32_t j = 0; j < dim; j++)
	{
		if (!isfinite(km->mean[j]))
			km->mean[j] = 0;
	}
	km->encoder.centre = km->mean;
}

void
knn_kmeans_set(knn_kmeans *km, const void *centroids, uint32_t n)
{
	knn_vectors vectors = {centroids, km->unit, n};

	memcpy(km->centroids, centroids, (size_t) km->unit * n);
	km->ncentroids = n;
	knn_kmeans_find_mean(km, &vectors);
	for (uint32_t i = 0; i < n; i++)
		knn_coded_set(km, &km->coded, i, knn_vectors_at(&vectors, i), 0);
	knn_kmeans_group(km);
}

/* ---- equal centroids ---- */

static bool
are_equal(const knn_kmeans *km, uint32_t a, uint32_t b)
{
	const char *first = knn_kmeans_at(km, km->centroids, a);
	const char *second = knn_kmeans_at(km, km->centroids, b);

	if (!knn_encoding_is_float(km->encoding))
		return memcmp(first, second, km->unit) == 0;
	/* 0 and -0 are equal, and their bytes are not */
	for (uint32_t i = 0; i < km->dim; i++)
	{
		if (((const float *) first)[i] != ((const float *) second)[i])
			return false;
	}
	return true;
}

/* Equal for equal centroids (FNV-1a, by 4 bytes where there are floats). */
static uint64_t
hash_centroid(const knn_kmeans *km, uint32_t i)
{
	const char *centroid = knn_kmeans_at(km, km->centroids, i);
	bool		floats = knn_encoding_is_float(km->encoding);
	uint64_t	hash = UINT64_C(0xcbf29ce484222325);

	for (uint32_t at = 0; at < km->unit; at += floats ? 4 : 1)
	{
		uint32_t	bits = (uint8_t) centroid[at];

		if (floats)
		{
			float		element = ((const float *) centroid)[at / 4] + 0.0f;	/* no -0 */

			memcpy(&bits, &element, sizeof(bits));
		}
		hash = (hash ^ bits) * UINT64_C(0x100000001b3);
	}
	return hash ^ hash >> 32;
}

/* The place of a centroid among those of a table, or the one where it goes. */
static uint32_t
find_equal(const knn_kmeans *km, const uint32_t *table, uint32_t mask, uint32_t i)
{
	uint32_t	at = (uint32_t) hash_centroid(km, i) & mask;

	while (table[at] != UINT32_MAX && !are_equal(km, table[at], i))
		at = (at + 1) & mask;
	return at;
}

int
knn_kmeans_merge_equal(knn_kmeans *km, uint32_t *numbers)
{
	uint32_t	size = 2;
	uint32_t	left = 0;
	uint32_t   *table;

	while (size / 2 < km->ncentroids)
		size *= 2;
	table = knn_kmeans_take(km, sizeof(uint32_t) * (size_t) size);
	if (!table)
		return KNN_ERROR_NO_MEMORY;
	memset(table, 0xff, sizeof(uint32_t) * (size_t) size);
	for (uint32_t i = 0; i < km->ncentroids; i++)
	{
		uint32_t	at = find_equal(km, table, size - 1, i);

		if (table[at] == UINT32_MAX)
		{
			if (left < i)
				memcpy(km->centroids + (size_t) km->unit * left,
					   knn_kmeans_at(km, km->centroids, i), km->unit);
			table[at] = left++;
		}
		numbers[i] = table[at];
	}
	knn_kmeans_give(km, table);
	if (left == km->ncentroids)
		return KNN_OK;
	km->ncentroids = left;
	for (uint32_t i = 0; i < left; i++)
		knn_coded_set(km, &km->coded, i, knn_kmeans_at(km, km->centroids, i), 0);
	knn_kmeans_group(km);
	return KNN_OK;
}
