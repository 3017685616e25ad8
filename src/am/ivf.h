/*
 * ivf.h
 *		The access method knn_ivf, internal interfaces between its files.
 *
 * Vectors are divided into lists around centroids (core/kmeans.h), which the build
 * learns from a sample of the table.  A query looks at the lists whose centroids
 * are nearest.
 *
 * LAYOUT.  The store (store/store.h) gives out ids in groups and finds their pages:
 *
 *	list	head		block that inserts look for room from
 *			coarse		first block; the centroid's code of 8 bits about the mean
 *			centroid	floats, rotated (not of byte and binary vectors)
 *	block	block		a page of entries (store/ivf_page.h); a list's are chained
 *	node	vector		full vectors, by the vector id that an entry has
 *			code		factors and code, when few would fit into a block
 *	centre	centre		the mean of the vectors at build
 *
 * A scan scores the column coarse, which is dense, then reads the blocks of the
 * lists it probes one after the other: codes lie end to end there, relative to the
 * list's centroid.  (What is left of a vector is shorter than the vector's distance
 * from a common centre, and so is the bound of its estimate, which decides how many
 * vectors are read in full.  Measured with 1 bit, 35 of 1000 lists: 200 us a query
 * against 500 about the common centre at 128 dimensions; at 768, where lists are
 * wider, 175 against 157; at 8 bits no difference.)  Byte and binary codes are the
 * vectors.
 *
 * Lists are never added but to an index that has none, because it was built on no
 * rows: its first row becomes the centroid of the only list.  The metapage's entry
 * and entry_level are the first list and their number.
 *
 * An entry stays in its place.  VACUUM invalidates its TID; a later entry of the
 * list takes the place and the vector id over.  So vectors and wide codes do
 * change, but never while a row that any snapshot sees refers to them: who reads
 * one without lock, by a TID that was copied before, may read another's or half of
 * one, and finds no visible row.
 *
 * LOCKS.  A block is read under a share lock, and entries of it written under an
 * exclusive one.  With a block locked, others may be locked after it:
 *
 *	a new block, to be linked after the last one of a list
 *	pages of the vector and wide code of an entry that takes over a vector id
 *
 * Nobody who holds one of the latter waits for another.  Heads and the metapage are
 * locked alone.  Inserts into different lists share no lock but for the metapage's,
 * to give out ids, and pages of vectors.
 *
 * PUBLISH ORDER.  Vector and wide code, then the entry.  A new block is written
 * and linked in one record.  Of the first list: block, head, coarse and centroid,
 * then the metapage's entry.  A crash in between leaks ids.
 */
#ifndef KNN_AM_IVF_H
#define KNN_AM_IVF_H

#include "postgres.h"

#include "access/amapi.h"

#include "am/value.h"
#include "core/code.h"
#include "core/graph_search.h"
#include "core/kmeans.h"
#include "store/store.h"

/* Subphases of a build, beyond PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE (1). */
#define KNN_IVF_PHASE_READ		2
#define KNN_IVF_PHASE_SPOOL		3
#define KNN_IVF_PHASE_TRAIN		4
#define KNN_IVF_PHASE_ASSIGN	5
#define KNN_IVF_PHASE_CHECK		6
#define KNN_IVF_PHASE_WRITE		7
#define KNN_IVF_PHASE_LOG		8

/* Lists probed where knn.nprobes does not tell: the option, else the model's. */
extern int	KnnIvfNprobes(Relation index);

/* ---- ivf_list.c: reading lists and coding about their centroids ---- */

typedef struct KnnIvfReader
{
	Relation	index;
	KnnStore   *store;
	KnnIvfLayout layout;
	knn_encoder coarse;			/* of centroids */
	knn_encoder encoder;		/* of a list's entries; KnnIvfSelect sets its centre */
	float	   *centroid;		/* scratch: that centre */
	char	   *scratch;		/* an item that crosses pages */
	float	   *qf;				/* memory of a query */
	int8_t	   *q8;
} KnnIvfReader;

/* Allocates in the current memory context. */
extern void KnnIvfReaderInit(KnnIvfReader *reader, Relation index, KnnStore *store);

/* Lists of the index are numbered from 0; these are the ids of the first and their number. */
#define KnnIvfFirstList(store) ((store)->entry)
#define KnnIvfNlists(store) \
	((store)->entry == KNN_INVALID_ID ? 0 : (store)->entry_level)

/*
 * Distances between a vector, rotated, and the centroids of all lists: to search by,
 * or to choose the list of a vector that is inserted.
 */
extern void KnnIvfScoreLists(KnnIvfReader *reader, const void *rotated, bool insert,
							 float *distances);

/* Let the encoder be that of a list, by its id. */
extern void KnnIvfSelect(KnnIvfReader *reader, uint32 list);

/* First block + 1 of a list. */
extern uint32 KnnIvfFirstBlock(KnnIvfReader *reader, uint32 list);

/* Pin a block; it is checked that it is one of the list after it is locked. */
extern Buffer KnnIvfPinBlock(KnnIvfReader *reader, uint32 block);
extern KnnIvfBlock *KnnIvfCheckBlock(KnnIvfReader *reader, Page page, BlockNumber number,
									 uint32 list);

/* Contents of an empty block, by a page that has been initialised. */
extern KnnIvfBlock *KnnIvfBlockInit(Page page, const KnnIvfLayout *layout, uint32 list);

/* Put an entry at place i. */
extern void KnnIvfPutEntry(KnnIvfBlock *block, const KnnIvfLayout *layout, uint32 i,
						   const ItemPointerData *tid, uint32 id,
						   const knn_code_factors *factors, const uint8 *code);

/* ---- callbacks ---- */

/* ivf_build.c */
extern IndexBuildResult *knn_ivf_build(Relation heap, Relation index, struct IndexInfo *info);
extern void knn_ivf_buildempty(Relation index);

/* ivf_insert.c */
extern bool knn_ivf_insert(Relation index, Datum *values, bool *isnull,
						   ItemPointer tid, Relation heap,
						   IndexUniqueCheck unique, bool unchanged, struct IndexInfo *info);

/* ivf_scan.c */
extern IndexScanDesc knn_ivf_beginscan(Relation index, int nkeys, int norderbys);

/* ivf_vacuum.c */
extern IndexBulkDeleteResult *knn_ivf_bulkdelete(IndexVacuumInfo *info,
												 IndexBulkDeleteResult *stats,
												 IndexBulkDeleteCallback callback, void *state);

/* ivf_cost.c */
extern void knn_ivf_costestimate(struct PlannerInfo *root, struct IndexPath *path,
								 double loop_count, Cost *startup_cost, Cost *total_cost,
								 Selectivity *selectivity, double *correlation, double *pages);

#endif
