/*
 * settings.h
 *		Settings of the native memory cache.
 */
#ifndef KNN_CACHE_SETTINGS_H
#define KNN_CACHE_SETTINGS_H

#include "postgres.h"

/* What a tripped circuit breaker does beyond refusing to load more. */
typedef enum KnnBreakerAction
{
	KNN_BREAKER_BYPASS,			/* nothing: searches go through buffers */
	KNN_BREAKER_REJECT			/* refuses vectors, as OpenSearch does */
} KnnBreakerAction;

extern int	knn_cache_size;		/* kB, fixed at server start */
extern bool knn_use_cache;
extern char *knn_breaker_limit;	/* as given; see KnnCacheLimitBytes */
extern bool knn_breaker_enabled;
extern double knn_breaker_unset_percentage;
extern int	knn_breaker_action;	/* KnnBreakerAction */
extern bool knn_cache_expiry_enabled;
extern int	knn_cache_expiry_minutes;

/*
 * Registers the settings; called once at load, when preloaded is whether that is
 * at server start.
 */
extern void KnnCacheSettingsInit(bool preloaded);

/*
 * Bytes that mirrors may take together: the limit of the circuit breaker, or all
 * of the area when that is disabled.
 */
extern uint64 KnnCacheLimitBytes(void);

#endif
