/*
 * systems.c
 *		Reading the INI file of systems, and filling in its statements.
 */
#define _GNU_SOURCE
#include "systems.h"
#include "fail.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *
trim(char *s)
{
	char	   *end;

	while (isspace((unsigned char) *s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char) end[-1]))
		*--end = '\0';
	return s;
}

void
system_set_sweep(system_t *system, const char *values)
{
	char	   *list = copy_string(values);
	char	   *save = NULL;

	system->nsweep = 0;
	for (char *v = strtok_r(list, ",", &save); v != NULL; v = strtok_r(NULL, ",", &save))
	{
		v = trim(v);
		if (*v == '\0')
			continue;
		if (system->nsweep == MAX_SWEEP)
			die("system \"%s\": more than %d values in a sweep", system->name, MAX_SWEEP);
		system->sweep_values[system->nsweep++] = v;
	}
	if (system->nsweep == 0)
		die("system \"%s\": no values in the sweep \"%s\"; write them as 10,20,40",
			system->name, values);
}

void
system_set(system_t *system, const char *name, const char *value)
{
	for (int i = 0; i < system->nset; i++)
		if (strcmp(system->set_names[i], name) == 0)
		{
			system->set_values[i] = copy_string(value);
			return;
		}
	if (system->nset == MAX_SET)
		die("system \"%s\": more than %d settings", system->name, MAX_SET);
	system->set_names[system->nset] = copy_string(name);
	system->set_values[system->nset++] = copy_string(value);
}

static void
take_key(system_t *s, const char *path, int line, char *key, char *value)
{
	struct
	{
		const char *key;
		char	  **where;
	}			keys[] =
	{
		{"program", &s->program},
		{"conninfo", &s->conninfo},
		{"extension", &s->extension},
		{"type", &s->type},
		{"index", &s->index},
		{"query", &s->query},
		{"operator.l2", &s->operators[METRIC_L2]},
		{"operator.cosine", &s->operators[METRIC_COSINE]},
		{"operator.ip", &s->operators[METRIC_IP]},
		{"prepare", &s->prepare},
		{"unprepare", &s->unprepare},
		{"prepared_bytes", &s->prepared_bytes},
	};
	char	   *eq = strchr(value, '=');

	if (strcmp(key, "sweep") == 0)
	{
		if (eq == NULL)
			die("%s:%d: a sweep is written as sweep = setting = 10,20,40", path, line);
		*eq = '\0';
		s->sweep_name = copy_string(trim(value));
		system_set_sweep(s, eq + 1);
		return;
	}
	if (strcmp(key, "bypass") == 0)
	{
		if (eq == NULL)
			die("%s:%d: a bypass is written as bypass = setting = value", path, line);
		*eq = '\0';
		s->bypass_name = copy_string(trim(value));
		s->bypass_value = copy_string(trim(eq + 1));
		return;
	}
	if (strncmp(key, "set.", 4) == 0)
	{
		system_set(s, key + 4, value);
		return;
	}
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strcmp(key, keys[i].key) == 0)
		{
			*keys[i].where = copy_string(value);
			return;
		}
	die("%s:%d: unknown key \"%s\"; known are program, conninfo, extension, type, index, query, operator.l2, operator.cosine, operator.ip, sweep, prepare, unprepare, prepared_bytes, bypass and set.NAME",
		path, line, key);
}

static void
check_system(const system_t *s, const char *path)
{
	if ((s->type == NULL && s->program == NULL) || s->index == NULL || s->sweep_name == NULL)
		die("%s: system \"%s\" needs type (or program), index and sweep", path, s->name);
	if (s->unprepare != NULL && s->prepare == NULL)
		die("%s: system \"%s\" has an unprepare but no prepare", path, s->name);
	for (const char *p = s->name; *p; p++)
		if (!(islower((unsigned char) *p) || isdigit((unsigned char) *p) || *p == '_'))
			die("%s: \"[%s]\": a system's name becomes part of a table's: use a-z, 0-9 and _ only",
				path, s->name);
	if (strlen(s->name) > 24)
		die("%s: \"[%s]\": a system's name has at most 24 letters", path, s->name);
}

system_t *
systems_read(const char *path, const char *only, int *count)
{
	FILE	   *f = fopen(path, "r");
	system_t   *all = NULL,
			   *chosen;
	int			n = 0,
				nchosen = 0;
	char	   *text = NULL;
	size_t		room = 0;
	char	   *list,
			   *save = NULL;

	if (f == NULL)
		die("cannot open the file of systems \"%s\": %s", path, strerror(errno));
	for (int line = 1; getline(&text, &room, f) >= 0; line++)
	{
		char	   *s = trim(text);
		char	   *eq;

		if (*s == '\0' || *s == '#' || *s == ';')
			continue;
		if (*s == '[')
		{
			char	   *end = strchr(s, ']');

			if (end == NULL)
				die("%s:%d: \"%s\" lacks its ]", path, line, s);
			*end = '\0';
			for (int i = 0; i < n; i++)
				if (strcmp(all[i].name, s + 1) == 0)
					die("%s:%d: there are two systems [%s]", path, line, s + 1);
			all = grow_array(all, (size_t) n + 1, sizeof(*all));
			memset(&all[n], 0, sizeof(*all));
			all[n].name = copy_string(s + 1);
			all[n].operators[METRIC_L2] = copy_string("<->");
			all[n].operators[METRIC_COSINE] = copy_string("<=>");
			all[n].operators[METRIC_IP] = copy_string("<#>");
			n++;
			continue;
		}
		eq = strchr(s, '=');
		if (eq == NULL || n == 0)
			die("%s:%d: \"%s\" is neither [system], nor key = value below one", path, line, s);
		*eq = '\0';
		take_key(&all[n - 1], path, line, trim(s), trim(eq + 1));
	}
	free(text);
	fclose(f);
	for (int i = 0; i < n; i++)
		check_system(&all[i], path);
	if (n == 0)
		die("%s: no systems; begin one with [name]", path);
	if (only == NULL)
	{
		*count = n;
		return all;
	}

	chosen = alloc_array((size_t) n, sizeof(*chosen));
	list = copy_string(only);
	for (char *v = strtok_r(list, ",", &save); v != NULL; v = strtok_r(NULL, ",", &save))
	{
		int			i;

		v = trim(v);
		for (i = 0; i < n && strcmp(all[i].name, v) != 0; i++)
			;
		if (i == n)
			die("%s: there is no system [%s]", path, v);
		for (int j = 0; j < nchosen; j++)
			if (strcmp(chosen[j].name, v) == 0)
				die("--only names \"%s\" twice", v);
		chosen[nchosen++] = all[i];
	}
	if (nchosen == 0)
		die("--only \"%s\" names no system", only);
	free(list);
	*count = nchosen;
	return chosen;
}

char *
system_expand(const system_t *system, const char *template, const char *table,
			  const char *index, const dataset_t *set, size_t k)
{
	char	   *out = copy_string("");

	for (const char *p = template; *p != '\0';)
	{
		const char *open = strchr(p, '{');
		const char *close = open != NULL ? strchr(open, '}') : NULL;
		char	   *name,
				   *value,
				   *longer;

		if (close == NULL)
		{
			longer = format_string("%s%s", out, p);
			free(out);
			return longer;
		}
		name = format_string("%.*s", (int) (close - open - 1), open + 1);
		if (strcmp(name, "table") == 0)
			value = copy_string(table);
		else if (strcmp(name, "index") == 0 && index != NULL)
			value = copy_string(index);
		else if (strcmp(name, "dim") == 0)
			value = format_string("%u", set->base.dim);
		else if (strcmp(name, "metric") == 0)
			value = copy_string(metric_name(set->metric));
		else if (strcmp(name, "op") == 0)
			value = copy_string(system->operators[set->metric]);
		else if (strcmp(name, "type") == 0)
			value = copy_string(system->type);
		else if (strcmp(name, "k") == 0)
			value = format_string("%zu", k);
		else
			die("system \"%s\": unknown placeholder {%s} in \"%s\"; known are {table} {index} (once there is one) {dim} {metric} {op} {type} {k}",
				system->name, name, template);
		longer = format_string("%s%.*s%s", out, (int) (open - p), p, value);
		free(out);
		free(name);
		free(value);
		out = longer;
		p = close + 1;
	}
	return out;
}
