/* SPDX-License-Identifier: MIT */
/* What the tests of range allocators and trackers share. */
#ifndef TESTS_ABI_RANGES_H
#define TESTS_ABI_RANGES_H

#include "support.h"

static inline unbind_range_allocator *make_zone(struct gpu *gpu, uint64_t start, uint64_t pages) {
    struct unbind_range_zone zone = {start, pages * PAGE, 0, 0};
    unbind_range_allocator *allocator = NULL;
    REQUIRE(unbind_range_allocator_create(gpu->device, &zone, 1, &allocator) == 0);
    return allocator;
}

static inline unbind_range_tracker *make_tracker(struct gpu *gpu) {
    unbind_range_tracker *tracker = NULL;
    REQUIRE(unbind_range_tracker_create(gpu->device, &tracker) == 0);
    return tracker;
}

static inline struct unbind_range_request request_low(uint64_t size) {
    struct unbind_range_request request = UNBIND_RANGE_REQUEST_INIT;
    request.size = size;
    request.placement = UNBIND_RANGE_LOW;
    return request;
}

static inline struct unbind_range_request request_at(uint64_t address, uint64_t size) {
    struct unbind_range_request request = request_low(size);
    request.flags = UNBIND_RANGE_FIXED;
    request.address = address;
    return request;
}

/* Reserves what must be there, at a place that must be free of fences. */
static inline uint64_t reserve(unbind_range_allocator *allocator, struct unbind_range_request request) {
    uint64_t address = 77;
    unbind_fence *fence = UNTOUCHED(unbind_fence);
    REQUIRE(unbind_range_allocator_reserve(allocator, &request, &address, &fence) == 0);
    CHECK(fence == NULL);
    return address;
}

static inline struct unbind_range_info info_at(unbind_range_allocator *allocator, uint64_t address) {
    struct unbind_range_info info = UNBIND_RANGE_INFO_INIT;
    CHECK_EQUAL(unbind_range_allocator_lookup(allocator, address, &info), 0);
    return info;
}

static inline struct unbind_range_stats stats_of(unbind_range_allocator *allocator) {
    struct unbind_range_stats stats = UNBIND_RANGE_STATS_INIT;
    CHECK_EQUAL(unbind_range_allocator_get_stats(allocator, UNBIND_RANGE_ALL_ZONES, &stats), 0);
    CHECK_EQUAL(stats.used_bytes + stats.waiting_bytes + stats.free_bytes, stats.size);
    return stats;
}

static inline uint64_t tracked(unbind_range_tracker *tracker) {
    uint64_t count = 77;
    CHECK_EQUAL(unbind_range_tracker_get_count(tracker, &count), 0);
    return count;
}

/* Without slabs, so that each object is an allocation of its own. */
static inline void gpu_open_uncached(struct gpu *gpu) {
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(gpu, UNBIND_EXECUTOR_MANUAL, &allocator);
    options.flags = UNBIND_DEVICE_NO_SLABS;
    REQUIRE(unbind_device_open_software(&options, &gpu->device) == 0);
    REQUIRE(unbind_vm_create(gpu->device, NULL, &gpu->vm) == 0);
}

#endif /* TESTS_ABI_RANGES_H */
