/*
 * distance.c
 *		Choice of the distance kernels by the features of the CPU.
 *
 * A feature counts only when the CPU has it and the operating system saves the
 * registers it uses: a kernel or hypervisor may leave AVX-512 state disabled on
 * a CPU that has it, and using it then would be an illegal instruction.
 */
#include "core/distance_impl.h"

#ifdef KNN_KERNELS_X86
#include <cpuid.h>
#endif
#if defined(KNN_KERNELS_DOTPROD) && defined(__linux__)
#include <sys/auxv.h>
#endif

#ifdef KNN_KERNELS_X86

/* state components that XCR0 must have enabled */
#define XCR0_AVX		UINT64_C(0x06)	/* SSE and upper halves of YMM */
#define XCR0_AVX512		UINT64_C(0xe6)	/* those, opmask, and all of ZMM */

/*
 * Find which of the two x86 implementations can run.  cpuid is asked directly
 * because the names that __builtin_cpu_supports knows differ between compilers
 * and their versions.
 */
static void
x86_detect(bool *has_avx2, bool *has_avx512)
{
	const uint32_t leaf1_avx2 = (1u << 12) |	/* FMA */
		(1u << 23) |			/* POPCNT */
		(1u << 27) |			/* OSXSAVE: xgetbv is allowed */
		(1u << 28) |			/* AVX */
		(1u << 29);				/* F16C */
	const uint32_t leaf7b_avx2 = 1u << 5;
	const uint32_t leaf7b_avx512 = (1u << 16) | /* AVX512F */
		(1u << 17) |			/* AVX512DQ */
		(1u << 30) |			/* AVX512BW */
		(1u << 31);				/* AVX512VL */
	const uint32_t leaf7c_avx512 = (1u << 11) | /* AVX512_VNNI */
		(1u << 14);				/* AVX512_VPOPCNTDQ */
	uint32_t	eax,
				ebx,
				ecx,
				edx;
	uint32_t	xcr0_low,
				xcr0_high;
	uint64_t	xcr0;

	*has_avx2 = *has_avx512 = false;

	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) ||
		(ecx & leaf1_avx2) != leaf1_avx2)
		return;

	__asm__ volatile("xgetbv" : "=a"(xcr0_low), "=d"(xcr0_high) : "c"(0));
	xcr0 = ((uint64_t) xcr0_high << 32) | xcr0_low;

	if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
		return;

	*has_avx2 = (xcr0 & XCR0_AVX) == XCR0_AVX &&
		(ebx & leaf7b_avx2) == leaf7b_avx2;
	*has_avx512 = *has_avx2 &&
		(xcr0 & XCR0_AVX512) == XCR0_AVX512 &&
		(ebx & leaf7b_avx512) == leaf7b_avx512 &&
		(ecx & leaf7c_avx512) == leaf7c_avx512;
}
#endif

#ifdef KNN_KERNELS_DOTPROD
/* Whether the CPU has the ARMv8.2 dot product instructions. */
static bool
arm_has_dotprod(void)
{
#if defined(__ARM_FEATURE_DOTPROD)
	return true;				/* the build requires them anyway */
#elif defined(__linux__)
	return (getauxval(AT_HWCAP) & (1UL << 20)) != 0;	/* HWCAP_ASIMDDP */
#else
	return false;
#endif
}
#endif

/*
 * The implementations that this CPU runs, best first, ending with NULL; the
 * last one is always the scalar one.
 */
static void
list_supported(const knn_kernels *list[4])
{
	int			n = 0;

#ifdef KNN_KERNELS_X86
	bool		has_avx2,
				has_avx512;

	x86_detect(&has_avx2, &has_avx512);
	if (has_avx512)
		list[n++] = &knn_kernels_avx512;
	if (has_avx2)
		list[n++] = &knn_kernels_avx2;
#endif
#ifdef KNN_KERNELS_DOTPROD
	if (arm_has_dotprod())
		list[n++] = &knn_kernels_dotprod;
#endif
#ifdef KNN_KERNELS_NEON
	list[n++] = &knn_kernels_neon;
#endif
	list[n++] = &knn_kernels_scalar;
	list[n] = NULL;
}

const knn_kernels *
knn_kernels_get(void)
{
	/*
	 * Threads that race here compute the same pointer to constant data, so
	 * atomicity of the word is all that is needed.
	 */
	static const knn_kernels *chosen = NULL;
	const knn_kernels *k = __atomic_load_n(&chosen, __ATOMIC_RELAXED);

	if (k == NULL)
	{
		const knn_kernels *list[4];

		list_supported(list);
		k = list[0];
		__atomic_store_n(&chosen, k, __ATOMIC_RELAXED);
	}
	return k;
}

const knn_kernels *
knn_kernels_by_name(const char *name)
{
	const knn_kernels *list[4];

	list_supported(list);
	for (int i = 0; list[i] != NULL; i++)
	{
		if (strcmp(list[i]->name, name) == 0)
			return list[i];
	}
	return NULL;
}

float
knn_half_to_float(knn_half h)
{
	return knn_half_to_float_inline(h);
}

knn_half
knn_float_to_half(float f)
{
	return knn_float_to_half_inline(f);
}
