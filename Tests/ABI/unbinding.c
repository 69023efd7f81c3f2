/* SPDX-License-Identifier: MIT */
/* The promise: unbinding allocates nothing and waits for nothing; a bind waits for what it overlaps. */
#include "support.h"

TEST(gives_every_byte_back, "every byte from the allocator hooks comes back, at its size") {
    const uint32_t executors[] = {UNBIND_EXECUTOR_POOL, UNBIND_EXECUTOR_MANUAL, UNBIND_EXECUTOR_SIMULATED};
    for (int kind = 0; kind < 3; kind++) {
        struct gpu gpu;
        gpu_open(&gpu, executors[kind]);
        unbind_queue *queue = make_queue(&gpu);
        for (unsigned i = 0; i < 40; i++) {
            unbind_fence *fence = NULL;
            unbind_vma *vma = bind_new(&gpu, (1 + i % 5) * PAGE, UNBIND_ADDRESS_NONE);
            struct unbind_command fill = command_fill(unbind_vma_address(vma), PAGE, i);
            REQUIRE(submit(queue, &fill, 1, vma, NULL, NULL) == 0);
            CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, i % 2 ? &fence : NULL), 0);
            unbind_fence_unref(fence);
            unbind_vma_unref(vma);
        }
        /* Nothing is allocated or given back between the two looks. */
        CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
        CHECK_EQUAL(device_stats(gpu.device).bytes_allocated, gpu.hooks.bytes);
        CHECK_EQUAL(device_stats(gpu.device).allocations, gpu.hooks.calls);
        unbind_queue_unref(queue);
        gpu_close(&gpu);
    }
}

/* The heart of the library, under one executor. */
static void unbind_never_waits(uint32_t executor, uint32_t device_flags) {
    struct gpu gpu;
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(&gpu, executor, &allocator);
    unbind_fence *unbound = NULL, *overlapping = NULL, *unrelated = NULL;
    options.flags = device_flags;
    REQUIRE(unbind_device_open_software(&options, &gpu.device) == 0);
    REQUIRE(unbind_vm_create(gpu.device, NULL, &gpu.vm) == 0);
    unbind_vma *vma = bind_new(&gpu, 4 * PAGE, 0x100000);
    unbind_fence *user = make_fence(&gpu);
    REQUIRE(unbind_vma_add_user(vma, user) == 0);
    REQUIRE(unbind_device_wait_idle(gpu.device, FOREVER, 0) == 0);

    struct unbind_device_stats before = device_stats(gpu.device);
    uint64_t calls = gpu.hooks.calls;
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &unbound), 0);
    CHECK_EQUAL(gpu.hooks.calls, calls);
    CHECK_EQUAL(device_stats(gpu.device).allocations, before.allocations);
    CHECK_EQUAL(device_stats(gpu.device).slab_allocations, before.slab_allocations);
    CHECK_EQUAL(unbind_vma_state(vma), UNBIND_VMA_UNBOUND);
    CHECK_EQUAL(unbind_fence_is_signaled(unbound), 0);
    CHECK_EQUAL(vm_stats(gpu.vm).pending, 1);

    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *over = make_vma(&gpu, bo, 0x103000), *beside = make_vma(&gpu, bo, 0x104000);
    CHECK_EQUAL(unbind_vma_bind_async(over, 0, &overlapping), 0);
    CHECK_EQUAL(unbind_vma_state(over), UNBIND_VMA_BINDING);
    CHECK_EQUAL(unbind_vma_bind_async(beside, 0, &unrelated), 0);
    CHECK_EQUAL(unbind_fence_wait(unrelated, FOREVER, 0), 0);
    CHECK_EQUAL(unbind_vma_state(beside), UNBIND_VMA_BOUND);
    CHECK_EQUAL(unbind_fence_is_signaled(overlapping), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(unbound), 0);
    struct unbind_vm_stats stats = vm_stats(gpu.vm);
    CHECK(stats.awaited == 1 && stats.awaited_not_overlapping == 0 && stats.binds_waited == 1);

    CHECK_EQUAL(unbind_fence_signal(user, 0), 0);
    CHECK_EQUAL(finish(overlapping), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(unbound), 1);
    CHECK_EQUAL(unbind_vma_state(over), UNBIND_VMA_BOUND);
    CHECK_EQUAL(finish(unbound), 0);
    CHECK_EQUAL(finish(unrelated), 0);
    stats = vm_stats(gpu.vm);
    CHECK(stats.pending == 0 && stats.pending_peak == 1 && stats.unbinds_deferred == 1);
    unbind_fence_unref(user);
    unbind_vma_unref(vma);
    unbind_vma_unref(over);
    unbind_vma_unref(beside);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(never_waits_pool, "an asynchronous unbind returns with a fence that never signals and allocates nothing: pool") {
    unbind_never_waits(UNBIND_EXECUTOR_POOL, 0);
}

TEST(never_waits_manual, "an asynchronous unbind returns with a fence that never signals and allocates nothing: manual") {
    unbind_never_waits(UNBIND_EXECUTOR_MANUAL, 0);
}

TEST(never_waits_simulated, "an asynchronous unbind returns with a fence that never signals and allocates nothing: simulated") {
    unbind_never_waits(UNBIND_EXECUTOR_SIMULATED, 0);
}

TEST(never_waits_no_slabs, "an asynchronous unbind allocates nothing also when there are no slabs to take from") {
    unbind_never_waits(UNBIND_EXECUTOR_MANUAL, UNBIND_DEVICE_NO_SLABS);
}

TEST(immediate, "with nothing to wait for an unbind is done within the call and allocates nothing") {
    struct gpu gpu;
    struct unbind_page page = UNBIND_PAGE_INIT;
    unbind_fence *fence = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x100000);
    CHECK_EQUAL(unbind_vm_find_page(gpu.vm, 0, &page), 0);
    CHECK(page.address == 0x100000 && page.size == PAGE && page.bo_offset == 0);
    uint64_t calls = gpu.hooks.calls, slabs = device_stats(gpu.device).slab_allocations;
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &fence), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(fence), 1);
    CHECK_EQUAL(gpu.hooks.calls, calls);
    CHECK_EQUAL(device_stats(gpu.device).slab_allocations, slabs);
    CHECK_EQUAL(unbind_vm_find_page(gpu.vm, 0, &page), -ENOENT);
    CHECK_EQUAL(vm_stats(gpu.vm).unbinds_immediate, 1);
    CHECK_EQUAL(finish(fence), 0);
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &fence), 0); /* unbound already */
    CHECK_EQUAL(unbind_fence_is_signaled(fence), 1);
    unbind_fence_unref(fence);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}

TEST(rebinds, "a VMA lives on over many binds and unbinds, and binding twice changes nothing") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_vma *vma = bind_new(&gpu, 3 * PAGE, 0x5000);
    CHECK_EQUAL(unbind_vma_address(vma), 0x5000);
    CHECK_EQUAL(unbind_vma_size(vma), 3 * PAGE);
    for (int i = 0; i < 100; i++) {
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        CHECK_EQUAL(i % 2 ? unbind_vma_unbind(vma, 0) : unbind_vma_unbind_async(vma, 0, NULL), 0);
        CHECK_EQUAL(unbind_vma_state(vma), UNBIND_VMA_UNBOUND);
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    }
    CHECK_EQUAL(vm_stats(gpu.vm).binds, 101);
    unbind_vma_unref(vma);
    CHECK_EQUAL(vm_stats(gpu.vm).bound, 0);
    gpu_close(&gpu);
}

TEST(sync_unbind_waits, "a synchronous unbind waits for the GPU work attached to the VMA") {
    struct gpu gpu;
    unbind_fence *job = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_queue *queue = make_queue(&gpu);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x5000);
    struct unbind_command commands[2] = {command_delay(5000000), command_store(0x5008, 7)};
    REQUIRE(submit(queue, commands, 2, vma, NULL, &job) == 0);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(job), 1);
    CHECK_EQUAL(finish(job), 0);
    unbind_vma_unref(vma);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

static unsigned released;
static void count_release(void *user_data, void *memory) {
    CHECK(user_data == (void *)&released && memory != NULL);
    __atomic_add_fetch(&released, 1, __ATOMIC_RELEASE);
}

TEST(wrapped, "wrapped memory is the caller's own and is released when the last pending unbind has gone") {
    struct gpu gpu;
    void *memory = NULL;
    unbind_bo *bo = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    REQUIRE(posix_memalign(&memory, 4096, 2 * 4096) == 0);
    memset(memory, 0, 2 * 4096);
    REQUIRE(unbind_bo_wrap(gpu.device, memory, 2 * PAGE, count_release, &released, &bo) == 0);
    CHECK(unbind_bo_cpu_pointer(bo) == memory);
    CHECK_EQUAL(unbind_bo_size(bo), 2 * PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, 0x5000);
    unbind_fence *user = make_fence(&gpu), *job = NULL;
    unbind_queue *queue = make_queue(&gpu);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    struct unbind_command store = command_store(0x6000, UINT64_C(0x123456789abcdef0));
    REQUIRE(submit(queue, &store, 1, vma, NULL, &job) == 0);
    CHECK_EQUAL(finish(job), 0);
    CHECK(*(uint64_t *)((char *)memory + 4096) == UINT64_C(0x123456789abcdef0));
    REQUIRE(unbind_vma_add_user(vma, user) == 0);
    unbind_bo_unref(bo);
    unbind_vma_unref(vma); /* unbinds */
    CHECK_EQUAL(released, 0);
    signal_and_drop(user);
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    CHECK_EQUAL(released, 1);
    free(memory);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

TEST(bo_wait, "waiting for a buffer waits for its jobs, its users and its pending unbinds") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, 0x5000);
    CHECK_EQUAL(unbind_bo_wait(bo, 0, 0), 0);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    unbind_fence *user = make_fence(&gpu);
    REQUIRE(unbind_vma_add_user(vma, user) == 0);
    CHECK_EQUAL(unbind_bo_wait(bo, 0, 0), -ETIME);
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, NULL), 0);
    CHECK_EQUAL(unbind_bo_wait(bo, 1000000, 0), -ETIME);
    signal_and_drop(user);
    CHECK_EQUAL(unbind_bo_wait(bo, FOREVER, 0), 0);
    CHECK_EQUAL(vm_stats(gpu.vm).pending, 0);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(placement, "automatic placement aligns, and HIGH places from the top down") {
    struct gpu gpu;
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    unbind_vma *low = NULL, *high = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, 2 * MIB);
    options.alignment = 16 * MIB;
    REQUIRE(unbind_vma_create(gpu.vm, bo, &options, &low) == 0);
    options.flags = UNBIND_VMA_HIGH;
    REQUIRE(unbind_vma_create(gpu.vm, bo, &options, &high) == 0);
    CHECK_EQUAL(unbind_vma_address(low), UNBIND_ADDRESS_NONE);
    CHECK_EQUAL(unbind_vma_bind(low, 0), 0);
    CHECK_EQUAL(unbind_vma_bind(high, 0), 0);
    CHECK_EQUAL(unbind_vma_address(low) % (16 * MIB), 0);
    CHECK_EQUAL(unbind_vma_address(high) % (16 * MIB), 0);
    CHECK(unbind_vma_address(high) >= (UINT64_C(1) << 47));
    struct unbind_page page = UNBIND_PAGE_INIT;
    CHECK_EQUAL(unbind_vm_find_page(gpu.vm, unbind_vma_address(high), &page), 0);
    CHECK(page.size == UNBIND_PAGE_SIZE_2M && page.bo_id == unbind_bo_id(bo) && (page.flags & UNBIND_PAGE_WRITABLE));
    unbind_vma_unref(low);
    unbind_vma_unref(high);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(many_users, "users that have ended are let go, however many others are still at work") {
    enum { LASTING = 100, ROUNDS = 100 };
    struct gpu gpu;
    unbind_fence *lasting[LASTING], *done = NULL;
    uint64_t bytes = 0;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, 0x10000);
    unbind_bo_unref(bo);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    for (unsigned i = 0; i < LASTING; i++) {
        lasting[i] = make_fence(&gpu);
        REQUIRE(unbind_vma_add_user(vma, lasting[i]) == 0);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < 100; i++) {
            unbind_fence *user = make_fence(&gpu);
            REQUIRE(unbind_vma_add_user(vma, user) == 0);
            signal_and_drop(user);
        }
        /* From the first rounds on it takes no more memory. */
        if (round == 10) bytes = device_stats(gpu.device).bytes_allocated;
    }
    CHECK(device_stats(gpu.device).bytes_allocated <= bytes);
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &done), 0);
    for (unsigned i = 0; i < LASTING; i++) {
        CHECK_EQUAL(unbind_fence_is_signaled(done), 0);
        signal_and_drop(lasting[i]);
    }
    CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), 0);
    CHECK_EQUAL(finish(done), 0);
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}

/* What a bind meets: one of its allocations takes until the unbind that it awaits has ended, on another thread. */
static struct {
    unbind_fence *user;
    uint64_t calls, slow_call;
    bool is_slow, has_ended;
} meanwhile;
static __thread bool is_binding;

static void *slow_allocate(void *user_data, size_t size, size_t alignment) {
    if (is_binding && ++meanwhile.calls == meanwhile.slow_call) {
        __atomic_store_n(&meanwhile.is_slow, true, __ATOMIC_RELEASE);
        for (unsigned i = 0; i < 2000 && !__atomic_load_n(&meanwhile.has_ended, __ATOMIC_ACQUIRE); i++) sleep_ms(1);
        sleep_ms(2); /* for what the worker does after that */
    }
    return hooks_allocate(user_data, size, alignment);
}

static void note_end(void *user_data, void *memory) {
    (void)user_data;
    (void)memory;
    __atomic_store_n(&meanwhile.has_ended, true, __ATOMIC_RELEASE);
}

static void *end_user(void *nothing) {
    while (!__atomic_load_n(&meanwhile.is_slow, __ATOMIC_ACQUIRE)) sleep_ms(1);
    signal_and_drop(meanwhile.user);
    return nothing;
}

TEST(ends_meanwhile, "P15: an unbind that ends while a bind over it is at work is awaited as it was, whoever has its memory") {
    static char page[4096] __attribute__((aligned(4096)));
    for (uint64_t call = 1; call == 1 || meanwhile.calls >= meanwhile.slow_call; call++) {
        struct gpu gpu;
        struct unbind_allocator allocator;
        struct unbind_device_options options = gpu_options(&gpu, UNBIND_EXECUTOR_POOL, &allocator);
        struct unbind_page found = UNBIND_PAGE_INIT;
        unbind_bo *old_bo = NULL;
        unbind_fence *bind = NULL;
        pthread_t thread;
        memset(&meanwhile, 0, sizeof meanwhile);
        meanwhile.slow_call = call;
        allocator.allocate = slow_allocate;
        options.flags = UNBIND_DEVICE_NO_SLABS; /* what is freed is overwritten */
        REQUIRE(unbind_device_open_software(&options, &gpu.device) == 0);
        REQUIRE(unbind_vm_create(gpu.device, NULL, &gpu.vm) == 0);
        REQUIRE(unbind_bo_wrap(gpu.device, page, PAGE, note_end, NULL, &old_bo) == 0);
        unbind_bo *bo = make_bo(&gpu, PAGE);
        unbind_vma *old = make_vma(&gpu, old_bo, 0x5000), *over = make_vma(&gpu, bo, 0x5000);
        unbind_bo_unref(old_bo);
        REQUIRE(unbind_vma_bind(old, 0) == 0);
        meanwhile.user = make_fence(&gpu);
        REQUIRE(unbind_vma_add_user(old, meanwhile.user) == 0);
        /* Nobody but the address space knows the unbind: neither a fence nor the buffer's reservation. */
        REQUIRE(unbind_vma_unbind_async(old, 0, NULL) == 0);
        unbind_vma_unref(old);
        REQUIRE(pthread_create(&thread, NULL, end_user, NULL) == 0);
        is_binding = true;
        CHECK_EQUAL(unbind_vma_bind_async(over, 0, &bind), 0);
        is_binding = false;
        __atomic_store_n(&meanwhile.is_slow, true, __ATOMIC_RELEASE);
        pthread_join(thread, NULL);
        CHECK_EQUAL(finish(bind), 0);
        CHECK_EQUAL(unbind_vm_find_page(gpu.vm, 0x5000, &found), 0);
        CHECK_EQUAL(found.bo_id, unbind_bo_id(bo));
        unbind_vma_unref(over);
        unbind_bo_unref(bo);
        gpu_close(&gpu);
    }
    CHECK(meanwhile.slow_call > 4);
}

static bool is_over;

static unbind_vma *cycled;

static void *cycles(void *gpu) {
    while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
        unbind_fence *user = make_fence((struct gpu *)gpu);
        REQUIRE(unbind_vma_bind(cycled, 0) == 0);
        REQUIRE(unbind_vma_add_user(cycled, user) == 0);
        REQUIRE(unbind_vma_unbind_async(cycled, 0, NULL) == 0);
        signal_and_drop(user);
    }
    return NULL;
}

TEST(counted_together, "the statistics never tell of fewer pending unbinds than there are, whatever else begins and ends") {
    enum { PENDING = 4 };
    struct gpu gpu;
    pthread_t thread;
    unbind_fence *user;
    unsigned looks = getenv("UNDER_VALGRIND") ? 20000 : 20000000, too_few = 0;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    user = make_fence(&gpu);
    for (unsigned i = 0; i < PENDING; i++) {
        unbind_vma *vma = bind_new(&gpu, PAGE, 0x10000 + i * PAGE);
        REQUIRE(unbind_vma_add_user(vma, user) == 0);
        REQUIRE(unbind_vma_unbind_async(vma, 0, NULL) == 0);
        unbind_vma_unref(vma);
    }
    cycled = bind_new(&gpu, PAGE, 0x20000);
    REQUIRE(pthread_create(&thread, NULL, cycles, &gpu) == 0);
    for (unsigned i = 0; i < looks; i++) {
        struct unbind_vm_stats stats = vm_stats(gpu.vm);
        too_few += stats.pending < PENDING || stats.unbinds_completed + PENDING > stats.unbinds;
    }
    __atomic_store_n(&is_over, true, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    CHECK_EQUAL(too_few, 0);
    signal_and_drop(user);
    unbind_vma_unref(cycled);
    gpu_close(&gpu);
}

TEST(small_between_large, "large and small binds in turns over a stalled range take memory for what is new, not for all there is") {
    enum { PAGES = 16, ROUNDS = 1000 };
    struct gpu gpu;
    unbind_vma *small[PAGES];
    unbind_fence *last = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, PAGES * PAGE);
    unbind_vma *large = make_vma(&gpu, bo, 0x100000);
    unbind_bo_unref(bo);
    for (unsigned i = 0; i < PAGES; i++) {
        bo = make_bo(&gpu, PAGE);
        small[i] = make_vma(&gpu, bo, 0x100000 + i * PAGE);
        unbind_bo_unref(bo);
    }
    unbind_fence *user = make_fence(&gpu);
    uint64_t before = device_stats(gpu.device).bytes_allocated;
    for (unsigned i = 0; i < ROUNDS; i++) {
        unbind_vma *vmas[2] = {large, small[i % PAGES]};
        for (unsigned k = 0; k < 2; k++) {
            REQUIRE(unbind_vma_bind_async(vmas[k], 0, NULL) == 0);
            REQUIRE(unbind_vma_add_user(vmas[k], user) == 0);
            REQUIRE(unbind_vma_unbind_async(vmas[k], 0, i + 1 == ROUNDS && k == 1 ? &last : NULL) == 0);
        }
    }
    CHECK_EQUAL(vm_stats(gpu.vm).pending, 2 * ROUNDS);
    CHECK(device_stats(gpu.device).bytes_allocated - before < 2 * ROUNDS * 1024);
    CHECK_EQUAL(unbind_fence_is_signaled(last), 0);
    signal_and_drop(user);
    CHECK_EQUAL(finish(last), 0);
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    CHECK_EQUAL(vm_stats(gpu.vm).pending, 0);
    for (unsigned i = 0; i < PAGES; i++) unbind_vma_unref(small[i]);
    unbind_vma_unref(large);
    gpu_close(&gpu);
}

TEST(counted_first, "whoever has seen an unbind's fence signal finds it among the completed, however many end together") {
    enum { COUNT = 64 };
    unbind_fence *unbinds[COUNT];
    uint64_t ended = 0;
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    for (int round = 0; round < 300; round++) {
        unbind_fence *user = make_fence(&gpu);
        for (int i = 0; i < COUNT; i++) {
            unbind_vma *vma = bind_new(&gpu, PAGE, 0x100000 + (uint64_t)i * 0x10000);
            REQUIRE(unbind_vma_add_user(vma, user) == 0);
            REQUIRE(unbind_vma_unbind_async(vma, 0, &unbinds[i]) == 0);
            unbind_vma_unref(vma);
        }
        signal_and_drop(user);
        for (int i = 0; i < COUNT; i++) {
            for (int looks = 0; !unbind_fence_is_signaled(unbinds[i]); looks++)
                if (looks > 1000) sched_yield();
            ended++;
            CHECK(vm_stats(gpu.vm).unbinds_completed >= ended);
            unbind_fence_unref(unbinds[i]);
        }
        CHECK_EQUAL(vm_stats(gpu.vm).pending, 0);
    }
    gpu_close(&gpu);
}
