/*
 * compat.h
 *		The differences between the supported PostgreSQL versions (15 to 18).
 *
 * Include after postgres.h.  Everything else in the tree is written for the
 * newest version and sees older ones only through this file.
 */
#ifndef KNN_COMPAT_H
#define KNN_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "knn needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* In front of a declaration, where 18 wants it. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/*
 * Soft errors came with 16: an input function reports through the context it
 * is given, if any, and returns a dummy.  Before that every error is raised.
 */
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#define KnnErrorContext(fcinfo) ((fcinfo)->context)
#else
#define KnnErrorContext(fcinfo) ((struct Node *) NULL)
#define ereturn(context, dummy_value, ...) \
	do { \
		(void) (context); \
		ereport(ERROR, __VA_ARGS__); \
	} while (0)
#endif

/* The file an index is stored in, and pinning a buffer by a hint. */
#if PG_VERSION_NUM >= 160000
#define KnnRelationFile(rel) ((Oid) (rel)->rd_locator.relNumber)
#define KnnReadRecentBuffer(rel, block, buffer) \
	ReadRecentBuffer((rel)->rd_locator, MAIN_FORKNUM, (block), (buffer))
#else
#define KnnRelationFile(rel) ((rel)->rd_node.relNode)
#define KnnReadRecentBuffer(rel, block, buffer) \
	ReadRecentBuffer((rel)->rd_node, MAIN_FORKNUM, (block), (buffer))
#endif

/* Was the relation created, or given a new file, by the present transaction? */
#if PG_VERSION_NUM >= 160000
#define KnnRelationIsNew(rel) \
	((rel)->rd_createSubid != InvalidSubTransactionId || \
	 (rel)->rd_firstRelfilelocatorSubid != InvalidSubTransactionId)
#else
#define KnnRelationIsNew(rel) \
	((rel)->rd_createSubid != InvalidSubTransactionId || \
	 (rel)->rd_firstRelfilenodeSubid != InvalidSubTransactionId)
#endif

/* Memory that a setting's check hook hands to its assign hook. */
#if PG_VERSION_NUM >= 160000
#define KnnGucMalloc(size) guc_malloc(LOG, (size))
#define KnnGucStrdup(text) guc_strdup(LOG, (text))
#define KnnGucFree(pointer) guc_free(pointer)
#else
#define KnnGucMalloc(size) malloc(size)
#define KnnGucStrdup(text) strdup(text)
#define KnnGucFree(pointer) free(pointer)
#endif

/* Number of this backend among those that run queries, from 0. */
#if PG_VERSION_NUM >= 170000
#define KnnMyProcNumber() (MyProcNumber)
#else
#define KnnMyProcNumber() (MyProc->pgprocno)
#endif

/* Nanoseconds of an instr_time (portability/instr_time.h). */
#if PG_VERSION_NUM >= 160000
#define KnnNanoseconds(t) ((uint64) INSTR_TIME_GET_NANOSEC(t))
#else
#define KnnNanoseconds(t) ((uint64) (INSTR_TIME_GET_DOUBLE(t) * 1e9))
#endif

/* Count a search in pg_stat indexes and, from 18 on, in EXPLAIN ANALYZE. */
#if PG_VERSION_NUM >= 180000
#define KnnCountIndexScan(scan) \
	do { \
		pgstat_count_index_scan((scan)->indexRelation); \
		if ((scan)->instrument) \
			(scan)->instrument->nsearches++; \
	} while (0)
#else
#define KnnCountIndexScan(scan) pgstat_count_index_scan((scan)->indexRelation)
#endif

/* A scan of an index from its table; since 18 with counters, which nobody reads here. */
#if PG_VERSION_NUM >= 180000
#define KnnIndexBeginScan(heap, index, snapshot, nkeys, norderbys) \
	index_beginscan((heap), (index), (snapshot), NULL, (nkeys), (norderbys))
#else
#define KnnIndexBeginScan(heap, index, snapshot, nkeys, norderbys) \
	index_beginscan((heap), (index), (snapshot), (nkeys), (norderbys))
#endif

/*
 * Ownership, use of a foreign server, and the privilege MAINTAIN that came with 17.
 * (utils/acl.h)
 */
#if PG_VERSION_NUM >= 160000
#define KnnOwnsRelation(relid, role) object_ownercheck(RelationRelationId, (relid), (role))
#else
#define KnnOwnsRelation(relid, role) pg_class_ownercheck((relid), (role))
#endif
#if PG_VERSION_NUM >= 160000
#define KnnServerAclCheck(server, role) \
	object_aclcheck(ForeignServerRelationId, (server), (role), ACL_USAGE)
#else
#define KnnServerAclCheck(server, role) pg_foreign_server_aclcheck((server), (role), ACL_USAGE)
#endif
#if PG_VERSION_NUM >= 170000
#define KnnMayMaintain(relid, role) \
	(pg_class_aclcheck((relid), (role), ACL_MAINTAIN) == ACLCHECK_OK)
#else
#define KnnMayMaintain(relid, role) KnnOwnsRelation(relid, role)
#endif

/* What the i-th backend says of itself, from 1.  (pgstat.h) */
#if PG_VERSION_NUM >= 160000
#define KnnBackendEntry(i) pgstat_get_local_beentry_by_index(i)
#else
#define KnnBackendEntry(i) pgstat_fetch_stat_local_beentry(i)
#endif

/* Since 17 an index's expressions are maintained under a safe search_path. */
#if PG_VERSION_NUM >= 170000
#define KnnRestrictSearchPath() RestrictSearchPath()
#else
#define KnnRestrictSearchPath() ((void) 0)
#endif

/* Datums of a sort, since 16 optionally uncopied. */
#if PG_VERSION_NUM >= 160000
#define KnnTuplesortGetDatum(state, value, isnull) \
	tuplesort_getdatum((state), true, false, (value), (isnull), NULL)
#else
#define KnnTuplesortGetDatum(state, value, isnull) \
	tuplesort_getdatum((state), true, (value), (isnull), NULL)
#endif

/* A set of events to wait for, freed by hand.  (storage/latch.h) */
#if PG_VERSION_NUM >= 170000
#define KnnCreateWaitEventSet(n) CreateWaitEventSet(NULL, (n))
#else
#define KnnCreateWaitEventSet(n) CreateWaitEventSet(CurrentMemoryContext, (n))
#endif

#endif
