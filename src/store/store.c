/*
 * store.c
 *		Metapage, the cached view of an index's store, and ids given out; see store.h.
 */
#include "postgres.h"

#include "store/store.h"

#include "access/generic_xlog.h"
#include "compat.h"
#include "core/graph_search.h"
#include "core/rotation.h"
#include "storage/lmgr.h"
#include "type/knn_vector.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"

/* Stores of this backend by index. */
typedef struct StoreEntry
{
	Oid			relid;
	KnnStore   *store;			/* NULL when none is cached */
} StoreEntry;

static HTAB *stores = NULL;

/* ---- metapage ---- */

void
KnnMetaPageInit(Page page, const KnnShape *shape)
{
	KnnMetaPage *meta;

	KnnPageInit(page, KNN_COLUMN_META);
	meta = (KnnMetaPage *) KnnPageContents(page);
	memset(meta, 0, offsetof(KnnMetaPage, extents));
	meta->magic = KNN_META_MAGIC;
	meta->version = KNN_META_VERSION;
	meta->shape = *shape;
	meta->entry = KNN_INVALID_ID;
	meta->nblocks = 1;
	KnnPageCover(page, offsetof(KnnMetaPage, extents));
}

/* Codes of pq, with their two numbers; of others these are 0. */
static bool
pq_is_possible(const KnnShape *shape)
{
	if (shape->encoding != KNN_ENCODING_PQ)
		return shape->pq_m == 0 && shape->pq_bits == 0;
	return knn_pq_possible(shape->dim, shape->pq_m, shape->pq_bits) &&
		knn_space_rotates(shape->space);
}

/*
 * Everything else is computed from the shape, sizes of memory included, so that
 * nothing of it is believed unseen.
 */
static bool
shape_is_possible(Relation index, const KnnShape *shape)
{
	int32		typmod = TupleDescAttr(RelationGetDescr(index), 0)->atttypmod;

	if (shape->method == KNN_METHOD_HNSW)
	{
		if (shape->m < 2 || shape->m > 100 ||
			shape->ef_construction < 1 || shape->ef_construction > 10000 ||
			shape->ef_search < 1 || shape->ef_search > 100000)
			return false;
	}
	else if (shape->method == KNN_METHOD_IVF)
	{
		if (shape->nlist < 1 || shape->nlist > KNN_IVF_MAX_NLIST ||
			shape->ef_construction != 0 ||
			shape->nprobes < 1 || shape->nprobes > KNN_IVF_MAX_NLIST)
			return false;
	}
	else
		return false;

	/* what typmod packs: type/knn_vector.h */
	return shape->space >= KNN_SPACE_L2 && shape->space <= KNN_SPACE_HAMMING &&
		shape->encoding >= KNN_ENCODING_ROTATED_8 && shape->encoding <= KNN_ENCODING_PQ &&
		pq_is_possible(shape) &&
		shape->vectors <= KNN_VECTORS_NONE &&
		(shape->data_type == KNN_DATA_BYTE) == (shape->encoding == KNN_ENCODING_BYTE) &&
		(shape->data_type == KNN_DATA_BINARY) == (shape->encoding == KNN_ENCODING_BINARY) &&
		(shape->space == KNN_SPACE_HAMMING) == (shape->encoding == KNN_ENCODING_BINARY) &&
		(knn_encoding_bits(shape->encoding) == 8 || knn_space_rotates(shape->space) ||
		 shape->encoding == KNN_ENCODING_BINARY) &&
		(knn_encoding_is_float(shape->encoding) || shape->vectors == KNN_VECTORS_NONE) &&
		shape->dim >= 1 && shape->dim <= KNN_MAX_DIM &&
		(typmod < 0 || (shape->dim == (uint32) (typmod & 0xFFFF) &&
						shape->data_type == ((typmod >> 16) & 0xFF)));
}

static KnnMetaPage *
check_meta(Relation index, Page page)
{
	KnnMetaPage *meta;

	KnnPageCheck(index, KNN_META_BLOCK, page, KNN_COLUMN_META);
	meta = (KnnMetaPage *) KnnPageContents(page);
	if (meta->magic != KNN_META_MAGIC)
		KnnReportDamage(index, KNN_META_BLOCK, "The metapage has the wrong magic number.");
	if (meta->version == 0 || meta->version > KNN_META_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" has format version %u, this library reads versions up to %u",
						RelationGetRelationName(index), meta->version, KNN_META_VERSION),
				 errhint("Install the newer version of extension knn, or REINDEX the index.")));
	if (meta->nextents > KNN_MAX_EXTENTS)
		KnnReportDamage(index, KNN_META_BLOCK, "The metapage lists too many extents.");
	if (!shape_is_possible(index, &meta->shape))
		KnnReportDamage(index, KNN_META_BLOCK, "The metapage's shape is out of range.");
	return meta;
}

/* Does an extent end at or before block "end"? */
static bool
extent_fits(const KnnColumnShape *columns, const KnnMetaExtent *extent, BlockNumber end)
{
	uint64		blocks = 0;
	int			first;
	int			last;

	KnnGroupColumns(columns, extent->group, &first, &last);
	for (int column = first; column <= last; column++)
	{
		/* not KnnColumnBlocks, for which more than an index holds is an error */
		if ((uint64) extent->nitems * columns[column].width / KNN_PAGE_CAPACITY > end)
			return false;
		blocks += KnnColumnBlocks(&columns[column], extent->nitems);
	}
	return extent->first_block + blocks <= end;
}

/* Take over what changes; extents already known are the same as before. */
static void
take_over_meta(KnnStore *store, Relation index, const KnnMetaPage *meta)
{
	store->entry = meta->entry;
	store->entry_level = store->shape.method == KNN_METHOD_HNSW ?
		Min(meta->entry_level, KNN_MAX_LEVEL) : meta->entry_level;
	memcpy(store->used, meta->used, sizeof(store->used));

	for (uint32 i = store->nextents_total; i < meta->nextents; i++)
	{
		const KnnMetaExtent *listed = &meta->extents[i];
		KnnExtent  *extents;
		KnnExtent  *extent;
		BlockNumber block = listed->first_block;
		uint32		n;
		int			first;
		int			last;

		/* extents follow each other without a gap, and end within the index */
		if (listed->group >= KNN_NGROUPS || listed->nitems == 0 ||
			listed->nitems > KNN_INVALID_ID - 1 - store->capacity[listed->group] ||
			listed->first_block != store->nblocks ||
			!extent_fits(store->columns, listed, meta->nblocks))
			KnnReportDamage(index, KNN_META_BLOCK, "The metapage lists an impossible extent.");
		n = store->nextents[listed->group];
		extents = MemoryContextAlloc(store->context, sizeof(KnnExtent) * (n + 1));
		if (n > 0)
		{
			memcpy(extents, store->extents[listed->group], sizeof(KnnExtent) * n);
			pfree(store->extents[listed->group]);
		}
		extent = &extents[n];
		extent->first = store->capacity[listed->group];
		extent->nitems = listed->nitems;
		KnnGroupColumns(store->columns, listed->group, &first, &last);
		for (int column = first; column <= last; column++)
		{
			extent->blocks[column - first] = block;
			block += KnnColumnBlocks(&store->columns[column], listed->nitems);
		}
		store->extents[listed->group] = extents;
		store->nextents[listed->group] = n + 1;
		store->capacity[listed->group] += listed->nitems;
		store->nblocks = block;
		store->nextents_total = i + 1;
	}
	if (store->nblocks != meta->nblocks)
		KnnReportDamage(index, KNN_META_BLOCK, "The extents do not add up to the blocks given out.");
	for (int group = 0; group < KNN_NGROUPS; group++)
	{
		if (store->used[group] > store->capacity[group])
			KnnReportDamage(index, KNN_META_BLOCK, "More ids are in use than the extents hold.");
	}
	if (store->entry == KNN_INVALID_ID)
		return;
	if (store->shape.method == KNN_METHOD_HNSW)
	{
		if (store->entry >= store->used[KNN_GROUP_NODE])
			KnnReportDamage(index, KNN_META_BLOCK, "The entry point does not exist.");
	}
	else if (store->entry_level == 0 || store->entry >= store->used[KNN_GROUP_LIST] ||
			 store->entry_level > store->used[KNN_GROUP_LIST] - store->entry)
		KnnReportDamage(index, KNN_META_BLOCK, "The lists do not exist.");
}

/* ---- the cache of stores ---- */

static void
store_free(KnnStore *store)
{
	MemoryContextDelete(store->context);
}

static void
store_drop(StoreEntry *entry)
{
	KnnStore   *store = entry->store;

	entry->store = NULL;
	if (store == NULL)
		return;
	if (store->users > 0)
		store->orphaned = true;
	else
		store_free(store);
}

/*
 * Relation cache invalidation: the index may be gone or rewritten.  A store that
 * is in use stays, for the lock its user holds keeps the index as it is.
 */
static void
store_invalidate(Datum arg, Oid relid)
{
	StoreEntry *entry;

	if (stores == NULL)
		return;
	if (OidIsValid(relid))
	{
		entry = hash_search(stores, &relid, HASH_FIND, NULL);
		if (entry && entry->store && entry->store->users == 0)
		{
			store_drop(entry);
			hash_search(stores, &relid, HASH_REMOVE, NULL);
		}
	}
	else
	{
		HASH_SEQ_STATUS status;

		hash_seq_init(&status, stores);
		while ((entry = hash_seq_search(&status)) != NULL)
		{
			if (entry->store && entry->store->users == 0)
				store_drop(entry);
		}
	}
}

/* Read an item of column centre into memory of its own. */
static void
load_centre_item(KnnStore *store, Relation index, uint32 item, float *out)
{
	Buffer		buffer;
	const void *place = KnnStoreReadFixed(store, index, KNN_COLUMN_CENTRE, item, out, &buffer);

	if (BufferIsValid(buffer))
	{
		memcpy(out, place, sizeof(float) * store->shape.dim);
		ReleaseBuffer(buffer);
	}
}

/* The codebooks, which an index of encoder pq has whatever else it has. */
static void
load_codebooks(KnnStore *store, Relation index)
{
	const KnnShape *shape = &store->shape;
	float	   *words = palloc(sizeof(float) * shape->dim);
	float	   *memory;

	if (store->used[KNN_GROUP_CENTRE] != KnnCentreItems(shape))
		KnnReportDamage(index, KNN_META_BLOCK, "The index has no codebooks.");
	memory = MemoryContextAllocHuge(store->context,
									mul_size(sizeof(float),
											 knn_pq_floats(shape->dim, shape->pq_m, shape->pq_bits)));
	knn_pq_init(&store->pq, shape->dim, shape->pq_m, shape->pq_bits, memory);
	for (uint32 k = 0; k < store->pq.ncodes; k++)
	{
		load_centre_item(store, index, 1 + k, words);
		knn_pq_set_codewords(&store->pq, k, words);
	}
	knn_pq_finish(&store->pq);
	pfree(words);
	store->encoder.pq = &store->pq;
	store->encoder.origin = store->encoder.centre;
}

/* Centre and rotation, once the extents are known. */
static void
store_load_encoder(KnnStore *store, Relation index)
{
	const KnnShape *shape = &store->shape;
	MemoryContext old = MemoryContextSwitchTo(store->context);

	store->encoder.dim = shape->dim;
	store->encoder.space = shape->space;
	store->encoder.encoding = shape->encoding;
	store->encoder.kernels = knn_kernels_get();
	if (knn_space_rotates(shape->space) && knn_encoding_is_float(shape->encoding))
	{
		uint8	   *signs = palloc(KNN_ROTATION_SIGN_BYTES(shape->dim));

		knn_rotation_init(signs, shape->dim, shape->seed);
		store->encoder.signs = signs;
	}
	MemoryContextSwitchTo(old);

	if (store->used[KNN_GROUP_CENTRE] > 0)
	{
		float	   *centre = MemoryContextAlloc(store->context, sizeof(float) * shape->dim);

		load_centre_item(store, index, 0, centre);
		store->encoder.centre = centre;
		store->has_centre = true;
	}
	if (shape->encoding == KNN_ENCODING_PQ)
		load_codebooks(store, index);
}

static KnnStore *
store_load(Relation index, const KnnMetaPage *meta)
{
	MemoryContext context = AllocSetContextCreate(CacheMemoryContext,
												  "knn index store",
												  ALLOCSET_SMALL_SIZES);
	KnnStore   *store = MemoryContextAllocZero(context, sizeof(KnnStore));

	store->context = context;
	store->relid = RelationGetRelid(index);
	store->file = KnnRelationFile(index);
	store->shape = meta->shape;
	store->nblocks = 1;			/* the metapage */
	KnnStoreColumns(&store->shape, store->columns);
	store->factor_bytes = KnnFactorBytes(&store->shape);
	return store;
}

KnnStore *
KnnStoreOpen(Relation index)
{
	Oid			relid = RelationGetRelid(index);
	PGAlignedBlock copy;
	KnnMetaPage *meta;
	StoreEntry *entry;
	KnnStore   *store;
	Buffer		buffer;
	bool		found;

	if (stores == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(StoreEntry);
		ctl.hcxt = CacheMemoryContext;
		stores = hash_create("knn index stores", 16, &ctl,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		CacheRegisterRelcacheCallback(store_invalidate, (Datum) 0);
	}

	/* work on a copy: no lock is held while memory is allocated */
	buffer = ReadBuffer(index, KNN_META_BLOCK);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	meta = check_meta(index, BufferGetPage(buffer));
	memcpy(copy.data, meta, offsetof(KnnMetaPage, extents) +
		   sizeof(KnnMetaExtent) * meta->nextents);
	UnlockReleaseBuffer(buffer);
	meta = (KnnMetaPage *) copy.data;

	entry = hash_search(stores, &relid, HASH_ENTER, &found);
	if (!found)
		entry->store = NULL;
	store = entry->store;

	/*
	 * Each build draws a new seed, so that a build into the same file (TRUNCATE
	 * in the transaction that created the table) is told apart too.
	 */
	if (store != NULL &&
		(store->file != KnnRelationFile(index) ||
		 memcmp(&store->shape, &meta->shape, sizeof(KnnShape)) != 0 ||
		 store->nextents_total > meta->nextents))
	{
		store_drop(entry);
		store = NULL;
	}
	if (store == NULL)
	{
		store = store_load(index, meta);
		PG_TRY();
		{
			take_over_meta(store, index, meta);
			store_load_encoder(store, index);
		}
		PG_CATCH();
		{
			store_free(store);
			PG_RE_THROW();
		}
		PG_END_TRY();
		/* reading pages may have accepted invalidations and moved entries */
		entry = hash_search(stores, &relid, HASH_ENTER, &found);
		if (found && entry->store)
			store_drop(entry);
		entry->store = store;
	}
	else
		take_over_meta(store, index, meta);
	return store;
}

KnnStore *
KnnStoreKnown(Relation index)
{
	Oid			relid = RelationGetRelid(index);
	StoreEntry *entry = stores ? hash_search(stores, &relid, HASH_FIND, NULL) : NULL;

	if (entry == NULL || entry->store == NULL ||
		entry->store->file != KnnRelationFile(index))
		return NULL;
	return entry->store;
}

void
KnnStoreRefresh(KnnStore *store, Relation index)
{
	PGAlignedBlock copy;
	KnnMetaPage *meta;
	Buffer		buffer = ReadBuffer(index, KNN_META_BLOCK);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	meta = check_meta(index, BufferGetPage(buffer));
	memcpy(copy.data, meta, offsetof(KnnMetaPage, extents) +
		   sizeof(KnnMetaExtent) * meta->nextents);
	UnlockReleaseBuffer(buffer);
	take_over_meta(store, index, (KnnMetaPage *) copy.data);
}

static void
store_unhold(void *arg)
{
	KnnStore   *store = arg;

	store->users--;
	if (store->users == 0 && store->orphaned)
		store_free(store);
}

void
KnnStoreHold(KnnStore *store, MemoryContext context)
{
	MemoryContextCallback *callback = MemoryContextAlloc(context, sizeof(MemoryContextCallback));

	callback->func = store_unhold;
	callback->arg = store;
	MemoryContextRegisterResetCallback(context, callback);
	store->users++;
}

/* ---- ids ---- */

const KnnExtent *
KnnStoreFindExtent(KnnStore *store, Relation index, KnnGroup group, uint32 id)
{
	const KnnExtent *extents;
	uint32		low = 0;
	uint32		high;

	if (id >= store->capacity[group])
	{
		/* given out after this backend last read the metapage? */
		KnnStoreRefresh(store, index);
		if (id >= store->capacity[group])
			ereport(ERROR,
					(errcode(ERRCODE_INDEX_CORRUPTED),
					 errmsg("index \"%s\" refers to item %u of group %d, which has %u",
							RelationGetRelationName(index), id, (int) group,
							store->capacity[group]),
					 errhint("Please REINDEX it.")));
	}
	extents = store->extents[group];
	high = store->nextents[group];
	while (high - low > 1)
	{
		uint32		middle = (low + high) / 2;

		if (extents[middle].first <= id)
			low = middle;
		else
			high = middle;
	}
	return &extents[low];
}

/* ---- giving out ids ---- */

/*
 * Items of a group's next extent: an eighth of what there is while that is little,
 * then about four megabytes, then a forty-eighth.  So a young index stays small,
 * an insert that opens an extent does not have to extend the file by much, and
 * the list of extents stays short (some 600 for 2^32 nodes).
 */
static uint32
next_extent_items(const KnnColumnShape *columns, KnnGroup group, uint32 capacity)
{
	uint32		width;			/* bytes an item takes before others can follow */
	uint32		least;
	uint32		usual;

	if (columns[KNN_COLUMN_BLOCK].width != 0)
	{
		/* knn_ivf: lists are never added but to an index that has none */
		if (group == KNN_GROUP_LIST || group == KNN_GROUP_CENTRE)
			return 1;
		width = group == KNN_GROUP_BLOCK ? columns[KNN_COLUMN_BLOCK].width :
			Max(columns[KNN_COLUMN_CODE].width + columns[KNN_COLUMN_VECTOR].width, 1);
		least = Max(KNN_PAGE_CAPACITY / width, 1);
		usual = Max(4 * 1024 * 1024 / width, least);
		return Max(Max(Min(capacity / 8, usual), capacity / 48), least);
	}

	switch (group)
	{
		case KNN_GROUP_NODE:
			/* the vectors come last and are extended as they are written */
			width = columns[KNN_COLUMN_TID].width + columns[KNN_COLUMN_LINKS].width +
				columns[KNN_COLUMN_CODE].width;
			least = Min(Max(512 * 1024 / width, 16), columns[KNN_COLUMN_LINKS].per_page);
			break;
		case KNN_GROUP_UPPER:
			width = columns[KNN_COLUMN_UPPER].width;
			least = columns[KNN_COLUMN_UPPER].per_page;
			break;
		case KNN_GROUP_CHAIN:
			width = columns[KNN_COLUMN_CHAIN].width;
			least = columns[KNN_COLUMN_CHAIN].per_page;
			break;
		default:
			return 1;
	}
	least = Max(least, 1);
	usual = Max(4 * 1024 * 1024 / width, least);
	return Max(Max(Min(capacity / 8, usual), capacity / 48), least);
}

uint32
KnnStoreAllocate(KnnStore *store, Relation index, KnnGroup group, uint32 count)
{
	Buffer		buffer = ReadBuffer(index, KNN_META_BLOCK);
	GenericXLogState *state;
	KnnMetaPage *meta;
	Page		page;
	uint32		first;
	uint64		capacity = 0;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	state = GenericXLogStart(index);
	page = GenericXLogRegisterBuffer(state, buffer, 0);
	meta = check_meta(index, page);

	for (uint32 i = 0; i < meta->nextents; i++)
	{
		if (meta->extents[i].group == group)
			capacity += meta->extents[i].nitems;
	}
	first = meta->used[group];
	while ((uint64) first + count > capacity)
	{
		uint64		items = next_extent_items(store->columns, group, (uint32) capacity);
		BlockNumber blocks;

		items = Min(items, (uint64) KNN_INVALID_ID - 1 - capacity);
		if (items == 0 || meta->nextents >= KNN_MAX_EXTENTS)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("index \"%s\" cannot hold more vectors",
							RelationGetRelationName(index)),
					 errhint("Partition the table.")));
		blocks = KnnExtentBlocks(store->columns, group, (uint32) items);
		if (blocks > MaxBlockNumber - meta->nblocks)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("index \"%s\" cannot grow beyond %u blocks",
							RelationGetRelationName(index), MaxBlockNumber),
					 errhint("Partition the table.")));
		meta->extents[meta->nextents].group = group;
		meta->extents[meta->nextents].nitems = (uint32) items;
		meta->extents[meta->nextents].first_block = meta->nblocks;
		meta->nextents++;
		meta->nblocks += blocks;
		capacity += items;
		KnnPageCover(page, offsetof(KnnMetaPage, extents) +
					 sizeof(KnnMetaExtent) * meta->nextents);
	}
	meta->used[group] = first + count;
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buffer);

	if ((uint64) first + count > store->capacity[group])
		KnnStoreRefresh(store, index);
	return first;
}

/* Make a node the entry point, if a condition on the present one holds. */
static bool
set_entry(Relation index, uint32 node, uint32 level, bool only_first)
{
	Buffer		buffer = ReadBuffer(index, KNN_META_BLOCK);
	GenericXLogState *state;
	KnnMetaPage *meta;
	bool		set;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	state = GenericXLogStart(index);
	meta = check_meta(index, GenericXLogRegisterBuffer(state, buffer, 0));
	set = meta->entry == KNN_INVALID_ID || (!only_first && level > meta->entry_level);
	if (set)
	{
		meta->entry = node;
		meta->entry_level = level;
		GenericXLogFinish(state);
	}
	else
		GenericXLogAbort(state);
	UnlockReleaseBuffer(buffer);
	return set;
}

bool
KnnStoreSetFirstEntry(Relation index, uint32 node, uint32 level)
{
	return set_entry(index, node, level, true);
}

void
KnnStoreRaiseEntry(Relation index, uint32 node, uint32 level)
{
	(void) set_entry(index, node, level, false);
}
