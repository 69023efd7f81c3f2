/* SPDX-License-Identifier: MIT */
/* GPU page faults: what is reported, and what goes on. */
#include "support.h"

/* One job of these commands that lists nothing; the error of its fence. */
static int run_job(struct gpu *gpu, unbind_queue *queue, const struct unbind_command *commands, uint32_t count) {
    unbind_fence *fence = NULL;
    (void)gpu;
    REQUIRE(submit(queue, commands, count, NULL, NULL, &fence) == 0);
    return finish(fence);
}

TEST(unmapped, "an address where nothing was ever mapped faults, and the queue goes on") {
    for (uint32_t executor = 0; executor < 3; executor++) {
        struct gpu gpu;
        gpu_open(&gpu, executor);
        unbind_queue *queue = make_queue(&gpu);
        unbind_vma *vma = bind_new(&gpu, PAGE, 0x10000);
        uint64_t value = 99;
        struct unbind_command commands[3] = {command_store(0x10000, 5), command_store(0x7000008, 1),
                                             command_store(0x10000, 6)};
        struct unbind_command load = command_load(0x10000, &value);
        CHECK_EQUAL(run_job(&gpu, queue, &load, 1), 0);
        CHECK_EQUAL(value, 0);
        CHECK_EQUAL(run_job(&gpu, queue, commands, 3), -EFAULT);
        CHECK_EQUAL(gpu.faults, 1);
        CHECK_EQUAL(gpu.fault.kind, UNBIND_FAULT_UNMAPPED);
        CHECK_EQUAL(gpu.fault.access, UNBIND_ACCESS_WRITE);
        CHECK_EQUAL(gpu.fault.command_index, 1);
        CHECK_EQUAL(gpu.fault.queue_id, unbind_queue_id(queue));
        CHECK_EQUAL(gpu.fault.vm_id, unbind_vm_id(gpu.vm));
        CHECK_EQUAL(gpu.fault.job_seqno, 2);
        CHECK_EQUAL(gpu.fault.address, 0x7000008);
        CHECK_EQUAL(gpu.fault.last_bo_id, 0);
        CHECK_EQUAL(gpu.fault.struct_size, sizeof(struct unbind_fault));
        CHECK_EQUAL(run_job(&gpu, queue, &load, 1), 0);
        CHECK_EQUAL(value, 5); /* the command before the fault ran, the one after it did not */
        CHECK_EQUAL(device_stats(gpu.device).faults, 1);
        unbind_vma_unref(vma);
        unbind_queue_unref(queue);
        gpu_close(&gpu);
    }
}

TEST(read_only, "a write to a read-only mapping faults, a read does not") {
    struct gpu gpu;
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    struct unbind_page page = UNBIND_PAGE_INIT;
    unbind_vma *vma = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_queue *queue = make_queue(&gpu);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    options.flags = UNBIND_VMA_FIXED | UNBIND_VMA_READ_ONLY;
    options.address = 0x20000;
    REQUIRE(unbind_vma_create(gpu.vm, bo, &options, &vma) == 0);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    CHECK_EQUAL(unbind_vm_find_page(gpu.vm, 0, &page), 0);
    CHECK(!(page.flags & UNBIND_PAGE_WRITABLE));
    uint64_t value = 1;
    struct unbind_command load = command_load(0x20008, &value), store = command_store(0x20008, 1);
    CHECK_EQUAL(run_job(&gpu, queue, &load, 1), 0);
    CHECK_EQUAL(value, 0);
    CHECK_EQUAL(run_job(&gpu, queue, &store, 1), -EFAULT);
    CHECK_EQUAL(gpu.fault.kind, UNBIND_FAULT_READ_ONLY);
    CHECK_EQUAL(gpu.fault.access, UNBIND_ACCESS_WRITE);
    CHECK_EQUAL(gpu.fault.address, 0x20008);
    CHECK_EQUAL(gpu.fault.last_bo_id, unbind_bo_id(bo));
    CHECK_EQUAL(gpu.fault.last_unbound_ns, 0);
    CHECK_EQUAL(*(uint64_t *)unbind_bo_cpu_pointer(bo), 0);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

TEST(after_unbind, "a use after unbind names the buffer that was there, its range and its times") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_queue *queue = make_queue(&gpu);
    unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, 0x40000);
    CHECK_EQUAL(unbind_device_run_until(gpu.device, 1000000), 0);
    uint64_t bound_at = unbind_device_now(gpu.device);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    uint64_t bound_by = unbind_device_now(gpu.device);
    CHECK_EQUAL(unbind_device_run_until(gpu.device, 2000000), 0);
    REQUIRE(unbind_vma_unbind(vma, 0) == 0);
    CHECK_EQUAL(unbind_device_run_until(gpu.device, 3000000), 0);
    uint64_t value = 12;
    struct unbind_command load = command_load(0x42010, &value);
    CHECK_EQUAL(run_job(&gpu, queue, &load, 1), -EFAULT);
    CHECK_EQUAL(value, 12);
    CHECK_EQUAL(gpu.faults, 1);
    CHECK_EQUAL(gpu.fault.kind, UNBIND_FAULT_UNMAPPED);
    CHECK_EQUAL(gpu.fault.access, UNBIND_ACCESS_READ);
    CHECK_EQUAL(gpu.fault.address, 0x42010);
    CHECK_EQUAL(gpu.fault.last_bo_id, unbind_bo_id(bo));
    CHECK_EQUAL(gpu.fault.last_start, 0x40000);
    CHECK_EQUAL(gpu.fault.last_size, 4 * PAGE);
    CHECK(gpu.fault.last_bound_ns >= bound_at && gpu.fault.last_bound_ns <= bound_by);
    CHECK_EQUAL(gpu.fault.last_unbound_ns, 2000000);
    CHECK(gpu.fault.time_ns >= 3000000);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

TEST(stale, "a translation still in the TLB after its entry was cleared faults as stale") {
    struct gpu gpu;
    struct unbind_allocator allocator;
    struct unbind_cost_model cost = UNBIND_COST_MODEL_INIT;
    struct unbind_device_options options = gpu_options(&gpu, UNBIND_EXECUTOR_SIMULATED, &allocator);
    unbind_fence *unbound = NULL, *job = NULL;
    cost.tlb_flush_ns = 2000000;
    options.cost_model = &cost;
    REQUIRE(unbind_device_open_software(&options, &gpu.device) == 0);
    REQUIRE(unbind_vm_create(gpu.device, NULL, &gpu.vm) == 0);
    unbind_queue *queue = make_queue(&gpu);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x40000);
    unbind_fence *user = make_fence(&gpu);
    REQUIRE(unbind_vma_add_user(vma, user) == 0);
    REQUIRE(unbind_device_wait_idle(gpu.device, FOREVER, 0) == 0);
    uint64_t start = unbind_device_now(gpu.device), value[40];
    struct unbind_command commands[80];
    for (unsigned i = 0; i < 40; i++) {
        commands[2 * i] = command_load(0x40000, &value[i]);
        commands[2 * i + 1] = command_delay(100000);
    }
    REQUIRE(submit(queue, commands, 80, NULL, NULL, &job) == 0); /* the mistake: the VMA is not listed */
    CHECK_EQUAL(unbind_device_run_until(gpu.device, start + 450000), 0);
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &unbound), 0);
    CHECK_EQUAL(unbind_device_run_until(gpu.device, start + 950000), 0);
    CHECK_EQUAL(gpu.faults, 0); /* the unbind still waits for its user */
    signal_and_drop(user);
    CHECK_EQUAL(finish(job), -EFAULT);
    CHECK_EQUAL(gpu.faults, 1);
    CHECK_EQUAL(gpu.fault.kind, UNBIND_FAULT_STALE);
    CHECK_EQUAL(gpu.fault.address, 0x40000);
    CHECK_EQUAL(gpu.fault.last_unbound_ns, start + 450000);
    CHECK(gpu.fault.time_ns > start + 950000 && gpu.fault.time_ns < start + 1150000);
    CHECK_EQUAL(gpu.fault.command_index, 20);
    CHECK_EQUAL(finish(unbound), 0);
    unbind_vma_unref(vma);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

TEST(listed_never_faults, "a job that lists its VMAs never faults, however soon they are unbound") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_queue *queue = make_queue(&gpu);
    unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, 0x40000);
    for (uint32_t i = 0; i < 200; i++) {
        struct unbind_command fill = command_fill(0x40000, 4 * PAGE, i);
        CHECK_EQUAL(unbind_vma_bind_async(vma, 0, NULL), 0);
        CHECK_EQUAL(submit(queue, &fill, 1, vma, NULL, NULL), 0);
        CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, NULL), 0);
    }
    CHECK_EQUAL(unbind_bo_wait(bo, FOREVER, 0), 0);
    CHECK_EQUAL(gpu.faults, 0);
    CHECK_EQUAL(*(uint32_t *)unbind_bo_cpu_pointer(bo), 199);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}
