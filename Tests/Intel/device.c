/* SPDX-License-Identifier: MIT */
/* Intel GPUs as devices, on the mock kernel: what holds for every driver. INTEL_MACHINE chooses the machine. */
#include "intel_support.h"

#define BASE UINT64_C(0x100000000)
#define VALUE UINT64_C(0x1122334455667788)

static void start(struct gpu *gpu, uint32_t executor) {
    machine(machine_name("lnl"), NULL);
    intel_open(gpu, executor);
}

TEST(info, "an Intel device says what it is and what it can do") {
    struct gpu gpu;
    struct unbind_intel_info info = UNBIND_INTEL_INFO_INIT;
    start(&gpu, UNBIND_EXECUTOR_POOL);
    CHECK_EQUAL(unbind_device_get_intel_info(gpu.device, &info), 0);
    CHECK(info.kernel_driver == UNBIND_KERNEL_DRIVER_XE || info.kernel_driver == UNBIND_KERNEL_DRIVER_I915);
    CHECK(info.va_bits == 48 || info.va_bits == 57);
    CHECK(info.device_id != 0 && info.graphics_major != 0 && strstr(info.pci_address, "0000:") != NULL);
    uint64_t capabilities = unbind_device_capabilities(gpu.device);
    CHECK(capabilities & UNBIND_CAP_SHARED_FENCES);
    CHECK_EQUAL(!(capabilities & UNBIND_CAP_MIGRATION), !(capabilities & UNBIND_CAP_LOCAL_MEMORY));
    intel_close(&gpu);
}

TEST(store_and_read, "a job stores through a mapping, and the CPU reads it") {
    struct gpu gpu;
    start(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding buffer = bind_buffer(&gpu, 2 * PAGE, BASE);
    unbind_queue *queue = make_queue(&gpu);
    CHECK_EQUAL(store(queue, buffer.vma, BASE + PAGE + 8, VALUE), 0);
    CHECK_EQUAL(cpu_read(buffer.bo, PAGE + 8), VALUE);
    unbind_queue_unref(queue);
    drop_binding(&buffer);
    intel_close(&gpu);
}

TEST(upper_half, "addresses above 2^47 are as good as others") {
    struct gpu gpu;
    struct unbind_intel_info info = UNBIND_INTEL_INFO_INIT;
    start(&gpu, UNBIND_EXECUTOR_POOL);
    CHECK_EQUAL(unbind_device_get_intel_info(gpu.device, &info), 0);
    // Of 57 bits the library uses the lowest 47.
    uint64_t address = info.va_bits == 48 ? UINT64_C(0xc00000000000) : UINT64_C(0x600000000000);
    struct binding buffer = bind_buffer(&gpu, PAGE, address);
    unbind_queue *queue = make_queue(&gpu);
    CHECK_EQUAL(store(queue, buffer.vma, buffer.address + 16, VALUE), 0);
    CHECK_EQUAL(cpu_read(buffer.bo, 16), VALUE);
    unbind_queue_unref(queue);
    drop_binding(&buffer);
    intel_close(&gpu);
}

TEST(whole_space, "an address space has what the GPU has, less what the library keeps, and can be asked for that") {
    struct gpu gpu;
    struct unbind_vm_options options = UNBIND_VM_OPTIONS_INIT;
    unbind_vm *other = UNTOUCHED(unbind_vm);
    start(&gpu, UNBIND_EXECUTOR_POOL);
    options.size = unbind_vm_size(gpu.vm);
    CHECK(options.size < UINT64_C(1) << 48 && options.size > UINT64_C(1) << 46);
    struct binding last = bind_buffer(&gpu, PAGE, options.size - PAGE);
    unbind_queue *queue = make_queue(&gpu);
    CHECK_EQUAL(store(queue, last.vma, last.address, VALUE), 0);
    CHECK_EQUAL(cpu_read(last.bo, 0), VALUE);
    options.size += PAGE;
    CHECK_EQUAL(unbind_vm_create(gpu.device, &options, &other), -EINVAL);
    options.size -= 2 * PAGE;
    REQUIRE(unbind_vm_create(gpu.device, &options, &other) == 0);
    CHECK_EQUAL(unbind_vm_size(other), options.size);
    unbind_vm_unref(other);
    unbind_queue_unref(queue);
    drop_binding(&last);
    intel_close(&gpu);
}

/* On platforms whose copy engines fill by copying: the mock has no fills. */
TEST(commands, "jobs fill, copy and load, also between two buffers") {
    struct gpu gpu;
    uint64_t loaded[2] = {0, 0};
    if (strcmp(machine_name("lnl"), "dg2-xe") == 0) return;
    start(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding from = bind_buffer(&gpu, 16 * PAGE, BASE), to = bind_buffer(&gpu, 16 * PAGE, 2 * BASE);
    unbind_queue *queue = make_queue(&gpu);
    struct unbind_command commands[] = {
        command_fill(BASE, 16 * PAGE, 0x12345678), command_store(BASE + 5 * PAGE, VALUE),
        command_copy(2 * BASE, BASE, 16 * PAGE), command_load(2 * BASE + 5 * PAGE, &loaded[0]),
        command_load(2 * BASE + 15 * PAGE, &loaded[1]),
    };
    unbind_fence *fence = NULL;
    REQUIRE(submit(queue, commands, 5, from.vma, to.vma, &fence) == 0);
    CHECK_EQUAL(finish(fence), 0);
    CHECK_EQUAL(loaded[0], VALUE);
    CHECK_EQUAL(loaded[1], UINT64_C(0x1234567812345678));
    CHECK_EQUAL(cpu_read(to.bo, 5 * PAGE), VALUE);
    CHECK_EQUAL(cpu_read(to.bo, 5 * PAGE + 8), UINT64_C(0x1234567812345678));
    unbind_queue_unref(queue);
    drop_binding(&from);
    drop_binding(&to);
    intel_close(&gpu);
}

TEST(long_job, "a job that is too long for one batch runs as several") {
    enum { COUNT = 40000 };
    struct gpu gpu;
    start(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding buffer = bind_buffer(&gpu, COUNT * 8 / PAGE * PAGE + PAGE, BASE);
    unbind_queue *queue = make_queue(&gpu);
    struct unbind_command *commands = (struct unbind_command *)calloc(COUNT, sizeof *commands);
    uint64_t loaded[600];
    REQUIRE(commands != NULL);
    for (unsigned i = 0; i < COUNT; i++) commands[i] = command_store(BASE + i * 8, i + 1);
    for (unsigned i = 0; i < 600; i++) commands[COUNT - 600 + i] = command_load(BASE + i * 8, &loaded[i]);
    unbind_fence *fence = NULL;
    REQUIRE(submit(queue, commands, COUNT, buffer.vma, NULL, &fence) == 0);
    CHECK_EQUAL(finish(fence), 0);
    for (unsigned i = 0; i < COUNT - 600; i++)
        if (cpu_read(buffer.bo, i * 8) != i + 1) CHECK_EQUAL(cpu_read(buffer.bo, i * 8), i + 1);
    for (unsigned i = 0; i < 600; i++) CHECK_EQUAL(loaded[i], i + 1);
    free(commands);
    unbind_queue_unref(queue);
    drop_binding(&buffer);
    intel_close(&gpu);
}

TEST(delays, "a queue is busy for as long as a delay says, and goes on") {
    struct gpu gpu;
    start(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
    unbind_queue *queue = make_queue(&gpu);
    struct unbind_command command = command_delay(20000000);
    unbind_fence *fence = NULL;
    uint64_t before = unbind_device_now(gpu.device);
    REQUIRE(submit(queue, &command, 1, NULL, NULL, &fence) == 0);
    CHECK_EQUAL(finish(fence), 0);
    CHECK(unbind_device_now(gpu.device) - before >= 20000000);
    CHECK_EQUAL(store(queue, buffer.vma, BASE, VALUE), 0);
    unbind_queue_unref(queue);
    drop_binding(&buffer);
    intel_close(&gpu);
}

TEST(user_memory, "the caller's own memory is shown to the GPU where it is") {
    struct gpu gpu;
    void *memory = NULL;
    start(&gpu, UNBIND_EXECUTOR_POOL);
    REQUIRE(posix_memalign(&memory, PAGE, 4 * PAGE) == 0);
    memset(memory, 0, 4 * PAGE);
    unbind_bo *bo = NULL;
    REQUIRE(unbind_bo_wrap(gpu.device, memory, 4 * PAGE, NULL, NULL, &bo) == 0);
    unbind_vma *vma = make_vma(&gpu, bo, BASE);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    unbind_queue *queue = make_queue(&gpu);
    CHECK_EQUAL(store(queue, vma, BASE + 3 * PAGE + 8, VALUE), 0);
    CHECK_EQUAL(((uint64_t *)memory)[(3 * PAGE + 8) / 8], VALUE);
    unbind_queue_unref(queue);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    intel_close(&gpu);
    free(memory);
}

TEST(async_unbind, "an unbind behind work that has not begun returns at once, and a bind over it waits") {
    struct gpu gpu;
    start(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding old = bind_buffer(&gpu, 4 * PAGE, BASE);
    unbind_queue *queue = make_queue(&gpu);
    unbind_fence *gate = make_fence(&gpu), *done = NULL, *unbound = NULL, *bound = NULL;
    struct unbind_command commands[2] = {command_wait(gate), command_store(BASE + 8, VALUE)};
    REQUIRE(submit(queue, commands, 2, old.vma, NULL, &done) == 0);
    CHECK_EQUAL(unbind_vma_unbind_async(old.vma, 0, &unbound), 0);
    unbind_bo *bo = make_bo(&gpu, 2 * PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, BASE + PAGE);
    CHECK_EQUAL(unbind_vma_bind_async(vma, 0, &bound), 0);
    sleep_ms(20);
    CHECK_EQUAL(unbind_fence_is_signaled(unbound), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(bound), 0);
    signal_and_drop(gate);
    CHECK_EQUAL(finish(done), 0);
    CHECK_EQUAL(finish(unbound), 0);
    CHECK_EQUAL(finish(bound), 0);
    CHECK_EQUAL(cpu_read(old.bo, 8), VALUE);
    CHECK_EQUAL(store(queue, vma, BASE + PAGE + 8, 5), 0);
    CHECK_EQUAL(cpu_read(bo, 8), 5);
    CHECK_EQUAL(cpu_read(old.bo, PAGE + 8), 0);
    unbind_queue_unref(queue);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    drop_binding(&old);
    intel_close(&gpu);
}

TEST(rebind, "many unbinds and binds of the same ranges keep every job's bytes apart") {
    enum { ROUNDS = 50 };
    struct gpu gpu;
    unbind_bo *bos[ROUNDS];
    start(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_queue *queue = make_queue(&gpu);
    for (unsigned i = 0; i < ROUNDS; i++) {
        bos[i] = make_bo(&gpu, 2 * PAGE);
        unbind_vma *vma = make_vma(&gpu, bos[i], BASE + (i & 1) * PAGE);
        CHECK_EQUAL(unbind_vma_bind_async(vma, 0, NULL), 0);
        struct unbind_command command = command_store(BASE + PAGE, i + 1);
        CHECK_EQUAL(submit(queue, &command, 1, vma, NULL, NULL), 0);
        CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, NULL), 0);
        unbind_vma_unref(vma);
    }
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    for (unsigned i = 0; i < ROUNDS; i++) CHECK_EQUAL(unbind_bo_wait(bos[i], FOREVER, 0), 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        CHECK_EQUAL(cpu_read(bos[i], i & 1 ? 0 : PAGE), i + 1);
        unbind_bo_unref(bos[i]);
    }
    unbind_queue_unref(queue);
    intel_close(&gpu);
}

TEST(close_at_work, "closing a device while everything is under way ends all of it") {
    struct gpu gpu;
    machine(machine_name("lnl"), "DELAY", "exec:3000,bind:~2000", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_queue *queue = make_queue(&gpu);
    struct binding buffers[20];
    unbind_fence *fences[20];
    for (unsigned i = 0; i < 20; i++) {
        buffers[i] = bind_buffer(&gpu, 2 * PAGE, BASE + i * 2 * PAGE);
        struct unbind_command command = command_store(buffers[i].address, i + 1);
        CHECK_EQUAL(submit(queue, &command, 1, buffers[i].vma, NULL, NULL), 0);
        CHECK_EQUAL(unbind_vma_unbind_async(buffers[i].vma, 0, &fences[i]), 0);
    }
    CHECK_EQUAL(unbind_device_close(gpu.device, NULL), 0);
    for (unsigned i = 0; i < 20; i++) {
        CHECK_EQUAL(unbind_fence_is_signaled(fences[i]), 1);
        unbind_fence_unref(fences[i]);
        CHECK_EQUAL(cpu_read(buffers[i].bo, 0), i + 1);
        drop_binding(&buffers[i]);
    }
    unbind_queue_unref(queue);
    unbind_vm_unref(gpu.vm);
    unbind_device_unref(gpu.device);
    CHECK_EQUAL(gpu.hooks.blocks, 0);
    log_check_clean();
}

TEST(manual, "with the manual executor the program's loop runs what the kernel's answers set off") {
    struct gpu gpu;
    start(&gpu, UNBIND_EXECUTOR_MANUAL);
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
    unbind_queue *queue = make_queue(&gpu);
    struct unbind_command command = command_store(BASE, VALUE);
    unbind_fence *done = NULL, *unbound = NULL;
    int event = -1;
    CHECK_EQUAL(unbind_device_get_eventfd(gpu.device, &event), 0);
    CHECK_EQUAL(submit(queue, &command, 1, buffer.vma, NULL, &done), 0);
    CHECK_EQUAL(unbind_vma_unbind_async(buffer.vma, 0, &unbound), 0);
    for (unsigned i = 0; i < 1000 && unbind_fence_is_signaled(unbound) == 0; i++) {
        struct pollfd wait = {event, POLLIN, 0};
        CHECK(poll(&wait, 1, 5000) >= 0);
        CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), 0);
    }
    CHECK_EQUAL(finish(done), 0);
    CHECK_EQUAL(finish(unbound), 0);
    CHECK_EQUAL(cpu_read(buffer.bo, 0), VALUE);
    // With the mock's own; for a long-running space, and for each of its queues, there is another one.
    CHECK_EQUAL(thread_count(), is_long_running() ? 5 : 3);
    unbind_queue_unref(queue);
    drop_binding(&buffer);
    intel_close(&gpu);
}

TEST(idle, "a device is not idle before the kernel has done what it was given") {
    const uint32_t executors[] = {UNBIND_EXECUTOR_POOL, UNBIND_EXECUTOR_MANUAL};
    for (unsigned i = 0; i < 2; i++) {
        struct gpu gpu;
        machine(machine_name("lnl"), "UNBIND_MOCK_DELAY", "exec:20000,bind:20000", NULL);
        intel_open(&gpu, executors[i]);
        struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
        unbind_queue *queue = make_queue(&gpu);
        struct unbind_command command = command_store(BASE, VALUE);
        unbind_fence *done = NULL, *unbound = NULL;
        CHECK_EQUAL(submit(queue, &command, 1, buffer.vma, NULL, &done), 0);
        CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(done), 1);
        CHECK_EQUAL(unbind_vma_unbind_async(buffer.vma, 0, &unbound), 0);
        CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(unbound), 1);
        CHECK_EQUAL(finish(done), 0);
        CHECK_EQUAL(finish(unbound), 0);
        unbind_queue_unref(queue);
        drop_binding(&buffer);
        intel_close(&gpu);
    }
}

static char last_message[256];
static void keep_message(void *user_data, uint32_t level, const char *message) {
    (void)user_data;
    CHECK_EQUAL(level, UNBIND_LOG_ERROR);
    snprintf(last_message, sizeof last_message, "%s", message);
}

static int open_with(const char *selector, int fd, uint32_t executor) {
    struct unbind_intel_options intel = UNBIND_INTEL_OPTIONS_INIT;
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    unbind_device *device = NULL;
    intel.fd = fd;
    options.executor = executor;
    options.log = keep_message;
    last_message[0] = 0;
    int status = unbind_device_open_intel(selector, &intel, &options, &device);
    if (status == 0) unbind_device_unref(device);
    else CHECK(device == NULL);
    return status;
}

TEST(refused, "what cannot be opened is refused with a reason in the log") {
    unbind_device *device = NULL;
    struct unbind_intel_options intel = UNBIND_INTEL_OPTIONS_INIT;
    machine(machine_name("lnl"), NULL);
    CHECK_EQUAL(unbind_device_open_intel(NULL, NULL, NULL, NULL), -EINVAL);
    CHECK_EQUAL(open_with("nonsense", -1, UNBIND_EXECUTOR_POOL), -EINVAL);
    CHECK_EQUAL(open_with(NULL, -2, UNBIND_EXECUTOR_POOL), -EINVAL);
    CHECK_EQUAL(open_with("pci:card=0", 0, UNBIND_EXECUTOR_POOL), -EINVAL);
    intel.flags = 1u << 31;
    CHECK_EQUAL(unbind_device_open_intel(NULL, &intel, NULL, &device), -EINVAL);
    CHECK_EQUAL(open_with(NULL, -1, UNBIND_EXECUTOR_SIMULATED), -EOPNOTSUPP);
    CHECK(strstr(last_message, "simulated"));
    CHECK_EQUAL(open_with("pci:device=1234", -1, UNBIND_EXECUTOR_POOL), -ENODEV);
    CHECK(strstr(last_message, "no Intel GPU"));
    int other = open("/dev/null", O_RDWR | O_CLOEXEC);
    CHECK_EQUAL(open_with(NULL, other, UNBIND_EXECUTOR_POOL), -ENODEV);
    CHECK(strstr(last_message, "fd"));
    close(other);
    machine("none", NULL);
    CHECK_EQUAL(open_with(NULL, -1, UNBIND_EXECUTOR_POOL), -ENODEV);
    machine("no-driver", NULL);
    CHECK_EQUAL(open_with(NULL, -1, UNBIND_EXECUTOR_POOL), -ENOENT);
    CHECK(strstr(last_message, "driver"));
    machine(machine_name("lnl"), "ACCESS", "denied", NULL);
    CHECK_EQUAL(open_with(NULL, -1, UNBIND_EXECUTOR_POOL), -EACCES);
    CHECK(strstr(last_message, "permission"));
}

TEST(no_intel, "what needs an Intel GPU is refused by the software GPU") {
    struct gpu gpu;
    struct unbind_intel_info info = UNBIND_INTEL_INFO_INIT;
    int fd = -1;
    unbind_fence *fence = UNTOUCHED(unbind_fence);
    unbind_bo *bo = UNTOUCHED(unbind_bo);
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_bo *own = make_bo(&gpu, PAGE);
    unbind_fence *signalled = stub_of(&gpu);
    CHECK_EQUAL(unbind_device_get_intel_info(gpu.device, &info), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_fence_export_syncobj(signalled, &fd), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_fence_signal_syncobj(signalled, 0, 0), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_fence_export_sync_file(signalled, &fd), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_fence_import_syncobj(gpu.device, 0, 0, &fence), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_fence_import_sync_file(gpu.device, 0, &fence), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_bo_export_dma_buf(own, &fd), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_bo_import_dma_buf(gpu.device, 0, &bo), -EOPNOTSUPP);
    CHECK(fd == -1 && fence == UNTOUCHED(unbind_fence) && bo == UNTOUCHED(unbind_bo));
    unbind_fence_unref(signalled);
    unbind_bo_unref(own);
    gpu_close(&gpu);
}

TEST(own_node, "the program's own node is used and never closed") {
    struct gpu gpu;
    struct unbind_intel_options intel = UNBIND_INTEL_OPTIONS_INIT;
    machine(machine_name("lnl"), NULL);
    intel.fd = open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC);
    REQUIRE(intel.fd >= 0);
    REQUIRE(intel_try_open(&gpu, &intel, UNBIND_EXECUTOR_POOL) == 0);
    REQUIRE(unbind_vm_create(gpu.device, NULL, &gpu.vm) == 0);
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
    drop_binding(&buffer);
    gpu_close(&gpu);
    CHECK_EQUAL(log_count("close node", NULL), 0);
    CHECK(fcntl(intel.fd, F_GETFD) >= 0);
    close(intel.fd);
    log_check_clean();
}

TEST(twice, "two devices on one GPU do not see each other") {
    struct gpu one, two;
    start(&one, UNBIND_EXECUTOR_POOL);
    intel_open(&two, UNBIND_EXECUTOR_MANUAL);
    struct binding first = bind_buffer(&one, PAGE, BASE), second = bind_buffer(&two, PAGE, BASE);
    unbind_queue *queue = make_queue(&one);
    CHECK_EQUAL(store(queue, first.vma, BASE, VALUE), 0);
    CHECK_EQUAL(cpu_read(first.bo, 0), VALUE);
    CHECK_EQUAL(cpu_read(second.bo, 0), 0);
    unbind_queue_unref(queue);
    drop_binding(&first);
    drop_binding(&second);
    gpu_close(&two);
    intel_close(&one);
}
