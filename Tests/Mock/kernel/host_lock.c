/* SPDX-License-Identifier: MIT */
/* The mock's one lock and its condition, and what happens to them in a forked child. */
#include "host.h"
#include "scheduler.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition;
static pthread_once_t once = PTHREAD_ONCE_INIT;
_Thread_local bool thread_waited;

static void make_condition(void) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

/* A child has the state but not the scheduler's thread; it starts one of its own when there is work. */
static void after_fork_in_child(void) {
    make_condition();
    scheduler_forked();
    pthread_mutex_unlock(&mutex);
}

static void prepare(void) {
    make_condition();
    pthread_atfork(kernel_lock, kernel_unlock, after_fork_in_child);
}

void kernel_lock(void) {
    pthread_once(&once, prepare);
    pthread_mutex_lock(&mutex);
}

void kernel_unlock(void) { pthread_mutex_unlock(&mutex); }

void kernel_changed(void) { pthread_cond_broadcast(&condition); }

uint64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool kernel_wait(uint64_t deadline_ns) {
    thread_waited = true;
    if (deadline_ns == UINT64_MAX) return pthread_cond_wait(&condition, &mutex) == 0;
    struct timespec until = {(time_t)(deadline_ns / 1000000000u), (long)(deadline_ns % 1000000000u)};
    return pthread_cond_timedwait(&condition, &mutex, &until) != ETIMEDOUT;
}
