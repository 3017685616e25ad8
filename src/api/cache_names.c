/*
 * cache_names.c
 *		Names and patterns of indexes; see cache_names.h.
 *
 * All knn indexes of the database are listed first, each with what it can be
 * addressed by: itself, its table, and the partitioned indexes and tables above
 * them.  A name then picks from that list.
 */
#include "postgres.h"

#include "api/cache_names.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "api/index_open.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type_d.h"
#include "commands/defrem.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#define OWN_ARGUMENT \
	"Write names as in SQL, with double quotes where they are needed, each as an argument of its own: " \
	"%s('first', 'my_schema.second', '\"Third\"', 'more*')."

/* The access methods. */
static const char *const methods[] = {"knn_hnsw", "knn_ivf"};

/* A knn index of the database. */
typedef struct Candidate
{
	Oid			index;
	bool		partitioned;	/* has no pages, only names those that have */
	bool		valid;
	bool		loadable;		/* its pages can be read here and now */
	bool		chosen;
	List	   *addresses;		/* OIDs of relations that stand for it */
} Candidate;

/* A name with wildcards: text[i] is one if wild[i]. */
typedef struct Pattern
{
	char	   *text;
	bool	   *wild;
} Pattern;

/* ---- the indexes there are ---- */

static bool
is_knn_method(Oid method)
{
	for (int i = 0; i < lengthof(methods); i++)
	{
		if (method == get_am_oid(methods[i], true))
			return true;
	}
	return false;
}

static Oid
method_of(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(index));
	Oid			method = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		method = ((Form_pg_class) GETSTRUCT(tuple))->relam;
		ReleaseSysCache(tuple);
	}
	return method;
}

bool
KnnIsMirrored(Oid index)
{
	Oid			method = method_of(index);

	return OidIsValid(method) && method == get_am_oid("knn_hnsw", true);
}

static bool
is_valid(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	bool		valid = HeapTupleIsValid(tuple) && ((Form_pg_index) GETSTRUCT(tuple))->indisvalid;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return valid;
}

static List *
with_ancestors(List *addresses, Oid relid)
{
	addresses = lappend_oid(addresses, relid);
	if (get_rel_relispartition(relid))
		addresses = list_concat(addresses, get_partition_ancestors(relid));
	return addresses;
}

static List *
all_knn_indexes(void)
{
	Relation	classes = table_open(RelationRelationId, AccessShareLock);
	TableScanDesc scan = table_beginscan_catalog(classes, 0, NULL);
	List	   *candidates = NIL;
	ListCell   *cell;
	HeapTuple	tuple;

	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_class class = (Form_pg_class) GETSTRUCT(tuple);
		Candidate  *candidate;

		if ((class->relkind != RELKIND_INDEX && class->relkind != RELKIND_PARTITIONED_INDEX) ||
			!is_knn_method(class->relam))
			continue;
		candidate = palloc0(sizeof(Candidate));
		candidate->index = class->oid;
		candidate->partitioned = class->relkind == RELKIND_PARTITIONED_INDEX;
		candidate->loadable = class->relpersistence == RELPERSISTENCE_PERMANENT ||
			(class->relpersistence == RELPERSISTENCE_UNLOGGED && !RecoveryInProgress());
		candidates = lappend(candidates, candidate);
	}
	table_endscan(scan);
	table_close(classes, AccessShareLock);

	foreach(cell, candidates)
	{
		Candidate  *candidate = lfirst(cell);
		Oid			heap = IndexGetRelation(candidate->index, true);

		candidate->valid = is_valid(candidate->index);
		candidate->addresses = with_ancestors(NIL, candidate->index);
		if (OidIsValid(heap))
			candidate->addresses = list_concat(candidate->addresses, with_ancestors(NIL, heap));
	}
	return candidates;
}

/* ---- exact names ---- */

static void
invalid_name(const char *name, const char *function)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_NAME),
			 errmsg("invalid name \"%s\"", name),
			 errhint(OWN_ARGUMENT, function)));
}

static Oid
find_relation(const char *name, const char *function)
{
	List	   *parts;
	Oid			relid;

	if (!SplitIdentifierString(pstrdup(name), '.', &parts) || parts == NIL || list_length(parts) > 3)
		invalid_name(name, function);
	for (int i = 0; i < list_length(parts); i++)
		list_nth_cell(parts, i)->ptr_value = makeString(list_nth(parts, i));
	relid = RangeVarGetRelidExtended(makeRangeVarFromNameList(parts), NoLock, RVR_MISSING_OK, NULL, NULL);
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("index or table \"%s\" does not exist", NameListToString(parts)),
				 strchr(name, ',') ? errhint(OWN_ARGUMENT, function) :
				 errhint("Name a knn index or a table that has one, with its schema unless that is in the search_path; with * or ? it is a pattern.")));
	return relid;
}

/* The table whose owner may do it, after checks of what kind of relation it is. */
static Oid
table_of(Oid relid, const char *name)
{
	Oid			heap;

	switch (get_rel_relkind(relid))
	{
		case RELKIND_RELATION:
		case RELKIND_MATVIEW:
		case RELKIND_PARTITIONED_TABLE:
			return relid;
		case RELKIND_INDEX:
		case RELKIND_PARTITIONED_INDEX:
			heap = IndexGetRelation(relid, true);
			if (!is_knn_method(method_of(relid)) || !OidIsValid(heap))
				KnnNotAKnnIndex(name);
			return heap;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"%s\" is neither a table nor an index", name),
					 errhint("Name a knn index or a table that has one.")));
	}
	return InvalidOid;
}

static List *
choose(List *chosen, Candidate *candidate)
{
	if (candidate->chosen || candidate->partitioned)
		return chosen;
	candidate->chosen = true;
	return lappend_oid(chosen, candidate->index);
}

static List *
choose_named(List *chosen, List *candidates, const char *name, const char *function, bool valid_only)
{
	Oid			relid = find_relation(name, function);
	bool		any = false;
	ListCell   *cell;

	KnnCheckAccess(table_of(relid, name), KNN_ACCESS_MAINTAIN);
	foreach(cell, candidates)
	{
		Candidate  *candidate = lfirst(cell);

		if (!list_member_oid(candidate->addresses, relid) ||
			(valid_only && !candidate->valid && !candidate->partitioned && candidate->index != relid))
			continue;
		any = true;
		chosen = choose(chosen, candidate);
	}
	if (!any)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s request rejected: \"%s\" has no valid knn index", function, name),
				 errhint("Create one with CREATE INDEX ... USING knn_hnsw, or knn_ivf.")));
	return chosen;
}

/* ---- patterns ---- */

/*
 * Split at points outside double quotes.  The number of parts, at most two, or 0
 * when it is no name; *wild tells whether there is a wildcard.
 */
static int
parse_pattern(const char *name, Pattern *parts, bool *wild)
{
	size_t		length = strlen(name);
	int			nparts = 0;
	bool		quoted = false;
	size_t		n = 0;			/* of the part */
	bool		empty = true;
	bool		valid = true;

	*wild = false;
	for (size_t i = 0; i <= length; i++)
	{
		char		c = name[i];
		Pattern    *part = &parts[Min(nparts, 1)];

		if (n == 0 && empty)
		{
			part->text = palloc0(length + 1);
			part->wild = palloc0(length + 1);
		}
		if (c == '"')
		{
			if (quoted && name[i + 1] == '"')
				part->text[n++] = name[i++];
			else
				quoted = !quoted;
			empty = false;
			continue;
		}
		if (i == length || (c == '.' && !quoted))
		{
			valid = valid && n > 0;
			part->text[n] = '\0';
			nparts++;
			n = 0;
			empty = true;
			continue;
		}
		empty = false;
		part->wild[n] = !quoted && (c == '*' || c == '?');
		*wild = *wild || part->wild[n];
		/* bytes of longer characters are not touched by this in any server encoding */
		part->text[n++] = quoted ? c : (char) pg_ascii_tolower((unsigned char) c);
	}
	return valid && !quoted && nparts <= 2 ? nparts : 0;
}

static bool
matches(const Pattern *pattern, const char *name)
{
	size_t		p = 0;
	size_t		star = 0;
	const char *retry = NULL;	/* where the last * ends its match, if it is tried again */

	while (*name)
	{
		int			length = pg_mblen(name);

		if (pattern->wild[p] && pattern->text[p] == '*')
		{
			star = ++p;
			retry = name;
		}
		else if (pattern->wild[p] && pattern->text[p] == '?')
		{
			p++;
			name += length;
		}
		else if (strncmp(pattern->text + p, name, length) == 0)
		{
			p += length;
			name += length;
		}
		else if (retry)
		{
			retry += pg_mblen(retry);
			name = retry;
			p = star;
		}
		else
			return false;
	}
	while (pattern->wild[p] && pattern->text[p] == '*')
		p++;
	return pattern->text[p] == '\0';
}

static bool
matches_relation(const Pattern *parts, int nparts, Oid relid)
{
	char	   *name = get_rel_name(relid);
	char	   *schema;

	if (name == NULL || !matches(&parts[nparts - 1], name))
		return false;
	if (nparts == 1)
		return RelationIsVisible(relid);
	schema = get_namespace_name(get_rel_namespace(relid));
	return schema && matches(&parts[0], schema);
}

static List *
choose_matching(List *chosen, List *candidates, const Pattern *parts, int nparts, bool valid_only)
{
	ListCell   *cell;
	ListCell   *address;

	foreach(cell, candidates)
	{
		Candidate  *candidate = lfirst(cell);

		if (candidate->chosen || !candidate->loadable || (valid_only && !candidate->valid))
			continue;
		foreach(address, candidate->addresses)
		{
			if (matches_relation(parts, nparts, lfirst_oid(address)))
			{
				chosen = choose(chosen, candidate);
				break;
			}
		}
	}
	return chosen;
}

List *
KnnIndexesByName(ArrayType *names, const char *function, bool to_be_searched)
{
	List	   *candidates;
	List	   *chosen = NIL;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s needs the name of an index or a table", function),
				 errhint("%s('*') is for all that are visible by the search_path, %s('*.*') for all of the database.",
						 function, function)));
	candidates = all_knn_indexes();
	for (int i = 0; i < n; i++)
	{
		char	   *name;
		Pattern		parts[2];
		int			nparts;
		bool		wild;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("the name of an index or a table must not be null")));
		name = TextDatumGetCString(elements[i]);
		nparts = parse_pattern(name, parts, &wild);
		if (nparts == 0 && wild)
			invalid_name(name, function);
		chosen = wild ? choose_matching(chosen, candidates, parts, nparts, to_be_searched) :
			choose_named(chosen, candidates, name, function, to_be_searched);
	}
	return chosen;
}
