/* SPDX-License-Identifier: MIT */
/*
 * What unbind_vm_lookup costs with many live mappings, at random addresses: the mapping and the pending unbinds alone,
 * and with the last operations, for which the whole history is read (4,096 records, as by default).
 *
 * The mappings are VMAs of one page, all of one buffer, every other page of the address space.
 */
#include "public.h"

enum { PLACES = 4096 };

static uint64_t places[PLACES];

static double look(unbind_vm *vm, struct unbind_lookup *lookup, uint64_t calls) {
    uint64_t sum = 0;
    double start = bench_now_ns();
    for (uint64_t i = 0; i < calls; i++) {
        TRY(unbind_vm_lookup(vm, places[i % PLACES], lookup));
        sum += lookup->bo_id;
    }
    double spent = bench_now_ns() - start;
    if (sum != calls) { /* buffer 1 every time */
        fprintf(stderr, "bench: a lookup did not find its mapping\n");
        exit(1);
    }
    return spent / (double)calls;
}

static void lookups(unsigned count) {
    if (!bench_wanted("C.lookup", count)) return;
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    struct unbind_lookup alone = UNBIND_LOOKUP_INIT, with_operations = UNBIND_LOOKUP_INIT;
    struct unbind_operation operations[16];
    double times[2][ROUNDS];
    unbind_device *device;
    unbind_vm *vm;
    unbind_bo *bo;
    unbind_vma **vmas = calloc(count, sizeof vmas[0]);
    if (!vmas) exit(1);
    options.executor = UNBIND_EXECUTOR_MANUAL;
    TRY(unbind_device_open_software(&options, &device));
    TRY(unbind_vm_create(device, NULL, &vm));
    TRY(unbind_bo_create(device, PAGE, UNBIND_REGION_SYSTEM, 0, &bo));
    for (unsigned i = 0; i < count; i++) {
        struct unbind_vma_options at = UNBIND_VMA_OPTIONS_INIT;
        at.flags = UNBIND_VMA_FIXED;
        at.address = 2 * (uint64_t)i * PAGE;
        TRY(unbind_vma_create(vm, bo, &at, &vmas[i]));
        TRY(unbind_vma_bind(vmas[i], 0));
    }
    uint64_t random = 1;
    for (unsigned i = 0; i < PLACES; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        places[i] = 2 * ((random >> 33) % count) * PAGE + (random >> 20) % PAGE;
    }
    with_operations.operations = operations;
    with_operations.operation_capacity = 16;
    look(vm, &alone, PLACES);
    for (int round = 0; round < ROUNDS; round++) {
        times[0][round] = look(vm, &alone, bench_operations(1e6));
        times[1][round] = look(vm, &with_operations, bench_operations(1e4));
    }
    bench_row("C.lookup", count, 1, times[0], NULL, 0);
    bench_row("C.lookup.operations", count, 1, times[1], NULL, 0);
    for (unsigned i = 0; i < count; i++) unbind_vma_unref(vmas[i]);
    free(vmas);
    unbind_bo_unref(bo);
    unbind_vm_unref(vm);
    TRY(unbind_device_close(device, NULL));
    unbind_device_unref(device);
}

void lookup_benchmarks(void) {
    lookups(1000);
    lookups(1000000);
    bench_group_end("looking at an address, n live mappings", NULL);
}
