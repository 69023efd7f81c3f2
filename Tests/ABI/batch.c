/* SPDX-License-Identifier: MIT */
/* Batches of map and unmap operations: against a model that knows every page, and one by one. */
#include "placing.h"

static struct unbind_op map_op(unbind_bo *bo, uint64_t offset, uint64_t address, uint64_t size) {
    struct unbind_op op;
    memset(&op, 0, sizeof op);
    op.op = UNBIND_OP_MAP;
    op.bo = bo;
    op.offset = offset;
    op.address = address;
    op.size = size;
    return op;
}

static struct unbind_op range_op(uint32_t kind, uint64_t address, uint64_t size) {
    struct unbind_op op;
    memset(&op, 0, sizeof op);
    op.op = kind;
    op.address = address;
    op.size = size;
    return op;
}

static struct unbind_op bo_op(uint32_t kind, unbind_bo *bo) {
    struct unbind_op op;
    memset(&op, 0, sizeof op);
    op.op = kind;
    op.bo = bo;
    return op;
}

static int apply(struct gpu *gpu, const struct unbind_op *ops, uint32_t count) {
    return unbind_vm_submit(gpu->vm, ops, count, NULL);
}

static int async(struct gpu *gpu, const struct unbind_op *ops, uint32_t count, uint32_t mode, unbind_fence *wait,
                 unbind_fence **out) {
    struct unbind_batch batch = UNBIND_BATCH_INIT;
    struct unbind_sync sync = {wait, NULL, 0};
    batch.mode = mode;
    batch.waits = &sync;
    batch.wait_count = wait != NULL;
    batch.out_fence = out;
    return unbind_vm_submit(gpu->vm, ops, count, &batch);
}

static struct unbind_batch_stats stats_of(struct gpu *gpu) {
    struct unbind_batch_stats stats = UNBIND_BATCH_STATS_INIT;
    CHECK_EQUAL(unbind_vm_get_batch_stats(gpu->vm, &stats), 0);
    return stats;
}

/* The model: what each page of the first part of the address space shows. */
enum { PAGES = 2048, BUFFERS = 3, NOTHING = 0, ZERO = 99 };

struct model_page {
    uint32_t what;   /* 1 + the buffer; ZERO; NOTHING */
    uint64_t offset; /* in the buffer */
    uint32_t flags;
};

struct model {
    struct gpu gpu;
    unbind_bo *bos[BUFFERS];
    struct model_page pages[PAGES], before[PAGES];
    uint64_t random;
};

static uint64_t next_random(struct model *model) {
    model->random ^= model->random << 13;
    model->random ^= model->random >> 7;
    model->random ^= model->random << 17;
    return model->random;
}

static uint64_t below(struct model *model, uint64_t limit) { return next_random(model) % limit; }

/* Mostly small, sometimes around the sizes of large pages. */
static void random_range(struct model *model, uint64_t *first, uint64_t *count) {
    const uint64_t units[] = {1, 1, 4, 16, 64, 512};
    uint64_t unit = units[below(model, 6)];
    *first = below(model, PAGES / unit) * unit;
    *count = (1 + below(model, 8)) * unit;
    if (below(model, 4) == 0) *count = 1 + below(model, 600);
    if (*count > PAGES - *first) *count = PAGES - *first;
}

/* Applies it to the model too; false if it is to be refused. */
static bool random_op(struct model *model, struct unbind_op *op) {
    uint64_t first, count;
    random_range(model, &first, &count);
    uint64_t kind = below(model, 20);
    if (kind == 0) {
        uint64_t which = below(model, BUFFERS);
        *op = bo_op(UNBIND_OP_UNMAP_ALL, model->bos[which]);
        for (unsigned i = 0; i < PAGES; i++) {
            if (model->pages[i].what == which + 1) model->pages[i].what = NOTHING;
        }
        return true;
    }
    struct model_page page = {NOTHING, 0, 0};
    if (kind < 7) {
        *op = range_op(UNBIND_OP_UNMAP, first * PAGE, count * PAGE);
    } else if (kind < 9) {
        *op = range_op(UNBIND_OP_MAP_NULL, first * PAGE, count * PAGE);
        page.what = ZERO;
    } else {
        uint64_t which = below(model, BUFFERS);
        /* Often the same page as last time. */
        uint64_t offset = below(model, 2) ? first : below(model, PAGES - count + 1);
        page.what = (uint32_t)which + 1;
        page.offset = offset * PAGE;
        page.flags = below(model, 4) == 0 ? UNBIND_OP_READ_ONLY : 0;
        *op = map_op(model->bos[which], page.offset, first * PAGE, count * PAGE);
        op->flags = page.flags;
    }
    if (op->op != UNBIND_OP_UNMAP && below(model, 8) == 0) {
        op->flags |= UNBIND_OP_NO_REPLACE;
        for (uint64_t i = 0; i < count; i++) {
            if (model->pages[first + i].what != NOTHING) return false;
        }
    }
    for (uint64_t i = 0; i < count; i++) {
        model->pages[first + i] = page;
        if (page.what != ZERO) page.offset += PAGE;
    }
    return true;
}

static void check_model(struct model *model) {
    uint64_t address = 0;
    unsigned page = 0;
    while (page < PAGES) {
        struct unbind_page found = UNBIND_PAGE_INIT;
        int status = unbind_vm_find_page(model->gpu.vm, address, &found);
        uint64_t start = status == 0 ? found.address : UINT64_MAX;
        while (page < PAGES && page * PAGE < start) {
            if (model->pages[page].what != NOTHING) REQUIRE(!"a page is not mapped");
            page++;
        }
        if (status != 0) return;
        for (uint64_t i = 0; i < found.size / PAGE && page < PAGES; i++, page++) {
            struct model_page *expected = &model->pages[page];
            REQUIRE(start + i * PAGE == page * PAGE);
            REQUIRE(expected->what != NOTHING);
            if (expected->what == ZERO) {
                REQUIRE(found.flags & UNBIND_PAGE_NULL);
                continue;
            }
            REQUIRE(found.bo_id == unbind_bo_id(model->bos[expected->what - 1]));
            REQUIRE(found.bo_offset + i * PAGE == expected->offset);
            REQUIRE(!(found.flags & UNBIND_PAGE_WRITABLE) == !!(expected->flags & UNBIND_OP_READ_ONLY));
        }
        address = found.address + found.size;
    }
}

static void model_open(struct model *model, uint32_t executor, uint32_t policy, uint64_t seed) {
    memset(model, 0, sizeof *model);
    gpu_open_policy(&model->gpu, executor, policy);
    for (unsigned i = 0; i < BUFFERS; i++) model->bos[i] = make_bo(&model->gpu, PAGES * PAGE);
    model->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

static void model_close(struct model *model) {
    for (unsigned i = 0; i < BUFFERS; i++) unbind_bo_unref(model->bos[i]);
    gpu_close(&model->gpu);
}

static void random_batches(uint32_t policy, uint64_t seed, unsigned batches) {
    static struct model model;
    model_open(&model, UNBIND_EXECUTOR_MANUAL, policy, seed);
    for (unsigned batch = 0; batch < batches; batch++) {
        struct unbind_op ops[6];
        uint32_t count = 1 + (uint32_t)below(&model, 6);
        bool fits = true;
        memcpy(model.before, model.pages, sizeof model.pages);
        for (uint32_t i = 0; i < count && fits; i++) {
            fits = random_op(&model, &ops[i]);
            if (!fits) count = i + 1;
        }
        uint64_t mode = below(&model, 3);
        if (!fits) memcpy(model.pages, model.before, sizeof model.pages);
        if (mode == 0) {
            CHECK_EQUAL(apply(&model.gpu, ops, count), fits ? 0 : -EEXIST);
        } else {
            unbind_fence *wait = mode == 1 ? make_fence(&model.gpu) : NULL, *out = NULL;
            CHECK_EQUAL(async(&model.gpu, ops, count, UNBIND_BATCH_ASYNC, wait, &out), fits ? 0 : -EEXIST);
            /* Another one on top, which finds what is still to come. */
            if (fits && below(&model, 2)) {
                fits = random_op(&model, &ops[0]);
                unbind_fence *second = NULL;
                CHECK_EQUAL(async(&model.gpu, ops, 1, UNBIND_BATCH_ASYNC, NULL, &second), fits ? 0 : -EEXIST);
                if (wait && policy != UNBIND_POLICY_SYNC) signal_and_drop(wait);
                else if (wait) unbind_fence_unref(wait);
                wait = NULL;
                if (fits) CHECK_EQUAL(finish(second), 0);
            }
            if (wait) signal_and_drop(wait);
            if (out) CHECK_EQUAL(finish(out), 0);
        }
        check_model(&model);
        if (check_failures) {
            printf("    seed %llu, batch %u\n", (unsigned long long)seed, batch);
            break;
        }
    }
    model_close(&model);
}

TEST(model_ranges, "random batches leave every page as the model says") {
    for (uint64_t seed = 1; seed <= 20 && !check_failures; seed++) random_batches(UNBIND_POLICY_RANGES, seed, 60);
}

TEST(model_timeline, "random batches leave every page as the model says under the timeline policy") {
    for (uint64_t seed = 1; seed <= 20 && !check_failures; seed++) random_batches(UNBIND_POLICY_TIMELINE, seed, 60);
}

TEST(whole_ranges, "a list of maps and unmaps takes effect as a whole, or not at all") {
    struct gpu gpu;
    struct unbind_page page;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, 8 * PAGE);
    struct unbind_op ops[3] = {map_op(bo, 0, 0x10000, 4 * PAGE), map_op(bo, 4 * PAGE, 0x20000, 4 * PAGE),
                               range_op(UNBIND_OP_UNMAP, 0x11000, 0)};
    CHECK_EQUAL(apply(&gpu, ops, 3), -EINVAL);
    CHECK(!page_at(&gpu, 0x10000, &page));
    CHECK_EQUAL(apply(&gpu, ops, 2), 0);
    CHECK(page_at(&gpu, 0x10000, &page));
    CHECK(page_at(&gpu, 0x23000, &page));
    CHECK_EQUAL(page.bo_offset, 7 * PAGE);
    CHECK_EQUAL(stats_of(&gpu).mappings, 2);
    ops[0] = range_op(UNBIND_OP_UNMAP, 0, 16 * MIB);
    CHECK_EQUAL(apply(&gpu, ops, 1), 0);
    CHECK(!page_at(&gpu, 0x10000, &page));
    CHECK_EQUAL(stats_of(&gpu).mappings, 0);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}


/* --- what overlaps, and what waits --- */

/* A store through the GPU; the job's error. */
static int gpu_store(struct gpu *gpu, unbind_queue *queue, uint64_t address, uint64_t value) {
    struct unbind_command command;
    unbind_fence *fence = NULL;
    memset(&command, 0, sizeof command);
    command.op = UNBIND_COMMAND_STORE;
    command.address = address;
    command.value = value;
    REQUIRE(submit(queue, &command, 1, NULL, NULL, &fence) == 0);
    (void)gpu;
    return finish(fence);
}

static uint64_t gpu_load(unbind_queue *queue, uint64_t address, int *error) {
    struct unbind_command command;
    unbind_fence *fence = NULL;
    uint64_t result = UINT64_C(0x5a5a5a5a);
    memset(&command, 0, sizeof command);
    command.op = UNBIND_COMMAND_LOAD;
    command.address = address;
    command.result = &result;
    REQUIRE(submit(queue, &command, 1, NULL, NULL, &fence) == 0);
    *error = finish(fence);
    return result;
}

TEST(null_pages, "null pages read zero, take writes, and never fault") {
    struct gpu gpu;
    struct unbind_page page;
    int error;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_queue *queue = make_queue(&gpu);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    memset(unbind_bo_cpu_pointer(bo), 0x77, PAGE);
    struct unbind_op ops[2] = {range_op(UNBIND_OP_MAP_NULL, 0, 4 * MIB), map_op(bo, 0, 0x5000, PAGE)};
    CHECK_EQUAL(apply(&gpu, ops, 2), 0);
    CHECK_EQUAL(gpu_store(&gpu, queue, 0x1000, 5), 0);
    CHECK_EQUAL(gpu_load(queue, 0x1000, &error), 0);
    CHECK_EQUAL(error, 0);
    CHECK_EQUAL(gpu_load(queue, 3 * MIB, &error), 0);
    CHECK_EQUAL(gpu_load(queue, 0x5000, &error), UINT64_C(0x7777777777777777));
    CHECK_EQUAL(error, 0);
    /* Copies from and to them. */
    struct unbind_command copy;
    unbind_fence *fence = NULL;
    memset(&copy, 0, sizeof copy);
    copy.op = UNBIND_COMMAND_COPY;
    copy.address = 0x6000; /* vanishes */
    copy.source = 0x5000;
    copy.size = PAGE;
    REQUIRE(submit(queue, &copy, 1, NULL, NULL, &fence) == 0);
    CHECK_EQUAL(finish(fence), 0);
    CHECK_EQUAL(gpu_load(queue, 0x6000, &error), 0);
    copy.address = 0x5000;
    copy.source = 0x1f00; /* across pages */
    copy.size = 0x800;
    REQUIRE(submit(queue, &copy, 1, NULL, NULL, &fence) == 0);
    CHECK_EQUAL(finish(fence), 0);
    CHECK_EQUAL(gpu_load(queue, 0x5000, &error), 0);
    CHECK_EQUAL(gpu_load(queue, 0x5800, &error), UINT64_C(0x7777777777777777));
    CHECK(page_at(&gpu, 2 * MIB, &page));
    CHECK_EQUAL(page.size, 2 * MIB);
    CHECK_EQUAL(page.flags & UNBIND_PAGE_NULL, UNBIND_PAGE_NULL);
    CHECK_EQUAL(page.bo_id, 0);
    CHECK_EQUAL(gpu.faults, 0);
    ops[0] = range_op(UNBIND_OP_UNMAP, 0, 2 * MIB);
    CHECK_EQUAL(apply(&gpu, ops, 1), 0);
    CHECK_EQUAL(gpu_store(&gpu, queue, 0x1000, 5), -EFAULT);
    CHECK_EQUAL(gpu_store(&gpu, queue, 2 * MIB, 5), 0);
    /* What is null can be held and read, too. */
    unbind_hold *hold = NULL;
    uint64_t word = 1;
    CHECK_EQUAL(unbind_vm_hold(gpu.vm, 2 * MIB, &hold), 0);
    CHECK_EQUAL(unbind_hold_read(hold, 0, &word, sizeof word), 0);
    CHECK_EQUAL(word, 0);
    unbind_hold_unref(hold);
    unbind_bo_unref(bo);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

TEST(user_memory, "the caller's memory is mapped without a handle, and its parts stay after a split") {
    struct gpu gpu;
    int error;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_queue *queue = make_queue(&gpu);
    uint64_t *memory = NULL;
    REQUIRE(posix_memalign((void **)&memory, PAGE, 4 * PAGE) == 0);
    memset(memory, 0, 4 * PAGE);
    struct unbind_op op = range_op(UNBIND_OP_MAP_USER, 0x10000, 4 * PAGE);
    op.memory = memory;
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    CHECK_EQUAL(gpu_store(&gpu, queue, 0x13008, 42), 0);
    CHECK_EQUAL(memory[3 * 512 + 1], 42);
    op = range_op(UNBIND_OP_UNMAP, 0x11000, PAGE);
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    CHECK_EQUAL(gpu_store(&gpu, queue, 0x11000, 1), -EFAULT);
    CHECK_EQUAL(gpu_store(&gpu, queue, 0x12000, 43), 0);
    CHECK_EQUAL(memory[2 * 512], 43);
    memory[0] = 44;
    CHECK_EQUAL(gpu_load(queue, 0x10000, &error), 44);
    CHECK_EQUAL(stats_of(&gpu).mappings, 2);
    op = range_op(UNBIND_OP_UNMAP, 0, 16 * MIB);
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    free(memory);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

TEST(kept, "mapping what is mapped keeps it, and a split keeps the entries of what is left") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, 16 * PAGE);
    struct unbind_op op = map_op(bo, 0, 0x10000, 16 * PAGE);
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    struct unbind_batch_stats before = stats_of(&gpu);
    op = map_op(bo, 4 * PAGE, 0x14000, 4 * PAGE);
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    struct unbind_batch_stats after = stats_of(&gpu);
    CHECK_EQUAL(after.kept - before.kept, 1);
    CHECK_EQUAL(after.maps, before.maps);
    CHECK_EQUAL(after.entries_written, before.entries_written);
    op = range_op(UNBIND_OP_UNMAP, 0x14000, PAGE);
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    before = after;
    after = stats_of(&gpu);
    CHECK_EQUAL(after.splits - before.splits, 1);
    CHECK_EQUAL(after.mappings, 2);
    CHECK_EQUAL(after.entries_cleared - before.entries_cleared, 1);
    /* The marks of the 64 KiB page that was cut. */
    CHECK(after.entries_written - before.entries_written <= 16);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(cut_large_page, "GPU work never misses a large page that is cut, nor its translation in the TLB") {
    const uint32_t executors[] = {UNBIND_EXECUTOR_MANUAL, UNBIND_EXECUTOR_POOL};
    for (int kind = 0; kind < 2; kind++) {
        struct gpu gpu;
        struct unbind_page page;
        gpu_open(&gpu, executors[kind]);
        unbind_queue *queue = make_queue(&gpu);
        unbind_bo *bo = make_bo(&gpu, 4 * MIB);
        struct unbind_op op = map_op(bo, 0, 4 * MIB, 4 * MIB);
        CHECK_EQUAL(apply(&gpu, &op, 1), 0);
        CHECK(page_at(&gpu, 4 * MIB, &page));
        CHECK_EQUAL(page.size, 2 * MIB);
        struct unbind_command fill[64];
        unbind_fence *job = NULL;
        for (unsigned i = 0; i < 64; i++) {
            memset(&fill[i], 0, sizeof fill[i]);
            fill[i].op = UNBIND_COMMAND_FILL;
            fill[i].address = 4 * MIB + 0x10000; /* what is left */
            fill[i].size = MIB;
            fill[i].value = i;
        }
        REQUIRE(submit(queue, fill, 64, NULL, NULL, &job) == 0);
        for (uint64_t i = 0; i < 16; i++) {
            op = range_op(UNBIND_OP_UNMAP, 4 * MIB + i * PAGE, PAGE);
            CHECK_EQUAL(apply(&gpu, &op, 1), 0);
            op = range_op(UNBIND_OP_UNMAP, 8 * MIB - (i + 1) * PAGE, PAGE);
            CHECK_EQUAL(apply(&gpu, &op, 1), 0);
        }
        CHECK_EQUAL(finish(job), 0);
        CHECK_EQUAL(gpu.faults, 0);
        CHECK_EQUAL(gpu_store(&gpu, queue, 4 * MIB + 0xf000, 1), -EFAULT);
        CHECK_EQUAL(gpu_store(&gpu, queue, 4 * MIB + 0x10000, 1), 0);
        CHECK(page_at(&gpu, 4 * MIB + 0x10000, &page));
        CHECK_EQUAL(page.size, 0x10000);
        unbind_bo_unref(bo);
        unbind_queue_unref(queue);
        gpu_close(&gpu);
    }
}

TEST(asynchronous, "an asynchronous batch waits for its wait list alone, and a job for its fence") {
    struct gpu gpu;
    struct unbind_page page;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_queue *queue = make_queue(&gpu);
    unbind_bo *one = make_bo(&gpu, 4 * PAGE), *two = make_bo(&gpu, 4 * PAGE);
    unbind_fence *work = make_fence(&gpu), *out = NULL, *other = NULL, *job = NULL;
    struct unbind_op ops[2] = {map_op(one, 0, 0x10000, 4 * PAGE), range_op(UNBIND_OP_UNMAP, 0x10000, 2 * PAGE)};
    CHECK_EQUAL(apply(&gpu, ops, 1), 0);
    /* Replaces the middle when the work has ended. */
    ops[0] = map_op(two, 0, 0x11000, 2 * PAGE);
    CHECK_EQUAL(async(&gpu, ops, 1, UNBIND_BATCH_ASYNC, work, &out), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(out), 0);
    CHECK_EQUAL(stats_of(&gpu).mappings, 3);
    CHECK(page_at(&gpu, 0x11000, &page));
    CHECK_EQUAL(page.bo_id, 0); /* still the old entry */
    /* What does not overlap does not wait, neither does a new one beside it. */
    ops[0] = map_op(one, 0, 0x20000, PAGE);
    CHECK_EQUAL(async(&gpu, ops, 1, UNBIND_BATCH_ASYNC, NULL, &other), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(other), 1);
    CHECK_EQUAL(finish(other), 0);
    ops[0] = map_op(two, 3 * PAGE, 0x12000, PAGE);
    CHECK_EQUAL(async(&gpu, ops, 1, UNBIND_BATCH_ASYNC, NULL, &other), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(other), 0); /* over what is still to be bound */
    struct unbind_command store;
    memset(&store, 0, sizeof store);
    store.op = UNBIND_COMMAND_STORE;
    store.address = 0x12000;
    store.value = 7;
    struct unbind_submit run = UNBIND_SUBMIT_INIT;
    run.commands = &store;
    run.command_count = 1;
    run.wait_fences = &other;
    run.wait_fence_count = 1;
    REQUIRE(unbind_queue_submit(queue, &run, &job) == 0);
    signal_and_drop(work);
    CHECK_EQUAL(finish(job), 0);
    CHECK_EQUAL(*(uint64_t *)((char *)unbind_bo_cpu_pointer(two) + 3 * PAGE), 7);
    CHECK_EQUAL(finish(out), 0);
    CHECK_EQUAL(finish(other), 0);
    unbind_bo_unref(one);
    unbind_bo_unref(two);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

TEST(errors_of_waits, "a batch happens whatever the fences carry that it waited for") {
    struct gpu gpu;
    struct unbind_page page;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
    unbind_fence *work = make_fence(&gpu), *out = NULL;
    struct unbind_op op = map_op(bo, 0, 0x10000, 4 * PAGE);
    CHECK_EQUAL(async(&gpu, &op, 1, UNBIND_BATCH_ASYNC, work, &out), 0);
    CHECK(!page_at(&gpu, 0x10000, &page));
    CHECK_EQUAL(unbind_fence_signal(work, -EFAULT), 0);
    unbind_fence_unref(work);
    CHECK_EQUAL(finish(out), 0);
    CHECK(page_at(&gpu, 0x10000, &page));
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(defer_to_idle, "a batch that is deferred takes nothing away from jobs that were submitted before") {
    const uint32_t executors[] = {UNBIND_EXECUTOR_MANUAL, UNBIND_EXECUTOR_SIMULATED, UNBIND_EXECUTOR_POOL};
    for (int kind = 0; kind < 3; kind++) {
        struct gpu gpu;
        gpu_open(&gpu, executors[kind]);
        unbind_queue *queues[2] = {make_queue(&gpu), make_queue(&gpu)};
        unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
        unbind_fence *go = make_fence(&gpu), *jobs[2], *out = NULL, *early = NULL;
        struct unbind_op op = map_op(bo, 0, 0x10000, 4 * PAGE);
        CHECK_EQUAL(apply(&gpu, &op, 1), 0);
        for (int i = 0; i < 2; i++) {
            struct unbind_command store;
            struct unbind_submit run = UNBIND_SUBMIT_INIT;
            memset(&store, 0, sizeof store);
            store.op = UNBIND_COMMAND_STORE;
            store.address = 0x10000 + (uint64_t)i * PAGE;
            store.value = 9;
            run.commands = &store;
            run.command_count = 1;
            run.wait_fences = &go;
            run.wait_fence_count = 1;
            REQUIRE(unbind_queue_submit(queues[i], &run, &jobs[i]) == 0);
        }
        op = range_op(UNBIND_OP_UNMAP, 0x10000, 4 * PAGE);
        CHECK_EQUAL(async(&gpu, &op, 1, UNBIND_BATCH_DEFER_TO_IDLE, NULL, &out), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(out), 0);
        op = range_op(UNBIND_OP_SYNC_ONLY, 0, 0);
        CHECK_EQUAL(async(&gpu, &op, 1, UNBIND_BATCH_DEFER_TO_IDLE, NULL, &early), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(early), 0);
        signal_and_drop(go);
        for (int i = 0; i < 2; i++) CHECK_EQUAL(finish(jobs[i]), 0);
        CHECK_EQUAL(finish(out), 0);
        CHECK_EQUAL(finish(early), 0);
        CHECK_EQUAL(gpu.faults, 0);
        CHECK_EQUAL(gpu_store(&gpu, queues[0], 0x10000, 1), -EFAULT);
        unbind_bo_unref(bo);
        for (int i = 0; i < 2; i++) unbind_queue_unref(queues[i]);
        gpu_close(&gpu);
    }
}

TEST(queues, "batches of one bind queue end in order, and those of another do not wait (selftest 47)") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bind_queue *queues[2] = {NULL, NULL};
    unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
    unbind_fence *work = make_fence(&gpu), *out[4] = {NULL, NULL, NULL, NULL};
    CHECK_EQUAL(unbind_bind_queue_create(gpu.vm, 1, &queues[0]), -EINVAL);
    for (int i = 0; i < 2; i++) CHECK_EQUAL(unbind_bind_queue_create(gpu.vm, 0, &queues[i]), 0);
    CHECK(unbind_bind_queue_ref(queues[0]) == queues[0]);
    unbind_bind_queue_unref(queues[0]);
    for (int i = 0; i < 4; i++) {
        struct unbind_batch batch = UNBIND_BATCH_INIT;
        struct unbind_sync sync = {work, NULL, 0};
        struct unbind_op op = map_op(bo, 0, 0x10000 + (uint64_t)i * 0x10000, PAGE);
        if (i == 3) op.address = 0x10000; /* conflicts with the first */
        batch.mode = UNBIND_BATCH_ASYNC;
        batch.queue = queues[i / 2];
        batch.waits = &sync;
        batch.wait_count = i == 0;
        batch.out_fence = &out[i];
        if (i == 3) op.offset = PAGE;
        CHECK_EQUAL(unbind_vm_submit(gpu.vm, &op, 1, &batch), 0);
    }
    CHECK_EQUAL(unbind_fence_is_signaled(out[0]), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(out[1]), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(out[2]), 1);
    CHECK_EQUAL(unbind_fence_is_signaled(out[3]), 0);
    for (int i = 0; i < 2; i++) unbind_bind_queue_unref(queues[i]);
    signal_and_drop(work);
    for (int i = 0; i < 4; i++) CHECK_EQUAL(finish(out[i]), 0);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(signals, "fences and points of timelines signal with the batch, and none is added by one that fails") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
    unbind_timeline *line = make_timeline(&gpu), *second = make_timeline(&gpu);
    unbind_fence *work = make_fence(&gpu), *told = make_fence(&gpu), *missing = NULL;
    struct unbind_sync waits[1] = {{work, NULL, 0}};
    struct unbind_sync lists[3] = {{told, NULL, 0}, {NULL, line, 5}, {NULL, second, 0}};
    struct unbind_batch batch = UNBIND_BATCH_INIT;
    struct unbind_op op = map_op(bo, 0, 0x10000, PAGE);
    uint32_t done = 9;
    batch.mode = UNBIND_BATCH_ASYNC;
    batch.waits = waits;
    batch.wait_count = 1;
    batch.signals = lists;
    batch.signal_count = 3;
    batch.out_done = &done;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, &op, 1, &batch), -EINVAL); /* point 0 does not grow */
    CHECK_EQUAL(done, 0);
    CHECK_EQUAL(stats_of(&gpu).mappings, 0);
    CHECK_EQUAL(unbind_timeline_get_point(line, 5, &missing), -EAGAIN);
    lists[2].point = 1;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, &op, 1, &batch), 0);
    CHECK_EQUAL(done, 1);
    unbind_fence *point = point_of(line, 5);
    CHECK_EQUAL(unbind_fence_is_signaled(told), 0);
    CHECK_EQUAL(value_of(line), 0);
    /* A timeline point can be waited for, too. */
    struct unbind_sync next[1] = {{NULL, line, 5}};
    unbind_fence *out = NULL;
    struct unbind_batch later = UNBIND_BATCH_INIT;
    later.mode = UNBIND_BATCH_ASYNC;
    later.waits = next;
    later.wait_count = 1;
    later.out_fence = &out;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, NULL, 0, &later), 0);
    next[0].point = 6;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, NULL, 0, &later), -EAGAIN);
    CHECK_EQUAL(unbind_fence_is_signaled(out), 0);
    signal_and_drop(work);
    CHECK_EQUAL(finish(out), 0);
    CHECK_EQUAL(finish(point), 0);
    CHECK_EQUAL(unbind_fence_wait(told, FOREVER, 0), 0);
    CHECK_EQUAL(value_of(line), 5);
    CHECK_EQUAL(value_of(second), 1);
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, &op, 1, &batch), -EINVAL); /* told has signalled */
    unbind_fence_unref(told);
    unbind_timeline_unref(line);
    unbind_timeline_unref(second);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(others, "VMAs, holds, moves and unbinds of the buffer respect mappings, and mappings them") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
    unbind_vma *vma = bind_new(&gpu, 4 * PAGE, 0x20000), *late = make_vma(&gpu, bo, 0x11000);
    struct unbind_op op = map_op(bo, 0, 0x10000, 4 * PAGE), other;
    CHECK_EQUAL(apply(&gpu, &op, 1), 0);
    other = range_op(UNBIND_OP_UNMAP, 0x10000, 0x20000);
    CHECK_EQUAL(apply(&gpu, &other, 1), -EBUSY);
    other = map_op(bo, 0, 0x21000, PAGE);
    CHECK_EQUAL(apply(&gpu, &other, 1), -EBUSY);
    CHECK_EQUAL(unbind_vma_bind(late, 0), -ENOSPC);
    CHECK_EQUAL(unbind_vma_bind(late, UNBIND_BIND_EVICT), -ENOSPC);
    CHECK_EQUAL(unbind_bo_unbind(bo, UNBIND_BO_UNBIND_ACTIVE), -EAGAIN);
    CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, NULL), -EBUSY);
    other = bo_op(UNBIND_OP_PREFETCH, bo);
    CHECK_EQUAL(apply(&gpu, &other, 1), 0);
    other.region = UNBIND_REGION_LOCAL;
    CHECK_EQUAL(apply(&gpu, &other, 1), -EBUSY);
    /* A part of what is held cannot go, all of it can. */
    unbind_hold *hold = NULL;
    unbind_fence *out = NULL;
    CHECK_EQUAL(unbind_vm_hold(gpu.vm, 0x12000, &hold), 0);
    other = range_op(UNBIND_OP_UNMAP, 0x11000, PAGE);
    CHECK_EQUAL(apply(&gpu, &other, 1), -EBUSY);
    other = bo_op(UNBIND_OP_UNMAP_ALL, bo);
    CHECK_EQUAL(async(&gpu, &other, 1, UNBIND_BATCH_ASYNC, NULL, &out), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(out), 0);
    unbind_hold_unref(hold);
    CHECK_EQUAL(finish(out), 0);
    /* Nothing holds it any more. */
    struct unbind_op both[2] = {bo_op(UNBIND_OP_PREFETCH, bo), map_op(bo, 0, 0x10000, 4 * PAGE)};
    both[0].region = UNBIND_REGION_LOCAL;
    CHECK_EQUAL(apply(&gpu, both, 2), 0);
    CHECK_EQUAL(unbind_bo_region(bo), UNBIND_REGION_LOCAL);
    struct unbind_page page;
    CHECK(page_at(&gpu, 0x12000, &page));
    CHECK(page.flags & UNBIND_PAGE_LOCAL);
    CHECK_EQUAL(unbind_vma_bind(late, 0), -ENOSPC);
    unbind_vma_unref(late);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(suspended, "mappings, whole and split, come back with a resume") {
    static struct model model;
    for (uint64_t seed = 1; seed <= 20 && !check_failures; seed++) {
        model_open(&model, UNBIND_EXECUTOR_MANUAL, UNBIND_POLICY_RANGES, seed);
        for (unsigned batch = 0; batch < 12 && !check_failures; batch++) {
            struct unbind_op op;
            unbind_fence *wait = make_fence(&model.gpu), *out[2] = {NULL, NULL};
            do memcpy(model.before, model.pages, sizeof model.pages);
            while (!random_op(&model, &op));
            CHECK_EQUAL(async(&model.gpu, &op, 1, UNBIND_BATCH_ASYNC, batch & 1 ? wait : NULL, &out[0]), 0);
            uint64_t when = below(&model, 4);
            if (when & 1) CHECK_EQUAL(unbind_vm_suspend(model.gpu.vm), 0);
            do memcpy(model.before, model.pages, sizeof model.pages);
            while (!random_op(&model, &op));
            CHECK_EQUAL(async(&model.gpu, &op, 1, UNBIND_BATCH_ASYNC, NULL, &out[1]), 0);
            if (!(when & 1)) CHECK_EQUAL(unbind_vm_suspend(model.gpu.vm), 0);
            if (when & 2) {
                signal_and_drop(wait);
                for (int i = 0; i < 2; i++) CHECK_EQUAL(finish(out[i]), 0);
                CHECK_EQUAL(unbind_vm_resume(model.gpu.vm), 0);
            } else {
                CHECK_EQUAL(unbind_vm_resume(model.gpu.vm), 0);
                signal_and_drop(wait);
                for (int i = 0; i < 2; i++) CHECK_EQUAL(finish(out[i]), 0);
            }
            check_model(&model);
        }
        model_close(&model);
    }
}

TEST(closing_pending, "an address space and a device close with batches under way") {
    const uint32_t executors[] = {UNBIND_EXECUTOR_MANUAL, UNBIND_EXECUTOR_SIMULATED, UNBIND_EXECUTOR_POOL};
    static struct model model;
    for (unsigned run = 0; run < 24 && !check_failures; run++) {
        model_open(&model, executors[run % 3], run & 1 ? UNBIND_POLICY_RANGES : UNBIND_POLICY_TIMELINE, run + 1);
        unbind_fence *wait = make_fence(&model.gpu), *out[8];
        for (unsigned i = 0; i < 8; i++) {
            struct unbind_op op;
            do memcpy(model.before, model.pages, sizeof model.pages);
            while (!random_op(&model, &op));
            CHECK_EQUAL(async(&model.gpu, &op, 1, UNBIND_BATCH_ASYNC, i & 1 ? wait : NULL, &out[i]), 0);
        }
        struct unbind_op op = range_op(UNBIND_OP_UNMAP, 0, PAGE);
        if (run % 4 < 2) {
            CHECK_EQUAL(unbind_vm_close(model.gpu.vm), 0);
            CHECK_EQUAL(apply(&model.gpu, &op, 1), -ENOENT);
            signal_and_drop(wait);
        } else {
            CHECK_EQUAL(unbind_device_close(model.gpu.device, NULL), 0);
            CHECK_EQUAL(apply(&model.gpu, &op, 1), -ENOENT);
            unbind_fence_unref(wait);
        }
        for (unsigned i = 0; i < 8; i++) CHECK_EQUAL(finish(out[i]), 0);
        for (unsigned i = 0; i < BUFFERS; i++) unbind_bo_unref(model.bos[i]);
        unbind_vm_unref(model.gpu.vm);
        if (run % 4 < 2) {
            device_close_clean(model.gpu.device, &model.gpu.hooks);
        } else {
            unbind_device_unref(model.gpu.device);
            CHECK_EQUAL(model.gpu.hooks.blocks, 0);
        }
    }
}

TEST(cutting, "a list that is too large is refused, or cut into pieces that are whole") {
    struct gpu gpu;
    uint32_t done = 9;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
    struct unbind_op ops[10];
    struct unbind_batch batch = UNBIND_BATCH_INIT;
    unbind_fence *out = NULL, *work = make_fence(&gpu);
    struct unbind_sync wait = {work, NULL, 0};
    for (unsigned i = 0; i < 10; i++) ops[i] = map_op(bo, 0, 0x10000 + i * 2 * PAGE, PAGE);
    batch.mode = UNBIND_BATCH_ASYNC;
    batch.limit = 4;
    batch.out_done = &done;
    batch.out_fence = &out;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, 10, &batch), -ENOBUFS);
    CHECK_EQUAL(done, 0);
    CHECK_EQUAL(stats_of(&gpu).mappings, 0);
    batch.flags = UNBIND_BATCH_SPLIT;
    batch.waits = &wait;
    batch.wait_count = 1;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, 10, &batch), 0);
    CHECK_EQUAL(done, 10);
    CHECK_EQUAL(stats_of(&gpu).batches, 3);
    CHECK_EQUAL(stats_of(&gpu).cuts, 2);
    CHECK_EQUAL(stats_of(&gpu).mappings, 10);
    CHECK_EQUAL(unbind_fence_is_signaled(out), 0);
    signal_and_drop(work);
    CHECK_EQUAL(finish(out), 0);
    /* The second piece fails: the first stays. */
    batch.wait_count = 0;
    batch.waits = NULL;
    for (unsigned i = 0; i < 10; i++) ops[i].address += 0x100000;
    ops[5].address = 0x10000;
    ops[5].flags = UNBIND_OP_NO_REPLACE;
    out = NULL;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, 10, &batch), -EEXIST);
    CHECK_EQUAL(done, 4);
    CHECK_EQUAL(stats_of(&gpu).mappings, 14);
    if (out) CHECK_EQUAL(finish(out), 0);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

/* --- when memory is short --- */

static void open_failing(struct model *model, uint32_t executor, uint32_t policy, uint32_t device_flags, uint64_t seed) {
    struct unbind_allocator allocator;
    struct unbind_vm_options vm_options = UNBIND_VM_OPTIONS_INIT;
    memset(model, 0, sizeof *model);
    struct unbind_device_options options = gpu_options(&model->gpu, executor, &allocator);
    options.flags = device_flags;
    vm_options.policy = policy;
    REQUIRE(unbind_device_open_software(&options, &model->gpu.device) == 0);
    REQUIRE(unbind_vm_create(model->gpu.device, &vm_options, &model->gpu.vm) == 0);
    for (unsigned i = 0; i < BUFFERS; i++) model->bos[i] = make_bo(&model->gpu, PAGES * PAGE);
    model->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

/* Some mappings, and some that are still to be bound when the fence signals. */
static unbind_fence *prepare_mappings(struct model *model) {
    unbind_fence *wait = make_fence(&model->gpu);
    for (unsigned i = 0; i < 12; i++) {
        struct unbind_op op;
        do memcpy(model->before, model->pages, sizeof model->pages);
        while (!random_op(model, &op));
        CHECK_EQUAL(async(&model->gpu, &op, 1, UNBIND_BATCH_ASYNC, i > 7 ? wait : NULL, NULL), 0);
    }
    return wait;
}

TEST(failing_allocations, "a batch with one failing allocation, whichever it is, changes nothing") {
    static struct model model;
    for (unsigned run = 0; run < 8 && !check_failures; run++) {
        uint32_t policy = run & 1 ? UNBIND_POLICY_TIMELINE : UNBIND_POLICY_RANGES;
        unsigned refused = 0;
        for (uint64_t n = 1;; n++) {
            REQUIRE(n < 2000);
            open_failing(&model, UNBIND_EXECUTOR_MANUAL, policy, run & 2 ? UNBIND_DEVICE_NO_SLABS : 0, run + 1);
            unbind_fence *work = prepare_mappings(&model), *told = make_fence(&model.gpu), *out = NULL;
            unbind_timeline *line = make_timeline(&model.gpu);
            struct model_page before[PAGES];
            struct unbind_op ops[5];
            memcpy(before, model.pages, sizeof before);
            for (unsigned i = 0; i < 5; i++) {
                do memcpy(model.before, model.pages, sizeof model.pages);
                while (!random_op(&model, &ops[i]));
            }
            struct unbind_sync waits[1] = {{work, NULL, 0}};
            struct unbind_sync lists[2] = {{told, NULL, 0}, {NULL, line, 5}};
            struct unbind_batch batch = UNBIND_BATCH_INIT;
            batch.mode = UNBIND_BATCH_ASYNC;
            batch.flags = UNBIND_BATCH_NO_WAIT;
            batch.waits = waits;
            batch.wait_count = run < 4;
            batch.signals = lists;
            batch.signal_count = 2;
            batch.out_fence = &out;
            struct unbind_batch_stats stats = stats_of(&model.gpu);
            struct unbind_vm_stats vm_before = vm_stats(model.gpu.vm);
            model.gpu.hooks.fail_at = model.gpu.hooks.calls + n;
            int status = unbind_vm_submit(model.gpu.vm, ops, 5, &batch);
            model.gpu.hooks.fail_at = 0;
            uint64_t failed = model.gpu.hooks.failed;
            if (status != 0) {
                CHECK_EQUAL(status, -ENOMEM);
                refused++;
                CHECK_EQUAL(stats_of(&model.gpu).mappings, stats.mappings);
                CHECK_EQUAL(vm_stats(model.gpu.vm).unbinds, vm_before.unbinds);
                CHECK_EQUAL(vm_stats(model.gpu.vm).bound_bytes, vm_before.bound_bytes);
                unbind_fence *missing = NULL;
                CHECK_EQUAL(unbind_timeline_get_point(line, 5, &missing), -EAGAIN);
                memcpy(model.pages, before, sizeof before);
            }
            signal_and_drop(work);
            if (out) CHECK_EQUAL(finish(out), 0);
            CHECK_EQUAL(unbind_device_wait_idle(model.gpu.device, FOREVER, 0), 0);
            CHECK_EQUAL(unbind_fence_is_signaled(told), status == 0);
            check_model(&model);
            unbind_fence_unref(told);
            unbind_timeline_unref(line);
            model_close(&model);
            if (check_failures) printf("    run %u, with allocation %llu failing\n", run, (unsigned long long)n);
            if (!failed || check_failures) break;
        }
        CHECK(refused > 5 || !(run & 2));
    }
}

TEST(memory_ladder, "memory that is short is made by evicting, by waiting, by cutting, in that order, or the batch is refused") {
    struct gpu gpu;
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(&gpu, UNBIND_EXECUTOR_MANUAL, &allocator);
    uint32_t done = 9;
    options.flags = UNBIND_DEVICE_NO_SLABS;
    REQUIRE(unbind_device_open_software(&options, &gpu.device) == 0);
    REQUIRE(unbind_vm_create(gpu.device, NULL, &gpu.vm) == 0);
    unbind_bo *bo = make_bo(&gpu, 8 * PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, 0x800000);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    unbind_fence *work = make_fence(&gpu), *out = NULL;
    struct unbind_sync wait = {work, NULL, 0};
    struct unbind_op ops[8];
    struct unbind_batch batch = UNBIND_BATCH_INIT;
    for (unsigned i = 0; i < 8; i++) ops[i] = map_op(bo, 0, 0x10000 + i * 2 * PAGE, PAGE);
    batch.mode = UNBIND_BATCH_ASYNC;
    batch.out_done = &done;
    batch.out_fence = &out;
    /* How many calls it takes when nothing fails; then they are all given back. */
    uint64_t calls = gpu.hooks.calls;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, 8, &batch), 0);
    CHECK_EQUAL(finish(out), 0);
    calls = gpu.hooks.calls - calls;
    struct unbind_op all = bo_op(UNBIND_OP_UNMAP_ALL, bo);
    CHECK_EQUAL(apply(&gpu, &all, 1), 0);
    /* Not even waiting: at once. */
    batch.flags = UNBIND_BATCH_NO_WAIT;
    gpu.hooks.fail_at = gpu.hooks.calls + calls / 2;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, 8, &batch), -ENOMEM);
    CHECK_EQUAL(done, 0);
    CHECK_EQUAL(stats_of(&gpu).evictions + stats_of(&gpu).waits, 0);
    CHECK(is_bound(vma));
    /* Evicting comes first. */
    batch.flags = UNBIND_BATCH_EVICT | UNBIND_BATCH_NO_WAIT;
    gpu.hooks.fail_at = gpu.hooks.calls + calls / 2;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, 8, &batch), 0);
    CHECK_EQUAL(finish(out), 0);
    CHECK_EQUAL(stats_of(&gpu).evictions, 1);
    CHECK_EQUAL(stats_of(&gpu).waits, 0);
    CHECK(is_unbound(vma));
    CHECK_EQUAL(apply(&gpu, &all, 1), 0);
    /* Then the waiting: for the wait list, too. */
    batch.flags = 0;
    batch.waits = &wait;
    batch.wait_count = 1;
    unbind_fence *timed = NULL;
    CHECK_EQUAL(unbind_fence_create_timed(gpu.device, unbind_device_now(gpu.device) + 1000000, &timed), 0);
    wait.fence = timed;
    gpu.hooks.fail_at = gpu.hooks.calls + calls / 2;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, 8, &batch), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(timed), 1);
    CHECK_EQUAL(finish(out), 0);
    CHECK_EQUAL(stats_of(&gpu).waits, 1);
    CHECK_EQUAL(apply(&gpu, &all, 1), 0);
    unbind_fence_unref(timed);
    batch.wait_count = 0;
    /* Then smaller pieces: every so many calls fail, so that the whole never fits. */
    batch.flags = UNBIND_BATCH_SPLIT | UNBIND_BATCH_NO_WAIT;
    gpu.hooks.fail_every = calls * 2 / 3;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, 8, &batch), 0);
    gpu.hooks.fail_every = 0;
    CHECK_EQUAL(done, 8);
    CHECK(stats_of(&gpu).cuts > 0);
    CHECK_EQUAL(finish(out), 0);
    CHECK_EQUAL(stats_of(&gpu).mappings, 8);
    CHECK_EQUAL(apply(&gpu, &all, 1), 0);
    /* In the end there is none. */
    gpu.hooks.fail_every = 1;
    batch.flags = UNBIND_BATCH_SPLIT | UNBIND_BATCH_EVICT;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, 8, &batch), -ENOMEM);
    CHECK_EQUAL(done, 0);
    gpu.hooks.fail_every = 0;
    signal_and_drop(work);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}
