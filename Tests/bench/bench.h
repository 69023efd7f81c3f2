/* SPDX-License-Identifier: MIT */
/*
 * The benchmark program: what a row is, and what its parts offer each other.
 *
 * A row is one workload at one size: the median, least and most of ROUNDS rounds after a warm-up. It may name the
 * peer's workload that it is to be compared with. Rows come in groups; the peer runs a group right after we did, so
 * that both had the same minutes of the machine.
 */
#ifndef UNBIND_BENCH_H
#define UNBIND_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { ROUNDS = 5 };

struct bench_options {
    double scale;         /* of the numbers of operations, on both sides */
    uint64_t max_n;       /* larger sizes are left out */
    const char *only;     /* a prefix of row names, or NULL */
    const char *peer;     /* the peer's program, or NULL */
    const char *json;     /* a file name, or NULL */
};
extern struct bench_options bench_options;

double bench_now_ns(void);

/* So many operations, scaled. */
uint64_t bench_operations(double count);

/* Whether a row of this name and size is asked for. */
bool bench_wanted(const char *name, uint64_t n);

/* Adds a row. `peer_name`, `peer_n`: what to compare it with; NULL for nothing. Gives the median. */
double bench_row(const char *name, uint64_t n, unsigned threads, double times[ROUNDS], const char *peer_name,
                 uint64_t peer_n);

/* Adds a ratio, `of` what: the median is shown, below the rows of the group. */
void bench_ratio(const char *name, const char *of, double ratios[ROUNDS]);

/* Ends a group: runs the peer's workloads whose names begin with `peer_prefix` (NULL: none), unless they were the last
 * that it ran, and prints the rows. */
void bench_group_end(const char *title, const char *peer_prefix);

/* The JSON file. */
void bench_finish(void);

/* The peer's ns per operation, or 0. Only what the last peer_run printed is known. */
void peer_run(const char *prefix);
double peer_time(const char *name, uint64_t n, unsigned threads);

void core_benchmarks(void);
/* Beside the peer's W1, and beside its W2: each right after the core's, for one run of the peer's. */
void c_immediate_benchmarks(void);
void c_deferred_benchmarks(void);
void getter_benchmarks(void);
void lookup_benchmarks(void);
void thread_benchmarks(void);
void software_gpu_benchmarks(void);
void migration_benchmark(void);
void batch_benchmarks(void);
void range_benchmarks(void);
int memory_benchmark(uint64_t n);

#endif
