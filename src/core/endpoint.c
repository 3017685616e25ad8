/*
 * endpoint.c
 *		URLs of services and stores; see endpoint.h.
 */
#include "core/endpoint.h"

#include <string.h>

typedef struct Part
{
	const char *text;
	size_t		n;
} Part;

static bool
is_alphanumeric(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* All letters, digits, or of some others. */
static bool
only_of(Part part, const char *others)
{
	for (size_t i = 0; i < part.n; i++)
	{
		if (!is_alphanumeric(part.text[i]) &&
			(part.text[i] == '\0' || strchr(others, part.text[i]) == NULL))
			return false;
	}
	return true;
}

static bool
has_any(Part part, const char *characters)
{
	for (size_t i = 0; i < part.n; i++)
	{
		if (part.text[i] != '\0' && strchr(characters, part.text[i]))
			return true;
	}
	return false;
}

static bool
is_printable(Part part)
{
	for (size_t i = 0; i < part.n; i++)
	{
		if (part.text[i] <= 0x20 || part.text[i] >= 0x7F)
			return false;
	}
	return true;
}

/* Does a part begin with a text in small letters, however its own are written? */
static bool
begins(Part part, const char *text)
{
	size_t		n = strlen(text);

	if (part.n < n)
		return false;
	for (size_t i = 0; i < n; i++)
	{
		char		c = part.text[i];

		if ((c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c) != text[i])
			return false;
	}
	return true;
}

static Part
from(Part part, size_t at)
{
	return (Part) {part.text + at, part.n - at};
}

static size_t
length_without(Part part, const char *characters)
{
	size_t		n = 0;

	while (n < part.n && strchr(characters, part.text[n]) == NULL)
		n++;
	return n;
}

/* Takes the host off the part; with its brackets where it is an address of IPv6. */
static bool
take_host(Part *rest, Part *host)
{
	bool		six = rest->n > 0 && rest->text[0] == '[';
	size_t		n = length_without(*rest, six ? "]" : ":/") + six;
	bool		good;

	if (n > rest->n)
		return false;			/* no bracket at its end */
	*host = (Part) {rest->text, n};
	good = six ? n > 2 && only_of((Part) {host->text + 1, n - 2}, ":.%-_~") :
		n > 0 && only_of(*host, ".-_");
	*rest = from(*rest, n);
	return good;
}

/* ":1" to ":65535", or nothing. */
static bool
take_port(Part *rest)
{
	unsigned	port = 0;
	size_t		n;

	if (rest->n == 0 || rest->text[0] != ':')
		return true;
	*rest = from(*rest, 1);
	n = length_without(*rest, "/");
	for (size_t i = 0; i < n && port <= 65535; i++)
	{
		if (rest->text[i] < '0' || rest->text[i] > '9')
			return false;
		port = 10 * port + (unsigned) (rest->text[i] - '0');
	}
	*rest = from(*rest, n);
	return port >= 1 && port <= 65535;
}

static bool
is_loopback(Part host)
{
	static const char *const names[] = {"localhost", "[::1]"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (host.n == strlen(names[i]) && begins(host, names[i]))
			return true;
	}
	if (!begins(host, "127."))
		return false;
	for (size_t i = 0; i < host.n; i++)
	{
		if (host.text[i] != '.' && (host.text[i] < '0' || host.text[i] > '9'))
			return false;
	}
	return true;
}

const char *
knn_endpoint_read(knn_endpoint *endpoint, const char *url, size_t n)
{
	Part		all = {url, n};
	Part		rest;
	Part		host;

	memset(endpoint, 0, sizeof(*endpoint));
	endpoint->encrypted = begins(all, "https://");
	if (!endpoint->encrypted && !begins(all, "http://"))
		return "The URL must begin with \"http://\" or \"https://\".";
	if (n > KNN_ENDPOINT_BYTES || !is_printable(all))
		return "The URL must have printable ASCII characters, no blanks, and be shorter than 1024 bytes.";
	if (has_any(all, "@"))
		return "The URL must not have a user name or password in it; they have settings of their own.";
	if (has_any(all, "?#"))
		return "The URL must end with its path, without \"?\" or \"#\".";
	if (has_any(all, "\\\"<>{}|^`"))
		return "The URL must not have any of \\ \" < > { } | ^ ` in it.";
	rest = from(all, endpoint->encrypted ? 8 : 7);
	if (!take_host(&rest, &host))
		return "The URL must have the name or address of a host.";
	if (!take_port(&rest) || (rest.n > 0 && rest.text[0] != '/'))
		return "After its host the URL may have \":\" with a port from 1 to 65535, and a path that begins with \"/\".";
	endpoint->loopback = is_loopback(host);
	endpoint->length = n;
	while (url[endpoint->length - 1] == '/')
		endpoint->length--;
	return NULL;
}

const char *
knn_region_problem(const char *region, size_t n)
{
	if (n == 0 || n > KNN_REGION_BYTES || !only_of((Part) {region, n}, "-_"))
		return "It has 1 to 60 letters, digits, \"-\" and \"_\".";
	return NULL;
}
