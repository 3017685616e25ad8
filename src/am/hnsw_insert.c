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
 * each other and so not link to each other; both are linked from older nodes.  A
 * neighbour's full list is pruned without a lock, and replaced only if it is
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

/*
 * Of the up to m neighbours that a new node links to, those that link back
 * whatever it costs.  Each may be in a page of its own, which after a checkpoint
 * is logged as a whole; the farthest, which add the least, link back only when
 * their page is changed anyway.
 */
#define LINKS_BACK(m) (((m) * 5 + 4) / 8)

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
 * A change to the list of links of one neighbour: the new node is appended when
 * there is room, else the list is replaced by a pruned one.
 */
typedef struct LinkEdit
{
	uint32		from;			/* the neighbour */
	uint32		level;
	float		distance;		/* from it to the new node */
	KnnColumn	column;			/* where its list is: links or upper */
	uint32		item;
	KnnItemAddress address;
	uint32		nold;			/* the full list that was pruned, 0: none was */
	uint32	   *old;
	uint32		nkept;
	knn_candidate *kept;		/* what pruning left of it and the new node */
} LinkEdit;

/*
 * Put the links of a full list, as stored, together with the new node in order of
 * distance from the list's owner, and choose which to keep.
 */
static void
prune_links(HnswInsert *insert, LinkEdit *edit, uint32 new_node, uint32 room)
{
	knn_candidate self = {0, 0, edit->from, 0};
	knn_candidate *out = edit->kept;
	uint32		n = 0;

	insert->ncodes = 0;
	fetch_code(insert, &self);
	for (uint32 i = 0; i < edit->nold; i++)
	{
		out[n] = (knn_candidate) {0, 0, edit->old[i] - 1, 0};
		fetch_code(insert, &out[n]);
		n++;
	}
	/* the new node's own code is at hand */
	memcpy(insert->codes + insert->code_width * insert->ncodes, insert->code, insert->code_width);
	out[n] = (knn_candidate) {edit->distance, 0, new_node, insert->ncodes++};
	n++;

	query_from_code(insert, fetched_code(insert, self.flags));
	for (uint32 i = 0; i < edit->nold; i++)
	{
		const KnnCodeItem *item = fetched_code(insert, out[i].flags);

		out[i].distance = knn_query_score(&insert->pair_query, &item->factors, item->code);
	}
	knn_sort_few(out, n);
	edit->nkept = knn_choose_neighbours(out, n, room, room / 2, insert_covered, insert,
										insert->spare);
}

/* The links of a list, and their number, wherever it is kept. */
static uint32 *
links_of(const LinkEdit *edit, Page page, uint32 *nlinks)
{
	char	   *item = KnnPageContents(page) + edit->address.offset;

	if (edit->column == KNN_COLUMN_LINKS)
	{
		*nlinks = ((KnnLinksItem *) item)->nlinks;
		return ((KnnLinksItem *) item)->links;
	}
	*nlinks = ((KnnUpperItem *) item)->nlinks;
	return ((KnnUpperItem *) item)->links;
}

static void
set_nlinks(const LinkEdit *edit, Page page, uint32 nlinks)
{
	char	   *item = KnnPageContents(page) + edit->address.offset;

	if (edit->column == KNN_COLUMN_LINKS)
		((KnnLinksItem *) item)->nlinks = (uint16) nlinks;
	else
		((KnnUpperItem *) item)->nlinks = nlinks;
}

static inline uint32
links_room(HnswInsert *insert, uint32 level)
{
	return level == 0 ? 2 * insert->store->shape.m : insert->store->shape.m;
}

/*
 * Replace a list by what is kept of it, moving as few links as possible: less
 * moved is less logged.  Links beyond the new length stay as they are.
 */
static void
replace_links(uint32 *links, LinkEdit *edit)
{
	uint32		next = 0;

	/* mark those that are in one of the first nkept places already */
	for (uint32 k = 0; k < edit->nkept; k++)
	{
		edit->kept[k].flags = 0;
		for (uint32 i = 0; i < edit->nkept; i++)
			edit->kept[k].flags |= edit->kept[k].id + 1 == links[i];
	}
	/* the others take the places of links that are not kept */
	for (uint32 i = 0; i < edit->nkept; i++)
	{
		bool		stays = false;

		for (uint32 k = 0; k < edit->nkept && !stays; k++)
			stays = edit->kept[k].id + 1 == links[i];
		if (stays)
			continue;
		while (edit->kept[next].flags)
			next++;
		links[i] = edit->kept[next++].id + 1;
	}
}

/*
 * Look at a neighbour's list; prune when it is full.  Without locks beyond the
 * copy.  False when nothing is to be done: the new node would be pruned away.
 */
static bool
prepare_edit(HnswInsert *insert, LinkEdit *edit, uint32 new_node)
{
	KnnStore   *store = insert->store;
	Relation	index = insert->index;
	uint32		room = links_room(insert, edit->level);
	const uint32 *links;
	uint32		nlinks;

	KnnStoreCopy(store, index, KNN_COLUMN_LINKS, edit->from, insert->reader.links);
	edit->column = KNN_COLUMN_LINKS;
	edit->item = edit->from;
	nlinks = insert->reader.links->nlinks;
	links = insert->reader.links->links;
	if (edit->level > 0)
	{
		if (insert->reader.links->level < edit->level)
			KnnReportDamage(index, KnnStoreLocate(store, index, KNN_COLUMN_LINKS, edit->from).block,
							psprintf("Node %u is linked at level %u but ends at level %u.",
									 edit->from, edit->level, insert->reader.links->level));
		edit->column = KNN_COLUMN_UPPER;
		edit->item = insert->reader.links->upper + edit->level - 1;
		KnnStoreCopy(store, index, KNN_COLUMN_UPPER, edit->item, insert->reader.upper);
		nlinks = insert->reader.upper->nlinks;
		links = insert->reader.upper->links;
	}
	edit->address = KnnStoreLocate(store, index, edit->column, edit->item);
	edit->nold = 0;
	if (nlinks < room)
		return true;

	if (nlinks > room)
		KnnReportDamage(index, edit->address.block,
						psprintf("Node %u has impossible links.", edit->from));
	for (uint32 i = 0; i < nlinks; i++)
	{
		/* locating a node that does not exist raises the error */
		if (links[i] == 0)
			KnnReportDamage(index, edit->address.block,
							psprintf("Node %u has impossible links.", edit->from));
	}
	if (edit->old == NULL)
	{
		edit->old = palloc(sizeof(uint32) * room);
		edit->kept = palloc(sizeof(knn_candidate) * (room + 1));
	}
	memcpy(edit->old, links, sizeof(uint32) * nlinks);
	edit->nold = nlinks;
	prune_links(insert, edit, new_node, room);
	for (uint32 i = 0; i < edit->nkept; i++)
	{
		if (edit->kept[i].id == new_node)
			return true;
	}
	return false;
}

/*
 * Make a change in its locked page; false when the list is not any more what the
 * change was prepared for.
 */
static bool
apply_edit(HnswInsert *insert, LinkEdit *edit, Page page, uint32 new_node)
{
	uint32		nlinks;
	uint32	   *links = links_of(edit, page, &nlinks);

	if (nlinks < links_room(insert, edit->level))
	{
		links[nlinks] = new_node + 1;
		set_nlinks(edit, page, nlinks + 1);
		return true;
	}
	if (nlinks != edit->nold ||
		memcmp(links, edit->old, sizeof(uint32) * nlinks) != 0)
		return false;
	replace_links(links, edit);
	set_nlinks(edit, page, edit->nkept);
	return true;
}

static int
compare_edits(const void *a, const void *b)
{
	BlockNumber x = (*(LinkEdit *const *) a)->address.block;
	BlockNumber y = (*(LinkEdit *const *) b)->address.block;

	return x < y ? -1 : x > y;
}

static bool
page_is_edited(LinkEdit *const *edits, int nedits, const LinkEdit *edit)
{
	for (int i = 0; i < nedits; i++)
	{
		if (edits[i]->level == 0 && edits[i]->address.block == edit->address.block)
			return true;
	}
	return false;
}

/*
 * Link from the chosen neighbours back to the new node.  Neighbours tend to lie
 * in few pages, so changes are sorted by page and made in records of up to four
 * pages, locked in ascending order.
 */
static void
link_back(HnswInsert *insert, const LevelLinks *chosen, uint32 nchosen, uint32 new_node)
{
	Relation	index = insert->index;
	LinkEdit   *edits;
	LinkEdit  **todo;
	int			nedits = 0;
	int			ntodo = 0;

	for (uint32 l = 0; l < nchosen; l++)
		nedits += chosen[l].n;
	edits = palloc0(sizeof(LinkEdit) * Max(nedits, 1));
	todo = palloc(sizeof(LinkEdit *) * Max(nedits, 1));
	for (uint32 l = 0; l < nchosen; l++)
	{
		for (uint32 i = 0; i < chosen[l].n; i++)
		{
			LinkEdit   *edit = &edits[ntodo];

			edit->from = chosen[l].links[i].id;
			edit->level = l;
			edit->distance = chosen[l].links[i].distance;
			if (l == 0)
				edit->address = KnnStoreLocate(insert->store, index, KNN_COLUMN_LINKS, edit->from);
			if (l > 0 || i < LINKS_BACK(insert->store->shape.m) || page_is_edited(todo, ntodo, edit))
				todo[ntodo++] = edit;
		}
	}

	while (ntodo > 0)
	{
		int			nready = 0;
		int			nagain = 0;

		for (int i = 0; i < ntodo; i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (todo[i]->from != new_node && prepare_edit(insert, todo[i], new_node))
				todo[nready++] = todo[i];
		}
		qsort(todo, nready, sizeof(LinkEdit *), compare_edits);

		for (int i = 0; i < nready;)
		{
			GenericXLogState *state = GenericXLogStart(index);
			Buffer		buffers[MAX_GENERIC_XLOG_PAGES];
			int			nbuffers = 0;
			Page		page = NULL;
			bool		changed = false;

			for (; i < nready; i++)
			{
				BlockNumber block = todo[i]->address.block;

				if (nbuffers == 0 || BufferGetBlockNumber(buffers[nbuffers - 1]) != block)
				{
					if (nbuffers == MAX_GENERIC_XLOG_PAGES)
						break;
					buffers[nbuffers] = KnnStorePin(insert->store, index, block, todo[i]->column);
					LockBuffer(buffers[nbuffers], BUFFER_LOCK_EXCLUSIVE);
					page = GenericXLogRegisterBuffer(state, buffers[nbuffers], 0);
					nbuffers++;
				}
				if (apply_edit(insert, todo[i], page, new_node))
					changed = true;
				else
					todo[nagain++] = todo[i];
			}
			if (changed)
				GenericXLogFinish(state);
			else
				GenericXLogAbort(state);
			while (nbuffers > 0)
				UnlockReleaseBuffer(buffers[--nbuffers]);
		}
		ntodo = nagain;
	}
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

	link_back(&insert, chosen, nchosen, node);
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
