/* SPDX-License-Identifier: MIT */
/* Fences and buffers across the border of the process: sync objects, sync_files, dma-bufs. */
#include "intel_support.h"

#include <xf86drm.h>

#define BASE UINT64_C(0x100000000)

/* A node of somebody else's, who shares with the device. */
static int other_node(void) {
    int fd = open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0);
    return fd;
}

static uint32_t make_syncobj(int node) {
    uint32_t handle = 0;
    REQUIRE(drmSyncobjCreate(node, 0, &handle) == 0);
    return handle;
}

static int syncobj_fd(int node, uint32_t handle) {
    int fd = -1;
    REQUIRE(drmSyncobjHandleToFD(node, handle, &fd) == 0);
    return fd;
}

static uint32_t syncobj_of(int node, int fd) {
    uint32_t handle = 0;
    REQUIRE(drmSyncobjFDToHandle(node, fd, &handle) == 0);
    return handle;
}

/* Whether it signals within this many milliseconds. */
static bool signals(int node, uint32_t handle, uint64_t point, unsigned ms) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t deadline = ms ? now.tv_sec * INT64_C(1000000000) + now.tv_nsec + ms * INT64_C(1000000) : 0;
    int result = drmSyncobjTimelineWait(node, &handle, &point, 1, deadline, DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT,
                                        NULL);
    CHECK(result == 0 || result == -ETIME);
    return result == 0;
}

static void check_close_on_exec(int fd) { CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC); }

TEST(export_syncobj, "an exported sync object signals when the fence does") {
    struct gpu gpu;
    machine(machine_name("lnl"), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    int node = other_node(), fd = -1;
    unbind_fence *fence = make_fence(&gpu);
    CHECK_EQUAL(unbind_fence_export_syncobj(NULL, &fd), -EINVAL);
    CHECK_EQUAL(unbind_fence_export_syncobj(fence, NULL), -EINVAL);
    CHECK_EQUAL(unbind_fence_export_syncobj(fence, &fd), 0);
    check_close_on_exec(fd);
    uint32_t handle = syncobj_of(node, fd);
    CHECK(!signals(node, handle, 0, 0));
    CHECK_EQUAL(unbind_fence_signal(fence, -EIO), 0);
    CHECK(signals(node, handle, 0, 5000));
    close(fd);
    drmSyncobjDestroy(node, handle);
    // One that has signalled already.
    CHECK_EQUAL(unbind_fence_export_syncobj(fence, &fd), 0);
    handle = syncobj_of(node, fd);
    CHECK(signals(node, handle, 0, 0));
    drmSyncobjDestroy(node, handle);
    close(fd);
    unbind_fence_unref(fence);
    close(node);
    intel_close(&gpu);
}

TEST(signal_points, "points of somebody else's timeline signal with fences of the library's") {
    struct gpu gpu;
    machine(machine_name("lnl"), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    int node = other_node();
    uint32_t handle = make_syncobj(node);
    int fd = syncobj_fd(node, handle);
    unbind_fence *fences[3];
    make_fences(&gpu, fences, 3);
    for (unsigned i = 0; i < 3; i++) CHECK_EQUAL(unbind_fence_signal_syncobj(fences[i], fd, (i + 1) * 10), 0);
    CHECK_EQUAL(unbind_fence_signal_syncobj(fences[0], -1, 0), -EINVAL);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    CHECK_EQUAL(unbind_fence_signal_syncobj(fences[0], null, 0), -EINVAL);
    close(null);
    close(fd);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(!signals(node, handle, (i + 1) * 10, 0));
        CHECK_EQUAL(unbind_fence_signal(fences[i], 0), 0);
        CHECK(signals(node, handle, (i + 1) * 10, 5000));
    }
    drop_fences(fences, 3);
    drmSyncobjDestroy(node, handle);
    close(node);
    intel_close(&gpu);
}

TEST(import_points, "jobs and unbinds wait for points of somebody else's timeline") {
    struct gpu gpu;
    uint64_t point = 5;
    machine(machine_name("lnl"), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    int node = other_node();
    uint32_t source = make_syncobj(node), empty = make_syncobj(node);
    int fd = syncobj_fd(node, empty);
    unbind_fence *fence = UNTOUCHED(unbind_fence), *unbound = NULL;
    CHECK_EQUAL(unbind_fence_import_syncobj(gpu.device, fd, 0, &fence), -EAGAIN);
    CHECK_EQUAL(unbind_fence_import_syncobj(gpu.device, fd, 3, &fence), -EAGAIN);
    CHECK_EQUAL(unbind_fence_import_syncobj(gpu.device, -1, 0, &fence), -EINVAL);
    CHECK(fence == UNTOUCHED(unbind_fence));
    close(fd);

    drmSyncobjTimelineSignal(node, &source, &point, 1);
    fd = syncobj_fd(node, source);
    CHECK_EQUAL(unbind_fence_import_syncobj(gpu.device, fd, 5, &fence), 0);
    CHECK_EQUAL(unbind_fence_wait(fence, FOREVER, 0), 0);
    CHECK_EQUAL(unbind_fence_signal(fence, 0), -EINVAL);
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
    CHECK_EQUAL(unbind_vma_add_user(buffer.vma, fence), 0);
    CHECK_EQUAL(unbind_vma_unbind_async(buffer.vma, 0, &unbound), 0);
    CHECK_EQUAL(finish(unbound), 0);
    CHECK_EQUAL(finish(fence), 0);
    drop_binding(&buffer);
    close(fd);
    drmSyncobjDestroy(node, source);
    drmSyncobjDestroy(node, empty);
    close(node);
    intel_close(&gpu);
}

TEST(sync_files, "sync_files come in, and go out of fences that have signalled") {
    struct gpu gpu;
    machine(machine_name("lnl"), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_fence *fence = make_fence(&gpu), *imported = NULL;
    int fd = -1;
    CHECK_EQUAL(unbind_fence_export_sync_file(fence, &fd), -EAGAIN);
    CHECK_EQUAL(unbind_fence_signal(fence, 0), 0);
    CHECK_EQUAL(unbind_fence_export_sync_file(fence, &fd), 0);
    check_close_on_exec(fd);
    struct pollfd wait = {fd, POLLIN, 0};
    CHECK_EQUAL(poll(&wait, 1, 0), 1);
    CHECK_EQUAL(unbind_fence_import_sync_file(gpu.device, fd, &imported), 0);
    close(fd);
    CHECK_EQUAL(finish(imported), 0);
    CHECK_EQUAL(unbind_fence_import_sync_file(gpu.device, -1, &imported), -EINVAL);
    unbind_fence_unref(fence);
    intel_close(&gpu);
}

/* Imports a point to come that is at least this one. */
static unbind_fence *import_pending_point(unbind_device *device, int node, uint64_t least) {
    for (unsigned tries = 0; tries < 60000; tries++, sleep_ms(1)) {
        for (uint32_t handle = 1; handle < 32; handle++) {
            uint64_t submitted = 0, reached = 0;
            unbind_fence *fence = NULL;
            if (drmSyncobjQuery2(node, &handle, &submitted, 1, DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED) ||
                drmSyncobjQuery(node, &handle, &reached, 1) || submitted <= reached || submitted < least)
                continue;
            int fd = syncobj_fd(node, handle);
            REQUIRE(unbind_fence_import_syncobj(device, fd, submitted, &fence) == 0);
            close(fd);
            return fence;
        }
    }
    return NULL;
}

TEST(import_pending, "an imported fence signals when the kernel says so, or when its device closes") {
    struct gpu gpu, late;
    machine(machine_name("lnl"), "DELAY", "exec:200000", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct unbind_intel_options intel = UNBIND_INTEL_OPTIONS_INIT;
    // The other device's own timelines are seen through the node that it was given.
    intel.fd = other_node();
    REQUIRE(intel_try_open(&late, &intel, UNBIND_EXECUTOR_POOL) == 0);
    REQUIRE(unbind_vm_create(late.device, NULL, &late.vm) == 0);
    struct binding buffer = bind_buffer(&late, PAGE, BASE);
    unbind_queue *queue = make_queue(&late);
    struct unbind_command command = command_store(BASE, 1);
    unbind_fence *done = NULL;
    // A job before it, so that its point is not the first with either driver.
    CHECK_EQUAL(store(queue, buffer.vma, BASE, 0), 0);
    CHECK_EQUAL(submit(queue, &command, 1, buffer.vma, NULL, &done), 0);
    // On xe the first point of a queue's timeline is that its buffer is bound.
    struct unbind_intel_info info = UNBIND_INTEL_INFO_INIT;
    CHECK_EQUAL(unbind_device_get_intel_info(late.device, &info), 0);
    uint64_t first = info.kernel_driver == UNBIND_KERNEL_DRIVER_XE ? 2 : 1;
    unbind_fence *imported = import_pending_point(gpu.device, intel.fd, first);
    REQUIRE(imported != NULL);
    CHECK_EQUAL(cpu_read(buffer.bo, 0), 0);
    CHECK_EQUAL(finish(imported), 0);
    CHECK_EQUAL(cpu_read(buffer.bo, 0), 1);
    CHECK_EQUAL(finish(done), 0);
    // Closing does not wait for strangers.
    CHECK_EQUAL(submit(queue, &command, 1, buffer.vma, NULL, &done), 0);
    imported = import_pending_point(gpu.device, intel.fd, first + 1);
    REQUIRE(imported != NULL);
    unbind_vm_unref(gpu.vm);
    CHECK_EQUAL(unbind_device_close(gpu.device, NULL), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(done), 0);
    int error = 0;
    CHECK_EQUAL(unbind_fence_get_error(imported, &error), 0);
    CHECK_EQUAL(error, -ENOENT);
    unbind_fence_unref(imported);
    unbind_device_unref(gpu.device);
    CHECK_EQUAL(gpu.hooks.blocks, 0);
    CHECK_EQUAL(finish(done), 0);
    unbind_queue_unref(queue);
    drop_binding(&buffer);
    gpu_close(&late);
    close(intel.fd);
    log_check_clean();
}

/* A device of which the kernel works on a batch for a while, and the fence of that on another device. */
struct stranger {
    struct gpu gpu;
    int node;
    struct binding buffer;
    unbind_queue *queue;
    unbind_fence *done;
    uint64_t least;
};

static bool is_xe(unbind_device *device) {
    struct unbind_intel_info info = UNBIND_INTEL_INFO_INIT;
    REQUIRE(unbind_device_get_intel_info(device, &info) == 0);
    return info.kernel_driver == UNBIND_KERNEL_DRIVER_XE;
}

static void stranger_open(struct stranger *stranger) {
    struct unbind_intel_options intel = UNBIND_INTEL_OPTIONS_INIT;
    intel.fd = stranger->node = other_node();
    REQUIRE(intel_try_open(&stranger->gpu, &intel, UNBIND_EXECUTOR_POOL) == 0);
    REQUIRE(unbind_vm_create(stranger->gpu.device, NULL, &stranger->gpu.vm) == 0);
    stranger->buffer = bind_buffer(&stranger->gpu, PAGE, BASE);
    stranger->queue = make_queue(&stranger->gpu);
    // On xe the first point of a queue's timeline is that its buffer is bound.
    stranger->least = is_xe(stranger->gpu.device) ? 2 : 1;
}

static unbind_fence *stranger_works(struct stranger *stranger, unbind_device *device) {
    struct unbind_command command = command_store(BASE, 1);
    REQUIRE(submit(stranger->queue, &command, 1, stranger->buffer.vma, NULL, &stranger->done) == 0);
    unbind_fence *imported = import_pending_point(device, stranger->node, stranger->least++);
    REQUIRE(imported != NULL);
    return imported;
}

static void stranger_close(struct stranger *stranger) {
    unbind_queue_unref(stranger->queue);
    drop_binding(&stranger->buffer);
    gpu_close(&stranger->gpu);
    close(stranger->node);
}

TEST(jobs_in_kernel, "a job that waits for the kernel's fence is handed over at once, and runs after it") {
    struct gpu gpu;
    struct stranger stranger;
    machine(machine_name("lnl"), "DELAY", "exec:100000", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    stranger_open(&stranger);
    bool hands_over = is_xe(gpu.device); // i915 awaits everything itself
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
    unbind_queue *queue = make_queue(&gpu);
    for (unsigned round = 0; round < 2; round++) {
        unbind_fence *imported = stranger_works(&stranger, gpu.device), *done = NULL;
        size_t before = log_count("ioctl XE_EXEC ", "result=0");
        struct unbind_command commands[] = {command_store(BASE, 5 + round), command_store(BASE + 8, round)};
        if (round == 0) {
            struct unbind_submit_vma use = {buffer.vma, UNBIND_USE_WRITE, 0};
            struct unbind_submit job = UNBIND_SUBMIT_INIT;
            job.commands = commands, job.command_count = 2, job.vmas = &use, job.vma_count = 1;
            job.wait_fences = &imported, job.wait_fence_count = 1;
            CHECK_EQUAL(unbind_queue_submit(queue, &job, &done), 0);
        } else {
            // As a command between others: what comes before it does not wait.
            struct unbind_command wait = command_wait(imported);
            struct unbind_command waiting[] = {commands[1], wait, commands[0], wait};
            CHECK_EQUAL(submit(queue, waiting, 4, buffer.vma, NULL, &done), 0);
        }
        if (hands_over) CHECK(log_comes_to(before + 1, "ioctl XE_EXEC ", "result=0"));
        if (round == 0) CHECK_EQUAL(unbind_fence_is_signaled(imported), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(done), 0);
        CHECK_EQUAL(unbind_fence_wait(done, FOREVER, 0), 0);
        // Whoever is told of the job has been told of what it waited for.
        CHECK_EQUAL(unbind_fence_is_signaled(imported), 1);
        CHECK_EQUAL(cpu_read(buffer.bo, 0), 5 + round);
        CHECK_EQUAL(finish(imported), 0);
        CHECK_EQUAL(finish(stranger.done), 0);
        CHECK_EQUAL(finish(done), 0);
    }
    // The job's end, the fence, and where the kernel can wait for it the queue's own buffer.
    const char *syncs = is_long_running() ? "syncs=2" : "syncs=3";
    char strangers[64];
    snprintf(strangers, sizeof strangers, "ioctl XE_EXEC fd=%d ", stranger.node);
    if (hands_over) CHECK_EQUAL(log_count("ioctl XE_EXEC ", syncs) - log_count(strangers, syncs), 1);
    unbind_queue_unref(queue);
    drop_binding(&buffer);
    gpu_close(&gpu);
    stranger_close(&stranger);
    log_check_clean();
}

TEST(dma_bufs, "a buffer goes out as a dma-buf and comes in on another device, with the same bytes") {
    struct gpu gpu, other;
    machine(machine_name("lnl"), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    intel_open(&other, UNBIND_EXECUTOR_POOL);
    struct binding buffer = bind_buffer(&gpu, 4 * PAGE, BASE);
    unbind_bo *same = NULL, *there = NULL, *bad = UNTOUCHED(unbind_bo);
    int fd = -1;
    CHECK_EQUAL(unbind_bo_export_dma_buf(buffer.bo, &fd), 0);
    check_close_on_exec(fd);
    CHECK_EQUAL(unbind_bo_import_dma_buf(gpu.device, fd, &same), 0);
    CHECK_EQUAL(unbind_bo_import_dma_buf(other.device, fd, &there), 0);
    CHECK_EQUAL(unbind_bo_import_dma_buf(other.device, -1, &bad), -EBADF);
    CHECK(bad == UNTOUCHED(unbind_bo));
    close(fd);
    CHECK_EQUAL(unbind_bo_size(there), 4 * PAGE);
    unbind_vma *vma = make_vma(&other, there, 2 * BASE);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    unbind_queue *queue = make_queue(&other);
    CHECK_EQUAL(store(queue, vma, 2 * BASE + PAGE, 77), 0);
    CHECK_EQUAL(cpu_read(buffer.bo, PAGE), 77);
    CHECK_EQUAL(cpu_read(same, PAGE), 77);
    CHECK_EQUAL(cpu_read(there, PAGE), 77);
    // The handle is shared: dropping one user leaves the other.
    drop_binding(&buffer);
    unbind_vma *again = make_vma(&gpu, same, BASE);
    CHECK_EQUAL(unbind_vma_bind(again, 0), 0);
    unbind_queue *own = make_queue(&gpu);
    CHECK_EQUAL(store(own, again, BASE + PAGE, 78), 0);
    CHECK_EQUAL(cpu_read(there, PAGE), 78);
    unbind_queue_unref(own);
    unbind_queue_unref(queue);
    unbind_vma_unref(again);
    unbind_vma_unref(vma);
    unbind_bo_unref(same);
    unbind_bo_unref(there);
    gpu_close(&other);
    intel_close(&gpu);
}

TEST(no_dma_buf, "the caller's own memory cannot go out as a dma-buf") {
    struct gpu gpu;
    void *memory = NULL;
    int fd = -1;
    machine(machine_name("lnl"), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    REQUIRE(posix_memalign(&memory, PAGE, PAGE) == 0);
    unbind_bo *bo = NULL;
    REQUIRE(unbind_bo_wrap(gpu.device, memory, PAGE, NULL, NULL, &bo) == 0);
    CHECK_EQUAL(unbind_bo_export_dma_buf(bo, &fd), -EOPNOTSUPP);
    unbind_bo_unref(bo);
    free(memory);
    intel_close(&gpu);
}
