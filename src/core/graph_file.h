/*
 * graph_file.h
 *		A finished HNSW graph as a file: written by the builder, read by the server.
 *
 * Little-endian.  A header of 64 bytes:
 *
 *		char	magic[8]		"KNNGRAPH"
 *		u32		version			1
 *		u32		m
 *		u64		nodes
 *		u64		upper_items
 *		u32		entry			2^32 - 1 when there are no nodes
 *		u32		entry_level
 *		u32		crc				CRC-32C of all that follows the header
 *		u8		zero[20]
 *
 * then, each padded with zeros to 8 bytes:
 *
 *		u8		levels[nodes]
 *		u32		old_of_new[nodes]		the vector that a node stands for
 *		u32		upper_first[nodes]		its item of level 1 in upper, those of its
 *										other levels follow; any value at level 0
 *		u32		links[nodes][1 + 2m]	level 0: count, then ids
 *		u32		upper[upper_items][1 + m]
 *
 * What is read is not trusted: nothing is used before it was checked, and after
 * that every id, count and item number in it is safe to follow.
 */
#ifndef KNN_CORE_GRAPH_FILE_H
#define KNN_CORE_GRAPH_FILE_H

#include "core/graph_build.h"

#define KNN_GRAPH_FILE_VERSION 1
#define KNN_GRAPH_FILE_HEADER 64	/* bytes */
#define KNN_GRAPH_FILE_MAX_M 1024

enum
{
	KNN_ERROR_FORMAT = -2,		/* the bytes are no such graph */
	KNN_ERROR_IO = -3			/* a callback failed */
};

/* Where the bytes come from: read exactly n of them, false upon failure. */
typedef struct knn_graph_source
{
	void	   *state;
	uint64_t	size;			/* of the whole file */
	bool		(*read) (void *state, uint64_t offset, void *bytes, size_t n);
} knn_graph_source;

/* Where they go: the header is written last. */
typedef struct knn_graph_sink
{
	void	   *state;
	bool		(*write) (void *state, uint64_t offset, const void *bytes, size_t n);
	const uint32_t *vector_of_old;	/* vectors by the graph's ids; NULL: the same */
} knn_graph_sink;

typedef struct knn_graph_file
{
	/* set by the caller */
	knn_allocator allocator;
	void		(*check) (void);	/* called now and then, may not return; may be
									 * NULL */

	/* the graph */
	uint32_t	m;
	uint32_t	nodes;
	uint32_t	upper_items;
	uint32_t	entry;			/* KNN_INVALID_ID without nodes */
	uint32_t	entry_level;
	const uint8_t *levels;
	const uint32_t *old_of_new;
	const uint32_t *upper_first;
	const uint32_t *links;		/* rows of 1 + 2m */
	const uint32_t *upper;		/* rows of 1 + m */
	uint32_t	unreachable;	/* nodes that no walk from the entry point along
								 * links of any level comes to */

	/* why it was refused, or empty */
	char		problem[160];

	/* what knn_graph_file_free releases */
	void	   *owned;
	void	   *scratch;
} knn_graph_file;

/*
 * Read a graph into memory of the allocator, or take it from bytes that stay
 * where they are (aligned to 8) as long as it is used, and check all of it.
 * KNN_OK, KNN_ERROR_FORMAT, KNN_ERROR_IO or KNN_ERROR_NO_MEMORY; problem tells
 * more.  knn_graph_file_free is due in any case.
 */
extern int	knn_graph_file_read(knn_graph_file *file, const knn_graph_source *source);
extern int	knn_graph_file_open(knn_graph_file *file, const void *bytes, uint64_t size);
extern void knn_graph_file_free(knn_graph_file *file);

/*
 * Write a graph with its nodes renumbered; of the graph only the shape, levels and
 * links are looked at.  Level-0 links are written ascending.  KNN_OK, KNN_ERROR_IO or
 * KNN_ERROR_NO_MEMORY.
 */
extern int	knn_graph_file_write(const knn_graph *graph, const uint32_t *old_of_new,
								 const uint32_t *new_of_old, const knn_graph_sink *sink);

/* Bytes of such a file. */
extern uint64_t knn_graph_file_size(uint64_t nodes, uint64_t upper_items, uint32_t m);

static inline const uint32_t *
knn_graph_file_links(const knn_graph_file *file, uint32_t node)
{
	return file->links + (size_t) node * (1 + 2 * (size_t) file->m);
}

/* Links of a node at a level above 0 that it reaches. */
static inline const uint32_t *
knn_graph_file_upper(const knn_graph_file *file, uint32_t node, uint32_t level)
{
	return file->upper + ((size_t) file->upper_first[node] + level - 1) *
		(1 + (size_t) file->m);
}

#endif
