/* SPDX-License-Identifier: MIT */
/*
 * What an operation of a batch costs, by the number of operations in one call, beside single calls on VMAs in the same
 * run. All are neighbours: page after page of addresses, mapped and then unmapped. "one": of one buffer in its order,
 * so that a call's maps become one mapping; "each": of it backwards, so that every page is a mapping of its own, as the
 * VMAs are. "deferred": the unmaps wait for a fence of the caller's; its signal, the drain and the end are part of it.
 * Manual executor, cost model of zero. Then how often neighbours that are unbound reach the backend.
 */
#include "public.h"

#include <string.h>

enum { PAGES = 4096, BASE = 1 << 30 };

struct rig {
    unbind_device *device;
    unbind_vm *vm;
    unbind_bo *bo;
    unbind_vma *vmas[PAGES];
};

static void rig_open(struct rig *rig) {
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    options.executor = UNBIND_EXECUTOR_MANUAL;
    options.page_sizes = PAGE;
    memset(rig, 0, sizeof *rig);
    TRY(unbind_device_open_software(&options, &rig->device));
    TRY(unbind_vm_create(rig->device, NULL, &rig->vm));
    TRY(unbind_bo_create(rig->device, (uint64_t)PAGES * PAGE, UNBIND_REGION_SYSTEM, 0, &rig->bo));
}

static void rig_close(struct rig *rig) {
    for (int i = 0; i < PAGES; i++) unbind_vma_unref(rig->vmas[i]);
    unbind_bo_unref(rig->bo);
    unbind_vm_unref(rig->vm);
    TRY(unbind_device_close(rig->device, NULL));
    unbind_device_unref(rig->device);
}

static void make_vmas(struct rig *rig) {
    for (int i = 0; i < PAGES; i++) {
        struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
        unbind_bo *bo;
        options.flags = UNBIND_VMA_FIXED;
        options.address = BASE + (uint64_t)i * PAGE;
        TRY(unbind_bo_create(rig->device, PAGE, UNBIND_REGION_SYSTEM, 0, &bo));
        TRY(unbind_vma_create(rig->vm, bo, &options, &rig->vmas[i]));
        unbind_bo_unref(bo);
    }
}

/* Signals what deferred work waits for, and runs it to its end. */
static void release(struct rig *rig, unbind_fence *gate) {
    if (!gate) return;
    TRY(unbind_fence_signal(gate, 0));
    TRY(unbind_device_wait_idle(rig->device, UNBIND_TIMEOUT_INFINITE, 0));
    unbind_fence_unref(gate);
}

static unbind_fence *make_gate(struct rig *rig, bool deferred) {
    unbind_fence *gate = NULL;
    if (deferred) TRY(unbind_fence_create(rig->device, &gate));
    return gate;
}

/* All pages, so many operations a call. Gives the ns of one operation. */
static double submit_all(struct rig *rig, const struct unbind_op *ops, unsigned each, bool deferred) {
    unbind_fence *gate = make_gate(rig, deferred);
    double start = bench_now_ns();
    for (unsigned i = 0; i < PAGES; i += each) {
        struct unbind_batch batch = UNBIND_BATCH_INIT;
        struct unbind_sync wait = {gate, NULL, 0};
        unbind_fence *fence;
        batch.mode = UNBIND_BATCH_ASYNC;
        batch.waits = &wait;
        batch.wait_count = gate != NULL;
        batch.out_fence = &fence;
        TRY(unbind_vm_submit(rig->vm, ops + i, each, &batch));
        unbind_fence_unref(fence);
    }
    release(rig, gate);
    double spent = bench_now_ns() - start;
    TRY(unbind_device_wait_idle(rig->device, UNBIND_TIMEOUT_INFINITE, 0));
    return spent / PAGES;
}

static void make_ops(struct rig *rig, struct unbind_op *maps, struct unbind_op *unmaps, bool backwards) {
    memset(maps, 0, PAGES * sizeof *maps);
    memset(unmaps, 0, PAGES * sizeof *unmaps);
    for (unsigned i = 0; i < PAGES; i++) {
        maps[i].op = UNBIND_OP_MAP;
        unmaps[i].op = UNBIND_OP_UNMAP;
        maps[i].address = unmaps[i].address = BASE + (uint64_t)i * PAGE;
        maps[i].size = unmaps[i].size = PAGE;
        maps[i].bo = rig->bo;
        maps[i].offset = (uint64_t)(backwards ? PAGES - 1 - i : i) * PAGE;
    }
}

static double batches(const char *kind, unsigned each, bool backwards, bool deferred) {
    static struct unbind_op maps[PAGES], unmaps[PAGES];
    struct rig rig;
    char name[48];
    double map_times[ROUNDS], unmap_times[ROUNDS], median;
    if (!bench_wanted("batch", each)) return 0;
    rig_open(&rig);
    make_ops(&rig, maps, unmaps, backwards);
    for (int round = -1; round < ROUNDS; round++) {
        double map = submit_all(&rig, maps, each, false), unmap = submit_all(&rig, unmaps, each, deferred);
        if (round >= 0) map_times[round] = map, unmap_times[round] = unmap;
    }
    rig_close(&rig);
    if (!deferred) {
        snprintf(name, sizeof name, "batch.map.%s", kind);
        bench_row(name, each, 1, map_times, NULL, 0);
    }
    snprintf(name, sizeof name, "batch.unmap.%s", kind);
    median = bench_row(name, each, 1, unmap_times, NULL, 0);
    return median;
}

/* The same with a call for each VMA. */
static double singles(bool deferred) {
    struct rig rig;
    double bind_times[ROUNDS], unbind_times[ROUNDS];
    if (!bench_wanted("batch", 1)) return 0;
    rig_open(&rig);
    make_vmas(&rig);
    for (int round = -1; round < ROUNDS; round++) {
        double start = bench_now_ns(), bind, unbind;
        for (int i = 0; i < PAGES; i++) TRY(unbind_vma_bind(rig.vmas[i], 0));
        bind = bench_now_ns() - start;
        unbind_fence *gate = make_gate(&rig, deferred);
        for (int i = 0; i < PAGES && gate; i++) TRY(unbind_vma_add_user(rig.vmas[i], gate));
        start = bench_now_ns();
        for (int i = 0; i < PAGES; i++) {
            unbind_fence *fence;
            TRY(unbind_vma_unbind_async(rig.vmas[i], 0, &fence));
            unbind_fence_unref(fence);
        }
        release(&rig, gate);
        unbind = bench_now_ns() - start;
        if (round >= 0) bind_times[round] = bind / PAGES, unbind_times[round] = unbind / PAGES;
    }
    rig_close(&rig);
    if (!deferred) bench_row("batch.map.single", 1, 1, bind_times, NULL, 0);
    return bench_row(deferred ? "batch.unmap.single.deferred" : "batch.unmap.single", 1, 1, unbind_times, NULL, 0);
}

/* How often the unbinds of a thousand neighbours, which become ready at once, reach the backend. */
static void backend_calls(void) {
    enum { COUNT = 1000 };
    static struct unbind_op maps[PAGES], unmaps[PAGES];
    for (int kind = 0; kind < 3; kind++) {
        static const char *const names[] = {"1,000 calls on VMAs", "1,000 batches of 1", "1 batch of 1,000"};
        struct rig rig;
        struct unbind_vm_stats before = UNBIND_VM_STATS_INIT, after = UNBIND_VM_STATS_INIT;
        struct unbind_device_stats device = UNBIND_DEVICE_STATS_INIT, now = UNBIND_DEVICE_STATS_INIT;
        unbind_queue *queue;
        rig_open(&rig);
        make_ops(&rig, maps, unmaps, true);
        /* A TLB that could know the entries. */
        TRY(unbind_queue_create(rig.vm, 0, &queue));
        if (kind == 0) make_vmas(&rig);
        for (int i = 0; i < COUNT && kind == 0; i++) TRY(unbind_vma_bind(rig.vmas[i], 0));
        if (kind > 0) TRY(unbind_vm_submit(rig.vm, maps, COUNT, NULL));
        unbind_fence *gate = make_gate(&rig, true);
        for (int i = 0; i < COUNT && kind == 0; i++) TRY(unbind_vma_add_user(rig.vmas[i], gate));
        uint64_t value;
        struct unbind_command load;
        struct unbind_submit job = UNBIND_SUBMIT_INIT;
        memset(&load, 0, sizeof load);
        load.op = UNBIND_COMMAND_LOAD;
        load.address = BASE;
        load.result = &value;
        job.commands = &load;
        job.command_count = 1;
        TRY(unbind_queue_submit(queue, &job, NULL));
        TRY(unbind_device_wait_idle(rig.device, UNBIND_TIMEOUT_INFINITE, 0));
        TRY(unbind_vm_get_stats(rig.vm, &before));
        TRY(unbind_device_get_stats(rig.device, &device));
        for (int i = 0; i < COUNT && kind == 0; i++) TRY(unbind_vma_unbind_async(rig.vmas[i], 0, NULL));
        for (int i = 0; i < COUNT && kind > 0; i += kind == 1 ? 1 : COUNT) {
            struct unbind_batch batch = UNBIND_BATCH_INIT;
            struct unbind_sync wait = {gate, NULL, 0};
            batch.mode = UNBIND_BATCH_ASYNC;
            batch.waits = &wait;
            batch.wait_count = 1;
            TRY(unbind_vm_submit(rig.vm, unmaps + i, kind == 1 ? 1 : COUNT, &batch));
        }
        release(&rig, gate);
        TRY(unbind_vm_get_stats(rig.vm, &after));
        TRY(unbind_device_get_stats(rig.device, &now));
        printf("  %-20s unbinds %5llu, groups to the backend %5llu, TLB invalidations %5llu\n", names[kind],
               (unsigned long long)(after.unbinds - before.unbinds),
               (unsigned long long)(after.unbind_batches - before.unbind_batches),
               (unsigned long long)(now.tlb_invalidations - device.tlb_invalidations));
        unbind_queue_unref(queue);
        rig_close(&rig);
    }
}

void batch_benchmarks(void) {
    static const unsigned sizes[] = {1, 16, 256, PAGES};
    static const struct { const char *name; bool backwards, deferred; } kinds[] = {
        {"one", false, false}, {"each", true, false}, {"one.deferred", false, true}, {"each.deferred", true, true}};
    double single[2], of_one[4], of_many[4];
    if (bench_options.only && strncmp("batch", bench_options.only, strlen(bench_options.only)) != 0) return;
    for (int deferred = 0; deferred < 2; deferred++) single[deferred] = singles(deferred);
    for (int kind = 0; kind < 4; kind++) {
        for (int i = 0; i < 4; i++) {
            double time = batches(kinds[kind].name, sizes[i], kinds[kind].backwards, kinds[kind].deferred);
            if (i == 0) of_one[kind] = time;
            of_many[kind] = time;
        }
    }
    bench_group_end("batches: neighbours, n operations a call, and single calls on VMAs", NULL);
    for (int kind = 0; kind < 4 && of_many[3] > 0 && of_one[3] > 0; kind++)
        printf("  an unmap in a call of 4,096 (%s): %.3f of a call for one, %.2f of a call on a VMA\n", kinds[kind].name,
               of_many[kind] / of_one[kind], of_many[kind] / single[kinds[kind].deferred]);
    printf("a thousand neighbours, unbound behind one fence\n");
    backend_calls();
}
