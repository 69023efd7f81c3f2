/* SPDX-License-Identifier: MIT */
/*
 * Random binds and unbinds against an oracle that knows what each page should show: on xe over several queues with
 * random delays, on i915 with evictions. The GPU reads every page.
 */
#include "i915_support.h"
#undef BATCH_VA
#define bo xe_buffer
#include "xe_support.h"
#undef bo

#define VA 0x200000000ull
#define PAGES 64u
#define RESULTS (VA + 16 * MIB)
#define READER (VA + 32 * MIB)

static uint64_t state;
static uint32_t pick(uint32_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

/* The seeds to try: MOCK_SEEDS of them. */
static unsigned seeds(void) {
    const char *text = getenv("MOCK_SEEDS");
    return text ? (unsigned)atoi(text) : 12;
}

/* A batch that copies the first word of each page of the window to the results. */
static void write_reader(uint32_t *at) {
    for (unsigned i = 0; i < PAGES; i++) {
        uint64_t from = VA + i * PAGE, to = RESULTS + i * 4;
        *at++ = 0x17000003;
        *at++ = (uint32_t)to, *at++ = (uint32_t)(to >> 32);
        *at++ = (uint32_t)from, *at++ = (uint32_t)(from >> 32);
    }
    *at++ = 0x05000000;
    *at = 0;
}

static void compare(unsigned seed, unsigned round, const uint32_t *results, const uint32_t *oracle) {
    for (unsigned i = 0; i < PAGES; i++) {
        if (results[i] == oracle[i]) continue;
        printf("    seed %u round %u page %u\n", seed, round, i);
        CHECK_EQUAL(results[i], oracle[i]);
        exit(1);
    }
}

/* ---- xe */

#define BUFFERS 6u
#define BUFFER_PAGES 16u

static struct unbind_drm_xe_vm_bind_op random_op(struct xe_buffer *buffers, uint32_t *oracle,
                                                 uint32_t (*where)[PAGES]) {
    uint32_t first = pick(PAGES), count = 1 + pick(BUFFER_PAGES), number = pick(BUFFERS), kind = pick(10);
    if (count > PAGES - first) count = PAGES - first;
    if (kind == 0) {
        for (unsigned i = 0; i < PAGES; i++)
            if ((*where)[i] == number + 1) oracle[i] = (*where)[i] = 0;
        return (struct unbind_drm_xe_vm_bind_op){.obj = buffers[number].handle,
                                                 .op = UNBIND_DRM_XE_VM_BIND_OP_UNMAP_ALL, .pat_index = 1};
    }
    uint32_t offset = pick(BUFFER_PAGES - count + 1);
    for (uint32_t i = 0; i < count; i++) {
        oracle[first + i] = kind > 3 ? number * 1000 + offset + i + 1 : 0;
        (*where)[first + i] = kind > 3 ? number + 1 : 0;
    }
    if (kind > 3) return xe_map_op(buffers[number].handle, offset * PAGE, VA + first * PAGE, count * PAGE);
    struct unbind_drm_xe_vm_bind_op op = xe_unmap_op(VA + first * PAGE, count * PAGE);
    if (kind != 1) return op;
    op.op = UNBIND_DRM_XE_VM_BIND_OP_MAP;
    op.flags = UNBIND_DRM_XE_VM_BIND_FLAG_NULL;
    return op;
}

static void xe_seed(unsigned seed) {
    char text[16];
    snprintf(text, sizeof text, "%u", seed);
    machine("bmg", "SEED", text, "DELAY", "bind:~60", NULL);
    state = seed * 77777 + 1;
    struct xe xe = xe_open(UNBIND_DRM_XE_VM_CREATE_FLAG_SCRATCH_PAGE);
    struct xe_buffer buffers[BUFFERS], results = xe_bo(xe.fd, PAGE, 1), reader = xe_bo(xe.fd, PAGE, 1);
    uint32_t queues[3] = {0, xe_queue(xe.fd, xe.vm, 5), xe_queue(xe.fd, xe.vm, 5)}, done[3];
    uint32_t oracle[PAGES] = {0}, where[PAGES] = {0};
    for (unsigned i = 0; i < BUFFERS; i++) {
        buffers[i] = xe_bo(xe.fd, BUFFER_PAGES * PAGE, i % 2 + 1);
        for (unsigned k = 0; k < BUFFER_PAGES; k++) buffers[i].map[k * PAGE / 4] = i * 1000 + k + 1;
    }
    for (int i = 0; i < 3; i++) CHECK_EQUAL(clibdrm_syncobj_create(xe.fd, 1, &done[i]), 0);
    write_reader(reader.map);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(results.handle, 0, RESULTS, PAGE)), 0);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(reader.handle, 0, READER, PAGE)), 0);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned calls = 1 + pick(8); calls; calls--) {
            struct unbind_drm_xe_vm_bind_op ops[4];
            uint32_t count = 1 + pick(4), queue = pick(3);
            for (uint32_t i = 0; i < count; i++) ops[i] = random_op(buffers, oracle, &where);
            struct unbind_drm_xe_sync sync = xe_signal(done[queue]);
            CHECK_EQUAL(xe_bind(&xe, queues[queue], ops, count, &sync, 1), 0);
        }
        struct unbind_drm_xe_sync syncs[4] = {xe_wait(done[0]), xe_wait(done[1]), xe_wait(done[2]),
                                              xe_signal(done[0])};
        struct unbind_drm_xe_exec exec = {.exec_queue_id = xe.queue, .num_syncs = 4, .syncs = (uintptr_t)syncs,
                                          .address = READER, .num_batch_buffer = 1};
        CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_EXEC, &exec), 0);
        CHECK(signals(xe.fd, done[0], 5000));
        CHECK(!xe_banned(&xe, xe.queue));
        compare(seed, round, results.map, oracle);
    }
    close(xe.fd);
}

TEST(xe, "xe: after random binds over three queues every page shows what the last call on it said") {
    for (unsigned seed = 1; seed <= seeds(); seed++) xe_seed(seed);
}

/* ---- i915 */

struct place {
    struct bo bo;
    uint32_t pages, first; /* first >= PAGES: not bound */
};

static void i915_seed(unsigned seed, const char *name) {
    machine(name, "DELAY", "bind:~60", NULL);
    state = seed * 99991 + 7;
    struct i915 i915 = i915_open(name[0] == 'd');
    struct place places[BUFFERS];
    struct bo results = i915_bo(&i915, PAGE), reader = i915_bo(&i915, PAGE);
    write_reader(reader.map);
    for (unsigned i = 0; i < BUFFERS; i++) {
        uint32_t pages = 1 + pick(12);
        places[i] = (struct place){i915_bo(&i915, pages * PAGE), pages, PAGES};
        for (unsigned k = 0; k < pages; k++) places[i].bo.map[k * PAGE / 4] = i * 1000 + k + 1;
    }
    for (unsigned round = 0; round < 60; round++) {
        struct unbind_drm_i915_gem_exec_object2 list[5];
        uint32_t chosen[3], at[3], count = pick(4), first = pick(BUFFERS);
        bool overlap = false;
        for (uint32_t i = 0; i < count; i++) {
            chosen[i] = (first + i * (1 + round % 2)) % BUFFERS;
            at[i] = pick(PAGES - places[chosen[i]].pages + 1);
            list[i] = i915_at(places[chosen[i]].bo.handle, VA + at[i] * PAGE);
            for (uint32_t k = 0; k < i; k++)
                overlap |= at[i] < at[k] + places[chosen[k]].pages && at[k] < at[i] + places[chosen[i]].pages;
        }
        list[count] = i915_at(results.handle, RESULTS);
        list[count].flags |= UNBIND_EXEC_OBJECT_WRITE;
        list[count + 1] = i915_at(reader.handle, READER);
        struct unbind_drm_i915_gem_execbuffer2 args = {.buffers_ptr = (uintptr_t)list, .buffer_count = count + 2,
                                                       .flags = pick(3) | UNBIND_I915_EXEC_NO_RELOC,
                                                       .rsvd1 = i915.context};
        CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GEM_EXECBUFFER2, &args), overlap ? -EINVAL : 0);
        if (overlap) continue;
        for (uint32_t i = 0; i < count; i++)
            for (unsigned k = 0; k < BUFFERS; k++)
                if (places[k].first < at[i] + places[chosen[i]].pages && at[i] < places[k].first + places[k].pages)
                    places[k].first = PAGES;
        for (uint32_t i = 0; i < count; i++) places[chosen[i]].first = at[i];
        uint32_t oracle[PAGES] = {0};
        for (unsigned i = 0; i < BUFFERS; i++)
            for (unsigned k = 0; k < places[i].pages && places[i].first < PAGES; k++)
                oracle[places[i].first + k] = i * 1000 + k + 1;
        CHECK_EQUAL(i915_wait(&i915, results.handle, 5000000000), 0);
        compare(seed, round, results.map, oracle);
    }
    close(i915.fd);
}

TEST(i915, "i915: after random pinning and evicting every page shows the object that is there now") {
    for (unsigned seed = 1; seed <= seeds(); seed++) i915_seed(seed, seed % 2 ? "tgl" : "dg2");
}
