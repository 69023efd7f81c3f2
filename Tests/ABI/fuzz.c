/* SPDX-License-Identifier: MIT */
/*
 * Random calls with random, often bad, arguments: whatever a program does with
 * live handles, there is no crash and no hang, a call gives one of the values
 * its comment names, a failed one leaves its out-parameters alone, a close
 * reports what the program still holds, and in the end all memory is back.
 *
 *     FUZZ_SEEDS=N   so many seeds of each kind
 *     FUZZ_SEED=N    this one alone; every call is printed before it is made
 *
 * A failure names its seed. On the manual executor time is real, so that a seed
 * there gives the same calls only as far as no result depends on time.
 */
#include "fuzz_calls.h"

/* MARK: one seed */

static void end_of_seed(void) {
    fuzz.is_quiet = 1;
    for (unsigned i = 0; i < 2; i++) {
        if (fuzz.slots[DEVICE][i].handle && !fuzz.is_closed[i]) close_device(&fuzz.slots[DEVICE][i]);
    }
    fuzz.fail_one_in = 0;
    if (one_in(2)) { /* before the buffers that they have locked go, or after */
        for (unsigned i = 0; i < CONTEXTS; i++) unbind_lock_context_fini(&fuzz.contexts[i]);
    }
    for (unsigned kinds = 0; kinds != (1u << KINDS) - 1;) { /* in any order */
        enum kind kind = (enum kind)below(KINDS);
        struct slot *slot = live(kind);
        if (slot) drop(kind, slot);
        else kinds |= 1u << kind;
    }
    for (unsigned i = 0; i < CONTEXTS; i++) unbind_lock_context_fini(&fuzz.contexts[i]);
    for (unsigned i = 0; i < 2; i++) {
        if (fuzz.hooks[i].blocks) fuzz_failed("blocks that never came back", fuzz.hooks[i].blocks);
        if (fuzz.hooks[i].bytes) fuzz_failed("bytes that never came back", fuzz.hooks[i].bytes);
    }
    if (fuzz.released != fuzz.wrapped) fuzz_failed("wrapped memory never released", (long long)fuzz.wrapped - fuzz.released);
    for (unsigned i = 0; i < CALLBACKS; i++) {
        if (fuzz.callbacks[i].fence) fuzz_failed("a callback never came", i);
    }
    for (unsigned i = 0; i < DESCRIPTORS; i++) {
        if (fuzz.descriptors[i] >= 0) close(fuzz.descriptors[i]);
    }
}

static void one_seed(uint32_t executor, uint64_t seed, unsigned char *memory) {
    memset(&fuzz, 0, sizeof fuzz);
    fuzz.random = fuzz.seed = seed;
    fuzz.executor = executor;
    fuzz.memory = memory;
    fuzz.is_traced = getenv("FUZZ_SEED") != NULL;
    fuzz.is_quiet = one_in(3);
    for (unsigned i = 0; i < DESCRIPTORS; i++) fuzz.descriptors[i] = -1;
    while (!fuzz.slots[DEVICE][0].handle) open_device();
    fuzz.fail_one_in = one_in(2) ? 1 + (unsigned)below(60) : 0;
    for (unsigned i = 0; i < STEPS; i++) step();
    end_of_seed();
}

static unsigned open_descriptors(void) {
    DIR *directory = opendir("/proc/self/fd");
    unsigned count = 0;
    REQUIRE(directory != NULL);
    while (readdir(directory)) count++;
    closedir(directory);
    return count;
}

static void many_seeds(uint32_t executor, unsigned usual) {
    const char *seeds = getenv("FUZZ_SEEDS"), *only = getenv("FUZZ_SEED");
    uint64_t count = seeds ? strtoull(seeds, NULL, 10) : getenv("UNDER_VALGRIND") ? usual / 40 : usual;
    unsigned descriptors = open_descriptors();
    void *memory = NULL;
    static const int deaths[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGABRT, SIGALRM};
    REQUIRE(posix_memalign(&memory, PAGE, 2 * WRAP_SIZE) == 0);
    for (unsigned i = 0; i < sizeof deaths / sizeof *deaths; i++) signal(deaths[i], fuzz_died);
    if (only) {
        one_seed(executor, strtoull(only, NULL, 10), (unsigned char *)memory);
    } else {
        for (uint64_t seed = 1; seed <= count && check_failures < 20; seed++) {
            one_seed(executor, seed, (unsigned char *)memory);
        }
    }
    free(memory);
    CHECK_EQUAL(open_descriptors(), descriptors);
}

TEST(fuzz_simulated, "random calls in a simulation: documented values, no crash, all memory back") {
    many_seeds(UNBIND_EXECUTOR_SIMULATED, 3000);
}

TEST(fuzz_manual, "random calls on the manual executor: documented values, no crash, all memory back") {
    many_seeds(UNBIND_EXECUTOR_MANUAL, 1000);
}
