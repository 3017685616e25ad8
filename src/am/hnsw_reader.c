/*
 * hnsw_reader.c
 *		The graph reader over buffers; see hnsw.h.
 */
#include "postgres.h"

#include "am/hnsw.h"

#include "am/options.h"
#include "am/search_memory.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Links of a node at the largest m. */
#define MAX_LINKS (2 * KNN_HNSW_MAX_M)

/*
 * Pages pinned at once while codes are scored.  More would overflow the backend's
 * small array of private reference counts (8 entries, some of which the executor
 * uses).
 */
#define PINS 4

/* ---- links ---- */

/*
 * Copy stored links (id + 1) to ids.  The count and every id are checked: a
 * damaged page must not lead anywhere but to an error.
 */
static uint32
decode_links(KnnPageReader *reader, KnnColumn column, uint32 id,
			 uint32 nlinks, uint32 room, const uint32 *links, uint32_t *out)
{
	uint32		highest = 0;
	uint32		lowest = UINT32_MAX;

	if (unlikely(nlinks > room))
		goto damaged;
	for (uint32 i = 0; i < nlinks; i++)
	{
		uint32		other = links[i] - 1;

		out[i] = other;
		highest = other > highest ? other : highest;
		lowest = links[i] < lowest ? links[i] : lowest;
	}
	if (unlikely(lowest == 0))
		goto damaged;
	if (unlikely(highest >= reader->store->used[KNN_GROUP_NODE] && nlinks > 0))
	{
		/* nodes that were added since the metapage was read */
		KnnStoreRefresh(reader->store, reader->index);
		if (highest >= reader->store->used[KNN_GROUP_NODE])
			goto damaged;
	}
	return nlinks;

damaged:
	KnnReportDamage(reader->index,
					KnnStoreLocate(reader->store, reader->index, column, id).block,
					psprintf("Item %u of column \"%s\" has impossible links.",
							 id, KnnColumnName(column)));
}

static uint32_t
page_neighbours(void *state, uint32_t id, uint32_t level, uint32_t *out, bool *dead)
{
	KnnPageReader *reader = state;
	KnnStore   *store = reader->store;
	uint32		m = store->shape.m;

	CHECK_FOR_INTERRUPTS();
	KnnStoreCopy(store, reader->index, KNN_COLUMN_LINKS, id, reader->links);
	*dead = (reader->links->flags & KNN_LINKS_DEAD) != 0;
	if (level == 0)
		return decode_links(reader, KNN_COLUMN_LINKS, id,
							reader->links->nlinks, 2 * m, reader->links->links, out);

	/* a link at a level leads to nodes of that level or above */
	if (unlikely(reader->links->level < level))
		KnnReportDamage(reader->index,
						KnnStoreLocate(store, reader->index, KNN_COLUMN_LINKS, id).block,
						psprintf("Node %u is linked at level %u but ends at level %u.",
								 id, level, reader->links->level));
	KnnStoreCopy(store, reader->index, KNN_COLUMN_UPPER,
				 reader->links->upper + level - 1, reader->upper);
	return decode_links(reader, KNN_COLUMN_UPPER, reader->links->upper + level - 1,
						reader->upper->nlinks, m, reader->upper->links, out);
}

/*
 * Called with the node that will probably be expanded next: its links are
 * requested while the codes at hand are scored.
 */
static void
page_prefetch(void *state, uint32_t id)
{
	KnnPageReader *reader = state;

	KnnStorePrefetch(reader->store,
					 KnnStoreLocate(reader->store, reader->index, KNN_COLUMN_LINKS, id),
					 reader->store->columns[KNN_COLUMN_LINKS].width);
}

/* ---- codes ---- */

static inline void
score_item(KnnPageReader *reader, const KnnCodeItem *item, float *distance, float *error)
{
	const knn_code_factors *factors = KnnCodeFactors(reader->store, item);

	*distance = knn_query_score(&reader->query, factors, KnnCodeBytes(reader->store, item));
	*error = knn_query_error(&reader->query, factors, *distance);
}

/* Codes that may cross pages: one at a time. */
static void
score_crossing(KnnPageReader *reader, const uint32_t *ids, uint32_t n,
			   float *distance, float *error)
{
	for (uint32 i = 0; i < n; i++)
		KnnStorePrefetch(reader->store,
						 KnnStoreLocate(reader->store, reader->index, KNN_COLUMN_CODE, ids[i]),
						 reader->store->columns[KNN_COLUMN_CODE].width);
	for (uint32 i = 0; i < n; i++)
	{
		Buffer		buffer;
		const KnnCodeItem *item = KnnStoreReadFixed(reader->store, reader->index,
													KNN_COLUMN_CODE, ids[i],
													reader->code_scratch, &buffer);

		score_item(reader, item, &distance[i], &error[i]);
		if (BufferIsValid(buffer))
			ReleaseBuffer(buffer);
	}
}

static void
page_score(void *state, const uint32_t *ids, uint32_t n, float *distance, float *error)
{
	KnnPageReader *reader = state;
	KnnStore   *store = reader->store;
	uint32		width = store->columns[KNN_COLUMN_CODE].width;
	uint32		order[MAX_LINKS];
	KnnItemAddress addresses[MAX_LINKS];
	uint32		done = 0;

	if (store->columns[KNN_COLUMN_CODE].per_page == 0 || n > lengthof(order))
	{
		score_crossing(reader, ids, n, distance, error);
		return;
	}

	/*
	 * Request all codes, so that their cache misses overlap, and sort them by
	 * block, so that a page is pinned once for all its codes.
	 */
	for (uint32 i = 0; i < n; i++)
	{
		KnnItemAddress address = KnnStoreLocate(store, reader->index, KNN_COLUMN_CODE, ids[i]);
		uint32		j = i;

		KnnStorePrefetch(store, address, width);

		for (; j > 0 && addresses[j - 1].block > address.block; j--)
		{
			addresses[j] = addresses[j - 1];
			order[j] = order[j - 1];
		}
		addresses[j] = address;
		order[j] = i;
	}

	while (done < n)
	{
		Buffer		buffers[PINS];
		const KnnCodeItem *items[MAX_LINKS];
		uint32		npins = 0;
		uint32		end = done;
		BlockNumber last = InvalidBlockNumber;
		const char *contents = NULL;

		while (end < n)
		{
			if (addresses[end].block != last)
			{
				if (npins == PINS)
					break;
				last = addresses[end].block;
				buffers[npins] = KnnStorePin(store, reader->index, last, KNN_COLUMN_CODE);
				contents = KnnPageContents(BufferGetPage(buffers[npins]));
				npins++;
			}
			items[end] = (const KnnCodeItem *) (contents + addresses[end].offset);
			end++;
		}
		for (uint32 i = done; i < end; i++)
			score_item(reader, items[i], &distance[order[i]], &error[order[i]]);
		for (uint32 i = 0; i < npins; i++)
			ReleaseBuffer(buffers[i]);
		done = end;
	}
}

void
KnnPageReaderScore(KnnPageReader *reader, const uint32 *ids, uint32 n,
				   float *distance, float *error)
{
	page_score(reader, ids, n, distance, error);
}

knn_search *
KnnPageReaderInit(KnnPageReader *reader, Relation index, KnnStore *store)
{
	uint32		dim = store->shape.dim;
	knn_search *search = KnnSearchTake(2 * store->shape.m, CurrentMemoryContext);

	reader->index = index;
	reader->store = store;
	reader->q8 = palloc(KNN_QUERY_ROOM(dim));
	reader->qf = palloc(sizeof(float) * knn_query_floats(&store->encoder));
	reader->code_scratch = palloc(store->columns[KNN_COLUMN_CODE].width);
	reader->links = palloc(store->columns[KNN_COLUMN_LINKS].width);
	reader->upper = palloc(store->columns[KNN_COLUMN_UPPER].width);
	search->reader = (knn_reader) {
		.state = reader, .neighbours = page_neighbours,
		.score = page_score, .prefetch = page_prefetch
	};
	return search;
}

void
KnnPageReaderSetQuery(KnnPageReader *reader, const void *elements)
{
	knn_query_prepare(&reader->query, &reader->store->encoder, elements, reader->q8, reader->qf);
}
