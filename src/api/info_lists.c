/*
 * info_lists.c
 *		What knn_index_info tells of a knn_ivf index; see info_lists.h.
 */
#include "postgres.h"

#include "api/info_lists.h"

#include "am/ivf.h"
#include "miscadmin.h"

/* ---- drift ---- */

/*
 * Distances of rows from the centroids of their lists: those of the build, and those
 * inserted since.  A row is told by its vector id, as the build gave out those of the
 * first extent; a row that has taken the place of a deleted one counts as that.  Where
 * there are no ids it is told by its block: the last block of the build's in each list
 * has some rows that came later.
 */
typedef struct Distances
{
	const KnnIvfReader *reader;
	bool		known;
	uint32		built_ids;
	uint32		built_blocks;
	double		sums[2];		/* of the build's, and of inserted ones */
	uint64		counts[2];

	/* byte and binary vectors: the centroid as a query */
	knn_query	query;
	uint8	   *centroid;
	bool		squared;
} Distances;

/*
 * Nothing is known without codes in the blocks, and where the lists were not built but
 * made by the first insert: it takes a block before it makes a list.
 */
static void
begin_distances(Distances *distances, const KnnIvfReader *reader)
{
	const KnnStore *store = reader->store;
	knn_space	space = store->shape.space;

	memset(distances, 0, sizeof(*distances));
	distances->reader = reader;
	if (!reader->layout.has_codes || store->nextents[KNN_GROUP_LIST] == 0 ||
		store->nextents[KNN_GROUP_BLOCK] == 0 ||
		store->extents[KNN_GROUP_BLOCK][0].blocks[0] < store->extents[KNN_GROUP_LIST][0].blocks[0])
		return;
	distances->known = true;
	distances->built_blocks = store->extents[KNN_GROUP_BLOCK][0].nitems;
	if (reader->layout.has_ids && store->nextents[KNN_GROUP_NODE] > 0)
		distances->built_ids = store->extents[KNN_GROUP_NODE][0].nitems;
	distances->centroid = palloc(reader->layout.code_bytes);
	distances->squared = space == KNN_SPACE_L2 || space == KNN_SPACE_INNER_PRODUCT ||
		space == KNN_SPACE_COSINE;
}

static void
begin_list(Distances *distances, KnnIvfReader *reader, uint32 list)
{
	knn_encoder encoder = reader->coarse;
	const KnnIvfCoarse *coarse;
	Buffer		buffer;

	if (!distances->known || knn_encoding_is_float(reader->store->shape.encoding))
		return;
	coarse = KnnStoreReadFixed(reader->store, reader->index, KNN_COLUMN_COARSE, list,
							   reader->scratch, &buffer);
	memcpy(distances->centroid, coarse->code, reader->layout.code_bytes);
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
	encoder.space = knn_kmeans_space(encoder.space);
	knn_query_prepare_rotated(&distances->query, &encoder, distances->centroid,
							  reader->q8, reader->qf);
}

static double
distance_of(const Distances *distances, const KnnIvfBlock *block, uint32 i)
{
	const KnnIvfLayout *layout = &distances->reader->layout;
	const knn_code_factors *factors = layout->factors ? &KnnIvfFactors(block, layout)[i] : NULL;
	double		score;

	/* a code is about its centroid: its factors tell */
	if (knn_encoding_is_float(distances->reader->store->shape.encoding))
		return sqrt(factors->norm2);
	score = knn_query_score(&distances->query, factors, KnnIvfCode(block, layout, i));
	return distances->squared ? sqrt(Max(score, 0)) : score;
}

static void
add_block(Distances *distances, const KnnIvfBlock *block, uint32 number)
{
	const KnnIvfLayout *layout = &distances->reader->layout;

	if (!distances->known)
		return;
	for (uint32 i = 0; i < block->nentries; i++)
	{
		bool		inserted = layout->has_ids ?
			KnnIvfIds(block, layout)[i] >= distances->built_ids : number >= distances->built_blocks;
		double		distance;

		if (!ItemPointerIsValid(&KnnIvfTids(block)[i]))
			continue;
		distance = distance_of(distances, block, i);
		if (!isfinite(distance))
			continue;
		distances->sums[inserted] += distance;
		distances->counts[inserted]++;
	}
}

static double
drift_of(const Distances *distances)
{
	double		built;
	double		inserted;

	if (!distances->known || distances->counts[false] == 0)
		return -1;
	if (distances->counts[true] == 0)
		return 0;
	built = distances->sums[false] / distances->counts[false];
	inserted = distances->sums[true] / distances->counts[true];
	if (inserted <= built)
		return 0;
	/* the build's are their own centroids: no share of nothing */
	return built > 0 ? inserted / built - 1 : -1;
}

/* ---- all of it ---- */

void
KnnCountLists(Relation index, KnnStore *store, BufferAccessStrategy strategy,
			  KnnListCounts *counts)
{
	KnnIvfReader reader;
	Distances	distances;

	memset(counts, 0, sizeof(*counts));
	KnnIvfReaderInit(&reader, index, store);
	begin_distances(&distances, &reader);
	for (uint32 i = 0; i < KnnIvfNlists(store); i++)
	{
		uint32		list = KnnIvfFirstList(store) + i;
		uint64		rows = 0;
		uint32		steps = 0;

		begin_list(&distances, &reader, list);
		for (uint32 next = KnnIvfFirstBlock(&reader, list); next != KNN_IVF_NO_BLOCK;)
		{
			BlockNumber number = KnnStoreLocate(store, index, KNN_COLUMN_BLOCK, next - 1).block;
			Buffer		buffer = ReadBufferExtended(index, MAIN_FORKNUM, number, RBM_NORMAL, strategy);
			const KnnIvfBlock *block;

			CHECK_FOR_INTERRUPTS();
			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			KnnPageCheck(index, number, BufferGetPage(buffer), KNN_COLUMN_BLOCK);
			block = KnnIvfCheckBlock(&reader, BufferGetPage(buffer), number, list);
			rows += block->nentries - block->nfree;
			counts->places += block->nentries;
			add_block(&distances, block, next - 1);
			next = block->next;
			UnlockReleaseBuffer(buffer);
			if (steps++ > store->capacity[KNN_GROUP_BLOCK])
				KnnReportDamage(index, number, psprintf("The blocks of list %u have a cycle.", list));
		}
		counts->rows += rows;
		counts->longest = Max(counts->longest, rows);
	}
	counts->drift = drift_of(&distances);
}
