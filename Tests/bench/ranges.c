/* SPDX-License-Identifier: MIT */
/*
 * Addresses that are free again when fences have signalled: a range allocator that is told the fence, beside a list of
 * zombies as drivers have it, on the same allocator: swept before each reserve, from the oldest on, up to the first
 * that is still busy.
 *
 * One operation reserves a page, releases it behind a new fence, and signals one of the n fences before it: the
 * oldest, or any of them. "reuse": released for reuse at once, and taken again 2n operations later. What a list holds
 * back behind a busy one is not time but addresses: that is printed, too.
 */
#include "public.h"

enum { LIST = 1 << 22 };
enum way { LIST_OF_ZOMBIES, RELEASE_AFTER, REUSE, WAYS };

struct zombie {
    unbind_fence *fence;
    uint64_t address;
};

struct zone {
    unbind_device *device;
    unbind_range_allocator *allocator;
    enum way way;
    int any_order;
    uint64_t n, operation, random;
    unbind_fence **pending;
    struct zombie *zombies; /* a ring */
    uint64_t oldest, count;
};

static struct zone zone_open(uint64_t n, enum way way, int any_order) {
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    struct unbind_range_zone pages = {0, (uint64_t)LIST * PAGE, 0, 0};
    struct zone zone = {.n = n, .way = way, .any_order = any_order, .random = 1};
    options.executor = UNBIND_EXECUTOR_MANUAL;
    TRY(unbind_device_open_software(&options, &zone.device));
    TRY(unbind_range_allocator_create(zone.device, &pages, 1, &zone.allocator));
    zone.pending = calloc(n, sizeof *zone.pending);
    zone.zombies = way == LIST_OF_ZOMBIES ? malloc(LIST * sizeof *zone.zombies) : NULL;
    if (!zone.pending || (way == LIST_OF_ZOMBIES && !zone.zombies)) exit(1);
    return zone;
}

static void sweep(struct zone *zone) {
    while (zone->count) {
        struct zombie *zombie = &zone->zombies[zone->oldest];
        if (!unbind_fence_is_signaled(zombie->fence)) return;
        TRY(unbind_range_allocator_release(zone->allocator, zombie->address));
        unbind_fence_unref(zombie->fence);
        zone->oldest = (zone->oldest + 1) % LIST;
        zone->count--;
    }
}

static void operate(struct zone *zone) {
    struct unbind_range_request request = UNBIND_RANGE_REQUEST_INIT;
    unbind_fence *fence, *former = NULL;
    uint64_t address, slot = zone->operation % zone->n;
    request.size = PAGE;
    request.placement = UNBIND_RANGE_LOW;
    if (zone->way == REUSE) {
        request.flags = UNBIND_RANGE_FIXED;
        request.address = zone->operation % (2 * zone->n) * PAGE;
    }
    if (zone->way == LIST_OF_ZOMBIES) sweep(zone);
    TRY(unbind_range_allocator_reserve(zone->allocator, &request, &address, &former));
    unbind_fence_unref(former);
    TRY(unbind_fence_create(zone->device, &fence));
    if (zone->way == LIST_OF_ZOMBIES) {
        zone->zombies[(zone->oldest + zone->count++) % LIST] = (struct zombie){unbind_fence_ref(fence), address};
    } else {
        uint32_t flags = zone->way == REUSE ? UNBIND_RANGE_REUSE : 0;
        TRY(unbind_range_allocator_release_after(zone->allocator, address, fence, flags));
    }
    if (zone->any_order) {
        zone->random = zone->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        slot = (zone->random >> 33) % zone->n;
    }
    if (zone->pending[slot]) {
        TRY(unbind_fence_signal(zone->pending[slot], 0));
        unbind_fence_unref(zone->pending[slot]);
    }
    zone->pending[slot] = fence;
    zone->operation++;
}

static double run(struct zone *zone, uint64_t operations) {
    double start = bench_now_ns();
    for (uint64_t i = 0; i < operations; i++) operate(zone);
    return (bench_now_ns() - start) / (double)operations;
}

/* Pages that nobody else can have, in the mean of some moments. */
static double pages_held(struct zone *zone) {
    double sum = 0;
    for (int i = 0; i < 256; i++) {
        struct unbind_range_stats stats = UNBIND_RANGE_STATS_INIT;
        for (uint64_t j = 0; j < zone->n / 16 + 1; j++) operate(zone);
        if (zone->way == LIST_OF_ZOMBIES) sweep(zone);
        TRY(unbind_range_allocator_get_stats(zone->allocator, 0, &stats));
        sum += (double)(stats.used + stats.waiting);
    }
    return sum / 256;
}

static void zone_close(struct zone *zone) {
    for (uint64_t i = 0; i < zone->n; i++) {
        if (zone->pending[i]) TRY(unbind_fence_signal(zone->pending[i], 0));
        unbind_fence_unref(zone->pending[i]);
    }
    if (zone->way == LIST_OF_ZOMBIES) sweep(zone);
    unbind_range_allocator_unref(zone->allocator);
    TRY(unbind_device_close(zone->device, NULL));
    unbind_device_unref(zone->device);
    free(zone->pending);
    free(zone->zombies);
}

/* The three ways at one size, round by round in turn. False if not all of them were asked for. */
static bool measure(uint64_t n, int any_order, double medians[WAYS], double held[WAYS]) {
    static const char *const ways[] = {"zombie_list", "release_after", "reuse"};
    struct zone zones[WAYS];
    char names[WAYS][48];
    double times[WAYS][ROUNDS];
    for (int way = 0; way < WAYS; way++) {
        snprintf(names[way], sizeof names[way], "ranges.%s.%s", ways[way], any_order ? "any" : "oldest");
        if (!bench_wanted(names[way], n)) return false;
    }
    for (int way = 0; way < WAYS; way++) {
        zones[way] = zone_open(n, (enum way)way, any_order);
        run(&zones[way], 4 * n);
    }
    for (int round = 0; round < ROUNDS; round++)
        for (int way = 0; way < WAYS; way++) times[way][round] = run(&zones[way], bench_operations(2e5));
    for (int way = 0; way < WAYS; way++) {
        held[way] = pages_held(&zones[way]);
        zone_close(&zones[way]);
        medians[way] = bench_row(names[way], n, 1, times[way], NULL, 0);
    }
    return true;
}

void range_benchmarks(void) {
    static const uint64_t sizes[] = {16, 1024, 65536};
    char lines[6][128];
    int count = 0;
    for (int i = 0; i < 6; i++) {
        double times[WAYS], held[WAYS];
        if (!measure(sizes[i % 3], i / 3, times, held)) continue;
        snprintf(lines[count++], sizeof lines[0],
                 "  %s of %llu: times to that of a list %.2f, with reuse %.2f; pages held %.0f, by a list %.0f",
                 i / 3 ? "any" : "oldest", (unsigned long long)sizes[i % 3],
                 times[RELEASE_AFTER] / times[LIST_OF_ZOMBIES], times[REUSE] / times[LIST_OF_ZOMBIES],
                 held[RELEASE_AFTER], held[LIST_OF_ZOMBIES]);
    }
    bench_group_end("ranges that are free when a fence has signalled: told the fence, or on a list of zombies", NULL);
    for (int i = 0; i < count; i++) puts(lines[i]);
}
