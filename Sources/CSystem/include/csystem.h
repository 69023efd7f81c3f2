/* SPDX-License-Identifier: MIT */
/*
 * What the Swift core needs of the C library and the kernel, and Swift cannot
 * import by itself: system calls without a wrapper, errno as a return value,
 * thread-local storage. No logic.
 */
#ifndef UNBIND_CSYSTEM_H
#define UNBIND_CSYSTEM_H

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/*
 * Waits while *word == expected, until deadline_ns of CLOCK_MONOTONIC
 * (UINT64_MAX: no deadline). 0, or -EAGAIN, -ETIMEDOUT, -EINTR.
 */
static inline int csys_futex_wait(uint32_t *word, uint32_t expected, uint64_t deadline_ns) {
    struct timespec deadline = {(time_t)(deadline_ns / 1000000000u), (long)(deadline_ns % 1000000000u)};
    long result = syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected,
                          deadline_ns == UINT64_MAX ? NULL : &deadline, NULL, FUTEX_BITSET_MATCH_ANY);
    return result < 0 ? -errno : 0;
}

/* Wakes up to count sleepers; the kernel takes a signed count. */
static inline void csys_futex_wake(uint32_t *word, uint32_t count) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count > INT32_MAX ? INT32_MAX : (int)count, NULL, NULL, 0);
}

static inline uint64_t csys_monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* As above, but as of the kernel's last timer tick: some milliseconds back, at a fraction of the cost. */
static inline uint64_t csys_monotonic_coarse_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A new eventfd, non-blocking and close-on-exec, or -errno. */
static inline int csys_eventfd_create(unsigned initial) {
    int fd = eventfd(initial, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* A second descriptor of the same file, close-on-exec, or -errno. */
static inline int csys_fd_duplicate(int fd) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? -errno : copy;
}

/* close, under a name that Swift's lookup does not take for a method. */
static inline void csys_fd_close(int fd) { close(fd); }

/* Makes an eventfd readable. A full counter is readable already. */
static inline void csys_eventfd_raise(int fd) {
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one);
    (void)written;
}

/* Makes an eventfd unreadable. */
static inline void csys_eventfd_clear(int fd) {
    uint64_t value;
    ssize_t got = read(fd, &value, sizeof value);
    (void)got;
}

/* Memory without a file, zeroed and given real pages on first touch; NULL if there is none. */
static inline void *csys_pages_map(size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* A bit for each of 16 values that is at least `least`. All from -1 to INT32_MAX, and `least` not negative, so that no
   difference wraps. 16-byte aligned. */
static inline uint32_t csys_at_least_16(const int32_t *values, int32_t least) {
    uint32_t bits = 0;
#ifdef __SSE2__
    typedef int32_t quad __attribute__((vector_size(16)));
    typedef float lanes __attribute__((vector_size(16)));
    const quad least4 = {least, least, least, least};
    for (int i = 0; i < 4; i++)
        bits |= (uint32_t)__builtin_ia32_movmskps((lanes)(((const quad *)values)[i] - least4)) << (4 * i);
    return ~bits & 0xffff;
#else
    for (int i = 0; i < 16; i++) bits |= (uint32_t)(values[i] >= least) << i;
    return bits;
#endif
}

/* Asks for huge pages; the kernel may have none. */
static inline void csys_advise_huge_pages(void *memory, size_t size) { madvise(memory, size, MADV_HUGEPAGE); }

/* The line that the address is in will be read soon. */
static inline void csys_prefetch(const void *address) { __builtin_prefetch(address); }

/* What an index node is searched by, with AVX2 where the processor has it: half the instructions. Set before main. */
#ifdef __x86_64__
__attribute__((visibility("hidden"))) extern bool csys_has_avx2;
__attribute__((visibility("hidden"))) uint32_t csys_overlaps_30_avx2(const uint64_t *starts, const uint64_t *lasts,
                                                                     uint64_t below, uint64_t from);
__attribute__((visibility("hidden"))) uint32_t csys_count_below_30_avx2(const uint64_t *words, uint64_t below);
#endif

/* A bit for each of 30 pairs with starts[i] < below and lasts[i] >= from. All below 2^63; 16-byte aligned. */
static inline uint32_t csys_overlaps_30_plain(const uint64_t *starts, const uint64_t *lasts, uint64_t below,
                                              uint64_t from) {
    uint32_t bits = 0;
#ifdef __SSE2__
    typedef long long pair __attribute__((vector_size(16)));
    typedef float lanes __attribute__((vector_size(16)));
    const pair below2 = {(long long)below, (long long)below}, from2 = {(long long)from, (long long)from};
    const pair *start = (const pair *)starts, *last = (const pair *)lasts;
    /* A difference is negative if the first is less; its sign is in the upper half. */
#define CSYS_OVERLAP(i) ((lanes)((start[i] - below2) & ~(last[i] - from2)))
    for (int i = 0; i < 14; i += 2) {
        lanes signs = __builtin_shufflevector(CSYS_OVERLAP(i), CSYS_OVERLAP(i + 1), 1, 3, 5, 7);
        bits |= (uint32_t)__builtin_ia32_movmskps(signs) << (2 * i);
    }
    lanes signs = __builtin_shufflevector(CSYS_OVERLAP(14), (lanes){0, 0, 0, 0}, 1, 3, 5, 7);
    bits |= (uint32_t)__builtin_ia32_movmskps(signs) << 28;
#undef CSYS_OVERLAP
#else
    for (int i = 0; i < 30; i++) bits |= (uint32_t)(starts[i] < below && lasts[i] >= from) << i;
#endif
    return bits;
}

static inline uint32_t csys_overlaps_30(const uint64_t *starts, const uint64_t *lasts, uint64_t below, uint64_t from) {
#ifdef __x86_64__
    if (csys_has_avx2) return csys_overlaps_30_avx2(starts, lasts, below, from);
#endif
    return csys_overlaps_30_plain(starts, lasts, below, from);
}

/* How many of 30 words are less than below. All below 2^63; 16-byte aligned. */
static inline uint32_t csys_count_below_30_plain(const uint64_t *words, uint64_t below) {
#ifdef __SSE2__
    typedef unsigned long long pair __attribute__((vector_size(16)));
    const pair below2 = {below, below};
    pair sum = {0, 0};
    for (int i = 0; i < 15; i++) sum += (((const pair *)words)[i] - below2) >> 63;
    return (uint32_t)(sum[0] + sum[1]);
#else
    uint32_t count = 0;
    for (int i = 0; i < 30; i++) count += words[i] < below;
    return count;
#endif
}

static inline uint32_t csys_count_below_30(const uint64_t *words, uint64_t below) {
#ifdef __x86_64__
    if (csys_has_avx2) return csys_count_below_30_avx2(words, below);
#endif
    return csys_count_below_30_plain(words, below);
}

/* No signal is delivered to threads made between these two: they belong to the host program. */
static inline void csys_signals_block(sigset_t *old) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, old);
}
static inline void csys_signals_restore(const sigset_t *old) { pthread_sigmask(SIG_SETMASK, old, NULL); }

/* UNBIND_VERSION_STRING of the public header, which Swift would import as a String. */
const char *csys_version_string(void);

/* One line to stderr, then abort: the only output of the library. */
_Noreturn void csys_panic(const char *message, size_t length);

/* Each thread's own words, 0 at first: the ranks of the locks it holds, and the depth of its
 * signalling sections (debug builds); the device whose work it is running; where what a signal
 * sets off waits for its turn; which stripe of what is kept in stripes it uses (see below). At a fixed place
 * from the thread pointer, so that reaching one is no call: a few words, which dlopen has room for. */
#define CSYS_THREAD_WORD extern _Thread_local __attribute__((tls_model("initial-exec"), visibility("hidden")))

CSYS_THREAD_WORD uint64_t csys_held_ranks;
CSYS_THREAD_WORD uint32_t csys_signalling_depth;
CSYS_THREAD_WORD void *csys_running_device;
CSYS_THREAD_WORD void *csys_relay;
CSYS_THREAD_WORD uint32_t csys_stripe;

static inline uint64_t *csys_thread_held_ranks(void) { return &csys_held_ranks; }
static inline uint32_t *csys_thread_signalling_depth(void) { return &csys_signalling_depth; }
static inline void **csys_thread_running_device(void) { return &csys_running_device; }
static inline void **csys_thread_relay(void) { return &csys_relay; }

/* Stripes: the first ones are for one thread each, which has its own to itself in all that is kept in stripes, and
 * leaves it to the next thread when it ends. The others are for all threads that have no own one. A thread's word is the
 * number of its stripe, from 1; 0 if it has not asked for one of its own. */
enum { CSYS_OWN_STRIPES = 8, CSYS_STRIPES = 16 };

static inline uint32_t *csys_thread_stripe(void) { return &csys_stripe; }

/* Asks for a stripe of the thread's own, once. */
void csys_claim_stripe(void);

/* For a thread that looks at a word again and again until another one has changed it. */
static inline void csys_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* Lets others run, also those of a lower priority, for about the shortest time that the kernel can. */
static inline void csys_nap(void) {
    struct timespec shortest = {0, 1000};
    nanosleep(&shortest, NULL);
}

#endif /* UNBIND_CSYSTEM_H */
