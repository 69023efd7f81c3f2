/* SPDX-License-Identifier: MIT */
/* Batches on a backend of the program's own: it is asked to unmap parts of what it has mapped. */
#include "toy_backend.h"
#include "batching.h"

enum { MODEL_PAGES = 256, MODEL_BOS = 2, NONE = -1, ZEROS = -2 };

struct expected {
    int bo[MODEL_PAGES];
    uint64_t offset[MODEL_PAGES];
};

static uint64_t pick(uint64_t *state, uint64_t limit) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (*state >> 33) % limit;
}

static struct unbind_op random_op(struct expected *expected, unbind_bo **bos, uint64_t *state) {
    uint64_t first = pick(state, MODEL_PAGES), count = 1 + pick(state, 24);
    if (count > MODEL_PAGES - first) count = MODEL_PAGES - first;
    uint64_t kind = pick(state, 4), which = pick(state, MODEL_BOS), offset = pick(state, MODEL_PAGES - count + 1);
    if (pick(state, 2)) offset = first;
    for (uint64_t i = 0; i < count; i++) {
        expected->bo[first + i] = kind == 0 ? NONE : kind == 1 ? ZEROS : (int)which;
        expected->offset[first + i] = kind > 1 ? (offset + i) * PAGE : 0;
    }
    if (kind == 0) return range_op(UNBIND_OP_UNMAP, first * PAGE, count * PAGE);
    if (kind == 1) return range_op(UNBIND_OP_MAP_NULL, first * PAGE, count * PAGE);
    return map_op(bos[which], offset * PAGE, first * PAGE, count * PAGE);
}

static void random_batches(enum toy_mode mode, uint32_t executor, uint32_t policy, uint64_t seed) {
    static struct toy toy;
    struct expected expected;
    unbind_bo *bos[MODEL_BOS];
    uint64_t state = seed;
    toy_init(&toy, mode);
    toy.ops.capabilities |= UNBIND_CAP_PARTIAL_UNBIND | UNBIND_CAP_ALIASING | UNBIND_CAP_NULL_MAPPINGS;
    toy_open_policy(&toy, executor, policy);
    for (unsigned i = 0; i < MODEL_BOS; i++) bos[i] = make_bo(&toy.gpu, MODEL_PAGES * PAGE);
    for (unsigned i = 0; i < MODEL_PAGES; i++) expected.bo[i] = NONE;
    for (unsigned round = 0; round < 60 && !check_failures; round++) {
        unbind_fence *work = make_fence(&toy.gpu), *out[3];
        for (unsigned i = 0; i < 3; i++) {
            struct unbind_op ops[4];
            uint32_t count = 1 + (uint32_t)pick(&state, 4);
            for (uint32_t k = 0; k < count; k++) ops[k] = random_op(&expected, bos, &state);
            CHECK_EQUAL(async(&toy.gpu, ops, count, UNBIND_BATCH_ASYNC, pick(&state, 2) ? work : NULL, &out[i]), 0);
        }
        signal_and_drop(work);
        for (unsigned i = 0; i < 3; i++) CHECK_EQUAL(finish(out[i]), 0);
        toy_idle(&toy);
        for (unsigned i = 0; i < MODEL_PAGES; i++) {
            struct toy_page *page = &toy.vm->pages[i];
            CHECK_EQUAL(page->bo != NULL, expected.bo[i] != NONE);
            CHECK(page->bo == NULL || (page->bo == &toy.null_bo) == (expected.bo[i] == ZEROS));
            if (page->bo && expected.bo[i] >= 0) {
                CHECK_EQUAL(page->offset, expected.offset[i]);
                CHECK(page->bo->memory == (char *)unbind_bo_cpu_pointer(bos[expected.bo[i]]));
            }
        }
        if (check_failures) printf("    seed %llu, round %u\n", (unsigned long long)seed, round);
    }
    for (unsigned i = 0; i < MODEL_BOS; i++) unbind_bo_unref(bos[i]);
    toy_close(&toy);
}

TEST(custom_model, "random batches leave a backend with what the model says") {
    for (uint64_t seed = 1; seed <= 6 && !check_failures; seed++) {
        random_batches(TOY_AT_ONCE, UNBIND_EXECUTOR_MANUAL, UNBIND_POLICY_RANGES, seed);
        random_batches(TOY_BEFORE_RETURN, UNBIND_EXECUTOR_MANUAL, UNBIND_POLICY_TIMELINE, seed);
        random_batches(TOY_BY_THREAD, UNBIND_EXECUTOR_POOL, UNBIND_POLICY_RANGES, seed);
    }
}

TEST(custom_refusals, "what a backend cannot do is refused, and changes nothing") {
    static struct toy toy;
    const uint64_t lacking[] = {UNBIND_CAP_PARTIAL_UNBIND, UNBIND_CAP_ALIASING, UNBIND_CAP_NULL_MAPPINGS};
    for (unsigned i = 0; i < 3; i++) {
        toy_init(&toy, TOY_AT_ONCE);
        toy.ops.capabilities |= UNBIND_CAP_PARTIAL_UNBIND | UNBIND_CAP_ALIASING | UNBIND_CAP_NULL_MAPPINGS;
        toy.ops.capabilities &= ~lacking[i];
        toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
        unbind_bo *bo = make_bo(&toy.gpu, 4 * PAGE);
        struct unbind_op op = map_op(bo, 0, 0x10000, PAGE);
        CHECK_EQUAL(apply(&toy.gpu, &op, 1), i < 2 ? -EOPNOTSUPP : 0);
        op = range_op(UNBIND_OP_MAP_NULL, 0x20000, PAGE);
        CHECK_EQUAL(apply(&toy.gpu, &op, 1), -EOPNOTSUPP);
        op = range_op(UNBIND_OP_SYNC_ONLY, 0, 0);
        CHECK_EQUAL(async(&toy.gpu, &op, 1, UNBIND_BATCH_DEFER_TO_IDLE, NULL, NULL), -EOPNOTSUPP);
        CHECK_EQUAL(stats_of(&toy.gpu).mappings, i < 2 ? 0 : 1);
        unbind_bo_unref(bo);
        toy_close(&toy);
    }
}

TEST(custom_failing_map, "a map that a backend refuses is told by the batch's fence, and can be tried again") {
    static struct toy toy;
    toy_init(&toy, TOY_AT_ONCE);
    toy.ops.capabilities |= UNBIND_CAP_PARTIAL_UNBIND | UNBIND_CAP_ALIASING;
    toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&toy.gpu, 4 * PAGE);
    unbind_fence *out = NULL;
    struct unbind_op op = map_op(bo, 0, 0x10000, 4 * PAGE);
    toy_fail(&toy, TOY_MAP, -ENOMEM, 1);
    CHECK_EQUAL(async(&toy.gpu, &op, 1, UNBIND_BATCH_ASYNC, NULL, &out), 0);
    CHECK_EQUAL(finish(out), -ENOMEM);
    toy_idle(&toy);
    CHECK(toy_look(toy.vm, 0x10000) == NULL);
    CHECK_EQUAL(async(&toy.gpu, &op, 1, UNBIND_BATCH_ASYNC, NULL, &out), 0);
    CHECK_EQUAL(finish(out), 0);
    CHECK(toy_look(toy.vm, 0x13000) != NULL);
    unbind_bo_unref(bo);
    toy_close(&toy);
}
