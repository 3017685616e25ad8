/*
 * fuzz_message.c
 *		The server's parser of lines from its programs (job/message.c), on mutations of
 *		such lines.
 *
 *	SELECT fuzz_message(seed, count)	in the encoding of a database: how many of so many
 *										lines were messages
 *	fuzz_message count					without a server, in each encoding; with the address
 *										sanitizer, which no server loads (KNN_FUZZ_PROGRAM)
 *
 * An ERROR, or the end of the program, when something is wrong, with the input.
 *
 * What is read ends where the memory ends: the next page can be neither read nor written.
 * What may be shown to users must be text of the database's encoding without control
 * characters, and free of secrets.
 */
#include "postgres.h"

#include <math.h>
#include <sys/mman.h>

#include "core/secret.h"
#ifndef KNN_FUZZ_PROGRAM
#include "fmgr.h"
#endif
#include "job/message.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

#define LINE_MOST 8192			/* bytes of an input */
#define ROOM 65536				/* bytes, a multiple of the size of pages */
#define COUNT_MOST 9007199254740992.0	/* of a number that counts */

/* What is tried, for the message of a failure. */
typedef struct Input
{
	const char *bytes;
	Size		length;
} Input;

static Input input;
static uint64 state;

static uint32
next_random(uint32 limit)
{
	state = state * UINT64CONST(6364136223846793005) + UINT64CONST(1442695040888963407);
	return (uint32) ((state >> 33) % limit);
}

static void
require(bool ok, const char *what)
{
	StringInfoData hex;

	if (ok)
		return;
	initStringInfo(&hex);
	for (Size i = 0; i < input.length; i++)
		appendStringInfo(&hex, "%02x", (unsigned char) input.bytes[i]);
#ifdef KNN_FUZZ_PROGRAM
	fprintf(stderr, "fuzz_message: %s\nThe input is %s\n", what, hex.data);
	abort();
#else
	ereport(ERROR,
			(errmsg_internal("fuzz_message: %s", what),
			 errdetail_internal("The input is %s", hex.data)));
#endif
}

/* ---- memory ---- */

/* ROOM bytes that as many without any rights follow; kept by the process. */
static char *
guarded_room(void)
{
	char	   *room = mmap(NULL, 2 * ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	require(room != MAP_FAILED && mprotect(room + ROOM, ROOM, PROT_NONE) == 0, "no memory");
	return room;
}

/* Bytes at the end of such a room. */
static char *
at_end(char *room, const void *bytes, Size length)
{
	return memcpy(room + ROOM - length, bytes, length);
}

/* ---- inputs ---- */

/* Secrets have no star: one could be made by hiding another. */
static const char *const secrets[] = {"s3cret", "s3cret-and-more", "3c", "ab1ab1", "geheim!\xc3\xa4", "a b", "password", "{\"x\"}"};

/* Short words are no secrets (core/secret.h): they stay. */
static const char *const words[] = {"wrong", "user", ""};

static const char *const lines[] = {
	"{\"progress\":{\"phase\":\"graph\",\"done\":12345,\"total\":67890}}",
	"{\"result\":{\"nodes\":100,\"seconds\":1.25e+1,\"threads\":4,\"memory\":9007199254740992,\"partitions\":2}}",
	"{\"error\":{\"code\":\"bad_input\",\"message\":\"id \\\"3\\\" is wr\\u00f6ng \\ud83d\\ude00\",\"detail\":\"\\u20ac \\/ \\\\ \\n\\t\",\"hint\":\"h\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\",\"terminal\":true}}",
	"{\"warning\":{\"code\":\"repository\",\"message\":\"left\",\"detail\":\"\\\"a/b\\\"\",\"hint\":\"\"}}",
	"{ \"counters\" : { \"write_success_count\" : 1, \"waiting_time_in_ms\":20 ,\"read_failure_count\":0, \"unknown\":\"x\", \"other\":false}} ",
	"{\"result\":{}}"
};

static const char *const tokens[] = {
	"\\u00", "\\u0000", "\\u001b", "\\u007f", "\\u009b", "\\u00e4", "\\u20ac", "\\ud83d", "\\ud83d\\ude00", "\\udc00", "\\uFFFF", "\\n",
	"\\\"", "\\", "\"", "{", "}", ":", ",", "\"message\":", "\"detail\":\"", "true", "false", "null", "1e308", "1e999", "-0", "-1", "0x1", "nan",
	"99999999999999999999", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xc3", "\xe2\x82", "\xf0\x9f", "\x80", "\xff", "\xc0\x80", "\xed\xa0\x80",
	"\xc2\x9b", "\xc2\xa0", "\xf4\x90\x80\x80", "\x8f\xb0\xa1", "\xa1\xa1", "\x8e\xb1", "\x1b[31m", "\x7f", "\t", "\r", " "
};

static Size
insert(char *line, Size length, const char *bytes, Size n, Size at)
{
	if (length + n > LINE_MOST)
		return length;
	memmove(line + at + n, line + at, length - at);
	memcpy(line + at, bytes, n);
	return length + n;
}

/* One change of a line; returns its length then. */
static Size
mutate(char *line, Size length)
{
	Size		at = next_random((uint32) length + 1);
	const char *token = tokens[next_random(lengthof(tokens))];
	const char *repeated;
	char		copy[2048];
	Size		n;

	switch (next_random(8))
	{
		case 0:
			if (at == length)
				return length;
			memmove(line + at, line + at + 1, length - at - 1);
			return length - 1;
		case 1:
			if (at < length)
				line[at] = (char) next_random(256);
			return length;
		case 2:
			/* a token or a piece of it many times: texts that are too long, numbers of many digits */
			repeated = next_random(2) ? token : line + at;
			n = repeated == token ? strlen(token) : Min(1 + next_random(12), length - at);
			if (n == 0)
				return length;
			for (Size i = 0; i < sizeof(copy); i++)
				copy[i] = repeated[i % n];
			return insert(line, length, copy, 1 + next_random(sizeof(copy)), at);
		case 3:
			return next_random(4) == 0 ? at : length;
		default:
			return insert(line, length, token, strlen(token), at);
	}
}

/* Any text of tokens and secrets, without zero bytes. */
static Size
make_text(char *text)
{
	Size		length = 0;

	for (uint32 n = next_random(20); n > 0; n--)
	{
		uint32		what = next_random(4);
		const char *part = what == 0 ? tokens[next_random(lengthof(tokens))] :
			what == 1 ? words[next_random(lengthof(words))] : secrets[next_random(lengthof(secrets))];

		/* perhaps only the end or the start of it */
		Size		first = next_random(4) == 0 ? next_random((uint32) strlen(part) + 1) : 0;
		Size		end = next_random(4) == 0 ? next_random((uint32) strlen(part) + 1) : strlen(part);

		if (first < end)
			length = insert(text, length, part + first, end - first, length);
	}
	return length;
}

/* ---- what must hold ---- */

/* Is it fit to be shown? */
static void
check_shown(const char *text)
{
	bool		utf8 = GetDatabaseEncoding() == PG_UTF8;

	int			length = (int) strlen(text);

	require(pg_encoding_verifymbstr(GetDatabaseEncoding(), text, length) == length,
			"a text that is none in the encoding of the database");
	for (const unsigned char *c = (const unsigned char *) text; *c != '\0'; c++)
	{
		require(*c >= 0x20 && *c != 0x7F, "a control character");
		require(utf8 || *c < 0x80, "a character that the encoding may lack");
		require(!(c[0] == 0xC2 && c[1] >= 0x80 && c[1] < 0xA0), "a control character of two bytes");
	}
}

static void
check_text(const char *text)
{
	require(memchr(text, '\0', KNN_MESSAGE_TEXT) != NULL, "a text without an end");
	check_shown(text);
}

static void
check_message(const KnnMessage *message)
{
	const char *const texts[] = {message->phase, message->code, message->message, message->detail, message->hint};
	const uint64 numbers[] = {message->done, message->total, message->nodes, message->threads, message->memory, message->partitions};

	require(message->kind <= KNN_MESSAGE_COUNTERS, "a kind that there is not");
	for (int i = 0; i < lengthof(texts); i++)
		check_text(texts[i]);
	for (int i = 0; i < lengthof(numbers); i++)
		require(numbers[i] <= COUNT_MOST, "a number that counts nothing");
	for (int i = 0; i < KNN_JOB_COUNTERS; i++)
		require(message->counters[i] <= COUNT_MOST, "a counter that counts nothing");
	require(isfinite(message->seconds) && message->seconds >= 0, "seconds");
}

/* ---- one of each ---- */

static bool
try_parse(char *room, char *message_room, const char *line, Size length)
{
	KnnMessage *message = (KnnMessage *) (message_room + ROOM - sizeof(KnnMessage));

	input = (Input) {line, length};
	memset(message, 0x7F, sizeof(KnnMessage));
	if (!KnnMessageParse(at_end(room, line, length), length, message))
		return false;
	check_message(message);
	return true;
}

static void
try_quote(char *room, const char *line, Size length)
{
	Size		most = next_random(4) == 0 ? length : next_random(600);
	Size		kept = Min(length, most);
	char	   *text;

	input = (Input) {line, length};
	text = KnnQuoteBytes(at_end(room, line, length), length, most);
	require(strlen(text) == kept + (kept < length ? 3 : 0), "a quotation of another length");
	require(kept == length || strcmp(text + kept, "...") == 0, "a cut that is not told");
	check_shown(text);
	pfree(text);
}

static void
try_hide(char *room, const char *line, Size length)
{
	KnnSecrets	hidden = {{NULL}};
	char	   *text = at_end(room, line, length);
	char	   *before;
	bool		any = false;

	input = (Input) {line, length - 1};
	for (int i = 0; i < KNN_MAX_SECRETS; i++)
	{
		switch (next_random(3))
		{
			case 0:
				hidden.texts[i] = secrets[next_random(lengthof(secrets))];
				any = true;
				break;
			case 1:
				hidden.texts[i] = words[next_random(lengthof(words))];
		}
	}
	before = pstrdup(text);
	KnnHideSecrets(text, &hidden);
	require(memchr(text, '\0', length) != NULL, "a text that became longer");
	require(any || strcmp(text, before) == 0, "a text without secrets that became another");
	for (int i = 0; i < KNN_MAX_SECRETS; i++)
		require(!knn_secret_shows(hidden.texts[i]) || strstr(text, hidden.texts[i]) == NULL, "a secret that shows");
	pfree(before);
}

/* How many of so many lines were messages. */
static int64
try_all(uint64 seed, int64 count)
{
	static char *room = NULL;
	static char *message_room = NULL;
	static char line[LINE_MOST + 1];
	int64		parsed = 0;

	if (room == NULL)
		room = guarded_room();
	if (message_room == NULL)
		message_room = guarded_room();
	state = seed;
	for (int i = 0; i < lengthof(lines); i++)
		require(try_parse(room, message_room, lines[i], strlen(lines[i])), "a line that is a message, and was refused");
	for (int64 run = 0; run < count; run++)
	{
		const char *from = lines[next_random(lengthof(lines))];
		Size		length = strlen(from);

#ifndef KNN_FUZZ_PROGRAM
		CHECK_FOR_INTERRUPTS();
#endif
		memcpy(line, from, length);
		for (uint32 n = next_random(6); n > 0; n--)
			length = mutate(line, length);
		parsed += try_parse(room, message_room, line, length);
		try_quote(room, line, length);
		length = make_text(line);
		line[length] = '\0';
		try_hide(room, line, length + 1);
	}
	return parsed;
}

#ifdef KNN_FUZZ_PROGRAM

static int	encoding;

/* Instead of the server's. */
int
GetDatabaseEncoding(void)
{
	return encoding;
}

int
main(int argc, char **argv)
{
	static const int encodings[] = {PG_UTF8, PG_LATIN1, PG_SQL_ASCII, PG_EUC_JP};

	for (int i = 0; i < lengthof(encodings); i++)
	{
		encoding = encodings[i];
		(void) try_all(42, argc > 1 ? atol(argv[1]) : 50000);
	}
	return 0;
}

#else

PG_MODULE_MAGIC;

PGDLLEXPORT Datum fuzz_message(PG_FUNCTION_ARGS);
PG_FUNCTION_INFO_V1(fuzz_message);

Datum
fuzz_message(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(try_all((uint64) PG_GETARG_INT64(0), PG_GETARG_INT64(1)));
}

#endif
