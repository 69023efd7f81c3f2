/* SPDX-License-Identifier: MIT */
/* Closing address spaces and devices while unbinds are pending, and handles that outlive them. */
#include "batching.h"

TEST(close_vm_pending, "closing an address space loses no pending unbind: each waits for its work, then signals") {
    for (uint32_t executor = 0; executor < 3; executor++) {
        struct gpu gpu;
        unbind_fence *pending = NULL, *after = NULL;
        gpu_open(&gpu, executor);
        unbind_vma *vma = bind_new(&gpu, PAGE, 0x5000), *bound = bind_new(&gpu, PAGE, 0x9000);
        unbind_fence *user = make_fence(&gpu), *second = make_fence(&gpu);
        REQUIRE(unbind_vma_add_user(vma, user) == 0);
        REQUIRE(unbind_vma_add_user(bound, second) == 0);
        CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &pending), 0);
        CHECK_EQUAL(unbind_vm_close(gpu.vm), 0);
        CHECK_EQUAL(unbind_vm_close(gpu.vm), -ENOENT);
        CHECK_EQUAL(unbind_vma_state(bound), UNBIND_VMA_UNBOUND);
        CHECK_EQUAL(unbind_vma_bind(bound, 0), -ENOENT);
        CHECK_EQUAL(unbind_vma_unbind_async(bound, 0, &after), 0);
        CHECK_EQUAL(finish(after), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(pending), 0);
        CHECK_EQUAL(vm_stats(gpu.vm).pending, 2);
        signal_and_drop(user);
        CHECK_EQUAL(finish(pending), 0);
        CHECK_EQUAL(vm_stats(gpu.vm).pending, 1);
        signal_and_drop(second);
        CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
        CHECK_EQUAL(vm_stats(gpu.vm).pending, 0);
        CHECK_EQUAL(vm_stats(gpu.vm).unbinds_completed, 2);
        unbind_vma_unref(vma);
        unbind_vma_unref(bound);
        gpu_close(&gpu);
    }
}

TEST(close_vm_queued_bind, "an asynchronous bind that is still queued when its address space closes does signal") {
    struct gpu gpu;
    unbind_fence *bind = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x5000);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *over = make_vma(&gpu, bo, 0x5000);
    unbind_fence *user = make_fence(&gpu);
    REQUIRE(unbind_vma_add_user(vma, user) == 0);
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, NULL), 0);
    CHECK_EQUAL(unbind_vma_bind_async(over, 0, &bind), 0);
    CHECK_EQUAL(unbind_vm_close(gpu.vm), 0);
    signal_and_drop(user);
    CHECK_EQUAL(unbind_fence_wait(bind, FOREVER, 0), 0);
    CHECK_EQUAL(unbind_vma_state(over), UNBIND_VMA_UNBOUND);
    unbind_fence_unref(bind);
    unbind_vma_unref(vma);
    unbind_vma_unref(over);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(close_device_pending, "closing a device signals every fence, cancels the caller's, and reports what is alive") {
    for (uint32_t executor = 0; executor < 3; executor++) {
        struct gpu gpu;
        struct unbind_leak_report report = UNBIND_LEAK_REPORT_INIT;
        struct unbind_submit job = UNBIND_SUBMIT_INIT;
        unbind_fence *pending = NULL, *done = NULL, *none = UNTOUCHED(unbind_fence);
        unbind_vm *other_vm = UNTOUCHED(unbind_vm);
        unbind_bo *other_bo = UNTOUCHED(unbind_bo);
        int error = 1;
        gpu_open(&gpu, executor);
        unbind_bo *bo = make_bo(&gpu, 2 * PAGE);
        unbind_vma *vma = make_vma(&gpu, bo, 0x5000);
        unbind_queue *queue = make_queue(&gpu);
        unbind_fence *user = make_fence(&gpu);
        struct unbind_command store = command_store(0x5000, 3);
        REQUIRE(unbind_vma_bind(vma, 0) == 0);
        REQUIRE(submit(queue, &store, 1, vma, NULL, &done) == 0);
        REQUIRE(unbind_vma_add_user(vma, user) == 0);
        CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &pending), 0);

        CHECK_EQUAL(unbind_device_close(gpu.device, &report), 0);
        CHECK_EQUAL(report.vms, 1);
        CHECK_EQUAL(report.bos, 1);
        CHECK_EQUAL(report.vmas, 1);
        CHECK_EQUAL(report.queues, 1);
        CHECK_EQUAL(report.fences, 3);
        CHECK_EQUAL(report.bo_bytes, 2 * PAGE);
        CHECK_EQUAL(report.unbinds_completed, 1);
        CHECK_EQUAL(report.fences_cancelled, 1);
        CHECK(gpu.messages > 0);
        CHECK_EQUAL(unbind_device_close(gpu.device, &report), -ENOENT);

        CHECK_EQUAL(unbind_fence_get_error(user, &error), 0);
        CHECK_EQUAL(error, -ENOENT);
        CHECK_EQUAL(unbind_fence_is_signaled(done), 1);
        CHECK_EQUAL(finish(pending), 0);
        CHECK_EQUAL(unbind_vma_state(vma), UNBIND_VMA_UNBOUND);
        CHECK_EQUAL(*(uint64_t *)unbind_bo_cpu_pointer(bo), 3);
        CHECK_EQUAL(unbind_vm_create(gpu.device, NULL, &other_vm), -ENOENT);
        CHECK_EQUAL(unbind_bo_create(gpu.device, PAGE, UNBIND_REGION_SYSTEM, 0, &other_bo), -ENOENT);
        CHECK_EQUAL(unbind_bo_wrap(gpu.device, (void *)(uintptr_t)PAGE, PAGE, NULL, NULL, &other_bo), -ENOENT);
        CHECK_EQUAL(unbind_fence_create(gpu.device, &none), -ENOENT);
        CHECK_EQUAL(unbind_vm_close(gpu.vm), -ENOENT);
        CHECK_EQUAL(unbind_vma_bind(vma, 0), -ENOENT);
        CHECK_EQUAL(unbind_vma_bind_async(vma, 0, &none), -ENOENT);
        CHECK_EQUAL(unbind_queue_submit(queue, &job, &none), -ENOENT);
        CHECK_EQUAL(unbind_device_wait_idle(gpu.device, 0, 0), -ENOENT);
        if (executor != UNBIND_EXECUTOR_POOL) {
            CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), -ENOENT);
            CHECK_EQUAL(unbind_device_run_until(gpu.device, 0), -ENOENT);
        }
        CHECK(none == UNTOUCHED(unbind_fence) && other_vm == UNTOUCHED(unbind_vm) && other_bo == UNTOUCHED(unbind_bo));

        unbind_device_unref(gpu.device); /* the objects keep its memory */
        unbind_fence_unref(user);
        unbind_fence_unref(done);
        unbind_queue_unref(queue);
        unbind_vma_unref(vma);
        unbind_vm_unref(gpu.vm);
        CHECK(gpu.hooks.bytes > 0);
        unbind_bo_unref(bo);
        CHECK_EQUAL(gpu.hooks.bytes, 0);
        CHECK_EQUAL(gpu.hooks.blocks, 0);
    }
}

TEST(close_runs_jobs, "closing a device lets accepted jobs run to their end") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_queue *queue = make_queue(&gpu);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, 0x5000);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    for (uint64_t i = 0; i < 50; i++) {
        struct unbind_command commands[2] = {command_delay(100000), command_store(0x5000, i)};
        REQUIRE(submit(queue, commands, 2, vma, NULL, NULL) == 0);
    }
    unbind_vma_unref(vma);
    unbind_queue_unref(queue);
    unbind_vm_unref(gpu.vm);
    CHECK_EQUAL(unbind_device_close(gpu.device, NULL), 0);
    CHECK_EQUAL(*(uint64_t *)unbind_bo_cpu_pointer(bo), 49);
    unbind_bo_unref(bo);
    unbind_device_unref(gpu.device);
    CHECK_EQUAL(gpu.hooks.bytes, 0);
}

TEST(last_unref_closes, "dropping the last reference closes a device as unbind_device_close does") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_fence *fence = make_fence(&gpu);
    unbind_device_unref(gpu.device);
    CHECK_EQUAL(unbind_fence_is_signaled(fence), 1);
    CHECK_EQUAL(finish(fence), -ENOENT);
    unbind_vm_unref(gpu.vm);
    CHECK_EQUAL(gpu.hooks.bytes, 0);
}

static void close_inside(unbind_fence *fence, void *user_data) {
    (void)fence;
    CHECK_EQUAL(unbind_device_close((unbind_device *)user_data, NULL), -EDEADLK);
}

TEST(close_from_callback, "a device cannot be closed from a callback") {
    struct gpu gpu;
    struct unbind_fence_callback callback;
    unbind_fence *job = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_queue *queue = make_queue(&gpu);
    struct unbind_command delay = command_delay(1000);
    REQUIRE(submit(queue, &delay, 1, NULL, NULL, &job) == 0);
    REQUIRE(unbind_fence_add_callback(job, &callback, close_inside, gpu.device) == 0);
    CHECK_EQUAL(finish(job), 0);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

/* What release, log and write functions do, and what came of the first call. */
static struct {
    struct gpu gpu;
    int calls, status;
    char memory[PAGE] __attribute__((aligned(PAGE)));
} inside;

static void close_once(void) {
    if (inside.calls++ == 0) inside.status = unbind_device_close(inside.gpu.device, NULL);
}

static void close_in_release(void *user_data, void *memory) {
    (void)user_data, (void)memory;
    close_once();
}

static void close_in_log(void *user_data, uint32_t level, const char *message) {
    (void)user_data, (void)level, (void)message;
    close_once();
}

static void close_in_dump(void *user_data, const char *text, size_t length) {
    (void)user_data, (void)text, (void)length;
    close_once();
}

static unbind_bo *wrap_memory(unbind_release_fn release) {
    unbind_bo *bo = NULL;
    REQUIRE(unbind_bo_wrap(inside.gpu.device, inside.memory, PAGE, release, NULL, &bo) == 0);
    return bo;
}

static void was_refused(void) {
    CHECK(inside.calls > 0);
    CHECK_EQUAL(inside.status, -EDEADLK);
    gpu_close(&inside.gpu);
    inside.calls = 0;
}

TEST(close_in_release_function, "a device cannot be closed from a release function, whatever drops the memory") {
    struct unbind_op unmap = range_op(UNBIND_OP_UNMAP, 0x5000, PAGE);
    for (int way = 0; way < 3; way++) {
        gpu_open(&inside.gpu, UNBIND_EXECUTOR_MANUAL);
        unbind_bo *bo = wrap_memory(close_in_release);
        struct unbind_op map = map_op(bo, 0, 0x5000, PAGE);
        if (way > 0) REQUIRE(apply(&inside.gpu, &map, 1) == 0);
        unbind_bo_unref(bo);
        if (way == 1) CHECK_EQUAL(apply(&inside.gpu, &unmap, 1), 0);
        if (way == 2) CHECK_EQUAL(unbind_vm_close(inside.gpu.vm), 0);
        was_refused();
    }
}

TEST(close_in_log_function, "a device cannot be closed from its log function") {
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(&inside.gpu, UNBIND_EXECUTOR_MANUAL, &allocator);
    options.log = close_in_log;
    REQUIRE(unbind_device_open_software(&options, &inside.gpu.device) == 0);
    REQUIRE(unbind_vm_create(inside.gpu.device, NULL, &inside.gpu.vm) == 0);
    unbind_bo *bo = wrap_memory(NULL);
    CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, NULL), -EOPNOTSUPP); /* the log says why */
    unbind_bo_unref(bo);
    was_refused();
}

TEST(close_in_write_function, "a device cannot be closed by what its dumps are written with") {
    for (int way = 0; way < 2; way++) {
        gpu_open(&inside.gpu, UNBIND_EXECUTOR_MANUAL);
        if (way == 0) CHECK_EQUAL(unbind_vm_dump(inside.gpu.vm, close_in_dump, NULL), 0);
        else CHECK_EQUAL(unbind_device_dump(inside.gpu.device, close_in_dump, NULL), 0);
        was_refused();
    }
}

static void drop_in_release(void *user_data, void *memory) {
    (void)user_data, (void)memory;
    unbind_vm_unref(inside.gpu.vm);
    unbind_device_unref(inside.gpu.device);
}

static void note_kept(void *user_data, uint32_t level, const char *message) {
    (void)user_data, (void)level;
    inside.calls += strstr(message, "never closed") != NULL;
}

TEST(drop_in_release_function, "a device whose last reference a release function drops while it closes is kept") {
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    options.executor = UNBIND_EXECUTOR_MANUAL;
    options.flags = UNBIND_DEVICE_NO_SLABS;
    options.log = note_kept;
    REQUIRE(unbind_device_open_software(&options, &inside.gpu.device) == 0);
    REQUIRE(unbind_vm_create(inside.gpu.device, NULL, &inside.gpu.vm) == 0);
    unbind_bo *bo = wrap_memory(drop_in_release);
    struct unbind_op map = map_op(bo, 0, 0x5000, PAGE);
    REQUIRE(apply(&inside.gpu, &map, 1) == 0);
    unbind_bo_unref(bo);
    CHECK_EQUAL(unbind_device_close(inside.gpu.device, NULL), 0);
    CHECK_EQUAL(inside.calls, 1);
}

TEST(last_fence, "the fence of an unbind that had nothing to do may be the last thing that a program holds") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, 0x1000);
    unbind_fence *fence = NULL, *second;
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &fence), 0);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    unbind_vm_unref(gpu.vm);
    CHECK_EQUAL(unbind_device_close(gpu.device, NULL), 0);
    unbind_device_unref(gpu.device);
    CHECK(gpu.hooks.blocks > 0);
    CHECK_EQUAL(unbind_fence_is_signaled(fence), 1);
    second = unbind_fence_ref(fence);
    CHECK(second == fence);
    unbind_fence_unref(fence);
    CHECK_EQUAL(unbind_fence_wait(second, FOREVER, 0), 0);
    unbind_fence_unref(second);
    CHECK_EQUAL(gpu.hooks.blocks, 0);
}
