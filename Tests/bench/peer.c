/* SPDX-License-Identifier: MIT */
/*
 * Runs the peer: a program that measures other code on the same workloads and prints lines such as
 *
 *     W6.itree_rm_query_ins      N=16       threads=1 ns_per_op=60.6      ops=2000000 ...
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

static struct result {
    char name[64];
    unsigned long long n;
    unsigned threads;
    double time;
} results[256];
static size_t count;

void peer_run(const char *prefix) {
    char command[1024], line[512];
    static const char *last;
    FILE *pipe;
    if (!bench_options.peer || (last && strcmp(last, prefix) == 0)) return;
    last = prefix;
    count = 0;
    snprintf(command, sizeof command, "'%s' --only=%s --max-n=%llu --scale=%g", bench_options.peer, prefix,
             (unsigned long long)bench_options.max_n, bench_options.scale);
    pipe = popen(command, "r");
    if (!pipe) {
        perror(bench_options.peer);
        exit(1);
    }
    while (fgets(line, sizeof line, pipe) && count < sizeof results / sizeof results[0]) {
        struct result *result = &results[count];
        if (sscanf(line, "%63s N=%llu threads=%u ns_per_op=%lf", result->name, &result->n, &result->threads,
                   &result->time) == 4)
            count++;
    }
    if (pclose(pipe) != 0 || count == 0) {
        fprintf(stderr, "bench: the peer failed: %s\n", command);
        exit(1);
    }
}

double peer_time(const char *name, uint64_t n, unsigned threads) {
    for (size_t i = 0; i < count; i++) {
        const struct result *result = &results[i];
        if (strcmp(result->name, name) == 0 && result->n == n && result->threads == threads) return result->time;
    }
    return 0;
}
