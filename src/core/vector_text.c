/*
 * vector_text.c
 *		Parser of the text form of a vector.
 *
 * Reading the numbers is what loading a table of vectors spends its time on, so
 * the common ones (up to 19 significant digits, moderate exponents) are decided
 * with two or three double operations.  Why that is still correctly rounded:
 *
 * The double d computed from the digits is within a few units in its last place
 * of the true value x.  Rounding d to float gives the float nearest to x unless
 * a midpoint between two floats lies between d and x.  Such a midpoint has the
 * 29 low bits of a double's mantissa equal to 1 followed by zeroes, so when
 * these bits of d are farther from that pattern than the error bound, the answer
 * is certain.  Otherwise, and outside the range of normal floats, strtof
 * decides.
 */
#include "core/vector_text.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bits of a double's mantissa that a float does not have. */
#define LOST_BITS 29
#define LOST_MASK ((UINT64_C(1) << LOST_BITS) - 1)
#define LOST_HALF (UINT64_C(1) << (LOST_BITS - 1))

/* Four roundings and a truncated digit string make less than 3 units. */
#define FAST_ERROR_ULPS 8

/* All digits that fit in uint64 whatever they are. */
#define FAST_DIGITS 19

/*
 * No midpoint between two floats has more significant decimal digits than
 * this; beyond it only "is there anything left" matters.
 */
#define SLOW_DIGITS 128

/* Beyond this an exponent decides alone, however long the digit string is. */
#define EXPONENT_LIMIT INT64_C(1000000000000000)

static const double powers_of_ten[] = {
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22
};

#define MAX_POWER 22

static inline bool
is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline bool
is_digit(char c)
{
	return (unsigned char) (c - '0') <= 9;
}

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HAVE_EIGHT_DIGITS 1

/*
 * Are the eight bytes at p digits?  If so their value goes to *value.  A digit is
 * 0x30 to 0x39: its high nibble is 3, and stays so when 6 is added.  Then
 * neighbours are joined, to pairs, to fours, to eight.
 */
static inline bool
eight_digits(const char *p, uint32_t *value)
{
	uint64_t	x;

	memcpy(&x, p, sizeof(x));
	if ((x & UINT64_C(0xF0F0F0F0F0F0F0F0)) != UINT64_C(0x3030303030303030) ||
		((x + UINT64_C(0x0606060606060606)) & UINT64_C(0xF0F0F0F0F0F0F0F0)) != UINT64_C(0x3030303030303030))
		return false;
	x -= UINT64_C(0x3030303030303030);
	x = x * 10 + (x >> 8);
	x = ((x & UINT64_C(0x000000FF000000FF)) * (100 + (UINT64_C(1000000) << 32)) +
		 ((x >> 16) & UINT64_C(0x000000FF000000FF)) * (1 + (UINT64_C(10000) << 32))) >> 32;
	*value = (uint32_t) x;
	return true;
}
#endif

static inline const char *
skip_spaces(const char *p, const char *end)
{
	while (p < end && is_space(*p))
		p++;
	return p;
}

/* Does the text at p start with word (lower case), in any case? */
static bool
starts_with(const char *p, const char *end, const char *word)
{
	for (; *word; word++, p++)
	{
		if (p == end)
			return false;
		if ((*p >= 'A' && *p <= 'Z' ? *p + ('a' - 'A') : *p) != *word)
			return false;
	}
	return true;
}

/*
 * The exact way: rewrite the digits without a decimal point, which is the only
 * thing strtof takes from the locale, and let it round.  p is the first digit
 * or point of the number; exponent is the written one, zero if none.
 */
static float
slow_number(const char *p, const char *end, int64_t exponent)
{
	char		buf[SLOW_DIGITS + 32];
	int			n = 0;
	bool		point = false;
	bool		sticky = false;

	for (; p < end && (is_digit(*p) || *p == '.'); p++)
	{
		if (*p == '.')
		{
			point = true;
			continue;
		}
		if (n == 0 && *p == '0')
		{
			/* leading zero: moves the point, is no digit */
			if (point)
				exponent--;
			continue;
		}
		if (n < SLOW_DIGITS)
		{
			buf[n++] = *p;
			if (point)
				exponent--;
		}
		else
		{
			sticky |= *p != '0';
			if (!point)
				exponent++;
		}
	}
	if (n == 0)
		return 0.0f;
	if (sticky)
	{
		buf[n++] = '1';
		exponent--;
	}
	/* enough to be zero or infinity with this many digits */
	if (exponent > 1000)
		exponent = 1000;
	if (exponent < -1000)
		exponent = -1000;
	snprintf(buf + n, sizeof(buf) - n, "e%d", (int) exponent);
	return strtof(buf, NULL);
}

/*
 * The float nearest to w times ten to the power of scale; false when it is not known for
 * certain.
 */
static inline bool
fast_number(uint64_t w, int64_t scale, float *value)
{
	double		d = (double) w;
	uint64_t	bits;
	int64_t		distance;

	if (scale > MAX_POWER || scale < -2 * MAX_POWER)
		return false;
	if (scale >= 0)
		d *= powers_of_ten[scale];
	else if (scale >= -MAX_POWER)
		d /= powers_of_ten[-scale];
	else
		d = d / powers_of_ten[MAX_POWER] / powers_of_ten[-scale - MAX_POWER];

	/* normal floats only, with room for d's own error */
	if (!(d > 1.2e-38 && d < 3.4e38))
		return false;

	memcpy(&bits, &d, sizeof(bits));
	distance = (int64_t) (bits & LOST_MASK) - (int64_t) LOST_HALF;
	if (distance <= FAST_ERROR_ULPS && distance >= -FAST_ERROR_ULPS)
		return false;
	*value = (float) d;
	return true;
}

/*
 * Read one number at *pp, leaving *pp behind it.  Only decimal notation is
 * taken: hexadecimal floats are no numbers in SQL.
 */
static knn_text_status
parse_number(const char **pp, const char *end, float *out)
{
	const char *p = *pp;
	const char *digits;
	bool		negative = false;
	bool		any = false;
	uint64_t	w = 0;
	int			nd = 0;
	int64_t		scale = 0;		/* power of ten that w is to be taken by */
	int64_t		written = 0;	/* the exponent as written */
	float		value;

	if (p < end && (*p == '-' || *p == '+'))
		negative = *p++ == '-';

	digits = p;
	for (; p < end && is_digit(*p); p++)
	{
		any = true;
		if (nd < FAST_DIGITS)
		{
			w = w * 10 + (uint64_t) (*p - '0');
			nd += w != 0;
		}
		else
			scale++;
	}
	if (p < end && *p == '.')
	{
		p++;
#ifdef HAVE_EIGHT_DIGITS
		/* most digits are here; leading zeroes are not counted as digits */
		while (end - p >= 8 && nd <= FAST_DIGITS - 8 && (w != 0 || *p != '0'))
		{
			uint32_t	eight;

			if (!eight_digits(p, &eight))
				break;
			w = w * 100000000 + eight;
			nd += 8;
			scale -= 8;
			p += 8;
			any = true;
		}
#endif
		for (; p < end && is_digit(*p); p++)
		{
			any = true;
			if (nd < FAST_DIGITS)
			{
				w = w * 10 + (uint64_t) (*p - '0');
				nd += w != 0;
				scale--;
			}
		}
	}

	if (!any)
	{
		if (starts_with(digits, end, "nan"))
		{
			*pp = digits + 3;
			return KNN_TEXT_NAN;
		}
		if (starts_with(digits, end, "inf"))
		{
			*pp = digits + (starts_with(digits, end, "infinity") ? 8 : 3);
			return KNN_TEXT_INFINITY;
		}
		return KNN_TEXT_NOT_A_NUMBER;
	}

	if (p < end && (*p == 'e' || *p == 'E'))
	{
		const char *q = p + 1;
		bool		minus = false;

		if (q < end && (*q == '-' || *q == '+'))
			minus = *q++ == '-';
		if (q == end || !is_digit(*q))
		{
			*pp = p;
			return KNN_TEXT_NO_DELIMITER;
		}
		for (; q < end && is_digit(*q); q++)
		{
			if (written < EXPONENT_LIMIT)
				written = written * 10 + (*q - '0');
		}
		if (minus)
			written = -written;
		p = q;
		scale += written;
	}
	*pp = p;

	if (w == 0)
		value = 0.0f;
	else if (!fast_number(w, scale, &value))
	{
		value = slow_number(digits, p, written);
		if (isinf(value))
			return KNN_TEXT_OUT_OF_RANGE;
	}

	*out = negative ? -value : value;
	return KNN_TEXT_OK;
}

knn_text_status
knn_vector_text_parse(const char *text, size_t len, float *out, uint32_t max,
					  knn_text_result *result)
{
	const char *end = text + len;
	const char *p = skip_spaces(text, end);
	const char *start;
	knn_text_status status;

	result->count = 0;
	result->offset = (size_t) (p - text);
	result->length = 0;

	if (p == end || *p != '[')
		return KNN_TEXT_NO_OPENING;
	p = skip_spaces(p + 1, end);
	result->offset = (size_t) (p - text);
	if (p < end && *p == ']')
		return KNN_TEXT_EMPTY;

	for (;;)
	{
		p = skip_spaces(p, end);
		start = p;
		result->offset = (size_t) (p - text);
		if (p == end)
			return KNN_TEXT_UNTERMINATED;
		if (result->count == max)
			return KNN_TEXT_TOO_MANY;

		status = parse_number(&p, end, &out[result->count]);
		if (status == KNN_TEXT_NO_DELIMITER)
			result->offset = (size_t) (p - text);
		else
			result->length = (size_t) (p - start);
		if (status != KNN_TEXT_OK)
			return status;
		result->count++;
		result->length = 0;

		p = skip_spaces(p, end);
		result->offset = (size_t) (p - text);
		if (p == end)
			return KNN_TEXT_UNTERMINATED;
		if (*p == ',')
			p++;
		else if (*p == ']')
			break;
		else
			return KNN_TEXT_NO_DELIMITER;
	}

	p = skip_spaces(p + 1, end);
	result->offset = (size_t) (p - text);
	return p == end ? KNN_TEXT_OK : KNN_TEXT_TRAILING;
}
