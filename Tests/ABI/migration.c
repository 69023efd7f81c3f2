/* SPDX-License-Identifier: MIT */
/* Moving buffers between memory regions, behind GPU work and before unbinds have finished. */
#include "support.h"

#define NO_CPU_COPY UNBIND_BO_MIGRATE_NO_CPU_COPY

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
    for (uint64_t i = 0; i < unbind_bo_size(bo) / 4; i++) {
        if (words[i] == seed + (uint32_t)i * 2654435761u) continue;
        CHECK_EQUAL(words[i], seed + (uint32_t)i * 2654435761u);
        return;
    }
}

static int migrate(unbind_bo *bo, uint32_t region, uint32_t flags) {
    unbind_fence *fence = NULL;
    CHECK_EQUAL(unbind_bo_migrate(bo, region, flags, &fence), 0);
    return finish(fence);
}

static uint32_t other_region(uint32_t region) { return region ^ 1; }

TEST(keeps_bytes, "selftest 33: a buffer keeps its bytes from system to local memory, back, and to where it is") {
    const uint64_t sizes[] = {PAGE, 3 * PAGE, 64 * 1024, 2 * MIB, 2 * MIB + PAGE};
    for (int kind = 0; kind < 3; kind++) {
        struct gpu gpu;
        gpu_open(&gpu, executors[kind]);
        for (int from = 0; from < 2; from++) {
            for (int to = 0; to < 2; to++) {
                for (int size = 0; size < 5; size++) {
                    unbind_bo *bo = bo_in(&gpu, sizes[size], (uint32_t)from);
                    fill_pattern(bo, (uint32_t)(from * 100 + to));
                    CHECK_EQUAL(migrate(bo, (uint32_t)to, 0), 0);
                    CHECK_EQUAL(unbind_bo_region(bo), to);
                    check_pattern(bo, (uint32_t)(from * 100 + to));
                    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
                    CHECK_EQUAL(device_stats(gpu.device).local_bytes, to ? sizes[size] : 0);
                    unbind_bo_unref(bo);
                }
            }
        }
        CHECK_EQUAL(device_stats(gpu.device).local_bytes, 0);
        CHECK_EQUAL(device_stats(gpu.device).system_bytes, 0);
        gpu_close(&gpu);
    }
}

TEST(unbinds, "a move unbinds every VMA, a bind goes to the new memory, and pages tell where that is") {
    for (int kind = 0; kind < 3; kind++) {
        struct gpu gpu;
        struct unbind_page page = UNBIND_PAGE_INIT;
        gpu_open(&gpu, executors[kind]);
        unbind_bo *bo = bo_in(&gpu, 2 * PAGE, UNBIND_REGION_SYSTEM);
        unbind_vma *one = make_vma(&gpu, bo, 0x10000), *two = make_vma(&gpu, bo, 0x20000);
        unbind_queue *queue = make_queue(&gpu);
        fill_pattern(bo, 5);
        REQUIRE(unbind_vma_bind(one, 0) == 0);
        REQUIRE(unbind_vma_bind(two, 0) == 0);
        CHECK_EQUAL(migrate(bo, UNBIND_REGION_LOCAL, 0), 0);
        CHECK_EQUAL(unbind_vma_state(one), UNBIND_VMA_UNBOUND);
        CHECK_EQUAL(unbind_vma_state(two), UNBIND_VMA_UNBOUND);
        CHECK_EQUAL(unbind_vm_find_page(gpu.vm, 0, &page), -ENOENT);
        REQUIRE(unbind_vma_bind(one, 0) == 0);
        REQUIRE(unbind_vm_find_page(gpu.vm, 0, &page) == 0);
        CHECK_EQUAL(page.flags, UNBIND_PAGE_LOCAL | UNBIND_PAGE_WRITABLE);
        uint64_t word = 0;
        struct unbind_command load = command_load(0x10000 + PAGE, &word);
        unbind_fence *done = NULL;
        REQUIRE(submit(queue, &load, 1, one, NULL, &done) == 0);
        CHECK_EQUAL(finish(done), 0);
        check_pattern(bo, 5);
        CHECK_EQUAL(word, ((const uint64_t *)unbind_bo_cpu_pointer(bo))[PAGE / 8]);
        unbind_queue_unref(queue);
        unbind_vma_unref(one);
        unbind_vma_unref(two);
        unbind_bo_unref(bo);
        gpu_close(&gpu);
    }
}

/* Binds at a fixed place, fills by a job that begins with a spinner, and moves; five times, while the spinner spins. */
static void hop_behind_spinner(uint32_t executor, uint32_t flags) {
    struct gpu gpu;
    gpu_open(&gpu, executor);
    unbind_bo *bo = bo_in(&gpu, 64 * 1024, UNBIND_REGION_SYSTEM);
    unbind_vma *vma = make_vma(&gpu, bo, 0x200000);
    unbind_queue *queue = make_queue(&gpu);
    unbind_fence *spinner = make_fence(&gpu), *moved[5], *bound[5];
    memset(unbind_bo_cpu_pointer(bo), 0xaa, 64 * 1024);
    for (int hop = 0; hop < 5; hop++) {
        struct unbind_command commands[2];
        REQUIRE(unbind_vma_bind_async(vma, 0, &bound[hop]) == 0);
        CHECK_EQUAL(unbind_vma_address(vma), 0x200000);
        commands[0] = command_wait(spinner);
        commands[1] = command_fill(0x200000 + (uint64_t)hop * PAGE, PAGE, (uint32_t)hop + 1);
        REQUIRE(submit(queue, commands, 2, vma, NULL, NULL) == 0);
        CHECK_EQUAL(unbind_bo_migrate(bo, other_region(unbind_bo_region(bo)), flags, &moved[hop]), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(spinner), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(moved[hop]), 0);
    }
    CHECK_EQUAL(vm_stats(gpu.vm).pending, 5);
    CHECK_EQUAL(unbind_bo_wait(bo, 0, 0), -ETIME);
    signal_and_drop(spinner);
    for (int hop = 0; hop < 5; hop++) {
        CHECK_EQUAL(finish(moved[hop]), 0);
        CHECK_EQUAL(finish(bound[hop]), 0);
    }
    CHECK_EQUAL(unbind_bo_wait(bo, FOREVER, 0), 0);
    CHECK_EQUAL(unbind_bo_region(bo), UNBIND_REGION_LOCAL);
    const uint32_t *words = (const uint32_t *)unbind_bo_cpu_pointer(bo);
    for (int hop = 0; hop < 5; hop++) {
        CHECK_EQUAL(words[hop * 1024], hop + 1);
        CHECK_EQUAL(words[hop * 1024 + 1023], hop + 1);
    }
    CHECK_EQUAL(words[5 * 1024], 0xaaaaaaaa);
    CHECK_EQUAL(gpu.faults, 0);
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    CHECK_EQUAL(device_stats(gpu.device).system_bytes, 0);
    unbind_queue_unref(queue);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(hops, "selftest 36: bind, use and move again and again behind a spinner that never yields: nothing blocks") {
    for (int kind = 0; kind < 3; kind++) {
        hop_behind_spinner(executors[kind], 0);
        hop_behind_spinner(executors[kind], UNBIND_BO_MIGRATE_AFTER_UNBIND);
    }
}

TEST(not_the_unbinds, "D1: the copy does not wait for the unbinds; the fence of the whole does") {
    struct gpu gpu;
    unbind_fence *moved = NULL, *bound = NULL;
    unbind_hold *hold = NULL;
    for (int kernel_order = 0; kernel_order < 2; kernel_order++) {
        gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
        unbind_bo *bo = bo_in(&gpu, PAGE, UNBIND_REGION_SYSTEM);
        unbind_vma *vma = make_vma(&gpu, bo, 0x10000), *elsewhere = make_vma(&gpu, bo, 0x50000);
        REQUIRE(unbind_vma_bind(vma, 0) == 0);
        /* A hold keeps the unbind from finishing. */
        REQUIRE(unbind_vma_hold(vma, &hold) == 0);
        CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, kernel_order ? UNBIND_BO_MIGRATE_AFTER_UNBIND : 0, &moved),
                    0);
        CHECK_EQUAL(unbind_vma_bind_async(elsewhere, 0, &bound), 0);
        CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(bound), !kernel_order);
        CHECK_EQUAL(unbind_fence_is_signaled(moved), 0);
        CHECK_EQUAL(device_stats(gpu.device).system_bytes, PAGE);
        unbind_hold_unref(hold);
        CHECK_EQUAL(finish(moved), 0);
        CHECK_EQUAL(finish(bound), 0);
        CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
        CHECK_EQUAL(device_stats(gpu.device).system_bytes, 0);
        unbind_vma_unref(vma);
        unbind_vma_unref(elsewhere);
        unbind_bo_unref(bo);
        gpu_close(&gpu);
    }
}

TEST(failsafe, "selftest 35: five hops without a wait, while copies fail and the CPU may or may not step in") {
    for (int kind = 0; kind < 3; kind++) {
        for (uint32_t failing = 0; failing < 6; failing++) {
            for (int banned = 0; banned < 2; banned++) {
                struct gpu gpu;
                unbind_fence *moved[5];
                int last_error = 0;
                gpu_open(&gpu, executors[kind]);
                unbind_bo *bo = bo_in(&gpu, 16 * PAGE, UNBIND_REGION_SYSTEM);
                unbind_fence *gate = make_fence(&gpu);
                unbind_vma *vma = make_vma(&gpu, bo, 0x40000);
                fill_pattern(bo, failing);
                REQUIRE(unbind_vma_bind(vma, 0) == 0);
                REQUIRE(unbind_vma_add_user(vma, gate) == 0);
                REQUIRE(unbind_device_fail_next(gpu.device, UNBIND_FAIL_COPY, failing) == 0);
                for (int hop = 0; hop < 5; hop++) {
                    CHECK_EQUAL(unbind_bo_migrate(bo, other_region(unbind_bo_region(bo)), banned ? NO_CPU_COPY : 0,
                                                  &moved[hop]), 0);
                }
                signal_and_drop(gate);
                for (int hop = 0; hop < 5; hop++) last_error = finish(moved[hop]);
                bool is_lost = banned && failing > 0;
                CHECK_EQUAL(last_error, is_lost ? -EIO : 0);
                CHECK_EQUAL(unbind_bo_wait(bo, FOREVER, 0), 0);
                CHECK_EQUAL(unbind_vma_bind(vma, 0), is_lost ? -EIO : 0);
                CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_SYSTEM, 0, NULL), is_lost ? -EIO : 0);
                CHECK_EQUAL(unbind_bo_wait(bo, FOREVER, 0), 0);
                if (!is_lost) check_pattern(bo, failing);
                CHECK((gpu.messages > 0) == is_lost);
                unbind_vma_unref(vma);
                unbind_bo_unref(bo);
                gpu_close(&gpu);
            }
        }
    }
}

TEST(lost_on_the_way, "P20, M9: a bind behind a move that loses the buffer carries -EIO, and its unbind is harmless") {
    for (int kind = 0; kind < 3; kind++) {
        struct gpu gpu;
        unbind_fence *bound = NULL, *job = NULL, *unbound = NULL;
        struct unbind_page page = UNBIND_PAGE_INIT;
        gpu_open(&gpu, executors[kind]);
        unbind_bo *bo = bo_in(&gpu, 2 * PAGE, UNBIND_REGION_SYSTEM);
        unbind_fence *gate = make_fence(&gpu);
        unbind_vma *vma = make_vma(&gpu, bo, 0x40000);
        unbind_queue *queue = make_queue(&gpu);
        REQUIRE(unbind_vma_bind(vma, 0) == 0);
        REQUIRE(unbind_vma_add_user(vma, gate) == 0);
        REQUIRE(unbind_device_fail_next(gpu.device, UNBIND_FAIL_COPY, 1) == 0);
        CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, NO_CPU_COPY, NULL), 0);
        CHECK_EQUAL(unbind_vma_bind_async(vma, 0, &bound), 0);
        struct unbind_command fill = command_fill(0x40000, PAGE, 1);
        CHECK_EQUAL(submit(queue, &fill, 1, vma, NULL, &job), 0);
        signal_and_drop(gate);
        CHECK_EQUAL(finish(bound), -EIO);
        CHECK_EQUAL(finish(job), -EIO);
        CHECK_EQUAL(gpu.faults, 0);
        CHECK_EQUAL(unbind_vm_find_page(gpu.vm, 0, &page), -ENOENT);
        CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &unbound), 0);
        CHECK_EQUAL(finish(unbound), 0);
        /* The range is as good as new. */
        unbind_vma *next = bind_new(&gpu, 2 * PAGE, 0x40000);
        CHECK_EQUAL(unbind_vm_find_page(gpu.vm, 0, &page), 0);
        unbind_vma_unref(next);
        unbind_queue_unref(queue);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        gpu_close(&gpu);
    }
}

TEST(users_errors, "what became of the work that used a buffer is nothing to its move") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_bo *bo = bo_in(&gpu, PAGE, UNBIND_REGION_SYSTEM);
    unbind_vma *vma = make_vma(&gpu, bo, 0x40000);
    unbind_fence *user = make_fence(&gpu), *moved = NULL;
    fill_pattern(bo, 9);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    REQUIRE(unbind_vma_add_user(vma, user) == 0);
    CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, &moved), 0);
    CHECK_EQUAL(unbind_fence_signal(user, -EFAULT), 0);
    CHECK_EQUAL(finish(moved), 0);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    check_pattern(bo, 9);
    unbind_fence_unref(user);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(no_memory, "every allocation of a move fails once: refused or done by the CPU, and nothing is lost") {
    for (int banned = 0; banned < 2; banned++) {
        uint64_t failures = 0, refused = 0;
        for (uint64_t n = 1; failures + 1 == n; n++) {
            struct gpu gpu;
            struct unbind_allocator allocator;
            struct unbind_device_options options = gpu_options(&gpu, UNBIND_EXECUTOR_MANUAL, &allocator);
            options.flags = UNBIND_DEVICE_NO_SLABS;
            REQUIRE(unbind_device_open_software(&options, &gpu.device) == 0);
            REQUIRE(unbind_vm_create(gpu.device, NULL, &gpu.vm) == 0);
            unbind_bo *bo = bo_in(&gpu, 3 * PAGE, UNBIND_REGION_SYSTEM);
            unbind_vma *vma = make_vma(&gpu, bo, 0x10000), *second = make_vma(&gpu, bo, 0x20000);
            unbind_fence *moved = NULL;
            fill_pattern(bo, 3);
            REQUIRE(unbind_vma_bind(vma, 0) == 0);
            REQUIRE(unbind_vma_bind(second, 0) == 0);
            unbind_queue *queue = make_queue(&gpu);
            struct unbind_command delay = command_delay(1000);
            REQUIRE(submit(queue, &delay, 1, vma, second, NULL) == 0);
            gpu.hooks.fail_at = gpu.hooks.calls + n;
            int status = unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, banned ? NO_CPU_COPY : 0, &moved);
            gpu.hooks.fail_at = 0;
            failures += gpu.hooks.failed;
            CHECK(status == 0 || status == -ENOMEM);
            if (status == -ENOMEM) {
                refused++;
                CHECK(moved == NULL);
                CHECK_EQUAL(gpu.hooks.failed, 1);
                CHECK_EQUAL(unbind_bo_region(bo), UNBIND_REGION_SYSTEM);
                CHECK_EQUAL(unbind_vma_state(vma), UNBIND_VMA_BOUND);
                CHECK_EQUAL(unbind_vma_state(second), UNBIND_VMA_BOUND);
                CHECK_EQUAL(device_stats(gpu.device).local_bytes, 0);
                CHECK_EQUAL(migrate(bo, UNBIND_REGION_LOCAL, 0), 0);
            } else {
                CHECK_EQUAL(finish(moved), 0);
            }
            CHECK_EQUAL(unbind_bo_region(bo), UNBIND_REGION_LOCAL);
            CHECK_EQUAL(unbind_vma_bind(second, 0), 0);
            check_pattern(bo, 3);
            unbind_queue_unref(queue);
            unbind_vma_unref(vma);
            unbind_vma_unref(second);
            unbind_bo_unref(bo);
            gpu_close(&gpu);
        }
        CHECK(failures >= 8);
        /* Without the CPU each failure refuses; with it only those for the new memory itself. */
        CHECK_EQUAL(refused, banned ? failures : 2);
    }
}

TEST(closing, "closing the device in the middle of moves finishes them") {
    for (int kind = 0; kind < 3; kind++) {
        struct gpu gpu;
        struct unbind_leak_report report = UNBIND_LEAK_REPORT_INIT;
        unbind_fence *moved = NULL;
        gpu_open(&gpu, executors[kind]);
        unbind_bo *bo = bo_in(&gpu, PAGE, UNBIND_REGION_SYSTEM);
        unbind_vma *vma = make_vma(&gpu, bo, 0x40000);
        unbind_fence *user = make_fence(&gpu);
        REQUIRE(unbind_vma_bind(vma, 0) == 0);
        REQUIRE(unbind_vma_add_user(vma, user) == 0);
        for (int i = 0; i < 4; i++) {
            unbind_fence_unref(moved);
            CHECK_EQUAL(unbind_bo_migrate(bo, other_region(unbind_bo_region(bo)), 0, &moved), 0);
        }
        CHECK_EQUAL(unbind_device_close(gpu.device, &report), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(moved), 1);
        CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, NULL), -ENOENT);
        unbind_fence_unref(moved);
        unbind_fence_unref(user);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        unbind_vm_unref(gpu.vm);
        unbind_device_unref(gpu.device);
        CHECK_EQUAL(gpu.hooks.blocks, 0);
    }
}

struct crowd {
    struct gpu gpu;
    unbind_bo *bo;
    unbind_vma *vmas[4];
    int stop;
};

static void *bind_and_use(void *argument) {
    struct crowd *crowd = (struct crowd *)argument;
    unbind_queue *queue = make_queue(&crowd->gpu);
    for (unsigned i = 0; !__atomic_load_n(&crowd->stop, __ATOMIC_RELAXED); i++) {
        unbind_vma *vma = crowd->vmas[i % 4];
        unbind_fence *bound = NULL, *job = NULL;
        CHECK_EQUAL(unbind_vma_bind_async(vma, 0, &bound), 0);
        struct unbind_command copy = command_copy(UINT64_C(0x100000) * (1 + i % 4), UINT64_C(0x100000) * (1 + i % 4) + PAGE, 64);
        int status = submit(queue, &copy, 1, vma, NULL, &job);
        CHECK(status == 0 || status == -EINVAL);
        if (status == 0) CHECK_EQUAL(finish(job), 0);
        CHECK_EQUAL(finish(bound), 0);
    }
    unbind_queue_unref(queue);
    return NULL;
}

TEST(crowd, "moves against threads that bind and use: no fault, no stale byte, nothing left") {
    struct crowd crowd;
    pthread_t threads[3];
    unsigned moves = getenv("UNDER_VALGRIND") ? 30 : 400;
    memset(&crowd, 0, sizeof crowd);
    gpu_open(&crowd.gpu, UNBIND_EXECUTOR_POOL);
    crowd.bo = bo_in(&crowd.gpu, 2 * PAGE, UNBIND_REGION_SYSTEM);
    memset(unbind_bo_cpu_pointer(crowd.bo), 0x3c, 2 * PAGE);
    for (unsigned i = 0; i < 4; i++) crowd.vmas[i] = make_vma(&crowd.gpu, crowd.bo, UINT64_C(0x100000) * (1 + i));
    for (int i = 0; i < 3; i++) REQUIRE(pthread_create(&threads[i], NULL, bind_and_use, &crowd) == 0);
    for (unsigned i = 0; i < moves; i++) {
        CHECK_EQUAL(unbind_bo_migrate(crowd.bo, other_region(unbind_bo_region(crowd.bo)), 0, NULL), 0);
        if (i % 7 == 0) CHECK_EQUAL(unbind_bo_wait(crowd.bo, FOREVER, 0), 0);
    }
    __atomic_store_n(&crowd.stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    CHECK_EQUAL(unbind_bo_wait(crowd.bo, FOREVER, 0), 0);
    const unsigned char *bytes = (const unsigned char *)unbind_bo_cpu_pointer(crowd.bo);
    for (unsigned i = 0; i < 2 * PAGE; i++) REQUIRE(bytes[i] == 0x3c);
    CHECK_EQUAL(crowd.gpu.faults, 0);
    for (int i = 0; i < 4; i++) unbind_vma_unref(crowd.vmas[i]);
    unbind_bo_unref(crowd.bo);
    gpu_close(&crowd.gpu);
}

TEST(bad_input, "moves: bad input is refused and changes nothing") {
    struct gpu gpu;
    unbind_bo *wrapped = NULL;
    unbind_fence *fence = UNTOUCHED(unbind_fence);
    static char memory[2 * 4096];
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = bo_in(&gpu, PAGE, UNBIND_REGION_SYSTEM), *large = bo_in(&gpu, 65 * MIB, UNBIND_REGION_SYSTEM);
    REQUIRE(unbind_bo_wrap(gpu.device, (char *)(((uintptr_t)memory + 4095) & ~(uintptr_t)4095), PAGE, NULL, NULL,
                           &wrapped) == 0);
    CHECK_EQUAL(unbind_bo_migrate(NULL, 0, 0, &fence), -EINVAL);
    CHECK_EQUAL(unbind_bo_migrate(bo, 2, 0, &fence), -EINVAL);
    CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, UNBIND_WAIT_ABSOLUTE, &fence), -EINVAL);
    CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 1u << 10, &fence), -EINVAL);
    CHECK_EQUAL(unbind_bo_migrate(wrapped, UNBIND_REGION_LOCAL, 0, &fence), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_bo_migrate(large, UNBIND_REGION_LOCAL, 0, &fence), -ENOMEM);
    CHECK(fence == UNTOUCHED(unbind_fence));
    CHECK_EQUAL(unbind_bo_region(NULL), UNBIND_REGION_SYSTEM);
    CHECK_EQUAL(unbind_device_fail_next(NULL, UNBIND_FAIL_COPY, 1), -EINVAL);
    CHECK_EQUAL(unbind_device_fail_next(gpu.device, 1, 1), -EINVAL);
    unbind_bo_unref(bo);
    unbind_bo_unref(large);
    unbind_bo_unref(wrapped);
    gpu_close(&gpu);
}
