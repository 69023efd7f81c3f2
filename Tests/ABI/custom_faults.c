/* SPDX-License-Identifier: MIT */
/* A backend of the program's own tells of GPU page faults, and the fault callback hears what was at the address. */
#include "toy_backend.h"

static void open_reporting(struct toy *toy, enum toy_mode mode, uint32_t executor) {
    toy_init(toy, mode);
    toy->ops.capabilities |= UNBIND_CAP_FAULT_REPORTS;
    toy_open(toy, executor);
}

TEST(of_jobs, "a fault that a backend tells with its submit names queue, job and command, and what was there") {
    FOR_EACH_WAY(executor, mode) {
        struct toy toy;
        unbind_fence *done = NULL;
        open_reporting(&toy, mode, executor);
        CHECK(unbind_device_capabilities(toy.gpu.device) & UNBIND_CAP_FAULT_REPORTS);
        unbind_queue *queue = make_queue(&toy.gpu);
        unbind_bo *bo = make_bo(&toy.gpu, 4 * PAGE);
        unbind_vma *vma = make_vma(&toy.gpu, bo, 0x10000);
        unbind_fence *open = stub_of(&toy.gpu);
        REQUIRE(unbind_vma_bind(vma, UNBIND_BIND_READ_ONLY) == 0);
        uint64_t value = 0;
        struct unbind_command commands[4] = {command_load(0x10000, &value), command_wait(open),
                                             command_load(0x11000, &value), command_store(0x12008, 1)};
        REQUIRE(submit(queue, commands, 4, vma, NULL, &done) == 0);
        CHECK_EQUAL(finish(done), -EFAULT);
        CHECK_EQUAL(toy.gpu.faults, 1);
        CHECK(toy.gpu.fault.kind == UNBIND_FAULT_READ_ONLY && toy.gpu.fault.access == UNBIND_ACCESS_WRITE);
        CHECK_EQUAL(toy.gpu.fault.command_index, 3);
        CHECK_EQUAL(toy.gpu.fault.queue_id, unbind_queue_id(queue));
        CHECK_EQUAL(toy.gpu.fault.vm_id, unbind_vm_id(toy.gpu.vm));
        CHECK_EQUAL(toy.gpu.fault.job_seqno, 1);
        CHECK_EQUAL(toy.gpu.fault.address, 0x12008);
        CHECK_EQUAL(toy.gpu.fault.bound_bo_id, unbind_bo_id(bo));
        CHECK_EQUAL(toy.gpu.fault.bound_start, 0x10000);
        CHECK_EQUAL(toy.gpu.fault.bound_offset, 0x2008);
        CHECK_EQUAL(toy.gpu.fault.bound_state, UNBIND_VMA_BOUND);
        /* Used after its unbind. */
        CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
        REQUIRE(submit(queue, &commands[2], 1, NULL, NULL, &done) == 0);
        CHECK_EQUAL(finish(done), -EFAULT);
        CHECK_EQUAL(toy.gpu.faults, 2);
        CHECK(toy.gpu.fault.kind == UNBIND_FAULT_UNMAPPED && toy.gpu.fault.access == UNBIND_ACCESS_READ);
        CHECK(toy.gpu.fault.command_index == 0 && toy.gpu.fault.job_seqno == 2 && toy.gpu.fault.bound_bo_id == 0);
        CHECK_EQUAL(toy.gpu.fault.last_bo_id, unbind_bo_id(bo));
        CHECK_EQUAL(toy.gpu.fault.last_offset, 0x1000);
        CHECK(toy.gpu.fault.operation_count > 0);
        CHECK_EQUAL(device_stats(toy.gpu.device).faults, 2);
        unbind_fence_unref(open);
        unbind_queue_unref(queue);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        toy_close(&toy);
    }
}

TEST(of_spaces, "a fault of which only the address space is known names what is there, and pending unbinds") {
    struct toy toy;
    struct unbind_backend_fault fault = UNBIND_BACKEND_FAULT_INIT;
    unbind_fence *unbound = NULL;
    open_reporting(&toy, TOY_AT_ONCE, UNBIND_EXECUTOR_MANUAL);
    unbind_vma *vma = new_vma(&toy, PAGE, 0x30000);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    unbind_fence *user = make_fence(&toy.gpu);
    REQUIRE(unbind_vma_add_user(vma, user) == 0);
    REQUIRE(unbind_vma_unbind_async(vma, 0, &unbound) == 0);
    fault.vm_id = toy.vm_id;
    fault.address = 0x30010;
    fault.kind = UNBIND_FAULT_STALE;
    fault.access = UNBIND_ACCESS_WRITE;
    CHECK_EQUAL(unbind_backend_report_fault(toy.gpu.device, &fault), 0);
    CHECK_EQUAL(toy.gpu.faults, 1);
    CHECK(toy.gpu.fault.kind == UNBIND_FAULT_STALE && toy.gpu.fault.access == UNBIND_ACCESS_WRITE);
    CHECK_EQUAL(toy.gpu.fault.pending_unbinds, 1);
    CHECK_EQUAL(toy.gpu.fault.vm_id, unbind_vm_id(toy.gpu.vm));
    CHECK(toy.gpu.fault.queue_id == 0 && toy.gpu.fault.job_seqno == 0 && toy.gpu.fault.command_index == 0);
    CHECK(toy.gpu.fault.last_unbound_ns >= toy.gpu.fault.last_bound_ns && toy.gpu.fault.last_bo_id != 0);
    signal_and_drop(user);
    CHECK_EQUAL(finish(unbound), 0);
    unbind_vma_unref(vma);
    toy_close(&toy);
}

TEST(refused, "a fault of nobody's, or told by a backend that has not said that it does, is refused") {
    struct toy toy;
    struct unbind_backend_fault fault = UNBIND_BACKEND_FAULT_INIT;
    unbind_fence *bound = NULL;
    open_reporting(&toy, TOY_BY_HAND, UNBIND_EXECUTOR_MANUAL);
    unbind_vma *vma = new_vma(&toy, PAGE, 0x30000);
    CHECK_EQUAL(unbind_backend_report_fault(NULL, &fault), -EINVAL);
    CHECK_EQUAL(unbind_backend_report_fault(toy.gpu.device, NULL), -EINVAL);
    CHECK_EQUAL(unbind_backend_report_fault(toy.gpu.device, &fault), -EINVAL);
    fault.vm_id = toy.vm_id + 1;
    CHECK_EQUAL(unbind_backend_report_fault(toy.gpu.device, &fault), -EINVAL);
    fault.vm_id = toy.vm_id;
    fault.kind = 3;
    CHECK_EQUAL(unbind_backend_report_fault(toy.gpu.device, &fault), -EINVAL);
    fault.kind = 0;
    fault.access = 2;
    CHECK_EQUAL(unbind_backend_report_fault(toy.gpu.device, &fault), -EINVAL);
    fault.access = 0;
    /* The token of an update. */
    REQUIRE(unbind_vma_bind_async(vma, 0, &bound) == 0);
    toy_idle(&toy);
    REQUIRE(toy.begun_count == 1);
    fault.token = toy.begun[0].token;
    CHECK_EQUAL(unbind_backend_report_fault(toy.gpu.device, &fault), -EINVAL);
    while (toy_complete(&toy)) toy_idle(&toy);
    CHECK_EQUAL(finish(bound), 0);
    /* The token of a submit in another address space. */
    unbind_queue *queue = make_queue(&toy.gpu);
    unbind_fence *done = NULL;
    struct unbind_command command = command_store(0x30000, 1);
    REQUIRE(submit(queue, &command, 1, vma, NULL, &done) == 0);
    toy_idle(&toy);
    REQUIRE(toy.begun_count == 1);
    fault.token = toy.begun[0].token;
    fault.vm_id = toy.vm_id + 1;
    CHECK_EQUAL(unbind_backend_report_fault(toy.gpu.device, &fault), -EINVAL);
    CHECK_EQUAL(toy.gpu.faults, 0);
    fault.vm_id = 0;
    CHECK_EQUAL(unbind_backend_report_fault(toy.gpu.device, &fault), 0);
    CHECK_EQUAL(toy.gpu.faults, 1);
    toy.mode = TOY_AT_ONCE;
    while (toy_complete(&toy)) toy_idle(&toy);
    CHECK_EQUAL(finish(done), 0);
    unbind_queue_unref(queue);
    unbind_vma_unref(vma);
    toy_close(&toy);

    toy_init(&toy, TOY_AT_ONCE);
    toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
    fault.token = NULL;
    fault.vm_id = toy.vm_id;
    CHECK_EQUAL(unbind_backend_report_fault(toy.gpu.device, &fault), -EOPNOTSUPP);
    toy_close(&toy);
}
