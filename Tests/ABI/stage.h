/* SPDX-License-Identifier: MIT */
/* What the tests of bad input share: a device full of objects, some foreign ones, and what must not change. */
#ifndef TESTS_ABI_STAGE_H
#define TESTS_ABI_STAGE_H

#include "support.h"

/* The table's subject: everything of one device, and some things that are foreign to it. */
struct stage {
    struct gpu gpu;
    struct gpu other; /* another device */
    unbind_vm *second_vm;
    unbind_bo *bo, *other_bo;
    unbind_vma *bound, *unbound, *foreign_vma, *taken;
    unbind_queue *queue;
    unbind_fence *fence, *signalled, *job, *other_fence;
};

struct snapshot {
    struct unbind_device_stats device;
    struct unbind_vm_stats vm;
};

static struct snapshot snapshot(struct stage *stage) {
    struct snapshot now;
    now.device = device_stats(stage->gpu.device);
    now.device.allocations = now.device.slab_allocations = 0; /* what was taken may have been given back */
    now.vm = vm_stats(stage->gpu.vm);
    return now;
}

/* The call gives this error and leaves the figures of device and VM as they were. */
#define REFUSES(error, call)                                                        \
    do {                                                                            \
        struct snapshot before__ = snapshot(stage), after__;                        \
        CHECK_EQUAL(call, error);                                                   \
        after__ = snapshot(stage);                                                  \
        if (memcmp(&before__, &after__, sizeof before__) != 0) {                    \
            check_failed(__FILE__, __LINE__, #call, "something was changed by ");   \
        }                                                                           \
    } while (0)

#define WRONG(type, handle) ((type *)(void *)(handle))

static void stage_open(struct stage *stage) {
    memset(stage, 0, sizeof *stage);
    gpu_open(&stage->gpu, UNBIND_EXECUTOR_MANUAL);
    gpu_open(&stage->other, UNBIND_EXECUTOR_MANUAL);
    REQUIRE(unbind_vm_create(stage->gpu.device, NULL, &stage->second_vm) == 0);
    stage->bo = make_bo(&stage->gpu, 2 * PAGE);
    stage->other_bo = make_bo(&stage->other, 2 * PAGE);
    stage->bound = make_vma(&stage->gpu, stage->bo, 0x10000);
    REQUIRE(unbind_vma_bind(stage->bound, 0) == 0);
    stage->taken = make_vma(&stage->gpu, stage->bo, 0x11000);
    stage->unbound = make_vma(&stage->gpu, stage->bo, 0x40000);
    REQUIRE(unbind_vma_create(stage->second_vm, stage->bo, NULL, &stage->foreign_vma) == 0);
    REQUIRE(unbind_vma_bind(stage->foreign_vma, 0) == 0);
    stage->queue = make_queue(&stage->gpu);
    stage->fence = make_fence(&stage->gpu);
    stage->signalled = make_fence(&stage->gpu);
    REQUIRE(unbind_fence_signal(stage->signalled, -EIO) == 0);
    stage->other_fence = make_fence(&stage->other);
    REQUIRE(submit(stage->queue, NULL, 0, NULL, NULL, &stage->job) == 0);
    REQUIRE(unbind_fence_wait(stage->job, FOREVER, 0) == 0);
    REQUIRE(unbind_device_wait_idle(stage->gpu.device, FOREVER, 0) == 0);
}

static void stage_close(struct stage *stage) {
    unbind_fence_unref(stage->fence);
    unbind_fence_unref(stage->signalled);
    unbind_fence_unref(stage->job);
    unbind_fence_unref(stage->other_fence);
    unbind_queue_unref(stage->queue);
    unbind_vma_unref(stage->bound);
    unbind_vma_unref(stage->taken);
    unbind_vma_unref(stage->unbound);
    unbind_vma_unref(stage->foreign_vma);
    unbind_bo_unref(stage->bo);
    unbind_bo_unref(stage->other_bo);
    unbind_vm_unref(stage->second_vm);
    gpu_close(&stage->gpu);
    gpu_close(&stage->other);
}

#endif /* TESTS_ABI_STAGE_H */
