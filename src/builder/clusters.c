/*
 * clusters.c
 *		Dividing vectors among clusters of about the same size; see clusters.h.
 *
 * k-means of a sample finds the centres.  Data has dense and sparse regions, so the
 * nearest centre alone would make some clusters many times as large as others, and
 * memory is for the largest one.  Each cluster therefore has a weight that is added to
 * the distance from it (a power diagram: the borders stay flat, they only move),
 * and weights are raised where too many come until sizes are about equal.
 */
#include "builder/clusters.h"

#include <float.h>
#include <string.h>

#include "builder/memory.h"
#include "builder/threads.h"
#include "core/graph_search.h"

#define SAMPLE_PER_CLUSTER 200
#define SAMPLE_LEAST 4000
#define SAMPLE_LEAST_PER_CLUSTER 8
#define TABLE_SHARE 8
#define MEANS_ROUNDS 6
#define WEIGHT_ROUNDS 60
#define DIVIDED_AT_ONCE 64
#define TRIED FLT_MAX

typedef struct Clusters
{
	const builder_input *input;
	uint32_t	k;
	uint32_t	most;
	float	   *centres;
	float	   *weights;
	float	   *buffers;		/* a vector for each thread */
	uint32_t   *sample;			/* vectors */
	uint32_t	nsample;
	float	   *distances;		/* of the sample from the centres */
	uint32_t   *sizes;
	uint16_t   *first;
	uint16_t   *second;
	float	   *scores;			/* k for each thread */
} Clusters;

static uint32_t
sample_size(const builder_job *job, uint32_t k)
{
	uint64_t	n = (uint64_t) k * SAMPLE_PER_CLUSTER;

	if (n < SAMPLE_LEAST)
		n = SAMPLE_LEAST;
	/* the table of distances is to be a small part of the memory */
	if (n > job->memory_limit / TABLE_SHARE / sizeof(float) / k)
		n = job->memory_limit / TABLE_SHARE / sizeof(float) / k;
	if (n < (uint64_t) k * SAMPLE_LEAST_PER_CLUSTER)
		n = (uint64_t) k * SAMPLE_LEAST_PER_CLUSTER;
	return n < job->count ? (uint32_t) n : job->count;
}

static void
measure_sample(void *context, uint32_t thread, uint64_t item)
{
	Clusters   *c = context;
	uint32_t	dim = c->input->dimension;
	const float *v = builder_input_floats(c->input, c->sample[item],
										  c->buffers + (size_t) thread * dim);

	for (uint32_t i = 0; i < c->k; i++)
		c->distances[item * c->k + i] =
			c->input->encoder.kernels->l2_squared_f32(v, c->centres + (size_t) i * dim, dim);
}

/* The two least of k scores; there are at least two. */
static void
two_least(const float *scores, uint32_t k, uint32_t *first, uint32_t *second)
{
	*first = scores[1] < scores[0];
	*second = !*first;
	for (uint32_t i = 2; i < k; i++)
	{
		if (scores[i] < scores[*first])
		{
			*second = *first;
			*first = i;
		}
		else if (scores[i] < scores[*second])
			*second = i;
	}
}

static void
move_centres(Clusters *c, double *sums)
{
	uint32_t	dim = c->input->dimension;

	memset(sums, 0, sizeof(double) * (size_t) c->k * dim);
	memset(c->sizes, 0, sizeof(uint32_t) * c->k);
	for (uint32_t s = 0; s < c->nsample; s++)
	{
		const float *v = builder_input_floats(c->input, c->sample[s], c->buffers);
		uint32_t	nearest;
		uint32_t	other;

		two_least(c->distances + (size_t) s * c->k, c->k, &nearest, &other);
		c->sizes[nearest]++;
		for (uint32_t j = 0; j < dim; j++)
			sums[(size_t) nearest * dim + j] += v[j];
	}
	for (uint32_t i = 0; i < c->k; i++)
	{
		/* a cluster that lost all keeps its centre: its weight will bring others */
		for (uint32_t j = 0; j < dim && c->sizes[i] > 0; j++)
			c->centres[(size_t) i * dim + j] = (float) (sums[(size_t) i * dim + j] / c->sizes[i]);
	}
}

/* Choose weights with which clusters of the sample have about the same size. */
static void
choose_weights(Clusters *c)
{
	double		target = 2.0 * c->nsample / c->k;
	double		scale = 0;

	for (uint32_t s = 0; s < c->nsample; s++)
	{
		uint32_t	first;
		uint32_t	second;
		const float *d = c->distances + (size_t) s * c->k;

		two_least(d, c->k, &first, &second);
		scale += d[second];
	}
	scale /= c->nsample;
	for (int round = 0; round < WEIGHT_ROUNDS; round++)
	{
		/* large steps first, small ones to settle */
		double		step = 0.3 * scale / (1 + round / 6);

		memset(c->sizes, 0, sizeof(uint32_t) * c->k);
		for (uint32_t s = 0; s < c->nsample; s++)
		{
			uint32_t	first;
			uint32_t	second;
			const float *d = c->distances + (size_t) s * c->k;

			for (uint32_t i = 0; i < c->k; i++)
				c->scores[i] = d[i] + c->weights[i];
			two_least(c->scores, c->k, &first, &second);
			c->sizes[first]++;
			c->sizes[second]++;
		}
		for (uint32_t i = 0; i < c->k; i++)
		{
			double		excess = c->sizes[i] / target - 1;

			c->weights[i] += (float) (step * (excess > 1 ? 1 : excess));
		}
	}
}

/* Take a place in a cluster; false when it is full. */
static bool
take_place(Clusters *c, uint32_t i)
{
	if (__atomic_fetch_add(&c->sizes[i], 1, __ATOMIC_RELAXED) < c->most)
		return true;
	__atomic_fetch_sub(&c->sizes[i], 1, __ATOMIC_RELAXED);
	return false;
}

static void
divide_one(void *context, uint32_t thread, uint64_t item)
{
	Clusters   *c = context;
	uint32_t	dim = c->input->dimension;
	float	   *scores = c->scores + (size_t) thread * c->k;
	const float *v = builder_input_floats(c->input, (uint32_t) item,
										  c->buffers + (size_t) thread * dim);
	uint32_t	taken[2];
	uint32_t	n = 0;

	for (uint32_t i = 0; i < c->k; i++)
	{
		scores[i] = c->weights[i] +
			c->input->encoder.kernels->l2_squared_f32(v, c->centres + (size_t) i * dim, dim);
		/* infinite, or no number: far, but less than what marks a cluster as tried */
		if (!(scores[i] < TRIED / 2))
			scores[i] = TRIED / 2;
	}
	for (uint32_t tries = 0; n < 2 && tries < c->k; tries++)
	{
		uint32_t	best = 0;

		for (uint32_t i = 1; i < c->k; i++)
		{
			if (scores[i] < scores[best])
				best = i;
		}
		scores[best] = TRIED;
		if (take_place(c, best))
			taken[n++] = best;
	}
	if (n < 2)
		builder_fail_with(BUILDER_INTERNAL, 0, "all parts of the graph are full");
	c->first[item] = (uint16_t) taken[0];
	c->second[item] = (uint16_t) taken[1];
}

void
builder_divide(const builder_job *job, const builder_input *input, uint32_t k, uint32_t most,
			   uint16_t *first, uint16_t *second)
{
	uint64_t	dim = input->dimension;
	Clusters	c = {.input = input, .k = k, .most = most, .first = first, .second = second,
		.nsample = sample_size(job, k)};
	builder_work measure = {.phase = "read", .base = job->count, .total = job->count,
		.threads = job->threads, .chunk = DIVIDED_AT_ONCE, .items = c.nsample,
		.item = measure_sample, .context = &c};
	builder_work divide = measure;
	double	   *sums = builder_alloc(sizeof(double) * k * dim);

	c.centres = builder_alloc(sizeof(float) * k * dim);
	c.weights = builder_alloc(sizeof(float) * k);
	c.buffers = builder_alloc(sizeof(float) * dim * job->threads);
	c.sample = builder_alloc(sizeof(uint32_t) * (uint64_t) c.nsample);
	c.distances = builder_alloc(sizeof(float) * (uint64_t) c.nsample * k);
	c.sizes = builder_alloc(sizeof(uint32_t) * k);
	c.scores = builder_alloc(sizeof(float) * (uint64_t) k * job->threads);

	/* evenly spread: what follows each other in a table is often similar */
	for (uint32_t s = 0; s < c.nsample; s++)
		c.sample[s] = (uint32_t) ((uint64_t) s * job->count / c.nsample);
	for (uint32_t i = 0; i < k; i++)
	{
		uint32_t	s = (uint32_t) ((uint64_t) i * c.nsample / k);

		memcpy(c.centres + i * dim, builder_input_floats(input, c.sample[s], c.buffers),
			   sizeof(float) * dim);
	}
	for (int round = 0; round < MEANS_ROUNDS; round++)
	{
		builder_do(&measure);
		move_centres(&c, sums);
	}
	builder_do(&measure);
	choose_weights(&c);

	memset(c.sizes, 0, sizeof(uint32_t) * k);
	divide.items = job->count;
	divide.item = divide_one;
	builder_do(&divide);

	builder_release(sums);
	builder_release(c.centres);
	builder_release(c.weights);
	builder_release(c.buffers);
	builder_release(c.sample);
	builder_release(c.distances);
	builder_release(c.sizes);
	builder_release(c.scores);
}
