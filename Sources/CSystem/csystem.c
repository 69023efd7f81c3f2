/* SPDX-License-Identifier: MIT */
#include "csystem.h"

#include "../../include/unbind/base.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

_Thread_local uint64_t csys_held_ranks;
_Thread_local uint32_t csys_signalling_depth;
_Thread_local void *csys_running_device;
_Thread_local void *csys_relay;
_Thread_local uint32_t csys_stripe;

static uint32_t claimed_stripes;
static pthread_once_t stripe_once = PTHREAD_ONCE_INIT;
static pthread_key_t stripe_key;
static bool has_stripe_key;

/* Of a thread that ends. What it still does uses a stripe for all. */
static void leave_stripe(void *number) {
    csys_stripe = CSYS_OWN_STRIPES + 1;
    __atomic_fetch_and(&claimed_stripes, ~(1u << ((uintptr_t)number - 1)), __ATOMIC_RELEASE);
}

static void make_stripe_key(void) { has_stripe_key = pthread_key_create(&stripe_key, leave_stripe) == 0; }

/* The library may be unloaded before its threads end. */
__attribute__((destructor)) static void delete_stripe_key(void) {
    if (has_stripe_key) pthread_key_delete(stripe_key);
    has_stripe_key = false;
}

void csys_claim_stripe(void) {
    if (csys_stripe != 0) return;
    csys_stripe = CSYS_OWN_STRIPES + 1;
    if (pthread_once(&stripe_once, make_stripe_key) != 0 || !has_stripe_key) return;
    uint32_t claimed = __atomic_load_n(&claimed_stripes, __ATOMIC_RELAXED);
    while (~claimed & ((1u << CSYS_OWN_STRIPES) - 1)) {
        uint32_t number = (uint32_t)__builtin_ctz(~claimed) + 1;
        uint32_t bit = 1u << (number - 1);
        if (!__atomic_compare_exchange_n(&claimed_stripes, &claimed, claimed | bit, true, __ATOMIC_ACQUIRE,
                                         __ATOMIC_RELAXED)) continue;
        if (pthread_setspecific(stripe_key, (void *)(uintptr_t)number) == 0) csys_stripe = number;
        else __atomic_fetch_and(&claimed_stripes, ~bit, __ATOMIC_RELEASE);
        return;
    }
}

#ifdef __x86_64__
bool csys_has_avx2;

/* It also asks whether the system keeps the registers. */
__attribute__((constructor)) static void look_for_avx2(void) {
    __builtin_cpu_init();
    csys_has_avx2 = __builtin_cpu_supports("avx2");
}

/* The last vector of four shares two words with the one before it. */
enum { LAST_FOUR_OF_30 = 26 };

__attribute__((target("avx2"))) static inline __m256i difference(const uint64_t *words, __m256i negated) {
    return _mm256_add_epi64(_mm256_loadu_si256((const __m256i *)words), negated);
}

__attribute__((target("avx2"))) static inline __m256i negated(uint64_t value) {
    return _mm256_set1_epi64x((long long)(0 - value));
}

/* A difference is negative if the first is less. */
__attribute__((target("avx2"))) static inline uint32_t overlaps_4(const uint64_t *starts, const uint64_t *lasts,
                                                                  __m256i below4, __m256i from4) {
    __m256i overlap = _mm256_andnot_si256(difference(lasts, from4), difference(starts, below4));
    return (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(overlap));
}

__attribute__((target("avx2"))) uint32_t csys_overlaps_30_avx2(const uint64_t *starts, const uint64_t *lasts,
                                                               uint64_t below, uint64_t from) {
    const __m256i below4 = negated(below), from4 = negated(from);
    uint32_t bits = 0;
    for (int i = 0; i < 28; i += 4) bits |= overlaps_4(starts + i, lasts + i, below4, from4) << i;
    return bits | overlaps_4(starts + LAST_FOUR_OF_30, lasts + LAST_FOUR_OF_30, below4, from4) << LAST_FOUR_OF_30;
}

__attribute__((target("avx2"))) uint32_t csys_count_below_30_avx2(const uint64_t *words, uint64_t below) {
    const __m256i below4 = negated(below);
    __m256i sum = _mm256_setzero_si256();
    for (int i = 0; i < 28; i += 4) sum = _mm256_add_epi64(sum, _mm256_srli_epi64(difference(words + i, below4), 63));
    __m128i rest = _mm_add_epi64(_mm_loadu_si128((const __m128i *)(words + 28)), _mm256_castsi256_si128(below4));
    __m128i pair = _mm_add_epi64(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    pair = _mm_add_epi64(pair, _mm_srli_epi64(rest, 63));
    return (uint32_t)(_mm_cvtsi128_si64(pair) + _mm_extract_epi64(pair, 1));
}
#endif

const char *csys_version_string(void) { return UNBIND_VERSION_STRING; }

_Noreturn void csys_panic(const char *message, size_t length) {
    static const char prefix[] = "libunbind: broken invariant: ";
    ssize_t written = write(STDERR_FILENO, prefix, sizeof prefix - 1);
    written = write(STDERR_FILENO, message, length);
    written = write(STDERR_FILENO, "\n", 1);
    (void)written;
    abort();
}
