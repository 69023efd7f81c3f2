/* SPDX-License-Identifier: MIT */
/* Pins: where they put a VMA, what they refuse, and what they keep others from doing. */
#include "placing.h"

#define TOTAL (UINT64_C(256) * PAGE)
#define MAPPABLE (UINT64_C(64) * PAGE)
#define LAST_PAGE (UINT64_MAX - PAGE + 1)

static struct unbind_vm_options table_vm(void) {
    struct unbind_vm_options options = small_vm(TOTAL / PAGE);
    options.mappable_size = MAPPABLE;
    return options;
}

/* SELFTEST 12: the modes of igt_vma_pin1. */
static const struct mode {
    uint64_t size;
    uint32_t flags;
    uint64_t address;
    int status;
} modes[] = {
    {0, 0, 0, 0},
    {0, UNBIND_PIN_MAPPABLE, 0, 0},
    {0, UNBIND_PIN_BIAS, 4096, 0},
    {0, UNBIND_PIN_BIAS, 8192, 0},
    {0, UNBIND_PIN_BIAS, MAPPABLE - PAGE, 0},
    {0, UNBIND_PIN_MAPPABLE | UNBIND_PIN_BIAS, MAPPABLE - PAGE, 0},
    {0, UNBIND_PIN_BIAS, TOTAL - PAGE, 0},
    {0, UNBIND_PIN_MAPPABLE | UNBIND_PIN_FIXED, MAPPABLE - PAGE, 0},
    {0, UNBIND_PIN_MAPPABLE | UNBIND_PIN_FIXED, MAPPABLE, -EINVAL},
    {0, UNBIND_PIN_FIXED, TOTAL - PAGE, 0},
    {0, UNBIND_PIN_FIXED, TOTAL, -EINVAL},
    {0, UNBIND_PIN_FIXED, LAST_PAGE, -EINVAL},
    {PAGE, 0, 0, 0},
    {2 * PAGE, 0, 0, 0},
    {MAPPABLE - PAGE, 0, 0, 0},
    {MAPPABLE, UNBIND_PIN_MAPPABLE, 0, 0},
    {MAPPABLE + PAGE, UNBIND_PIN_MAPPABLE, 0, -ENOSPC},
    {TOTAL - PAGE, 0, 0, 0},
    {TOTAL, 0, 0, 0},
    {TOTAL + PAGE, 0, 0, -ENOSPC},
    {LAST_PAGE, 0, 0, -ENOSPC},
    {2 * PAGE, UNBIND_PIN_MAPPABLE | UNBIND_PIN_FIXED, MAPPABLE - PAGE, -EINVAL},
    {2 * PAGE, UNBIND_PIN_FIXED, TOTAL - PAGE, -EINVAL},
    {2 * PAGE, UNBIND_PIN_FIXED, LAST_PAGE - PAGE, -EINVAL},
    {2 * PAGE, UNBIND_PIN_BIAS, MAPPABLE - PAGE, 0},
    {0, UNBIND_PIN_MAPPABLE | UNBIND_PIN_BIAS, MAPPABLE, -ENOSPC},
    {0, UNBIND_PIN_BIAS, MAPPABLE, 0},
    {0, UNBIND_PIN_BIAS, TOTAL, -ENOSPC},
    {0, UNBIND_PIN_LOW, 0, 0},
    {0, UNBIND_PIN_HIGH, 0, 0},
    {0, UNBIND_PIN_HIGH | UNBIND_PIN_MAPPABLE, 0, 0},
};

static void check_place(const struct mode *mode, const unbind_vma *vma) {
    uint64_t address = unbind_vma_address(vma), size = mode->size ? mode->size : PAGE;
    uint64_t end = mode->flags & UNBIND_PIN_MAPPABLE ? MAPPABLE : TOTAL;
    CHECK(address % PAGE == 0 && size <= end && address <= end - size);
    if (mode->flags & UNBIND_PIN_FIXED) CHECK(address == mode->address);
    if (mode->flags & UNBIND_PIN_BIAS) CHECK(address >= mode->address);
    if (mode->flags & UNBIND_PIN_HIGH) CHECK(address == end - size);
    if (mode->flags & UNBIND_PIN_LOW) CHECK(address == 0);
}

TEST(selftest_12, "selftest 12: pins by the table of valid, invalid and too large placements") {
    struct gpu gpu;
    struct unbind_vm_options options = table_vm();
    gpu_open_small(&gpu, UNBIND_EXECUTOR_MANUAL, &options);
    for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++) {
        unbind_vma *vma = new_vma(&gpu, 1, UNBIND_ADDRESS_NONE);
        int status = pin(vma, modes[i].flags, modes[i].address, modes[i].size);
        if (status != modes[i].status) printf("    mode %u\n", i);
        CHECK_EQUAL(status, modes[i].status);
        CHECK_EQUAL(unbind_vma_pin_count(vma), status == 0);
        CHECK_EQUAL(is_bound(vma), status == 0);
        if (status == 0) {
            check_place(&modes[i], vma);
            /* Not misplaced: the same again is one more pin. */
            CHECK_EQUAL(pin(vma, modes[i].flags, modes[i].address, modes[i].size), 0);
            CHECK_EQUAL(unbind_vma_unbind(vma, 0), -EAGAIN);
            CHECK_EQUAL(unbind_vma_unpin(vma), 0);
            CHECK_EQUAL(unbind_vma_unpin(vma), 0);
            CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
        }
        CHECK_EQUAL(vm_stats(gpu.vm).bound, 0);
        unbind_vma_unref(vma);
    }
    gpu_close(&gpu);
}

TEST(selftest_11, "selftest 11: a VMA for each of many buffers in each of many address spaces") {
    enum { BUFFERS = 7, SPACES = 5 };
    struct gpu gpu;
    unbind_vm *vms[SPACES];
    unbind_bo *bos[BUFFERS];
    unbind_vma *vmas[SPACES][BUFFERS];
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    for (unsigned i = 0; i < SPACES; i++) REQUIRE(unbind_vm_create(gpu.device, NULL, &vms[i]) == 0);
    for (unsigned i = 0; i < BUFFERS; i++) bos[i] = make_bo(&gpu, PAGE);
    for (unsigned i = 0; i < SPACES; i++) {
        for (unsigned j = 0; j < BUFFERS; j++) {
            unbind_vma *found = UNTOUCHED(unbind_vma);
            CHECK_EQUAL(unbind_vma_lookup(vms[i], bos[j], NULL, &found), -ENOENT);
            CHECK(found == UNTOUCHED(unbind_vma));
            REQUIRE(unbind_vma_create(vms[i], bos[j], NULL, &vmas[i][j]) == 0);
            CHECK_EQUAL(unbind_vma_lookup(vms[i], bos[j], NULL, &found), 0);
            CHECK(found == vmas[i][j]);
            unbind_vma_unref(found);
            CHECK_EQUAL(unbind_vma_pin(vmas[i][j], NULL), 0);
            CHECK_EQUAL(unbind_vma_unpin(vmas[i][j]), 0);
        }
    }
    /* Once more after the address spaces have been closed. */
    for (unsigned i = 0; i < SPACES; i++) {
        CHECK_EQUAL(unbind_vm_close(vms[i]), 0);
        for (unsigned j = 0; j < BUFFERS; j++) {
            unbind_vma *found = NULL;
            CHECK_EQUAL(unbind_vma_lookup(vms[i], bos[j], NULL, &found), 0);
            CHECK(found == vmas[i][j] && is_unbound(found));
            unbind_vma_unref(found);
            CHECK_EQUAL(unbind_vma_pin(vmas[i][j], NULL), -ENOENT);
            CHECK_EQUAL(unbind_vma_unpin(vmas[i][j]), -ENOENT);
            unbind_vma_unref(vmas[i][j]);
            CHECK_EQUAL(unbind_vma_lookup(vms[i], bos[j], NULL, &found), -ENOENT);
        }
        unbind_vm_unref(vms[i]);
    }
    for (unsigned i = 0; i < BUFFERS; i++) unbind_bo_unref(bos[i]);
    gpu_close(&gpu);
}

TEST(selftest_20, "selftest 20: with every page pinned one more pin finds no space") {
    struct gpu gpu;
    struct unbind_vm_options options = small_vm(16);
    unbind_vma *vmas[17];
    gpu_open_small(&gpu, UNBIND_EXECUTOR_MANUAL, &options);
    for (unsigned i = 0; i < 17; i++) {
        vmas[i] = new_vma(&gpu, 1, UNBIND_ADDRESS_NONE);
        CHECK_EQUAL(pin(vmas[i], UNBIND_PIN_EVICT, 0, 0), i < 16 ? 0 : -ENOSPC);
    }
    for (unsigned i = 0; i < 16; i++) CHECK(is_bound(vmas[i]));
    CHECK(is_unbound(vmas[16]));
    /* One that is no longer pinned makes way. */
    CHECK_EQUAL(unbind_vma_unpin(vmas[5]), 0);
    CHECK_EQUAL(pin(vmas[16], UNBIND_PIN_EVICT, 0, 0), 0);
    CHECK(is_unbound(vmas[5]) && is_bound(vmas[16]));
    drop_vmas(vmas, 17);
    gpu_close(&gpu);
}

TEST(unbinds_refused, "no call unbinds a pinned VMA, until its end or that of its address space") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    for (unsigned last = 0; last < 2; last++) {
        unbind_vma *vma = new_vma(&gpu, 2, 0x10000), *over = new_vma(&gpu, 1, 0x11000);
        unbind_fence *fence = UNTOUCHED(unbind_fence);
        CHECK_EQUAL(unbind_vma_unpin(vma), -EINVAL);
        CHECK_EQUAL(unbind_vma_pin(vma, NULL), 0);
        CHECK_EQUAL(unbind_vma_unbind(vma, 0), -EAGAIN);
        CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &fence), -EAGAIN);
        CHECK(fence == UNTOUCHED(unbind_fence));
        CHECK_EQUAL(unbind_vm_evict_range(gpu.vm, 0x10000, PAGE, 0, 0), -ENOSPC);
        CHECK_EQUAL(unbind_vma_bind(over, UNBIND_BIND_EVICT), -ENOSPC);
        CHECK_EQUAL(unbind_vm_evict_all(gpu.vm, 0), 0);
        CHECK(is_bound(vma));
        if (last) CHECK_EQUAL(unbind_vm_close(gpu.vm), 0);
        unbind_vma_unref(vma);
        CHECK_EQUAL(vm_stats(gpu.vm).bound, 0);
        CHECK_EQUAL(unbind_vma_bind(over, 0), last ? -ENOENT : 0);
        unbind_vma_unref(over);
    }
    gpu_close(&gpu);
}

TEST(close_ends_pins, "the close of the address space takes pins away with the binding") {
    struct gpu gpu;
    unbind_vma *vma;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    vma = new_vma(&gpu, 1, UNBIND_ADDRESS_NONE);
    CHECK_EQUAL(unbind_vma_pin(vma, NULL), 0);
    CHECK_EQUAL(unbind_vm_close(gpu.vm), 0);
    CHECK(is_unbound(vma));
    CHECK_EQUAL(unbind_vma_pin_count(vma), 0);
    CHECK_EQUAL(unbind_vma_unpin(vma), -ENOENT);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}

TEST(overflow, "more pins than can be counted are refused and change nothing") {
    struct gpu gpu;
    unbind_vma *vma;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    vma = new_vma(&gpu, 1, UNBIND_ADDRESS_NONE);
    for (unsigned i = 0; i < UNBIND_VMA_PIN_LIMIT; i++) REQUIRE(unbind_vma_pin(vma, NULL) == 0);
    CHECK_EQUAL(unbind_vma_pin_count(vma), UNBIND_VMA_PIN_LIMIT);
    CHECK_EQUAL(unbind_vma_pin(vma, NULL), -EAGAIN);
    CHECK_EQUAL(unbind_vma_pin_count(vma), UNBIND_VMA_PIN_LIMIT);
    CHECK_EQUAL(unbind_vma_unpin(vma), 0);
    CHECK_EQUAL(unbind_vma_pin(vma, NULL), 0);
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}

TEST(misplaced, "a misplaced VMA moves, without waiting if asked, unless it is pinned") {
    struct gpu gpu;
    struct unbind_page page;
    struct unbind_pin_options options = UNBIND_PIN_OPTIONS_INIT;
    unbind_vma *vma;
    unbind_fence *user, *bound = NULL;
    struct unbind_vm_options vm_options = table_vm();
    gpu_open_small(&gpu, UNBIND_EXECUTOR_MANUAL, &vm_options);
    vma = new_vma(&gpu, 4, UNBIND_ADDRESS_NONE);
    CHECK_EQUAL(pin(vma, UNBIND_PIN_HIGH, 0, 0), 0);
    CHECK_EQUAL(unbind_vma_address(vma), TOTAL - 4 * PAGE);
    CHECK_EQUAL(pin(vma, UNBIND_PIN_MAPPABLE, 0, 0), -EBUSY);
    CHECK_EQUAL(pin(vma, UNBIND_PIN_LOW, 0, 0), 0); /* no reason to move */
    CHECK_EQUAL(unbind_vma_unpin(vma), 0);
    CHECK_EQUAL(unbind_vma_unpin(vma), 0);

    /* To where it partly is already: the new entries come after the old ones have gone, and that after the work. */
    user = use(&gpu, vma);
    options.flags = UNBIND_PIN_FIXED | UNBIND_PIN_ASYNC;
    options.address = TOTAL - 5 * PAGE;
    options.out_fence = &bound;
    CHECK_EQUAL(unbind_vma_pin(vma, &options), 0);
    CHECK_EQUAL(unbind_vma_address(vma), TOTAL - 5 * PAGE);
    CHECK_EQUAL(unbind_vma_state(vma), UNBIND_VMA_BINDING);
    CHECK_EQUAL(unbind_vma_pin_count(vma), 1);
    CHECK_EQUAL(unbind_fence_is_signaled(bound), 0);
    CHECK(!page_at(&gpu, TOTAL - 5 * PAGE, &page) && page_at(&gpu, TOTAL - PAGE, &page));
    signal_and_drop(user);
    CHECK_EQUAL(finish(bound), 0);
    CHECK(page_at(&gpu, TOTAL - 5 * PAGE, &page) && page.bo_offset == 0);
    CHECK(!page_at(&gpu, TOTAL - PAGE, &page));

    /* Larger than the room it has, aligned otherwise, not so low. */
    CHECK_EQUAL(pin(vma, 0, 0, 8 * PAGE), -EBUSY);
    CHECK_EQUAL(unbind_vma_unpin(vma), 0);
    CHECK_EQUAL(pin(vma, UNBIND_PIN_HIGH, 0, 8 * PAGE), 0);
    CHECK_EQUAL(unbind_vma_address(vma), TOTAL - 13 * PAGE); /* not where it would have to wait for itself */
    CHECK_EQUAL(vm_stats(gpu.vm).bound_bytes, 8 * PAGE);
    CHECK_EQUAL(pin(vma, UNBIND_PIN_BIAS, TOTAL - 7 * PAGE, 0), -EBUSY);
    drop_vmas(&vma, 1);
    gpu_close(&gpu);
}

TEST(move_fails, "a move that finds no room leaves the VMA bound where it was") {
    struct gpu gpu;
    struct unbind_vm_options options = small_vm(8);
    unbind_vma *vma, *other;
    gpu_open_small(&gpu, UNBIND_EXECUTOR_MANUAL, &options);
    vma = new_vma(&gpu, 4, UNBIND_ADDRESS_NONE);
    other = new_vma(&gpu, 4, UNBIND_ADDRESS_NONE);
    CHECK_EQUAL(pin(other, UNBIND_PIN_FIXED, 4 * PAGE, 0), 0);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    CHECK_EQUAL(pin(vma, UNBIND_PIN_BIAS, PAGE, 0), -ENOSPC);
    CHECK_EQUAL(pin(vma, UNBIND_PIN_BIAS | UNBIND_PIN_EVICT, PAGE, 0), -ENOSPC);
    CHECK(is_bound(vma) && unbind_vma_address(vma) == 0);
    CHECK_EQUAL(vm_stats(gpu.vm).unbinds, 0);
    CHECK_EQUAL(unbind_vma_unpin(other), 0);
    /* Into the room of another, and of its own. */
    CHECK_EQUAL(pin(vma, UNBIND_PIN_BIAS | UNBIND_PIN_EVICT, PAGE, 0), 0);
    CHECK(is_unbound(other) && unbind_vma_address(vma) >= PAGE);
    unbind_vma_unref(vma);
    unbind_vma_unref(other);
    gpu_close(&gpu);
}

TEST(interrupted_shape, "a pin that would wait for ever on its own work is a deadlock and pins nothing") {
    struct gpu gpu;
    unbind_vma *vma, *over;
    unbind_fence *user;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    vma = new_vma(&gpu, 2, 0x10000);
    over = new_vma(&gpu, 1, 0x11000);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    user = use(&gpu, vma);
    CHECK_EQUAL(pin(over, UNBIND_PIN_EVICT, 0, 0), -EDEADLK);
    CHECK(is_bound(vma) && is_unbound(over));
    CHECK_EQUAL(pin(over, UNBIND_PIN_EVICT | UNBIND_PIN_NONBLOCK, 0, 0), -ENOSPC);
    CHECK(is_bound(vma) && unbind_vma_pin_count(over) == 0);
    CHECK_EQUAL(pin(over, UNBIND_PIN_EVICT | UNBIND_PIN_ASYNC, 0, 0), 0);
    CHECK(is_unbound(vma) && unbind_vma_pin_count(over) == 1);
    signal_and_drop(user);
    settle(&gpu);
    CHECK(is_bound(over));
    unbind_vma_unref(vma);
    unbind_vma_unref(over);
    gpu_close(&gpu);
}

/* MARK: write access added to a read-only binding */

TEST(upgrade, "P3, P13: a bind without READ_ONLY adds write access to the same binding") {
    struct gpu gpu;
    struct unbind_page page;
    struct unbind_command store;
    unbind_queue *queue;
    unbind_vma *vma;
    unbind_fence *job = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    queue = make_queue(&gpu);
    vma = new_vma(&gpu, 3, 0x200000);
    CHECK_EQUAL(unbind_vma_bind(vma, UNBIND_BIND_READ_ONLY), 0);
    store = command_store(0x200008, 7);
    CHECK_EQUAL(submit(queue, &store, 1, vma, NULL, &job), 0);
    CHECK_EQUAL(finish(job), -EFAULT); /* and the TLB knows the entry */
    CHECK_EQUAL(gpu.fault.kind, UNBIND_FAULT_READ_ONLY);
    CHECK_EQUAL(unbind_vma_bind(vma, UNBIND_BIND_READ_ONLY), 0);
    CHECK(page_at(&gpu, 0x200000, &page) && !(page.flags & UNBIND_PAGE_WRITABLE));
    uint64_t invalidations = device_stats(gpu.device).tlb_invalidations;
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    CHECK(is_bound(vma) && unbind_vma_address(vma) == 0x200000);
    for (uint64_t i = 0; i < 3; i++) {
        CHECK(page_at(&gpu, 0x200000 + i * PAGE, &page) && page.flags & UNBIND_PAGE_WRITABLE && page.bo_offset == i * PAGE);
    }
    CHECK_EQUAL(device_stats(gpu.device).tlb_invalidations, invalidations + 1);
    CHECK_EQUAL(submit(queue, &store, 1, vma, NULL, &job), 0);
    CHECK_EQUAL(finish(job), 0);
    /* What is there already changes nothing. */
    CHECK_EQUAL(unbind_vma_bind(vma, UNBIND_BIND_READ_ONLY), 0);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    CHECK_EQUAL(device_stats(gpu.device).tlb_invalidations, invalidations + 1);
    CHECK_EQUAL(vm_stats(gpu.vm).binds, 1);
    CHECK_EQUAL(vm_stats(gpu.vm).unbinds, 0);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    unbind_vma_unref(vma);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

TEST(upgrade_late, "write access added while the bind is under way comes with it, and the unbind waits for both") {
    struct gpu gpu;
    struct unbind_page page;
    unbind_vma *old, *vma;
    unbind_fence *user, *bound = NULL, *upgraded = NULL, *unbound = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    old = bind_new(&gpu, 2 * PAGE, 0x10000);
    user = use(&gpu, old);
    CHECK_EQUAL(unbind_vma_unbind_async(old, 0, NULL), 0);
    vma = new_vma(&gpu, 2, 0x10000);
    CHECK_EQUAL(unbind_vma_bind_async(vma, UNBIND_BIND_READ_ONLY, &bound), 0);
    CHECK_EQUAL(unbind_vma_bind_async(vma, 0, &upgraded), 0);
    CHECK_EQUAL(unbind_vma_state(vma), UNBIND_VMA_BINDING);
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &unbound), 0);
    CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(unbound), 0);
    signal_and_drop(user);
    CHECK_EQUAL(finish(bound), 0);
    CHECK_EQUAL(finish(upgraded), 0);
    CHECK_EQUAL(finish(unbound), 0);
    CHECK(!page_at(&gpu, 0x10000, &page));
    unbind_vma_unref(old);
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}

TEST(upgrade_slow, "while write access is added with a TLB invalidation that takes time, the VMA stays bound") {
    struct gpu gpu;
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(&gpu, UNBIND_EXECUTOR_SIMULATED, &allocator);
    struct unbind_page page;
    unbind_vma *vma;
    unbind_fence *upgraded = NULL;
    REQUIRE(unbind_device_open_software(&options, &gpu.device) == 0); /* the simulation's default costs */
    REQUIRE(unbind_vm_create(gpu.device, NULL, &gpu.vm) == 0);
    vma = new_vma(&gpu, 1, 0x10000);
    CHECK_EQUAL(unbind_vma_bind(vma, UNBIND_BIND_READ_ONLY), 0);
    CHECK_EQUAL(unbind_vma_bind_async(vma, 0, &upgraded), 0);
    CHECK(is_bound(vma));
    CHECK_EQUAL(unbind_fence_is_signaled(upgraded), 0);
    CHECK(page_at(&gpu, 0x10000, &page) && page.bo_id != 0);
    CHECK_EQUAL(finish(upgraded), 0);
    CHECK(page_at(&gpu, 0x10000, &page) && page.flags & UNBIND_PAGE_WRITABLE);
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}

TEST(stays_read_only, "a VMA made read-only stays so, and a null VMA is no argument (P4)") {
    struct gpu gpu;
    struct unbind_page page;
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    unbind_bo *bo;
    unbind_vma *vma = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    bo = make_bo(&gpu, PAGE);
    options.flags = UNBIND_VMA_READ_ONLY | UNBIND_VMA_FIXED;
    options.address = 0x10000;
    REQUIRE(unbind_vma_create(gpu.vm, bo, &options, &vma) == 0);
    CHECK_EQUAL(unbind_vma_bind(vma, UNBIND_BIND_READ_ONLY), 0);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    CHECK_EQUAL(unbind_vma_pin(vma, NULL), 0);
    CHECK(page_at(&gpu, 0x10000, &page) && !(page.flags & UNBIND_PAGE_WRITABLE));
    CHECK_EQUAL(unbind_vma_bind(NULL, 0), -EINVAL);
    CHECK_EQUAL(unbind_vma_pin(NULL, NULL), -EINVAL);
    CHECK_EQUAL(unbind_vma_unpin(NULL), -EINVAL);
    CHECK_EQUAL(unbind_vma_pin_count(NULL), 0);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}
