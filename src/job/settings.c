/*
 * settings.c
 *		Settings of the program knn-builder; see settings.h.
 */
#include "postgres.h"

#include "job/settings.h"

#include <limits.h>
#include <unistd.h>

#include "miscadmin.h"
#include "port.h"
#include "utils/guc.h"

#define BUILDER_NAME "knn-builder"
#define MAX_INDEX_THREADS 32
#define DEFAULT_EXTERNAL_MIN (64 * 1024)	/* kB */

int			knn_index_threads = 1;
int			knn_build_external_min = DEFAULT_EXTERNAL_MIN;
int			knn_builder_timeout = 0;

static char *builder_path = NULL;

/*
 * The working directory of the server is its data directory: a relative path
 * would run what lies there.
 */
static bool
check_builder_path(char **value, void **extra, GucSource source)
{
	if (**value != '\0' && !is_absolute_path(*value))
	{
		GUC_check_errdetail("The path of the program must be absolute.");
		return false;
	}
	if (strlen(*value) >= MAXPGPATH)
	{
		GUC_check_errdetail("The path of the program must be shorter than %d bytes.", MAXPGPATH);
		return false;
	}
	return true;
}

bool
KnnBuilderIsOurs(void)
{
	return builder_path == NULL || builder_path[0] == '\0';
}

void
KnnBuilderPath(char *path)
{
	if (!KnnBuilderIsOurs())
	{
		strlcpy(path, builder_path, MAXPGPATH);
		return;
	}
	/* beside the server's own program, where "make install" puts it */
	strlcpy(path, my_exec_path, MAXPGPATH);
	get_parent_directory(path);
	join_path_components(path, path, BUILDER_NAME);
}

/* OpenSearch's rule: one, or four on a machine that has plenty. */
static int
default_threads(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN) >= 32 ? 4 : 1;
}

void
KnnJobSettingsInit(void)
{
	DefineCustomStringVariable("knn.builder_path",
							   "Sets the path of the program knn-builder.",
							   "Empty: the program of that name beside the server's own.",
							   &builder_path, "", PGC_SUSET, 0,
							   check_builder_path, NULL, NULL);
	DefineCustomIntVariable("knn.builder_timeout",
							"Sets how long knn-builder may say nothing before it is taken to hang.",
							"0 is no limit.",
							&knn_builder_timeout, 0, 0, INT_MAX, PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("knn.build_external_min",
							"Sets the size of an index's vectors from which knn-builder builds its graph.",
							"0 is always, -1 never. A graph that would not fit into "
							"maintenance_work_mem is given to it too, unless this is -1.",
							&knn_build_external_min, DEFAULT_EXTERNAL_MIN, -1, MAX_KILOBYTES,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("knn.algo_param_index_thread_qty",
							"Sets the number of threads with which knn-builder builds an index or trains a model.",
							"The server itself has no threads: what it builds without the program, "
							"it builds with one.",
							&knn_index_threads, default_threads(), 1, MAX_INDEX_THREADS,
							PGC_USERSET, 0, NULL, NULL, NULL);
}
