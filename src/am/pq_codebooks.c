/*
 * pq_codebooks.c
 *		The codebooks of encoder pq in a build; see pq_codebooks.h.
 *
 * They are learned from a sample of what is left of the vectors about the centre, or
 * centroid, that each is coded about: rotated back, since parts are made of the
 * column's own dimensions (core/pq.h).
 */
#include "postgres.h"

#include "am/pq_codebooks.h"

#include "am/allocator.h"
#include "core/kmeans.h"
#include "core/rotation.h"
#include "miscadmin.h"
#include "utils/memutils.h"

uint64
KnnPqTrainingMemory(const KnnShape *shape)
{
	uint32		n = KNN_PQ_SAMPLE(shape->pq_bits);

	if (shape->encoding != KNN_ENCODING_PQ)
		return 0;
	return sizeof(float) * (uint64) n * shape->dim +
		knn_pq_train_memory(shape->dim, shape->pq_m, shape->pq_bits, n);
}

bool
KnnPqEnough(Relation index, const KnnShape *shape, uint32 n)
{
	uint32		ncodes = (uint32) 1 << shape->pq_bits;

	if (n >= ncodes)
		return true;
	ereport(NOTICE,
			(errmsg("index \"%s\" was built on too few vectors for encoder \"pq\"",
					RelationGetRelationName(index)),
			 errdetail("Number of training points (%u) should be at least %u. Until it is rebuilt the index has codes of 8 bits a dimension.",
					   n, ncodes),
			 errhint("REINDEX the index when the table is filled.")));
	return false;
}

static void
check_interrupts(void)
{
	CHECK_FOR_INTERRUPTS();
}

knn_pq *
KnnPqTrain(const KnnShape *shape, const knn_encoder *encoder, uint32 n, uint64 memory,
		   KnnResidual residual, void *build)
{
	uint32		dim = shape->dim;
	uint32		ncodes = (uint32) 1 << shape->pq_bits;
	uint64		fitting = memory / (sizeof(float) * dim + sizeof(uint32));
	uint32		nsample = Min(n, KNN_PQ_SAMPLE(shape->pq_bits));
	uint64		random = shape->seed | 1;
	knn_allocator allocator = KnnContextAllocator(CurrentMemoryContext);
	knn_pq	   *pq = palloc(sizeof(knn_pq));
	float	   *sample;

	nsample = Max(Min(nsample, fitting), ncodes);
	knn_pq_init(pq, dim, shape->pq_m, shape->pq_bits,
				MemoryContextAllocHuge(CurrentMemoryContext,
									   mul_size(sizeof(float),
												knn_pq_floats(dim, shape->pq_m, shape->pq_bits))));
	sample = MemoryContextAllocHuge(CurrentMemoryContext, mul_size(sizeof(float) * dim, nsample));
	for (uint32 i = 0; i < nsample; i++)
	{
		uint32		picked = knn_kmeans_sample_pick(&random, i, nsample, n);
		float	   *r = sample + (Size) dim * i;

		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		residual(build, picked, r);
		knn_rotation_invert(encoder->signs, r, dim);
	}
	if (knn_pq_train(pq, sample, nsample, shape->seed, &allocator, check_interrupts) != KNN_OK)
		elog(ERROR, "out of memory");
	pfree(sample);
	return pq;
}

void
KnnWriteCentre(Relation index, const KnnColumnShape *columns, const float *centre,
			   const knn_pq *pq, BlockNumber *next)
{
	KnnColumnWriter writer;

	KnnColumnWriterBegin(&writer, index, columns, KNN_COLUMN_CENTRE, next);
	KnnColumnWriterAppend(&writer, centre);
	if (pq)
	{
		float	   *words = palloc(columns[KNN_COLUMN_CENTRE].width);

		for (uint32 k = 0; k < pq->ncodes; k++)
		{
			knn_pq_get_codewords(pq, k, words);
			KnnColumnWriterAppend(&writer, words);
		}
		pfree(words);
	}
	KnnColumnWriterEnd(&writer);
}
