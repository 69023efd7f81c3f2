/* SPDX-License-Identifier: MIT */
/*
 * Page tables and TLBs: what disjoint ranges have to do with each other where a
 * table has one page size, and translations that must never be used when stale.
 */
#include "support.h"
#include <sched.h>
#include <sys/mman.h>

static void open_flags(struct gpu *gpu, uint32_t executor, uint32_t vm_flags, uint64_t tlb_flush_ns) {
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(gpu, executor, &allocator);
    struct unbind_cost_model costs = UNBIND_COST_MODEL_INIT;
    struct unbind_vm_options vm_options = UNBIND_VM_OPTIONS_INIT;
    costs.tlb_flush_ns = tlb_flush_ns;
    options.cost_model = &costs;
    vm_options.flags = vm_flags;
    REQUIRE(unbind_device_open_software(&options, &gpu->device) == 0);
    REQUIRE(unbind_vm_create(gpu->device, &vm_options, &gpu->vm) == 0);
}

static uint64_t page_size_at(unbind_vm *vm, uint64_t address) {
    struct unbind_page page = UNBIND_PAGE_INIT;
    int status = unbind_vm_find_page(vm, address, &page);
    return status == 0 && page.address <= address ? page.size : 0;
}

/* Old at 0x3000, one page; new at 0x10000, 64 KiB; or the other way round. */
static void hazard(uint32_t executor, uint32_t vm_flags, bool reverse) {
    struct gpu gpu;
    unbind_fence *job = NULL, *done = NULL, *bind = NULL;
    bool waits = vm_flags & UNBIND_VM_IPS;
    open_flags(&gpu, executor, vm_flags, 0);
    unbind_queue *queue = make_queue(&gpu);
    uint64_t old_at = reverse ? 0x10000 : 0x3000, new_at = reverse ? 0x3000 : 0x10000;
    unbind_vma *old = bind_new(&gpu, reverse ? 0x10000 : PAGE, old_at);
    unbind_bo *bo = make_bo(&gpu, reverse ? PAGE : 0x10000);
    unbind_vma *over = make_vma(&gpu, bo, new_at);
    unbind_fence *gate = make_fence(&gpu);
    struct unbind_command commands[2] = {command_wait(gate), command_store(old_at + 16, 5)};
    REQUIRE(submit(queue, commands, 2, old, NULL, &job) == 0);
    CHECK_EQUAL(unbind_vma_unbind_async(old, 0, &done), 0);
    CHECK_EQUAL(unbind_vma_bind_async(over, 0, &bind), 0);
    CHECK_EQUAL(unbind_fence_wait(bind, 0, 0), waits ? -ETIME : 0);
    CHECK_EQUAL(unbind_fence_is_signaled(done), 0);
    signal_and_drop(gate);
    CHECK_EQUAL(finish(job), 0);
    CHECK_EQUAL(finish(done), 0);
    CHECK_EQUAL(finish(bind), 0);
    CHECK_EQUAL(page_size_at(gpu.vm, new_at), reverse ? PAGE : 0x10000);
    CHECK_EQUAL(vm_stats(gpu.vm).awaited, waits);
    CHECK_EQUAL(gpu.faults, 0);
    unbind_queue_unref(queue);
    unbind_vma_unref(old);
    unbind_vma_unref(over);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(table_modes, "P9: a bind that changes a page table's mode waits for unbinds elsewhere in it, in both orders") {
    for (uint32_t executor = 0; executor < 3; executor++) {
        hazard(executor, UNBIND_VM_IPS, false);
        hazard(executor, UNBIND_VM_IPS, true);
    }
}

TEST(no_table_modes, "P9: where both page sizes mix in a table, a bind waits for no unbind of other addresses") {
    for (uint32_t executor = 0; executor < 3; executor++) {
        hazard(executor, 0, false);
        hazard(executor, 0, true);
    }
}

TEST(table_modes_change, "M11: a table is broken down to 4 KiB pages and built up again with what is bound in it") {
    struct gpu gpu;
    open_flags(&gpu, UNBIND_EXECUTOR_SIMULATED, UNBIND_VM_IPS, 0);
    unbind_vma *medium = bind_new(&gpu, 0x20000, 0x100000);
    CHECK_EQUAL(page_size_at(gpu.vm, 0x110000), 0x10000);
    unbind_vma *small = bind_new(&gpu, PAGE, 0x5000);
    CHECK_EQUAL(page_size_at(gpu.vm, 0x110000), PAGE);
    CHECK_EQUAL(page_size_at(gpu.vm, 0x5000), PAGE);
    CHECK_EQUAL(unbind_vma_unbind(small, 0), 0);
    unbind_vma *other = bind_new(&gpu, 0x10000, 0x40000);
    CHECK_EQUAL(page_size_at(gpu.vm, 0x110000), 0x10000);
    unbind_vma_unref(medium);
    unbind_vma_unref(small);
    unbind_vma_unref(other);
    gpu_close(&gpu);
}

/* Guards reach into the table from both sides; what they belong to does not. */
TEST(table_modes_guards, "P9: guards of bindings in other tables neither keep 64 KiB pages out nor make a bind wait") {
    static const uint64_t neighbours[] = {0x1fd000, 0x401000};
    struct gpu gpu;
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    unbind_fence *done = NULL, *bind = NULL;
    unbind_vma *guarded[2];
    open_flags(&gpu, UNBIND_EXECUTOR_SIMULATED, UNBIND_VM_IPS, 0);
    unbind_queue *queue = make_queue(&gpu);
    unbind_vma *old = bind_new(&gpu, 0x10000, 0x300000);
    unbind_bo *small = make_bo(&gpu, PAGE), *large = make_bo(&gpu, 0x10000);
    options.flags = UNBIND_VMA_FIXED;
    options.guard = 0x4000;
    for (int i = 0; i < 2; i++) {
        options.address = neighbours[i];
        REQUIRE(unbind_vma_create(gpu.vm, small, &options, &guarded[i]) == 0);
        REQUIRE(unbind_vma_bind(guarded[i], 0) == 0);
    }
    unbind_fence *gate = make_fence(&gpu);
    struct unbind_command wait = command_wait(gate);
    REQUIRE(submit(queue, &wait, 1, old, NULL, NULL) == 0);
    CHECK_EQUAL(unbind_vma_unbind_async(old, 0, &done), 0);
    unbind_vma *other = make_vma(&gpu, large, 0x380000);
    CHECK_EQUAL(unbind_vma_bind_async(other, 0, &bind), 0);
    CHECK_EQUAL(unbind_fence_wait(bind, 0, 0), 0);
    CHECK_EQUAL(page_size_at(gpu.vm, 0x380000), 0x10000);
    CHECK_EQUAL(unbind_fence_is_signaled(done), 0);
    CHECK_EQUAL(vm_stats(gpu.vm).awaited, 0);
    signal_and_drop(gate);
    CHECK_EQUAL(finish(done), 0);
    CHECK_EQUAL(finish(bind), 0);
    unbind_queue_unref(queue);
    unbind_vma_unref(old);
    unbind_vma_unref(other);
    for (int i = 0; i < 2; i++) unbind_vma_unref(guarded[i]);
    unbind_bo_unref(small);
    unbind_bo_unref(large);
    gpu_close(&gpu);
}

/* The page that is kept free between colors is not in a table whose mode may change. */
TEST(table_modes_colors, "P9, P12: a VMA that moves into the next table does not wait for its own unbind in the last") {
    struct gpu gpu;
    struct unbind_pin_options pin = UNBIND_PIN_OPTIONS_INIT;
    unbind_fence *bind = NULL;
    open_flags(&gpu, UNBIND_EXECUTOR_SIMULATED, UNBIND_VM_IPS | UNBIND_VM_CACHE_COLORING, 0);
    unbind_queue *queue = make_queue(&gpu);
    unbind_bo *bo = make_bo(&gpu, 0x10000);
    unbind_vma *vma = NULL;
    REQUIRE(unbind_vma_create(gpu.vm, bo, NULL, &vma) == 0);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    CHECK(unbind_vma_address(vma) < 0x200000);
    unbind_fence *gate = make_fence(&gpu);
    struct unbind_command wait = command_wait(gate);
    REQUIRE(submit(queue, &wait, 1, vma, NULL, NULL) == 0);
    pin.flags = UNBIND_PIN_ASYNC | UNBIND_PIN_LOW | UNBIND_PIN_BIAS;
    pin.address = 0x200000;
    pin.out_fence = &bind;
    CHECK_EQUAL(unbind_vma_pin(vma, &pin), 0);
    CHECK_EQUAL(unbind_vma_address(vma), 0x200000);
    CHECK_EQUAL(unbind_fence_wait(bind, 0, 0), 0);
    CHECK_EQUAL(vm_stats(gpu.vm).pending, 1);
    CHECK_EQUAL(vm_stats(gpu.vm).awaited, 0);
    signal_and_drop(gate);
    CHECK_EQUAL(finish(bind), 0);
    CHECK_EQUAL(unbind_vma_unpin(vma), 0);
    unbind_queue_unref(queue);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

/* MARK: translations */

/* Between the new entries and the invalidation the TLB has the old ones, which lead to the same memory. */
TEST(upgrade_while_read, "a job that reads what is made writable meanwhile sees the same memory, and does not fault") {
    struct gpu gpu;
    uint64_t first = 1, second = 2;
    unbind_fence *job = NULL, *upgraded = NULL;
    open_flags(&gpu, UNBIND_EXECUTOR_SIMULATED, 0, 1000000);
    unbind_queue *queue = make_queue(&gpu);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, 0x10000);
    REQUIRE(unbind_vma_bind(vma, UNBIND_BIND_READ_ONLY) == 0);
    struct unbind_command commands[3] = {
        command_load(0x10000, &first), command_delay(500000), command_load(0x10008, &second)};
    REQUIRE(submit(queue, commands, 3, vma, NULL, &job) == 0);
    REQUIRE(unbind_device_run_until(gpu.device, unbind_device_now(gpu.device) + 1000) == 0);
    CHECK_EQUAL(first, 0);
    CHECK_EQUAL(second, 2);
    CHECK_EQUAL(unbind_vma_bind_async(vma, 0, &upgraded), 0);
    CHECK_EQUAL(unbind_fence_wait(job, FOREVER, 0), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(upgraded), 0);
    CHECK_EQUAL(finish(job), 0);
    CHECK_EQUAL(second, 0);
    CHECK_EQUAL(finish(upgraded), 0);
    struct unbind_command store = command_store(0x10000, 7);
    REQUIRE(submit(queue, &store, 1, vma, NULL, &job) == 0);
    CHECK_EQUAL(finish(job), 0);
    CHECK_EQUAL(gpu.faults, 0);
    unbind_queue_unref(queue);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

static unsigned next_random(unsigned *state) {
    *state = *state * 1103515245u + 12345u;
    return *state >> 8;
}

TEST(cs_tlb, "selftest 30b: a range bound to a dummy page, then to one that counts, is never used as it was before") {
    enum { CHUNKS = 24, SLOTS = 8, ROUNDS = 200 };
    for (uint32_t executor = 0; executor < 3; executor++) {
        struct gpu gpu;
        unsigned state = 7;
        open_flags(&gpu, executor, 0, executor == UNBIND_EXECUTOR_SIMULATED ? 2000 : 0);
        unbind_queue *queue = make_queue(&gpu);
        unbind_bo *dummy = make_bo(&gpu, PAGE), *slots = make_bo(&gpu, PAGE);
        uint64_t *written = (uint64_t *)unbind_bo_cpu_pointer(slots);
        for (unsigned round = 0; round < ROUNDS; round++) {
            unsigned chunk = next_random(&state) % CHUNKS, slot = next_random(&state) % SLOTS;
            uint64_t at = 0x100000 + chunk * PAGE;
            unbind_vma *first = make_vma(&gpu, dummy, at), *second = make_vma(&gpu, slots, at);
            struct unbind_command warm = command_store(at, 1), count = command_store(at + slot * 8, round + 1);
            unbind_fence *jobs[2] = {NULL, NULL};
            CHECK_EQUAL(unbind_vma_bind_async(first, 0, NULL), 0);
            REQUIRE(submit(queue, &warm, 1, first, NULL, &jobs[0]) == 0);
            CHECK_EQUAL(unbind_vma_unbind_async(first, 0, NULL), 0);
            CHECK_EQUAL(unbind_vma_bind_async(second, 0, NULL), 0);
            REQUIRE(submit(queue, &count, 1, second, NULL, &jobs[1]) == 0);
            CHECK_EQUAL(unbind_vma_unbind_async(second, 0, NULL), 0);
            CHECK_EQUAL(finish(jobs[0]), 0);
            CHECK_EQUAL(finish(jobs[1]), 0);
            CHECK_EQUAL(written[slot], round + 1);
            unbind_vma_unref(first);
            unbind_vma_unref(second);
        }
        CHECK_EQUAL(gpu.faults, 0);
        CHECK(device_stats(gpu.device).tlb_invalidations > 0);
        unbind_queue_unref(queue);
        unbind_bo_unref(dummy);
        unbind_bo_unref(slots);
        gpu_close(&gpu);
    }
}

static void shuffle(unsigned *order, unsigned count, unsigned *state) {
    for (unsigned i = 0; i < count; i++) order[i] = i;
    for (unsigned i = count - 1; i > 0; i--) {
        unsigned other = next_random(state) % (i + 1), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
}

TEST(ggtt_page, "selftest 30b: words written through one-page windows in one order are read in another") {
    enum { WINDOWS = 48 };
    for (uint32_t executor = 0; executor < 3; executor++) {
        struct gpu gpu;
        unsigned state = 3, order[WINDOWS];
        uint64_t seen[WINDOWS];
        unbind_vma *windows[WINDOWS];
        unbind_fence *fence = NULL;
        open_flags(&gpu, executor, UNBIND_VM_GLOBAL, 0);
        unbind_queue *queue = make_queue(&gpu);
        unbind_bo *bo = make_bo(&gpu, PAGE);
        for (unsigned i = 0; i < WINDOWS; i++) windows[i] = make_vma(&gpu, bo, 0x10000 + i * 2 * PAGE);
        shuffle(order, WINDOWS, &state);
        for (unsigned i = 0; i < WINDOWS; i++) {
            unsigned slot = order[i];
            struct unbind_command store = command_store(0x10000 + slot * 2 * PAGE + slot * 8, slot * 31 + 7);
            REQUIRE(unbind_vma_bind(windows[slot], 0) == 0);
            REQUIRE(submit(queue, &store, 1, windows[slot], NULL, NULL) == 0);
            CHECK_EQUAL(unbind_vma_unbind_async(windows[slot], 0, NULL), 0);
        }
        shuffle(order, WINDOWS, &state);
        for (unsigned i = 0; i < WINDOWS; i++) {
            unsigned window = order[i], slot = order[WINDOWS - 1 - i];
            struct unbind_command load = command_load(0x10000 + window * 2 * PAGE + slot * 8, &seen[slot]);
            REQUIRE(unbind_vma_bind(windows[window], 0) == 0);
            REQUIRE(submit(queue, &load, 1, windows[window], NULL, &fence) == 0);
            CHECK_EQUAL(unbind_vma_unbind_async(windows[window], 0, NULL), 0);
            CHECK_EQUAL(finish(fence), 0);
            CHECK_EQUAL(seen[slot], slot * 31 + 7);
        }
        CHECK_EQUAL(gpu.faults, 0);
        for (unsigned i = 0; i < WINDOWS; i++) unbind_vma_unref(windows[i]);
        unbind_queue_unref(queue);
        unbind_bo_unref(bo);
        gpu_close(&gpu);
    }
}

TEST(tlb_counted, "P8: what engines have used is invalidated when it is unbound, and the counter rises: once a batch") {
    struct gpu gpu;
    unbind_vma *vmas[16];
    unbind_fence *fences[16];
    open_flags(&gpu, UNBIND_EXECUTOR_SIMULATED, 0, 500);
    unbind_queue *queue = make_queue(&gpu);
    unbind_fence *gate = make_fence(&gpu);
    for (unsigned i = 0; i < 16; i++) {
        struct unbind_command commands[2] = {command_store(i * PAGE, i), command_wait(gate)};
        vmas[i] = bind_new(&gpu, PAGE, i * PAGE);
        REQUIRE(submit(queue, commands, 2, vmas[i], NULL, NULL) == 0);
    }
    for (unsigned i = 0; i < 16; i++) CHECK_EQUAL(unbind_vma_unbind_async(vmas[i], 0, &fences[i]), 0);
    uint64_t before = device_stats(gpu.device).tlb_invalidations;
    uint64_t batches = vm_stats(gpu.vm).unbind_batches;
    signal_and_drop(gate);
    for (unsigned i = 0; i < 16; i++) CHECK_EQUAL(finish(fences[i]), 0);
    uint64_t invalidations = device_stats(gpu.device).tlb_invalidations - before;
    CHECK(invalidations > 0 && invalidations <= 16);
    CHECK_EQUAL(invalidations, vm_stats(gpu.vm).unbind_batches - batches);
    for (unsigned i = 0; i < 16; i++) unbind_vma_unref(vmas[i]);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

/* MARK: memory */

enum { PIECE = 0x30000 };

static void take_away(void *user_data, void *memory) {
    __atomic_add_fetch((unsigned *)user_data, 1, __ATOMIC_RELAXED);
    REQUIRE(munmap(memory, PIECE) == 0);
}

TEST(memory_goes, "P21: memory unmapped when it is released is not touched by jobs that go on using its address") {
    struct gpu gpu;
    unsigned released = 0, rounds = getenv("UNDER_VALGRIND") ? 20 : 300;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_queue *queues[2] = {make_queue(&gpu), make_queue(&gpu)};
    for (unsigned round = 0; round < rounds; round++) {
        unbind_fence *jobs[2] = {NULL, NULL};
        unbind_bo *bo = NULL;
        void *memory = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        struct unbind_command fill = command_fill(0x100000, PIECE, round);
        REQUIRE(memory != MAP_FAILED);
        REQUIRE(unbind_bo_wrap(gpu.device, memory, PIECE, take_away, &released, &bo) == 0);
        unbind_vma *vma = make_vma(&gpu, bo, 0x100000);
        REQUIRE(unbind_vma_bind(vma, 0) == 0);
        /* Neither lists the VMA: that is the program's bug, which the library has to survive. */
        for (unsigned i = 0; i < 2; i++) REQUIRE(submit(queues[i], &fill, 1, NULL, NULL, &jobs[i]) == 0);
        if (round % 3 == 0) sched_yield();
        CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, NULL), 0);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        for (unsigned i = 0; i < 2; i++) {
            int error = finish(jobs[i]);
            CHECK(error == 0 || error == -EFAULT);
        }
    }
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    CHECK_EQUAL(released, rounds);
    unbind_queue_unref(queues[0]);
    unbind_queue_unref(queues[1]);
    gpu_close(&gpu);
}
