/*
 * rotation.c
 *		Pseudo-random orthonormal rotation of a vector of any dimension.
 *
 * See rotation.h for the construction.  Indexes on disk hold rotated vectors,
 * so the result must be the same bit for bit on every CPU and with every
 * compiler.  Hence:
 *
 * - only IEEE additions, subtractions, multiplications and sign changes, in an
 *   order that this file fixes (no reassociation, no reductions);
 * - no contraction of a multiplication and an addition into one rounding;
 * - constants are written out, nothing comes from libm;
 * - sign bits are defined as bytes, not as words of the machine.
 *
 * Vectors of four floats (GCC vector extensions, which clang has too) are part
 * of the baseline of every 64-bit architecture and are lowered to scalars
 * elsewhere, with the same result: lanes never mix except by exact shuffles.
 */
#include <string.h>

#include "core/rotation.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif

#if defined(__FAST_MATH__)
#error "rotation.c must not be compiled with -ffast-math: indexes depend on its exact results"
#endif

typedef float v4f __attribute__((vector_size(16)));
typedef uint32_t v4u __attribute__((vector_size(16)));

#define INV_SQRT2 0x1.6a09e6p-1f	/* the float nearest to 1/sqrt(2) */

#ifdef __clang__
#define SWAP_PAIRS(x) __builtin_shufflevector((x), (x), 1, 0, 3, 2)
#define SWAP_HALVES(x) __builtin_shufflevector((x), (x), 2, 3, 0, 1)
#else
#define SWAP_PAIRS(x) __builtin_shuffle((x), (v4u) {1, 0, 3, 2})
#define SWAP_HALVES(x) __builtin_shuffle((x), (v4u) {2, 3, 0, 1})
#endif

#define SIGN 0x80000000u

static inline v4f
load4(const float *p)
{
	v4f			x;

	memcpy(&x, p, sizeof(x));
	return x;
}

static inline void
store4(float *p, v4f x)
{
	memcpy(p, &x, sizeof(x));
}

static inline v4f
flip4(v4f x, v4u mask)
{
	return (v4f) ((v4u) x ^ mask);
}

/* The two butterfly stages that stay inside a vector: strides 1 and 2. */
static inline v4f
butterflies_inside(v4f x)
{
	const v4u	odd = {0, SIGN, 0, SIGN};
	const v4u	high = {0, 0, SIGN, SIGN};

	/* a pair (a, b) becomes (b + a, a + -b): the same as a + b and a - b */
	x = SWAP_PAIRS(x) + flip4(x, odd);
	x = SWAP_HALVES(x) + flip4(x, high);
	return x;
}

/*
 * The next step of splitmix64 (Steele, Lea, Flood 2014): a Weyl sequence
 * followed by a mixing function.  Small, and any seed is a good one.
 */
static uint64_t
splitmix64(uint64_t *state)
{
	uint64_t	z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/*
 * Fill signs, KNN_ROTATION_SIGN_BYTES(dim) bytes of the caller's memory.
 *
 * The bytes are the outputs of splitmix64(seed), each word least significant
 * byte first.  Round r uses the (dim + 7) / 8 bytes from r * ((dim + 7) / 8)
 * on; coordinate i is negated when bit i % 8 (least significant first) of byte
 * i / 8 is set.
 */
void
knn_rotation_init(uint8_t *signs, uint32_t dim, uint64_t seed)
{
	size_t		nbytes = KNN_ROTATION_SIGN_BYTES((size_t) dim);
	uint64_t	word = 0;

	for (size_t i = 0; i < nbytes; i++)
	{
		if (i % 8 == 0)
			word = splitmix64(&seed);
		signs[i] = (uint8_t) word;
		word >>= 8;
	}
}

/* Negate the coordinates whose sign bit is set. */
static void
flip_signs(const uint8_t *signs, float *v, uint32_t dim)
{
	const v4u	low_bits = {1, 2, 4, 8};
	const v4u	high_bits = {16, 32, 64, 128};
	uint32_t	i = 0;

	for (; i + 8 <= dim; i += 8)
	{
		uint32_t	s = signs[i / 8];
		v4u			all = {s, s, s, s};
		v4u			low = (v4u) ((all & low_bits) == low_bits) & SIGN;
		v4u			high = (v4u) ((all & high_bits) == high_bits) & SIGN;

		store4(v + i, flip4(load4(v + i), low));
		store4(v + i + 4, flip4(load4(v + i + 4), high));
	}
	for (; i < dim; i++)
	{
		if (signs[i / 8] & (1u << (i % 8)))
			v[i] = -v[i];
	}
}

/*
 * Fast Hadamard transform of the n = 2^log2n floats of v, orthonormal: every
 * result is multiplied by scale = 2^(-log2n / 2), rounded to float.
 *
 * Strides 1, 2, 4 and 8 are done on 16 floats held in registers; after that two
 * strides at a time, so that each pass over v does two stages.
 */
static void
hadamard(float *v, uint32_t log2n)
{
	uint32_t	n = 1u << log2n;
	float		scale = (log2n % 2 == 0) ? 1.0f : INV_SQRT2;
	v4f			vscale;

	/* exact: a power of two times the constant, 2^-6 at most for 16000 */
	scale /= (float) (1u << (log2n / 2));

	if (n < 16)
	{
		for (uint32_t h = 1; h < n; h *= 2)
		{
			for (uint32_t i = 0; i < n; i += 2 * h)
			{
				for (uint32_t j = i; j < i + h; j++)
				{
					float		a = v[j],
								b = v[j + h];

					v[j] = a + b;
					v[j + h] = a - b;
				}
			}
		}
		for (uint32_t i = 0; i < n; i++)
			v[i] *= scale;
		return;
	}

	for (uint32_t i = 0; i < n; i += 16)
	{
		v4f			a = butterflies_inside(load4(v + i));
		v4f			b = butterflies_inside(load4(v + i + 4));
		v4f			c = butterflies_inside(load4(v + i + 8));
		v4f			d = butterflies_inside(load4(v + i + 12));
		v4f			ab = a + b,
					a_b = a - b,
					cd = c + d,
					c_d = c - d;

		store4(v + i, ab + cd);
		store4(v + i + 4, a_b + c_d);
		store4(v + i + 8, ab - cd);
		store4(v + i + 12, a_b - c_d);
	}

	for (uint32_t h = 16; h < n;)
	{
		if (h * 2 < n)
		{
			for (uint32_t i = 0; i < n; i += 4 * h)
			{
				for (uint32_t j = i; j < i + h; j += 4)
				{
					v4f			a = load4(v + j),
								b = load4(v + j + h),
								c = load4(v + j + 2 * h),
								d = load4(v + j + 3 * h);
					v4f			ab = a + b,
								a_b = a - b,
								cd = c + d,
								c_d = c - d;

					store4(v + j, ab + cd);
					store4(v + j + h, a_b + c_d);
					store4(v + j + 2 * h, ab - cd);
					store4(v + j + 3 * h, a_b - c_d);
				}
			}
			h *= 4;
		}
		else
		{
			for (uint32_t j = 0; j < h; j += 4)
			{
				v4f			a = load4(v + j),
							b = load4(v + j + h);

				store4(v + j, a + b);
				store4(v + j + h, a - b);
			}
			h *= 2;
		}
	}

	vscale = (v4f) {scale, scale, scale, scale};
	for (uint32_t i = 0; i < n; i += 4)
		store4(v + i, load4(v + i) * vscale);
}

/*
 * One step of a Kac walk: rotate coordinates i and i + ceil(dim / 2) by 45
 * degrees.  With an odd dim the middle one keeps its place.
 */
static void
mix_halves(float *v, uint32_t dim)
{
	const v4f	vscale = {INV_SQRT2, INV_SQRT2, INV_SQRT2, INV_SQRT2};
	uint32_t	half = dim / 2;
	float	   *w = v + (dim - half);
	uint32_t	i = 0;

	for (; i + 4 <= half; i += 4)
	{
		v4f			a = load4(v + i),
					b = load4(w + i);

		store4(v + i, (a + b) * vscale);
		store4(w + i, (a - b) * vscale);
	}
	for (; i < half; i++)
	{
		float		a = v[i],
					b = w[i];

		v[i] = (a + b) * INV_SQRT2;
		w[i] = (a - b) * INV_SQRT2;
	}
}

/*
 * Rotate v (dim floats, any alignment of float) in place.  signs is what
 * knn_rotation_init filled for the same dim.
 */
void
knn_rotation_apply(const uint8_t *signs, float *v, uint32_t dim)
{
	uint32_t	log2n = 31 - (uint32_t) __builtin_clz(dim);
	uint32_t	n = 1u << log2n;

	for (int round = 0; round < KNN_ROTATION_ROUNDS; round++)
	{
		flip_signs(signs, v, dim);
		signs += (dim + 7) / 8;

		if (n == dim)
			hadamard(v, log2n);
		else
		{
			/*
			 * Mix only when both the first and the last coordinates have been
			 * transformed: rotation.h tells why.
			 */
			if (round % 2 == 0)
				hadamard(v, log2n);
			else
			{
				hadamard(v + (dim - n), log2n);
				mix_halves(v, dim);
			}
		}
	}
}

/* Each step is its own inverse; they are done in reverse order. */
void
knn_rotation_invert(const uint8_t *signs, float *v, uint32_t dim)
{
	uint32_t	log2n = 31 - (uint32_t) __builtin_clz(dim);
	uint32_t	n = 1u << log2n;

	for (int round = KNN_ROTATION_ROUNDS - 1; round >= 0; round--)
	{
		if (n == dim || round % 2 == 0)
			hadamard(v, log2n);
		else
		{
			mix_halves(v, dim);
			hadamard(v + (dim - n), log2n);
		}
		flip_signs(signs + (size_t) round * ((dim + 7) / 8), v, dim);
	}
}
