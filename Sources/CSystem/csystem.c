/* SPDX-License-Identifier: MIT */
#include "csystem.h"

#include "../../include/unbind/base.h"

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

const char *csys_version_string(void) { return UNBIND_VERSION_STRING; }

_Noreturn void csys_panic(const char *message, size_t length) {
    static const char prefix[] = "libunbind: broken invariant: ";
    ssize_t written = write(STDERR_FILENO, prefix, sizeof prefix - 1);
    written = write(STDERR_FILENO, message, length);
    written = write(STDERR_FILENO, "\n", 1);
    (void)written;
    abort();
}
