/*
 * faiss_file.c
 *		Reading files of the library faiss.
 *
 * A file is a tree of indexes, each of which begins with four letters that tell
 * its kind; only the shapes that OpenSearch makes are known here:
 *
 *	[id map] flat
 *	[id map] HNSW over flat, scalar-quantized, product-quantized or no vectors
 *	[id map] IVF with a flat quantizer, lists of flat, scalar- or product-quantized vectors
 *
 * and the flat, HNSW and IVF ones of binary vectors.  So the depth is known, and
 * no function calls itself.
 *
 * The first error ends the reading: a reader that has failed gives zeros and
 * empty arrays, so that its callers need to look at decisive places only.
 */
#include "core/faiss_file.h"

#include <string.h>

#include "core/faiss_reader.h"

/* Memory is never taken for so much, but products must not overflow. */
#define MAX_DIMENSION	(1 << 20)
#define MAX_PQ_BITS		24
#define MAX_LEVELS		256

/* faiss::DirectMap::Type */
#define DIRECT_MAP_NONE		0
#define DIRECT_MAP_ARRAY	1
#define DIRECT_MAP_HASHTABLE 2

/* The part of an index that all kinds begin with. */
typedef struct header
{
	int32_t		dimension;
	uint64_t	ntotal;
	knn_faiss_metric metric;
	uint64_t	code_size;		/* of binary ones */
} header;

/* --------------------------------------------------------------------------
 * Indexes
 * -------------------------------------------------------------------------- */

/* The four letters of a kind, and a terminator. */
static void
take_kind(knn_reader *r, char kind[5])
{
	const uint8_t *at = knn_take(r, 4, "the kind of an index");

	memset(kind, 0, 5);
	if (at)
		memcpy(kind, at, 4);
}

static bool
unknown_kind(knn_reader *r, const char kind[5], const char *of)
{
	char		printable[5];

	if (r->failed)
		return false;
	for (int i = 0; i < 5; i++)
		printable[i] = kind[i] == 0 || (kind[i] >= ' ' && kind[i] <= '~') ? kind[i] : '?';
	if (strlen(printable) < 4)
		memcpy(printable, "????", 5);
	return knn_reader_fail(r, "\"%s\" is not a known kind of %s", printable, of);
}

static bool
is_kind(const char kind[5], const char *name)
{
	return memcmp(kind, name, 4) == 0;
}

static void
take_header(knn_reader *r, header *h)
{
	h->dimension = knn_take_i32_between(r, "the dimension", 1, MAX_DIMENSION);
	h->ntotal = knn_take_u64_between(r, "the number of vectors", 0, INT64_MAX);
	h->code_size = 0;
	knn_take(r, 16, "the header of an index");	/* means nothing */
	if (!knn_take_bool(r, "the flag of training"))
		knn_reader_fail(r, "the index is not trained");
	h->metric = (knn_faiss_metric) knn_take_i32_between(r, "the metric", KNN_FAISS_INNER_PRODUCT,
														KNN_FAISS_LINF);
	if (h->metric > KNN_FAISS_L2)
		knn_take(r, 4, "the argument of the metric");
}

/* Id maps of old versions leave the size of a vector out: 1.7.3 does, 1.9.0 does not. */
static void
take_binary_header(knn_reader *r, bool map, header *h)
{
	int32_t		code_size;

	h->dimension = knn_take_i32_between(r, "the dimension", 8, MAX_DIMENSION);
	code_size = knn_take_i32(r, "the size of a vector");
	if (!r->failed && (h->dimension % 8 != 0 ||
					   (code_size != h->dimension / 8 && !(map && code_size == 0))))
		knn_reader_fail(r, "vectors of %d bits are said to have %d bytes",
						h->dimension, code_size);
	h->code_size = (uint64_t) h->dimension / 8;
	h->ntotal = knn_take_u64_between(r, "the number of vectors", 0, INT64_MAX);
	if (!knn_take_bool(r, "the flag of training"))
		knn_reader_fail(r, "the index is not trained");
	h->metric = (knn_faiss_metric) knn_take_i32_between(r, "the metric", KNN_FAISS_INNER_PRODUCT,
														KNN_FAISS_LINF);
}

/* The header of an index inside another, which must be of the same vectors. */
static void
take_inner_header(knn_reader *r, bool binary, const header *outer, uint64_t ntotal)
{
	header		h;

	if (binary)
		take_binary_header(r, false, &h);
	else
		take_header(r, &h);
	if (r->failed)
		return;
	if (h.dimension != outer->dimension)
		knn_reader_fail(r, "an inner index has dimension %d instead of %d",
						h.dimension, outer->dimension);
	else if (h.ntotal != ntotal)
		knn_reader_fail(r, "an inner index has %llu vectors instead of %llu",
						(unsigned long long) h.ntotal, (unsigned long long) ntotal);
}

static void
take_scalar_quantizer(knn_reader *r, int32_t dimension, knn_faiss_codes *codes)
{
	int32_t		type = knn_take_i32(r, "the type of the scalar quantizer");
	uint64_t	trained;

	knn_take(r, 8, "the range of the scalar quantizer");
	knn_expect_u64(r, "the dimension of the scalar quantizer", (uint64_t) dimension);
	switch (type)
	{
		case KNN_FAISS_QT_FP16:
			codes->encoding = KNN_FAISS_FP16;
			codes->size = 2 * (uint64_t) dimension;
			break;
		case KNN_FAISS_QT_8BIT_DIRECT:
			codes->encoding = KNN_FAISS_UINT8;
			codes->size = (uint64_t) dimension;
			break;
		case KNN_FAISS_QT_8BIT_DIRECT_SIGNED:
			codes->encoding = KNN_FAISS_INT8;
			codes->size = (uint64_t) dimension;
			break;
		default:
			knn_reader_fail(r, "the scalar quantizer has type %d, which is none of fp16 (%d), 8bit_direct (%d) "
							"and 8bit_direct_signed (%d)", type, KNN_FAISS_QT_FP16,
							KNN_FAISS_QT_8BIT_DIRECT, KNN_FAISS_QT_8BIT_DIRECT_SIGNED);
			return;
	}
	knn_expect_u64(r, "the code size of the scalar quantizer", codes->size);
	knn_take_array(r, 4, &trained, "ranges of the scalar quantizer");
	if (trained != 0)
		knn_reader_fail(r, "the scalar quantizer has learned ranges, which its type does not have");
}

static void
take_product_quantizer(knn_reader *r, int32_t dimension, knn_faiss_codes *codes)
{
	uint64_t	m;
	uint64_t	bits;

	knn_expect_u64(r, "the dimension of the product quantizer", (uint64_t) dimension);
	m = knn_take_u64_between(r, "the number of parts of the product quantizer", 1,
							 (uint64_t) dimension);
	bits = knn_take_u64_between(r, "the bits of the product quantizer", 1, MAX_PQ_BITS);
	if (r->failed)
		return;
	if ((uint64_t) dimension % m != 0)
	{
		knn_reader_fail(r, "%llu parts of the product quantizer do not divide %d dimensions",
						(unsigned long long) m, dimension);
		return;
	}
	codes->encoding = KNN_FAISS_PQ;
	codes->pq_m = (uint32_t) m;
	codes->pq_bits = (uint32_t) bits;
	codes->size = (m * bits + 7) / 8;
	codes->codebooks = knn_take_known_array(r, 4, (uint64_t) dimension, UINT64_C(1) << bits,
											"codebooks of the product quantizer");
	knn_check_finite(r, codes->codebooks, (uint64_t) dimension << bits, "the codebooks");
}

/* What follows the header of a flat index. */
static void
take_floats(knn_reader *r, const header *h, knn_faiss_codes *codes)
{
	codes->encoding = KNN_FAISS_FLOAT;
	codes->size = 4 * (uint64_t) h->dimension;
	codes->data = knn_take_known_array(r, 4, h->ntotal, (uint64_t) h->dimension, "vectors");
}

static void
take_bits(knn_reader *r, const header *h, knn_faiss_codes *codes)
{
	codes->encoding = KNN_FAISS_BITS;
	codes->size = h->code_size;
	codes->data = knn_take_known_array(r, 1, h->ntotal, h->code_size, "vectors");
}

/* The vectors of a graph: an index of their own. */
static void
take_storage(knn_reader *r, bool binary, const header *h, knn_faiss_codes *codes)
{
	char		kind[5];

	take_kind(r, kind);
	if (is_kind(kind, "null"))
	{
		codes->encoding = KNN_FAISS_NO_VECTORS;
		return;
	}
	if (binary)
	{
		if (!is_kind(kind, "IBxF"))
		{
			unknown_kind(r, kind, "binary storage");
			return;
		}
		take_inner_header(r, true, h, h->ntotal);
		take_bits(r, h, codes);
		return;
	}
	if (is_kind(kind, "IxF2") || is_kind(kind, "IxFI") || is_kind(kind, "IxFl"))
	{
		take_inner_header(r, false, h, h->ntotal);
		take_floats(r, h, codes);
	}
	else if (is_kind(kind, "IxSQ"))
	{
		take_inner_header(r, false, h, h->ntotal);
		take_scalar_quantizer(r, h->dimension, codes);
		codes->data = knn_take_known_array(r, 1, h->ntotal, codes->size, "codes");
	}
	else if (is_kind(kind, "IxPq"))
	{
		take_inner_header(r, false, h, h->ntotal);
		take_product_quantizer(r, h->dimension, codes);
		codes->data = knn_take_known_array(r, 1, h->ntotal, codes->size, "codes");
		knn_take(r, 4, "the search type of the codes");
		knn_take_bool(r, "the flag of signs");
		knn_take(r, 4, "the threshold of the codes");
	}
	else
		unknown_kind(r, kind, "storage");
}

/* --------------------------------------------------------------------------
 * Graphs
 * -------------------------------------------------------------------------- */

/* Places for neighbours below a level (from 0). */
static uint64_t
places_below(const knn_faiss_hnsw *g, uint64_t level)
{
	return (uint64_t) knn_faiss_i32(g->level_neighbours, level);
}

/* The table of how many places a node has on its levels. */
static bool
check_level_table(knn_reader *r, const knn_faiss_hnsw *g)
{
	if (g->level_count > MAX_LEVELS)
		return knn_reader_fail(r, "the graph has %llu levels", (unsigned long long) g->level_count);
	if (knn_faiss_i32(g->level_neighbours, 0) != 0)
		return knn_reader_fail(r, "the places of a node do not begin at zero");
	for (uint64_t l = 0; l < g->level_count; l++)
		if (knn_faiss_i32(g->level_neighbours, l + 1) < knn_faiss_i32(g->level_neighbours, l))
			return knn_reader_fail(r, "level %llu has a negative number of places", (unsigned long long) l);
	return true;
}

/* Levels and places of every node. */
static bool
check_nodes(knn_reader *r, const knn_faiss_hnsw *g, uint64_t ntotal, uint64_t places)
{
	uint64_t	offset = 0;

	if (knn_faiss_u64(g->offsets, 0) != 0)
		return knn_reader_fail(r, "the neighbours of node 0 do not begin at zero");
	for (uint64_t i = 0; i < ntotal; i++)
	{
		int32_t		levels = knn_faiss_i32(g->levels, i);

		if (levels < 1 || (uint64_t) levels > g->level_count)
			return knn_reader_fail(r, "node %llu is on %d levels of %llu", (unsigned long long) i, levels,
								   (unsigned long long) g->level_count);
		offset += places_below(g, (uint64_t) levels);
		if (offset > places || knn_faiss_u64(g->offsets, i + 1) != offset)
			return knn_reader_fail(r, "the neighbours of node %llu do not begin where those before end",
								   (unsigned long long) (i + 1));
	}
	if (offset != places)
		return knn_reader_fail(r, "the nodes have %llu places for neighbours, but there are %llu",
							   (unsigned long long) offset, (unsigned long long) places);
	return true;
}

/* Neighbours exist, and on the level they are neighbours on. */
static bool
check_neighbours(knn_reader *r, const knn_faiss_hnsw *g, uint64_t ntotal)
{
	for (uint64_t i = 0; i < ntotal; i++)
	{
		uint64_t	first = knn_faiss_u64(g->offsets, i);
		int32_t		levels = knn_faiss_i32(g->levels, i);

		for (int32_t l = 0; l < levels; l++)
		{
			uint64_t	end = first + places_below(g, (uint64_t) l + 1);

			for (uint64_t k = first + places_below(g, (uint64_t) l); k < end; k++)
			{
				int32_t		neighbour = knn_faiss_i32(g->neighbours, k);

				if (neighbour == -1)
					continue;
				if (neighbour < 0 || (uint64_t) neighbour >= ntotal)
					return knn_reader_fail(r, "node %llu has neighbour %d of %llu nodes",
										   (unsigned long long) i, neighbour, (unsigned long long) ntotal);
				if (knn_faiss_i32(g->levels, (uint64_t) neighbour) <= l)
					return knn_reader_fail(r, "node %llu has neighbour %d on level %d, which that is not on",
										   (unsigned long long) i, neighbour, l);
			}
		}
	}
	return true;
}

/* The node a search begins at. */
static bool
check_entry(knn_reader *r, const knn_faiss_hnsw *g, uint64_t ntotal)
{
	if (g->entry_point == -1)
	{
		/* graphs of CAGRA have none */
		if (ntotal > 0 && !g->base_level_only)
			return knn_reader_fail(r, "the graph has no entry point");
		return true;
	}
	if (g->entry_point < 0 || (uint64_t) g->entry_point >= ntotal)
		return knn_reader_fail(r, "the entry point is node %d of %llu", g->entry_point,
							   (unsigned long long) ntotal);
	if (!g->base_level_only &&
		knn_faiss_i32(g->levels, (uint64_t) g->entry_point) - 1 != g->max_level)
		return knn_reader_fail(r, "the entry point is not on level %d, the highest", g->max_level);
	return true;
}

static void
take_graph(knn_reader *r, uint64_t ntotal, knn_faiss_hnsw *g)
{
	uint64_t	count;
	uint64_t	places;

	g->level_probabilities = knn_take_array(r, 8, &g->level_count, "probabilities of levels");
	g->level_neighbours = knn_take_known_array(r, 4, 1, g->level_count + 1, "places of levels");
	g->levels = knn_take_known_array(r, 4, 1, ntotal, "levels of nodes");
	g->offsets = knn_take_array(r, 8, &count, "offsets of nodes");
	if (!r->failed && (count == 0 || count - 1 != ntotal))
		knn_reader_fail(r, "offsets of nodes are %llu for %llu nodes",
						(unsigned long long) count, (unsigned long long) ntotal);
	g->neighbours = knn_take_array(r, 4, &places, "neighbours");
	g->entry_point = knn_take_i32(r, "the entry point");
	g->max_level = knn_take_i32(r, "the highest level");
	g->ef_construction = knn_take_i32_between(r, "ef_construction", 1, INT32_MAX);
	g->ef_search = knn_take_i32_between(r, "ef_search", 1, INT32_MAX);
	g->upper_beam = knn_take_i32(r, "the beam of upper levels");
	if (r->failed)
		return;
	(void) (check_level_table(r, g) &&
			check_nodes(r, g, ntotal, places) &&
			check_neighbours(r, g, ntotal) &&
			check_entry(r, g, ntotal));
}

/* What follows the kind of a graph. */
static void
take_hnsw(knn_reader *r, const char kind[5], knn_faiss_file *file)
{
	header		h;

	file->structure = KNN_FAISS_HNSW;
	file->hnsw.is_cagra = kind[3] == 'c' || kind[3] == '2';
	if (file->binary)
		take_binary_header(r, false, &h);
	else
		take_header(r, &h);
	if (file->hnsw.is_cagra)
	{
		file->hnsw.keep_max_size_level0 = knn_take_bool(r, "the flag of level 0");
		file->hnsw.base_level_only = knn_take_bool(r, "the flag of the base level");
		file->hnsw.entry_points = knn_take_i32_between(r, "the number of entry points", 0, INT32_MAX);
		if (is_kind(kind, "IHc2"))
			knn_take_i32_between(r, "the type of numbers", 0, 3);
	}
	file->dimension = h.dimension;
	file->metric = h.metric;
	file->ntotal = h.ntotal;
	take_graph(r, h.ntotal, &file->hnsw);
	take_storage(r, file->binary, &h, &file->codes);
	if (r->failed)
		return;
	if ((is_kind(kind, "IHNp") && file->codes.encoding != KNN_FAISS_PQ) ||
		(is_kind(kind, "IHNs") && file->codes.encoding != KNN_FAISS_FP16 &&
		 file->codes.encoding != KNN_FAISS_UINT8 && file->codes.encoding != KNN_FAISS_INT8) ||
		(is_kind(kind, "IHNf") && file->codes.encoding != KNN_FAISS_FLOAT &&
		 file->codes.encoding != KNN_FAISS_NO_VECTORS))
		knn_reader_fail(r, "the graph \"%s\" has vectors of another kind", kind);
}

/* --------------------------------------------------------------------------
 * Inverted lists
 * -------------------------------------------------------------------------- */

/* What says where a vector's list is: nobody here asks. */
static void
skip_direct_map(knn_reader *r, uint64_t ntotal)
{
	uint8_t		type = knn_take_u8(r, "the type of the direct map");
	uint64_t	count;

	knn_take_array(r, 8, &count, "entries of the direct map");
	if (r->failed)
		return;
	if (type > DIRECT_MAP_HASHTABLE)
		knn_reader_fail(r, "the direct map has type %u, which is not known", type);
	else if (count != (type == DIRECT_MAP_ARRAY ? ntotal : 0))
		knn_reader_fail(r, "the direct map has %llu entries for %llu vectors",
						(unsigned long long) count, (unsigned long long) ntotal);
	else if (type == DIRECT_MAP_HASHTABLE)
		knn_take_known_array(r, 16, 1, ntotal, "entries of the direct map");
}

static void
take_quantizer(knn_reader *r, const header *h, bool binary, knn_faiss_ivf *ivf)
{
	char		kind[5];
	knn_faiss_codes codes = {KNN_FAISS_NO_VECTORS, 0, NULL, 0, 0, NULL};
	header		inner = *h;

	inner.ntotal = ivf->nlist;
	take_kind(r, kind);
	if (binary ? !is_kind(kind, "IBxF") :
		!is_kind(kind, "IxF2") && !is_kind(kind, "IxFI") && !is_kind(kind, "IxFl"))
	{
		unknown_kind(r, kind, "coarse quantizer");
		return;
	}
	take_inner_header(r, binary, h, ivf->nlist);
	if (binary)
		take_bits(r, &inner, &codes);
	else
	{
		take_floats(r, &inner, &codes);
		knn_check_finite(r, codes.data, r->failed ? 0 : ivf->nlist * (uint64_t) h->dimension,
						 "the centroids");
	}
	ivf->centroids = codes.data;
}

/* The lists, where file->codes.size is known. */
static void
take_lists(knn_reader *r, knn_faiss_file *file)
{
	knn_faiss_ivf *ivf = &file->ivf;
	uint64_t	entry = file->codes.size + 8;	/* code and id */
	uint64_t	vectors = 0;
	uint64_t	next = 0;
	char		kind[5];

	take_kind(r, kind);
	if (!is_kind(kind, "ilar"))
	{
		unknown_kind(r, kind, "inverted lists");
		return;
	}
	knn_expect_u64(r, "the number of inverted lists", ivf->nlist);
	knn_expect_u64(r, "the code size of the inverted lists", file->codes.size);
	take_kind(r, kind);
	ivf->sparse = is_kind(kind, "sprs");
	if (!ivf->sparse && !is_kind(kind, "full"))
	{
		unknown_kind(r, kind, "sizes of inverted lists");
		return;
	}
	ivf->sizes = knn_take_array(r, 8, &ivf->size_count, "sizes of inverted lists");
	if (r->failed)
		return;
	if (ivf->sparse ? ivf->size_count % 2 != 0 : ivf->size_count != ivf->nlist)
	{
		knn_reader_fail(r, "%llu sizes of inverted lists do not belong to %llu lists",
						(unsigned long long) ivf->size_count, (unsigned long long) ivf->nlist);
		return;
	}
	ivf->lists = r->p;
	for (uint64_t i = 0; i < ivf->size_count; i++)
	{
		uint64_t	size;

		if (ivf->sparse)
		{
			uint64_t	number = knn_faiss_u64(ivf->sizes, i++);

			if (number < next || number >= ivf->nlist)
			{
				knn_reader_fail(r, "inverted list %llu of %llu is out of order",
								(unsigned long long) number, (unsigned long long) ivf->nlist);
				return;
			}
			next = number + 1;
		}
		size = knn_faiss_u64(ivf->sizes, i);
		if (size > knn_reader_left(r) / entry)
		{
			knn_reader_fail(r, "an inverted list of %llu vectors does not fit into %llu bytes",
							(unsigned long long) size, (unsigned long long) knn_reader_left(r));
			return;
		}
		knn_take(r, size * entry, "an inverted list");
		vectors += size;		/* no more than there are bytes */
	}
	if (vectors != file->ntotal)
		knn_reader_fail(r, "the inverted lists have %llu vectors instead of %llu",
						(unsigned long long) vectors, (unsigned long long) file->ntotal);
}

/* What follows the kind of an IVF index. */
static void
take_ivf(knn_reader *r, const char kind[5], knn_faiss_file *file)
{
	knn_faiss_ivf *ivf = &file->ivf;
	header		h;

	file->structure = KNN_FAISS_IVF;
	if (file->binary)
		take_binary_header(r, false, &h);
	else
		take_header(r, &h);
	file->dimension = h.dimension;
	file->metric = h.metric;
	file->ntotal = h.ntotal;
	ivf->nlist = knn_take_u64_between(r, "the number of lists", 1, INT32_MAX);
	ivf->nprobe = knn_take_u64_between(r, "nprobe", 1, INT32_MAX);
	take_quantizer(r, &h, file->binary, ivf);
	skip_direct_map(r, h.ntotal);
	if (is_kind(kind, "IwFl"))
	{
		file->codes.encoding = KNN_FAISS_FLOAT;
		file->codes.size = 4 * (uint64_t) h.dimension;
	}
	else if (is_kind(kind, "IwSq"))
	{
		take_scalar_quantizer(r, h.dimension, &file->codes);
		knn_expect_u64(r, "the code size of the index", file->codes.size);
		ivf->by_residual = knn_take_bool(r, "the flag of residuals");
	}
	else if (is_kind(kind, "IwPQ"))
	{
		uint64_t	code_size;

		ivf->by_residual = knn_take_bool(r, "the flag of residuals");
		code_size = knn_take_u64(r, "the code size of the index");
		take_product_quantizer(r, h.dimension, &file->codes);
		if (!r->failed && code_size != file->codes.size)
			knn_reader_fail(r, "the code size of the index is %llu instead of %llu",
							(unsigned long long) code_size, (unsigned long long) file->codes.size);
	}
	else
	{
		file->codes.encoding = KNN_FAISS_BITS;
		file->codes.size = h.code_size;
	}
	take_lists(r, file);
}

void
knn_faiss_begin_lists(const knn_faiss_file *file, knn_faiss_list *list)
{
	memset(list, 0, sizeof(*list));
	list->next_data = file->ivf.lists;
}

bool
knn_faiss_next_list(const knn_faiss_file *file, knn_faiss_list *list)
{
	const knn_faiss_ivf *ivf = &file->ivf;

	while (list->next_entry < ivf->size_count)
	{
		uint64_t	entry = list->next_entry;

		list->number = ivf->sparse ? knn_faiss_u64(ivf->sizes, entry) : entry;
		list->count = knn_faiss_u64(ivf->sizes, ivf->sparse ? entry + 1 : entry);
		list->next_entry += ivf->sparse ? 2 : 1;
		if (list->count == 0)
			continue;
		list->codes = list->next_data;
		list->ids = list->codes + list->count * file->codes.size;
		list->next_data = list->ids + list->count * 8;
		return true;
	}
	return false;
}

/* --------------------------------------------------------------------------
 * The whole
 * -------------------------------------------------------------------------- */

/* An index that may be inside an id map. */
static void
take_index(knn_reader *r, const char kind[5], knn_faiss_file *file)
{
	header		h;

	if (is_kind(kind, "IxF2") || is_kind(kind, "IxFI") || is_kind(kind, "IxFl") ||
		is_kind(kind, "IxSQ") || is_kind(kind, "IBxF"))
	{
		file->structure = KNN_FAISS_FLAT;
		if (file->binary)
			take_binary_header(r, false, &h);
		else
			take_header(r, &h);
		file->dimension = h.dimension;
		file->metric = h.metric;
		file->ntotal = h.ntotal;
		if (file->binary)
			take_bits(r, &h, &file->codes);
		else if (is_kind(kind, "IxSQ"))
		{
			take_scalar_quantizer(r, h.dimension, &file->codes);
			file->codes.data = knn_take_known_array(r, 1, h.ntotal, file->codes.size, "codes");
		}
		else
			take_floats(r, &h, &file->codes);
	}
	else if (is_kind(kind, "IHNf") || is_kind(kind, "IHNs") || is_kind(kind, "IHNp") ||
			 is_kind(kind, "IH00") || is_kind(kind, "IHNc") || is_kind(kind, "IHc2") ||
			 is_kind(kind, "IBHf") || is_kind(kind, "IBHc"))
		take_hnsw(r, kind, file);
	else if (is_kind(kind, "IwFl") || is_kind(kind, "IwSq") || is_kind(kind, "IwPQ") ||
			 is_kind(kind, "IBwF"))
		take_ivf(r, kind, file);
	else
		unknown_kind(r, kind, "index");
}

bool
knn_faiss_parse(const void *data, size_t size, knn_faiss_file *file, knn_faiss_error *error)
{
	knn_reader		r = {data, data, (const uint8_t *) data + size, error, false};
	char		kind[5];

	memset(file, 0, sizeof(*file));
	memset(error, 0, sizeof(*error));
	take_kind(&r, kind);
	file->binary = kind[0] == 'I' && kind[1] == 'B';
	if (is_kind(kind, "IxMp") || is_kind(kind, "IxM2") ||
		is_kind(kind, "IBMp") || is_kind(kind, "IBM2"))
	{
		header		h;

		if (file->binary)
			take_binary_header(&r, true, &h);
		else
			take_header(&r, &h);
		take_kind(&r, kind);
		if (file->binary != (kind[0] == 'I' && kind[1] == 'B'))
			unknown_kind(&r, kind, "index with such an id map");
		take_index(&r, kind, file);
		if (!r.failed && (file->dimension != h.dimension || file->ntotal != h.ntotal))
			knn_reader_fail(&r, "the id map is of %llu vectors of %d dimensions, the index of %llu of %d",
							(unsigned long long) h.ntotal, h.dimension,
							(unsigned long long) file->ntotal, file->dimension);
		file->ids = knn_take_known_array(&r, 8, 1, h.ntotal, "ids");
	}
	else
		take_index(&r, kind, file);
	if (!r.failed && r.p != r.end)
		knn_reader_fail(&r, "%llu bytes follow the index", (unsigned long long) knn_reader_left(&r));
	if (r.failed)
		memset(file, 0, sizeof(*file));
	return !r.failed;
}
