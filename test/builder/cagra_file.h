/*
 * cagra_file.h
 *		Files of graphs as a GPU build leaves them, for tests.
 *
 * From the nearest neighbours of each vector: as CAGRA (Ootomo and others, ICDE 2024)
 * does, a list's neighbours are put into the order of how many shorter ways there are
 * to each, and its second half makes room for links back.  Nodes are then given levels
 * on which they have no neighbours, and the file no entry point.
 */
#ifndef KNN_TEST_CAGRA_FILE_H
#define KNN_TEST_CAGRA_FILE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct cagra_input
{
	uint32_t	n;
	uint32_t	k;				/* neighbours of each, nearest first */
	const uint32_t *nearest;	/* n rows of k */
	uint32_t	degree;			/* of the graph, at most k, even */
	uint32_t	dim;			/* bits if binary */
	bool		binary;
	uint32_t	metric;			/* faiss's */
	int			numbers;		/* 0 float, 1 half, 3 signed bytes */
	uint32_t	row_bytes;		/* of the vectors as stored */
	const uint8_t *rows;		/* or NULL, for none */
	const int64_t *ids;			/* or NULL, for 0 .. n-1 */
} cagra_input;

/* n rows of degree ids. */
static uint32_t *
cagra_links(const cagra_input *in)
{
	uint32_t	n = in->n;
	uint32_t	k = in->k;
	uint32_t	d = in->degree;
	uint32_t   *links = malloc(4 * (size_t) n * d + 4);
	uint32_t   *back = malloc(4 * (size_t) n * d + 4);
	uint32_t   *nback = calloc(n + 1, 4);
	uint32_t   *rank = malloc(4 * (size_t) n + 4);
	uint32_t   *ways = malloc(4 * (size_t) k + 4);
	uint32_t   *merged = malloc(4 * (size_t) d * 3 + 4);

	memset(rank, 0xFF, 4 * (size_t) n);
	for (uint32_t x = 0; x < n; x++)
	{
		const uint32_t *near = in->nearest + (size_t) x * k;
		uint32_t	taken = 0;

		memset(ways, 0, 4 * (size_t) k);
		for (uint32_t a = 0; a < k; a++)
			rank[near[a]] = a;
		for (uint32_t a = 0; a < k; a++)
		{
			for (uint32_t b = 0; b < k; b++)
			{
				uint32_t	at = rank[in->nearest[(size_t) near[a] * k + b]];

				if (at != UINT32_MAX && at > a && at > b)
					ways[at]++;
			}
		}
		for (uint32_t a = 0; a < k; a++)
			rank[near[a]] = UINT32_MAX;
		for (uint32_t count = 0; taken < d; count++)
		{
			for (uint32_t a = 0; a < k && taken < d; a++)
			{
				if (ways[a] == count)
					links[(size_t) x * d + taken++] = near[a];
			}
		}
	}
	for (uint32_t a = 0; a < d; a++)
	{
		for (uint32_t x = 0; x < n; x++)
		{
			uint32_t	y = links[(size_t) x * d + a];

			if (nback[y] < d)
				back[(size_t) y * d + nback[y]++] = x;
		}
	}
	for (uint32_t x = 0; x < n; x++)
	{
		uint32_t   *list = links + (size_t) x * d;
		uint32_t	count = 0;

		for (uint32_t i = 0; i < d / 2 + nback[x] + d / 2 && count < d; i++)
		{
			uint32_t	y = i < d / 2 ? list[i] : i < d / 2 + nback[x] ? back[(size_t) x * d + i - d / 2] :
				list[i - nback[x]];
			bool		there = false;

			for (uint32_t j = 0; j < count; j++)
				there |= merged[j] == y;
			if (!there)
				merged[count++] = y;
		}
		memcpy(list, merged, 4 * (size_t) count);
		for (; count < d; count++)
			list[count] = UINT32_MAX;
	}
	free(back);
	free(nback);
	free(rank);
	free(ways);
	free(merged);
	return links;
}

static void
cagra_put(FILE *file, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		fputc((int) (value >> 8 * i & 0xFF), file);
}

static void
cagra_header(FILE *file, const cagra_input *in, const char *kind)
{
	fputs(kind, file);
	cagra_put(file, in->dim, 4);
	if (in->binary)
		cagra_put(file, in->dim / 8, 4);
	cagra_put(file, in->n, 8);
	if (!in->binary)
	{
		cagra_put(file, 1 << 20, 8);
		cagra_put(file, 1 << 20, 8);
	}
	cagra_put(file, 1, 1);
	cagra_put(file, in->metric, 4);
}

#define CAGRA_LEVELS 6

static void
cagra_graph(FILE *file, const cagra_input *in, const uint32_t *links)
{
	uint32_t	m = in->degree / 2;
	uint64_t	offset = 0;
	uint8_t    *levels = malloc(in->n + 1);
	uint32_t	state = 1;

	for (uint32_t i = 0; i < in->n; i++)
	{
		levels[i] = 1;
		do
			state = state * 1664525u + 1013904223u;
		while ((state >> 8) % m == 0 && ++levels[i] < CAGRA_LEVELS);
	}
	cagra_put(file, CAGRA_LEVELS, 8);
	for (int l = 0; l < CAGRA_LEVELS; l++)
	{
		double		p = pow(m, -l) * (1 - 1.0 / m);
		uint64_t	bits;

		memcpy(&bits, &p, 8);
		cagra_put(file, bits, 8);
	}
	cagra_put(file, CAGRA_LEVELS + 1, 8);
	for (uint32_t l = 0; l <= CAGRA_LEVELS; l++)
		cagra_put(file, l == 0 ? 0 : (l + 1) * m, 4);
	cagra_put(file, in->n, 8);
	for (uint32_t i = 0; i < in->n; i++)
		cagra_put(file, levels[i], 4);
	cagra_put(file, (uint64_t) in->n + 1, 8);
	cagra_put(file, 0, 8);
	for (uint32_t i = 0; i < in->n; i++)
	{
		offset += (levels[i] + 1) * (uint64_t) m;
		cagra_put(file, offset, 8);
	}
	cagra_put(file, offset, 8);
	for (uint32_t i = 0; i < in->n; i++)
	{
		for (uint32_t a = 0; a < in->degree; a++)
			cagra_put(file, links[(size_t) i * in->degree + a], 4);
		for (uint32_t a = 0; a < (levels[i] - 1) * m; a++)
			cagra_put(file, UINT32_MAX, 4);
	}
	cagra_put(file, UINT32_MAX, 4);
	cagra_put(file, UINT32_MAX, 4);
	cagra_put(file, 100, 4);
	cagra_put(file, 100, 4);
	cagra_put(file, 1, 4);
	free(levels);
}

static void
cagra_write(FILE *file, const cagra_input *in, const uint32_t *links)
{
	uint64_t	bytes = (uint64_t) in->row_bytes * in->n;

	cagra_header(file, in, in->binary ? "IBMp" : "IxMp");
	cagra_header(file, in, in->binary ? "IBHc" : "IHc2");
	cagra_put(file, 1, 1);
	cagra_put(file, 1, 1);
	cagra_put(file, 32, 4);
	if (!in->binary)
		cagra_put(file, (uint64_t) in->numbers, 4);
	cagra_graph(file, in, links);
	if (in->rows == NULL)
		fputs("null", file);
	else if (in->binary || in->numbers == 0)
	{
		cagra_header(file, in, in->binary ? "IBxF" : in->metric == 0 ? "IxFI" : "IxF2");
		cagra_put(file, in->binary ? bytes : bytes / 4, 8);
		fwrite(in->rows, 1, bytes, file);
	}
	else
	{
		cagra_header(file, in, "IxSQ");
		cagra_put(file, in->numbers == 1 ? 4 : 8, 4);
		cagra_put(file, 0, 4);
		cagra_put(file, 0, 4);
		cagra_put(file, in->dim, 8);
		cagra_put(file, in->row_bytes, 8);
		cagra_put(file, 0, 8);
		cagra_put(file, bytes, 8);
		fwrite(in->rows, 1, bytes, file);
	}
	cagra_put(file, in->n, 8);
	for (uint32_t i = 0; i < in->n; i++)
		cagra_put(file, in->ids ? (uint64_t) in->ids[i] : i, 8);
}

#endif
