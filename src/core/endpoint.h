/*
 * endpoint.h
 *		Where services and stores are: what a URL and a region may be.
 *
 * The server asks when a setting or an option is given, the program when it gets them:
 * what the one takes the other must not refuse.
 */
#ifndef KNN_CORE_ENDPOINT_H
#define KNN_CORE_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>

#define KNN_ENDPOINT_BYTES 1023 /* that a URL may have, */
#define KNN_REGION_BYTES 60		/* and a region */

typedef struct knn_endpoint
{
	size_t		length;			/* of the URL without slashes at its end */
	bool		encrypted;		/* https */
	bool		loopback;		/* its host is this machine, by name or address */
} knn_endpoint;

/*
 * Take a URL of n bytes apart: http or https, a host, perhaps a port and a path, and nothing
 * else (RFC 3986).  NULL, or a sentence about what is wrong with it.
 */
extern const char *knn_endpoint_read(knn_endpoint *endpoint, const char *url, size_t n);

/* What is wrong with a region's name of n bytes, as a sentence; NULL if nothing. */
extern const char *knn_region_problem(const char *region, size_t n);

#endif
