/*
 * crc.h
 *		Cyclic redundancy checks of 32 bits, reflected: CRC-32C and CRC-32.
 */
#ifndef KNN_CORE_CRC_H
#define KNN_CORE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* Polynomials, bits reversed */
#define KNN_CRC32C UINT32_C(0x82F63B78)
#define KNN_CRC32 UINT32_C(0xEDB88320)

/* One that is being made.  Its tables are its own: the core has no variables. */
typedef struct knn_crc
{
	uint32_t	state;
	uint32_t	table[8][256];
} knn_crc;

extern void knn_crc_init(knn_crc *crc, uint32_t polynomial);

/* Forget what was added. */
extern void knn_crc_restart(knn_crc *crc);

extern void knn_crc_add(knn_crc *crc, const void *bytes, size_t n);

/* Of all that was added so far. */
extern uint32_t knn_crc_value(const knn_crc *crc);

/* Of two texts one after the other, from those of each; n: bytes of the second. */
extern uint32_t knn_crc_join(uint32_t polynomial, uint32_t first, uint32_t second, uint64_t n);

#endif
