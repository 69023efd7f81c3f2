/* SPDX-License-Identifier: MIT */
/* Batches of map and unmap operations against a model that knows every page. */
#include "batching.h"

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

static void open_failing(struct model *model, uint32_t policy, uint32_t device_flags, uint64_t seed) {
    struct unbind_allocator allocator;
    struct unbind_vm_options vm_options = UNBIND_VM_OPTIONS_INIT;
    memset(model, 0, sizeof *model);
    struct unbind_device_options options = gpu_options(&model->gpu, UNBIND_EXECUTOR_MANUAL, &allocator);
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
            open_failing(&model, policy, run & 2 ? UNBIND_DEVICE_NO_SLABS : 0, run + 1);
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

TEST(memory_ladder, "memory that is short is made by evicting, waiting, cutting, in that order, or there is none") {
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

/* --- threads --- */

struct mapper {
    struct model *model;
    unsigned number;
    unsigned failed;
};

static void *map_and_unmap(void *argument) {
    struct mapper *mapper = (struct mapper *)argument;
    struct model *model = mapper->model;
    uint64_t random = mapper->number * UINT64_C(0x9e3779b97f4a7c15) + 5;
    for (unsigned i = 0; i < 400; i++) {
        struct unbind_op ops[2];
        unbind_fence *out = NULL;
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        /* Ranges of one's own, and now and then one that others have, too. */
        uint64_t first = (random >> 33) % 480 + (random >> 60 ? mapper->number * 512 : 0);
        uint64_t count = 1 + (random >> 45) % 32;
        ops[0] = map_op(model->bos[i % BUFFERS], first * PAGE, first * PAGE, count * PAGE);
        ops[1] = range_op(UNBIND_OP_UNMAP, (first + count / 2) * PAGE, PAGE);
        int status = i & 1 ? async(&model->gpu, ops, 2, UNBIND_BATCH_ASYNC, NULL, &out) : apply(&model->gpu, ops, 2);
        if (status != 0 || (out && finish(out) != 0)) mapper->failed++;
    }
    return NULL;
}

TEST(threads, "threads map and unmap in one address space, and work that is bound meanwhile finds its pages") {
    static struct model model;
    struct mapper mappers[4];
    pthread_t threads[4];
    model_open(&model, UNBIND_EXECUTOR_POOL, UNBIND_POLICY_RANGES, 1);
    unbind_queue *queue = make_queue(&model.gpu);
    struct unbind_op op = map_op(model.bos[0], 0, 64 * MIB, 4 * MIB);
    CHECK_EQUAL(apply(&model.gpu, &op, 1), 0);
    for (unsigned i = 0; i < 4; i++) {
        mappers[i].model = &model, mappers[i].number = i, mappers[i].failed = 0;
        REQUIRE(pthread_create(&threads[i], NULL, map_and_unmap, &mappers[i]) == 0);
    }
    for (unsigned i = 0; i < 50; i++) {
        struct unbind_command fill;
        unbind_fence *job = NULL;
        memset(&fill, 0, sizeof fill);
        fill.op = UNBIND_COMMAND_FILL;
        fill.address = 64 * MIB + MIB;
        fill.size = MIB;
        REQUIRE(submit(queue, &fill, 1, NULL, NULL, &job) == 0);
        /* The large pages before and behind it are cut, and come back. */
        op = range_op(UNBIND_OP_UNMAP, 64 * MIB + i % 8 * PAGE, PAGE);
        CHECK_EQUAL(apply(&model.gpu, &op, 1), 0);
        op = map_op(model.bos[0], i % 8 * PAGE, 64 * MIB + i % 8 * PAGE, PAGE);
        CHECK_EQUAL(apply(&model.gpu, &op, 1), 0);
        CHECK_EQUAL(finish(job), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
        CHECK_EQUAL(mappers[i].failed, 0);
    }
    CHECK_EQUAL(model.gpu.faults, 0);
    op = range_op(UNBIND_OP_UNMAP, 0, UINT64_C(1) << 48);
    CHECK_EQUAL(apply(&model.gpu, &op, 1), 0);
    struct unbind_page page = UNBIND_PAGE_INIT;
    CHECK_EQUAL(unbind_vm_find_page(model.gpu.vm, 0, &page), -ENOENT);
    CHECK_EQUAL(stats_of(&model.gpu).mappings, 0);
    unbind_queue_unref(queue);
    model_close(&model);
}
