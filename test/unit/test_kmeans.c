/*
 * test_kmeans.c
 *		Clustering: clusters that are apart are found, whatever the vectors are;
 *		the nearest centroid; what is degenerate; memory.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/kmeans.h"
#include "core/rotation.h"
#include "unit.h"

#define NCLUSTERS 20
#define PER_CLUSTER 60

static size_t allocated;
static long live;

static void *
counting_alloc(void *context, size_t size)
{
	size_t	   *p = malloc(size + 16);

	(void) context;
	if (p == NULL)
		abort();
	*p = size;
	allocated += size;
	live++;
	return (char *) p + 16;
}

static void
counting_release(void *context, void *pointer)
{
	(void) context;
	live--;
	free((char *) pointer - 16);
}

static void *
failing_alloc(void *context, size_t size)
{
	int		   *left = context;

	return (*left)-- > 0 ? malloc(size) : NULL;
}

static void
failing_release(void *context, void *pointer)
{
	(void) context;
	free(pointer);
}

static const knn_allocator counting = {counting_alloc, counting_release, NULL};

static int	checks;

static void
count_check(void *context, uint64_t done, uint64_t total)
{
	(void) context;
	UNIT_CHECK(done <= total, "%llu of %llu are done", (unsigned long long) done,
			   (unsigned long long) total);
	checks++;
}

/* Vectors of NCLUSTERS clusters, of the encoding's kind; cluster of i is i % NCLUSTERS. */
static char *
make_sample(knn_encoding encoding, uint32_t dim, uint32_t n, uint64_t seed)
{
	uint32_t	unit = knn_encoding_is_float(encoding) ? 4 * dim : knn_code_bytes(encoding, dim);
	char	   *sample = malloc((size_t) unit * n);

	for (uint32_t i = 0; i < n; i++)
	{
		uint64_t	centre = (i % NCLUSTERS + 1) * UINT64_C(0x9E3779B97F4A7C15);
		void	   *v = sample + (size_t) unit * i;

		for (uint32_t j = 0; j < unit / (knn_encoding_is_float(encoding) ? 4 : 1); j++)
		{
			double		c = unit_random_float(&centre);
			double		noise = 0.1 * unit_random_float(&seed);

			if (knn_encoding_is_float(encoding))
				((float *) v)[j] = (float) (c + noise);
			else if (encoding == KNN_ENCODING_BYTE)
				((int8_t *) v)[j] = (int8_t) (110 * (c + noise));
			else
			{
				/* bits of the centre, one in 20 turned over */
				uint8_t		bits = (uint8_t) (unit_random(&centre) >> 20);

				if (noise > 0.06)
					bits ^= (uint8_t) (1 << (unit_random(&seed) >> 40) % 8);
				((uint8_t *) v)[j] = bits;
			}
		}
	}
	return sample;
}

static void
init(knn_kmeans *km, knn_encoding encoding, knn_space space, uint32_t dim)
{
	memset(km, 0, sizeof(*km));
	km->dim = dim;
	km->space = space;
	km->encoding = encoding;
	km->seed = 42;
	km->allocator = counting;
	km->check = count_check;
}

/*
 * Nearly every cluster gets one centroid, to which all its vectors go: k-means finds
 * a good division, not the best one.
 */
static void
test_clusters(const char *name, knn_encoding encoding, knn_space space, uint32_t dim)
{
	uint32_t	n = NCLUSTERS * PER_CLUSTER;
	char	   *sample = make_sample(encoding, dim, n, 7);
	knn_kmeans	km;
	uint32_t	of[NCLUSTERS];
	bool		taken[NCLUSTERS] = {false};
	uint32_t	strays = 0;
	uint32_t	apart = 0;
	size_t		said;

	unit_case("clusters: %s, %u dimensions", name, dim);
	init(&km, encoding, space, dim);
	allocated = 0;
	UNIT_CHECK(knn_kmeans_init(&km, NCLUSTERS) == KNN_OK, "init");
	UNIT_CHECK(knn_kmeans_train(&km, sample, n, NCLUSTERS) == KNN_OK, "train");
	UNIT_CHECK(km.ncentroids == NCLUSTERS, "%u centroids", km.ncentroids);
	said = knn_kmeans_memory(dim, encoding, NCLUSTERS, 1) + n * knn_kmeans_sample_memory(dim, encoding);
	UNIT_CHECK(allocated <= said + 64, "%zu bytes, said %zu", allocated, said);
	UNIT_CHECK(km.done == km.total, "%llu of %llu are done", (unsigned long long) km.done,
			   (unsigned long long) km.total);
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t	nearest = knn_kmeans_nearest(&km, sample + (size_t) km.unit * i, 0);

		UNIT_CHECK(nearest < NCLUSTERS, "vector %u goes to %u", i, nearest);
		if (i < NCLUSTERS)
		{
			of[i] = nearest;
			apart += !taken[nearest];
			taken[nearest] = true;
		}
		strays += nearest != of[i % NCLUSTERS];
	}
	UNIT_CHECK(apart >= NCLUSTERS * 4 / 5, "%u of %u clusters have their own centroid",
			   apart, NCLUSTERS);
	UNIT_CHECK(strays <= n / 8, "%u of %u vectors are away from their cluster", strays, n);
	knn_kmeans_free(&km);
	UNIT_CHECK(live == 0, "%ld allocations are left", live);
	free(sample);
}

/* A centroid is the mean of what goes to it. */
static void
test_means(void)
{
	uint32_t	n = NCLUSTERS * PER_CLUSTER;
	uint32_t	dim = 24;
	char	   *sample = make_sample(KNN_ENCODING_ROTATED_8, dim, n, 9);
	knn_kmeans	km;
	double	   *sums = calloc((size_t) dim * NCLUSTERS, sizeof(double));
	uint32_t	counts[NCLUSTERS] = {0};

	unit_case("centroids are means");
	init(&km, KNN_ENCODING_ROTATED_8, KNN_SPACE_L2, dim);
	knn_kmeans_init(&km, NCLUSTERS);
	knn_kmeans_train(&km, sample, n, NCLUSTERS);
	for (uint32_t i = 0; i < n; i++)
	{
		const float *v = (const float *) sample + (size_t) dim * i;
		uint32_t	c = knn_kmeans_nearest(&km, v, 0);

		counts[c]++;
		for (uint32_t j = 0; j < dim; j++)
			sums[(size_t) dim * c + j] += v[j];
	}
	for (uint32_t c = 0; c < NCLUSTERS; c++)
	{
		for (uint32_t j = 0; j < dim; j++)
		{
			double		mean = sums[(size_t) dim * c + j] / counts[c];
			double		centroid = ((const float *) km.centroids)[(size_t) dim * c + j];

			UNIT_CHECK(fabs(mean - centroid) < 0.02, "centroid %u: %g, mean %g", c, centroid, mean);
		}
	}
	knn_kmeans_free(&km);
	free(sums);
	free(sample);
}

/*
 * What is chosen by estimate, and by groups, is as near as the nearest but for a little:
 * the mean of the distances in excess.
 */
static void
test_nearest(uint32_t ncentroids, double most)
{
	uint32_t	n = 40 * ncentroids;
	uint32_t	dim = 48;
	uint64_t	seed = 3;
	float	   *sample = malloc(sizeof(float) * n * dim);
	knn_kmeans	km;
	double		chosen = 0;
	double		best = 0;

	unit_case("the nearest of %u centroids", ncentroids);
	for (uint32_t i = 0; i < n * dim; i++)
		sample[i] = (float) unit_random_float(&seed) + 5;
	init(&km, KNN_ENCODING_ROTATED_8, KNN_SPACE_L2, dim);
	knn_kmeans_init(&km, ncentroids);
	knn_kmeans_train(&km, sample, n, ncentroids);
	for (uint32_t i = 0; i < n; i += 10)
	{
		const float *v = sample + (size_t) dim * i;
		uint32_t	c = knn_kmeans_nearest(&km, v, 0);
		float		least = INFINITY;

		for (uint32_t k = 0; k < ncentroids; k++)
			least = fminf(least, km.encoder.kernels->l2_squared_f32(v, (const float *) km.centroids + (size_t) dim * k, dim));
		best += least;
		chosen += km.encoder.kernels->l2_squared_f32(v, (const float *) km.centroids + (size_t) dim * c, dim);
	}
	UNIT_CHECK(chosen <= best * most, "%g, the best would be %g", chosen, best);
	knn_kmeans_free(&km);
	free(sample);
}

/* As threads would: the items in another order, and by several of them. */
static void
run_backwards(void *context, uint64_t n, bool counted, knn_kmeans_item item, void *argument)
{
	(void) context;
	(void) counted;
	for (uint64_t i = n; i-- > 0;)
		item(argument, (uint32_t) (i % 3), i);
}

static void
test_threads(knn_encoding encoding, knn_space space)
{
	uint32_t	n = 6000;
	uint32_t	dim = 32;
	uint32_t	k = 150;
	char	   *sample = make_sample(encoding, dim, n, 5);
	knn_kmeans	km[2];
	size_t		said;

	unit_case("the same by several threads, encoding %d", (int) encoding);
	for (int i = 0; i < 2; i++)
	{
		init(&km[i], encoding, space, dim);
		if (i == 1)
		{
			km[i].run = run_backwards;
			km[i].threads = 3;
		}
		allocated = 0;
		UNIT_CHECK(knn_kmeans_init(&km[i], k) == KNN_OK, "init");
		UNIT_CHECK(knn_kmeans_train(&km[i], sample, n, k) == KNN_OK, "train");
		said = knn_kmeans_memory(dim, encoding, k, km[i].threads) + n * knn_kmeans_sample_memory(dim, encoding);
		UNIT_CHECK(allocated <= said + 64, "%zu bytes, said %zu", allocated, said);
	}
	UNIT_CHECK(memcmp(km[0].centroids, km[1].centroids, (size_t) km[0].unit * k) == 0, "other centroids");
	for (uint32_t i = 0; i < n; i++)
	{
		const char *v = sample + (size_t) km[0].unit * i;

		UNIT_CHECK(knn_kmeans_nearest(&km[0], v, 0) == knn_kmeans_nearest(&km[1], v, i % 3),
				   "vector %u", i);
	}
	for (int i = 0; i < 2; i++)
		knn_kmeans_free(&km[i]);
	free(sample);
}

/* Centroids of elsewhere are found as those that were trained. */
static void
test_set(void)
{
	uint32_t	n = 6000;
	uint32_t	dim = 40;
	uint32_t	k = 200;
	char	   *sample = make_sample(KNN_ENCODING_ROTATED_8, dim, n, 5);
	knn_kmeans	trained;
	knn_kmeans	km;
	uint32_t	others = 0;

	unit_case("centroids of elsewhere");
	init(&trained, KNN_ENCODING_ROTATED_8, KNN_SPACE_L2, dim);
	knn_kmeans_init(&trained, k);
	knn_kmeans_train(&trained, sample, n, k);
	init(&km, KNN_ENCODING_ROTATED_8, KNN_SPACE_L2, dim);
	knn_kmeans_init(&km, k);
	knn_kmeans_set(&km, trained.centroids, k);
	UNIT_CHECK(memcmp(km.centroids, trained.centroids, (size_t) km.unit * k) == 0, "centroids");
	for (uint32_t i = 0; i < n; i++)
	{
		const char *v = sample + (size_t) km.unit * i;

		others += knn_kmeans_nearest(&km, v, 0) != knn_kmeans_nearest(&trained, v, 0);
	}
	/* the means differ, and so do the codes */
	UNIT_CHECK(others <= n / 20, "%u of %u vectors go elsewhere", others, n);
	knn_kmeans_free(&trained);
	knn_kmeans_free(&km);
	free(sample);
}

static void
test_degenerate(void)
{
	knn_kmeans	km;
	float	   *equal = malloc(sizeof(float) * 50 * 8);
	float		few[3 * 8];
	float		huge[4] = {3e38f, -3e38f, 3e38f, -1e38f};

	unit_case("as many centroids as vectors, one, and equal vectors");
	for (int i = 0; i < 50 * 8; i++)
		equal[i] = (float) (i % 8);
	for (int i = 0; i < 3 * 8; i++)
		few[i] = (float) (i * i);
	init(&km, KNN_ENCODING_ROTATED_8, KNN_SPACE_L2, 8);
	knn_kmeans_init(&km, 3);
	UNIT_CHECK(knn_kmeans_train(&km, few, 3, 3) == KNN_OK, "train");
	for (int i = 0; i < 3; i++)
	{
		uint32_t	c = knn_kmeans_nearest(&km, few + 8 * i, 0);

		UNIT_CHECK(memcmp(km.centroids + km.unit * c, few + 8 * i, 32) == 0, "vector %d has no centroid", i);
	}
	knn_kmeans_free(&km);

	init(&km, KNN_ENCODING_ROTATED_8, KNN_SPACE_L2, 8);
	knn_kmeans_init(&km, 1);
	UNIT_CHECK(knn_kmeans_train(&km, few, 3, 1) == KNN_OK, "train");
	UNIT_CHECK(knn_kmeans_nearest(&km, few, 0) == 0, "one centroid");
	knn_kmeans_free(&km);

	init(&km, KNN_ENCODING_ROTATED_8, KNN_SPACE_L2, 8);
	knn_kmeans_init(&km, 7);
	UNIT_CHECK(knn_kmeans_train(&km, equal, 50, 7) == KNN_OK, "train");
	UNIT_CHECK(knn_kmeans_nearest(&km, equal, 0) < 7, "nearest");
	for (int i = 0; i < 7 * 8; i++)
		UNIT_CHECK(((float *) km.centroids)[i] == (float) (i % 8), "element %d of equal vectors", i);
	knn_kmeans_free(&km);

	unit_case("more centroids than different vectors, in groups");
	for (int i = 0; i < 50; i++)
	{
		for (int j = 0; j < 8; j++)
			equal[8 * i + j] = (float) ((i % 3) * (j + 1));
	}
	for (uint32_t n = 20; n <= 50; n += 10)
	{
		char	   *many = malloc(sizeof(equal[0]) * 8 * 1600);

		for (int i = 0; i < 1600; i++)
			memcpy(many + 32 * i, equal + 8 * (i % 50), 32);
		init(&km, KNN_ENCODING_ROTATED_8, KNN_SPACE_L2, 8);
		knn_kmeans_init(&km, 10 * n);
		UNIT_CHECK(knn_kmeans_train(&km, many, 1600, 10 * n) == KNN_OK, "train");
		for (int i = 0; i < 3; i++)
		{
			uint32_t	c = knn_kmeans_nearest(&km, equal + 8 * i, 0);

			UNIT_CHECK(memcmp(km.centroids + km.unit * c, equal + 8 * i, 32) == 0,
					   "%u centroids: vector %d has none", 10 * n, i);
		}
		knn_kmeans_free(&km);
		free(many);
	}

	unit_case("elements at the ends of float's range");
	init(&km, KNN_ENCODING_ROTATED_8, KNN_SPACE_L2, 2);
	knn_kmeans_init(&km, 2);
	UNIT_CHECK(knn_kmeans_train(&km, huge, 2, 2) == KNN_OK, "train");
	UNIT_CHECK(knn_kmeans_nearest(&km, huge, 0) < 2, "nearest");
	for (int i = 0; i < 4; i++)
		UNIT_CHECK(isfinite(((float *) km.centroids)[i]), "element %d is %g", i, ((float *) km.centroids)[i]);
	knn_kmeans_free(&km);
	free(equal);
}

/* Equal centroids become one; the others keep their order, and are found. */
static void
test_merge(knn_encoding encoding, uint32_t n)
{
	uint32_t	dim = encoding == KNN_ENCODING_BINARY ? 1024 : 32;
	uint32_t	different = n / 3;
	char	   *sample = make_sample(encoding, dim, n, 11);
	uint32_t   *numbers = malloc(sizeof(uint32_t) * n);
	knn_kmeans	km;

	unit_case("equal centroids become one: %u, encoding %d", n, (int) encoding);
	init(&km, encoding, encoding == KNN_ENCODING_BINARY ? KNN_SPACE_HAMMING : KNN_SPACE_L2, dim);
	knn_kmeans_init(&km, n);
	for (uint32_t i = different; i < n; i++)
		memcpy(sample + (size_t) km.unit * i, sample + (size_t) km.unit * (i * 7 % different), km.unit);
	if (knn_encoding_is_float(encoding))
	{
		/* equal, whatever the sign of 0 */
		((float *) sample)[0] = 0;
		for (uint32_t i = different; i < n; i++)
		{
			if (i * 7 % different == 0)
				((float *) sample)[(size_t) dim * i] = -0.0f;
		}
	}
	knn_kmeans_set(&km, sample, n);
	UNIT_CHECK(knn_kmeans_merge_equal(&km, numbers) == KNN_OK, "merge");
	UNIT_CHECK(km.ncentroids == different, "%u centroids, expected %u", km.ncentroids, different);
	UNIT_CHECK(memcmp(km.centroids, sample, (size_t) km.unit * different) == 0, "other centroids");
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t	expected = i < different ? i : i * 7 % different;
		uint32_t	nearest = knn_kmeans_nearest(&km, sample + (size_t) km.unit * i, 0);

		UNIT_CHECK(numbers[i] == expected, "centroid %u is %u, expected %u", i, numbers[i], expected);
		UNIT_CHECK(nearest < different, "vector %u goes to %u", i, nearest);
		UNIT_CHECK(encoding != KNN_ENCODING_BYTE || nearest == expected, "vector %u goes to %u", i, nearest);
	}
	UNIT_CHECK(knn_kmeans_merge_equal(&km, numbers) == KNN_OK && km.ncentroids == different,
			   "merged again, %u are left", km.ncentroids);
	knn_kmeans_free(&km);
	UNIT_CHECK(live == 0, "%ld allocations are left", live);
	free(numbers);
	free(sample);
}

/*
 * However many vectors are equal, what they have in common is one of them; and what
 * is left of the centroids goes where vectors differ.
 */
static void
test_equal(knn_space space)
{
	uint32_t	dim = 12;
	uint32_t	n = 3000;
	float	   *sample = malloc(sizeof(float) * n * dim);
	uint32_t	numbers[30];
	uint64_t	seed = 5;
	uint32_t	lists[30] = {0};
	uint32_t	filled = 0;
	uint32_t	found = 0;
	knn_kmeans	km;

	unit_case("half of the vectors are equal, space %d", (int) space);
	for (uint32_t i = 0; i < n; i++)
	{
		for (uint32_t j = 0; j < dim; j++)
			sample[dim * i + j] = i % 2 ? sample[dim + j] : (float) unit_random_float(&seed);
		if (i == 0)
		{
			for (uint32_t j = 0; j < dim; j++)
				sample[dim + j] = 0.1f * (float) (j + 1);
			if (space == KNN_SPACE_COSINE)
				knn_normalise(knn_kernels_get(), sample + dim, dim);
		}
		if (i % 2 == 0 && space == KNN_SPACE_COSINE)
			knn_normalise(knn_kernels_get(), sample + dim * i, dim);
	}
	init(&km, KNN_ENCODING_ROTATED_8, space, dim);
	knn_kmeans_init(&km, 30);
	UNIT_CHECK(knn_kmeans_train(&km, sample, n, 30) == KNN_OK, "train");
	UNIT_CHECK(knn_kmeans_merge_equal(&km, numbers) == KNN_OK, "merge");
	UNIT_CHECK(km.ncentroids >= 25, "%u centroids are left", km.ncentroids);
	for (uint32_t i = 0; i < km.ncentroids; i++)
		found += memcmp(km.centroids + (size_t) km.unit * i, sample + dim, km.unit) == 0;
	for (uint32_t i = 0; i < n; i++)
		lists[knn_kmeans_nearest(&km, sample + dim * i, 0)]++;
	for (uint32_t i = 0; i < km.ncentroids; i++)
		filled += lists[i] > 0;
	UNIT_CHECK(found <= 1, "%u centroids are the equal vectors", found);
	UNIT_CHECK(filled >= km.ncentroids - 3, "%u of %u centroids have vectors", filled, km.ncentroids);
	knn_kmeans_free(&km);
	free(sample);
}

/* An allocator that fails sooner or later: an error, not a crash. */
static void
test_no_memory(void)
{
	float		sample[10 * 4];

	unit_case("out of memory");
	for (int i = 0; i < 40; i++)
		sample[i] = (float) (i * 7 % 11);
	for (int n = 0; n < 80; n++)
	{
		int			left = n;
		knn_kmeans	km;
		int			result;

		init(&km, KNN_ENCODING_ROTATED_8, KNN_SPACE_L2, 4);
		km.allocator = (knn_allocator) {failing_alloc, failing_release, &left};
		result = knn_kmeans_init(&km, 3);
		if (result == KNN_OK)
			result = knn_kmeans_train(&km, sample, 10, 3);
		UNIT_CHECK(result == (left >= 0 ? KNN_OK : KNN_ERROR_NO_MEMORY), "%d allocations: %d", n, result);
		knn_kmeans_free(&km);
		if (result == KNN_OK)
			break;
	}
}

int
main(void)
{
	test_clusters("float", KNN_ENCODING_ROTATED_8, KNN_SPACE_L2, 16);
	test_clusters("float", KNN_ENCODING_ROTATED_8, KNN_SPACE_L2, 129);
	test_clusters("float, inner product", KNN_ENCODING_ROTATED_8, KNN_SPACE_INNER_PRODUCT, 64);
	test_clusters("float, l1", KNN_ENCODING_ROTATED_8, KNN_SPACE_L1, 20);
	test_clusters("float, linf", KNN_ENCODING_ROTATED_8, KNN_SPACE_LINF, 20);
	test_clusters("byte", KNN_ENCODING_BYTE, KNN_SPACE_L2, 32);
	test_clusters("byte, cosine", KNN_ENCODING_BYTE, KNN_SPACE_COSINE, 32);
	test_clusters("byte, inner product", KNN_ENCODING_BYTE, KNN_SPACE_INNER_PRODUCT, 48);
	test_clusters("binary", KNN_ENCODING_BINARY, KNN_SPACE_HAMMING, 128);
	test_means();
	test_nearest(100, 1.001);
	test_nearest(400, 1.02);
	test_threads(KNN_ENCODING_ROTATED_8, KNN_SPACE_L2);
	test_threads(KNN_ENCODING_BYTE, KNN_SPACE_COSINE);
	test_threads(KNN_ENCODING_BINARY, KNN_SPACE_HAMMING);
	test_set();
	test_degenerate();
	test_no_memory();

	test_merge(KNN_ENCODING_ROTATED_8, 30);
	test_merge(KNN_ENCODING_ROTATED_8, 600);
	test_merge(KNN_ENCODING_BYTE, 600);
	test_merge(KNN_ENCODING_BINARY, 300);
	test_equal(KNN_SPACE_L2);
	test_equal(KNN_SPACE_COSINE);

	unit_case("work is interruptible");
	UNIT_CHECK(checks > 0, "check was never called");
	return unit_done("test_kmeans");
}
