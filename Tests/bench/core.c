/* SPDX-License-Identifier: MIT */
/*
 * The workloads on the core's internals, which are Swift (Tests/bench/core): sizes, numbers of operations and threads
 * as the peer has them. A workload that is added needs three functions there and its rows here.
 */
#include "bench.h"

#include <pthread.h>
#include <string.h>

/* Opens a rig of size n; runs so many operations and gives the nanoseconds they took; closes. */
#define WORKLOAD(name)                                                                        \
    void *bench_##name##_open(uint64_t n, uint32_t variant);                                  \
    uint64_t bench_##name##_round(void *rig, uint64_t operations);                            \
    void bench_##name##_close(void *rig);                                                     \
    static const struct workload name = {bench_##name##_open, bench_##name##_round, bench_##name##_close}

struct workload {
    void *(*open)(uint64_t n, uint32_t variant);
    uint64_t (*round)(void *rig, uint64_t operations);
    void (*close)(void *rig);
};

WORKLOAD(w1);
WORKLOAD(w2);
WORKLOAD(w3);
WORKLOAD(w4);
WORKLOAD(w5);
WORKLOAD(w6);

uint64_t bench_w2_bytes(void *rig, uint64_t *awaited);

static const uint64_t sizes[] = {16, 1024, 65536, 1048576};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

enum { MAX_THREADS = 2 };
struct runner {
    pthread_t thread;
    pthread_barrier_t *barrier;
    const struct workload *workload;
    void *rig;
    uint64_t operations;
} __attribute__((aligned(128)));

static void *run(void *argument) {
    struct runner *runner = argument;
    for (int round = -1; round < ROUNDS; round++) {
        pthread_barrier_wait(runner->barrier);
        runner->workload->round(runner->rig, runner->operations);
        pthread_barrier_wait(runner->barrier);
    }
    return NULL;
}

/* `drivers` threads, each with a rig of its own: wall time per operation of one of them. */
static void measure(const char *name, const struct workload *workload, uint64_t n, uint32_t variant, unsigned drivers,
                    unsigned shown_threads, double operations, const char *peer_name) {
    struct runner runners[MAX_THREADS];
    uint64_t count = bench_operations(operations);
    double times[ROUNDS];
    if (!bench_wanted(name, n)) return;
    for (unsigned i = 0; i < drivers; i++)
        runners[i] = (struct runner){.workload = workload, .rig = workload->open(n, variant), .operations = count};
    if (drivers == 1) {
        workload->round(runners[0].rig, count);
        for (int round = 0; round < ROUNDS; round++)
            times[round] = (double)workload->round(runners[0].rig, count) / (double)count;
    } else {
        pthread_barrier_t barrier;
        pthread_barrier_init(&barrier, NULL, drivers + 1);
        for (unsigned i = 0; i < drivers; i++) {
            runners[i].barrier = &barrier;
            pthread_create(&runners[i].thread, NULL, run, &runners[i]);
        }
        for (int round = -1; round < ROUNDS; round++) {
            double began;
            pthread_barrier_wait(&barrier);
            began = bench_now_ns();
            pthread_barrier_wait(&barrier);
            if (round >= 0) times[round] = (bench_now_ns() - began) / (double)count;
        }
        for (unsigned i = 0; i < drivers; i++) pthread_join(runners[i].thread, NULL);
        pthread_barrier_destroy(&barrier);
    }
    for (unsigned i = 0; i < drivers; i++) workload->close(runners[i].rig);
    bench_row(name, n, shown_threads, times, peer_name, n);
}

void core_benchmarks(void) {
    static const char *const fences[] = {"W5.fence_allocated", "W5.fence_in_place", "W5.gate_awaits_gate",
                                         "W5.gate_awaits_fence"};
    static const char *const peer_fences[] = {"W5.dma_fence_alloc_cycle", "W5.dma_fence_cycle", "W5.sw_fence_await_sw",
                                              "W5.sw_fence_await_dma"};
    static const char *const placements[] = {"W4.ranges.best", "W4.ranges.low", "W4.ranges.best.pages",
                                             "W4.ranges.low.pages"};
    static const char *const peer_placements[] = {"W4.drm_mm.best", "W4.drm_mm.low", "W4.drm_mm.best.pages",
                                                  "W4.drm_mm.low.pages"};
    static const struct {
        const char *name, *peer;
        uint32_t found;
        double operations;
    } lookups[] = {{"W3.await_overlaps.k0", "W3.dep_await.K0", 0, 1e6},
                   {"W3.await_overlaps.k1", "W3.dep_await.K1", 1, 1e6},
                   {"W3.await_overlaps.k8", "W3.dep_await.K8", 8, 3e5}};

    measure("W1.immediate", &w1, 0, 0, 1, 1, 3e6, "W1.immediate");
    measure("W1.immediate", &w1, 0, 0, 2, 2, 3e6, "W1.immediate");
    bench_group_end("W1: immediate unbind", "W1.immediate");
    c_immediate_benchmarks();

    for (int i = 0; i < SIZES; i++)
        measure("W2.deferred.inline", &w2, sizes[i], 0, 1, 1, i == 3 ? 1e6 : 2e6, "W2.deferred.inline");
    for (int i = 0; i < SIZES - 1; i++)
        measure("W2.deferred.inline", &w2, sizes[i], 0, 2, 2, 2e6, "W2.deferred.inline");
    bench_group_end("W2: deferred unbind, n pending", "W2.deferred.inline");
    c_deferred_benchmarks();

    for (int i = 0; i < SIZES; i++)
        measure("W2.deferred.pool", &w2, sizes[i], 1, 1, 2, 1e6, "W2.deferred.pool");
    bench_group_end("W2: the same with one worker", "W2.deferred.pool");

    for (size_t k = 0; k < sizeof lookups / sizeof lookups[0]; k++)
        for (int i = 0; i < SIZES; i++)
            measure(lookups[k].name, &w3, sizes[i], lookups[k].found, 1, 1, lookups[k].operations, lookups[k].peer);
    bench_group_end("W3: await the k pending unbinds in a range, of n", "W3.");

    /* The peer has no row for the largest size, where 8n steps before the first round take long: powers of two only. */
    for (int i = 1; i < SIZES; i++)
        for (uint32_t k = 0; k < (i < SIZES - 1 ? 4 : 2); k++)
            measure(placements[k], &w4, sizes[i], k, 1, 1, 1e6, i < 3 ? peer_placements[k] : NULL);
    bench_group_end("W4: range allocator, remove + insert of n ranges", "W4");

    for (uint32_t i = 0; i < 4; i++) measure(fences[i], &w5, 1, i, 1, 1, 5e6, peer_fences[i]);
    bench_group_end("W5: fences and gates", "W5");

    for (int i = 0; i < SIZES; i++)
        measure("W6.index", &w6, sizes[i], 0, 1, 1, i == 3 ? 1e6 : 2e6, "W6.itree_rm_query_ins");
    bench_group_end("W6: interval index, remove + query + insert", "W6");
}

int memory_benchmark(uint64_t n) {
    uint64_t awaited;
    void *empty = w2.open(1, 0), *rig = w2.open(n, 0);
    uint64_t base = bench_w2_bytes(empty, &awaited);
    w2.round(rig, n);
    double bytes = (double)(bench_w2_bytes(rig, &awaited) - base);
    printf("%llu unbinds pending: %.1f heap bytes each, without the fences they await %.1f\n", (unsigned long long)n,
           bytes / (double)n, (bytes - (double)awaited) / (double)n);
    w2.close(rig);
    w2.close(empty);
    return 0;
}
