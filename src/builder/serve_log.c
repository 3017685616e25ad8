/*
 * serve_log.c
 *		Lines of the log; see serve_log.h.
 *
 * A line is put together in memory and written at once, so that those of several
 * threads do not mix.
 */
#include "builder/serve_log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 8192
#define VALUE_BYTES 1500		/* of one, as it is written */

typedef struct Line
{
	char		text[LINE_BYTES];
	size_t		length;
} Line;

static bool as_json;

void
serve_log_format(bool json)
{
	as_json = json;
}

const char *
serve_number(char text[24], uint64_t n)
{
	snprintf(text, 24, "%llu", (unsigned long long) n);
	return text;
}

/* What does not fit is left out; the end of the line has room of its own. */
static void
put(Line *line, const char *text, size_t length)
{
	if (length > sizeof(line->text) - 2 - line->length)
		return;
	memcpy(line->text + line->length, text, length);
	line->length += length;
}

static void
put_text(Line *line, const char *text)
{
	put(line, text, strlen(text));
}

/* Whether a value can stand in a line of text as it is. */
static bool
plain(const char *value)
{
	for (const char *p = value; *p; p++)
	{
		if ((unsigned char) *p <= ' ' || (unsigned char) *p >= 0x7F || *p == '"' || *p == '=' ||
			*p == '\\')
			return false;
	}
	return *value != '\0';
}

/*
 * Bytes of a character beyond ASCII, 0 when these are none of UTF-8 or, as U+0080 to
 * U+009F, one that controls a terminal.
 */
static size_t
character_bytes(const unsigned char *p)
{
	size_t		n = p[0] >= 0xF0 && p[0] <= 0xF4 ? 4 : p[0] >= 0xE0 && p[0] < 0xF0 ? 3 :
		p[0] >= 0xC2 && p[0] < 0xE0 ? 2 : 0;

	for (size_t i = 1; i < n; i++)
	{
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	}
	if ((p[0] == 0xC2 && p[1] < 0xA0) || (p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] >= 0xA0) ||
		(p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] >= 0x90))
		return 0;
	return n;
}

/* In quotes, without anything that would end the line or move a terminal's cursor. */
static void
put_quoted(Line *line, const char *value)
{
	size_t		end = line->length + VALUE_BYTES;

	put_text(line, "\"");
	for (const unsigned char *p = (const unsigned char *) value; *p && line->length < end; p++)
	{
		size_t		beyond = *p >= 0x80 ? character_bytes(p) : 0;
		char		escaped[8];

		if (beyond > 0)
		{
			put(line, (const char *) p, beyond);
			p += beyond - 1;
			continue;
		}
		if (*p == '"' || *p == '\\')
			snprintf(escaped, sizeof(escaped), "\\%c", *p);
		else if (*p < ' ' || *p >= 0x7F)
			snprintf(escaped, sizeof(escaped), "\\u%04x", (unsigned) *p);
		else
			snprintf(escaped, sizeof(escaped), "%c", *p);
		put_text(line, escaped);
	}
	put_text(line, "\"");
}

static void
put_pair(Line *line, const char *name, const char *value)
{
	if (line->length > 1)
		put_text(line, as_json ? "," : " ");
	if (as_json)
	{
		put_quoted(line, name);
		put_text(line, ":");
		put_quoted(line, value);
		return;
	}
	put_text(line, name);
	put_text(line, "=");
	if (plain(value) && strlen(value) < VALUE_BYTES)
		put_text(line, value);
	else
		put_quoted(line, value);
}

void
serve_log(const char *level, const char *event,...)
{
	Line		line = {.length = 0};
	struct timespec now;
	struct tm	parts;
	char		seconds[32];
	char		stamp[48];
	const char *name;
	va_list		args;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &parts);
	strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(stamp, sizeof(stamp), "%s.%03ldZ", seconds, now.tv_nsec / 1000000);

	if (as_json)
		put_text(&line, "{");
	put_pair(&line, "time", stamp);
	put_pair(&line, "level", level);
	put_pair(&line, "event", event);
	va_start(args, event);
	while ((name = va_arg(args, const char *)) != NULL)
	{
		const char *value = va_arg(args, const char *);

		if (value)
			put_pair(&line, name, value);
	}
	va_end(args);
	if (as_json)
		line.text[line.length++] = '}';
	line.text[line.length++] = '\n';
	/* nobody reads it: then there is nobody to tell that either */
	if (write(STDERR_FILENO, line.text, line.length) < 0)
		return;
}
