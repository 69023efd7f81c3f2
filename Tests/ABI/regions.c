/* SPDX-License-Identifier: MIT */
/*
 * What of the kernel's tests of buffer placement (selftest 34, TTM validate, xe's
 * evict and copy tests) has a counterpart here. A full region never makes room by
 * itself: a create or a move that finds none is -ENOMEM, and the caller moves
 * somebody out. There is no multihop (each copy is direct), no gutting, no shrinker
 * of its own, and no sharing with another process.
 */
#include "placing.h"

static const uint32_t executors[] = {UNBIND_EXECUTOR_POOL, UNBIND_EXECUTOR_MANUAL, UNBIND_EXECUTOR_SIMULATED};

static unbind_bo *bo_in(struct gpu *gpu, uint64_t size, uint32_t region) {
    unbind_bo *bo = NULL;
    REQUIRE(unbind_bo_create(gpu->device, size, region, 0, &bo) == 0);
    return bo;
}

static void fill_pattern(unbind_bo *bo, uint32_t seed) {
    uint32_t *words = (uint32_t *)unbind_bo_cpu_pointer(bo);
    for (uint64_t i = 0; i < unbind_bo_size(bo) / 4; i++) words[i] = seed + (uint32_t)i * 2654435761u;
}

static void check_pattern(unbind_bo *bo, uint32_t seed) {
    const uint32_t *words = (const uint32_t *)unbind_bo_cpu_pointer(bo);
    uint64_t i = 0, count = unbind_bo_size(bo) / 4;
    while (i < count && words[i] == seed + (uint32_t)i * 2654435761u) i++;
    CHECK_EQUAL(i, count);
}

static int move(unbind_bo *bo, uint32_t region) {
    unbind_fence *fence = NULL;
    int status = unbind_bo_migrate(bo, region, 0, &fence);
    return status ? status : finish(fence);
}

static void gpu_open_regions(struct gpu *gpu, uint32_t executor, uint64_t system, uint64_t local) {
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(gpu, executor, &allocator);
    options.system_memory_bytes = system;
    options.local_memory_bytes = local;
    REQUIRE(unbind_device_open_software(&options, &gpu->device) == 0);
    REQUIRE(unbind_vm_create(gpu->device, NULL, &gpu->vm) == 0);
}

TEST(selftest_34, "selftest 34: a pinned buffer cannot be moved: -EAGAIN, and nothing has changed") {
    for (int kind = 0; kind < 3; kind++) {
        struct gpu gpu;
        struct unbind_page before, after;
        unbind_fence *moved = UNTOUCHED(unbind_fence);
        gpu_open(&gpu, executors[kind]);
        unbind_bo *bo = bo_in(&gpu, 4 * PAGE, UNBIND_REGION_SYSTEM);
        unbind_vma *pinned = make_vma(&gpu, bo, 0x10000), *other = make_vma(&gpu, bo, 0x40000);
        fill_pattern(bo, 34);
        REQUIRE(unbind_vma_bind(other, 0) == 0);
        REQUIRE(unbind_vma_pin(pinned, NULL) == 0);
        REQUIRE(page_at(&gpu, 0x10000, &before));
        void *contents = unbind_bo_cpu_pointer(bo);
        const uint32_t flags[] = {0, UNBIND_BO_MIGRATE_NO_CPU_COPY, UNBIND_BO_MIGRATE_AFTER_UNBIND};
        for (int i = 0; i < 3; i++) {
            CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, flags[i], &moved), -EAGAIN);
            CHECK(moved == UNTOUCHED(unbind_fence));
            CHECK_EQUAL(unbind_bo_region(bo), UNBIND_REGION_SYSTEM);
            CHECK(unbind_bo_cpu_pointer(bo) == contents);
            CHECK(is_bound(pinned) && is_bound(other));
            CHECK_EQUAL(vm_stats(gpu.vm).unbinds, 0);
            CHECK_EQUAL(device_stats(gpu.device).local_bytes, 0);
            CHECK(page_at(&gpu, 0x10000, &after) && memcmp(&before, &after, sizeof before) == 0);
        }
        check_pattern(bo, 34);
        CHECK_EQUAL(unbind_vma_unpin(pinned), 0);
        CHECK_EQUAL(move(bo, UNBIND_REGION_LOCAL), 0);
        check_pattern(bo, 34);
        unbind_vma_unref(pinned);
        unbind_vma_unref(other);
        unbind_bo_unref(bo);
        gpu_close(&gpu);
    }
}

TEST(same_place, "selftest 44, same placement: a move to where the buffer is unbinds nobody and costs nothing") {
    struct gpu gpu;
    unbind_fence *moved = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = bo_in(&gpu, PAGE, UNBIND_REGION_LOCAL);
    unbind_vma *vma = make_vma(&gpu, bo, 0x10000);
    REQUIRE(unbind_vma_pin(vma, NULL) == 0);
    unbind_fence *user = use(&gpu, vma);
    CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, &moved), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(moved), 1);
    CHECK(is_bound(vma));
    CHECK_EQUAL(vm_stats(gpu.vm).unbinds, 0);
    CHECK_EQUAL(device_stats(gpu.device).local_bytes, PAGE);
    unbind_fence_unref(moved);
    signal_and_drop(user);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(move_fence, "selftest 44, move fence: a bind of what is being moved waits for the copy, of what has been moved not") {
    for (int signalled = 0; signalled < 2; signalled++) {
        struct gpu gpu;
        unbind_fence *bound = NULL;
        gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
        unbind_bo *bo = bo_in(&gpu, PAGE, UNBIND_REGION_SYSTEM);
        unbind_vma *vma = make_vma(&gpu, bo, 0x10000);
        REQUIRE(unbind_vma_bind(vma, 0) == 0);
        unbind_fence *user = use(&gpu, vma);
        if (signalled) CHECK_EQUAL(unbind_fence_signal(user, 0), 0);
        REQUIRE(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, NULL) == 0);
        if (signalled) settle(&gpu);
        CHECK_EQUAL(unbind_bo_is_signaled(bo, UNBIND_USAGE_KERNEL), signalled);
        REQUIRE(unbind_vma_bind_async(vma, 0, &bound) == 0);
        CHECK_EQUAL(unbind_fence_is_signaled(bound), signalled);
        if (!signalled) CHECK_EQUAL(unbind_fence_signal(user, 0), 0);
        CHECK_EQUAL(finish(bound), 0);
        unbind_fence_unref(user);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        gpu_close(&gpu);
    }
}

/* Fills local memory with buffers of 64 KiB, each bound. */
enum { FULL = 16 };
struct region {
    struct gpu gpu;
    unbind_bo *bos[FULL];
    unbind_vma *vmas[FULL];
};

static void region_open(struct region *region, uint32_t executor) {
    gpu_open_regions(&region->gpu, executor, 0, MIB);
    for (unsigned i = 0; i < FULL; i++) {
        region->bos[i] = bo_in(&region->gpu, 0x10000, UNBIND_REGION_LOCAL);
        region->vmas[i] = make_vma(&region->gpu, region->bos[i], i * 0x100000);
        fill_pattern(region->bos[i], i);
        REQUIRE(unbind_vma_bind(region->vmas[i], 0) == 0);
    }
}

static void region_close(struct region *region) {
    for (unsigned i = 0; i < FULL; i++) {
        unbind_vma_unref(region->vmas[i]);
        unbind_bo_unref(region->bos[i]);
    }
    gpu_close(&region->gpu);
}

TEST(full_region, "selftest 44, eviction: a full region is -ENOMEM, all pinned stays so, and who moves out makes room") {
    for (int kind = 0; kind < 3; kind++) {
        struct region region;
        unbind_bo *next = UNTOUCHED(unbind_bo), *outside;
        region_open(&region, executors[kind]);
        outside = bo_in(&region.gpu, 0x10000, UNBIND_REGION_SYSTEM);
        fill_pattern(outside, 99);
        for (unsigned i = 0; i < FULL; i++) CHECK_EQUAL(unbind_vma_pin(region.vmas[i], NULL), 0);
        CHECK_EQUAL(unbind_bo_create(region.gpu.device, 0x10000, UNBIND_REGION_LOCAL, 0, &next), -ENOMEM);
        CHECK_EQUAL(move(outside, UNBIND_REGION_LOCAL), -ENOMEM);
        for (unsigned i = 0; i < FULL; i++) CHECK_EQUAL(move(region.bos[i], UNBIND_REGION_SYSTEM), -EAGAIN);
        CHECK(next == UNTOUCHED(unbind_bo));
        CHECK_EQUAL(unbind_bo_region(outside), UNBIND_REGION_SYSTEM);
        /* Swapped out. */
        CHECK_EQUAL(unbind_vma_unpin(region.vmas[5]), 0);
        CHECK_EQUAL(move(region.bos[5], UNBIND_REGION_SYSTEM), 0);
        settle(&region.gpu);
        CHECK_EQUAL(move(outside, UNBIND_REGION_LOCAL), 0);
        CHECK_EQUAL(move(region.bos[5], UNBIND_REGION_LOCAL), -ENOMEM);
        CHECK_EQUAL(unbind_vma_bind(region.vmas[5], 0), 0); /* it is no worse off where it is */
        check_pattern(outside, 99);
        for (unsigned i = 0; i < FULL; i++) check_pattern(region.bos[i], i);
        unbind_bo_unref(outside);
        region_close(&region);
    }
}

TEST(busy_region, "selftest 44, busy domain: memory that a move leaves is free when its work, copy and unbind have ended") {
    struct region region;
    unbind_bo *next = NULL;
    region_open(&region, UNBIND_EXECUTOR_MANUAL);
    unbind_fence *user = use(&region.gpu, region.vmas[3]), *moved = NULL;
    CHECK_EQUAL(unbind_bo_migrate(region.bos[3], UNBIND_REGION_SYSTEM, 0, &moved), 0);
    CHECK_EQUAL(unbind_device_run(region.gpu.device, 0, NULL), 0);
    CHECK_EQUAL(unbind_bo_create(region.gpu.device, 0x10000, UNBIND_REGION_LOCAL, 0, &next), -ENOMEM);
    signal_and_drop(user);
    CHECK_EQUAL(finish(moved), 0);
    settle(&region.gpu);
    CHECK_EQUAL(unbind_bo_create(region.gpu.device, 0x10000, UNBIND_REGION_LOCAL, 0, &next), 0);
    unbind_bo_unref(next);
    check_pattern(region.bos[3], 3);
    region_close(&region);
}

TEST(evict_restore, "selftest 45, evict: everything leaves local memory, is bound and used outside, and comes back whole") {
    for (int kind = 0; kind < 3; kind++) {
        struct region region;
        region_open(&region, executors[kind]);
        unbind_queue *queue = make_queue(&region.gpu);
        for (int round = 0; round < 2; round++) {
            uint32_t to = round ? UNBIND_REGION_LOCAL : UNBIND_REGION_SYSTEM;
            for (unsigned i = 0; i < FULL; i++) {
                CHECK_EQUAL(unbind_bo_migrate(region.bos[i], to, 0, NULL), 0);
                CHECK_EQUAL(unbind_vma_bind_async(region.vmas[i], 0, NULL), 0);
                struct unbind_command store = command_store(i * 0x100000 + 0x8000 + 8u * (unsigned)round, 0x4500 + i);
                CHECK_EQUAL(submit(queue, &store, 1, region.vmas[i], NULL, NULL), 0);
            }
            for (unsigned i = 0; i < FULL; i++) CHECK_EQUAL(unbind_bo_wait(region.bos[i], FOREVER, 0), 0);
            settle(&region.gpu);
            CHECK_EQUAL(device_stats(region.gpu.device).local_bytes, round ? MIB : 0);
            CHECK_EQUAL(device_stats(region.gpu.device).system_bytes, round ? 0 : MIB);
        }
        for (unsigned i = 0; i < FULL; i++) {
            uint64_t *words = (uint64_t *)unbind_bo_cpu_pointer(region.bos[i]), *expected;
            unbind_bo *same = bo_in(&region.gpu, 0x10000, UNBIND_REGION_SYSTEM);
            fill_pattern(same, i);
            expected = (uint64_t *)unbind_bo_cpu_pointer(same);
            expected[0x1000] = expected[0x1001] = 0x4500 + i;
            CHECK(memcmp(words, expected, 0x10000) == 0);
            unbind_bo_unref(same);
        }
        CHECK_EQUAL(region.gpu.faults, 0);
        unbind_queue_unref(queue);
        region_close(&region);
    }
}

TEST(copy_sanity, "selftest 45, copy engine: fills and copies of odd sizes across pages, in and between both regions") {
    const uint64_t sizes[] = {1, 7, 64, 4095, 4096, 4097, 65536, 65537, 2 * MIB, 2 * MIB + 3};
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_queue *queue = make_queue(&gpu);
    for (uint32_t regions = 0; regions < 4; regions++) {
        uint64_t room = 2 * MIB + 3 * PAGE;
        unbind_bo *from = bo_in(&gpu, room, regions & 1), *to = bo_in(&gpu, room, regions >> 1);
        unbind_vma *source = make_vma(&gpu, from, 0x1000000), *target = make_vma(&gpu, to, 0x2001000);
        REQUIRE(unbind_vma_bind(source, 0) == 0 && unbind_vma_bind(target, 0) == 0);
        fill_pattern(from, regions);
        unsigned char *out = (unsigned char *)unbind_bo_cpu_pointer(to);
        unsigned char *in = (unsigned char *)unbind_bo_cpu_pointer(from);
        for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct unbind_command commands[2];
            unbind_fence *done = NULL;
            uint64_t offset = i * 13;
            commands[0] = command_fill(0x2001000, room, 0x5a5a5a5a);
            commands[1] = command_copy(0x2001000 + offset + 1, 0x1000000 + offset, sizes[i]);
            REQUIRE(submit(queue, commands, 2, source, target, &done) == 0);
            CHECK_EQUAL(finish(done), 0);
            CHECK(memcmp(out + offset + 1, in + offset, sizes[i]) == 0);
            CHECK(out[offset] == 0x5a && out[offset + 1 + sizes[i]] == 0x5a);
        }
        unbind_vma_unref(source);
        unbind_vma_unref(target);
        unbind_bo_unref(from);
        unbind_bo_unref(to);
    }
    CHECK_EQUAL(gpu.faults, 0);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

TEST(shared_bo, "selftest 45, sharing: a buffer in two address spaces is one memory, also after a move between its users") {
    struct gpu gpu;
    unbind_vm *second = NULL;
    uint64_t word = 0;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    REQUIRE(unbind_vm_create(gpu.device, NULL, &second) == 0);
    unbind_bo *bo = bo_in(&gpu, PAGE, UNBIND_REGION_SYSTEM);
    unbind_vma *here = make_vma(&gpu, bo, 0x10000), *there = NULL;
    REQUIRE(unbind_vma_create(second, bo, NULL, &there) == 0);
    unbind_queue *writer = make_queue(&gpu), *reader = NULL;
    REQUIRE(unbind_queue_create(second, 0, &reader) == 0);
    for (uint64_t round = 1; round <= 4; round++) {
        unbind_fence *done = NULL;
        CHECK_EQUAL(unbind_vma_bind_async(here, 0, NULL), 0);
        struct unbind_command store = command_store(0x10000, round);
        CHECK_EQUAL(submit(writer, &store, 1, here, NULL, NULL), 0);
        CHECK_EQUAL(unbind_bo_migrate(bo, (uint32_t)round & 1, 0, NULL), 0);
        CHECK(is_unbound(here) && is_unbound(there));
        CHECK_EQUAL(unbind_vma_bind_async(there, 0, NULL), 0);
        struct unbind_command load = command_load(unbind_vma_address(there), &word);
        CHECK_EQUAL(submit(reader, &load, 1, there, NULL, &done), 0);
        CHECK_EQUAL(finish(done), 0);
        CHECK_EQUAL(word, round);
    }
    CHECK_EQUAL(gpu.faults, 0);
    unbind_queue_unref(writer);
    unbind_queue_unref(reader);
    unbind_vma_unref(here);
    unbind_vma_unref(there);
    unbind_bo_unref(bo);
    unbind_vm_unref(second);
    gpu_close(&gpu);
}
