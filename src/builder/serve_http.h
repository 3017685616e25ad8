/*
 * serve_http.h
 *		The service's HTTP: connections, TLS, users.
 */
#ifndef KNN_BUILDER_SERVE_HTTP_H
#define KNN_BUILDER_SERVE_HTTP_H

#include "builder/serve_jobs.h"

typedef struct serve_http serve_http;

/*
 * Answer at a socket that listens, which stays the caller's.  local: for this machine alone,
 * under its own names.  NULL and *error upon failure.
 */
extern serve_http *serve_http_start(const serve_config *config, serve_jobs *jobs, int fd,
									bool local, builder_error *error);

/* Read users, certificate and key again; upon failure all stays as it was. */
extern bool serve_http_reload(serve_http *http, builder_error *error);

/* End connections that last too long, answer those that are held; some times a second. */
extern void serve_http_sweep(serve_http *http);

/* Accept no more connections, then let those that there are end. */
extern void serve_http_stop(serve_http *http);

#endif
