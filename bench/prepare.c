/*
 * prepare.c
 *		The statements `prepare`, `unprepare` and `prepared_bytes` of a system.
 */
#include "prepare.h"
#include "fail.h"
#include "load.h"
#include "progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static char *
expand(PGconn *conn, const system_t *system, const char *template, const dataset_t *set,
	   const char *table)
{
	char	   *index = index_of(conn, table);
	char	   *statement;

	if (index == NULL)
		die("%s has no index", table);
	statement = system_expand(system, template, table, index, set, 0);
	free(index);
	return statement;
}

/*
 * An answer like {"total": 1, "failed": 1} is no error to the server, yet
 * nothing was loaded.
 */
static bool
says_failed(const char *answer)
{
	const char *at = answer != NULL ? strstr(answer, "\"failed\"") : NULL;

	if (at == NULL)
		return false;
	at += strcspn(at, ":");
	return *at == ':' && strtod(at + 1, NULL) > 0;
}

double
prepare_index(PGconn *conn, const system_t *system, const dataset_t *set, const char *table)
{
	static char *told[16];
	static int	ntold;
	char	   *statement,
			   *text,
			   *message;
	double		seconds;

	if (system->prepare == NULL)
		return NAN;
	statement = expand(conn, system, system->prepare, set, table);
	seconds = -now_seconds();
	if (server_try(conn, statement, &text, &message) && !says_failed(text))
		seconds += now_seconds();
	else
	{
		bool		again = false;

		for (int i = 0; i < ntold; i++)
			again |= strcmp(told[i], system->name) == 0;
		if (!again)
			warn("system \"%s\": measured without its cache: %s: %s", system->name, statement,
				 message != NULL ? message : text);
		if (!again && ntold < 16)
			told[ntold++] = system->name;
		seconds = NAN;
	}
	free(statement);
	free(text);
	free(message);
	return seconds;
}

void
unprepare_index(PGconn *conn, const system_t *system, const dataset_t *set, const char *table)
{
	char	   *statement = expand(conn, system, system->unprepare, set, table);

	server_exec(conn, "%s", statement);
	free(statement);
}

double
prepared_bytes(PGconn *conn, const system_t *system, const dataset_t *set, const char *table)
{
	char	   *statement,
			   *text,
			   *message;
	double		bytes = NAN;

	if (system->prepared_bytes == NULL)
		return NAN;
	statement = expand(conn, system, system->prepared_bytes, set, table);
	if (server_try(conn, statement, &text, &message))
		bytes = text != NULL ? strtod(text, NULL) : 0;
	free(statement);
	free(text);
	free(message);
	return bytes;
}

bool
can_prepare(PGconn *conn, const system_t *system, const dataset_t *set, const char *table)
{
	return system->prepare != NULL && system->unprepare != NULL &&
		!isnan(prepare_index(conn, system, set, table));
}
