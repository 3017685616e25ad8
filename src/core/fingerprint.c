/*
 * fingerprint.c
 *		A set of vectors known by their fingerprints; see fingerprint.h.
 */
#include "core/fingerprint.h"

#include <string.h>

#define SLOTS_START 1024		/* a power of two */

static inline uint64_t
mix(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0xD6E8FEB86659FD93);
	x ^= x >> 32;
	return x;
}

knn_fingerprint
knn_fingerprint_of(const void *data, size_t size, uint64_t seed)
{
	const uint8_t *bytes = data;
	knn_fingerprint print = {
		mix(seed ^ UINT64_C(0x9E3779B97F4A7C15)) ^ size,
		mix(seed + UINT64_C(0xC2B2AE3D27D4EB4F)) + size
	};

	while (size > 0)
	{
		uint64_t	word = 0;
		size_t		part = size < 8 ? size : 8;

		memcpy(&word, bytes, part);
		print.a = (print.a ^ word) * UINT64_C(0xFF51AFD7ED558CCD);
		print.a ^= print.a >> 29;
		print.b = (print.b + word) * UINT64_C(0x9FB21C651E98DF25);
		print.b = (print.b << 27 | print.b >> 37) ^ word;
		bytes += part;
		size -= part;
	}
	print.a = mix(print.a);
	print.b = mix(print.b);
	return print;
}

int
knn_fingerprint_set_init(knn_fingerprint_set *set, const knn_allocator *allocator, uint64_t seed)
{
	set->allocator = *allocator;
	set->seed = seed;
	set->n = 0;
	set->room = SLOTS_START / 2;
	set->mask = SLOTS_START - 1;
	set->prints = allocator->alloc(allocator->context, sizeof(knn_fingerprint) * set->room);
	set->slots = allocator->alloc(allocator->context, sizeof(uint32_t) * SLOTS_START);
	if (!set->prints || !set->slots)
		return KNN_ERROR_NO_MEMORY;
	memset(set->slots, 0, sizeof(uint32_t) * SLOTS_START);
	return KNN_OK;
}

void
knn_fingerprint_set_free(knn_fingerprint_set *set)
{
	if (set->prints)
		set->allocator.release(set->allocator.context, set->prints);
	if (set->slots)
		set->allocator.release(set->allocator.context, set->slots);
	set->prints = NULL;
	set->slots = NULL;
}

static int
grow(knn_fingerprint_set *set)
{
	const knn_allocator *allocator = &set->allocator;
	uint64_t	slots = (set->mask + 1) * 2;
	uint32_t	room = (uint32_t) (slots / 2 < UINT32_MAX ? slots / 2 : UINT32_MAX);
	knn_fingerprint *prints = allocator->alloc(allocator->context, sizeof(knn_fingerprint) * (size_t) room);
	uint32_t   *table = allocator->alloc(allocator->context, sizeof(uint32_t) * (size_t) slots);

	if (!prints || !table)
	{
		if (prints)
			allocator->release(allocator->context, prints);
		if (table)
			allocator->release(allocator->context, table);
		return KNN_ERROR_NO_MEMORY;
	}
	memcpy(prints, set->prints, sizeof(knn_fingerprint) * set->n);
	memset(table, 0, sizeof(uint32_t) * (size_t) slots);
	allocator->release(allocator->context, set->prints);
	allocator->release(allocator->context, set->slots);
	set->prints = prints;
	set->slots = table;
	set->room = room;
	set->mask = slots - 1;
	for (uint32_t i = 0; i < set->n; i++)
	{
		uint64_t	slot = prints[i].a & set->mask;

		while (table[slot] != 0)
			slot = (slot + 1) & set->mask;
		table[slot] = i + 1;
	}
	return KNN_OK;
}

int
knn_fingerprint_set_add(knn_fingerprint_set *set, const void *data, size_t size, uint32_t *position)
{
	knn_fingerprint print = knn_fingerprint_of(data, size, set->seed);
	uint64_t	slot;

	if (set->n == set->room && grow(set) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	slot = print.a & set->mask;
	while (set->slots[slot] != 0)
	{
		const knn_fingerprint *other = &set->prints[set->slots[slot] - 1];

		if (other->a == print.a && other->b == print.b)
		{
			*position = set->slots[slot] - 1;
			return 1;
		}
		slot = (slot + 1) & set->mask;
	}
	set->prints[set->n] = print;
	*position = set->n;
	set->slots[slot] = ++set->n;
	return 0;
}
