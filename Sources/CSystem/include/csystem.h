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
 * sets off waits for its turn. */
uint64_t *csys_thread_held_ranks(void);
uint32_t *csys_thread_signalling_depth(void);
void **csys_thread_running_device(void);
void **csys_thread_relay(void);

#endif /* UNBIND_CSYSTEM_H */
