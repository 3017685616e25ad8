/*
 * graph_order.c
 *		Numbering of a graph's nodes for locality; see graph_order.h.
 */
#include "core/graph_order.h"

#include <string.h>

int
knn_graph_order(const knn_graph *graph, uint32_t page,
				uint32_t *old_of_new, uint32_t *new_of_old)
{
	const knn_allocator *allocator = &graph->allocator;
	uint32_t	n = graph->n;
	uint32_t	placed = 0;
	uint32_t	next_unplaced = 0;
	uint32_t	ntouched = 0;
	size_t		most_touched;
	uint32_t   *touched;
	uint16_t   *links;			/* of an unplaced node with the page */

	if (n == 0)
		return KNN_OK;
	if (page < 1)
		page = 1;
	if (page > 256)
		page = 256;				/* bounds the work; locality is had by then */
	most_touched = (size_t) page * 2 * graph->m;
	touched = allocator->alloc(allocator->context, sizeof(uint32_t) * most_touched);
	links = allocator->alloc(allocator->context, sizeof(uint16_t) * n);
	if (!touched || !links)
		return KNN_ERROR_NO_MEMORY;
	memset(links, 0, sizeof(uint16_t) * n);
	memset(new_of_old, 0xFF, sizeof(uint32_t) * n);

	while (placed < n)
	{
		uint32_t	node = KNN_INVALID_ID;
		uint32_t	in_page = placed % page;
		uint16_t	most = 0;

		if (graph->check && in_page == 0)
			graph->check();

		/* the best connected with this page; at its start, with the last one */
		for (uint32_t i = 0; i < ntouched;)
		{
			uint32_t	other = touched[i];

			if (new_of_old[other] != KNN_INVALID_ID)
			{
				touched[i] = touched[--ntouched];
				continue;
			}
			if (links[other] > most)
			{
				most = links[other];
				node = other;
			}
			i++;
		}
		if (in_page == 0)
		{
			for (uint32_t i = 0; i < ntouched; i++)
				links[touched[i]] = 0;
			ntouched = 0;
		}
		if (node == KNN_INVALID_ID)
		{
			while (new_of_old[next_unplaced] != KNN_INVALID_ID)
				next_unplaced++;
			node = next_unplaced;
		}

		new_of_old[node] = placed;
		old_of_new[placed++] = node;
		{
			const uint32_t *row = knn_graph_links(graph, node);

			for (uint32_t i = 0; i < row[0]; i++)
			{
				uint32_t	other = row[1 + i];

				if (new_of_old[other] != KNN_INVALID_ID)
					continue;
				if (links[other]++ == 0)
					touched[ntouched++] = other;
			}
		}
	}
	allocator->release(allocator->context, touched);
	allocator->release(allocator->context, links);
	return KNN_OK;
}
