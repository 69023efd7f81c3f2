/* SPDX-License-Identifier: MIT */
/*
 * On xe: a prefetch to where a buffer is already asks the kernel to have its
 * memory there, which it may have taken away (unbind_mock_evict).
 */
#include "intel_support.h"

#include "../ABI/batch_support.h"

#include <sys/mman.h>

#define BASE UINT64_C(0x100000000)

static void start(struct gpu *gpu) {
    machine("bmg", NULL);
    intel_open(gpu, UNBIND_EXECUTOR_POOL);
}

static void evict(void) {
    void (*function)(void) = NULL;
    *(void **)&function = dlsym(RTLD_DEFAULT, "unbind_mock_evict");
    REQUIRE(function != NULL);
    function();
}

static unbind_bo *make_local(struct gpu *gpu, uint64_t size) {
    unbind_bo *bo = NULL;
    REQUIRE(unbind_bo_create(gpu->device, size, UNBIND_REGION_LOCAL, 0, &bo) == 0);
    return bo;
}

static unbind_vma *bind_at(struct gpu *gpu, unbind_bo *bo, uint64_t address) {
    unbind_vma *vma = make_vma(gpu, bo, address);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    return vma;
}

static int prefetch(struct gpu *gpu, unbind_bo *bo, uint32_t region) {
    struct unbind_op op = {.op = UNBIND_OP_PREFETCH, .bo = bo, .region = region};
    return unbind_vm_submit(gpu->vm, &op, 1, NULL);
}

/* PREFETCH calls that the kernel took, each with so many operations. */
static size_t fetches(unsigned binds) {
    char text[32];
    size_t count = 0;
    char line[1024];
    FILE *file = fopen(log_path, "r");
    REQUIRE(file != NULL);
    snprintf(text, sizeof text, " binds=%u ", binds);
    while (fgets(line, sizeof line, file))
        count += strstr(line, "ioctl XE_VM_BIND") && strstr(line, "op=4 flags=0 pat=0\n") && strstr(line, "syncs=0 ") &&
                 strstr(line, text);
    fclose(file);
    return count;
}

TEST(brings_back, "local memory that was taken away comes back with a prefetch, else with the next job") {
    struct gpu gpu;
    start(&gpu);
    unbind_queue *queue = make_queue(&gpu);
    unbind_bo *bo = make_local(&gpu, 16 * PAGE);
    unbind_vma *vma = bind_at(&gpu, bo, BASE);
    CHECK_EQUAL(store(queue, vma, BASE, 1), 0);
    evict();
    CHECK_EQUAL(store(queue, vma, BASE, 2), 0);
    CHECK_EQUAL(log_count("restored vm=", "start=0x100000000"), 1);
    evict();
    log_forget();
    CHECK_EQUAL(prefetch(&gpu, bo, UNBIND_REGION_LOCAL), 0);
    CHECK_EQUAL(fetches(1), 1);
    CHECK_EQUAL(log_count("prefetch vm=", "start=0x100000000 end=0x100010000 region=1 mapped=1 moved=1 result=0"), 1);
    CHECK_EQUAL(store(queue, vma, BASE, 3), 0);
    CHECK_EQUAL(log_count("restored", NULL), 0);
    CHECK_EQUAL(cpu_read(bo, 0), 3);
    // Where it is: nothing comes back, and nothing is wrong.
    CHECK_EQUAL(prefetch(&gpu, bo, UNBIND_REGION_LOCAL), 0);
    CHECK_EQUAL(log_count("prefetch vm=", "moved=0 result=0"), 1);
    unbind_queue_unref(queue);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    intel_close(&gpu);
}

TEST(what_is_bound, "a prefetch is one call for what the buffer has bound in the address space, and for nothing else") {
    struct gpu gpu, second;
    start(&gpu);
    second = gpu;
    REQUIRE(unbind_vm_create(gpu.device, NULL, &second.vm) == 0);
    unbind_bo *bo = make_local(&gpu, 16 * PAGE), *other = make_local(&gpu, PAGE);
    unbind_fence *gate = make_fence(&gpu);
    log_forget();
    CHECK_EQUAL(prefetch(&gpu, bo, UNBIND_REGION_LOCAL), 0);
    CHECK_EQUAL(log_count("ioctl XE_VM_BIND", NULL), 0);
    unbind_vma *vmas[3] = {bind_at(&gpu, bo, BASE), bind_at(&gpu, bo, 2 * BASE), bind_at(&gpu, other, 3 * BASE)};
    unbind_vma *elsewhere = bind_at(&second, bo, 4 * BASE);
    // One that is being unbound, one whose bind waits for that, and one that is not bound.
    unbind_vma *going = bind_at(&gpu, bo, 5 * BASE), *coming = make_vma(&gpu, bo, 5 * BASE);
    unbind_vma *unbound = make_vma(&gpu, bo, 6 * BASE);
    unbind_fence *gone = NULL;
    CHECK_EQUAL(unbind_vma_add_user(going, gate), 0);
    CHECK_EQUAL(unbind_vma_unbind_async(going, 0, &gone), 0);
    CHECK_EQUAL(unbind_vma_bind_async(coming, 0, NULL), 0);
    apply(&gpu, op_map(bo, 4 * PAGE, 7 * BASE, 2 * PAGE));
    apply(&gpu, op_map_null(8 * BASE, PAGE));
    log_forget();
    CHECK_EQUAL(prefetch(&gpu, bo, UNBIND_REGION_LOCAL), 0);
    CHECK_EQUAL(fetches(3), 1);
    CHECK_EQUAL(log_count("ioctl XE_VM_BIND", NULL), 1);
    CHECK_EQUAL(log_count("prefetch vm=", "start=0x100000000 end=0x100010000 region=1 mapped=1"), 1);
    CHECK_EQUAL(log_count("prefetch vm=", "start=0x200000000 end=0x200010000 region=1 mapped=1"), 1);
    CHECK_EQUAL(log_count("prefetch vm=", "start=0x700000000 end=0x700002000 region=1 mapped=1"), 1);
    // A move to where it is asks for it in all address spaces: here a batch's mapping makes no difference.
    log_forget();
    CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, NULL), 0);
    CHECK_EQUAL(fetches(3) + fetches(1), 2);
    CHECK_EQUAL(log_count("prefetch vm=", NULL), 4);
    CHECK_EQUAL(log_count("prefetch vm=", "start=0x400000000"), 1);
    signal_and_drop(gate);
    CHECK_EQUAL(finish(gone), 0);
    apply(&gpu, op_unmap(7 * BASE, 2 * PAGE));
    for (unsigned i = 0; i < 3; i++) unbind_vma_unref(vmas[i]);
    unbind_vma_unref(elsewhere);
    unbind_vma_unref(going);
    unbind_vma_unref(coming);
    unbind_vma_unref(unbound);
    unbind_vm_unref(second.vm);
    unbind_bo_unref(bo);
    unbind_bo_unref(other);
    intel_close(&gpu);
}

TEST(many, "more bindings than one call takes are fetched in as few as the kernel allows") {
    enum { COUNT = 600 };
    static unbind_vma *vmas[COUNT];
    for (unsigned limited = 0; limited < 2; limited++) {
        struct gpu gpu;
        machine("bmg", "BIND_LIMIT", limited ? "100" : "0", NULL);
        intel_open(&gpu, UNBIND_EXECUTOR_POOL);
        unbind_bo *bo = make_local(&gpu, PAGE);
        for (unsigned i = 0; i < COUNT; i++) vmas[i] = bind_at(&gpu, bo, BASE + i * 2 * PAGE);
        log_forget();
        CHECK_EQUAL(prefetch(&gpu, bo, UNBIND_REGION_LOCAL), 0);
        CHECK_EQUAL(log_count("prefetch vm=", "region=1 mapped=1"), COUNT);
        if (limited) CHECK_EQUAL(log_count("ioctl XE_VM_BIND", "result=0"), 10); // of 64, after 256 and 128
        else CHECK_EQUAL(log_count("ioctl XE_VM_BIND", NULL), 3);
        for (unsigned i = 0; i < COUNT; i++) unbind_vma_unref(vmas[i]);
        unbind_bo_unref(bo);
        intel_close(&gpu);
    }
    unsetenv("UNBIND_MOCK_BIND_LIMIT");
}

TEST(own_memory, "memory of the caller's own has its pages taken; those that are gone are -EFAULT") {
    struct gpu gpu;
    unbind_bo *bo = NULL;
    start(&gpu);
    char *memory = (char *)mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != (char *)MAP_FAILED);
    REQUIRE(unbind_bo_wrap(gpu.device, memory, 4 * PAGE, NULL, NULL, &bo) == 0);
    unbind_vma *vma = bind_at(&gpu, bo, BASE);
    log_forget();
    CHECK_EQUAL(prefetch(&gpu, bo, UNBIND_REGION_SYSTEM), 0);
    CHECK_EQUAL(fetches(1), 1);
    CHECK_EQUAL(log_count("prefetch vm=", "start=0x100000000 end=0x100004000 region=0 mapped=1 moved=0 result=0"), 1);
    // It cannot move.
    CHECK_EQUAL(prefetch(&gpu, bo, UNBIND_REGION_LOCAL), -EOPNOTSUPP);
    CHECK_EQUAL(munmap(memory + 2 * PAGE, PAGE), 0);
    CHECK_EQUAL(prefetch(&gpu, bo, UNBIND_REGION_SYSTEM), -EFAULT);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    intel_close(&gpu);
    munmap(memory, 4 * PAGE);
}

TEST(told, "a prefetch that the kernel cannot do is told, and nothing of its batch has happened") {
    static const struct {
        const char *fail;
        int told;
    } errors[] = {{"ENOMEM", -ENOMEM}, {"ENOSPC", -ENOMEM}, {"EIO", -EIO}, {"EINVAL", -EINVAL}, {"EINTR", 0}};
    for (unsigned i = 0; i < 5; i++) {
        struct gpu gpu;
        char fail[64];
        snprintf(fail, sizeof fail, "XE_VM_BIND:2:%s", errors[i].fail);
        machine("bmg", "FAIL", fail, NULL);
        intel_open(&gpu, UNBIND_EXECUTOR_POOL);
        unbind_bo *bo = make_local(&gpu, PAGE);
        unbind_vma *vma = bind_at(&gpu, bo, BASE);
        struct unbind_op ops[2] = {op_map(bo, 0, 2 * BASE, PAGE), {.op = UNBIND_OP_PREFETCH, .bo = bo}};
        ops[1].region = UNBIND_REGION_LOCAL;
        CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, 2, NULL), errors[i].told);
        CHECK_EQUAL(batch_stats(gpu.vm).mappings, errors[i].told == 0);
        CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, 2, NULL), 0);
        CHECK_EQUAL(batch_stats(gpu.vm).mappings, 1);
        CHECK_EQUAL(gpu.messages, 0);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        intel_close(&gpu);
    }
    unsetenv("UNBIND_MOCK_FAIL");
}

TEST(no_room, "local memory that others have taken meanwhile is -ENOMEM; when it is free again it comes back") {
    enum { MOST = 100 };
    struct gpu gpu;
    unbind_device *others = NULL;
    unbind_bo *taken[MOST];
    unsigned count = 0;
    start(&gpu);
    // It may have all there is.
    REQUIRE(unbind_device_open_intel(NULL, NULL, NULL, &others) == 0);
    unbind_bo *bo = make_local(&gpu, 16 * PAGE);
    unbind_vma *vma = bind_at(&gpu, bo, BASE);
    evict();
    for (uint64_t size = UINT64_C(1) << 40; size >= PAGE; size /= 2)
        while (count < MOST && unbind_bo_create(others, size, UNBIND_REGION_LOCAL, 0, &taken[count]) == 0) count++;
    REQUIRE(count > 0 && count < MOST);
    CHECK_EQUAL(prefetch(&gpu, bo, UNBIND_REGION_LOCAL), -ENOMEM);
    CHECK_EQUAL(log_count("prefetch vm=", "region=1 mapped=1 moved=0 result=-28"), 1);
    while (count > 0) unbind_bo_unref(taken[--count]);
    CHECK_EQUAL(prefetch(&gpu, bo, UNBIND_REGION_LOCAL), 0);
    CHECK_EQUAL(log_count("prefetch vm=", "region=1 mapped=1 moved=1 result=0"), 1);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    unbind_device_unref(others);
    intel_close(&gpu);
}

TEST(no_memory, "each allocation of a prefetch fails once, and it works when tried again") {
    struct gpu gpu;
    start(&gpu);
    unbind_bo *bo = make_local(&gpu, PAGE);
    unbind_vma *vmas[2] = {bind_at(&gpu, bo, BASE), bind_at(&gpu, bo, 2 * BASE)};
    unsigned failed = 0;
    for (unsigned at = 1; at < 100; at++) {
        uint64_t before = gpu.hooks.failed;
        gpu.hooks.fail_at = gpu.hooks.calls + at;
        int status = prefetch(&gpu, bo, UNBIND_REGION_LOCAL);
        if (gpu.hooks.failed == before) {
            CHECK_EQUAL(status, 0);
            break;
        }
        // The batch itself, which has nothing to do, helps itself.
        CHECK(status == -ENOMEM || status == 0);
        failed += status != 0;
    }
    gpu.hooks.fail_at = 0;
    CHECK(failed >= 3);
    CHECK_EQUAL(prefetch(&gpu, bo, UNBIND_REGION_LOCAL), 0);
    for (unsigned i = 0; i < 2; i++) unbind_vma_unref(vmas[i]);
    unbind_bo_unref(bo);
    intel_close(&gpu);
}

TEST(left_alone, "what is shared, what is suspended and what could not be bound are left alone") {
    struct gpu gpu;
    int fd = -1;
    unbind_bo *imported = NULL;
    start(&gpu);
    unbind_bo *bo = make_local(&gpu, PAGE), *system = make_bo(&gpu, PAGE);
    REQUIRE(unbind_bo_export_dma_buf(system, &fd) == 0);
    REQUIRE(unbind_bo_import_dma_buf(gpu.device, fd, &imported) == 0);
    unbind_vma *vma = bind_at(&gpu, bo, BASE), *shared = bind_at(&gpu, imported, 2 * BASE);
    log_forget();
    CHECK_EQUAL(prefetch(&gpu, imported, UNBIND_REGION_SYSTEM), 0);
    CHECK_EQUAL(log_count("prefetch vm=", NULL), 0);
    CHECK_EQUAL(unbind_vm_suspend(gpu.vm), 0);
    CHECK_EQUAL(prefetch(&gpu, bo, UNBIND_REGION_LOCAL), 0);
    CHECK_EQUAL(log_count("prefetch vm=", NULL), 0);
    CHECK_EQUAL(unbind_vm_resume(gpu.vm), 0);
    CHECK_EQUAL(prefetch(&gpu, bo, UNBIND_REGION_LOCAL), 0);
    CHECK_EQUAL(log_count("prefetch vm=", "mapped=1"), 1);
    unbind_vma_unref(vma);
    unbind_vma_unref(shared);
    unbind_bo_unref(imported);
    unbind_bo_unref(system);
    unbind_bo_unref(bo);
    close(fd);
    intel_close(&gpu);
}

/* Binds and unbinds against prefetches of the same buffer. */
static void *churn(void *argument) {
    struct binding *binding = (struct binding *)argument;
    for (unsigned i = 0; i < 300; i++) {
        CHECK_EQUAL(unbind_vma_unbind_async(binding->vma, 0, NULL), 0);
        CHECK_EQUAL(unbind_vma_bind_async(binding->vma, 0, NULL), 0);
    }
    return NULL;
}

TEST(races, "what is unbound while it is being fetched is no failure") {
    struct gpu gpu;
    pthread_t thread;
    machine("bmg", "DELAY", "bind:~20", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding binding = {make_local(&gpu, PAGE), NULL, BASE};
    binding.vma = bind_at(&gpu, binding.bo, BASE);
    unbind_vma *other = bind_at(&gpu, binding.bo, 2 * BASE);
    REQUIRE(pthread_create(&thread, NULL, churn, &binding) == 0);
    for (unsigned i = 0; i < 300; i++) CHECK_EQUAL(prefetch(&gpu, binding.bo, UNBIND_REGION_LOCAL), 0);
    pthread_join(thread, NULL);
    unbind_vma_unref(other);
    drop_binding(&binding);
    intel_close(&gpu);
}
