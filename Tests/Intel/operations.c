/* SPDX-License-Identifier: MIT */
/* Which operations of VM_BIND xe is given for what, with which flags and page attributes: seen in the mock's log. */
#include "intel_support.h"

#include "../ABI/batch_support.h"

#define BASE UINT64_C(0x100000000)

/* The last VM_BIND that was taken; its operation, flags and page attributes. */
static bool last_bind_is(unsigned op, unsigned flags, unsigned pat) {
    char line[1024], last[1024] = "", wanted[64];
    FILE *file = fopen(log_path, "r");
    REQUIRE(file != NULL);
    while (fgets(line, sizeof line, file))
        if (strstr(line, "ioctl XE_VM_BIND") && strstr(line, "result=0")) strcpy(last, line);
    fclose(file);
    snprintf(wanted, sizeof wanted, "op=%u flags=%u pat=%u\n", op, flags, pat);
    if (strstr(last, wanted)) return true;
    printf("    wanted %s    there is %s", wanted, last);
    return false;
}

enum { MAP, UNMAP, MAP_USERPTR, UNMAP_ALL };
enum { READ_ONLY = 1, NULL_PAGES = 4, DUMPABLE = 8 };

static struct unbind_op op_map_cached(unbind_bo *bo, uint64_t address, uint32_t cache_level) {
    struct unbind_op op = op_map(bo, 0, address, unbind_bo_size(bo));
    op.cache_level = cache_level;
    return op;
}

/* On each machine the index for what the CPU caches, for the uncached and for write-combining. */
static const struct attributes {
    const char *machine;
    unsigned coherent, uncached, combining;
} attributes[] = {{"lnl", 2, 3, 3}, {"bmg", 2, 3, 3}, {"dg2-xe", 0, 3, 1}, {"pvc", 3, 0, 1}};

TEST(kinds, "each kind of mapping is the operation that xe has for it, with its page attributes") {
    for (unsigned i = 0; i < 4; i++) {
        struct gpu gpu;
        machine(attributes[i].machine, NULL);
        intel_open(&gpu, UNBIND_EXECUTOR_MANUAL);
        unsigned coherent = attributes[i].coherent;
        unbind_bo *bo = make_bo(&gpu, 16 * PAGE);
        apply(&gpu, op_map(bo, 0, BASE, 16 * PAGE));
        CHECK(last_bind_is(MAP, 0, coherent));
        apply(&gpu, op_map_flags(bo, 0, BASE + 0x100000, 16 * PAGE, UNBIND_OP_READ_ONLY | UNBIND_OP_CAPTURE));
        CHECK(last_bind_is(MAP, READ_ONLY | DUMPABLE, coherent));
        // The CPU's caches are snooped whatever was asked for: xe takes nothing else for such memory.
        apply(&gpu, op_map_cached(bo, BASE + 0x200000, UNBIND_CACHE_NONE));
        CHECK(last_bind_is(MAP, 0, coherent));
        apply(&gpu, op_map_null(BASE + 0x300000, 16 * PAGE));
        CHECK(last_bind_is(MAP, NULL_PAGES, 0));
        void *memory = aligned_alloc(PAGE, 16 * PAGE);
        REQUIRE(memory != NULL);
        apply(&gpu, op_map_user(memory, BASE + 0x400000, 16 * PAGE));
        CHECK(last_bind_is(MAP_USERPTR, 0, coherent));
        apply(&gpu, op_unmap(BASE + 0x400000, 16 * PAGE));
        CHECK(last_bind_is(UNMAP, 0, 0));
        // All of the buffer's mappings, which are three ranges, in one call.
        log_forget();
        apply(&gpu, op_unmap_all(bo));
        CHECK(last_bind_is(UNMAP, 0, 0));
        CHECK_EQUAL(log_count("result=0", "binds=3"), 1);
        CHECK_EQUAL(log_count("ioctl XE_VM_BIND", "result=0"), 1);
        free(memory);
        unbind_bo_unref(bo);
        intel_close(&gpu);
    }
}

TEST(local, "memory that the CPU does not cache is seen as the caller wants, in its own pages") {
    for (unsigned i = 1; i < 4; i++) {
        struct gpu gpu;
        unbind_bo *bo = NULL;
        machine(attributes[i].machine, NULL);
        intel_open(&gpu, UNBIND_EXECUTOR_POOL);
        REQUIRE(unbind_bo_create(gpu.device, 16 * PAGE, UNBIND_REGION_LOCAL, 0, &bo) == 0);
        apply(&gpu, op_map_cached(bo, BASE, UNBIND_CACHE_NONE));
        CHECK(last_bind_is(MAP, 0, attributes[i].uncached));
        apply(&gpu, op_map_cached(bo, BASE + 0x100000, UNBIND_CACHE_WRITE_COMBINE));
        CHECK(last_bind_is(MAP, 0, attributes[i].combining));
        apply(&gpu, op_map_cached(bo, BASE + 0x200000, UNBIND_CACHE_WRITE_BACK));
        CHECK(last_bind_is(MAP, 0, attributes[i].coherent));
        // One page into a page of 64 KiB: only where there are none of those.
        unbind_vma *vma = make_vma(&gpu, bo, BASE + 0x300000 + PAGE);
        CHECK_EQUAL(unbind_vma_bind(vma, 0), i == 1 ? 0 : -EINVAL);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        intel_close(&gpu);
    }
}

TEST(objects, "what the library itself has mapped is unmapped as an object: a queue's buffer, what a move copied") {
    for (unsigned i = 0; i < 4; i++) {
        struct gpu gpu;
        machine(attributes[i].machine, NULL);
        intel_open(&gpu, UNBIND_EXECUTOR_POOL);
        unbind_queue_unref(make_queue(&gpu));
        CHECK(last_bind_is(UNMAP_ALL, 0, attributes[i].coherent));
        CHECK_EQUAL(log_count("result=0", " op=3"), 1);
        if (unbind_device_capabilities(gpu.device) & UNBIND_CAP_MIGRATION) {
            unbind_bo *bo = make_bo(&gpu, 16 * PAGE);
            unbind_fence *moved = NULL;
            REQUIRE(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, UNBIND_BO_MIGRATE_NO_CPU_COPY, &moved) == 0);
            CHECK_EQUAL(finish(moved), 0);
            CHECK(last_bind_is(UNMAP_ALL, 0, attributes[i].coherent));
            CHECK_EQUAL(log_count("result=0", "binds=2 syncs=1 op=3"), 1);
            unbind_bo_unref(bo);
        }
        intel_close(&gpu);
    }
}

TEST(bind_queues, "an address space has bind queues for maps, for unmaps, and for what waits in the kernel") {
    struct gpu gpu;
    machine(machine_name("lnl"), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    CHECK_EQUAL(log_count("ioctl XE_EXEC_QUEUE_CREATE", "class=5"), 5);
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
    CHECK_EQUAL(unbind_vma_unbind(buffer.vma, 0), 0);
    CHECK_EQUAL(log_count("ioctl XE_VM_BIND", "queue=1 "), 1);
    CHECK_EQUAL(log_count("ioctl XE_VM_BIND", "queue=2 "), 1);
    drop_binding(&buffer);
    intel_close(&gpu);
}

TEST(engines, "a queue is given all engines that copy, of which the kernel picks one for each job") {
    struct gpu gpu;
    machine("pvc", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
    unbind_queue *queues[4];
    for (unsigned i = 0; i < 4; i++) queues[i] = make_queue(&gpu);
    CHECK_EQUAL(log_count("ioctl XE_EXEC_QUEUE_CREATE", "class=1 placements=8"), 4);
    for (unsigned i = 0; i < 16; i++) CHECK_EQUAL(store(queues[i % 4], buffer.vma, BASE + 8 * i, 1 + i), 0);
    for (unsigned i = 0; i < 16; i++) CHECK_EQUAL(cpu_read(buffer.bo, 8 * i), 1 + i);
    // One that was banned is replaced by one with as many.
    CHECK_EQUAL(store(queues[0], NULL, 4 * BASE, 1), -EFAULT);
    CHECK_EQUAL(store(queues[0], buffer.vma, BASE, 99), 0);
    CHECK_EQUAL(log_count("ioctl XE_EXEC_QUEUE_CREATE", "class=1 placements=8"), 5);
    for (unsigned i = 0; i < 4; i++) unbind_queue_unref(queues[i]);
    drop_binding(&buffer);
    intel_close(&gpu);
}

TEST(local_pages, "a batch that would map or leave a part of a large page of local memory is refused, and changes nothing") {
    static const char *const machines[] = {"dg2-xe", "pvc"};
    for (unsigned i = 0; i < 2; i++) {
        struct gpu gpu;
        unbind_bo *bo = NULL;
        struct unbind_op op;
        machine(machines[i], NULL);
        intel_open(&gpu, UNBIND_EXECUTOR_POOL);
        REQUIRE(unbind_bo_create(gpu.device, 2 * MIB, UNBIND_REGION_LOCAL, 0, &bo) == 0);
        unbind_bo *system = make_bo(&gpu, 2 * MIB);
        struct unbind_op maps[] = {op_map(bo, 4096, BASE, 65536), op_map(bo, 0, BASE + 4096, 65536),
                                   op_map(bo, 0, BASE, 4096)};
        for (unsigned k = 0; k < 3; k++) CHECK_EQUAL(unbind_vm_submit(gpu.vm, &maps[k], 1, NULL), -EINVAL);
        op = op_map(bo, 0, BASE, 2 * MIB);
        CHECK_EQUAL(unbind_vm_submit(gpu.vm, &op, 1, NULL), 0);
        struct unbind_op cuts[] = {op_unmap(BASE + 4096, 65536), op_unmap(BASE, 4096),
                                   op_map(system, 0, BASE + 2 * MIB - 4096, 4096)};
        for (unsigned k = 0; k < 3; k++) CHECK_EQUAL(unbind_vm_submit(gpu.vm, &cuts[k], 1, NULL), -EINVAL);
        /* What can be mapped is, also again. */
        op = op_unmap(BASE + 65536, 65536);
        CHECK_EQUAL(unbind_vm_submit(gpu.vm, &op, 1, NULL), 0);
        op = op_map(system, 4096, BASE + 65536 + 4096, 4096);
        CHECK_EQUAL(unbind_vm_submit(gpu.vm, &op, 1, NULL), 0);
        CHECK_EQUAL(unbind_vm_suspend(gpu.vm), 0);
        CHECK_EQUAL(unbind_vm_resume(gpu.vm), 0);
        CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
        CHECK_EQUAL(log_count("XE_VM_BIND", "result=-22"), 0);
        unbind_bo_unref(system);
        unbind_bo_unref(bo);
        intel_close(&gpu);
    }
}
