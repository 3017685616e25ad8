/*
 * http_text.c
 *		Small texts of HTTP and of S3's answers; see http_text.h.
 */
#include "builder/http_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/endpoint.h"

static bool
is_unreserved(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '-' || c == '.' || c == '_' || c == '~';
}

bool
builder_url_encode(char *to, size_t room, const char *text, bool keep_slashes)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t		n = 0;

	for (; *text; text++)
	{
		bool		plain = is_unreserved(*text) || (keep_slashes && *text == '/');

		if (n + (plain ? 1 : 3) >= room)
			return false;
		if (plain)
			to[n++] = *text;
		else
		{
			to[n++] = '%';
			to[n++] = hex[(unsigned char) *text >> 4];
			to[n++] = hex[(unsigned char) *text & 15];
		}
	}
	if (n >= room)
		return false;
	to[n] = '\0';
	return true;
}

/* ---- XML ---- */

static const struct
{
	const char *name;
	char		character;
}			entities[] = {
	{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''},
	{"&#34;", '"'}, {"&#39;", '\''},
};

#define NENTITIES (sizeof(entities) / sizeof(entities[0]))

/* Where one text begins in another, NULL when it is not in it. */
static const char *
find(const char *in, const char *end, const char *what, size_t n)
{
	for (; (size_t) (end - in) >= n; in++)
	{
		in = memchr(in, what[0], (size_t) (end - in) - n + 1);
		if (in == NULL)
			return NULL;
		if (memcmp(in, what, n) == 0)
			return in;
	}
	return NULL;
}

bool
builder_xml_element(const char *xml, size_t length, const char *name, char *to, size_t room)
{
	const char *end = xml + length;
	const char *p;
	char		tag[64];
	int			n = snprintf(tag, sizeof(tag), "<%s>", name);
	size_t		used = 0;

	p = find(xml, end, tag, (size_t) n);
	if (p == NULL)
		return false;
	p += n;
	n = snprintf(tag, sizeof(tag), "</%s>", name);
	end = find(p, end, tag, (size_t) n);
	if (end == NULL)
		return false;
	while (p < end)
	{
		char		c = *p;
		size_t		step = 1;

		if (c == '<' || c == '\0' || used + 1 >= room)
			return false;
		for (size_t i = 0; c == '&' && i < NENTITIES; i++)
		{
			size_t		size = strlen(entities[i].name);

			if ((size_t) (end - p) >= size && memcmp(p, entities[i].name, size) == 0)
			{
				to[used] = entities[i].character;
				step = size;
				break;
			}
		}
		if (step == 1)
			to[used] = c;
		used++;
		p += step;
	}
	if (used >= room)
		return false;
	to[used] = '\0';
	return true;
}

bool
builder_xml_escape(char *to, size_t room, const char *text)
{
	size_t		n = 0;

	for (; *text; text++)
	{
		char		one[2] = {*text, '\0'};
		const char *as = one;
		size_t		size;

		for (size_t i = 0; i < NENTITIES && as == one; i++)
		{
			if (entities[i].character == *text)
				as = entities[i].name;
		}
		size = strlen(as);
		if (n + size >= room)
			return false;
		memcpy(to + n, as, size);
		n += size;
	}
	if (n >= room)
		return false;
	to[n] = '\0';
	return true;
}

/* ---- others ---- */

void
builder_printable(char *to, size_t room, const char *text, size_t length)
{
	size_t		n = 0;

	for (size_t i = 0; i < length && n + 1 < room; i++)
	{
		char		c = text[i] >= 0x20 && text[i] < 0x7F ? text[i] : ' ';

		if (c == ' ' && (n == 0 || to[n - 1] == ' '))
			continue;
		to[n++] = c;
	}
	while (n > 0 && to[n - 1] == ' ')
		n--;
	to[n] = '\0';
}

void
builder_base64(char *to, const void *bytes, size_t length)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *p = bytes;

	for (; length > 0; p += 3)
	{
		size_t		n = length < 3 ? length : 3;
		uint32_t	group = (uint32_t) p[0] << 16 | (n > 1 ? (uint32_t) p[1] << 8 : 0) |
			(n > 2 ? p[2] : 0);

		for (size_t i = 0; i < 4; i++)
			*to++ = i <= n ? digits[group >> (18 - 6 * i) & 63] : '=';
		length -= n;
	}
	*to = '\0';
}

void
builder_crc_text(char to[BUILDER_CRC_TEXT], uint32_t crc)
{
	uint8_t		bytes[4] = {(uint8_t) (crc >> 24), (uint8_t) (crc >> 16), (uint8_t) (crc >> 8),
	(uint8_t) crc};

	builder_base64(to, bytes, sizeof(bytes));
}

bool
builder_content_range_is(const char *value, uint64_t first, uint64_t last, uint64_t size)
{
	char		expected[80];

	snprintf(expected, sizeof(expected), "bytes %llu-%llu/%llu", (unsigned long long) first,
			 (unsigned long long) last, (unsigned long long) size);
	return strcasecmp(value, expected) == 0;
}

bool
builder_whole_number(const char *text, uint64_t *number)
{
	errno = 0;
	*number = strtoull(text, NULL, 10);
	return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0' && errno == 0;
}

bool
builder_endpoint_is_good(const char *text, size_t *length)
{
	knn_endpoint endpoint;
	bool		good = knn_endpoint_read(&endpoint, text, strlen(text)) == NULL;

	*length = endpoint.length;
	return good;
}
