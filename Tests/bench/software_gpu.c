/* SPDX-License-Identifier: MIT */
/*
 * The software GPU's own work, through the public functions: writing and clearing the entries of a large binding, by
 * 4 KiB entry; and a copy by a queue, which looks up every page in its TLB, by 4 KiB, beside memcpy of the same memory
 * in the same round.
 */
#include "public.h"

#include <string.h>

static unbind_vma *vma_at(struct space space, uint64_t address, uint64_t size, void **memory) {
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    unbind_vma *vma;
    unbind_bo *bo;
    TRY(unbind_bo_create(space.device, size, UNBIND_REGION_SYSTEM, 0, &bo));
    if (memory) *memory = unbind_bo_cpu_pointer(bo);
    options.flags = UNBIND_VMA_FIXED;
    options.address = address;
    TRY(unbind_vma_create(space.vm, bo, &options, &vma));
    unbind_bo_unref(bo);
    return vma;
}

static void entries(void) {
    enum { ENTRIES = 65536, TIMES = 8 };
    double write[ROUNDS], clear[ROUNDS];
    if (!bench_wanted("GPU.entries", ENTRIES)) return;
    struct space space = space_open(PAGE, UNBIND_POLICY_RANGES);
    unbind_vma *vma = vma_at(space, 1 << 30, (uint64_t)ENTRIES * PAGE, NULL);
    for (int round = -1; round < ROUNDS; round++) {
        double bound = 0, unbound = 0;
        for (int i = 0; i < TIMES; i++) {
            unbind_fence *fence;
            double start = bench_now_ns();
            TRY(unbind_vma_bind(vma, 0));
            double middle = bench_now_ns();
            TRY(unbind_vma_unbind_async(vma, 0, &fence));
            unbound += bench_now_ns() - middle;
            bound += middle - start;
            unbind_fence_unref(fence);
        }
        if (round < 0) continue;
        write[round] = bound / (ENTRIES * TIMES);
        clear[round] = unbound / (ENTRIES * TIMES);
    }
    bench_row("GPU.entries.write", ENTRIES, 1, write, NULL, 0);
    bench_row("GPU.entries.clear", ENTRIES, 1, clear, NULL, 0);
    unbind_vma_unref(vma);
    space_close(space);
}

static void copy(const char *name, uint32_t page_sizes) {
    enum { PAGES = 4096, TIMES = 4 };
    const uint64_t size = (uint64_t)PAGES * PAGE;
    char plain[48];
    double copied[ROUNDS], moved[ROUNDS], ratio[ROUNDS];
    void *target, *source;
    if (!bench_wanted(name, PAGES)) return;
    struct space space = space_open(page_sizes, UNBIND_POLICY_RANGES);
    unbind_vma *to = vma_at(space, 1 << 30, size, &target), *from = vma_at(space, UINT64_C(2) << 30, size, &source);
    struct unbind_command command = {.op = UNBIND_COMMAND_COPY, .address = 1 << 30, .source = UINT64_C(2) << 30,
                                     .size = size};
    struct unbind_submit_vma uses[] = {{to, UNBIND_USE_WRITE, 0}, {from, UNBIND_USE_READ, 0}};
    struct unbind_submit job = UNBIND_SUBMIT_INIT;
    unbind_queue *queue;
    job.commands = &command;
    job.command_count = 1;
    job.vmas = uses;
    job.vma_count = 2;
    memset(target, 1, size);
    memset(source, 2, size);
    TRY(unbind_queue_create(space.vm, 0, &queue));
    TRY(unbind_vma_bind(to, 0));
    TRY(unbind_vma_bind(from, 0));
    for (int round = -1; round < ROUNDS; round++) {
        double start = bench_now_ns();
        for (int i = 0; i < TIMES; i++) {
            TRY(unbind_queue_submit(queue, &job, NULL));
            TRY(unbind_device_wait_idle(space.device, UNBIND_TIMEOUT_INFINITE, 0));
        }
        double middle = bench_now_ns();
        for (int i = 0; i < TIMES; i++) {
            memcpy(target, source, size);
            __asm__ volatile("" : : "r"(target) : "memory");
        }
        double end = bench_now_ns();
        if (round < 0) continue;
        copied[round] = (middle - start) / (PAGES * TIMES);
        moved[round] = (end - middle) / (PAGES * TIMES);
        ratio[round] = (end - middle) / (middle - start);
    }
    bench_row(name, PAGES, 1, copied, NULL, 0);
    snprintf(plain, sizeof plain, "%s.memcpy", name);
    bench_row(plain, PAGES, 1, moved, NULL, 0);
    bench_ratio(name, "of the speed of memcpy", ratio);
    unbind_queue_unref(queue);
    unbind_vma_unref(to);
    unbind_vma_unref(from);
    space_close(space);
}

void software_gpu_benchmarks(void) {
    entries();
    bench_group_end("Software GPU: page-table entries of one large binding", NULL);
    copy("GPU.copy.4k", PAGE);
    copy("GPU.copy.all_sizes", 0);
    bench_group_end("Software GPU: a copy by a queue, by 4 KiB", NULL);
}
