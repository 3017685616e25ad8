/*
 * http_text.h
 *		Small texts of HTTP and of S3's answers: to write them, and to take them apart.
 */
#ifndef KNN_BUILDER_HTTP_TEXT_H
#define KNN_BUILDER_HTTP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * All bytes but letters, digits and "-._~" (and '/', where slashes are kept) as %XX: the
 * one form that is also signed.  False when it does not fit into room, zero included.
 */
extern bool builder_url_encode(char *to, size_t room, const char *text, bool keep_slashes);

/*
 * The text of the first element so named in XML that came from elsewhere, its entities
 * replaced.  False when there is none, or it does not fit, or has markup inside.
 */
extern bool builder_xml_element(const char *xml, size_t length, const char *name,
								char *to, size_t room);

/* Text as the inside of an element; false when it does not fit. */
extern bool builder_xml_escape(char *to, size_t room, const char *text);

/* What others said, for a message: one line of printable ASCII, cut where it is too long. */
extern void builder_printable(char *to, size_t room, const char *text, size_t length);

/* In base64; to has room for BUILDER_BASE64(length) bytes. */
#define BUILDER_BASE64(length) (((length) + 2) / 3 * 4 + 1)
extern void builder_base64(char *to, const void *bytes, size_t length);

/* Checksums as S3 writes them: base64 of the four bytes, most significant first. */
#define BUILDER_CRC_TEXT 9		/* with the zero */
extern void builder_crc_text(char to[BUILDER_CRC_TEXT], uint32_t crc);

/* Whether a Content-Range says "bytes FIRST-LAST/SIZE". */
extern bool builder_content_range_is(const char *value, uint64_t first, uint64_t last,
									 uint64_t size);

/* A whole decimal number, nothing around it. */
extern bool builder_whole_number(const char *text, uint64_t *number);

/*
 * Whether text is the URL of an endpoint (core/endpoint.h).  Then length is that without
 * slashes at its end.
 */
extern bool builder_endpoint_is_good(const char *text, size_t *length);

#endif
