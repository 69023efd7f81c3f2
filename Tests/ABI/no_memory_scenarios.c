/* SPDX-License-Identifier: MIT */
/*
 * Whole courses of events with one failing allocation, the n-th for every n: a call
 * that it hits is refused and has changed nothing, or does without by waiting; made
 * again it works, and the end is the same as if nothing had failed.
 */
#include "placing.h"

#include <sched.h>

/* One run of a scenario. */
struct run {
    struct gpu gpu;
    unsigned refused; /* calls that gave -ENOMEM */
};

/* Only one allocation fails, so that the second try succeeds. */
#define TRY(run, call)                                            \
    do {                                                          \
        int status__ = (call);                                    \
        if (status__ == -ENOMEM && (run)->gpu.hooks.failed) {     \
            (run)->refused++;                                     \
            status__ = (call);                                    \
        }                                                         \
        CHECK_EQUAL(status__, 0);                                 \
    } while (0)

static void every_allocation_fails(void (*scenario)(struct run *run), uint32_t executor, uint32_t device_flags) {
    unsigned refused = 0;
    for (uint64_t n = 1;; n++) {
        struct run run;
        struct unbind_allocator allocator;
        struct unbind_device_options options = gpu_options(&run.gpu, executor, &allocator);
        REQUIRE(n < 1000);
        options.flags = device_flags;
        run.refused = 0;
        REQUIRE(unbind_device_open_software(&options, &run.gpu.device) == 0);
        REQUIRE(unbind_vm_create(run.gpu.device, NULL, &run.gpu.vm) == 0);
        run.gpu.hooks.fail_at = run.gpu.hooks.calls + n;
        scenario(&run);
        run.gpu.hooks.fail_at = 0;
        refused += run.refused;
        CHECK(run.refused <= 1);
        CHECK_EQUAL(run.gpu.faults, 0);
        uint64_t failed = run.gpu.hooks.failed;
        gpu_close(&run.gpu);
        if (check_failures) printf("    with allocation %llu failing\n", (unsigned long long)n);
        if (!failed || check_failures) break;
    }
    CHECK(refused > 0);
}

static void on_all_executors(void (*scenario)(struct run *run)) {
    const uint32_t executors[] = {UNBIND_EXECUTOR_POOL, UNBIND_EXECUTOR_MANUAL, UNBIND_EXECUTOR_SIMULATED};
    for (int kind = 0; kind < 3; kind++) {
        every_allocation_fails(scenario, executors[kind], UNBIND_DEVICE_NO_SLABS);
        every_allocation_fails(scenario, executors[kind], 0);
    }
}

static unbind_bo *some_bo(struct run *run, uint64_t size) {
    unbind_bo *bo = NULL;
    TRY(run, unbind_bo_create(run->gpu.device, size, UNBIND_REGION_SYSTEM, 0, &bo));
    REQUIRE(bo != NULL);
    return bo;
}

static unbind_vma *some_vma(struct run *run, unbind_vm *vm, unbind_bo *bo, uint64_t address) {
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    unbind_vma *vma = NULL;
    options.flags = UNBIND_VMA_FIXED;
    options.address = address;
    TRY(run, unbind_vma_create(vm, bo, &options, &vma));
    REQUIRE(vma != NULL);
    return vma;
}

static unbind_fence *some_fence(struct run *run) {
    unbind_fence *fence = NULL;
    TRY(run, unbind_fence_create(run->gpu.device, &fence));
    REQUIRE(fence != NULL);
    return fence;
}

static void some_work(struct run *run, unbind_queue *queue, unbind_vma *vma, uint32_t pattern) {
    struct unbind_command commands[2] = {command_delay(20000), command_fill(unbind_vma_address(vma), PAGE, pattern)};
    TRY(run, submit(queue, commands, 2, vma, NULL, NULL));
}

/* MARK: the scenarios */

/* Selftest 36 with work that takes its time, so that whoever has no memory may wait for it. */
static void hops(struct run *run) {
    unbind_bo *bo = some_bo(run, 4 * PAGE);
    unbind_vma *vma = some_vma(run, run->gpu.vm, bo, 0x200000);
    unbind_queue *queue = NULL;
    TRY(run, unbind_queue_create(run->gpu.vm, 0, &queue));
    memset(unbind_bo_cpu_pointer(bo), 0xaa, 4 * PAGE);
    for (uint32_t hop = 0; hop < 5; hop++) {
        unbind_fence *bound = NULL, *moved = NULL;
        uint32_t region = unbind_bo_region(bo);
        TRY(run, unbind_vma_bind_async(vma, 0, &bound));
        some_work(run, queue, vma, hop + 1);
        int status = unbind_bo_migrate(bo, region ^ 1, hop == 2 ? UNBIND_BO_MIGRATE_NO_CPU_COPY : 0, &moved);
        if (status == -ENOMEM) { /* nothing has changed */
            run->refused++;
            CHECK(moved == NULL && unbind_bo_region(bo) == region && !is_unbound(vma));
            status = unbind_bo_migrate(bo, region ^ 1, 0, &moved);
        }
        CHECK_EQUAL(status, 0);
        CHECK(is_unbound(vma));
        unbind_fence_unref(bound);
        if (hop == 4) CHECK_EQUAL(finish(moved), 0);
        else unbind_fence_unref(moved);
    }
    CHECK_EQUAL(unbind_bo_wait(bo, FOREVER, 0), 0);
    const uint32_t *words = (const uint32_t *)unbind_bo_cpu_pointer(bo);
    CHECK(words[0] == 5 && words[1023] == 5 && words[1024] == 0xaaaaaaaa);
    settle(&run->gpu);
    CHECK_EQUAL(device_stats(run->gpu.device).system_bytes, 0);
    unbind_queue_unref(queue);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
}
TEST(hops_fail, "moves behind work, again and again, survive the failure of each allocation") { on_all_executors(hops); }

/* What makes way is in use, pinned or held; who takes its place waits. */
static void evictions(struct run *run) {
    struct unbind_vm_options options = small_vm(8);
    struct unbind_evict_request request = UNBIND_EVICT_REQUEST_INIT;
    unbind_vm *vm = NULL;
    unbind_vma *vmas[8], *large;
    unbind_queue *queue = NULL;
    unbind_fence *bound = NULL;
    TRY(run, unbind_vm_create(run->gpu.device, &options, &vm));
    TRY(run, unbind_queue_create(vm, 0, &queue));
    unbind_bo *bo = some_bo(run, PAGE), *two = some_bo(run, 2 * PAGE);
    for (unsigned i = 0; i < 8; i++) {
        vmas[i] = some_vma(run, vm, bo, i * PAGE);
        if (i == 7) TRY(run, unbind_vma_pin(vmas[i], NULL));
        else TRY(run, unbind_vma_bind(vmas[i], 0));
        if (i != 3) some_work(run, queue, vmas[i], i);
    }
    TRY(run, unbind_vma_create(vm, two, NULL, &large));
    for (int again = 0; again < 2; again++) {
        uint64_t unbinds = vm_stats(vm).unbinds;
        int status = unbind_vma_bind_async(large, UNBIND_BIND_EVICT, &bound);
        if (status == 0) break;
        CHECK(status == -ENOMEM && !again);
        CHECK_EQUAL(vm_stats(vm).unbinds, unbinds); /* nobody was evicted for nothing */
        run->refused++;
    }
    CHECK_EQUAL(finish(bound), 0);
    request.size = 4 * PAGE;
    TRY(run, unbind_vm_evict_something(vm, &request));
    request.flags = UNBIND_EVICT_ASYNC;
    TRY(run, unbind_vm_evict_something(vm, &request));
    TRY(run, unbind_vm_evict_range(vm, 0, 7 * PAGE, 0, UNBIND_EVICT_ASYNC));
    CHECK_EQUAL(vm_stats(vm).bound, 1);
    for (unsigned i = 0; i < 4; i++) TRY(run, unbind_vma_bind(vmas[i], 0));
    TRY(run, unbind_vm_evict_all(vm, 0));
    CHECK(is_bound(vmas[7]));
    CHECK_EQUAL(vm_stats(vm).bound, 1);
    unbind_vma_unref(large);
    drop_vmas(vmas, 8);
    unbind_bo_unref(bo);
    unbind_bo_unref(two);
    unbind_queue_unref(queue);
    unbind_vm_unref(vm);
}
TEST(evictions_fail, "evictions for binds, ranges and all survive the failure of each allocation") {
    on_all_executors(evictions);
}

static void unbinds_everywhere(struct run *run) {
    unbind_bo *bo = some_bo(run, PAGE);
    unbind_vm *vms[3];
    unbind_vma *vmas[3];
    unbind_fence *users[3];
    for (int i = 0; i < 3; i++) {
        vms[i] = NULL;
        TRY(run, unbind_vm_create(run->gpu.device, NULL, &vms[i]));
        vmas[i] = some_vma(run, vms[i], bo, 0x10000);
        users[i] = some_fence(run);
    }
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3; i++) {
            TRY(run, unbind_vma_bind(vmas[i], 0));
            if (round == 0) TRY(run, unbind_vma_add_user(vmas[i], users[i]));
        }
        uint64_t calls = run->gpu.hooks.calls;
        CHECK_EQUAL(unbind_bo_unbind(bo, UNBIND_BO_UNBIND_TEST), -EBUSY);
        if (round == 0) CHECK_EQUAL(unbind_bo_unbind(bo, 0), -EBUSY);
        CHECK_EQUAL(unbind_bo_unbind(bo, round ? UNBIND_BO_UNBIND_ACTIVE : UNBIND_BO_UNBIND_ASYNC), 0);
        CHECK_EQUAL(run->gpu.hooks.calls, calls); /* it needs none */
        for (int i = 0; i < 3; i++) CHECK(is_unbound(vmas[i]));
        if (round == 0) {
            for (int i = 0; i < 3; i++) CHECK_EQUAL(unbind_fence_signal(users[i], 0), 0);
        }
        CHECK_EQUAL(unbind_bo_wait(bo, FOREVER, 0), 0);
    }
    for (int i = 0; i < 3; i++) {
        unbind_fence_unref(users[i]);
        unbind_vma_unref(vmas[i]);
        unbind_vm_unref(vms[i]);
    }
    unbind_bo_unref(bo);
}
TEST(everywhere_fails, "binding in many address spaces survives each failure, and unbinding in all needs no memory") {
    on_all_executors(unbinds_everywhere);
}

static void suspends(struct run *run) {
    unbind_bo *bo = some_bo(run, 2 * PAGE);
    unbind_vm *vm = run->gpu.vm;
    unbind_vma *kept = some_vma(run, vm, bo, 0x10000), *leaves = some_vma(run, vm, bo, 0x20000);
    unbind_vma *comes = some_vma(run, vm, bo, 0x20000), *late = some_vma(run, vm, bo, 0x30000);
    unbind_fence *user = some_fence(run), *bound = NULL;
    struct unbind_page page;
    TRY(run, unbind_vma_bind(kept, 0));
    TRY(run, unbind_vma_bind(leaves, 0));
    CHECK_EQUAL(unbind_fence_signal(user, 0), 0);
    TRY(run, unbind_vma_add_user(leaves, user));
    CHECK_EQUAL(unbind_vma_unbind_async(leaves, 0, NULL), 0);
    TRY(run, unbind_vma_bind_async(comes, 0, &bound));
    CHECK_EQUAL(unbind_vm_suspend(vm), 0); /* needs no memory */
    CHECK(!page_at(&run->gpu, 0x10000, &page));
    TRY(run, unbind_vma_bind(late, 0));
    CHECK_EQUAL(unbind_vma_unbind(kept, 0), 0);
    TRY(run, unbind_vma_bind(kept, 0));
    CHECK_EQUAL(finish(bound), 0);
    uint64_t calls = run->gpu.hooks.calls;
    CHECK_EQUAL(unbind_vm_resume(vm), 0);
    CHECK_EQUAL(run->gpu.hooks.calls, calls);
    for (uint64_t at = 0x10000; at <= 0x30000; at += 0x10000) {
        CHECK(page_at(&run->gpu, at + PAGE, &page) && page.bo_id == unbind_bo_id(bo));
    }
    unbind_fence_unref(user);
    unbind_vma_unref(kept);
    unbind_vma_unref(leaves);
    unbind_vma_unref(comes);
    unbind_vma_unref(late);
    unbind_bo_unref(bo);
}
TEST(suspends_fail, "a suspend in the middle of binds and unbinds, and the resume, survive the failure of each allocation") {
    on_all_executors(suspends);
}

/* Two contexts want the same buffers in opposite orders; the younger gives way. */
struct pair {
    struct run *run;
    unbind_bo *bos[4];
    struct unbind_lock_context older, younger;
    unbind_fence *fence;
};

static void *older_takes_all(void *argument) {
    struct pair *pair = (struct pair *)argument;
    TRY(pair->run, unbind_bo_lock_array(pair->bos, 4, 30, &pair->older, 0));
    for (int i = 0; i < 30; i++) {
        CHECK_EQUAL(unbind_bo_add_fence(pair->bos[i % 4], &pair->older, pair->fence, UNBIND_USAGE_WRITE), 0);
    }
    unbind_lock_context_unlock_all(&pair->older);
    return NULL;
}

static void locks(struct run *run) {
    struct pair pair;
    pthread_t thread;
    pair.run = run;
    pair.fence = some_fence(run);
    for (int i = 0; i < 4; i++) pair.bos[i] = some_bo(run, PAGE);
    unbind_bo *reversed[2] = {pair.bos[3], pair.bos[2]};
    CHECK_EQUAL(unbind_lock_context_init(&pair.older, run->gpu.device), 0);
    CHECK_EQUAL(unbind_lock_context_init(&pair.younger, run->gpu.device), 0);
    int status = unbind_bo_lock_array(reversed, 2, 12, &pair.younger, 0);
    if (status == -ENOMEM) { /* all or none */
        run->refused++;
        for (int i = 0; i < 4; i++) CHECK_EQUAL(unbind_bo_unlock(pair.bos[i], &pair.younger), -EINVAL);
        status = unbind_bo_lock_array(reversed, 2, 12, &pair.younger, 0);
    }
    CHECK_EQUAL(status, 0);
    for (int i = 0; i < 12; i++) {
        CHECK_EQUAL(unbind_bo_add_fence(pair.bos[3], &pair.younger, pair.fence, UNBIND_USAGE_READ), 0);
    }
    CHECK_EQUAL(unbind_bo_add_fence(pair.bos[3], &pair.younger, pair.fence, UNBIND_USAGE_READ), -ENOSPC);
    REQUIRE(pthread_create(&thread, NULL, older_takes_all, &pair) == 0);
    while (unbind_lock_context_is_wounded(&pair.younger) == 0) sched_yield();
    CHECK_EQUAL(unbind_bo_lock(pair.bos[0], &pair.younger, 0), -EDEADLK);
    unbind_lock_context_unlock_all(&pair.younger);
    pthread_join(thread, NULL);
    CHECK_EQUAL(unbind_bo_is_signaled(pair.bos[0], UNBIND_USAGE_WRITE), 0);
    signal_and_drop(pair.fence);
    unbind_lock_context_fini(&pair.younger);
    unbind_lock_context_fini(&pair.older);
    for (int i = 0; i < 4; i++) {
        CHECK_EQUAL(unbind_bo_wait(pair.bos[i], FOREVER, 0), 0);
        unbind_bo_unref(pair.bos[i]);
    }
}
TEST(locks_fail, "locks of many buffers, with one who gives way, survive the failure of each allocation") {
    every_allocation_fails(locks, UNBIND_EXECUTOR_POOL, UNBIND_DEVICE_NO_SLABS);
    every_allocation_fails(locks, UNBIND_EXECUTOR_POOL, 0);
    every_allocation_fails(locks, UNBIND_EXECUTOR_MANUAL, UNBIND_DEVICE_NO_SLABS);
}

/* Binds over held and pending unbinds, and what becomes of them at the close. */
static void chains(struct run *run) {
    unbind_bo *bo = some_bo(run, 3 * PAGE);
    unbind_vm *vm = NULL;
    unbind_hold *hold = NULL, *there = NULL;
    unbind_vma *vmas[5];
    unbind_queue *queue = NULL;
    unbind_fence *bound[5], *unbound[5];
    TRY(run, unbind_vm_create(run->gpu.device, NULL, &vm));
    TRY(run, unbind_queue_create(vm, 0, &queue));
    for (unsigned i = 0; i < 5; i++) {
        bound[i] = unbound[i] = NULL;
        vmas[i] = some_vma(run, vm, bo, 0x10000 + i * PAGE);
        TRY(run, unbind_vma_bind_async(vmas[i], 0, &bound[i]));
        some_work(run, queue, vmas[i], i);
        if (i == 0) {
            TRY(run, unbind_vma_hold(vmas[0], &hold));
            TRY(run, unbind_vm_hold(vm, 0x10000, &there));
            unbind_hold_unref(hold);
            unbind_hold_unref(there);
        }
        CHECK_EQUAL(unbind_vma_unbind_async(vmas[i], 0, &unbound[i]), 0);
        CHECK_EQUAL(unbind_bo_is_signaled(bo, UNBIND_USAGE_KERNEL), 1);
    }
    CHECK_EQUAL(unbind_vm_close(vm), 0);
    for (unsigned i = 0; i < 5; i++) {
        CHECK_EQUAL(finish(bound[i]), 0);
        CHECK_EQUAL(finish(unbound[i]), 0);
        unbind_vma_unref(vmas[i]);
    }
    unbind_queue_unref(queue);
    unbind_vm_unref(vm);
    unbind_bo_unref(bo);
}
TEST(chains_fail, "a chain of binds over pending unbinds, held and closed, survives the failure of each allocation") {
    on_all_executors(chains);
}
