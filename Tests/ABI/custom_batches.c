/* SPDX-License-Identifier: MIT */
/* Batches on a backend of the program's own. */
#include "toy_backend.h"

#define BATCH_CAPABILITIES (TOY_CAPABILITIES | UNBIND_CAP_PARTIAL_UNBIND | UNBIND_CAP_NULL_MAPPINGS)

static struct unbind_op op_of(uint32_t kind, uint64_t address, uint64_t size) {
    struct unbind_op op;
    memset(&op, 0, sizeof op);
    op.op = kind;
    op.address = address;
    op.size = size;
    return op;
}

static struct unbind_op op_map(unbind_bo *bo, uint64_t offset, uint64_t address, uint64_t size) {
    struct unbind_op op = op_of(UNBIND_OP_MAP, address, size);
    op.bo = bo;
    op.offset = offset;
    return op;
}

static int batch(struct toy *toy, const struct unbind_op *ops, uint32_t count, uint32_t mode) {
    struct unbind_batch options = UNBIND_BATCH_INIT;
    unbind_fence *fence = NULL;
    int error;
    options.mode = mode;
    options.out_fence = &fence;
    int status = unbind_vm_submit(toy->gpu.vm, ops, count, &options);
    if (fence == NULL) return status;
    error = finish(fence);
    if (mode == UNBIND_BATCH_SYNC) CHECK_EQUAL(status, error);
    return error;
}

/* What the first pages of the VM show: a letter for each buffer, '0' for null, '.' for nothing. */
static void shows(struct toy *toy, struct unbind_bo *const *bos, const char *expected) {
    pthread_mutex_lock(&toy->lock);
    for (uint32_t i = 0; expected[i]; i++) {
        struct toy_page *page = &toy->vm->pages[i];
        char got = page->bo == NULL ? '.' : page->bo == &toy->null_bo ? '0' : '?';
        for (char letter = 'a'; letter < 'd' && got == '?'; letter++) {
            unbind_bo *bo = bos[letter - 'a'];
            if (bo && page->bo->memory == unbind_bo_cpu_pointer(bo)) got = letter;
        }
        if (got != expected[i]) printf("    page %u shows %c, not %c\n", i, got, expected[i]);
        CHECK(got == expected[i]);
    }
    pthread_mutex_unlock(&toy->lock);
}

TEST(replacing, "batches map, replace, split and unmap parts on a backend that can unmap parts") {
    static const uint32_t batch_modes[3] = {UNBIND_BATCH_SYNC, UNBIND_BATCH_ASYNC, UNBIND_BATCH_DEFER_TO_IDLE};
    for (unsigned i = 0; i < 3; i++) {
        FOR_EACH_WAY(executor, mode) {
            struct toy toy;
            unbind_bo *bos[3];
            toy_init(&toy, mode);
            toy.ops.capabilities = BATCH_CAPABILITIES;
            toy_open(&toy, executor);
            for (unsigned j = 0; j < 3; j++) bos[j] = make_bo(&toy.gpu, 16 * PAGE);
            struct unbind_op ops[4] = {op_map(bos[0], 0, 0, 8 * PAGE), op_map(bos[1], 0, 12 * PAGE, 4 * PAGE),
                                       op_of(UNBIND_OP_MAP_NULL, 8 * PAGE, 2 * PAGE),
                                       op_map(bos[0], 8 * PAGE, 10 * PAGE, PAGE)};
            CHECK_EQUAL(batch(&toy, ops, 4, batch_modes[i]), 0);
            shows(&toy, bos, "aaaaaaaa00a.bbbb....");
            ops[0] = op_map(bos[2], 3 * PAGE, 3 * PAGE, 2 * PAGE);
            ops[1] = op_of(UNBIND_OP_UNMAP, 9 * PAGE, 4 * PAGE);
            CHECK_EQUAL(batch(&toy, ops, 2, batch_modes[i]), 0);
            shows(&toy, bos, "aaaccaaa0....bbb....");
            CHECK_EQUAL(toy.vm->pages[7].offset, 7 * PAGE);
            CHECK_EQUAL(toy.vm->pages[13].offset, PAGE);
            ops[0] = op_of(UNBIND_OP_UNMAP_ALL, 0, 0);
            ops[0].bo = bos[0];
            CHECK_EQUAL(batch(&toy, ops, 1, batch_modes[i]), 0);
            shows(&toy, bos, "...cc...0....bbb....");
            for (unsigned j = 0; j < 3; j++) unbind_bo_unref(bos[j]);
            toy_close(&toy);
            CHECK_EQUAL(toy.mapped, 0);
        }
    }
}

TEST(one_call, "a batch of maps is one update, and neighbours in it are one range") {
    struct toy toy;
    struct unbind_op ops[100];
    toy_init(&toy, TOY_AT_ONCE);
    toy.ops.capabilities = BATCH_CAPABILITIES;
    toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&toy.gpu, 100 * PAGE);
    for (unsigned i = 0; i < 100; i++) ops[i] = op_map(bo, i * PAGE, i * PAGE, PAGE);
    ops[50].flags = UNBIND_OP_READ_ONLY | UNBIND_OP_CAPTURE;
    CHECK_EQUAL(batch(&toy, ops, 100, UNBIND_BATCH_SYNC), 0);
    CHECK(toy.maps == 1 && toy.ranges == 3);
    CHECK_EQUAL(toy.vm->pages[50].flags, UNBIND_BACKEND_READ_ONLY | UNBIND_BACKEND_CAPTURE);
    struct unbind_op unmap = op_of(UNBIND_OP_UNMAP, 0, 100 * PAGE);
    CHECK_EQUAL(batch(&toy, &unmap, 1, UNBIND_BATCH_SYNC), 0);
    CHECK(toy.unmaps == 1 && toy.ranges == 4 && toy.mapped == 0);
    unbind_bo_unref(bo);
    toy_close(&toy);
}

TEST(split_behind_bind, "a mapping is split while its own map is still under way") {
    struct toy toy;
    unbind_bo *bos[3] = {NULL, NULL, NULL};
    struct unbind_batch options = UNBIND_BATCH_INIT;
    unbind_fence *mapped = NULL, *unmapped = NULL;
    toy_init(&toy, TOY_BY_HAND);
    toy.ops.capabilities = BATCH_CAPABILITIES;
    toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
    bos[0] = make_bo(&toy.gpu, 8 * PAGE);
    struct unbind_op op = op_map(bos[0], 0, 0, 8 * PAGE);
    options.mode = UNBIND_BATCH_ASYNC;
    options.out_fence = &mapped;
    REQUIRE(unbind_vm_submit(toy.gpu.vm, &op, 1, &options) == 0);
    toy_idle(&toy);
    op = op_of(UNBIND_OP_UNMAP, 2 * PAGE, 3 * PAGE);
    options.out_fence = &unmapped;
    REQUIRE(unbind_vm_submit(toy.gpu.vm, &op, 1, &options) == 0);
    toy_idle(&toy);
    CHECK(!unbind_fence_is_signaled(mapped) && !unbind_fence_is_signaled(unmapped));
    while (toy_complete(&toy)) toy_idle(&toy);
    CHECK_EQUAL(finish(mapped), 0);
    CHECK_EQUAL(finish(unmapped), 0);
    shows(&toy, bos, "aa...aaa.");
    toy.mode = TOY_AT_ONCE;
    unbind_bo_unref(bos[0]);
    toy_close(&toy);
}

TEST(refused, "what the backend cannot do is refused before anything changes") {
    static const uint64_t missing[4] = {UNBIND_CAP_ALIASING, UNBIND_CAP_PARTIAL_UNBIND, UNBIND_CAP_NULL_MAPPINGS,
                                        UNBIND_CAP_READ_ONLY};
    for (unsigned i = 0; i < 4; i++) {
        struct toy toy;
        unbind_bo *bos[3] = {NULL, NULL, NULL};
        toy_init(&toy, TOY_AT_ONCE);
        toy.ops.capabilities = BATCH_CAPABILITIES & ~missing[i];
        toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
        bos[0] = make_bo(&toy.gpu, 4 * PAGE);
        struct unbind_op ops[2] = {op_map(bos[0], 0, 0, 4 * PAGE), op_map(bos[0], 0, 5 * PAGE, PAGE)};
        CHECK_EQUAL(batch(&toy, ops, 1, UNBIND_BATCH_SYNC), i == 0 ? -EOPNOTSUPP : 0);
        if (i == 1) ops[0] = op_of(UNBIND_OP_UNMAP, PAGE, PAGE);
        if (i == 2) ops[0] = op_of(UNBIND_OP_MAP_NULL, 8 * PAGE, PAGE);
        if (i == 3) ops[0] = op_map(bos[0], 0, 8 * PAGE, PAGE);
        if (i == 3) ops[0].flags = UNBIND_OP_READ_ONLY;
        CHECK_EQUAL(batch(&toy, ops, 2, UNBIND_BATCH_SYNC), -EOPNOTSUPP);
        shows(&toy, bos, i == 0 ? "......." : "aaaa...");
        unbind_bo_unref(bos[0]);
        toy_close(&toy);
    }
}

TEST(failing, "a map that fails is told by the batch's fence, and can be replaced") {
    for (int by_thread = 0; by_thread < 2; by_thread++) {
        struct toy toy;
        unbind_bo *bos[3] = {NULL, NULL, NULL};
        toy_init(&toy, by_thread ? TOY_BY_THREAD : TOY_AT_ONCE);
        toy.ops.capabilities = BATCH_CAPABILITIES;
        toy_open(&toy, UNBIND_EXECUTOR_POOL);
        bos[0] = make_bo(&toy.gpu, 8 * PAGE);
        bos[1] = make_bo(&toy.gpu, 8 * PAGE);
        struct unbind_op ops[2] = {op_map(bos[0], 0, 0, 2 * PAGE), op_map(bos[1], 0, 4 * PAGE, 2 * PAGE)};
        toy.fail_address = 4 * PAGE;
        toy.fail_address_error = -E2BIG;
        CHECK_EQUAL(batch(&toy, ops, 2, by_thread ? UNBIND_BATCH_ASYNC : UNBIND_BATCH_SYNC), -E2BIG);
        shows(&toy, bos, "aa......");
        toy.fail_address = UINT64_MAX;
        ops[0] = op_map(bos[0], 4 * PAGE, 4 * PAGE, 2 * PAGE);
        CHECK_EQUAL(batch(&toy, ops, 1, UNBIND_BATCH_SYNC), 0);
        shows(&toy, bos, "aa..aa..");
        ops[0] = op_of(UNBIND_OP_UNMAP, 0, 8 * PAGE);
        toy.is_lost = true;
        toy_fail(&toy, TOY_UNMAP, -ENXIO, 1);
        CHECK_EQUAL(batch(&toy, ops, 1, UNBIND_BATCH_SYNC), -EIO);
        CHECK_EQUAL(batch(&toy, &ops[1], 1, UNBIND_BATCH_SYNC), -EIO);
        unbind_bo_unref(bos[0]);
        unbind_bo_unref(bos[1]);
        toy_close(&toy);
    }
}
