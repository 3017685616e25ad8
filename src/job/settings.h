/*
 * settings.h
 *		Settings of the program knn-builder.
 */
#ifndef KNN_JOB_SETTINGS_H
#define KNN_JOB_SETTINGS_H

#include "postgres.h"

extern int	knn_index_threads;	/* of the program */
extern int	knn_build_external_min; /* kB of vectors; -1 never */
extern int	knn_builder_timeout;	/* ms of silence; 0 is no limit */

/* Registers the settings; called once at load. */
extern void KnnJobSettingsInit(void);

/* The program's absolute path, in path (MAXPGPATH). */
extern void KnnBuilderPath(char *path);

/* Is it the one of this installation, knn.builder_path being empty? */
extern bool KnnBuilderIsOurs(void);

#endif
