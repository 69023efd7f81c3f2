/* SPDX-License-Identifier: MIT */
/*
 * What libunbind costs, beside the kernel's own code if there is a program that measures it.
 *
 *     bench [--peer PROGRAM] [--json FILE] [--only PREFIX] [--max-n N] [--scale FACTOR] [--mem]
 *
 * FACTOR is of the numbers of operations, on both sides: 1 for those of the peer's own runs, 0.25 unless given, so that
 * both together take less than five minutes.
 * --mem measures the memory of a pending unbind instead of times.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct bench_options bench_options = {0.25, 1048576, NULL, NULL, NULL};

double bench_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

uint64_t bench_operations(double count) {
    count *= bench_options.scale;
    return count < 1024 ? 1024 : (uint64_t)count;
}

bool bench_wanted(const char *name, uint64_t n) {
    if (n > bench_options.max_n) return false;
    return !bench_options.only || strncmp(name, bench_options.only, strlen(bench_options.only)) == 0;
}

static int usage(void) {
    fprintf(stderr, "bench: use: bench [--peer PROGRAM] [--json FILE] [--only PREFIX] [--max-n N] [--scale FACTOR] "
                    "[--mem]\n");
    return 2;
}

int main(int argc, char **argv) {
    bool memory = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--mem") == 0) {
            memory = true;
            continue;
        }
        if (!value) return usage();
        if (strcmp(argv[i], "--peer") == 0) bench_options.peer = value;
        else if (strcmp(argv[i], "--json") == 0) bench_options.json = value;
        else if (strcmp(argv[i], "--only") == 0) bench_options.only = value;
        else if (strcmp(argv[i], "--max-n") == 0) bench_options.max_n = strtoull(value, NULL, 0);
        else if (strcmp(argv[i], "--scale") == 0) bench_options.scale = atof(value);
        else return usage();
        i++;
    }
    if (bench_options.max_n == 0 || !(bench_options.scale > 0)) return usage();
    if (memory) return memory_benchmark(bench_options.max_n);
    core_benchmarks();
    getter_benchmarks();
    lookup_benchmarks();
    batch_benchmarks();
    thread_benchmarks();
    software_gpu_benchmarks();
    range_benchmarks();
    migration_benchmark();
    bench_finish();
    return 0;
}
