/* SPDX-License-Identifier: MIT */
/* Rows: collected by group, printed as one table, written as JSON. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <unbind/unbind.h>

struct row {
    char name[48];
    const char *peer_name;
    uint64_t n, peer_n;
    unsigned threads;
    double median, least, most, peer;
};

static struct row rows[256];
static size_t count, printed;

static struct ratio {
    char name[48];
    const char *of;
    double median;
} ratios[16];
static size_t ratio_count, ratios_printed;

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

double bench_row(const char *name, uint64_t n, unsigned threads, double times[ROUNDS], const char *peer_name,
                 uint64_t peer_n) {
    struct row *row = &rows[count];
    if (++count == sizeof rows / sizeof rows[0]) {
        fprintf(stderr, "bench: too many rows\n");
        exit(1);
    }
    qsort(times, ROUNDS, sizeof times[0], compare);
    *row = (struct row){.peer_name = peer_name, .n = n, .peer_n = peer_n, .threads = threads};
    snprintf(row->name, sizeof row->name, "%s", name);
    row->median = times[ROUNDS / 2];
    row->least = times[0];
    row->most = times[ROUNDS - 1];
    return row->median;
}

void bench_ratio(const char *name, const char *of, double values[ROUNDS]) {
    struct ratio *ratio = &ratios[ratio_count];
    if (++ratio_count == sizeof ratios / sizeof ratios[0]) {
        fprintf(stderr, "bench: too many ratios\n");
        exit(1);
    }
    qsort(values, ROUNDS, sizeof values[0], compare);
    snprintf(ratio->name, sizeof ratio->name, "%s", name);
    ratio->of = of;
    ratio->median = values[ROUNDS / 2];
}

void bench_group_end(const char *title, const char *peer_prefix) {
    if (printed == count) return;
    if (peer_prefix) peer_run(peer_prefix);
    if (printed == 0)
        printf("%-34s %8s %7s %10s %10s %10s %10s %6s\n", "ns per operation", "n", "threads", "median", "least", "most",
               "peer", "ratio");
    printf("%s\n", title);
    for (; printed < count; printed++) {
        struct row *row = &rows[printed];
        if (row->peer_name) row->peer = peer_time(row->peer_name, row->peer_n, row->threads);
        printf("  %-32s %8llu %7u %10.1f %10.1f %10.1f", row->name, (unsigned long long)row->n, row->threads,
               row->median, row->least, row->most);
        if (row->peer > 0) printf(" %10.1f %6.2f", row->peer, row->median / row->peer);
        printf("\n");
    }
    for (; ratios_printed < ratio_count; ratios_printed++)
        printf("  %-32s %.2f %s\n", ratios[ratios_printed].name, ratios[ratios_printed].median,
               ratios[ratios_printed].of);
    fflush(stdout);
}

void bench_finish(void) {
    FILE *json;
    if (!bench_options.json) return;
    json = fopen(bench_options.json, "w");
    if (!json) {
        perror(bench_options.json);
        exit(1);
    }
    fprintf(json, "{\"version\": \"%s\", \"unit\": \"ns per operation\", \"rows\": [", unbind_version_string());
    for (size_t i = 0; i < count; i++) {
        struct row *row = &rows[i];
        fprintf(json, "%s\n  {\"name\": \"%s\", \"n\": %llu, \"threads\": %u, ", i ? "," : "", row->name,
                (unsigned long long)row->n, row->threads);
        fprintf(json, "\"median\": %.1f, \"least\": %.1f, \"most\": %.1f", row->median, row->least, row->most);
        if (row->peer > 0) fprintf(json, ", \"peer\": %.1f, \"ratio\": %.3f", row->peer, row->median / row->peer);
        fprintf(json, "}");
    }
    fprintf(json, "\n], \"ratios\": [");
    for (size_t i = 0; i < ratio_count; i++)
        fprintf(json, "%s\n  {\"name\": \"%s\", \"of\": \"%s\", \"median\": %.3f}", i ? "," : "", ratios[i].name,
                ratios[i].of, ratios[i].median);
    fprintf(json, "\n]}\n");
    if (fclose(json) != 0) {
        perror(bench_options.json);
        exit(1);
    }
}
