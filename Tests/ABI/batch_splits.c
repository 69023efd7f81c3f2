/* SPDX-License-Identifier: MIT */
/*
 * What a batch does to the mappings that are in its way: the 16 cases of drm_gpuvm's split and merge, each with its
 * keep flag, and what an unmap splits. Each case is run at three page sizes, in the three modes, while a job of the
 * GPU uses all that stays: it must find every page at every moment, and the page tables are looked at after every piece
 * of work. What stays costs nothing: no entry of it is written or cleared.
 */
#include "batch_support.h"

#define BASE (UINT64_C(1) << 32)
enum { UNITS = 6, HAMMER = 240 };

enum kind { MAP_SAME, MAP_ELSEWHERE, MAP_OTHER, UNMAP };

/* In units of one page of some size, from BASE. What is mapped before shows unit u of buffer a at place u - 1. */
struct split_case {
    const char *name;
    struct { int start, size; } old[3];
    int start, size;
    enum kind kind;
};

struct place {
    unbind_bo *bo; /* NULL: nothing there */
    uint64_t offset;
};

/* A case under way. */
struct scene {
    struct gpu gpu;
    const struct split_case *split;
    uint64_t unit;
    uint32_t mode;
    unbind_bo *a, *b;
    unbind_queue *queue;
    struct place before[UNITS], after[UNITS];
    uint64_t loaded[HAMMER];
    int wrong_loads_from;
};

static uint64_t at(const struct scene *scene, int unit) { return BASE + (uint64_t)unit * scene->unit; }

static bool same_place(struct place one, struct place other) {
    return one.bo == other.bo && one.offset == other.offset;
}

/* Mapped before, and just so afterwards. */
static bool stays(const struct scene *scene, int unit) {
    return scene->before[unit].bo && same_place(scene->before[unit], scene->after[unit]);
}

static struct unbind_op request(const struct scene *scene) {
    const struct split_case *split = scene->split;
    uint64_t start = at(scene, split->start), size = (uint64_t)split->size * scene->unit;
    uint64_t same = (uint64_t)(split->start + 1) * scene->unit;
    switch (split->kind) {
    case MAP_SAME: return op_map(scene->a, same, start, size);
    case MAP_ELSEWHERE: return op_map(scene->a, same + scene->unit, start, size);
    case MAP_OTHER: return op_map(scene->b, same, start, size);
    default: return op_unmap(start, size);
    }
}

static void plan(struct scene *scene) {
    const struct split_case *split = scene->split;
    for (int i = 0; i < 3; i++) {
        for (int unit = split->old[i].start; unit < split->old[i].start + split->old[i].size; unit++) {
            scene->before[unit].bo = scene->a;
            scene->before[unit].offset = (uint64_t)(unit + 1) * scene->unit;
        }
    }
    struct unbind_op op = request(scene);
    memcpy(scene->after, scene->before, sizeof scene->after);
    for (int unit = split->start; unit < split->start + split->size; unit++) {
        scene->after[unit].bo = op.bo;
        scene->after[unit].offset = op.bo ? op.offset + (uint64_t)(unit - split->start) * scene->unit : 0;
    }
}

/* Both ends of each unit that stays are where they were; the others are what they were, nothing, or what they will be. */
static void look(void *data) {
    struct scene *scene = (struct scene *)data;
    for (int unit = 0; unit < UNITS; unit++) {
        const struct place *before = &scene->before[unit];
        uint64_t last = scene->unit - PAGE;
        if (stays(scene, unit)) {
            if (!leads_to(scene->gpu.vm, at(scene, unit), before->bo, before->offset) ||
                !leads_to(scene->gpu.vm, at(scene, unit) + last, before->bo, before->offset + last)) {
                printf("    %s: unit %d is not there\n", scene->split->name, unit);
                REQUIRE(!"a page that stays was missing");
            }
        } else if (!before->bo && !scene->after[unit].bo) {
            CHECK(leads_to(scene->gpu.vm, at(scene, unit), NULL, 0));
        }
    }
}

/* A job that stores to and loads from all that stays, again and again. */
static unbind_fence *hammer(struct scene *scene) {
    static struct unbind_command commands[HAMMER];
    int units[UNITS], count = 0;
    for (int unit = 0; unit < UNITS; unit++) {
        if (stays(scene, unit)) units[count++] = unit;
    }
    for (int i = 0; i < HAMMER; i++) {
        if (!count) {
            commands[i] = command_delay(1000);
            continue;
        }
        int unit = units[i / 2 % count];
        /* A page of the unit, another one each time. */
        uint64_t page = (uint64_t)(i / 2) * 37 % (scene->unit / PAGE) * PAGE;
        if (i % 2 == 0) {
            commands[i] = command_store(at(scene, unit) + page + 8, (uint64_t)i + 1);
        } else {
            commands[i] = command_load(at(scene, unit) + page + 8, &scene->loaded[i]);
        }
    }
    scene->wrong_loads_from = count ? 0 : HAMMER;
    unbind_fence *job = NULL;
    REQUIRE(submit(scene->queue, commands, HAMMER, NULL, NULL, &job) == 0);
    return job;
}

static void check_hammer(struct scene *scene, unbind_fence *job) {
    CHECK_EQUAL(finish(job), 0);
    CHECK_EQUAL(scene->gpu.faults, 0);
    for (int i = scene->wrong_loads_from; i < HAMMER; i++) {
        if (i % 2) CHECK_EQUAL(scene->loaded[i], i);
    }
}

static int runs_of(const struct scene *scene, bool (*has)(const struct scene *, int)) {
    int runs = 0;
    for (int unit = 0; unit < UNITS; unit++) runs += has(scene, unit) && (unit == 0 || !has(scene, unit - 1));
    return runs;
}

static bool requested(const struct scene *scene, int unit) {
    return scene->split->kind != UNMAP && unit >= scene->split->start && unit < scene->split->start + scene->split->size;
}
static bool is_new(const struct scene *scene, int unit) { return requested(scene, unit) && !stays(scene, unit); }
static bool is_kept(const struct scene *scene, int unit) { return requested(scene, unit) && stays(scene, unit); }
static bool is_gone(const struct scene *scene, int unit) { return scene->before[unit].bo && !stays(scene, unit); }
static bool is_left(const struct scene *scene, int unit) { return stays(scene, unit) && !requested(scene, unit); }

static int units_of(const struct scene *scene, bool (*has)(const struct scene *, int)) {
    int units = 0;
    for (int unit = 0; unit < UNITS; unit++) units += has(scene, unit);
    return units;
}

/* Old mappings of which this many units are so. */
static int old_with(const struct scene *scene, bool (*has)(const struct scene *, int), bool all) {
    int count = 0;
    for (int i = 0; i < 3; i++) {
        int start = scene->split->old[i].start, size = scene->split->old[i].size, found = 0;
        for (int unit = start; unit < start + size; unit++) found += has(scene, unit);
        count += size && (all ? found == size : found != 0);
    }
    return count;
}

static void check_figures(struct scene *scene, struct unbind_batch_stats before, struct unbind_device_stats device,
                          uint64_t entries) {
    struct unbind_batch_stats stats = batch_stats(scene->gpu.vm);
    struct unbind_device_stats now = device_stats(scene->gpu.device);
    bool keeps = scene->split->kind == MAP_SAME;
    int gone = units_of(scene, is_gone);
    CHECK_EQUAL(stats.batches - before.batches, 1);
    CHECK_EQUAL(stats.operations - before.operations, 1);
    CHECK_EQUAL(now.ptes_written - device.ptes_written, (uint64_t)units_of(scene, is_new) * entries);
    CHECK_EQUAL(now.ptes_cleared - device.ptes_cleared, (uint64_t)gone * entries);
    CHECK(now.tlb_invalidations - device.tlb_invalidations <= (gone != 0));
    CHECK_EQUAL(stats.entries_written - before.entries_written, now.ptes_written - device.ptes_written);
    CHECK_EQUAL(stats.entries_cleared - before.entries_cleared, now.ptes_cleared - device.ptes_cleared);
    CHECK_EQUAL(stats.kept - before.kept, keeps ? old_with(scene, is_kept, false) : 0);
    CHECK_EQUAL(stats.unmaps - before.unmaps, old_with(scene, is_gone, false));
    CHECK_EQUAL(stats.splits - before.splits, old_with(scene, is_gone, false) - old_with(scene, is_gone, true));
    CHECK_EQUAL(stats.maps - before.maps, runs_of(scene, is_new));
    int left = runs_of(scene, is_left) + (scene->split->kind == UNMAP ? 0 : 1);
    /* What waits for the job is not bound yet when it could merge. */
    int joined = scene->mode == UNBIND_BATCH_DEFER_TO_IDLE ? 1 + runs_of(scene, is_new) : 1;
    CHECK_EQUAL(stats.mappings, keeps ? joined : left);
}

/* All pages as they must be in the end: what the page tables say, and what the GPU reads. */
static void check_end(struct scene *scene) {
    for (int unit = 0; unit < UNITS; unit++) {
        struct place after = scene->after[unit];
        uint64_t offsets[] = {0, scene->unit - PAGE};
        for (int i = 0; i < 2; i++) {
            uint64_t address = at(scene, unit) + offsets[i];
            CHECK(leads_to(scene->gpu.vm, address, after.bo, after.offset + offsets[i]));
            if (!after.bo) {
                CHECK(gpu_faults(scene->queue, address));
            } else {
                CHECK(gpu_reads(scene->queue, address, tag_of(after.bo, after.offset + offsets[i])));
            }
        }
    }
}

static void run_case(const struct split_case *split, uint64_t unit, uint32_t mode) {
    static struct scene zero;
    struct scene *scene = (struct scene *)malloc(sizeof *scene);
    REQUIRE(scene != NULL);
    *scene = zero;
    int failures = check_failures;
    gpu_open(&scene->gpu, UNBIND_EXECUTOR_SIMULATED);
    scene->split = split;
    scene->unit = unit;
    scene->mode = mode;
    scene->a = make_tagged_bo(&scene->gpu, (UNITS + 2) * unit);
    scene->b = make_tagged_bo(&scene->gpu, (UNITS + 2) * unit);
    scene->queue = make_queue(&scene->gpu);
    plan(scene);
    uint64_t written = device_stats(scene->gpu.device).ptes_written, units = 0;
    for (int i = 0; i < 3; i++) {
        if (!split->old[i].size) continue;
        apply(&scene->gpu, op_map(scene->a, (uint64_t)(split->old[i].start + 1) * unit,
                                  at(scene, split->old[i].start), (uint64_t)split->old[i].size * unit));
        units += (uint64_t)split->old[i].size;
    }
    struct unbind_device_stats device = device_stats(scene->gpu.device);
    uint64_t entries = units ? (device.ptes_written - written) / units : 1;
    struct unbind_batch_stats before = batch_stats(scene->gpu.vm);

    unbind_fence *job = hammer(scene), *done = NULL;
    for (int i = 0; i < 8; i++) REQUIRE(unbind_device_run(scene->gpu.device, 1, NULL) == 0);
    struct unbind_op op = request(scene);
    CHECK_EQUAL(batch_of(&scene->gpu, &op, 1, mode, &done), 0);
    if (mode == UNBIND_BATCH_SYNC) CHECK(unbind_fence_is_signaled(done));
    run_watched(&scene->gpu, look, scene);
    CHECK_EQUAL(finish(done), 0);
    check_figures(scene, before, device, entries);
    check_hammer(scene, job);
    check_end(scene);

    apply(&scene->gpu, op_unmap(BASE, UNITS * unit));
    CHECK_EQUAL(batch_stats(scene->gpu.vm).mappings, 0);
    unbind_bo_unref(scene->a);
    unbind_bo_unref(scene->b);
    unbind_queue_unref(scene->queue);
    gpu_close(&scene->gpu);
    free(scene);
    if (check_failures != failures) {
        printf("    case \"%s\", pages of 0x%llx, mode %u\n", split->name, (unsigned long long)unit, mode);
    }
}

static void run_cases(const struct split_case *cases, size_t count, uint64_t unit) {
    for (size_t i = 0; i < count; i++) {
        for (uint32_t mode = 0; mode <= UNBIND_BATCH_DEFER_TO_IDLE; mode++) run_case(&cases[i], unit, mode);
    }
}

/* The kernel's numbers. MAP_SAME is what its keep flag says: same buffer, contiguous offset. */
static const struct split_case documented[] = {
    {"1: identical", {{0, 1}}, 0, 1, MAP_SAME},
    {"2: identical but for the offset", {{0, 1}}, 0, 1, MAP_ELSEWHERE},
    {"3: identical but for the buffer", {{0, 1}}, 0, 1, MAP_OTHER},
    {"4: same start, longer", {{0, 1}}, 0, 2, MAP_SAME},
    {"5: same start, shorter, another buffer", {{0, 2}}, 0, 1, MAP_OTHER},
    {"6: same start, shorter", {{0, 2}}, 0, 1, MAP_SAME},
    {"7: same end, shorter, another buffer", {{0, 2}}, 1, 1, MAP_OTHER},
    {"8: same end, shorter", {{0, 2}}, 1, 1, MAP_SAME},
    {"9: over the end, another buffer", {{0, 2}}, 1, 2, MAP_OTHER},
    {"10: over the end", {{0, 2}}, 1, 2, MAP_SAME},
    {"11: inside, another buffer", {{0, 3}}, 1, 1, MAP_OTHER},
    {"12: inside", {{0, 3}}, 1, 1, MAP_SAME},
    {"13: same end, longer", {{1, 1}}, 0, 2, MAP_SAME},
    {"14: around it", {{1, 1}}, 0, 3, MAP_SAME},
    {"15: over the start, another buffer", {{1, 2}}, 0, 2, MAP_OTHER},
    {"16: over the start", {{1, 2}}, 0, 2, MAP_SAME},
};
enum { DOCUMENTED = sizeof documented / sizeof documented[0] };

TEST(documented_4k, "selftest 46: the 16 split and merge cases with pages of 4 KiB") {
    run_cases(documented, DOCUMENTED, PAGE);
}
TEST(documented_64k, "selftest 46: the 16 split and merge cases with pages of 64 KiB") {
    run_cases(documented, DOCUMENTED, 16 * PAGE);
}
TEST(documented_2m, "selftest 46: the 16 split and merge cases with pages of 2 MiB") {
    run_cases(documented, DOCUMENTED, 2 * MIB);
}

TEST(documented_others, "selftest 46: each of the cases with the same buffer, another offset, and another buffer") {
    for (size_t i = 0; i < DOCUMENTED; i++) {
        for (int kind = MAP_SAME; kind <= MAP_OTHER; kind++) {
            struct split_case other = documented[i];
            other.kind = (enum kind)kind;
            run_case(&other, PAGE, UNBIND_BATCH_ASYNC);
        }
    }
}

static const struct split_case unmaps[] = {
    {"all of it", {{1, 2}}, 1, 2, UNMAP},
    {"its start", {{1, 2}}, 1, 1, UNMAP},
    {"its end", {{1, 2}}, 2, 1, UNMAP},
    {"its middle", {{1, 3}}, 2, 1, UNMAP},
    {"more than it", {{2, 1}}, 0, 4, UNMAP},
    {"over its start", {{1, 3}}, 0, 2, UNMAP},
    {"over its end", {{0, 3}}, 2, 2, UNMAP},
    {"the end of one, the start of another", {{0, 2}, {3, 2}}, 1, 3, UNMAP},
    {"several, and parts of the outer ones", {{0, 2}, {3, 1}, {5, 1}}, 1, 4, UNMAP},
    {"all of several", {{0, 1}, {2, 1}, {4, 1}}, 0, 6, UNMAP},
    {"what is between two", {{0, 2}, {3, 2}}, 2, 1, UNMAP},
    {"nothing", {{0, 1}}, 3, 2, UNMAP},
};
enum { UNMAPS = sizeof unmaps / sizeof unmaps[0] };

TEST(unmapping, "selftest 46: what an unmap takes, and what it leaves") {
    run_cases(unmaps, UNMAPS, PAGE);
    run_cases(unmaps, UNMAPS, 16 * PAGE);
    run_cases(unmaps, UNMAPS, 2 * MIB);
}

TEST(other_flags, "selftest 46: the same place of the same buffer with other flags is another mapping") {
    static const struct {
        uint32_t flags, cache;
        bool kept, writable;
    } changes[] = {
        {0, UNBIND_CACHE_DEFAULT, true, true},
        {UNBIND_OP_READ_ONLY, UNBIND_CACHE_DEFAULT, false, false},
        {UNBIND_OP_CAPTURE, UNBIND_CACHE_DEFAULT, false, true},
        {0, UNBIND_CACHE_NONE, false, true},
    };
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_tagged_bo(&gpu, 4 * PAGE);
    unbind_queue *queue = make_queue(&gpu);
    for (int i = 0; i < 4; i++) {
        apply(&gpu, op_map(bo, 0, BASE, 4 * PAGE));
        struct unbind_batch_stats before = batch_stats(gpu.vm), after;
        struct unbind_op op = op_map_flags(bo, PAGE, BASE + PAGE, 2 * PAGE, changes[i].flags);
        op.cache_level = changes[i].cache;
        apply(&gpu, op);
        after = batch_stats(gpu.vm);
        CHECK_EQUAL(after.kept - before.kept, changes[i].kept);
        CHECK_EQUAL(after.mappings, changes[i].kept ? 1 : 3);
        CHECK_EQUAL(after.entries_written - before.entries_written, changes[i].kept ? 0 : 2);
        CHECK_EQUAL((page_at(gpu.vm, BASE + PAGE).flags & UNBIND_PAGE_WRITABLE) != 0, changes[i].writable);
        for (uint64_t page = 0; page < 4; page++) {
            CHECK(gpu_reads(queue, BASE + page * PAGE, tag_of(bo, page * PAGE)));
        }
        struct unbind_command store = command_store(BASE + 2 * PAGE + 8, 5);
        unbind_fence *job = NULL;
        REQUIRE(submit(queue, &store, 1, NULL, NULL, &job) == 0);
        CHECK_EQUAL(finish(job), changes[i].writable ? 0 : -EFAULT);
        struct unbind_op again = op_map_flags(bo, 0, BASE, PAGE, UNBIND_OP_NO_REPLACE);
        CHECK_EQUAL(unbind_vm_submit(gpu.vm, &again, 1, NULL), -EEXIST);
        apply(&gpu, op_unmap_all(bo));
        CHECK_EQUAL(batch_stats(gpu.vm).mappings, 0);
    }
    unbind_queue_unref(queue);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(merging, "selftest 46: neighbours of one buffer become one mapping, and cost no entry that is there") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_tagged_bo(&gpu, 64 * PAGE), *other = make_tagged_bo(&gpu, 4 * PAGE);
    unbind_queue *queue = make_queue(&gpu);
    struct unbind_op ops[32];
    for (uint64_t i = 0; i < 32; i++) ops[i] = op_map(bo, i * PAGE, BASE + i * PAGE, PAGE);
    REQUIRE(unbind_vm_submit(gpu.vm, ops, 32, NULL) == 0);
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, 1);
    CHECK_EQUAL(batch_stats(gpu.vm).entries_written, 32);
    /* Behind it, before it, and what fills the gap between the two. */
    apply(&gpu, op_map(bo, 32 * PAGE, BASE + 32 * PAGE, PAGE));
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, 1);
    apply(&gpu, op_map(bo, 40 * PAGE, BASE + 40 * PAGE, 2 * PAGE));
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, 2);
    apply(&gpu, op_map(bo, 33 * PAGE, BASE + 33 * PAGE, 7 * PAGE));
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, 1);
    CHECK_EQUAL(batch_stats(gpu.vm).entries_written, 42);
    CHECK_EQUAL(batch_stats(gpu.vm).entries_cleared, 0);
    CHECK(batch_stats(gpu.vm).merges >= 3);
    /* A neighbour from elsewhere, from another buffer, or with other flags is another mapping. */
    apply(&gpu, op_map(bo, 50 * PAGE, BASE + 42 * PAGE, PAGE));
    apply(&gpu, op_map(other, 0, BASE + 43 * PAGE, PAGE));
    apply(&gpu, op_map_flags(other, PAGE, BASE + 44 * PAGE, PAGE, UNBIND_OP_READ_ONLY));
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, 4);
    for (uint64_t page = 0; page < 42; page++) CHECK(gpu_reads(queue, BASE + page * PAGE, tag_of(bo, page * PAGE)));
    /* What was merged can be split anywhere. */
    apply(&gpu, op_unmap(BASE + 31 * PAGE, 4 * PAGE));
    CHECK_EQUAL(batch_stats(gpu.vm).mappings, 5);
    CHECK(gpu_reads(queue, BASE + 30 * PAGE, tag_of(bo, 30 * PAGE)) && gpu_faults(queue, BASE + 31 * PAGE));
    CHECK(gpu_reads(queue, BASE + 35 * PAGE, tag_of(bo, 35 * PAGE)) && gpu_faults(queue, BASE + 34 * PAGE));
    apply(&gpu, op_unmap(BASE, 64 * PAGE));
    unbind_queue_unref(queue);
    unbind_bo_unref(bo);
    unbind_bo_unref(other);
    gpu_close(&gpu);
}

/* Two large pages, of which the first is cut. */
struct cut {
    struct gpu gpu;
    unbind_bo *bo;
    uint64_t first, size; /* what goes, from BASE */
    bool is_done;
};

static void look_at_cut(void *data) {
    struct cut *cut = (struct cut *)data;
    for (uint64_t offset = 0; offset < 4 * MIB; offset += 4 * PAGE) {
        bool goes = offset >= cut->first && offset < cut->first + cut->size;
        if (!goes) REQUIRE(leads_to(cut->gpu.vm, BASE + offset, cut->bo, offset));
        if (goes && cut->is_done) REQUIRE(leads_to(cut->gpu.vm, BASE + offset, NULL, 0));
    }
    CHECK_EQUAL(page_at(cut->gpu.vm, BASE + 2 * MIB).size, 2 * MIB);
}

static void cut_large_page(uint64_t first, uint64_t size, uint64_t expected_size, uint64_t probe) {
    static uint64_t loaded[HAMMER];
    static struct unbind_command commands[HAMMER];
    struct cut cut;
    memset(&cut, 0, sizeof cut);
    gpu_open(&cut.gpu, UNBIND_EXECUTOR_SIMULATED);
    cut.bo = make_tagged_bo(&cut.gpu, 4 * MIB);
    cut.first = first;
    cut.size = size;
    unbind_queue *queue = make_queue(&cut.gpu);
    apply(&cut.gpu, op_map(cut.bo, 0, BASE, 4 * MIB));
    CHECK_EQUAL(page_at(cut.gpu.vm, BASE).size, 2 * MIB);
    for (int i = 0; i < HAMMER; i++) {
        uint64_t offset = (uint64_t)i * 4099 % 1024 * PAGE;
        if (offset >= first && offset < first + size) offset = first ? 0 : first + size;
        commands[i] = i % 2 ? command_load(BASE + offset, &loaded[i]) : command_store(BASE + offset + 8, (uint64_t)i);
    }
    unbind_fence *job = NULL, *done = NULL;
    REQUIRE(submit(queue, commands, HAMMER, NULL, NULL, &job) == 0);
    for (int i = 0; i < 8; i++) REQUIRE(unbind_device_run(cut.gpu.device, 1, NULL) == 0);
    struct unbind_op op = op_unmap(BASE + first, size);
    CHECK_EQUAL(batch_of(&cut.gpu, &op, 1, UNBIND_BATCH_ASYNC, &done), 0);
    run_watched(&cut.gpu, look_at_cut, &cut);
    cut.is_done = unbind_fence_is_signaled(done) == 1;
    CHECK(cut.is_done);
    look_at_cut(&cut);
    CHECK_EQUAL(finish(done), 0);
    CHECK_EQUAL(finish(job), 0);
    CHECK_EQUAL(cut.gpu.faults, 0);
    for (int i = 1; i < HAMMER; i += 2) {
        CHECK_EQUAL(loaded[i], tag_of(cut.bo, commands[i].address - BASE));
    }
    CHECK_EQUAL(page_at(cut.gpu.vm, BASE + probe).size, expected_size);
    CHECK(gpu_faults(queue, BASE + first) && gpu_faults(queue, BASE + first + size - PAGE));
    CHECK_EQUAL(word_of(cut.bo, first + 8), 0);
    /* The hole is filled again from the same place. */
    apply(&cut.gpu, op_map(cut.bo, first, BASE + first, size));
    for (uint64_t offset = 0; offset < 4 * MIB; offset += 16 * PAGE) {
        CHECK(gpu_reads(queue, BASE + offset, tag_of(cut.bo, offset)));
    }
    apply(&cut.gpu, op_unmap(BASE, 4 * MIB));
    unbind_queue_unref(queue);
    unbind_bo_unref(cut.bo);
    gpu_close(&cut.gpu);
}

TEST(large_pages, "selftest 46: a large page that is cut is never missing where it stays, the next one is not touched") {
    cut_large_page(100 * PAGE, PAGE, 16 * PAGE, 0);
    cut_large_page(100 * PAGE, PAGE, PAGE, 101 * PAGE);
    cut_large_page(0, PAGE, PAGE, PAGE);
    cut_large_page(0, PAGE, 16 * PAGE, 16 * PAGE);
    cut_large_page(511 * PAGE, PAGE, PAGE, 510 * PAGE);
    cut_large_page(64 * PAGE, 64 * PAGE, 16 * PAGE, 48 * PAGE);
    cut_large_page(0, 256 * PAGE, 16 * PAGE, 256 * PAGE);
}
