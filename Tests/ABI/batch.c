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

