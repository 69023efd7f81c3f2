/* SPDX-License-Identifier: MIT */
/* The stub, arrays of fences, merging. */
#include "support.h"

/* MARK: the stub */

TEST(stub, "selftest 37 stub: the stub has signalled, allocates nothing, cannot be signalled and outlives its device") {
    struct gpu gpu;
    int error = 1;
    uint64_t time = 1;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    uint64_t calls = gpu.hooks.calls;
    unbind_fence *stubs[64];
    for (int i = 0; i < 64; i++) stubs[i] = stub_of(&gpu);
    CHECK_EQUAL(gpu.hooks.calls, calls);
    for (int i = 0; i < 64; i++) CHECK_EQUAL(unbind_fence_is_signaled(stubs[i]), 1);
    CHECK_EQUAL(unbind_fence_get_error(stubs[0], &error), 0);
    CHECK_EQUAL(unbind_fence_get_timestamp(stubs[0], &time), 0);
    CHECK(error == 0 && time == 0);
    CHECK_EQUAL(unbind_fence_signal(stubs[0], 0), -EINVAL);
    CHECK_EQUAL(unbind_fence_wait(stubs[0], FOREVER, 0), 0);
    drop_fences(stubs + 1, 63);
    unbind_vm_unref(gpu.vm);
    struct unbind_leak_report report = UNBIND_LEAK_REPORT_INIT;
    CHECK_EQUAL(unbind_device_close(gpu.device, &report), 0);
    CHECK_EQUAL(report.fences, 1);
    unbind_fence *late = UNTOUCHED(unbind_fence);
    CHECK_EQUAL(unbind_fence_get_stub(gpu.device, &late), -ENOENT);
    CHECK(late == UNTOUCHED(unbind_fence));
    unbind_device_unref(gpu.device);
    CHECK_EQUAL(unbind_fence_is_signaled(stubs[0]), 1);
    CHECK(unbind_fence_ref(stubs[0]) == stubs[0]);
    unbind_fence_unref(stubs[0]);
    CHECK(gpu.hooks.bytes != 0);
    unbind_fence_unref(stubs[0]);
    CHECK_EQUAL(gpu.hooks.bytes, 0);
}

TEST(stub_unbind, "the fence of an unbind with nothing to do outlives its device") {
    struct gpu gpu;
    unbind_fence *fence = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, UNBIND_ADDRESS_NONE);
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &fence), 0);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    unbind_vm_unref(gpu.vm);
    CHECK_EQUAL(unbind_device_close(gpu.device, NULL), 0);
    unbind_device_unref(gpu.device);
    CHECK_EQUAL(unbind_fence_is_signaled(fence), 1);
    unbind_fence_unref(fence);
    CHECK_EQUAL(gpu.hooks.bytes, 0);
}

/* MARK: arrays */

TEST(array_all, "an array signals when all its fences have, in any order") {
    struct gpu gpu;
    unbind_fence *fences[5];
    int order[] = {3, 0, 4, 2, 1};
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    make_fences(&gpu, fences, 5);
    unbind_fence *array = array_of(fences, 5, UNBIND_FENCE_ARRAY_ALL);
    CHECK_EQUAL(unbind_fence_signal(array, 0), -EINVAL);
    for (int i = 0; i < 5; i++) {
        CHECK_EQUAL(unbind_fence_is_signaled(array), 0);
        CHECK_EQUAL(unbind_fence_signal(fences[order[i]], 0), 0);
    }
    CHECK_EQUAL(unbind_fence_is_signaled(array), 1);
    CHECK_EQUAL(finish(array), 0);
    drop_fences(fences, 5);
    gpu_close(&gpu);
}

TEST(array_any, "an array of ANY signals with the first of its fences and carries that one's error") {
    struct gpu gpu;
    unbind_fence *fences[3];
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    make_fences(&gpu, fences, 3);
    unbind_fence *array = array_of(fences, 3, UNBIND_FENCE_ARRAY_ANY);
    unbind_fence *second = array_of(fences, 2, UNBIND_FENCE_ARRAY_ANY);
    CHECK_EQUAL(unbind_fence_is_signaled(array), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[2], 0), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(array), 1);
    CHECK_EQUAL(unbind_fence_is_signaled(second), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[1], -EIO), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[0], -EFAULT), 0);
    CHECK_EQUAL(finish(array), 0);
    CHECK_EQUAL(finish(second), -EIO);
    drop_fences(fences, 3);
    gpu_close(&gpu);
}

TEST(array_error, "an array carries the error of the first of its fences that failed") {
    struct gpu gpu;
    unbind_fence *fences[4];
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    make_fences(&gpu, fences, 4);
    unbind_fence *array = array_of(fences, 4, 0);
    CHECK_EQUAL(unbind_fence_signal(fences[3], 0), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[1], -EIO), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[0], -EFAULT), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[2], 0), 0);
    CHECK_EQUAL(finish(array), -EIO);
    /* All have signalled: the first in the list that failed. */
    CHECK_EQUAL(finish(array_of(fences, 4, 0)), -EFAULT);
    CHECK_EQUAL(finish(array_of(fences, 4, UNBIND_FENCE_ARRAY_ANY)), -EFAULT);
    CHECK_EQUAL(finish(array_of(fences + 2, 2, UNBIND_FENCE_ARRAY_ANY)), 0);
    drop_fences(fences, 4);
    gpu_close(&gpu);
}

TEST(array_drop, "an array that nobody wants any more gives its memory back while its fences are pending") {
    struct gpu gpu;
    unbind_fence *fences[3];
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    make_fences(&gpu, fences, 3);
    unbind_fence_unref(array_of(fences, 3, 0));
    int64_t bytes = gpu.hooks.bytes;
    for (int i = 0; i < 100; i++) {
        unbind_fence *array = array_of(fences, 3, i & 1 ? UNBIND_FENCE_ARRAY_ANY : 0);
        CHECK(gpu.hooks.bytes > bytes);
        unbind_fence_unref(array);
        CHECK_EQUAL(gpu.hooks.bytes, bytes);
    }
    for (int i = 0; i < 3; i++) signal_and_drop(fences[i]);
    gpu_close(&gpu);
}

TEST(array_same, "the same fence may be in an array many times, up to 65,536") {
    struct gpu gpu;
    unbind_fence **fences = (unbind_fence **)malloc(65537 * sizeof *fences), *none = UNTOUCHED(unbind_fence);
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    REQUIRE(fences != NULL);
    fences[0] = make_fence(&gpu);
    for (int i = 1; i < 65537; i++) fences[i] = fences[0];
    unbind_fence *all = array_of(fences, 65536, 0), *any = array_of(fences, 65536, UNBIND_FENCE_ARRAY_ANY);
    unbind_fence *merged = merge_of(fences, 65536), *both[] = {all, all, fences[0]};
    CHECK(merged == fences[0]);
    unbind_fence *unwrapped = merge_of(both, 3);
    CHECK(unwrapped == fences[0]);
    CHECK_EQUAL(unbind_fence_array_create(fences, 65537, 0, &none), -EINVAL);
    CHECK_EQUAL(unbind_fence_merge(fences, 65537, &none), -EINVAL);
    CHECK(none == UNTOUCHED(unbind_fence));
    CHECK_EQUAL(unbind_fence_is_signaled(all), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[0], -EIO), 0);
    CHECK_EQUAL(finish(all), -EIO);
    CHECK_EQUAL(finish(any), -EIO);
    unbind_fence_unref(unwrapped);
    unbind_fence_unref(merged);
    unbind_fence_unref(fences[0]);
    gpu_close(&gpu);
    free(fences);
}

TEST(array_deep, "arrays of arrays, 100,000 deep, signal and are freed without recursion") {
    struct gpu gpu;
    const unsigned count = deep();
    for (int drop_unsignalled = 0; drop_unsignalled < 2; drop_unsignalled++) {
        gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
        unbind_fence *first = make_fence(&gpu), *last = unbind_fence_ref(first);
        for (unsigned i = 0; i < count; i++) {
            unbind_fence *pair[] = {last, first};
            unbind_fence *next = array_of(pair, i % 3 ? 2 : 1, i % 2 && i % 3 ? UNBIND_FENCE_ARRAY_ANY : 0);
            unbind_fence_unref(last);
            last = next;
        }
        if (drop_unsignalled) unbind_fence_unref(last);
        CHECK_EQUAL(unbind_fence_signal(first, -EIO), 0);
        if (!drop_unsignalled) CHECK_EQUAL(finish(last), -EIO);
        unbind_fence_unref(first);
        gpu_close(&gpu);
    }
}

TEST(array_doubling, "arrays that name each other twice merge without taking all memory") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_fence *first = make_fence(&gpu), *last = unbind_fence_ref(first);
    for (int i = 0; i < 60; i++) {
        unbind_fence *pair[] = {last, last};
        unbind_fence *next = array_of(pair, 2, 0);
        unbind_fence_unref(last);
        last = next;
    }
    unbind_fence *merged = merge_of(&last, 1);
    CHECK(merged != last); /* looked into, so far as it goes */
    CHECK_EQUAL(unbind_fence_is_signaled(merged), 0);
    CHECK_EQUAL(unbind_fence_signal(first, 0), 0);
    CHECK_EQUAL(finish(merged), 0);
    CHECK_EQUAL(finish(last), 0);
    unbind_fence_unref(first);
    gpu_close(&gpu);
}

/* MARK: merging */

TEST(merge_few, "selftest 39 merge: merging drops what has signalled and gives a single fence as it is") {
    struct gpu gpu;
    unbind_fence *fences[3];
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    make_fences(&gpu, fences, 3);
    unbind_fence *three = merge_of(fences, 3);
    CHECK_EQUAL(unbind_fence_signal(fences[0], -EIO), 0);
    unbind_fence *two = merge_of(fences, 3);
    CHECK(two != fences[1] && two != fences[2]);
    CHECK_EQUAL(unbind_fence_signal(fences[2], 0), 0);
    unbind_fence *one = merge_of(fences, 3);
    CHECK(one == fences[1]);
    unbind_fence *inner[] = {three, two, one};
    unbind_fence *same = merge_of(inner, 3);
    CHECK(same == fences[1]);
    CHECK_EQUAL(unbind_fence_is_signaled(two), 0);
    CHECK_EQUAL(unbind_fence_signal(fences[1], 0), 0);
    CHECK_EQUAL(finish(three), -EIO);
    CHECK_EQUAL(finish(two), 0);
    unbind_fence *none = merge_of(fences, 3), *stub = stub_of(&gpu);
    CHECK(none == stub);
    unbind_fence_unref(none);
    unbind_fence_unref(stub);
    unbind_fence_unref(one);
    unbind_fence_unref(same);
    drop_fences(fences, 3);
    gpu_close(&gpu);
}

TEST(merge_context, "selftest 39 merge_seqno: merging keeps the latest job of each queue and point of each timeline") {
    struct gpu gpu;
    unbind_fence *jobs[6], *gate, *merged;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_queue *queue = make_queue(&gpu);
    gate = make_fence(&gpu);
    struct unbind_submit submit_info = UNBIND_SUBMIT_INIT;
    submit_info.wait_fences = &gate;
    submit_info.wait_fence_count = 1;
    for (int i = 0; i < 6; i++) REQUIRE(unbind_queue_submit(queue, &submit_info, &jobs[i]) == 0);
    unbind_fence *mixed[] = {jobs[2], jobs[5], jobs[0], jobs[3]};
    merged = merge_of(mixed, 4);
    CHECK(merged == jobs[5]);
    unbind_fence_unref(merged);
    /* Points that wait for jobs of one queue: its latest job is all there is to wait for. */
    unbind_timeline *timeline = make_timeline(&gpu);
    for (int i = 0; i < 4; i++) CHECK_EQUAL(unbind_timeline_add_point(timeline, (uint64_t)i + 1, jobs[i]), 0);
    unbind_fence *points[] = {point_of(timeline, 4), point_of(timeline, 2), jobs[1]};
    merged = merge_of(points, 3);
    CHECK(merged == jobs[3]);
    unbind_fence_unref(merged);
    signal_and_drop(gate);
    CHECK_EQUAL(finish(points[0]), 0);
    CHECK_EQUAL(finish(points[1]), 0);
    for (int i = 0; i < 6; i++) CHECK_EQUAL(finish(jobs[i]), 0);
    unbind_timeline_unref(timeline);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}
