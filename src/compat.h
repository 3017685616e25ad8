/*
 * compat.h
 *		Differences between the supported PostgreSQL versions (15 to 18).
 */
#ifndef KNN_COMPAT_H
#define KNN_COMPAT_H

#include "postgres.h"

#include "storage/bufmgr.h"
#include "utils/rel.h"

#if PG_VERSION_NUM >= 160000
#define KnnRelationFile(rel) ((Oid) (rel)->rd_locator.relNumber)
#define KnnReadRecentBuffer(rel, block, buffer) \
	ReadRecentBuffer((rel)->rd_locator, MAIN_FORKNUM, (block), (buffer))
#else
#define KnnRelationFile(rel) ((rel)->rd_node.relNode)
#define KnnReadRecentBuffer(rel, block, buffer) \
	ReadRecentBuffer((rel)->rd_node, MAIN_FORKNUM, (block), (buffer))
#endif

#endif
