/*
 * serve_listen.c
 *		The socket that the service listens at.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "builder/serve.h"

#define BACKLOG 256

/* Divide "ADDRESS:PORT"; an IPv6 address is in brackets. */
static bool
divide(const char *where, char host[256], const char **port)
{
	const char *colon = strrchr(where, ':');
	size_t		length = colon ? (size_t) (colon - where) : 0;

	if (length == 0 || colon[1] == '\0' || length >= 256)
		return false;
	*port = colon + 1;
	if (where[0] == '[' && where[length - 1] == ']')
	{
		where++;
		length -= 2;
	}
	else if (memchr(where, ':', length) != NULL)
		return false;
	memcpy(host, where, length);
	host[length] = '\0';
	return length > 0;
}

static bool
is_loopback(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *) address)->sin_addr.s_addr) >> 24 == 127;
	if (address->sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *) address)->sin6_addr);
	return false;
}

static int
open_socket(const struct addrinfo *info)
{
	int			on = 1;
	int			fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int			why;

	if (fd < 0)
		return -1;
	(void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	why = errno;
	close(fd);
	errno = why;
	return -1;
}

int
serve_listen(const char *where, bool *public, char address[128], builder_error *error)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *info;
	struct sockaddr_storage bound;
	socklen_t	length = sizeof(bound);
	char		host[256];
	char		number[16];
	const char *port;
	int			rc;
	int			fd;

	if (!divide(where, host, &port))
	{
		serve_fail(error, BUILDER_BAD_JOB, 0, "\"%.100s\" is no address to listen at, expected ADDRESS:PORT or [ADDRESS]:PORT", where);
		return -1;
	}
	rc = getaddrinfo(host, port, &hints, &info);
	if (rc != 0)
	{
		serve_fail(error, BUILDER_BAD_JOB, 0, "\"%.100s\" is no address to listen at", where);
		snprintf(error->detail, sizeof(error->detail), "%s", gai_strerror(rc));
		return -1;
	}
	fd = open_socket(info);
	if (fd < 0)
		serve_fail(error, BUILDER_IO, errno, "could not listen at \"%.100s\"", where);
	*public = !is_loopback(info->ai_addr);
	freeaddrinfo(info);
	if (fd < 0)
		return -1;
	if (getsockname(fd, (struct sockaddr *) &bound, &length) == 0 &&
		getnameinfo((struct sockaddr *) &bound, length, host, sizeof(host), number, sizeof(number),
					NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		snprintf(address, 128, strchr(host, ':') ? "[%.80s]:%s" : "%.80s:%s", host, number);
	else
		snprintf(address, 128, "%.100s", where);
	return fd;
}
