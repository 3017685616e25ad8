/*
 * trainer.c
 *		Training by the program knn-builder; see trainer.h.
 *
 * Nothing of faiss enters a server process.  The program becomes another one for it,
 * knn-train (builder/train_exec.c), about which nothing is known here but whether
 * "make install" has put it where it belongs.
 */
#include "postgres.h"

#include "model/trainer.h"

#include <unistd.h>

#include "compat.h"
#include "job/settings.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "port.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#define TRAIN_PROGRAM "knn-train"
#define RESULT_FILE "model.faiss"

#define INSTALL_HINT \
	"Where json-c and faiss are installed (Debian: libjson-c-dev, libfaiss-dev, liblapack-dev), " \
	"knn-builder and knn-train are built and installed with the extension."

static bool
is_program(const char *folder, const char *name)
{
	char		path[MAXPGPATH];

	join_path_components(path, folder, name);
	return access(path, X_OK) == 0;
}

void
KnnCheckTrainer(void)
{
	char		path[MAXPGPATH];

	KnnBuilderPath(path);
	if (access(path, X_OK) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not find the program \"%s\": %m", path),
				 errhint(INSTALL_HINT)));

	/* what another knn-builder becomes is its own affair */
	if (!KnnBuilderIsOurs())
		return;
	get_parent_directory(path);
	if (!is_program(path, TRAIN_PROGRAM) && !is_program(pkglib_path, TRAIN_PROGRAM))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("could not find the program \"%s\" in \"%s\" or \"%s\"",
						TRAIN_PROGRAM, path, pkglib_path),
				 errhint(INSTALL_HINT)));
}

static char *
describe(const KnnJob *job, const KnnTraining *training)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"job\":\"train\",\"version\":1");
	KnnJobAppendPath(&json, job, "vectors", KNN_TRAINER_VECTORS);
	KnnJobAppendPath(&json, job, "result", RESULT_FILE);
	appendStringInfo(&json, ",\"dimension\":%d,\"count\":" INT64_FORMAT,
					 training->dimension, training->count);
	appendStringInfo(&json, ",\"data_type\":\"%s\",\"space\":\"%s\",\"method\":%s",
					 training->data_type, training->space, training->method);
	appendStringInfo(&json, ",\"threads\":%d,\"memory_limit\":" UINT64_FORMAT "}",
					 knn_index_threads, (uint64) maintenance_work_mem * 1024);
	return json.data;
}

/* What the program reports is the error; of anything else the program is the subject. */
static void
raise_failure(const KnnJobFailure *failure)
{
	const KnnMessage *error = failure->error;

	if (error)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg_internal("%s", error->message[0] != '\0' ? error->message : error->code),
				 error->detail[0] != '\0' ? errdetail_internal("%s", error->detail) : 0,
				 error->hint[0] != '\0' ? errhint("%s", error->hint) : 0));
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("knn-builder did not train the model"),
			 errdetail_internal("%s", failure->detail),
			 failure->not_started ? errhint(INSTALL_HINT) :
			 failure->hint ? errhint("%s", failure->hint) : 0));
}

static bytea *
read_result(const KnnJob *job)
{
	uint64		size;
	char	   *problem;
	int			fd = KnnSpoolOpen(&job->spool, RESULT_FILE, MaxAllocSize - VARHDRSZ, &size, &problem);
	bytea	   *data;
	uint64		done = 0;

	if (fd < 0)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("knn-builder did not train the model"),
				 errdetail_internal("The result of program \"%s\" is no model: %s.", job->program, problem)));
	data = palloc(size + VARHDRSZ);
	SET_VARSIZE(data, size + VARHDRSZ);
	while (done < size)
	{
		ssize_t		n;

		CHECK_FOR_INTERRUPTS();
		n = read(fd, VARDATA(data) + done, Min(size - done, 8 * 1024 * 1024));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read file \"%s\": %m", RESULT_FILE)));
		done += n;
	}
	CloseTransientFile(fd);
	return data;
}

bytea *
KnnRunTraining(KnnJob *job, const KnnTraining *training, KnnJobProgress progress, void *state)
{
	KnnJobFailure failure;
	KnnMessage *result = palloc(sizeof(KnnMessage));

	if (!KnnJobRun(job, "train", describe(job, training), progress, state, result, &failure))
		raise_failure(&failure);
	ereport(DEBUG1,
			(errmsg_internal("knn-builder trained with " INT64_FORMAT " vectors in %.3f s: %llu threads",
							 training->count, result->seconds,
							 (unsigned long long) result->threads)));
	pfree(result);
	return read_result(job);
}
