/*
 * hnsw_insert.c
 *		Inserting a row into a knn_hnsw index.
 *
 * ORDER.  Search first, holding no lock; then
 *
 *	1	allocate a node id and its upper slots		(metapage)
 *	2	write code, vector and upper links			(unpublished: nothing refers
 *	3	write tid and own links						 to the node yet)
 *	4	link from the neighbours, up to four pages at a time
 *	5	make it the entry point if it is on a new level	(metapage)
 *
 * Each step is one or a few WAL records that leave a consistent index.  A crash
 * after 1 leaks an id; after 3, a node that no search finds, whose transaction
 * cannot have committed; during 4, one with fewer links.
 *
 * CONCURRENCY.  Inserts, scans and VACUUM run at once.  Two inserts may not see
 * each other and so not link to each other; older nodes link to both.  Of two first
 * inserts one makes its node the entry point, the other starts over and links to it.  A
 * neighbour's full list is pruned without a lock, and replaced only if it is
 * still as it was read; otherwise the step is done again.
 *
 * A row whose vector is in the index already joins its node instead: hnsw_join.c.
 */
#include "postgres.h"

#include "am/hnsw_insert.h"

#include "am/handler.h"
#include "cache/evict.h"
#include "common/pg_prng.h"
#include "core/graph_prune.h"
#include "utils/memutils.h"

/* Width of the search for an equal vector when there is likely to be one. */
#define EQUAL_SEARCH_WIDTH 16

static void
write_node(HnswInsert *insert, uint32 node, uint32 level, uint32 upper,
		   const LevelLinks *chosen, uint32 nchosen, ItemPointer tid)
{
	KnnStore   *store = insert->store;
	KnnTidItem	tid_item = {.ntids = 1, .flags = KNN_TID_WRITTEN, .chain = KNN_NO_CHAIN};
	KnnLinksItem *links = palloc0(store->columns[KNN_COLUMN_LINKS].width);
	uint32		upper_width = store->columns[KNN_COLUMN_UPPER].width;
	char	   *uppers = palloc0(Max((Size) upper_width * level, 1));
	KnnItemWrite writes[KNN_MAX_LEVEL + 4];
	int			nwrites = 0;

	for (uint32 l = 1; l <= level; l++)
	{
		KnnUpperItem *item = (KnnUpperItem *) (uppers + (Size) upper_width * (l - 1));

		if (l < nchosen)
		{
			item->nlinks = chosen[l].n;
			for (uint32 i = 0; i < chosen[l].n; i++)
				item->links[i] = chosen[l].links[i].id + 1;
		}
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_UPPER, upper + l - 1, item};
	}
	if (nwrites > 0)
		KnnCacheWrite(store, insert->index, writes, nwrites);

	links->level = (uint8) level;
	links->upper = upper;
	if (nchosen > 0)
	{
		links->nlinks = (uint16) chosen[0].n;
		for (uint32 i = 0; i < chosen[0].n; i++)
			links->links[i] = chosen[0].links[i].id + 1;
	}
	tid_item.tids[0] = *tid;

	/*
	 * Ascending by column, so by block, this is one record of four pages.  When
	 * code or vector cross pages it takes several, and tid and links come last:
	 * a node that is written is written in full.
	 */
	nwrites = 0;
	if (store->columns[KNN_COLUMN_CODE].per_page != 0 &&
		(insert->value->stored == NULL || store->columns[KNN_COLUMN_VECTOR].per_page != 0))
	{
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_TID, node, &tid_item};
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_LINKS, node, links};
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_CODE, node, insert->code};
		if (insert->value->stored)
			writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_VECTOR, node, insert->stored};
	}
	else
	{
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_CODE, node, insert->code};
		if (insert->value->stored)
			writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_VECTOR, node, insert->stored};
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_TID, node, &tid_item};
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_LINKS, node, links};
	}
	KnnCacheWrite(store, insert->index, writes, nwrites);
}

static void
insert_init(HnswInsert *insert, Relation index, KnnStore *store, const KnnValue *value)
{
	const KnnShape *shape = &store->shape;
	Size		vector_width = store->columns[KNN_COLUMN_VECTOR].width;
	knn_code_factors factors;
	float	   *scratch = palloc(sizeof(float) * shape->dim);

	memset(insert, 0, sizeof(*insert));
	insert->index = index;
	insert->store = store;
	insert->value = value;
	insert->search = KnnPageReaderInit(&insert->reader, index, store);

	insert->code_width = store->columns[KNN_COLUMN_CODE].width;
	insert->scratch = palloc(Max(insert->code_width, vector_width));
	insert->code = palloc0(insert->code_width);
	knn_encode(&store->encoder, value->elements, &factors,
			   (uint8 *) KnnCodeBytes(store, insert->code), scratch);
	memcpy(insert->code, &factors, store->factor_bytes);
	/* items are a multiple of four bytes wide */
	if (value->stored)
	{
		insert->stored = palloc0(vector_width);
		memcpy(insert->stored, value->stored, KnnStoredSize(shape));
	}
	KnnPageReaderSetQuery(&insert->reader, value->elements);
	(void) KnnMirrorReaderBegin(&insert->mirror, &insert->reader, insert->search,
								CurrentMemoryContext, false);
	KnnHnswLinkInit(insert);
}

void
KnnHnswInsertValue(Relation index, KnnStore *store, const KnnValue *value,
				   ItemPointer tid, bool unchanged)
{
	/* not on the stack: what is to be done at the end is done after an error too */
	HnswInsert *insert = palloc(sizeof(HnswInsert));
	LevelLinks	chosen[KNN_MAX_LEVEL + 1] = {0};
	uint32		nchosen = 0;
	uint32		level;
	uint32		node = KNN_INVALID_ID;
	uint32		upper = 0;

	insert_init(insert, index, store, value);
	level = knn_node_level(pg_prng_uint64(&pg_global_prng_state), 0, store->shape.m);

	for (;;)
	{
		uint32		entry = store->entry;
		uint32		entry_level = store->entry_level;

		if (entry == KNN_INVALID_ID)
		{
			/* the first node; another backend may be about to be first too */
			if (node == KNN_INVALID_ID)
			{
				if (level > 0)
					upper = KnnCacheAllocate(store, index, KNN_GROUP_UPPER, level);
				node = KnnCacheAllocate(store, index, KNN_GROUP_NODE, 1);
				write_node(insert, node, level, upper, NULL, 0, tid);
			}
			if (KnnStoreSetFirstEntry(index, node, level))
			{
				KnnPublishEntry(index, store, node, level);
				return;
			}
			KnnStoreRefresh(store, index);
			/* the other's node may be newer than what the search knows of */
			KnnMirrorReaderExtend(&insert->mirror);
			continue;
		}

		if (unchanged && node == KNN_INVALID_ID)
		{
			uint32		start = entry;
			uint32		equal;

			if (entry_level > 0)
				start = knn_search_descend(insert->search, entry, entry_level, 1);
			if (knn_search_level(insert->search, &start, 1, 0, EQUAL_SEARCH_WIDTH) != KNN_OK)
				elog(ERROR, "out of memory");
			equal = KnnHnswFindEqual(insert);
			if (equal != KNN_INVALID_ID)
			{
				KnnHnswJoinNode(insert, equal, tid);
				return;
			}
		}

		if (entry_level > level)
			entry = knn_search_descend(insert->search, entry, entry_level, level + 1);
		nchosen = Min(level, entry_level) + 1;
		for (uint32 l = nchosen; l-- > 0;)
		{
			if (knn_search_level(insert->search, &entry, 1, l, store->shape.ef_construction) != KNN_OK)
				elog(ERROR, "out of memory");
			if (insert->search->nbeam > 0)
				entry = insert->search->beam[0].id;
			if (l == 0 && node == KNN_INVALID_ID)
			{
				uint32		equal = KnnHnswFindEqual(insert);

				if (equal != KNN_INVALID_ID)
				{
					KnnHnswJoinNode(insert, equal, tid);
					return;
				}
			}
			KnnHnswChooseLinks(insert, l, &chosen[l]);
		}
		break;
	}

	KnnMirrorReaderCheck(&insert->mirror);
	if (node == KNN_INVALID_ID)
	{
		if (level > 0)
			upper = KnnCacheAllocate(store, index, KNN_GROUP_UPPER, level);
		node = KnnCacheAllocate(store, index, KNN_GROUP_NODE, 1);
	}
	/* one that was written as the first node is written again, with links */
	write_node(insert, node, level, upper, chosen, nchosen, tid);

	KnnHnswLinkBack(insert, chosen, nchosen, node);
	if (level > store->entry_level)
	{
		KnnStoreRaiseEntry(index, node, level);
		KnnPublishEntry(index, store, node, level);
	}
}

static void
insert_value(Relation index, KnnStore *store, const KnnValue *value, ItemPointer tid,
			 bool unchanged)
{
	KnnBreakerCheckInsert(index);
	KnnHnswInsertValue(index, store, value, tid, unchanged);
}

bool
knn_hnsw_insert(Relation index, Datum *values, bool *isnull, ItemPointer tid,
				Relation heap, IndexUniqueCheck unique, bool unchanged, IndexInfo *info)
{
	return KnnInsert(index, values, isnull, tid, unchanged, insert_value);
}
