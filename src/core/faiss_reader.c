/*
 * faiss_reader.c
 *		Numbers and arrays of bytes that are not believed.
 */
#include "core/faiss_reader.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

bool
knn_reader_fail(knn_reader *r, const char *format,...)
{
	va_list		args;

	if (!r->failed)
	{
		r->failed = true;
		r->error->offset = (size_t) (r->p - r->start);
		va_start(args, format);
		vsnprintf(r->error->message, sizeof(r->error->message), format, args);
		va_end(args);
	}
	return false;
}

/* That many bytes, or NULL. */
const uint8_t *
knn_take(knn_reader *r, uint64_t size, const char *what)
{
	const uint8_t *at = r->p;

	if (r->failed)
		return NULL;
	if (size > knn_reader_left(r))
	{
		knn_reader_fail(r, "the file ends within %s", what);
		return NULL;
	}
	r->p += size;
	return at;
}

uint8_t
knn_take_u8(knn_reader *r, const char *what)
{
	const uint8_t *at = knn_take(r, 1, what);

	return at ? at[0] : 0;
}

bool
knn_take_bool(knn_reader *r, const char *what)
{
	uint8_t		value = knn_take_u8(r, what);

	if (value > 1)
		knn_reader_fail(r, "%s is %u, which is not a truth value", what, value);
	return value == 1;
}

int32_t
knn_take_i32(knn_reader *r, const char *what)
{
	const uint8_t *at = knn_take(r, 4, what);

	return at ? knn_faiss_i32(at, 0) : 0;
}

uint64_t
knn_take_u64(knn_reader *r, const char *what)
{
	const uint8_t *at = knn_take(r, 8, what);

	return at ? knn_faiss_u64(at, 0) : 0;
}

/* A number that has to be in a range. */
int32_t
knn_take_i32_between(knn_reader *r, const char *what, int32_t min, int32_t max)
{
	int32_t		value = knn_take_i32(r, what);

	if (!r->failed && (value < min || value > max))
		knn_reader_fail(r, "%s is %d, which is not between %d and %d", what, value, min, max);
	return value;
}

uint64_t
knn_take_u64_between(knn_reader *r, const char *what, uint64_t min, uint64_t max)
{
	uint64_t	value = knn_take_u64(r, what);

	if (!r->failed && (value < min || value > max))
		knn_reader_fail(r, "%s is %llu, which is not between %llu and %llu", what,
						(unsigned long long) value, (unsigned long long) min, (unsigned long long) max);
	return value;
}

/* A number that is known already. */
void
knn_expect_u64(knn_reader *r, const char *what, uint64_t expected)
{
	uint64_t	value = knn_take_u64(r, what);

	if (!r->failed && value != expected)
		knn_reader_fail(r, "%s is %llu instead of %llu", what,
						(unsigned long long) value, (unsigned long long) expected);
}

/* An array with its count before it. */
const uint8_t *
knn_take_array(knn_reader *r, size_t element, uint64_t *count, const char *what)
{
	*count = knn_take_u64(r, what);
	if (!r->failed && *count > knn_reader_left(r) / element)
	{
		knn_reader_fail(r, "%s are said to be %llu, but only %llu bytes are left", what,
						(unsigned long long) *count, (unsigned long long) knn_reader_left(r));
		*count = 0;
	}
	return knn_take(r, *count * element, what);
}

/* One whose count is known: first * second, which may be beyond any number. */
const uint8_t *
knn_take_known_array(knn_reader *r, size_t element, uint64_t first, uint64_t second, const char *what)
{
	uint64_t	count;
	const uint8_t *data = knn_take_array(r, element, &count, what);

	if (r->failed)
		return NULL;
	/* the count has been compared with the bytes: only the product may overflow */
	if (first != 0 && second > UINT64_MAX / first)
		knn_reader_fail(r, "%s would be more than fits", what);
	else if (count != first * second)
		knn_reader_fail(r, "%s are %llu instead of %llu", what,
						(unsigned long long) count, (unsigned long long) (first * second));
	return r->failed ? NULL : data;
}

void
knn_check_finite(knn_reader *r, const uint8_t *floats, uint64_t count, const char *what)
{
	if (r->failed)
		return;
	for (uint64_t i = 0; i < count; i++)
		if (!isfinite(knn_faiss_f32(floats, i)))
		{
			knn_reader_fail(r, "a number of %s is not finite", what);
			return;
		}
}
