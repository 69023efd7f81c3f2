/* SPDX-License-Identifier: MIT */
/*
 * What binding and unbinding costs a user, through the public functions of the shipped library on the manual executor
 * with a cost model of zero: the library's own time, page tables included.
 *
 * One operation is a cycle of bind, asynchronous unbind and dropping the fence
 * on an existing VMA. "immediate": nothing is attached. "deferred": each VMA has
 * a caller's fence attached, N unbinds are pending all the time, and in each
 * cycle the oldest is signalled. Under `timeline` a
 * bind waits for all that is pending, so only N = 0 (signalled before the next
 * bind) can be measured; under `sync` an unbind waits for its own end, so nothing
 * can be deferred.
 */
#include "public.h"

/* A VMA of a buffer of its own: fences collect on the buffer, so sharing one would measure something else. */
static unbind_vma *vma_at(struct space space, uint64_t address) {
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    unbind_vma *vma;
    unbind_bo *bo;
    TRY(unbind_bo_create(space.device, PAGE, UNBIND_REGION_SYSTEM, 0, &bo));
    options.flags = UNBIND_VMA_FIXED;
    options.address = address;
    TRY(unbind_vma_create(space.vm, bo, &options, &vma));
    unbind_bo_unref(bo);
    return vma;
}

static void immediate(const char *name, uint32_t policy, const char *peer_name) {
    const uint64_t cycles = bench_operations(1e5);
    if (!bench_wanted(name, 0)) return;
    struct space space = space_open(0, policy);
    unbind_vma *vma = vma_at(space, 0x100000);
    double times[ROUNDS];
    for (int round = -1; round < ROUNDS; round++) {
        double start = bench_now_ns();
        for (int i = 0; i < (int)cycles; i++) {
            unbind_fence *fence;
            TRY(unbind_vma_bind(vma, 0));
            TRY(unbind_vma_unbind_async(vma, 0, &fence));
            unbind_fence_unref(fence);
        }
        if (round >= 0) times[round] = (bench_now_ns() - start) / (double)cycles;
    }
    unbind_vma_unref(vma);
    space_close(space);
    bench_row(name, 0, 1, times, peer_name, 0);
}

/*
 * A ring of VMAs, each unbound with a caller's fence not yet signalled. The caller's own fences are not part of the
 * cycle: they are made, and let go of, between runs of so many cycles, each of which is timed as one.
 */
enum { RUN = 64 };

static double deferred_run(struct space space, unbind_vma **vma, unbind_fence **user, unsigned pending, uint64_t first,
                           unsigned count, bool signals) {
    unbind_fence *made[RUN], *signalled[RUN];
    for (unsigned i = 0; i < count; i++) TRY(unbind_fence_create(space.device, &made[i]));
    double start = bench_now_ns();
    for (unsigned i = 0; i < count; i++) {
        unsigned slot = (unsigned)((first + i) % (pending + 1)), oldest = (slot + 1) % (pending + 1);
        unbind_fence *fence;
        TRY(unbind_vma_bind(vma[slot], 0));
        TRY(unbind_vma_add_user(vma[slot], made[i]));
        TRY(unbind_vma_unbind_async(vma[slot], 0, &fence));
        unbind_fence_unref(fence);
        user[slot] = made[i];
        if (!signals) continue;
        TRY(unbind_fence_signal(user[oldest], 0));
        TRY(unbind_device_run(space.device, 0, NULL));
        signalled[i] = user[oldest];
        user[oldest] = NULL;
    }
    double spent = bench_now_ns() - start;
    for (unsigned i = 0; signals && i < count; i++) unbind_fence_unref(signalled[i]);
    return spent;
}

static void deferred(const char *name, uint32_t policy, unsigned pending, const char *peer_name) {
    if (!bench_wanted(name, pending)) return;
    const unsigned cycles = (pending > 20000 ? pending : 20000) / RUN * RUN;
    struct space space = space_open(0, policy);
    unbind_vma **vma = calloc(pending + 1, sizeof vma[0]);
    unbind_fence **user = calloc(pending + 1, sizeof user[0]);
    double times[ROUNDS];
    uint64_t next = 0;
    if (!vma || !user) exit(1);
    for (unsigned i = 0; i <= pending; i++) vma[i] = vma_at(space, 0x100000 + (uint64_t)i * PAGE);
    while (next < pending) {
        unsigned count = pending - next < RUN ? (unsigned)(pending - next) : RUN;
        deferred_run(space, vma, user, pending, next, count, false);
        next += count;
    }
    for (int round = -1; round < ROUNDS; round++) {
        double spent = 0;
        for (unsigned done = 0; done < cycles; done += RUN, next += RUN)
            spent += deferred_run(space, vma, user, pending, next, RUN, true);
        if (round >= 0) times[round] = spent / cycles;
    }
    bench_row(name, pending, 1, times, peer_name, pending);
    for (unsigned i = 0; i <= pending; i++) {
        if (user[i]) TRY(unbind_fence_signal(user[i], 0));
        unbind_fence_unref(user[i]);
    }
    TRY(unbind_device_wait_idle(space.device, UNBIND_TIMEOUT_INFINITE, 0));
    for (unsigned i = 0; i <= pending; i++) unbind_vma_unref(vma[i]);
    free(vma);
    free(user);
    space_close(space);
}

/* The functions that only look. */
static void getters(void) {
    if (!bench_wanted("C.getters", 0)) return;
    enum { CALLS = 2000000 };
    struct space space = space_open(0, UNBIND_POLICY_RANGES);
    unbind_vma *vma = vma_at(space, 0x100000);
    unbind_fence *fence;
    struct unbind_vm_stats stats = UNBIND_VM_STATS_INIT;
    double times[4][ROUNDS];
    volatile uint64_t sink = 0;
    TRY(unbind_vma_bind(vma, 0));
    TRY(unbind_fence_create(space.device, &fence));
    for (int round = 0; round < ROUNDS; round++) {
        double start = bench_now_ns();
        for (int i = 0; i < CALLS; i++) sink += unbind_vma_address(vma);
        times[0][round] = (bench_now_ns() - start) / CALLS, start = bench_now_ns();
        for (int i = 0; i < CALLS; i++) sink += (uint64_t)unbind_vma_state(vma);
        times[1][round] = (bench_now_ns() - start) / CALLS, start = bench_now_ns();
        for (int i = 0; i < CALLS; i++) sink += (uint64_t)unbind_fence_is_signaled(fence);
        times[2][round] = (bench_now_ns() - start) / CALLS, start = bench_now_ns();
        for (int i = 0; i < CALLS / 10; i++) TRY(unbind_vm_get_stats(space.vm, &stats));
        times[3][round] = (bench_now_ns() - start) / (CALLS / 10);
    }
    bench_row("C.getters.vma_address", 0, 1, times[0], NULL, 0);
    bench_row("C.getters.vma_state", 0, 1, times[1], NULL, 0);
    bench_row("C.getters.fence_is_signaled", 0, 1, times[2], NULL, 0);
    bench_row("C.getters.vm_get_stats", 0, 1, times[3], NULL, 0);
    TRY(unbind_fence_signal(fence, 0));
    unbind_fence_unref(fence);
    unbind_vma_unref(vma);
    space_close(space);
}

void c_immediate_benchmarks(void) {
    static const char *const names[] = {"C.immediate.ranges", "C.immediate.timeline", "C.immediate.sync"};
    for (uint32_t policy = 0; policy < 3; policy++)
        immediate(names[policy], policy, policy == UNBIND_POLICY_RANGES ? "W1.immediate" : NULL);
    bench_group_end("C functions: bind, unbind, drop the fence", "W1.immediate");
}

void c_deferred_benchmarks(void) {
    static const char *const none_pending[] = {"C.deferred.ranges", "C.deferred.timeline"};
    static const unsigned pending[] = {16, 1024, 65536};
    for (uint32_t policy = 0; policy < 2; policy++) deferred(none_pending[policy], policy, 0, NULL);
    for (int i = 0; i < 3; i++)
        deferred("C.deferred.ranges", UNBIND_POLICY_RANGES, pending[i], "W2.deferred.inline");
    bench_group_end("C functions: the same, n pending", "W2.deferred.inline");
}

void getter_benchmarks(void) {
    getters();
    bench_group_end("C functions that only look", NULL);
}
