/* SPDX-License-Identifier: MIT */
/* Bad input to queues: the documented errno, nothing changed, nothing leaked. */
#include "stage.h"

/* One command, listed with the bound VMA. */
static int one(struct stage *stage, struct unbind_command command) {
    unbind_fence *fence = UNTOUCHED(unbind_fence);
    int status = submit(stage->queue, &command, 1, stage->bound, NULL, &fence);
    if (status < 0) CHECK(fence == UNTOUCHED(unbind_fence));
    else unbind_fence_unref(fence);
    return status;
}

TEST(commands_refuse, "submitting refuses every bad command") {
    struct stage value, *stage = &value;
    struct unbind_command bad;
    uint64_t result = 77;
    const uint64_t at = 0x10000;
    stage_open(stage);
    bad = command_fill(at, 8, 1), bad.op = UNBIND_COMMAND_BATCH + 1;
    REFUSES(-EINVAL, one(stage, bad));
    bad = command_fill(at, 8, 1), bad.reserved = 1;
    REFUSES(-EINVAL, one(stage, bad));
    REFUSES(-EINVAL, one(stage, command_fill(at, 0, 1)));
    REFUSES(-EINVAL, one(stage, command_fill(at, 6, 1)));
    REFUSES(-EINVAL, one(stage, command_fill(at + 2, 8, 1)));
    REFUSES(-EINVAL, one(stage, command_fill(0 - PAGE, 2 * PAGE, 1)));
    bad = command_fill(at, 8, 1), bad.source = at;
    REFUSES(-EINVAL, one(stage, bad));
    bad = command_fill(at, 8, 1), bad.value = UINT64_C(1) << 32;
    REFUSES(-EINVAL, one(stage, bad));
    bad = command_fill(at, 8, 1), bad.result = &result;
    REFUSES(-EINVAL, one(stage, bad));
    bad = command_fill(at, 8, 1), bad.fence = stage->fence;
    REFUSES(-EINVAL, one(stage, bad));
    REFUSES(-EINVAL, one(stage, command_copy(at, at + PAGE, 0)));
    REFUSES(-EINVAL, one(stage, command_copy(at, at + 64, 128)));
    REFUSES(-EINVAL, one(stage, command_copy(at + 64, at, 128)));
    REFUSES(-EINVAL, one(stage, command_copy(at, at, 8)));
    REFUSES(-EINVAL, one(stage, command_copy(at, 0 - PAGE, 2 * PAGE)));
    REFUSES(-EINVAL, one(stage, command_copy(0 - PAGE, at, 2 * PAGE)));
    bad = command_copy(at, at + PAGE, 8), bad.value = 1;
    REFUSES(-EINVAL, one(stage, bad));
    REFUSES(-EINVAL, one(stage, command_store(at + 4, 1)));
    bad = command_store(at, 1), bad.size = 8;
    REFUSES(-EINVAL, one(stage, bad));
    REFUSES(-EINVAL, one(stage, command_load(at + 4, &result)));
    REFUSES(-EINVAL, one(stage, command_load(at, NULL)));
    bad = command_load(at, &result), bad.value = 1;
    REFUSES(-EINVAL, one(stage, bad));
    bad = command_delay(1), bad.address = at;
    REFUSES(-EINVAL, one(stage, bad));
    bad = command_delay(1), bad.fence = stage->fence;
    REFUSES(-EINVAL, one(stage, bad));
    REFUSES(-EINVAL, one(stage, command_of(UNBIND_COMMAND_BATCH, at + 4)));
    bad = command_of(UNBIND_COMMAND_BATCH, at), bad.size = 8;
    REFUSES(-EINVAL, one(stage, bad));
    REFUSES(-EINVAL, one(stage, command_wait(NULL)));
    REFUSES(-EINVAL, one(stage, command_wait(stage->other_fence)));
    REFUSES(-EINVAL, one(stage, command_wait(WRONG(unbind_fence, stage->queue))));
    bad = command_wait(stage->signalled), bad.value = 1;
    REFUSES(-EINVAL, one(stage, bad));
    CHECK_EQUAL(result, 77);
    stage_close(stage);
}

static int job_with(struct stage *stage, struct unbind_submit job) {
    unbind_fence *fence = UNTOUCHED(unbind_fence);
    int status = unbind_queue_submit(stage->queue, &job, &fence);
    if (status < 0) CHECK(fence == UNTOUCHED(unbind_fence));
    else unbind_fence_unref(fence);
    return status;
}

static int vma_use(struct stage *stage, unbind_vma *vma, uint32_t use, uint32_t reserved) {
    struct unbind_submit job = UNBIND_SUBMIT_INIT;
    struct unbind_submit_vma item = {vma, use, reserved};
    job.vmas = &item;
    job.vma_count = 1;
    return job_with(stage, job);
}

TEST(submit_refuses, "queue functions refuse every bad argument") {
    struct stage value, *stage = &value;
    struct unbind_submit good = UNBIND_SUBMIT_INIT, bad;
    unbind_queue *queue = UNTOUCHED(unbind_queue);
    stage_open(stage);
    struct unbind_command fill = command_fill(0x10000, 8, 1);
    struct unbind_submit_vma item = {stage->bound, UNBIND_USE_READ, 0};
    unbind_fence *null_fence = NULL;
    REFUSES(-EINVAL, unbind_queue_create(NULL, 0, &queue));
    REFUSES(-EINVAL, unbind_queue_create(WRONG(unbind_vm, stage->bo), 0, &queue));
    REFUSES(-EINVAL, unbind_queue_create(stage->gpu.vm, UNBIND_QUEUE_VIDEO_ENHANCE + 1, &queue));
    REFUSES(-EINVAL, unbind_queue_create(stage->gpu.vm, 1u << 31, &queue));
    REFUSES(-EINVAL, unbind_queue_create(stage->gpu.vm, 0, NULL));
    CHECK(queue == UNTOUCHED(unbind_queue));
    REFUSES(-EINVAL, unbind_queue_submit(NULL, &good, NULL));
    REFUSES(-EINVAL, unbind_queue_submit(stage->queue, NULL, NULL));
    REFUSES(-EINVAL, unbind_queue_submit(WRONG(unbind_queue, stage->gpu.vm), &good, NULL));
    bad = good, bad.struct_size = 0;
    REFUSES(-EINVAL, job_with(stage, bad));
    bad = good, bad.flags = 1;
    REFUSES(-EINVAL, job_with(stage, bad));
    bad = good, bad.reserved = 1;
    REFUSES(-EINVAL, job_with(stage, bad));
    bad = good, bad.command_count = 1;
    REFUSES(-EINVAL, job_with(stage, bad));
    bad = good, bad.vma_count = 1;
    REFUSES(-EINVAL, job_with(stage, bad));
    bad = good, bad.wait_fence_count = 1;
    REFUSES(-EINVAL, job_with(stage, bad));
    bad = good, bad.commands = &fill, bad.command_count = 65537;
    REFUSES(-EINVAL, job_with(stage, bad));
    bad = good, bad.vmas = &item, bad.vma_count = UINT32_MAX;
    REFUSES(-EINVAL, job_with(stage, bad));
    bad = good, bad.wait_fences = &stage->fence, bad.wait_fence_count = 65537;
    REFUSES(-EINVAL, job_with(stage, bad));
    bad = good, bad.wait_fence_count = 1;
    bad.wait_fences = &null_fence;
    REFUSES(-EINVAL, job_with(stage, bad));
    bad.wait_fences = &stage->other_fence;
    REFUSES(-EINVAL, job_with(stage, bad));
    REFUSES(-EINVAL, vma_use(stage, NULL, UNBIND_USE_READ, 0));
    REFUSES(-EINVAL, vma_use(stage, stage->bound, 0, 0));
    REFUSES(-EINVAL, vma_use(stage, stage->bound, 4, 0));
    REFUSES(-EINVAL, vma_use(stage, stage->bound, UNBIND_USE_READ, 1));
    REFUSES(-EINVAL, vma_use(stage, stage->unbound, UNBIND_USE_READ, 0));
    REFUSES(-EINVAL, vma_use(stage, stage->foreign_vma, UNBIND_USE_READ, 0));
    REFUSES(-EINVAL, vma_use(stage, WRONG(unbind_vma, stage->bo), UNBIND_USE_READ, 0));
    stage_close(stage);
}
