/* SPDX-License-Identifier: MIT */
/* Addresses without an address space: reserving, releasing at once and after a fence, with reuse and without. */
#include "ranges.h"

TEST(zones, "zones have their own addresses and alignments, and places are low, high and fixed") {
    struct gpu gpu;
    struct unbind_range_zone zones[2] = {{0x10000, 16 * PAGE, 0, 0}, {UINT64_C(1) << 32, 8 * 0x10000, 0x10000, 0}};
    struct unbind_range_stats stats = UNBIND_RANGE_STATS_INIT;
    unbind_range_allocator *allocator = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    REQUIRE(unbind_range_allocator_create(gpu.device, zones, 2, &allocator) == 0);
    struct unbind_range_request request = request_low(PAGE);
    request.tag = 42;
    CHECK_EQUAL(reserve(allocator, request), 0x10000);
    request.placement = UNBIND_RANGE_HIGH;
    CHECK_EQUAL(reserve(allocator, request), 0x1f000);
    request.placement = UNBIND_RANGE_BEST;
    request.alignment = 0x4000;
    CHECK_EQUAL(reserve(allocator, request), 0x14000);
    request = request_low(0x20000);
    request.zone = 1;
    CHECK_EQUAL(reserve(allocator, request), UINT64_C(1) << 32);
    struct unbind_range_request fixed = request_at((UINT64_C(1) << 32) + 0x40000, 0x10000);
    fixed.zone = 1;
    CHECK_EQUAL(reserve(allocator, fixed), (UINT64_C(1) << 32) + 0x40000);
    struct unbind_range_info info = info_at(allocator, 0x10fff);
    CHECK(info.state == UNBIND_RANGE_USED && info.start == 0x10000 && info.size == PAGE);
    CHECK(info.tag == 42 && info.zone == 0 && info.fences == 0);
    info = info_at(allocator, (UINT64_C(1) << 32) + 0x30000);
    CHECK(info.state == UNBIND_RANGE_FREE && info.start == (UINT64_C(1) << 32) + 0x20000 && info.size == 0x20000);
    CHECK(info.tag == 0 && info.zone == 1);
    CHECK_EQUAL(unbind_range_allocator_get_stats(allocator, 1, &stats), 0);
    CHECK(stats.size == 0x80000 && stats.used_bytes == 0x30000 && stats.used == 2 && stats.free_bytes == 0x50000);
    CHECK_EQUAL(stats_of(allocator).used, 5);
    unbind_range_allocator_unref(allocator);
    gpu_close(&gpu);
}

TEST(waits, "a range released after a fence is nobody's until that has signalled, in whatever order fences do") {
    for (uint32_t executor = 0; executor < 3; executor++) {
        struct gpu gpu;
        gpu_open(&gpu, executor);
        unbind_range_allocator *allocator = make_zone(&gpu, 0, 4);
        unbind_fence *fences[4], *all = NULL, *none = UNTOUCHED(unbind_fence);
        uint64_t address = 77;
        make_fences(&gpu, fences, 4);
        for (unsigned i = 0; i < 4; i++) {
            CHECK_EQUAL(reserve(allocator, request_low(PAGE)), i * PAGE);
            CHECK_EQUAL(unbind_range_allocator_release_after(allocator, i * PAGE, fences[i], 0), 0);
            CHECK_EQUAL(unbind_range_allocator_release_after(allocator, i * PAGE, fences[i], 0), -EINVAL);
            CHECK_EQUAL(unbind_range_allocator_release(allocator, i * PAGE), -EINVAL);
            struct unbind_range_info info = info_at(allocator, i * PAGE);
            CHECK(info.state == UNBIND_RANGE_WAITING && info.size == PAGE && info.fences == 1);
        }
        struct unbind_range_request request = request_low(PAGE);
        CHECK_EQUAL(unbind_range_allocator_reserve(allocator, &request, &address, &none), -ENOSPC);
        CHECK(address == 77 && none == UNTOUCHED(unbind_fence));
        CHECK_EQUAL(unbind_range_allocator_get_fence(allocator, 0, 2 * PAGE, &all), 0);
        signal_and_drop(fences[2]); /* not the first that was released */
        struct unbind_range_stats stats = stats_of(allocator);
        CHECK(stats.free_bytes == PAGE && stats.waiting_bytes == 3 * PAGE && stats.waiting == 3);
        CHECK_EQUAL(reserve(allocator, request), 2 * PAGE);
        CHECK_EQUAL(unbind_fence_signal(fences[1], -EIO), 0); /* failed, and over all the same */
        unbind_fence_unref(fences[1]);
        CHECK_EQUAL(unbind_fence_is_signaled(all), 0);
        signal_and_drop(fences[0]);
        CHECK_EQUAL(unbind_fence_is_signaled(all), 1);
        unbind_fence_unref(all);
        CHECK_EQUAL(reserve(allocator, request_at(0, 2 * PAGE)), 0);
        CHECK_EQUAL(unbind_range_allocator_get_fence(allocator, 0, 3 * PAGE, &all), 0);
        CHECK_EQUAL(finish(all), 0); /* that of nothing to wait for */
        signal_and_drop(fences[3]);
        unbind_range_allocator_unref(allocator);
        gpu_close(&gpu);
    }
}

TEST(reuse, "a range released for reuse goes to others at once, with the fences of all former owners and no more") {
    struct gpu gpu;
    unbind_fence *fences[3], *fence = NULL;
    uint64_t address = 77;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_range_allocator *allocator = make_zone(&gpu, 0x40000, 8);
    make_fences(&gpu, fences, 3);
    for (unsigned i = 0; i < 3; i++) {
        address = reserve(allocator, request_at(0x40000 + 2 * i * PAGE, 2 * PAGE));
        CHECK_EQUAL(unbind_range_allocator_release_after(allocator, address, fences[i], UNBIND_RANGE_REUSE), 0);
        CHECK_EQUAL(unbind_range_allocator_release(allocator, address), -EINVAL);
    }
    struct unbind_range_info info = info_at(allocator, 0x40000);
    CHECK(info.state == UNBIND_RANGE_FREE && info.size == 8 * PAGE && info.fences == 3);
    struct unbind_range_stats stats = stats_of(allocator);
    CHECK(stats.free_bytes == 8 * PAGE && stats.waiting == 0 && stats.reusable == 3);
    struct unbind_range_request request = request_at(0x41000, 2 * PAGE); /* overlaps the first two */
    CHECK_EQUAL(unbind_range_allocator_reserve(allocator, &request, &address, NULL), -EBUSY);
    CHECK_EQUAL(stats_of(allocator).used, 0);
    CHECK_EQUAL(unbind_range_allocator_reserve(allocator, &request, &address, &fence), 0);
    REQUIRE(fence != NULL);
    CHECK_EQUAL(unbind_fence_signal(fences[1], 0), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(fence), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[0], 0), 0);
    CHECK_EQUAL(finish(fence), 0); /* the third is of no concern */
    CHECK_EQUAL(unbind_range_allocator_release(allocator, address), 0);
    CHECK_EQUAL(reserve(allocator, request_at(0x40000, 4 * PAGE)), 0x40000);
    request = request_at(0x44000, PAGE);
    CHECK_EQUAL(unbind_range_allocator_reserve(allocator, &request, &address, &fence), 0);
    CHECK(fence == fences[2]); /* of one fence, the fence itself */
    unbind_fence_unref(fence);
    CHECK_EQUAL(unbind_range_allocator_release(allocator, address), 0);
    CHECK_EQUAL(unbind_range_allocator_reserve(allocator, &request, &address, &fence), 0);
    CHECK(fence == fences[2]); /* a former owner that did not wait has not ended it */
    unbind_fence_unref(fence);
    CHECK_EQUAL(unbind_fence_signal(fences[2], 0), 0);
    CHECK_EQUAL(stats_of(allocator).reusable, 0);
    drop_fences(fences, 3);
    unbind_range_allocator_unref(allocator);
    gpu_close(&gpu);
}

TEST(release_allocates_nothing, "releasing allocates nothing: all it needs was taken when the range was reserved") {
    struct gpu gpu;
    unbind_fence *fences[90];
    uint64_t addresses[90];
    gpu_open_uncached(&gpu);
    unbind_range_allocator *allocator = make_zone(&gpu, 0, 1000);
    make_fences(&gpu, fences, 90);
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 90; i++) {
            struct unbind_range_request request = request_low((1 + i % 5) * PAGE);
            unbind_fence *fence = NULL;
            REQUIRE(unbind_range_allocator_reserve(allocator, &request, &addresses[i], &fence) == 0);
            unbind_fence_unref(fence);
        }
        uint64_t calls = gpu.hooks.calls;
        for (unsigned i = 0; i < 90; i++) {
            unsigned place = (i * 37) % 90;
            uint64_t address = addresses[place];
            if (i % 3 == 0) CHECK_EQUAL(unbind_range_allocator_release(allocator, address), 0);
            else CHECK_EQUAL(unbind_range_allocator_release_after(allocator, address, fences[place], i % 3 - 1), 0);
        }
        CHECK_EQUAL(gpu.hooks.calls, calls);
    }
    uint64_t calls = gpu.hooks.calls;
    for (unsigned i = 0; i < 90; i++) signal_and_drop(fences[89 - i]);
    CHECK_EQUAL(stats_of(allocator).free_bytes, 1000 * PAGE);
    CHECK_EQUAL(gpu.hooks.calls, calls);
    unbind_range_allocator_unref(allocator);
    gpu_close(&gpu);
}

TEST(create_refuses, "bad zones are refused, and nothing is made") {
    struct gpu gpu;
    unbind_range_allocator *none = UNTOUCHED(unbind_range_allocator);
    static const struct unbind_range_zone bad[][2] = {
        {{0, 0, 0, 0}, {1 << 20, 4096, 0, 0}},
        {{1, 4096, 0, 0}, {1 << 20, 4096, 0, 0}},
        {{0, 4097, 0, 0}, {1 << 20, 4096, 0, 0}},
        {{0, 4096, 2048, 0}, {1 << 20, 4096, 0, 0}},
        {{0, 3 * 4096, 3 * 4096, 0}, {1 << 20, 4096, 0, 0}},
        {{4096, 65536, 65536, 0}, {1 << 20, 4096, 0, 0}},
        {{0, 4096, 65536, 0}, {1 << 20, 4096, 0, 0}},
        {{0, 4096, 0, 1}, {1 << 20, 4096, 0, 0}},
        {{0, 8192, 0, 0}, {4096, 4096, 0, 0}},
        {{4096, 4096, 0, 0}, {0, 8192, 0, 0}},
        {{0, UINT64_C(1) << 48, 0, 0}, {4096, 4096, 0, 0}},
        {{4096, UINT64_C(1) << 48, 0, 0}, {0, 4096, 0, 0}},
        {{UINT64_C(1) << 48, 4096, 0, 0}, {0, 4096, 0, 0}},
        {{UINT64_MAX - 4095, 4096, 0, 0}, {0, 4096, 0, 0}},
    };
    struct unbind_range_zone good = {0, UINT64_C(1) << 48, 0, 0}, many[UNBIND_RANGE_ZONE_LIMIT + 1];
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    int64_t bytes = gpu.hooks.bytes;
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_EQUAL(unbind_range_allocator_create(gpu.device, bad[i], 2, &none), -EINVAL);
    }
    CHECK_EQUAL(unbind_range_allocator_create(NULL, &good, 1, &none), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_create((unbind_device *)(void *)gpu.vm, &good, 1, &none), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_create(gpu.device, NULL, 1, &none), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_create(gpu.device, &good, 0, &none), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_create(gpu.device, &good, 1, NULL), -EINVAL);
    for (unsigned i = 0; i <= UNBIND_RANGE_ZONE_LIMIT; i++) {
        struct unbind_range_zone zone = {i * PAGE, PAGE, 0, 0};
        many[i] = zone;
    }
    CHECK_EQUAL(unbind_range_allocator_create(gpu.device, many, UNBIND_RANGE_ZONE_LIMIT + 1, &none), -EINVAL);
    CHECK(none == UNTOUCHED(unbind_range_allocator));
    CHECK_EQUAL(gpu.hooks.bytes, bytes);
    CHECK_EQUAL(unbind_range_allocator_create(gpu.device, many, UNBIND_RANGE_ZONE_LIMIT, &none), 0);
    CHECK_EQUAL(stats_of(none).size, UNBIND_RANGE_ZONE_LIMIT * PAGE);
    CHECK(unbind_range_allocator_ref(none) == none);
    unbind_range_allocator_unref(none);
    unbind_range_allocator_unref(none);
    CHECK(unbind_range_allocator_ref(NULL) == NULL);
    unbind_range_allocator_unref(NULL);
    CHECK_EQUAL(unbind_range_allocator_create(gpu.device, &good, 1, &none), 0); /* all there is */
    CHECK_EQUAL(reserve(none, request_at((UINT64_C(1) << 48) - PAGE, PAGE)), (UINT64_C(1) << 48) - PAGE);
    unbind_range_allocator_unref(none);
    gpu_close(&gpu);
}

TEST(calls_refuse, "bad requests, addresses, fences and handles are refused, and nothing changes") {
    struct gpu gpu, other;
    unbind_fence *out = UNTOUCHED(unbind_fence);
    uint64_t address = 77;
    struct unbind_range_info info = UNBIND_RANGE_INFO_INIT;
    struct unbind_range_stats stats = UNBIND_RANGE_STATS_INIT;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    gpu_open(&other, UNBIND_EXECUTOR_MANUAL);
    unbind_range_allocator *allocator = make_zone(&gpu, 0x10000, 16), *wrong = (unbind_range_allocator *)(void *)gpu.vm;
    unbind_range_tracker *tracker = make_tracker(&gpu);
    unbind_fence *fence = make_fence(&gpu), *foreign = make_fence(&other);
    uint64_t used = reserve(allocator, request_low(2 * PAGE));
#define RESERVE(expected, change)                                                                  \
    do {                                                                                           \
        struct unbind_range_request request = request_low(PAGE);                                   \
        change;                                                                                    \
        CHECK_EQUAL(unbind_range_allocator_reserve(allocator, &request, &address, &out), expected); \
    } while (0)
    RESERVE(-EINVAL, request.struct_size = 3);
    RESERVE(-EINVAL, request.flags = 2);
    RESERVE(-EINVAL, request.size = 0);
    RESERVE(-EINVAL, request.size = 4095);
    RESERVE(-EINVAL, request.alignment = 3);
    RESERVE(-EINVAL, request.address = PAGE);
    RESERVE(-EINVAL, request.zone = 1);
    RESERVE(-EINVAL, request.zone = UINT32_MAX);
    RESERVE(-EINVAL, request.placement = 3);
    RESERVE(-EINVAL, request = request_at(0x10001, PAGE));
    RESERVE(-EINVAL, (request = request_at(0x11000, PAGE), request.alignment = 2 * PAGE));
    RESERVE(-ENODEV, request = request_at(0xf000, PAGE));
    RESERVE(-ENODEV, request = request_at(0x1f000, 2 * PAGE));
    RESERVE(-ENODEV, request = request_at(0x1f000, 0 - PAGE));
    RESERVE(-ENODEV, request = request_at(UINT64_MAX - 4095, PAGE));
    RESERVE(-ENOSPC, request = request_at(0x11000, PAGE));
    RESERVE(-ENOSPC, request.size = 15 * PAGE);
    RESERVE(-ENOSPC, request.size = 0 - PAGE);
    RESERVE(-ENOSPC, request.alignment = UINT64_C(1) << 63);
    struct unbind_range_request good = request_low(PAGE);
    CHECK_EQUAL(unbind_range_allocator_reserve(NULL, &good, &address, &out), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_reserve(wrong, &good, &address, &out), -EINVAL);
    unbind_range_allocator *kindred = (unbind_range_allocator *)(void *)tracker;
    CHECK_EQUAL(unbind_range_allocator_reserve(kindred, &good, &address, &out), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_reserve(allocator, NULL, &address, &out), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_reserve(allocator, &good, NULL, &out), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_release(NULL, used), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_release(wrong, used), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_release(allocator, used + PAGE), -EINVAL); /* in the middle of it */
    CHECK_EQUAL(unbind_range_allocator_release(allocator, used + 2 * PAGE), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_release(allocator, UINT64_MAX), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_release_after(allocator, used, NULL, 0), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_release_after(allocator, used, foreign, 0), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_release_after(allocator, used, fence, 2), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_release_after(allocator, used + PAGE, fence, 0), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_release_after(NULL, used, fence, 0), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_lookup(allocator, 0xffff, &info), -ENODEV);
    CHECK_EQUAL(unbind_range_allocator_lookup(allocator, 0x20000, &info), -ENODEV);
    CHECK_EQUAL(unbind_range_allocator_lookup(allocator, used, NULL), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_lookup(NULL, used, &info), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_get_stats(allocator, 1, &stats), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_get_stats(allocator, 0, NULL), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_get_stats(NULL, 0, &stats), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_get_fence(allocator, 1, PAGE, &out), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_get_fence(allocator, 0, 0, &out), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_get_fence(allocator, PAGE, UINT64_C(1) << 48, &out), -ENODEV);
    CHECK_EQUAL(unbind_range_allocator_get_fence(allocator, 0, PAGE, NULL), -EINVAL);
    CHECK_EQUAL(unbind_range_allocator_get_fence(NULL, 0, PAGE, &out), -EINVAL);
    CHECK(address == 77 && out == UNTOUCHED(unbind_fence) && info.size == 0 && stats.size == 0);
    CHECK(stats_of(allocator).used == 1 && stats_of(allocator).waiting == 0);
    unbind_fence_unref(fence);
    unbind_fence_unref(foreign);
    unbind_range_tracker_unref(tracker);
    unbind_range_allocator_unref(allocator);
    gpu_close(&gpu);
    gpu_close(&other);
}

static int reserve_over(struct gpu *gpu, unbind_range_allocator **allocator) {
    struct unbind_range_request request = request_at(0, 2 * PAGE);
    uint64_t address = 77;
    unbind_fence *fence = NULL;
    (void)gpu;
    int status = unbind_range_allocator_reserve(*allocator, &request, &address, &fence);
    CHECK(status == 0 ? address == 0 && fence != NULL : address == 77 && fence == NULL);
    unbind_fence_unref(fence);
    return status;
}

/* A full leaf of the index, and two former owners in the place that is asked for. */
static void fail_each(int (*call)(struct gpu *gpu, unbind_range_allocator **allocator), unsigned at_least) {
    for (unsigned n = 1;; n++) {
        struct gpu gpu;
        unbind_fence *fences[2];
        REQUIRE(n < 50);
        gpu_open_uncached(&gpu);
        unbind_range_allocator *allocator = make_zone(&gpu, 0, 64), *made = allocator;
        make_fences(&gpu, fences, 2);
        for (unsigned i = 0; i < 15; i++) reserve(allocator, request_at((2 * i + 10) * PAGE, PAGE));
        for (unsigned i = 0; i < 2; i++) {
            reserve(allocator, request_at(i * PAGE, PAGE));
            CHECK_EQUAL(unbind_range_allocator_release_after(allocator, i * PAGE, fences[i], UNBIND_RANGE_REUSE), 0);
        }
        int64_t bytes = gpu.hooks.bytes;
        gpu.hooks.fail_at = gpu.hooks.calls + n;
        int status = call(&gpu, &made), failed = gpu.hooks.failed != 0;
        gpu.hooks.fail_at = 0;
        /* Memory for a better fence may be missing: there is another one. */
        CHECK(status == 0 ? !failed || call == reserve_over : failed && status == -ENOMEM);
        if (status != 0) {
            struct unbind_range_stats stats = stats_of(allocator);
            CHECK(made == allocator && stats.used == 15 && stats.reusable == 2);
            CHECK_EQUAL(gpu.hooks.bytes, bytes);
            CHECK_EQUAL(call(&gpu, &made), 0);
        }
        if (made != allocator) unbind_range_allocator_unref(made);
        unbind_range_allocator_unref(allocator);
        for (unsigned i = 0; i < 2; i++) signal_and_drop(fences[i]);
        gpu_close(&gpu);
        if (!failed) {
            CHECK(n > at_least);
            return;
        }
    }
}

static int make_another(struct gpu *gpu, unbind_range_allocator **allocator) {
    struct unbind_range_zone zone = {0, PAGE, 0, 0};
    return unbind_range_allocator_create(gpu->device, &zone, 1, allocator);
}
static int merge_all(struct gpu *gpu, unbind_range_allocator **allocator) {
    unbind_fence *fence = NULL;
    (void)gpu;
    int status = unbind_range_allocator_get_fence(*allocator, 0, 64 * PAGE, &fence);
    CHECK((status == 0) == (fence != NULL));
    unbind_fence_unref(fence);
    return status;
}

TEST(create_fails, "making an allocator survives the failure of each allocation") { fail_each(make_another, 2); }
TEST(reserve_fails, "reserving survives the failure of each allocation") { fail_each(reserve_over, 3); }
TEST(get_fence_fails, "merging what waits survives the failure of each allocation") { fail_each(merge_all, 2); }

TEST(plain_fence, "without memory for a better one the fence of a reserved range is a right one all the same") {
    unsigned reserved = 0;
    for (unsigned n = 1; n < 30; n++) {
        struct gpu gpu;
        struct unbind_range_request request = request_at(0, (1 + n % 2) * PAGE); /* one former owner, or two */
        unbind_fence *fences[3], *fence = NULL;
        uint64_t address = 77;
        gpu_open_uncached(&gpu);
        unbind_range_allocator *allocator = make_zone(&gpu, 0, 2);
        make_fences(&gpu, fences, 3);
        unbind_fence *left[2] = {array_of(fences, 2, 0), fences[2]};
        for (unsigned i = 0; i < 2; i++) {
            reserve(allocator, request_at(i * PAGE, PAGE));
            CHECK_EQUAL(unbind_range_allocator_release_after(allocator, i * PAGE, left[i], UNBIND_RANGE_REUSE), 0);
        }
        gpu.hooks.fail_at = gpu.hooks.calls + n / 2 + 1;
        int status = unbind_range_allocator_reserve(allocator, &request, &address, &fence);
        CHECK(status == 0 || (status == -ENOMEM && gpu.hooks.failed));
        reserved += status == 0 && gpu.hooks.failed;
        gpu.hooks.fail_at = 0;
        for (unsigned i = 0; i < 3; i++) {
            unsigned waits = i < 2 || request.size > PAGE;
            if (status == 0) CHECK_EQUAL(unbind_fence_is_signaled(fence), !waits);
            signal_and_drop(fences[i]);
        }
        if (status == 0) CHECK_EQUAL(finish(fence), 0);
        unbind_fence_unref(left[0]);
        unbind_range_allocator_unref(allocator);
        gpu_close(&gpu);
    }
    CHECK(reserved >= 4);
}

TEST(forgotten, "an allocator that goes lets go of the fences that its ranges waited for") {
    for (int first = 0; first < 2; first++) {
        struct gpu gpu;
        gpu_open_uncached(&gpu);
        unbind_range_allocator *allocator = make_zone(&gpu, 0, 8);
        unbind_fence *fence = make_fence(&gpu), *never = make_fence(&gpu);
        for (unsigned i = 0; i < 4; i++) reserve(allocator, request_low(PAGE));
        CHECK_EQUAL(unbind_range_allocator_release_after(allocator, 0, fence, 0), 0);
        CHECK_EQUAL(unbind_range_allocator_release_after(allocator, PAGE, never, UNBIND_RANGE_REUSE), 0);
        CHECK_EQUAL(unbind_range_allocator_release_after(allocator, 2 * PAGE, never, 0), 0);
        unbind_fence_unref(never); /* kept by the allocator alone */
        if (first) signal_and_drop(fence);
        unbind_range_allocator_unref(allocator);
        if (!first) signal_and_drop(fence);
        gpu_close(&gpu);
    }
}

TEST(closed_device, "on a closed device ranges are released, and none is reserved; what waited is free") {
    struct gpu gpu;
    struct unbind_leak_report report = UNBIND_LEAK_REPORT_INIT;
    struct unbind_range_request request = request_low(PAGE);
    struct unbind_range_zone zone = {0, PAGE, 0, 0};
    uint64_t address = 77;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_range_allocator *allocator = make_zone(&gpu, 0, 8), *none = UNTOUCHED(unbind_range_allocator);
    unbind_range_tracker *tracker = make_tracker(&gpu);
    unbind_fence *fence = make_fence(&gpu), *out = UNTOUCHED(unbind_fence);
    for (unsigned i = 0; i < 3; i++) reserve(allocator, request);
    CHECK_EQUAL(unbind_range_allocator_release_after(allocator, 0, fence, 0), 0);
    CHECK_EQUAL(unbind_device_close(gpu.device, &report), 0); /* cancels the fence */
    CHECK_EQUAL(report.ranges, 2);
    CHECK_EQUAL(report.fences_cancelled, 1);
    CHECK(stats_of(allocator).waiting == 0 && stats_of(allocator).used == 2);
    CHECK_EQUAL(unbind_range_allocator_reserve(allocator, &request, &address, &out), -ENOENT);
    CHECK_EQUAL(unbind_range_allocator_get_fence(allocator, 0, PAGE, &out), -ENOENT);
    CHECK_EQUAL(unbind_range_allocator_create(gpu.device, &zone, 1, &none), -ENOENT);
    CHECK(address == 77 && out == UNTOUCHED(unbind_fence) && none == UNTOUCHED(unbind_range_allocator));
    CHECK_EQUAL(unbind_range_allocator_release(allocator, PAGE), 0);
    CHECK_EQUAL(unbind_range_allocator_release_after(allocator, 2 * PAGE, fence, 0), 0);
    CHECK_EQUAL(stats_of(allocator).free_bytes, 8 * PAGE);
    unbind_fence_unref(fence);
    unbind_range_tracker_unref(tracker);
    unbind_range_allocator_unref(allocator);
    unbind_vm_unref(gpu.vm);
    unbind_device_unref(gpu.device);
    CHECK_EQUAL(gpu.hooks.bytes, 0);
}

/* What a callback does: it may do everything that does not block. */
struct in_callback {
    unbind_range_allocator *allocator;
    uint64_t address;
};
static void reserve_in_callback(unbind_fence *fence, void *user_data) {
    struct in_callback *state = (struct in_callback *)user_data;
    struct unbind_range_request request = request_low(PAGE);
    CHECK_EQUAL(unbind_range_allocator_reserve(state->allocator, &request, &state->address, NULL), 0);
    CHECK_EQUAL(unbind_range_allocator_release_after(state->allocator, state->address, fence, 0), 0);
    unbind_range_allocator_unref(state->allocator);
}

TEST(callbacks, "a callback of the fence that a range waits for may reserve, release and drop the allocator") {
    struct gpu gpu;
    struct unbind_fence_callback callback;
    struct in_callback state = {NULL, 77};
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    state.allocator = make_zone(&gpu, 0, 1);
    unbind_fence *fence = make_fence(&gpu);
    reserve(state.allocator, request_low(PAGE));
    CHECK_EQUAL(unbind_range_allocator_release_after(state.allocator, 0, fence, 0), 0);
    CHECK_EQUAL(unbind_fence_add_callback(fence, &callback, reserve_in_callback, &state), 0);
    signal_and_drop(fence);
    CHECK_EQUAL(state.address, 0);
    gpu_close(&gpu);
}

enum { ROUNDS = 3000, THREADS = 3 };
struct crowd {
    struct gpu gpu;
    unbind_range_allocator *allocator;
    uint32_t owners[64];
    unsigned next;
};

static void *come_and_go(void *argument) {
    struct crowd *crowd = (struct crowd *)argument;
    unsigned self = __atomic_add_fetch(&crowd->next, 1, __ATOMIC_RELAXED);
    unbind_queue *queue = make_queue(&crowd->gpu);
    for (unsigned i = 0; i < ROUNDS / (getenv("UNDER_VALGRIND") ? 30 : 1); i++) {
        struct unbind_range_request request = request_low((1 + (i * self) % 7) * PAGE);
        struct unbind_command idle = command_delay(100);
        unbind_fence *fence = NULL, *job = NULL;
        uint64_t address = 0;
        request.placement = i % 3;
        int status = unbind_range_allocator_reserve(crowd->allocator, &request, &address, &fence);
        if (status == -ENOSPC) continue;
        REQUIRE(status == 0);
        if (fence) CHECK_EQUAL(finish(fence), 0);
        for (uint64_t page = 0; page < request.size / PAGE; page++) {
            CHECK_EQUAL(__atomic_exchange_n(&crowd->owners[address / PAGE + page], 1, __ATOMIC_RELAXED), 0);
        }
        CHECK_EQUAL(submit(queue, &idle, 1, NULL, NULL, &job), 0);
        for (uint64_t page = 0; page < request.size / PAGE; page++) {
            __atomic_store_n(&crowd->owners[address / PAGE + page], 0, __ATOMIC_RELAXED);
        }
        CHECK_EQUAL(unbind_range_allocator_release_after(crowd->allocator, address, job, i % 2), 0);
        unbind_fence_unref(job);
    }
    unbind_queue_unref(queue);
    return NULL;
}

TEST(threads, "threads that reserve, wait, and release behind GPU work never have the same page") {
    static struct crowd crowd;
    pthread_t threads[THREADS];
    gpu_open(&crowd.gpu, UNBIND_EXECUTOR_POOL);
    crowd.allocator = make_zone(&crowd.gpu, 0, 64);
    for (int i = 0; i < THREADS; i++) REQUIRE(pthread_create(&threads[i], NULL, come_and_go, &crowd) == 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK_EQUAL(unbind_device_wait_idle(crowd.gpu.device, FOREVER, 0), 0);
    struct unbind_range_stats stats = stats_of(crowd.allocator);
    CHECK(stats.free_bytes == 64 * PAGE && stats.reusable == 0 && stats.waiting == 0);
    unbind_range_allocator_unref(crowd.allocator);
    gpu_close(&crowd.gpu);
}

/* Reserves what others reserve, too, and is refused. */
struct in_vain {
    struct gpu gpu;
    unbind_range_allocator *allocator;
    unsigned tries;
    int takes_fence, stop;
};

/* Allocations of this thread that succeed before all others fail. */
static __thread uint32_t allocations_left = UINT32_MAX;

static void *allocate_some(void *user_data, size_t size, size_t alignment) {
    if (allocations_left == 0) return NULL;
    if (allocations_left != UINT32_MAX) allocations_left--;
    return hooks_allocate(user_data, size, alignment);
}

static void *reserve_in_vain(void *argument) {
    struct in_vain *vain = (struct in_vain *)argument;
    struct unbind_range_request request = request_at(0, 2 * PAGE);
    uint64_t address = 77;
    unbind_fence *fence = UNTOUCHED(unbind_fence);
    while (!__atomic_load_n(&vain->stop, __ATOMIC_RELAXED)) {
        /* For the record and a list of the fences, not for one that stands for both. */
        if (vain->takes_fence) allocations_left = 2;
        int status = unbind_range_allocator_reserve(vain->allocator, &request, &address,
                                                    vain->takes_fence ? &fence : NULL);
        CHECK(status == -ENOSPC || status == (vain->takes_fence ? -ENOMEM : -EBUSY));
        CHECK(address == 77 && fence == UNTOUCHED(unbind_fence));
        __atomic_fetch_add(&vain->tries, 1, __ATOMIC_RELAXED);
    }
    allocations_left = UINT32_MAX;
    return NULL;
}

TEST(refused, "a call that is refused has kept no range from others, not even for a moment") {
    for (int takes_fence = 0; takes_fence < 2; takes_fence++) {
        static struct in_vain vain;
        struct unbind_allocator allocator;
        struct unbind_device_options options = gpu_options(&vain.gpu, UNBIND_EXECUTOR_MANUAL, &allocator);
        struct unbind_range_request request = request_at(0, 2 * PAGE);
        unbind_fence *fences[2], *fence = NULL;
        uint64_t address = 77;
        unsigned missed = 0, rounds = getenv("UNDER_VALGRIND") ? 200 : 50000;
        pthread_t thread;
        options.flags = UNBIND_DEVICE_NO_SLABS;
        allocator.allocate = allocate_some;
        REQUIRE(unbind_device_open_software(&options, &vain.gpu.device) == 0);
        REQUIRE(unbind_vm_create(vain.gpu.device, NULL, &vain.gpu.vm) == 0);
        vain.allocator = make_zone(&vain.gpu, 0, 8);
        vain.takes_fence = takes_fence;
        vain.tries = 0;
        vain.stop = 0;
        make_fences(&vain.gpu, fences, 2);
        for (unsigned i = 0; i < 2; i++) {
            reserve(vain.allocator, request_at(i * PAGE, PAGE));
            CHECK_EQUAL(unbind_range_allocator_release_after(vain.allocator, i * PAGE, fences[i], UNBIND_RANGE_REUSE),
                        0);
        }
        REQUIRE(pthread_create(&thread, NULL, reserve_in_vain, &vain) == 0);
        for (unsigned i = 0; i < rounds || __atomic_load_n(&vain.tries, __ATOMIC_RELAXED) < rounds / 10; i++) {
            int status = unbind_range_allocator_reserve(vain.allocator, &request, &address, &fence);
            missed += status != 0;
            if (status != 0) continue;
            unbind_fence_unref(fence);
            CHECK_EQUAL(unbind_range_allocator_release(vain.allocator, address), 0);
        }
        __atomic_store_n(&vain.stop, 1, __ATOMIC_RELAXED);
        pthread_join(thread, NULL);
        CHECK_EQUAL(missed, 0);
        for (unsigned i = 0; i < 2; i++) signal_and_drop(fences[i]);
        unbind_range_allocator_unref(vain.allocator);
        gpu_close(&vain.gpu);
    }
}
