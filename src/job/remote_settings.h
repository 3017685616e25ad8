/*
 * remote_settings.h
 *		Settings of remote builds: OpenSearch's names, with underscores for the
 *		further dots.
 */
#ifndef KNN_JOB_REMOTE_SETTINGS_H
#define KNN_JOB_REMOTE_SETTINGS_H

#include "postgres.h"

extern bool knn_remote_enabled;
extern char *knn_remote_repository; /* name; empty: none, as of the texts below */
extern char *knn_remote_endpoint;
extern char *knn_remote_username;
extern char *knn_remote_ca_file;
extern int	knn_remote_poll_interval;	/* ms */
extern int	knn_remote_timeout; /* s */
extern int	knn_remote_size_max;	/* kB; 0 is no limit */
extern bool knn_remote_skip_stored_vectors;

/* The service's password, which the setting's own variable does not have. */
extern const char *KnnRemotePassword(void);

/* Registers the settings; called once at load. */
extern void KnnRemoteSettingsInit(bool preloaded);

#endif
