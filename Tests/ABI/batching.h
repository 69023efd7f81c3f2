/* SPDX-License-Identifier: MIT */
/* What the tests of batches share: short ways to say an operation. */
#ifndef TESTS_ABI_BATCHING_H
#define TESTS_ABI_BATCHING_H

#include "placing.h"

static inline struct unbind_op range_op(uint32_t kind, uint64_t address, uint64_t size) {
    struct unbind_op op;
    memset(&op, 0, sizeof op);
    op.op = kind;
    op.address = address;
    op.size = size;
    return op;
}

static inline struct unbind_op map_op(unbind_bo *bo, uint64_t offset, uint64_t address, uint64_t size) {
    struct unbind_op op = range_op(UNBIND_OP_MAP, address, size);
    op.bo = bo;
    op.offset = offset;
    return op;
}

static inline struct unbind_op bo_op(uint32_t kind, unbind_bo *bo) {
    struct unbind_op op = range_op(kind, 0, 0);
    op.bo = bo;
    return op;
}

static inline int apply(struct gpu *gpu, const struct unbind_op *ops, uint32_t count) {
    return unbind_vm_submit(gpu->vm, ops, count, NULL);
}

static inline int async(struct gpu *gpu, const struct unbind_op *ops, uint32_t count, uint32_t mode, unbind_fence *wait,
                 unbind_fence **out) {
    struct unbind_batch batch = UNBIND_BATCH_INIT;
    struct unbind_sync sync = {wait, NULL, 0};
    batch.mode = mode;
    batch.waits = &sync;
    batch.wait_count = wait != NULL;
    batch.out_fence = out;
    return unbind_vm_submit(gpu->vm, ops, count, &batch);
}

static inline struct unbind_batch_stats stats_of(struct gpu *gpu) {
    struct unbind_batch_stats stats = UNBIND_BATCH_STATS_INIT;
    CHECK_EQUAL(unbind_vm_get_batch_stats(gpu->vm, &stats), 0);
    return stats;
}

#endif /* TESTS_ABI_BATCHING_H */
