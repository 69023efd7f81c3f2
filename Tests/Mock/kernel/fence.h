/* SPDX-License-Identifier: MIT */
/*
 * Fences of the mock: signalled once, with an error or 0. Whoever must act then
 * leaves a callback. Everything here happens with the kernel lock held.
 */
#ifndef MOCK_FENCE_H
#define MOCK_FENCE_H

#include <stdbool.h>
#include <stdint.h>

struct fence_callback {
    struct fence_callback *next;
    void (*run)(struct fence_callback *callback);
};

struct fence {
    int references;
    bool signalled;
    int error;             /* of the work, 0 or -errno */
    uint64_t timestamp_ns; /* when it signalled */
    struct fence_callback *callbacks, **last_callback;
    struct fence *next_signalling;
};

/* A new fence with one reference. Without memory the mock aborts: it is not what is under test. */
struct fence *fence_new(void);
struct fence *fence_new_signalled(void);
struct fence *fence_get(struct fence *fence);
/* fence may be NULL. */
void fence_put(struct fence *fence);
void fence_signal(struct fence *fence, int error);
/* Runs the callback when the fence signals; false, and nothing happens, if it has already. */
bool fence_add_callback(struct fence *fence, struct fence_callback *callback);
/* A new fence that signals when all of these have; entries may be NULL. */
struct fence *fence_join(struct fence *const *fences, unsigned count);
/* 0, -ETIME after deadline_ns of CLOCK_MONOTONIC (UINT64_MAX: none), or -EINTR. Lets go of the lock meanwhile. */
int fence_wait(struct fence *fence, uint64_t deadline_ns);

#endif
