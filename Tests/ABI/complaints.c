/* SPDX-License-Identifier: MIT */
/* What driver authors complain about (see the table in README.md), where no other test shows it. */
#include "support.h"

TEST(no_second_copy, "complaint 3: a buffer bound in many address spaces costs its memory once, and stats tell") {
    struct gpu gpu;
    unbind_vm *spaces[8];
    unbind_vma *vmas[8];
    unbind_bo *bo = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    REQUIRE(unbind_bo_create(gpu.device, 16 * MIB, UNBIND_REGION_LOCAL, 0, &bo) == 0);
    struct unbind_device_stats before = device_stats(gpu.device), after;
    CHECK_EQUAL(before.local_bytes, 16 * MIB);
    for (unsigned i = 0; i < 8; i++) {
        REQUIRE(unbind_vm_create(gpu.device, NULL, &spaces[i]) == 0);
        REQUIRE(unbind_vma_create(spaces[i], bo, NULL, &vmas[i]) == 0);
        CHECK_EQUAL(unbind_vma_bind(vmas[i], 0), 0);
    }
    after = device_stats(gpu.device);
    CHECK_EQUAL(after.local_bytes, before.local_bytes);
    CHECK_EQUAL(after.system_bytes, before.system_bytes);
    /* What is the library's own: page tables and the like, and it is counted. */
    CHECK(after.bytes_allocated > before.bytes_allocated);
    CHECK(after.bytes_allocated - before.bytes_allocated < 8 * MIB);
    for (unsigned i = 0; i < 8; i++) {
        unbind_vma_unref(vmas[i]);
        unbind_vm_unref(spaces[i]);
    }
    unbind_bo_unref(bo);
    CHECK_EQUAL(device_stats(gpu.device).local_bytes, 0);
    gpu_close(&gpu);
}

TEST(shortages, "complaint 4: no addresses, no GPU memory and no host memory are told apart, by errors and stats") {
    struct gpu gpu;
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(&gpu, UNBIND_EXECUTOR_MANUAL, &allocator);
    struct unbind_vm_options small = UNBIND_VM_OPTIONS_INIT;
    unbind_bo *bo = NULL, *none = UNTOUCHED(unbind_bo);
    unbind_vma *first = NULL, *second = NULL;
    options.flags = UNBIND_DEVICE_NO_SLABS;
    REQUIRE(unbind_device_open_software(&options, &gpu.device) == 0);
    small.size = 2 * PAGE;
    REQUIRE(unbind_vm_create(gpu.device, &small, &gpu.vm) == 0);
    /* Addresses are used up, with memory of every kind left. */
    REQUIRE(unbind_bo_create(gpu.device, 2 * PAGE, UNBIND_REGION_SYSTEM, 0, &bo) == 0);
    unbind_bo *other = make_bo(&gpu, PAGE);
    REQUIRE(unbind_vma_create(gpu.vm, bo, NULL, &first) == 0);
    REQUIRE(unbind_vma_create(gpu.vm, other, NULL, &second) == 0);
    CHECK_EQUAL(unbind_vma_bind(first, 0), 0);
    CHECK_EQUAL(unbind_vma_bind(second, 0), -ENOSPC);
    /* GPU memory is used up: the figure of that region is at its limit, and the host was not asked in vain. */
    const uint64_t all = options.local_memory_bytes;
    CHECK_EQUAL(unbind_bo_create(gpu.device, all + PAGE, UNBIND_REGION_LOCAL, 0, &none), -ENOMEM);
    unbind_bo *local = NULL;
    REQUIRE(unbind_bo_create(gpu.device, all, UNBIND_REGION_LOCAL, 0, &local) == 0);
    CHECK_EQUAL(unbind_bo_create(gpu.device, PAGE, UNBIND_REGION_LOCAL, 0, &none), -ENOMEM);
    CHECK_EQUAL(device_stats(gpu.device).local_bytes, all);
    CHECK_EQUAL(gpu.hooks.failed, 0);
    unbind_bo_unref(local);
    /* The host has none: the regions have room. */
    gpu.hooks.fail_at = gpu.hooks.calls + 1;
    CHECK_EQUAL(unbind_bo_create(gpu.device, PAGE, UNBIND_REGION_LOCAL, 0, &none), -ENOMEM);
    CHECK(gpu.hooks.failed == 1 && device_stats(gpu.device).local_bytes == 0);
    CHECK(none == UNTOUCHED(unbind_bo));
    unbind_vma_unref(first);
    unbind_vma_unref(second);
    unbind_bo_unref(bo);
    unbind_bo_unref(other);
    gpu_close(&gpu);
}

enum { MANY = 1000 };

TEST(thousand_unbinds, "complaint 10: a thousand unbinds behind one job are one batch with one TLB invalidation") {
    struct gpu gpu;
    static struct unbind_submit_vma used[MANY];
    struct unbind_command store = command_store(0, 1);
    struct unbind_submit job = UNBIND_SUBMIT_INIT;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_queue *queue = make_queue(&gpu);
    for (unsigned i = 0; i < MANY; i++) {
        used[i].vma = bind_new(&gpu, PAGE, i * PAGE);
        used[i].use = UNBIND_USE_WRITE;
    }
    job.commands = &store, job.command_count = 1;
    job.vmas = used, job.vma_count = MANY;
    CHECK_EQUAL(unbind_queue_submit(queue, &job, NULL), 0);
    struct unbind_vm_stats before = vm_stats(gpu.vm);
    uint64_t invalidations = device_stats(gpu.device).tlb_invalidations;
    for (unsigned i = 0; i < MANY; i++) CHECK_EQUAL(unbind_vma_unbind_async(used[i].vma, 0, NULL), 0);
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    CHECK_EQUAL(vm_stats(gpu.vm).unbinds_completed - before.unbinds_completed, MANY);
    CHECK_EQUAL(vm_stats(gpu.vm).unbind_batches - before.unbind_batches, 1);
    CHECK_EQUAL(device_stats(gpu.device).tlb_invalidations - invalidations, 1);
    for (unsigned i = 0; i < MANY; i++) unbind_vma_unref(used[i].vma);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}
