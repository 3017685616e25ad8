/*
 * train_exec.c
 *		knn-builder train: becomes the program knn-train.
 *
 * Training takes faiss, and with it OpenMP and a BLAS, which every build would load
 * were they linked into this program.  So it is a program of its own (train.cpp),
 * which is found by its place: beside this one, or in the folder of libraries that
 * belongs to it.  It keeps process and standard streams, and what the server asked
 * for in them: who waits for the one waits for the other.
 */
#include "builder/train_exec.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "builder/output.h"

/* The folder of libraries, from that of programs. */
#ifndef KNN_LIBRARIES
#define KNN_LIBRARIES "../lib"
#endif

#define PROGRAM "knn-train"

static const char *const folders[] = {".", KNN_LIBRARIES};

#define NFOLDERS (sizeof(folders) / sizeof(folders[0]))

/* The folder this program is in, links followed. */
static void
own_folder(char *path, size_t size)
{
	ssize_t		length = readlink("/proc/self/exe", path, size);
	char	   *slash;

	if (length < 0 || (size_t) length >= size)
		builder_fail_with(BUILDER_INTERNAL, length < 0 ? errno : ENAMETOOLONG,
						  "could not find the place of this program");
	path[length] = '\0';
	slash = strrchr(path, '/');
	if (slash)
		*slash = '\0';
}

void
builder_train(void)
{
	char	   *const argv[] = {PROGRAM, NULL};
	char		folder[PATH_MAX];
	builder_error error = {.code = BUILDER_NOT_INSTALLED};

	own_folder(folder, sizeof(folder));
	for (size_t i = 0; i < NFOLDERS; i++)
	{
		char		path[2 * PATH_MAX];

		snprintf(path, sizeof(path), "%s/%s/" PROGRAM, folder, folders[i]);
		execv(path, argv);
		if (errno != ENOENT && errno != ENOTDIR)
			builder_fail_with(BUILDER_IO, errno, "could not run the program \"" PROGRAM "\"");
	}
	snprintf(error.message, sizeof(error.message), "the program \"" PROGRAM "\" is not installed");
	snprintf(error.detail, sizeof(error.detail), "It is neither in \"%.240s\" nor in its \"%.200s\".",
			 folder, KNN_LIBRARIES);
	snprintf(error.hint, sizeof(error.hint), "Where faiss is installed (Debian: libfaiss-dev, "
			 "liblapack-dev), it is built and installed with the extension.");
	builder_fail(&error);
}
