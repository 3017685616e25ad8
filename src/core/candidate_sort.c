/*
 * candidate_sort.c
 *		Orders many candidates of a search; see candidate_sort.h.
 */
#include "core/candidate_sort.h"

/* Quickselect. */
void
knn_select_nearest(knn_candidate *a, uint32_t n, uint32_t k)
{
	uint32_t	low = 0;
	uint32_t	high = n;

	while (high - low > 1 && k > low && k < high)
	{
		float		pivot = a[low + (high - low) / 2].distance;
		uint32_t	i = low;
		uint32_t	j = low;
		uint32_t	end = high;

		/* three parts: nearer, equal (and NaN), farther */
		while (j < end)
		{
			if (a[j].distance < pivot)
			{
				knn_candidate t = a[i];

				a[i++] = a[j];
				a[j++] = t;
			}
			else if (a[j].distance > pivot)
			{
				knn_candidate t = a[--end];

				a[end] = a[j];
				a[j] = t;
			}
			else
				j++;
		}
		if (k < i)
			high = i;
		else if (k > end)
			low = end;
		else
			return;
	}
}

static void
sift_down(knn_candidate *a, uint32_t root, uint32_t n)
{
	for (;;)
	{
		uint32_t	child = 2 * root + 1;
		knn_candidate t;

		if (child >= n)
			return;
		if (child + 1 < n && a[child].distance < a[child + 1].distance)
			child++;
		if (!(a[root].distance < a[child].distance))
			return;
		t = a[root];
		a[root] = a[child];
		a[child] = t;
		root = child;
	}
}

/* Heapsort: in place, no worst case, no allocation. */
void
knn_sort_candidates(knn_candidate *a, uint32_t n)
{
	for (uint32_t i = n / 2; i-- > 0;)
		sift_down(a, i, n);
	for (uint32_t end = n; end > 1;)
	{
		knn_candidate t = a[--end];

		a[end] = a[0];
		a[0] = t;
		sift_down(a, 0, end);
	}
}
