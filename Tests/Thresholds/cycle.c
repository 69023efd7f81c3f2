/* SPDX-License-Identifier: MIT */
/*
 * Cycles of bind, asynchronous unbind and dropping the fence, on existing VMAs,
 * for counting what they cost in things that do not depend on the machine's
 * mood. Manual executor, cost model of zero.
 *
 *     cycle immediate CYCLES        nothing is attached; for callgrind
 *     cycle deferred CYCLES         1,024 unbinds stay pending; a cycle also makes,
 *                                   attaches, signals and drops a fence, and runs
 *                                   the work that this sets free; for callgrind
 *     cycle batched CYCLES          a cycle maps and unmaps a page, as one of a thousand
 *                                   neighbours in a call, each a mapping of its own; for
 *                                   callgrind
 *     cycle split CYCLES            a cycle unmaps one page of a mapping of 2,000: first
 *                                   every other one, then the rest; for callgrind
 *     cycle memory                  prints the allocations per cycle once warm,
 *                                   and the bytes per pending unbind
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unbind/unbind.h>

enum { PAGE = 4096, PENDING = 1024, MANY = 16384 };

#define TRY(call)                                                                     \
    do {                                                                              \
        int status_ = (call);                                                         \
        if (status_ < 0) {                                                            \
            fprintf(stderr, "cycle: %s: %s\n", #call, unbind_status_string(status_)); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

static unbind_device *device;
static unbind_vm *vm;
static unbind_vma *vmas[MANY + 1];
static unbind_fence *users[MANY + 1];

static void open_device(void) {
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    struct unbind_vm_options vm_options = UNBIND_VM_OPTIONS_INIT;
    options.executor = UNBIND_EXECUTOR_MANUAL;
    TRY(unbind_device_open_software(&options, &device));
    TRY(unbind_vm_create(device, &vm_options, &vm));
}

static void make_vmas(unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
        unbind_bo *bo;
        TRY(unbind_bo_create(device, PAGE, UNBIND_REGION_SYSTEM, 0, &bo));
        options.flags = UNBIND_VMA_FIXED;
        options.address = 0x100000 + (uint64_t)i * PAGE;
        TRY(unbind_vma_create(vm, bo, &options, &vmas[i]));
        unbind_bo_unref(bo);
    }
}

static void close_device(unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        if (users[i]) TRY(unbind_fence_signal(users[i], 0));
        unbind_fence_unref(users[i]);
        users[i] = NULL;
    }
    TRY(unbind_device_wait_idle(device, UNBIND_TIMEOUT_INFINITE, 0));
    for (unsigned i = 0; i < count; i++) unbind_vma_unref(vmas[i]);
    unbind_vm_unref(vm);
    TRY(unbind_device_close(device, NULL));
    unbind_device_unref(device);
}

static void immediate(unsigned long cycles) {
    for (unsigned long i = 0; i < cycles; i++) {
        unbind_fence *fence;
        TRY(unbind_vma_bind(vmas[0], 0));
        TRY(unbind_vma_unbind_async(vmas[0], 0, &fence));
        unbind_fence_unref(fence);
    }
}

static void bind_and_unbind(unsigned slot) {
    unbind_fence *fence;
    TRY(unbind_fence_create(device, &users[slot]));
    TRY(unbind_vma_bind(vmas[slot], 0));
    TRY(unbind_vma_add_user(vmas[slot], users[slot]));
    TRY(unbind_vma_unbind_async(vmas[slot], 0, &fence));
    unbind_fence_unref(fence);
}

/* One VMA more than there are pending: the free one goes round. */
static void deferred(unsigned long cycles) {
    static unsigned slot = PENDING;
    for (unsigned long i = 0; i < cycles; i++) {
        unsigned oldest = slot == PENDING ? 0 : slot + 1;
        bind_and_unbind(slot);
        TRY(unbind_fence_signal(users[oldest], 0));
        TRY(unbind_device_run(device, 0, NULL));
        unbind_fence_unref(users[oldest]);
        users[oldest] = NULL;
        slot = oldest;
    }
}

static void batched(unsigned long cycles) {
    enum { COUNT = 1000 };
    static struct unbind_op maps[COUNT], unmaps[COUNT];
    unbind_bo *bo;
    TRY(unbind_bo_create(device, COUNT * PAGE, UNBIND_REGION_SYSTEM, 0, &bo));
    for (uint64_t i = 0; i < COUNT; i++) {
        maps[i].op = UNBIND_OP_MAP;
        unmaps[i].op = UNBIND_OP_UNMAP;
        maps[i].address = unmaps[i].address = 0x10000000 + i * PAGE;
        maps[i].size = unmaps[i].size = PAGE;
        maps[i].bo = bo;
        maps[i].offset = (COUNT - 1 - i) * PAGE;
    }
    for (unsigned long i = 0; i < cycles; i += COUNT) {
        TRY(unbind_vm_submit(vm, maps, COUNT, NULL));
        TRY(unbind_vm_submit(vm, unmaps, COUNT, NULL));
    }
    unbind_bo_unref(bo);
}

static void split(unsigned long cycles) {
    enum { COUNT = 2000 };
    struct unbind_op op;
    memset(&op, 0, sizeof op);
    op.op = UNBIND_OP_MAP;
    op.size = (uint64_t)COUNT * PAGE;
    TRY(unbind_bo_create(device, op.size, UNBIND_REGION_SYSTEM, 0, &op.bo));
    unbind_bo *bo = op.bo;
    for (unsigned long i = 0; i < cycles; i += COUNT) {
        op.op = UNBIND_OP_MAP;
        op.bo = bo;
        op.address = 0x10000000;
        op.size = (uint64_t)COUNT * PAGE;
        TRY(unbind_vm_submit(vm, &op, 1, NULL));
        op.op = UNBIND_OP_UNMAP;
        op.bo = NULL;
        op.size = PAGE;
        for (uint64_t page = 0; page < COUNT; page++) {
            op.address = 0x10000000 + (page * 2 % COUNT + page * 2 / COUNT) * PAGE;
            TRY(unbind_vm_submit(vm, &op, 1, NULL));
        }
    }
    unbind_bo_unref(bo);
}

static struct unbind_device_stats stats(void) {
    struct unbind_device_stats stats = UNBIND_DEVICE_STATS_INIT;
    TRY(unbind_device_get_stats(device, &stats));
    return stats;
}

static void memory(void) {
    enum { CYCLES = 10000 };
    open_device();
    make_vmas(PENDING + 1);
    immediate(100);
    uint64_t before = stats().allocations;
    immediate(CYCLES);
    printf("immediate.allocations %" PRIu64 "\n", stats().allocations - before);
    for (unsigned i = 0; i < PENDING; i++) bind_and_unbind(i);
    deferred(2 * PENDING);
    before = stats().allocations;
    deferred(CYCLES);
    printf("deferred.allocations %" PRIu64 "\n", stats().allocations - before);
    close_device(PENDING + 1);

    open_device();
    make_vmas(MANY);
    for (unsigned i = 0; i < MANY; i++) TRY(unbind_fence_create(device, &users[i]));
    before = stats().bytes_allocated;
    for (unsigned i = 0; i < MANY; i++) {
        unbind_fence *fence;
        TRY(unbind_vma_bind(vmas[i], 0));
        TRY(unbind_vma_add_user(vmas[i], users[i]));
        TRY(unbind_vma_unbind_async(vmas[i], 0, &fence));
        unbind_fence_unref(fence);
    }
    printf("pending.bytes %" PRIu64 "\n", (stats().bytes_allocated - before + MANY / 2) / MANY);
    close_device(MANY);
}

int main(int argc, char **argv) {
    unsigned long cycles = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    if (argc == 2 && strcmp(argv[1], "memory") == 0) {
        memory();
        return 0;
    }
    if (argc != 3 || (strcmp(argv[1], "immediate") && strcmp(argv[1], "deferred") && strcmp(argv[1], "batched") &&
                      strcmp(argv[1], "split"))) {
        fprintf(stderr, "cycle: use: cycle immediate|deferred|batched|split CYCLES, or cycle memory\n");
        return 2;
    }
    open_device();
    make_vmas(PENDING + 1);
    if (strcmp(argv[1], "immediate") == 0) {
        immediate(cycles);
    } else if (strcmp(argv[1], "batched") == 0) {
        batched(cycles);
    } else if (strcmp(argv[1], "split") == 0) {
        split(cycles);
    } else {
        for (unsigned i = 0; i < PENDING; i++) bind_and_unbind(i);
        deferred(cycles);
    }
    close_device(PENDING + 1);
    return 0;
}
