/* SPDX-License-Identifier: MIT */
/* The fuzz test: range allocators and range trackers. */
#ifndef TESTS_ABI_FUZZ_RANGES_H
#define TESTS_ABI_FUZZ_RANGES_H

#include "fuzz_world.h"

static void keep_fence(unbind_fence *fence, int got, int device);

static void make_ranges(void) {
    unbind_device *device = PICK(unbind_device, DEVICE);
    int index = device_of(DEVICE, device), got;
    if (one_in(2)) {
        unbind_range_tracker *tracker = UNTOUCHED(unbind_range_tracker);
        trace("make a tracker");
        got = status("unbind_range_tracker_create", unbind_range_tracker_create(device, one_in(40) ? NULL : &tracker),
                     -EINVAL, -ENOENT, -ENOMEM, 0);
        if (got == 0) keep(TRACKER, tracker, index);
        else if (tracker != UNTOUCHED(unbind_range_tracker)) fuzz_failed("a failed create wrote its out-parameter", got);
    } else {
        struct unbind_range_zone zones[3] = {{0, 12 * PAGE, 0, 0}, {1 << 20, 1 << 18, 1 << 16, 0}, {1 << 16, PAGE, 0, 0}};
        unbind_range_allocator *allocator = UNTOUCHED(unbind_range_allocator);
        if (one_in(8)) ((uint64_t *)zones)[below(12)] = any_word();
        trace("make a range allocator");
        got = status("unbind_range_allocator_create",
                     unbind_range_allocator_create(device, one_in(40) ? NULL : zones, one_in(24) ? (uint32_t)any() : 3,
                                                   one_in(40) ? NULL : &allocator),
                     -EINVAL, -ENOENT, -ENOMEM, 0);
        if (got == 0) keep(ZONES, allocator, index);
        else if (allocator != UNTOUCHED(unbind_range_allocator)) fuzz_failed("a failed create wrote", got);
    }
}

static void use_zones(void) {
    union room room;
    unbind_range_allocator *allocator = PICK(unbind_range_allocator, ZONES);
    unbind_fence *fence = UNTOUCHED(unbind_fence);
    struct unbind_range_request request = UNBIND_RANGE_REQUEST_INIT;
    struct unbind_range_info info = UNBIND_RANGE_INFO_INIT, *sent;
    struct unbind_range_stats stats = UNBIND_RANGE_STATS_INIT, *figures;
    uint64_t address = one_in(3) ? (1 << 20) + below(4) * 65536 : one_in(16) ? any_word() : below(12) * PAGE;
    uint64_t place = 0xdead;
    int device = device_of(ZONES, allocator), takes_fence = !one_in(3), got;
    switch (below(8)) {
    case 0:
    case 1:
    case 2:
        request.zone = address >= 1 << 20 ? 1 : one_in(20) ? 2 : 0;
        request.size = (1 + below(3)) * (request.zone == 1 ? 65536 : PAGE);
        request.placement = (uint32_t)below(3);
        if (one_in(2)) request.flags = UNBIND_RANGE_FIXED, request.address = address;
        if (one_in(4)) request.alignment = UINT64_C(1) << below(64);
        trace("reserve in zone %u, size %llx, flags %u", request.zone, (unsigned long long)request.size, request.flags);
        got = status("unbind_range_allocator_reserve",
                     unbind_range_allocator_reserve(allocator, (struct unbind_range_request *)SPOIL(&room, request),
                                                    one_in(60) ? NULL : &place, takes_fence ? &fence : NULL),
                     -EINVAL, -E2BIG, -ENODEV, -ENOSPC, -EBUSY, -ENOENT, -ENOMEM, 0);
        if (got < 0 && (place != 0xdead || fence != UNTOUCHED(unbind_fence))) fuzz_failed("a failed reserve wrote", got);
        if (got == 0 && takes_fence && fence) keep_fence(fence, got, device);
        break;
    case 3:
        trace("release %llx", (unsigned long long)address);
        status("unbind_range_allocator_release", unbind_range_allocator_release(allocator, address), -EINVAL, 0);
        break;
    case 4:
    case 5:
        trace("release %llx after", (unsigned long long)address);
        status("unbind_range_allocator_release_after",
               unbind_range_allocator_release_after(allocator, address, PICK(unbind_fence, FENCE),
                                                    flags_of(UNBIND_RANGE_REUSE)),
               -EINVAL, 0);
        break;
    case 6:
        sent = (struct unbind_range_info *)SPOIL(&room, info);
        got = status("unbind_range_allocator_lookup", unbind_range_allocator_lookup(allocator, address, sent), -EINVAL,
                     -E2BIG, -ENODEV, 0);
        if (got == 0 && sent->struct_size >= sizeof info && address - sent->start >= sent->size) {
            fuzz_failed("a lookup of another range", (long long)sent->start);
        }
        figures = (struct unbind_range_stats *)SPOIL(&room, stats);
        got = status("unbind_range_allocator_get_stats",
                     unbind_range_allocator_get_stats(allocator, one_in(4) ? (uint32_t)below(5) : UINT32_MAX, figures),
                     -EINVAL, -E2BIG, 0);
        if (got == 0 && figures->struct_size >= sizeof stats &&
            figures->size != figures->used_bytes + figures->waiting_bytes + figures->free_bytes) {
            fuzz_failed("the sums of a zone", (long long)figures->size);
        }
        break;
    default:
        got = status("unbind_range_allocator_get_fence",
                     unbind_range_allocator_get_fence(allocator, address, (1 + below(8)) * PAGE, one_in(40) ? NULL : &fence),
                     -EINVAL, -ENODEV, -ENOENT, -ENOMEM, 0);
        keep_fence(fence, got, device);
    }
}

static void use_tracker(void) {
    unbind_range_tracker *tracker = PICK(unbind_range_tracker, TRACKER);
    unbind_fence *fence = UNTOUCHED(unbind_fence), *found[4];
    uint64_t start = one_in(24) ? any_word() : below(16) * PAGE, size = one_in(24) ? any_word() : below(9) * PAGE, all = 0;
    uint32_t count = 0, capacity = (uint32_t)below(5);
    int device = device_of(TRACKER, tracker), got;
    switch (below(4)) {
    case 0:
    case 1:
        trace("track %llx, %llx bytes", (unsigned long long)start, (unsigned long long)size);
        status("unbind_range_tracker_insert", unbind_range_tracker_insert(tracker, start, size, PICK(unbind_fence, FENCE)),
               -EINVAL, -ENODEV, -ENOENT, -ENOMEM, 0);
        break;
    case 2:
        got = status("unbind_range_tracker_get_fences",
                     unbind_range_tracker_get_fences(tracker, start, size, one_in(40) ? NULL : found, capacity,
                                                     one_in(40) ? NULL : &count),
                     -EINVAL, -ENODEV, -ENOMEM, 0);
        for (uint32_t i = 0; got == 0 && count <= capacity && i < count; i++) keep_fence(found[i], 0, device);
        got = status("unbind_range_tracker_get_count", unbind_range_tracker_get_count(tracker, one_in(40) ? NULL : &all),
                     -EINVAL, 0);
        if (got == 0 && fuzz.is_quiet && count > all) fuzz_failed("more fences than were inserted", count);
        break;
    default:
        got = status("unbind_range_tracker_get_fence",
                     unbind_range_tracker_get_fence(tracker, start, size, one_in(40) ? NULL : &fence), -EINVAL, -ENODEV,
                     -ENOENT, -ENOMEM, 0);
        keep_fence(fence, got, device);
    }
}

static void use_ranges(void) {
    switch (below(5)) {
    case 0: make_ranges(); break;
    case 1:
    case 2: use_tracker(); break;
    default: use_zones();
    }
}

#endif /* TESTS_ABI_FUZZ_RANGES_H */
