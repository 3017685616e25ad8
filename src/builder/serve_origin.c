/*
 * serve_origin.c
 *		Requests that a browser makes for somebody else's page.
 *
 * A page of any site may let the browser that shows it send requests, also to services
 * that only this machine can reach.  What such a request carries is told by the Fetch
 * standard: Origin, which is the page's, where the answer could be read or something
 * changed; and Sec-Fetch-Site.  Other clients send neither.
 *
 * A page may also have the name of its own site resolved to this machine after it was
 * loaded ("DNS rebinding"): to the browser that is the same site, but Host has that name.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include "builder/serve.h"

#define ADDRESS_BYTES 64

bool
serve_origin_is_foreign(const char *origin, const char *site, const char *host)
{
	const char *of_origin;

	if (site && strcasecmp(site, "cross-site") == 0)
		return true;
	if (origin == NULL)
		return false;
	/* "null" is that of a page that has none of its own */
	of_origin = strstr(origin, "://");
	return of_origin == NULL || host == NULL || strcasecmp(of_origin + 3, host) != 0;
}

/* Divide "name", "name:port" or "[address]:port"; false when it is none of these. */
static bool
take_name(const char *host, char name[ADDRESS_BYTES], bool *brackets)
{
	size_t		length;
	const char *end;

	*brackets = host[0] == '[';
	if (*brackets)
		host++;
	length = strcspn(host, *brackets ? "]" : ":");
	end = host + length;
	if (length == 0 || length >= ADDRESS_BYTES || (*brackets && *end++ != ']'))
		return false;
	if (*end == ':')
		end += 1 + strspn(end + 1, "0123456789");
	memcpy(name, host, length);
	name[length] = '\0';
	return *end == '\0';
}

bool
serve_origin_host_is_local(const char *host)
{
	char		name[ADDRESS_BYTES];
	struct in_addr v4;
	struct in6_addr v6;
	bool		brackets;

	if (!take_name(host, name, &brackets))
		return false;
	if (brackets)
		return inet_pton(AF_INET6, name, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
	return strcasecmp(name, "localhost") == 0 ||
		(inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127);
}
