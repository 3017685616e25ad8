/*
 * options.c
 *		Index options (WITH ...) and query settings (SET knn. ...).  Those that tell
 *		what an index keeps of a vector are in code_options.c.
 *
 * Options are checked in three steps.  A value that is none of its option is
 * refused by the option itself; options that contradict each other, when all of
 * them are parsed, in CREATE INDEX as in ALTER INDEX; and what the column or the
 * space does not allow, when the index is built (shape.c).  Options that were
 * not given stay distinguishable from given ones, since what they default to
 * depends on the others.
 */
#include "postgres.h"

#include "am/code_options.h"
#include "am/options.h"

#include <float.h>

#include "access/reloptions.h"
#include "utils/guc.h"

int			knn_ef_search = 0;
int			knn_nprobes = 0;
int			knn_max_scan_tuples = 1000000;
int			knn_scan_order = KNN_SCAN_ORDER_STRICT;
int			knn_rescore = KNN_RESCORE_AUTO;
double		knn_oversample_factor = 0;

static relopt_kind hnsw_options;
static relopt_kind ivf_options;

/* Options as the relation cache keeps them. */
typedef struct HnswReloptions
{
	int32		vl_len_;
	int			m;
	int			ef_construction;
	int			ef_search;
	bool		remote_index_build;
	int			remote_index_build_size_min;	/* offset of a string */
	KnnCodeReloptions code;
} HnswReloptions;

typedef struct IvfReloptions
{
	int32		vl_len_;
	int			nlist;
	int			nprobes;
	KnnCodeReloptions code;
} IvfReloptions;

static const struct config_enum_entry scan_orders[] = {
	{"strict", KNN_SCAN_ORDER_STRICT, false},
	{"relaxed", KNN_SCAN_ORDER_RELAXED, false},
	{NULL, 0, false}
};

static const struct config_enum_entry rescores[] = {
	{"auto", KNN_RESCORE_AUTO, false},
	{"on", KNN_RESCORE_ON, false},
	{"off", KNN_RESCORE_OFF, false},
	{"true", KNN_RESCORE_ON, true},
	{"false", KNN_RESCORE_OFF, true},
	{"yes", KNN_RESCORE_ON, true},
	{"no", KNN_RESCORE_OFF, true},
	{"1", KNN_RESCORE_ON, true},
	{"0", KNN_RESCORE_OFF, true},
	{NULL, 0, false}
};

/* ---- settings ---- */

/* 0 leaves the factor to the index; it is not in the range of factors. */
static bool
check_oversample_factor(double *value, void **extra, GucSource source)
{
	if (*value == 0)
		return true;
	if (*value < KNN_MIN_OVERSAMPLE)
	{
		GUC_check_errmsg("oversample factor %g cannot be less than %g", *value, KNN_MIN_OVERSAMPLE);
		GUC_check_errdetail("0 is the default of the index's compression level.");
		return false;
	}
	if (*value > KNN_MAX_OVERSAMPLE)
	{
		GUC_check_errmsg("oversample factor %g cannot be more than %g", *value, KNN_MAX_OVERSAMPLE);
		return false;
	}
	return true;
}

/* ---- values of options ---- */

/* A size with a unit, as settings have them; ERROR when it is none.  In bytes. */
static uint64
parse_size(const char *option, const char *value)
{
	int			kilobytes;
	const char *hint = NULL;

	if (!parse_int(value, &kilobytes, GUC_UNIT_KB, &hint) || kilobytes < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", option, value),
				 errdetail("It takes an amount of memory, as \"%s\".", KNN_DEFAULT_REMOTE_SIZE_MIN),
				 hint ? errhint("%s", hint) : 0));
	return (uint64) kilobytes * 1024;
}

static void
check_remote_size_min(const char *value)
{
	if (value)
		(void) parse_size("remote_index_build_size_min", value);
}

/* ---- registration ---- */

void
KnnOptionsInit(void)
{
	hnsw_options = add_reloption_kind();
	add_int_reloption(hnsw_options, "m",
					  "Neighbours of a node per level; at level 0 it has room for twice as many",
					  0, KNN_HNSW_MIN_M, KNN_HNSW_MAX_M,
					  AccessExclusiveLock);
	add_int_reloption(hnsw_options, "ef_construction",
					  "Width of the search for a new node's neighbours",
					  0,
					  KNN_HNSW_MIN_EF_CONSTRUCTION, KNN_HNSW_MAX_EF_CONSTRUCTION,
					  AccessExclusiveLock);
	add_int_reloption(hnsw_options, "ef_search",
					  "Width of a query's search, unless knn.ef_search is set",
					  0, 1, KNN_MAX_EF_SEARCH,
					  ShareUpdateExclusiveLock);
	add_bool_reloption(hnsw_options, "remote_index_build",
					   "Lets the graph be built remotely, where knn.remote_index_build_enabled is on",
					   true, ShareUpdateExclusiveLock);
	add_string_reloption(hnsw_options, "remote_index_build_size_min",
						 "Size of the vectors from which the graph is built remotely",
						 KNN_DEFAULT_REMOTE_SIZE_MIN, check_remote_size_min,
						 ShareUpdateExclusiveLock);
	KnnCodeOptionsRegister(hnsw_options);

	ivf_options = add_reloption_kind();
	add_int_reloption(ivf_options, "nlist",
					  "Lists that the vectors are divided into",
					  0, 1, KNN_IVF_MAX_NLIST,
					  AccessExclusiveLock);
	add_int_reloption(ivf_options, "nprobes",
					  "Lists that a query looks at, unless knn.nprobes is set",
					  0, 1, KNN_IVF_MAX_NLIST,
					  ShareUpdateExclusiveLock);
	KnnCodeOptionsRegister(ivf_options);
	DefineCustomIntVariable("knn.ef_search",
							"Width of the search of a graph index.",
							"The more, the better the recall and the longer a query takes. "
							"0 takes the index's own option ef_search.",
							&knn_ef_search, 0, 0, KNN_MAX_EF_SEARCH,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("knn.nprobes",
							"Number of lists that a search of an index of lists looks at.",
							"The more, the better the recall and the longer a query takes. "
							"0 takes the index's own option nprobes.",
							&knn_nprobes, 0, 0, KNN_IVF_MAX_NLIST,
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
							 "\"strict\" returns it after all other rows, \"relaxed\" at once.",
							 &knn_scan_order, KNN_SCAN_ORDER_STRICT, scan_orders,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("knn.rescore",
							 "Whether candidates are ranked again by exact distances.",
							 "\"auto\" computes as many exact distances as the order of the rows needs, "
							 "\"on\" those of a first pass of the size knn.oversample_factor tells, "
							 "\"off\" none.",
							 &knn_rescore, KNN_RESCORE_AUTO, rescores,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("knn.oversample_factor",
							 "Candidates of a search's first pass for each row wanted, 1 to 100.",
							 "0 takes the default of the index's compression level.",
							 &knn_oversample_factor, 0, -DBL_MAX, DBL_MAX,
							 PGC_USERSET, 0, check_oversample_factor, NULL, NULL);

	MarkGUCPrefixReserved("knn");
}

/* ---- parsing ---- */

bytea *
KnnHnswOptionsParse(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		{"m", RELOPT_TYPE_INT, offsetof(HnswReloptions, m)},
		{"ef_construction", RELOPT_TYPE_INT, offsetof(HnswReloptions, ef_construction)},
		{"ef_search", RELOPT_TYPE_INT, offsetof(HnswReloptions, ef_search)},
		{"remote_index_build", RELOPT_TYPE_BOOL, offsetof(HnswReloptions, remote_index_build)},
		{"remote_index_build_size_min", RELOPT_TYPE_STRING,
		offsetof(HnswReloptions, remote_index_build_size_min)},
		KNN_CODE_RELOPTIONS(offsetof(HnswReloptions, code)),
	};
	HnswReloptions *raw = build_reloptions(reloptions, validate, hnsw_options,
										   sizeof(HnswReloptions),
										   table, lengthof(table));

	if (raw && validate)
	{
		KnnCodeOptionsCheck(raw, &raw->code);
		if (KnnCodeOptionsDecode(raw, &raw->code).model_id && (raw->m || raw->ef_construction))
			KnnRefuseWithModel(raw->m ? "m" : "ef_construction");
	}
	return (bytea *) raw;
}

KnnHnswOptions
KnnHnswOptionsOf(Relation index)
{
	KnnHnswOptions options = {
		.remote_build = true
	};
	const char *size_min = KNN_DEFAULT_REMOTE_SIZE_MIN;
	HnswReloptions *raw = (HnswReloptions *) index->rd_options;

	if (raw)
	{
		options.m = raw->m;
		options.ef_construction = raw->ef_construction;
		options.ef_search = raw->ef_search;
		options.remote_build = raw->remote_index_build;
		size_min = (const char *) raw + raw->remote_index_build_size_min;
		options.code = KnnCodeOptionsDecode(raw, &raw->code);
	}
	options.remote_size_min = parse_size("remote_index_build_size_min", size_min);
	if (options.code.model_id == NULL && options.m == 0)
		options.m = KNN_HNSW_DEFAULT_M;
	return options;
}

bytea *
KnnIvfOptionsParse(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		{"nlist", RELOPT_TYPE_INT, offsetof(IvfReloptions, nlist)},
		{"nprobes", RELOPT_TYPE_INT, offsetof(IvfReloptions, nprobes)},
		KNN_CODE_RELOPTIONS(offsetof(IvfReloptions, code)),
	};
	IvfReloptions *raw = build_reloptions(reloptions, validate, ivf_options,
										  sizeof(IvfReloptions),
										  table, lengthof(table));

	if (raw && validate)
	{
		KnnCodeOptionsCheck(raw, &raw->code);
		if (KnnCodeOptionsDecode(raw, &raw->code).model_id && raw->nlist)
			KnnRefuseWithModel("nlist");
	}
	return (bytea *) raw;
}

KnnIvfOptions
KnnIvfOptionsOf(Relation index)
{
	KnnIvfOptions options = {0};
	IvfReloptions *raw = (IvfReloptions *) index->rd_options;

	if (raw)
	{
		options.nlist = raw->nlist;
		options.nprobes = raw->nprobes;
		options.code = KnnCodeOptionsDecode(raw, &raw->code);
	}
	if (options.code.model_id == NULL)
	{
		options.nlist = options.nlist > 0 ? options.nlist : KNN_IVF_DEFAULT_NLIST;
		options.nprobes = options.nprobes > 0 ? options.nprobes : KNN_IVF_DEFAULT_NPROBES;
	}
	return options;
}
