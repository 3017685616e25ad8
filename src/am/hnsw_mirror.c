/*
 * hnsw_mirror.c
 *		Reading a graph from the index's mirror; see hnsw_mirror.h.
 */
#include "postgres.h"

#include "am/hnsw_mirror.h"

#include "miscadmin.h"

/* ---- callbacks of the flat graph ---- */

static bool
upper_item(void *owner, uint32_t id, uint32_t level, uint32_t *item)
{
	KnnMirrorReader *reader = owner;

	return KnnMirrorUpper(reader->pin.view, id, level, item);
}

/* Take over where the view's columns are and how far they go. */
static void
set_columns(KnnMirrorReader *reader)
{
	const knn_flat_graph *graph = &reader->pin.view->graph;

	reader->graph.links = graph->links;
	reader->graph.head = graph->head;
	reader->graph.code = graph->code;
	reader->graph.upper = graph->upper;
	reader->graph.nupper = graph->nupper;
	/* of a standby's mirror only what is complete; the rest is the tail */
	reader->graph.nnodes = reader->mode.standby ?
		Min(graph->nnodes, reader->mode.complete) : graph->nnodes;
}

static void
grow(void *owner, knn_flat_graph *graph)
{
	KnnMirrorReader *reader = owner;

	if (reader->mode.standby)
		return;
	KnnMirrorExtendView(reader->pin.view);
	set_columns(reader);
}

static void
check(void)
{
	CHECK_FOR_INTERRUPTS();
}

/*
 * Neighbours in a standby's mirror: a node that was a tombstone when it was copied
 * may have come back to life.
 */
static uint32_t
standby_neighbours(void *state, uint32_t id, uint32_t level, uint32_t *out, bool *dead)
{
	knn_flat_reader *flat = state;
	KnnMirrorReader *reader = flat->graph->owner;
	uint32		n = reader->flat_reader.neighbours(state, id, level, out, dead);

	if (level == 0 && *dead)
	{
		KnnPageReader *pages = reader->pages;

		KnnStoreCopy(pages->store, pages->index, KNN_COLUMN_LINKS, id, pages->links);
		*dead = (pages->links->flags & KNN_LINKS_DEAD) != 0;
	}
	return n;
}

/* Exact distances come from pages, whatever the search reads. */
static float
exact(void *state, uint32_t id)
{
	knn_flat_reader *flat = state;
	KnnMirrorReader *reader = flat->graph->owner;

	return reader->page_reader.exact(reader->page_reader.state, id);
}

/* ---- the reader ---- */

static void
detach(void *arg)
{
	KnnMirrorReader *reader = arg;

	KnnMirrorDetach(&reader->pin);
}

static void
use_mirror(KnnMirrorReader *reader)
{
	knn_flat_reader_init(&reader->flat, &reader->graph, reader->search);
	reader->flat.query = &reader->pages->query;
	if (reader->page_reader.exact)
		reader->search->reader.exact = exact;
	reader->flat_reader = reader->search->reader;
	if (reader->mode.standby)
		reader->search->reader.neighbours = standby_neighbours;
}

bool
KnnMirrorReaderBegin(KnnMirrorReader *reader, KnnPageReader *pages,
					 knn_search *search, MemoryContext context, bool counted)
{
	MemoryContextCallback *callback;

	memset(reader, 0, sizeof(*reader));
	reader->pages = pages;
	reader->search = search;
	reader->page_reader = search->reader;

	/* first, since a load or a refresh may end with an error */
	callback = MemoryContextAlloc(context, sizeof(MemoryContextCallback));
	callback->func = detach;
	callback->arg = reader;
	MemoryContextRegisterResetCallback(context, callback);
	if (counted)
	{
		if (!KnnMirrorBeginSearch(&reader->pin, pages->index, pages->store, &reader->mode))
			return false;
	}
	else
	{
		if (!KnnMirrorAttach(&reader->pin, pages->index, pages->store))
			return false;
		/* made before a promotion, and not brought up to date by a search yet */
		if (pg_atomic_read_u32(&reader->pin.view->mirror->recovery))
		{
			KnnMirrorDetach(&reader->pin);
			return false;
		}
	}
	reader->graph.m = pages->store->shape.m;
	reader->graph.owner = reader;
	reader->graph.upper_item = upper_item;
	reader->graph.grow = grow;
	reader->graph.check = check;
	KnnMirrorReaderExtend(reader);
	use_mirror(reader);
	return true;
}

void
KnnMirrorReaderExtend(KnnMirrorReader *reader)
{
	if (!reader->pin.pinned)
		return;
	KnnMirrorExtendView(reader->pin.view);
	set_columns(reader);
}

void
KnnMirrorReaderPause(KnnMirrorReader *reader)
{
	KnnMirrorUnpin(&reader->pin);
}

/* A node's error bound, from its code in the page. */
static float
page_bound(void *state, uint32_t id, float distance)
{
	float		error;

	KnnPageReaderScore(state, &id, 1, &distance, &error);
	return error;
}

void
KnnMirrorReaderResume(KnnMirrorReader *reader)
{
	if (reader->pin.view == NULL || KnnMirrorRepin(&reader->pin))
		return;
	/* it is gone: the ids are the same in pages */
	KnnMirrorDetach(&reader->pin);
	reader->search->reader = reader->page_reader;
	/* of nodes that were scored through the mirror no bound is known yet */
	reader->search->reader.bound = page_bound;
}

void
KnnMirrorReaderCheck(KnnMirrorReader *reader)
{
	KnnPageReader *pages = reader->pages;

	/* in a standby's mirror links may lead beyond what it has */
	if (likely(!reader->flat.damaged) || reader->mode.standby)
		return;
	KnnReportDamage(pages->index,
					KnnStoreLocate(pages->store, pages->index, KNN_COLUMN_LINKS,
								   reader->flat.damaged_node).block,
					psprintf("Node %u has impossible links at level %u.",
							 reader->flat.damaged_node, reader->flat.damaged_level));
}
