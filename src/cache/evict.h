/*
 * evict.h
 *		Removing mirrors from the cache, and its circuit breaker.
 *
 * A mirror leaves the cache when
 *	- there is no room for another one or for its own growth (least recently used
 *	  first), or the limit was lowered below what is used		counted as eviction
 *	- it has not been searched for knn.cache_item_expiry_minutes	counted
 *	- somebody asks for it, its index is dropped or rebuilt, or its database is
 *	  dropped													not counted
 *
 * CIRCUIT BREAKER.  It trips when a mirror is refused or evicted for lack of room, and
 * is reset as soon as what is used has fallen below knn.circuit_breaker_unset_percentage
 * of the limit and the largest mirror refused would fit.  It is looked at whenever
 * the cache changes and by the cache's worker.  While it is tripped, searches of
 * indexes that are not in the cache go through buffers; inserting into indexes is
 * refused only with knn.circuit_breaker_action = reject (OpenSearch always does).
 */
#ifndef KNN_CACHE_EVICT_H
#define KNN_CACHE_EVICT_H

#include "postgres.h"

#include "cache/mirror.h"

/* ---- under the lock, exclusive ---- */

/*
 * Evict others until a number of units more can be taken; not those used within the
 * last minute, unless forced.  False, and nothing is evicted, when that does not
 * suffice.
 */
extern bool KnnCacheMakeRoom(uint32 units, const KnnMirror *except, bool forced);

/* A free descriptor, or NULL. */
extern KnnMirror *KnnCacheFreeMirror(void);

/* Take a mirror out of use and free it, now or when the last pin is gone. */
extern void KnnCacheDiscard(KnnMirror *mirror);

/* Remember that a mirror of this size was refused, for the breaker. */
extern void KnnBreakerRefused(uint64 bytes);

/* Trip for lack of room. */
extern void KnnBreakerTrip(void);

/* ---- by anybody ---- */

/* Remove an index; the number that were there. */
extern int	KnnCacheRemoveIndex(Oid database, Oid relid);

/*
 * What has to be done from time to time: expiry, the limit, mirrors whose pins
 * are gone, the breaker.
 */
extern void KnnCacheMaintain(void);

/* Is the breaker tripped?  Looks whether it can be reset. */
extern bool KnnBreakerTriggered(void);

/* ERROR, as the settings say, when vectors are not to be indexed now. */
extern void KnnBreakerCheckInsert(Relation index);

/* Watches for indexes and databases that are dropped; called once at load. */
extern void KnnCacheWatchDrops(void);

#endif
