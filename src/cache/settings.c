/*
 * settings.c
 *		Settings of the native memory cache; see settings.h.
 *
 * They carry OpenSearch's names under "knn.", with underscores for the further
 * dots: the configuration file's parser takes names of two parts and no more, and
 * ALTER SYSTEM would write a file that the server refuses to start with.  All but
 * the size of the area may be changed by a reload; nothing is thrown out of the
 * cache by that but what a lower limit has no room for.
 */
#include "postgres.h"

#include "cache/settings.h"

#include <limits.h>

#include "compat.h"
#include "utils/guc.h"

#define DEFAULT_CACHE_SIZE (256 * 1024)		/* kB */

int			knn_cache_size = 0;
bool		knn_use_cache = true;
char	   *knn_breaker_limit = NULL;
bool		knn_breaker_enabled = true;
double		knn_breaker_unset_percentage = 75;
int			knn_breaker_action = KNN_BREAKER_BYPASS;
bool		knn_cache_expiry_enabled = false;
int			knn_cache_expiry_minutes = 180;

static const struct config_enum_entry breaker_actions[] = {
	{"bypass", KNN_BREAKER_BYPASS, false},
	{"reject", KNN_BREAKER_REJECT, false},
	{NULL, 0, false}
};

/* A limit as parsed: a share of the area, or bytes. */
typedef struct Limit
{
	double		share;			/* 0..1, or less than 0 when bytes are given */
	uint64		bytes;
} Limit;

static Limit breaker_limit = {1.0, 0};

static bool
parse_limit(const char *text, Limit *limit)
{
	size_t		length = strlen(text);
	int			kilobytes;
	const char *hint = NULL;

	if (length > 0 && text[length - 1] == '%')
	{
		char	   *end;
		double		percentage;

		errno = 0;
		percentage = strtod(text, &end);
		if (end != text + length - 1 || end == text || errno != 0)
		{
			GUC_check_errdetail("failed to parse \"%s\" as a percentage", text);
			return false;
		}
		if (!(percentage >= 0 && percentage <= 100))
		{
			GUC_check_errdetail("The percentage should be in [0-100], got \"%s\".", text);
			return false;
		}
		limit->share = percentage / 100;
		limit->bytes = 0;
		return true;
	}
	if (!parse_int(text, &kilobytes, GUC_UNIT_KB, &hint) || kilobytes < 0)
	{
		GUC_check_errdetail("It is neither a percentage of knn.cache_size, as \"50%%\", nor an amount of memory, as \"512MB\".");
		if (hint)
			GUC_check_errhint("%s", hint);
		return false;
	}
	limit->share = -1;
	limit->bytes = (uint64) kilobytes * 1024;
	return true;
}

static bool
check_limit(char **value, void **extra, GucSource source)
{
	Limit	   *limit = KnnGucMalloc(sizeof(Limit));

	if (limit == NULL)
		return false;
	if (!parse_limit(*value, limit))
	{
		KnnGucFree(limit);
		return false;
	}
	*extra = limit;
	return true;
}

static void
assign_limit(const char *value, void *extra)
{
	breaker_limit = *(Limit *) extra;
}

uint64
KnnCacheLimitBytes(void)
{
	uint64		size = (uint64) knn_cache_size * 1024;

	if (!knn_breaker_enabled)
		return size;
	if (breaker_limit.share >= 0)
		return (uint64) ((double) size * breaker_limit.share);
	return Min(size, breaker_limit.bytes);
}

void
KnnCacheSettingsInit(bool preloaded)
{
	/*
	 * Without preload there is no area, and this only keeps the line in the
	 * configuration file from being reported as unknown.
	 */
	DefineCustomIntVariable("knn.cache_size",
							"Sets the size of the shared memory that keeps copies of indexes.",
							"Takes effect when shared_preload_libraries has knn. 0 turns the cache off.",
							&knn_cache_size, DEFAULT_CACHE_SIZE, 0, MAX_KILOBYTES,
							preloaded ? PGC_POSTMASTER : PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomBoolVariable("knn.use_cache",
							 "Lets scans search the copy of an index in the cache, and load it there.",
							 "Turned off, scans go through shared_buffers.",
							 &knn_use_cache, true, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("knn.memory_circuit_breaker_limit",
							   "Sets how much of the cache may be used.",
							   "A percentage of knn.cache_size, or an amount of memory.",
							   &knn_breaker_limit, "100%", PGC_SIGHUP, 0,
							   check_limit, assign_limit, NULL);
	DefineCustomBoolVariable("knn.memory_circuit_breaker_enabled",
							 "Turns on the limit of the cache's memory.",
							 "Turned off, all of knn.cache_size may be used and the breaker never trips.",
							 &knn_breaker_enabled, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("knn.circuit_breaker_unset_percentage",
							 "Sets the share of the limit below which a tripped circuit breaker is reset.",
							 NULL,
							 &knn_breaker_unset_percentage, 75, 0, 100, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomEnumVariable("knn.circuit_breaker_action",
							 "Sets what a tripped circuit breaker does to INSERT and UPDATE.",
							 "\"bypass\" lets them pass, \"reject\" refuses to index vectors, as OpenSearch does.",
							 &knn_breaker_action, KNN_BREAKER_BYPASS, breaker_actions, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("knn.cache_item_expiry_enabled",
							 "Removes indexes from the cache that have not been searched for a while.",
							 NULL,
							 &knn_cache_expiry_enabled, false, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("knn.cache_item_expiry_minutes",
							"Sets after how long without a search an index is removed from the cache.",
							NULL,
							&knn_cache_expiry_minutes, 180, 1, INT_MAX / 60, PGC_SIGHUP, GUC_UNIT_MIN,
							NULL, NULL, NULL);
}
