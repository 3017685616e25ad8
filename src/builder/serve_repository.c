/*
 * serve_repository.c
 *		Which object stores the service reads and writes.
 *
 * A request names a container; whether there is one is for this machine's
 * configuration to say.  Directories must be, or be inside of, one that is listed.
 * Buckets are those of one S3 store, whose credentials are read, or asked for, for each
 * job anew, so that they can be changed.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/serve.h"

#define CREDENTIALS_BYTES 65536

static bool
is_inside(const char *path, const char *folder)
{
	size_t		length = strlen(folder);

	return strncmp(path, folder, length) == 0 &&
		(path[length] == '\0' || path[length] == '/' || strcmp(folder, "/") == 0);
}

/* What a request names is compared after symbolic links are followed. */
static bool
is_listed_folder(const serve_config *config, const char *container)
{
	char		real[PATH_MAX];
	char		listed[PATH_MAX];

	if (container[0] != '/' || realpath(container, real) == NULL)
		return false;
	for (uint32_t i = 0; i < config->repository_dirs.count; i++)
	{
		if (realpath(config->repository_dirs.list[i], listed) && is_inside(real, listed))
			return true;
	}
	return false;
}

static bool
is_listed_bucket(const serve_config *config, const char *container)
{
	for (uint32_t i = 0; i < config->containers.count; i++)
	{
		if (strcmp(config->containers.list[i], container) == 0)
			return true;
	}
	return config->containers.count == 0;
}

/* A bucket's name becomes a part of a host name or a path. */
static bool
is_bucket_name(const char *name)
{
	size_t		length = strlen(name);

	return length >= 3 && length <= 63 && name[0] != '.' && name[0] != '-' &&
		strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-_ABCDEFGHIJKLMNOPQRSTUVWXYZ") == length;
}

static bool
is_in_environment(const char *name)
{
	const char *value = getenv(name);

	return value && value[0] != '\0';
}

void
serve_repository_check(const serve_config *config, const serve_request *request,
					   serve_problems *problems)
{
	if (request->repository_type == BUILDER_REPOSITORY_FILE)
	{
		if (config->repository_dirs.count == 0)
			serve_problem_add(problems, "repository_type", "value_error",
							  "this service has no repositories of type \"file\" (--repository-dir)");
		else if (!is_listed_folder(config, request->container_name))
			serve_problem_add(problems, "container_name", "value_error",
							  "is no directory in one that this service may use (--repository-dir)");
		return;
	}
	if (config->s3_credentials == NULL &&
		(!is_in_environment("AWS_ACCESS_KEY_ID") || !is_in_environment("AWS_SECRET_ACCESS_KEY")))
		serve_problem_add(problems, "repository_type", "value_error",
						  "this service has no credentials for S3 (--s3-credentials)");
	else if (!is_bucket_name(request->container_name))
		serve_problem_add(problems, "container_name", "value_error", "is no name of a bucket");
	else if (!is_listed_bucket(config, request->container_name))
		serve_problem_add(problems, "container_name", "value_error",
						  "is no bucket that this service may use (--container)");
}

/* A directory may have several names, and keys may begin within it. */
static bool
is_same_file(const serve_request *a, const char *key_a, const serve_request *b, const char *key_b)
{
	char		folder_a[PATH_MAX];
	char		folder_b[PATH_MAX];
	char		path_a[PATH_MAX + SERVE_KEY_BYTES + 2];
	char		path_b[PATH_MAX + SERVE_KEY_BYTES + 2];

	if (realpath(a->container_name, folder_a) == NULL || realpath(b->container_name, folder_b) == NULL)
		return false;
	snprintf(path_a, sizeof(path_a), "%s/%s", folder_a, key_a);
	snprintf(path_b, sizeof(path_b), "%s/%s", folder_b, key_b);
	return strcmp(path_a, path_b) == 0;
}

bool
serve_repository_same_result(const serve_request *a, const serve_request *b)
{
	char		key_a[SERVE_KEY_BYTES + 1];
	char		key_b[SERVE_KEY_BYTES + 1];

	if (a->repository_type != b->repository_type)
		return false;
	serve_request_result_key(a, key_a);
	serve_request_result_key(b, key_b);
	if (strcmp(a->container_name, b->container_name) == 0)
		return strcmp(key_a, key_b) == 0;
	return a->repository_type == BUILDER_REPOSITORY_FILE &&
		strcmp(serve_request_file_name(key_a), serve_request_file_name(key_b)) == 0 &&
		is_same_file(a, key_a, b, key_b);
}

/* ---- credentials ---- */

/* The value of "NAME=VALUE" if a line is that. */
static void
take_value(const char *line, const char *name, const char **value)
{
	size_t		length = strlen(name);

	if (strncmp(line, name, length) == 0 && line[length] == '=')
		*value = line + length + 1;
}

/* Lines as of an environment file; values are parts of the text. */
static bool
read_credentials(char *text, builder_repository_options *options)
{
	char	   *rest = text;
	char	   *line;

	while ((line = strsep(&rest, "\n")) != NULL)
	{
		line[strcspn(line, "\r")] = '\0';
		take_value(line, "AWS_ACCESS_KEY_ID", &options->access_key);
		take_value(line, "AWS_SECRET_ACCESS_KEY", &options->secret_key);
		take_value(line, "AWS_SESSION_TOKEN", &options->session_token);
	}
	return options->access_key && options->access_key[0] && options->secret_key &&
		options->secret_key[0];
}

builder_repository *
serve_repository_open(const serve_config *config, const serve_request *request,
					  builder_error *error)
{
	builder_repository_options options = {.type = (builder_repository_type) request->repository_type,
	.container = request->container_name};
	builder_repository *repository;
	char		folder[PATH_MAX];
	char	   *text = NULL;
	size_t		bytes = 0;		/* of text, whose lines end with zeroes soon */

	if (options.type == BUILDER_REPOSITORY_FILE)
	{
		/* again: a link may have been made since the request */
		if (!is_listed_folder(config, request->container_name) ||
			realpath(request->container_name, folder) == NULL)
		{
			serve_fail(error, BUILDER_BAD_JOB, 0,
					   "the repository's directory is not one that this service may use");
			return NULL;
		}
		options.container = folder;
		return builder_repository_open(&options, error);
	}
	options.region = config->s3_region;
	options.endpoint = config->s3_endpoint;
	options.path_style = config->s3_path_style;
	options.ca_file = config->s3_ca_file;
	options.instance = config->s3_credentials && strcmp(config->s3_credentials, SERVE_INSTANCE) == 0;
	if (config->s3_credentials && !options.instance)
	{
		text = serve_secret_read(config->s3_credentials, CREDENTIALS_BYTES, error);
		if (text == NULL)
			return NULL;
		bytes = strlen(text);
		if (!read_credentials(text, &options))
		{
			explicit_bzero(text, bytes);
			free(text);
			serve_fail(error, BUILDER_BAD_JOB, 0,
					   "the file of --s3-credentials has no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
			return NULL;
		}
	}
	repository = builder_repository_open(&options, error);
	if (text)
		explicit_bzero(text, bytes);
	free(text);
	return repository;
}
