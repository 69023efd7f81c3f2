/* SPDX-License-Identifier: MIT */
/* What only i915 does: it binds by listing, unbinds by a dummy in the way, and cannot do some things, which it says. */
#include "intel_support.h"

#include <sys/mman.h>

#define BASE UINT64_C(0x100000000)

static const char *const machines[] = {"tgl", "adl", "dg2", "dg2-later"};
enum { MACHINES = sizeof machines / sizeof *machines };

static void open_lazily(struct gpu *gpu) {
    struct unbind_intel_options intel = UNBIND_INTEL_OPTIONS_INIT;
    intel.flags = UNBIND_INTEL_LAZY_UNBIND;
    REQUIRE(intel_try_open(gpu, &intel, UNBIND_EXECUTOR_POOL) == 0);
    REQUIRE(unbind_vm_create(gpu->device, NULL, &gpu->vm) == 0);
}

static int make_local(struct gpu *gpu, uint64_t size, unbind_bo **bo) {
    return unbind_bo_create(gpu->device, size, UNBIND_REGION_LOCAL, 0, bo);
}

TEST(capabilities, "it says what it can do, and what it cannot") {
    for (int i = 0; i < MACHINES; i++) {
        struct gpu gpu;
        machine(machines[i], NULL);
        intel_open(&gpu, UNBIND_EXECUTOR_POOL);
        uint64_t capabilities = unbind_device_capabilities(gpu.device);
        const uint64_t none = UNBIND_CAP_ALIASING | UNBIND_CAP_PARTIAL_UNBIND | UNBIND_CAP_NULL_MAPPINGS |
                              UNBIND_CAP_READ_ONLY | UNBIND_CAP_FAULT_REPORTS | UNBIND_CAP_ASYNC_UPDATES;
        CHECK_EQUAL(capabilities & none, 0);
        CHECK(capabilities & UNBIND_CAP_EXPLICIT_UNBIND);
        CHECK(capabilities & UNBIND_CAP_USER_MEMORY);
        CHECK_EQUAL(!!(capabilities & UNBIND_CAP_LOCAL_MEMORY), i >= 2);
        struct unbind_intel_info info = UNBIND_INTEL_INFO_INIT;
        CHECK_EQUAL(unbind_device_get_intel_info(gpu.device, &info), 0);
        CHECK_EQUAL(info.kernel_driver, UNBIND_KERNEL_DRIVER_I915);
        CHECK_EQUAL(info.flags, UNBIND_INTEL_INFO_SCRATCH);
        intel_close(&gpu);
        open_lazily(&gpu);
        const uint64_t explicit_only = UNBIND_CAP_EXPLICIT_UNBIND | UNBIND_CAP_SUSPEND;
        CHECK_EQUAL(unbind_device_capabilities(gpu.device), capabilities & ~explicit_only);
        intel_close(&gpu);
    }
}

TEST(refused, "what it cannot do is refused, and changes nothing") {
    struct gpu gpu;
    machine("tgl", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding buffer = bind_buffer(&gpu, 4 * PAGE, BASE);
    // A second place in the same address space.
    unbind_vma *vma = make_vma(&gpu, buffer.bo, BASE + MIB);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), -EOPNOTSUPP);
    unbind_vma_unref(vma);
    // Local memory that is not there.
    unbind_bo *bo = NULL;
    CHECK_EQUAL(make_local(&gpu, 2 * MIB, &bo), -EOPNOTSUPP);
    // Reading only.
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    options.flags = UNBIND_VMA_READ_ONLY;
    bo = make_bo(&gpu, PAGE);
    int status = unbind_vma_create(gpu.vm, bo, &options, &vma);
    if (status == 0) {
        status = unbind_vma_bind(vma, 0);
        unbind_vma_unref(vma);
    }
    CHECK_EQUAL(status, -EOPNOTSUPP);
    unbind_bo_unref(bo);
    drop_binding(&buffer);
    intel_close(&gpu);
}

/* Unbinds COUNT buffers that are all ready together; gives the kernel's calls that took. */
static size_t calls_to_unbind(unsigned count, uint64_t stride) {
    struct gpu gpu;
    machine("tgl", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    struct binding *buffers = (struct binding *)calloc(count, sizeof *buffers);
    unbind_fence **fences = (unbind_fence **)calloc(count, sizeof *fences);
    REQUIRE(buffers != NULL && fences != NULL);
    unbind_fence *user = make_fence(&gpu);
    for (unsigned i = 0; i < count; i++) {
        buffers[i].bo = make_bo(&gpu, PAGE);
        buffers[i].vma = make_vma(&gpu, buffers[i].bo, BASE + i * stride);
        CHECK_EQUAL(unbind_vma_bind_async(buffers[i].vma, 0, NULL), 0);
        CHECK_EQUAL(unbind_vma_add_user(buffers[i].vma, user), 0);
    }
    // Waits for the binds.
    for (unsigned i = 0; i < count; i++) CHECK_EQUAL(unbind_vma_bind(buffers[i].vma, 0), 0);
    log_forget();
    for (unsigned i = 0; i < count; i++) CHECK_EQUAL(unbind_vma_unbind_async(buffers[i].vma, 0, &fences[i]), 0);
    CHECK_EQUAL(log_count("EXECBUFFER2", NULL), 0);
    signal_and_drop(user);
    for (unsigned i = 0; i < count; i++) CHECK_EQUAL(finish(fences[i]), 0);
    size_t calls = log_count("EXECBUFFER2", NULL);
    // All is idle by then: no call waits in the kernel, and each buffer is gone from its place.
    CHECK_EQUAL(log_count("EXECBUFFER2", "waited=1"), 0);
    CHECK(log_count("unbind vm", NULL) >= count);
    printf("    %u unbinds: %zu EXECBUFFER2 calls\n", count, calls);
    for (unsigned i = 0; i < count; i++) drop_binding(&buffers[i]);
    free(buffers);
    free(fences);
    intel_close(&gpu);
    return calls;
}

TEST(neighbours, "unbinding 1,000 neighbours takes one call, and it does not wait") {
    CHECK_EQUAL(calls_to_unbind(1000, PAGE), 1);
}

TEST(scattered, "unbinding 1,000 scattered buffers takes a call for 32 of them") {
    CHECK_EQUAL(calls_to_unbind(1000, 3 * PAGE), 1000 / 32 + 1);
}

TEST(local_memory, "local memory is bound in blocks of 2 MiB, on every kernel") {
    for (int i = 2; i < MACHINES; i++) {
        for (int small = 0; small < 2; small++) {
            struct gpu gpu;
            unbind_bo *bo = NULL;
            machine(machines[i], "SMALL_BAR", small ? "1" : "0", NULL);
            intel_open(&gpu, UNBIND_EXECUTOR_POOL);
            CHECK_EQUAL(make_local(&gpu, 64 * 1024, &bo), -EINVAL);
            CHECK_EQUAL(gpu.messages, 1);
            REQUIRE(make_local(&gpu, 4 * MIB, &bo) == 0);
            unbind_vma *vma = make_vma(&gpu, bo, BASE + 64 * 1024);
            CHECK_EQUAL(unbind_vma_bind(vma, 0), -EINVAL);
            CHECK_EQUAL(gpu.messages, 2);
            unbind_vma_unref(vma);
            // The library's own choice is good.
            vma = make_vma(&gpu, bo, UNBIND_ADDRESS_NONE);
            CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
            CHECK_EQUAL(unbind_vma_address(vma) % (2 * MIB), 0);
            uint64_t address = unbind_vma_address(vma);
            // Small pages beside it do not disturb it.
            struct binding beside = bind_buffer(&gpu, PAGE, address + 4 * MIB);
            unbind_queue *queue = make_queue(&gpu);
            CHECK_EQUAL(store(queue, vma, address + 3 * MIB, 9), 0);
            CHECK_EQUAL(cpu_read(bo, 3 * MIB), 9);
            unbind_queue_unref(queue);
            drop_binding(&beside);
            unbind_vma_unref(vma);
            unbind_bo_unref(bo);
            intel_close(&gpu);
        }
    }
}

TEST(pressure, "what the kernel takes away when memory is short is there again for each job") {
    struct gpu gpu;
    machine("adl", "PRESSURE", "1", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding buffers[4];
    for (unsigned i = 0; i < 4; i++) buffers[i] = bind_buffer(&gpu, PAGE, BASE + i * PAGE);
    unbind_queue *queue = make_queue(&gpu);
    // It does so when nothing runs: on a busy machine not in every round, and perhaps not in the first ten.
    for (unsigned round = 0; round < 10 || log_count("unbind vm", NULL) == 0; round++, sleep_ms(1)) {
        struct unbind_command commands[2] = {
            command_store(BASE + round % 4 * PAGE, 100 + round),
            command_copy(BASE + (round + 1) % 4 * PAGE + 8, BASE + round % 4 * PAGE, 8),
        };
        unbind_fence *fence = NULL;
        REQUIRE(submit(queue, commands, 2, buffers[round % 4].vma, buffers[(round + 1) % 4].vma, &fence) == 0);
        CHECK_EQUAL(finish(fence), 0);
        CHECK_EQUAL(cpu_read(buffers[round % 4].bo, 0), 100 + round);
        CHECK_EQUAL(cpu_read(buffers[(round + 1) % 4].bo, 8), 100 + round);
    }
    unbind_queue_unref(queue);
    for (unsigned i = 0; i < 4; i++) drop_binding(&buffers[i]);
    intel_close(&gpu);
}

TEST(user_memory_gone, "a bind of memory that is gone fails, and the next one does not") {
    struct gpu gpu;
    unbind_bo *bo = NULL;
    machine("tgl", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    void *memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    REQUIRE(unbind_bo_wrap(gpu.device, memory, 4 * PAGE, NULL, NULL, &bo) == 0);
    munmap(memory, 4 * PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, BASE);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), -EFAULT);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
    drop_binding(&buffer);
    intel_close(&gpu);
}

/*
 * Binds, runs, unbinds, and looks whether what has been unbound can still be
 * reached, whether the bytes are right, and whether every job has ended well.
 */
static bool notices(const char *name, const char *lie, bool lazily) {
    struct gpu gpu;
    machine(name, "LIE", lie, "SCHEDULE", "fifo", "DELAY", "exec:2000", NULL);
    if (lazily) open_lazily(&gpu);
    else intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    bool wrong = false;
    // Two pages: a dummy replaces the first one's entry by its own, whatever else the kernel does.
    struct binding one = bind_buffer(&gpu, 2 * PAGE, BASE), two = bind_buffer(&gpu, PAGE, BASE + MIB);
    unbind_queue *queue = make_queue(&gpu);
    const uint64_t second = BASE + PAGE;
    wrong |= store(queue, one.vma, second, 1) != 0 || cpu_read(one.bo, PAGE) != 1;
    CHECK_EQUAL(unbind_vma_unbind(one.vma, 0), 0);
    // It lists another VMA: what is there is nothing any more.
    wrong |= store(queue, two.vma, second, 2) != 0 || cpu_read(one.bo, PAGE) != 1;
    struct binding three = bind_buffer(&gpu, 2 * PAGE, BASE);
    wrong |= store(queue, three.vma, second, 3) != 0 || cpu_read(one.bo, PAGE) != 1 || cpu_read(three.bo, PAGE) != 3;
    unbind_queue_unref(queue);
    drop_binding(&one);
    drop_binding(&two);
    drop_binding(&three);
    gpu_close(&gpu);
    unlink(log_path);
    return wrong;
}

TEST(lies, "a kernel that keeps entries, does not flush, signals too early or loses writes is found out") {
    static const char *const lies[] = {"keep-pte", "no-tlb-flush", "signal-early", "lose-write"};
    for (int i = 0; i < MACHINES; i++) {
        CHECK(!notices(machines[i], "", false));
        for (int k = 0; k < 4; k++) {
            if (!notices(machines[i], lies[k], false)) printf("    %s on %s\n", lies[k], machines[i]), CHECK(0);
        }
    }
    // Where unbinding is left to the kernel, what is unbound may still be there, and is.
    CHECK(notices("tgl", "", true));
}

TEST(lost_context, "after a job that did not end the queue goes on with a new context") {
    struct gpu gpu;
    // The first four executions bind; the fifth is the job.
    machine("tgl", "FAIL", "I915_GEM_EXECBUFFER2:3:EIO", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE), other = bind_buffer(&gpu, PAGE, BASE + MIB);
    unbind_queue *queue = make_queue(&gpu);
    CHECK_EQUAL(store(queue, buffer.vma, BASE, 5), 0);
    CHECK_EQUAL(cpu_read(buffer.bo, 0), 5);
    // Two contexts, and the one that took the place of one of them.
    CHECK_EQUAL(log_count("CONTEXT_CREATE", NULL), 3);
    unbind_queue_unref(queue);
    drop_binding(&buffer);
    drop_binding(&other);
    intel_close(&gpu);
}

/* A call of the kernel's fails once with an error: the program sees that or another, or nothing, and goes on. */
static void fails_once(const char *name, unsigned call, const char *error, int told) {
    struct gpu gpu;
    char fail[64];
    unsigned seen = 0;
    snprintf(fail, sizeof fail, "%s:%u:%s", name, call, error);
    machine("tgl", "FAIL", fail, NULL);
#define TRY(call)                              \
    do {                                       \
        int result = (call);                   \
        if (result == 0) break;                \
        CHECK_EQUAL(result, told);             \
        seen++;                                \
        REQUIRE((call) == 0);                  \
    } while (0)
    TRY(intel_try_open(&gpu, NULL, UNBIND_EXECUTOR_POOL));
    TRY(unbind_vm_create(gpu.device, NULL, &gpu.vm));
    unbind_bo *bo = NULL;
    TRY(unbind_bo_create(gpu.device, PAGE, UNBIND_REGION_SYSTEM, 0, &bo));
    unbind_vma *vma = make_vma(&gpu, bo, BASE);
    TRY(unbind_vma_bind(vma, 0));
    unbind_queue *queue = NULL;
    TRY(unbind_queue_create(gpu.vm, 0, &queue));
    TRY(store(queue, vma, BASE, 7));
    CHECK_EQUAL(cpu_read(bo, 0), 7);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    TRY(unbind_vma_bind(vma, 0));
    TRY(store(queue, vma, BASE, 8));
    CHECK_EQUAL(cpu_read(bo, 0), 8);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
    if (strncmp(name, "mmap", 4)) CHECK_EQUAL(log_count("injected", NULL), 1);
    if (seen != (told != 0)) printf("    %s\n", fail), CHECK_EQUAL(seen, told != 0);
    log_check_clean();
}

TEST(errors, "each error of each call is told, or needs not be, and the same again works") {
    fails_once("I915_GETPARAM", 1, "EINVAL", -EOPNOTSUPP); // a kernel that does not know the parameter
    fails_once("I915_QUERY", 1, "EFAULT", -EFAULT);
    fails_once("I915_GEM_CONTEXT_GETPARAM", 1, "EIO", -EIO);
    fails_once("I915_GEM_VM_CREATE", 1, "ENOMEM", -ENOMEM);
    fails_once("I915_GEM_VM_CREATE", 1, "ENODEV", -ENODEV);
    fails_once("I915_GEM_VM_DESTROY", 1, "ENOMEM", 0);
    fails_once("I915_GEM_CONTEXT_CREATE", 1, "EIO", -EIO);
    fails_once("I915_GEM_CONTEXT_CREATE", 2, "ENOMEM", -ENOMEM);
    fails_once("I915_GEM_CONTEXT_DESTROY", 1, "EINTR", 0);
    fails_once("I915_GEM_CREATE", 1, "ENOMEM", -ENOMEM);
    fails_once("I915_GEM_CREATE", 34, "E2BIG", -ENOMEM);
    fails_once("I915_GEM_CREATE", 34, "ENOSPC", -ENOMEM);
    fails_once("I915_GEM_MMAP_OFFSET", 2, "ENOMEM", -ENOMEM);
    fails_once("mmap", 2, "ENOMEM", -ENOMEM);
    // 1: the bind, 2: the job, 3: the unbind, 4: the bind after it.
    fails_once("I915_GEM_EXECBUFFER2", 1, "ENOSPC", -ENOSPC);
    fails_once("I915_GEM_EXECBUFFER2", 1, "ENOMEM", -ENOMEM);
    fails_once("I915_GEM_EXECBUFFER2", 1, "EFAULT", -EFAULT);
    fails_once("I915_GEM_EXECBUFFER2", 1, "EINVAL", -EINVAL);
    fails_once("I915_GEM_EXECBUFFER2", 1, "EIO", 0);
    fails_once("I915_GEM_EXECBUFFER2", 2, "ENOENT", -ENOENT);
    fails_once("I915_GEM_EXECBUFFER2", 2, "ENOSPC", -ENOSPC);
    fails_once("I915_GEM_EXECBUFFER2", 2, "ENOMEM", -ENOMEM);
    fails_once("I915_GEM_EXECBUFFER2", 2, "EAGAIN", 0);
    fails_once("I915_GEM_EXECBUFFER2", 3, "EINTR", 0);
    fails_once("I915_GEM_EXECBUFFER2", 3, "EAGAIN", 0);
    fails_once("I915_GEM_EXECBUFFER2", 3, "ENOMEM", 0);
    fails_once("I915_GEM_EXECBUFFER2", 3, "ENOSPC", 0);
    fails_once("I915_GEM_EXECBUFFER2", 3, "EIO", 0);
    fails_once("I915_GEM_EXECBUFFER2", 4, "ENOMEM", -ENOMEM);
    fails_once("GEM_CLOSE", 1, "ENOMEM", 0);
}

TEST(listed_once, "a buffer and what it came back as from a dma-buf are not bound in one call") {
    struct gpu gpu;
    unbind_bo *same = NULL;
    unbind_fence *bound[2] = {NULL, NULL};
    int descriptor = -1;
    machine("tgl", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    REQUIRE(unbind_bo_export_dma_buf(bo, &descriptor) == 0);
    REQUIRE(unbind_bo_import_dma_buf(gpu.device, descriptor, &same) == 0);
    close(descriptor);
    unbind_vma *vmas[] = {make_vma(&gpu, bo, BASE), make_vma(&gpu, same, 2 * BASE)};
    for (unsigned i = 0; i < 2; i++) CHECK_EQUAL(unbind_vma_bind_async(vmas[i], 0, &bound[i]), 0);
    CHECK_EQUAL(finish(bound[0]), 0);
    CHECK_EQUAL(finish(bound[1]), -EOPNOTSUPP);
    CHECK_EQUAL(log_count("listed twice", NULL), 0);
    for (unsigned i = 0; i < 2; i++) unbind_vma_unref(vmas[i]);
    unbind_bo_unref(same);
    unbind_bo_unref(bo);
    intel_close(&gpu);
}
