/* SPDX-License-Identifier: MIT */
/* Fences by range, for programs that keep their own page tables. */
#include "ranges.h"

static uint32_t fences_in(unbind_range_tracker *tracker, uint64_t start, uint64_t size, unbind_fence **fences,
                          uint32_t capacity) {
    uint32_t count = 77;
    CHECK_EQUAL(unbind_range_tracker_get_fences(tracker, start, size, fences, capacity, &count), 0);
    return count;
}

static unbind_fence *fence_in(unbind_range_tracker *tracker, uint64_t start, uint64_t size) {
    unbind_fence *fence = NULL;
    REQUIRE(unbind_range_tracker_get_fence(tracker, start, size, &fence) == 0);
    return fence;
}

TEST(overlaps, "a range has the fences of what overlaps it, neighbours not, and each once") {
    struct gpu gpu;
    unbind_fence *fences[3], *found[3] = {NULL, NULL, NULL};
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_range_tracker *tracker = make_tracker(&gpu);
    make_fences(&gpu, fences, 3);
    CHECK_EQUAL(unbind_range_tracker_insert(tracker, 0x10000, 4 * PAGE, fences[0]), 0);
    CHECK_EQUAL(unbind_range_tracker_insert(tracker, 0x13000, PAGE, fences[0]), 0);
    CHECK_EQUAL(unbind_range_tracker_insert(tracker, 0x12000, 4 * PAGE, fences[1]), 0);
    CHECK_EQUAL(unbind_range_tracker_insert(tracker, 0x20000, PAGE, fences[2]), 0);
    CHECK_EQUAL(fences_in(tracker, 0xf000, PAGE, NULL, 0), 0);
    CHECK_EQUAL(fences_in(tracker, 0x16000, 10 * PAGE, NULL, 0), 0);
    CHECK_EQUAL(fences_in(tracker, 0x11000, PAGE, found, 3), 1);
    CHECK(found[0] == fences[0]);
    unbind_fence_unref(found[0]);
    CHECK_EQUAL(fences_in(tracker, 0x13000, PAGE, found, 1), 2); /* no room: none is given */
    CHECK_EQUAL(fences_in(tracker, 0x13000, PAGE, found, 2), 2);
    CHECK((found[0] == fences[0] && found[1] == fences[1]) || (found[0] == fences[1] && found[1] == fences[0]));
    drop_fences(found, 2);
    CHECK_EQUAL(fences_in(tracker, 0, UINT64_C(1) << 48, NULL, 0), 3);
    CHECK_EQUAL(tracked(tracker), 4);
    unbind_fence *both = fence_in(tracker, 0x10000, 6 * PAGE), *one = fence_in(tracker, 0x20000, PAGE);
    CHECK(one == fences[2]);
    signal_and_drop(fences[1]);
    CHECK_EQUAL(unbind_fence_is_signaled(both), 0);
    signal_and_drop(fences[0]);
    CHECK_EQUAL(finish(both), 0);
    CHECK_EQUAL(tracked(tracker), 1); /* the others were forgotten by themselves */
    CHECK_EQUAL(unbind_range_tracker_insert(tracker, 0, PAGE, both = stub_of(&gpu)), 0);
    unbind_fence_unref(both);
    CHECK_EQUAL(tracked(tracker), 1);
    CHECK_EQUAL(finish(fence_in(tracker, 0, 0x20000)), 0); /* nothing to wait for */
    signal_and_drop(fences[2]);
    CHECK_EQUAL(finish(one), 0);
    unbind_range_tracker_unref(tracker);
    gpu_close(&gpu);
}

TEST(latest, "of the fences of one timeline only the latest is given") {
    struct gpu gpu;
    unbind_fence *fences[20], *points[20], *found[2];
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_range_tracker *tracker = make_tracker(&gpu);
    unbind_timeline *timeline = make_timeline(&gpu);
    make_fences(&gpu, fences, 20);
    for (unsigned i = 0; i < 20; i++) {
        CHECK_EQUAL(unbind_timeline_add_point(timeline, i + 1, fences[i]), 0);
        points[i] = point_of(timeline, i + 1);
        CHECK_EQUAL(unbind_range_tracker_insert(tracker, ((i * 7) % 20) * PAGE, 2 * PAGE, points[i]), 0);
    }
    CHECK_EQUAL(fences_in(tracker, 0, 21 * PAGE, found, 2), 1);
    CHECK(found[0] == points[19]);
    unbind_fence_unref(found[0]);
    drop_fences(points, 20);
    for (unsigned i = 0; i < 20; i++) signal_and_drop(fences[i]);
    CHECK_EQUAL(tracked(tracker), 0);
    unbind_timeline_unref(timeline);
    unbind_range_tracker_unref(tracker);
    gpu_close(&gpu);
}

TEST(of_the_gpu, "the fences of jobs and unbinds can be tracked, on every executor") {
    for (uint32_t executor = 0; executor < 3; executor++) {
        struct gpu gpu;
        struct unbind_command work = command_delay(1000);
        unbind_fence *job = NULL, *unbound = NULL;
        gpu_open(&gpu, executor);
        unbind_range_tracker *tracker = make_tracker(&gpu);
        unbind_queue *queue = make_queue(&gpu);
        unbind_vma *vma = bind_new(&gpu, PAGE, 0x5000);
        REQUIRE(submit(queue, &work, 1, vma, NULL, &job) == 0);
        CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &unbound), 0);
        CHECK_EQUAL(unbind_range_tracker_insert(tracker, 0x5000, PAGE, job), 0);
        CHECK_EQUAL(unbind_range_tracker_insert(tracker, 0x5000, PAGE, unbound), 0);
        unbind_fence_unref(job);
        unbind_fence_unref(unbound);
        CHECK_EQUAL(finish(fence_in(tracker, 0x5000, PAGE)), 0);
        CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
        CHECK_EQUAL(tracked(tracker), 0);
        unbind_vma_unref(vma);
        unbind_queue_unref(queue);
        unbind_range_tracker_unref(tracker);
        gpu_close(&gpu);
    }
}

TEST(refuses, "bad ranges, fences and handles are refused, and nothing changes") {
    struct gpu gpu, other;
    unbind_fence *out = UNTOUCHED(unbind_fence);
    unbind_range_tracker *none = UNTOUCHED(unbind_range_tracker);
    uint32_t count = 77;
    uint64_t wide = 77;
    static const struct {
        uint64_t start, size;
        int error;
    } bad[] = {{0, 0, -EINVAL},
               {1, 4096, -EINVAL},
               {0, 4095, -EINVAL},
               {UINT64_MAX - 4095, 8192, -EINVAL},
               {UINT64_MAX - 4095, 4096, -EINVAL},
               {UINT64_C(1) << 48, 4096, -ENODEV},
               {4096, UINT64_C(1) << 48, -ENODEV}};
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    gpu_open(&other, UNBIND_EXECUTOR_MANUAL);
    unbind_range_tracker *tracker = make_tracker(&gpu), *wrong = (unbind_range_tracker *)(void *)gpu.vm;
    unbind_range_allocator *allocator = make_zone(&gpu, 0, 4);
    unbind_fence *fence = make_fence(&gpu), *foreign = make_fence(&other);
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_EQUAL(unbind_range_tracker_insert(tracker, bad[i].start, bad[i].size, fence), bad[i].error);
        CHECK_EQUAL(unbind_range_tracker_get_fence(tracker, bad[i].start, bad[i].size, &out), bad[i].error);
        CHECK_EQUAL(unbind_range_tracker_get_fences(tracker, bad[i].start, bad[i].size, NULL, 0, &count), bad[i].error);
    }
    CHECK_EQUAL(unbind_range_tracker_create(NULL, &none), -EINVAL);
    CHECK_EQUAL(unbind_range_tracker_create(gpu.device, NULL), -EINVAL);
    CHECK_EQUAL(unbind_range_tracker_insert(tracker, 0, PAGE, NULL), -EINVAL);
    CHECK_EQUAL(unbind_range_tracker_insert(tracker, 0, PAGE, foreign), -EINVAL);
    CHECK_EQUAL(unbind_range_tracker_insert(NULL, 0, PAGE, fence), -EINVAL);
    CHECK_EQUAL(unbind_range_tracker_insert(wrong, 0, PAGE, fence), -EINVAL);
    CHECK_EQUAL(unbind_range_tracker_insert((unbind_range_tracker *)(void *)allocator, 0, PAGE, fence), -EINVAL);
    CHECK_EQUAL(unbind_range_tracker_get_fences(NULL, 0, PAGE, NULL, 0, &count), -EINVAL);
    CHECK_EQUAL(unbind_range_tracker_get_fences(tracker, 0, PAGE, NULL, 1, &count), -EINVAL);
    CHECK_EQUAL(unbind_range_tracker_get_fences(tracker, 0, PAGE, &out, 1, NULL), -EINVAL);
    CHECK_EQUAL(unbind_range_tracker_get_fence(NULL, 0, PAGE, &out), -EINVAL);
    CHECK_EQUAL(unbind_range_tracker_get_fence(tracker, 0, PAGE, NULL), -EINVAL);
    CHECK_EQUAL(unbind_range_tracker_get_count(NULL, &wide), -EINVAL);
    CHECK_EQUAL(unbind_range_tracker_get_count(tracker, NULL), -EINVAL);
    CHECK(out == UNTOUCHED(unbind_fence) && none == UNTOUCHED(unbind_range_tracker) && count == 77 && wide == 77);
    CHECK_EQUAL(tracked(tracker), 0);
    CHECK(unbind_range_tracker_ref(tracker) == tracker);
    unbind_range_tracker_unref(tracker);
    CHECK(unbind_range_tracker_ref(NULL) == NULL);
    unbind_range_tracker_unref(NULL);
    unbind_fence_unref(fence);
    unbind_fence_unref(foreign);
    unbind_range_allocator_unref(allocator);
    unbind_range_tracker_unref(tracker);
    gpu_close(&gpu);
    gpu_close(&other);
}

typedef int (*operation)(struct gpu *gpu, unbind_range_tracker **tracker, unbind_fence *fence);

static int make_another(struct gpu *gpu, unbind_range_tracker **tracker, unbind_fence *fence) {
    (void)fence;
    return unbind_range_tracker_create(gpu->device, tracker);
}
static int insert_one(struct gpu *gpu, unbind_range_tracker **tracker, unbind_fence *fence) {
    (void)gpu;
    return unbind_range_tracker_insert(*tracker, 0, PAGE, fence);
}
static int get_all(struct gpu *gpu, unbind_range_tracker **tracker, unbind_fence *fence) {
    uint32_t count = 77;
    (void)gpu, (void)fence;
    int status = unbind_range_tracker_get_fences(*tracker, 0, PAGE, NULL, 0, &count);
    CHECK_EQUAL(count, status < 0 ? 77 : 2);
    return status;
}
static int merge_all(struct gpu *gpu, unbind_range_tracker **tracker, unbind_fence *fence) {
    unbind_fence *merged = NULL;
    (void)gpu, (void)fence;
    int status = unbind_range_tracker_get_fence(*tracker, 0, PAGE, &merged);
    CHECK((status == 0) == (merged != NULL));
    unbind_fence_unref(merged);
    return status;
}

static void fail_each(operation call, unsigned at_least, unsigned inserted) {
    for (unsigned n = 1;; n++) {
        struct gpu gpu;
        unbind_fence *fences[2];
        REQUIRE(n < 50);
        gpu_open_uncached(&gpu);
        unbind_range_tracker *tracker = make_tracker(&gpu), *made = tracker;
        make_fences(&gpu, fences, 2);
        for (unsigned i = 0; i < inserted; i++) {
            REQUIRE(unbind_range_tracker_insert(tracker, 0, PAGE, fences[i % 2]) == 0);
        }
        int64_t bytes = gpu.hooks.bytes;
        gpu.hooks.fail_at = gpu.hooks.calls + n;
        int status = call(&gpu, &made, fences[0]), failed = gpu.hooks.failed != 0;
        gpu.hooks.fail_at = 0;
        CHECK_EQUAL(status, failed ? -ENOMEM : 0);
        if (failed) {
            CHECK(made == tracker && tracked(tracker) == inserted);
            CHECK_EQUAL(gpu.hooks.bytes, bytes);
            CHECK_EQUAL(call(&gpu, &made, fences[0]), 0);
        }
        if (made != tracker) unbind_range_tracker_unref(made);
        for (unsigned i = 0; i < 2; i++) signal_and_drop(fences[i]);
        CHECK_EQUAL(tracked(tracker), 0);
        unbind_range_tracker_unref(tracker);
        gpu_close(&gpu);
        if (!failed) {
            CHECK(n > at_least);
            return;
        }
    }
}

TEST(create_fails, "making a tracker survives the failure of each allocation") { fail_each(make_another, 1, 2); }
TEST(insert_fails, "inserting survives the failure of each allocation") { fail_each(insert_one, 2, 0); }
TEST(get_fences_fails, "collecting survives the failure of each allocation") { fail_each(get_all, 1, 2); }
TEST(get_fence_fails, "merging survives the failure of each allocation") { fail_each(merge_all, 2, 2); }

TEST(forgotten, "a tracker that goes lets go of fences that never signal, and one of a closed device has none") {
    struct gpu gpu;
    struct unbind_leak_report report = UNBIND_LEAK_REPORT_INIT;
    unbind_fence *out = UNTOUCHED(unbind_fence);
    gpu_open_uncached(&gpu);
    unbind_range_tracker *tracker = make_tracker(&gpu), *kept = make_tracker(&gpu);
    unbind_fence *fence = make_fence(&gpu);
    for (unsigned i = 0; i < 100; i++) CHECK_EQUAL(unbind_range_tracker_insert(tracker, i * PAGE, PAGE, fence), 0);
    CHECK_EQUAL(unbind_range_tracker_insert(kept, 0, PAGE, fence), 0);
    unbind_range_tracker_unref(tracker);
    CHECK_EQUAL(unbind_device_close(gpu.device, &report), 0);
    CHECK(report.ranges == 1 && report.fences == 1 && report.fences_cancelled == 1);
    CHECK_EQUAL(tracked(kept), 0);
    CHECK_EQUAL(fences_in(kept, 0, PAGE, NULL, 0), 0);
    CHECK_EQUAL(unbind_range_tracker_insert(kept, 0, PAGE, fence), -ENOENT);
    CHECK_EQUAL(unbind_range_tracker_get_fence(kept, 0, PAGE, &out), -ENOENT);
    CHECK_EQUAL(unbind_range_tracker_create(gpu.device, &tracker), -ENOENT);
    unbind_fence_unref(fence);
    unbind_range_tracker_unref(kept);
    unbind_vm_unref(gpu.vm);
    unbind_device_unref(gpu.device);
    CHECK_EQUAL(gpu.hooks.bytes, 0);
}

struct crowd {
    struct gpu gpu;
    unbind_range_tracker *tracker;
    unsigned next;
};

/* Four threads have at most one fence each. */
static void *insert_and_signal(void *argument) {
    struct crowd *crowd = (struct crowd *)argument;
    unsigned self = __atomic_add_fetch(&crowd->next, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < (getenv("UNDER_VALGRIND") ? 100u : 3000u); i++) {
        unbind_fence *fence = make_fence(&crowd->gpu), *found[16];
        uint64_t start = ((i * self) % 10) * PAGE;
        CHECK_EQUAL(unbind_range_tracker_insert(crowd->tracker, start, 2 * PAGE, fence), 0);
        uint32_t count = fences_in(crowd->tracker, start, PAGE, found, 16);
        CHECK(count >= 1 && count <= 4);
        int own = 0;
        for (uint32_t j = 0; j < count; j++) own += found[j] == fence;
        CHECK_EQUAL(own, 1);
        drop_fences(found, count);
        signal_and_drop(fence);
    }
    return NULL;
}

TEST(threads, "threads that insert, ask and signal each find their own fence, and in the end there is none") {
    static struct crowd crowd;
    pthread_t threads[4];
    gpu_open(&crowd.gpu, UNBIND_EXECUTOR_POOL);
    crowd.tracker = make_tracker(&crowd.gpu);
    for (int i = 0; i < 4; i++) REQUIRE(pthread_create(&threads[i], NULL, insert_and_signal, &crowd) == 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    CHECK_EQUAL(tracked(crowd.tracker), 0);
    unbind_range_tracker_unref(crowd.tracker);
    gpu_close(&crowd.gpu);
}
