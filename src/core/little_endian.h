/*
 * little_endian.h
 *		Numbers in the headers of files, little-endian and at any address.
 */
#ifndef KNN_CORE_LITTLE_ENDIAN_H
#define KNN_CORE_LITTLE_ENDIAN_H

#include <stdint.h>

static inline uint32_t
knn_get32(const uint8_t *p)
{
	return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

static inline void
knn_put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t) (v >> 8 * i);
}

#endif
