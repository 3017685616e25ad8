/*
 * source.h
 *		Models for the indexes that are made from them (am/model_source.h).
 */
#ifndef KNN_MODEL_SOURCE_H
#define KNN_MODEL_SOURCE_H

/* Lets the access methods find models; called once at load. */
extern void KnnModelSourceInit(void);

#endif
