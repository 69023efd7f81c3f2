/* SPDX-License-Identifier: MIT */
/*
 * The workloads W1 and W2 of the benchmarks of the core (Tests/bench/core), so
 * many operations of one, for callgrind.
 *
 *     core w1|w2 OPERATIONS        w2 with 1,024 unbinds pending, inline
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *bench_w1_open(uint64_t count, uint32_t variant);
uint64_t bench_w1_round(void *rig, uint64_t operations);
void bench_w1_close(void *rig);
void *bench_w2_open(uint64_t count, uint32_t variant);
uint64_t bench_w2_round(void *rig, uint64_t operations);
void bench_w2_close(void *rig);

int main(int argc, char **argv) {
    if (argc != 3 || (strcmp(argv[1], "w1") != 0 && strcmp(argv[1], "w2") != 0)) {
        fprintf(stderr, "core: use: core w1|w2 OPERATIONS\n");
        return 2;
    }
    uint64_t operations = strtoull(argv[2], NULL, 10);
    if (strcmp(argv[1], "w1") == 0) {
        void *rig = bench_w1_open(0, 0);
        bench_w1_round(rig, operations);
        bench_w1_close(rig);
    } else {
        void *rig = bench_w2_open(1024, 0);
        bench_w2_round(rig, operations);
        bench_w2_close(rig);
    }
    return 0;
}
