/* SPDX-License-Identifier: MIT */
/* Fences and time, what fences are made of, errors along chains, and that there are no circles. */
#include "support.h"

static unbind_fence *timed(struct gpu *gpu, uint64_t time) {
    unbind_fence *fence = NULL;
    REQUIRE(unbind_fence_create_timed(gpu->device, time, &fence) == 0);
    return fence;
}

static unbind_fence *deadline(unbind_fence *followed, uint64_t time) {
    unbind_fence *fence = NULL;
    REQUIRE(unbind_fence_create_deadline(followed, time, &fence) == 0);
    return fence;
}

static int is_signalled(unbind_fence *fence) { return unbind_fence_is_signaled(fence); }

static int error_of(unbind_fence *fence) {
    int error = 77;
    CHECK_EQUAL(unbind_fence_get_error(fence, &error), 0);
    return error;
}

static uint64_t time_of(unbind_fence *fence) {
    uint64_t time = 77;
    CHECK_EQUAL(unbind_fence_get_timestamp(fence, &time), 0);
    return time;
}

/* MARK: selftests 9 and 10 */

TEST(timer, "selftest 9, timer: a fence of a past time is done at once, one of a later time never early") {
    static const uint64_t delays[] = {2, 3, 5, 7, 11, 13, 1009, 1000003};
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    CHECK_EQUAL(unbind_device_run_until(gpu.device, 1000), 0);
    for (unsigned i = 0; i < 3; i++) {
        unbind_fence *past = timed(&gpu, i * 500);
        CHECK_EQUAL(is_signalled(past), 1);
        CHECK_EQUAL(error_of(past), 0);
        CHECK_EQUAL(time_of(past), 1000);
        CHECK_EQUAL(unbind_fence_signal(past, 0), -EINVAL);
        unbind_fence_unref(past);
    }
    for (unsigned i = 0; i < sizeof delays / sizeof *delays; i++) {
        uint64_t time = unbind_device_now(gpu.device) + delays[i];
        unbind_fence *fence = timed(&gpu, time);
        CHECK_EQUAL(unbind_fence_signal(fence, 0), -EINVAL); /* only by itself */
        CHECK_EQUAL(unbind_device_run_until(gpu.device, time - 1), 0);
        CHECK_EQUAL(is_signalled(fence), 0);
        CHECK_EQUAL(unbind_device_run_until(gpu.device, time), 0);
        CHECK_EQUAL(is_signalled(fence), 1);
        CHECK_EQUAL(time_of(fence), time);
        unbind_fence_unref(fence);
    }
    gpu_close(&gpu);
}

static void real_timers(uint32_t executor) {
    static const uint64_t delays[] = {200000, 1000003, 3000017};
    struct gpu gpu;
    gpu_open(&gpu, executor);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t time = unbind_device_now(gpu.device) + delays[i];
        unbind_fence *fence = timed(&gpu, time);
        CHECK_EQUAL(unbind_fence_wait(fence, FOREVER, 0), 0);
        CHECK(unbind_device_now(gpu.device) >= time);
        CHECK(time_of(fence) >= time);
        unbind_fence_unref(fence);
    }
    gpu_close(&gpu);
}

TEST(timer_pool, "selftest 9, timer: so it is in real time, served by workers") { real_timers(UNBIND_EXECUTOR_POOL); }
TEST(timer_manual, "selftest 9, timer: and served by the thread that waits") { real_timers(UNBIND_EXECUTOR_MANUAL); }

TEST(dma_fence, "selftest 10, dma_fence: of two that follow a fence the one with a deadline ends with -ETIME") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_fence *fence = make_fence(&gpu), *plain = deadline(fence, UINT64_MAX), *limited = deadline(fence, 100);
    CHECK_EQUAL(unbind_device_run_until(gpu.device, 99), 0);
    CHECK(!is_signalled(plain) && !is_signalled(limited));
    CHECK_EQUAL(unbind_device_run_until(gpu.device, 100), 0);
    CHECK(!is_signalled(plain) && is_signalled(limited) && !is_signalled(fence));
    CHECK_EQUAL(error_of(limited), -ETIME);
    CHECK_EQUAL(time_of(limited), 100);
    CHECK_EQUAL(unbind_device_run_until(gpu.device, 150), 0);
    CHECK_EQUAL(unbind_fence_signal(fence, -EIO), 0);
    CHECK(is_signalled(plain));
    CHECK_EQUAL(error_of(plain), -EIO);
    CHECK_EQUAL(time_of(plain), 150);
    CHECK_EQUAL(error_of(limited), -ETIME); /* never twice */
    unbind_fence_unref(plain);
    unbind_fence_unref(limited);
    unbind_fence_unref(fence);
    gpu_close(&gpu);
}

TEST(in_time, "a deadline that is kept carries the fence's error, and its timer is taken back") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_fence *fence = make_fence(&gpu), *limited = deadline(fence, 1000000);
    CHECK_EQUAL(unbind_fence_signal(fence, -EFAULT), 0);
    CHECK_EQUAL(error_of(limited), -EFAULT);
    CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), 0);
    CHECK_EQUAL(unbind_device_now(gpu.device), 0); /* nothing was left to move the clock */
    unbind_fence *late = deadline(fence, 5); /* has signalled */
    CHECK_EQUAL(error_of(late), -EFAULT);
    unbind_fence_unref(late);
    unbind_fence_unref(limited);
    unbind_fence_unref(fence);
    CHECK_EQUAL(unbind_device_run_until(gpu.device, 10), 0);
    fence = make_fence(&gpu);
    late = deadline(fence, 10); /* the deadline has passed */
    CHECK_EQUAL(error_of(late), -ETIME);
    CHECK_EQUAL(is_signalled(fence), 0);
    unbind_fence_unref(late);
    signal_and_drop(fence);
    gpu_close(&gpu);
}

TEST(dropped, "fences with a time may be dropped before it, and those that they follow as well") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_fence *fence = make_fence(&gpu);
    unbind_fence_unref(deadline(fence, 100));
    unbind_fence_unref(timed(&gpu, 200));
    unbind_fence *kept = deadline(fence, 300);
    unbind_fence_unref(fence); /* nobody can signal it any more */
    CHECK_EQUAL(unbind_device_run_until(gpu.device, 299), 0);
    CHECK_EQUAL(is_signalled(kept), 0);
    CHECK_EQUAL(unbind_device_run_until(gpu.device, 300), 0);
    CHECK_EQUAL(error_of(kept), -ETIME);
    unbind_fence_unref(kept);
    gpu_close(&gpu);
}

static void closing(uint32_t executor) {
    struct gpu gpu;
    struct unbind_leak_report report = UNBIND_LEAK_REPORT_INIT;
    gpu_open(&gpu, executor);
    uint64_t hour = unbind_device_now(gpu.device) + UINT64_C(3600000000000);
    unbind_fence *fence = make_fence(&gpu), *none = NULL;
    unbind_fence *late = timed(&gpu, hour), *never = timed(&gpu, UINT64_MAX);
    unbind_fence *limited = deadline(fence, hour), *follower = deadline(late, UINT64_MAX);
    unbind_vm_unref(gpu.vm);
    CHECK_EQUAL(unbind_device_close(gpu.device, &report), 0); /* at once: an hour would be noticed */
    CHECK_EQUAL(report.fences_cancelled, 3);
    CHECK_EQUAL(report.fences, 5);
    CHECK_EQUAL(error_of(late), -ENOENT);
    CHECK_EQUAL(error_of(never), -ENOENT);
    CHECK_EQUAL(error_of(limited), -ENOENT);
    CHECK_EQUAL(error_of(follower), -ENOENT);
    CHECK_EQUAL(unbind_fence_create_timed(gpu.device, hour, &none), -ENOENT);
    CHECK_EQUAL(unbind_fence_create_deadline(fence, hour, &none), -ENOENT);
    unbind_fence *all[5] = {fence, late, never, limited, follower};
    drop_fences(all, 5);
    unbind_device_unref(gpu.device);
    CHECK_EQUAL(gpu.hooks.blocks, 0);
}

TEST(closed, "closing the device cancels fences of times to come, without waiting for them") {
    closing(UNBIND_EXECUTOR_POOL);
    closing(UNBIND_EXECUTOR_MANUAL);
    closing(UNBIND_EXECUTOR_SIMULATED);
}

static void count_call(unbind_fence *fence, void *user_data) {
    (void)fence;
    __atomic_add_fetch((int *)user_data, 1, __ATOMIC_RELAXED);
}

TEST(race, "a deadline and its fence that come at one time signal once, with the error of one of them") {
    struct gpu gpu;
    int times_out = 0, rounds = getenv("UNDER_VALGRIND") ? 100 : 2000;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    /* A machine that is busy with other things may be late with deadlines: later and later, until one has come. */
    for (int round = 0; round < rounds || (times_out == 0 && round < 20 * rounds); round++) {
        struct unbind_fence_callback callback;
        int calls = 0;
        unbind_fence *fence = make_fence(&gpu);
        uint64_t time = unbind_device_now(gpu.device) + 20000 + (uint64_t)(round % 64) * 500;
        uint64_t late = (uint64_t)(round % 50) * 1000 + (uint64_t)(round / rounds) * 1000000;
        unbind_fence *limited = deadline(fence, time);
        int added = unbind_fence_add_callback(limited, &callback, count_call, &calls);
        while (unbind_device_now(gpu.device) < time + late) {}
        CHECK_EQUAL(unbind_fence_signal(fence, -EIO), 0);
        CHECK_EQUAL(unbind_fence_wait(limited, FOREVER, 0), 0);
        int error = error_of(limited);
        CHECK(error == -EIO || error == -ETIME);
        if (error == -ETIME) CHECK(time_of(limited) >= time);
        times_out += error == -ETIME;
        CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
        if (added == 0) CHECK_EQUAL(__atomic_load_n(&calls, __ATOMIC_RELAXED), 1);
        unbind_fence_unref(limited);
        unbind_fence_unref(fence);
    }
    CHECK(times_out > 0);
    gpu_close(&gpu);
}

TEST(deep_deadlines, "a long chain of deadlines on deadlines is followed to its end, and freed, without recursion") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_fence *fence = make_fence(&gpu), *last = unbind_fence_ref(fence);
    for (unsigned i = 0; i < deep(); i++) {
        unbind_fence *next = deadline(last, i % 2 ? UINT64_MAX : 1000000);
        unbind_fence_unref(last);
        last = next;
    }
    CHECK_EQUAL(unbind_fence_signal(fence, -EIO), 0);
    CHECK_EQUAL(error_of(last), -EIO);
    unbind_fence_unref(last);
    unbind_fence_unref(fence);
    gpu_close(&gpu);
}

TEST(with_the_rest, "fences with a time work with jobs, arrays and unbinds") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_queue *queue = make_queue(&gpu);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x10000);
    unbind_fence *start = timed(&gpu, 5000), *job = NULL, *unbind = NULL;
    struct unbind_command commands[2] = {command_wait(start), command_store(0x10000, 7)};
    CHECK_EQUAL(submit(queue, commands, 2, vma, NULL, &job), 0);
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &unbind), 0);
    unbind_fence *pair[2] = {unbind, deadline(job, 1000)}, *both = array_of(pair, 2, UNBIND_FENCE_ARRAY_ALL);
    CHECK_EQUAL(unbind_fence_wait(both, FOREVER, 0), 0);
    CHECK(time_of(job) >= 5000 && time_of(unbind) >= time_of(job));
    CHECK_EQUAL(time_of(pair[1]), 1000);
    CHECK_EQUAL(error_of(both), -ETIME);
    CHECK_EQUAL(error_of(job), 0);
    unbind_fence *all[5] = {start, job, unbind, pair[1], both};
    drop_fences(all, 5);
    unbind_vma_unref(vma);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

/* MARK: selftest 39 */

/* The leaves of a fence are these, in any order, each once. */
static void check_leaves(unbind_fence *fence, unbind_fence *const *expected, uint32_t number) {
    unbind_fence *leaves[64];
    uint32_t found = 77;
    CHECK_EQUAL(unbind_fence_get_leaves(fence, leaves, 64, &found), 0);
    REQUIRE(found <= 64);
    CHECK_EQUAL(found, number);
    for (uint32_t i = 0; i < number; i++) {
        int times = 0;
        for (uint32_t k = 0; k < found; k++) times += leaves[k] == expected[i];
        CHECK_EQUAL(times, 1);
    }
    drop_fences(leaves, found);
}

TEST(leaves, "selftest 39, unwrap: an array, a timeline, and each of the other, give every leaf once") {
    struct gpu gpu;
    unbind_fence *fences[6];
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    make_fences(&gpu, fences, 6);
    unbind_fence *twice[3] = {fences[0], fences[1], fences[0]};
    unbind_fence *first = array_of(twice, 3, UNBIND_FENCE_ARRAY_ALL);
    unbind_fence *any = array_of(&fences[4], 2, UNBIND_FENCE_ARRAY_ANY);
    unbind_timeline *timeline = make_timeline(&gpu);
    CHECK_EQUAL(unbind_timeline_add_point(timeline, 1, first), 0);
    CHECK_EQUAL(unbind_timeline_add_point(timeline, 2, fences[2]), 0);
    unbind_fence *point = point_of(timeline, 2);
    unbind_fence *both[3] = {point, any, fences[3]}, *top = array_of(both, 3, UNBIND_FENCE_ARRAY_ALL);
    unbind_fence *of_top[5] = {fences[0], fences[1], fences[2], fences[3], any};
    check_leaves(fences[0], fences, 1);
    check_leaves(first, fences, 2);
    check_leaves(point, fences, 3);
    check_leaves(any, &any, 1); /* signals with any of its own */
    check_leaves(top, of_top, 5);
    CHECK_EQUAL(unbind_fence_signal(fences[0], 0), 0);
    check_leaves(top, &of_top[1], 4);
    uint32_t number = 0;
    unbind_fence *leaf = UNTOUCHED(unbind_fence);
    CHECK_EQUAL(unbind_fence_get_leaves(top, &leaf, 1, &number), 0);
    CHECK_EQUAL(number, 4);
    CHECK(leaf == UNTOUCHED(unbind_fence));
    CHECK_EQUAL(unbind_fence_get_leaves(top, NULL, 0, &number), 0);
    for (int i = 1; i < 6; i++) CHECK_EQUAL(unbind_fence_signal(fences[i], 0), 0);
    check_leaves(top, NULL, 0);
    check_leaves(fences[0], NULL, 0);
    unbind_fence *composite[4] = {first, any, point, top};
    drop_fences(composite, 4);
    drop_fences(fences, 6);
    unbind_timeline_unref(timeline);
    gpu_close(&gpu);
}

TEST(deep_leaves, "the leaves of 10,000 arrays in each other, each with a leaf of its own and named twice, are found") {
    struct gpu gpu;
    enum { DEPTH = 10000 };
    static unbind_fence *fences[DEPTH], *leaves[DEPTH];
    uint32_t number = 0;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    make_fences(&gpu, fences, DEPTH);
    unbind_fence *top = unbind_fence_ref(fences[0]);
    for (int i = 1; i < DEPTH; i++) {
        unbind_fence *parts[3] = {top, fences[i], top};
        unbind_fence *next = array_of(parts, 3, UNBIND_FENCE_ARRAY_ALL);
        unbind_fence_unref(top);
        top = next;
    }
    CHECK_EQUAL(unbind_fence_get_leaves(top, leaves, DEPTH, &number), 0);
    CHECK_EQUAL(number, DEPTH);
    drop_fences(leaves, number);
    unbind_fence_unref(top);
    for (int i = 0; i < DEPTH; i++) signal_and_drop(fences[i]);
    gpu_close(&gpu);
}

/* MARK: P30 */

TEST(error_in_the_middle, "P30: an error from the middle of a chain of 4096 fences reaches the end, each way") {
    enum { LENGTH = 4096, WAYS = 3 };
    static unbind_fence *leaves[LENGTH];
    for (int way = 0; way < WAYS; way++) {
        for (int backward = 0; backward < 2; backward++) {
            struct gpu gpu;
            gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
            unbind_queue *queues[2] = {make_queue(&gpu), make_queue(&gpu)};
            make_fences(&gpu, leaves, LENGTH);
            unbind_fence *last = stub_of(&gpu), *before = NULL;
            for (int i = 0; i < LENGTH; i++) {
                unbind_fence *parts[2] = {last, leaves[i]}, *next = NULL;
                if (way == 1) { /* jobs that wait for the job before, on another queue, and for a fence */
                    struct unbind_submit job = UNBIND_SUBMIT_INIT;
                    job.wait_fences = parts;
                    job.wait_fence_count = 2;
                    REQUIRE(unbind_queue_submit(queues[i % 2], &job, &next) == 0);
                } else {
                    next = array_of(parts, 2, UNBIND_FENCE_ARRAY_ALL);
                    if (way == 2) { /* with a deadline on each */
                        unbind_fence *array = next;
                        next = deadline(array, UINT64_MAX - 1);
                        unbind_fence_unref(array);
                    }
                }
                if (i == LENGTH / 2) before = unbind_fence_ref(last);
                unbind_fence_unref(last);
                last = next;
            }
            for (int k = 0; k < LENGTH; k++) {
                int i = backward ? LENGTH - 1 - k : k;
                CHECK_EQUAL(unbind_fence_signal(leaves[i], i == LENGTH / 2 ? -EIO : 0), 0);
            }
            CHECK_EQUAL(unbind_fence_wait(last, FOREVER, 0), 0);
            CHECK_EQUAL(error_of(before), 0); /* A */
            CHECK_EQUAL(error_of(last), -EIO); /* C, after B */
            unbind_fence_unref(before);
            unbind_fence_unref(last);
            drop_fences(leaves, LENGTH);
            unbind_queue_unref(queues[0]);
            unbind_queue_unref(queues[1]);
            gpu_close(&gpu);
        }
    }
}

/* MARK: selftest 2 */

TEST(no_circles, "selftest 2, dag: no way of making fences gives two that wait for each other") {
    struct gpu gpu;
    unbind_fence *later = UNTOUCHED(unbind_fence), *unbind = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_fence *fence = make_fence(&gpu);
    /* A -> A: a timeline's point that waits for itself, or for a point after it, has no fence to name. */
    unbind_timeline *timeline = make_timeline(&gpu), *other = make_timeline(&gpu);
    CHECK_EQUAL(unbind_timeline_get_point(timeline, 1, &later), -EAGAIN);
    CHECK_EQUAL(unbind_timeline_add_point(timeline, 2, fence), 0);
    CHECK_EQUAL(unbind_timeline_get_point(timeline, 3, &later), -EAGAIN);
    CHECK_EQUAL(unbind_timeline_add_point(timeline, 1, fence), -EINVAL); /* none comes in between */
    CHECK_EQUAL(unbind_timeline_add_point(timeline, 2, fence), -EINVAL);
    /* B -> A -> B: two timelines. The second point can only name what was there before. */
    unbind_fence *point = point_of(timeline, 2);
    CHECK_EQUAL(unbind_timeline_add_point(other, 1, point), 0);
    unbind_fence *crossed = point_of(other, 1);
    CHECK_EQUAL(unbind_timeline_add_point(timeline, 2, crossed), -EINVAL); /* not under the first */
    CHECK_EQUAL(unbind_timeline_add_point(timeline, 3, crossed), 0);       /* behind it */
    /* An array, a deadline, a merged fence and a job name fences that exist, and never themselves. */
    unbind_fence *parts[3] = {fence, crossed, point};
    unbind_fence *array = array_of(parts, 3, UNBIND_FENCE_ARRAY_ALL), *merged = merge_of(parts, 3);
    CHECK(merged == fence); /* that is what they all wait for */
    unbind_fence *limited = NULL, *limited_too = NULL, *job = NULL;
    REQUIRE(unbind_fence_create_deadline(array, UINT64_MAX, &limited) == 0);
    REQUIRE(unbind_fence_create_deadline(limited, UINT64_MAX, &limited_too) == 0);
    unbind_queue *queue = make_queue(&gpu);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x10000);
    struct unbind_command wait = command_wait(limited_too);
    REQUIRE(submit(queue, &wait, 1, vma, NULL, &job) == 0);
    /* An unbind waits for its users. One that waits for the unbind cannot be among them: it comes too late. */
    REQUIRE(unbind_vma_unbind_async(vma, 0, &unbind) == 0);
    CHECK_EQUAL(unbind_vma_add_user(vma, unbind), -EINVAL);
    struct unbind_command after = command_wait(unbind);
    unbind_fence *second_job = NULL, *bind = NULL;
    CHECK_EQUAL(submit(queue, &after, 1, vma, NULL, &second_job), -EINVAL); /* not bound */
    CHECK_EQUAL(submit(queue, &after, 1, NULL, NULL, &second_job), 0);
    CHECK_EQUAL(unbind_vma_add_user(vma, second_job), -EINVAL);
    /* A bind waits for the unbinds before it; its own later unbind for the bind. */
    CHECK_EQUAL(unbind_vma_bind_async(vma, 0, &bind), 0);
    CHECK_EQUAL(unbind_vma_add_user(vma, unbind), 0); /* of the old binding: no circle */
    CHECK_EQUAL(unbind_vma_add_user(vma, bind), 0);
    CHECK_EQUAL(unbind_vma_add_user(vma, second_job), 0);
    unbind_fence *second_unbind = NULL, *third_bind = NULL;
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &second_unbind), 0);
    /* A bind waits for KERNEL fences of its buffer: for those that are there, not for one that is added later. */
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *other_vma = make_vma(&gpu, bo, 0x40000);
    CHECK_EQUAL(unbind_bo_lock(bo, NULL, 0), 0);
    CHECK_EQUAL(unbind_bo_reserve_fences(bo, NULL, 2), 0);
    CHECK_EQUAL(unbind_bo_add_fence(bo, NULL, fence, UNBIND_USAGE_KERNEL), 0);
    CHECK_EQUAL(unbind_vma_bind_async(other_vma, 0, &third_bind), 0);
    CHECK_EQUAL(unbind_bo_add_fence(bo, NULL, third_bind, UNBIND_USAGE_KERNEL), 0);
    CHECK_EQUAL(unbind_bo_unlock(bo, NULL), 0);
    /* No function signals any of them but by its end, and all end when the one that the caller has does. */
    unbind_fence *made[] = {point, crossed, array, limited, limited_too, job, unbind, second_job, bind, second_unbind,
                            third_bind};
    for (unsigned i = 0; i < sizeof made / sizeof *made; i++) {
        CHECK_EQUAL(unbind_fence_signal(made[i], 0), -EINVAL);
        CHECK_EQUAL(is_signalled(made[i]), 0);
    }
    CHECK_EQUAL(unbind_fence_signal(fence, 0), 0);
    for (unsigned i = 0; i < sizeof made / sizeof *made; i++) CHECK_EQUAL(finish(made[i]), 0);
    CHECK(later == UNTOUCHED(unbind_fence));
    unbind_fence_unref(merged);
    unbind_fence_unref(fence);
    unbind_timeline_unref(timeline);
    unbind_timeline_unref(other);
    unbind_vma_unref(vma);
    unbind_vma_unref(other_vma);
    unbind_bo_unref(bo);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}
