/*
 * test_crc.c
 *		Checks of 32 bits: known values, pieces, and two texts joined.
 */
#include <string.h>

#include "core/crc.h"
#include "unit.h"

static uint32_t
of(uint32_t polynomial, const void *bytes, size_t n)
{
	knn_crc		crc;

	knn_crc_init(&crc, polynomial);
	knn_crc_add(&crc, bytes, n);
	return knn_crc_value(&crc);
}

int
main(void)
{
	static const uint32_t polynomials[] = {KNN_CRC32C, KNN_CRC32};
	static const uint32_t of_digits[] = {0xE3069283, 0xCBF43926};	/* "123456789" */
	uint8_t		bytes[1000];
	uint64_t	state = 7;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t) unit_random(&state);
	for (int p = 0; p < 2; p++)
	{
		uint32_t	whole = of(polynomials[p], bytes, sizeof(bytes));
		knn_crc		crc;

		unit_case("polynomial %d: known values", p);
		UNIT_CHECK(of(polynomials[p], "123456789", 9) == of_digits[p], "%08x",
				   of(polynomials[p], "123456789", 9));
		UNIT_CHECK(of(polynomials[p], "", 0) == 0, "of nothing");

		unit_case("polynomial %d: in pieces", p);
		knn_crc_init(&crc, polynomials[p]);
		for (size_t at = 0, n; at < sizeof(bytes); at += n)
		{
			n = 1 + unit_random(&state) % 37;
			if (n > sizeof(bytes) - at)
				n = sizeof(bytes) - at;
			knn_crc_add(&crc, bytes + at, n);
		}
		UNIT_CHECK(knn_crc_value(&crc) == whole, "%08x", knn_crc_value(&crc));
		knn_crc_restart(&crc);
		UNIT_CHECK(knn_crc_value(&crc) == 0, "after a restart");

		unit_case("polynomial %d: joined", p);
		for (size_t first = 0; first <= sizeof(bytes); first += 1 + first / 3)
		{
			size_t		second = sizeof(bytes) - first;
			uint32_t	joined = knn_crc_join(polynomials[p], of(polynomials[p], bytes, first),
											  of(polynomials[p], bytes + first, second), second);

			UNIT_CHECK(joined == whole, "%zu + %zu bytes: %08x", first, second, joined);
		}
	}
	return unit_done("test_crc");
}
