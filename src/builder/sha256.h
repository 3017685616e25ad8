/*
 * sha256.h
 *		SHA-256 (FIPS 180-4).
 */
#ifndef KNN_BUILDER_SHA256_H
#define KNN_BUILDER_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32
#define SHA256_HEX 64			/* digits, without the zero at the end */

extern void sha256(uint8_t digest[SHA256_BYTES], const void *bytes, size_t length);

/* The same in lower-case hexadecimal, with a zero at its end. */
extern void sha256_hex(char hex[SHA256_HEX + 1], const void *bytes, size_t length);

#endif
