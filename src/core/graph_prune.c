/*
 * graph_prune.c
 *		Choice of a node's neighbours among candidates; see graph_prune.h.
 */
#include "core/graph_prune.h"

#include <math.h>

void
knn_sort_few(knn_candidate *candidates, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++)
	{
		knn_candidate c = candidates[i];
		uint32_t	j = i;

		for (; j > 0 && candidates[j - 1].distance > c.distance; j--)
			candidates[j] = candidates[j - 1];
		candidates[j] = c;
	}
}

uint32_t
knn_choose_neighbours(knn_candidate *candidates, uint32_t n, uint32_t max,
					  uint32_t fill, knn_covered covered, void *state,
					  knn_candidate *spare)
{
	uint32_t	nkept = 0;
	uint32_t	nspare = 0;

	if (n <= fill)
		return n;
	for (uint32_t i = 0; i < n && nkept < max; i++)
	{
		knn_candidate c = candidates[i];

		if (covered(state, &c, candidates, nkept))
			spare[nspare++] = c;
		else
			candidates[nkept++] = c;
	}
	if (nkept < fill && nspare > 0)
	{
		for (uint32_t i = 0; i < nspare && nkept < fill; i++)
			candidates[nkept++] = spare[i];
		knn_sort_few(candidates, nkept);
	}
	return nkept;
}

uint32_t
knn_node_level(uint64_t seed, uint32_t id, uint32_t m)
{
	uint64_t	z = seed + (uint64_t) id * UINT64_C(0x9E3779B97F4A7C15);
	double		uniform;
	double		level;

	/* splitmix64's finaliser */
	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	z ^= z >> 31;
	uniform = ((double) (z >> 11) + 1.0) / 9007199254740993.0;
	level = floor(-log(uniform) / log((double) m));
	return level > KNN_MAX_LEVEL ? KNN_MAX_LEVEL : (uint32_t) level;
}
