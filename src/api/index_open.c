/*
 * index_open.c
 *		Opening an index by name; see index_open.h.
 */
#include "postgres.h"

#include "api/index_open.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xlog.h"
#include "am/handler.h"
#include "catalog/index.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "compat.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

void
KnnNotAKnnIndex(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s\" is not a knn index", name),
			 errhint("Name an index of the access method knn_hnsw or knn_ivf.")));
}

bool
KnnMayAccess(Oid heapoid, KnnIndexAccess access)
{
	Oid			user = GetUserId();

	if (KnnOwnsRelation(heapoid, user))
		return true;
	if (access == KNN_ACCESS_READ)
		return pg_class_aclcheck(heapoid, user, ACL_SELECT) == ACLCHECK_OK ||
			has_privs_of_role(user, ROLE_PG_STAT_SCAN_TABLES);
	return KnnMayMaintain(heapoid, user);
}

void
KnnCheckAccess(Oid heapoid, KnnIndexAccess access)
{
	if (!KnnMayAccess(heapoid, access))
		aclcheck_error(access == KNN_ACCESS_READ ? ACLCHECK_NO_PRIV : ACLCHECK_NOT_OWNER,
					   OBJECT_TABLE, get_rel_name(heapoid));
}

Relation
KnnOpenIndex(Oid indexoid, LOCKMODE lockmode, KnnIndexAccess access, Relation *heap)
{
	char	   *name = get_rel_name(indexoid);
	Relation	index;
	Oid			heapoid;

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("index with OID %u does not exist", indexoid)));
	switch (get_rel_relkind(indexoid))
	{
		case RELKIND_INDEX:
			break;
		case RELKIND_PARTITIONED_INDEX:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"%s\" is a partitioned index, which has no pages of its own", name),
					 errhint("Name the index of a partition; pg_partition_tree('%s') lists them.", name)));
			break;
		default:
			KnnNotAKnnIndex(name);
	}

	/* the table before its index, as everybody does */
	heapoid = IndexGetRelation(indexoid, true);
	if (OidIsValid(heapoid))
		KnnCheckAccess(heapoid, access);	/* no lock for who may not */
	*heap = OidIsValid(heapoid) ? try_table_open(heapoid, lockmode) : NULL;
	index = *heap ? try_relation_open(indexoid, lockmode) : NULL;

	/* dropped meanwhile, and perhaps the OID is another relation's by now */
	if (index == NULL || index->rd_rel->relkind != RELKIND_INDEX ||
		heapoid != IndexGetRelation(indexoid, true))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("index \"%s\" does not exist any more", name)));
	if (!KnnIsAmRoutine(index->rd_indam))
		KnnNotAKnnIndex(name);
	if (RELATION_IS_OTHER_TEMP(index))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot read index \"%s\", which belongs to a temporary table of another session",
						name)));
	if (index->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED && RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot read index \"%s\" of an unlogged table during recovery", name)));
	if (RelationGetNumberOfBlocks(index) == 0 && !index->rd_index->indisready)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" has not been built", name),
				 errhint("Its CREATE INDEX CONCURRENTLY is under way or has failed.")));
	return index;
}

void
KnnCloseIndex(Relation index, Relation heap)
{
	index_close(index, NoLock);
	table_close(heap, NoLock);
}
