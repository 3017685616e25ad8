/*
 * crc.c
 *		CRC-32C and CRC-32, eight bytes at a time by tables (Kounavis and Berry, 2005).
 */
#include "core/crc.h"

static uint32_t
word(const uint8_t *p)
{
	return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

void
knn_crc_init(knn_crc *crc, uint32_t polynomial)
{
	for (uint32_t i = 0; i < 256; i++)
	{
		uint32_t	c = i;

		for (int bit = 0; bit < 8; bit++)
			c = c >> 1 ^ (polynomial & -(c & 1));
		crc->table[0][i] = c;
	}
	for (uint32_t i = 0; i < 256; i++)
	{
		for (int t = 1; t < 8; t++)
			crc->table[t][i] = crc->table[t - 1][i] >> 8 ^
				crc->table[0][crc->table[t - 1][i] & 0xFF];
	}
	knn_crc_restart(crc);
}

void
knn_crc_restart(knn_crc *crc)
{
	crc->state = ~UINT32_C(0);
}

void
knn_crc_add(knn_crc *crc, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;
	uint32_t	c = crc->state;

	for (; n >= 8; n -= 8, p += 8)
	{
		uint32_t	low = c ^ word(p);

		c = crc->table[7][low & 0xFF] ^ crc->table[6][low >> 8 & 0xFF] ^
			crc->table[5][low >> 16 & 0xFF] ^ crc->table[4][low >> 24] ^
			crc->table[3][p[4]] ^ crc->table[2][p[5]] ^
			crc->table[1][p[6]] ^ crc->table[0][p[7]];
	}
	for (; n > 0; n--, p++)
		c = c >> 8 ^ crc->table[0][(c ^ *p) & 0xFF];
	crc->state = c;
}

uint32_t
knn_crc_value(const knn_crc *crc)
{
	return ~crc->state;
}

/*
 * The remainder of the product of two polynomials; bit 31 is the coefficient of x^0.
 */
static uint32_t
multiply(uint32_t polynomial, uint32_t a, uint32_t b)
{
	uint32_t	product = 0;

	for (uint32_t bit = UINT32_C(1) << 31; bit != 0; bit >>= 1)
	{
		if (a & bit)
			product ^= b;
		b = b >> 1 ^ (polynomial & -(b & 1));
	}
	return product;
}

/*
 * n zero bytes after the first text multiply its remainder by x^(8n); what is inverted
 * before and after cancels out.
 */
uint32_t
knn_crc_join(uint32_t polynomial, uint32_t first, uint32_t second, uint64_t n)
{
	uint32_t	power = UINT32_C(1) << 23;	/* x^8, then its squares */
	uint32_t	shift = UINT32_C(1) << 31;

	for (; n > 0; n >>= 1)
	{
		if (n & 1)
			shift = multiply(polynomial, shift, power);
		power = multiply(polynomial, power, power);
	}
	return multiply(polynomial, shift, first) ^ second;
}
