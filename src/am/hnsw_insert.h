/*
 * hnsw_insert.h
 *		One insert into a knn_hnsw index, as its parts see it.
 */
#ifndef KNN_AM_HNSW_INSERT_H
#define KNN_AM_HNSW_INSERT_H

#include "postgres.h"

#include "am/hnsw.h"
#include "am/hnsw_mirror.h"

typedef struct HnswInsert
{
	Relation	index;
	KnnStore   *store;
	const KnnValue *value;
	KnnCodeItem *code;			/* of the value, as the index keeps it */
	Size		code_width;
	void	   *stored;			/* the item of column vector, or NULL */
	KnnPageReader reader;		/* with the value as query */
	KnnMirrorReader mirror;		/* of the search, where there is a mirror */
	knn_search *search;
	char	   *scratch;		/* an item that crosses pages */

	/* memory of hnsw_link.c: nodes whose neighbours are being chosen */
	bool		by_vectors;		/* compare vectors, not codes */
	char	   *units;			/* vectors or codes, unit_width apart */
	Size		unit_width;
	uint32		nunits;
	uint32		units_room;
	knn_query	pair_query;
	int8_t	   *pair_q8;
	float	   *pair_qf;
	knn_candidate *spare;
} HnswInsert;

/* Links chosen for one level. */
typedef struct LevelLinks
{
	uint32		n;
	knn_candidate *links;
} LevelLinks;

/* ---- hnsw_join.c ---- */

/*
 * An equal vector in the beam, or KNN_INVALID_ID.
 */
extern uint32 KnnHnswFindEqual(HnswInsert *insert);

/*
 * Add a row to a node.  The node's tid page is locked throughout, which keeps
 * VACUUM from making it a tombstone meanwhile.
 */
extern void KnnHnswJoinNode(HnswInsert *insert, uint32 node, ItemPointer tid);

/* ---- hnsw_link.c ---- */

extern void KnnHnswLinkInit(HnswInsert *insert);

/*
 * Choose the new node's links at a level from the beam.
 */
extern void KnnHnswChooseLinks(HnswInsert *insert, uint32 level, LevelLinks *chosen);

/*
 * Link from the chosen neighbours back to the new node.
 */
extern void KnnHnswLinkBack(HnswInsert *insert, const LevelLinks *chosen, uint32 nchosen,
							uint32 new_node);

#endif
