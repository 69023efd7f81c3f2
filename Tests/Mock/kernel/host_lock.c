/* SPDX-License-Identifier: MIT */
/*
 * The mock's one lock, and waiting for a change. Waiting is on a futex, not on a
 * condition variable: a signal ends it, as it ends a wait in the real kernel.
 */
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "host.h"
#include "scheduler.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Atomic uint32_t changes;
static _Atomic unsigned wanting; /* threads that want the lock */
_Thread_local bool thread_waited;

/* A child has the state but not the scheduler's thread; it starts one of its own when there is work. */
static void after_fork_in_child(void) {
    scheduler_forked();
    pthread_mutex_unlock(&mutex);
}

static void prepare(void) { pthread_atfork(kernel_lock, kernel_unlock, after_fork_in_child); }

void kernel_lock(void) {
    pthread_once(&once, prepare);
    wanting++;
    pthread_mutex_lock(&mutex);
    wanting--;
}

void kernel_unlock(void) { pthread_mutex_unlock(&mutex); }

void kernel_let_others(void) {
    kernel_unlock();
    for (int i = 0; i < 100 && wanting; i++) sched_yield();
    kernel_lock();
}

void kernel_changed(void) {
    changes++;
    syscall(SYS_futex, &changes, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

uint64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

enum wait_result kernel_wait(uint64_t deadline_ns) {
    struct timespec until = {(time_t)(deadline_ns / 1000000000u), (long)(deadline_ns % 1000000000u)};
    uint32_t seen = changes;
    thread_waited = true;
    kernel_unlock();
    long result = syscall(SYS_futex, &changes, FUTEX_WAIT_BITSET_PRIVATE, seen,
                          deadline_ns == UINT64_MAX ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
    int error = result < 0 ? errno : 0;
    kernel_lock();
    return error == ETIMEDOUT ? WAIT_LATE : error == EINTR ? WAIT_INTERRUPTED : WAIT_CHANGED;
}
