/*
 * opclass.h
 *		What the operator classes of all knn access methods have in common.
 *
 * An operator class has one ordering operator (strategy 1), the distance, and
 * one support function (number 1) that tells the space.
 */
#ifndef KNN_AM_OPCLASS_H
#define KNN_AM_OPCLASS_H

#include "postgres.h"

#include "utils/rel.h"

#include "core/space.h"

#define KNN_DISTANCE_STRATEGY	1
#define KNN_SPACE_PROC			1
#define KNN_NSTRATEGIES			1
#define KNN_NPROCS				1

/* The space that an index's operator class ranks by. */
extern knn_space KnnIndexSpace(Relation index);

/* amvalidate for an access method of the given name. */
extern bool KnnValidateOpclass(Oid opclassoid, const char *amname);

#endif
