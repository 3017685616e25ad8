/*
 * plan.h
 *		What is left out of plans that scan a knn index.
 */
#ifndef KNN_AM_PLAN_H
#define KNN_AM_PLAN_H

#include "postgres.h"

/* Look at plans from now on; called once at load. */
extern void KnnPlanInit(void);

#endif
