/*
 * serve_routes.h
 *		The service's routes: from a request whose sender may ask, to its answer.
 */
#ifndef KNN_BUILDER_SERVE_ROUTES_H
#define KNN_BUILDER_SERVE_ROUTES_H

#include "builder/serve_jobs.h"

/* What is answered. */
typedef struct serve_answer
{
	unsigned	status;
	struct json_object *body;	/* whoever sends it puts it; NULL: there was no memory */
	const char *allow;			/* methods, with 405 */
} serve_answer;

typedef struct serve_route serve_route;

/* What a route is given. */
typedef struct serve_call
{
	const serve_config *config;
	serve_jobs *jobs;
	const char *rest;			/* of the path, after the route's */
	const char *body;			/* at most SERVE_REQUEST_BYTES of it; NULL: none */
	size_t		length;			/* of what was sent: what is too long is told so */
} serve_call;

/* An answer {"detail": ...}. */
extern void serve_answer_error(serve_answer *answer, unsigned status, const char *detail);

/* The route of a method ("GET" for HEAD too) and path; NULL and *refused if there is none. */
extern const serve_route *serve_route_find(const char *method, const char *path, const char **rest,
										   serve_answer *refused);

/* Any number of threads. */
extern void serve_route_answer(const serve_route *route, const serve_call *call,
							   serve_answer *answer);

#endif
