/*
 * hnsw_build_read.c
 *		First pass of a build of knn_hnsw: the table's vectors go to a temporary
 *		file, equal ones once.
 */
#include "postgres.h"

#include "am/hnsw_build.h"

#include "utils/memutils.h"

static void
remember_tid(HnswBuild *build, ItemPointer tid)
{
	if (build->n == build->tids_room)
	{
		build->tids_room = build->tids_room > UINT32_MAX / 2 ? UINT32_MAX : build->tids_room * 2;
		build->tids = repalloc_huge(build->tids,
									mul_size(sizeof(ItemPointerData), build->tids_room));
	}
	build->tids[build->n] = *tid;
}

static void
remember_duplicate(HnswBuild *build, uint32 node, ItemPointer tid)
{
	if (build->nduplicates == build->duplicates_room)
	{
		build->duplicates_room = build->duplicates_room > UINT32_MAX / 2 ?
			UINT32_MAX : build->duplicates_room * 2;
		build->duplicates = repalloc_huge(build->duplicates,
										  mul_size(sizeof(DuplicateRow), build->duplicates_room));
	}
	build->duplicates[build->nduplicates].node = node;
	build->duplicates[build->nduplicates].tid = *tid;
	build->nduplicates++;
}

void
KnnBuildReadRow(Relation index, ItemPointer tid, Datum *values, bool *isnull,
				bool alive, void *state)
{
	HnswBuild  *build = state;
	MemoryContext old;
	KnnValue	value;
	uint32		node;
	int			found;

	if (isnull[0])
		return;
	old = MemoryContextSwitchTo(build->row_context);
	if (KnnIndexedValue(&build->shape, values[0], &value))
	{
		const void *kept = value.stored ? value.stored : value.elements;

		found = knn_fingerprint_set_add(&build->seen, kept, build->kept_size, &node);
		if (found < 0)
			elog(ERROR, "out of memory");
		if (found)
			remember_duplicate(build, node, tid);
		else
		{
			if (build->n >= KNN_INVALID_ID - 1)
				ereport(ERROR,
						(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						 errmsg("an index cannot hold more than %u different vectors",
								KNN_INVALID_ID - 1),
						 errhint("Partition the table.")));
			remember_tid(build, tid);
			KnnBuildVectorsAppend(&build->read, kept);
			if (knn_encoding_is_float(build->shape.encoding))
			{
				for (uint32 i = 0; i < build->shape.dim; i++)
					build->sum[i] += ((float *) value.elements)[i];
			}
			build->n++;
		}
		build->nrows++;
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(build->row_context);
}

void
KnnBuildReadBegin(HnswBuild *build)
{
	knn_allocator allocator = KnnContextAllocator(build->context);

	build->kept_size = build->shape.vectors == KNN_VECTORS_NONE ?
		KnnElementsSize(&build->shape) : KnnStoredSize(&build->shape);
	build->sum = palloc0(sizeof(double) * build->shape.dim);
	build->tids_room = 1024;
	build->tids = palloc(sizeof(ItemPointerData) * build->tids_room);
	build->duplicates_room = 64;
	build->duplicates = palloc(sizeof(DuplicateRow) * build->duplicates_room);
	if (knn_fingerprint_set_init(&build->seen, &allocator, build->shape.seed) != KNN_OK)
		elog(ERROR, "out of memory");
	/* memory is for the graph */
	KnnBuildVectorsBegin(&build->read, build->context, build->kept_size, 0);
}
