/*
 * flat_graph.h
 *		A graph in columns of plain memory, and its reader for a search.
 *
 * The memory comes in units that are contiguous inside only (pieces of shared
 * memory, say).  Each column holds one item a node, at an address that follows
 * from its id: item id % per_unit of unit id / per_unit.
 *
 *		links	2m words, the neighbours at level 0 as id + 1, ended by a zero
 *				unless all are used
 *		head	knn_flat_head
 *		code	the code, padded to the column's stride (knn_flat_code_stride)
 *		upper	m words like links, one item for each level above 0 of a node;
 *				items are numbered on their own, see upper_item
 *
 * Other processes may change links, words of flags and upper links while they are
 * read: every such word is read once, with a relaxed atomic load, and an id that
 * cannot be is never followed.  A node's code and factors are written before the
 * first link to it and do not change after.
 *
 * A search of such memory is bound by its cache misses and by branches that
 * cannot be foreseen, less by distances.  What was done about it, in microseconds
 * a query (100,000 vectors of 128 dimensions, all in the last level of cache, at
 * widths of 35 and 80, recall@10 0.96 and 0.99):
 *
 *		one code after the other, a set with linear probing		19	39
 *		four codes at a time; set and beam without branches		16	32
 *		two expansions in flight (knn_reader.fetch)				15	30
 *		neighbours are merged into the beam together			14	27.5
 *		shorter loops over links and visited nodes				13.7	26
 *		addresses are computed once								12.5	24
 *
 * (Each against the one before in one run, on a machine that others used too;
 * the first and the last in one quiet run took 16 and 37, 12 and 24.)  At 768
 * dimensions (25,000 vectors) it is 41 and 60 before, 29 and 44 after, at widths of
 * 60 and 100.  Scoring a prefix of the code first, to leave out the rest where the
 * estimate is too far, needed the rest for 30 to 50 % of the codes but was 3 to 15 %
 * slower: the rest then arrives too late.
 */
#ifndef KNN_CORE_FLAT_GRAPH_H
#define KNN_CORE_FLAT_GRAPH_H

#include "core/code.h"
#include "core/graph_search.h"

typedef struct knn_flat_head
{
	knn_code_factors factors;
	uint32_t	flags;
} knn_flat_head;

/* Flags of a head; the other bits are the owner's. */
#define KNN_FLAT_DEAD	1		/* tombstone: routes but is not returned */

typedef struct knn_flat_column
{
	const char *const *units;
	uint32_t	stride;			/* bytes from item to item */
	uint32_t	per_unit;
	/* id / per_unit = (id * multiplier + addend) >> shift */
	uint64_t	multiplier;
	uint64_t	addend;
	uint32_t	shift;
} knn_flat_column;

typedef struct knn_flat_graph
{
	knn_flat_column links;
	knn_flat_column head;
	knn_flat_column code;
	knn_flat_column upper;
	uint32_t	m;
	uint32_t	nnodes;			/* ids are less */
	uint32_t	nupper;			/* items of upper are less */

	/*
	 * Finds the item of upper for a node at a level above 0; false when the node
	 * has none.
	 */
	bool		(*upper_item) (void *owner, uint32_t id, uint32_t level, uint32_t *item);

	/*
	 * Called with an id (or item of upper) that is not less than nnodes (nupper):
	 * it may have been added since these were set.  Sets them anew, and the tables
	 * of units where they moved; the units themselves stay where they are as long
	 * as the search lasts.  The id is damage if it is not less then.  May be NULL.
	 */
	void		(*grow) (void *owner, struct knn_flat_graph *graph);
	void		(*check) (void);	/* called now and then in long searches, may
									 * not return; may be NULL */
	void	   *owner;
} knn_flat_graph;

/* The state of one search; any number may share a graph. */
typedef struct knn_flat_reader
{
	knn_flat_graph *graph;
	const knn_query *query;

	/*
	 * Set when something was found that cannot be: a link to no node, a node
	 * without links at a level where it was linked.  The search goes on without
	 * it; the caller looks when it has ended.
	 */
	bool		damaged;
	uint32_t	damaged_node;	/* the first one's: whose links, at which level */
	uint32_t	damaged_level;
	uint32_t	until_check;
} knn_flat_reader;

/* Bytes from code to code in the column: no more cache lines than needed. */
static inline uint32_t
knn_flat_code_stride(uint32_t bytes)
{
	return bytes <= 16 ? 16 : bytes <= 32 ? 32 : (bytes + 31) / 32 * 32;
}

/*
 * Set all of a column.  Units may come later, by assignment; only those of items
 * below the graph's limits are looked at.
 */
extern void knn_flat_column_init(knn_flat_column *column, const char *const *units,
								 uint32_t stride, uint32_t per_unit);

static inline const char *
knn_flat_item(const knn_flat_column *column, uint32_t id)
{
	uint32_t	unit = (uint32_t) ((id * column->multiplier + column->addend) >> column->shift);

	return column->units[unit] + (size_t) (id - unit * column->per_unit) * column->stride;
}

/*
 * Let a search read from a flat graph: sets search->reader and max_degree.  The
 * caller sets the rest before knn_search_init, and reader->query before every
 * search.  The reader must live as long as the search.  A guided search needs
 * search->reader.exact as well, which is the caller's: like the others it is given
 * the knn_flat_reader, which may be the first part of something larger.
 */
extern void knn_flat_reader_init(knn_flat_reader *reader, knn_flat_graph *graph,
								 knn_search *search);

#endif
