/*
 * ivf_page.c
 *		Items and blocks of a knn_ivf index; see ivf_page.h.
 */
#include "postgres.h"

#include "store/ivf_page.h"

#include "store/store.h"

knn_encoding
KnnIvfCoarseEncoding(const KnnShape *shape)
{
	return knn_encoding_is_float(shape->encoding) ? KNN_ENCODING_ROTATED_8 : shape->encoding;
}

/* Bytes of an entry; ids tells whether it has a vector id. */
static uint32
entry_bytes(const KnnShape *shape, bool ids, bool codes)
{
	uint32		bytes = sizeof(ItemPointerData);

	if (ids)
		bytes += sizeof(uint32);
	if (codes)
		bytes += KnnFactorBytes(shape) + KnnCodeSize(shape);
	return bytes;
}

/* Entries of a block; arrays begin at multiples of four. */
static uint32
entries_of_block(uint32 bytes)
{
	return (KNN_PAGE_CAPACITY - sizeof(KnnIvfBlock) - sizeof(uint32)) / bytes;
}

uint32
KnnIvfPerBlock(const KnnShape *shape)
{
	uint32		n = entries_of_block(entry_bytes(shape, shape->vectors != KNN_VECTORS_NONE, true));

	return n >= KNN_IVF_LEAST_PER_BLOCK ? n : 0;
}

void
KnnIvfLayoutInit(KnnIvfLayout *layout, const KnnShape *shape)
{
	uint32		at;

	memset(layout, 0, sizeof(*layout));
	layout->per_block = KnnIvfPerBlock(shape);
	layout->has_codes = layout->per_block > 0;
	layout->has_ids = !layout->has_codes || shape->vectors != KNN_VECTORS_NONE;
	layout->code_bytes = KnnCodeSize(shape);
	if (!layout->has_codes)
		layout->per_block = entries_of_block(entry_bytes(shape, true, false));

	at = sizeof(KnnIvfBlock) + sizeof(ItemPointerData) * layout->per_block;
	at = TYPEALIGN(sizeof(uint32), at);
	if (layout->has_ids)
	{
		layout->ids = at;
		at += sizeof(uint32) * layout->per_block;
	}
	if (layout->has_codes)
	{
		if (KnnFactorBytes(shape) > 0)
		{
			layout->factors = at;
			at += sizeof(knn_code_factors) * layout->per_block;
		}
		layout->codes = at;
		at += layout->code_bytes * layout->per_block;
	}
	layout->end = TYPEALIGN(sizeof(uint32), at);
	Assert(layout->end <= KNN_PAGE_CAPACITY);
}
