/*
 * model_search.c
 *		knn_search_models(): models that a query of OpenSearch finds.
 *
 * Of the query language, what is of use for a table of some models:
 *
 *	query	{"match_all": {}}, {"ids": {"values": [...]}}, {"term": {field: value}},
 *			{"match": {field: value}}, {"terms": {field: [...]}}, {"prefix": {field: text}},
 *			{"exists": {"field": name}},
 *			{"bool": {"must" | "filter" | "should" | "must_not": query or queries}}
 *	size	1 to 1000, 10 by default
 *	_source	false, a name, names, or {"includes": names, "excludes": names}
 *
 * A value is compared as a whole, in match as in term (both may be {"value": ...} or
 * {"query": ...} too).  All else is refused.  Every hit scores 1.
 */
#include "postgres.h"

#include "access/table.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "model/model.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_search_models);

#define DEFAULT_SIZE	10
#define MAX_SIZE		1000

static bool matches(const Jsonb *document, const JsonbValue *query);

static void
refuse(const char *format, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg_internal(format, what),
			 errhint("Queries are match_all, ids, term, terms, match, prefix, exists and bool; beside query there may be size and _source. The view knn_models takes all of SQL.")));
}

/* ---- JSON ---- */

static char *
text_of(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static JsonbIterator *
begin(const JsonbValue *value, bool array, const char *what)
{
	JsonbIterator *it;
	JsonbValue	dummy;

	if (value->type != jbvBinary ||
		(array ? !JsonContainerIsArray(value->val.binary.data) :
		 !JsonContainerIsObject(value->val.binary.data)))
		refuse(array ? "\"%s\" must be a JSON array" : "\"%s\" must be a JSON object", what);
	it = JsonbIteratorInit(value->val.binary.data);
	(void) JsonbIteratorNext(&it, &dummy, true);
	return it;
}

static bool
next_member(JsonbIterator **it, char **name, JsonbValue *value)
{
	JsonbValue	key;

	if (JsonbIteratorNext(it, &key, true) != WJB_KEY)
		return false;
	*name = text_of(&key);
	(void) JsonbIteratorNext(it, value, true);
	return true;
}

static bool
next_element(JsonbIterator **it, JsonbValue *value)
{
	return JsonbIteratorNext(it, value, true) == WJB_ELEM;
}

/* The one member of an object. */
static char *
only_member(const JsonbValue *object, const char *what, JsonbValue *value)
{
	JsonbIterator *it = begin(object, false, what);
	JsonbValue	more;
	char	   *name;
	char	   *other;

	if (!next_member(&it, &name, value) || next_member(&it, &other, &more))
		refuse("\"%s\" must have exactly one member", what);
	return name;
}

static bool
is_object(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
}

static bool
is_array(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
}

/* A field's value as text, or NULL; value's own where field is NULL. */
static char *
scalar_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return text_of(value);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			return NULL;
	}
}

static char *
field_text(const Jsonb *document, const char *field)
{
	JsonbValue	value;

	if (!getKeyJsonValueFromContainer(unconstify(JsonbContainer *, &document->root), field, (int) strlen(field), &value))
		return NULL;
	return scalar_text(&value);
}

/* ---- queries ---- */

/* What a field is compared with. */
static char *
operand(const JsonbValue *value, const char *query)
{
	JsonbValue	inner = *value;
	char	   *text;

	if (is_object(value))
	{
		char	   *name = only_member(value, query, &inner);

		if (strcmp(name, "value") != 0 && strcmp(name, "query") != 0)
			refuse("parameter \"%s\" of a query is not supported", name);
	}
	text = scalar_text(&inner);
	if (text == NULL)
		refuse("\"%s\" needs a text, a number or a truth value", query);
	return text;
}

static bool
matches_any(const char *text, const JsonbValue *array, const char *query)
{
	JsonbIterator *it = begin(array, true, query);
	JsonbValue	element;
	bool		found = false;

	while (next_element(&it, &element))
	{
		char	   *wanted = operand(&element, query);

		if (text && strcmp(wanted, text) == 0)
			found = true;
	}
	return found;
}

/* How many queries of one or an array match, and how many there are. */
static int
count_matches(const Jsonb *document, const JsonbValue *queries, int *total)
{
	JsonbIterator *it;
	JsonbValue	query;
	int			n = 0;

	*total = 0;
	if (!is_array(queries))
	{
		*total = 1;
		return matches(document, queries);
	}
	it = begin(queries, true, "bool");
	while (next_element(&it, &query))
	{
		(*total)++;
		n += matches(document, &query);
	}
	return n;
}

static bool
matches_bool(const Jsonb *document, const JsonbValue *query)
{
	JsonbIterator *it = begin(query, false, "bool");
	JsonbValue	queries;
	char	   *name;
	bool		result = true;
	bool		required = false;
	int			optional = 0;
	int			satisfied = 0;

	while (next_member(&it, &name, &queries))
	{
		int			total;
		int			n;

		if (strcmp(name, "must") != 0 && strcmp(name, "filter") != 0 &&
			strcmp(name, "should") != 0 && strcmp(name, "must_not") != 0)
			refuse("parameter \"%s\" of a bool query is not supported", name);
		n = count_matches(document, &queries, &total);
		if (strcmp(name, "must_not") == 0)
			result = result && n == 0;
		else if (strcmp(name, "should") == 0)
		{
			optional += total;
			satisfied += n;
		}
		else
		{
			required = required || total > 0;
			result = result && n == total;
		}
	}
	/* one of them must match where nothing else has to */
	return result && (required || optional == 0 || satisfied > 0);
}

static bool
matches(const Jsonb *document, const JsonbValue *query)
{
	JsonbValue	body;
	JsonbValue	value;
	char	   *name;
	char	   *field;
	char	   *text;

	check_stack_depth();
	name = only_member(query, "query", &body);
	if (strcmp(name, "match_all") == 0)
		return true;
	if (strcmp(name, "bool") == 0)
		return matches_bool(document, &body);
	if (strcmp(name, "ids") != 0 && strcmp(name, "term") != 0 && strcmp(name, "match") != 0 &&
		strcmp(name, "terms") != 0 && strcmp(name, "prefix") != 0 && strcmp(name, "exists") != 0)
		refuse("query \"%s\" is not supported", name);
	field = only_member(&body, name, &value);
	if (strcmp(name, "ids") == 0)
	{
		if (strcmp(field, "values") != 0)
			refuse("parameter \"%s\" of an ids query is not supported", field);
		return matches_any(field_text(document, "model_id"), &value, name);
	}
	if (strcmp(name, "exists") == 0)
	{
		if (strcmp(field, "field") != 0)
			refuse("parameter \"%s\" of an exists query is not supported", field);
		return field_text(document, operand(&value, name)) != NULL;
	}
	text = field_text(document, field);
	if (strcmp(name, "terms") == 0)
		return matches_any(text, &value, name);
	if (strcmp(name, "prefix") == 0)
	{
		char	   *start = operand(&value, name);

		return text && strncmp(text, start, strlen(start)) == 0;
	}
	name = operand(&value, name);
	return text && strcmp(name, text) == 0;
}

/* ---- sources ---- */

typedef struct Source
{
	bool		none;
	List	   *includes;		/* NIL: all */
	List	   *excludes;
} Source;

static List *
read_names(const JsonbValue *value)
{
	List	   *names = NIL;
	JsonbIterator *it;
	JsonbValue	element;

	if (value->type == jbvString)
		return list_make1(text_of(value));
	it = begin(value, true, "_source");
	while (next_element(&it, &element))
	{
		if (element.type != jbvString)
			refuse("\"%s\" must have names of fields", "_source");
		names = lappend(names, text_of(&element));
	}
	return names;
}

static void
read_source(const JsonbValue *value, Source *source)
{
	JsonbIterator *it;
	JsonbValue	names;
	char	   *name;

	if (value->type == jbvBool)
		source->none = !value->val.boolean;
	else if (!is_object(value))
		source->includes = read_names(value);
	else
	{
		it = begin(value, false, "_source");
		while (next_member(&it, &name, &names))
		{
			if (strcmp(name, "includes") == 0)
				source->includes = read_names(&names);
			else if (strcmp(name, "excludes") == 0)
				source->excludes = read_names(&names);
			else
				refuse("parameter \"%s\" of _source is not supported", name);
		}
	}
}

static bool
is_in(List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
	{
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	}
	return false;
}

static bool
wants(const Source *source, const char *field)
{
	return !source->none && (source->includes == NIL || is_in(source->includes, field)) &&
		!is_in(source->excludes, field);
}

/* The fields of a document that are wanted, as JSON. */
static char *
source_text(const Jsonb *document, const Source *source)
{
	JsonbParseState *state = NULL;
	JsonbValue *result;
	JsonbValue	object = {.type = jbvBinary};
	JsonbValue	value;
	JsonbIterator *it;
	char	   *name;
	Jsonb	   *chosen;

	object.val.binary.data = unconstify(JsonbContainer *, &document->root);
	object.val.binary.len = VARSIZE(document) - VARHDRSZ;
	it = begin(&object, false, "_source");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while (next_member(&it, &name, &value))
	{
		JsonbValue	key = {.type = jbvString};

		if (!wants(source, name))
			continue;
		key.val.string.val = name;
		key.val.string.len = (int) strlen(name);
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	result = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	chosen = JsonbValueToJsonb(result);
	return JsonbToCString(NULL, &chosen->root, VARSIZE(chosen));
}

/* ---- the function ---- */

static int
read_size(const JsonbValue *value)
{
	int			size = 0;
	bool		out_of_range = true;

	if (value->type == jbvNumeric)
		size = numeric_int4_opt_error(value->val.numeric, &out_of_range);
	if (out_of_range || size < 1 || size > MAX_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("size must be between 1 and %d inclusive", MAX_SIZE)));
	return size;
}

Datum
knn_search_models(PG_FUNCTION_ARGS)
{
	Jsonb	   *request = PG_GETARG_JSONB_P(0);
	Relation	table = table_open(KnnModelTable(fcinfo), AccessShareLock);
	Source		source = {false, NIL, NIL};
	JsonbValue	query = {.type = jbvNull};
	JsonbValue	object = {.type = jbvBinary};
	JsonbValue	value;
	JsonbIterator *it;
	ListCell   *cell;
	StringInfoData hits;
	StringInfoData result;
	char	   *name;
	int			size = DEFAULT_SIZE;
	int			total = 0;
	instr_time	begun;
	instr_time	now;

	INSTR_TIME_SET_CURRENT(begun);
	object.val.binary.data = &request->root;
	object.val.binary.len = VARSIZE(request) - VARHDRSZ;
	it = begin(&object, false, "search");
	while (next_member(&it, &name, &value))
	{
		if (strcmp(name, "query") == 0)
			query = value;
		else if (strcmp(name, "size") == 0)
			size = read_size(&value);
		else if (strcmp(name, "_source") == 0)
			read_source(&value, &source);
		else
			refuse("parameter \"%s\" of a search is not supported", name);
	}

	initStringInfo(&hits);
	foreach(cell, KnnAllModels(table))
	{
		KnnModel   *model = lfirst(cell);
		Jsonb	   *document;

		CHECK_FOR_INTERRUPTS();
		if (!KnnMayUseModel(model))
			continue;
		document = KnnModelDocument(model, wants(&source, "model_blob"));
		if (query.type != jbvNull && !matches(document, &query))
			continue;
		if (total++ >= size)
			continue;
		appendStringInfo(&hits, "%s{\"_index\": \"knn_models\", \"_id\": ", total > 1 ? ", " : "");
		escape_json(&hits, model->model_id);
		appendStringInfoString(&hits, ", \"_score\": 1.0");
		if (!source.none)
			appendStringInfo(&hits, ", \"_source\": %s", source_text(document, &source));
		appendStringInfoChar(&hits, '}');
	}
	table_close(table, AccessShareLock);

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, begun);
	initStringInfo(&result);
	appendStringInfo(&result,
					 "{\"took\": %d, \"timed_out\": false, \"hits\": {\"total\": {\"value\": %d, \"relation\": \"eq\"}, \"max_score\": %s, \"hits\": [%s]}}",
					 (int) INSTR_TIME_GET_MILLISEC(now), total, total > 0 ? "1.0" : "null", hits.data);
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(result.data)));
}
