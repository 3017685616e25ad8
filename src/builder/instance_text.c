/*
 * instance_text.c
 *		What is said about the credentials of a machine; see instance_text.h.
 *
 * Of an answer the keys that are needed are read, and others may be there: these services
 * have learned new ones again and again.
 */
#include "builder/instance_text.h"

#include <arpa/inet.h>
#include <json.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "builder/http_text.h"
#include "builder/json_keys.h"
#include "builder/secrets.h"

#define DEPTH 4
#define OF "answer of the metadata service"
#define COUNT(array) (sizeof(array) / sizeof(array[0]))

/* ---- times ---- */

/* The number that n digits are. */
static int
digits(const char *text, int n)
{
	int			number = 0;

	for (int i = 0; i < n; i++)
		number = 10 * number + (text[i] - '0');
	return number;
}

/* Whether text begins as the pattern, where '0' is any digit. */
static bool
is_like(const char *text, const char *pattern)
{
	for (; *pattern; text++, pattern++)
	{
		if (*pattern == '0' ? *text < '0' || *text > '9' : *text != *pattern)
			return false;
	}
	return true;
}

bool
builder_time_read(const char *text, int64_t *seconds)
{
	struct tm	tm = {0};
	int			offset = 0;
	int			day;

	if (!is_like(text, "0000-00-00T00:00:00"))
		return false;
	tm.tm_year = digits(text, 4) - 1900;
	tm.tm_mon = digits(text + 5, 2) - 1;
	tm.tm_mday = day = digits(text + 8, 2);
	tm.tm_hour = digits(text + 11, 2);
	tm.tm_min = digits(text + 14, 2);
	tm.tm_sec = digits(text + 17, 2);
	if (tm.tm_mon < 0 || tm.tm_mon > 11 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 59)
		return false;
	text += 19;
	if (*text == '.')
	{
		if (text[1] < '0' || text[1] > '9')
			return false;
		text += 1 + strspn(text + 1, "0123456789");
	}
	if (is_like(text, "+00:00") || is_like(text, "-00:00"))
	{
		offset = digits(text + 1, 2) * 3600 + digits(text + 4, 2) * 60;
		if (*text == '-')
			offset = -offset;
		text += 6;
	}
	else if (*text++ != 'Z')
		return false;
	*seconds = (int64_t) timegm(&tm) - offset;
	/* a day that the month does not have has become one of the next */
	return *text == '\0' && tm.tm_mday == day;
}

/* ---- keys ---- */

typedef struct Answer
{
	char	   *code;
	char	   *message;
	char	   *expires;
	builder_lease lease;
} Answer;

#define TEXT(name, kind, where, optional) {name, kind, offsetof(Answer, where), 0, 0, NULL, NULL, optional}

static const builder_key status_keys[] = {
	TEXT("Code", BUILDER_KEY_ANY_TEXT, code, true),
	TEXT("Message", BUILDER_KEY_ANY_TEXT, message, true),
};

static const builder_key lease_keys[] = {
	TEXT("AccessKeyId", BUILDER_KEY_TEXT, lease.access_key, false),
	TEXT("SecretAccessKey", BUILDER_KEY_TEXT, lease.secret_key, false),
	TEXT("Token", BUILDER_KEY_ANY_TEXT, lease.token, true),
	TEXT("Expiration", BUILDER_KEY_TEXT, expires, false),
};

/* The parser's copies of an object's texts. */
static void
wipe(struct json_object *object)
{
	json_object_object_foreach(object, name, value)
	{
		(void) name;
		if (json_object_is_type(value, json_type_string))
			explicit_bzero((char *) json_object_get_string(value),
						   (size_t) json_object_get_string_len(value));
	}
}

static bool
check_code(const Answer *answer, builder_error *error)
{
	char		code[80];

	if (answer->code == NULL || strcmp(answer->code, "Success") == 0)
		return true;
	builder_printable(code, sizeof(code), answer->code, strlen(answer->code));
	builder_error_set(error, BUILDER_REPOSITORY, "the metadata service has no credentials: %s", code);
	if (answer->message)
		builder_printable(error->detail, sizeof(error->detail), answer->message,
						  strlen(answer->message));
	return false;
}

/* A text that can be in a header; NULL is one. */
static bool
check_text(const char *text, const char *name, builder_error *error)
{
	size_t		length = text ? strlen(text) : 0;

	if (length > BUILDER_CREDENTIAL_BYTES)
		return builder_error_set(error, BUILDER_REPOSITORY, "\"%s\" of the %s is too long", name, OF);
	for (size_t i = 0; i < length; i++)
	{
		if (text[i] <= 0x20 || text[i] >= 0x7F)
			return builder_error_set(error, BUILDER_REPOSITORY,
									 "\"%s\" of the %s has blanks or control characters", name, OF);
	}
	return true;
}

bool
builder_lease_read(builder_lease *lease, const char *text, size_t length, builder_error *error)
{
	struct json_object *object;
	Answer		answer;
	bool		ok;

	memset(error, 0, sizeof(*error));
	memset(&answer, 0, sizeof(answer));
	error->code = BUILDER_REPOSITORY;
	object = builder_json_parse(text, length, DEPTH, OF, error);
	ok = object != NULL &&
		builder_json_read_known(object, status_keys, COUNT(status_keys), OF, &answer, error) &&
		check_code(&answer, error) &&
		builder_json_read_known(object, lease_keys, COUNT(lease_keys), OF, &answer, error) &&
		check_text(answer.lease.access_key, "AccessKeyId", error) &&
		check_text(answer.lease.secret_key, "SecretAccessKey", error) &&
		check_text(answer.lease.token, "Token", error);
	if (ok && !builder_time_read(answer.expires, &answer.lease.expires))
		ok = builder_error_set(error, BUILDER_REPOSITORY, "\"Expiration\" of the %s is no time", OF);
	if (json_object_is_type(object, json_type_object))
		wipe(object);
	json_object_put(object);
	free(answer.code);
	free(answer.message);
	free(answer.expires);
	if (!ok)
		builder_lease_free(&answer.lease);
	*lease = answer.lease;
	return ok;
}

void
builder_lease_free(builder_lease *lease)
{
	free(lease->access_key);
	builder_secret_free(lease->secret_key);
	builder_secret_free(lease->token);
	memset(lease, 0, sizeof(*lease));
}

/* ---- roles ---- */

bool
builder_role_read(const char *text, size_t length, char name[BUILDER_ROLE_NAME])
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@-";
	size_t		n = 0;

	while (n < length && text[n] != '\n' && text[n] != '\r')
		n++;
	if (n == 0 || n >= BUILDER_ROLE_NAME)
		return false;
	memcpy(name, text, n);
	name[n] = '\0';
	return strspn(name, letters) == n && name[0] != '.';
}

/* ---- addresses ---- */

/* Of a host as a URL has it, but without brackets. */
static bool
is_near(const char *host, bool six)
{
	struct in_addr address;
	struct in6_addr address6;
	struct in6_addr pods;
	uint32_t	number;

	if (six)
		return inet_pton(AF_INET6, host, &address6) == 1 &&
			(IN6_IS_ADDR_LOOPBACK(&address6) ||
			 (inet_pton(AF_INET6, "fd00:ec2::23", &pods) == 1 &&
			  memcmp(&address6, &pods, sizeof(pods)) == 0));
	/* libcurl takes that name for loopback, whatever others say */
	if (strcasecmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &address) != 1)
		return false;
	number = ntohl(address.s_addr);
	return number >> 24 == 127 || number == 0xA9FEAA02 || number == 0xA9FEAA17;
}

bool
builder_container_url_is_good(const char *url)
{
	bool		plain = strncasecmp(url, "http://", 7) == 0;
	const char *host = url + (plain ? 7 : 8);
	bool		six;
	size_t		length;
	char		name[256];

	if (!plain && strncasecmp(url, "https://", 8) != 0)
		return false;
	for (const char *p = url; *p; p++)
	{
		if (*p <= 0x20 || *p >= 0x7F || strchr("@#\\\"<>{}|^`", *p))
			return false;
	}
	six = host[0] == '[';
	host += six;
	length = strcspn(host, six ? "]" : ":/?");
	if (length == 0 || length >= sizeof(name) || (six && host[length] != ']'))
		return false;
	memcpy(name, host, length);
	name[length] = '\0';
	host += length + six;
	if (*host == ':')
		host += 1 + strspn(host + 1, "0123456789");
	return (*host == '\0' || *host == '/' || *host == '?') && (!plain || is_near(name, six));
}
