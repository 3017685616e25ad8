/*
 * remote_service.h
 *		Requests to a build service: their retries, and what their failures are called.
 */
#ifndef KNN_BUILDER_REMOTE_SERVICE_H
#define KNN_BUILDER_REMOTE_SERVICE_H

#include "builder/remote_job.h"
#include "builder/wait.h"

typedef struct builder_service builder_service;

/* The strings of the job must live as long; NULL: out of memory. */
extern builder_service *builder_service_open(const builder_remote_job *job,
											 const builder_going *going);
extern void builder_service_close(builder_service *service);

/*
 * GET /_heart_beat: is there a service that lets this user in?  False with *error when none
 * can be reached, or it refuses the user; any other answer will do, since not all services
 * know it.
 */
extern bool builder_service_greet(builder_service *service, builder_error *error);

/*
 * POST /_build: the id of the job, encoded.  This and the next are false with *error upon
 * failure: BUILDER_REMOTE, BUILDER_CANCELLED, BUILDER_OUT_OF_MEMORY, or BUILDER_UNREACHED
 * when the service knows nothing of it and it may be asked again.
 */
extern bool builder_service_submit(builder_service *service, const char *body,
								   char id[3 * BUILDER_REMOTE_TEXT], builder_error *error);

/* GET /_status/id, within so many seconds. */
extern bool builder_service_ask(builder_service *service, const char *id, double seconds,
								builder_remote_status *status, builder_error *error);

/*
 * DELETE /_build/id, once and within so many seconds, whatever the going says: the job's
 * result is wanted no longer.  Services may not know that, so that no answer counts.
 */
extern void builder_service_cancel(builder_service *service, const char *id, double seconds);

#endif
