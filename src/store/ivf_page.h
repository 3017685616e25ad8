/*
 * ivf_page.h
 *		Items and blocks of a knn_ivf index; see am/ivf.h for the whole.
 *
 * A block of a list has room for the same number of entries, per_block, in arrays
 * of their own, so that codes are scanned one after the other:
 *
 *		header | heap TIDs | vector ids | factors | codes
 *
 * An entry that VACUUM removed has an invalid TID; it keeps its vector id, which
 * the next entry in its place takes over.  Vector ids and factors are left out where
 * there are none.  Codes of which fewer than KNN_IVF_LEAST_PER_BLOCK would fit are
 * kept in the column code under the vector id instead, with their factors: then
 * KnnIvfPerBlock is 0, and blocks have TIDs and ids alone.
 */
#ifndef KNN_STORE_IVF_PAGE_H
#define KNN_STORE_IVF_PAGE_H

#include "postgres.h"

#include "core/code.h"
#include "storage/itemptr.h"
#include "store/page.h"

#define KNN_IVF_MAX_NLIST			19999
#define KNN_IVF_LEAST_PER_BLOCK		4

struct KnnShape;

#define KNN_IVF_NO_BLOCK 0		/* references to blocks are id + 1 */

/* What changes of a list. */
typedef struct KnnIvfHead
{
	uint32		insert;			/* block + 1 to look for room from */
} KnnIvfHead;

/* What never changes of a list. */
typedef struct KnnIvfCoarse
{
	uint32		first;			/* its first block + 1 */
	knn_code_factors factors;
	uint8		code[FLEXIBLE_ARRAY_MEMBER];	/* the centroid's */
} KnnIvfCoarse;

typedef struct KnnIvfBlock
{
	uint32		next;			/* block + 1, or KNN_IVF_NO_BLOCK */
	uint32		list;
	uint16		nentries;		/* places that have been used */
	uint16		nfree;			/* of these, without a row */
	uint32		unused;
} KnnIvfBlock;

/* Where the arrays of a block are. */
typedef struct KnnIvfLayout
{
	uint32		per_block;
	bool		has_ids;		/* entries have vector ids */
	bool		has_codes;		/* the block has factors and codes */
	uint32		code_bytes;
	uint32		ids;			/* offsets in the contents */
	uint32		factors;		/* 0: there are none */
	uint32		codes;
	uint32		end;
} KnnIvfLayout;

/* Entries of a block with codes, or 0 when codes are too wide for that. */
extern uint32 KnnIvfPerBlock(const struct KnnShape *shape);

extern void KnnIvfLayoutInit(KnnIvfLayout *layout, const struct KnnShape *shape);

/* Encoding of centroids. */
extern knn_encoding KnnIvfCoarseEncoding(const struct KnnShape *shape);

#define KnnIvfTids(block) \
	((ItemPointerData *) ((char *) (block) + sizeof(KnnIvfBlock)))
#define KnnIvfIds(block, layout) \
	((uint32 *) ((char *) (block) + (layout)->ids))
#define KnnIvfFactors(block, layout) \
	((knn_code_factors *) ((char *) (block) + (layout)->factors))
#define KnnIvfCode(block, layout, i) \
	((uint8 *) (block) + (layout)->codes + (Size) (layout)->code_bytes * (i))

#endif
