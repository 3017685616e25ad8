/*
 * instance.h
 *		The credentials of the machine: short-lived keys of a role that a cloud gives to a
 *		container or to an instance.
 */
#ifndef KNN_BUILDER_INSTANCE_H
#define KNN_BUILDER_INSTANCE_H

#include "builder/instance_text.h"
#include "builder/wait.h"

typedef struct builder_instance builder_instance;

/*
 * Where to ask, which the environment says: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or
 * _FULL_URI, or else AWS_EC2_METADATA_SERVICE_ENDPOINT.  Nothing is asked yet.  NULL and
 * *error: BUILDER_BAD_JOB when a variable is no good, or BUILDER_OUT_OF_MEMORY.
 */
extern builder_instance *builder_instance_open(builder_error *error);
extern void builder_instance_close(builder_instance *instance);

/*
 * Ask for keys, which builder_lease_free() frees; takes some seconds when there is no
 * answer, and ends at the deadline (of builder_now(); 0: none).  False and *error:
 * BUILDER_REPOSITORY, BUILDER_CANCELLED or BUILDER_OUT_OF_MEMORY.  Of one thread at a time.
 */
extern bool builder_instance_ask(builder_instance *instance, const builder_going *going,
								 double deadline, builder_lease *lease, builder_error *error);

#endif
