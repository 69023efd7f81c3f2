/* SPDX-License-Identifier: MIT */
/*
 * What binding and unbinding costs, measured through the public functions on
 * the manual executor with a cost model of zero: the library's own time.
 *
 *     bench [--json FILE]
 *
 * One operation is a cycle of bind, asynchronous unbind and dropping the fence
 * on an existing VMA. "immediate": nothing is attached. "deferred": each VMA has
 * a caller's fence attached, N unbinds are pending all the time, and in each
 * cycle the oldest is signalled. The ratio is to the immediate cycle of the same
 * policy in the same run. Median, least and most of 5 rounds. Under `timeline` a
 * bind waits for all that is pending, so only N = 0 (signalled before the next
 * bind) can be measured; under `sync` an unbind waits for its own end, so nothing
 * can be deferred.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unbind/unbind.h>

enum { ROUNDS = 5, PAGE = 4096 };

#define TRY(call)                                                                             \
    do {                                                                                      \
        int status_ = (call);                                                                 \
        if (status_ < 0) {                                                                    \
            fprintf(stderr, "bench: %s: %s\n", #call, unbind_status_string(status_));         \
            exit(1);                                                                          \
        }                                                                                     \
    } while (0)

static FILE *json;
static const char *separator = "";

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Prints one row and gives its median. */
static double row(const char *policy, const char *name, unsigned pending, double times[ROUNDS], double base) {
    qsort(times, ROUNDS, sizeof times[0], compare);
    double median = times[ROUNDS / 2], ratio = base > 0 ? median / base : 1;
    printf("%-9s %-22s %8u %10.1f %10.1f %10.1f %8.2f\n", policy, name, pending, median, times[0],
           times[ROUNDS - 1], ratio);
    if (json) {
        fprintf(json, "%s\n  {\"policy\": \"%s\", \"name\": \"%s\", \"pending\": %u, \"median_ns\": %.1f, ", separator,
                policy, name, pending, median);
        fprintf(json, "\"min_ns\": %.1f, \"max_ns\": %.1f, \"ratio\": %.3f}", times[0], times[ROUNDS - 1], ratio);
        separator = ",";
    }
    fflush(stdout);
    return median;
}

struct rig {
    unbind_device *device;
    unbind_vm *vm;
};

static struct rig rig_open(uint32_t policy) {
    struct rig rig;
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    struct unbind_vm_options vm_options = UNBIND_VM_OPTIONS_INIT;
    options.executor = UNBIND_EXECUTOR_MANUAL;
    vm_options.policy = policy;
    TRY(unbind_device_open_software(&options, &rig.device));
    TRY(unbind_vm_create(rig.device, &vm_options, &rig.vm));
    return rig;
}

static void rig_close(struct rig rig) {
    unbind_vm_unref(rig.vm);
    TRY(unbind_device_close(rig.device, NULL));
    unbind_device_unref(rig.device);
}

/* A VMA of a buffer of its own: fences collect on the buffer, so sharing one would measure something else. */
static unbind_vma *vma_at(struct rig rig, uint64_t address) {
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    unbind_vma *vma;
    unbind_bo *bo;
    TRY(unbind_bo_create(rig.device, PAGE, UNBIND_REGION_SYSTEM, 0, &bo));
    options.flags = UNBIND_VMA_FIXED;
    options.address = address;
    TRY(unbind_vma_create(rig.vm, bo, &options, &vma));
    unbind_bo_unref(bo);
    return vma;
}

static double immediate(const char *name, uint32_t policy) {
    enum { CYCLES = 100000 };
    struct rig rig = rig_open(policy);
    unbind_vma *vma = vma_at(rig, 0x100000);
    double times[ROUNDS];
    for (int round = -1; round < ROUNDS; round++) {
        double start = now_ns();
        for (int i = 0; i < CYCLES; i++) {
            unbind_fence *fence;
            TRY(unbind_vma_bind(vma, 0));
            TRY(unbind_vma_unbind_async(vma, 0, &fence));
            unbind_fence_unref(fence);
        }
        if (round >= 0) times[round] = (now_ns() - start) / CYCLES;
    }
    unbind_vma_unref(vma);
    rig_close(rig);
    return row(name, "immediate", 0, times, 0);
}

/* A ring of VMAs, each unbound with a caller's fence not yet signalled. */
static void deferred(const char *name, uint32_t policy, unsigned pending, double base) {
    const unsigned cycles = pending > 20000 ? pending : 20000;
    struct rig rig = rig_open(policy);
    unbind_vma **vma = calloc(pending + 1, sizeof vma[0]);
    unbind_fence **user = calloc(pending + 1, sizeof user[0]);
    double times[ROUNDS];
    if (!vma || !user) exit(1);
    for (unsigned i = 0; i <= pending; i++) vma[i] = vma_at(rig, 0x100000 + (uint64_t)i * PAGE);
    for (int round = -1; round < ROUNDS; round++) {
        double spent = 0;
        for (unsigned i = 0; i < (round < 0 ? pending : cycles); i++) {
            unsigned slot = i % (pending + 1);
            if (round >= 0) slot = (unsigned)((pending + (uint64_t)round * cycles + i) % (pending + 1));
            unsigned oldest = (slot + 1) % (pending + 1);
            unbind_fence *fence, *next;
            TRY(unbind_fence_create(rig.device, &next)); /* the caller's own fence is not part of the cycle */
            double start = now_ns();
            TRY(unbind_vma_bind(vma[slot], 0));
            TRY(unbind_vma_add_user(vma[slot], next));
            TRY(unbind_vma_unbind_async(vma[slot], 0, &fence));
            unbind_fence_unref(fence);
            user[slot] = next;
            if (round >= 0) {
                TRY(unbind_fence_signal(user[oldest], 0));
                TRY(unbind_device_run(rig.device, 0, NULL));
            }
            spent += now_ns() - start;
            if (round >= 0) {
                unbind_fence_unref(user[oldest]);
                user[oldest] = NULL;
            }
        }
        if (round >= 0) times[round] = spent / cycles;
    }
    row(name, "deferred", pending, times, base);
    for (unsigned i = 0; i <= pending; i++) {
        if (user[i]) TRY(unbind_fence_signal(user[i], 0));
        unbind_fence_unref(user[i]);
    }
    TRY(unbind_device_wait_idle(rig.device, UNBIND_TIMEOUT_INFINITE, 0));
    for (unsigned i = 0; i <= pending; i++) unbind_vma_unref(vma[i]);
    free(vma);
    free(user);
    rig_close(rig);
}

/* The functions that only look. */
static void getters(double base) {
    enum { CALLS = 2000000 };
    struct rig rig = rig_open(UNBIND_POLICY_RANGES);
    unbind_vma *vma = vma_at(rig, 0x100000);
    unbind_fence *fence;
    struct unbind_vm_stats stats = UNBIND_VM_STATS_INIT;
    double times[4][ROUNDS];
    volatile uint64_t sink = 0;
    TRY(unbind_vma_bind(vma, 0));
    TRY(unbind_fence_create(rig.device, &fence));
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (int i = 0; i < CALLS; i++) sink += unbind_vma_address(vma);
        times[0][round] = (now_ns() - start) / CALLS, start = now_ns();
        for (int i = 0; i < CALLS; i++) sink += (uint64_t)unbind_vma_state(vma);
        times[1][round] = (now_ns() - start) / CALLS, start = now_ns();
        for (int i = 0; i < CALLS; i++) sink += (uint64_t)unbind_fence_is_signaled(fence);
        times[2][round] = (now_ns() - start) / CALLS, start = now_ns();
        for (int i = 0; i < CALLS / 10; i++) TRY(unbind_vm_get_stats(rig.vm, &stats));
        times[3][round] = (now_ns() - start) / (CALLS / 10);
    }
    row("ranges", "vma_address", 0, times[0], base);
    row("ranges", "vma_state", 0, times[1], base);
    row("ranges", "fence_is_signaled", 0, times[2], base);
    row("ranges", "vm_get_stats", 0, times[3], base);
    TRY(unbind_fence_signal(fence, 0));
    unbind_fence_unref(fence);
    unbind_vma_unref(vma);
    rig_close(rig);
}

int main(int argc, char **argv) {
    static const char *const names[] = {"ranges", "timeline", "sync"};
    static const unsigned pending[] = {16, 1024, 65536};
    double first = 0;
    if (argc == 3 && strcmp(argv[1], "--json") == 0) json = fopen(argv[2], "w");
    if (argc != 1 && !json) {
        fprintf(stderr, "bench: use: bench [--json FILE]\n");
        return 2;
    }
    if (json) fprintf(json, "{\"version\": \"%s\", \"unit\": \"ns per operation\", \"rows\": [", unbind_version_string());
    printf("%-9s %-22s %8s %10s %10s %10s %8s\n", "policy", "operation", "pending", "median ns", "least", "most", "ratio");
    for (uint32_t policy = 0; policy < 3; policy++) {
        double base = immediate(names[policy], policy);
        if (policy == 0) first = base;
        if (policy != UNBIND_POLICY_SYNC) deferred(names[policy], policy, 0, base);
        if (policy == UNBIND_POLICY_RANGES) {
            for (int i = 0; i < 3; i++) deferred(names[policy], policy, pending[i], base);
        }
    }
    getters(first);
    if (json) {
        fprintf(json, "\n]}\n");
        fclose(json);
    }
    return 0;
}
