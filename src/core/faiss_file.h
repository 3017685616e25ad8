/*
 * faiss_file.h
 *		Files of the library faiss: what is in them.
 *
 * Such a file comes from outside (a training, a remote build), so that nothing in
 * it is believed: each count is compared with the bytes that are left before
 * anything is read, each number that says where something is (neighbours, levels,
 * offsets, lists) is checked once, and what was learned (centroids, codebooks)
 * is finite.  Nothing is allocated and nothing copied: what is found are views
 * of the file's own memory, which therefore has to stay.
 *
 * Arrays lie at any address and are little-endian: read them by the functions at
 * the end.
 */
#ifndef KNN_CORE_FAISS_FILE_H
#define KNN_CORE_FAISS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* faiss::ScalarQuantizer::QuantizerType, those that are known here */
enum
{
	KNN_FAISS_QT_FP16 = 4,
	KNN_FAISS_QT_8BIT_DIRECT = 5,
	KNN_FAISS_QT_8BIT_DIRECT_SIGNED = 8
};

typedef enum knn_faiss_structure
{
	KNN_FAISS_FLAT,				/* nothing but vectors */
	KNN_FAISS_HNSW,
	KNN_FAISS_IVF
} knn_faiss_structure;

typedef enum knn_faiss_metric
{
	KNN_FAISS_INNER_PRODUCT = 0,
	KNN_FAISS_L2 = 1,
	KNN_FAISS_L1 = 2,
	KNN_FAISS_LINF = 3
} knn_faiss_metric;

/* How a vector is kept. */
typedef enum knn_faiss_encoding
{
	KNN_FAISS_NO_VECTORS,		/* a graph alone */
	KNN_FAISS_FLOAT,
	KNN_FAISS_FP16,
	KNN_FAISS_UINT8,			/* elements 0..255 */
	KNN_FAISS_INT8,				/* elements plus 128 */
	KNN_FAISS_PQ,
	KNN_FAISS_BITS				/* of binary files */
} knn_faiss_encoding;

typedef struct knn_faiss_codes
{
	knn_faiss_encoding encoding;
	uint64_t	size;			/* bytes of one */
	const uint8_t *data;		/* ntotal of them; NULL in inverted lists */
	/* of KNN_FAISS_PQ: pq_m parts of dimension / pq_m, each 2^pq_bits floats vectors */
	uint32_t	pq_m;
	uint32_t	pq_bits;
	const uint8_t *codebooks;
} knn_faiss_codes;

typedef struct knn_faiss_hnsw
{
	/* counts of the two: levels, and levels + 1 */
	uint64_t	level_count;
	const uint8_t *level_probabilities; /* doubles */
	const uint8_t *level_neighbours;	/* int32: places below that level, from 0 */
	const uint8_t *levels;		/* int32 of each node: levels it is on, from 1 */
	const uint8_t *offsets;		/* uint64, ntotal + 1 of them */
	const uint8_t *neighbours;	/* int32, -1 where there is none */
	int32_t		entry_point;	/* -1: none */
	int32_t		max_level;
	int32_t		ef_construction;
	int32_t		ef_search;
	int32_t		upper_beam;
	/* graphs made by CAGRA: searched on level 0 alone, from nodes drawn at random */
	bool		is_cagra;
	bool		base_level_only;
	bool		keep_max_size_level0;
	int32_t		entry_points;
} knn_faiss_hnsw;

typedef struct knn_faiss_ivf
{
	uint64_t	nlist;
	uint64_t	nprobe;
	const uint8_t *centroids;	/* nlist vectors: floats, or the bits of binary files */
	bool		by_residual;	/* codes are of the difference from the centroid */
	/* read them by knn_faiss_next_list */
	bool		sparse;
	uint64_t	size_count;
	const uint8_t *sizes;		/* uint64; of sparse lists pairs with the list's number */
	const uint8_t *lists;
} knn_faiss_ivf;

typedef struct knn_faiss_file
{
	knn_faiss_structure structure;
	bool		binary;
	int32_t		dimension;		/* bits of binary files */
	knn_faiss_metric metric;	/* means nothing for binary files */
	uint64_t	ntotal;
	const uint8_t *ids;			/* int64, ntotal of them; NULL: vectors are numbered */
	knn_faiss_codes codes;
	knn_faiss_hnsw hnsw;		/* of KNN_FAISS_HNSW */
	knn_faiss_ivf ivf;			/* of KNN_FAISS_IVF */
} knn_faiss_file;

typedef struct knn_faiss_error
{
	size_t		offset;			/* byte of the file */
	char		message[160];	/* "the count of levels does not fit ..." */
} knn_faiss_error;

/*
 * Read a whole file: true, or false and what is wrong with it.
 */
extern bool knn_faiss_parse(const void *data, size_t size,
							knn_faiss_file *file, knn_faiss_error *error);

/* An inverted list. */
typedef struct knn_faiss_list
{
	uint64_t	number;
	uint64_t	count;
	const uint8_t *codes;
	const uint8_t *ids;			/* int64 */
	uint64_t	next_entry;		/* where the walk is */
	const uint8_t *next_data;
} knn_faiss_list;

/*
 * Walk over the lists that are not empty, in order: begin, then next until it
 * says false.
 */
extern void knn_faiss_begin_lists(const knn_faiss_file *file, knn_faiss_list *list);
extern bool knn_faiss_next_list(const knn_faiss_file *file, knn_faiss_list *list);

/* Elements of arrays */

static inline uint32_t
knn_faiss_u32(const uint8_t *array, uint64_t i)
{
	const uint8_t *p = array + 4 * i;

	return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

static inline uint64_t
knn_faiss_u64(const uint8_t *array, uint64_t i)
{
	return knn_faiss_u32(array, 2 * i) | (uint64_t) knn_faiss_u32(array, 2 * i + 1) << 32;
}

static inline int32_t
knn_faiss_i32(const uint8_t *array, uint64_t i)
{
	return (int32_t) knn_faiss_u32(array, i);
}

static inline int64_t
knn_faiss_i64(const uint8_t *array, uint64_t i)
{
	return (int64_t) knn_faiss_u64(array, i);
}

static inline float
knn_faiss_f32(const uint8_t *array, uint64_t i)
{
	union
	{
		uint32_t	bits;
		float		value;
	}			u;

	u.bits = knn_faiss_u32(array, i);
	return u.value;
}

#endif
