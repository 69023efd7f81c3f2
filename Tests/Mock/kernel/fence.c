/* SPDX-License-Identifier: MIT */
#include "fence.h"

#include "host.h"
#include "scheduler.h"

struct fence *fence_new(void) {
    struct fence *fence = calloc(1, sizeof *fence);
    if (!fence) abort();
    fence->references = 1;
    fence->last_callback = &fence->callbacks;
    return fence;
}

struct fence *fence_new_signalled(void) {
    struct fence *fence = fence_new();
    fence_signal(fence, 0);
    return fence;
}

struct fence *fence_get(struct fence *fence) {
    fence->references++;
    return fence;
}

void fence_put(struct fence *fence) {
    if (fence && --fence->references == 0) free(fence);
}

/* Fences that a callback signals wait for their turn: a long chain must not become a deep stack. */
static struct fence *signalling, **last_signalling = &signalling;
static bool running;

void fence_signal(struct fence *fence, int error) {
    if (fence->signalled) return;
    fence->signalled = true;
    fence->error = error;
    fence->timestamp_ns = monotonic_ns();
    *last_signalling = fence_get(fence);
    last_signalling = &fence->next_signalling;
    if (running) return;
    running = true;
    while ((fence = signalling) != NULL) {
        for (struct fence_callback *callback = fence->callbacks, *next; callback; callback = next) {
            next = callback->next;
            callback->run(callback);
        }
        signalling = fence->next_signalling;
        if (!signalling) last_signalling = &signalling;
        fence_put(fence);
    }
    running = false;
    kernel_changed();
}

bool fence_add_callback(struct fence *fence, struct fence_callback *callback) {
    if (fence->signalled) return false;
    callback->next = NULL;
    *fence->last_callback = callback;
    fence->last_callback = &callback->next;
    return true;
}

struct join {
    struct fence *fence;
    unsigned open;
    int error;
};

struct join_part {
    struct fence_callback callback;
    struct join *join;
    struct fence *of;
};

static void part_done(struct fence_callback *callback) {
    struct join_part *part = (struct join_part *)callback;
    struct join *join = part->join;
    if (part->of->error && !join->error) join->error = part->of->error;
    fence_put(part->of);
    free(part);
    if (--join->open) return;
    fence_signal(join->fence, join->error);
    fence_put(join->fence);
    free(join);
}

struct fence *fence_join(struct fence *const *fences, unsigned count) {
    struct join *join = calloc(1, sizeof *join);
    if (!join) abort();
    join->fence = fence_new();
    struct fence *result = fence_get(join->fence);
    join->open = 1;
    for (unsigned i = 0; i < count; i++) {
        if (!fences[i]) continue;
        if (fences[i]->signalled) {
            if (!join->error) join->error = fences[i]->error;
            continue;
        }
        struct join_part *part = calloc(1, sizeof *part);
        if (!part) abort();
        *part = (struct join_part){.callback.run = part_done, .join = join, .of = fence_get(fences[i])};
        join->open++;
        fence_add_callback(fences[i], &part->callback);
    }
    if (--join->open == 0) {
        fence_signal(join->fence, join->error);
        fence_put(join->fence);
        free(join);
    }
    return result;
}

int fence_wait(struct fence *fence, uint64_t deadline_ns) {
    fence_get(fence);
    int result = 0;
    while (!fence->signalled) {
        if (scheduler_step(deadline_ns)) continue;
        enum wait_result waited = kernel_wait(deadline_ns);
        if (waited == WAIT_CHANGED || fence->signalled) continue;
        result = waited == WAIT_LATE ? -ETIME : -EINTR;
        break;
    }
    fence_put(fence);
    return result;
}
