/*
 * ivf_list.c
 *		Reading lists and coding about their centroids; see ivf.h.
 */
#include "postgres.h"

#include "am/ivf.h"

#include "am/options.h"
#include "am/shape.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"

/* Most coarse items of a page. */
#define MAX_COARSE_PER_PAGE (KNN_PAGE_CAPACITY / (sizeof(KnnIvfCoarse) + 1) + 1)

int
KnnIvfNprobes(Relation index)
{
	int			nprobes = KnnIvfOptionsOf(index).nprobes;

	return nprobes > 0 ? nprobes : (int) KnnFrozenShape(index)->nprobes;
}

void
KnnIvfReaderInit(KnnIvfReader *reader, Relation index, KnnStore *store)
{
	uint32		dim = store->shape.dim;
	Size		widest = Max(store->columns[KNN_COLUMN_COARSE].width,
							 store->columns[KNN_COLUMN_CODE].width);

	memset(reader, 0, sizeof(*reader));
	reader->index = index;
	reader->store = store;
	KnnIvfLayoutInit(&reader->layout, &store->shape);
	reader->coarse = store->encoder;
	reader->coarse.encoding = KnnIvfCoarseEncoding(&store->shape);
	reader->encoder = store->encoder;
	reader->centroid = palloc(sizeof(float) * dim);
	reader->scratch = palloc(widest);
	reader->qf = palloc(sizeof(float) * knn_query_floats(&store->encoder));
	reader->q8 = palloc(KNN_QUERY_ROOM(dim));
}

/* ---- centroids ---- */

/*
 * Items of one page are scored together; the page is pinned meanwhile, as what never
 * changes is read without lock.
 */
static void
score_page(KnnIvfReader *reader, const knn_query *query, uint32 first, uint32 n, float *distances)
{
	KnnStore   *store = reader->store;
	KnnItemAddress address = KnnStoreLocate(store, reader->index, KNN_COLUMN_COARSE, first);
	uint32		width = store->columns[KNN_COLUMN_COARSE].width;
	const knn_code_factors *factors[MAX_COARSE_PER_PAGE];
	const uint8 *codes[MAX_COARSE_PER_PAGE];
	Buffer		buffer = KnnStorePin(store, reader->index, address.block, KNN_COLUMN_COARSE);
	const char *items = KnnPageContents(BufferGetPage(buffer)) + address.offset;

	for (uint32 i = 0; i < n; i++)
	{
		const KnnIvfCoarse *item = (const KnnIvfCoarse *) (items + (Size) width * i);

		factors[i] = &item->factors;
		codes[i] = item->code;
	}
	knn_query_scores(query, factors, codes, n, distances);
	ReleaseBuffer(buffer);
}

void
KnnIvfScoreLists(KnnIvfReader *reader, const void *rotated, bool insert, float *distances)
{
	KnnStore   *store = reader->store;
	const KnnColumnShape *column = &store->columns[KNN_COLUMN_COARSE];
	uint32		nlists = KnnIvfNlists(store);
	knn_encoder encoder = reader->coarse;
	knn_query	query;

	/* as the build divided the vectors */
	if (insert)
		encoder.space = knn_kmeans_space(encoder.space);
	knn_query_prepare_rotated(&query, &encoder, rotated, reader->q8, reader->qf);
	for (uint32 done = 0; done < nlists;)
	{
		uint32		id = KnnIvfFirstList(store) + done;
		uint32		n = 1;

		CHECK_FOR_INTERRUPTS();
		if (column->per_page != 0)
		{
			const KnnExtent *extent = KnnStoreFindExtent(store, reader->index, KNN_GROUP_LIST, id);
			uint32		local = id - extent->first;

			n = Min(column->per_page - local % column->per_page, nlists - done);
			n = Min(n, extent->nitems - local);
			score_page(reader, &query, id, n, distances + done);
		}
		else
		{
			Buffer		buffer;
			const KnnIvfCoarse *item = KnnStoreReadFixed(store, reader->index, KNN_COLUMN_COARSE,
														 id, reader->scratch, &buffer);

			distances[done] = knn_query_score(&query, &item->factors, item->code);
			if (BufferIsValid(buffer))
				ReleaseBuffer(buffer);
		}
		done += n;
	}
}

void
KnnIvfSelect(KnnIvfReader *reader, uint32 list)
{
	Buffer		buffer;
	const float *centroid;

	/* byte and binary codes are relative to nothing */
	if (reader->store->columns[KNN_COLUMN_CENTROID].width == 0)
		return;
	centroid = KnnStoreReadFixed(reader->store, reader->index, KNN_COLUMN_CENTROID, list,
								 reader->centroid, &buffer);
	if (BufferIsValid(buffer))
	{
		memcpy(reader->centroid, centroid, sizeof(float) * reader->store->shape.dim);
		ReleaseBuffer(buffer);
	}
	reader->encoder.centre = reader->centroid;
}

uint32
KnnIvfFirstBlock(KnnIvfReader *reader, uint32 list)
{
	Buffer		buffer;
	const KnnIvfCoarse *item = KnnStoreReadFixed(reader->store, reader->index, KNN_COLUMN_COARSE,
												 list, reader->scratch, &buffer);
	uint32		first = item->first;

	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
	return first;
}

/* ---- blocks ---- */

Buffer
KnnIvfPinBlock(KnnIvfReader *reader, uint32 block)
{
	KnnItemAddress address = KnnStoreLocate(reader->store, reader->index, KNN_COLUMN_BLOCK, block);

	return KnnStorePin(reader->store, reader->index, address.block, KNN_COLUMN_BLOCK);
}

KnnIvfBlock *
KnnIvfCheckBlock(KnnIvfReader *reader, Page page, BlockNumber number, uint32 list)
{
	KnnIvfBlock *block = (KnnIvfBlock *) KnnPageContents(page);

	if (unlikely(block->list != list || block->nentries > reader->layout.per_block ||
				 block->nfree > block->nentries ||
				 ((PageHeader) page)->pd_lower <
				 MAXALIGN(SizeOfPageHeaderData) + reader->layout.end))
		KnnReportDamage(reader->index, number,
						psprintf("The block is not one of list %u, or its counts are impossible.", list));
	return block;
}

KnnIvfBlock *
KnnIvfBlockInit(Page page, const KnnIvfLayout *layout, uint32 list)
{
	KnnIvfBlock *block = (KnnIvfBlock *) KnnPageContents(page);

	KnnPageCover(page, layout->end);
	memset(block, 0, layout->end);
	block->list = list;
	return block;
}

void
KnnIvfPutEntry(KnnIvfBlock *block, const KnnIvfLayout *layout, uint32 i,
			   const ItemPointerData *tid, uint32 id,
			   const knn_code_factors *factors, const uint8 *code)
{
	KnnIvfTids(block)[i] = *tid;
	if (layout->has_ids)
		KnnIvfIds(block, layout)[i] = id;
	if (!layout->has_codes)
		return;
	if (layout->factors)
		KnnIvfFactors(block, layout)[i] = *factors;
	memcpy(KnnIvfCode(block, layout, i), code, layout->code_bytes);
}
