/*
 * pq_codebooks.h
 *		The codebooks of encoder pq in a build: learning them and writing them.
 */
#ifndef KNN_AM_PQ_CODEBOOKS_H
#define KNN_AM_PQ_CODEBOOKS_H

#include "postgres.h"

#include "core/code.h"
#include "store/store.h"
#include "utils/rel.h"

/* Fills in what is left of a vector of the build about its centre, rotated: dim floats. */
typedef void (*KnnResidual) (void *build, uint32 number, float *residual);

/*
 * Bytes that the training of the shape's codebooks has a use for, beside those: 0 when
 * there is none.
 */
extern uint64 KnnPqTrainingMemory(const KnnShape *shape);

/* Are n vectors enough to learn from?  If not, says so in a notice about the index. */
extern bool KnnPqEnough(Relation index, const KnnShape *shape, uint32 n);

/*
 * Learn codebooks from n vectors of a build (KnnPqEnough), within so many bytes of
 * memory, but always from as many vectors as there are codewords.  In the current
 * memory context.
 */
extern knn_pq *KnnPqTrain(const KnnShape *shape, const knn_encoder *encoder, uint32 n,
						  uint64 memory, KnnResidual residual, void *build);

/*
 * Write the column centre: the centre and, of an encoder of pq, the codebooks (NULL
 * otherwise), into blocks from *next on, which becomes the block that follows.
 * KnnCentreItems tells how many items that is.
 */
extern void KnnWriteCentre(Relation index, const KnnColumnShape *columns, const float *centre,
						   const knn_pq *pq, BlockNumber *next);

#endif
