/*
 * options.c
 *		Index options (WITH ...) and query settings (SET knn. ...).
 */
#include "postgres.h"

#include "am/options.h"

#include "access/reloptions.h"
#include "utils/guc.h"

int			knn_ef_search = 0;
int			knn_max_scan_tuples = 1000000;
int			knn_scan_order = KNN_SCAN_ORDER_STRICT;

static relopt_kind hnsw_options;

static const struct config_enum_entry scan_orders[] = {
	{"strict", KNN_SCAN_ORDER_STRICT, false},
	{"relaxed", KNN_SCAN_ORDER_RELAXED, false},
	{NULL, 0, false}
};

void
KnnOptionsInit(void)
{
	hnsw_options = add_reloption_kind();
	add_int_reloption(hnsw_options, "m",
					  "Number of neighbours chosen for a new node",
					  KNN_HNSW_DEFAULT_M, KNN_HNSW_MIN_M, KNN_HNSW_MAX_M,
					  AccessExclusiveLock);
	add_int_reloption(hnsw_options, "ef_construction",
					  "Width of the search for a new node's neighbours",
					  KNN_HNSW_DEFAULT_EF_CONSTRUCTION,
					  KNN_HNSW_MIN_EF_CONSTRUCTION, KNN_HNSW_MAX_EF_CONSTRUCTION,
					  AccessExclusiveLock);
	add_int_reloption(hnsw_options, "ef_search",
					  "Width of a query's search, unless knn.ef_search is set",
					  KNN_DEFAULT_EF_SEARCH, 1, KNN_MAX_EF_SEARCH,
					  ShareUpdateExclusiveLock);

	DefineCustomIntVariable("knn.ef_search",
							"Width of the search of a graph index.",
							"The more, the better the recall and the longer a query takes. "
							"0 takes the index's own option ef_search.",
							&knn_ef_search, 0, 0, KNN_MAX_EF_SEARCH,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("knn.max_scan_tuples",
							"Number of vectors after which a scan is not widened any more.",
							"A scan whose rows a filter rejects is widened until the query has enough "
							"rows, or until it has looked at this many vectors. -1 is no limit.",
							&knn_max_scan_tuples, 1000000, -1, INT_MAX,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("knn.scan_order",
							 "What happens to a row that a widened scan finds too late.",
							 "A widened scan may find a row that is nearer than one returned already. "
							 "\"strict\" leaves it out and keeps the order, \"relaxed\" returns it.",
							 &knn_scan_order, KNN_SCAN_ORDER_STRICT, scan_orders,
							 PGC_USERSET, 0, NULL, NULL, NULL);

	MarkGUCPrefixReserved("knn");
}

bytea *
KnnHnswOptionsParse(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		{"m", RELOPT_TYPE_INT, offsetof(KnnHnswOptions, m)},
		{"ef_construction", RELOPT_TYPE_INT, offsetof(KnnHnswOptions, ef_construction)},
		{"ef_search", RELOPT_TYPE_INT, offsetof(KnnHnswOptions, ef_search)},
	};

	return (bytea *) build_reloptions(reloptions, validate, hnsw_options,
									  sizeof(KnnHnswOptions),
									  table, lengthof(table));
}

KnnHnswOptions
KnnHnswOptionsOf(Relation index)
{
	KnnHnswOptions options = {
		.m = KNN_HNSW_DEFAULT_M,
		.ef_construction = KNN_HNSW_DEFAULT_EF_CONSTRUCTION,
		.ef_search = KNN_DEFAULT_EF_SEARCH
	};

	if (index->rd_options)
		options = *(KnnHnswOptions *) index->rd_options;
	return options;
}
