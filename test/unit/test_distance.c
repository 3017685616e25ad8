/*
 * test_distance.c
 *		Every kernel of every implementation against a naive reference.
 *
 * The reference works in double precision or in 64-bit integers.  Arguments are
 * placed so that they end right before, or start right after, a page that cannot
 * be read, and at odd places in between, so that reading past either end crashes.
 *
 * Float sums may differ from the reference by rounding only.  Since that bound
 * is too wide at large dimensions to see a single lost element, one of the
 * patterns has small integers, whose sums are exact in any order.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/distance.h"
#include "unit.h"

static const char *const implementations[] = {"scalar", "avx2", "avx512", "neon", "dotprod"};
static const uint32_t big_dims[] = {255, 256, 257, 384, 767, 768, 1000, 1536, 4096, 16000};

#define NBIG (sizeof(big_dims) / sizeof(big_dims[0]))
#define NDIMS (131 + NBIG)
#define PLACES 4

/* dims 0..130, then the big ones */
static uint32_t
nth_dim(uint32_t n)
{
	return n < 131 ? n : big_dims[n - 131];
}

/* ---- memory between two unreadable pages ---- */

typedef struct
{
	uint8_t    *start;			/* right after an unreadable page */
	uint8_t    *end;			/* an unreadable page follows */
} guarded;

static guarded area_a,
			area_b,
			area_out;

static guarded
make_guarded(size_t size)
{
	size_t		page = (size_t) sysconf(_SC_PAGESIZE);
	size_t		inner = (size + 2 * page - 1) / page * page;
	uint8_t    *p = mmap(NULL, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	guarded		g;

	if (p == MAP_FAILED || mprotect(p + page, inner, PROT_READ | PROT_WRITE) != 0)
	{
		perror("mmap");
		exit(2);
	}
	g.start = p + page;
	g.end = g.start + inner;
	return g;
}

/*
 * The address for size bytes of elements of the given width: at the end, at the
 * start, one element after it, and three before the end (so that with two
 * arguments both alignments vary).
 */
static void *
place(const guarded *g, int where, size_t size, size_t width)
{
	switch (where)
	{
		case 0:
			return g->end - size;
		case 1:
			return g->start;
		case 2:
			return g->start + width;
		default:
			return g->end - size - 3 * width;
	}
}

/* ---- values ---- */

typedef enum
{
	SMALL_INTEGERS,				/* sums are exact */
	UNIFORM,
	WIDE,						/* many orders of magnitude */
	DENORMAL,
	LARGE,						/* sums of squares just below overflow */
	CONSTANT,					/* the extremes, all alike */
	ALTERNATING,				/* the extremes, in turn */
	NPATTERNS
} pattern;

static const char *const pattern_names[] = {
	"small integers", "uniform", "wide", "denormal", "large", "constant", "alternating"
};

static uint64_t state = 99;

static float
make_float(pattern p, uint32_t i, int side)
{
	double		x = unit_random_float(&state);

	switch (p)
	{
		case SMALL_INTEGERS:
			return (float) ((int) (unit_random(&state) >> 60) - 8);
		case UNIFORM:
			return (float) x;
		case WIDE:
			return (float) ldexp(x, (int) (unit_random(&state) >> 60) - 8);
		case DENORMAL:
			return (float) (x * 0x1p-127);
		case LARGE:
			return (float) (x * 0x1p55);
		case CONSTANT:
			return side ? 1.5f : -1.5f;
		default:
			return (i + (uint32_t) side) % 2 ? 3.0f : -3.0f;
	}
}

static knn_half
make_half(pattern p, uint32_t i, int side)
{
	if (p == DENORMAL)
		return (knn_half) (unit_random(&state) >> 54 | (unit_random(&state) >> 63 << 15));
	if (p == LARGE)
		return (knn_half) ((0x7800 + (unit_random(&state) >> 54)) | (unit_random(&state) >> 63 << 15));
	return knn_float_to_half(make_float(p, i, side));
}

static int
make_byte(pattern p, uint32_t i, int side, int low, int high)
{
	switch (p)
	{
		case CONSTANT:
			return side ? high : low;
		case LARGE:
			return low;
		case DENORMAL:
			return high;
		case ALTERNATING:
			return (i + (uint32_t) side) % 2 ? high : low;
		default:
			return low + (int) (unit_random(&state) % (uint64_t) (high - low + 1));
	}
}

/* ---- the float kernels ---- */

typedef enum
{
	L2,
	IP,
	L1,
	LINF
} measure;

/* sum is the distance; magnitude the sum of the absolute values of its terms */
typedef struct
{
	double		sum;
	double		magnitude;
} expected;

static void
add_term(expected *e, measure m, double a, double b)
{
	double		t = m == IP ? a * b : m == L2 ? (a - b) * (a - b) : fabs(a - b);

	if (m == LINF)
	{
		e->sum = fmax(e->sum, t);
		e->magnitude = e->sum;
	}
	else
	{
		e->sum += t;
		e->magnitude += fabs(t);
	}
}

static void
check_float(float got, expected e, measure m, pattern p, uint32_t dim, int where)
{
	/*
	 * Rounding of a term, then of the additions; no implementation has fewer than
	 * two accumulators.  Terms that underflow lose up to the smallest float.
	 */
	double		limit = e.magnitude * 0x1p-24 * (m == LINF ? 4 : dim / 2 + 8) + dim * 0x1p-149;

	if (p == SMALL_INTEGERS || p == ALTERNATING)
		limit = 0;
	UNIT_CHECK(fabs(got - e.sum) <= limit, "%s, dim %u, place %d: got %.9g, expected %.9g",
			   pattern_names[p], dim, where, got, e.sum);
}

static void
test_f32(float (*kernel) (const float *, const float *, uint32_t), measure m)
{
	for (pattern p = 0; p < NPATTERNS; p++)
		for (uint32_t n = 0; n < NDIMS; n++)
			for (int where = 0; where < PLACES; where++)
			{
				uint32_t	dim = nth_dim(n);
				float	   *a = place(&area_a, where, sizeof(float) * dim, sizeof(float));
				float	   *b = place(&area_b, (where + n) % PLACES, sizeof(float) * dim, sizeof(float));
				expected	e = {0, 0};

				for (uint32_t i = 0; i < dim; i++)
				{
					a[i] = make_float(p, i, 0);
					b[i] = make_float(p, i, 1);
					add_term(&e, m, a[i], b[i]);
				}
				check_float(kernel(a, b, dim), e, m, p, dim, where);
			}
}

static void
test_f16(float (*kernel) (const knn_half *, const knn_half *, uint32_t), measure m)
{
	for (pattern p = 0; p < NPATTERNS; p++)
		for (uint32_t n = 0; n < NDIMS; n++)
			for (int where = 0; where < PLACES; where++)
			{
				uint32_t	dim = nth_dim(n);
				knn_half   *a = place(&area_a, where, sizeof(knn_half) * dim, sizeof(knn_half));
				knn_half   *b = place(&area_b, (where + n) % PLACES, sizeof(knn_half) * dim, sizeof(knn_half));
				expected	e = {0, 0};

				for (uint32_t i = 0; i < dim; i++)
				{
					a[i] = make_half(p, i, 0);
					b[i] = make_half(p, i, 1);
					add_term(&e, m, knn_half_to_float(a[i]), knn_half_to_float(b[i]));
				}
				check_float(kernel(a, b, dim), e, m, p, dim, where);
			}
}

static void
test_f32f16(float (*kernel) (const float *, const knn_half *, uint32_t), measure m)
{
	for (pattern p = 0; p < NPATTERNS; p++)
		for (uint32_t n = 0; n < NDIMS; n++)
			for (int where = 0; where < PLACES; where++)
			{
				uint32_t	dim = nth_dim(n);
				float	   *a = place(&area_a, where, sizeof(float) * dim, sizeof(float));
				knn_half   *b = place(&area_b, (where + n) % PLACES, sizeof(knn_half) * dim, sizeof(knn_half));
				expected	e = {0, 0};

				for (uint32_t i = 0; i < dim; i++)
				{
					a[i] = make_float(p, i, 0);
					b[i] = make_half(p, i, 1);
					add_term(&e, m, a[i], knn_half_to_float(b[i]));
				}
				check_float(kernel(a, b, dim), e, m, p, dim, where);
			}
}

static void
test_u8f32(float (*kernel) (const uint8_t *, const float *, float, float, uint32_t), measure m)
{
	for (pattern p = 0; p < NPATTERNS; p++)
		for (uint32_t n = 0; n < NDIMS; n++)
			for (int where = 0; where < PLACES; where++)
			{
				uint32_t	dim = nth_dim(n);
				uint8_t    *code = place(&area_a, where, dim, 1);
				float	   *query = place(&area_b, (where + n) % PLACES, sizeof(float) * dim, sizeof(float));
				bool		exact = p == SMALL_INTEGERS || p == ALTERNATING;
				float		scale = exact ? 0.5f : (float) unit_random_float(&state);
				float		offset = exact ? -3.0f : 40 * (float) unit_random_float(&state);
				expected	e = {0, 0};

				for (uint32_t i = 0; i < dim; i++)
				{
					double		x;

					code[i] = (uint8_t) make_byte(p, i, 0, 0, 255);
					query[i] = make_float(p, i, 1);
					x = (double) scale * code[i] + offset;
					add_term(&e, m, x, query[i]);
					/* the element itself is rounded, before the subtraction */
					if (m != LINF)
						e.magnitude += fabs(x) + fabs(query[i]);
					else
						e.magnitude = fmax(e.magnitude, 300 + fabs(query[i]));
				}
				check_float(kernel(code, query, scale, offset, dim), e, m, p, dim, where);
			}
}

/* ---- the integer kernels: exact ---- */

typedef enum
{
	INT_L2,
	INT_IP,
	INT_L1,
	INT_LINF
} int_measure;

static int64_t
int_reference(int64_t so_far, int_measure m, int64_t a, int64_t b)
{
	int64_t		d = a > b ? a - b : b - a;

	switch (m)
	{
		case INT_L2:
			return so_far + d * d;
		case INT_IP:
			return so_far + a * b;
		case INT_L1:
			return so_far + d;
		default:
			return d > so_far ? d : so_far;
	}
}

/* the extremes of both sides in all four combinations, on top of the patterns */
#define NBYTE_PATTERNS (NPATTERNS + 4)

static int
make_side(int p, uint32_t i, int side, int low, int high)
{
	if (p >= NPATTERNS)
		return ((p - NPATTERNS) >> side) & 1 ? high : low;
	return make_byte((pattern) p, i, side, low, high);
}

static void
test_s8(int32_t (*kernel) (const int8_t *, const int8_t *, uint32_t), int_measure m)
{
	for (int p = 0; p < NBYTE_PATTERNS; p++)
		for (uint32_t n = 0; n < NDIMS; n++)
			for (int where = 0; where < PLACES; where++)
			{
				uint32_t	dim = nth_dim(n);
				int8_t	   *a = place(&area_a, where, dim, 1);
				int8_t	   *b = place(&area_b, (where + n) % PLACES, dim, 1);
				int64_t		e = 0;
				int32_t		got;

				for (uint32_t i = 0; i < dim; i++)
				{
					a[i] = (int8_t) make_side(p, i, 0, -128, 127);
					b[i] = (int8_t) make_side(p, i, 1, -128, 127);
					e = int_reference(e, m, a[i], b[i]);
				}
				got = kernel(a, b, dim);
				UNIT_CHECK(got == e, "pattern %d, dim %u, place %d: got %d, expected %lld",
						   p, dim, where, got, (long long) e);
			}
}

static void
test_dot_u8s8(const knn_kernels *k)
{
	for (int p = 0; p < NBYTE_PATTERNS; p++)
		for (uint32_t n = 0; n < NDIMS; n++)
			for (int where = 0; where < PLACES; where++)
			{
				uint32_t	dim = nth_dim(n);
				uint8_t    *code = place(&area_a, where, dim, 1);
				int8_t	   *query = place(&area_b, (where + n) % PLACES, dim, 1);
				int64_t		e = 0;
				int32_t		got;

				for (uint32_t i = 0; i < dim; i++)
				{
					code[i] = (uint8_t) make_side(p, i, 0, 0, 255);
					query[i] = (int8_t) make_side(p, i, 1, -128, 127);
					e += (int64_t) code[i] * query[i];
				}
				got = k->dot_u8s8(code, query, dim);
				UNIT_CHECK(got == e, "pattern %d, dim %u, place %d: got %d, expected %lld",
						   p, dim, where, got, (long long) e);
			}
}

/* Up to 9 codes at once; those that are not counted, and what follows out, stay. */
static void
test_dots_u8s8(const knn_kernels *k)
{
	static const uint32_t dims[] = {0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 200, 768, 1000, 1536, KNN_MAX_DIM};
	static uint8_t memory[9][KNN_MAX_DIM];
	uint64_t	saved = state;	/* the other cases keep their values */

	for (int p = 0; p < NBYTE_PATTERNS; p++)
		for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++)
			for (uint32_t n = 0; n <= 9; n++)
			{
				uint32_t	dim = dims[d];
				const uint8_t *codes[9];
				int8_t	   *query = place(&area_b, (int) n % PLACES, dim, 1);
				int32_t		got[10];

				for (uint32_t i = 0; i < dim; i++)
					query[i] = (int8_t) make_side(p, i, 1, -128, 127);
				for (uint32_t c = 0; c < n; c++)
				{
					/* one ends where memory does, the others are somewhere */
					uint8_t    *code = c == n - 1 ? place(&area_a, 0, dim, 1) : memory[c];

					for (uint32_t i = 0; i < dim; i++)
						code[i] = (uint8_t) make_side(p, i + 3 * c, 0, 0, 255);
					codes[c] = code;
				}
				for (uint32_t c = 0; c < 10; c++)
					got[c] = 12345;
				k->dots_u8s8(codes, n, query, dim, got);
				for (uint32_t c = 0; c < n; c++)
				{
					int64_t		e = 0;

					for (uint32_t i = 0; i < dim; i++)
						e += (int64_t) codes[c][i] * query[i];
					UNIT_CHECK(got[c] == e, "pattern %d, dim %u, code %u of %u: got %d, expected %lld",
							   p, dim, c, n, got[c], (long long) e);
				}
				UNIT_CHECK(got[n] == 12345, "written past the end");
			}
	state = saved;
}

/*
 * Codes of several fields to a byte.  All lengths up to 200 bytes, the ones in
 * use, and those of the largest vectors, where blocks of sums that an
 * implementation keeps in few bits end.
 */
static const uint32_t big_lengths[] = {
	223, 224, 255, 256, 257, 288, 319, 320, 321, 352, 383, 384, 385, 511, 512, 513,
	639, 640, 641, 768, 1000, 1023, 1024, 1025, 1999, 2000, 3999, 4000, 7999, 8000
};

#define NLENGTHS (201 + sizeof(big_lengths) / sizeof(big_lengths[0]))

static void
test_packed(int32_t (*kernel) (const uint8_t *, const int8_t *, uint32_t), uint32_t bits)
{
	uint32_t	per = 8 / bits;
	int			high = (1 << bits) - 1;

	for (int p = 0; p < NBYTE_PATTERNS; p++)
		for (uint32_t n = 0; n < NLENGTHS; n++)
			for (int where = 0; where < PLACES; where++)
			{
				uint32_t	nbytes = n < 201 ? n : big_lengths[n - 201];
				uint32_t	dim = per * nbytes;
				uint8_t    *code = place(&area_a, where, nbytes, 1);
				int8_t	   *query = place(&area_b, (where + n) % PLACES, dim, 1);
				int64_t		e = 0;
				int32_t		got;

				if (dim > KNN_MAX_DIM)
					continue;

				/* what lies around them must not count */
				memset(area_a.start, 0xff, 64 + nbytes);
				memset(area_a.end - 64 - nbytes, 0xff, 64 + nbytes);
				memset(area_b.start, 0x7f, 64 + dim);
				memset(area_b.end - 64 - dim, 0x7f, 64 + dim);

				memset(code, 0, nbytes);
				for (uint32_t i = 0; i < dim; i++)
				{
					int			field = make_side(p, i, 0, 0, high);

					query[i] = (int8_t) make_side(p, i, 1, -128, 127);
					code[i % nbytes] |= (uint8_t) (field << (i / nbytes * bits));
					e += (int64_t) field * query[i];
				}
				got = kernel(code, query, nbytes);
				UNIT_CHECK(got == e, "pattern %d, %u bytes, place %d: got %d, expected %lld",
						   p, nbytes, where, got, (long long) e);
			}
}

/* each field alone, against the query that tells where it was looked for */
static void
test_packed_layout(int32_t (*kernel) (const uint8_t *, const int8_t *, uint32_t), uint32_t bits)
{
	uint32_t	per = 8 / bits;

	for (uint32_t nbytes = 1; nbytes <= 200; nbytes++)
	{
		uint8_t    *code = place(&area_a, 0, nbytes, 1);
		int8_t	   *query = place(&area_b, 0, per * nbytes, 1);

		memset(code, 0, nbytes);
		memset(query, 0, per * nbytes);
		for (uint32_t k = 0; k < per; k++)
			for (uint32_t j = 0; j < nbytes; j++)
				for (uint32_t bit = 0; bit < bits; bit++)
				{
					code[j] = (uint8_t) (1 << (k * bits + bit));
					query[k * nbytes + j] = -128;
					UNIT_CHECK(kernel(code, query, nbytes) == -128 * (1 << bit),
							   "%u bytes, field %u of byte %u, bit %u", nbytes, k, j, bit);
					query[k * nbytes + j] = 0;
					UNIT_CHECK(kernel(code, query, nbytes) == 0,
							   "%u bytes, all but field %u of byte %u", nbytes, k, j);
					code[j] = 0;
				}
	}
}

static void
test_sum_u8(const knn_kernels *k)
{
	for (int p = 0; p < NBYTE_PATTERNS; p++)
		for (uint32_t n = 0; n < NDIMS; n++)
			for (int where = 0; where < PLACES; where++)
			{
				uint32_t	dim = nth_dim(n);
				uint8_t    *code = place(&area_a, where, dim, 1);
				int64_t		e = 0;
				int32_t		got;

				for (uint32_t i = 0; i < dim; i++)
				{
					code[i] = (uint8_t) make_side(p, i, 0, 0, 255);
					e += code[i];
				}
				got = k->sum_u8(code, dim);
				UNIT_CHECK(got == e, "pattern %d, dim %u, place %d: got %d, expected %lld",
						   p, dim, where, got, (long long) e);
			}
}

static void
test_hamming(const knn_kernels *k)
{
	for (int p = 0; p < NBYTE_PATTERNS; p++)
		for (uint32_t n = 0; n < NDIMS; n++)
			for (int where = 0; where < PLACES; where++)
			{
				uint32_t	nbytes = nth_dim(n);
				uint8_t    *a = place(&area_a, where, nbytes, 1);
				uint8_t    *b = place(&area_b, (where + n) % PLACES, nbytes, 1);
				uint32_t	e = 0;
				uint32_t	got;

				for (uint32_t i = 0; i < nbytes; i++)
				{
					a[i] = (uint8_t) make_side(p, i, 0, 0, 255);
					b[i] = (uint8_t) make_side(p, i, 1, 0, 255);
					for (int bit = 0; bit < 8; bit++)
						e += ((a[i] ^ b[i]) >> bit) & 1;
				}
				got = k->hamming(a, b, nbytes);
				UNIT_CHECK(got == e, "pattern %d, %u bytes, place %d: got %u, expected %u",
						   p, nbytes, where, got, e);
			}
}

/* ---- the conversions: what test_half.c does not see, the ends ---- */

static void
test_conversions(const knn_kernels *k)
{
	for (uint32_t n = 0; n < NDIMS; n++)
		for (int where = 0; where < PLACES; where++)
		{
			uint32_t	dim = nth_dim(n);
			knn_half   *h = place(&area_a, where, sizeof(knn_half) * dim, sizeof(knn_half));
			float	   *f = place(&area_b, (where + n) % PLACES, sizeof(float) * dim, sizeof(float));
			knn_half   *out = place(&area_out, where, sizeof(knn_half) * dim, sizeof(knn_half));
			bool		untouched = true;

			memset(area_b.start, 0x55, (size_t) (area_b.end - area_b.start));
			memset(area_out.start, 0x55, (size_t) (area_out.end - area_out.start));
			for (uint32_t i = 0; i < dim; i++)
				h[i] = make_half(i % 2 ? WIDE : DENORMAL, i, 0);

			k->f16_to_f32(h, f, dim);
			for (uint32_t i = 0; i < dim; i++)
				UNIT_CHECK(f[i] == knn_half_to_float(h[i]), "dim %u, place %d, element %u", dim, where, i);
			for (uint8_t *p = area_b.start; p < area_b.end; p++)
				untouched &= *p == 0x55 || (p >= (uint8_t *) f && p < (uint8_t *) (f + dim));

			k->f32_to_f16(f, out, dim);
			UNIT_CHECK(memcmp(out, h, sizeof(knn_half) * dim) == 0, "dim %u, place %d: not the same back", dim, where);
			for (uint8_t *p = area_out.start; p < area_out.end; p++)
				untouched &= *p == 0x55 || (p >= (uint8_t *) out && p < (uint8_t *) (out + dim));

			UNIT_CHECK(untouched, "dim %u, place %d: wrote outside", dim, where);
		}
}

/* ---- all of it ---- */

#define CASE(k, field, run) \
	do { \
		unit_case("%s: %s", name, #field); \
		if ((k) == NULL) \
			unit_skip("not on this CPU"); \
		else \
			run; \
	} while (0)

static void
test_implementation(const char *name)
{
	const knn_kernels *k = knn_kernels_by_name(name);

	CASE(k, l2_squared_f32, test_f32(k->l2_squared_f32, L2));
	CASE(k, inner_product_f32, test_f32(k->inner_product_f32, IP));
	CASE(k, l1_f32, test_f32(k->l1_f32, L1));
	CASE(k, linf_f32, test_f32(k->linf_f32, LINF));
	CASE(k, l2_squared_f16, test_f16(k->l2_squared_f16, L2));
	CASE(k, inner_product_f16, test_f16(k->inner_product_f16, IP));
	CASE(k, l1_f16, test_f16(k->l1_f16, L1));
	CASE(k, linf_f16, test_f16(k->linf_f16, LINF));
	CASE(k, l2_squared_f32f16, test_f32f16(k->l2_squared_f32f16, L2));
	CASE(k, inner_product_f32f16, test_f32f16(k->inner_product_f32f16, IP));
	CASE(k, l2_squared_s8, test_s8(k->l2_squared_s8, INT_L2));
	CASE(k, inner_product_s8, test_s8(k->inner_product_s8, INT_IP));
	CASE(k, l1_s8, test_s8(k->l1_s8, INT_L1));
	CASE(k, linf_s8, test_s8(k->linf_s8, INT_LINF));
	CASE(k, hamming, test_hamming(k));
	CASE(k, dot_u8s8, test_dot_u8s8(k));
	CASE(k, dots_u8s8, test_dots_u8s8(k));
	CASE(k, dot_u4s8, (test_packed(k->dot_u4s8, 4), test_packed_layout(k->dot_u4s8, 4)));
	CASE(k, dot_u2s8, (test_packed(k->dot_u2s8, 2), test_packed_layout(k->dot_u2s8, 2)));
	CASE(k, dot_u1s8, (test_packed(k->dot_u1s8, 1), test_packed_layout(k->dot_u1s8, 1)));
	CASE(k, sum_u8, test_sum_u8(k));
	CASE(k, l1_u8f32, test_u8f32(k->l1_u8f32, L1));
	CASE(k, linf_u8f32, test_u8f32(k->linf_u8f32, LINF));
	CASE(k, conversions, test_conversions(k));
}

static void
test_choice(void)
{
	unit_case("choice of the implementation");
	UNIT_CHECK(knn_kernels_get() == knn_kernels_get(), "two answers");
	UNIT_CHECK(knn_kernels_by_name(knn_kernels_get()->name) == knn_kernels_get(), "name and choice differ");
	UNIT_CHECK(knn_kernels_by_name("scalar") != NULL, "no scalar implementation");
	UNIT_CHECK(knn_kernels_by_name("no such") == NULL, "an implementation of no name");
}

int
main(void)
{
	area_a = make_guarded(sizeof(float) * KNN_MAX_DIM);
	area_b = make_guarded(sizeof(float) * KNN_MAX_DIM);
	area_out = make_guarded(sizeof(knn_half) * KNN_MAX_DIM);

	test_choice();
	for (size_t i = 0; i < sizeof(implementations) / sizeof(implementations[0]); i++)
		test_implementation(implementations[i]);
	return unit_done("test_distance");
}
