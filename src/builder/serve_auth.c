/*
 * serve_auth.c
 *		Who may ask: Basic authentication (RFC 7617) with users of a file.
 *
 * Of each "user:password" only a hash is kept, of the form that a header has it in
 * (base64), so that nothing of a header needs to be decoded.  A header is compared with
 * all users, and in a time that does not depend on how far it is right.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builder/http_text.h"
#include "builder/serve.h"

#define AUTH_FILE_BYTES 65536
#define USERS_MOST 100

typedef struct User
{
	char	   *name;
	uint8_t		hash[SHA256_BYTES];
} User;

struct serve_auth
{
	uint32_t	count;
	User		users[USERS_MOST];
};

/* ---- files with secrets ---- */

/* As PostgreSQL has it for keys: the owner's alone, or root's and a group's to read. */
static bool
is_private(const struct stat *status)
{
	return status->st_uid == 0 ? (status->st_mode & 037) == 0 : (status->st_mode & 077) == 0;
}

char *
serve_secret_read(const char *path, size_t limit, builder_error *error)
{
	int			fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	char	   *text = NULL;
	size_t		length = 0;

	if (fd < 0 || fstat(fd, &status) != 0)
		serve_fail(error, BUILDER_BAD_JOB, errno, "could not open file \"%.200s\"", path);
	else if (!S_ISREG(status.st_mode) || !is_private(&status))
	{
		serve_fail(error, BUILDER_BAD_JOB, 0, "file \"%.200s\" can be read by others", path);
		snprintf(error->detail, sizeof(error->detail), "Its mode is %04o.", (unsigned) status.st_mode & 07777);
		snprintf(error->hint, sizeof(error->hint), "Use chmod 600, or 640 for a file of root.");
	}
	else if ((uint64_t) status.st_size > limit)
		serve_fail(error, BUILDER_BAD_JOB, 0, "file \"%.200s\" is longer than %zu bytes", path, limit);
	else if ((text = calloc(1, limit + 1)) == NULL)
		serve_fail(error, BUILDER_BAD_JOB, 0, "out of memory");
	else
	{
		ssize_t		n;

		while (length < limit && (n = read(fd, text + length, limit - length)) != 0)
		{
			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0)
			{
				serve_fail(error, BUILDER_BAD_JOB, errno, "could not read file \"%.200s\"", path);
				free(text);
				text = NULL;
				break;
			}
			length += (size_t) n;
		}
	}
	if (fd >= 0)
		close(fd);
	return text;
}

/* ---- users ---- */

static bool
add_user(serve_auth *auth, const char *line)
{
	User	   *user = &auth->users[auth->count];
	size_t		length = strlen(line);
	char	   *encoded = malloc(BUILDER_BASE64(length));

	user->name = strndup(line, strcspn(line, ":"));
	auth->count++;
	if (encoded)
	{
		builder_base64(encoded, line, length);
		sha256(user->hash, encoded, strlen(encoded));
		explicit_bzero(encoded, strlen(encoded));
	}
	free(encoded);
	return user->name != NULL && encoded != NULL;
}

/* False with *error for a line that is no user. */
static bool
read_users(serve_auth *auth, char *text, builder_error *error)
{
	char	   *rest = text;
	char	   *line;

	for (uint32_t number = 1; (line = strsep(&rest, "\n")) != NULL; number++)
	{
		line[strcspn(line, "\r")] = '\0';
		if (line[0] == '\0' || line[0] == '#')
			continue;
		if (line[0] == ':' || strchr(line, ':') == NULL || strchr(line, ':')[1] == '\0')
			return serve_fail(error, BUILDER_BAD_JOB, 0, "line %u of the file of --auth-file is not \"user:password\"", number);
		if (auth->count == USERS_MOST)
			return serve_fail(error, BUILDER_BAD_JOB, 0, "the file of --auth-file has more than %d users", USERS_MOST);
		if (!add_user(auth, line))
			return serve_fail(error, BUILDER_BAD_JOB, 0, "out of memory");
	}
	if (auth->count == 0)
		return serve_fail(error, BUILDER_BAD_JOB, 0, "the file of --auth-file has no users");
	return true;
}

serve_auth *
serve_auth_load(const char *path, builder_error *error)
{
	char	   *text = serve_secret_read(path, AUTH_FILE_BYTES, error);
	serve_auth *auth = text ? calloc(1, sizeof(*auth)) : NULL;
	bool		ok;

	if (text == NULL)
		return NULL;
	if (auth == NULL)
		serve_fail(error, BUILDER_BAD_JOB, 0, "out of memory");
	ok = auth && read_users(auth, text, error);
	explicit_bzero(text, AUTH_FILE_BYTES);
	free(text);
	if (ok)
		return auth;
	serve_auth_free(auth);
	return NULL;
}

void
serve_auth_free(serve_auth *auth)
{
	if (auth == NULL)
		return;
	for (uint32_t i = 0; i < auth->count; i++)
		free(auth->users[i].name);
	explicit_bzero(auth, sizeof(*auth));
	free(auth);
}

const char *
serve_auth_user(const serve_auth *auth, const char *header)
{
	uint8_t		hash[SHA256_BYTES];
	const char *user = NULL;
	size_t		length;

	if (header == NULL || strncasecmp(header, "Basic ", 6) != 0)
		return NULL;
	header += 6;
	header += strspn(header, " ");
	length = strcspn(header, " ");
	sha256(hash, header, length);
	for (uint32_t i = 0; i < auth->count; i++)
	{
		volatile uint8_t difference = 0;

		for (int j = 0; j < SHA256_BYTES; j++)
			difference |= hash[j] ^ auth->users[i].hash[j];
		if (difference == 0)
			user = auth->users[i].name;
	}
	return user;
}
