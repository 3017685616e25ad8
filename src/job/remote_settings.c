/*
 * remote_settings.c
 *		Settings of remote builds; see remote_settings.h.
 *
 * THE PASSWORD.  PostgreSQL shows values of settings in many places: SHOW,
 * pg_settings, the log line of a reload ("parameter ... changed to ..."), the
 * catalogs of settings of roles, databases and functions.  So the variable of
 * this setting always has the same stars, from its default on, and what was given
 * travels beside it, from the check hook to the assign hook.  Values that a
 * catalog would keep for all to read are refused; so is one in a configuration
 * file unless the library is preloaded, since any session that has not loaded the
 * library would show it to anyone.
 */
#include "postgres.h"

#include "job/remote_settings.h"

#include <limits.h>

#include "compat.h"
#include "job/repository.h"
#include "utils/guc.h"

#define STARS "********"
#define PASSWORD "knn.remote_index_build_service_password"
#define MIN_POLL_INTERVAL 100	/* ms; any role may set it, and asks the service as often */

bool		knn_remote_enabled = false;
char	   *knn_remote_repository = NULL;
char	   *knn_remote_endpoint = NULL;
char	   *knn_remote_username = NULL;
char	   *knn_remote_ca_file = NULL;
int			knn_remote_poll_interval = 5000;
int			knn_remote_timeout = 3600;
int			knn_remote_size_max = 0;
bool		knn_remote_skip_stored_vectors = false;

static char *password_variable = NULL;	/* stars */
static const char *password = "";
static bool password_is_safe_in_files = false;

const char *
KnnRemotePassword(void)
{
	return password;
}

static bool
check_password(char **value, void **extra, GucSource source)
{
	bool		in_catalog = source == PGC_S_TEST ||
		(source >= PGC_S_GLOBAL && source <= PGC_S_DATABASE_USER);
	char	   *given;
	char	   *stars;

	if (**value != '\0' && in_catalog)
	{
		GUC_check_errmsg("parameter \"%s\" cannot be kept for a role, database or function", PASSWORD);
		GUC_check_errdetail("Everybody could read it in a system catalog.");
		GUC_check_errhint("Use ALTER SYSTEM, or the configuration file.");
		return false;
	}
	if (**value != '\0' && source == PGC_S_FILE && !password_is_safe_in_files)
	{
		GUC_check_errmsg("parameter \"%s\" in a configuration file is not used", PASSWORD);
		GUC_check_errdetail("A session that has not loaded knn would show it to everybody.");
		GUC_check_errhint("Add knn to shared_preload_libraries.");
		return false;
	}
	given = KnnGucStrdup(*value);
	stars = KnnGucStrdup(STARS);
	if (given == NULL || stars == NULL)
		return false;
	KnnGucFree(*value);
	*value = stars;
	*extra = given;
	return true;
}

static void
assign_password(const char *value, void *extra)
{
	password = extra ? (const char *) extra : "";
}

static const char *
show_password(void)
{
	return *password != '\0' ? STARS : "";
}

static bool
check_endpoint(char **value, void **extra, GucSource source)
{
	const char *problem = **value != '\0' ? KnnUrlProblem(*value) : NULL;

	if (problem == NULL)
		return true;
	/* a password in a URL is not to be repeated either */
	if (strchr(*value, '@'))
		GUC_check_errmsg("invalid value for parameter \"knn.remote_index_build_service_endpoint\"");
	GUC_check_errdetail("%s", problem);
	return false;
}

/* The name goes before a ':' in the header of a request. */
static bool
check_username(char **value, void **extra, GucSource source)
{
	if (strchr(*value, ':') == NULL)
		return true;
	GUC_check_errdetail("A user name must not have \":\" in it.");
	return false;
}

static bool
check_ca_file(char **value, void **extra, GucSource source)
{
	if (**value == '\0' || is_absolute_path(*value))
		return true;
	GUC_check_errdetail("The path must be absolute.");
	return false;
}

static void
define_text(const char *name, const char *summary, const char *more, char **variable, int flags,
			GucStringCheckHook check)
{
	DefineCustomStringVariable(name, summary, more, variable, "", PGC_SUSET, flags,
							   check, NULL, NULL);
}

void
KnnRemoteSettingsInit(bool preloaded)
{
	password_is_safe_in_files = preloaded;

	DefineCustomBoolVariable("knn.remote_index_build_enabled",
							 "Lets a service elsewhere build the graphs of knn_hnsw indexes.",
							 NULL, &knn_remote_enabled, false, PGC_USERSET, 0, NULL, NULL, NULL);
	define_text("knn.remote_index_build_repository",
				"Sets the repository through which the service gets vectors and gives graphs.",
				"The name of a server of the foreign-data wrapper knn_repository.",
				&knn_remote_repository, 0, NULL);
	define_text("knn.remote_index_build_service_endpoint",
				"Sets the URL of the service.",
				NULL, &knn_remote_endpoint, 0, check_endpoint);
	define_text("knn.remote_index_build_service_username",
				"Sets the name by which the service is asked.",
				NULL, &knn_remote_username, GUC_SUPERUSER_ONLY, check_username);
	DefineCustomStringVariable(PASSWORD,
							   "Sets the password that goes with the name.",
							   "It is shown as stars.",
							   &password_variable, "", PGC_SUSET,
							   GUC_SUPERUSER_ONLY | GUC_NOT_IN_SAMPLE,
							   check_password, assign_password, show_password);
	define_text("knn.remote_index_build_service_ca_file",
				"Sets the file of the certificates that the service's certificate is checked by.",
				"Empty: those of the system.",
				&knn_remote_ca_file, 0, check_ca_file);
	DefineCustomIntVariable("knn.remote_index_build_poll_interval",
							"Sets the time between questions whether a build is done.",
							NULL, &knn_remote_poll_interval, 5000, MIN_POLL_INTERVAL, 24 * 3600 * 1000,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("knn.remote_index_build_client_timeout",
							"Sets how long a build is waited for before the index is built locally.",
							NULL, &knn_remote_timeout, 3600, 1, INT_MAX / 1000,
							PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("knn.remote_index_build_size_max",
							"Sets the size of an index's vectors above which it is not built remotely.",
							"0 is no limit.",
							&knn_remote_size_max, 0, 0, MAX_KILOBYTES,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomBoolVariable("knn.remote_index_build_skip_stored_vectors",
							 "Asks the service to leave vectors out of all graphs of floats.",
							 "The download is shorter; the service must know of skip_stored_vectors.",
							 &knn_remote_skip_stored_vectors, false, PGC_USERSET, 0,
							 NULL, NULL, NULL);
}
