/*
 * remote_build.c
 *		Builds of an index's graph by a service elsewhere; see remote_build.h.
 *
 * The rules are OpenSearch's, but for what the service need not know of: codes are
 * made by the server, so that all compression levels can be built remotely.
 *
 * COUNTING.  An attempt ends in one of success, failure, abort and terminal.  What
 * the program counted is added with it, from the last line of counters that it
 * printed; so it is also when the statement is cancelled, or the session is ended.
 * Counters are in shared memory, which the end of a killed session's server clears.
 */
#include "postgres.h"

#include "am/remote_build.h"

#include "access/xlog.h"
#include "am/options.h"
#include "am/value.h"
#include "compat.h"
#include "core/endpoint.h"
#include "job/remote_settings.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/rel.h"

#define MIN_VECTORS 5			/* OpenSearch's, and what services accept */
/*
 * ms that the program has to remove its objects when nobody waits for it any more; it
 * allows itself less.  A cancelled statement, and a shutdown, wait that long at most.
 */
#define END_PATIENCE 3000
/*
 * ms beyond knn.builder_timeout for which the program may be silent.  It tells where it is
 * each second, also while it waits for an answer, but not while it gives up the job of the
 * service and removes its objects, for which it allows itself 10 s.
 */
#define SILENCE 12000

/* ---- whether ---- */

/* NULL, or why not. */
static const char *
reason_against(Relation index, const KnnShape *shape, uint32 n)
{
	KnnHnswOptions options = KnnHnswOptionsOf(index);
	uint64		size = (uint64) n * KnnElementsSize(shape);

	if (!knn_remote_enabled)
		return "knn.remote_index_build_enabled is off";
	if (knn_remote_repository[0] == '\0')
		return "knn.remote_index_build_repository is empty";
	if (!options.remote_build)
		return "the index's option remote_index_build is off";
	/* services have cosine as the inner product of normalised vectors, which bytes are not */
	if (shape->space == KNN_SPACE_L1 || shape->space == KNN_SPACE_LINF ||
		(shape->space == KNN_SPACE_COSINE && shape->encoding == KNN_ENCODING_BYTE))
		return "the service has no such space";
	if (n < MIN_VECTORS)
		return "there are too few vectors";
	/* ids are int32 in the service's files */
	if (n > PG_INT32_MAX)
		return "there are too many vectors";
	if (size < options.remote_size_min)
		return "its vectors take less than remote_index_build_size_min";
	if (knn_remote_size_max > 0 && size > (uint64) knn_remote_size_max * 1024)
		return "its vectors take more than knn.remote_index_build_size_max";
	return NULL;
}

bool
KnnRemoteBuildWanted(Relation index, const KnnShape *shape, uint32 n)
{
	const char *reason = reason_against(index, shape, n);

	if (reason)
		ereport(DEBUG1,
				(errmsg_internal("index \"%s\" is not built remotely: %s",
								 RelationGetRelationName(index), reason)));
	return reason == NULL;
}

/* ---- by what ---- */

KnnRemoteBuild *
KnnRemoteBuildBegin(Relation index, const KnnShape *shape, uint32 n)
{
	KnnRemoteBuild *remote = palloc0(sizeof(KnnRemoteBuild));
	KnnBuildKind kind = KnnBuildKindOf(index);

	remote->index = index;
	remote->shape = shape;
	remote->job = KnnJobCreate();
	remote->rebuild = kind == KNN_BUILD_MERGE;
	remote->outcome = KNN_NCOUNTERS;
	INSTR_TIME_SET_CURRENT(remote->start);
	KnnNoteRemoteBuild(kind, n, (uint64) n * KnnElementsSize(shape));
	return remote;
}

/* Are the settings whole? */
static bool
check_settings(KnnJobFailure *failure)
{
	bool		username = knn_remote_username[0] != '\0';
	bool		password = KnnRemotePassword()[0] != '\0';

	if (knn_remote_endpoint[0] == '\0')
	{
		failure->detail = "knn.remote_index_build_service_endpoint is not set.";
		failure->hint = "Set it to the URL of the service.";
		return false;
	}
	if (username != password)
	{
		failure->detail = username ?
			"knn.remote_index_build_service_username is set, knn.remote_index_build_service_password is not." :
			"knn.remote_index_build_service_password is set, knn.remote_index_build_service_username is not.";
		failure->hint = "Set both, or none where the service asks for none.";
		return false;
	}
	return true;
}

/*
 * Basic authentication over http shows the password to whoever is on the way.  There are
 * networks where that is meant, so it is not refused; once a session will do.
 */
static void
warn_of_clear_password(void)
{
	static bool warned = false;
	knn_endpoint endpoint;

	if (warned || *KnnRemotePassword() == '\0' ||
		knn_endpoint_read(&endpoint, knn_remote_endpoint, strlen(knn_remote_endpoint)) != NULL ||
		endpoint.encrypted || endpoint.loopback)
		return;
	warned = true;
	ereport(WARNING,
			(errmsg("the password of the build service is sent without encryption"),
			 errdetail("knn.remote_index_build_service_endpoint is \"%s\", which begins with \"http://\" and is not on this machine.",
					   knn_remote_endpoint),
			 errhint("Let the service, or a proxy in front of it, speak TLS, and use a URL that begins with \"https://\".")));
}

bool
KnnRemoteBuildPrepare(KnnRemoteBuild *remote, KnnJobFailure *failure)
{
	KnnJob	   *job = remote->job;

	if (!check_settings(failure))
		return false;
	remote->repository = KnnRepositoryOpen(knn_remote_repository, GetUserId(), failure);
	if (remote->repository == NULL)
		return false;

	warn_of_clear_password();
	job->secrets.texts[0] = KnnRemotePassword();
	job->secrets.texts[1] = remote->repository->secret_key;
	job->secrets.texts[2] = remote->repository->session_token;
	job->child.patience = END_PATIENCE;
	if (job->silence > 0)
		job->silence = Min(job->silence, PG_INT32_MAX - SILENCE) + SILENCE;
	return true;
}

/* ---- the job ---- */

/* ,"key":"value", unless there is none */
static void
append_text(StringInfo json, const char *key, const char *value)
{
	if (value == NULL || *value == '\0')
		return;
	if (json->data[json->len - 1] != '{')
		appendStringInfoChar(json, ',');
	appendStringInfo(json, "\"%s\":", key);
	escape_json(json, value);
}

static void
append_bool(StringInfo json, const char *key, bool value)
{
	appendStringInfo(json, ",\"%s\":%s", key, value ? "true" : "false");
}

/*
 * The root of the objects' names: those of an index together, an attempt's under
 * a number of its own, so that nothing is ever overwritten.
 */
static char *
object_root(const KnnRemoteBuild *remote)
{
	const char *base_path = remote->repository->base_path;
	char		column[NAMEDATALEN];
	uint8		random[16];
	StringInfoData name;

	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random bytes")));
	initStringInfo(&name);
	if (base_path)
		appendStringInfo(&name, "%s/", base_path);
	appendStringInfo(&name, UINT64_FORMAT "_%u_%u_vectors/", GetSystemIdentifier(),
					 MyDatabaseId, RelationGetRelid(remote->index));
	for (int i = 0; i < lengthof(random); i++)
		appendStringInfo(&name, "%02x", random[i]);

	strlcpy(column, NameStr(TupleDescAttr(RelationGetDescr(remote->index), 0)->attname),
			sizeof(column));
	for (char *at = column; *at != '\0'; at++)
	{
		if (!((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9')))
			*at = '_';
	}
	appendStringInfo(&name, "_%s", column);
	return name.data;
}

static void
append_repository(StringInfo json, const KnnRepository *repository)
{
	appendStringInfoString(json, ",\"repository\":{");
	append_text(json, "type", repository->s3 ? "s3" : "file");
	append_text(json, "container", repository->container);
	if (repository->s3)
	{
		append_text(json, "region", repository->region);
		append_text(json, "endpoint", repository->endpoint);
		append_bool(json, "path_style", repository->path_style);
		if (repository->instance)
			append_text(json, "credentials", "instance");
		append_text(json, "access_key", repository->access_key);
		append_text(json, "secret_key", repository->secret_key);
		append_text(json, "session_token", repository->session_token);
		append_text(json, "ca_file", repository->ca_file);
		if (repository->connections > 0)
			appendStringInfo(json, ",\"connections\":%d", repository->connections);
	}
	appendStringInfoChar(json, '}');
}

void
KnnRemoteBuildDescribe(const KnnRemoteBuild *remote, StringInfo json)
{
	const KnnShape *shape = remote->shape;
	const char *cluster = GetConfigOption("cluster_name", true, false);
	char		system[32];

	snprintf(system, sizeof(system), UINT64_FORMAT, GetSystemIdentifier());
	appendStringInfoString(json, ",\"remote\":{");
	append_text(json, "endpoint", knn_remote_endpoint);
	append_text(json, "username", knn_remote_username);
	append_text(json, "password", KnnRemotePassword());
	append_text(json, "ca_file", knn_remote_ca_file);
	appendStringInfo(json, ",\"poll_interval\":%g,\"timeout\":%d",
					 knn_remote_poll_interval / 1000.0, knn_remote_timeout);
	append_text(json, "tenant_id", cluster && *cluster != '\0' ? cluster : system);
	append_text(json, "object", object_root(remote));
	append_bool(json, "keep_objects", remote->repository->keep_objects);
	append_bool(json, "fp16_storage", knn_encoding_is_float(shape->encoding) &&
				(shape->data_type == KNN_DATA_HALF || shape->vectors == KNN_VECTORS_HALF));
	/* the server has the vectors; a service may not know how to leave them out */
	append_bool(json, "skip_stored_vectors", knn_encoding_is_float(shape->encoding) &&
				(shape->encoding == KNN_ENCODING_ROTATED_1 || knn_remote_skip_stored_vectors));
	append_repository(json, remote->repository);
	appendStringInfoChar(json, '}');
}

/* ---- the end ---- */

void
KnnRemoteBuildDone(KnnRemoteBuild *remote, bool built, const KnnJobFailure *failure)
{
	const char *name = RelationGetRelationName(remote->index);

	if (built)
	{
		remote->outcome = KNN_COUNT_REMOTE_SUCCESS;
		return;
	}
	if (failure->terminal)
	{
		remote->outcome = KNN_COUNT_REMOTE_TERMINAL;
		ereport(ERROR,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("could not build index \"%s\" remotely", name),
				 errdetail_internal("%s", failure->detail),
				 failure->hint ? errhint("%s", failure->hint) :
				 errhint("A remote build needs room for the vectors and for the file of the graph among the server's temporary files: make room, or SET knn.remote_index_build_enabled = off.")));
	}
	remote->outcome = KNN_COUNT_REMOTE_FAILURE;
	ereport(WARNING,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("index \"%s\" is built locally, since it could not be built remotely", name),
			 errdetail_internal("%s", failure->detail),
			 failure->hint ? errhint("%s", failure->hint) : 0));
}

/*
 * An error that nobody expected: of one who cancels, or the end of the session
 * (code), or else.
 */
static KnnCounter
outcome_of_error(int code)
{
	if (code != 0)
		return KNN_COUNT_REMOTE_ABORT;
	switch (geterrcode())
	{
		case ERRCODE_QUERY_CANCELED:
		case ERRCODE_ADMIN_SHUTDOWN:
		case ERRCODE_CRASH_SHUTDOWN:
			return KNN_COUNT_REMOTE_ABORT;
		default:
			return KNN_COUNT_REMOTE_FAILURE;
	}
}

void
KnnRemoteBuildEnd(int code, Datum arg)
{
	KnnRemoteBuild *remote = (KnnRemoteBuild *) DatumGetPointer(arg);
	instr_time	spent;

	INSTR_TIME_SET_CURRENT(spent);
	INSTR_TIME_SUBTRACT(spent, remote->start);
	KnnNoteRemoteBuild(KNN_BUILD_NONE, 0, 0);
	if (remote->outcome == KNN_NCOUNTERS)
		remote->outcome = outcome_of_error(code);
	KnnCount(remote->outcome, 1);
	KnnCount(remote->rebuild ? KNN_COUNT_REMOTE_MERGE_TIME : KNN_COUNT_REMOTE_FLUSH_TIME,
			 KnnNanoseconds(spent));
	for (int i = 0; i < KNN_JOB_COUNTERS; i++)
		KnnCount((KnnCounter) (KNN_COUNT_REMOTE_READ_SUCCESS + i), remote->job->counters[i]);
}
