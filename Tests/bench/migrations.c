/* SPDX-License-Identifier: MIT */
/*
 * How long K moves of a buffer take in virtual time: with the kernel's order, in which the copy waits for the unbinds,
 * and with ours, in which it waits for the GPU work only.
 *
 * One hop: the buffer is bound at a fixed address (which waits for the copy before it), a job fills it, it is moved to
 * the other region. Nothing is waited for between hops. "same" place: every bind is also behind the unbind before it,
 * whatever the copy does. "other" place: two addresses take turns. The costs are the simulated executor's defaults: 2 ns an
 * entry, 20 us a TLB invalidation, 50 GB/s, 1 us a command; pages of 4 KiB. The same on every machine.
 */
#include "public.h"

enum { HOPS = 64 };

/* Virtual nanoseconds of HOPS moves between binds at so many places. */
static double moves(uint64_t size, uint32_t flags, int places) {
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    struct unbind_vm_options vm_options = UNBIND_VM_OPTIONS_INIT;
    struct unbind_vma_options at = UNBIND_VMA_OPTIONS_INIT;
    unbind_device *device;
    unbind_vm *vm;
    unbind_bo *bo;
    unbind_vma *vmas[2];
    unbind_queue *queue;
    options.executor = UNBIND_EXECUTOR_SIMULATED;
    options.page_sizes = 4096;
    options.local_memory_bytes = UINT64_C(4) << 30;
    at.flags = UNBIND_VMA_FIXED;
    at.address = UINT64_C(1) << 30;
    TRY(unbind_device_open_software(&options, &device));
    TRY(unbind_vm_create(device, &vm_options, &vm));
    TRY(unbind_queue_create(vm, 0, &queue));
    TRY(unbind_bo_create(device, size, UNBIND_REGION_SYSTEM, 0, &bo));
    for (int i = 0; i < 2; i++) {
        at.address = (uint64_t)(1 + i) << 30;
        TRY(unbind_vma_create(vm, bo, &at, &vmas[i]));
    }
    for (int hop = 0; hop < HOPS; hop++) {
        unbind_vma *vma = vmas[hop % places];
        struct unbind_command fill = {UNBIND_COMMAND_FILL, 0, unbind_vma_address(vma), 0, size, (uint32_t)hop, NULL, NULL};
        struct unbind_submit_vma use = {vma, UNBIND_USE_WRITE, 0};
        struct unbind_submit job = UNBIND_SUBMIT_INIT;
        job.commands = &fill;
        job.command_count = 1;
        job.vmas = &use;
        job.vma_count = 1;
        TRY(unbind_vma_bind_async(vma, 0, NULL));
        TRY(unbind_queue_submit(queue, &job, NULL));
        TRY(unbind_bo_migrate(bo, hop % 2 ? UNBIND_REGION_SYSTEM : UNBIND_REGION_LOCAL, flags, NULL));
    }
    TRY(unbind_bo_wait(bo, UNBIND_TIMEOUT_INFINITE, 0));
    double time = (double)unbind_device_now(device);
    for (int i = 0; i < 2; i++) unbind_vma_unref(vmas[i]);
    unbind_bo_unref(bo);
    unbind_queue_unref(queue);
    unbind_vm_unref(vm);
    unbind_device_unref(device);
    return time;
}

void migration_benchmark(void) {
    static const struct {
        uint64_t size;
        const char *name;
    } sizes[] = {{64 << 10, "64KiB"}, {1 << 20, "1MiB"}, {16 << 20, "16MiB"}};
    for (int i = 0; i < 12; i++) {
        uint64_t size = sizes[i / 4].size;
        int places = 1 + i / 2 % 2, ours = i % 2;
        char name[48];
        double times[ROUNDS];
        snprintf(name, sizeof name, "migration.%s.%s.%s", sizes[i / 4].name, places == 1 ? "same" : "other",
                 ours ? "beside" : "after");
        if (!bench_wanted(name, HOPS)) continue;
        /* Every round would be the same. */
        times[0] = moves(size, ours ? 0 : UNBIND_BO_MIGRATE_AFTER_UNBIND, places) / HOPS;
        for (int round = 1; round < ROUNDS; round++) times[round] = times[0];
        bench_row(name, HOPS, 1, times, NULL, 0);
    }
    bench_group_end("moves of a buffer in use, virtual time: the copy after the unbinds as in the kernel, or beside them",
                    NULL);
}
