/* SPDX-License-Identifier: MIT */
/*
 * Every call to the kernel fails once, with each error that it may have: the
 * program hears of it or the library helps itself, nothing is lost, and the same
 * again works.
 */
#include "intel_support.h"

#define BASE UINT64_C(0x100000000)

/* Errors that a call of the program's returned; none but this may. */
struct told {
    int error;
    unsigned count;
};

static bool failed(struct told *told, int status) {
    if (status == 0) return false;
    if (status != told->error) CHECK_EQUAL(status, told->error);
    told->count++;
    return true;
}

/* The same again, once: only one call of the kernel's fails. */
#define AGAIN(call)                          \
    do {                                     \
        if (failed(told, call)) REQUIRE((call) == 0); \
    } while (0)

static int run_store(unbind_queue *queue, unbind_vma *vma, uint64_t address, uint64_t value) {
    struct unbind_command command = command_store(address, value);
    unbind_fence *fence = NULL;
    int status = submit(queue, &command, 1, vma, NULL, &fence);
    return status ? status : finish(fence);
}

/* Opens, binds, runs, unbinds, closes. */
static void scenario(struct told *told) {
    struct gpu gpu;
    unbind_bo *bos[2] = {NULL, NULL};
    unbind_vma *vmas[2];
    unbind_queue *queue = NULL;
    unbind_fence *unbound[2];
    AGAIN(intel_try_open(&gpu, NULL, UNBIND_EXECUTOR_POOL));
    AGAIN(unbind_vm_create(gpu.device, NULL, &gpu.vm));
    for (unsigned i = 0; i < 2; i++) {
        AGAIN(unbind_bo_create(gpu.device, PAGE, UNBIND_REGION_SYSTEM, 0, &bos[i]));
        vmas[i] = make_vma(&gpu, bos[i], BASE + i * 4 * PAGE);
        AGAIN(unbind_vma_bind(vmas[i], 0));
    }
    AGAIN(unbind_queue_create(gpu.vm, 0, &queue));
    for (unsigned i = 0; i < 2; i++) {
        AGAIN(run_store(queue, vmas[i], BASE + i * 4 * PAGE, i + 1));
        CHECK_EQUAL(cpu_read(bos[i], 0), i + 1);
    }
    unbind_fence *user = make_fence(&gpu);
    for (unsigned i = 0; i < 2; i++) CHECK_EQUAL(unbind_vma_add_user(vmas[i], user), 0);
    // An unbind cannot fail.
    for (unsigned i = 0; i < 2; i++) CHECK_EQUAL(unbind_vma_unbind_async(vmas[i], 0, &unbound[i]), 0);
    signal_and_drop(user);
    for (unsigned i = 0; i < 2; i++) CHECK_EQUAL(finish(unbound[i]), 0);
    AGAIN(unbind_vma_bind(vmas[0], 0));
    CHECK_EQUAL(unbind_vma_unbind(vmas[0], 0), 0);
    for (unsigned i = 0; i < 2; i++) {
        unbind_vma_unref(vmas[i]);
        unbind_bo_unref(bos[i]);
    }
    unbind_queue_unref(queue);
    intel_close(&gpu);
}

/* Each call in turn fails with an error: ioctls, and opening and mapping, which the log does not tell of. */
static void each_call(const char *name, int error, bool is_told) {
    struct told told = {-error, 0};
    unsigned injected = 0;
    for (unsigned call = 1, missed = 0; missed < 40; call++) {
        char fail[64];
        snprintf(fail, sizeof fail, "*:%u:%s", call, name);
        machine(machine_name("lnl"), "FAIL", fail, NULL);
        scenario(&told);
        bool is_ioctl = log_count("injected", NULL) > 0;
        injected += is_ioctl;
        missed = is_ioctl ? 0 : missed + 1;
        if (check_failures) {
            printf("    %s\n", fail);
            return;
        }
    }
    CHECK(injected > 40);
    printf("    %u calls failed in turn with %s, %u of them for the program to see\n", injected, name, told.count);
    if (!is_told) CHECK_EQUAL(told.count, 0);
    else CHECK(told.count > 10);
}

TEST(interrupted, "EINTR of any one call is not seen by the program") { each_call("EINTR", EINTR, false); }
TEST(again, "EAGAIN of any one call is not seen by the program") { each_call("EAGAIN", EAGAIN, false); }
TEST(no_memory, "ENOMEM of any one call fails the program's call, which then works") {
    each_call("ENOMEM", ENOMEM, true);
}

/* One kind of call fails once; the program is told so as `told`, or (0) not at all. */
static void one_kind(const char *fail, int error) {
    struct told told = {-error, 0};
    machine(machine_name("lnl"), "FAIL", fail, NULL);
    scenario(&told);
    if (fail[0] == 'X' || fail[0] == 'S') CHECK_EQUAL(log_count("injected", NULL), 1);
    if (told.count != (error != 0)) printf("    %s\n", fail);
    CHECK_EQUAL(told.count, error != 0);
}

TEST(by_kind, "each call's own errors are told as they are") {
    one_kind("XE_VM_CREATE:2:EIO", EIO);
    one_kind("XE_GEM_CREATE:1:ENOSPC", ENOMEM);
    one_kind("mmap:1:ENOMEM", ENOMEM);
    one_kind("XE_EXEC_QUEUE_CREATE:1:ENODEV", ENODEV);
    one_kind("XE_VM_BIND:1:ENOSPC", ENOSPC);
    one_kind("XE_VM_BIND:1:EFAULT", EFAULT);
    one_kind("XE_EXEC:1:EIO", EIO);
    one_kind("XE_EXEC:1:ECANCELED", EIO);
    one_kind("XE_EXEC_QUEUE_DESTROY:1:EIO", 0);
    one_kind("SYNCOBJ_TIMELINE_WAIT:2:EIO", 0);
    one_kind("SYNCOBJ_QUERY:2:EIO", 0);
}

TEST(full_queue, "a kernel's queue that takes nothing more does not keep the library spinning") {
    struct gpu gpu;
    machine(machine_name("lnl"), "FAIL", "XE_EXEC:1+:EAGAIN", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_queue *queue = make_queue(&gpu);
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
    CHECK_EQUAL(run_store(queue, buffer.vma, BASE, 1), -EAGAIN);
    CHECK(log_count("XE_EXEC fd", NULL) <= 16);
    unbind_queue_unref(queue);
    drop_binding(&buffer);
    intel_close(&gpu);
}

TEST(lost, "an unbind that the kernel refuses for good loses the device, and every fence signals") {
    struct gpu gpu;
    machine(machine_name("lnl"), "FAIL", "XE_VM_BIND:2+:EIO", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
    unbind_fence *user = make_fence(&gpu), *unbound = NULL;
    CHECK_EQUAL(unbind_vma_add_user(buffer.vma, user), 0);
    CHECK_EQUAL(unbind_vma_unbind_async(buffer.vma, 0, &unbound), 0);
    signal_and_drop(user);
    CHECK_EQUAL(finish(unbound), -EIO);
    drop_binding(&buffer);
    unbind_vm_unref(gpu.vm);
    unbind_device_close(gpu.device, NULL);
    unbind_device_unref(gpu.device);
    CHECK_EQUAL(gpu.hooks.blocks, 0);
    log_check_clean();
}

TEST(lost_waits, "a kernel that can wait for nothing any more loses the device, and every fence signals") {
    struct gpu gpu;
    machine(machine_name("lnl"), "FAIL", "SYNCOBJ_TIMELINE_WAIT:1+:EIO", "DELAY", "bind:1000", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, BASE);
    int first = unbind_vma_bind(vma, 0);
    CHECK(first == 0 || first == -EIO);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), first);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    unbind_vm_unref(gpu.vm);
    unbind_device_close(gpu.device, NULL);
    unbind_device_unref(gpu.device);
    CHECK_EQUAL(gpu.hooks.blocks, 0);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* What the kernel answers when the GPU is gone, and for good. */
TEST(unplugged, "a GPU that has been unplugged can be closed") {
    struct gpu gpu;
    machine(machine_name("lnl"), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
    sleep_ms(50);
    fail_from_now_on("*:*:ENODEV");
    drop_binding(&buffer);
    unbind_vm_unref(gpu.vm);
    CHECK_EQUAL(unbind_device_close(gpu.device, NULL), 0);
    unbind_device_unref(gpu.device);
    CHECK_EQUAL(gpu.hooks.blocks, 0);
}

TEST(unplugged_busy, "a job that a GPU was at when it was unplugged fails, and the GPU can be closed") {
    struct gpu gpu;
    unbind_fence *ended = NULL;
    machine(machine_name("lnl"), "DELAY", "exec:6000000", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
    unbind_queue *queue = make_queue(&gpu);
    struct unbind_command command = command_store(BASE, 1);
    REQUIRE(submit(queue, &command, 1, buffer.vma, NULL, &ended) == 0);
    sleep_ms(200);
    fail_from_now_on("*:*:ENODEV");
    uint64_t begin = now();
    CHECK_EQUAL(finish(ended), -EIO);
    unbind_queue_unref(queue);
    drop_binding(&buffer);
    unbind_vm_unref(gpu.vm);
    CHECK_EQUAL(unbind_device_close(gpu.device, NULL), 0);
    unbind_device_unref(gpu.device);
    CHECK(now() - begin < UINT64_C(4000000000));
    CHECK_EQUAL(gpu.hooks.blocks, 0);
}

TEST(not_woken, "if the thread that waits for the kernel cannot be woken, what is awaited fails soon") {
    struct gpu gpu;
    unbind_vm *vms[2];
    unbind_bo *bos[2];
    unbind_vma *vmas[2];
    unbind_fence *bound[2];
    machine(machine_name("lnl"), "DELAY", "bind:4000000", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    vms[0] = gpu.vm;
    REQUIRE(unbind_vm_create(gpu.device, NULL, &vms[1]) == 0);
    fail_from_now_on("SYNCOBJ_TIMELINE_SIGNAL:*:ENODEV");
    uint64_t begin = now();
    for (unsigned i = 0; i < 2; i++) {
        bos[i] = make_bo(&gpu, PAGE);
        gpu.vm = vms[i];
        vmas[i] = make_vma(&gpu, bos[i], BASE);
        CHECK_EQUAL(unbind_vma_bind_async(vmas[i], 0, &bound[i]), 0);
        // It waits for the first when the second comes.
        sleep_ms(50);
    }
    for (unsigned i = 0; i < 2; i++) CHECK_EQUAL(finish(bound[i]), -EIO);
    CHECK(now() - begin < UINT64_C(3000000000));
    for (unsigned i = 0; i < 2; i++) {
        unbind_vma_unref(vmas[i]);
        unbind_bo_unref(bos[i]);
        unbind_vm_unref(vms[i]);
    }
    CHECK_EQUAL(unbind_device_close(gpu.device, NULL), 0);
    unbind_device_unref(gpu.device);
    CHECK_EQUAL(gpu.hooks.blocks, 0);
}

TEST(short_of_memory, "a kernel that has no memory to wait with for a second loses nothing") {
    struct gpu gpu;
    machine(machine_name("lnl"), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, BASE);
    unbind_fence *bound = NULL;
    fail_from_now_on("SYNCOBJ_TIMELINE_WAIT:*:ENOMEM,XE_WAIT_USER_FENCE:*:ENOMEM");
    CHECK_EQUAL(unbind_vma_bind_async(vma, 0, &bound), 0);
    sleep_ms(1000);
    CHECK(!unbind_fence_is_signaled(bound));
    // Nor does it spin.
    CHECK(log_count("injected", NULL) < 1000);
    fail_from_now_on("");
    CHECK_EQUAL(finish(bound), 0);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    intel_close(&gpu);
}

/* The allocator fails: the library's own memory. */
TEST(own_memory, "each allocation of the library's fails once, and the same again works") {
    machine(machine_name("lnl"), NULL);
    for (uint64_t at = 1;; at++) {
        struct gpu gpu;
        struct unbind_allocator allocator;
        struct unbind_device_options options = gpu_options(&gpu, UNBIND_EXECUTOR_POOL, &allocator);
        options.flags = UNBIND_DEVICE_NO_SLABS;
        gpu.hooks.fail_at = at;
        int status = unbind_device_open_intel(NULL, NULL, &options, &gpu.device);
        if (status == 0) {
            CHECK(at > 5);
            unbind_device_unref(gpu.device);
            CHECK_EQUAL(gpu.hooks.blocks, 0);
            break;
        }
        CHECK_EQUAL(status, -ENOMEM);
        CHECK_EQUAL(gpu.hooks.blocks, 0);
    }
    log_check_clean();
}
