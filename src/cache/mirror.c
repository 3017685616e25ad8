/*
 * mirror.c
 *		Descriptors of mirrors, and a backend's views and pins of them; see mirror.h.
 */
#include "postgres.h"

#include "cache/mirror.h"

#include "cache/evict.h"
#include "cache/settings.h"
#include "compat.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* What this backend knows of an index's mirror. */
typedef struct ViewEntry
{
	Oid			relid;
	uint32		epoch;			/* of the cache when it was looked up */
	KnnMirrorView *view;		/* NULL: there was none */
} ViewEntry;

static HTAB *views = NULL;

/* Places of the line of pins that are in use, as bits. */
static uint32 places_used = 0;

/* ---- descriptors ---- */

void
KnnMirrorsInit(void)
{
	for (uint32 i = 0; i < KnnCache->nmirrors; i++)
	{
		KnnMirror  *mirror = &KnnMirrors[i];

		memset(mirror, 0, sizeof(KnnMirror));
		pg_atomic_init_u32(&mirror->state, KNN_MIRROR_FREE);
		pg_atomic_init_u64(&mirror->generation, 1);
		for (int c = 0; c < KNN_MIRROR_NCOLUMNS; c++)
			pg_atomic_init_u32(&mirror->columns[c].nunits, 0);
		pg_atomic_init_u32(&mirror->covered[0], 0);
		pg_atomic_init_u32(&mirror->covered[1], 0);
		pg_atomic_init_u32(&mirror->recovery, 0);
		pg_atomic_init_u32(&mirror->version, 0);
		pg_atomic_init_u32(&mirror->complete, 0);
		pg_atomic_init_u64(&mirror->entry, KNN_INVALID_ID);
		pg_atomic_init_u64(&mirror->searches, 0);
		pg_atomic_init_u64(&mirror->last_use, 0);
	}
}

KnnMirror *
KnnMirrorFind(Oid database, Oid relid)
{
	for (uint32 i = 0; i < KnnCache->nmirrors; i++)
	{
		KnnMirror  *mirror = &KnnMirrors[i];
		uint32		state = pg_atomic_read_u32(&mirror->state);

		if (mirror->index == relid && mirror->database == database &&
			state != KNN_MIRROR_FREE && state != KNN_MIRROR_GOING)
			return mirror;
	}
	return NULL;
}

bool
KnnMirrorMatches(const KnnMirror *mirror, Relation index, const KnnStore *store)
{
	return mirror->file == KnnRelationFile(index) &&
		memcmp(&mirror->shape, &store->shape, sizeof(KnnShape)) == 0;
}

/*
 * Not temporary tables, whose pages are in local memory, and not what the present
 * transaction has created, which may never have been.
 */
bool
KnnMirrorCacheable(Relation index)
{
	return index->rd_rel->relpersistence != RELPERSISTENCE_TEMP &&
		!KnnRelationIsNew(index);
}

bool
KnnMirrorAddUnits(KnnMirror *mirror, KnnMirrorColumnId column, uint32 count)
{
	KnnMirrorColumn *c = &mirror->columns[column];
	uint32		nunits = pg_atomic_read_u32(&c->nunits);

	for (uint32 i = 0; i < count; i++)
	{
		uint32		unit = KnnUnitTake();

		if (unit == KNN_NO_UNIT)
			return false;
		if (nunits == 0)
			c->first = unit;
		else
			KnnUnitNext[c->last] = unit;
		c->last = unit;
		nunits++;
		mirror->nunits++;
		/* the mirror of a load is zeroed before anybody sees it */
		if (pg_atomic_read_u32(&mirror->state) != KNN_MIRROR_PREPARED)
			memset(KnnUnitAddress(unit), 0, KNN_UNIT_BYTES);
		pg_write_barrier();
		pg_atomic_write_u32(&c->nunits, nunits);
	}
	return true;
}

/* ---- views ---- */

static void
view_free(KnnMirrorView *view)
{
	MemoryContextDelete(view->context);
}

static void
view_drop(ViewEntry *entry)
{
	KnnMirrorView *view = entry->view;

	entry->view = NULL;
	if (view == NULL)
		return;
	if (view->users > 0)
		view->orphaned = true;
	else
		view_free(view);
}

void
KnnMirrorReleaseView(KnnMirrorView *view)
{
	if (--view->users == 0 && view->orphaned)
		view_free(view);
}

/* Addresses of units that were added to a column since. */
static void
extend_column(KnnMirrorView *view, KnnMirrorColumnId column, uint32 nunits)
{
	uint32		next;

	if (nunits > view->room[column])
	{
		uint32		room = Max(nunits, view->room[column] * 2);
		const char **units = MemoryContextAllocHuge(view->context, mul_size(sizeof(char *), room));

		/*
		 * A search may hold the old array, so that it stays until the view goes.
		 */
		if (view->nunits[column] > 0)
			memcpy(units, view->units[column], sizeof(char *) * view->nunits[column]);
		view->units[column] = units;
		view->room[column] = room;
	}
	next = view->nunits[column] == 0 ? view->mirror->columns[column].first :
		KnnUnitNext[view->last[column]];
	while (view->nunits[column] < nunits)
	{
		view->units[column][view->nunits[column]++] = KnnUnitAddress(next);
		view->last[column] = next;
		next = KnnUnitNext[next];
	}
}

void
KnnMirrorExtendView(KnnMirrorView *view)
{
	static const KnnMirrorColumnId node_columns[] = {
		KNN_MIRROR_LINKS, KNN_MIRROR_HEAD, KNN_MIRROR_CODE, KNN_MIRROR_ROW
	};
	KnnMirror  *mirror = view->mirror;
	knn_flat_graph *graph = &view->graph;
	knn_flat_column *columns[KNN_MIRROR_NCOLUMNS] = {
		&graph->links, &graph->head, &graph->code, &view->row, &graph->upper
	};
	uint64		nnodes = KNN_INVALID_ID;

	/* the units of whatever was read before this, a link or a word that says how far */
	pg_read_barrier();
	for (int c = 0; c < KNN_MIRROR_NCOLUMNS; c++)
	{
		uint32		nunits = pg_atomic_read_u32(&mirror->columns[c].nunits);

		pg_read_barrier();
		if (nunits > view->nunits[c])
			extend_column(view, c, nunits);
		columns[c]->units = view->units[c];
	}
	for (int i = 0; i < lengthof(node_columns); i++)
	{
		KnnMirrorColumnId c = node_columns[i];

		nnodes = Min(nnodes, (uint64) view->nunits[c] * mirror->columns[c].per_unit);
	}
	graph->nnodes = (uint32) nnodes;
	graph->nupper = (uint32) Min((uint64) view->nunits[KNN_MIRROR_UPPER] *
								 mirror->columns[KNN_MIRROR_UPPER].per_unit, KNN_INVALID_ID);
}

/* Under the lock, which keeps the mirror as it is; its units may grow. */
static KnnMirrorView *
view_make(KnnMirror *mirror)
{
	MemoryContext context = AllocSetContextCreate(CacheMemoryContext, "knn mirror view",
												  ALLOCSET_SMALL_SIZES);
	KnnMirrorView *view = MemoryContextAllocZero(context, sizeof(KnnMirrorView));
	knn_flat_graph *graph = &view->graph;
	knn_flat_column *columns[KNN_MIRROR_NCOLUMNS] = {
		&graph->links, &graph->head, &graph->code, &view->row, &graph->upper
	};

	view->context = context;
	view->relid = mirror->index;
	view->mirror = mirror;
	view->generation = pg_atomic_read_u64(&mirror->generation);
	graph->m = mirror->shape.m;
	for (int c = 0; c < KNN_MIRROR_NCOLUMNS; c++)
		knn_flat_column_init(columns[c], NULL, mirror->columns[c].stride,
							 mirror->columns[c].per_unit);
	KnnMirrorExtendView(view);
	return view;
}

/*
 * The view of the index's mirror, or NULL.  Its mirror is one that is ready, or
 * (loading) is being loaded as well; it may go right away unless it is pinned.
 */
KnnMirrorView *
KnnMirrorViewOf(Relation index, const KnnStore *store, bool loading)
{
	Oid			relid = RelationGetRelid(index);
	uint32		epoch = pg_atomic_read_u32(&KnnCache->epoch);
	ViewEntry  *entry;
	bool		found;

	pg_read_barrier();
	if (views == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(ViewEntry);
		ctl.hcxt = CacheMemoryContext;
		views = hash_create("knn mirror views", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(views, &relid, HASH_ENTER, &found);
	if (!found)
	{
		entry->view = NULL;
		entry->epoch = epoch - 1;
	}
	if (entry->epoch != epoch)
	{
		KnnMirror  *mirror;
		KnnMirrorView *view = NULL;

		LWLockAcquire(KnnCache->lock, LW_SHARED);
		mirror = KnnMirrorFind(MyDatabaseId, relid);
		if (mirror && (!KnnMirrorMatches(mirror, index, store) ||
					   pg_atomic_read_u32(&mirror->state) == KNN_MIRROR_PREPARED))
			mirror = NULL;
		if (mirror && entry->view && entry->view->mirror == mirror &&
			entry->view->generation == pg_atomic_read_u64(&mirror->generation))
			view = entry->view;
		else if (mirror)
			view = view_make(mirror);
		LWLockRelease(KnnCache->lock);

		if (view != entry->view)
			view_drop(entry);
		entry->view = view;
		entry->epoch = epoch;
	}
	/* the index may have got another file without a new mirror */
	if (entry->view && entry->view->mirror->file != KnnRelationFile(index))
		return NULL;
	if (entry->view && !loading &&
		pg_atomic_read_u32(&entry->view->mirror->state) != KNN_MIRROR_READY)
		return NULL;
	return entry->view;
}

/* ---- pins ---- */

static inline void
pin_place(int place, const KnnMirrorView *view)
{
	pg_atomic_write_u32(&KnnCacheMine()->pins[place], (uint32) (view->mirror - KnnMirrors) + 1);
	/* whoever marks it as going after this sees the pin */
	pg_memory_barrier();
}

static inline void
unpin_place(int place)
{
	KnnCacheBackend *mine = KnnCacheMine();

	if (mine == NULL)
		return;
	/* all reads and writes of the mirror are done */
	pg_memory_barrier();
	pg_atomic_write_u32(&mine->pins[place], 0);
}

bool
KnnMirrorRepin(KnnMirrorPin *pin)
{
	KnnMirrorView *view = pin->view;

	if (pin->pinned)
		return true;
	pin_place(pin->place, view);
	if (pg_atomic_read_u64(&view->mirror->generation) != view->generation ||
		pg_atomic_read_u32(&view->mirror->state) != KNN_MIRROR_READY)
	{
		unpin_place(pin->place);
		return false;
	}
	pin->pinned = true;
	return true;
}

void
KnnMirrorUnpin(KnnMirrorPin *pin)
{
	if (!pin->pinned)
		return;
	unpin_place(pin->place);
	pin->pinned = false;
}

void
KnnMirrorDetach(KnnMirrorPin *pin)
{
	if (pin->view == NULL)
		return;
	KnnMirrorUnpin(pin);
	places_used &= ~((uint32) 1 << pin->place);
	KnnMirrorReleaseView(pin->view);
	pin->view = NULL;
}

bool
KnnMirrorAttach(KnnMirrorPin *pin, Relation index, KnnStore *store)
{
	KnnMirrorView *view;

	pin->view = NULL;
	pin->pinned = false;
	if (KnnCacheMine() == NULL || !knn_use_cache || !KnnMirrorCacheable(index))
		return false;
	view = KnnMirrorViewOf(index, store, false);
	if (view == NULL)
		return false;

	/* the first and the last have their own use, see below */
	for (pin->place = 1; pin->place < KNN_PINS - 1; pin->place++)
	{
		if (!(places_used & ((uint32) 1 << pin->place)))
			break;
	}
	if (pin->place == KNN_PINS - 1)
		return false;			/* a very deep nest of scans: through buffers */
	places_used |= (uint32) 1 << pin->place;
	pin->view = view;
	view->users++;
	if (!KnnMirrorRepin(pin))
	{
		KnnMirrorDetach(pin);
		return false;
	}
	KnnMirrorExtendView(view);
	return true;
}

/*
 * ---- places of their own ----
 *
 * Place 0 is for changes (publish.c), the last for a load: neither is nested in
 * itself.
 */

static bool
pin_unless_going(int place, KnnMirrorView *view)
{
	uint32		state;

	pin_place(place, view);
	state = pg_atomic_read_u32(&view->mirror->state);
	if (pg_atomic_read_u64(&view->mirror->generation) != view->generation ||
		(state != KNN_MIRROR_READY && state != KNN_MIRROR_LOADING))
	{
		unpin_place(place);
		return false;
	}
	return true;
}

bool
KnnMirrorPinForChange(KnnMirrorView *view)
{
	return pin_unless_going(0, view);
}

void
KnnMirrorUnpinChange(void)
{
	unpin_place(0);
}

bool
KnnMirrorPinForLoad(KnnMirrorView *view)
{
	return pin_unless_going(KNN_PINS - 1, view);
}

void
KnnMirrorUnpinLoad(void)
{
	unpin_place(KNN_PINS - 1);
}
