/* SPDX-License-Identifier: MIT */
/* The fences of a buffer: slots, usages, asking, going through them (kernel selftest 40, dma-resv). */
#include "support.h"

static const uint32_t usages[4] = {UNBIND_USAGE_KERNEL, UNBIND_USAGE_WRITE, UNBIND_USAGE_READ, UNBIND_USAGE_BOOKKEEP};

/* Locks, reserves, adds, unlocks. */
static void add(unbind_bo *bo, unbind_fence *fence, uint32_t usage) {
    CHECK_EQUAL(unbind_bo_lock(bo, NULL, 0), 0);
    CHECK_EQUAL(unbind_bo_reserve_fences(bo, NULL, 1), 0);
    CHECK_EQUAL(unbind_bo_add_fence(bo, NULL, fence, usage), 0);
    CHECK_EQUAL(unbind_bo_unlock(bo, NULL), 0);
}

static uint32_t count(unbind_bo *bo, uint32_t usage) {
    uint32_t found = 77;
    CHECK_EQUAL(unbind_bo_get_fences(bo, usage, NULL, 0, &found), 0);
    return found;
}

TEST(reserving, "selftest 40, reserving: slots come and go with the lock, for every usage") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_fence *fence = make_fence(&gpu);
    for (int i = 0; i < 4; i++) {
        CHECK_EQUAL(unbind_bo_reserve_fences(bo, NULL, 1), -EINVAL); /* not locked */
        CHECK_EQUAL(unbind_bo_lock(bo, NULL, 0), 0);
        CHECK_EQUAL(unbind_bo_add_fence(bo, NULL, fence, usages[i]), -ENOSPC);
        CHECK_EQUAL(unbind_bo_reserve_fences(bo, NULL, 0), 0);
        CHECK_EQUAL(unbind_bo_add_fence(bo, NULL, fence, usages[i]), -ENOSPC);
        CHECK_EQUAL(unbind_bo_reserve_fences(bo, NULL, 1), 0);
        CHECK_EQUAL(unbind_bo_unlock(bo, NULL), 0);
        CHECK_EQUAL(unbind_bo_add_fence(bo, NULL, fence, usages[i]), -EINVAL);
        CHECK_EQUAL(unbind_bo_lock(bo, NULL, 0), 0);
        CHECK_EQUAL(unbind_bo_add_fence(bo, NULL, fence, usages[i]), -ENOSPC); /* the slot went with the lock */
        CHECK_EQUAL(unbind_bo_unlock(bo, NULL), 0);
        CHECK_EQUAL(count(bo, UNBIND_USAGE_BOOKKEEP), 0);
    }
    signal_and_drop(fence);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(signaling, "selftest 40, signaling: a fence holds up questions at its usage and all after it, until it signals") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    for (int i = 0; i < 4; i++) {
        unbind_bo *bo = make_bo(&gpu, PAGE);
        unbind_fence *fence = make_fence(&gpu);
        add(bo, fence, usages[i]);
        for (int asked = 0; asked < 4; asked++) {
            CHECK_EQUAL(unbind_bo_is_signaled(bo, usages[asked]), asked < i);
            CHECK_EQUAL(count(bo, usages[asked]), asked >= i);
            CHECK_EQUAL(unbind_bo_wait_usage(bo, usages[asked], 0, 0), asked < i ? 0 : -ETIME);
            CHECK_EQUAL(unbind_bo_wait_usage(bo, usages[asked], 10, 0), asked < i ? 0 : -ETIME);
            CHECK_EQUAL(unbind_bo_wait_usage(bo, usages[asked], FOREVER, 0), asked < i ? 0 : -EDEADLK);
        }
        CHECK_EQUAL(unbind_bo_wait(bo, 0, 0), -ETIME);
        CHECK_EQUAL(unbind_fence_signal(fence, -EIO), 0);
        for (int asked = 0; asked < 4; asked++) {
            CHECK_EQUAL(unbind_bo_is_signaled(bo, usages[asked]), 1);
            CHECK_EQUAL(count(bo, usages[asked]), 0);
            CHECK_EQUAL(unbind_bo_wait_usage(bo, usages[asked], FOREVER, 0), 0);
        }
        unbind_fence_unref(fence);
        unbind_bo_unref(bo);
    }
    gpu_close(&gpu);
}

TEST(for_each, "selftest 40, for_each: going through the fences gives exactly the fence and its usage") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    for (int i = 0; i < 4; i++) {
        unbind_bo *bo = make_bo(&gpu, PAGE);
        unbind_fence *fence = make_fence(&gpu), *found = NULL;
        struct unbind_fence_cursor cursor;
        uint32_t usage = 77;
        add(bo, fence, usages[i]);
        CHECK_EQUAL(unbind_fence_cursor_init(&cursor, bo, usages[i]), 0);
        CHECK_EQUAL(unbind_fence_cursor_next(&cursor, bo, &found, &usage), 1);
        CHECK(found == fence);
        CHECK_EQUAL(usage, usages[i]);
        unbind_fence_unref(found);
        found = UNTOUCHED(unbind_fence);
        CHECK_EQUAL(unbind_fence_cursor_next(&cursor, bo, &found, NULL), 0);
        CHECK_EQUAL(unbind_fence_cursor_next(&cursor, bo, &found, &usage), 0);
        CHECK(found == UNTOUCHED(unbind_fence));
        if (i > 0) {
            CHECK_EQUAL(unbind_fence_cursor_init(&cursor, bo, usages[i - 1]), 0);
            CHECK_EQUAL(unbind_fence_cursor_next(&cursor, bo, &found, &usage), 0);
        }
        signal_and_drop(fence);
        unbind_bo_unref(bo);
    }
    gpu_close(&gpu);
}

TEST(unlocked, "selftest 40, for_each_unlocked: a list that changes meanwhile is told of, and gone through again") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    for (int i = 0; i < 4; i++) {
        unbind_bo *bo = make_bo(&gpu, PAGE);
        unbind_fence *fences[3], *found = UNTOUCHED(unbind_fence);
        struct unbind_fence_cursor cursor;
        int status, given = 0, restarts = 0;
        make_fences(&gpu, fences, 3);
        add(bo, fences[0], usages[i]);
        add(bo, fences[1], usages[i]);
        CHECK_EQUAL(unbind_fence_cursor_init(&cursor, bo, usages[i]), 0);
        CHECK_EQUAL(unbind_fence_cursor_next(&cursor, bo, &found, NULL), 1);
        CHECK(found == fences[0]);
        unbind_fence_unref(found);
        found = UNTOUCHED(unbind_fence);
        add(bo, fences[2], usages[i]);
        while ((status = unbind_fence_cursor_next(&cursor, bo, &found, NULL)) != 0) {
            if (status == -EAGAIN) {
                CHECK(found == UNTOUCHED(unbind_fence));
                given = 0;
                restarts++;
                continue;
            }
            CHECK_EQUAL(status, 1);
            CHECK(given < 3 && found == fences[given]);
            given++;
            unbind_fence_unref(found);
            found = UNTOUCHED(unbind_fence);
        }
        CHECK_EQUAL(restarts, 1);
        CHECK_EQUAL(given, 3);
        /* One that signals is no change of the list: it is just not given. */
        CHECK_EQUAL(unbind_fence_cursor_init(&cursor, bo, usages[i]), 0);
        CHECK_EQUAL(unbind_fence_signal(fences[0], 0), 0);
        CHECK_EQUAL(unbind_fence_cursor_next(&cursor, bo, &found, NULL), 1);
        CHECK(found == fences[1]);
        unbind_fence_unref(found);
        CHECK_EQUAL(unbind_fence_signal(fences[1], 0), 0);
        CHECK_EQUAL(unbind_fence_signal(fences[2], 0), 0);
        CHECK_EQUAL(unbind_fence_cursor_next(&cursor, bo, &found, NULL), 0);
        drop_fences(fences, 3);
        unbind_bo_unref(bo);
    }
    gpu_close(&gpu);
}

TEST(get_fences, "selftest 40, get_fences: gives the one fence, or none if there is no room for all") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    for (int i = 0; i < 4; i++) {
        unbind_bo *bo = make_bo(&gpu, PAGE);
        unbind_fence *fences[5], *found[5] = {UNTOUCHED(unbind_fence), UNTOUCHED(unbind_fence)};
        uint32_t number = 0;
        make_fences(&gpu, fences, 5);
        add(bo, fences[0], usages[i]);
        CHECK_EQUAL(unbind_bo_get_fences(bo, usages[i], found, 5, &number), 0);
        CHECK_EQUAL(number, 1);
        CHECK(found[0] == fences[0] && found[1] == UNTOUCHED(unbind_fence));
        unbind_fence_unref(found[0]);
        for (int more = 1; more < 5; more++) add(bo, fences[more], usages[i]);
        found[0] = UNTOUCHED(unbind_fence);
        CHECK_EQUAL(unbind_bo_get_fences(bo, usages[i], found, 4, &number), 0);
        CHECK_EQUAL(number, 5);
        CHECK(found[0] == UNTOUCHED(unbind_fence));
        CHECK_EQUAL(unbind_bo_get_fences(bo, UNBIND_USAGE_BOOKKEEP, found, 5, &number), 0);
        CHECK_EQUAL(number, 5);
        for (int more = 0; more < 5; more++) CHECK(found[more] == fences[more]);
        drop_fences(found, 5);
        for (int more = 0; more < 5; more++) CHECK_EQUAL(unbind_fence_signal(fences[more], 0), 0);
        drop_fences(fences, 5);
        unbind_bo_unref(bo);
    }
    gpu_close(&gpu);
}

TEST(get_fence, "one fence for all at a usage: the stub for none, itself for one, and it signals with the last") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_fence *fences[3], *merged = NULL, *stub = stub_of(&gpu);
    make_fences(&gpu, fences, 3);
    CHECK_EQUAL(unbind_bo_get_fence(bo, UNBIND_USAGE_BOOKKEEP, &merged), 0);
    CHECK(merged == stub);
    unbind_fence_unref(merged);
    for (int i = 0; i < 3; i++) add(bo, fences[i], usages[i]);
    CHECK_EQUAL(unbind_bo_get_fence(bo, UNBIND_USAGE_KERNEL, &merged), 0);
    CHECK(merged == fences[0]);
    unbind_fence_unref(merged);
    CHECK_EQUAL(unbind_bo_get_fence(bo, UNBIND_USAGE_WRITE, &merged), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[1], 0), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(merged), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[0], 0), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(merged), 1);
    CHECK_EQUAL(unbind_bo_is_signaled(bo, UNBIND_USAGE_READ), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[2], 0), 0);
    unbind_fence_unref(merged);
    unbind_fence_unref(stub);
    drop_fences(fences, 3);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(cumulative, "P2: reservations add up, nested ones too, and adding one more than was reserved is an error") {
    struct gpu gpu;
    struct unbind_lock_context context;
    enum { NESTED = 40 };
    unbind_fence *fences[2 * NESTED + 1];
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    make_fences(&gpu, fences, 2 * NESTED + 1);
    unbind_vma *vma = make_vma(&gpu, bo, 0x10000); /* whose bind reserves a slot of the library's own */
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    REQUIRE(unbind_lock_context_init(&context, gpu.device) == 0);
    CHECK_EQUAL(unbind_bo_lock(bo, &context, 0), 0);
    for (int i = 0; i < NESTED; i++) { /* the caller reserves one, and what it calls reserves one again */
        CHECK_EQUAL(unbind_bo_reserve_fences(bo, &context, 1), 0);
        CHECK_EQUAL(unbind_bo_reserve_fences(bo, &context, 1), 0);
    }
    for (int i = 0; i < 2 * NESTED; i++) {
        CHECK_EQUAL(unbind_bo_add_fence(bo, &context, fences[i], usages[i % 4]), 0);
    }
    CHECK_EQUAL(unbind_bo_add_fence(bo, &context, fences[2 * NESTED], UNBIND_USAGE_READ), -ENOSPC);
    CHECK_EQUAL(count(bo, UNBIND_USAGE_BOOKKEEP), 2 * NESTED);
    CHECK_EQUAL(unbind_bo_reserve_fences(bo, &context, 3), 0);
    CHECK_EQUAL(unbind_bo_unreserve_fences(bo, &context, 4), -EINVAL);
    CHECK_EQUAL(unbind_bo_unreserve_fences(bo, &context, 3), 0);
    CHECK_EQUAL(unbind_bo_add_fence(bo, &context, fences[2 * NESTED], UNBIND_USAGE_READ), -ENOSPC);
    unbind_lock_context_fini(&context);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0); /* still has its slot */
    for (int i = 0; i <= 2 * NESTED; i++) CHECK_EQUAL(unbind_fence_signal(fences[i], 0), 0);
    drop_fences(fences, 2 * NESTED + 1);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(unordered, "P11, M8: fences without a timeline never replace each other, whatever their usage and however many") {
    struct gpu gpu;
    enum { MANY = 100 };
    unbind_fence *fences[MANY], *unbinds[3];
    unbind_vma *vmas[3];
    unbind_vm *vms[3];
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    make_fences(&gpu, fences, MANY);
    for (int i = 0; i < 3; i++) { /* before there are fences that a bind waits for */
        REQUIRE(unbind_vm_create(gpu.device, NULL, &vms[i]) == 0);
        REQUIRE(unbind_vma_create(vms[i], bo, NULL, &vmas[i]) == 0);
        REQUIRE(unbind_vma_bind(vmas[i], 0) == 0);
    }
    for (int i = 0; i < MANY; i++) add(bo, fences[i], usages[i % 4]);
    CHECK_EQUAL(count(bo, UNBIND_USAGE_BOOKKEEP), MANY);
    CHECK_EQUAL(count(bo, UNBIND_USAGE_KERNEL), MANY / 4);
    /* The unbind fences of one buffer in three address spaces: all three are waited for. */
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(unbind_vma_add_user(vmas[i], fences[i]), 0);
        CHECK_EQUAL(unbind_vma_unbind_async(vmas[i], 0, &unbinds[i]), 0);
    }
    CHECK_EQUAL(count(bo, UNBIND_USAGE_BOOKKEEP), MANY + 6);
    for (int i = 3; i < MANY; i++) CHECK_EQUAL(unbind_fence_signal(fences[i], 0), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(unbind_bo_wait(bo, 1000000, 0), -ETIME);
        CHECK_EQUAL(unbind_fence_signal(fences[i], 0), 0);
    }
    CHECK_EQUAL(unbind_bo_wait(bo, FOREVER, 0), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(finish(unbinds[i]), 0);
        unbind_vma_unref(vmas[i]);
        unbind_vm_unref(vms[i]);
    }
    drop_fences(fences, MANY);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(replaced, "a fence takes the place of an older one of its timeline, of the same usage or a later one") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    for (int old = 0; old < 4; old++) {
        for (int new_ = 0; new_ < 4; new_++) {
            unbind_bo *bo = make_bo(&gpu, PAGE);
            unbind_timeline *timeline = make_timeline(&gpu);
            unbind_fence *fence = make_fence(&gpu);
            CHECK_EQUAL(unbind_timeline_add_point(timeline, 1, fence), 0);
            CHECK_EQUAL(unbind_timeline_add_point(timeline, 2, fence), 0);
            unbind_fence *first = point_of(timeline, 1), *second = point_of(timeline, 2);
            add(bo, first, usages[old]);
            add(bo, second, usages[new_]);
            CHECK_EQUAL(count(bo, UNBIND_USAGE_BOOKKEEP), new_ <= old ? 1 : 2);
            CHECK_EQUAL(count(bo, usages[old]), new_ <= old ? 1 : 1);
            add(bo, first, usages[new_]); /* the older one does not take the place of the later one */
            CHECK(count(bo, usages[new_]) >= 2);
            CHECK_EQUAL(unbind_bo_is_signaled(bo, usages[old]), 0);
            signal_and_drop(fence);
            CHECK_EQUAL(unbind_bo_is_signaled(bo, UNBIND_USAGE_BOOKKEEP), 1);
            unbind_fence_unref(first);
            unbind_fence_unref(second);
            unbind_timeline_unref(timeline);
            unbind_bo_unref(bo);
        }
    }
    gpu_close(&gpu);
}

TEST(library, "what the library adds has its usage: jobs and users WRITE or READ, unbinds BOOKKEEP") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_queue *queue = make_queue(&gpu);
    unbind_fence *gate = make_fence(&gpu), *unbind = NULL;
    for (int write = 0; write < 2; write++) {
        unbind_bo *bo = make_bo(&gpu, PAGE);
        unbind_vma *vma = make_vma(&gpu, bo, (1 + (uint64_t)write) * PAGE);
        struct unbind_submit job = UNBIND_SUBMIT_INIT;
        struct unbind_submit_vma use = {vma, write ? UNBIND_USE_WRITE : UNBIND_USE_READ, 0};
        REQUIRE(unbind_vma_bind(vma, 0) == 0);
        job.vmas = &use;
        job.vma_count = 1;
        job.wait_fences = &gate;
        job.wait_fence_count = 1;
        CHECK_EQUAL(unbind_queue_submit(queue, &job, NULL), 0);
        CHECK_EQUAL(count(bo, UNBIND_USAGE_KERNEL), 0);
        CHECK_EQUAL(count(bo, UNBIND_USAGE_WRITE), write);
        CHECK_EQUAL(count(bo, UNBIND_USAGE_READ), 1);
        CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &unbind), 0);
        CHECK_EQUAL(count(bo, UNBIND_USAGE_READ), 1);
        CHECK_EQUAL(count(bo, UNBIND_USAGE_BOOKKEEP), 2);
        unbind_fence_unref(unbind);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
    }
    signal_and_drop(gate);
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

TEST(awaited, "a bind waits for the KERNEL fences of its buffer, a move for those of READ, also for a caller's") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_fence *fences[4], *bind = NULL, *move = NULL;
    make_fences(&gpu, fences, 4);
    for (int i = 0; i < 4; i++) add(bo, fences[i], usages[i]);
    unbind_vma *vma = make_vma(&gpu, bo, 0x10000);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), -EDEADLK); /* nothing but the caller can end it */
    CHECK_EQUAL(unbind_vma_bind_async(vma, 0, &bind), 0);
    CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), 0);
    CHECK_EQUAL(unbind_vma_state(vma), UNBIND_VMA_BINDING);
    CHECK_EQUAL(unbind_fence_signal(fences[0], 0), 0);
    CHECK_EQUAL(finish(bind), 0); /* WRITE and later are no matter of a bind's */
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, &move), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[1], 0), 0);
    CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), 0);
    CHECK_EQUAL(unbind_bo_is_signaled(bo, UNBIND_USAGE_KERNEL), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[2], 0), 0);
    CHECK_EQUAL(unbind_bo_wait_usage(bo, UNBIND_USAGE_KERNEL, FOREVER, 0), 0);
    CHECK_EQUAL(finish(move), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[3], 0), 0);
    drop_fences(fences, 4);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(copy, "copying adds the fences of another buffer that have not signalled, each at its usage") {
    struct gpu gpu;
    enum { MANY = 12 };
    unbind_fence *fences[MANY], *own;
    struct unbind_lock_context context;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_bo *from = make_bo(&gpu, PAGE), *to = make_bo(&gpu, PAGE);
    make_fences(&gpu, fences, MANY);
    own = make_fence(&gpu);
    add(to, own, UNBIND_USAGE_READ);
    for (int i = 0; i < MANY; i++) add(from, fences[i], usages[i % 4]);
    CHECK_EQUAL(unbind_fence_signal(fences[0], 0), 0);
    REQUIRE(unbind_lock_context_init(&context, gpu.device) == 0);
    CHECK_EQUAL(unbind_bo_copy_fences(to, &context, from), -EINVAL); /* not locked */
    CHECK_EQUAL(unbind_bo_lock(to, &context, 0), 0);
    CHECK_EQUAL(unbind_bo_copy_fences(to, &context, from), 0);
    CHECK_EQUAL(count(to, UNBIND_USAGE_KERNEL), 2);
    CHECK_EQUAL(count(to, UNBIND_USAGE_WRITE), 5);
    CHECK_EQUAL(count(to, UNBIND_USAGE_READ), 9);
    CHECK_EQUAL(count(to, UNBIND_USAGE_BOOKKEEP), 12);
    CHECK_EQUAL(count(from, UNBIND_USAGE_BOOKKEEP), 11);
    CHECK_EQUAL(unbind_bo_copy_fences(to, &context, to), 0); /* has them */
    CHECK_EQUAL(count(to, UNBIND_USAGE_BOOKKEEP), 12);
    CHECK_EQUAL(unbind_bo_add_fence(to, &context, own, UNBIND_USAGE_READ), -ENOSPC); /* and no slots beyond */
    unbind_lock_context_fini(&context);
    for (int i = 1; i < MANY; i++) CHECK_EQUAL(unbind_fence_signal(fences[i], 0), 0);
    CHECK_EQUAL(unbind_bo_is_signaled(to, UNBIND_USAGE_BOOKKEEP), 0);
    CHECK_EQUAL(unbind_fence_signal(own, 0), 0);
    CHECK_EQUAL(unbind_bo_is_signaled(to, UNBIND_USAGE_BOOKKEEP), 1);
    drop_fences(fences, MANY);
    unbind_fence_unref(own);
    unbind_bo_unref(from);
    unbind_bo_unref(to);
    gpu_close(&gpu);
}

TEST(memory, "fences that have signalled make room: memory does not grow with the number added") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    int64_t bytes = 0;
    for (int i = 0; i < 2000; i++) {
        unbind_fence *fence = make_fence(&gpu);
        add(bo, fence, UNBIND_USAGE_READ);
        signal_and_drop(fence);
        if (i == 100) bytes = gpu.hooks.bytes;
    }
    CHECK_EQUAL(gpu.hooks.bytes, bytes);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

/* One thread goes through the fences while another adds to them in steps of two. */
struct changing {
    struct gpu gpu;
    unbind_bo *bo;
    int is_over;
};

static void *change(void *argument) {
    struct changing *changing = (struct changing *)argument;
    for (int round = 0; round < 2000; round++) {
        unbind_fence *pair[2];
        make_fences(&changing->gpu, pair, 2);
        CHECK_EQUAL(unbind_bo_lock(changing->bo, NULL, 0), 0);
        CHECK_EQUAL(unbind_bo_reserve_fences(changing->bo, NULL, 2), 0);
        for (int i = 0; i < 2; i++) {
            CHECK_EQUAL(unbind_bo_add_fence(changing->bo, NULL, pair[i], UNBIND_USAGE_READ), 0);
        }
        CHECK_EQUAL(unbind_bo_unlock(changing->bo, NULL), 0);
        CHECK_EQUAL(unbind_fence_signal(pair[0], 0), 0);
        CHECK_EQUAL(unbind_fence_signal(pair[1], 0), 0);
        drop_fences(pair, 2);
    }
    __atomic_store_n(&changing->is_over, 1, __ATOMIC_RELEASE);
    return NULL;
}

TEST(concurrent, "a pass gives no fence twice and each that stays, while another thread adds and signals") {
    struct changing changing;
    pthread_t thread;
    unbind_fence *lasting[8];
    memset(&changing, 0, sizeof changing);
    gpu_open(&changing.gpu, UNBIND_EXECUTOR_POOL);
    changing.bo = make_bo(&changing.gpu, PAGE);
    make_fences(&changing.gpu, lasting, 8);
    for (int i = 0; i < 8; i++) add(changing.bo, lasting[i], UNBIND_USAGE_READ);
    REQUIRE(pthread_create(&thread, NULL, change, &changing) == 0);
    unsigned passes = 0;
    do {
        struct unbind_fence_cursor cursor;
        unbind_fence *found = NULL, *given[16];
        int status, number = 0;
        CHECK_EQUAL(unbind_fence_cursor_init(&cursor, changing.bo, UNBIND_USAGE_READ), 0);
        while ((status = unbind_fence_cursor_next(&cursor, changing.bo, &found, NULL)) != 0) {
            if (status == -EAGAIN) {
                drop_fences(given, (unsigned)number);
                number = 0;
                continue;
            }
            REQUIRE(status == 1 && number < 16);
            for (int i = 0; i < number; i++) CHECK(given[i] != found);
            given[number++] = found;
        }
        for (int i = 0; i < 8; i++) {
            int times = 0;
            for (int k = 0; k < number; k++) times += given[k] == lasting[i];
            CHECK_EQUAL(times, 1);
        }
        CHECK(number <= 10);
        drop_fences(given, (unsigned)number);
        passes++;
    } while (!__atomic_load_n(&changing.is_over, __ATOMIC_ACQUIRE));
    pthread_join(thread, NULL);
    CHECK(passes > 0);
    for (int i = 0; i < 8; i++) signal_and_drop(lasting[i]);
    unbind_bo_unref(changing.bo);
    gpu_close(&changing.gpu);
}
