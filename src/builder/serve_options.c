/*
 * serve_options.c
 *		The command line of knn-builder serve.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder/machine.h"
#include "builder/serve.h"

typedef enum Kind
{
	KIND_TEXT,					/* const char * */
	KIND_TEXTS,					/* serve_texts */
	KIND_NUMBER,				/* uint64_t */
	KIND_SIZE,					/* the same, bytes */
	KIND_TIME,					/* the same, seconds */
	KIND_FLAG,					/* bool, without a value */
	KIND_TLS,					/* int */
	KIND_FORMAT					/* bool: json */
} Kind;

typedef struct Option
{
	const char *name;
	Kind		kind;
	size_t		offset;			/* in serve_config */
	uint64_t	least;
	uint64_t	most;
} Option;

typedef struct Unit
{
	const char *name;
	uint64_t	factor;
} Unit;

#define IN(field) offsetof(serve_config, field)
#define YEAR (UINT64_C(366) * 86400)

static const Option options[] = {
	{"listen", KIND_TEXT, IN(listen), 0, 0},
	{"state-dir", KIND_TEXT, IN(state_dir), 0, 0},
	{"work-dir", KIND_TEXT, IN(work_dir), 0, 0},
	{"repository-dir", KIND_TEXTS, IN(repository_dirs), 0, 0},
	{"container", KIND_TEXTS, IN(containers), 0, 0},
	{"s3-endpoint", KIND_TEXT, IN(s3_endpoint), 0, 0},
	{"s3-region", KIND_TEXT, IN(s3_region), 0, 0},
	{"s3-path-style", KIND_FLAG, IN(s3_path_style), 0, 0},
	{"s3-credentials", KIND_TEXT, IN(s3_credentials), 0, 0},
	{"s3-ca-file", KIND_TEXT, IN(s3_ca_file), 0, 0},
	{"memory-limit", KIND_SIZE, IN(memory_limit), UINT64_C(33) << 20, UINT64_C(1) << 50},
	{"threads", KIND_NUMBER, IN(threads), 1, 1024},
	{"workers", KIND_NUMBER, IN(workers), 1, 64},
	{"queue", KIND_NUMBER, IN(queue), 1, 100000},
	{"jobs", KIND_NUMBER, IN(jobs), 1, 1000000},
	{"job-ttl", KIND_TIME, IN(job_ttl), 1, YEAR},
	{"job-timeout", KIND_TIME, IN(job_timeout), 1, YEAR},
	{"auth-file", KIND_TEXT, IN(auth_file), 0, 0},
	{"tls-cert", KIND_TEXT, IN(tls_cert), 0, 0},
	{"tls-key", KIND_TEXT, IN(tls_key), 0, 0},
	{"tls-min", KIND_TLS, IN(tls_min), 0, 0},
	{"insecure", KIND_FLAG, IN(insecure), 0, 0},
	{"connections", KIND_NUMBER, IN(connections), 1, 10000},
	{"request-timeout", KIND_TIME, IN(request_timeout), 1, 3600},
	{"log-format", KIND_FORMAT, IN(log_json), 0, 0},
	{"core-dumps", KIND_FLAG, IN(core_dumps), 0, 0},
	{"builder", KIND_TEXT, IN(builder), 0, 0},
	{"help", KIND_FLAG, IN(help), 0, 0},
};

#define NOPTIONS (sizeof(options) / sizeof(options[0]))

static const Unit size_units[] = {
	{"", 1}, {"B", 1}, {"kB", UINT64_C(1) << 10}, {"MB", UINT64_C(1) << 20},
	{"GB", UINT64_C(1) << 30}, {"TB", UINT64_C(1) << 40}, {NULL, 0}};
static const Unit time_units[] = {
	{"", 1}, {"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}, {NULL, 0}};
static const Unit no_units[] = {{"", 1}, {NULL, 0}};

const char *const serve_options_usage =
"knn-builder serve is a remote build service for indexes of knn and of OpenSearch.\n"
"\n"
"Usage:\n"
"  knn-builder serve --state-dir DIR --work-dir DIR [OPTION]...\n"
"\n"
"  --listen ADDRESS:PORT   where to listen (127.0.0.1:1025)\n"
"  --state-dir DIR         what is known of jobs; survives a restart\n"
"  --work-dir DIR          files of running jobs; needs room for vectors and results\n"
"\n"
"Object stores\n"
"  --repository-dir DIR    a directory that may hold repositories of type \"file\"; may be repeated\n"
"  --container NAME        a bucket that may be used; may be repeated (every bucket)\n"
"  --s3-endpoint URL       store that speaks S3 (AWS_ENDPOINT_URL, or Amazon's)\n"
"  --s3-region NAME        its region (AWS_REGION, or us-east-1)\n"
"  --s3-path-style         the bucket in the path and not in the host's name\n"
"  --s3-credentials FILE   lines AWS_ACCESS_KEY_ID=... and AWS_SECRET_ACCESS_KEY=... (the environment)\n"
"  --s3-credentials instance  the machine's own, of its metadata service\n"
"  --s3-ca-file FILE       certificates to trust (the system's)\n"
"\n"
"Jobs\n"
"  --memory-limit SIZE     of all builds together (three quarters of what this process may have)\n"
"  --workers N             jobs at once (1)\n"
"  --threads N             threads of each (processors / workers)\n"
"  --queue N               jobs that may wait (100)\n"
"  --jobs N                jobs that may be known, the oldest that are over are forgotten (10000)\n"
"  --job-ttl TIME          how long jobs that are over stay known (24h)\n"
"  --job-timeout TIME      how long a job may run (6h)\n"
"  --builder PATH          program that builds (this one)\n"
"\n"
"Access\n"
"  --auth-file FILE        lines user:password, for Basic authentication\n"
"  --tls-cert FILE         certificate chain, PEM\n"
"  --tls-key FILE          its key, PEM\n"
"  --tls-min 1.2|1.3       (1.2)\n"
"  --insecure              listen to other machines without TLS or users, under any name\n"
"  --connections N         at once (256)\n"
"  --request-timeout TIME  how long a connection may last (30s)\n"
"  --log-format text|json  (text)\n"
"  --core-dumps            let it be debugged, with the passwords and keys in its memory\n"
"\n"
"SIZE: bytes, kB, MB, GB, TB. TIME: s, min, h, d.\n"
"SIGTERM ends it and keeps its jobs for the next start; SIGHUP reads the files of\n"
"--auth-file, --tls-cert and --tls-key again.\n";

__attribute__((format(printf, 2, 3)))
static bool
refuse(builder_error *error, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);
	return false;
}

static bool
read_number(const Option *option, const char *text, uint64_t *to, builder_error *error)
{
	const Unit *units = option->kind == KIND_SIZE ? size_units :
		option->kind == KIND_TIME ? time_units : no_units;
	size_t		digits = strspn(text, "0123456789");
	uint64_t	number = strtoull(text, NULL, 10);

	for (; units->name && strcmp(text + digits, units->name) != 0; units++)
		;
	if (digits == 0 || digits > 18 || units->name == NULL)
		return refuse(error, "--%s: \"%.60s\" is no %s", option->name, text,
					  option->kind == KIND_SIZE ? "size (bytes, kB, MB, GB or TB)" :
					  option->kind == KIND_TIME ? "time (s, min, h or d)" : "whole number");
	if (number > option->most / units->factor || number * units->factor < option->least)
		return refuse(error, "--%s: %.60s is out of range, expected %llu to %llu", option->name, text,
					  (unsigned long long) option->least, (unsigned long long) option->most);
	*to = number * units->factor;
	return true;
}

/* One of two words. */
static bool
read_word(const Option *option, const char *text, const char *first, const char *second,
		  bool *is_second, builder_error *error)
{
	*is_second = strcmp(text, second) == 0;
	return *is_second || strcmp(text, first) == 0 ||
		refuse(error, "--%s: \"%.60s\" is neither %s nor %s", option->name, text, first, second);
}

static bool
set(serve_config *config, const Option *option, const char *value, builder_error *error)
{
	void	   *to = (char *) config + option->offset;
	serve_texts *texts = to;
	bool		second = false;

	switch (option->kind)
	{
		case KIND_TEXT:
			*(const char **) to = value;
			return true;
		case KIND_TEXTS:
			if (texts->count == SERVE_TEXTS)
				return refuse(error, "--%s is given more than %d times", option->name, SERVE_TEXTS);
			texts->list[texts->count++] = value;
			return true;
		case KIND_FLAG:
			*(bool *) to = true;
			return true;
		case KIND_TLS:
			if (!read_word(option, value, "1.2", "1.3", &second, error))
				return false;
			*(int *) to = second ? 13 : 12;
			return true;
		case KIND_FORMAT:
			return read_word(option, value, "text", "json", to, error);
		default:
			return read_number(option, value, to, error);
	}
}

/* The option of an argument, and its value where that is in the same argument. */
static const Option *
find_option(const char *argument, const char **value)
{
	size_t		length = strcspn(argument, "=");

	*value = argument[length] == '=' ? argument + length + 1 : NULL;
	for (size_t i = 0; length > 2 && i < NOPTIONS; i++)
	{
		if (strncmp(argument, "--", 2) == 0 && strlen(options[i].name) == length - 2 &&
			strncmp(argument + 2, options[i].name, length - 2) == 0)
			return &options[i];
	}
	return NULL;
}

static void
set_defaults(serve_config *config)
{
	memset(config, 0, sizeof(*config));
	config->listen = "127.0.0.1:1025";
	config->memory_limit = builder_machine_memory("") / 4 * 3;
	config->workers = 1;
	config->queue = 100;
	config->jobs = 10000;
	config->job_ttl = 86400;
	config->job_timeout = 6 * 3600;
	config->tls_min = 12;
	config->connections = 256;
	config->request_timeout = 30;
	config->builder = "/proc/self/exe";
}

static bool
check_together(serve_config *config, builder_error *error)
{
	if (config->state_dir == NULL || config->work_dir == NULL)
		return refuse(error, "--%s is required", config->state_dir ? "work-dir" : "state-dir");
	if (config->state_dir[0] != '/' || config->work_dir[0] != '/' || strlen(config->state_dir) > 900 ||
		strlen(config->work_dir) > 900)
		return refuse(error, "--state-dir and --work-dir must be absolute paths of at most 900 bytes");
	if ((config->tls_cert == NULL) != (config->tls_key == NULL))
		return refuse(error, "--tls-cert and --tls-key need each other");
	for (uint32_t i = 0; i < config->repository_dirs.count; i++)
	{
		if (config->repository_dirs.list[i][0] != '/')
			return refuse(error, "--repository-dir: \"%.100s\" is no absolute path",
						  config->repository_dirs.list[i]);
	}
	if (config->threads == 0)
	{
		uint64_t	processors = builder_machine_processors("");

		config->threads = processors > config->workers ? processors / config->workers : 1;
	}
	return true;
}

bool
serve_options_parse(serve_config *config, int argc, char **argv, builder_error *error)
{
	memset(error, 0, sizeof(*error));
	error->code = BUILDER_BAD_JOB;
	set_defaults(config);
	for (int i = 0; i < argc; i++)
	{
		const char *value;
		const Option *option = find_option(argv[i], &value);

		if (option == NULL)
			return refuse(error, "unknown option \"%.60s\"", argv[i]);
		if (option->kind == KIND_FLAG && value)
			return refuse(error, "--%s takes no value", option->name);
		if (option->kind != KIND_FLAG && value == NULL && (value = argv[++i]) == NULL)
			return refuse(error, "--%s needs a value", option->name);
		if (!set(config, option, value, error))
			return false;
	}
	return config->help || check_together(config, error);
}
