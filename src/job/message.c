/*
 * message.c
 *		The lines that knn-builder prints; see message.h.
 *
 * A parser for exactly these lines: an object with one member whose value is an
 * object of numbers, texts and booleans.  PostgreSQL's JSON parser would raise errors where
 * this has to say no: at deep nesting, and at characters that the encoding of the
 * database lacks.
 */
#include "postgres.h"

#include "job/message.h"

#include <math.h>

#include "core/secret.h"
#include "mb/pg_wchar.h"

typedef struct Reader
{
	const char *at;
	const char *end;
} Reader;

typedef enum ValueKind
{
	VALUE_NUMBER,
	VALUE_TEXT,
	VALUE_BOOL
} ValueKind;

/* A member's value; text is empty for others, and number 0 or 1 for a boolean. */
typedef struct Value
{
	ValueKind	kind;
	double		number;
	char		text[KNN_MESSAGE_TEXT];
} Value;

static void
skip_blanks(Reader *reader)
{
	while (reader->at < reader->end &&
		   (*reader->at == ' ' || *reader->at == '\t' || *reader->at == '\r'))
		reader->at++;
}

static bool
take(Reader *reader, char c)
{
	skip_blanks(reader);
	if (reader->at == reader->end || *reader->at != c)
		return false;
	reader->at++;
	return true;
}

static bool
read_hex4(Reader *reader, uint32 *value)
{
	*value = 0;
	for (int i = 0; i < 4; i++)
	{
		char		c;

		if (reader->at == reader->end)
			return false;
		c = *reader->at++;
		if (c >= '0' && c <= '9')
			*value = *value * 16 + (c - '0');
		else if (c >= 'a' && c <= 'f')
			*value = *value * 16 + (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			*value = *value * 16 + (c - 'A' + 10);
		else
			return false;
	}
	return true;
}

/* What follows a backslash; its bytes go to out, 4 at most. */
static bool
read_escape(Reader *reader, char *out, int *nout)
{
	uint32		code;
	uint32		low;
	char		c;

	if (reader->at == reader->end)
		return false;
	c = *reader->at++;
	*nout = 1;
	switch (c)
	{
		case '"':
		case '\\':
		case '/':
			*out = c;
			return true;
		case 'n':
		case 't':
		case 'r':
		case 'b':
		case 'f':
			*out = ' ';			/* a message is one line here */
			return true;
		case 'u':
			break;
		default:
			return false;
	}
	if (!read_hex4(reader, &code))
		return false;
	if (code >= 0xD800 && code < 0xDC00)
	{
		if (reader->end - reader->at < 2 || reader->at[0] != '\\' || reader->at[1] != 'u')
			return false;
		reader->at += 2;
		if (!read_hex4(reader, &low) || low < 0xDC00 || low > 0xDFFF)
			return false;
		code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
	}
	else if (code >= 0xDC00 && code <= 0xDFFF)
		return false;
	if (code < 0x20)
		code = '?';
	unicode_to_utf8(code, (unsigned char *) out);
	*nout = pg_utf_mblen((unsigned char *) out);
	return true;
}

/* U+0080 to U+009F, which terminals may obey as they do those below U+0020. */
static bool
is_control_of_two_bytes(const char *at)
{
	return (unsigned char) at[0] == 0xC2 && (unsigned char) at[1] >= 0x80 && (unsigned char) at[1] < 0xA0;
}

/*
 * UTF-8 made text of the database's encoding, in place: where that is another
 * one, only ASCII is sure to be in it.  Each byte of what cannot be shown is a "?".
 */
static void
make_presentable(char *text)
{
	bool		keep = GetDatabaseEncoding() == PG_UTF8;

	for (char *at = text; *at != '\0';)
	{
		int			length = IS_HIGHBIT_SET(*at) ? pg_utf_mblen((unsigned char *) at) : 1;

		if (!IS_HIGHBIT_SET(*at))
		{
			if ((unsigned char) *at < 0x20 || *at == 0x7F)
				*at = '?';
		}
		else if (!keep || strnlen(at, length) < length ||
				 !pg_utf8_islegal((unsigned char *) at, length) || is_control_of_two_bytes(at))
		{
			*at = '?';
			length = 1;
		}
		at += length;
	}
}

/* A text, cut to size bytes with its end. */
static bool
read_text(Reader *reader, char *text, Size size)
{
	Size		used = 0;
	bool		cut = false;

	if (!take(reader, '"'))
		return false;
	while (reader->at < reader->end)
	{
		char		bytes[8];
		int			nbytes = 1;

		bytes[0] = *reader->at++;
		if (bytes[0] == '"')
		{
			text[used] = '\0';
			make_presentable(text);
			return true;
		}
		if ((unsigned char) bytes[0] < 0x20)
			return false;
		if (bytes[0] == '\\' && !read_escape(reader, bytes, &nbytes))
			return false;
		cut = cut || used + nbytes >= size;
		if (!cut)
		{
			memcpy(text + used, bytes, nbytes);
			used += nbytes;
		}
	}
	return false;
}

static bool
read_number(Reader *reader, double *number)
{
	char		digits[64];
	int			length = 0;
	char	   *end;

	skip_blanks(reader);
	while (reader->at < reader->end && length < sizeof(digits) - 1 &&
		   strchr("0123456789+-.eE", *reader->at) != NULL && *reader->at != '\0')
		digits[length++] = *reader->at++;
	digits[length] = '\0';
	if (length == 0 || !(digits[0] == '-' || (digits[0] >= '0' && digits[0] <= '9')))
		return false;
	*number = strtod(digits, &end);
	return *end == '\0' && isfinite(*number);
}

static bool
take_word(Reader *reader, const char *word)
{
	Size		length = strlen(word);

	if (reader->end - reader->at < length || memcmp(reader->at, word, length) != 0)
		return false;
	reader->at += length;
	return true;
}

static bool
read_value(Reader *reader, Value *value)
{
	skip_blanks(reader);
	value->number = 0;
	value->text[0] = '\0';
	if (reader->at < reader->end && *reader->at == '"')
	{
		value->kind = VALUE_TEXT;
		return read_text(reader, value->text, sizeof(value->text));
	}
	value->kind = VALUE_BOOL;
	if (take_word(reader, "true"))
	{
		value->number = 1;
		return true;
	}
	if (take_word(reader, "false"))
		return true;
	value->kind = VALUE_NUMBER;
	return read_number(reader, &value->number);
}

/* Numbers beyond 2^53 are none of a build. */
static bool
to_count(const Value *value, uint64 *count)
{
	if (value->kind != VALUE_NUMBER || value->number < 0 || value->number > 9007199254740992.0)
		return false;
	*count = (uint64) value->number;
	return true;
}

static bool
to_text(const Value *value, char *text)
{
	if (value->kind != VALUE_TEXT)
		return false;
	strlcpy(text, value->text, KNN_MESSAGE_TEXT);
	return true;
}

/*
 * The outcome of a build is not among them: the server alone knows whether the
 * graph is of use.
 */
static const struct
{
	const char *name;
	KnnCounter	counter;
}			counter_names[] = {
	{"read_success_count", KNN_COUNT_REMOTE_READ_SUCCESS},
	{"read_failure_count", KNN_COUNT_REMOTE_READ_FAILURE},
	{"successful_read_time_in_millis", KNN_COUNT_REMOTE_READ_TIME},
	{"write_success_count", KNN_COUNT_REMOTE_WRITE_SUCCESS},
	{"write_failure_count", KNN_COUNT_REMOTE_WRITE_FAILURE},
	{"successful_write_time_in_millis", KNN_COUNT_REMOTE_WRITE_TIME},
	{"build_request_success_count", KNN_COUNT_REMOTE_REQUEST_SUCCESS},
	{"build_request_failure_count", KNN_COUNT_REMOTE_REQUEST_FAILURE},
	{"status_request_success_count", KNN_COUNT_REMOTE_STATUS_SUCCESS},
	{"status_request_failure_count", KNN_COUNT_REMOTE_STATUS_FAILURE},
	{"waiting_time_in_ms", KNN_COUNT_REMOTE_WAITING_TIME}
};

static bool
set_member(KnnMessage *message, const char *name, const Value *value)
{
	switch (message->kind)
	{
		case KNN_MESSAGE_PROGRESS:
			if (strcmp(name, "phase") == 0)
				return to_text(value, message->phase);
			if (strcmp(name, "done") == 0)
				return to_count(value, &message->done);
			if (strcmp(name, "total") == 0)
				return to_count(value, &message->total);
			break;
		case KNN_MESSAGE_RESULT:
			if (strcmp(name, "nodes") == 0)
				return to_count(value, &message->nodes);
			if (strcmp(name, "threads") == 0)
				return to_count(value, &message->threads);
			if (strcmp(name, "memory") == 0)
				return to_count(value, &message->memory);
			if (strcmp(name, "partitions") == 0)
				return to_count(value, &message->partitions);
			if (strcmp(name, "seconds") == 0)
			{
				message->seconds = value->number;
				return value->kind == VALUE_NUMBER && value->number >= 0;
			}
			break;
		case KNN_MESSAGE_ERROR:
		case KNN_MESSAGE_WARNING:
			if (strcmp(name, "code") == 0)
				return to_text(value, message->code);
			if (strcmp(name, "message") == 0)
				return to_text(value, message->message);
			if (strcmp(name, "detail") == 0)
				return to_text(value, message->detail);
			if (strcmp(name, "hint") == 0)
				return to_text(value, message->hint);
			if (strcmp(name, "terminal") == 0)
			{
				message->terminal = value->number != 0;
				return value->kind == VALUE_BOOL;
			}
			break;
		case KNN_MESSAGE_COUNTERS:
			for (int i = 0; i < lengthof(counter_names); i++)
			{
				if (strcmp(name, counter_names[i].name) == 0)
					return to_count(value, &message->counters[counter_names[i].counter -
															  KNN_COUNT_REMOTE_READ_SUCCESS]);
			}
			break;
	}
	return true;
}

bool
KnnMessageParse(const char *line, Size length, KnnMessage *message)
{
	Reader		reader = {line, line + length};
	char		name[64];
	Value		value;

	memset(message, 0, sizeof(KnnMessage));
	if (!take(&reader, '{') || !read_text(&reader, name, sizeof(name)) || !take(&reader, ':'))
		return false;
	if (strcmp(name, "progress") == 0)
		message->kind = KNN_MESSAGE_PROGRESS;
	else if (strcmp(name, "result") == 0)
		message->kind = KNN_MESSAGE_RESULT;
	else if (strcmp(name, "error") == 0)
		message->kind = KNN_MESSAGE_ERROR;
	else if (strcmp(name, "warning") == 0)
		message->kind = KNN_MESSAGE_WARNING;
	else if (strcmp(name, "counters") == 0)
		message->kind = KNN_MESSAGE_COUNTERS;
	else
		return false;
	if (!take(&reader, '{'))
		return false;
	if (!take(&reader, '}'))
	{
		do
		{
			if (!read_text(&reader, name, sizeof(name)) || !take(&reader, ':') ||
				!read_value(&reader, &value) || !set_member(message, name, &value))
				return false;
		} while (take(&reader, ','));
		if (!take(&reader, '}'))
			return false;
	}
	if (!take(&reader, '}'))
		return false;
	skip_blanks(&reader);
	return reader.at == reader.end;
}

char *
KnnQuoteBytes(const char *bytes, Size length, Size most)
{
	Size		kept = Min(length, most);
	char	   *text = palloc(kept + 4);

	memcpy(text, bytes, kept);
	for (Size i = 0; i < kept; i++)
	{
		if (text[i] == '\0')
			text[i] = '?';
	}
	text[kept] = '\0';
	make_presentable(text);
	if (kept < length)
		strcpy(text + kept, "...");
	return text;
}

void
KnnHideSecrets(char *text, const KnnSecrets *secrets)
{
	for (int i = 0; i < KNN_MAX_SECRETS; i++)
	{
		const char *secret = secrets->texts[i];
		Size		length = knn_secret_shows(secret) ? strlen(secret) : 0;
		Size		stars = Min(length, 3);

		for (char *at = text; length > 0 && (at = strstr(at, secret)) != NULL; at += stars)
		{
			memset(at, '*', stars);
			memmove(at + stars, at + length, strlen(at + length) + 1);
		}
	}
}
