/* SPDX-License-Identifier: MIT */
/* The batch side of support.h: short ways to make operations, to submit them, and to look at single pages. */
#ifndef UNBIND_TESTS_BATCH_SUPPORT_H
#define UNBIND_TESTS_BATCH_SUPPORT_H

#include "support.h"

static inline struct unbind_op op_of(uint32_t kind, uint64_t address, uint64_t size) {
    struct unbind_op op;
    memset(&op, 0, sizeof op);
    op.op = kind;
    op.address = address;
    op.size = size;
    return op;
}

static inline struct unbind_op op_map(unbind_bo *bo, uint64_t offset, uint64_t address, uint64_t size) {
    struct unbind_op op = op_of(UNBIND_OP_MAP, address, size);
    op.bo = bo;
    op.offset = offset;
    return op;
}

static inline struct unbind_op op_map_flags(unbind_bo *bo, uint64_t offset, uint64_t address, uint64_t size,
                                            uint32_t flags) {
    struct unbind_op op = op_map(bo, offset, address, size);
    op.flags = flags;
    return op;
}

static inline struct unbind_op op_map_user(void *memory, uint64_t address, uint64_t size) {
    struct unbind_op op = op_of(UNBIND_OP_MAP_USER, address, size);
    op.memory = memory;
    return op;
}

static inline struct unbind_op op_map_null(uint64_t address, uint64_t size) {
    return op_of(UNBIND_OP_MAP_NULL, address, size);
}

static inline struct unbind_op op_unmap(uint64_t address, uint64_t size) {
    return op_of(UNBIND_OP_UNMAP, address, size);
}

static inline struct unbind_op op_unmap_all(unbind_bo *bo) {
    struct unbind_op op = op_of(UNBIND_OP_UNMAP_ALL, 0, 0);
    op.bo = bo;
    return op;
}

/* A list in a mode, on a queue, behind up to one fence. */
static inline int batch_on(struct gpu *gpu, unbind_bind_queue *queue, const struct unbind_op *ops, uint32_t count,
                           uint32_t mode, unbind_fence *behind, unbind_fence **out_fence) {
    struct unbind_batch batch = UNBIND_BATCH_INIT;
    struct unbind_sync wait;
    memset(&wait, 0, sizeof wait);
    wait.fence = behind;
    batch.mode = mode;
    batch.queue = queue;
    batch.waits = behind ? &wait : NULL;
    batch.wait_count = behind ? 1 : 0;
    batch.out_fence = out_fence;
    return unbind_vm_submit(gpu->vm, ops, count, &batch);
}

static inline int batch_of(struct gpu *gpu, const struct unbind_op *ops, uint32_t count, uint32_t mode,
                           unbind_fence **out_fence) {
    return batch_on(gpu, NULL, ops, count, mode, NULL, out_fence);
}

/* One operation that must work, and be done when this returns. */
static inline void apply(struct gpu *gpu, struct unbind_op op) {
    REQUIRE(unbind_vm_submit(gpu->vm, &op, 1, NULL) == 0);
}

static inline struct unbind_batch_stats batch_stats(unbind_vm *vm) {
    struct unbind_batch_stats stats = UNBIND_BATCH_STATS_INIT;
    CHECK_EQUAL(unbind_vm_get_batch_stats(vm, &stats), 0);
    return stats;
}

/* The leaf entry that translates an address; size 0: there is none. */
static inline struct unbind_page page_at(unbind_vm *vm, uint64_t address) {
    struct unbind_page page = UNBIND_PAGE_INIT;
    if (unbind_vm_find_page(vm, address, &page) != 0 || page.address > address) page.size = 0;
    return page;
}

/* Whether the page tables lead an address to this byte of this buffer; bo NULL: nowhere. */
static inline bool leads_to(unbind_vm *vm, uint64_t address, const unbind_bo *bo, uint64_t offset) {
    struct unbind_page page = page_at(vm, address);
    if (!bo) return page.size == 0;
    return page.size != 0 && page.bo_id == unbind_bo_id(bo) && page.bo_offset + (address - page.address) == offset;
}

/* Word 0 of every page says whose it is; the tests store to the others. */
static inline uint64_t tag_of(const unbind_bo *bo, uint64_t offset) { return unbind_bo_id(bo) << 40 | offset; }

static inline unbind_bo *make_tagged_bo(struct gpu *gpu, uint64_t size) {
    unbind_bo *bo = make_bo(gpu, size);
    char *cpu = (char *)unbind_bo_cpu_pointer(bo);
    for (uint64_t offset = 0; offset < size; offset += PAGE) *(uint64_t *)(void *)(cpu + offset) = tag_of(bo, offset);
    return bo;
}

static inline uint64_t word_of(const unbind_bo *bo, uint64_t offset) {
    return *(const uint64_t *)(const void *)((const char *)unbind_bo_cpu_pointer(bo) + offset);
}

/* What the GPU reads there; *faulted tells that it did not. */
static inline uint64_t gpu_load(unbind_queue *queue, uint64_t address, bool *faulted) {
    uint64_t value = 0;
    struct unbind_command load = command_load(address, &value);
    unbind_fence *job = NULL;
    REQUIRE(submit(queue, &load, 1, NULL, NULL, &job) == 0);
    int error = finish(job);
    CHECK(error == 0 || error == -EFAULT);
    *faulted = error != 0;
    return value;
}

static inline bool gpu_reads(unbind_queue *queue, uint64_t address, uint64_t expected) {
    bool faulted;
    uint64_t value = gpu_load(queue, address, &faulted);
    return !faulted && value == expected;
}

static inline bool gpu_faults(unbind_queue *queue, uint64_t address) {
    bool faulted;
    gpu_load(queue, address, &faulted);
    return faulted;
}

/* Runs all that can run, one piece of work at a time, with a look in between. */
static inline void run_watched(struct gpu *gpu, void (*look)(void *data), void *data) {
    for (uint32_t ran = 1; ran;) {
        uint64_t next = 0;
        look(data);
        REQUIRE(unbind_device_next_event(gpu->device, &next) == 0);
        if (next == UINT64_MAX) break;
        REQUIRE(unbind_device_run(gpu->device, 1, &ran) == 0);
    }
    REQUIRE(unbind_device_wait_idle(gpu->device, FOREVER, 0) == 0);
    look(data);
}

#endif /* UNBIND_TESTS_BATCH_SUPPORT_H */
