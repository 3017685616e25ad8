/*
 * repository.c
 *		Object stores for remote builds; see repository.h.
 *
 * Options are checked when they are given, by name and value, and are looked up
 * anew for each build.  The program checks again what it is given.
 */
#include "postgres.h"

#include "job/repository.h"

#include "access/reloptions.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "compat.h"
#include "core/endpoint.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#define WRAPPER "knn_repository"
#define MAPPING "mapping"		/* values of option credentials */
#define INSTANCE "instance"
#define MAX_TEXT 1024
#define MAX_CREDENTIAL 8192		/* session tokens are long */

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_repository_validator);

/* What an option is of. */
typedef enum OptionScope
{
	ANY_SERVER,
	S3_SERVER,
	FILE_SERVER,
	USER_MAPPING
} OptionScope;

/* NULL, or a sentence about what is wrong with a value. */
typedef const char *(*value_check) (const char *value);

typedef struct RepositoryOption
{
	const char *name;
	OptionScope scope;
	value_check check;
} RepositoryOption;

/* ---- values ---- */

static bool
printable(const char *text)
{
	for (; *text != '\0'; text++)
	{
		if (*text <= ' ' || *text > '~')
			return false;
	}
	return true;
}

static const char *
name_problem(const char *value)
{
	static const char *const letters =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	if (*value == '\0' || strlen(value) > 255)
		return "It has 1 to 255 characters.";
	if (strspn(value, letters) != strlen(value) || *value == '.')
		return "It has letters, digits, \".\", \"_\" and \"-\", and does not begin with \".\".";
	return NULL;
}

static const char *
type_problem(const char *value)
{
	return strcmp(value, "s3") == 0 || strcmp(value, "file") == 0 ? NULL :
		"Valid values are \"s3\" and \"file\".";
}

/* Is a path without empty parts, "." and ".."? */
static bool
plain_parts(const char *path)
{
	for (;;)
	{
		size_t		length = strcspn(path, "/");

		if (length == 0 || (length <= 2 && strspn(path, ".") >= length))
			return false;
		if (path[length] == '\0')
			return true;
		path += length + 1;
	}
}

static const char *
base_path_problem(const char *value)
{
	if (strlen(value) > MAX_TEXT / 2 || !printable(value))
		return "It has up to 512 printable ASCII characters and no blanks.";
	if (*value != '\0' && !plain_parts(value))
		return "Its parts are divided by single \"/\" and are not \".\" or \"..\"; it neither begins nor ends with \"/\".";
	return NULL;
}

static const char *
absolute_path_problem(const char *value)
{
	if (!is_absolute_path(value))
		return "The path must be absolute.";
	if (strlen(value) >= MAX_TEXT)
		return "The path must be shorter than 1024 bytes.";
	return plain_parts(value + 1) ? NULL :
		"The path must not end with \"/\" or have empty parts, \".\" or \"..\" in it.";
}

static const char *
boolean_problem(const char *value)
{
	bool		ignored;

	return parse_bool(value, &ignored) ? NULL : "It takes a Boolean value.";
}

static const char *
connections_problem(const char *value)
{
	int			n;

	return parse_int(value, &n, 0, NULL) && n >= 1 && n <= KNN_MAX_CONNECTIONS ? NULL :
		"It takes a number from 1 to 64.";
}

static const char *
credentials_problem(const char *value)
{
	return strcmp(value, MAPPING) == 0 || strcmp(value, INSTANCE) == 0 ? NULL :
		"Valid values are \"mapping\" and \"instance\".";
}

static const char *
credential_problem(const char *value)
{
	return *value != '\0' && strlen(value) <= MAX_CREDENTIAL && printable(value) ? NULL :
		"It has printable ASCII characters and no blanks.";
}

static const char *
region_problem(const char *value)
{
	return knn_region_problem(value, strlen(value));
}

const char *
KnnUrlProblem(const char *url)
{
	knn_endpoint ignored;

	return knn_endpoint_read(&ignored, url, strlen(url));
}

static const RepositoryOption options[] = {
	{"type", ANY_SERVER, type_problem},
	{"base_path", ANY_SERVER, base_path_problem},
	{"keep_objects", ANY_SERVER, boolean_problem},
	{"bucket", S3_SERVER, name_problem},
	{"region", S3_SERVER, region_problem},
	{"endpoint", S3_SERVER, KnnUrlProblem},
	{"path_style", S3_SERVER, boolean_problem},
	{"ca_file", S3_SERVER, absolute_path_problem},
	{"connections", S3_SERVER, connections_problem},
	{"credentials", S3_SERVER, credentials_problem},
	{"directory", FILE_SERVER, absolute_path_problem},
	{"access_key_id", USER_MAPPING, credential_problem},
	{"secret_access_key", USER_MAPPING, credential_problem},
	{"session_token", USER_MAPPING, credential_problem}
};

/* ---- the validator ---- */

static const char *
value_of(List *given, const char *name)
{
	ListCell   *cell;

	foreach(cell, given)
	{
		DefElem    *element = (DefElem *) lfirst(cell);

		if (strcmp(element->defname, name) == 0)
			return defGetString(element);
	}
	return NULL;
}

static bool
belongs(const RepositoryOption *option, Oid catalog)
{
	if (catalog == UserMappingRelationId)
		return option->scope == USER_MAPPING;
	return catalog == ForeignServerRelationId && option->scope != USER_MAPPING;
}

pg_noreturn
static void
unknown_option(const char *name, Oid catalog)
{
	StringInfoData names;
	bool		elsewhere = false;

	initStringInfo(&names);
	for (int i = 0; i < lengthof(options); i++)
	{
		if (belongs(&options[i], catalog))
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", options[i].name);
		else if (strcmp(options[i].name, name) == 0)
			elsewhere = true;
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", name),
			 elsewhere && catalog == ForeignServerRelationId ?
			 errdetail("Credentials belong to a user mapping: everybody can read the options of a server.") :
			 elsewhere && catalog == UserMappingRelationId ?
			 errdetail("It is an option of the server.") : 0,
			 names.len > 0 ?
			 errhint("Valid options in this context are: %s", names.data) :
			 errhint("There are no valid options in this context.")));
}

/*
 * What lets files be read or written by the server's user is for those who may do
 * that by other means too.
 */
static void
check_file_privilege(const char *name)
{
	bool		write = strcmp(name, "directory") == 0;

	if ((strcmp(name, "ca_file") != 0 && !write) ||
		has_privs_of_role(GetUserId(), write ? ROLE_PG_WRITE_SERVER_FILES : ROLE_PG_READ_SERVER_FILES))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to set option \"%s\"", name),
			 errdetail("Only superusers and members of role %s may set it.",
					   write ? "pg_write_server_files" : "pg_read_server_files")));
}

/*
 * The machine's role may have rights that the server's user gives to nobody in the
 * database, and no role of that stands for it.
 */
static void
check_instance_privilege(const char *name, const char *value)
{
	if (strcmp(name, "credentials") != 0 || strcmp(value, INSTANCE) != 0 || superuser())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to set option \"%s\" to \"%s\"", name, value),
			 errdetail("Only superusers may let a repository use the role of the server's machine.")));
}

static void
check_option(const DefElem *element, Oid catalog)
{
	const char *value = defGetString(unconstify(DefElem *, element));

	for (int i = 0; i < lengthof(options); i++)
	{
		const RepositoryOption *option = &options[i];
		const char *problem;

		if (strcmp(option->name, element->defname) != 0 || !belongs(option, catalog))
			continue;
		problem = option->check(value);
		if (problem && option->scope == USER_MAPPING)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for option \"%s\"", option->name),
					 errdetail("%s", problem)));
		if (problem)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for option \"%s\": \"%s\"", option->name, value),
					 errdetail("%s", problem)));
		check_file_privilege(option->name);
		check_instance_privilege(option->name, value);
		return;
	}
	unknown_option(element->defname, catalog);
}

static void
require(List *given, const char *name, const char *why)
{
	if (value_of(given, name) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("option \"%s\" is required", name),
				 errdetail("%s", why)));
}

/* Options that are not of the server's type. */
static void
check_server(List *given)
{
	const char *type;
	bool		s3;

	require(given, "type", "Types are \"s3\" and \"file\".");
	type = value_of(given, "type");
	s3 = strcmp(type, "s3") == 0;
	if (s3)
		require(given, "bucket", "A repository of type \"s3\" is a bucket.");
	else
		require(given, "directory", "A repository of type \"file\" is a directory that the service sees too.");
	for (int i = 0; i < lengthof(options); i++)
	{
		if (options[i].scope == (s3 ? FILE_SERVER : S3_SERVER) && value_of(given, options[i].name))
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("option \"%s\" is not for repositories of type \"%s\"",
							options[i].name, type)));
	}
}

static void
check_user_mapping(List *given)
{
	bool		access_key = value_of(given, "access_key_id") != NULL;
	bool		secret_key = value_of(given, "secret_access_key") != NULL;

	if (access_key || value_of(given, "session_token"))
		require(given, "secret_access_key", "Credentials are both access_key_id and secret_access_key.");
	if (secret_key)
		require(given, "access_key_id", "Credentials are both access_key_id and secret_access_key.");
}

Datum
knn_repository_validator(PG_FUNCTION_ARGS)
{
	List	   *given = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	ListCell   *cell;

	foreach(cell, given)
		check_option((DefElem *) lfirst(cell), catalog);
	if (catalog == ForeignServerRelationId)
		check_server(given);
	else if (catalog == UserMappingRelationId)
		check_user_mapping(given);
	PG_RETURN_VOID();
}

/* ---- a repository ---- */

static KnnRepository *
unusable(KnnJobFailure *failure, char *detail)
{
	failure->detail = detail;
	return NULL;
}

static char *
copy_of(List *given, const char *name)
{
	const char *value = value_of(given, name);

	return value && *value != '\0' ? pstrdup(value) : NULL;
}

static bool
is_on(List *given, const char *name)
{
	const char *value = value_of(given, name);
	bool		on = false;

	return value && parse_bool(value, &on) && on;
}

static bool
has_user_mapping(Oid role, Oid server)
{
	return SearchSysCacheExists2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(role),
								 ObjectIdGetDatum(server)) ||
		SearchSysCacheExists2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid),
							  ObjectIdGetDatum(server));
}

/*
 * The credentials of a role, or that they are the machine's.  Keys and the machine's at
 * once are refused: which of them would be used is not to be guessed.
 *
 * Those of the server's environment go wherever the foreign server says, so only one that
 * a superuser owns may use them.
 */
static bool
find_credentials(KnnRepository *repository, const ForeignServer *server, Oid role,
				 KnnJobFailure *failure)
{
	const char *source = value_of(server->options, "credentials");
	const char *role_name = GetUserNameFromId(role, false);
	const char *quoted = quote_identifier(server->servername);
	bool		environment = getenv("AWS_ACCESS_KEY_ID") != NULL;

	repository->instance = source && strcmp(source, INSTANCE) == 0;
	if (has_user_mapping(role, server->serverid))
	{
		List	   *given = GetUserMapping(role, server->serverid)->options;

		repository->access_key = copy_of(given, "access_key_id");
		repository->secret_key = copy_of(given, "secret_access_key");
		repository->session_token = copy_of(given, "session_token");
	}
	if (repository->instance && repository->access_key)
	{
		failure->detail = psprintf("Repository \"%s\" has option credentials \"%s\", and role \"%s\", the owner of the table, a user mapping with keys.",
								   server->servername, INSTANCE, role_name);
		failure->hint = psprintf("ALTER SERVER %s OPTIONS (DROP credentials); uses those of the user mapping, DROP USER MAPPING those of the machine.",
								 quoted);
		return false;
	}
	if (repository->instance || repository->access_key || (environment && superuser_arg(server->owner)))
		return true;
	failure->detail = psprintf("Role \"%s\", the owner of the table, has no credentials for repository \"%s\".",
							   role_name, server->servername);
	if (environment)
		failure->detail = psprintf("%s  Those in the environment of the server are for repositories that a superuser owns.",
								   failure->detail);
	if (environment)
		failure->hint = psprintf("CREATE USER MAPPING FOR %s SERVER %s OPTIONS (access_key_id '...', secret_access_key '...'); gives it some.",
								 quote_identifier(role_name), quoted);
	else
		failure->hint = psprintf("CREATE USER MAPPING FOR %s SERVER %s OPTIONS (access_key_id '...', secret_access_key '...'); gives them, "
								 "or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment of the server.",
								 quote_identifier(role_name), quoted);
	return false;
}

KnnRepository *
KnnRepositoryOpen(const char *name, Oid role, KnnJobFailure *failure)
{
	ForeignServer *server = GetForeignServerByName(name, true);
	const char *role_name = GetUserNameFromId(role, false);
	const char *quoted = quote_identifier(name);
	const char *connections;
	const char *type;
	KnnRepository *repository;

	if (server == NULL)
	{
		failure->hint = psprintf("Create it by CREATE SERVER %s FOREIGN DATA WRAPPER %s, or change knn.remote_index_build_repository.",
								 quoted, WRAPPER);
		return unusable(failure, psprintf("Repository \"%s\" does not exist.", name));
	}
	if (strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, WRAPPER) != 0)
	{
		failure->hint = psprintf("knn.remote_index_build_repository takes a server of the foreign-data wrapper %s.", WRAPPER);
		return unusable(failure, psprintf("Server \"%s\" is no repository.", name));
	}
	type = value_of(server->options, "type");
	if (type == NULL)
		return unusable(failure, psprintf("Repository \"%s\" has no type.", name));
	if (KnnServerAclCheck(server->serverid, role) != ACLCHECK_OK)
	{
		failure->hint = psprintf("GRANT USAGE ON FOREIGN SERVER %s TO %s; allows it.",
								 quoted, quote_identifier(role_name));
		return unusable(failure,
						psprintf("Role \"%s\", the owner of the table, may not use repository \"%s\".",
								 role_name, name));
	}

	repository = palloc0(sizeof(KnnRepository));
	repository->s3 = strcmp(type, "s3") == 0;
	repository->container = copy_of(server->options, repository->s3 ? "bucket" : "directory");
	repository->base_path = copy_of(server->options, "base_path");
	repository->region = copy_of(server->options, "region");
	repository->endpoint = copy_of(server->options, "endpoint");
	repository->ca_file = copy_of(server->options, "ca_file");
	repository->path_style = is_on(server->options, "path_style");
	repository->keep_objects = is_on(server->options, "keep_objects");
	if (repository->container == NULL)
		return unusable(failure,
						psprintf("Repository \"%s\" has no %s.", name,
								 repository->s3 ? "bucket" : "directory"));
	connections = value_of(server->options, "connections");
	if (connections)
		(void) parse_int(connections, &repository->connections, 0, NULL);
	if (repository->s3 && !find_credentials(repository, server, role, failure))
		return NULL;
	return repository;
}
