/* SPDX-License-Identifier: MIT */
/* Fences: signalling, waiting, callbacks, eventfds. */
#include "support.h"

struct calls {
    unsigned count;
    unbind_fence *fence;
    int error, inside;
};

static void count_call(unbind_fence *fence, void *user_data) {
    struct calls *calls = (struct calls *)user_data;
    calls->fence = fence;
    calls->inside = unbind_fence_is_signaled(fence);
    CHECK_EQUAL(unbind_fence_get_error(fence, &calls->error), 0);
    __atomic_add_fetch(&calls->count, 1, __ATOMIC_RELEASE);
}

TEST(signals_once, "selftest 37 signaling: a fence signals once and keeps its error and its time") {
    struct gpu gpu;
    int error = 77;
    uint64_t time = 0, before, after;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_fence *fence = make_fence(&gpu);
    CHECK_EQUAL(unbind_fence_is_signaled(fence), 0);
    CHECK_EQUAL(unbind_fence_wait(fence, 0, 0), -ETIME);
    before = unbind_device_now(gpu.device);
    CHECK_EQUAL(unbind_fence_signal(fence, -EIO), 0);
    after = unbind_device_now(gpu.device);
    CHECK_EQUAL(unbind_fence_signal(fence, 0), -EINVAL);
    CHECK_EQUAL(unbind_fence_is_signaled(fence), 1);
    CHECK_EQUAL(unbind_fence_get_error(fence, &error), 0);
    CHECK_EQUAL(error, -EIO);
    CHECK_EQUAL(unbind_fence_get_timestamp(fence, &time), 0);
    CHECK(before <= time && time <= after);
    CHECK_EQUAL(unbind_fence_wait(fence, 0, 0), 0);
    CHECK_EQUAL(unbind_fence_wait(fence, FOREVER, 0), 0);
    unbind_fence_unref(fence);
    gpu_close(&gpu);
}

TEST(every_errno_is_carried, "a fence carries the smallest and the greatest error") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_fence *low = make_fence(&gpu), *high = make_fence(&gpu), *none = make_fence(&gpu);
    CHECK_EQUAL(unbind_fence_signal(low, -4095), 0);
    CHECK_EQUAL(unbind_fence_signal(high, -1), 0);
    CHECK_EQUAL(unbind_fence_signal(none, 0), 0);
    CHECK_EQUAL(finish(low), -4095);
    CHECK_EQUAL(finish(high), -1);
    CHECK_EQUAL(finish(none), 0);
    gpu_close(&gpu);
}

TEST(callbacks_called, "selftest 37 add_callback: callbacks run once, inside the signal, and may ask the fence") {
    struct gpu gpu;
    struct unbind_fence_callback callback[3];
    struct calls calls[3];
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_fence *fence = make_fence(&gpu);
    memset(calls, 0, sizeof calls);
    for (int i = 0; i < 3; i++) CHECK_EQUAL(unbind_fence_add_callback(fence, &callback[i], count_call, &calls[i]), 0);
    CHECK_EQUAL(unbind_fence_remove_callback(fence, &callback[1]), 0);
    CHECK_EQUAL(unbind_fence_remove_callback(fence, &callback[1]), -ENOENT);
    CHECK_EQUAL(unbind_fence_signal(fence, -EIO), 0);
    CHECK_EQUAL(calls[0].count, 1);
    CHECK_EQUAL(calls[1].count, 0);
    CHECK_EQUAL(calls[2].count, 1);
    CHECK(calls[0].fence == fence && calls[0].inside == 1 && calls[2].error == -EIO);
    CHECK_EQUAL(unbind_fence_remove_callback(fence, &callback[0]), -ENOENT);
    CHECK_EQUAL(unbind_fence_add_callback(fence, &callback[0], count_call, &calls[0]), -ENOENT);
    CHECK_EQUAL(calls[0].count, 1);
    unbind_fence_unref(fence);
    gpu_close(&gpu);
}

TEST(callback_other_fence, "a callback cannot be taken from a fence it is not on") {
    struct gpu gpu;
    struct unbind_fence_callback callback;
    struct calls calls = {0, NULL, 0, 0};
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_fence *on = make_fence(&gpu), *other = make_fence(&gpu);
    CHECK_EQUAL(unbind_fence_add_callback(on, &callback, count_call, &calls), 0);
    CHECK_EQUAL(unbind_fence_remove_callback(other, &callback), -ENOENT);
    signal_and_drop(other);
    CHECK_EQUAL(calls.count, 0);
    signal_and_drop(on);
    CHECK_EQUAL(calls.count, 1);
    gpu_close(&gpu);
}

static void signal_next(unbind_fence *fence, void *user_data) {
    (void)fence;
    CHECK_EQUAL(unbind_fence_signal((unbind_fence *)user_data, 0), 0);
}

TEST(callback_signals, "a callback may signal another fence") {
    struct gpu gpu;
    struct unbind_fence_callback callback;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_fence *first = make_fence(&gpu), *second = make_fence(&gpu);
    CHECK_EQUAL(unbind_fence_add_callback(first, &callback, signal_next, second), 0);
    signal_and_drop(first);
    CHECK_EQUAL(unbind_fence_is_signaled(second), 1);
    unbind_fence_unref(second);
    gpu_close(&gpu);
}

static bool readable(int fd) {
    struct pollfd item = {fd, POLLIN, 0};
    return poll(&item, 1, 0) == 1 && (item.revents & POLLIN);
}

TEST(eventfd_polls, "a fence's eventfd becomes readable when it signals, at once if it has, and outlives it") {
    struct gpu gpu;
    int early = -1, second = -1, late = -1;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_fence *fence = make_fence(&gpu);
    CHECK_EQUAL(unbind_fence_get_eventfd(fence, &early), 0);
    CHECK_EQUAL(unbind_fence_get_eventfd(fence, &second), 0);
    REQUIRE(early >= 0 && second >= 0 && early != second);
    CHECK((fcntl(early, F_GETFD) & FD_CLOEXEC) && (fcntl(early, F_GETFL) & O_NONBLOCK));
    CHECK(!readable(early));
    close(second);
    CHECK_EQUAL(unbind_fence_signal(fence, -EIO), 0);
    CHECK(readable(early));
    CHECK_EQUAL(unbind_fence_get_eventfd(fence, &late), 0);
    CHECK(readable(late));
    unbind_fence_unref(fence);
    CHECK(readable(early));
    close(early);
    close(late);
    gpu_close(&gpu);
}

static void *signal_soon(void *argument) {
    sleep_ms(20);
    CHECK_EQUAL(unbind_fence_signal((unbind_fence *)argument, 0), 0);
    return NULL;
}

TEST(eventfd_wakes, "poll sleeps on a fence's eventfd until another thread signals") {
    struct gpu gpu;
    int fd = -1;
    pthread_t thread;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_fence *fence = make_fence(&gpu);
    REQUIRE(unbind_fence_get_eventfd(fence, &fd) == 0);
    REQUIRE(pthread_create(&thread, NULL, signal_soon, fence) == 0);
    struct pollfd item = {fd, POLLIN, 0};
    CHECK_EQUAL(poll(&item, 1, -1), 1);
    CHECK_EQUAL(unbind_fence_is_signaled(fence), 1);
    pthread_join(thread, NULL);
    close(fd);
    unbind_fence_unref(fence);
    gpu_close(&gpu);
}

TEST(timeouts, "selftest 37 wait: a wait ends at its relative or absolute time and not before") {
    const uint32_t executors[] = {UNBIND_EXECUTOR_POOL, UNBIND_EXECUTOR_MANUAL};
    for (int i = 0; i < 2; i++) {
        struct gpu gpu;
        gpu_open(&gpu, executors[i]);
        unbind_fence *fence = make_fence(&gpu);
        uint64_t start = unbind_device_now(gpu.device), now;
        CHECK_EQUAL(unbind_fence_wait(fence, 10000000, 0), -ETIME);
        now = unbind_device_now(gpu.device);
        CHECK(now >= start + 10000000);
        CHECK_EQUAL(unbind_fence_wait(fence, now + 10000000, UNBIND_WAIT_ABSOLUTE), -ETIME);
        CHECK(unbind_device_now(gpu.device) >= now + 10000000);
        now = unbind_device_now(gpu.device);
        CHECK_EQUAL(unbind_fence_wait(fence, 1, UNBIND_WAIT_ABSOLUTE), -ETIME); /* long past */
        CHECK_EQUAL(unbind_fence_signal(fence, 0), 0);
        CHECK_EQUAL(unbind_fence_wait(fence, 1, UNBIND_WAIT_ABSOLUTE), 0);
        unbind_fence_unref(fence);
        gpu_close(&gpu);
    }
}

static void *wait_interruptibly(void *argument) {
    return (void *)(intptr_t)unbind_fence_wait((unbind_fence *)argument, FOREVER, UNBIND_WAIT_INTERRUPTIBLE);
}

static void *wait_firmly(void *argument) {
    return (void *)(intptr_t)unbind_fence_wait((unbind_fence *)argument, UINT64_C(80000000), 0);
}

TEST(interrupted, "M10: a signal handler ends an interruptible wait with -EINTR and no other") {
    struct gpu gpu;
    pthread_t waiter;
    void *result = NULL;
    take_signals(0);
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_fence *fence = make_fence(&gpu);
    REQUIRE(pthread_create(&waiter, NULL, wait_interruptibly, fence) == 0);
    CHECK_EQUAL((intptr_t)interrupt_until_over(waiter), -EINTR);
    REQUIRE(pthread_create(&waiter, NULL, wait_firmly, fence) == 0);
    for (int i = 0; i < 5; i++) {
        sleep_ms(5);
        pthread_kill(waiter, SIGUSR1);
    }
    pthread_join(waiter, &result);
    CHECK_EQUAL((intptr_t)result, -ETIME);
    CHECK_EQUAL(unbind_fence_is_signaled(fence), 0);
    signal_and_drop(fence);
    gpu_close(&gpu);
}

struct race {
    struct gpu gpu;
    unbind_fence *fence;
    pthread_barrier_t barrier;
};

static void *race_signal(void *argument) {
    struct race *race = (struct race *)argument;
    pthread_barrier_wait(&race->barrier);
    CHECK_EQUAL(unbind_fence_signal(race->fence, 0), 0);
    return NULL;
}

TEST(callback_race, "selftest 37 race: a callback added during the signal is called once or refused, never both or neither") {
    struct race race;
    gpu_open(&race.gpu, UNBIND_EXECUTOR_POOL);
    pthread_barrier_init(&race.barrier, NULL, 2);
    for (int round = 0; round < 300; round++) {
        struct unbind_fence_callback callback[4];
        struct calls calls[4];
        int status[4];
        pthread_t thread;
        memset(calls, 0, sizeof calls);
        race.fence = make_fence(&race.gpu);
        REQUIRE(pthread_create(&thread, NULL, race_signal, &race) == 0);
        pthread_barrier_wait(&race.barrier);
        for (int i = 0; i < 4; i++) {
            status[i] = unbind_fence_add_callback(race.fence, &callback[i], count_call, &calls[i]);
        }
        bool removed = status[0] == 0 && unbind_fence_remove_callback(race.fence, &callback[0]) == 0;
        pthread_join(thread, NULL);
        for (int i = 0; i < 4; i++) {
            CHECK(status[i] == 0 || status[i] == -ENOENT);
            CHECK_EQUAL(calls[i].count, status[i] == 0 && !(removed && i == 0));
        }
        unbind_fence_unref(race.fence);
    }
    pthread_barrier_destroy(&race.barrier);
    gpu_close(&race.gpu);
}

TEST(errors_travel, "a job that waited for a failed fence is skipped and carries its error") {
    struct gpu gpu;
    unbind_fence *out = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_queue *queue = make_queue(&gpu);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x10000);
    unbind_fence *fence = make_fence(&gpu);
    struct unbind_command store = command_store(0x10000, 42);
    struct unbind_submit_vma item = {vma, UNBIND_USE_WRITE, 0};
    struct unbind_submit job = UNBIND_SUBMIT_INIT;
    job.commands = &store;
    job.command_count = 1;
    job.vmas = &item;
    job.vma_count = 1;
    job.wait_fences = &fence;
    job.wait_fence_count = 1;
    REQUIRE(unbind_queue_submit(queue, &job, &out) == 0);
    CHECK_EQUAL(unbind_fence_is_signaled(out), 0);
    CHECK_EQUAL(unbind_fence_signal(fence, -ECANCELED), 0);
    CHECK_EQUAL(finish(out), -ECANCELED);
    uint64_t value = 1;
    struct unbind_command load = command_load(0x10000, &value);
    REQUIRE(submit(queue, &load, 1, vma, NULL, &out) == 0);
    CHECK_EQUAL(finish(out), 0);
    CHECK_EQUAL(value, 0);
    unbind_fence_unref(fence);
    unbind_vma_unref(vma);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

TEST(dropped_with_callback, "a fence that is dropped with a callback waiting stays until the device is closed") {
    struct gpu gpu;
    struct unbind_fence_callback storage;
    struct unbind_leak_report report = UNBIND_LEAK_REPORT_INIT;
    struct calls calls;
    memset(&calls, 0, sizeof calls);
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_fence *fence = make_fence(&gpu);
    CHECK_EQUAL(unbind_fence_add_callback(fence, &storage, count_call, &calls), 0);
    unbind_fence_unref(fence);
    CHECK_EQUAL(calls.count, 0);
    unbind_vm_unref(gpu.vm);
    CHECK_EQUAL(unbind_device_close(gpu.device, &report), 0);
    CHECK_EQUAL(calls.count, 1);
    CHECK_EQUAL(calls.error, -ENOENT);
    CHECK_EQUAL(report.fences, 0);
    CHECK_EQUAL(report.fences_cancelled, 1);
    unbind_device_unref(gpu.device);
    CHECK_EQUAL(gpu.hooks.blocks, 0);
}

static struct {
    struct gpu outer, inner;
    unbind_fence *of_inner;
    int close_status, wait_status;
} nested;

static void call_back_to_first(unbind_fence *fence, void *user_data) {
    (void)fence;
    (void)user_data;
    nested.wait_status = unbind_device_wait_idle(nested.outer.device, FOREVER, 0);
    nested.close_status = unbind_device_close(nested.outer.device, NULL);
}

static void signal_of_other_device(unbind_fence *fence, void *user_data) {
    (void)fence;
    (void)user_data;
    CHECK_EQUAL(unbind_fence_signal(nested.of_inner, 0), 0);
}

TEST(nested_devices, "a callback that another device's callback leads to knows that the first device's is not over") {
    for (uint32_t executor = UNBIND_EXECUTOR_POOL; executor <= UNBIND_EXECUTOR_MANUAL; executor++) {
        struct unbind_fence_callback first, second;
        uint64_t time;
        gpu_open(&nested.outer, executor);
        gpu_open(&nested.inner, executor);
        nested.of_inner = make_fence(&nested.inner);
        REQUIRE(unbind_fence_add_callback(nested.of_inner, &second, call_back_to_first, NULL) == 0);
        CHECK_EQUAL(finish(timed_calling(nested.outer.device, &first, signal_of_other_device, NULL, &time)), 0);
        CHECK_EQUAL(unbind_device_wait_idle(nested.outer.device, FOREVER, 0), 0);
        CHECK_EQUAL(nested.wait_status, -EDEADLK);
        CHECK_EQUAL(nested.close_status, -EDEADLK);
        unbind_fence_unref(nested.of_inner);
        gpu_close(&nested.outer);
        gpu_close(&nested.inner);
    }
}
