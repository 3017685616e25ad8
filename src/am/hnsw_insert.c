/*
 * hnsw_insert.c
 *		Inserting a row into a knn_hnsw index.
 *
 * ORDER.  Search first, holding no lock; then
 *
 *	1	allocate a node id and its upper slots		(metapage)
 *	2	write code, vector and upper links			(unpublished: nothing refers
 *	3	write tid and own links						 to the node yet)
 *	4	link from each neighbour, one page at a time
 *	5	make it the entry point if it is on a new level	(metapage)
 *
 * Each step is one or a few WAL records that leave a consistent index.  A crash
 * after 1 leaks an id; after 3, a node that no search finds, whose transaction
 * cannot have committed; during 4, one with fewer links.
 *
 * CONCURRENCY.  Inserts, scans and VACUUM run at once.  Two inserts may not see
 * each other and so not link to each other; both are linked from older nodes.  A
 * neighbour's full list is pruned outside the lock, and replaced only if it is
 * still as it was read; otherwise the step is done again.
 *
 * EQUAL VECTORS.  When the search meets an equal vector, the row joins that
 * node: into its tid item or, when that is full, into its chain of further items
 * (10,000 equal rows then cost no graph at all).  A node that VACUUM has made a
 * tombstone comes back to life that way.  Locks: tid, then chain or links.
 */
#include "postgres.h"

#include "am/hnsw.h"

#include "access/generic_xlog.h"
#include "common/pg_prng.h"
#include "core/graph_prune.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Width of the search for an equal vector when there is likely to be one. */
#define EQUAL_SEARCH_WIDTH 16

/* What one insert knows of the nodes it may link to: their codes. */
typedef struct HnswInsert
{
	Relation	index;
	KnnStore   *store;
	const float *v;
	KnnCodeItem *code;			/* of v */
	KnnPageReader reader;
	knn_search	search;

	/* scratch for pruning: codes of the candidates being chosen from */
	uint32		ncodes;
	uint32		codes_room;
	uint32	   *code_ids;
	char	   *codes;			/* by position, width apart */
	Size		code_width;
	knn_query	pair_query;
	int8_t	   *pair_q8;
	float	   *pair_qf;
	knn_candidate *spare;
	char	   *scratch;		/* an item that crosses pages */
} HnswInsert;

/* Links chosen for one level. */
typedef struct LevelLinks
{
	uint32		n;
	knn_candidate *links;
} LevelLinks;

/* ---- codes of candidates ---- */

/*
 * Copy the code of a node to the next place; the place's number goes into
 * candidate->flags, where the pruning finds it.
 */
static void
fetch_code(HnswInsert *insert, knn_candidate *candidate)
{
	Buffer		buffer;
	const void *item = KnnStoreReadFixed(insert->store, insert->index, KNN_COLUMN_CODE,
										 candidate->id, insert->scratch, &buffer);

	Assert(insert->ncodes < insert->codes_room);
	memcpy(insert->codes + insert->code_width * insert->ncodes, item, insert->code_width);
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
	candidate->flags = insert->ncodes++;
}

static inline const KnnCodeItem *
fetched_code(HnswInsert *insert, uint32 place)
{
	return (const KnnCodeItem *) (insert->codes + insert->code_width * place);
}

static void
query_from_code(HnswInsert *insert, const KnnCodeItem *item)
{
	knn_query_from_code(&insert->pair_query, &insert->store->encoder,
						&item->factors, item->code, insert->pair_q8, insert->pair_qf);
}

static bool
insert_covered(void *state, const knn_candidate *candidate,
			   const knn_candidate *kept, uint32_t nkept)
{
	HnswInsert *insert = state;

	if (nkept == 0)
		return false;
	query_from_code(insert, fetched_code(insert, candidate->flags));
	for (uint32 i = 0; i < nkept; i++)
	{
		const KnnCodeItem *item = fetched_code(insert, kept[i].flags);

		if (knn_query_score(&insert->pair_query, &item->factors, item->code) < candidate->distance)
			return true;
	}
	return false;
}

/* ---- equal vectors ---- */

/* Does a node hold exactly this vector? */
static bool
node_equals(HnswInsert *insert, uint32 node)
{
	Size		size = sizeof(float) * insert->store->shape.dim;
	Buffer		buffer;
	const void *item;
	bool		equal;

	/* the code tells nearly all apart, and is likely in cache */
	item = KnnStoreReadFixed(insert->store, insert->index, KNN_COLUMN_CODE, node,
							 insert->scratch, &buffer);
	equal = memcmp(((const KnnCodeItem *) item)->code, insert->code->code,
				   insert->store->shape.dim) == 0;
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
	if (!equal)
		return false;

	item = KnnStoreReadFixed(insert->store, insert->index, KNN_COLUMN_VECTOR, node,
							 insert->scratch, &buffer);
	equal = memcmp(item, insert->v, size) == 0;
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
	return equal;
}

/*
 * An equal vector in the beam, or KNN_INVALID_ID.  Equal vectors have equal codes,
 * whose estimated distances are equal to the last bit.
 */
static uint32
find_equal(HnswInsert *insert)
{
	const knn_search *search = &insert->search;
	float		self = knn_query_score(&insert->reader.query, &insert->code->factors,
									   insert->code->code);

	for (uint32 i = 0; i < search->nbeam; i++)
	{
		if (search->beam[i].distance == self && node_equals(insert, search->beam[i].id))
			return search->beam[i].id;
	}
	return KNN_INVALID_ID;
}

/* Put a TID into a free place of a chain item; false when it is full. */
static bool
join_chain_item(HnswInsert *insert, uint32 chain, uint32 node, ItemPointer tid)
{
	uint32		offset;
	Buffer		buffer = KnnStoreLockItem(insert->store, insert->index, KNN_COLUMN_CHAIN,
										  chain, &offset);
	KnnChainItem *item = (KnnChainItem *) (KnnPageContents(BufferGetPage(buffer)) + offset);
	bool		joined = false;

	if (item->owner != node || item->ntids > KNN_CHAIN_TIDS)
	{
		BlockNumber block = BufferGetBlockNumber(buffer);

		UnlockReleaseBuffer(buffer);
		KnnReportDamage(insert->index, block,
						psprintf("Item %u is not of the chain of node %u.", chain, node));
	}
	if (item->ntids < KNN_CHAIN_TIDS)
	{
		GenericXLogState *state = GenericXLogStart(insert->index);
		Page		page = GenericXLogRegisterBuffer(state, buffer, 0);

		item = (KnnChainItem *) (KnnPageContents(page) + offset);
		item->tids[item->ntids++] = *tid;
		GenericXLogFinish(state);
		joined = true;
	}
	UnlockReleaseBuffer(buffer);
	return joined;
}

/*
 * Add a row to a node.  The node's tid page is locked throughout, which keeps
 * VACUUM from making it a tombstone meanwhile.
 */
static void
join_node(HnswInsert *insert, uint32 node, ItemPointer tid)
{
	KnnStore   *store = insert->store;
	Relation	index = insert->index;
	uint32		new_chain = KNN_INVALID_ID;

	for (;;)
	{
		uint32		offset;
		Buffer		buffer = KnnStoreLockItem(store, index, KNN_COLUMN_TID, node, &offset);
		KnnTidItem *item = (KnnTidItem *) (KnnPageContents(BufferGetPage(buffer)) + offset);

		if (item->ntids > KNN_INLINE_TIDS)
			KnnReportDamage(index, BufferGetBlockNumber(buffer),
							psprintf("Node %u has an impossible number of TIDs.", node));
		if (item->ntids < KNN_INLINE_TIDS)
		{
			bool		was_dead = item->ntids == 0 && item->chain == KNN_NO_CHAIN;
			Buffer		links_buffer = InvalidBuffer;
			uint32		links_offset = 0;
			GenericXLogState *state;

			/*
			 * A node without inline TIDs may be a tombstone (also with a chain
			 * that has become empty).
			 */
			if (was_dead || item->ntids == 0)
				links_buffer = KnnStoreLockItem(store, index, KNN_COLUMN_LINKS, node, &links_offset);
			state = GenericXLogStart(index);
			item = (KnnTidItem *) (KnnPageContents(GenericXLogRegisterBuffer(state, buffer, 0)) + offset);
			item->tids[item->ntids++] = *tid;
			if (BufferIsValid(links_buffer))
			{
				KnnLinksItem *links = (KnnLinksItem *)
				(KnnPageContents(GenericXLogRegisterBuffer(state, links_buffer, 0)) + links_offset);

				links->flags &= ~KNN_LINKS_DEAD;
			}
			GenericXLogFinish(state);
			if (BufferIsValid(links_buffer))
				UnlockReleaseBuffer(links_buffer);
			UnlockReleaseBuffer(buffer);
			return;
		}

		/* the first item of the chain is the only one with free places */
		if (item->chain != KNN_NO_CHAIN &&
			join_chain_item(insert, item->chain - 1, node, tid))
		{
			UnlockReleaseBuffer(buffer);
			return;
		}

		if (new_chain == KNN_INVALID_ID)
		{
			/* the metapage is not locked together with others: start over */
			UnlockReleaseBuffer(buffer);
			new_chain = KnnStoreAllocate(store, index, KNN_GROUP_CHAIN, 1);
			continue;
		}
		else
		{
			KnnChainItem chain = {.ntids = 1, .next = item->chain, .owner = node};
			KnnItemWrite write = {KNN_COLUMN_CHAIN, new_chain, &chain};
			GenericXLogState *state;

			chain.tids[0] = *tid;
			KnnStoreWrite(store, index, &write, 1);
			state = GenericXLogStart(index);
			item = (KnnTidItem *) (KnnPageContents(GenericXLogRegisterBuffer(state, buffer, 0)) + offset);
			item->chain = new_chain + 1;
			GenericXLogFinish(state);
			UnlockReleaseBuffer(buffer);
			return;
		}
	}
}

/* ---- choosing links ---- */

/*
 * Choose the new node's links at a level from the beam.  Tombstones are linked
 * to only for want of live nodes: a link to one is a link that will not lead to
 * a result.
 */
static void
choose_links(HnswInsert *insert, uint32 level, LevelLinks *chosen)
{
	knn_search *search = &insert->search;
	uint32		m = insert->store->shape.m;
	uint32		ncandidates = 0;
	knn_candidate *candidates = palloc(sizeof(knn_candidate) * Max(search->nbeam, 1));

	for (uint32 i = 0; i < search->nbeam; i++)
	{
		if (!(search->beam[i].flags & KNN_CANDIDATE_DEAD))
			candidates[ncandidates++] = search->beam[i];
	}
	for (uint32 i = 0; i < search->nbeam && ncandidates < m; i++)
	{
		if (search->beam[i].flags & KNN_CANDIDATE_DEAD)
			candidates[ncandidates++] = search->beam[i];
	}
	knn_sort_few(candidates, ncandidates);
	ncandidates = Min(ncandidates, insert->store->shape.ef_construction);

	insert->ncodes = 0;
	for (uint32 i = 0; i < ncandidates; i++)
		fetch_code(insert, &candidates[i]);
	chosen->n = knn_choose_neighbours(candidates, ncandidates, m, m / 2,
									  insert_covered, insert, insert->spare);
	chosen->links = candidates;
}

/* ---- linking back ---- */

/*
 * Put the links of a list of at most room, read as "old", together with a new
 * one in order of distance from node "from", and choose which to keep.  Returns
 * the number kept in out (room for room + 1).
 */
static uint32
prune_links(HnswInsert *insert, uint32 from, const uint32 *old, uint32 nold,
			uint32 new_node, float new_distance, uint32 room, knn_candidate *out)
{
	knn_candidate self = {0, 0, from, 0};
	uint32		n = 0;

	insert->ncodes = 0;
	fetch_code(insert, &self);
	for (uint32 i = 0; i < nold; i++)
	{
		out[n] = (knn_candidate) {0, 0, old[i] - 1, 0};
		fetch_code(insert, &out[n]);
		n++;
	}
	/* the new node's own code is at hand */
	memcpy(insert->codes + insert->code_width * insert->ncodes, insert->code, insert->code_width);
	out[n] = (knn_candidate) {new_distance, 0, new_node, insert->ncodes++};
	n++;

	query_from_code(insert, fetched_code(insert, self.flags));
	for (uint32 i = 0; i < nold; i++)
	{
		const KnnCodeItem *item = fetched_code(insert, out[i].flags);

		out[i].distance = knn_query_score(&insert->pair_query, &item->factors, item->code);
	}
	knn_sort_few(out, n);
	return knn_choose_neighbours(out, n, room, room / 2, insert_covered, insert, insert->spare);
}

/*
 * A list of links in a locked page: where it is, however it is stored.
 */
typedef struct LinkList
{
	Buffer		buffer;
	uint32		offset;
	KnnColumn	column;
} LinkList;

static uint32
links_count(const LinkList *list, Page page)
{
	char	   *item = KnnPageContents(page) + list->offset;

	return list->column == KNN_COLUMN_LINKS ?
		((KnnLinksItem *) item)->nlinks : ((KnnUpperItem *) item)->nlinks;
}

static uint32 *
links_array(const LinkList *list, Page page)
{
	char	   *item = KnnPageContents(page) + list->offset;

	return list->column == KNN_COLUMN_LINKS ?
		((KnnLinksItem *) item)->links : ((KnnUpperItem *) item)->links;
}

static void
links_set_count(const LinkList *list, Page page, uint32 n)
{
	char	   *item = KnnPageContents(page) + list->offset;

	if (list->column == KNN_COLUMN_LINKS)
		((KnnLinksItem *) item)->nlinks = (uint16) n;
	else
		((KnnUpperItem *) item)->nlinks = n;
}

/*
 * Link from a node to the new one.
 */
static void
link_back(HnswInsert *insert, uint32 from, uint32 level, uint32 new_node, float distance)
{
	KnnStore   *store = insert->store;
	Relation	index = insert->index;
	uint32		room = level == 0 ? 2 * store->shape.m : store->shape.m;
	LinkList	list;
	uint32		item_id = from;
	uint32	   *old = palloc(sizeof(uint32) * room);
	uint32		nold = 0;
	bool		pruned = false;
	knn_candidate *kept = palloc(sizeof(knn_candidate) * (room + 1));
	uint32		nkept = 0;

	list.column = KNN_COLUMN_LINKS;
	if (level > 0)
	{
		KnnStoreCopy(store, index, KNN_COLUMN_LINKS, from, insert->reader.links);
		if (insert->reader.links->level < level)
			KnnReportDamage(index, KnnStoreLocate(store, index, KNN_COLUMN_LINKS, from).block,
							psprintf("Node %u is linked at level %u but ends at level %u.",
									 from, level, insert->reader.links->level));
		item_id = insert->reader.links->upper + level - 1;
		list.column = KNN_COLUMN_UPPER;
	}

	for (;;)
	{
		GenericXLogState *state;
		Page		page;
		uint32		n;
		bool		unchanged;

		CHECK_FOR_INTERRUPTS();
		list.buffer = KnnStoreLockItem(store, index, list.column, item_id, &list.offset);
		page = BufferGetPage(list.buffer);
		n = links_count(&list, page);
		if (n > room)
		{
			BlockNumber block = BufferGetBlockNumber(list.buffer);

			UnlockReleaseBuffer(list.buffer);
			KnnReportDamage(index, block, psprintf("Node %u has impossible links.", from));
		}
		if (n < room)
		{
			state = GenericXLogStart(index);
			page = GenericXLogRegisterBuffer(state, list.buffer, 0);
			links_array(&list, page)[n] = new_node + 1;
			links_set_count(&list, page, n + 1);
			GenericXLogFinish(state);
			UnlockReleaseBuffer(list.buffer);
			break;
		}

		unchanged = pruned && n == nold &&
			memcmp(old, links_array(&list, page), sizeof(uint32) * n) == 0;
		if (unchanged)
		{
			bool		present = false;

			for (uint32 i = 0; i < nkept; i++)
				present |= kept[i].id == new_node;
			/* unless the new node falls out, in which case nothing is gained */
			if (present)
			{
				uint32	   *links;

				state = GenericXLogStart(index);
				page = GenericXLogRegisterBuffer(state, list.buffer, 0);
				links = links_array(&list, page);
				for (uint32 i = 0; i < room; i++)
					links[i] = i < nkept ? kept[i].id + 1 : 0;
				links_set_count(&list, page, nkept);
				GenericXLogFinish(state);
			}
			UnlockReleaseBuffer(list.buffer);
			break;
		}

		/* full, or not what was pruned: take a copy and prune without the lock */
		memcpy(old, links_array(&list, page), sizeof(uint32) * n);
		nold = n;
		UnlockReleaseBuffer(list.buffer);
		for (uint32 i = 0; i < nold; i++)
		{
			if (old[i] == 0 || old[i] - 1 >= store->capacity[KNN_GROUP_NODE])
			{
				KnnStoreRefresh(store, index);
				if (old[i] == 0 || old[i] - 1 >= store->capacity[KNN_GROUP_NODE])
					KnnReportDamage(index, KnnStoreLocate(store, index, list.column, item_id).block,
									psprintf("Node %u has impossible links.", from));
			}
		}
		nkept = prune_links(insert, from, old, nold, new_node, distance, room, kept);
		pruned = true;
	}
	pfree(old);
	pfree(kept);
}

/* ---- the new node ---- */

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
		KnnStoreWrite(store, insert->index, writes, nwrites);

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
		store->columns[KNN_COLUMN_VECTOR].per_page != 0)
	{
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_TID, node, &tid_item};
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_LINKS, node, links};
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_CODE, node, insert->code};
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_VECTOR, node, insert->v};
	}
	else
	{
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_CODE, node, insert->code};
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_VECTOR, node, insert->v};
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_TID, node, &tid_item};
		writes[nwrites++] = (KnnItemWrite) {KNN_COLUMN_LINKS, node, links};
	}
	KnnStoreWrite(store, insert->index, writes, nwrites);
}

static void
insert_init(HnswInsert *insert, Relation index, KnnStore *store, const float *v)
{
	uint32		dim = store->shape.dim;
	uint32		most;

	memset(insert, 0, sizeof(*insert));
	insert->index = index;
	insert->store = store;
	insert->v = v;
	KnnPageReaderInit(&insert->reader, index, store, &insert->search);

	/* candidates of one choice, or a full list with its owner and a new node */
	most = Max(store->shape.ef_construction, 2 * store->shape.m) + 2;
	insert->code_width = store->columns[KNN_COLUMN_CODE].width;
	insert->codes_room = most;
	insert->codes = MemoryContextAllocHuge(CurrentMemoryContext,
										   mul_size(insert->code_width, most));
	insert->code = palloc0(insert->code_width);
	insert->pair_q8 = palloc(dim);
	insert->pair_qf = palloc(sizeof(float) * dim);
	insert->spare = palloc(sizeof(knn_candidate) * most);
	insert->scratch = palloc(Max(insert->code_width, sizeof(float) * dim));
	knn_encode(&store->encoder, v, &insert->code->factors, insert->code->code, insert->pair_qf);
	KnnPageReaderSetQuery(&insert->reader, v);
}

void
KnnHnswInsertVector(Relation index, KnnStore *store, const float *v,
					ItemPointer tid, bool unchanged)
{
	HnswInsert	insert;
	LevelLinks	chosen[KNN_MAX_LEVEL + 1] = {0};
	uint32		nchosen = 0;
	uint32		level;
	uint32		node = KNN_INVALID_ID;
	uint32		upper = 0;

	insert_init(&insert, index, store, v);
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
					upper = KnnStoreAllocate(store, index, KNN_GROUP_UPPER, level);
				node = KnnStoreAllocate(store, index, KNN_GROUP_NODE, 1);
				write_node(&insert, node, level, upper, NULL, 0, tid);
			}
			if (KnnStoreRaiseEntry(store, index, node, level))
				return;
			KnnStoreRefresh(store, index);
			continue;
		}

		if (unchanged && node == KNN_INVALID_ID)
		{
			uint32		start = entry;
			uint32		equal;

			if (entry_level > 0)
				start = knn_search_descend(&insert.search, entry, entry_level, 1);
			if (knn_search_level(&insert.search, &start, 1, 0, EQUAL_SEARCH_WIDTH) != KNN_OK)
				elog(ERROR, "out of memory");
			equal = find_equal(&insert);
			if (equal != KNN_INVALID_ID)
			{
				join_node(&insert, equal, tid);
				return;
			}
		}

		if (entry_level > level)
			entry = knn_search_descend(&insert.search, entry, entry_level, level + 1);
		nchosen = Min(level, entry_level) + 1;
		for (uint32 l = nchosen; l-- > 0;)
		{
			if (knn_search_level(&insert.search, &entry, 1, l, store->shape.ef_construction) != KNN_OK)
				elog(ERROR, "out of memory");
			if (insert.search.nbeam > 0)
				entry = insert.search.beam[0].id;
			if (l == 0 && node == KNN_INVALID_ID)
			{
				uint32		equal = find_equal(&insert);

				if (equal != KNN_INVALID_ID)
				{
					join_node(&insert, equal, tid);
					return;
				}
			}
			choose_links(&insert, l, &chosen[l]);
		}
		break;
	}

	if (node == KNN_INVALID_ID)
	{
		if (level > 0)
			upper = KnnStoreAllocate(store, index, KNN_GROUP_UPPER, level);
		node = KnnStoreAllocate(store, index, KNN_GROUP_NODE, 1);
	}
	/* one that was written as the first node is written again, with links */
	write_node(&insert, node, level, upper, chosen, nchosen, tid);

	for (uint32 l = 0; l < nchosen; l++)
	{
		for (uint32 i = 0; i < chosen[l].n; i++)
		{
			if (chosen[l].links[i].id != node)
				link_back(&insert, chosen[l].links[i].id, l, node, chosen[l].links[i].distance);
		}
	}
	if (level > store->entry_level)
		KnnStoreRaiseEntry(store, index, node, level);
}

bool
knn_hnsw_insert(Relation index, Datum *values, bool *isnull, ItemPointer tid,
				Relation heap, IndexUniqueCheck unique, bool unchanged, IndexInfo *info)
{
	MemoryContext context;
	MemoryContext old;
	KnnStore   *store;
	float	   *v;

	if (isnull[0])
		return false;

	context = AllocSetContextCreate(CurrentMemoryContext, "knn_hnsw insert",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	store = KnnStoreOpen(index);
	KnnStoreHold(store, context);
	v = KnnIndexedValue(&store->shape, values[0]);
	if (v != NULL)
		KnnHnswInsertVector(index, store, v, tid, unchanged);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return false;
}
