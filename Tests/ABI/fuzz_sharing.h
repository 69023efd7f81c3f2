/* SPDX-License-Identifier: MIT */
/* The fuzz test: locks and fences of buffers, fences made of fences, fences and time. */
#ifndef TESTS_ABI_FUZZ_SHARING_H
#define TESTS_ABI_FUZZ_SHARING_H

#include "fuzz_world.h"

static uint64_t any_timeout(unbind_device *device, uint32_t flags);
static void keep_fence(unbind_fence *fence, int got, int device);

/* MARK: locks */

/* A context that no call outside is waiting with; now and then none. */
static struct unbind_lock_context *pick_context(void) {
    unsigned number = (unsigned)below(CONTEXTS);
    if (one_in(8) || fuzz.is_context_busy[number]) return NULL;
    return &fuzz.contexts[number];
}

static void set_busy(const struct unbind_lock_context *context, int is_busy) {
    if (context) fuzz.is_context_busy[context - fuzz.contexts] = is_busy;
}

/* In real time nobody would end a wait for a lock: there is one thread. */
static int may_lock(unbind_bo *bo, struct unbind_lock_context *context) {
    if (fuzz.executor == UNBIND_EXECUTOR_SIMULATED) return !fuzz.depth;
    int got = unbind_bo_trylock(bo, context);
    if (got == 0) unbind_bo_unlock(bo, context);
    return got != -EBUSY;
}

static void use_context(void) {
    struct unbind_lock_context *context = pick_context();
    int got;
    switch (below(6)) {
    case 0:
        if (!context) break;
        trace("lock context %d begins", (int)(context - fuzz.contexts));
        unbind_lock_context_fini(context);
        status("unbind_lock_context_init", unbind_lock_context_init(context, PICK(unbind_device, DEVICE)), -EINVAL, -ENOENT,
               0);
        break;
    case 1:
        trace("lock context unlocks all");
        unbind_lock_context_unlock_all(context);
        break;
    case 2:
        if (!one_in(4)) break;
        trace("lock context ends");
        unbind_lock_context_fini(context);
        break;
    case 3:
        got = status("unbind_lock_context_is_wounded", unbind_lock_context_is_wounded(context), -EINVAL, 0);
        if (got > 1) fuzz_failed("is_wounded", got);
        break;
    default:
        /* What it waits for may be anybody's. */
        if (fuzz.depth || fuzz.executor != UNBIND_EXECUTOR_SIMULATED) break;
        trace("lock context retries");
        set_busy(context, 1);
        got = status("unbind_lock_context_retry",
                     unbind_lock_context_retry(context, flags_of(UNBIND_WAIT_INTERRUPTIBLE)), -EINVAL, -EINTR, -ENOENT,
                     -EDEADLK, 0);
        set_busy(context, 0);
        if (got > 1) fuzz_failed("retry", got);
    }
}

static void use_lock(void) {
    struct unbind_lock_context *context = pick_context();
    unbind_bo *bo = PICK(unbind_bo, BO), *list[5];
    uint32_t flags = flags_of(UNBIND_WAIT_INTERRUPTIBLE), count = (uint32_t)below(6);
    switch (below(6)) {
    case 0:
        if (!may_lock(bo, context)) break;
        trace("lock %p", (void *)bo);
        set_busy(context, 1);
        status("unbind_bo_lock", unbind_bo_lock(bo, context, flags), -EINVAL, -EALREADY, -EDEADLK, -EINTR, -ENOENT, 0);
        set_busy(context, 0);
        break;
    case 1:
        if (!may_lock(bo, context)) break;
        trace("lock %p slowly", (void *)bo);
        if (one_in(2)) unbind_lock_context_unlock_all(context);
        set_busy(context, 1);
        status("unbind_bo_lock_slow", unbind_bo_lock_slow(bo, context, flags), -EINVAL, -EALREADY, -EDEADLK, -EINTR,
               -ENOENT, 0);
        set_busy(context, 0);
        break;
    case 2:
        trace("trylock %p", (void *)bo);
        status("unbind_bo_trylock", unbind_bo_trylock(bo, context), -EINVAL, -EBUSY, -EALREADY, -ENOENT, 0);
        break;
    case 3:
        for (unsigned i = 0; i < 5; i++) {
            list[i] = PICK(unbind_bo, BO);
            if (!may_lock(list[i], context)) return;
        }
        trace("lock %u buffers", count);
        set_busy(context, 1);
        status("unbind_bo_lock_array",
               unbind_bo_lock_array(one_in(60) ? NULL : list, one_in(60) ? 65537 : count, (uint32_t)below(4), context, flags),
               -EINVAL, -EDEADLK, -EINTR, -ENOENT, -ENOMEM, 0);
        set_busy(context, 0);
        break;
    default:
        trace("unlock %p", (void *)bo);
        status("unbind_bo_unlock", unbind_bo_unlock(bo, context), -EINVAL, 0);
    }
}

/* MARK: the fences of a buffer */

static uint32_t any_usage(void) { return one_in(60) ? (uint32_t)any() : (uint32_t)below(4); }
static uint32_t any_slots(void) { return one_in(60) ? (uint32_t)any_word() : (uint32_t)below(5); }

static void drop_given(unbind_fence **fences, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) unbind_fence_unref(fences[i]);
}

static void add_to_buffer(void) {
    struct unbind_lock_context *context = pick_context();
    unbind_bo *bo = PICK(unbind_bo, BO);
    /* Most buffers are not locked so; this one is now, unless somebody else has it. */
    if (one_in(2)) {
        status("unbind_bo_trylock", unbind_bo_trylock(bo, context), -EINVAL, -EBUSY, -EALREADY, -ENOENT, 0);
    }
    switch (below(5)) {
    case 0:
    case 1:
        trace("reserve fences in %p", (void *)bo);
        status("unbind_bo_reserve_fences", unbind_bo_reserve_fences(bo, context, any_slots()), -EINVAL, -ENOENT, -ENOMEM, 0);
        break;
    case 2:
        trace("unreserve fences in %p", (void *)bo);
        status("unbind_bo_unreserve_fences", unbind_bo_unreserve_fences(bo, context, any_slots()), -EINVAL, 0);
        break;
    case 3:
        trace("copy fences to %p", (void *)bo);
        status("unbind_bo_copy_fences", unbind_bo_copy_fences(bo, context, PICK(unbind_bo, BO)), -EINVAL, -ENOENT, -ENOMEM,
               0);
        break;
    default:
        trace("add a fence to %p", (void *)bo);
        status("unbind_bo_add_fence", unbind_bo_add_fence(bo, context, PICK(unbind_fence, FENCE), any_usage()), -EINVAL,
               -ENOENT, -ENOSPC, 0);
    }
}

static void ask_buffer(void) {
    unbind_bo *bo = PICK(unbind_bo, BO);
    unbind_fence *given[6], *fence = UNTOUCHED(unbind_fence);
    uint32_t usage = any_usage(), count = 0xdead, capacity = (uint32_t)below(7);
    uint32_t flags = flags_of(UNBIND_WAIT_ABSOLUTE | UNBIND_WAIT_INTERRUPTIBLE);
    struct unbind_fence_cursor cursor;
    uint64_t timeout;
    int got;
    switch (below(5)) {
    case 0:
        got = status("unbind_bo_is_signaled", unbind_bo_is_signaled(bo, usage), -EINVAL, 0);
        if (got > 1) fuzz_failed("is_signaled of a buffer", got);
        break;
    case 1:
        timeout = any_timeout((unbind_device *)fuzz.slots[DEVICE][0].handle, flags);
        if ((timeout == FOREVER && !may_wait()) || fuzz.depth) break;
        trace("wait for usage %u of %p", usage, (void *)bo);
        status("unbind_bo_wait_usage", unbind_bo_wait_usage(bo, usage, timeout, flags), -EINVAL, -ETIME, -EINTR, -EDEADLK,
               0);
        break;
    case 2:
        trace("fences of %p", (void *)bo);
        got = status("unbind_bo_get_fences", unbind_bo_get_fences(bo, usage, given, capacity, one_in(40) ? NULL : &count),
                     -EINVAL, -ENOMEM, 0);
        if (got < 0 && count != 0xdead) fuzz_failed("a failed get_fences wrote its count", count);
        if (got == 0 && count <= capacity) drop_given(given, count);
        break;
    case 3:
        trace("fence of %p", (void *)bo);
        got = status("unbind_bo_get_fence", unbind_bo_get_fence(bo, usage, one_in(40) ? NULL : &fence), -EINVAL, -ENOENT,
                     -ENOMEM, 0);
        keep_fence(fence, got, device_of(BO, bo));
        break;
    default:
        trace("go through %p", (void *)bo);
        memset(&cursor, 0, sizeof cursor);
        status("unbind_fence_cursor_init", unbind_fence_cursor_init(one_in(60) ? NULL : &cursor, bo, usage), -EINVAL, 0);
        for (unsigned i = 0; i < 200; i++) {
            got = status("unbind_fence_cursor_next", unbind_fence_cursor_next(&cursor, bo, &fence, one_in(2) ? NULL : &count),
                         -EINVAL, -EAGAIN, 0);
            if (got == 1) unbind_fence_unref(fence);
            if (got == 0 || got == -EINVAL) break;
            if (one_in(8)) add_to_buffer();
        }
    }
}

/* MARK: fences made of fences, and of time */

static void make_fence_of_fences(void) {
    unbind_device *device = PICK(unbind_device, DEVICE);
    unbind_fence *fence = UNTOUCHED(unbind_fence), **out = one_in(40) ? NULL : &fence, *parts[4], *leaves[8];
    uint32_t count = 1 + (uint32_t)below(4), found = 0xdead;
    uint64_t time = unbind_device_now(device) + below(20000);
    int here, got;
    for (unsigned i = 0; i < 4; i++) parts[i] = PICK(unbind_fence, FENCE);
    here = device_of(FENCE, parts[0]);
    if (fuzz.executor == UNBIND_EXECUTOR_SIMULATED && one_in(8)) time = any_word();
    switch (below(6)) {
    case 0:
        trace("array of %u fences", count);
        got = status("unbind_fence_array_create",
                     unbind_fence_array_create(parts, count, flags_of(UNBIND_FENCE_ARRAY_ANY), out), -EINVAL, -ENOENT,
                     -ENOMEM, 0);
        keep_fence(fence, got, here);
        break;
    case 1:
        trace("merge %u fences", count);
        got = status("unbind_fence_merge", unbind_fence_merge(parts, count, out), -EINVAL, -ENOENT, -ENOMEM, 0);
        keep_fence(fence, got, here);
        break;
    case 2:
        got = status("unbind_fence_get_stub", unbind_fence_get_stub(device, out), -EINVAL, -ENOENT, 0);
        keep_fence(fence, got, device_of(DEVICE, device));
        break;
    case 3:
        trace("timed fence at %llu", (unsigned long long)time);
        got = status("unbind_fence_create_timed", unbind_fence_create_timed(device, time, out), -EINVAL, -ENOENT, -ENOMEM,
                     0);
        keep_fence(fence, got, device_of(DEVICE, device));
        if (got == 0) fuzz.timed[device_of(DEVICE, device)]++;
        break;
    case 4:
        trace("deadline at %llu for %p", (unsigned long long)time, (void *)parts[0]);
        got = status("unbind_fence_create_deadline", unbind_fence_create_deadline(parts[0], time, out), -EINVAL, -ENOENT,
                     -ENOMEM, 0);
        keep_fence(fence, got, here);
        break;
    default:
        trace("leaves of %p", (void *)parts[0]);
        got = status("unbind_fence_get_leaves", unbind_fence_get_leaves(parts[0], leaves, 8, one_in(40) ? NULL : &found),
                     -EINVAL, -ENOMEM, 0);
        if (got < 0 && found != 0xdead) fuzz_failed("a failed get_leaves wrote its count", found);
        if (got == 0 && found <= 8) drop_given(leaves, found);
    }
}

#endif /* TESTS_ABI_FUZZ_SHARING_H */
