/* SPDX-License-Identifier: MIT */
/*
 * Timelines; arrays and points where other fences are used; closing; bad input
 * and missing memory of all fences made of fences.
 */
#include "support.h"

static const uint32_t executors[] = {UNBIND_EXECUTOR_POOL, UNBIND_EXECUTOR_MANUAL, UNBIND_EXECUTOR_SIMULATED};

/* MARK: timelines */

TEST(timeline_order, "selftest 38 out_of_order: a timeline's value grows in order, whatever the order of its fences") {
    struct gpu gpu;
    unbind_fence *fences[4], *points[4], *none = UNTOUCHED(unbind_fence);
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    make_fences(&gpu, fences, 4);
    unbind_timeline *timeline = make_timeline(&gpu);
    CHECK_EQUAL(value_of(timeline), 0);
    CHECK_EQUAL(unbind_timeline_get_point(timeline, 1, &none), -EAGAIN);
    for (int i = 0; i < 4; i++) CHECK_EQUAL(unbind_timeline_add_point(timeline, 10 * ((uint64_t)i + 1), fences[i]), 0);
    CHECK_EQUAL(unbind_timeline_add_point(timeline, 40, fences[0]), -EINVAL);
    CHECK_EQUAL(unbind_timeline_add_point(timeline, 5, fences[0]), -EINVAL);
    CHECK_EQUAL(unbind_timeline_signal(timeline, 40), -EINVAL);
    CHECK_EQUAL(unbind_timeline_get_point(timeline, 41, &none), -EAGAIN);
    CHECK(none == UNTOUCHED(unbind_fence));
    for (int i = 0; i < 4; i++) {
        points[i] = point_of(timeline, 10 * (uint64_t)i + 1 + (uint64_t)i); /* in the gap */
        unbind_fence *exact = point_of(timeline, 10 * ((uint64_t)i + 1));
        CHECK(points[i] == exact);
        CHECK_EQUAL(unbind_fence_signal(exact, 0), -EINVAL);
        unbind_fence_unref(exact);
    }
    CHECK_EQUAL(unbind_fence_signal(fences[2], -EIO), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[1], 0), 0);
    CHECK_EQUAL(value_of(timeline), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(points[1]), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[0], 0), 0);
    CHECK_EQUAL(value_of(timeline), 30);
    CHECK_EQUAL(unbind_fence_is_signaled(points[3]), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[3], 0), 0);
    CHECK_EQUAL(value_of(timeline), 40);
    CHECK_EQUAL(finish(points[0]), 0);
    CHECK_EQUAL(finish(points[1]), 0);
    CHECK_EQUAL(finish(points[2]), -EIO);
    CHECK_EQUAL(finish(points[3]), 0);
    CHECK_EQUAL(finish(point_of(timeline, 30)), 0); /* reached: nothing is kept of it */
    CHECK_EQUAL(finish(point_of(timeline, 0)), 0);
    drop_fences(fences, 4);
    unbind_timeline_unref(timeline);
    gpu_close(&gpu);
}

TEST(timeline_signal, "a point without a fence is reached at once, or when those before it are") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_timeline *timeline = make_timeline(&gpu);
    uint64_t calls = gpu.hooks.calls;
    CHECK_EQUAL(unbind_timeline_signal(timeline, 0), -EINVAL);
    CHECK_EQUAL(unbind_timeline_signal(timeline, 7), 0);
    CHECK_EQUAL(gpu.hooks.calls, calls);
    CHECK_EQUAL(value_of(timeline), 7);
    unbind_fence *fence = make_fence(&gpu);
    CHECK_EQUAL(unbind_timeline_add_point(timeline, 8, fence), 0);
    CHECK_EQUAL(unbind_timeline_signal(timeline, UINT64_MAX), 0);
    CHECK_EQUAL(unbind_timeline_signal(timeline, UINT64_MAX), -EINVAL);
    CHECK_EQUAL(value_of(timeline), 7);
    unbind_fence *last = point_of(timeline, UINT64_MAX);
    CHECK_EQUAL(unbind_fence_is_signaled(last), 0);
    signal_and_drop(fence);
    CHECK_EQUAL(value_of(timeline), UINT64_MAX);
    CHECK_EQUAL(finish(last), 0);
    unbind_timeline_unref(timeline);
    gpu_close(&gpu);
}

TEST(timeline_memory, "memory does not grow with the number of points reached") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_timeline *timeline = make_timeline(&gpu);
    int64_t bytes = 0;
    for (uint64_t i = 1; i <= 50000; i++) {
        unbind_fence *fence = make_fence(&gpu);
        CHECK_EQUAL(unbind_timeline_add_point(timeline, 2 * i, fence), 0);
        signal_and_drop(fence);
        CHECK_EQUAL(unbind_timeline_signal(timeline, 2 * i + 1), 0);
        if (i == 10) bytes = gpu.hooks.bytes;
    }
    CHECK_EQUAL(gpu.hooks.bytes, bytes);
    CHECK_EQUAL(value_of(timeline), 100001);
    unbind_timeline_unref(timeline);
    gpu_close(&gpu);
}

static void long_timeline(int backward) {
    struct gpu gpu;
    const unsigned count = deep();
    unbind_fence **fences = (unbind_fence **)malloc(count * sizeof *fences);
    REQUIRE(fences != NULL);
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_timeline *timeline = make_timeline(&gpu);
    make_fences(&gpu, fences, count);
    for (unsigned i = 0; i < count; i++) CHECK_EQUAL(unbind_timeline_add_point(timeline, i + 1, fences[i]), 0);
    unbind_fence *last = point_of(timeline, count), *middle = point_of(timeline, count / 2);
    for (unsigned i = 0; i < count; i++) {
        signal_and_drop(fences[backward ? count - 1 - i : i]);
        if (i == count / 2) CHECK_EQUAL(value_of(timeline), backward ? 0 : count / 2 + 1);
    }
    CHECK_EQUAL(value_of(timeline), count);
    CHECK_EQUAL(finish(last), 0);
    CHECK_EQUAL(finish(middle), 0);
    unbind_timeline_unref(timeline);
    gpu_close(&gpu);
    free(fences);
}

TEST(timeline_forward, "selftest 38 signal_forward: 100,000 points signalled forward are reached one by one") {
    long_timeline(0);
}
TEST(timeline_backward, "selftest 38 signal_backward: 100,000 points are reached with the first, without recursion") {
    long_timeline(1);
}

TEST(timeline_chain, "20,000 timelines that wait for each other are reached without recursion") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_fence *first = make_fence(&gpu), *last = unbind_fence_ref(first);
    for (unsigned i = 0; i < 20000; i++) {
        unbind_timeline *timeline = make_timeline(&gpu);
        CHECK_EQUAL(unbind_timeline_add_point(timeline, 1, last), 0);
        unbind_fence_unref(last);
        last = point_of(timeline, 1);
        unbind_timeline_unref(timeline); /* goes on */
    }
    CHECK_EQUAL(unbind_fence_is_signaled(last), 0);
    signal_and_drop(first);
    CHECK_EQUAL(finish(last), 0);
    gpu_close(&gpu);
}

static void signal_timeline(unbind_fence *fence, void *user_data) {
    (void)fence;
    CHECK_EQUAL(unbind_timeline_signal((unbind_timeline *)user_data, value_of((unbind_timeline *)user_data) + 1), 0);
}

TEST(timeline_callback, "a callback of a point may add the next one") {
    struct gpu gpu;
    struct unbind_fence_callback callback;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_timeline *timeline = make_timeline(&gpu);
    unbind_fence *fence = make_fence(&gpu);
    CHECK_EQUAL(unbind_timeline_add_point(timeline, 1, fence), 0);
    unbind_fence *point = point_of(timeline, 1);
    CHECK_EQUAL(unbind_fence_add_callback(point, &callback, signal_timeline, timeline), 0);
    signal_and_drop(fence);
    CHECK_EQUAL(value_of(timeline), 2);
    unbind_fence_unref(point);
    unbind_timeline_unref(timeline);
    gpu_close(&gpu);
}

struct next {
    unbind_fence *fence, *point;
    int inside;
};

static void signal_next_fence(unbind_fence *fence, void *user_data) {
    struct next *next = (struct next *)user_data;
    (void)fence;
    CHECK_EQUAL(unbind_fence_signal(next->fence, 0), 0);
    next->inside = unbind_fence_is_signaled(next->point);
}

TEST(timeline_one_by_one, "the callbacks of a point end before the next point signals") {
    struct gpu gpu;
    struct unbind_fence_callback callback;
    unbind_fence *fences[2];
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_timeline *timeline = make_timeline(&gpu);
    make_fences(&gpu, fences, 2);
    for (int i = 0; i < 2; i++) CHECK_EQUAL(unbind_timeline_add_point(timeline, (uint64_t)i + 1, fences[i]), 0);
    unbind_fence *first = point_of(timeline, 1);
    struct next next = {fences[1], point_of(timeline, 2), 1};
    CHECK_EQUAL(unbind_fence_add_callback(first, &callback, signal_next_fence, &next), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[0], 0), 0);
    CHECK_EQUAL(next.inside, 0);
    CHECK_EQUAL(unbind_fence_is_signaled(next.point), 1);
    unbind_fence_unref(next.point);
    unbind_fence_unref(first);
    drop_fences(fences, 2);
    unbind_timeline_unref(timeline);
    gpu_close(&gpu);
}

/* MARK: everywhere */

TEST(everywhere, "arrays and points work with jobs, unbinds and eventfds under every executor") {
    for (unsigned e = 0; e < 3; e++) {
        struct gpu gpu;
        int fd = -1;
        unbind_fence *fences[2], *job = NULL, *unbind = NULL;
        gpu_open(&gpu, executors[e]);
        make_fences(&gpu, fences, 2);
        unbind_timeline *timeline = make_timeline(&gpu);
        unbind_queue *queue = make_queue(&gpu);
        unbind_vma *vma = bind_new(&gpu, PAGE, 0x10000);
        unbind_fence *array = array_of(fences, 2, 0);
        CHECK_EQUAL(unbind_timeline_add_point(timeline, 3, array), 0);
        unbind_fence *point = point_of(timeline, 2);
        struct unbind_submit info = UNBIND_SUBMIT_INIT;
        struct unbind_command command = command_fill(0x10000, 64, 5);
        struct unbind_submit_vma use = {vma, UNBIND_USE_WRITE, 0};
        unbind_fence *waits[] = {point, array};
        info.wait_fences = waits;
        info.wait_fence_count = 2;
        info.commands = &command;
        info.command_count = 1;
        info.vmas = &use;
        info.vma_count = 1;
        CHECK_EQUAL(unbind_queue_submit(queue, &info, &job), 0);
        CHECK_EQUAL(unbind_vma_add_user(vma, point), 0);
        CHECK_EQUAL(unbind_fence_get_eventfd(point, &fd), 0);
        CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &unbind), 0);
        CHECK_EQUAL(unbind_timeline_add_point(timeline, 4, unbind), 0);
        unbind_fence *end = point_of(timeline, 4), *both[] = {end, job};
        unbind_fence *merged = merge_of(both, 2);
        struct pollfd item = {fd, POLLIN, 0};
        CHECK_EQUAL(poll(&item, 1, 0), 0);
        CHECK_EQUAL(unbind_fence_wait(merged, 0, 0), -ETIME);
        CHECK_EQUAL(unbind_fence_signal(fences[1], 0), 0);
        CHECK_EQUAL(unbind_fence_signal(fences[0], 0), 0);
        CHECK_EQUAL(finish(merged), 0);
        CHECK_EQUAL(finish(end), 0);
        CHECK_EQUAL(value_of(timeline), 4);
        CHECK_EQUAL(poll(&item, 1, 0), 1);
        CHECK_EQUAL(finish(job), 0);
        CHECK_EQUAL(finish(unbind), 0);
        CHECK_EQUAL(gpu.faults, 0);
        close(fd);
        unbind_fence_unref(point);
        unbind_fence_unref(array);
        drop_fences(fences, 2);
        unbind_vma_unref(vma);
        unbind_queue_unref(queue);
        unbind_timeline_unref(timeline);
        gpu_close(&gpu);
    }
}

TEST(closing, "closing a device ends arrays and points and counts timelines") {
    for (unsigned e = 0; e < 3; e++) {
        struct gpu gpu;
        unbind_fence *fences[3], *late = UNTOUCHED(unbind_fence);
        struct unbind_leak_report report = UNBIND_LEAK_REPORT_INIT;
        gpu_open(&gpu, executors[e]);
        make_fences(&gpu, fences, 3);
        unbind_timeline *timeline = make_timeline(&gpu), *other = unbind_timeline_ref(make_timeline(&gpu));
        unbind_timeline_unref(other);
        unbind_fence *all = array_of(fences, 3, 0), *any = array_of(fences, 3, UNBIND_FENCE_ARRAY_ANY);
        for (int i = 0; i < 3; i++) CHECK_EQUAL(unbind_timeline_add_point(timeline, (uint64_t)i + 1, fences[i]), 0);
        unbind_fence *point = point_of(timeline, 3);
        CHECK_EQUAL(unbind_timeline_add_point(other, 1, all), 0);
        CHECK_EQUAL(unbind_device_close(gpu.device, &report), 0);
        CHECK_EQUAL(report.timelines, 2);
        CHECK_EQUAL(report.fences, 6);
        CHECK_EQUAL(report.fences_cancelled, 3);
        CHECK_EQUAL(value_of(timeline), 3);
        CHECK_EQUAL(value_of(other), 1);
        CHECK_EQUAL(finish(point_of(timeline, 2)), 0);
        CHECK_EQUAL(unbind_timeline_add_point(timeline, 9, all), -ENOENT);
        CHECK_EQUAL(unbind_timeline_signal(timeline, 9), -ENOENT);
        CHECK_EQUAL(unbind_fence_array_create(&all, 1, 0, &late), -ENOENT);
        CHECK_EQUAL(unbind_fence_merge(&all, 1, &late), -ENOENT);
        unbind_timeline *none = UNTOUCHED(unbind_timeline);
        CHECK_EQUAL(unbind_timeline_create(gpu.device, &none), -ENOENT);
        CHECK(late == UNTOUCHED(unbind_fence) && none == UNTOUCHED(unbind_timeline));
        CHECK_EQUAL(finish(all), -ENOENT);
        CHECK_EQUAL(finish(any), -ENOENT);
        CHECK_EQUAL(finish(point), -ENOENT);
        drop_fences(fences, 3);
        unbind_timeline_unref(timeline);
        unbind_timeline_unref(other);
        unbind_vm_unref(gpu.vm);
        unbind_device_unref(gpu.device);
        CHECK_EQUAL(gpu.hooks.bytes, 0);
    }
}

static int closed_inside;
static void close_device(unbind_fence *fence, void *user_data) {
    (void)fence;
    closed_inside = unbind_device_close((unbind_device *)user_data, NULL);
}

TEST(close_inside, "a device is not closed by a callback") {
    struct gpu gpu;
    struct unbind_fence_callback callback;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_fence *fence = make_fence(&gpu), *array = array_of(&fence, 1, 0);
    CHECK_EQUAL(unbind_fence_add_callback(fence, &callback, close_device, gpu.device), 0);
    CHECK_EQUAL(unbind_fence_signal(fence, 0), 0);
    CHECK_EQUAL(closed_inside, -EDEADLK);
    CHECK_EQUAL(finish(array), 0);
    unbind_fence_unref(fence);
    gpu_close(&gpu);
}

TEST(bad, "bad arguments are refused, change nothing and leave the out-parameters alone") {
    struct gpu gpu, other;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    gpu_open(&other, UNBIND_EXECUTOR_MANUAL);
    unbind_fence *fence = make_fence(&gpu), *foreign = make_fence(&other), *none = UNTOUCHED(unbind_fence);
    unbind_timeline *timeline = make_timeline(&gpu), *no_timeline = UNTOUCHED(unbind_timeline);
    unbind_fence *with_null[] = {fence, NULL}, *with_foreign[] = {fence, foreign};
    unbind_fence *with_wrong[] = {fence, (unbind_fence *)(void *)timeline};
    unbind_timeline *wrong = (unbind_timeline *)(void *)fence;
    unbind_device *wrong_device = (unbind_device *)(void *)fence;
    int64_t bytes = gpu.hooks.bytes;
    CHECK_EQUAL(unbind_fence_get_stub(NULL, &none), -EINVAL);
    CHECK_EQUAL(unbind_fence_get_stub(wrong_device, &none), -EINVAL);
    CHECK_EQUAL(unbind_fence_get_stub(gpu.device, NULL), -EINVAL);
    CHECK_EQUAL(unbind_fence_array_create(NULL, 1, 0, &none), -EINVAL);
    CHECK_EQUAL(unbind_fence_array_create(&fence, 0, 0, &none), -EINVAL);
    CHECK_EQUAL(unbind_fence_array_create(&fence, 1, 2, &none), -EINVAL);
    CHECK_EQUAL(unbind_fence_array_create(&fence, 1, 0, NULL), -EINVAL);
    CHECK_EQUAL(unbind_fence_array_create(with_null, 2, 0, &none), -EINVAL);
    CHECK_EQUAL(unbind_fence_array_create(with_foreign, 2, 0, &none), -EINVAL);
    CHECK_EQUAL(unbind_fence_array_create(with_wrong, 2, 0, &none), -EINVAL);
    CHECK_EQUAL(unbind_fence_merge(NULL, 1, &none), -EINVAL);
    CHECK_EQUAL(unbind_fence_merge(&fence, 0, &none), -EINVAL);
    CHECK_EQUAL(unbind_fence_merge(&fence, 1, NULL), -EINVAL);
    CHECK_EQUAL(unbind_fence_merge(with_null, 2, &none), -EINVAL);
    CHECK_EQUAL(unbind_fence_merge(with_foreign, 2, &none), -EINVAL);
    CHECK_EQUAL(unbind_timeline_create(NULL, &no_timeline), -EINVAL);
    CHECK_EQUAL(unbind_timeline_create(gpu.device, NULL), -EINVAL);
    CHECK_EQUAL(unbind_timeline_add_point(NULL, 1, fence), -EINVAL);
    CHECK_EQUAL(unbind_timeline_add_point(wrong, 1, fence), -EINVAL);
    CHECK_EQUAL(unbind_timeline_add_point(timeline, 1, NULL), -EINVAL);
    CHECK_EQUAL(unbind_timeline_add_point(timeline, 1, foreign), -EINVAL);
    CHECK_EQUAL(unbind_timeline_add_point(timeline, 0, fence), -EINVAL);
    CHECK_EQUAL(unbind_timeline_signal(NULL, 1), -EINVAL);
    CHECK_EQUAL(unbind_timeline_get_point(NULL, 0, &none), -EINVAL);
    CHECK_EQUAL(unbind_timeline_get_point(timeline, 0, NULL), -EINVAL);
    CHECK_EQUAL(unbind_timeline_get_point(timeline, 1, &none), -EAGAIN);
    CHECK_EQUAL(unbind_timeline_value(NULL, NULL), -EINVAL);
    CHECK_EQUAL(unbind_timeline_value(timeline, NULL), -EINVAL);
    CHECK(unbind_timeline_ref(NULL) == NULL && unbind_timeline_ref(wrong) == NULL);
    unbind_timeline_unref(NULL);
    unbind_timeline_unref(wrong);
    CHECK(none == UNTOUCHED(unbind_fence) && no_timeline == UNTOUCHED(unbind_timeline));
    CHECK_EQUAL(value_of(timeline), 0);
    /* A slab may have been begun for the point that was refused. */
    CHECK(gpu.hooks.bytes - bytes <= 16384);
    unbind_timeline_unref(timeline);
    unbind_fence_unref(fence);
    unbind_fence_unref(foreign);
    gpu_close(&other);
    gpu_close(&gpu);
}

/* MARK: batches of several threads */

struct lines {
    struct gpu gpu;
    unbind_vm *vms[2]; /* one batch at a time is made in each */
    unbind_timeline *line[2];
    char *given[2]; /* by thread: whether its batch was given the points of this number */
    unsigned next, count, tries;
    int stop;
};

static int submit_points(unbind_vm *vm, struct unbind_sync *points, uint32_t count) {
    struct unbind_batch batch = UNBIND_BATCH_INIT;
    batch.mode = UNBIND_BATCH_ASYNC;
    batch.flags = UNBIND_BATCH_NO_WAIT;
    batch.signals = points;
    batch.signal_count = count;
    return unbind_vm_submit(vm, NULL, 0, &batch);
}

static void lines_open(struct lines *lines, uint32_t executor) {
    memset(lines, 0, sizeof *lines);
    gpu_open(&lines->gpu, executor);
    lines->vms[0] = lines->gpu.vm;
    REQUIRE(unbind_vm_create(lines->gpu.device, NULL, &lines->vms[1]) == 0);
    for (int i = 0; i < 2; i++) lines->line[i] = make_timeline(&lines->gpu);
}

static void lines_close(struct lines *lines) {
    for (int i = 0; i < 2; i++) unbind_timeline_unref(lines->line[i]);
    unbind_vm_unref(lines->vms[1]);
    gpu_close(&lines->gpu);
}

static struct unbind_sync sync_at(unbind_timeline *line, uint64_t number) {
    struct unbind_sync sync = {NULL, line, number};
    return sync;
}

TEST(points_of_a_batch, "the points of a batch may be of the same timeline, in any order of timelines") {
    struct lines lines;
    lines_open(&lines, UNBIND_EXECUTOR_MANUAL);
    unbind_timeline *one = lines.line[0], *other = lines.line[1];
    struct unbind_sync points[24];
    struct unbind_sync falls[] = {{NULL, other, 30}, {NULL, one, 31}, {NULL, other, 29}};
    for (uint64_t i = 0; i < 24; i++) points[i] = sync_at(lines.line[i % 3 == 1], i + 1);
    CHECK_EQUAL(submit_points(lines.gpu.vm, points, 24), 0);
    CHECK(value_of(one) == 24 && value_of(other) == 23);
    CHECK_EQUAL(submit_points(lines.gpu.vm, falls, 3), -EINVAL);
    CHECK_EQUAL(submit_points(lines.gpu.vm, falls + 1, 2), 0);
    CHECK(value_of(one) == 31 && value_of(other) == 29);
    lines_close(&lines);
}

TEST(batch_without_memory, "a batch that finds no memory for a point adds none to any timeline") {
    for (unsigned n = 1;; n++) {
        struct lines lines;
        struct unbind_sync points[18];
        unbind_fence *none = UNTOUCHED(unbind_fence);
        REQUIRE(n < 100);
        lines_open(&lines, UNBIND_EXECUTOR_MANUAL);
        for (uint64_t i = 0; i < 18; i++) points[i] = sync_at(lines.line[i / 9], i + 1);
        lines.gpu.hooks.fail_at = lines.gpu.hooks.calls + n;
        int status = submit_points(lines.gpu.vm, points, 18);
        lines.gpu.hooks.fail_at = 0;
        CHECK_EQUAL(status, lines.gpu.hooks.failed ? -ENOMEM : 0);
        for (int i = 0; i < 2 && status != 0; i++) {
            CHECK_EQUAL(value_of(lines.line[i]), 0);
            CHECK_EQUAL(unbind_timeline_get_point(lines.line[i], 1, &none), -EAGAIN);
        }
        if (status != 0) CHECK_EQUAL(submit_points(lines.gpu.vm, points, 18), 0);
        CHECK(value_of(lines.line[0]) == 9 && value_of(lines.line[1]) == 18);
        lines_close(&lines);
        if (status == 0) {
            CHECK(n > 4);
            return;
        }
    }
}

static void *submit_in_vain(void *argument) {
    struct lines *lines = (struct lines *)argument;
    struct unbind_sync points[33];
    for (uint64_t i = 0; i < 32; i++) points[i] = sync_at(lines->line[0], 1000000 + i);
    points[32] = sync_at(lines->line[1], 1); /* is there already */
    while (!__atomic_load_n(&lines->stop, __ATOMIC_RELAXED)) {
        CHECK_EQUAL(submit_points(lines->vms[0], points, 33), -EINVAL);
        __atomic_fetch_add(&lines->tries, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

TEST(failing_batch, "a batch that fails shows in no timeline, not even for a moment") {
    struct lines lines;
    pthread_t thread;
    unsigned shown = 0, refused = 0, rounds = getenv("UNDER_VALGRIND") ? 300 : 100000;
    lines_open(&lines, UNBIND_EXECUTOR_POOL);
    CHECK_EQUAL(unbind_timeline_signal(lines.line[1], 1), 0);
    REQUIRE(pthread_create(&thread, NULL, submit_in_vain, &lines) == 0);
    for (uint64_t i = 1; refused == 0 && i < 1000000; i++) {
        if (i > rounds && __atomic_load_n(&lines.tries, __ATOMIC_RELAXED) >= rounds / 10) break;
        unbind_fence *none = NULL;
        shown += unbind_timeline_get_point(lines.line[0], i, &none) != -EAGAIN;
        refused += unbind_timeline_signal(lines.line[0], i) != 0;
        unbind_fence_unref(none);
    }
    __atomic_store_n(&lines.stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    CHECK_EQUAL(shown, 0);
    CHECK_EQUAL(refused, 0);
    lines_close(&lines);
}

static void *submit_in_turn(void *argument) {
    struct lines *lines = (struct lines *)argument;
    unsigned self = __atomic_fetch_add(&lines->next, 1, __ATOMIC_RELAXED);
    for (unsigned i = 1; i <= lines->count; i++) {
        struct unbind_sync points[32];
        for (unsigned k = 0; k < 32; k++) {
            points[k] = sync_at(lines->line[k < 16 ? self : 1 - self], 16 * i + k % 16);
        }
        int status = submit_points(lines->vms[self], points, 32);
        CHECK(status == 0 || status == -EINVAL);
        lines->given[self][i] = status == 0;
    }
    return NULL;
}

TEST(one_of_two, "of two batches that add the same points to two timelines, one the other way round, one succeeds") {
    struct lines lines;
    pthread_t threads[2];
    unsigned wrong = 0;
    lines_open(&lines, UNBIND_EXECUTOR_POOL);
    lines.count = getenv("UNDER_VALGRIND") ? 100 : 10000;
    for (int i = 0; i < 2; i++) REQUIRE((lines.given[i] = (char *)calloc(lines.count + 1, 1)) != NULL);
    for (int i = 0; i < 2; i++) REQUIRE(pthread_create(&threads[i], NULL, submit_in_turn, &lines) == 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    for (unsigned i = 1; i <= lines.count; i++) wrong += lines.given[0][i] == lines.given[1][i];
    CHECK_EQUAL(wrong, 0);
    CHECK_EQUAL(unbind_device_wait_idle(lines.gpu.device, FOREVER, 0), 0);
    for (int i = 0; i < 2; i++) CHECK_EQUAL(value_of(lines.line[i]), 16 * lines.count + 15);
    for (int i = 0; i < 2; i++) free(lines.given[i]);
    lines_close(&lines);
}

/* MARK: no memory */

struct scene {
    struct gpu gpu;
    unbind_fence *fences[20], *array, *made;
    unbind_timeline *timeline, *made_timeline;
    uint64_t seqno;
};

typedef int (*operation)(struct scene *scene);

static int make_an_array(struct scene *s) { return unbind_fence_array_create(s->fences, 20, 0, &s->made); }
static int make_a_timeline(struct scene *s) { return unbind_timeline_create(s->gpu.device, &s->made_timeline); }
static int merge_them(struct scene *s) {
    unbind_fence *mixed[4] = {s->array, s->fences[0], s->array, NULL};
    int status = unbind_timeline_get_point(s->timeline, 8, &mixed[3]);
    if (status == 0) status = unbind_fence_merge(mixed, 4, &s->made);
    unbind_fence_unref(mixed[3]);
    return status;
}
static int add_a_point(struct scene *s) { return unbind_timeline_add_point(s->timeline, s->seqno + 1, s->fences[1]); }
static int signal_a_point(struct scene *s) { return unbind_timeline_signal(s->timeline, s->seqno + 1); }

/* The ring of the timeline has room for eight points, and eight are pending. */
static void scene_open(struct scene *s) {
    struct unbind_allocator allocator;
    memset(s, 0, sizeof *s);
    struct unbind_device_options options = gpu_options(&s->gpu, UNBIND_EXECUTOR_MANUAL, &allocator);
    options.flags = UNBIND_DEVICE_NO_SLABS;
    REQUIRE(unbind_device_open_software(&options, &s->gpu.device) == 0);
    REQUIRE(unbind_vm_create(s->gpu.device, NULL, &s->gpu.vm) == 0);
    make_fences(&s->gpu, s->fences, 20);
    s->array = array_of(s->fences + 4, 16, 0);
    s->timeline = make_timeline(&s->gpu);
    for (s->seqno = 1; s->seqno <= 8; s->seqno++) {
        REQUIRE(unbind_timeline_add_point(s->timeline, s->seqno, s->fences[s->seqno]) == 0);
    }
    s->seqno = 8;
}

static void scene_close(struct scene *s) {
    for (int i = 0; i < 20; i++) signal_and_drop(s->fences[i]);
    CHECK(value_of(s->timeline) >= s->seqno);
    if (s->made) CHECK_EQUAL(finish(s->made), 0);
    CHECK_EQUAL(finish(s->array), 0);
    unbind_timeline_unref(s->made_timeline);
    unbind_timeline_unref(s->timeline);
    gpu_close(&s->gpu);
}

static void every_allocation_fails(operation call, unsigned at_least) {
    for (unsigned n = 1;; n++) {
        struct scene scene;
        REQUIRE(n < 100);
        scene_open(&scene);
        int64_t bytes = scene.gpu.hooks.bytes;
        scene.gpu.hooks.fail_at = scene.gpu.hooks.calls + n;
        int status = call(&scene);
        int failed = scene.gpu.hooks.failed != 0;
        scene.gpu.hooks.fail_at = 0;
        CHECK_EQUAL(status, failed ? -ENOMEM : 0);
        if (failed) {
            CHECK_EQUAL(scene.gpu.hooks.bytes, bytes);
            CHECK(scene.made == NULL && scene.made_timeline == NULL);
            CHECK_EQUAL(call(&scene), 0);
        }
        scene_close(&scene);
        if (!failed) {
            CHECK(n > at_least);
            break;
        }
    }
}

TEST(array_fails, "making an array survives the failure of each allocation") {
    every_allocation_fails(make_an_array, 1);
}
TEST(timeline_fails, "making a timeline survives the failure of each allocation") {
    every_allocation_fails(make_a_timeline, 1);
}
TEST(merge_fails, "merging survives the failure of each allocation") { every_allocation_fails(merge_them, 3); }
TEST(point_fails, "adding a point survives the failure of each allocation") { every_allocation_fails(add_a_point, 2); }
TEST(signal_fails, "a point without a fence survives the failure of each allocation") {
    every_allocation_fails(signal_a_point, 2);
}
