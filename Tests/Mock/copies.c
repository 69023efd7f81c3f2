/* SPDX-License-Identifier: MIT */
/* The commands of the mock's copy engines: what each writes, and where it is missing. */
#include "i915_support.h"

#define VA 0x200000000ull
#define SIZE (16 * PAGE)

struct words {
    unsigned count;
    uint32_t word[24];
};

/* Every byte differs from its neighbours and from those of other pages. */
static uint8_t byte_at(unsigned i) { return (uint8_t)(i * 7 + i / 256); }

/* From VA + 70 to VA + SIZE / 2 + 3: 5 rows of 100 bytes, 512 apart. */
static const struct words src_copy = {10, {0x54c00008, 0xcc << 16 | 512, 3, 5 << 16 | 103, SIZE / 2, 2, 6, 512, 64, 2}};
static const struct words block_copy = {22, {0x50400014, 511, 3, 5 << 16 | 103, SIZE / 2, 2, 1u << 31, 6, 511, 64, 2,
                                             1u << 31, 0, 0, 0, 0, 1u << 29 | 102 << 14 | 4, 0, 0,
                                             1u << 29 | 105 << 14 | 4}};
static const struct words matrix_copy = {10, {0x56800008 | 1 << 17, 99, 4, 511, 511, 70, 2, SIZE / 2 + 3, 2, 0}};
/* From VA + 64 to VA + SIZE / 2: 5 rows of 64 bytes. */
static const struct words fast_copy = {10, {0x50800008, 3 << 24 | 512, 0, 5 << 16 | 16, SIZE / 2, 2, 0, 512, 64, 2}};
/* 3 rows of 7 pixels, 256 bytes apart, from the second pixel on. */
static const struct words color = {7, {0x54300005, 0x03f00100, 1, 3 << 16 | 8, SIZE / 2, 2, 0x11223344}};
static const struct words short_color = {11, {0x51100009, 255, 1, 3 << 16 | 8, SIZE / 2, 2, 0, 0x11223344}};
static const struct words long_color = {16, {0x5110000e, 255, 1, 3 << 16 | 8, SIZE / 2, 2, 1u << 31, 0x11223344}};
static const struct words set = {7, {0x56c00005 | 1 << 17, 27, 2, 255, SIZE / 2 + 4, 2, 0x5au << 24}};

struct stage {
    struct i915 i915;
    struct bo bo;
};

static struct stage stage_open(const char *name, bool discrete) {
    machine(name, "HANG_MS", "200", NULL);
    struct stage stage = {.i915 = i915_open(discrete)};
    stage.bo = i915_bo(&stage.i915, SIZE);
    return stage;
}

/* Runs one command on fresh bytes; false: it hung. */
static bool run(struct stage *stage, const struct words *command) {
    uint8_t *bytes = (uint8_t *)stage->bo.map;
    struct batch_text batch = {.count = 0};
    struct unbind_drm_i915_gem_exec_object2 list[2] = {i915_at(stage->bo.handle, VA)};
    list[0].flags |= UNBIND_EXEC_OBJECT_WRITE;
    for (unsigned i = 0; i < SIZE; i++) bytes[i] = byte_at(i);
    for (unsigned i = 0; i < command->count; i++) batch_add(&batch, command->word[i]);
    batch_end(&batch);
    struct unbind_drm_i915_reset_stats before = {.ctx_id = stage->i915.context}, after = before;
    CHECK_EQUAL(call(stage->i915.fd, UNBIND_DRM_IOCTL_I915_GET_RESET_STATS, &before), 0);
    CHECK_EQUAL(i915_exec(&stage->i915, list, 2, &batch, NULL), 0);
    CHECK_EQUAL(i915_wait(&stage->i915, stage->bo.handle, 5000000000), 0);
    CHECK_EQUAL(call(stage->i915.fd, UNBIND_DRM_IOCTL_I915_GET_RESET_STATS, &after), 0);
    // A context that hangs too often is banned.
    bool hung = after.batch_active != before.batch_active;
    if (hung) stage->i915.context = i915_context(stage->i915.fd, stage->i915.vm, true);
    return !hung;
}

/* All bytes are as before but for rows of the second half. expected: of a byte of a row. */
static void check_rows(const struct stage *stage, unsigned start, unsigned rows, unsigned width, unsigned pitch,
                       uint8_t (*expected)(unsigned row, unsigned column)) {
    const uint8_t *bytes = (const uint8_t *)stage->bo.map;
    unsigned wrong = 0;
    for (unsigned i = 0; i < SIZE; i++) {
        uint8_t value = byte_at(i);
        if (i >= start && (i - start) / pitch < rows && (i - start) % pitch < width)
            value = expected((i - start) / pitch, (i - start) % pitch);
        wrong += bytes[i] != value;
    }
    CHECK_EQUAL(wrong, 0);
}

static uint8_t copied(unsigned row, unsigned column) { return byte_at(70 + row * 512 + column); }
static uint8_t fast_copied(unsigned row, unsigned column) { return byte_at(64 + row * 512 + column); }
static uint8_t colored(unsigned row, unsigned column) {
    (void)row;
    return (uint8_t)(0x11223344u >> column % 4 * 8);
}

TEST(old_blitter, "Tiger Lake has the old blitter: bytes and rectangles are copied and filled") {
    struct stage stage = stage_open("tgl", false);
    CHECK(run(&stage, &src_copy));
    check_rows(&stage, SIZE / 2 + 3, 5, 100, 512, copied);
    CHECK(run(&stage, &fast_copy));
    check_rows(&stage, SIZE / 2, 5, 64, 512, fast_copied);
    CHECK(run(&stage, &color));
    check_rows(&stage, SIZE / 2 + 4, 3, 28, 256, colored);
    CHECK(run(&stage, &short_color));
    check_rows(&stage, SIZE / 2 + 4, 3, 28, 256, colored);
    static const struct words *const missing[] = {&block_copy, &matrix_copy, &long_color, &set};
    for (int i = 0; i < 4; i++) CHECK(!run(&stage, missing[i]));
}

TEST(both_blitters, "DG2 has the long forms as well") {
    struct stage stage = stage_open("dg2", true);
    CHECK(run(&stage, &src_copy));
    check_rows(&stage, SIZE / 2 + 3, 5, 100, 512, copied);
    CHECK(run(&stage, &block_copy));
    check_rows(&stage, SIZE / 2 + 3, 5, 100, 512, copied);
    CHECK(run(&stage, &color));
    check_rows(&stage, SIZE / 2 + 4, 3, 28, 256, colored);
    CHECK(run(&stage, &long_color));
    check_rows(&stage, SIZE / 2 + 4, 3, 28, 256, colored);
    static const struct words *const missing[] = {&matrix_copy, &short_color, &set};
    for (int i = 0; i < 3; i++) CHECK(!run(&stage, missing[i]));
}

TEST(undefined, "what the hardware leaves undefined hangs") {
    struct stage stage = stage_open("dg2", true);
    static const struct {
        const struct words *command;
        unsigned index;
        uint32_t word;
    } wrong[] = {
        {&src_copy, 4, SIZE / 2 + 4}, {&src_copy, 1, 0xcc << 16 | 510}, {&src_copy, 1, 0xf0 << 16 | 512},
        {&src_copy, 3, 5 << 16 | 3},  {&fast_copy, 8, 32},               {&fast_copy, 1, 3 << 24 | 520},
        {&fast_copy, 2, 2},           {&fast_copy, 1, 2 << 24 | 512},    {&block_copy, 16, 1u << 29 | 101 << 14 | 4},
        {&block_copy, 19, 1u << 29 | 105 << 14 | 3},                     {&block_copy, 1, 1u << 30 | 511},
        {&color, 1, 0xf0 << 16 | 256}, {&color, 4, SIZE / 2 + 8},        {&long_color, 13, 1u << 29 | 6 << 14 | 2},
    };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct words command = *wrong[i].command;
        CHECK(run(&stage, &command));
        command.word[wrong[i].index] = wrong[i].word;
        if (run(&stage, &command)) printf("    number %u ran\n", i), CHECK(0);
    }
}

TEST(other_engines, "no engine but the copy engine has any of them") {
    struct stage stage = stage_open("dg2", true);
    struct unbind_drm_i915_gem_execbuffer2 args = {.flags = 0}; // render
    struct batch_text batch = {.count = 0};
    struct unbind_drm_i915_gem_exec_object2 list[2] = {i915_at(stage.bo.handle, VA)};
    for (unsigned i = 0; i < color.count; i++) batch_add(&batch, color.word[i]);
    batch_end(&batch);
    CHECK_EQUAL(i915_exec(&stage.i915, list, 2, &batch, &args), 0);
    CHECK_EQUAL(i915_wait(&stage.i915, list[1].handle, 5000000000), 0);
    struct unbind_drm_i915_reset_stats stats = {.ctx_id = stage.i915.context};
    CHECK_EQUAL(call(stage.i915.fd, UNBIND_DRM_IOCTL_I915_GET_RESET_STATS, &stats), 0);
    CHECK_EQUAL(stats.batch_active, 1);
}
