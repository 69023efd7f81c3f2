/* SPDX-License-Identifier: MIT */
/* Batches of map and unmap operations, one thing after the other. The model is in batch_model.c. */
#include "batching.h"

TEST(whole_ranges, "a list of maps and unmaps takes effect as a whole, or not at all") {
    struct gpu gpu;
    struct unbind_page page;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, 8 * PAGE);
    struct unbind_op ops[3] = {map_op(bo, 0, 0x10000, 4 * PAGE), map_op(bo, 4 * PAGE, 0x20000, 4 * PAGE),
                               range_op(UNBIND_OP_UNMAP, 0x11000, 0)};
    CHECK_EQUAL(apply(&gpu, ops, 3), -EINVAL);
    CHECK(!page_at(&gpu, 0x10000, &page));
    CHECK_EQUAL(apply(&gpu, ops, 2), 0);
    CHECK(page_at(&gpu, 0x10000, &page));
    CHECK(page_at(&gpu, 0x23000, &page));
    CHECK_EQUAL(page.bo_offset, 7 * PAGE);
    CHECK_EQUAL(stats_of(&gpu).mappings, 2);
    ops[0] = range_op(UNBIND_OP_UNMAP, 0, 16 * MIB);
    CHECK_EQUAL(apply(&gpu, ops, 1), 0);
    CHECK(!page_at(&gpu, 0x10000, &page));
    CHECK_EQUAL(stats_of(&gpu).mappings, 0);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

/* --- what overlaps, and what waits --- */

/* A store through the GPU; the job's error. */
static int gpu_store(struct gpu *gpu, unbind_queue *queue, uint64_t address, uint64_t value) {
    struct unbind_command command = command_store(address, value);
    unbind_fence *fence = NULL;
    REQUIRE(submit(queue, &command, 1, NULL, NULL, &fence) == 0);
    (void)gpu;
    return finish(fence);
}

static uint64_t gpu_load(unbind_queue *queue, uint64_t address, int *error) {
    unbind_fence *fence = NULL;
    uint64_t result = UINT64_C(0x5a5a5a5a);
    struct unbind_command command = command_load(address, &result);
    REQUIRE(submit(queue, &command, 1, NULL, NULL, &fence) == 0);
    *error = finish(fence);
    return result;
}

TEST(null_pages, "null pages read zero, take writes, and never fault") {
    struct gpu gpu;
    struct unbind_page page;
    int error;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_queue *queue = make_queue(&gpu);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    memset(unbind_bo_cpu_pointer(bo), 0x77, PAGE);
    struct unbind_op ops[2] = {range_op(UNBIND_OP_MAP_NULL, 0, 4 * MIB), map_op(bo, 0, 0x5000, PAGE)};
    CHECK_EQUAL(apply(&gpu, ops, 2), 0);
    CHECK_EQUAL(gpu_store(&gpu, queue, 0x1000, 5), 0);
    CHECK_EQUAL(gpu_load(queue, 0x1000, &error), 0);
    CHECK_EQUAL(error, 0);
    CHECK_EQUAL(gpu_load(queue, 3 * MIB, &error), 0);
    CHECK_EQUAL(gpu_load(queue, 0x5000, &error), UINT64_C(0x7777777777777777));
    CHECK_EQUAL(error, 0);
    /* Copies from and to them. */
    struct unbind_command copy;
    unbind_fence *fence = NULL;
    memset(&copy, 0, sizeof copy);
    copy.op = UNBIND_COMMAND_COPY;
    copy.address = 0x6000; /* vanishes */
    copy.source = 0x5000;
    copy.size = PAGE;
    REQUIRE(submit(queue, &copy, 1, NULL, NULL, &fence) == 0);
    CHECK_EQUAL(finish(fence), 0);
    CHECK_EQUAL(gpu_load(queue, 0x6000, &error), 0);
    copy.address = 0x5000;
    copy.source = 0x1f00; /* across pages */
    copy.size = 0x800;
    REQUIRE(submit(queue, &copy, 1, NULL, NULL, &fence) == 0);
    CHECK_EQUAL(finish(fence), 0);
    CHECK_EQUAL(gpu_load(queue, 0x5000, &error), 0);
    CHECK_EQUAL(gpu_load(queue, 0x5800, &error), UINT64_C(0x7777777777777777));
    CHECK(page_at(&gpu, 2 * MIB, &page));
    CHECK_EQUAL(page.size, 2 * MIB);
    CHECK_EQUAL(page.flags & UNBIND_PAGE_NULL, UNBIND_PAGE_NULL);
    CHECK_EQUAL(page.bo_id, 0);
    CHECK_EQUAL(gpu.faults, 0);
    ops[0] = range_op(UNBIND_OP_UNMAP, 0, 2 * MIB);
    CHECK_EQUAL(apply(&gpu, ops, 1), 0);
    CHECK_EQUAL(gpu_store(&gpu, queue, 0x1000, 5), -EFAULT);
    CHECK_EQUAL(gpu_store(&gpu, queue, 2 * MIB, 5), 0);
    /* What is null can be held and read, too. */
    unbind_hold *hold = NULL;
    uint64_t word = 1;
    CHECK_EQUAL(unbind_vm_hold(gpu.vm, 2 * MIB, &hold), 0);
    CHECK_EQUAL(unbind_hold_read(hold, 0, &word, sizeof word), 0);
    CHECK_EQUAL(word, 0);
    unbind_hold_unref(hold);
    unbind_bo_unref(bo);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

TEST(user_memory, "the caller's memory is mapped without a handle, and its parts stay after a split") {
    struct gpu gpu;
    int error;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_queue *queue = make_queue(&gpu);
    uint64_t *memory = NULL;
    REQUIRE(posix_memalign((void **)&memory, PAGE, 4 * PAGE) == 0);
    memset(memory, 0, 4 * PAGE);
    struct unbind_op op = range_op(UNBIND_OP_MAP_USER, 0x10000, 4 * PAGE);
    op.memory = memory;
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    CHECK_EQUAL(gpu_store(&gpu, queue, 0x13008, 42), 0);
    CHECK_EQUAL(memory[3 * 512 + 1], 42);
    op = range_op(UNBIND_OP_UNMAP, 0x11000, PAGE);
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    CHECK_EQUAL(gpu_store(&gpu, queue, 0x11000, 1), -EFAULT);
    CHECK_EQUAL(gpu_store(&gpu, queue, 0x12000, 43), 0);
    CHECK_EQUAL(memory[2 * 512], 43);
    memory[0] = 44;
    CHECK_EQUAL(gpu_load(queue, 0x10000, &error), 44);
    CHECK_EQUAL(stats_of(&gpu).mappings, 2);
    op = range_op(UNBIND_OP_UNMAP, 0, 16 * MIB);
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    free(memory);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

TEST(kept, "mapping what is mapped keeps it, and a split keeps the entries of what is left") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, 16 * PAGE);
    struct unbind_op op = map_op(bo, 0, 0x10000, 16 * PAGE);
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    struct unbind_batch_stats before = stats_of(&gpu);
    op = map_op(bo, 4 * PAGE, 0x14000, 4 * PAGE);
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    struct unbind_batch_stats after = stats_of(&gpu);
    CHECK_EQUAL(after.kept - before.kept, 1);
    CHECK_EQUAL(after.maps, before.maps);
    CHECK_EQUAL(after.entries_written, before.entries_written);
    op = range_op(UNBIND_OP_UNMAP, 0x14000, PAGE);
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    before = after;
    after = stats_of(&gpu);
    CHECK_EQUAL(after.splits - before.splits, 1);
    CHECK_EQUAL(after.mappings, 2);
    CHECK_EQUAL(after.entries_cleared - before.entries_cleared, 1);
    /* The marks of the 64 KiB page that was cut. */
    CHECK(after.entries_written - before.entries_written <= 16);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(cut_large_page, "GPU work never misses a large page that is cut, nor its translation in the TLB") {
    const uint32_t executors[] = {UNBIND_EXECUTOR_MANUAL, UNBIND_EXECUTOR_POOL};
    for (int kind = 0; kind < 2; kind++) {
        struct gpu gpu;
        struct unbind_page page;
        gpu_open(&gpu, executors[kind]);
        unbind_queue *queue = make_queue(&gpu);
        unbind_bo *bo = make_bo(&gpu, 4 * MIB);
        struct unbind_op op = map_op(bo, 0, 4 * MIB, 4 * MIB);
        CHECK_EQUAL(apply(&gpu, &op, 1), 0);
        CHECK(page_at(&gpu, 4 * MIB, &page));
        CHECK_EQUAL(page.size, 2 * MIB);
        struct unbind_command fill[64];
        unbind_fence *job = NULL;
        for (unsigned i = 0; i < 64; i++) {
            memset(&fill[i], 0, sizeof fill[i]);
            fill[i].op = UNBIND_COMMAND_FILL;
            fill[i].address = 4 * MIB + 0x10000; /* what is left */
            fill[i].size = MIB;
            fill[i].value = i;
        }
        REQUIRE(submit(queue, fill, 64, NULL, NULL, &job) == 0);
        for (uint64_t i = 0; i < 16; i++) {
            op = range_op(UNBIND_OP_UNMAP, 4 * MIB + i * PAGE, PAGE);
            CHECK_EQUAL(apply(&gpu, &op, 1), 0);
            op = range_op(UNBIND_OP_UNMAP, 8 * MIB - (i + 1) * PAGE, PAGE);
            CHECK_EQUAL(apply(&gpu, &op, 1), 0);
        }
        CHECK_EQUAL(finish(job), 0);
        CHECK_EQUAL(gpu.faults, 0);
        CHECK_EQUAL(gpu_store(&gpu, queue, 4 * MIB + 0xf000, 1), -EFAULT);
        CHECK_EQUAL(gpu_store(&gpu, queue, 4 * MIB + 0x10000, 1), 0);
        CHECK(page_at(&gpu, 4 * MIB + 0x10000, &page));
        CHECK_EQUAL(page.size, 0x10000);
        unbind_bo_unref(bo);
        unbind_queue_unref(queue);
        gpu_close(&gpu);
    }
}

TEST(asynchronous, "an asynchronous batch waits for its wait list alone, and a job for its fence") {
    struct gpu gpu;
    struct unbind_page page;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_queue *queue = make_queue(&gpu);
    unbind_bo *one = make_bo(&gpu, 4 * PAGE), *two = make_bo(&gpu, 4 * PAGE);
    unbind_fence *work = make_fence(&gpu), *out = NULL, *other = NULL, *job = NULL;
    struct unbind_op ops[2] = {map_op(one, 0, 0x10000, 4 * PAGE), range_op(UNBIND_OP_UNMAP, 0x10000, 2 * PAGE)};
    CHECK_EQUAL(apply(&gpu, ops, 1), 0);
    /* Replaces the middle when the work has ended. */
    ops[0] = map_op(two, 0, 0x11000, 2 * PAGE);
    CHECK_EQUAL(async(&gpu, ops, 1, UNBIND_BATCH_ASYNC, work, &out), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(out), 0);
    CHECK_EQUAL(stats_of(&gpu).mappings, 3);
    CHECK(page_at(&gpu, 0x11000, &page));
    CHECK_EQUAL(page.bo_id, 0); /* still the old entry */
    /* What does not overlap does not wait, neither does a new one beside it. */
    ops[0] = map_op(one, 0, 0x20000, PAGE);
    CHECK_EQUAL(async(&gpu, ops, 1, UNBIND_BATCH_ASYNC, NULL, &other), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(other), 1);
    CHECK_EQUAL(finish(other), 0);
    ops[0] = map_op(two, 3 * PAGE, 0x12000, PAGE);
    CHECK_EQUAL(async(&gpu, ops, 1, UNBIND_BATCH_ASYNC, NULL, &other), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(other), 0); /* over what is still to be bound */
    struct unbind_command store;
    memset(&store, 0, sizeof store);
    store.op = UNBIND_COMMAND_STORE;
    store.address = 0x12000;
    store.value = 7;
    struct unbind_submit run = UNBIND_SUBMIT_INIT;
    run.commands = &store;
    run.command_count = 1;
    run.wait_fences = &other;
    run.wait_fence_count = 1;
    REQUIRE(unbind_queue_submit(queue, &run, &job) == 0);
    signal_and_drop(work);
    CHECK_EQUAL(finish(job), 0);
    CHECK_EQUAL(*(uint64_t *)((char *)unbind_bo_cpu_pointer(two) + 3 * PAGE), 7);
    CHECK_EQUAL(finish(out), 0);
    CHECK_EQUAL(finish(other), 0);
    unbind_bo_unref(one);
    unbind_bo_unref(two);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

TEST(errors_of_waits, "a batch happens whatever the fences carry that it waited for") {
    struct gpu gpu;
    struct unbind_page page;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
    unbind_fence *work = make_fence(&gpu), *out = NULL;
    struct unbind_op op = map_op(bo, 0, 0x10000, 4 * PAGE);
    CHECK_EQUAL(async(&gpu, &op, 1, UNBIND_BATCH_ASYNC, work, &out), 0);
    CHECK(!page_at(&gpu, 0x10000, &page));
    CHECK_EQUAL(unbind_fence_signal(work, -EFAULT), 0);
    unbind_fence_unref(work);
    CHECK_EQUAL(finish(out), 0);
    CHECK(page_at(&gpu, 0x10000, &page));
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(defer_to_idle, "a batch that is deferred takes nothing away from jobs that were submitted before") {
    const uint32_t executors[] = {UNBIND_EXECUTOR_MANUAL, UNBIND_EXECUTOR_SIMULATED, UNBIND_EXECUTOR_POOL};
    for (int kind = 0; kind < 3; kind++) {
        struct gpu gpu;
        gpu_open(&gpu, executors[kind]);
        unbind_queue *queues[2] = {make_queue(&gpu), make_queue(&gpu)};
        unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
        unbind_fence *go = make_fence(&gpu), *jobs[2], *out = NULL, *early = NULL;
        struct unbind_op op = map_op(bo, 0, 0x10000, 4 * PAGE);
        CHECK_EQUAL(apply(&gpu, &op, 1), 0);
        for (int i = 0; i < 2; i++) {
            struct unbind_command store;
            struct unbind_submit run = UNBIND_SUBMIT_INIT;
            memset(&store, 0, sizeof store);
            store.op = UNBIND_COMMAND_STORE;
            store.address = 0x10000 + (uint64_t)i * PAGE;
            store.value = 9;
            run.commands = &store;
            run.command_count = 1;
            run.wait_fences = &go;
            run.wait_fence_count = 1;
            REQUIRE(unbind_queue_submit(queues[i], &run, &jobs[i]) == 0);
        }
        op = range_op(UNBIND_OP_UNMAP, 0x10000, 4 * PAGE);
        CHECK_EQUAL(async(&gpu, &op, 1, UNBIND_BATCH_DEFER_TO_IDLE, NULL, &out), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(out), 0);
        op = range_op(UNBIND_OP_SYNC_ONLY, 0, 0);
        CHECK_EQUAL(async(&gpu, &op, 1, UNBIND_BATCH_DEFER_TO_IDLE, NULL, &early), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(early), 0);
        signal_and_drop(go);
        for (int i = 0; i < 2; i++) CHECK_EQUAL(finish(jobs[i]), 0);
        CHECK_EQUAL(finish(out), 0);
        CHECK_EQUAL(finish(early), 0);
        CHECK_EQUAL(gpu.faults, 0);
        CHECK_EQUAL(gpu_store(&gpu, queues[0], 0x10000, 1), -EFAULT);
        unbind_bo_unref(bo);
        for (int i = 0; i < 2; i++) unbind_queue_unref(queues[i]);
        gpu_close(&gpu);
    }
}

TEST(queues, "batches of one bind queue end in order, and those of another do not wait (selftest 47)") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bind_queue *queues[2] = {NULL, NULL};
    unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
    unbind_fence *work = make_fence(&gpu), *out[4] = {NULL, NULL, NULL, NULL};
    CHECK_EQUAL(unbind_bind_queue_create(gpu.vm, 1, &queues[0]), -EINVAL);
    for (int i = 0; i < 2; i++) CHECK_EQUAL(unbind_bind_queue_create(gpu.vm, 0, &queues[i]), 0);
    CHECK(unbind_bind_queue_ref(queues[0]) == queues[0]);
    unbind_bind_queue_unref(queues[0]);
    for (int i = 0; i < 4; i++) {
        struct unbind_batch batch = UNBIND_BATCH_INIT;
        struct unbind_sync sync = {work, NULL, 0};
        struct unbind_op op = map_op(bo, 0, 0x10000 + (uint64_t)i * 0x10000, PAGE);
        if (i == 3) op.address = 0x10000; /* conflicts with the first */
        batch.mode = UNBIND_BATCH_ASYNC;
        batch.queue = queues[i / 2];
        batch.waits = &sync;
        batch.wait_count = i == 0;
        batch.out_fence = &out[i];
        if (i == 3) op.offset = PAGE;
        CHECK_EQUAL(unbind_vm_submit(gpu.vm, &op, 1, &batch), 0);
    }
    CHECK_EQUAL(unbind_fence_is_signaled(out[0]), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(out[1]), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(out[2]), 1);
    CHECK_EQUAL(unbind_fence_is_signaled(out[3]), 0);
    for (int i = 0; i < 2; i++) unbind_bind_queue_unref(queues[i]);
    signal_and_drop(work);
    for (int i = 0; i < 4; i++) CHECK_EQUAL(finish(out[i]), 0);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(signals, "fences and points of timelines signal with the batch, and none is added by one that fails") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
    unbind_timeline *line = make_timeline(&gpu), *second = make_timeline(&gpu);
    unbind_fence *work = make_fence(&gpu), *told = make_fence(&gpu), *missing = NULL;
    struct unbind_sync waits[1] = {{work, NULL, 0}};
    struct unbind_sync lists[3] = {{told, NULL, 0}, {NULL, line, 5}, {NULL, second, 0}};
    struct unbind_batch batch = UNBIND_BATCH_INIT;
    struct unbind_op op = map_op(bo, 0, 0x10000, PAGE);
    uint32_t done = 9;
    batch.mode = UNBIND_BATCH_ASYNC;
    batch.waits = waits;
    batch.wait_count = 1;
    batch.signals = lists;
    batch.signal_count = 3;
    batch.out_done = &done;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, &op, 1, &batch), -EINVAL); /* point 0 does not grow */
    CHECK_EQUAL(done, 0);
    CHECK_EQUAL(stats_of(&gpu).mappings, 0);
    CHECK_EQUAL(unbind_timeline_get_point(line, 5, &missing), -EAGAIN);
    lists[2].point = 1;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, &op, 1, &batch), 0);
    CHECK_EQUAL(done, 1);
    unbind_fence *point = point_of(line, 5);
    CHECK_EQUAL(unbind_fence_is_signaled(told), 0);
    CHECK_EQUAL(value_of(line), 0);
    /* A timeline point can be waited for, too. */
    struct unbind_sync next[1] = {{NULL, line, 5}};
    unbind_fence *out = NULL;
    struct unbind_batch later = UNBIND_BATCH_INIT;
    later.mode = UNBIND_BATCH_ASYNC;
    later.waits = next;
    later.wait_count = 1;
    later.out_fence = &out;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, NULL, 0, &later), 0);
    next[0].point = 6;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, NULL, 0, &later), -EAGAIN);
    CHECK_EQUAL(unbind_fence_is_signaled(out), 0);
    signal_and_drop(work);
    CHECK_EQUAL(finish(out), 0);
    CHECK_EQUAL(finish(point), 0);
    CHECK_EQUAL(unbind_fence_wait(told, FOREVER, 0), 0);
    CHECK_EQUAL(value_of(line), 5);
    CHECK_EQUAL(value_of(second), 1);
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, &op, 1, &batch), -EINVAL); /* told has signalled */
    unbind_fence_unref(told);
    unbind_timeline_unref(line);
    unbind_timeline_unref(second);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(others, "VMAs, holds, moves and unbinds of the buffer respect mappings, and mappings them") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
    unbind_vma *vma = bind_new(&gpu, 4 * PAGE, 0x20000), *late = make_vma(&gpu, bo, 0x11000);
    struct unbind_op op = map_op(bo, 0, 0x10000, 4 * PAGE), other;
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    other = range_op(UNBIND_OP_UNMAP, 0x10000, 0x20000);
    CHECK_EQUAL(apply(&gpu, &other, 1), -EBUSY);
    other = map_op(bo, 0, 0x21000, PAGE);
    CHECK_EQUAL(apply(&gpu, &other, 1), -EBUSY);
    CHECK_EQUAL(unbind_vma_bind(late, 0), -ENOSPC);
    CHECK_EQUAL(unbind_vma_bind(late, UNBIND_BIND_EVICT), -ENOSPC);
    CHECK_EQUAL(unbind_bo_unbind(bo, UNBIND_BO_UNBIND_ACTIVE), -EAGAIN);
    CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, NULL), -EBUSY);
    other = bo_op(UNBIND_OP_PREFETCH, bo);
    CHECK_EQUAL(apply(&gpu, &other, 1), 0);
    other.region = UNBIND_REGION_LOCAL;
    CHECK_EQUAL(apply(&gpu, &other, 1), -EBUSY);
    /* A part of what is held cannot go, all of it can. */
    unbind_hold *hold = NULL;
    unbind_fence *out = NULL;
    CHECK_EQUAL(unbind_vm_hold(gpu.vm, 0x12000, &hold), 0);
    other = range_op(UNBIND_OP_UNMAP, 0x11000, PAGE);
    CHECK_EQUAL(apply(&gpu, &other, 1), -EBUSY);
    other = bo_op(UNBIND_OP_UNMAP_ALL, bo);
    CHECK_EQUAL(async(&gpu, &other, 1, UNBIND_BATCH_ASYNC, NULL, &out), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(out), 0);
    unbind_hold_unref(hold);
    CHECK_EQUAL(finish(out), 0);
    /* Nothing holds it any more. */
    struct unbind_op both[2] = {bo_op(UNBIND_OP_PREFETCH, bo), map_op(bo, 0, 0x10000, 4 * PAGE)};
    both[0].region = UNBIND_REGION_LOCAL;
    CHECK_EQUAL(apply(&gpu, both, 2), 0);
    CHECK_EQUAL(unbind_bo_region(bo), UNBIND_REGION_LOCAL);
    struct unbind_page page;
    CHECK(page_at(&gpu, 0x12000, &page));
    CHECK(page.flags & UNBIND_PAGE_LOCAL);
    CHECK_EQUAL(unbind_vma_bind(late, 0), -ENOSPC);
    unbind_vma_unref(late);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(cutting, "a list that is too large is refused, or cut into pieces that are whole") {
    struct gpu gpu;
    uint32_t done = 9;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
    struct unbind_op ops[10];
    struct unbind_batch batch = UNBIND_BATCH_INIT;
    unbind_fence *out = NULL, *work = make_fence(&gpu);
    struct unbind_sync wait = {work, NULL, 0};
    for (unsigned i = 0; i < 10; i++) ops[i] = map_op(bo, 0, 0x10000 + i * 2 * PAGE, PAGE);
    batch.mode = UNBIND_BATCH_ASYNC;
    batch.limit = 4;
    batch.out_done = &done;
    batch.out_fence = &out;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, 10, &batch), -ENOBUFS);
    CHECK_EQUAL(done, 0);
    CHECK_EQUAL(stats_of(&gpu).mappings, 0);
    batch.flags = UNBIND_BATCH_SPLIT;
    batch.waits = &wait;
    batch.wait_count = 1;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, 10, &batch), 0);
    CHECK_EQUAL(done, 10);
    CHECK_EQUAL(stats_of(&gpu).batches, 3);
    CHECK_EQUAL(stats_of(&gpu).cuts, 2);
    CHECK_EQUAL(stats_of(&gpu).mappings, 10);
    CHECK_EQUAL(unbind_fence_is_signaled(out), 0);
    signal_and_drop(work);
    CHECK_EQUAL(finish(out), 0);
    /* The second piece fails: the first stays. */
    batch.wait_count = 0;
    batch.waits = NULL;
    for (unsigned i = 0; i < 10; i++) ops[i].address += 0x100000;
    ops[5].address = 0x10000;
    ops[5].flags = UNBIND_OP_NO_REPLACE;
    out = NULL;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, 10, &batch), -EEXIST);
    CHECK_EQUAL(done, 4);
    CHECK_EQUAL(stats_of(&gpu).mappings, 14);
    if (out) CHECK_EQUAL(finish(out), 0);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(merging, "neighbours that show neighbouring parts of a buffer are one mapping, with its large pages") {
    struct gpu gpu;
    struct unbind_page page;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_queue *queue = make_queue(&gpu);
    unbind_bo *bo = make_bo(&gpu, 4 * MIB);
    struct unbind_op op;
    /* Page by page, from both ends to the middle. */
    for (uint64_t i = 0; i < 512; i++) {
        for (int end = 0; end < 2; end++) {
            uint64_t offset = (end ? 1023 - i : i) * PAGE;
            op = map_op(bo, offset, 8 * MIB + offset, PAGE);
            CHECK_EQUAL(apply(&gpu, &op, 1), 0);
        }
        if (i == 100) CHECK_EQUAL(gpu_store(&gpu, queue, 8 * MIB, i), 0); /* the TLB knows small pages */
        if (i == 300) CHECK_EQUAL(stats_of(&gpu).mappings, 2);
    }
    CHECK_EQUAL(stats_of(&gpu).mappings, 1);
    CHECK_EQUAL(stats_of(&gpu).merges, 1023);
    for (uint64_t address = 8 * MIB; address < 12 * MIB; address += 2 * MIB) {
        CHECK(page_at(&gpu, address, &page));
        CHECK_EQUAL(page.size, 2 * MIB);
        CHECK_EQUAL(page.bo_offset, address - 8 * MIB);
        CHECK_EQUAL(gpu_store(&gpu, queue, address, 1), 0);
        CHECK_EQUAL(gpu_store(&gpu, queue, address + MIB, 1), 0);
    }
    /* A hole, and it is closed again. */
    op = range_op(UNBIND_OP_UNMAP, 8 * MIB + 0x5000, PAGE);
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    CHECK_EQUAL(stats_of(&gpu).mappings, 2);
    CHECK_EQUAL(gpu_store(&gpu, queue, 8 * MIB + 0x5000, 1), -EFAULT);
    op = map_op(bo, 0x5000, 8 * MIB + 0x5000, PAGE);
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    CHECK_EQUAL(stats_of(&gpu).mappings, 1);
    CHECK(page_at(&gpu, 8 * MIB, &page));
    CHECK_EQUAL(page.size, 2 * MIB);
    CHECK_EQUAL(gpu_store(&gpu, queue, 8 * MIB + 0x5000, 1), 0);
    /* Other flags, another place in the buffer, or a hold: not one. */
    op = map_op(bo, 0, 12 * MIB, PAGE);
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    CHECK_EQUAL(stats_of(&gpu).mappings, 2);
    op = map_op(bo, PAGE, 12 * MIB + PAGE, PAGE);
    op.flags = UNBIND_OP_READ_ONLY;
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    CHECK_EQUAL(stats_of(&gpu).mappings, 3);
    unbind_hold *hold = NULL;
    CHECK_EQUAL(unbind_vm_hold(gpu.vm, 12 * MIB + PAGE, &hold), 0);
    op = map_op(bo, 2 * PAGE, 12 * MIB + 2 * PAGE, PAGE);
    op.flags = UNBIND_OP_READ_ONLY;
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    CHECK_EQUAL(stats_of(&gpu).mappings, 4);
    unbind_hold_unref(hold);
    op.address += PAGE;
    op.offset += PAGE;
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    CHECK_EQUAL(stats_of(&gpu).mappings, 3);
    CHECK_EQUAL(gpu.faults, 1);
    unbind_bo_unref(bo);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}
