/* SPDX-License-Identifier: MIT */
/* Moving buffers between system and local memory on discrete Intel GPUs, and suspending address spaces on all. */
#include "intel_support.h"

#define BASE UINT64_C(0x100000000)
#define NO_CPU_COPY UNBIND_BO_MIGRATE_NO_CPU_COPY

static const char *name(void) { return machine_name("bmg"); }

/* What local memory is given out in: i915 has 2 MiB on DG2, xe 64 KiB there. */
static uint64_t unit(void) {
    return strcmp(name(), "dg2") == 0 || strcmp(name(), "dg2-later") == 0 ? 2 * MIB : 64 * 1024;
}

/* False, and nothing is open, on a machine whose GPU has no local memory. */
static bool start(struct gpu *gpu) {
    machine(name(), NULL);
    intel_open(gpu, UNBIND_EXECUTOR_POOL);
    if (unbind_device_capabilities(gpu->device) & UNBIND_CAP_LOCAL_MEMORY) return true;
    intel_close(gpu);
    return false;
}

static bool is_i915(struct gpu *gpu) {
    struct unbind_intel_info info = UNBIND_INTEL_INFO_INIT;
    CHECK_EQUAL(unbind_device_get_intel_info(gpu->device, &info), 0);
    return info.kernel_driver == UNBIND_KERNEL_DRIVER_I915;
}

static void fill_pattern(unbind_bo *bo, uint32_t seed) {
    uint32_t *words = (uint32_t *)unbind_bo_cpu_pointer(bo);
    for (uint64_t i = 0; i < unbind_bo_size(bo) / 4; i++) words[i] = seed + (uint32_t)i * 2654435761u;
}

static void check_pattern(unbind_bo *bo, uint32_t seed) {
    const uint32_t *words = (const uint32_t *)unbind_bo_cpu_pointer(bo);
    for (uint64_t i = 0; i < unbind_bo_size(bo) / 4; i++) {
        if (words[i] == seed + (uint32_t)i * 2654435761u) continue;
        CHECK_EQUAL(words[i], seed + (uint32_t)i * 2654435761u);
        return;
    }
}

static unbind_fence *move(unbind_bo *bo, uint32_t region, uint32_t flags) {
    unbind_fence *fence = NULL;
    CHECK_EQUAL(unbind_bo_migrate(bo, region, flags, &fence), 0);
    return fence;
}

/* Copies by the kernel so far: batches that ran. */
static size_t batches(void) {
    return log_count("ioctl XE_EXEC ", NULL) + log_count("ioctl I915_GEM_EXECBUFFER2", NULL);
}

TEST(keeps_bytes, "a buffer keeps its bytes from system to local memory and back, and its VMA shows the new memory") {
    struct gpu gpu;
    if (!start(&gpu)) return;
    CHECK(unbind_device_capabilities(gpu.device) & UNBIND_CAP_MIGRATION);
    unbind_queue *queue = make_queue(&gpu);
    for (unsigned size = 1; size <= 4; size += 3) {
        struct binding buffer = bind_buffer(&gpu, size * unit(), BASE);
        fill_pattern(buffer.bo, size);
        for (uint32_t hop = 1; hop <= 4; hop++) {
            size_t before = batches();
            CHECK_EQUAL(finish(move(buffer.bo, hop % 2, NO_CPU_COPY)), 0);
            CHECK(batches() > before);
            CHECK_EQUAL(unbind_bo_region(buffer.bo), hop % 2);
            CHECK_EQUAL(unbind_vma_state(buffer.vma), UNBIND_VMA_UNBOUND);
            check_pattern(buffer.bo, size);
            CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
            CHECK_EQUAL(device_stats(gpu.device).local_bytes, hop % 2 ? size * unit() : 0);
            CHECK_EQUAL(unbind_vma_bind(buffer.vma, 0), 0);
            uint64_t was = cpu_read(buffer.bo, 8);
            CHECK_EQUAL(store(queue, buffer.vma, BASE + 8, hop), 0);
            CHECK_EQUAL(cpu_read(buffer.bo, 8), hop);
            CHECK_EQUAL(store(queue, buffer.vma, BASE + 8, was), 0);
        }
        check_pattern(buffer.bo, size);
        CHECK_EQUAL(unbind_vma_unbind(buffer.vma, 0), 0);
        drop_binding(&buffer);
    }
    unbind_queue_unref(queue);
    intel_close(&gpu);
}

TEST(behind_work, "a buffer moves again and again behind GPU work that has not begun, and nothing waits in a call") {
    struct gpu gpu;
    unbind_fence *moved[4];
    if (!start(&gpu)) return;
    unbind_queue *queue = make_queue(&gpu);
    struct binding buffer = bind_buffer(&gpu, unit(), BASE);
    unbind_fence *spinner = make_fence(&gpu);
    memset(unbind_bo_cpu_pointer(buffer.bo), 0xaa, unit());
    size_t copies = batches();
    for (uint32_t hop = 0; hop < 4; hop++) {
        struct unbind_command commands[2] = {command_wait(spinner), command_store(BASE + hop * PAGE, hop + 1)};
        REQUIRE(unbind_vma_bind_async(buffer.vma, 0, NULL) == 0);
        REQUIRE(submit(queue, commands, 2, buffer.vma, NULL, NULL) == 0);
        moved[hop] = move(buffer.bo, (hop + 1) % 2, NO_CPU_COPY);
        CHECK_EQUAL(unbind_fence_is_signaled(moved[hop]), 0);
    }
    sleep_ms(20);
    CHECK_EQUAL(batches(), copies);
    signal_and_drop(spinner);
    for (uint32_t hop = 0; hop < 4; hop++) CHECK_EQUAL(finish(moved[hop]), 0);
    for (uint32_t hop = 0; hop < 4; hop++) CHECK_EQUAL(cpu_read(buffer.bo, hop * PAGE), hop + 1);
    CHECK_EQUAL(cpu_read(buffer.bo, 8), UINT64_C(0xaaaaaaaaaaaaaaaa));
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    CHECK_EQUAL(device_stats(gpu.device).local_bytes, 0);
    unbind_queue_unref(queue);
    drop_binding(&buffer);
    intel_close(&gpu);
}

/* A hold keeps the unbind from finishing. */
TEST(not_the_unbinds, "D1: the copy does not wait for the unbinds; the old object is closed after both") {
    struct gpu gpu;
    unbind_hold *hold = NULL;
    unbind_fence *bound = NULL;
    unbind_vm *other = NULL;
    unbind_vma *elsewhere = NULL;
    if (!start(&gpu)) return;
    REQUIRE(unbind_vm_create(gpu.device, NULL, &other) == 0);
    struct binding buffer = bind_buffer(&gpu, unit(), BASE);
    fill_pattern(buffer.bo, 7);
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    REQUIRE(unbind_vma_create(other, buffer.bo, &options, &elsewhere) == 0);
    REQUIRE(unbind_vma_hold(buffer.vma, &hold) == 0);
    size_t closed = log_count("ioctl GEM_CLOSE", NULL);
    unbind_fence *moved = move(buffer.bo, UNBIND_REGION_LOCAL, NO_CPU_COPY);
    CHECK_EQUAL(unbind_vma_bind_async(elsewhere, 0, &bound), 0);
    CHECK_EQUAL(finish(bound), 0);
    check_pattern(buffer.bo, 7);
    CHECK_EQUAL(unbind_fence_is_signaled(moved), 0);
    CHECK_EQUAL(log_count("ioctl GEM_CLOSE", NULL), closed);
    CHECK_EQUAL(device_stats(gpu.device).system_bytes, unit());
    unbind_hold_unref(hold);
    CHECK_EQUAL(finish(moved), 0);
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    CHECK_EQUAL(log_count("ioctl GEM_CLOSE", NULL), closed + 1);
    CHECK_EQUAL(device_stats(gpu.device).system_bytes, 0);
    unbind_vma_unref(elsewhere);
    unbind_vm_unref(other);
    drop_binding(&buffer);
    intel_close(&gpu);
}

/* Calls of the copy that fail, by driver; EIO of an execution on i915 is tried once more, in a new context. */
static const struct {
    bool is_i915;
    const char *fail;
    bool copies; /* all the same */
} failures[] = {
    {false, "XE_VM_BIND:1:EIO", false}, /* of the queue's buffer */
    {false, "XE_VM_BIND:2:EIO", false}, /* of the two buffers */
    {false, "XE_EXEC:1:EIO", false},
    {false, "XE_VM_BIND:3:EIO", true}, /* of unmapping them: that is left to the end of the space */
    {false, "XE_EXEC:1:ENOMEM", true},
    {true, "I915_GEM_EXECBUFFER2:1-2:EIO", false},
    {true, "I915_GEM_EXECBUFFER2:2-3:EIO", false},
    {true, "I915_GEM_EXECBUFFER2:3-4:EIO", true},
    {true, "I915_GEM_EXECBUFFER2:2:ENOMEM", true},
};

TEST(failing, "a copy that the kernel fails is made by the CPU; where that was forbidden the buffer is lost") {
    for (unsigned i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        for (int forbidden = 0; forbidden < 2; forbidden++) {
            struct gpu gpu;
            if (!start(&gpu)) return;
            bool applies = is_i915(&gpu) == failures[i].is_i915;
            intel_close(&gpu);
            if (!applies) continue;
            machine(name(), "FAIL", failures[i].fail, NULL);
            intel_open(&gpu, UNBIND_EXECUTOR_POOL);
            unbind_bo *bo = make_bo(&gpu, unit());
            fill_pattern(bo, i);
            bool is_lost = forbidden && !failures[i].copies;
            CHECK_EQUAL(finish(move(bo, UNBIND_REGION_LOCAL, forbidden ? NO_CPU_COPY : 0)), is_lost ? -EIO : 0);
            CHECK(log_count("injected", NULL) > 0);
            CHECK_EQUAL(gpu.messages, is_lost);
            CHECK_EQUAL(unbind_bo_region(bo), UNBIND_REGION_LOCAL);
            unbind_vma *vma = make_vma(&gpu, bo, BASE);
            CHECK_EQUAL(unbind_vma_bind(vma, 0), is_lost ? -EIO : 0);
            unbind_fence *back = NULL;
            CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_SYSTEM, NO_CPU_COPY, &back), is_lost ? -EIO : 0);
            if (!is_lost) {
                CHECK_EQUAL(finish(back), 0);
                check_pattern(bo, i);
            }
            unbind_vma_unref(vma);
            unbind_bo_unref(bo);
            intel_close(&gpu);
            if (check_failures) printf("    %s%s\n", failures[i].fail, forbidden ? ", without the CPU" : "");
        }
    }
    unsetenv("UNBIND_MOCK_FAIL");
}

/* Each call in turn, up to closing; two moves of a bound buffer. It begins with files, of which the log does not tell:
 * these, and a few queries, are skipped. */
static unsigned sweep(const char *error, int told) {
    unsigned injected = 0;
    for (unsigned call = 1, missed = 0; missed < 15 && call < 1000; call += injected ? 1 : 8) {
        struct gpu gpu;
        char fail[64];
        snprintf(fail, sizeof fail, "*:%u:%s", call, error);
        machine(name(), "FAIL", fail, NULL);
        int status = intel_try_open(&gpu, NULL, UNBIND_EXECUTOR_POOL);
        if (status == 0) {
            unbind_bo *bo = NULL;
            status = unbind_vm_create(gpu.device, NULL, &gpu.vm);
            if (status != 0) REQUIRE(status == told && unbind_vm_create(gpu.device, NULL, &gpu.vm) == 0);
            status = unbind_bo_create(gpu.device, unit(), UNBIND_REGION_SYSTEM, 0, &bo);
            if (status != 0) REQUIRE(status == told && unbind_bo_create(gpu.device, unit(), 0, 0, &bo) == 0);
            unbind_vma *vma = make_vma(&gpu, bo, BASE);
            fill_pattern(bo, call);
            status = unbind_vma_bind(vma, 0);
            CHECK(status == 0 || status == told);
            for (uint32_t region = 2; region-- > 0;) {
                unbind_fence *fence = NULL;
                status = unbind_bo_migrate(bo, region, NO_CPU_COPY, &fence);
                if (status != 0) REQUIRE(status == told && unbind_bo_migrate(bo, region, NO_CPU_COPY, &fence) == 0);
                CHECK_EQUAL(finish(fence), 0);
                check_pattern(bo, call);
            }
            unbind_vma_unref(vma);
            unbind_bo_unref(bo);
            gpu_close(&gpu);
        } else {
            CHECK_EQUAL(status, told);
        }
        bool is_ioctl = log_count("injected", NULL) > 0;
        injected += is_ioctl;
        missed = is_ioctl || injected == 0 ? 0 : missed + 1;
        if (check_failures) {
            printf("    %s\n", fail);
            break;
        }
    }
    unsetenv("UNBIND_MOCK_FAIL");
    printf("    %u calls failed in turn with %s\n", injected, error);
    return injected;
}

/* On one machine of each driver: it takes long. */
TEST(each_call, "a move survives ENOMEM of any one call to the kernel") {
    if (strcmp(name(), "bmg") != 0 && strcmp(name(), "dg2") != 0) return;
    CHECK(sweep("ENOMEM", -ENOMEM) > 30);
}

TEST(closing, "closing a device while moves are under way ends them, and leaves nothing in the kernel") {
    struct gpu gpu;
    if (!start(&gpu)) return;
    intel_close(&gpu);
    machine(name(), "DELAY", "exec:2000,bind:~1000", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding buffers[6];
    unbind_fence *moved[6];
    for (unsigned i = 0; i < 6; i++) {
        buffers[i] = bind_buffer(&gpu, unit(), BASE + i * 4 * MIB);
        fill_pattern(buffers[i].bo, i);
        moved[i] = move(buffers[i].bo, UNBIND_REGION_LOCAL, NO_CPU_COPY);
    }
    CHECK_EQUAL(unbind_device_close(gpu.device, NULL), 0);
    for (unsigned i = 0; i < 6; i++) {
        CHECK_EQUAL(finish(moved[i]), 0);
        check_pattern(buffers[i].bo, i);
        drop_binding(&buffers[i]);
    }
    unbind_vm_unref(gpu.vm);
    unbind_device_unref(gpu.device);
    CHECK_EQUAL(gpu.hooks.blocks, 0);
    log_check_clean();
    unsetenv("UNBIND_MOCK_DELAY");
}

TEST(refused, "what cannot move is refused with a reason in the log: shared and wrapped memory, all without local") {
    struct gpu gpu;
    void *memory = NULL;
    int fd = -1;
    unbind_bo *wrapped = NULL, *imported = NULL;
    unbind_fence *fence = UNTOUCHED(unbind_fence);
    machine(name(), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    uint64_t capabilities = unbind_device_capabilities(gpu.device);
    CHECK_EQUAL(!(capabilities & UNBIND_CAP_MIGRATION), !(capabilities & UNBIND_CAP_LOCAL_MEMORY));
    REQUIRE(posix_memalign(&memory, unit(), unit()) == 0);
    unbind_bo *bo = make_bo(&gpu, unit());
    REQUIRE(unbind_bo_wrap(gpu.device, memory, unit(), NULL, NULL, &wrapped) == 0);
    REQUIRE(unbind_bo_export_dma_buf(bo, &fd) == 0);
    REQUIRE(unbind_bo_import_dma_buf(gpu.device, fd, &imported) == 0);
    CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, &fence), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_bo_migrate(imported, UNBIND_REGION_LOCAL, 0, &fence), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_bo_migrate(wrapped, UNBIND_REGION_LOCAL, 0, &fence), -EOPNOTSUPP);
    CHECK_EQUAL(gpu.messages, 3);
    if (capabilities & UNBIND_CAP_LOCAL_MEMORY && unit() == 2 * MIB) {
        unbind_bo *small = make_bo(&gpu, PAGE);
        CHECK_EQUAL(unbind_bo_migrate(small, UNBIND_REGION_LOCAL, 0, &fence), -EINVAL);
        CHECK_EQUAL(gpu.messages, 4);
        CHECK_EQUAL(unbind_bo_region(small), UNBIND_REGION_SYSTEM);
        unbind_bo_unref(small);
    }
    CHECK(fence == UNTOUCHED(unbind_fence));
    close(fd);
    unbind_bo_unref(bo);
    unbind_bo_unref(wrapped);
    unbind_bo_unref(imported);
    intel_close(&gpu);
    free(memory);
}

TEST(suspend, "a suspend takes all out of the kernel's page tables, and a resume brings it back in one update") {
    enum { COUNT = 12 };
    struct gpu gpu;
    struct binding buffers[COUNT];
    machine(name(), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    CHECK(unbind_device_capabilities(gpu.device) & UNBIND_CAP_SUSPEND);
    unbind_queue *queue = make_queue(&gpu);
    for (unsigned i = 0; i < COUNT; i++) {
        buffers[i] = bind_buffer(&gpu, PAGE, BASE + i * 2 * PAGE);
        CHECK_EQUAL(store(queue, buffers[i].vma, buffers[i].address, i + 1), 0);
    }
    size_t unbinds = log_count("unbind vm=", NULL), binds = log_count("ioctl XE_VM_BIND", "result=0");
    CHECK_EQUAL(unbind_vm_suspend(gpu.vm), 0);
    if (is_i915(&gpu)) CHECK_EQUAL(log_count("unbind vm=", NULL), unbinds + COUNT);
    else CHECK_EQUAL(log_count("ioctl XE_VM_BIND", "result=0"), binds + 1);
    struct unbind_command command = command_store(BASE, 1);
    CHECK_EQUAL(submit(queue, &command, 1, buffers[0].vma, NULL, NULL), -EAGAIN);
    CHECK_EQUAL(unbind_vma_unbind(buffers[1].vma, 0), 0);
    struct binding late = bind_buffer(&gpu, PAGE, 2 * BASE);
    size_t batches_before = batches();
    CHECK_EQUAL(unbind_vm_resume(gpu.vm), 0);
    if (is_i915(&gpu)) CHECK_EQUAL(batches(), batches_before + 1);
    else CHECK_EQUAL(log_count("ioctl XE_VM_BIND", "result=0"), binds + 2);
    for (unsigned i = 0; i < COUNT; i++) {
        if (i == 1) continue;
        CHECK_EQUAL(unbind_vma_state(buffers[i].vma), UNBIND_VMA_BOUND);
        CHECK_EQUAL(store(queue, buffers[i].vma, buffers[i].address + 8, i + 1), 0);
        CHECK(cpu_read(buffers[i].bo, 0) == i + 1 && cpu_read(buffers[i].bo, 8) == i + 1);
    }
    CHECK_EQUAL(store(queue, late.vma, late.address, 5), 0);
    CHECK_EQUAL(cpu_read(late.bo, 0), 5);
    CHECK_EQUAL(gpu.faults, 0);
    unbind_queue_unref(queue);
    for (unsigned i = 0; i < COUNT; i++) drop_binding(&buffers[i]);
    drop_binding(&late);
    intel_close(&gpu);
}

TEST(suspend_pending, "unbinds that wait, also in the kernel, end in their time while suspended") {
    struct gpu gpu;
    unbind_vm *other = NULL;
    unbind_queue *queue = NULL;
    unbind_vma *theirs = NULL;
    unbind_fence *job = NULL, *gone[2];
    machine(name(), "DELAY", "exec:60000", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    REQUIRE(unbind_vm_create(gpu.device, NULL, &other) == 0 && unbind_queue_create(other, 0, &queue) == 0);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    options.flags = UNBIND_VMA_FIXED;
    options.address = BASE;
    REQUIRE(unbind_vma_create(other, bo, &options, &theirs) == 0 && unbind_vma_bind(theirs, 0) == 0);
    struct binding kernels = bind_buffer(&gpu, PAGE, BASE), ours = bind_buffer(&gpu, PAGE, 2 * BASE);
    struct binding stays = bind_buffer(&gpu, PAGE, 3 * BASE);
    struct unbind_command command = command_store(BASE, 1);
    REQUIRE(submit(queue, &command, 1, theirs, NULL, &job) == 0);
    unbind_fence *user = make_fence(&gpu);
    sleep_ms(10); /* the kernel has the job */
    REQUIRE(unbind_vma_add_user(kernels.vma, job) == 0 && unbind_vma_add_user(ours.vma, user) == 0);
    REQUIRE(unbind_vma_unbind_async(kernels.vma, 0, &gone[0]) == 0);
    REQUIRE(unbind_vma_unbind_async(ours.vma, 0, &gone[1]) == 0);
    CHECK_EQUAL(unbind_vm_suspend(gpu.vm), 0);
    CHECK_EQUAL(finish(job), 0);
    CHECK_EQUAL(finish(gone[0]), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(gone[1]), 0);
    CHECK_EQUAL(unbind_vm_resume(gpu.vm), 0);
    signal_and_drop(user);
    CHECK_EQUAL(finish(gone[1]), 0);
    unbind_queue *own = make_queue(&gpu);
    CHECK_EQUAL(store(own, stays.vma, stays.address, 7), 0);
    CHECK_EQUAL(cpu_read(stays.bo, 0), 7);
    CHECK_EQUAL(unbind_vma_bind(kernels.vma, 0), 0);
    CHECK_EQUAL(store(own, kernels.vma, BASE, 8), 0);
    CHECK_EQUAL(cpu_read(kernels.bo, 0), 8);
    unbind_queue_unref(own);
    unbind_queue_unref(queue);
    unbind_vma_unref(theirs);
    unbind_vm_unref(other);
    unbind_bo_unref(bo);
    drop_binding(&kernels);
    drop_binding(&ours);
    drop_binding(&stays);
    intel_close(&gpu);
    unsetenv("UNBIND_MOCK_DELAY");
}

TEST(lazily, "a device that leaves what it unbinds to the kernel cannot be suspended, and says why") {
    struct gpu gpu;
    struct unbind_intel_options intel = UNBIND_INTEL_OPTIONS_INIT;
    machine(name(), NULL);
    intel.flags = UNBIND_INTEL_LAZY_UNBIND;
    REQUIRE(intel_try_open(&gpu, &intel, UNBIND_EXECUTOR_POOL) == 0);
    REQUIRE(unbind_vm_create(gpu.device, NULL, &gpu.vm) == 0);
    bool is_lazy = is_i915(&gpu);
    CHECK_EQUAL(unbind_vm_suspend(gpu.vm), is_lazy ? -EOPNOTSUPP : 0);
    CHECK_EQUAL(gpu.messages, is_lazy);
    if (unbind_device_capabilities(gpu.device) & UNBIND_CAP_LOCAL_MEMORY) {
        unbind_bo *bo = make_bo(&gpu, unit());
        fill_pattern(bo, 3);
        CHECK_EQUAL(finish(move(bo, UNBIND_REGION_LOCAL, NO_CPU_COPY)), 0);
        CHECK_EQUAL(finish(move(bo, UNBIND_REGION_SYSTEM, NO_CPU_COPY)), 0);
        check_pattern(bo, 3);
        unbind_bo_unref(bo);
    }
    intel_close(&gpu);
}
