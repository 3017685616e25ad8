/*
 * opclass.c
 *		Operator classes: the spaces they stand for, and their validation.
 */
#include "postgres.h"

#include "am/opclass.h"

#include "access/amvalidate.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#define SPACE_FUNCTION(name, space) \
	PGDLLEXPORT PG_FUNCTION_INFO_V1(name); \
	Datum name(PG_FUNCTION_ARGS) { PG_RETURN_INT32(space); } \
	extern int	knn_no_such_variable

SPACE_FUNCTION(knn_space_l2, KNN_SPACE_L2);
SPACE_FUNCTION(knn_space_ip, KNN_SPACE_INNER_PRODUCT);
SPACE_FUNCTION(knn_space_cosine, KNN_SPACE_COSINE);
SPACE_FUNCTION(knn_space_l1, KNN_SPACE_L1);
SPACE_FUNCTION(knn_space_linf, KNN_SPACE_LINF);
SPACE_FUNCTION(knn_space_hamming, KNN_SPACE_HAMMING);

knn_space
KnnIndexSpace(Relation index)
{
	FmgrInfo   *proc = index_getprocinfo(index, 1, KNN_SPACE_PROC);
	int32		space = DatumGetInt32(FunctionCall1(proc, PointerGetDatum(NULL)));

	if (space < KNN_SPACE_L2 || space > KNN_SPACE_HAMMING)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("support function 1 of the operator class of index \"%s\" names no space",
						RelationGetRelationName(index)),
				 errdetail("It returned %d.", space)));
	return (knn_space) space;
}

/* An operator class that is looked at. */
typedef struct Validation
{
	const char *family;			/* its name */
	const char *amname;
	bool		valid;			/* so far */
} Validation;

static void
complain(Validation *v, const char *problem, const char *object)
{
	ereport(INFO,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("operator family \"%s\" of access method %s contains %s %s",
					v->family, v->amname, problem, object)));
	v->valid = false;
}

/* The support functions of a family, those of a type in full. */
static void
check_functions(Validation *v, const CatCList *proclist, Oid type)
{
	for (int i = 0; i < proclist->n_members; i++)
	{
		Form_pg_amproc procform = (Form_pg_amproc) GETSTRUCT(&proclist->members[i]->tuple);

		if (procform->amproclefttype != procform->amprocrighttype)
			complain(v, "support function with cross-type registration",
					 format_procedure(procform->amproc));
		if (procform->amproclefttype != type)
			continue;
		if (procform->amprocnum != KNN_SPACE_PROC)
			complain(v, "function with invalid support number",
					 format_procedure(procform->amproc));
		else if (!check_amproc_signature(procform->amproc, INT4OID, true, 1, 1, INTERNALOID))
			complain(v, "support function with wrong signature",
					 format_procedure(procform->amproc));
	}
}

static void
check_operators(Validation *v, const CatCList *oprlist)
{
	for (int i = 0; i < oprlist->n_members; i++)
	{
		Form_pg_amop oprform = (Form_pg_amop) GETSTRUCT(&oprlist->members[i]->tuple);

		if (oprform->amopstrategy != KNN_DISTANCE_STRATEGY)
			complain(v, "operator with invalid strategy number",
					 format_operator(oprform->amopopr));
		else if (oprform->amoppurpose != AMOP_ORDER)
			complain(v, "search operator (only ordering is supported)",
					 format_operator(oprform->amopopr));
		else
		{
			/* distances sort as float8, ascending */
			if (get_op_rettype(oprform->amopopr) != FLOAT8OID ||
				!opfamily_can_sort_type(oprform->amopsortfamily, FLOAT8OID))
				complain(v, "ordering operator that is not a float8 distance",
						 format_operator(oprform->amopopr));
			if (!check_amop_signature(oprform->amopopr, FLOAT8OID,
									  oprform->amoplefttype, oprform->amoprighttype))
				complain(v, "operator with wrong signature",
						 format_operator(oprform->amopopr));
		}
	}
}

bool
KnnValidateOpclass(Oid opclassoid, const char *amname)
{
	Validation	v = {.amname = amname, .valid = true};
	HeapTuple	classtup;
	Form_pg_opclass classform;
	HeapTuple	familytup;
	CatCList   *proclist;
	CatCList   *oprlist;
	List	   *grouplist;
	OpFamilyOpFuncGroup *opclassgroup = NULL;
	Oid			opfamilyoid;
	Oid			keytype;
	ListCell   *lc;

	classtup = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclassoid));
	if (!HeapTupleIsValid(classtup))
		elog(ERROR, "cache lookup failed for operator class %u", opclassoid);
	classform = (Form_pg_opclass) GETSTRUCT(classtup);
	opfamilyoid = classform->opcfamily;
	keytype = OidIsValid(classform->opckeytype) ? classform->opckeytype : classform->opcintype;

	familytup = SearchSysCache1(OPFAMILYOID, ObjectIdGetDatum(opfamilyoid));
	if (!HeapTupleIsValid(familytup))
		elog(ERROR, "cache lookup failed for operator family %u", opfamilyoid);
	v.family = pstrdup(NameStr(((Form_pg_opfamily) GETSTRUCT(familytup))->opfname));

	oprlist = SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(opfamilyoid));
	proclist = SearchSysCacheList1(AMPROCNUM, ObjectIdGetDatum(opfamilyoid));

	check_functions(&v, proclist, classform->opcintype);
	check_operators(&v, oprlist);

	grouplist = identify_opfamily_groups(oprlist, proclist);
	foreach(lc, grouplist)
	{
		OpFamilyOpFuncGroup *group = lfirst(lc);

		if (group->lefttype == classform->opcintype &&
			group->righttype == classform->opcintype)
			opclassgroup = group;
	}
	if (opclassgroup == NULL ||
		(opclassgroup->operatorset & (UINT64CONST(1) << KNN_DISTANCE_STRATEGY)) == 0)
		complain(&v, "no distance operator for type",
				 format_type_be(classform->opcintype));
	if (opclassgroup == NULL ||
		(opclassgroup->functionset & (UINT64CONST(1) << KNN_SPACE_PROC)) == 0)
		complain(&v, "no space function for type",
				 format_type_be(classform->opcintype));
	if (keytype != classform->opcintype)
		complain(&v, "a storage type", format_type_be(keytype));

	ReleaseCatCacheList(proclist);
	ReleaseCatCacheList(oprlist);
	ReleaseSysCache(familytup);
	ReleaseSysCache(classtup);
	return v.valid;
}
