/* SPDX-License-Identifier: MIT */
/* Queues on a backend of the program's own. */
#include "toy_backend.h"

TEST(jobs, "jobs run in order, through what is mapped, and an unbind waits for those that list its VMA") {
    FOR_EACH_WAY(executor, mode) {
        struct toy toy;
        uint64_t value = 0;
        toy_init(&toy, mode);
        toy_open(&toy, executor);
        unbind_queue *queue = make_queue(&toy.gpu);
        unbind_bo *bo = make_bo(&toy.gpu, PAGE);
        unbind_vma *first = make_vma(&toy.gpu, bo, 0x10000), *second = new_vma(&toy, PAGE, 0x20000);
        CHECK_EQUAL(unbind_vma_bind_async(first, 0, NULL), 0);
        CHECK_EQUAL(unbind_vma_bind_async(second, 0, NULL), 0);
        struct unbind_command commands[3] = {command_store(0x10008, UINT64_C(0x1122334455667788)),
                                             command_copy(0x20100, 0x10000, 16), command_load(0x20108, &value)};
        unbind_fence *jobs[3];
        for (unsigned i = 0; i < 3; i++) REQUIRE(submit(queue, &commands[i], 1, first, second, &jobs[i]) == 0);
        unbind_fence *unbound = unbind_async(first);
        CHECK_EQUAL(finish(unbound), 0);
        for (unsigned i = 0; i < 3; i++) {
            CHECK(unbind_fence_is_signaled(jobs[i]));
            CHECK_EQUAL(finish(jobs[i]), 0);
        }
        CHECK_EQUAL(value, UINT64_C(0x1122334455667788));
        CHECK_EQUAL(((uint64_t *)unbind_bo_cpu_pointer(bo))[1], value);
        CHECK(toy.submits == 3 && toy.commands == 3);
        CHECK_EQUAL(device_stats(toy.gpu.device).jobs, 3);
        CHECK_EQUAL(device_stats(toy.gpu.device).commands, 3);
        unbind_vma_unref(first);
        unbind_vma_unref(second);
        unbind_bo_unref(bo);
        unbind_queue_unref(queue);
        toy_close(&toy);
    }
}

TEST(waits, "a job is split at its WAITs, which never reach the backend") {
    FOR_EACH_WAY(executor, mode) {
        struct toy toy;
        uint64_t before = 1, after = 1;
        toy_init(&toy, mode);
        toy_open(&toy, executor);
        unbind_queue *queue = make_queue(&toy.gpu);
        unbind_vma *vma = new_vma(&toy, PAGE, 0x10000);
        unbind_fence *gate = make_fence(&toy.gpu), *done = NULL, *signalled = make_fence(&toy.gpu);
        CHECK_EQUAL(unbind_fence_signal(signalled, 0), 0);
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        struct unbind_command commands[7] = {
            command_wait(signalled), command_load(0x10000, &before), command_store(0x10000, 7), command_wait(gate),
            command_wait(signalled), command_load(0x10000, &after), command_wait(signalled)};
        REQUIRE(submit(queue, commands, 7, vma, NULL, &done) == 0);
        toy_idle(&toy);
        CHECK(!unbind_fence_is_signaled(done));
        CHECK_EQUAL(after, 1);
        signal_and_drop(gate);
        CHECK_EQUAL(finish(done), 0);
        CHECK(before == 0 && after == 7);
        CHECK(toy.submits == 2 && toy.commands == 3);
        CHECK_EQUAL(device_stats(toy.gpu.device).commands, 7);
        /* Only WAITs, and nothing at all. */
        REQUIRE(submit(queue, commands, 1, NULL, NULL, &done) == 0);
        CHECK_EQUAL(finish(done), 0);
        REQUIRE(submit(queue, NULL, 0, NULL, NULL, &done) == 0);
        CHECK_EQUAL(finish(done), 0);
        CHECK_EQUAL(toy.submits, 2);
        unbind_fence_unref(signalled);
        unbind_vma_unref(vma);
        unbind_queue_unref(queue);
        toy_close(&toy);
    }
}

TEST(delays, "a job is split at its DELAYs, for which the queue rests and the backend is not asked") {
    FOR_EACH_WAY(executor, mode) {
        struct toy toy;
        uint64_t value = 0, started, ended;
        toy_init(&toy, mode);
        toy_open(&toy, executor);
        unbind_queue *queue = make_queue(&toy.gpu);
        unbind_vma *vma = new_vma(&toy, PAGE, 0x10000);
        unbind_fence *done = NULL;
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        struct unbind_command commands[4] = {command_delay(2000000), command_store(0x10000, 7), command_delay(1000000),
                                             command_load(0x10000, &value)};
        started = unbind_device_now(toy.gpu.device);
        REQUIRE(submit(queue, commands, 4, vma, NULL, &done) == 0);
        CHECK_EQUAL(finish(unbind_fence_ref(done)), 0);
        CHECK_EQUAL(unbind_fence_get_timestamp(done, &ended), 0);
        CHECK(ended - started >= 3000000);
        CHECK_EQUAL(value, 7);
        CHECK(toy.submits == 2 && toy.commands == 2);
        CHECK_EQUAL(device_stats(toy.gpu.device).commands, 4);
        unbind_fence_unref(done);
        unbind_vma_unref(vma);
        unbind_queue_unref(queue);
        toy_close(&toy);
    }
}

TEST(errors, "what a submit ends with is the error of its job, and the queue goes on") {
    static const int errors[4] = {-EOPNOTSUPP, -EAGAIN, -EIO, -EFAULT};
    FOR_EACH_WAY(executor, mode) {
        struct toy toy;
        uint64_t value = 3;
        toy_init(&toy, mode);
        toy_open(&toy, executor);
        unbind_queue *queue = make_queue(&toy.gpu), *none = UNTOUCHED(unbind_queue);
        unbind_vma *vma = new_vma(&toy, PAGE, 0x10000);
        unbind_fence *done = NULL, *failed = make_fence(&toy.gpu);
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        struct unbind_command commands[3] = {command_store(0x10000, 5), command_wait(failed),
                                             command_load(0x10000, &value)};
        for (unsigned i = 0; i < 4; i++) {
            toy_fail(&toy, TOY_SUBMIT, errors[i], 1);
            REQUIRE(submit(queue, commands, 1, vma, NULL, &done) == 0);
            CHECK_EQUAL(finish(done), errors[i]);
            toy_fail(&toy, TOY_QUEUE_CREATE, errors[i], 1);
            CHECK_EQUAL(unbind_queue_create(toy.gpu.vm, 0, &none), errors[i]);
        }
        CHECK(none == UNTOUCHED(unbind_queue));
        CHECK_EQUAL(unbind_fence_signal(failed, -ENODATA), 0);
        REQUIRE(submit(queue, commands, 3, vma, NULL, &done) == 0);
        CHECK_EQUAL(finish(done), -ENODATA);
        CHECK_EQUAL(value, 3);
        REQUIRE(submit(queue, &commands[2], 1, vma, NULL, &done) == 0);
        CHECK_EQUAL(finish(done), 0);
        CHECK_EQUAL(value, 5);
        struct unbind_command astray = command_store(0x90000, 1);
        REQUIRE(submit(queue, &astray, 1, vma, NULL, &done) == 0);
        CHECK_EQUAL(finish(done), -EFAULT);
        unbind_fence_unref(failed);
        unbind_vma_unref(vma);
        unbind_queue_unref(queue);
        toy_close(&toy);
    }
}

TEST(failed_bind, "a job that lists a VMA which could not be mapped is skipped with that error") {
    struct toy toy;
    unbind_fence *done = NULL;
    toy_init(&toy, TOY_AT_ONCE);
    toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
    unbind_queue *queue = make_queue(&toy.gpu);
    unbind_vma *vma = new_vma(&toy, PAGE, 0x10000);
    toy_fail(&toy, TOY_MAP, -ENXIO, 1);
    CHECK_EQUAL(unbind_vma_bind_async(vma, 0, NULL), 0);
    struct unbind_command command = command_store(0x10000, 5);
    REQUIRE(submit(queue, &command, 1, vma, NULL, &done) == 0);
    CHECK_EQUAL(finish(done), -ENXIO);
    CHECK_EQUAL(toy.submits, 0);
    unbind_vma_unref(vma);
    unbind_queue_unref(queue);
    toy_close(&toy);
}

TEST(lost, "a lost device skips its jobs with -EIO and makes no queues") {
    FOR_EACH_WAY(executor, mode) {
        struct toy toy;
        unbind_fence *done = NULL;
        unbind_queue *none = UNTOUCHED(unbind_queue);
        toy_init(&toy, mode);
        toy_open(&toy, executor);
        unbind_queue *queue = make_queue(&toy.gpu);
        unbind_vma *vma = new_vma(&toy, PAGE, 0x10000), *other = new_vma(&toy, PAGE, 0x30000);
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        CHECK_EQUAL(unbind_vma_bind(other, 0), 0);
        unbind_fence *gate = make_fence(&toy.gpu), *none_done = UNTOUCHED(unbind_fence);
        struct unbind_command command = command_store(0x10000, 5), commands[2] = {command_wait(gate), command};
        REQUIRE(submit(queue, commands, 2, vma, NULL, &done) == 0);
        toy.is_lost = true;
        toy_fail(&toy, TOY_UNMAP, -ENODEV, 1);
        CHECK_EQUAL(finish(unbind_async(other)), -EIO);
        REQUIRE(unbind_fence_signal(gate, 0) == 0);
        CHECK_EQUAL(finish(done), -EIO);
        CHECK_EQUAL(submit(queue, &command, 1, vma, NULL, &none_done), -EIO);
        CHECK(none_done == UNTOUCHED(unbind_fence));
        CHECK_EQUAL(toy.submits, 0);
        CHECK_EQUAL(unbind_queue_create(toy.gpu.vm, 0, &none), -EIO);
        unbind_vma_unref(vma);
        unbind_vma_unref(other);
        unbind_fence_unref(gate);
        unbind_queue_unref(queue);
        toy_close(&toy);
    }
}

TEST(closing, "closing a device ends the jobs that a backend has begun, and those behind them") {
    for (int way = 0; way < 2; way++) {
        struct toy toy;
        struct unbind_leak_report report = UNBIND_LEAK_REPORT_INIT;
        unbind_fence *last[3];
        toy_init(&toy, TOY_BY_THREAD);
        toy_open(&toy, toy_executors[way]);
        unbind_vma *vma = new_vma(&toy, PAGE, 0x10000);
        CHECK_EQUAL(unbind_vma_bind_async(vma, 0, NULL), 0);
        for (unsigned i = 0; i < 3; i++) {
            unbind_queue *queue = make_queue(&toy.gpu);
            struct unbind_command command = command_fill(0x10000, PAGE, i);
            for (unsigned job = 0; job < 20; job++) {
                REQUIRE(submit(queue, &command, 1, vma, NULL, job == 19 ? &last[i] : NULL) == 0);
            }
            unbind_queue_unref(queue);
        }
        CHECK_EQUAL(unbind_device_close(toy.gpu.device, &report), 0);
        for (unsigned i = 0; i < 3; i++) {
            CHECK(unbind_fence_is_signaled(last[i]));
            unbind_fence_unref(last[i]);
        }
        CHECK_EQUAL(toy.submits, 60);
        unbind_vma_unref(vma);
        unbind_vm_unref(toy.gpu.vm);
        unbind_device_unref(toy.gpu.device);
        toy_end(&toy);
    }
}

TEST(batches, "a backend is told a queue's engine, and runs batches of its own form if it says that it can") {
    FOR_EACH_WAY(executor, mode) {
        for (int can = 0; can < 2; can++) {
            struct toy toy;
            const uint64_t content[2] = {0x10800, 0x1122334455667788};
            toy_init(&toy, mode);
            if (can) toy.ops.capabilities |= UNBIND_CAP_BATCH_BUFFERS;
            toy_open(&toy, executor);
            CHECK_EQUAL(!!(unbind_device_capabilities(toy.gpu.device) & UNBIND_CAP_BATCH_BUFFERS), can);
            unbind_queue *queue = NULL;
            REQUIRE(unbind_queue_create(toy.gpu.vm, UNBIND_QUEUE_VIDEO, &queue) == 0);
            CHECK_EQUAL(toy.queue_flags, UNBIND_QUEUE_VIDEO);
            unbind_bo *bo = make_bo(&toy.gpu, PAGE);
            unbind_vma *vma = make_vma(&toy.gpu, bo, 0x10000);
            unbind_fence *done = NULL;
            CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
            char *bytes = (char *)unbind_bo_cpu_pointer(bo);
            memcpy(bytes + 64, content, sizeof content);
            struct unbind_command command = command_of(UNBIND_COMMAND_BATCH, 0x10040);
            CHECK_EQUAL(submit(queue, &command, 1, vma, NULL, &done), can ? 0 : -EOPNOTSUPP);
            if (can) CHECK_EQUAL(finish(done), 0);
            uint64_t stored;
            memcpy(&stored, bytes + 0x800, sizeof stored);
            CHECK_EQUAL(stored, can ? content[1] : 0);
            unbind_vma_unref(vma);
            unbind_bo_unref(bo);
            unbind_queue_unref(queue);
            toy_close(&toy);
        }
    }
}

TEST(no_memory, "a queue and a job that find no memory are not there") {
    for (uint64_t fail = 1; fail < 12; fail++) {
        struct toy toy;
        struct unbind_allocator allocator;
        toy_init(&toy, TOY_AT_ONCE);
        struct unbind_device_options options = gpu_options(&toy.gpu, UNBIND_EXECUTOR_MANUAL, &allocator);
        unbind_queue *queue = NULL;
        unbind_fence *done = NULL, *gate = NULL;
        options.flags = UNBIND_DEVICE_NO_SLABS;
        REQUIRE(unbind_device_open_custom(&toy.ops, &toy, &options, &toy.gpu.device) == 0);
        REQUIRE(unbind_vm_create(toy.gpu.device, NULL, &toy.gpu.vm) == 0);
        unbind_vma *vma = new_vma(&toy, PAGE, 0x10000);
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        gate = make_fence(&toy.gpu);
        struct unbind_command commands[2] = {command_wait(gate), command_store(0x10000, 1)};
        toy.gpu.hooks.fail_at = toy.gpu.hooks.calls + fail;
        int status = unbind_queue_create(toy.gpu.vm, 0, &queue);
        CHECK(status == (queue ? 0 : -ENOMEM));
        if (queue) {
            status = submit(queue, commands, 2, vma, NULL, &done);
            CHECK(status == (done ? 0 : -ENOMEM));
        }
        toy.gpu.hooks.fail_at = 0;
        signal_and_drop(gate);
        if (done) CHECK_EQUAL(finish(done), 0);
        unbind_queue_unref(queue);
        unbind_vma_unref(vma);
        toy_close(&toy);
    }
}
