/* SPDX-License-Identifier: MIT */
/*
 * What a second thread adds: both do the cycle of C.immediate (bind, asynchronous unbind, drop the fence) on a VMA of
 * their own, in address spaces of their own or in one. One device. A row is wall time by all operations of all threads;
 * a ratio, throughput beside that of one thread in the same round.
 *
 * C.threads.cache_line is the machine's: a word that two threads write in turns, by turns. On a virtual machine it is
 * 50 ns in one minute and 200 in another, and what threads do with common data goes with it.
 */
#include "public.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 2 };

struct worker {
    pthread_t thread;
    pthread_barrier_t *barrier;
    unbind_vma *vma;
    uint64_t cycles;
} __attribute__((aligned(128)));

static void *work(void *argument) {
    struct worker *worker = argument;
    pthread_barrier_wait(worker->barrier);
    for (uint64_t i = 0; i < worker->cycles; i++) {
        unbind_fence *fence;
        TRY(unbind_vma_bind(worker->vma, 0));
        TRY(unbind_vma_unbind_async(worker->vma, 0, &fence));
        unbind_fence_unref(fence);
    }
    pthread_barrier_wait(worker->barrier);
    return NULL;
}

/* Nanoseconds by operation of so many threads, each with the VMA of its number. */
static double run(unbind_vma *const *vmas, unsigned threads, uint64_t cycles) {
    struct worker workers[THREADS];
    pthread_barrier_t barrier;
    double began;
    pthread_barrier_init(&barrier, NULL, threads + 1);
    for (unsigned i = 0; i < threads; i++) {
        workers[i] = (struct worker){.barrier = &barrier, .vma = vmas[i], .cycles = cycles};
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    pthread_barrier_wait(&barrier);
    began = bench_now_ns();
    pthread_barrier_wait(&barrier);
    double spent = bench_now_ns() - began;
    for (unsigned i = 0; i < threads; i++) pthread_join(workers[i].thread, NULL);
    pthread_barrier_destroy(&barrier);
    return spent / (double)(cycles * threads);
}

enum { OURS, THEIRS, OVER };

static void *answer(void *argument) {
    atomic_uint *turn = argument;
    for (;;) {
        unsigned whose;
        while ((whose = atomic_load_explicit(turn, memory_order_acquire)) == OURS) continue;
        if (whose == OVER) return NULL;
        atomic_store_explicit(turn, OURS, memory_order_release);
    }
}

/* Nanoseconds until the other thread sees what one has written. */
static double pass_cache_line(void) {
    static _Alignas(128) atomic_uint turn;
    const uint64_t turns = bench_operations(2e5);
    uint64_t passed = 0;
    pthread_t other;
    double began, spent = 0;
    atomic_store(&turn, OURS);
    pthread_create(&other, NULL, answer, &turn);
    began = bench_now_ns();
    /* With one processor for both each turn takes a time slice: then a few must do. */
    while (passed < turns && spent < 1e8) {
        for (int i = 0; i < 16; i++) {
            atomic_store_explicit(&turn, THEIRS, memory_order_release);
            while (atomic_load_explicit(&turn, memory_order_acquire) != OURS) continue;
        }
        passed += 16;
        spent = bench_now_ns() - began;
    }
    atomic_store(&turn, OVER);
    pthread_join(other, NULL);
    return spent / (2.0 * (double)passed);
}

static unbind_vma *vma_at(unbind_device *device, unbind_vm *vm, uint64_t address) {
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    unbind_vma *vma;
    unbind_bo *bo;
    TRY(unbind_bo_create(device, PAGE, UNBIND_REGION_SYSTEM, 0, &bo));
    options.flags = UNBIND_VMA_FIXED;
    options.address = address;
    TRY(unbind_vma_create(vm, bo, &options, &vma));
    unbind_bo_unref(bo);
    return vma;
}

void thread_benchmarks(void) {
    const uint64_t cycles = bench_operations(8e5);
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    struct unbind_vm_options vm_options = UNBIND_VM_OPTIONS_INIT;
    unbind_device *device;
    unbind_vm *vms[THREADS];
    unbind_vma *separate[THREADS], *shared[THREADS];
    double one[ROUNDS], apart[ROUNDS], together[ROUNDS], line[ROUNDS], gain_apart[ROUNDS], gain_together[ROUNDS];
    if (!bench_wanted("C.threads", 0)) return;
    options.executor = UNBIND_EXECUTOR_MANUAL;
    TRY(unbind_device_open_software(&options, &device));
    for (int i = 0; i < THREADS; i++) {
        TRY(unbind_vm_create(device, &vm_options, &vms[i]));
        separate[i] = vma_at(device, vms[i], 1 << 30);
        /* In another page table than its neighbour. */
        shared[i] = vma_at(device, vms[0], (uint64_t)(2 + i) << 30);
    }
    for (int round = -1; round < ROUNDS; round++) {
        double alone = run(separate, 1, cycles), two = run(separate, 2, cycles), both = run(shared, 2, cycles);
        double passed = pass_cache_line();
        if (round < 0) continue;
        line[round] = passed;
        one[round] = alone;
        apart[round] = two;
        together[round] = both;
        gain_apart[round] = alone / two;
        gain_together[round] = alone / both;
    }
    bench_row("C.threads.one", 0, 1, one, NULL, 0);
    bench_row("C.threads.separate_spaces", 0, 2, apart, NULL, 0);
    bench_row("C.threads.one_space", 0, 2, together, NULL, 0);
    bench_row("C.threads.cache_line", 0, 2, line, NULL, 0);
    bench_ratio("C.threads.separate_spaces", "times the throughput of one thread", gain_apart);
    bench_ratio("C.threads.one_space", "times the throughput of one thread", gain_together);
    for (int i = 0; i < THREADS; i++) {
        unbind_vma_unref(separate[i]);
        unbind_vma_unref(shared[i]);
    }
    for (int i = 0; i < THREADS; i++) unbind_vm_unref(vms[i]);
    TRY(unbind_device_close(device, NULL));
    unbind_device_unref(device);
    bench_group_end("C functions: two threads, by operations of both", NULL);
}
