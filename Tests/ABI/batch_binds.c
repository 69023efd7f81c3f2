/* SPDX-License-Identifier: MIT */
/*
 * The kernel's tests of binds as a user sees them (IGT xe_vm), with batches: bind queues, unmapping and mapping over
 * parts of mappings while a thread keeps using what stays, arrays of binds, sparse mappings, eviction beside them.
 */
#include "batch_support.h"

#include <sched.h>

#define BASE (UINT64_C(1) << 32)

/* --- bind queues */

static void queues_meet(bool conflict, uint32_t mode) {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_tagged_bo(&gpu, 8 * PAGE), *other = make_tagged_bo(&gpu, 8 * PAGE);
    unbind_queue *queue = make_queue(&gpu);
    unbind_bind_queue *first = NULL, *second = NULL;
    REQUIRE(unbind_bind_queue_create(gpu.vm, 0, &first) == 0);
    REQUIRE(unbind_bind_queue_create(gpu.vm, 0, &second) == 0);
    apply(&gpu, op_map(bo, 0, BASE, 4 * PAGE));
    unbind_fence *gate = make_fence(&gpu), *blocked = NULL, *done = NULL, *none = NULL;
    /* The first queue is blocked with an unmap of two pages in it. */
    struct unbind_op op = op_unmap(BASE + PAGE, 2 * PAGE);
    REQUIRE(batch_on(&gpu, first, &op, 1, mode, gate, &blocked) == 0);
    op = conflict ? op_map(other, 0, BASE + 2 * PAGE, 4 * PAGE) : op_map(other, 0, BASE + 4 * PAGE, 4 * PAGE);
    REQUIRE(batch_on(&gpu, second, &op, 1, mode, NULL, &done) == 0);
    op = op_map(other, 0, BASE + 16 * PAGE, PAGE);
    REQUIRE(batch_of(&gpu, &op, 1, mode, &none) == 0);
    REQUIRE(unbind_device_wait_idle(gpu.device, FOREVER, 0) == 0);
    CHECK_EQUAL(unbind_fence_is_signaled(blocked), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(done), !conflict);
    CHECK_EQUAL(unbind_fence_is_signaled(none), 1);
    CHECK(gpu_reads(queue, BASE + 2 * PAGE, tag_of(bo, 2 * PAGE)));
    if (!conflict) CHECK(gpu_reads(queue, BASE + 4 * PAGE, tag_of(other, 0)));
    signal_and_drop(gate);
    CHECK_EQUAL(finish(blocked), 0);
    CHECK_EQUAL(finish(done), 0);
    CHECK_EQUAL(finish(none), 0);
    CHECK(gpu_faults(queue, BASE + PAGE) && gpu_reads(queue, BASE, tag_of(bo, 0)));
    CHECK(gpu_reads(queue, BASE + 5 * PAGE, tag_of(other, conflict ? 3 * PAGE : PAGE)));
    CHECK_EQUAL(gpu.faults, 1);
    apply(&gpu, op_unmap(BASE, 64 * PAGE));
    unbind_bind_queue_unref(first);
    unbind_bind_queue_unref(second);
    unbind_queue_unref(queue);
    unbind_bo_unref(bo);
    unbind_bo_unref(other);
    gpu_close(&gpu);
}

TEST(independent, "selftest 47: a blocked bind queue does not delay another one") {
    queues_meet(false, UNBIND_BATCH_ASYNC);
    queues_meet(false, UNBIND_BATCH_DEFER_TO_IDLE);
}
TEST(conflict, "selftest 47: but where their ranges meet it does") {
    queues_meet(true, UNBIND_BATCH_ASYNC);
    queues_meet(true, UNBIND_BATCH_DEFER_TO_IDLE);
}

TEST(in_order, "selftest 47: batches of one queue take effect in the order of their calls, wherever they are") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_tagged_bo(&gpu, 8 * PAGE);
    unbind_bind_queue *queue = NULL;
    REQUIRE(unbind_bind_queue_create(gpu.vm, 0, &queue) == 0);
    unbind_fence *gate = make_fence(&gpu), *done[4] = {NULL, NULL, NULL, NULL};
    struct unbind_op ops[] = {op_map(bo, 0, BASE, PAGE), op_map(bo, 0, BASE + 8 * PAGE, PAGE),
                              op_of(UNBIND_OP_SYNC_ONLY, 0, 0), op_unmap(BASE + 32 * PAGE, PAGE)};
    for (uint32_t i = 0; i < 4; i++) {
        REQUIRE(batch_on(&gpu, queue, &ops[i], 1, UNBIND_BATCH_ASYNC, i ? NULL : gate, &done[i]) == 0);
    }
    unbind_bind_queue_unref(queue);
    REQUIRE(unbind_device_wait_idle(gpu.device, FOREVER, 0) == 0);
    for (int i = 0; i < 4; i++) CHECK_EQUAL(unbind_fence_is_signaled(done[i]), 0);
    CHECK(leads_to(gpu.vm, BASE + 8 * PAGE, NULL, 0));
    signal_and_drop(gate);
    for (int i = 3; i >= 0; i--) CHECK_EQUAL(finish(done[i]), 0);
    CHECK(leads_to(gpu.vm, BASE + 8 * PAGE, bo, 0) && leads_to(gpu.vm, BASE, bo, 0));
    apply(&gpu, op_unmap(BASE, 64 * PAGE));
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

/* --- unmapping and mapping over, with a thread that keeps using what stays */

/* In pieces: so many mappings of so many pieces each, one after the other; these go. */
struct style {
    const char *name;
    uint64_t mappings, each, first, count;
};
static const struct style styles[] = {
    {"all", 2, 2, 0, 4},
    {"one, partial", 1, 4, 1, 2},
    {"either side, partial", 2, 2, 1, 2},
    {"either side, full", 4, 1, 1, 2},
    {"end", 2, 2, 0, 3},
    {"front", 2, 2, 1, 3},
    {"many, all", 16, 2, 0, 32},
    {"many, either side partial", 16, 2, 1, 30},
    {"many, either side full", 32, 1, 1, 30},
    {"many, end", 16, 2, 0, 31},
    {"many, front", 16, 2, 1, 31},
};
enum { STYLES = sizeof styles / sizeof styles[0] };

struct hammer {
    struct gpu *gpu;
    uint64_t address, tag;
    int stop, jobs;
};

static void *hammer_thread(void *data) {
    struct hammer *hammer = (struct hammer *)data;
    unbind_queue *queue = make_queue(hammer->gpu);
    while (!__atomic_load_n(&hammer->stop, __ATOMIC_ACQUIRE)) {
        enum { WORDS = 16 };
        uint64_t values[WORDS];
        struct unbind_command commands[2 * WORDS];
        for (int i = 0; i < WORDS; i++) {
            values[i] = 0;
            commands[2 * i] = command_store(hammer->address + 8, (uint64_t)i);
            commands[2 * i + 1] = command_load(hammer->address, &values[i]);
        }
        unbind_fence *job = NULL;
        REQUIRE(submit(queue, commands, 2 * WORDS, NULL, NULL, &job) == 0);
        REQUIRE(finish(job) == 0);
        for (int i = 0; i < WORDS; i++) CHECK_EQUAL(values[i], hammer->tag);
        __atomic_fetch_add(&hammer->jobs, 1, __ATOMIC_RELEASE);
    }
    unbind_queue_unref(queue);
    return NULL;
}

/* Who backs a mapping: a buffer, or the caller's memory. */
struct backing {
    unbind_bo *bo;
    char *memory;
};

static struct unbind_op map_piece(struct backing backing, uint64_t offset, uint64_t address, uint64_t size) {
    return backing.bo ? op_map(backing.bo, offset, address, size) : op_map_user(backing.memory + offset, address, size);
}

static uint64_t tag_at(struct backing backing, uint64_t offset) {
    return backing.bo ? tag_of(backing.bo, offset) : ~offset;
}

static struct backing make_backing(struct gpu *gpu, bool user, uint64_t size) {
    struct backing backing = {NULL, NULL};
    if (!user) {
        backing.bo = make_tagged_bo(gpu, size);
        return backing;
    }
    void *memory = NULL;
    REQUIRE(posix_memalign(&memory, 2 * MIB, size) == 0);
    backing.memory = (char *)memory;
    memset(memory, 0, size);
    for (uint64_t offset = 0; offset < size; offset += PAGE) {
        *(uint64_t *)(void *)(backing.memory + offset) = tag_at(backing, offset);
    }
    return backing;
}

static void drop_backing(struct backing backing) {
    unbind_bo_unref(backing.bo);
    free(backing.memory);
}

/* `cut`: so many bytes into the first and last piece that go, what goes begins and ends. */
static void run_style(const struct style *style, bool user, bool replace, uint64_t piece, uint64_t cut, uint32_t mode) {
    uint64_t pieces = style->mappings * style->each, size = pieces * piece;
    uint64_t first = style->first * piece + cut, end = (style->first + style->count) * piece - cut;
    struct gpu gpu;
    int failures = check_failures;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_queue *queue = make_queue(&gpu);
    struct backing backing = make_backing(&gpu, user, size), other = make_backing(&gpu, user, size);
    for (uint64_t i = 0; i < style->mappings; i++) {
        uint64_t offset = i * style->each * piece;
        apply(&gpu, map_piece(backing, offset, BASE + offset, style->each * piece));
    }
    /* The page just before what goes, or else the one just behind it. */
    struct hammer hammer = {&gpu, 0, 0, 0, 0};
    bool hammers = first > 0 || end < size;
    pthread_t thread;
    if (hammers) {
        uint64_t offset = first > 0 ? first - PAGE : end;
        hammer.address = BASE + offset;
        hammer.tag = tag_at(backing, offset);
        REQUIRE(pthread_create(&thread, NULL, hammer_thread, &hammer) == 0);
        while (__atomic_load_n(&hammer.jobs, __ATOMIC_ACQUIRE) < 2) sched_yield();
    }
    unbind_fence *done = NULL;
    struct unbind_op op = op_unmap(BASE + first, end - first);
    if (replace) op = map_piece(other, first, BASE + first, end - first);
    CHECK_EQUAL(batch_of(&gpu, &op, 1, mode, &done), 0);
    CHECK_EQUAL(finish(done), 0);
    if (hammers) {
        int jobs = __atomic_load_n(&hammer.jobs, __ATOMIC_ACQUIRE);
        while (__atomic_load_n(&hammer.jobs, __ATOMIC_ACQUIRE) < jobs + 2) sched_yield();
        __atomic_store_n(&hammer.stop, 1, __ATOMIC_RELEASE);
        pthread_join(thread, NULL);
    }
    CHECK_EQUAL(gpu.faults, 0);
    for (uint64_t offset = 0; offset < size; offset += piece > 16 * PAGE ? 61 * PAGE : PAGE) {
        bool goes = offset >= first && offset < end;
        if (goes && !replace) {
            CHECK(page_at(gpu.vm, BASE + offset).size == 0);
        } else {
            CHECK(gpu_reads(queue, BASE + offset, tag_at(goes ? other : backing, offset)));
        }
    }
    if (!replace) CHECK(gpu_faults(queue, BASE + first) && gpu_faults(queue, BASE + end - PAGE));
    apply(&gpu, op_unmap(BASE, size));
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, 0);
    CHECK(gpu_faults(queue, BASE) && gpu_faults(queue, BASE + size - PAGE));
    unbind_queue_unref(queue);
    drop_backing(backing);
    drop_backing(other);
    gpu_close(&gpu);
    if (check_failures != failures) {
        printf("    style \"%s\", pieces of 0x%llx, cut by 0x%llx, mode %u\n", style->name, (unsigned long long)piece,
               (unsigned long long)cut, mode);
    }
}

static void run_styles(bool user, bool replace, uint64_t piece, uint64_t cut) {
    for (int i = 0; i < STYLES; i++) {
        /* Many large pages are the same many times. */
        if (piece > 16 * PAGE && styles[i].mappings > 4) continue;
        for (uint32_t mode = 0; mode <= UNBIND_BATCH_DEFER_TO_IDLE; mode++) {
            run_style(&styles[i], user, replace, piece, cut, mode);
        }
    }
}

TEST(munmap_bo, "selftest 48: unmapping parts of a buffer's mappings, with a thread on a surviving page") {
    run_styles(false, false, PAGE, 0);
    run_styles(false, false, 16 * PAGE, 0);
    run_styles(false, false, 16 * PAGE, PAGE);
}
TEST(munmap_user, "selftest 48: the same of the caller's memory") {
    run_styles(true, false, PAGE, 0);
    run_styles(true, false, 16 * PAGE, PAGE);
}
TEST(munmap_large, "selftest 48: the same with large pages, whole and split") {
    run_styles(false, false, 2 * MIB, 0);
    run_styles(false, false, 2 * MIB, 3 * PAGE);
    run_styles(true, false, 2 * MIB, 64 * PAGE);
}
TEST(mmap_bo, "selftest 49: mapping another buffer over parts of mappings, with a thread on a surviving page") {
    run_styles(false, true, PAGE, 0);
    run_styles(false, true, 16 * PAGE, PAGE);
}
TEST(mmap_user, "selftest 49: the same of the caller's memory") {
    run_styles(true, true, PAGE, 0);
    run_styles(true, true, 16 * PAGE, PAGE);
}
TEST(mmap_large, "selftest 49: the same with large pages, whole and split") {
    run_styles(false, true, 2 * MIB, 0);
    run_styles(false, true, 2 * MIB, 3 * PAGE);
    run_styles(true, true, 2 * MIB, 64 * PAGE);
}

/* --- arrays */

TEST(array_of_binds, "selftest 50: an array of binds, all of them or none") {
    enum { COUNT = 512 };
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_tagged_bo(&gpu, COUNT * PAGE);
    unbind_queue *queue = make_queue(&gpu);
    static struct unbind_op ops[COUNT];
    /* Every second page, and the buffer backwards, so that nothing merges. */
    for (uint64_t i = 0; i < COUNT; i++) ops[i] = op_map(bo, (COUNT - 1 - i) * PAGE, BASE + 2 * i * PAGE, PAGE);
    struct unbind_op last = ops[COUNT - 1];
    ops[COUNT - 1].offset = COUNT * PAGE;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, COUNT, NULL), -EINVAL);
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, 0);
    CHECK_EQUAL(batch_stats(gpu.vm).failed, 0);
    ops[COUNT - 1] = ops[0];
    ops[COUNT - 1].flags = UNBIND_OP_NO_REPLACE;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, COUNT, NULL), -EEXIST);
    CHECK_EQUAL(batch_stats(gpu.vm).failed, 1);
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, 0);
    CHECK_EQUAL(page_at(gpu.vm, BASE).size, 0);
    ops[COUNT - 1] = last;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, COUNT, NULL), 0);
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, COUNT);
    CHECK_EQUAL(batch_stats(gpu.vm).operations, COUNT);
    CHECK_EQUAL(batch_stats(gpu.vm).entries_written, COUNT);
    for (uint64_t i = 0; i < COUNT; i += 7) {
        CHECK(gpu_reads(queue, BASE + 2 * i * PAGE, tag_of(bo, (COUNT - 1 - i) * PAGE)));
        CHECK(gpu_faults(queue, BASE + (2 * i + 1) * PAGE));
    }
    for (uint64_t i = 0; i < COUNT; i++) ops[i] = op_unmap(BASE + 2 * i * PAGE, PAGE);
    /* Ready at the same time, they cost one TLB invalidation. */
    unbind_fence *gate = make_fence(&gpu), *done = NULL;
    uint64_t invalidations = device_stats(gpu.device).tlb_invalidations;
    CHECK_EQUAL(batch_on(&gpu, NULL, ops, COUNT, UNBIND_BATCH_ASYNC, gate, &done), 0);
    CHECK_EQUAL(batch_stats(gpu.vm).entries_cleared, 0);
    signal_and_drop(gate);
    CHECK_EQUAL(finish(done), 0);
    CHECK_EQUAL(batch_stats(gpu.vm).entries_cleared, COUNT);
    CHECK_EQUAL(device_stats(gpu.device).tlb_invalidations - invalidations, 1);
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, 0);
    unbind_queue_unref(queue);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(one_invalidation, "a batch whose unbinds are done within the call invalidates the TLB once") {
    enum { COUNT = 64 };
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_tagged_bo(&gpu, COUNT * PAGE), *other = make_tagged_bo(&gpu, COUNT * PAGE);
    unbind_queue *queue = make_queue(&gpu);
    struct unbind_op ops[COUNT];
    /* Neighbours, every second page, in no order; then others in their place; and with parts cut out of them. */
    for (uint64_t step = 1; step <= 3; step++) {
        for (int way = 0; way < 3; way++) {
            for (uint64_t i = 0; i < COUNT; i++) {
                ops[i] = op_map(bo, (COUNT - 1 - i) * PAGE, BASE + step * i * PAGE, PAGE);
            }
            if (way == 2) {
                for (uint64_t i = 0; i < COUNT / 4; i++) ops[i] = op_map(bo, 0, BASE + 4 * i * PAGE, 4 * PAGE);
            }
            CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, way == 2 ? COUNT / 4 : COUNT, NULL), 0);
            CHECK(gpu_reads(queue, BASE, tag_of(bo, way == 2 ? 0 : (COUNT - 1) * PAGE)));
            uint64_t unmaps = batch_stats(gpu.vm).unmaps;
            uint64_t invalidations = device_stats(gpu.device).tlb_invalidations;
            for (uint64_t i = 0; i < COUNT; i++) {
                uint64_t place = step == 3 && way != 2 ? (i * 5) % COUNT : i;
                ops[i] = op_unmap(BASE + (way == 2 ? 4 * place : step * place) * PAGE, PAGE);
                if (way == 1) ops[i] = op_map(other, place * PAGE, BASE + step * place * PAGE, PAGE);
            }
            CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, way == 2 ? COUNT / 4 : COUNT, NULL), 0);
            CHECK_EQUAL(batch_stats(gpu.vm).unmaps - unmaps, way == 2 ? COUNT / 4 : COUNT);
            CHECK_EQUAL(device_stats(gpu.device).tlb_invalidations - invalidations, 1);
            if (way == 1) {
                CHECK(gpu_reads(queue, BASE, tag_of(other, 0)));
            } else {
                CHECK(gpu_faults(queue, BASE));
            }
            apply(&gpu, op_unmap(BASE, 4 * COUNT * PAGE));
        }
    }
    unbind_queue_unref(queue);
    unbind_bo_unref(other);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

/* A buffer's pages in reverse order, so that each is a mapping. */
static void map_backwards(struct gpu *gpu, unbind_bo *bo, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) apply(gpu, op_map(bo, (count - 1 - i) * PAGE, BASE + i * PAGE, PAGE));
}

TEST(neighbours_together, "neighbours that an unmap takes away are one pending unbind, and each page stays till then") {
    enum { COUNT = 48 };
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_tagged_bo(&gpu, COUNT * PAGE), *other = make_tagged_bo(&gpu, COUNT * PAGE);
    unbind_queue *queue = make_queue(&gpu);
    map_backwards(&gpu, bo, COUNT);
    struct unbind_batch_stats before = batch_stats(gpu.vm);
    unbind_fence *gate = make_fence(&gpu), *done = NULL, *mapped = NULL;
    struct unbind_op op = op_unmap(BASE, COUNT * PAGE);
    CHECK_EQUAL(batch_on(&gpu, NULL, &op, 1, UNBIND_BATCH_ASYNC, gate, &done), 0);
    CHECK_EQUAL(batch_stats(gpu.vm).unmaps - before.unmaps, COUNT);
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, 0);
    CHECK_EQUAL(vm_stats(gpu.vm).pending, 1);
    CHECK_EQUAL(vm_stats(gpu.vm).bound, 0);
    /* A bind in the middle waits for it, one beside it does not. */
    op = op_map(other, 0, BASE + 7 * PAGE, PAGE);
    CHECK_EQUAL(batch_of(&gpu, &op, 1, UNBIND_BATCH_ASYNC, &mapped), 0);
    apply(&gpu, op_map(other, 0, BASE + COUNT * PAGE, PAGE));
    for (uint64_t i = 0; i < COUNT; i++) CHECK(gpu_reads(queue, BASE + i * PAGE, tag_of(bo, (COUNT - 1 - i) * PAGE)));
    CHECK(gpu_reads(queue, BASE + COUNT * PAGE, tag_of(other, 0)));
    CHECK(!unbind_fence_is_signaled(mapped));
    unbind_bo_unref(bo);
    unbind_hold *hold = NULL;
    signal_and_drop(gate);
    CHECK_EQUAL(finish(done), 0);
    CHECK_EQUAL(finish(mapped), 0);
    CHECK_EQUAL(batch_stats(gpu.vm).entries_cleared - before.entries_cleared, COUNT);
    CHECK(gpu_reads(queue, BASE + 7 * PAGE, tag_of(other, 0)));
    CHECK(gpu_faults(queue, BASE + 6 * PAGE));
    CHECK(gpu_faults(queue, BASE + 8 * PAGE));
    apply(&gpu, op_unmap(BASE, 2 * COUNT * PAGE));
    /* One that is held goes by itself: the others do not wait for it. */
    map_backwards(&gpu, other, COUNT);
    CHECK_EQUAL(unbind_vm_hold(gpu.vm, BASE + 5 * PAGE, &hold), 0);
    op = op_unmap(BASE, COUNT * PAGE);
    CHECK_EQUAL(batch_of(&gpu, &op, 1, UNBIND_BATCH_ASYNC, &done), 0);
    CHECK(!unbind_fence_is_signaled(done));
    CHECK(gpu_faults(queue, BASE + 4 * PAGE));
    CHECK_EQUAL(vm_stats(gpu.vm).pending, 1);
    unbind_hold_unref(hold);
    CHECK_EQUAL(finish(done), 0);
    CHECK_EQUAL(vm_stats(gpu.vm).pending, 0);
    unbind_queue_unref(queue);
    unbind_bo_unref(other);
    gpu_close(&gpu);
}

TEST(together_suspended, "neighbours whose entries were lost go as well, and stay gone after the resume") {
    enum { COUNT = 8 };
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_tagged_bo(&gpu, 2 * COUNT * PAGE);
    map_backwards(&gpu, bo, 2 * COUNT);
    CHECK_EQUAL(unbind_vm_suspend(gpu.vm), 0);
    unbind_fence *gate = make_fence(&gpu), *done = NULL;
    struct unbind_op op = op_unmap(BASE, COUNT * PAGE);
    CHECK_EQUAL(batch_on(&gpu, NULL, &op, 1, UNBIND_BATCH_ASYNC, gate, &done), 0);
    apply(&gpu, op_unmap(BASE + COUNT * PAGE, (COUNT - 1) * PAGE));
    CHECK_EQUAL(unbind_vm_resume(gpu.vm), 0);
    for (uint64_t i = 0; i < 2 * COUNT; i++) {
        CHECK_EQUAL(page_at(gpu.vm, BASE + i * PAGE).size, i == 2 * COUNT - 1 ? PAGE : 0);
    }
    signal_and_drop(gate);
    CHECK_EQUAL(finish(done), 0);
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, 1);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(large_split_binds, "selftest 50: a large bind in pieces is the same as in one") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    uint64_t size = 16 * MIB;
    unbind_bo *bo = make_tagged_bo(&gpu, size);
    unbind_queue *queue = make_queue(&gpu);
    uint64_t whole = 0;
    for (uint64_t pieces = 1; pieces <= 64; pieces *= 4) {
        static struct unbind_op ops[64];
        struct unbind_batch batch = UNBIND_BATCH_INIT;
        uint32_t done = 0;
        uint64_t written = batch_stats(gpu.vm).entries_written;
        for (uint64_t i = 0; i < pieces; i++) {
            uint64_t offset = i * (size / pieces);
            ops[i] = op_map(bo, offset, BASE + offset, size / pieces);
        }
        batch.out_done = &done;
        CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, (uint32_t)pieces, &batch), 0);
        CHECK_EQUAL(done, pieces);
        CHECK_EQUAL(batch_stats(gpu.vm).mappings, 1);
        written = batch_stats(gpu.vm).entries_written - written;
        if (!whole) whole = written;
        CHECK_EQUAL(written, whole);
        for (uint64_t offset = 0; offset < size; offset += 129 * PAGE) {
            CHECK(gpu_reads(queue, BASE + offset, tag_of(bo, offset)));
        }
        CHECK_EQUAL(page_at(gpu.vm, BASE + 5 * MIB).size, 2 * MIB);
        apply(&gpu, op_unmap(BASE, size));
        CHECK(gpu_faults(queue, BASE + 7 * MIB));
    }
    unbind_queue_unref(queue);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(pieces_at_a_limit, "selftest 50: a list larger than the limit is refused, or cut where that is allowed") {
    enum { COUNT = 10 };
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_tagged_bo(&gpu, COUNT * PAGE);
    struct unbind_op ops[COUNT];
    struct unbind_batch batch = UNBIND_BATCH_INIT;
    uint32_t done = 99;
    for (uint64_t i = 0; i < COUNT; i++) ops[i] = op_map(bo, (COUNT - 1 - i) * PAGE, BASE + i * PAGE, PAGE);
    batch.limit = 4;
    batch.out_done = &done;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, COUNT, &batch), -ENOBUFS);
    CHECK_EQUAL(done, 0);
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, 0);
    batch.flags = UNBIND_BATCH_SPLIT;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, COUNT, &batch), 0);
    CHECK_EQUAL(done, COUNT);
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, COUNT);
    CHECK_EQUAL(batch_stats(gpu.vm).batches, 3);
    CHECK(batch_stats(gpu.vm).cuts >= 1);
    apply(&gpu, op_unmap(BASE, COUNT * PAGE));
    /* An error in a later piece leaves the pieces before it. */
    ops[9] = op_map_flags(bo, 0, BASE, PAGE, UNBIND_OP_NO_REPLACE);
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, COUNT, &batch), -EEXIST);
    CHECK_EQUAL(done, 8);
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, 8);
    apply(&gpu, op_unmap(BASE, COUNT * PAGE));
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(small_total, "selftest 50: one page, bound and unbound again and again in every mode") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_tagged_bo(&gpu, PAGE);
    unbind_queue *queue = make_queue(&gpu);
    for (uint32_t round = 0; round < 60; round++) {
        unbind_fence *done = NULL;
        struct unbind_op op = op_map(bo, 0, BASE, PAGE);
        REQUIRE(batch_of(&gpu, &op, 1, round % 3, &done) == 0);
        CHECK_EQUAL(finish(done), 0);
        CHECK(gpu_reads(queue, BASE, tag_of(bo, 0)));
        op = op_unmap(BASE, PAGE);
        REQUIRE(batch_of(&gpu, &op, 1, round / 3 % 3, &done) == 0);
        CHECK_EQUAL(finish(done), 0);
        CHECK(gpu_faults(queue, BASE));
    }
    unbind_queue_unref(queue);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

/* --- what is not there, and what goes */

TEST(scratch_reads, "selftest 50: sparse mappings read zero, their writes vanish, and nothing faults") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    uint64_t size = 4 * MIB;
    unbind_bo *bo = make_tagged_bo(&gpu, size);
    unbind_queue *queue = make_queue(&gpu);
    apply(&gpu, op_map_null(BASE, size));
    for (uint64_t offset = 0; offset < size; offset += 61 * PAGE) {
        CHECK(gpu_reads(queue, BASE + offset, 0));
        struct unbind_command store = command_store(BASE + offset, 7);
        unbind_fence *job = NULL;
        REQUIRE(submit(queue, &store, 1, NULL, NULL, &job) == 0);
        CHECK_EQUAL(finish(job), 0);
        CHECK(gpu_reads(queue, BASE + offset, 0));
    }
    struct unbind_page page = page_at(gpu.vm, BASE + PAGE);
    CHECK((page.flags & UNBIND_PAGE_NULL) != 0 && page.bo_id == 0);
    /* Memory comes and goes in the middle of it, while a job reads it all the time: zero or the memory, no fault. */
    static struct unbind_command commands[400];
    static uint64_t values[400];
    for (int i = 0; i < 400; i++) commands[i] = command_load(BASE + 2 * MIB + (uint64_t)(i % 4) * PAGE, &values[i]);
    for (int round = 0; round < 4; round++) {
        unbind_fence *job = NULL, *done = NULL;
        memset(values, 0xff, sizeof values);
        struct unbind_op op = round % 2 ? op_map_null(BASE + 2 * MIB + PAGE, 2 * PAGE)
                                        : op_map(bo, 2 * MIB + PAGE, BASE + 2 * MIB + PAGE, 2 * PAGE);
        REQUIRE(submit(queue, commands, 400, NULL, NULL, &job) == 0);
        for (int i = 0; i < 20; i++) REQUIRE(unbind_device_run(gpu.device, 1, NULL) == 0);
        REQUIRE(batch_of(&gpu, &op, 1, UNBIND_BATCH_DEFER_TO_IDLE, &done) == 0);
        CHECK_EQUAL(finish(done), 0);
        CHECK_EQUAL(finish(job), 0);
        for (int i = 0; i < 400; i++) {
            uint64_t offset = commands[i].address - BASE;
            bool middle = i % 4 == 1 || i % 4 == 2;
            CHECK_EQUAL(values[i], round % 2 && middle ? tag_of(bo, offset) : 0);
        }
        CHECK(gpu_reads(queue, BASE + 2 * MIB + PAGE, round % 2 ? 0 : tag_of(bo, 2 * MIB + PAGE)));
        CHECK(gpu_reads(queue, BASE + 2 * MIB, 0) && gpu_reads(queue, BASE + 2 * MIB + 3 * PAGE, 0));
    }
    CHECK_EQUAL(gpu.faults, 0);
    apply(&gpu, op_unmap(BASE, size));
    CHECK(gpu_faults(queue, BASE));
    unbind_queue_unref(queue);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(beside_eviction, "selftest 50: eviction takes idle VMAs and leaves what batches have mapped") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_tagged_bo(&gpu, 4 * PAGE);
    unbind_queue *queue = make_queue(&gpu);
    unbind_vma *idle = bind_new(&gpu, PAGE, BASE + 8 * PAGE);
    apply(&gpu, op_map(bo, 0, BASE, 4 * PAGE));
    CHECK_EQUAL(unbind_vm_evict_all(gpu.vm, 0), 0);
    CHECK_EQUAL(unbind_vma_state(idle), UNBIND_VMA_UNBOUND);
    CHECK_EQUAL(unbind_vm_evict_range(gpu.vm, BASE, 2 * PAGE, 0, 0), -ENOSPC);
    CHECK_EQUAL(unbind_bo_unbind(bo, 0), -EAGAIN);
    CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, NULL), -EBUSY);
    CHECK(gpu_reads(queue, BASE + 3 * PAGE, tag_of(bo, 3 * PAGE)));
    /* A VMA that is bound there is the caller's own to unbind. */
    CHECK_EQUAL(unbind_vma_bind(idle, 0), 0);
    struct unbind_op over = op_map(bo, 0, BASE + 7 * PAGE, 2 * PAGE), under = op_unmap(BASE, 16 * PAGE);
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, &over, 1, NULL), -EBUSY);
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, &under, 1, NULL), -EBUSY);
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, 1);
    unbind_vma_unref(idle);
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, &over, 1, NULL), 0);
    /* With the last of its mappings a buffer may move again. */
    apply(&gpu, op_unmap_all(bo));
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, 0);
    CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, NULL), 0);
    apply(&gpu, op_map(bo, 0, BASE, 4 * PAGE));
    CHECK((page_at(gpu.vm, BASE).flags & UNBIND_PAGE_LOCAL) != 0);
    CHECK(gpu_reads(queue, BASE + PAGE, tag_of(bo, PAGE)));
    apply(&gpu, op_unmap_all(bo));
    unbind_queue_unref(queue);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}
