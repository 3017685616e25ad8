/*
 * hnsw_link.c
 *		Choosing a new node's neighbours, and linking them back to it.
 *
 * A neighbour's full list is pruned without a lock, and replaced only if it is
 * still as it was read; otherwise the step is done again.
 *
 * LOCKS: up to four pages of links and upper links, in ascending order, for one
 * record.
 */
#include "postgres.h"

#include "am/hnsw_insert.h"

#include "access/generic_xlog.h"
#include "core/graph_prune.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/*
 * Of the up to m neighbours that a new node links to, those that link back
 * whatever it costs.  Each may be in a page of its own, which after a checkpoint
 * is logged as a whole; the farthest, which add the least, link back only when
 * their page is changed anyway.
 */
#define LINKS_BACK(m) (((m) * 9 + 8) / 16)

/* ---- candidates ---- */

/*
 * Codes of 8 bits, and byte and binary vectors, tell well enough which of two
 * nodes is nearer to a third.  Others do not: with them a graph
 * would grow worse with every insert, so full vectors are compared, if the index
 * keeps them.
 */
void
KnnHnswLinkInit(HnswInsert *insert)
{
	const KnnShape *shape = &insert->store->shape;
	uint32		dim = shape->dim;

	insert->by_vectors = knn_encoding_is_float(shape->encoding) &&
		!knn_encoding_is_fine(shape->encoding) && shape->vectors != KNN_VECTORS_NONE;
	insert->unit_width = insert->by_vectors ? sizeof(float) * dim : insert->code_width;

	/* candidates of one choice, or a full list with its owner and a new node */
	insert->units_room = Max(shape->ef_construction, 2 * shape->m) + 2;
	insert->units = MemoryContextAllocHuge(CurrentMemoryContext,
										   mul_size(insert->unit_width, insert->units_room));
	insert->pair_q8 = palloc(KNN_QUERY_ROOM(dim));
	insert->pair_qf = palloc(sizeof(float) * knn_query_floats(&insert->store->encoder));
	insert->spare = palloc(sizeof(knn_candidate) * insert->units_room);
}

static inline void *
unit_at(HnswInsert *insert, uint32 place)
{
	return insert->units + insert->unit_width * place;
}

/*
 * Copy the vector or code of a node to the next place; the place's number goes
 * into candidate->flags, where the pruning finds it.
 */
static void
fetch_unit(HnswInsert *insert, knn_candidate *candidate)
{
	KnnStore   *store = insert->store;
	Buffer		buffer;
	const void *item;
	void	   *unit = unit_at(insert, insert->nunits);

	Assert(insert->nunits < insert->units_room);
	item = KnnStoreReadFixed(store, insert->index,
							 insert->by_vectors ? KNN_COLUMN_VECTOR : KNN_COLUMN_CODE,
							 candidate->id, insert->scratch, &buffer);
	if (insert->by_vectors)
	{
		const void *elements = KnnElementsOfStored(&store->shape, item, unit);

		if (elements != unit)
			memcpy(unit, elements, insert->unit_width);
	}
	else
		memcpy(unit, item, insert->unit_width);
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
	candidate->flags = insert->nunits++;
}

/* The new node's own, which is at hand. */
static uint32
fetch_own_unit(HnswInsert *insert)
{
	Assert(insert->nunits < insert->units_room);
	memcpy(unit_at(insert, insert->nunits),
		   insert->by_vectors ? insert->value->elements : insert->code, insert->unit_width);
	return insert->nunits++;
}

/*
 * Make a unit the one that distances are asked from.
 */
static void
measure_from(HnswInsert *insert, uint32 place)
{
	const KnnCodeItem *item = unit_at(insert, place);

	if (!insert->by_vectors)
		knn_query_from_code(&insert->pair_query, &insert->store->encoder,
							KnnCodeFactors(insert->store, item),
							KnnCodeBytes(insert->store, item),
							insert->pair_q8, insert->pair_qf);
}

static inline float
measure(HnswInsert *insert, uint32 from, uint32 to)
{
	KnnStore   *store = insert->store;

	if (insert->by_vectors)
		return knn_exact_distance(store->encoder.kernels, store->shape.space,
								  unit_at(insert, from), unit_at(insert, to), store->shape.dim);
	return knn_query_score(&insert->pair_query, KnnCodeFactors(store, unit_at(insert, to)),
						   KnnCodeBytes(store, unit_at(insert, to)));
}

static bool
insert_covered(void *state, const knn_candidate *candidate,
			   const knn_candidate *kept, uint32_t nkept)
{
	HnswInsert *insert = state;

	if (nkept == 0)
		return false;
	measure_from(insert, candidate->flags);
	for (uint32 i = 0; i < nkept; i++)
	{
		if (measure(insert, candidate->flags, kept[i].flags) < candidate->distance)
			return true;
	}
	return false;
}

/* ---- choosing links ---- */

/*
 * Choose the new node's links at a level from the beam.  Tombstones are linked
 * to only for want of live nodes: a link to one is a link that will not lead to
 * a result.
 */
void
KnnHnswChooseLinks(HnswInsert *insert, uint32 level, LevelLinks *chosen)
{
	knn_search *search = insert->search;
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

	insert->nunits = 0;
	for (uint32 i = 0; i < ncandidates; i++)
		fetch_unit(insert, &candidates[i]);
	if (insert->by_vectors)
	{
		KnnStore   *store = insert->store;

		for (uint32 i = 0; i < ncandidates; i++)
			candidates[i].distance = knn_exact_distance(store->encoder.kernels, store->shape.space,
														insert->value->elements,
														unit_at(insert, candidates[i].flags),
														store->shape.dim);
		knn_sort_few(candidates, ncandidates);
	}
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
	bool		force;			/* the new node must not be pruned away */
	bool		applied;
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

	insert->nunits = 0;
	fetch_unit(insert, &self);
	for (uint32 i = 0; i < edit->nold; i++)
	{
		out[n] = (knn_candidate) {0, 0, edit->old[i] - 1, 0};
		fetch_unit(insert, &out[n]);
		n++;
	}
	measure_from(insert, self.flags);
	for (uint32 i = 0; i < edit->nold; i++)
		out[i].distance = measure(insert, self.flags, out[i].flags);
	out[n++] = (knn_candidate) {edit->distance, 0, new_node, fetch_own_unit(insert)};
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
 * moved is less logged.  Places beyond the new length become zero.
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
	memset(links + edit->nkept, 0, sizeof(uint32) * (edit->nold - edit->nkept));
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
	if (edit->force)
	{
		uint32		last = edit->nkept < room ? edit->nkept++ : room - 1;

		edit->kept[last] = (knn_candidate) {edit->distance, 0, new_node, 0};
	}
	return edit->force;
}

/* Is the list in its locked page still what the change was prepared for? */
static bool
edit_applies(HnswInsert *insert, const LinkEdit *edit, Page page)
{
	uint32		nlinks;
	const uint32 *links = links_of(edit, page, &nlinks);

	return nlinks < links_room(insert, edit->level) ||
		(nlinks == edit->nold && memcmp(links, edit->old, sizeof(uint32) * nlinks) == 0);
}

static void
apply_edit(HnswInsert *insert, LinkEdit *edit, Page page, uint32 new_node)
{
	uint32		nlinks;
	uint32	   *links = links_of(edit, page, &nlinks);

	if (nlinks < links_room(insert, edit->level))
	{
		links[nlinks] = new_node + 1;
		set_nlinks(edit, page, nlinks + 1);
		return;
	}
	replace_links(links, edit);
	set_nlinks(edit, page, edit->nkept);
}

static int
compare_edits(const void *a, const void *b)
{
	BlockNumber x = (*(LinkEdit *const *) a)->address.block;
	BlockNumber y = (*(LinkEdit *const *) b)->address.block;

	return x < y ? -1 : x > y;
}

/*
 * Make changes from todo[*next] on in one record: as many as fall into four pages.
 * The pages are pinned before any is locked, since reading one may have to evict
 * another and do I/O.  Returns the number made; *next is the first of the others.
 */
static int
apply_record(HnswInsert *insert, LinkEdit **todo, int *next, int n, uint32 new_node)
{
	Relation	index = insert->index;
	Buffer		buffers[MAX_GENERIC_XLOG_PAGES];
	BlockNumber blocks[MAX_GENERIC_XLOG_PAGES];
	GenericXLogState *state;
	int			nbuffers = 0;
	int			start = *next;
	int			end;
	int			applied = 0;

	for (end = start; end < n; end++)
	{
		BlockNumber block = todo[end]->address.block;

		if (nbuffers > 0 && blocks[nbuffers - 1] == block)
			continue;
		if (nbuffers == MAX_GENERIC_XLOG_PAGES)
			break;
		blocks[nbuffers] = block;
		buffers[nbuffers++] = KnnStorePin(insert->store, index, block, todo[end]->column);
	}

	state = GenericXLogStart(index);
	for (int b = 0, i = start; b < nbuffers; b++)
	{
		Page		page = NULL;

		LockBuffer(buffers[b], BUFFER_LOCK_EXCLUSIVE);
		for (; i < end && todo[i]->address.block == blocks[b]; i++)
		{
			todo[i]->applied = edit_applies(insert, todo[i], BufferGetPage(buffers[b]));
			if (!todo[i]->applied)
				continue;
			if (page == NULL)
				page = GenericXLogRegisterBuffer(state, buffers[b], 0);
			apply_edit(insert, todo[i], page, new_node);
			applied++;
		}
	}
	if (applied > 0)
	{
		KnnMirrorView *mirror = KnnPublishBegin(index, insert->store);

		GenericXLogFinish(state);
		for (int b = 0, i = start; b < nbuffers; b++)
		{
			const char *contents = KnnPageContents(BufferGetPage(buffers[b]));

			for (; i < end && todo[i]->address.block == blocks[b]; i++)
			{
				if (todo[i]->applied)
					KnnPublish(mirror, insert->store, todo[i]->column, todo[i]->item,
							   contents + todo[i]->address.offset);
			}
		}
		KnnPublishEnd(mirror);
	}
	else
		GenericXLogAbort(state);
	for (int b = 0; b < nbuffers; b++)
		UnlockReleaseBuffer(buffers[b]);
	*next = end;
	return applied;
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
void
KnnHnswLinkBack(HnswInsert *insert, const LevelLinks *chosen, uint32 nchosen, uint32 new_node)
{
	Relation	index = insert->index;
	LinkEdit   *edits;
	LinkEdit  **todo;
	int			nedits = 0;
	int			ntodo = 0;
	int			nlinked = 0;
	bool		forced = false;

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
			int			end = i;
			int			applied = apply_record(insert, todo, &end, nready, new_node);

			/* those that were prepared for another list go back, in order */
			for (; i < end; i++)
			{
				if (!todo[i]->applied)
					todo[nagain++] = todo[i];
			}
			nlinked += applied;
		}
		ntodo = nagain;

		/* no node that nothing links to: the nearest takes it for its farthest */
		if (ntodo == 0 && nlinked == 0 && nedits > 0 && !forced)
		{
			edits[0].force = true;
			todo[ntodo++] = &edits[0];
			forced = true;
		}
	}
}
